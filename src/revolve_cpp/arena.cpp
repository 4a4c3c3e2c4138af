#include "revolve/arena.hpp"

#include <cstdint>
#include <cstring>
#include <limits>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#define REVOLVE_HAS_MMAP 1
#include <sys/mman.h>
#else
#define REVOLVE_HAS_MMAP 0
#endif

namespace revolve {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

Arena::Arena(std::size_t bytes) : size_(bytes) {
    if (bytes == 0) return;
    if (bytes > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) - 2 * kHugePage) {
        throw std::bad_alloc();
    }
#if REVOLVE_HAS_MMAP
    // Huge pages need the range aligned to them, so map that much more.
    mapped_ = bytes < kHugePage ? bytes : (bytes + 2 * kHugePage - 1) / kHugePage * kHugePage;
    void* mapping = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<std::byte*>(mapping);
    data_ = mapping_;
    if (bytes >= kHugePage) {
        const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
        data_ = mapping_ + (kHugePage - address % kHugePage) % kHugePage;
#if defined(MADV_HUGEPAGE)
        madvise(data_, bytes, MADV_HUGEPAGE);  // advice only: an answer of "no" changes nothing but speed
#endif
    }
#else
    mapped_ = bytes;
    mapping_ = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{4096}));
    std::memset(mapping_, 0, bytes);
    data_ = mapping_;
#endif
}

Arena::~Arena() {
    if (mapping_ == nullptr) return;
#if REVOLVE_HAS_MMAP
    munmap(mapping_, mapped_);
#else
    ::operator delete (mapping_, std::align_val_t{4096});
#endif
}

}  // namespace revolve
