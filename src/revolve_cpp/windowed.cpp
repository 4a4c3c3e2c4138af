#include "revolve/windowed.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <tuple>

#include "revolve/binomial.hpp"

namespace revolve {

namespace {

[[noreturn]] void throw_invalid(const char* name, const char* allowed, std::int64_t given) {
    throw std::invalid_argument(std::string(name) + " must be " + allowed + ", got " + std::to_string(given));
}

/// How the timesteps of level rho are laid out over ordinary leaves and further splits.
struct Layout {
    std::int64_t leaves = 0;    // leaves used
    std::int64_t unmerged = 0;  // of these, leaves so long that their start is loaded again for its lookback
    std::int64_t splits = 0;    // further splits
};

/// Fewest copies, then fewest calls, for y timesteps over `leaves` leaves (d >= 1).
Layout lay_out(std::int64_t y, std::int64_t leaves, std::int64_t window, std::int64_t lookback) noexcept {
    Layout layout;
    const std::int64_t merged = window - lookback;
    const std::int64_t all = saturating_multiply(window, leaves);
    const std::int64_t in_leaves = std::min(y, all);
    const std::int64_t too_many = in_leaves - saturating_multiply(merged, leaves);
    if (too_many > 0) layout.unmerged = ceil_divide(too_many, lookback);
    const std::int64_t rest = in_leaves - saturating_multiply(window, layout.unmerged);
    layout.leaves = layout.unmerged + (rest > 0 ? ceil_divide(rest, merged) : 0);
    if (y > all) layout.splits = ceil_divide(y - all, lookback);
    return layout;
}

/// lay_out where one of the leaves belongs to an initial state that gives only `closing` < d timesteps.
Layout lay_out_initial(std::int64_t y, std::int64_t leaves, const WindowModel& model,
                       std::int64_t closing) noexcept {
    const std::int64_t window = model.window;
    const std::int64_t lookback = model.lookback;
    struct Special {
        std::int64_t timesteps, leaves, unmerged;
        bool needs_slack;
    };
    // Its leaf unused, merged with the closing, full, or full with the closing left to the last split's lookback.
    const std::array<Special, 4> states{
        {{0, 0, 0, false},
         {closing > 0 ? window - closing : window, 1, closing > 0 ? 0 : 1, false},
         {window, 1, 1, false},
         {window, 1, 0, true}}};
    Layout best;
    bool found = false;
    for (const Special& special : states) {
        const std::int64_t rest = std::max<std::int64_t>(0, y - special.timesteps);
        Layout layout = lay_out(rest, leaves - 1, window, lookback);
        if (special.needs_slack) {
            const std::int64_t all = saturating_multiply(window, leaves - 1);
            const bool slack =
                closing > 0 && layout.splits >= 1 && layout.splits * lookback - (rest - all) >= closing;
            if (!slack) continue;
        }
        layout.leaves += special.leaves;
        layout.unmerged += special.unmerged;
        const auto cost = [](const Layout& l) {
            const std::int64_t copies = l.unmerged + 2 * l.splits;
            return std::make_tuple(copies, l.leaves + copies);
        };
        if (!found || cost(layout) < cost(best)) best = layout;
        found = true;
    }
    return best;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- counts

std::int64_t WindowModel::capacity_saturating(std::int64_t slots, std::int64_t repetitions) const noexcept {
    if (repetitions <= 0) return 0;
    std::int64_t top{};
    if (add_overflows(slots, repetitions, top)) return kSaturated;
    const std::int64_t leaves = binomial_saturating(top, repetitions - 1);
    const std::int64_t in_leaves = saturating_multiply(window, leaves);
    if (lookback == 0 || in_leaves == kSaturated) return in_leaves;
    const std::int64_t snapshots = binomial_saturating(top, repetitions);
    if (snapshots == kSaturated) return kSaturated;
    return saturating_add(in_leaves, saturating_multiply(lookback, snapshots - 1));
}

std::int64_t WindowModel::repetitions(std::int64_t timesteps, std::int64_t slots) const {
    std::int64_t high = 1;
    while (capacity_saturating(slots, high) < timesteps) high = saturating_multiply(high, 2);
    std::int64_t low = high / 2;  // L(c, low) < x, or low = 0
    while (high - low > 1) {
        const std::int64_t middle = low + (high - low) / 2;
        (capacity_saturating(slots, middle) < timesteps ? low : high) = middle;
    }
    return high;
}

ChainNode WindowModel::node(std::int64_t timesteps, std::int64_t slots) const {
    ChainNode result;
    result.slots = slots;
    result.repetitions = repetitions(timesteps, slots);
    result.leaves_below = result.repetitions == 1
                              ? 0
                              : binomial_saturating(slots + result.repetitions - 1, result.repetitions - 2);
    return result;
}

std::int64_t WindowModel::below(const ChainNode& node) const noexcept {
    if (node.repetitions == 1) return 0;
    const std::int64_t in_leaves = saturating_multiply(window, node.leaves_below);
    if (lookback == 0) return in_leaves;
    const std::int64_t snapshots =
        exact_multiply_divide(node.leaves_below, node.slots + 1, node.repetitions - 1);
    return saturating_add(in_leaves, saturating_multiply(lookback, snapshots - 1));
}

void WindowModel::shrink(ChainNode& node, std::int64_t timesteps) const noexcept {
    while (node.repetitions > 1 && below(node) >= timesteps) {
        // C(n - 1, k) = C(n, k) (n - k) / n
        node.leaves_below =
            exact_multiply_divide(node.leaves_below, node.repetitions - 2, node.slots + node.repetitions - 1);
        --node.repetitions;
    }
}

WindowModel::LevelBinomials WindowModel::binomials(const ChainNode& node) const noexcept {
    const std::int64_t c = node.slots;
    const std::int64_t r = node.repetitions;
    LevelBinomials level{};
    level.left_leaves = exact_multiply_divide(node.leaves_below, c + 1, c + r - 1);
    level.right_leaves = exact_multiply_divide(level.left_leaves, c, r - 1);
    level.below = below(node);
    level.right_below = saturating_multiply(window, level.left_leaves);
    if (lookback > 0) level.right_below += saturating_multiply(lookback, level.right_leaves - 1);
    return level;
}

ChainNode WindowModel::right_of(const ChainNode& node, std::int64_t timesteps) const noexcept {
    ChainNode right;
    right.slots = node.slots - 1;
    right.repetitions = node.repetitions;
    if (right.repetitions > 1) {
        right.leaves_below =
            exact_multiply_divide(node.leaves_below, node.slots + 1, node.slots + node.repetitions - 1);
        shrink(right, timesteps);
    }
    return right;
}

ChainCounts WindowModel::chain(std::int64_t timesteps, std::int64_t slots, std::int64_t closing) const {
    return chain_at(node(timesteps, slots), timesteps, closing);
}

ChainCounts WindowModel::chain_at(const ChainNode& node, std::int64_t timesteps, std::int64_t closing) const {
    const std::int64_t x = timesteps;
    const std::int64_t c = node.slots;
    const std::int64_t r = node.repetitions;
    ChainCounts counts;
    if (x == 0) {
        counts.loads = counts.reverse_calls = closing > 0 ? 1 : 0;
        return counts;
    }
    if (x <= window) {
        const bool merged = closing == 0 || x <= window - closing;
        counts.forward_steps = x;
        counts.loads = merged ? 0 : 1;
        counts.forward_calls = 1;
        counts.reverse_calls = merged ? 1 : 2;
        return counts;
    }
    if (r == 1) {  // K < x <= K + d c: snapshots d apart, nothing is run twice
        const std::int64_t splits = ceil_divide(x - window, lookback);
        const std::int64_t slack = lookback - 1 - (x - window - 1) % lookback;
        const bool covered = slack >= closing;
        counts.forward_steps = x;
        counts.saves = splits;
        counts.loads = splits + (covered ? 0 : 1);
        counts.forward_calls = splits + 1;
        counts.reverse_calls = splits + (covered ? 1 : 2);
        counts.peak = splits;
        return counts;
    }

    const wide_t leaves = node.leaves_below;  // C(c + rho - 1, c + 1)
    // C(c + rho, c + 2) = C(c + rho - 1, c + 1) (c + rho) / (c + 2),
    //          C(c + rho, c + 1) = C(c + rho - 1, c + 1) (c + rho) / (rho - 1).
    const wide_t rerun = checked_multiply<wide_t>(leaves, c + r) / (c + 2);
    counts.forward_steps = checked_multiply<wide_t>(r, x) - checked_multiply<wide_t>(window, rerun);
    if (lookback > 0) {
        const wide_t all_leaves = checked_multiply<wide_t>(leaves, c + r) / (r - 1);
        counts.forward_steps -= checked_multiply<wide_t>(lookback, all_leaves - r);
    }

    const LevelBinomials level = binomials(node);
    const std::int64_t y = x - level.below;
    if (lookback == 0) {
        // Level rho: left_leaves leaves cost a load each, the others a save besides.
        const std::int64_t cheap = saturating_multiply(window, level.left_leaves);
        const std::int64_t splits = y > cheap ? ceil_divide(y - cheap, window) : 0;
        const wide_t all = leaves + ceil_divide(std::min(y, cheap), window) + splits;
        counts.saves = static_cast<wide_t>(level.left_leaves) - 1 + splits;
        counts.loads = all - 1;
        counts.forward_calls = all + counts.saves;
        counts.reverse_calls = all;
        counts.peak = r == 2 ? splits : c;
        return counts;
    }
    const std::int64_t level_leaves = saturating_add(level.left_leaves, level.right_leaves);
    const Layout layout = closing == lookback ? lay_out(y, level_leaves, window, lookback)
                                              : lay_out_initial(y, level_leaves, *this, closing);
    const wide_t snapshots = checked_multiply<wide_t>(leaves, c + 1) / (r - 1) - 1;  // C(c + rho - 1, c) - 1
    const wide_t closings = snapshots + (closing > 0 ? 1 : 0) + layout.unmerged + layout.splits;
    counts.saves = snapshots + layout.splits;
    counts.loads = leaves - 1 + closings;
    counts.forward_calls = leaves + layout.leaves + counts.saves;
    counts.reverse_calls = leaves + closings;
    counts.peak = c;
    return counts;
}

// ---------------------------------------------------------------------------------------------------------- splits

std::int64_t WindowModel::in_right_leaves(const LevelBinomials& level, std::int64_t unmerged) const noexcept {
    return saturating_add(saturating_multiply(window - lookback, level.right_leaves),
                          saturating_multiply(lookback, std::min(unmerged, level.right_leaves)));
}

std::int64_t WindowModel::split(const ChainNode& node, std::int64_t timesteps) const noexcept {
    const std::int64_t x = timesteps;
    if (node.repetitions == 1) {  // the first snapshot takes what the others, d apart, leave over
        return (x - window - 1) % lookback + 1;
    }
    const LevelBinomials level = binomials(node);
    const std::int64_t y = x - level.below;
    std::int64_t right{};
    if (lookback == 0) {
        if (node.repetitions == 2) return std::min(y, window);
        // Fill the cheap leaves of the right part, then of the left; the others in the same order. In a window of 1
        // that is the choice of Algorithm 799.
        const std::int64_t cheap_right =
            exact_multiply_divide(level.left_leaves, node.slots, node.slots + node.repetitions - 2);
        const std::int64_t dear_right =
            exact_multiply_divide(cheap_right, node.slots - 1, node.repetitions - 1);
        const std::int64_t cheap = saturating_multiply(window, level.left_leaves);
        right = std::min(y, saturating_multiply(window, cheap_right)) +
                std::min(std::max<std::int64_t>(0, y - cheap), saturating_multiply(window, dear_right));
    } else {
        const std::int64_t leaves = saturating_add(level.left_leaves, level.right_leaves);
        const Layout layout = lay_out(y, leaves, window, lookback);
        const std::int64_t in_right = in_right_leaves(level, layout.unmerged);
        const std::int64_t before_right_splits = saturating_add(
            saturating_multiply(window, leaves), saturating_multiply(lookback, level.right_leaves));
        right = std::min(y, in_right) + std::max<std::int64_t>(0, y - before_right_splits);
    }
    return x - level.right_below - right;
}

std::int64_t WindowModel::split_of_initial(const ChainNode& node, std::int64_t timesteps,
                                           std::int64_t closing) const {
    if (node.repetitions == 1) return split(node, timesteps);
    const std::int64_t x = timesteps;
    const LevelBinomials level = binomials(node);
    const std::int64_t y = x - level.below;
    const std::int64_t leaves = saturating_add(level.left_leaves, level.right_leaves);
    const std::int64_t left_splits = level.right_leaves;
    // The initial state's own leaf, left of everything, gets nothing, its merged share, or all of the window; the rest
    // goes to the right part's leaves, then the left part's, then to splits on the left, then on the right.
    std::int64_t best = 0;
    std::tuple<wide_t, wide_t> best_cost;
    for (const std::int64_t share : {std::int64_t{0}, window - closing, window}) {
        const std::int64_t rest = y - std::min(share, y);
        const Layout layout = lay_out(rest, leaves - 1, window, lookback);
        const std::int64_t in_right = in_right_leaves(level, layout.unmerged);
        const std::int64_t right =
            std::min(rest, in_right) + lookback * std::max<std::int64_t>(0, layout.splits - left_splits);
        const std::int64_t right_timesteps = level.right_below + right;
        const std::int64_t m = x - right_timesteps;
        const std::int64_t left_timesteps = std::max<std::int64_t>(0, m - lookback);
        const std::int64_t right_most = capacity_saturating(node.slots - 1, node.repetitions);
        const std::int64_t left_most = capacity_saturating(node.slots, node.repetitions - 1);
        if (m < 1 || right > y || right_timesteps > right_most || left_timesteps > left_most) continue;
        const ChainCounts r = chain(right_timesteps, node.slots - 1, lookback);
        ChainCounts l;
        if (left_timesteps > 0) {
            l = chain(left_timesteps, node.slots, closing);
            l.loads += 1;
        } else if (lookback - m < closing) {
            l = chain(0, node.slots, closing);
        }
        if (m + r.forward_steps + l.forward_steps != chain_at(node, x, closing).forward_steps) continue;
        const std::tuple<wide_t, wide_t> cost{
            r.saves + r.loads + l.saves + l.loads,
            r.forward_calls + r.reverse_calls + l.forward_calls + l.reverse_calls};
        if (best == 0 || cost < best_cost) {
            best = m;
            best_cost = cost;
        }
    }
    if (best == 0) throw std::logic_error("no optimal split of the initial state's chain");
    return best;
}

// --------------------------------------------------------------------------------------------------------- problem

void WindowedProblem::validate() const {
    if (timesteps < 0) throw_invalid("n_timesteps", ">= 0", timesteps);
    if (timesteps > kMostTimesteps) throw_overflow();
    if (model.window < 1) throw_invalid("window", ">= 1", model.window);
    if (model.lookback < 0 || model.lookback > model.window) {
        throw_invalid("lookback", "between 0 and window", model.lookback);
    }
    if (model.lag != 0 && model.lag != 1) throw_invalid("lag", "0 or 1", model.lag);
    if (model.lag == 0 && model.lookback == 0) {
        throw std::invalid_argument(
            "lag 0 needs lookback >= 1 (a state that carries its own timestep), got 0");
    }
    const std::int64_t least = free_initial_state ? 0 : 1;
    if (snapshots < least) {
        throw_invalid("n_snapshots", free_initial_state ? ">= 0" : ">= 1 with a stored initial state",
                      snapshots);
    }
}

std::int64_t WindowedProblem::first_snapshot() const noexcept {
    if (free_initial_state || timesteps <= model.window) return 0;
    const std::int64_t d = model.lookback;
    const std::int64_t first = model.carrying_state();
    // Nothing is run twice (rho = 1) and x_0 would need no further snapshot: storing it saves the call up to x_e.
    const std::int64_t beyond = timesteps - model.window;
    if (model.lag == 0 && beyond > first && beyond - first <= saturating_multiply(d, chain_slots()) &&
        ceil_divide(beyond, d) == ceil_divide(beyond - first, d)) {
        return 0;
    }
    return first;
}

std::int64_t WindowedProblem::closing() const noexcept {
    return first_snapshot() + 1 - model.lag;
}

std::int64_t WindowedProblem::chain_slots() const noexcept {
    return std::min(snapshots, timesteps) - (free_initial_state ? 0 : 1);
}

ScheduleCounts WindowedProblem::counts() const {
    validate();
    ScheduleCounts result;
    if (timesteps == 0) return result;
    if (fits_window()) {
        result.forward_steps = timesteps;
        result.forward_calls = result.reverse_calls = 1;
        return result;
    }
    const std::int64_t first = first_snapshot();
    const std::int64_t stored = free_initial_state ? 0 : 1;
    const ChainCounts chain = model.chain(timesteps - first, chain_slots(), closing());
    result.forward_steps = checked_narrow(chain.forward_steps + first);
    result.saves = checked_narrow(chain.saves + stored);
    result.loads = checked_narrow(chain.loads);
    result.forward_calls = checked_narrow(chain.forward_calls + (first > 0 ? 1 : 0));
    // Lag 0: the first leaf's last place is timestep n, which does not exist; in a window of 1 that is all of it.
    const bool empty_leaf = model.lag == 0 && model.window == 1;
    result.reverse_calls = checked_narrow(chain.reverse_calls - (empty_leaf ? 1 : 0));
    result.peak_snapshots = chain.peak + stored;
    return result;
}

}  // namespace revolve
