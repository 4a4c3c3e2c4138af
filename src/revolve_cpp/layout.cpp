#include "revolve/layout.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>

namespace revolve {

void Layout::validate(std::int64_t timesteps) const {
    const auto refuse = [](const std::string& message) { throw std::invalid_argument(message); };
    if (position < 0 || position > timesteps) {
        refuse("position must be between 0 and n_timesteps = " + std::to_string(timesteps) + ", got " +
               std::to_string(position));
    }
    if (loaded_at < 0 || loaded_at > position) {
        refuse("loaded_at must be between 0 and position = " + std::to_string(position) + ", got " +
               std::to_string(loaded_at));
    }
    if (remaining < 0 || remaining > timesteps || (!turned && remaining != timesteps)) {
        refuse("remaining must be between 0 and n_timesteps = " + std::to_string(timesteps) + ", got " +
               std::to_string(remaining));
    }
    for (std::size_t i = 0; i < stored.size(); ++i) {
        const StoredState& state = stored[i];
        if (state.t < 0 || state.t > position) {
            refuse("stored states must lie between 0 and position = " + std::to_string(position) + ", got " +
                   std::to_string(state.t));
        }
        if (state.tier < 0 || state.slot < 0) {
            refuse("tiers and slots must be >= 0, got " + std::to_string(state.tier) + " and " +
                   std::to_string(state.slot));
        }
        if (i > 0 && stored[i - 1].t >= state.t) {
            refuse("every timestep can be stored once, got " + std::to_string(state.t) + " twice");
        }
        for (std::size_t j = 0; j < i; ++j) {
            if (stored[j].tier == state.tier && stored[j].slot == state.slot) {
                refuse("slot " + std::to_string(state.slot) + " cannot hold two states, " +
                       std::to_string(stored[j].t) + " and " + std::to_string(state.t));
            }
        }
    }
}

void SlotPool::occupy(std::int64_t slot) {
    occupied_.insert(std::upper_bound(occupied_.begin(), occupied_.end(), slot, std::greater<>()), slot);
}

std::int64_t SlotPool::take() {
    if (!freed_.empty()) {
        const std::int64_t slot = freed_.back();
        freed_.pop_back();
        return slot;
    }
    while (!occupied_.empty() && occupied_.back() == next_) {
        occupied_.pop_back();
        ++next_;
    }
    return next_++;
}

}  // namespace revolve
