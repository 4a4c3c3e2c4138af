#pragma once

#include <cstdint>

#include "revolve/windowed.hpp"

namespace revolve {

/// What things take, in seconds.
struct StepCosts {
    double forward_step = 0;
    double reverse_step = 0;
    double forward_call = 0;
    double reverse_call = 0;
    double save = 0;
    double load = 0;

    double makespan(const ScheduleCounts& counts, std::int64_t timesteps) const noexcept;
};

/// What the window and the snapshots may take together: fixed + K window_slice + S state <= budget, all in bytes.
struct WindowBudget {
    std::int64_t budget;
    std::int64_t fixed;
    std::int64_t window_slice;
    std::int64_t state;
    std::int64_t window_min;
    std::int64_t window_max;

    /// What is left for snapshots beside a window; -1: not even that fits.
    std::int64_t room(std::int64_t window) const noexcept;
};

struct WindowChoice {
    std::int64_t window = 0;  ///< 0: the budget holds no window with the snapshots it needs
    std::int64_t snapshots = 0;
    double seconds = 0;
    ScheduleCounts counts;
};

/// The window and number of snapshots with the least makespan.
/// Exact: windows are left out only by a lower bound on their makespan.
WindowChoice choose_window(std::int64_t timesteps, std::int64_t lookback, std::int64_t lag,
                           bool free_initial_state, const WindowBudget& budget, const StepCosts& costs);

}  // namespace revolve
