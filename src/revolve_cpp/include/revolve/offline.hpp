#pragma once

#include <cstdint>
#include <vector>

#include "revolve/layout.hpp"
#include "revolve/windowed.hpp"

namespace revolve {

/// The actions of ACM Algorithm 799.
enum class Action : std::int8_t { advance, takeshot, restore, firstrun, youturn, terminate, error };

/// Offline Revolve as the classic state machine, action for action what ACM Algorithm 799 does (Griewank & Walther
/// 2000, doi:10.1145/347837.347846): the fewest advances and, among these, the fewest takeshots.
/// O(snapshots in use) memory, O(1) amortised per action.
class OfflineRevolve {
public:
    /// Throws invalid_argument for timesteps < 0 or snapshots < 1, overflow_error for timesteps > kMostTimesteps.
    OfflineRevolve(std::int64_t timesteps, std::int64_t snapshots);

    virtual ~OfflineRevolve() = default;

    /// The next action; after terminate, terminate for ever.
    virtual Action revolve();

    std::int64_t capo() const noexcept { return capo_; }          ///< state in the workspace after the action
    std::int64_t old_capo() const noexcept { return old_capo_; }  ///< state in the workspace before it
    std::int64_t fine() const noexcept { return fine_; }  ///< everything from here on has been reversed
    /// Slot on top of the stack, -1: none.
    std::int64_t check() const noexcept { return stack_.empty() ? -1 : stack_.back().slot; }
    /// Timesteps advanced so far, recorded runs not counted; saturates.
    std::int64_t advances() const noexcept { return advances_; }

protected:
    struct Level {
        std::int64_t at;
        std::int64_t slot;
        ChainNode node;
    };

    std::int64_t free_slots_;
    std::int64_t capo_ = 0;
    std::int64_t old_capo_ = 0;
    std::int64_t fine_;
    std::int64_t advances_ = 0;
    bool turned_ = false;
    ChainNode next_;
    std::vector<Level> stack_;
    SlotPool slots_;
};

}  // namespace revolve
