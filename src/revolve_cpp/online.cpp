#include "revolve/online.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace revolve {

namespace {

constexpr std::int64_t kInitialLevel = std::numeric_limits<std::int64_t>::max();
/// rho of runs of up to beta(s, 2) timesteps, for which one layout after the other can be optimal.
constexpr std::int64_t kShortRun = 3;
/// rho up to which Stumm & Walther's layout goes: beta(s, 3).
constexpr std::int64_t kStummWalther = 4;

std::int64_t validated_states(std::int64_t snapshots, const WindowModel& model, bool free_initial_state) {
    WindowedProblem{0, snapshots, model, free_initial_state}.validate();
    // There are no more than kMostTimesteps states.
    return std::min(snapshots, kMostTimesteps) + (free_initial_state ? 1 : 0);
}

}  // namespace

OnlineLayout::OnlineLayout(std::int64_t snapshots, const WindowModel& model, bool free_initial_state,
                           OnlineRule rule)
    : model_(model),
      states_(validated_states(snapshots, model, free_initial_state)),
      first_(free_initial_state ? 0 : model.carrying_state()),
      rule_(rule) {
    if (free_initial_state) stored_.push_back({0, -1, kInitialLevel});
    next_ = plan();
}

OnlineLayout::Decision OnlineLayout::decide() {
    if (next_.at > kMostTimesteps) throw std::logic_error("there is nothing to decide any more");
    const Stop stop = next_;
    Decision decision{stop.save, -1, -1};
    if (!stop.save) {
        ++windows_;
        next_ = plan();
        return decision;
    }
    Stored state{stop.at, 0, kInitialLevel};
    if (!stored_.empty()) {
        const Stored& newest = stored_.back();
        state.slot = newest.slot + 1;
        state.level = (stop.at - newest.at - model_.lookback) / model_.window;
    }
    if (stop.drop > 0) {
        const auto dropped = stored_.begin() + static_cast<std::ptrdiff_t>(stop.drop);
        decision.given_up = dropped->at;
        state.slot = dropped->slot;
        stored_.erase(dropped);
    }
    decision.slot = state.slot;
    stored_.push_back(state);
    windows_ = 1;
    next_ = plan();
    return decision;
}

OnlineLayout::Stop OnlineLayout::plan() {
    if (stored_.empty()) return {first_, true, 0};
    if (!is_full()) return {after_windows(model_.lookback == 0 ? 1 : 0), true, 0};
    if (states_ == 1) return {};
    switch (rule_) {
        case OnlineRule::spaced:
        case OnlineRule::target_gap:
            return by_limits();
        case OnlineRule::minimal_repetition:
            return by_levels();
        case OnlineRule::greedy:
            return by_cost();
        case OnlineRule::late_greedy:
        case OnlineRule::stumm_walther:
            break;
    }
    const bool late_greedy = rule_ == OnlineRule::late_greedy;
    if (!switched_) {
        const Stop stop = by_limits();
        if (repetitions_ <= (late_greedy ? kShortRun : kStummWalther)) return stop;
        switched_ = true;
        // The full layout for rho: each of its gaps is that of a chain with level rho - 1.
        for (std::size_t i = 1; i < stored_.size(); ++i) stored_[i].level = kStummWalther - 1;
    }
    return late_greedy ? by_cost() : by_levels();
}

std::int64_t OnlineLayout::after_windows(std::int64_t windows) const noexcept {
    return std::min(kNever, saturating_add(stored_.back().at + model_.lookback,
                                           saturating_multiply(windows, model_.window)));
}

// --------------------------------------------------------------------------------------------------------- limits

std::int64_t OnlineLayout::limit(std::size_t gap) const noexcept {
    const std::int64_t free = states_ - 1 - static_cast<std::int64_t>(gap);
    return saturating_add(model_.lookback, model_.capacity_saturating(free, repetitions_ - 1));
}

void OnlineLayout::aim_at(std::int64_t repetitions) {
    if (repetitions == repetitions_) return;
    repetitions_ = repetitions;
    targets_.resize(stored_.size());
    targets_[0] = first_;
    for (std::size_t i = 1; i < targets_.size(); ++i) {
        targets_[i] = saturating_add(targets_[i - 1], limit(i - 1));
    }
}

OnlineLayout::Stop OnlineLayout::by_limits() {
    const std::int64_t k = model_.window;
    const std::int64_t d = model_.lookback;
    const std::int64_t newest = stored_.back().at;
    const std::size_t last = stored_.size() - 1;
    const bool spaced = rule_ == OnlineRule::spaced || rule_ == OnlineRule::stumm_walther;
    // x_p is of use only to runs of more than p + K - d timesteps, which tell the rho of a decision about it. Where
    // nothing may be given up for that rho, the run goes on to the next.
    for (std::int64_t floor = newest + 1; floor <= kMostTimesteps;) {
        aim_at(model_.repetitions(std::max<std::int64_t>(1, floor - first_ + (k - d)), states_ - 1));
        const std::int64_t ceiling =
            saturating_add(first_ + d - k, model_.capacity_saturating(states_ - 1, repetitions_));
        const auto target = std::upper_bound(targets_.begin(), targets_.end(), newest);
        const std::int64_t next_target = target == targets_.end() ? kNever : *target;
        const bool far_apart = repetitions_ > kShortRun && spaced;
        const auto shortly_before_target = [&](std::int64_t p) {
            return far_apart && rule_ == OnlineRule::stumm_walther && next_target <= ceiling &&
                   p < next_target && next_target - p <= k + d;
        };
        std::int64_t at = after_windows(far_apart ? repetitions_ - 1 : 1);
        if (at < floor) at = after_windows(ceil_divide(floor - newest - d, k));
        at = std::min(at, next_target);
        if (shortly_before_target(at)) at = next_target;

        const auto permanent = [&](std::size_t i) {
            return std::binary_search(targets_.begin(), targets_.end(), stored_[i].at);
        };
        if (!permanent(last)) {  // move the newest on, up to its limit
            const std::int64_t furthest = saturating_add(stored_[last - 1].at, limit(last - 1));
            const std::int64_t moved = std::min(at, furthest);
            if (shortly_before_target(moved)) {
                at = next_target;
            } else if (moved >= floor && moved <= ceiling) {
                return {moved, true, last};
            }
        }
        std::size_t drop = last;
        for (std::size_t i = last - 1; i > 0; --i) {
            if (!permanent(i) && stored_[i + 1].at - stored_[i - 1].at <= limit(i - 1)) {
                drop = i;
                break;
            }
        }
        if (drop < last && at >= floor && at <= ceiling) return {at, true, drop};
        if (drop == last && next_target >= floor && next_target <= ceiling) return {next_target, true, last};
        floor = saturating_add(ceiling, 1);
    }
    return {};
}

// --------------------------------------------------------------------------------------------------------- levels

OnlineLayout::Stop OnlineLayout::by_levels() const {
    std::int64_t highest = stored_.back().level;
    for (std::size_t i = stored_.size() - 1; i > 0; --i) {
        if (stored_[i].level < highest) return {after_windows(model_.lookback == 0 ? 1 : 0), true, i};
        highest = std::max(highest, stored_[i].level);
    }
    // Not before the workspace's own level exceeds that of the newest, the lowest of all.
    return {after_windows(stored_.back().level + 1), true, stored_.size() - 1};
}

// ----------------------------------------------------------------------------------------------------------- cost

OnlineLayout::Stop OnlineLayout::by_cost() const {
    const std::int64_t k = model_.window;
    const std::int64_t d = model_.lookback;
    const std::int64_t at = after_windows(windows_);
    if (at > kMostTimesteps) return {};
    const std::size_t count = stored_.size();
    const auto steps = [&](std::int64_t timesteps, std::size_t rank) -> wide_t {
        const std::int64_t free = states_ - 1 - static_cast<std::int64_t>(rank);
        return timesteps > 0 ? model_.chain(timesteps, free, d).forward_steps : 0;
    };
    // With n = at + 2 K the window leaves at + K timesteps. shifted[i]: states i, i + 1, ... and the new one, with
    // one state less to the left of them.
    std::vector<wide_t> shifted(count + 1);
    shifted[count] = steps(k, count - 1);
    for (std::size_t i = count; i-- > 1;) {
        const std::int64_t right = i + 1 < count ? stored_[i + 1].at : at;
        shifted[i] = shifted[i + 1] + steps(right - d - stored_[i].at, i - 1);
    }
    wide_t left = 0;
    wide_t best = 0;
    std::size_t drop = 0;
    for (std::size_t i = 1; i < count; ++i) {
        const std::int64_t right = i + 1 < count ? stored_[i + 1].at : at;
        const wide_t cost = left + steps(right - d - stored_[i - 1].at, i - 1) + shifted[i + 1];
        if (drop == 0 || cost < best) {
            best = cost;
            drop = i;
        }
        left += steps(stored_[i].at - d - stored_[i - 1].at, i - 1);
    }
    const wide_t as_it_is = left + steps(at + k - stored_.back().at, count - 1);
    return best < as_it_is ? Stop{at, true, drop} : Stop{at, false, 0};
}

// -------------------------------------------------------------------------------------------------------- forward

void OnlineForward::set_goal(std::int64_t goal, bool last) {
    if (ended_) throw std::logic_error("the end of the run is known already");
    if (!arrived()) throw std::logic_error("the way to the last goal is not done");
    if (goal < goal_ || goal > kMostTimesteps) {
        throw std::invalid_argument("the goal must be between " + std::to_string(goal_) + " and 2**62, got " +
                                    std::to_string(goal));
    }
    goal_ = goal;
    ended_ = last;
    stop_saving_ = last ? goal - model_.window + model_.lookback : goal;
}

bool OnlineForward::next(Instruction& instruction) {
    if (given_up_ >= 0) {
        instruction = Instruction::free(given_up_, 0, slot_);
        given_up_ = -1;
        return true;
    }
    if (slot_ >= 0) {
        instruction = Instruction::save(position_, 0, slot_);
        slot_ = -1;
        return true;
    }
    if (position_ == goal_) return false;
    while (layout_.next_stop() < stop_saving_ && !layout_.saves_next()) layout_.decide();
    const std::int64_t stop = layout_.next_stop();
    if (stop < stop_saving_ && stop == position_) {
        const OnlineLayout::Decision decision = layout_.decide();
        given_up_ = decision.given_up;
        slot_ = decision.slot;
        return next(instruction);
    }
    const std::int64_t start = position_;
    position_ = stop < stop_saving_ ? stop : goal_;
    instruction = Instruction::forward(start, position_);
    return true;
}

}  // namespace revolve
