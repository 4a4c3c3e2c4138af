#include "revolve/online.hpp"

#include <memory>
#include <tuple>
#include <vector>

#include "revolve/windowed_schedule.hpp"

#include "families.hpp"
#include "machine.hpp"

namespace fuzz {

namespace {

using revolve::OnlineRule;

OnlineRule rule_of(Input& input) {
    return static_cast<OnlineRule>(input.between(0, static_cast<int>(OnlineRule::stumm_walther)));
}

/// All that can be seen of an online run.
auto seen(const revolve::OnlineForward& run) {
    std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t>> stored;
    for (const auto& state : run.layout().stored()) stored.emplace_back(state.at, state.slot, state.level);
    return std::make_tuple(run.position(), run.goal(), run.arrived(), run.layout().next_stop(),
                           run.layout().saves_next(), stored);
}

/// A refused call, which must leave the run as it was.
void refuse(revolve::OnlineForward& run, std::int64_t goal, bool last, Outcome expected) {
    const auto before = seen(run);
    require(attempt([&] { run.set_goal(goal, last); }) == expected, "a goal is not refused as documented");
    require(seen(run) == before, "a refused goal changes the run");
}

bool greedy(OnlineRule rule) {
    return rule == OnlineRule::greedy || rule == OnlineRule::late_greedy;
}

}  // namespace

void online(Input& input) {
    const OnlineRule rule = rule_of(input);
    const bool free = input.flag();
    if (input.rarely(8)) {
        const revolve::WindowedProblem problem{
            0, input.wild(), {input.wild(), input.wild(), input.wild()}, free};
        std::unique_ptr<revolve::OnlineForward> run;
        const Outcome outcome = attempt([&] {
            run = std::make_unique<revolve::OnlineForward>(problem.snapshots, problem.model, free, rule);
        });
        return require_outcome(outcome, is_legal(problem), false, "online run");
    }
    const std::int64_t snapshots = (free ? 0 : 1) + input.between(0, 8);
    const revolve::WindowModel model = input.model(input.rarely(8) ? 60 : 6);
    revolve::OnlineForward run(snapshots, model, free, rule);
    // How long the run is the machine need not know: what lies behind the last goal is not asked for.
    constexpr std::int64_t longest = 300;
    std::int64_t goal = 0;
    std::vector<revolve::Instruction> taken;
    revolve::Instruction instruction;
    bool last = false;
    while (input.left() && !last) {
        last = input.rarely(4);
        goal += input.rarely(8) ? input.between(0, 100) : input.between(0, 8);
        if (goal > longest) return;
        if (input.rarely(8) && goal > 0) refuse(run, run.goal() - 1, last, Outcome::invalid);
        if (input.rarely(16)) refuse(run, revolve::kMostTimesteps + 1, last, Outcome::invalid);
        run.set_goal(goal, last);
        require(run.goal() == goal, "has another goal");
        while (run.next(instruction)) {
            taken.push_back(instruction);
            if (!run.arrived() && input.rarely(16)) refuse(run, goal, last, Outcome::out_of_order);
        }
        require(run.arrived() && run.position() == goal, "does not arrive at its goal");
        require(!run.next(instruction), "goes on behind its goal");
    }
    if (last) refuse(run, goal, false, Outcome::out_of_order);

    const revolve::WindowedProblem problem{goal, snapshots, model, free};
    Machine machine({goal, model, free, {snapshots}});
    for (const revolve::Instruction& each : taken) machine.execute(each);
    const revolve::Layout layout = machine.layout();
    std::vector<std::pair<std::int64_t, std::int64_t>> stored;
    for (const auto& state : layout.stored) stored.emplace_back(state.t, state.slot);
    std::vector<std::pair<std::int64_t, std::int64_t>> announced;
    for (const auto& state : run.layout().stored()) {
        if (state.slot >= 0) announced.emplace_back(state.at, state.slot);
    }
    require(stored == announced, "says that other states are stored");
    const auto schedule = windowed_schedule(problem, layout);
    require(machine.run(*schedule, 1'000'000), "does not end");

    // From there on, far further than anything that is run.
    if (last || greedy(rule) || !input.flag()) return;
    run.set_goal(revolve::kMostTimesteps, false);
    std::int64_t position = goal;
    for (int count = 0; count < 200 && run.next(instruction); ++count) {
        if (instruction.kind != revolve::Kind::forward) continue;
        require(instruction.start == position && instruction.stop > position, "runs from another state");
        position = instruction.stop;
        require(position <= revolve::kMostTimesteps, "runs too far");
    }
    require(static_cast<std::int64_t>(run.layout().stored().size()) <= snapshots + (free ? 1 : 0),
            "stores more than there are slots");
}

}  // namespace fuzz
