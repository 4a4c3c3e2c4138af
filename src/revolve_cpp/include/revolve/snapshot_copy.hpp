#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace revolve {

/// A strided array in memory; strides in bytes, any sign.
struct ArrayView {
    std::byte* data = nullptr;
    std::size_t item_size = 1;
    std::vector<std::ptrdiff_t> shape;
    std::vector<std::ptrdiff_t> strides;

    std::size_t bytes() const noexcept;
};

/// Where packed arrays start: multiples of this many bytes.
inline constexpr std::size_t kPackAlignment = 64;

/// Bytes that the arrays take in a slot, each at the next multiple of kPackAlignment; a multiple of it.
/// Throws overflow_error where that does not fit.
std::size_t packed_bytes(const std::vector<ArrayView>& arrays);

class ParallelRegion;

/// Copies many arrays to one contiguous slot and back with several threads.
/// Large contiguous runs go to the slot by streaming stores, which bypass the caches: it is not read again soon.
/// Where the process has loaded GNU's OpenMP runtime its threads are used - beside spinning OpenMP threads any others
/// would wait for a core - and threads of the copier's own otherwise. Calls from several threads take turns.
class SnapshotCopier {
public:
    /// threads >= 1.
    explicit SnapshotCopier(int threads);
    ~SnapshotCopier();
    SnapshotCopier(const SnapshotCopier&) = delete;
    SnapshotCopier& operator=(const SnapshotCopier&) = delete;

    int threads() const noexcept { return threads_; }

    /// Arrays to slot[0, packed_bytes). Source and slot must not overlap.
    void save(std::byte* slot, const std::vector<ArrayView>& arrays);
    /// slot[0, packed_bytes) to arrays.
    void load(const std::byte* slot, const std::vector<ArrayView>& arrays);
    /// Write one zero to every page so that the system provides it now, not in the middle of a run. Contents are lost.
    void prefault(std::byte* data, std::size_t bytes);

private:
    enum class Direction { to_slot, from_slot };
    void copy(std::byte* slot, const std::vector<ArrayView>& arrays, Direction direction);

    int threads_;
    std::unique_ptr<ParallelRegion> region_;
};

/// Threads that copies use unless told otherwise: OMP_NUM_THREADS, else the cores this process may run on, at most 8
/// (memory bandwidth is exhausted by then).
int default_copy_threads();

}  // namespace revolve
