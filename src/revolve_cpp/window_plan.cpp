#include "revolve/window_plan.hpp"

#include <algorithm>
#include <vector>

namespace revolve {

namespace {

/// Search over windows [first, last] by interval halving: more snapshots and a longer window never cost forward
/// steps, so the shortest window's snapshots beside the longest window bound an interval from below.
class WindowSearch {
public:
    WindowSearch(std::int64_t timesteps, std::int64_t lookback, std::int64_t lag, bool free_initial_state,
                 const WindowBudget& budget, const StepCosts& costs)
        : timesteps_(timesteps),
          lookback_(lookback),
          lag_(lag),
          free_(free_initial_state),
          budget_(budget),
          costs_(costs) {}

    WindowChoice run() {
        // The shortest window of lookback > window is no window; a longer one than the whole run is of no use.
        const std::int64_t whole = std::max<std::int64_t>(1, timesteps_ + (1 - lag_));
        const std::int64_t first = std::max(budget_.window_min, std::max<std::int64_t>(1, lookback_));
        const std::int64_t last =
            std::min(budget_.window_max, std::max(first, std::min(whole, largest_affordable())));
        if (first > last) return best_;
        evaluate(last);
        evaluate(first);
        std::vector<std::pair<std::int64_t, std::int64_t>> open{{first, last}};
        while (!open.empty()) {
            const auto [low, high] = open.back();
            open.pop_back();
            if (high - low < 2 || (best_.window > 0 && lower_bound(low, high) >= best_.seconds)) continue;
            const std::int64_t middle = low + (high - low) / 2;
            evaluate(middle);
            open.emplace_back(low, middle);
            open.emplace_back(middle, high);
        }
        return best_;
    }

private:
    std::int64_t largest_affordable() const {
        if (budget_.window_slice == 0) return kSaturated;
        return (budget_.budget - std::min(budget_.budget, budget_.fixed)) / budget_.window_slice;
    }

    WindowedProblem problem(std::int64_t window, std::int64_t snapshots) const {
        return {timesteps_, snapshots, {window, lookback_, lag_}, free_};
    }

    std::int64_t snapshots_beside(std::int64_t window) const {
        const std::int64_t left = budget_.room(window);
        if (left < 0) return -1;
        const std::int64_t useful = std::max<std::int64_t>(1, timesteps_);
        return budget_.state == 0 ? useful : std::min(useful, left / budget_.state);
    }

    void evaluate(std::int64_t window) {
        const std::int64_t snapshots = snapshots_beside(window);
        if (snapshots < 0) return;
        const bool needs_one = !free_ && !problem(window, 1).fits_window();
        if (needs_one && snapshots < 1) return;
        WindowChoice choice;
        choice.window = window;
        choice.counts = problem(window, std::max<std::int64_t>(snapshots, free_ ? 0 : 1)).counts();
        choice.snapshots = choice.counts.peak_snapshots;
        choice.seconds = costs_.makespan(choice.counts, timesteps_);
        if (best_.window == 0 || choice.seconds < best_.seconds ||
            (choice.seconds == best_.seconds && bytes(choice) < bytes(best_))) {
            best_ = choice;
        }
    }

    std::int64_t bytes(const WindowChoice& choice) const {
        return budget_.fixed + choice.window * budget_.window_slice + choice.snapshots * budget_.state;
    }

    /// No window of the interval does better: forward steps as with the longest window beside the most snapshots;
    /// of copies and calls, what the levels below that repetition number take with the fewest snapshots.
    double lower_bound(std::int64_t low, std::int64_t high) const {
        const std::int64_t least = free_ ? 0 : 1;
        const WindowedProblem most = problem(high, std::max(snapshots_beside(low), least));
        ScheduleCounts bound;
        bound.forward_steps = most.counts().forward_steps;
        bound.forward_calls = bound.forward_steps > 0 ? 1 : 0;
        bound.reverse_calls = ceil_divide(timesteps_, high);
        if (most.fits_window()) return costs_.makespan(bound, timesteps_);
        const std::int64_t repetitions =
            most.model.repetitions(timesteps_ - most.first_snapshot(), most.chain_slots());
        const std::int64_t slots = std::max<std::int64_t>(0, snapshots_beside(high) - least);
        // Where nothing need be run twice the snapshots are d apart, unless there are too few of them.
        const std::int64_t beyond = timesteps_ - most.first_snapshot() - high;
        const std::int64_t levels_below =
            repetitions > 1 ? most.model.capacity_saturating(slots, repetitions - 1)
                            : high + std::min(beyond, saturating_multiply(lookback_, slots));
        if (levels_below > 0 && levels_below < timesteps_) {
            const ChainCounts chain = most.model.chain(levels_below, slots, most.closing());
            bound.saves = checked_narrow(chain.saves);
            bound.loads = checked_narrow(chain.loads);
            bound.forward_calls = std::max(bound.forward_calls, checked_narrow(chain.forward_calls));
            bound.reverse_calls = std::max(bound.reverse_calls, checked_narrow(chain.reverse_calls) - 1);
        }
        return costs_.makespan(bound, timesteps_);
    }

    std::int64_t timesteps_;
    std::int64_t lookback_;
    std::int64_t lag_;
    bool free_;
    WindowBudget budget_;
    StepCosts costs_;
    WindowChoice best_;
};

}  // namespace

std::int64_t WindowBudget::room(std::int64_t window) const noexcept {
    // Not with saturating counts: a budget may be as large as they are.
    std::int64_t taken{};
    if (multiply_overflows(window, window_slice, taken) || add_overflows(taken, fixed, taken)) return -1;
    return taken > budget ? -1 : budget - taken;
}

double StepCosts::makespan(const ScheduleCounts& counts, std::int64_t timesteps) const noexcept {
    const auto real = [](std::int64_t count) { return static_cast<double>(count); };
    return forward_step * real(counts.forward_steps) + reverse_step * real(timesteps) +
           forward_call * real(counts.forward_calls) + reverse_call * real(counts.reverse_calls) +
           save * real(counts.saves) + load * real(counts.loads);
}

WindowChoice choose_window(std::int64_t timesteps, std::int64_t lookback, std::int64_t lag,
                           bool free_initial_state, const WindowBudget& budget, const StepCosts& costs) {
    return WindowSearch(timesteps, lookback, lag, free_initial_state, budget, costs).run();
}

}  // namespace revolve
