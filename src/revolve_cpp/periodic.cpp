#include "revolve/periodic.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "revolve/spine.hpp"
#include "revolve/windowed_schedule.hpp"

namespace revolve {

namespace {

constexpr std::int32_t kMemory = 0;

/// Segments between two snapshots of the slow tier.
class SegmentPolicy {
public:
    struct Node {
        ChainNode chain;
        bool fresh = false;  ///< its start lies in the slow tier and nothing was decided yet
    };

    explicit SegmentPolicy(const PeriodicProblem& problem)
        : problem_(problem), revolve_(problem.model, problem.free_initial_state) {}

    Move<Node> decide(Node& node, std::int64_t x, std::int64_t closing, const Ahead& ahead) const {
        if (node.fresh) {
            const ChainNode chain = problem_.model.node(x, problem_.chain_slots());
            if (problem_.copies()) return Move<Node>::copy(kMemory, {chain, false});
            node = {chain, false};
        }
        const Move<ChainNode> move = revolve_.decide(node.chain, x, closing, ahead);
        if (move.kind == MoveKind::run) return Move<Node>::run(move.m);
        return Move<Node>::split(move.m, kMemory, {move.node, false});
    }

    Node segment(std::int64_t) const { return {{}, true}; }

    std::pair<std::int32_t, Node> tail(std::int64_t x) const {
        if (!problem_.copies()) return {problem_.spine_tier, {{}, true}};
        return {kMemory, {problem_.model.node(x, problem_.chain_slots()), false}};
    }

    bool whole(std::int64_t x, std::int64_t) const { return problem_.whole(x); }

private:
    PeriodicProblem problem_;
    WindowedPolicy revolve_;
};

}  // namespace

void PeriodicProblem::validate() const {
    windowed().validate();
    const std::int64_t least = std::max<std::int64_t>(1, model.lookback);
    if (period < least) {
        throw std::invalid_argument("period must be >= 1 and >= lookback, here " + std::to_string(least) +
                                    ", got " + std::to_string(period));
    }
    if (slots < 0) throw std::invalid_argument("n_snapshots must be >= 0, got " + std::to_string(slots));
    if (spine_tier < 0 || (spine_tier == kMemory && slots > 0)) {
        throw std::invalid_argument("snapshots beside those of a spine in RAM are not available");
    }
}

std::int64_t PeriodicProblem::first_snapshot() const noexcept {
    if (free_initial_state) return 0;
    return std::min(timesteps - 1, model.carrying_state());
}

std::int64_t PeriodicProblem::closing() const noexcept {
    return std::min(model.lookback, first_snapshot() + 1 - model.lag);
}

bool PeriodicProblem::whole(std::int64_t x) const {
    // The window would hold all behind the next snapshot, and what that carries: it would never be loaded.
    if (x - period + model.lookback <= model.window) return true;
    if (x - period > period) return false;
    const auto forward_steps = [&](std::int64_t timesteps_left) {
        return model.chain(std::max<std::int64_t>(0, timesteps_left), chain_slots(), 0).forward_steps;
    };
    return forward_steps(x) <= period + forward_steps(x - period) + forward_steps(period - model.lookback);
}

std::pair<std::int64_t, std::int64_t> PeriodicProblem::segments() const {
    const std::int64_t x = timesteps - first_snapshot();
    if (x + closing() <= model.window) return {0, x};
    std::int64_t full = (x - 1) / period;
    if (full > 0 && whole(x - (full - 1) * period)) --full;
    const std::int64_t beyond_window = std::max<std::int64_t>(0, x - period + model.lookback - model.window);
    full = std::min(full, ceil_divide(beyond_window, period));
    return {full, x - full * period};
}

std::unique_ptr<Schedule> periodic_schedule(const PeriodicProblem& problem) {
    problem.validate();
    using Policy = SpinePolicy<SegmentPolicy>;
    Policy policy(SegmentPolicy(problem), problem.period, problem.spine_tier, problem.model.lookback);
    ChainStart<Policy::Node> start;
    start.timesteps = problem.timesteps;
    start.model = problem.model;
    if (!problem.fits_window()) {
        const std::int64_t first = problem.first_snapshot();
        const auto [tier, node] = policy.root(problem.timesteps - first);
        start.levels.push_back({first, problem.free_initial_state ? kFreeTier : tier, node});
    }
    return std::make_unique<ChainSchedule<Policy>>(std::move(policy), std::move(start));
}

ScheduleTally periodic_counts(const PeriodicProblem& problem) {
    problem.validate();
    if (!problem.one_read && problem.slots > 0) {
        throw std::logic_error(
            "the loads of snapshots that are read again are counted by running the schedule");
    }
    const WindowModel& model = problem.model;
    ScheduleTally result;
    result.tiers.resize(static_cast<std::size_t>(problem.spine_tier) + 1);
    if (problem.timesteps == 0) return result;
    if (problem.fits_window()) {
        result.forward_steps = problem.timesteps;
        result.forward_calls = result.reverse_calls = 1;
        return result;
    }
    const std::int64_t first = problem.first_snapshot();
    const auto [full, rest] = problem.segments();
    wide_t steps = first + wide_t{full} * problem.period;
    wide_t calls = (first > 0 ? 1 : 0) + wide_t{full};
    wide_t reverse_calls = 0;
    wide_t memory_saves = 0;
    wide_t memory_loads = 0;
    wide_t slow_saves = 0;
    wide_t slow_loads = 0;
    std::int64_t memory_peak = 0;

    const auto add_chain = [&](std::int64_t x, std::int64_t closing, bool in_memory, bool stored,
                               wide_t times) {
        const ChainCounts chain = model.chain(x, problem.chain_slots(), closing);
        steps += times * chain.forward_steps;
        calls += times * chain.forward_calls;
        reverse_calls += times * chain.reverse_calls;
        memory_saves += times * chain.saves;
        (in_memory ? memory_loads : slow_loads) += times * chain.loads;
        memory_peak = std::max(memory_peak, chain.peak + (stored ? 1 : 0));
    };
    const auto add_segments = [&](std::int64_t closing, wide_t times, bool free_start) {
        const std::int64_t x = problem.period - model.lookback;
        const std::int64_t owed = x > 0 ? closing : std::max<std::int64_t>(0, closing + x);
        if (x <= 0 && owed == 0) return;
        (free_start ? memory_loads : slow_loads) += times;
        if (x <= 0) {
            reverse_calls += times;
            return;
        }
        const bool copied = problem.copies() && x + owed > model.window;
        if (copied) memory_saves += times;
        add_chain(x, owed, copied || free_start, copied, times);
    };

    if (full > 0) {
        slow_saves += full - (problem.free_initial_state ? 1 : 0);
        add_segments(problem.closing(), 1, problem.free_initial_state);
        if (full > 1) add_segments(model.lookback, full - 1, false);
    }
    // The tail's start is in RAM where there is a slot for it; that of the whole run may be free instead.
    const bool free_tail = full == 0 && problem.free_initial_state;
    if (!free_tail) (problem.copies() ? memory_saves : slow_saves) += 1;
    add_chain(rest, full == 0 ? problem.closing() : model.lookback, free_tail || problem.copies(),
              !free_tail && problem.copies(), 1);
    // Lag 0: the last place of the first leaf is timestep n, which does not exist; it may be all of it.
    const std::int64_t owed = full == 0 ? problem.closing() : model.lookback;
    const bool alone = rest > model.window ? model.window == 1 : rest == 1 && 1 + owed > model.window;
    if (model.lag == 0 && alone) --reverse_calls;

    result.forward_steps = checked_narrow(steps);
    result.forward_calls = checked_narrow(calls);
    result.reverse_calls = checked_narrow(reverse_calls);
    result.tiers.front() = {checked_narrow(memory_saves), checked_narrow(memory_loads), memory_peak};
    TierCounts& spine = result.tiers.back();
    spine.saves += checked_narrow(slow_saves);
    spine.loads += checked_narrow(slow_loads);
    spine.peak += checked_narrow(slow_saves);
    return result;
}

namespace {

double time_of(const StepCosts& steps, const ChainCounts& counts, std::int64_t reversed) {
    const auto real = [](wide_t count) { return static_cast<double>(count); };
    return steps.forward_step * real(counts.forward_steps) + steps.reverse_step * real(reversed) +
           steps.forward_call * real(counts.forward_calls) + steps.reverse_call * real(counts.reverse_calls) +
           steps.save * real(counts.saves) + steps.load * real(counts.loads);
}

/// What lies behind the last full segment, in seconds.
struct Tail {
    double sweep = 0;        ///< from its start to the end of the run, snapshots in RAM included
    double before_load = 0;  ///< from there until a snapshot of the spine is loaded
    bool loads = false;      ///< whether that is the tail's own start, which lies in the slow tier then
    double after_load = 0;   ///< from that load to the next, the copy from the buffer included
};

Tail tail_of(const PeriodicProblem& problem, const StepCosts& steps) {
    const WindowModel& model = problem.model;
    const auto [full, x] = problem.segments();
    const std::int64_t closing = full == 0 ? problem.closing() : model.lookback;
    const bool free_start = full == 0 && problem.free_initial_state;
    ChainCounts sweep;
    sweep.forward_steps = x;
    sweep.forward_calls = 1;
    ChainNode node = model.node(x, problem.chain_slots());
    for (std::int64_t left = x; left > model.window && node.slots > 0;) {
        const std::int64_t m = model.split(node, left);
        if (model.lookback == 0 && left - m <= model.window) break;
        left -= m;
        node = model.right_of(node, left);
        ++sweep.saves;
        ++sweep.forward_calls;
    }
    ChainCounts rest = model.chain(x, problem.chain_slots(), closing);
    rest.forward_steps -= sweep.forward_steps;
    rest.forward_calls -= sweep.forward_calls;
    rest.saves -= sweep.saves;
    // With lag 0 the last place is timestep n, which does not exist; it may be all of the first leaf.
    const std::int64_t beyond = 1 - model.lag;
    const bool alone = x > model.window ? model.window == 1 : x == 1 && x + closing > model.window;
    if (beyond == 1 && alone) --rest.reverse_calls;
    Tail tail;
    if (problem.copies() && !free_start) ++sweep.saves;
    tail.sweep = time_of(steps, sweep, 0);
    const double reversal = time_of(steps, rest, x + closing - beyond);
    tail.loads = !problem.copies() && !free_start && rest.loads > 0;
    tail.before_load = reversal;
    if (tail.loads) {
        const std::int64_t reversed = std::min(x, model.window) - beyond;
        tail.before_load =
            steps.reverse_step * static_cast<double>(reversed) + (reversed > 0 ? steps.reverse_call : 0.0);
        tail.after_load = reversal - tail.before_load;
    }
    return tail;
}

/// Reversal of a full segment whose start is at hand.
double segment_time(const PeriodicProblem& problem, const StepCosts& steps) {
    const std::int64_t d = problem.model.lookback;
    const std::int64_t x = problem.period - d;
    ChainCounts counts;
    counts.reverse_calls = 1;
    if (x > 0) counts = problem.model.chain(x, problem.chain_slots(), d);
    if (x > 0 && problem.copies() && x + d > problem.model.window) ++counts.saves;
    return time_of(steps, counts, problem.period);
}

/// Waiting for `loads` snapshots that are read from second `reading` on, counted from when the first sweep is over:
/// the first is wanted after `first`, the next `second` later, all others after another `each`. The last load is as
/// late as the longest of these: every load when it is wanted; every read right after the one before it; or, after
/// one of the first two loads, reads that had to wait for its buffer.
double read_wait(const OverlapCosts& costs, std::int64_t loads, double reading, double first, double second,
                 double each) {
    if (loads == 0) return 0.0;
    const auto real = [](std::int64_t count) { return static_cast<double>(count); };
    const double read = costs.read;
    const double reread = costs.steps.load + read;  // a buffer is emptied and filled
    const double begun = std::max(first, reading + read);
    const double wait = begun - first;
    if (loads == 1) return wait;
    if (costs.buffers == 1) {
        return wait + std::max(0.0, reread - second) + real(loads - 2) * std::max(0.0, reread - each);
    }
    const double slower = std::max(each, read);
    const double wanted = second + real(loads - 2) * each;
    double last = std::max(begun + wanted, reading + 2 * read + real(loads - 2) * slower);
    if (loads > costs.buffers)
        last = std::max(last, begun + reread + real(loads - 1 - costs.buffers) * slower);
    if (loads - 1 > costs.buffers) {
        last = std::max(last, begun + second + reread + real(loads - 2 - costs.buffers) * slower);
    }
    return std::max(0.0, last - first - wanted);  // below 0 by rounding
}

}  // namespace

OverlapTime overlap(const PeriodicProblem& problem, const OverlapCosts& costs) {
    const ScheduleTally counts = periodic_counts(problem);
    const auto real = [](wide_t count) { return static_cast<double>(count); };
    const StepCosts& steps = costs.steps;
    OverlapTime result;
    result.seconds =
        steps.forward_step * real(counts.forward_steps) + steps.reverse_step * real(problem.timesteps) +
        steps.forward_call * real(counts.forward_calls) + steps.reverse_call * real(counts.reverse_calls);
    for (const TierCounts& tier : counts.tiers) {
        result.seconds += steps.save * real(tier.saves) + steps.load * real(tier.loads);
    }
    const std::int64_t saves = counts.tiers.back().saves;
    const std::int64_t loads = counts.tiers.back().loads;
    if (problem.fits_window() || saves == 0) return result;

    const bool one_buffer = costs.buffers == 1;
    const double copy_out = steps.save;
    const double between_saves = steps.forward_step * real(problem.period) + steps.forward_call + copy_out;
    // A save needs the buffer of the one that many before it, and so that one's write.
    if (one_buffer) {
        result.write_wait = real(saves - 1) * std::max(0.0, copy_out + costs.write - between_saves);
    } else if (saves > costs.buffers) {
        result.write_wait = std::max(
            0.0, copy_out + real(saves - costs.buffers) * costs.write - real(saves - 1) * between_saves);
    }
    // Nobody waits longer than transfers take; differences of large sums may say so.
    result.write_wait = std::min(result.write_wait, real(saves) * costs.write);
    const double last_save = real(saves - 1) * between_saves + result.write_wait;
    const double written =
        std::max(last_save + copy_out, one_buffer ? 0.0 : copy_out + real(saves - 1) * costs.write) +
        costs.write;

    const Tail tail = tail_of(problem, steps);
    const double turn =
        last_save + copy_out + tail.sweep +
        (problem.copies() ? steps.forward_call + steps.forward_step * real(problem.period) : 0.0);
    const double reading = std::max(0.0, written - turn);
    const double each = steps.load + segment_time(problem, steps);
    const double most = real(saves) * costs.write - result.write_wait + real(loads) * costs.read;
    result.read_wait = std::min(
        read_wait(costs, loads, reading, tail.before_load, tail.loads ? tail.after_load : each, each), most);
    result.seconds += result.write_wait + result.read_wait;
    return result;
}

}  // namespace revolve
