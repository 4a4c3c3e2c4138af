#pragma once

#include <cstdint>
#include <vector>

#include "revolve/schedule.hpp"

namespace revolve {

/// A state that is stored already.
struct StoredState {
    std::int64_t t;
    std::int32_t tier;
    std::int64_t slot;
};

/// Where a run stands: what is stored, what the workspace holds, what is left to be reversed.
struct Layout {
    std::vector<StoredState> stored;  ///< ascending in t
    std::int64_t position = 0;        ///< index of the state in the workspace
    std::int64_t loaded_at = 0;       ///< where the workspace was last loaded or started, <= position
    std::int64_t remaining = 0;       ///< timesteps still to be reversed
    bool turned = false;              ///< whether the first sweep is done

    /// Right end of the rightmost chain, as an index of states: with lag 0 the state that the end of a chain stands
    /// for carries the first timestep that is reversed already, at the end of the run one that does not exist.
    std::int64_t end_of_chains(std::int64_t timesteps, std::int64_t lag) const noexcept {
        return turned ? remaining - 1 + lag : timesteps;
    }

    /// Throws invalid_argument where no run of so many timesteps can stand like this.
    void validate(std::int64_t timesteps) const;
};

/// Numbers of the slots of one tier: the lowest free one is taken first, the last one freed before it.
class SlotPool {
public:
    /// Makes a slot taken that a layout fills.
    void occupy(std::int64_t slot);
    std::int64_t take();
    void give_back(std::int64_t slot) { freed_.push_back(slot); }

private:
    std::vector<std::int64_t> freed_;     ///< to be taken from the end
    std::vector<std::int64_t> occupied_;  ///< by the layout, at or above next_; descending
    std::int64_t next_ = 0;               ///< lowest slot that was never taken
};

}  // namespace revolve
