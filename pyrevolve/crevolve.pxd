# The C++ library, as the extension sees it.
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int8_t, int32_t, int64_t
from libcpp cimport bool as cbool
from libcpp.memory cimport shared_ptr, unique_ptr
from libcpp.vector cimport vector


cdef extern from "Python.h":
    # Cython's own declaration would raise inside `check_signals`, where the error would be dropped.
    int run_signal_handlers "PyErr_CheckSignals"() noexcept


cdef extern from "<cstddef>" namespace "std" nogil:
    cdef cppclass byte:
        pass


cdef extern from "revolve/binomial.hpp" namespace "revolve" nogil:
    int64_t cpp_beta "revolve::beta"(int64_t, int64_t) except +
    int64_t cpp_maxrange "revolve::maxrange"(int64_t, int64_t) except +
    int64_t cpp_maxrange_saturating "revolve::maxrange_saturating"(int64_t, int64_t) except +
    int64_t cpp_repetition_number "revolve::repetition_number"(int64_t, int64_t) except +
    int64_t cpp_numforw "revolve::numforw"(int64_t, int64_t) except +
    double cpp_expense "revolve::expense"(int64_t, int64_t) except +
    int64_t cpp_takeshots "revolve::takeshots"(int64_t, int64_t) except +
    int64_t cpp_adjust "revolve::adjust"(int64_t) except +


cdef extern from "revolve/instruction.hpp" namespace "revolve" nogil:
    cdef enum class CppKind "revolve::Kind":
        save
        load
        end

    cdef enum class CppContent "revolve::Content":
        state

    cdef cppclass CppInstruction "revolve::Instruction":
        CppKind kind
        int8_t keep
        CppContent content
        int32_t tier
        int64_t slot
        int64_t t
        int64_t start
        int64_t stop


cdef extern from "revolve/windowed.hpp" namespace "revolve" nogil:
    cdef cppclass CppWindowModel "revolve::WindowModel":
        int64_t window
        int64_t lookback
        int64_t lag

    cdef cppclass CppCounts "revolve::ScheduleCounts":
        int64_t forward_steps
        int64_t saves
        int64_t loads
        int64_t forward_calls
        int64_t reverse_calls
        int64_t peak_snapshots

    cdef cppclass CppProblem "revolve::WindowedProblem":
        int64_t timesteps
        int64_t snapshots
        CppWindowModel model
        cbool free_initial_state
        void validate() except +
        CppCounts counts() except +


cdef extern from "revolve/interrupt.hpp" namespace "revolve" nogil:
    ctypedef cbool (*InterruptCheck)()


cdef extern from "revolve/schedule.hpp" namespace "revolve" nogil:
    cdef cppclass CppSchedule "revolve::Schedule":
        CppInstruction next() except +

    cdef cppclass CppForwardOnly "revolve::ForwardOnly"(CppSchedule):
        CppForwardOnly(int64_t)

    cdef cppclass CppTierCounts "revolve::TierCounts":
        int64_t saves
        int64_t loads
        int64_t peak

    cdef cppclass CppTally "revolve::ScheduleTally":
        int64_t forward_steps
        int64_t forward_calls
        int64_t reverse_calls
        int64_t frees
        vector[CppTierCounts] tiers

    CppTally cpp_tally "revolve::tally"(CppSchedule&, InterruptCheck, vector[int64_t]) except +


cdef extern from "revolve/layout.hpp" namespace "revolve" nogil:
    cdef cppclass CppStoredState "revolve::StoredState":
        int64_t t
        int32_t tier
        int64_t slot

    cdef cppclass CppLayout "revolve::Layout":
        vector[CppStoredState] stored
        int64_t position
        int64_t loaded_at
        int64_t remaining
        cbool turned


cdef extern from "revolve/windowed_schedule.hpp" namespace "revolve" nogil:
    unique_ptr[CppSchedule] windowed_schedule(const CppProblem&, vector[int32_t]) except +
    unique_ptr[CppSchedule] windowed_schedule(
        const CppProblem&, const CppLayout&, vector[int32_t], InterruptCheck) except +


cdef extern from "revolve/multistage.hpp" namespace "revolve" nogil:
    cdef cppclass CppRankCounts "revolve::RankCounts":
        int64_t saves
        int64_t loads

    cdef cppclass CppTwoTierCosts "revolve::TwoTierCosts":
        double[2] save
        double[2] load

    vector[CppRankCounts] cpp_rank_counts "revolve::rank_counts"(const CppProblem&) except +
    vector[int32_t] cpp_place_ranks "revolve::place_ranks"(
        const vector[CppRankCounts]&, int64_t, int64_t, const CppTwoTierCosts&) except +


cdef extern from "revolve/mixed.hpp" namespace "revolve" nogil:
    cdef cppclass CppMixedProblem "revolve::MixedProblem":
        int64_t timesteps
        int64_t units
        int64_t stages
        cbool stiffly_accurate

    cdef cppclass CppMixedTable "revolve::MixedTable":
        CppMixedTable(const CppMixedProblem&, InterruptCheck) except +
        int64_t forward_steps() noexcept

    unique_ptr[CppSchedule] mixed_schedule(shared_ptr[CppMixedTable]) except +
    int64_t cpp_peak_units "revolve::peak_units"(shared_ptr[CppMixedTable], InterruptCheck) except +


cdef extern from "revolve/hierarchical.hpp" namespace "revolve" nogil:
    cdef int64_t cpp_unbounded "revolve::kUnbounded"

    cdef cppclass CppTierCosts "revolve::TierCosts":
        int64_t capacity
        double write
        double read
        cbool one_read

    cdef cppclass CppHierarchicalProblem "revolve::HierarchicalProblem":
        int64_t timesteps
        CppWindowModel model
        cbool free_initial_state
        double forward_step
        double forward_call
        double reverse_call
        vector[CppTierCosts] tiers
        void validate() except +

    cdef cppclass CppHierarchicalTables "const revolve::HierarchicalTables":
        double cost() noexcept

    cdef cppclass CppPeriodicDiskPlan "revolve::PeriodicDiskPlan":
        int64_t period
        double cost

    shared_ptr[CppHierarchicalTables] plan_hierarchical(
        const CppHierarchicalProblem&, InterruptCheck) except +
    CppPeriodicDiskPlan plan_periodic_disk(CppHierarchicalProblem, int64_t, InterruptCheck) except +
    unique_ptr[CppSchedule] hierarchical_schedule(shared_ptr[CppHierarchicalTables]) except +
    unique_ptr[CppSchedule] periodic_disk_schedule(const CppPeriodicDiskPlan&) except +


cdef extern from "revolve/window_plan.hpp" namespace "revolve" nogil:
    cdef cppclass CppStepCosts "revolve::StepCosts":
        double forward_step
        double reverse_step
        double forward_call
        double reverse_call
        double save
        double load

    cdef cppclass CppWindowBudget "revolve::WindowBudget":
        int64_t budget
        int64_t fixed
        int64_t window_slice
        int64_t state
        int64_t window_min
        int64_t window_max

    cdef cppclass CppWindowChoice "revolve::WindowChoice":
        int64_t window
        int64_t snapshots
        double seconds
        CppCounts counts

    CppWindowChoice choose_window(
        int64_t, int64_t, int64_t, cbool, const CppWindowBudget&, const CppStepCosts&) except +


cdef extern from "revolve/periodic.hpp" namespace "revolve" nogil:
    cdef cppclass CppPeriodicProblem "revolve::PeriodicProblem":
        int64_t timesteps
        int64_t period
        int64_t slots
        CppWindowModel model
        cbool free_initial_state
        int32_t spine_tier
        cbool one_read
        void validate() except +

    cdef cppclass CppOverlapCosts "revolve::OverlapCosts":
        CppStepCosts steps
        double write
        double read
        int64_t buffers

    cdef cppclass CppOverlapTime "revolve::OverlapTime":
        double seconds
        double write_wait
        double read_wait

    unique_ptr[CppSchedule] periodic_schedule(const CppPeriodicProblem&) except +
    CppTally cpp_periodic_counts "revolve::periodic_counts"(const CppPeriodicProblem&) except +
    CppOverlapTime cpp_overlap "revolve::overlap"(const CppPeriodicProblem&, const CppOverlapCosts&) except +


cdef extern from "revolve/tier_plan.hpp" namespace "revolve" nogil:
    cdef cppclass CppTierChoice "revolve::TierChoice":
        int64_t window
        int64_t slots
        int64_t on_disk
        int64_t period
        double seconds
        double waiting
        CppTally counts

    cdef cppclass CppTierProblem "revolve::TierProblem":
        int64_t timesteps
        int64_t lookback
        int64_t lag
        cbool free_initial_state
        CppWindowBudget memory
        int64_t disk_states
        double interference
        CppOverlapCosts costs
        cbool overlapped

    CppTierChoice choose_periodic(const CppTierProblem&) except +
    CppTierChoice choose_multistage(const CppTierProblem&) except +


cdef extern from "revolve/offline.hpp" namespace "revolve" nogil:
    cdef enum class CppAction "revolve::Action":
        error

    cdef cppclass CppOfflineRevolve "revolve::OfflineRevolve":
        CppOfflineRevolve(int64_t, int64_t) except +
        CppAction revolve() except +
        int64_t capo() noexcept
        int64_t old_capo() noexcept
        int64_t fine() noexcept
        int64_t check() noexcept
        int64_t advances() noexcept


cdef extern from "revolve/online.hpp" namespace "revolve" nogil:
    cdef enum class CppOnlineRule "revolve::OnlineRule":
        pass

    cdef cppclass CppOnlineStored "revolve::OnlineLayout::Stored":
        int64_t at
        int64_t slot

    cdef cppclass CppOnlineLayout "revolve::OnlineLayout":
        int64_t next_stop() noexcept
        vector[CppOnlineStored] stored() noexcept

    cdef cppclass CppOnlineForward "revolve::OnlineForward":
        CppOnlineForward(int64_t, const CppWindowModel&, cbool, CppOnlineRule) except +
        void set_goal(int64_t, cbool) except +
        cbool next(CppInstruction&) except +
        cbool arrived() noexcept
        int64_t position() noexcept
        const CppOnlineLayout& layout() noexcept


cdef extern from "revolve/online_revolve.hpp" namespace "revolve" nogil:
    cdef cppclass CppOnlineRevolve "revolve::OnlineRevolve"(CppOfflineRevolve):
        CppOnlineRevolve(int64_t, CppOnlineRule) except +
        void turn(int64_t) except +


cdef extern from "revolve/arena.hpp" namespace "revolve" nogil:
    cdef cppclass CppArena "revolve::Arena":
        CppArena(size_t) except +
        byte* data() noexcept


cdef extern from "revolve/parallel_region.hpp" namespace "revolve" nogil:
    void watch_for_forks() except +


cdef extern from "revolve/snapshot_copy.hpp" namespace "revolve" nogil:
    cdef cppclass ArrayView:
        byte* data
        size_t item_size
        vector[ptrdiff_t] shape
        vector[ptrdiff_t] strides

    size_t packed_bytes(const vector[ArrayView]&) except +
    int default_copy_threads() noexcept

    cdef cppclass CppSnapshotCopier "revolve::SnapshotCopier":
        CppSnapshotCopier(int) except +
        int threads() noexcept
        void save(byte*, const vector[ArrayView]&) except +
        void load(const byte*, const vector[ArrayView]&) except +
        void prefault(byte*, size_t) except +


cdef class Instruction:
    cdef CppInstruction value
    cdef int64_t first_kept
    cdef tuple _key(self)


cdef class Instructions:
    cdef unique_ptr[CppSchedule] schedule
    cdef vector[int64_t] held
    cdef bint live
    cdef bint busy
    cdef int _claim(self) except -1


cdef class MixedTable:
    cdef shared_ptr[CppMixedTable] table


cdef class OnlineForward:
    cdef unique_ptr[CppOnlineForward] forward


cdef class CRevolve:
    cdef unique_ptr[CppOfflineRevolve] machine
    cdef CppOnlineRevolve* online
    cdef readonly int64_t snapshots
    cdef readonly object timesteps
    cdef tuple tiers


cdef class HierarchicalPlan:
    cdef shared_ptr[CppHierarchicalTables] tables


cdef class PeriodicDiskPlan:
    cdef CppPeriodicDiskPlan plan


cdef class Arena:
    cdef unique_ptr[CppArena] arena
    cdef Py_ssize_t shape
    cdef Py_ssize_t stride


cdef class SnapshotCopier:
    cdef unique_ptr[CppSnapshotCopier] copier
    cdef int _copy(self, object slot_buffer, object offset, object arrays, bint to_slot) except -1
