#include <algorithm>
#include <memory>
#include <vector>

#include "revolve/multistage.hpp"
#include "revolve/windowed_schedule.hpp"

#include "families.hpp"
#include "machine.hpp"
#include "optimum.hpp"

namespace fuzz {

namespace {

using revolve::WindowedProblem;

/// Instructions that are looked at of a run that is too long to be gone through.
constexpr std::int64_t kBeginning = 300;
/// Up to here the dynamic program is not what the time goes into.
constexpr std::int64_t kSmall = 24;

WindowedProblem problem_of(Input& input, std::int64_t longest) {
    const bool free = input.flag();
    const std::int64_t n = input.timesteps(longest);
    const std::int64_t snapshots = (free ? 0 : 1) + input.between(0, input.rarely(8) ? n + 2 : 9);
    return {n, snapshots, input.model(input.rarely(8) ? 80 : 9), free};
}

/// Arguments from anywhere: they are refused as documented, or the beginning of the run is valid.
void wild(Input& input) {
    const WindowedProblem problem{
        input.wild(), input.wild(), {input.wild(), input.wild(), input.wild()}, input.flag()};
    const bool legal = is_legal(problem);
    const Outcome outcome = attempt([&] { problem.validate(); });
    require_outcome(outcome, legal, is_too_long(problem.timesteps), "windowed problem");
    revolve::ScheduleCounts counts;
    const Outcome counted = attempt([&] { counts = problem.counts(); });
    std::unique_ptr<revolve::Schedule> schedule;
    const Outcome built = attempt([&] { schedule = windowed_schedule(problem); });
    require(built == outcome, "a schedule is refused where its problem is not, or the other way round");
    if (outcome != Outcome::done) return require(counted == outcome, "counts of what is no problem");
    // n (n + 1) / 2 forward steps, more than which nothing takes, fit.
    if (problem.timesteps <= std::int64_t{1} << 31) require(counted == Outcome::done, "counts are refused");
    if (counted != Outcome::done) require(counted == Outcome::overflow, "counts are refused as invalid");
    Machine machine({problem.timesteps, problem.model, problem.free_initial_state, {problem.snapshots}});
    const bool ended = machine.run(*schedule, kBeginning);
    if (!ended || counted != Outcome::done) return;
    require(machine.done().forward_steps == counts.forward_steps, "announces other forward steps");
}

}  // namespace

void windowed(Input& input) {
    if (input.rarely(5)) return wild(input);
    const WindowedProblem problem = problem_of(input, 300);
    const revolve::ScheduleCounts counts = problem.counts();
    if (problem.timesteps <= kSmall) {
        require(counts.forward_steps == fewest_steps(problem), "not the fewest forward steps");
    }
    const bool in_two_tiers = input.flag();
    MachineModel model{problem.timesteps, problem.model, problem.free_initial_state, {problem.snapshots}};
    revolve::ScheduleTally announced;
    announced.forward_steps = counts.forward_steps;
    announced.forward_calls = counts.forward_calls;
    announced.reverse_calls = counts.reverse_calls;
    announced.tiers = {{counts.saves, counts.loads, counts.peak_snapshots}};
    if (!in_two_tiers) {
        const auto schedule = windowed_schedule(problem);
        require_valid(*schedule, model, announced);
        return;
    }
    const std::int64_t in_memory = input.between(0, problem.snapshots);
    model.capacities = {in_memory, problem.snapshots - in_memory};
    const revolve::TwoTierCosts costs{{input.cost(), input.cost()}, {input.cost(), input.cost()}};
    const auto ranks = rank_counts(problem);
    const auto tiers = place_ranks(ranks, in_memory, problem.snapshots - in_memory, costs);
    require(tiers.size() == ranks.size(), "a tier for every rank");
    announced.tiers = {{}, {}};
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
        revolve::TierCounts& tier = announced.tiers[static_cast<std::size_t>(tiers[rank])];
        tier.saves += ranks[rank].saves;
        tier.loads += ranks[rank].loads;
        if (ranks[rank].saves > 0) ++tier.peak;
    }
    // What is no load of a rank re-creates a free initial state.
    announced.tiers[0].loads += counts.loads - announced.tiers[0].loads - announced.tiers[1].loads;
    const auto schedule = windowed_schedule(problem, tiers);
    Machine machine(model);
    require(machine.run(*schedule, 1'000'000), "does not end");
    for (std::size_t tier = 0; tier < 2; ++tier) {
        // Snapshots of different ranks need not be stored at the same time.
        require(machine.done().tiers[tier].peak <= announced.tiers[tier].peak,
                "a higher peak than announced");
        announced.tiers[tier].peak = machine.done().tiers[tier].peak;
    }
    machine.require_counts(announced);
}

// -------------------------------------------------------------------------------------------------- from a layout

namespace {

/// What no run can stand like; the same as `Layout::validate`, written down once more.
bool is_legal(const revolve::Layout& layout, std::int64_t timesteps) {
    bool legal = 0 <= layout.loaded_at && layout.loaded_at <= layout.position &&
                 layout.position <= timesteps && 0 <= layout.remaining && layout.remaining <= timesteps &&
                 (layout.turned || layout.remaining == timesteps);
    for (std::size_t i = 0; i < layout.stored.size(); ++i) {
        const revolve::StoredState& state = layout.stored[i];
        legal = legal && 0 <= state.t && state.t <= layout.position && state.tier >= 0 && state.slot >= 0 &&
                (i == 0 || layout.stored[i - 1].t < state.t);
        for (std::size_t j = 0; j < i; ++j) {
            legal = legal && (layout.stored[j].tier != state.tier || layout.stored[j].slot != state.slot);
        }
    }
    return legal;
}

/// A layout that a run of the problem may or may not have come to.
revolve::Layout layout_of(Input& input, const WindowedProblem& problem,
                          const std::vector<std::int64_t>& capacities) {
    revolve::Layout layout;
    const std::int64_t n = problem.timesteps;
    layout.turned = input.flag();
    layout.position = input.rarely(16) ? input.wild() : input.between(0, n);
    layout.loaded_at =
        input.rarely(16) ? input.wild() : input.between(0, std::clamp<std::int64_t>(layout.position, 0, n));
    layout.remaining = !layout.turned ? n : input.rarely(16) ? input.wild() : input.between(0, n);
    const std::int64_t count = input.between(0, problem.snapshots + (input.rarely(8) ? 1 : 0));
    std::int64_t t = 0;
    std::vector<std::int64_t> used(capacities.size(), 0);
    for (std::int64_t i = 0; i < count; ++i) {
        t += input.between(input.rarely(16) ? -1 : i == 0 ? 0 : 1, 9);
        std::size_t tier = used.size() > 1 && input.flag() ? 1 : 0;
        if (used[tier] == capacities[tier]) tier = used.size() - 1 - tier;
        const std::int64_t last = std::max<std::int64_t>(0, capacities[tier] - 1);
        const std::int64_t slot = input.rarely(16) ? input.between(0, last) : used[tier];
        ++used[tier];
        layout.stored.push_back({t, static_cast<std::int32_t>(tier), slot});
    }
    return layout;
}

}  // namespace

void from_layout(Input& input) {
    const WindowedProblem problem = problem_of(input, 40);
    MachineModel model{problem.timesteps, problem.model, problem.free_initial_state, {problem.snapshots}};
    // The tier of the i-th snapshot from the left; none: all are in tier 0.
    std::vector<std::int32_t> tiers;
    if (input.flag()) {
        const std::int64_t on_disk = input.between(0, problem.snapshots);
        model.capacities = {problem.snapshots - on_disk, on_disk};
        tiers.assign(static_cast<std::size_t>(problem.snapshots), 0);
        std::fill_n(tiers.begin(), on_disk, 1);
    }
    revolve::Layout layout;
    std::int64_t enough = -1;  // forward steps with which it can be done; -1: not known
    if (input.flag()) {
        // Where some schedule has come to: it is one way to go on.
        WindowedProblem other = problem;
        const std::int64_t least = problem.free_initial_state ? 0 : 1;
        other.snapshots = input.between(least, std::max(least, problem.snapshots));
        const auto schedule = windowed_schedule(other, tiers);
        Machine machine(model);
        const std::int64_t taken = input.between(0, 400);
        if (machine.run(*schedule, taken)) return;
        layout = machine.layout();
        const std::int64_t before = machine.done().forward_steps;
        machine.run(*schedule, 1'000'000);
        enough = machine.done().forward_steps - before;
    } else {
        layout = layout_of(input, problem, model.capacities);
    }
    const bool legal = is_legal(layout, problem.timesteps) &&
                       static_cast<std::int64_t>(layout.stored.size()) <= problem.snapshots;
    std::unique_ptr<revolve::Schedule> schedule;
    std::unique_ptr<revolve::Schedule> again;
    const Outcome outcome = attempt([&] { schedule = windowed_schedule(problem, layout, tiers); });
    if (!legal) return require(outcome == Outcome::invalid, "a layout that cannot be is not refused");
    if (outcome != Outcome::done) {
        require(outcome == Outcome::invalid, "a layout is refused in another way than documented");
        // A stored x_0, or a free one, is a start from which everything can be reversed.
        const bool hopeless = !problem.free_initial_state &&
                              (layout.stored.empty() || layout.stored.front().t > 0) && enough < 0;
        return require(hopeless, "a layout is refused that can be gone on with");
    }
    again = windowed_schedule(problem, layout, tiers);
    std::vector<std::int64_t> held(model.capacities.size(), 0);
    for (const revolve::StoredState& state : layout.stored) ++held[static_cast<std::size_t>(state.tier)];
    const revolve::ScheduleTally announced = tally(*again, nullptr, held);
    Machine machine(model, layout);
    require(machine.run(*schedule, 1'000'000), "does not end");
    machine.require_counts(announced);
    if (enough >= 0) require(announced.forward_steps <= enough, "more forward steps than need be");
}

}  // namespace fuzz
