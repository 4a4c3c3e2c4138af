#pragma once

#include <algorithm>
#include <cstdint>

#include "revolve/checked.hpp"

/// Windowed Revolve: Revolve whose workspace retains the step data of up to K timesteps (the window), so that one
/// adjoint call reverses many timesteps, and whose snapshots carry the step data of d timesteps (the lookback).
/// Window 1, lookback 0, lag 1 is Revolve (Griewank & Walther 2000, ACM TOMS 26(1), doi:10.1145/347837.347846),
/// split for split.
///
/// A *chain* (x, c) is a stored start with x timesteps to its right and c free slots. At repetition number rho it
/// consists of full levels 1 .. rho - 1 and of y timesteps at level rho. Every schedule with the fewest forward
/// steps has this form; the y timesteps are laid out here so that copies, then calls, are fewest too:
///   - a leaf of level rho that is the last of its chain and leaves room for the lookback of its start in the
///     window (K - d timesteps) costs no copy, because the start need not be loaded again for its lookback;
///   - filling such a leaf up to K timesteps costs one load;
///   - any further timesteps cost a save and a load for d of them (for K of them where d = 0).
namespace revolve {

/// Place of a chain in the family: c free slots, repetition number rho, and C(c + rho - 1, c + 1), from which every
/// binomial that the split needs follows with one multiplication and one division.
struct ChainNode {
    std::int64_t slots = 0;
    std::int64_t repetitions = 1;
    std::int64_t leaves_below = 0;
};

/// Exact counts of a chain's optimal schedule. Wide, because sums are checked where they are reported.
struct ChainCounts {
    wide_t forward_steps = 0;
    wide_t saves = 0;
    wide_t loads = 0;
    wide_t forward_calls = 0;
    wide_t reverse_calls = 0;
    std::int64_t peak = 0;
};

/// What the workspace retains: at x_p, run from x_a, the step data of the timesteps tau with
/// max(a - d - lag, p - K - lag) < tau <= p - lag.
struct WindowModel {
    std::int64_t window;
    std::int64_t lookback;
    std::int64_t lag;

    /// First state with which a snapshot carries all timesteps before it: e = max(0, d - 1 + lag).
    std::int64_t carrying_state() const noexcept { return std::max<std::int64_t>(0, lookback - 1 + lag); }
    /// Whether the workspace retains a whole run at its end. With lag 0 the data that x_n carries takes a place.
    bool holds(std::int64_t timesteps) const noexcept {
        return timesteps == 0 || timesteps <= window - (1 - lag);
    }

    /// Longest chain in which no timestep is run forward more than rho times,
    /// L(c, rho) = K C(c + rho, c + 1) + d (C(c + rho, c) - 1); saturates.
    std::int64_t capacity_saturating(std::int64_t slots, std::int64_t repetitions) const noexcept;
    /// Least rho with L(c, rho) >= x, at least 1. O(min(c, rho) log rho).
    std::int64_t repetitions(std::int64_t timesteps, std::int64_t slots) const;

    ChainNode node(std::int64_t timesteps, std::int64_t slots) const;
    /// The node of a shorter chain with the same slots; O(1) per level left behind.
    void shrink(ChainNode& node, std::int64_t timesteps) const noexcept;
    /// The node of the right part of a split, which has one slot less.
    ChainNode right_of(const ChainNode& node, std::int64_t timesteps) const noexcept;

    /// Counts of a chain whose start finally gives `closing` <= d timesteps of its lookback (d for every snapshot but
    /// the initial state). Forward steps are F(x, c) = rho x - K C(c + rho, c + 2) - d (C(c + rho, c + 1) - rho).
    ChainCounts chain(std::int64_t timesteps, std::int64_t slots, std::int64_t closing) const;

    /// Where to store next: timesteps from the chain's start to the snapshot. Requires x > K and c >= 1. O(1).
    /// Where d = 0 and x - m <= K nothing is stored there and the right part is reversed from the window.
    std::int64_t split(const ChainNode& node, std::int64_t timesteps) const noexcept;
    /// The same for the chain of a free initial state with closing < d. O(log rho).
    std::int64_t split_of_initial(const ChainNode& node, std::int64_t timesteps, std::int64_t closing) const;

private:
    struct LevelBinomials {
        std::int64_t left_leaves;   // C(c + rho - 2, c)
        std::int64_t right_leaves;  // C(c + rho - 2, c - 1), also the left part's splits; saturates
        std::int64_t below;         // L(c, rho - 1)
        std::int64_t right_below;   // L(c - 1, rho - 1)
    };
    LevelBinomials binomials(const ChainNode& node) const noexcept;
    /// Timesteps of level rho that the right part's leaves take, of which the first `unmerged` are filled up.
    std::int64_t in_right_leaves(const LevelBinomials& level, std::int64_t unmerged) const noexcept;
    std::int64_t below(const ChainNode& node) const noexcept;
    ChainCounts chain_at(const ChainNode& node, std::int64_t timesteps, std::int64_t closing) const;
};

/// Classic Revolve as a member of the family.
inline constexpr WindowModel kClassicRevolve{1, 0, 1};

/// Exact counts of a whole run.
struct ScheduleCounts {
    std::int64_t forward_steps = 0;
    std::int64_t saves = 0;
    std::int64_t loads = 0;
    std::int64_t forward_calls = 0;
    std::int64_t reverse_calls = 0;
    std::int64_t peak_snapshots = 0;
};

/// Largest number of timesteps; leaves room for sums of a few indices in 64 bits.
inline constexpr std::int64_t kMostTimesteps = std::int64_t{1} << 62;

/// A run of n timesteps with S snapshots.
struct WindowedProblem {
    std::int64_t timesteps;
    std::int64_t snapshots;
    WindowModel model;
    bool free_initial_state = false;

    /// Throws invalid_argument where a parameter is out of its range, overflow_error for n > kMostTimesteps.
    void validate() const;
    /// Counts of the optimal schedule, O(log) and without running it; overflow_error where one exceeds 64 bits.
    ScheduleCounts counts() const;

    /// Index of the first snapshot, normally `model.carrying_state()`.
    std::int64_t first_snapshot() const noexcept;
    /// Timesteps that the bottom snapshot gives from its own lookback.
    std::int64_t closing() const noexcept;
    /// The whole run stays in the window.
    bool fits_window() const noexcept { return model.holds(timesteps); }
    /// Free slots of the bottom chain; more than one per timestep are never used.
    std::int64_t chain_slots() const noexcept;
};

}  // namespace revolve
