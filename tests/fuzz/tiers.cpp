#include <algorithm>
#include <cmath>
#include <memory>

#include "revolve/hierarchical.hpp"
#include "revolve/periodic.hpp"

#include "families.hpp"
#include "machine.hpp"

namespace fuzz {

namespace {

constexpr std::int64_t kMost = 1'000'000;

/// What a schedule takes with the costs of a hierarchical problem, its reverse steps not counted.
double cost_of(const revolve::ScheduleTally& counts, const revolve::HierarchicalProblem& problem) {
    const auto real = [](std::int64_t count) { return static_cast<double>(count); };
    double cost = problem.forward_step * real(counts.forward_steps) +
                  problem.forward_call * real(counts.forward_calls) +
                  problem.reverse_call * real(counts.reverse_calls);
    for (std::size_t tier = 0; tier < problem.tiers.size(); ++tier) {
        cost += problem.tiers[tier].write * real(counts.tiers[tier].saves) +
                problem.tiers[tier].read * real(counts.tiers[tier].loads);
    }
    return cost;
}

bool is_close(double a, double b) {
    return std::abs(a - b) <= 1e-9 * std::max(std::abs(a), std::abs(b));
}

std::vector<std::int64_t> capacities_of(const revolve::HierarchicalProblem& problem) {
    std::vector<std::int64_t> capacities;
    for (const revolve::TierCosts& tier : problem.tiers) capacities.push_back(tier.capacity);
    return capacities;
}

revolve::HierarchicalProblem problem_of(Input& input, std::int64_t tiers) {
    revolve::HierarchicalProblem problem{};
    problem.timesteps = input.timesteps(90);
    problem.model = input.model(input.rarely(8) ? 60 : 8);
    problem.free_initial_state = input.flag();
    problem.forward_step = input.cost();
    problem.forward_call = input.cost();
    problem.reverse_call = input.cost();
    for (std::int64_t tier = 0; tier < tiers; ++tier) {
        const std::int64_t capacity = input.rarely(6) ? revolve::kUnbounded : input.between(0, 6);
        problem.tiers.push_back({capacity, input.cost(), input.cost(), tier > 0 && input.rarely(4)});
    }
    return problem;
}

/// One argument out of its range: the problem is refused, and so is all that is made of it.
void refuse_wild(Input& input, revolve::HierarchicalProblem problem) {
    constexpr double kBad[]{-1.0, HUGE_VAL, -HUGE_VAL, NAN};
    const double bad = kBad[input.between(0, 3)];
    bool too_long = false;
    switch (input.between(0, 6)) {
        case 0:
            problem.forward_step = bad;
            break;
        case 1:
            problem.tiers.back().read = bad;
            break;
        case 2:
            problem.tiers.front().one_read = true;
            break;
        case 3:
            problem.tiers.clear();
            break;
        case 4:
            problem.tiers.front().capacity = input.between(-9, -2);
            break;
        case 5:
            problem.model.lookback = problem.model.window + input.between(1, 3);
            break;
        default:
            problem.timesteps = input.between((std::int64_t{1} << 62) + 1, INT64_MAX);
            too_long = true;
    }
    const Outcome outcome = attempt([&] { revolve::plan_hierarchical(problem); });
    require(outcome == (too_long ? Outcome::overflow : Outcome::invalid), "bad arguments are not refused");
}

}  // namespace

void hierarchical(Input& input) {
    const revolve::HierarchicalProblem problem = problem_of(input, input.between(1, 4));
    if (input.rarely(8)) return refuse_wild(input, problem);
    std::shared_ptr<const revolve::HierarchicalTables> tables;
    const Outcome outcome = attempt([&] { tables = plan_hierarchical(problem); });
    if (outcome != Outcome::done) {
        require(outcome == Outcome::invalid, "a problem is refused in another way than documented");
        // One slot for the initial state, from which all is run again and again, is enough.
        const auto& tiers = problem.tiers;
        const bool solvable = std::any_of(tiers.begin(), tiers.end(), [](const auto& tier) {
            return tier.capacity != 0 && !tier.one_read;
        });
        return require(!solvable, "a problem is refused that can be solved");
    }
    const MachineModel model{problem.timesteps, problem.model, problem.free_initial_state,
                             capacities_of(problem)};
    Machine machine(model);
    require(machine.run(*hierarchical_schedule(tables), kMost), "does not end");
    machine.require_counts(
        tally(*hierarchical_schedule(tables), nullptr, std::vector<std::int64_t>(problem.tiers.size())));
    require(is_close(tables->cost(), cost_of(machine.done(), problem)), "announces another cost");
    // No dearer than with the slots of a single tier and the fewest forward steps.
    for (std::size_t tier = 0; tier < problem.tiers.size(); ++tier) {
        if (problem.tiers[tier].one_read || (problem.free_initial_state && tier > 0)) continue;
        const std::int64_t capacity = problem.tiers[tier].capacity;
        const std::int64_t slots = capacity < 0 ? problem.timesteps + 1 : capacity;
        const revolve::WindowedProblem single{problem.timesteps, slots, problem.model,
                                              problem.free_initial_state};
        if (!is_legal(single)) continue;
        const revolve::ScheduleCounts counts = single.counts();
        revolve::ScheduleTally all;
        all.forward_steps = counts.forward_steps;
        all.forward_calls = counts.forward_calls;
        all.reverse_calls = counts.reverse_calls;
        all.tiers.resize(problem.tiers.size());
        all.tiers[tier] = {counts.saves, counts.loads, counts.peak_snapshots};
        const double cost = cost_of(all, problem);
        require(tables->cost() <= cost || is_close(tables->cost(), cost), "dearer than a single tier");
    }
}

void periodic_disk(Input& input) {
    revolve::HierarchicalProblem problem = problem_of(input, 2);
    problem.free_initial_state = false;
    const std::int64_t period = input.flag() ? 0 : input.between(1, problem.timesteps + 2);
    revolve::PeriodicDiskPlan plan;
    const Outcome outcome = attempt([&] { plan = plan_periodic_disk(problem, period); });
    if (outcome != Outcome::done) {
        require(outcome == Outcome::invalid, "a problem is refused in another way than documented");
        return require(problem.tiers[1].one_read && problem.tiers[0].capacity == 0,
                       "a problem is refused that can be solved");
    }
    if (period > 0 && plan.segments != nullptr) require(plan.period == period, "takes another period");
    MachineModel model{problem.timesteps, problem.model, false, capacities_of(problem)};
    model.capacities[1] = revolve::kUnbounded;
    Machine machine(model);
    require(machine.run(*periodic_disk_schedule(plan), kMost), "does not end");
    require(is_close(plan.cost, cost_of(machine.done(), problem)), "announces another cost");
}

// --------------------------------------------------------------------------------------------------------- periodic

void periodic(Input& input) {
    const bool wild = input.rarely(6);
    revolve::PeriodicProblem problem{};
    problem.timesteps = wild ? input.wild() : input.timesteps(300);
    problem.model = input.model(input.rarely(8) ? 80 : 9);
    problem.period = wild ? input.wild() : input.between(1, 40);
    problem.slots = wild ? input.wild() : input.between(0, 6);
    problem.free_initial_state = input.flag();
    problem.spine_tier = static_cast<std::int32_t>(input.between(wild ? -1 : 0, 2));
    problem.one_read = input.flag();
    const bool legal = problem.timesteps >= 0 && problem.slots >= 0 && problem.spine_tier >= 0 &&
                       problem.period >= std::max<std::int64_t>(1, problem.model.lookback) &&
                       (problem.spine_tier > 0 || problem.slots == 0);
    const bool too_long = is_too_long(problem.timesteps);
    require_outcome(attempt([&] { problem.validate(); }), legal, too_long, "periodic problem");
    std::unique_ptr<revolve::Schedule> schedule;
    require_outcome(attempt([&] { schedule = periodic_schedule(problem); }), legal, too_long, "periodic");
    if (schedule == nullptr) return;

    MachineModel model{problem.timesteps, problem.model, problem.free_initial_state, {}};
    model.capacities.assign(static_cast<std::size_t>(problem.spine_tier) + 1, 0);
    model.capacities.front() = problem.slots;
    model.capacities.back() = revolve::kUnbounded;
    Machine machine(model);
    revolve::ScheduleTally announced;
    const bool countable = problem.one_read || problem.slots == 0;
    const Outcome counted = attempt([&] { announced = periodic_counts(problem); });
    if (!countable) {
        require(counted == Outcome::out_of_order, "counts loads that cannot be told apart");
    } else if (problem.timesteps <= std::int64_t{1} << 31) {
        require(counted == Outcome::done, "counts are refused");
    }
    if (!machine.run(*schedule, wild ? 300 : kMost)) return require(wild, "does not end");
    if (counted != Outcome::done) return require(!countable, "counts of a run that ends are refused");
    announced.frees = machine.done().frees;  // the closed form does not count them
    machine.require_counts(announced);

    revolve::OverlapCosts costs;
    costs.steps = {input.cost(), input.cost(), input.cost(), input.cost(), input.cost(), input.cost()};
    costs.write = input.cost();
    costs.read = input.cost();
    costs.buffers = input.between(1, 4);
    if (problem.spine_tier == 0 || !problem.one_read) return;
    const revolve::OverlapTime time = overlap(problem, costs);
    const auto real = [](std::int64_t count) { return static_cast<double>(count); };
    double busy = costs.steps.forward_step * real(announced.forward_steps) +
                  costs.steps.forward_call * real(announced.forward_calls) +
                  costs.steps.reverse_call * real(announced.reverse_calls) +
                  costs.steps.reverse_step * real(problem.timesteps);
    for (const revolve::TierCounts& tier : announced.tiers) {
        busy += costs.steps.save * real(tier.saves) + costs.steps.load * real(tier.loads);
    }
    const revolve::TierCounts& spine = announced.tiers.back();
    const double transfers = costs.write * real(spine.saves) + costs.read * real(spine.loads);
    require(time.write_wait >= 0 && time.read_wait >= 0, "waits less than not at all");
    require(is_close(time.seconds, busy + time.write_wait + time.read_wait),
            "takes another time than its parts");
    require(time.write_wait + time.read_wait <= transfers * (1 + 1e-9), "waits longer than everything takes");
}

}  // namespace fuzz
