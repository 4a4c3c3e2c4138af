#include "revolve/windowed_schedule.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

namespace revolve {

namespace {

/// Forward steps, copies, calls; compared in this order.
using Cost = std::tuple<wide_t, wide_t, wide_t>;

Cost operator+(const Cost& a, const Cost& b) {
    return {std::get<0>(a) + std::get<0>(b), std::get<1>(a) + std::get<1>(b),
            std::get<2>(a) + std::get<2>(b)};
}

const Cost kImpossible{std::numeric_limits<wide_t>::max() / 4, 0, 0};

Cost cost_of(const ChainCounts& counts) {
    return {counts.forward_steps, counts.saves + counts.loads, counts.forward_calls + counts.reverse_calls};
}

/// A chain from its start, which is at hand. A stored first state that carries fewer timesteps than a later one could
/// (closing < d) is better replaced by that one where the chain is long: `shift` tells by how much, or 0.
Cost cost_of_chain(const WindowModel& model, std::int64_t x, std::int64_t slots, std::int64_t closing,
                   bool may_shift, std::int64_t* shift = nullptr) {
    Cost best = cost_of(model.chain(x, slots, closing));
    const std::int64_t m = model.lookback - closing;
    if (!may_shift || m == 0 || x - m <= 0) return best;
    const Cost shifted = Cost{m, 1, 1} + cost_of(model.chain(x - m, slots, model.lookback));
    if (shifted < best) {
        best = shifted;
        if (shift != nullptr) *shift = m;
    }
    return best;
}

/// What is left of a chain once everything right of x timesteps is done: its start is loaded if need be.
Cost cost_of_rest(const WindowModel& model, std::int64_t x, std::int64_t slots, std::int64_t closing,
                  bool may_shift) {
    if (x <= 0) return cost_of(model.chain(0, slots, closing));
    return Cost{0, 1, 0} + cost_of_chain(model, x, slots, closing, may_shift);
}

/// Chain of x timesteps, `least` of which the workspace has run already, split at m >= least.
Cost cost_of_split(const WindowModel& model, std::int64_t x, std::int64_t m, std::int64_t slots,
                   std::int64_t closing, std::int64_t least, bool may_shift) {
    const std::int64_t d = model.lookback;
    const Cost own{m - least, 1, m > least ? 1 : 0};
    const std::int64_t left = m - d;
    const std::int64_t owed = left > 0 ? closing : std::max<std::int64_t>(0, closing + left);
    return own + cost_of(model.chain(x - m, slots - 1, d)) +
           cost_of_rest(model, left, slots, owed, may_shift);
}

/// The same, run to its end without storing.
Cost cost_of_run(const WindowModel& model, std::int64_t x, std::int64_t slots, std::int64_t closing,
                 const Ahead& ahead, bool may_shift) {
    const Cost own{x - ahead.run, 0, 2};
    const std::int64_t left = std::max(ahead.lowest, x - model.window);
    if (left > 0) return own + cost_of_rest(model, left, slots, closing, may_shift);
    return x + closing <= model.window ? own : own + cost_of_rest(model, 0, slots, closing, may_shift);
}

struct Choice {
    Cost cost;
    std::int64_t split;  ///< 0: run to the end
};

/// The best move of a chain whose workspace has run on from its start already. Forward steps are convex in the
/// split, so that the optimum of a whole chain, or else the nearest place, is best.
Choice choose_constrained(const WindowModel& model, const ChainNode& node, std::int64_t x,
                          std::int64_t closing, const Ahead& ahead, bool may_shift) {
    Choice best{cost_of_run(model, x, node.slots, closing, ahead, may_shift), 0};
    if (node.slots == 0) return best;
    // The start may be replaced by one `later` before the left part is gone through.
    const std::int64_t later = may_shift ? model.lookback - closing : 0;
    const auto free_split = [&](std::int64_t skipped) {
        const std::int64_t rest = x - skipped;
        return rest > model.window ? skipped + model.split(model.node(rest, node.slots), rest) : 0;
    };
    for (const std::int64_t m : {free_split(0), free_split(later), ahead.run}) {
        if (m < ahead.run || m >= x) continue;
        const Cost cost = cost_of_split(model, x, m, node.slots, closing, ahead.run, may_shift);
        if (cost < best.cost) best = {cost, m};
    }
    return best;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- policy

Move<ChainNode> WindowedPolicy::split(const Node& node, std::int64_t x, std::int64_t m) const {
    const Node right = model_.right_of(node, x - m);
    if (tiers_.empty()) return Move<Node>::split(m, 0, right);
    const auto stored = tiers_.size() - 1 - static_cast<std::size_t>(right.slots);
    return Move<Node>::split(m, tiers_[stored], right);
}

Move<ChainNode> WindowedPolicy::decide(Node& node, std::int64_t x, std::int64_t closing,
                                       const Ahead& ahead) const {
    const std::int64_t beyond_window = std::max(ahead.lowest, x - model_.window);
    if (beyond_window <= 0) return Move<Node>::run(0);
    model_.shrink(node, x);
    if (closing < model_.lookback && !free_initial_state_ && ahead.run == 0) {
        std::int64_t m = 0;
        cost_of_chain(model_, x, node.slots, closing, true, &m);
        if (m > 0) return Move<Node>::shift(m, model_.node(x - m, node.slots));
    }
    if (node.slots == 0) return Move<Node>::run(beyond_window);
    if (ahead.run > 0) {
        const std::int64_t m =
            choose_constrained(model_, node, x, closing, ahead, !free_initial_state_).split;
        return m > 0 ? split(node, x, m) : Move<Node>::run(beyond_window);
    }
    const std::int64_t m =
        closing < model_.lookback ? model_.split_of_initial(node, x, closing) : model_.split(node, x);
    // Where nothing is gained from a lookback, the window takes the place of the snapshot.
    if (model_.lookback == 0 && x - m <= model_.window) return Move<Node>::run(m);
    return split(node, x, m);
}

// -------------------------------------------------------------------------------------------------- from the start

std::unique_ptr<Schedule> windowed_schedule(const WindowedProblem& problem, std::vector<std::int32_t> tiers) {
    problem.validate();
    ChainStart<ChainNode> start;
    start.timesteps = problem.timesteps;
    start.model = problem.model;
    if (!problem.fits_window()) {
        const std::int64_t first = problem.first_snapshot();
        const std::int32_t tier = problem.free_initial_state ? kFreeTier : tiers.empty() ? 0 : tiers.front();
        start.levels.push_back(
            {first, tier, problem.model.node(problem.timesteps - first, problem.chain_slots())});
    }
    if (!tiers.empty()) {
        // More slots than timesteps are never used: those that are come first.
        tiers.resize(static_cast<std::size_t>(problem.chain_slots() + (problem.free_initial_state ? 0 : 1)));
    }
    return std::make_unique<ChainSchedule<WindowedPolicy>>(
        WindowedPolicy(problem.model, problem.free_initial_state, std::move(tiers)), std::move(start));
}

// -------------------------------------------------------------------------------------------------- from a layout

namespace {

/// Which of the stored states to keep, and which of these to replace by a state further right before their chain is
/// gone through.
///
/// A state that is given up is best given up at once: its slot serves every chain to the right then. So the kept ones
/// are a shortest path over (state, how many are kept up to it). Given these, forward steps are a sum of convex
/// functions of the differences of neighbouring positions, an L-natural convex function, which moves of several starts
/// at once by the same distance, halved down to 1, bring to its least value (K. Murota 2003, Discrete Convex Analysis,
/// SIAM, doi:10.1137/1.9780898718508, chapter 10).
class Selection {
public:
    /// Where more states are stored, exchanging them one by one takes too long.
    static constexpr std::size_t kMostExchanged = 64;

    Selection(const WindowedProblem& problem, const Layout& layout, InterruptCheck check)
        : model_(problem.model),
          slots_(problem.snapshots),
          layout_(layout),
          end_(layout.end_of_chains(problem.timesteps, problem.model.lag)),
          poll_(check) {
        if (problem.free_initial_state) starts_.push_back({0, kFreeTier, -1});
        // What the workspace holds, or will once it has run on to the end, needs no state.
        const std::int64_t bottom = std::min(remaining(), reached_bottom());
        for (const StoredState& state : layout.stored) {
            const bool of_use = state.t - model_.lookback < bottom;
            if (of_use && !(problem.free_initial_state && state.t == 0)) starts_.push_back(state);
        }
        free_initial_ = problem.free_initial_state;
        stored_ = starts_.size();
        // The state at hand, or one further on, may be stored next.
        if (stored_ > 0 && starts_.back().t < layout_.position &&
            layout_.position - model_.lookback < bottom) {
            starts_.push_back({layout_.position, 0, -1});
        }
    }

    /// Indices into starts() of what is kept, from the left.
    std::vector<std::size_t> run() {
        const std::size_t count = stored_;
        // best[r][i]: the chains left of i, where i is the r-th from the left that is kept.
        std::vector<std::vector<Cost>> best;
        std::vector<std::vector<std::size_t>> previous;
        Cost least = kImpossible;
        std::size_t least_rank = 0;
        std::size_t least_last = 0;
        for (std::size_t rank = 0; rank < count; ++rank) {
            best.emplace_back(count, kImpossible);
            previous.emplace_back(count, 0);
            const std::int64_t slots = slots_beside(rank);
            bool reached = false;
            for (std::size_t i = rank; i < count; ++i) {
                if (rank == 0) {
                    if (carries_all_before(i)) best[rank][i] = {0, 0, 0};
                } else {
                    for (std::size_t j = rank - 1; j < i; ++j) {
                        if (best[rank - 1][j] >= least) continue;
                        poll_(512);
                        const Cost cost = best[rank - 1][j] + between(j, i, slots + 1);
                        if (cost < best[rank][i]) {
                            best[rank][i] = cost;
                            previous[rank][i] = j;
                        }
                    }
                }
                if (best[rank][i] >= least || slots < 0) continue;
                reached = true;
                const Cost whole = best[rank][i] + rightmost(i, slots);
                if (whole < least) {
                    least = whole;
                    least_rank = rank;
                    least_last = i;
                }
            }
            if (!reached) break;
        }
        if (least == kImpossible) return {};
        std::vector<std::size_t> kept(least_rank + 1);
        for (std::size_t rank = least_rank + 1, i = least_last; rank-- > 0; i = previous[rank][i])
            kept[rank] = i;
        return kept;
    }

    /// Whether giving all stored states up takes fewer forward steps, where the workspace has not passed yet what is
    /// best stored first.
    bool better_anew(wide_t steps) const {
        const std::int64_t first = model_.carrying_state();
        if (free_initial_ || layout_.position > first || first >= remaining()) return false;
        const ChainCounts chain = model_.chain(remaining() - first, slots_ - 1, model_.lookback);
        return first - layout_.position + chain.forward_steps < steps;
    }

    /// Every state that is of use, if there are slots for them.
    std::vector<std::size_t> all() const {
        if (stored_ == 0 || !carries_all_before(0) || slots_beside(stored_ - 1) < 0) return {};
        std::vector<std::size_t> kept(stored_);
        std::iota(kept.begin(), kept.end(), std::size_t{0});
        return kept;
    }

    /// How far right each kept start is best replaced, and the forward steps with that.
    std::pair<std::vector<std::int64_t>, wide_t> shifts(const std::vector<std::size_t>& kept) {
        const std::size_t count = kept.size();
        std::vector<std::int64_t> shift(count, 0);
        if (count == 0) return {shift, std::get<0>(kImpossible)};
        wide_t own{};  // C++17 lets lambdas take no names of a structured binding
        std::int64_t end{};
        std::tie(own, end) = run_on(kept.back(), slots_beside(count - 1));
        const auto chain = [&](std::size_t rank, std::int64_t by, std::int64_t next) -> wide_t {
            const std::int64_t right =
                rank + 1 < count ? starts_[kept[rank + 1]].t + next - model_.lookback : end;
            const std::int64_t x = right - starts_[kept[rank]].t - by;
            if (by > 0 && x <= 0) return std::get<0>(kImpossible);
            const bool may_shift = rank == 0 && starts_[kept[0]].tier != kFreeTier;
            const Cost cost = cost_of_rest(model_, x, slots_beside(rank), closing(kept[rank]), may_shift);
            return std::get<0>(cost) + by;
        };
        const auto total = [&](const std::vector<std::int64_t>& by) {
            wide_t sum = own;
            for (std::size_t rank = 0; rank < count; ++rank) {
                sum += chain(rank, by[rank], rank + 1 < count ? by[rank + 1] : 0);
            }
            return sum;
        };
        wide_t least = total(shift);
        std::int64_t step = 1;
        while (step < end) step *= 2;
        for (; step > 0; step /= 2) {
            for (bool improved = true; improved;) {
                improved = false;
                for (const std::int64_t by : {step, -step}) {
                    const std::vector<std::int64_t> moved = best_move(shift, by, chain);
                    const wide_t cost = total(moved);
                    if (cost >= least) continue;
                    least = cost;
                    shift = moved;
                    improved = true;
                }
            }
        }
        return {shift, least};
    }

    /// Keeps one state more, or one less, or another between the same neighbours, as long as that takes fewer forward
    /// steps with the moves that go with it, which the shortest path knows nothing of. The state at hand is one, too,
    /// with each of the others and without: its move is the way to the next snapshot.
    void exchange(std::vector<std::size_t>& kept, std::vector<std::int64_t>& shift, wide_t& steps) {
        const auto try_one = [&](std::vector<std::size_t> other) {
            const bool possible = !other.empty() && !is_at_hand(other[0]) && carries_all_before(other[0]);
            if (!possible || slots_beside(other.size() - 1) < 0) return false;
            auto [other_shift, other_steps] = shifts(other);
            if (other_steps >= steps) return false;
            std::tie(kept, shift, steps) =
                std::make_tuple(std::move(other), std::move(other_shift), other_steps);
            return true;
        };
        const auto try_out = [&](std::vector<std::size_t> other) {
            if (try_one(other)) return true;
            if (stored_ == starts_.size()) return false;
            if (!other.empty() && is_at_hand(other.back())) {
                other.pop_back();
            } else {
                other.push_back(stored_);
            }
            return try_one(std::move(other));
        };
        const auto improve = [&] {
            for (std::size_t i = 0; i < starts_.size(); ++i) {
                const auto at = std::lower_bound(kept.begin(), kept.end(), i);
                const auto rank = at - kept.begin();
                if (at != kept.end() && *at == i) {
                    std::vector<std::size_t> without = kept;
                    without.erase(without.begin() + rank);
                    if (try_out(std::move(without))) return true;
                    continue;
                }
                std::vector<std::size_t> with = kept;
                with.insert(with.begin() + rank, i);
                for (const auto replaced : {rank - 1, rank + 1}) {
                    if (replaced < 0 || replaced >= static_cast<std::ptrdiff_t>(with.size())) continue;
                    std::vector<std::size_t> instead = with;
                    instead.erase(instead.begin() + replaced);
                    if (try_out(std::move(instead))) return true;
                }
                if (try_out(std::move(with))) return true;
            }
            return false;
        };
        while (!kept.empty() && starts_.size() <= kMostExchanged && improve()) {
        }
    }

    const std::vector<StoredState>& starts() const noexcept { return starts_; }

    /// Whether a start is the state at hand, which is not stored.
    bool is_at_hand(std::size_t i) const noexcept { return i >= stored_; }

    /// Right end of the rightmost chain.
    std::int64_t remaining() const noexcept { return end_; }

    std::int64_t slots_beside(std::size_t rank) const noexcept {
        return slots_ - static_cast<std::int64_t>(rank) - (free_initial_ ? 0 : 1);
    }

    std::int64_t closing(std::size_t i) const noexcept {
        return std::min(model_.lookback, starts_[i].t + 1 - model_.lag);
    }

    /// Where the reversal of what the workspace holds ends, or `remaining` where it holds nothing of it.
    std::int64_t retained_bottom() const noexcept {
        if (layout_.position < remaining()) return remaining();
        return std::min(remaining(),
                        std::max(layout_.loaded_at - model_.lookback, layout_.position - model_.window));
    }

    /// The same once the workspace has run on to the end of the chains.
    std::int64_t reached_bottom() const noexcept {
        const std::int64_t position = std::max(layout_.position, remaining());
        return std::max(layout_.loaded_at - model_.lookback, position - model_.window);
    }

private:
    bool carries_all_before(std::size_t i) const noexcept {
        if (free_initial_) return starts_[i].tier == kFreeTier;
        return starts_[i].t + 1 - model_.lag <= model_.lookback;
    }

    Cost between(std::size_t left, std::size_t right, std::int64_t slots) const {
        const std::int64_t x = starts_[right].t - model_.lookback - starts_[left].t;
        const std::int64_t owed = x > 0 ? closing(left) : std::max<std::int64_t>(0, closing(left) + x);
        // The snapshot on the right is loaded once more for its lookback; that is counted with its own chain.
        return rest(left, x, slots, owed);
    }

    Cost rest(std::size_t i, std::int64_t x, std::int64_t slots, std::int64_t owed) const {
        return cost_of_rest(model_, x, slots, owed, starts_[i].tier != kFreeTier);
    }

    /// The subset of starts, not the first, whose move by `by` leaves the fewest forward steps: a shortest path over
    /// (rank, whether it is moved), from the right.
    template <class Chain>
    std::vector<std::int64_t> best_move(const std::vector<std::int64_t>& shift, std::int64_t by,
                                        const Chain& chain) {
        const std::size_t count = shift.size();
        const auto place = [&](std::size_t rank, std::size_t moved) {
            return shift[rank] + (moved == 1 ? by : 0);
        };
        std::vector<std::array<wide_t, 2>> rest(count);
        std::vector<std::array<std::size_t, 2>> next(count);
        for (std::size_t rank = count; rank-- > 0;) {
            poll_(512);
            for (std::size_t moved = 0; moved < 2; ++moved) {
                rest[rank][moved] = std::get<0>(kImpossible);
                if (moved == 1 && (rank == 0 || place(rank, 1) < 0)) continue;
                for (std::size_t after = 0; after < (rank + 1 < count ? 2U : 1U); ++after) {
                    const bool last = rank + 1 == count;
                    const wide_t right = last ? 0 : rest[rank + 1][after];
                    const wide_t cost =
                        std::min(std::get<0>(kImpossible),
                                 right + chain(rank, place(rank, moved), last ? 0 : place(rank + 1, after)));
                    if (cost >= rest[rank][moved]) continue;
                    rest[rank][moved] = cost;
                    next[rank][moved] = after;
                }
            }
        }
        std::vector<std::int64_t> result(count);
        for (std::size_t rank = 0, moved = 0; rank < count; moved = next[rank][moved], ++rank) {
            result[rank] = place(rank, moved);
        }
        return result;
    }

    /// Forward steps until the workspace has reversed all it can on its first way right, and where that ends.
    std::pair<wide_t, std::int64_t> run_on(std::size_t i, std::int64_t slots) const {
        const std::int64_t at = starts_[i].t;
        if (layout_.position >= remaining()) return {0, retained_bottom()};
        if (layout_.position == at) return {0, remaining()};
        const Ahead ahead = ahead_of(at);
        const std::int64_t x = remaining() - at;
        const bool may_shift = starts_[i].tier != kFreeTier;
        const Choice choice =
            choose_constrained(model_, model_.node(x, slots), x, closing(i), ahead, may_shift);
        if (choice.split == 0) return {x - ahead.run, at + std::max(ahead.lowest, x - model_.window)};
        const ChainCounts right = model_.chain(x - choice.split, slots - 1, model_.lookback);
        return {choice.split - ahead.run + right.forward_steps, at + choice.split - model_.lookback};
    }

    Ahead ahead_of(std::int64_t at) const noexcept {
        const std::int64_t lowest = layout_.loaded_at > at ? layout_.loaded_at - model_.lookback - at : 0;
        return {layout_.position - at, std::max<std::int64_t>(0, lowest)};
    }

    Cost rightmost(std::size_t i, std::int64_t slots) const {
        const std::int64_t at = starts_[i].t;
        if (layout_.position >= remaining()) {
            const std::int64_t x = retained_bottom() - at;
            const std::int64_t owed = x > 0 ? closing(i) : std::max<std::int64_t>(0, closing(i) + x);
            return rest(i, x, slots, owed);
        }
        const std::int64_t x = remaining() - at;
        if (layout_.position == at) {
            return cost_of_chain(model_, x, slots, closing(i), starts_[i].tier != kFreeTier);
        }
        const bool may_shift = starts_[i].tier != kFreeTier;
        return choose_constrained(model_, model_.node(x, slots), x, closing(i), ahead_of(at), may_shift).cost;
    }

    WindowModel model_;
    std::int64_t slots_;
    const Layout& layout_;
    std::int64_t end_;
    InterruptPoll poll_;
    bool free_initial_ = false;
    std::vector<StoredState> starts_;  ///< those stored, and perhaps the state at hand
    std::size_t stored_ = 0;
};

}  // namespace

std::unique_ptr<Schedule> windowed_schedule(const WindowedProblem& problem, const Layout& layout,
                                            std::vector<std::int32_t> tiers, InterruptCheck check) {
    problem.validate();
    layout.validate(problem.timesteps);
    if (static_cast<std::int64_t>(layout.stored.size()) > problem.snapshots) {
        throw std::invalid_argument("n_snapshots = " + std::to_string(problem.snapshots) +
                                    " slots cannot hold " + std::to_string(layout.stored.size()) + " states");
    }
    const WindowModel& model = problem.model;
    ChainStart<ChainNode> start;
    start.timesteps = problem.timesteps;
    start.model = model;
    start.layout = layout;

    Selection selection(problem, layout, check);
    const std::vector<StoredState>& states = selection.starts();
    const bool nothing_left = selection.remaining() <= model.lag - 1;
    const bool window_holds_all = nothing_left || selection.reached_bottom() <= model.lag - 1;
    std::vector<std::size_t> kept;
    std::vector<std::int64_t> shift;
    if (!window_holds_all) {
        kept = selection.run();
        wide_t steps{};
        std::tie(shift, steps) = selection.shifts(kept);
        const std::vector<std::size_t> all = selection.all();
        if (all != kept) {
            const auto [other, other_steps] = selection.shifts(all);
            if (other_steps < steps) {
                std::tie(kept, shift, steps) = std::tie(all, other, other_steps);
            }
        }
        selection.exchange(kept, shift, steps);
        if (selection.better_anew(steps)) kept.clear();
        if (kept.empty()) {
            // Nothing is stored yet that carries the first timesteps: the workspace must still be able to.
            const std::int64_t first = model.carrying_state();
            const std::int64_t last = selection.remaining() - (layout.turned ? 0 : 1);
            const std::int64_t at = std::max(layout.position, std::min(first, last));
            if (layout.position > first || at > last || problem.snapshots < 1) {
                throw std::invalid_argument(
                    "the first timesteps cannot be reversed: no state of timestep " + std::to_string(first) +
                    " or before is stored; store the initial state first, or use a free initial state");
            }
            const std::int64_t x = std::max<std::int64_t>(1, selection.remaining() - at);
            const std::int64_t slots = std::min(problem.snapshots, problem.timesteps) - 1;
            start.levels.push_back({at, tiers.empty() ? 0 : tiers.front(), model.node(x, slots)});
        }
    }
    const bool stores_next = !kept.empty() && selection.is_at_hand(kept.back());
    for (std::size_t rank = 0; rank < kept.size(); ++rank) {
        const StoredState& state = states[kept[rank]];
        const std::int64_t right =
            rank + 1 < kept.size() ? states[kept[rank + 1]].t + shift[rank + 1] : selection.remaining();
        const ChainNode node =
            model.node(std::max<std::int64_t>(1, right - state.t), selection.slots_beside(rank));
        const bool held = state.tier != kFreeTier && !selection.is_at_hand(kept[rank]);
        start.levels.push_back({state.t, state.tier, node, held, state.slot, shift[rank]});
    }
    std::vector<std::int32_t> left_over = tiers;
    std::vector<std::int32_t> in_order;
    for (const StoredState& state : layout.stored) {
        const auto same = [&](const auto& level) { return level.held && level.at == state.t; };
        const bool keep = std::any_of(start.levels.begin(), start.levels.end(), same);
        if (!keep) start.dropped.push_back(state);
        if (tiers.empty()) continue;
        if (!keep) continue;
        const auto place = std::find(left_over.begin(), left_over.end(), state.tier);
        if (place == left_over.end()) {
            throw std::invalid_argument("tier " + std::to_string(state.tier) +
                                        " has fewer slots than are taken");
        }
        left_over.erase(place);
        in_order.push_back(state.tier);
    }
    if (stores_next) {
        ChainLevel<ChainNode>& next = start.levels.back();
        next.at += std::exchange(next.shift, 0);
        if (!tiers.empty()) next.tier = left_over.front();
    }
    in_order.insert(in_order.end(), left_over.begin(), left_over.end());
    return std::make_unique<ChainSchedule<WindowedPolicy>>(
        WindowedPolicy(model, problem.free_initial_state, std::move(in_order)), std::move(start));
}

}  // namespace revolve
