#pragma once

#include <cstdint>

#include "revolve/multistage.hpp"
#include "revolve/periodic.hpp"
#include "revolve/window_plan.hpp"

namespace revolve {

/// A window, its snapshots in RAM and on disk, and what that is predicted to take.
struct TierChoice {
    std::int64_t window = 0;  ///< 0: nothing fits
    std::int64_t slots = 0;   ///< for snapshots in RAM
    std::int64_t on_disk = 0;
    std::int64_t period = 0;  ///< between snapshots on disk; 0: not periodic
    double seconds = 0;
    double waiting = 0;  ///< of that, waiting for transfers
    ScheduleTally counts;
};

/// What a plan over RAM and disk chooses for.
struct TierProblem {
    std::int64_t timesteps;
    std::int64_t lookback;
    std::int64_t lag;
    bool free_initial_state = false;
    WindowBudget memory;  ///< its fixed part includes buffers for staging
    std::int64_t disk_states;
    OverlapCosts costs;
    bool overlapped = false;  ///< transfers run beside the timesteps
    double interference = 0;  ///< by what part of the time of hidden transfers timesteps get slower
};

/// The best periodic two-tier schedule found. Windows grow geometrically by 3% (all of them up to 32); for each, the
/// periods at which the cost per timestep has its kinks: the longest ones for every number of repetitions, those that
/// hide transfers, the shortest that the disk holds, and those that split the run as often evenly. Against all windows,
/// periods and slots: at most 5.5% from the best for n <= 60, 2.7% for n about 200, mostly below 1%.
TierChoice choose_periodic(const TierProblem& problem);

/// The best multistage schedule found: windows grow by 30%, numbers of snapshots on disk by a factor of 4.
TierChoice choose_multistage(const TierProblem& problem);

}  // namespace revolve
