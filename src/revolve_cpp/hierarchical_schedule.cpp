#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

#include "revolve/chain_schedule.hpp"
#include "revolve/hierarchical.hpp"

namespace revolve {

namespace {

constexpr std::int64_t kBlock = 64;  ///< splits that are bounded together

std::size_t as_index(std::int64_t value) {
    return static_cast<std::size_t>(value);
}

}  // namespace

// -------------------------------------------------------------------------------------------------------- decisions

HierarchicalChain HierarchicalTables::root() const {
    const WindowModel& model = problem_.model;
    const bool initial = first_snapshot_ == 0 && model.lookback != 1 - model.lag;
    if (problem_.free_initial_state) return {kFreeTier, 0, true, false, initial};
    const auto last = static_cast<std::int32_t>(problem_.tiers.size()) - 1;
    return place({last, tiers_[as_index(last)].capacity, true, false, initial},
                 problem_.timesteps - first_snapshot_);
}

HierarchicalChain HierarchicalTables::place(const HierarchicalChain& chain, std::int64_t timesteps) const {
    const Family& chains = family(chain);
    const auto kind = as_index(kind_of(chain, timesteps));
    const auto x = as_index(units(timesteps));
    HierarchicalChain placed = chain;
    std::size_t tier = index(chain);
    for (;; placed.slots = tiers_[--tier].capacity) {
        const bool unbounded = placed.slots == kUnbounded;
        if (placed.slots != 0) {
            if (!unbounded) --placed.slots;
            const bool last = closed_form(tier) || tier == 0;
            if (last ||
                tiers_[tier].write + row(chains, tier, std::max<std::int64_t>(0, placed.slots))[kind][x] <
                    chains.faster[tier][kind][x]) {
                placed.tier = static_cast<std::int32_t>(tier);
                return placed;
            }
        }
        if (tier == 0) throw std::logic_error("no free slot for a snapshot");
    }
}

HierarchicalMove HierarchicalTables::decide(const HierarchicalChain& chain, std::int64_t timesteps) const {
    using Choice = HierarchicalMove::Kind;
    const WindowModel& model = problem_.model;
    const std::size_t tier = index(chain);
    const Family& chains = family(chain);
    const auto copied = [&] {
        const auto faster = static_cast<std::int32_t>(tier) - 1;
        return place({faster, tiers_[as_index(faster)].capacity, chain.last_of_sweep, false, chain.initial},
                     timesteps);
    };
    const std::int64_t beyond = std::max<std::int64_t>(0, timesteps - model.window);
    if (chain.read && tiers_[tier].one_read) {
        const bool leaf = timesteps + chains.closing <= model.window;
        return leaf ? HierarchicalMove{} : HierarchicalMove{Choice::copy, 0, copied()};
    }
    const auto right = [&](std::int64_t m) {
        return place({static_cast<std::int32_t>(tier), chain.slots, chain.last_of_sweep}, timesteps - m);
    };
    if (closed_form(tier)) {
        if (beyond == 0 || chain.slots == 0) return {Choice::run, beyond, {}};
        const std::int64_t m =
            model.split(model.node(timesteps, std::min(chain.slots, timesteps)), timesteps);
        if (model.lookback == 0 && timesteps - m <= model.window) return {Choice::run, m, {}};
        return {Choice::split, m, right(m)};
    }

    const Row& own = row(chains, tier, std::max<std::int64_t>(0, chain.slots));
    const int kind = kind_of(chain, timesteps);
    const std::int64_t x = units(timesteps);
    double best = run_cost(chains, tier, own, x, kind);
    Choice choice = Choice::run;
    if (const double copy = chains.faster[tier][as_index(kind)][as_index(x)]; copy < best) {
        best = copy;
        choice = Choice::copy;
    }
    std::int64_t m = 0;
    const Row* stored =
        chain.slots == 0 ? nullptr : &row(snapshot_, tier, std::max<std::int64_t>(0, chain.slots - 1));
    const auto consider = [&](std::int64_t j, int left_kind, int right_kind) {
        const double cost =
            split_left(chains, tier, own, j, left_kind) + split_right(tier, stored, x - j, right_kind);
        if (!(cost < best)) return;
        best = cost;
        choice = Choice::split;
        m = length(j, left_kind);
    };
    // The least cost is known: the first move that reaches it is the one sought. Both parts cost more the longer they
    // are, so that the ends of a block bound what is between; where rounding hides the least, all is looked through.
    const double least = own[as_index(kind)][as_index(x)];
    const bool parts = kind == 1 && special_ == Special::part_filled;
    const auto look_through = [&](std::int64_t low, std::int64_t high) {
        for (std::int64_t j = high; j >= low && best > least; --j) {
            consider(j, 0, kind);
            if (parts) consider(j, 1, 0);
        }
    };
    for (std::int64_t high = x - 1; high >= 1 && best > least; high -= kBlock) {
        const std::int64_t low = std::max<std::int64_t>(1, high - kBlock + 1);
        const auto bound = [&](int left_kind, int right_kind) {
            return split_left(chains, tier, own, low, left_kind) +
                   split_right(tier, stored, x - high, right_kind);
        };
        if (bound(0, kind) <= least || (parts && bound(1, 0) <= least)) look_through(low, high);
    }
    look_through(1, x - 1);
    if (choice == Choice::run) return {choice, beyond, {}};
    if (choice == Choice::copy) return {choice, 0, copied()};
    return {choice, m, right(m)};
}

// --------------------------------------------------------------------------------------------------------- schedule

namespace {

/// The move of a chain, after which it counts as read and no longer as the last of the sweep.
HierarchicalMove advance(const HierarchicalTables& tables, HierarchicalChain& chain, std::int64_t x) {
    const HierarchicalMove move = tables.decide(chain, x);
    chain.last_of_sweep = false;
    chain.read = true;
    return move;
}

/// For the machine, whose nodes are made of chains.
template <class Node>
Move<Node> move_of(const HierarchicalMove& move) {
    switch (move.kind) {
        case HierarchicalMove::Kind::copy:
            return Move<Node>::copy(move.next.tier, Node{move.next});
        case HierarchicalMove::Kind::split:
            return Move<Node>::split(move.timesteps, move.next.tier, Node{move.next});
        case HierarchicalMove::Kind::run:
            break;
    }
    return Move<Node>::run(move.timesteps);
}

class HierarchicalPolicy {
public:
    using Node = HierarchicalChain;

    explicit HierarchicalPolicy(std::shared_ptr<const HierarchicalTables> tables)
        : tables_(std::move(tables)) {}

    Move<Node> decide(Node& node, std::int64_t x, std::int64_t, const Ahead&) const {
        return move_of<Node>(advance(*tables_, node, x));
    }

private:
    std::shared_ptr<const HierarchicalTables> tables_;
};

constexpr std::int32_t kDisk = 1;

/// Timesteps that are no fewer for a further forced snapshot: up to P + K - d a long leaf in their place, left of
/// which a segment's chain remains, saves the copies and a call.
std::int64_t longest_last(const WindowModel& model, std::int64_t period) noexcept {
    return saturating_add(period, model.window - model.lookback);
}

/// Forced snapshots while the first sweep goes on; then each segment by its tables.
class PeriodicDiskPolicy {
public:
    struct Node {
        HierarchicalChain chain;
        bool forced = false;  ///< a further snapshot is due a period from here
    };

    explicit PeriodicDiskPolicy(PeriodicDiskPlan plan) : plan_(std::move(plan)) {}

    /// A chain that ends with x_n, at hand and not stored yet.
    Node arrive(std::int64_t x) const {
        const WindowModel& model = plan_.model;
        if (x > longest_last(model, plan_.period)) return {{kDisk, 0, true}, true};
        return {plan_.segments->place({kDisk, 1, true}, x), false};
    }

    Move<Node> decide(Node& node, std::int64_t x, std::int64_t, const Ahead&) const {
        if (node.forced) {
            node = {{kDisk, 0, false, true}, false};
            const Node next = arrive(x - plan_.period);
            return Move<Node>::split(plan_.period, next.chain.tier, next);
        }
        return move_of<Node>(advance(*plan_.segments, node.chain, x));
    }

private:
    PeriodicDiskPlan plan_;
};

}  // namespace

std::shared_ptr<const HierarchicalTables> plan_hierarchical(const HierarchicalProblem& problem,
                                                            InterruptCheck check) {
    return std::make_shared<HierarchicalTables>(problem, check);
}

std::unique_ptr<Schedule> hierarchical_schedule(std::shared_ptr<const HierarchicalTables> tables) {
    const HierarchicalProblem& problem = tables->problem();
    ChainStart<HierarchicalChain> start;
    start.timesteps = problem.timesteps;
    start.model = problem.model;
    if (!problem.fits_window()) {
        const HierarchicalChain root = tables->root();
        start.levels.push_back({tables->first_snapshot(), root.tier, root});
    }
    return std::make_unique<ChainSchedule<HierarchicalPolicy>>(HierarchicalPolicy(std::move(tables)),
                                                               std::move(start));
}

std::unique_ptr<Schedule> periodic_disk_schedule(const PeriodicDiskPlan& plan) {
    const WindowModel& model = plan.model;
    PeriodicDiskPolicy policy(plan);
    ChainStart<PeriodicDiskPolicy::Node> start;
    start.timesteps = plan.timesteps;
    start.model = model;
    if (plan.segments != nullptr) {
        const std::int64_t first = model.carrying_state();
        const PeriodicDiskPolicy::Node root = policy.arrive(plan.timesteps - first);
        start.levels.push_back({first, root.chain.tier, root});
    }
    return std::make_unique<ChainSchedule<PeriodicDiskPolicy>>(std::move(policy), std::move(start));
}

// --------------------------------------------------------------------------------------------------------- periodic

namespace {

/// The best period, found by solving ever longer segments until no longer one can be better.
///
/// A segment of P timesteps runs forward at least what windowed Revolve does with its snapshot and the slots of tier
/// 0, and reverses in calls of at most K timesteps: its cost is at least w + r + h_f + h_b P / K + u (P + F(P - d, c)).
/// That is convex in P, so that, divided by P, it rises for good from where it rises. Where copies and calls cost much
/// it may never exceed the best: of periods longer than the run only the shortest is tried.
struct PeriodSearch {
    const HierarchicalProblem& problem;
    std::int64_t timesteps;
    InterruptCheck check;

    PeriodicDiskPlan run() const {
        const WindowModel& model = problem.model;
        const std::int64_t d = model.lookback;
        const TierCosts& disk = problem.tiers[as_index(kDisk)];
        PeriodicDiskPlan plan;
        double best = 0.0;
        std::int64_t period = 1;
        for (std::int64_t size = 64;; size *= 2) {
            HierarchicalProblem segment = problem;
            segment.timesteps = size;
            plan.segments = std::make_shared<HierarchicalTables>(segment, check, true);
            for (; period <= size; ++period) {
                const double steps = problem.forward_step * static_cast<double>(period);
                const double once = disk.write + problem.forward_call + steps;
                const double mean =
                    (once + plan.segments->left_part({kDisk, 0}, period - d)) / static_cast<double>(period);
                if (plan.period == 0 || mean <= best) {
                    best = mean;
                    plan.period = period;
                }
                if (settled(plan.period, best, period)) return plan;
            }
        }
    }

private:
    bool settled(std::int64_t best_period, double best, std::int64_t period) const {
        if (best_period > timesteps || period > timesteps) return true;
        if (problem.forward_step == 0.0) return period == timesteps;
        const double bound = least(period) / static_cast<double>(period);
        return period > problem.model.lookback && best < bound && least(period + 1) - least(period) >= bound;
    }

    double least(std::int64_t period) const {
        const TierCosts& disk = problem.tiers[as_index(kDisk)];
        const std::int64_t inner = std::max<std::int64_t>(0, period - problem.model.lookback);
        const std::int64_t capacity = problem.tiers.front().capacity;
        const std::int64_t slots = capacity == kUnbounded ? inner : std::min(capacity, inner);
        const auto steps = static_cast<double>(problem.model.chain(inner, slots, 0).forward_steps + period);
        return disk.write + disk.read + problem.forward_call + problem.forward_step * steps +
               problem.reverse_call * static_cast<double>(period) / static_cast<double>(problem.model.window);
    }
};

}  // namespace

PeriodicDiskPlan plan_periodic_disk(HierarchicalProblem problem, std::int64_t period, InterruptCheck check) {
    problem.tiers.at(as_index(kDisk)).capacity = 1;  // a segment has its own snapshot alone
    problem.validate();
    const WindowModel& model = problem.model;
    const std::int64_t n = problem.timesteps;
    const std::int64_t d = model.lookback;
    PeriodicDiskPlan plan;
    if (problem.fits_window()) {
        plan.cost = HierarchicalTables(problem).cost();
    } else {
        const std::int64_t first = model.carrying_state();
        const std::int64_t x = n - first;
        if (period == 0) {
            plan = PeriodSearch{problem, x, check}.run();
        } else {
            plan.period = period;
        }
        const std::int64_t longest = std::min(x, longest_last(model, plan.period));
        if (plan.segments == nullptr || plan.segments->problem().timesteps < longest) {
            problem.timesteps = longest;
            plan.segments = std::make_shared<HierarchicalTables>(problem, check, true);
        }
        const std::int64_t forced = x > longest ? ceil_divide(x - longest, plan.period) : 0;
        const double segment = forced == 0 ? 0.0
                                           : problem.tiers[as_index(kDisk)].write + problem.forward_call +
                                                 problem.forward_step * static_cast<double>(plan.period) +
                                                 plan.segments->left_part({kDisk, 0}, plan.period - d);
        plan.cost = static_cast<double>(forced) * segment +
                    plan.segments->unstored({kDisk, 1, true}, x - forced * plan.period);
        if (!std::isfinite(plan.cost)) {
            throw std::invalid_argument(
                "period = " + std::to_string(plan.period) +
                ": a segment cannot be reversed from a state that is read once without "
                "slots in tier 0; give some, or a period of at most the window");
        }
        if (first > 0) plan.cost += problem.forward_call + problem.forward_step * static_cast<double>(first);
    }
    plan.model = model;
    plan.timesteps = n;
    return plan;
}

}  // namespace revolve
