#pragma once

#include <cstddef>

namespace revolve {

/// One page-aligned, zero-filled allocation, advised to use huge pages where the system offers them.
/// Nothing is touched: pages appear when they are first written (see SnapshotCopier::prefault).
class Arena {
public:
    /// Throws bad_alloc where the system refuses.
    explicit Arena(std::size_t bytes);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::byte* mapping_ = nullptr;
    std::size_t mapped_ = 0;
};

}  // namespace revolve
