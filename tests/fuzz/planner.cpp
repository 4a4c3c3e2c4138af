#include <algorithm>
#include <cmath>
#include <vector>

#include "revolve/multistage.hpp"
#include "revolve/tier_plan.hpp"
#include "revolve/window_plan.hpp"
#include "revolve/windowed_schedule.hpp"

#include "families.hpp"
#include "machine.hpp"

namespace fuzz {

namespace {

using revolve::WindowedProblem;

revolve::StepCosts step_costs(Input& input) {
    return {input.cost(), input.cost(), input.cost(), input.cost(), input.cost(), input.cost()};
}

/// Bytes that a budget counts; `wild` ones are still >= 0, as the layer above sees to.
std::int64_t bytes(Input& input, std::int64_t most, bool wild) {
    if (!wild) return input.between(0, most);
    const std::int64_t number = input.wild();
    return number < 0 ? -(number + 1) : number;
}

revolve::WindowBudget budget_of(Input& input, std::int64_t lookback, bool wild) {
    revolve::WindowBudget budget{};
    budget.budget = bytes(input, 400, wild);
    budget.fixed = bytes(input, 20, wild);
    budget.window_slice = bytes(input, 20, wild);
    budget.state = bytes(input, 40, wild);
    budget.window_min = std::max<std::int64_t>(lookback, input.between(1, 5));
    budget.window_max = input.rarely(3) ? input.between(budget.window_min, 80) : revolve::kMostTimesteps;
    return budget;
}

/// fixed + K slice + S state, wide enough for any of them.
__int128 taken(const revolve::WindowBudget& budget, std::int64_t window, std::int64_t states) {
    return __int128{budget.fixed} + __int128{window} * budget.window_slice + __int128{states} * budget.state;
}

bool same(double a, double b) {
    return std::abs(a - b) <= 1e-12 * std::max(std::abs(a), std::abs(b));
}

}  // namespace

void window_plan(Input& input) {
    const bool wild = input.rarely(8);
    const std::int64_t n = wild ? input.between(0, 1 << 16) : input.between(0, 20);
    const std::int64_t lookback = input.between(0, 4);
    const std::int64_t lag = lookback == 0 ? 1 : input.between(0, 1);
    const bool free = input.flag();
    const revolve::WindowBudget budget = budget_of(input, lookback, wild);
    const revolve::StepCosts costs = step_costs(input);
    revolve::WindowChoice choice;
    const Outcome outcome = attempt([&] { choice = choose_window(n, lookback, lag, free, budget, costs); });
    require(outcome == Outcome::done, "a plan is refused");
    if (choice.window > 0) {
        require(taken(budget, choice.window, choice.snapshots) <= budget.budget,
                "holds more than the budget");
        require(choice.window >= budget.window_min && choice.window <= budget.window_max,
                "an illegal window");
        require(same(choice.seconds, costs.makespan(choice.counts, n)), "predicts another time");
    }
    if (wild) return;
    // All windows, each beside as many snapshots as fit; further ones hold the whole run as well.
    double best = 0;
    bool any = false;
    for (std::int64_t window = budget.window_min; window <= std::min<std::int64_t>(budget.window_max, n + 6);
         ++window) {
        const __int128 room = __int128{budget.budget} - taken(budget, window, 0);
        if (room < 0) break;
        const std::int64_t most = std::max<std::int64_t>(1, n);
        const auto states =
            budget.state == 0 ? most : std::min(most, static_cast<std::int64_t>(room / budget.state));
        WindowedProblem problem{n, states, {window, lookback, lag}, free};
        if (states == 0 && !free) {
            problem.snapshots = 1;
            if (!problem.fits_window()) continue;
        }
        const double seconds = costs.makespan(problem.counts(), n);
        if (!any || seconds < best) best = seconds;
        any = true;
    }
    require(any == (choice.window > 0), "finds a plan where there is none, or none where there is one");
    require(!any || same(best, choice.seconds), "not the fastest plan");
}

void tier_plans(Input& input) {
    const bool wild = input.rarely(3);
    revolve::TierProblem problem{};
    problem.timesteps = input.rarely(32) ? input.between(0, 300) : input.between(0, 12);
    problem.lookback = input.between(0, 4);
    problem.lag = problem.lookback == 0 ? 1 : input.between(0, 1);
    problem.free_initial_state = input.flag();
    problem.memory = budget_of(input, problem.lookback, wild);
    problem.disk_states = wild ? bytes(input, 0, true) : input.between(0, 30);
    problem.costs.steps = step_costs(input);
    problem.costs.write = input.cost();
    problem.costs.read = input.cost();
    problem.costs.buffers = input.between(1, 4);
    problem.overlapped = input.flag();
    problem.interference = input.flag() ? 0.2 : 0.0;
    const bool of_periods = input.flag();
    if (!of_periods && !wild && input.rarely(8)) problem.timesteps = input.between(0, 300);
    revolve::TierChoice choice;
    const Outcome outcome =
        attempt([&] { choice = of_periods ? choose_periodic(problem) : choose_multistage(problem); });
    if (outcome == Outcome::overflow) {
        return require(problem.timesteps > std::int64_t{1} << 31, "a plan is refused");
    }
    require(outcome == Outcome::done, "a plan is refused");
    if (choice.window == 0) return;
    require(taken(problem.memory, choice.window, choice.counts.tiers[0].peak) <= problem.memory.budget,
            "holds more than the budget");
    require(choice.counts.tiers[1].peak <= problem.disk_states, "holds more than the disk");
    require(std::isfinite(choice.seconds) && choice.seconds >= 0 && choice.waiting >= 0,
            "an impossible time");
    const revolve::WindowModel model{choice.window, problem.lookback, problem.lag};
    if (problem.timesteps > 300) return;
    const MachineModel machine{
        problem.timesteps, model, problem.free_initial_state, {choice.slots, choice.on_disk}};
    if (of_periods) {
        const revolve::PeriodicProblem chosen{
            problem.timesteps, choice.period, choice.slots, model, problem.free_initial_state, 1, true};
        Machine carried_out(machine);
        require(carried_out.run(*periodic_schedule(chosen), 1'000'000), "does not end");
        choice.counts.frees = carried_out.done().frees;  // the closed form does not count them
        carried_out.require_counts(choice.counts);
        return;
    }
    const WindowedProblem chosen{problem.timesteps, choice.slots + choice.on_disk, model,
                                 problem.free_initial_state};
    const revolve::TwoTierCosts copies{{problem.costs.steps.save, problem.costs.write},
                                       {problem.costs.steps.load, problem.costs.read}};
    const auto tiers = place_ranks(rank_counts(chosen), choice.slots, choice.on_disk, copies);
    Machine carried_out(machine);
    require(carried_out.run(*windowed_schedule(chosen, tiers), 1'000'000), "does not end");
    revolve::ScheduleTally announced = choice.counts;
    for (std::size_t tier = 0; tier < 2; ++tier) {
        // Snapshots of different ranks need not be stored at the same time.
        require(carried_out.done().tiers[tier].peak <= announced.tiers[tier].peak,
                "a higher peak than planned");
        announced.tiers[tier].peak = carried_out.done().tiers[tier].peak;
    }
    carried_out.require_counts(announced);
}

}  // namespace fuzz
