#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "revolve/instruction.hpp"
#include "revolve/windowed.hpp"

/// Online checkpointing: which states to keep while the number of timesteps is not known.
///
/// In full slots every new state drives out a stored one. The gap between neighbours i and i + 1 of the stored states
/// (from the left, S slots) is later reversed as a chain with S - 1 - i free slots, so that it may take
/// d + L(S - 1 - i, rho - 1) timesteps where none is to be run forward more than rho times in all. Window 1, lookback
/// 0 is the published problem, with repetition number r = rho - 1 and beta(s, r) = L(s - 1, r + 1).
namespace revolve {

enum class OnlineRule : std::int8_t {
    /// target_gap from rho = 4 on stores only every (rho - 1) K + d timesteps: as far as the newest state can be run
    /// from with no slot left.
    spaced,
    /// States where the layout for rho ends up are permanent. Of the others, give up the newest whose two gaps merge
    /// into one that rho allows.
    target_gap,
    /// Wang, Moin & Iaccarino 2009, SIAM J. Sci. Comput. 31(4), doi:10.1137/080727890: the least rho at every length.
    minimal_repetition,
    /// After Hinze & Sternberg 2005, doi:10.1080/10556780410001684158: store where that lowers the cost of ending two
    /// windows later. Few writes.
    greedy,
    /// target_gap to rho = 3, greedy beyond.
    late_greedy,
    /// After Stumm & Walther 2010, SIAM J. Sci. Comput. 32(2), doi:10.1137/080742439: spaced to rho = 4, but not
    /// shortly before a permanent state, then minimal_repetition.
    stumm_walther,
};

/// The stored states of an online run, and the rule that chooses them. O(slots) memory.
class OnlineLayout {
public:
    struct Stored {
        std::int64_t at;
        std::int64_t slot;   ///< -1: a free initial state
        std::int64_t level;  ///< Wang, Moin & Iaccarino's, counted in windows that were run to get there
    };
    struct Decision {
        bool save = false;
        std::int64_t slot;      ///< where to; -1 where nothing is saved
        std::int64_t given_up;  ///< state that the slot holds until then; -1: none
    };

    /// Throws invalid_argument where a parameter is out of its range.
    OnlineLayout(std::int64_t snapshots, const WindowModel& model, bool free_initial_state, OnlineRule rule);

    /// The next state that may have to be saved before the run goes on from it; kNever: none.
    std::int64_t next_stop() const noexcept { return next_.at; }
    /// Whether it will be saved.
    bool saves_next() const noexcept { return next_.save; }
    /// To be called where the run goes on from x_next_stop(). O(slots); mostly O(log slots) but for the greedy rules.
    Decision decide();

    const std::vector<Stored>& stored() const noexcept { return stored_; }

    static constexpr std::int64_t kNever = kMostTimesteps + 1;

private:
    struct Stop {
        std::int64_t at = kNever;
        bool save = false;
        std::size_t drop = 0;  ///< index of the state given up; 0, the first, is always kept: none
    };

    Stop plan();
    Stop by_limits();
    Stop by_levels() const;
    Stop by_cost() const;
    void aim_at(std::int64_t repetitions);
    std::int64_t limit(std::size_t gap) const noexcept;
    /// Running on from the newest state, after the timesteps that a new one carries and so many windows.
    std::int64_t after_windows(std::int64_t windows) const noexcept;
    bool is_full() const noexcept { return static_cast<std::int64_t>(stored_.size()) == states_; }

    WindowModel model_;
    std::int64_t states_;  ///< slots, and one for a free initial state
    std::int64_t first_;   ///< index of the first state
    OnlineRule rule_;
    bool switched_ = false;              ///< to the rule for long runs
    std::int64_t windows_ = 1;           ///< of the greedy rules: windows run since the newest state
    std::int64_t repetitions_ = 0;       ///< rho that targets_ are for
    std::vector<std::int64_t> targets_;  ///< where the states of the full layout for rho are
    std::vector<Stored> stored_;
    Stop next_;
};

/// The forward run as instructions: FORWARD to a given timestep with the FREEs and SAVEs on the way.
class OnlineForward {
public:
    OnlineForward(std::int64_t snapshots, const WindowModel& model, bool free_initial_state, OnlineRule rule)
        : model_(model), layout_(snapshots, model, free_initial_state, rule) {}

    /// Go on to x_goal, >= goal(). `last`: the run ends there, so that states are not saved that only a longer run
    /// needs. Throws invalid_argument for a goal out of its range, logic_error where the way to the last goal is not
    /// done or that was the end.
    void set_goal(std::int64_t goal, bool last);
    /// The next instruction on the way; false where the goal is reached. The state at the goal is saved only when the
    /// run goes on.
    bool next(Instruction& instruction);

    bool arrived() const noexcept { return position_ == goal_ && given_up_ < 0 && slot_ < 0; }
    std::int64_t position() const noexcept { return position_; }
    std::int64_t goal() const noexcept { return goal_; }
    const OnlineLayout& layout() const noexcept { return layout_; }

private:
    WindowModel model_;
    OnlineLayout layout_;
    std::int64_t position_ = 0;
    std::int64_t goal_ = 0;
    bool ended_ = false;
    std::int64_t stop_saving_ = 0;  ///< states from here on are not saved
    std::int64_t given_up_ = -1;    ///< state to be freed next, in slot_
    std::int64_t slot_ = -1;        ///< where to save x_position next
};

}  // namespace revolve
