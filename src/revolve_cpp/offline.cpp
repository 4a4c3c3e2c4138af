#include "revolve/offline.hpp"

#include <algorithm>

namespace revolve {

OfflineRevolve::OfflineRevolve(std::int64_t timesteps, std::int64_t snapshots) : fine_(timesteps) {
    const WindowedProblem problem{timesteps, snapshots, kClassicRevolve, false};
    problem.validate();
    free_slots_ = std::max<std::int64_t>(0, problem.chain_slots());
    if (timesteps > 0) next_ = kClassicRevolve.node(timesteps, free_slots_);
}

Action OfflineRevolve::revolve() {
    old_capo_ = capo_;
    const std::int64_t distance = fine_ - capo_;
    if (distance == 0) {
        if (stack_.empty()) return Action::terminate;
        capo_ = stack_.back().at;
        return Action::restore;
    }
    const bool stored = !stack_.empty() && stack_.back().at == capo_;
    if (distance == 1) {
        --fine_;
        if (stored) {
            slots_.give_back(stack_.back().slot);
            stack_.pop_back();
        }
        if (turned_) return Action::youturn;
        turned_ = true;
        return Action::firstrun;
    }
    if (!stored) {
        stack_.push_back({capo_, slots_.take(), next_});
        return Action::takeshot;
    }
    Level& top = stack_.back();
    kClassicRevolve.shrink(top.node, distance);
    std::int64_t m = distance - 1;
    if (top.node.slots > 0) {
        m = kClassicRevolve.split(top.node, distance);
        if (distance - m > 1) next_ = kClassicRevolve.right_of(top.node, distance - m);
    }
    capo_ += m;
    advances_ = saturating_add(advances_, m);
    return Action::advance;
}

}  // namespace revolve
