#include "revolve/online_revolve.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace revolve {

OnlineRevolve::OnlineRevolve(std::int64_t snapshots, OnlineRule rule)
    : OfflineRevolve(0, snapshots), snapshots_(snapshots), layout_(snapshots, kClassicRevolve, false, rule) {
    fine_ = -1;
}

Action OnlineRevolve::revolve() {
    if (final_known_) return OfflineRevolve::revolve();
    if (capo_ >= kMostTimesteps) throw_overflow();
    old_capo_ = capo_;
    if (capo_ == layout_.next_stop()) {
        const OnlineLayout::Decision decision = layout_.decide();
        if (decision.save) {
            const auto dropped = std::find_if(stack_.begin(), stack_.end(), [&](const Level& level) {
                return level.slot == decision.slot;
            });
            if (dropped != stack_.end()) stack_.erase(dropped);
            stack_.push_back({capo_, decision.slot, {}});
            return Action::takeshot;
        }
    }
    capo_ = std::min(layout_.next_stop(), kMostTimesteps);
    advances_ += capo_ - old_capo_;
    return Action::advance;
}

void OnlineRevolve::turn(std::int64_t final) {
    if (final_known_) throw std::logic_error("the chain has been turned already; make a new machine");
    if (final < old_capo_ || final > capo_) {
        throw std::invalid_argument(
            "final must be a state that the last action left in the workspace or passed, " +
            std::to_string(old_capo_) + " to " + std::to_string(capo_) + ", got " + std::to_string(final));
    }
    advances_ -= capo_ - final;
    capo_ = final;
    fine_ = final + 1;
    std::int64_t right = fine_;
    for (std::size_t i = stack_.size(); i-- > 0;) {
        const std::int64_t free = snapshots_ - 1 - static_cast<std::int64_t>(i);
        stack_[i].node = kClassicRevolve.node(right - stack_[i].at, free);
        slots_.occupy(stack_[i].slot);
        right = stack_[i].at;
    }
    final_known_ = true;
}

}  // namespace revolve
