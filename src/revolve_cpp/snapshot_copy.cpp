#include "revolve/snapshot_copy.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "revolve/parallel_region.hpp"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__SSE2__) || defined(_M_X64)
#define REVOLVE_HAS_SSE2 1
#include <emmintrin.h>
#else
#define REVOLVE_HAS_SSE2 0
#endif

namespace revolve {

namespace {

/// Work is handed to the threads in pieces of about this size.
constexpr std::size_t kPiece = std::size_t{512} << 10;
/// Below this many bytes a second thread costs more than it saves.
constexpr std::size_t kParallelFrom = std::size_t{256} << 10;
/// From this many bytes on a snapshot does not stay in the caches anyway.
constexpr std::size_t kLargeFrom = std::size_t{256} << 10;
/// Shortest run for which it pays to copy at several places at a time.
constexpr std::size_t kLongRun = 4096;

enum class Store { cached, streaming };

#if REVOLVE_HAS_SSE2

/// One cache line; for streaming stores `to` is a multiple of 64.
template <Store store>
inline void copy_line(std::byte* to, const std::byte* from) noexcept {
    const auto* source = reinterpret_cast<const __m128i*>(from);
    auto* target = reinterpret_cast<__m128i*>(to);
    const __m128i a = _mm_loadu_si128(source);
    const __m128i b = _mm_loadu_si128(source + 1);
    const __m128i c = _mm_loadu_si128(source + 2);
    const __m128i d = _mm_loadu_si128(source + 3);
    if constexpr (store == Store::streaming) {
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    } else {
        _mm_storeu_si128(target, a);
        _mm_storeu_si128(target + 1, b);
        _mm_storeu_si128(target + 2, c);
        _mm_storeu_si128(target + 3, d);
    }
}

#endif

/// Copy a long run at four places at a time: one sequence of reads alone does not keep the memory busy, because the
/// processor reads ahead within a page only.
template <Store store>
void copy_run(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
#if REVOLVE_HAS_SSE2
    constexpr std::size_t line = kPackAlignment;
    const std::size_t head = std::min(bytes, (line - reinterpret_cast<std::uintptr_t>(to) % line) % line);
    std::memcpy(to, from, head);
    to += head;
    from += head;
    bytes -= head;
    const std::size_t quarter = bytes / (4 * line) * line;
    for (std::size_t i = 0; i < quarter; i += line) {
        copy_line<store>(to + i, from + i);
        copy_line<store>(to + i + quarter, from + i + quarter);
        copy_line<store>(to + i + 2 * quarter, from + i + 2 * quarter);
        copy_line<store>(to + i + 3 * quarter, from + i + 3 * quarter);
    }
    if constexpr (store == Store::streaming) _mm_sfence();
    to += 4 * quarter;
    from += 4 * quarter;
    bytes -= 4 * quarter;
#endif
    std::memcpy(to, from, bytes);
}

/// An array seen as `rows` runs: dimensions that lie one after the other in memory are merged.
struct Layout {
    std::vector<std::ptrdiff_t> shape;
    std::vector<std::ptrdiff_t> strides;
    std::size_t rows = 0;
    std::size_t run_items = 0;       // items of a run
    std::ptrdiff_t item_stride = 0;  // within a run
};

Layout merge_dimensions(const ArrayView& array) {
    Layout layout;
    const auto item = static_cast<std::ptrdiff_t>(array.item_size);
    std::vector<std::ptrdiff_t> shape;
    std::vector<std::ptrdiff_t> strides;
    for (std::size_t i = 0; i < array.shape.size(); ++i) {
        if (array.shape[i] == 1) continue;
        if (!shape.empty() && strides.back() == array.strides[i] * array.shape[i]) {
            shape.back() *= array.shape[i];
            strides.back() = array.strides[i];
        } else {
            shape.push_back(array.shape[i]);
            strides.push_back(array.strides[i]);
        }
    }
    if (shape.empty()) {
        shape.push_back(1);
        strides.push_back(item);
    }
    layout.run_items = static_cast<std::size_t>(shape.back());
    layout.item_stride = strides.back();
    shape.pop_back();
    strides.pop_back();
    layout.rows = 1;
    for (const std::ptrdiff_t extent : shape) layout.rows *= static_cast<std::size_t>(extent);
    layout.shape = std::move(shape);
    layout.strides = std::move(strides);
    return layout;
}

std::byte* row_address(const ArrayView& array, const Layout& layout, std::size_t row) noexcept {
    std::byte* address = array.data;
    for (std::size_t i = layout.shape.size(); i-- > 0;) {
        const auto extent = static_cast<std::size_t>(layout.shape[i]);
        address += static_cast<std::ptrdiff_t>(row % extent) * layout.strides[i];
        row /= extent;
    }
    return address;
}

/// Copy items of N bytes one by one between a strided and a packed run; N = 0: `size` bytes.
template <std::size_t N>
void copy_items(std::byte* strided, std::ptrdiff_t stride, std::byte* packed, std::size_t items,
                std::size_t size, bool to_slot) noexcept {
    const std::size_t bytes = N == 0 ? size : N;
    for (std::size_t i = 0; i < items; ++i) {
        if (to_slot) {
            std::memcpy(packed, strided, N == 0 ? bytes : N);
        } else {
            std::memcpy(strided, packed, N == 0 ? bytes : N);
        }
        strided += stride;
        packed += bytes;
    }
}

void copy_strided(std::byte* strided, std::ptrdiff_t stride, std::byte* packed, std::size_t items,
                  std::size_t size, bool to_slot) noexcept {
    switch (size) {
        case 1:
            return copy_items<1>(strided, stride, packed, items, size, to_slot);
        case 2:
            return copy_items<2>(strided, stride, packed, items, size, to_slot);
        case 4:
            return copy_items<4>(strided, stride, packed, items, size, to_slot);
        case 8:
            return copy_items<8>(strided, stride, packed, items, size, to_slot);
        case 16:
            return copy_items<16>(strided, stride, packed, items, size, to_slot);
        default:
            return copy_items<0>(strided, stride, packed, items, size, to_slot);
    }
}

/// A part of one array: items [first, first + items) of rows [row, row + rows); whole rows unless rows == 1.
struct Piece {
    const ArrayView* array;
    const Layout* layout;
    std::byte* slot;  // where the array starts in the slot
    std::size_t row;
    std::size_t rows;
    std::size_t first;
    std::size_t items;
};

void copy_piece(const Piece& piece, bool to_slot, bool large) noexcept {
    const std::size_t size = piece.array->item_size;
    const Layout& layout = *piece.layout;
    for (std::size_t row = piece.row; row < piece.row + piece.rows; ++row) {
        std::byte* strided = row_address(*piece.array, layout, row) +
                             static_cast<std::ptrdiff_t>(piece.first) * layout.item_stride;
        std::byte* packed = piece.slot + (row * layout.run_items + piece.first) * size;
        if (layout.item_stride == static_cast<std::ptrdiff_t>(size)) {
            const std::size_t bytes = piece.items * size;
            // A slot is not read again soon, so it is written past the caches; the workspace is used at once.
            if (!large || bytes < kLongRun) {
                std::memcpy(to_slot ? packed : strided, to_slot ? strided : packed, bytes);
            } else if (to_slot) {
                copy_run<Store::streaming>(packed, strided, bytes);
            } else {
                copy_run<Store::cached>(strided, packed, bytes);
            }
        } else {
            copy_strided(strided, layout.item_stride, packed, piece.items, size, to_slot);
        }
    }
}

std::size_t rounded_up(std::size_t bytes) {
    if (bytes > SIZE_MAX - kPackAlignment) throw std::overflow_error("snapshot too large");
    return (bytes + kPackAlignment - 1) / kPackAlignment * kPackAlignment;
}

}  // namespace

std::size_t ArrayView::bytes() const noexcept {
    std::size_t total = item_size;
    for (const std::ptrdiff_t extent : shape) total *= static_cast<std::size_t>(extent);
    return total;
}

std::size_t packed_bytes(const std::vector<ArrayView>& arrays) {
    std::size_t total = 0;
    for (const ArrayView& array : arrays) {
        const std::size_t bytes = rounded_up(array.bytes());
        if (bytes > SIZE_MAX - total) throw std::overflow_error("snapshot too large");
        total += bytes;
    }
    return total;
}

SnapshotCopier::SnapshotCopier(int threads) : threads_(threads) {
    if (threads < 1) throw std::invalid_argument("threads must be >= 1, got " + std::to_string(threads));
    region_ = std::make_unique<ParallelRegion>(threads);
}

SnapshotCopier::~SnapshotCopier() = default;

void SnapshotCopier::save(std::byte* slot, const std::vector<ArrayView>& arrays) {
    copy(slot, arrays, Direction::to_slot);
}

void SnapshotCopier::load(const std::byte* slot, const std::vector<ArrayView>& arrays) {
    copy(const_cast<std::byte*>(slot), arrays, Direction::from_slot);  // only read in this direction
}

void SnapshotCopier::copy(std::byte* slot, const std::vector<ArrayView>& arrays, Direction direction) {
    const bool to_slot = direction == Direction::to_slot;
    std::vector<Layout> layouts;
    layouts.reserve(arrays.size());
    std::vector<Piece> pieces;
    std::size_t total = 0;
    for (const ArrayView& array : arrays) {
        const std::size_t bytes = array.bytes();
        layouts.push_back(bytes == 0 ? Layout{} : merge_dimensions(array));
        const Layout& layout = layouts.back();
        if (bytes > 0) {
            const std::size_t run_bytes = layout.run_items * array.item_size;
            if (run_bytes >= kPiece) {
                const std::size_t step = std::max<std::size_t>(1, kPiece / array.item_size);
                for (std::size_t row = 0; row < layout.rows; ++row) {
                    for (std::size_t first = 0; first < layout.run_items; first += step) {
                        const std::size_t items = std::min(step, layout.run_items - first);
                        pieces.push_back({&array, &layout, slot, row, 1, first, items});
                    }
                }
            } else {
                const std::size_t step = std::max<std::size_t>(1, kPiece / run_bytes);
                for (std::size_t row = 0; row < layout.rows; row += step) {
                    const std::size_t rows = std::min(step, layout.rows - row);
                    pieces.push_back({&array, &layout, slot, row, rows, 0, layout.run_items});
                }
            }
        }
        slot += rounded_up(bytes);
        total += bytes;
    }
    const bool large = total >= kLargeFrom;
    if (threads_ == 1 || total < kParallelFrom || pieces.size() == 1) {
        for (const Piece& piece : pieces) copy_piece(piece, to_slot, large);
        return;
    }
    std::atomic<std::size_t> next{0};
    auto work = [&](int) noexcept {
        for (std::size_t i = next.fetch_add(1); i < pieces.size(); i = next.fetch_add(1)) {
            copy_piece(pieces[i], to_slot, large);
        }
    };
    region_->run(std::min<int>(threads_, static_cast<int>(std::min<std::size_t>(pieces.size(), 1024))), work);
}

void SnapshotCopier::prefault(std::byte* data, std::size_t bytes) {
    constexpr std::size_t page = 4096;
    constexpr std::size_t block = std::size_t{4} << 20;
    std::atomic<std::size_t> next{0};
    auto work = [&](int) noexcept {
        for (std::size_t from = next.fetch_add(block); from < bytes; from = next.fetch_add(block)) {
            const std::size_t to = std::min(bytes, from + block);
            for (std::size_t i = from; i < to; i += page) {
                *static_cast<volatile std::byte*>(data + i) = std::byte{0};
            }
        }
    };
    region_->run(bytes < block ? 1 : threads_, work);
}

int default_copy_threads() {
    if (const char* given = std::getenv("OMP_NUM_THREADS")) {
        const long threads = std::strtol(given, nullptr, 10);
        if (threads >= 1) return static_cast<int>(std::min(threads, 1024L));
    }
    int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) cores = CPU_COUNT(&allowed);
#endif
    return std::clamp(cores, 1, 8);
}

}  // namespace revolve
