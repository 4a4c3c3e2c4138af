#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "revolve/schedule.hpp"
#include "revolve/window_plan.hpp"
#include "revolve/windowed.hpp"

namespace revolve {

/// A snapshot every `period` timesteps in the tier of the spine; each segment is solved with windowed Revolve and the
/// slots in RAM (tier 0). The last segment is not run again, nor its start stored where that takes more forward steps.
/// With the spine on disk this is the two-level schedule of G. C. Pringle et al. (2016) and, read ahead, that of N.
/// Kukreja et al. (2018, arXiv:1806.01117).
struct PeriodicProblem {
    std::int64_t timesteps;
    std::int64_t period;
    std::int64_t slots;  ///< in RAM
    WindowModel model;
    bool free_initial_state = false;
    /// Tier of the snapshots that are `period` apart; 0 goes with no slots for others.
    std::int32_t spine_tier;
    /// Every snapshot of the spine is loaded once; a segment that needs its start again stores it in RAM, given a
    /// slot there. Otherwise the start is loaded from the spine's tier every time, and all slots hold inner snapshots.
    bool one_read = false;

    /// Throws invalid_argument where a parameter is out of its range, overflow_error for too many timesteps.
    void validate() const;
    bool copies() const noexcept { return one_read && slots > 0; }
    bool fits_window() const noexcept { return model.holds(timesteps); }
    std::int64_t first_snapshot() const noexcept;

    /// Timesteps that the first snapshot carries.
    std::int64_t closing() const noexcept;
    /// Free slots of a segment's chain; more than one per timestep are never used.
    std::int64_t chain_slots() const noexcept { return std::min(slots, timesteps) - (copies() ? 1 : 0); }
    /// Whether the last x timesteps, more than a period, are better left in one piece.
    bool whole(std::int64_t x) const;
    /// Number of full segments, and the timesteps behind them.
    std::pair<std::int64_t, std::int64_t> segments() const;

private:
    WindowedProblem windowed() const noexcept {
        return {timesteps, free_initial_state ? 0 : 1, model, free_initial_state};
    }
};

std::unique_ptr<Schedule> periodic_schedule(const PeriodicProblem& problem);

/// The same as tally(periodic_schedule(problem)), frees left out, without running it, O(log); where snapshots are
/// reread their loads cannot be told apart from those of RAM, so that one_read or no slots at all is required
/// (logic_error).
ScheduleTally periodic_counts(const PeriodicProblem& problem);

/// What things take [s] where a background thread writes the spine behind the run and reads it ahead.
struct OverlapCosts {
    StepCosts steps;  ///< save and load: a copy in RAM, also that to and from a staging buffer
    double write = 0;
    double read = 0;
    std::int64_t buffers = 2;  ///< staging buffers, >= 1
};

struct OverlapTime {
    double seconds = 0;     ///< in all, waiting included
    double write_wait = 0;  ///< of that, waiting for a buffer to be written
    double read_wait = 0;   ///< of that, waiting for a snapshot to be read
};

/// Predicted time of a one-read schedule. One thread writes in order and, once that and the first sweep are done, reads
/// in the order of the reversal, as far ahead as there are buffers. A save of the spine waits while all buffers are
/// unwritten, a load until its read is done. As the segments take the same time, who waits for whom is the longest of
/// a few paths, O(slots in RAM).
OverlapTime overlap(const PeriodicProblem& problem, const OverlapCosts& costs);

}  // namespace revolve
