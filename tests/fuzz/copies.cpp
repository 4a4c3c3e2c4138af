#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "revolve/snapshot_copy.hpp"

#include "families.hpp"

namespace fuzz {

namespace {

using revolve::ArrayView;

/// An array somewhere in a buffer of its own, with strides of any sign, and the same view of another buffer.
struct Array {
    std::vector<std::byte> source;
    std::vector<std::byte> target;
    ArrayView from;
    ArrayView to;
};

Array array_of(Input& input) {
    Array array;
    constexpr std::array<std::size_t, 8> sizes{1, 2, 4, 8, 16, 3, 12, 40};
    ArrayView& view = array.from;
    view.item_size = sizes[static_cast<std::size_t>(input.between(0, 7))];
    const std::int64_t axes = input.between(0, 4);
    // Few items: more of them only take longer, but for one long axis, whose copies are streamed.
    const std::int64_t longest = axes == 4 ? 3 : 6;
    for (std::int64_t axis = 0; axis < axes; ++axis) view.shape.push_back(input.between(0, longest));
    if (axes == 1 && input.rarely(8)) view.shape.back() = input.between(0, 3000);
    // Axes in any order, with gaps between their items, forwards or backwards.
    std::vector<std::size_t> order(view.shape.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = order.size(); i > 1; --i) {
        if (input.flag()) std::swap(order[i - 1], order[static_cast<std::size_t>(input.between(0, i - 1))]);
    }
    view.strides.resize(view.shape.size());
    std::ptrdiff_t extent = static_cast<std::ptrdiff_t>(view.item_size);
    std::ptrdiff_t lowest = input.between(0, 65);
    for (std::size_t i = order.size(); i-- > 0;) {
        const std::size_t axis = order[i];
        const std::ptrdiff_t stride = extent + (input.rarely(4) ? input.between(0, 9) : 0);
        const std::ptrdiff_t reach = stride * std::max<std::ptrdiff_t>(0, view.shape[axis] - 1);
        const bool backwards = input.rarely(4);
        view.strides[axis] = backwards ? -stride : stride;
        if (backwards) lowest += reach;
        extent += reach;
    }
    array.source.resize(static_cast<std::size_t>(lowest + extent) + 70);
    for (std::size_t i = 0; i < array.source.size(); ++i) array.source[i] = std::byte(i * 37 + i / 251);
    array.target.assign(array.source.size(), std::byte{0xee});
    array.to = view;
    view.data = array.source.data() + lowest;
    array.to.data = array.target.data() + lowest;
    return array;
}

/// Offsets of the items of a view, in C order.
std::vector<std::ptrdiff_t> offsets(const ArrayView& view) {
    std::vector<std::ptrdiff_t> result{0};
    for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
        std::vector<std::ptrdiff_t> longer;
        for (const std::ptrdiff_t base : result) {
            for (std::ptrdiff_t i = 0; i < view.shape[axis]; ++i)
                longer.push_back(base + i * view.strides[axis]);
        }
        result = std::move(longer);
    }
    return result;
}

revolve::SnapshotCopier& copier(std::int64_t threads) {
    static std::array<std::unique_ptr<revolve::SnapshotCopier>, 3> copiers;
    auto& one = copiers[static_cast<std::size_t>(threads - 1)];
    if (one == nullptr) one = std::make_unique<revolve::SnapshotCopier>(static_cast<int>(threads));
    return *one;
}

}  // namespace

void copies(Input& input) {
    std::vector<Array> arrays;
    std::vector<ArrayView> from;
    std::vector<ArrayView> to;
    const std::int64_t count = input.between(0, 3);
    for (std::int64_t i = 0; i < count; ++i) arrays.push_back(array_of(input));
    std::vector<std::byte> packed;
    for (const Array& array : arrays) {
        from.push_back(array.from);
        to.push_back(array.to);
        packed.resize((packed.size() + revolve::kPackAlignment - 1) / revolve::kPackAlignment *
                      revolve::kPackAlignment);
        for (const std::ptrdiff_t offset : offsets(array.from)) {
            packed.insert(packed.end(), array.from.data + offset,
                          array.from.data + offset + array.from.item_size);
        }
    }
    const std::size_t used = packed.size();
    packed.resize((used + revolve::kPackAlignment - 1) / revolve::kPackAlignment * revolve::kPackAlignment);
    require(packed_bytes(from) == packed.size(), "takes another number of bytes");

    // The slot begins anywhere; nothing around it may be touched.
    const auto before = static_cast<std::size_t>(input.between(1, 70));
    std::vector<std::byte> slot(before + packed.size() + 3, std::byte{0x55});
    const std::int64_t threads = input.rarely(8) ? input.between(2, 3) : 1;
    copier(threads).save(slot.data() + before, from);
    for (std::size_t i = 0; i < before; ++i) require(slot[i] == std::byte{0x55}, "writes before the slot");
    for (std::size_t i = before + packed.size(); i < slot.size(); ++i) {
        require(slot[i] == std::byte{0x55}, "writes behind the slot");
    }
    std::size_t at = 0;
    for (const Array& array : arrays) {
        at = (at + revolve::kPackAlignment - 1) / revolve::kPackAlignment * revolve::kPackAlignment;
        for (std::size_t i = 0; i < array.from.bytes(); ++i, ++at) {
            require(slot[before + at] == packed[at], "saves other bytes");
        }
    }
    copier(threads).load(slot.data() + before, to);
    for (Array& array : arrays) {
        std::vector<std::byte> expected(array.target.size(), std::byte{0xee});
        const std::ptrdiff_t base = array.from.data - array.source.data();
        for (const std::ptrdiff_t offset : offsets(array.from)) {
            const auto item = static_cast<std::size_t>(base + offset);
            for (std::size_t i = item; i < item + array.from.item_size; ++i) expected[i] = array.source[i];
        }
        require(array.target == expected, "loads other bytes, or to another place");
    }
}

}  // namespace fuzz
