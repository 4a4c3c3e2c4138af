#include "revolve/mixed.hpp"

#include <memory>

#include "families.hpp"
#include "machine.hpp"
#include "optimum.hpp"

namespace fuzz {

void mixed(Input& input) {
    revolve::MixedProblem problem{};
    problem.stiffly_accurate = input.flag();
    if (input.rarely(8)) {
        problem.timesteps = input.wild();
        problem.units = input.wild();
        problem.stages = input.wild();
        // What is accepted may need tables larger than the memory; here is only asked what is refused.
        const bool legal =
            problem.timesteps >= 0 && problem.units >= (problem.timesteps > 1 ? 1 : 0) && problem.stages >= 1;
        const Outcome outcome = attempt([&] { problem.validate(); });
        if (!legal) return require(outcome != Outcome::done, "bad arguments are not refused");
        const long double n = static_cast<long double>(problem.timesteps);
        const bool fits = n * (n + 2) < 0x1p63L;
        return require(outcome == (fits ? Outcome::done : Outcome::overflow), "legal arguments are refused");
    }
    problem.timesteps = input.timesteps(90);
    problem.stages = input.between(1, 4);
    problem.units = input.between(problem.timesteps > 1 ? 1 : 0, 24);
    const auto table = std::make_shared<const revolve::MixedTable>(problem);
    if (problem.timesteps <= 20) {
        require(table->forward_steps() == fewest_steps(problem), "not the fewest forward steps");
    }
    MachineModel model{problem.timesteps, revolve::kClassicRevolve, false, {problem.units}};
    model.step_data_units = problem.stages;
    model.carries_next_state = problem.stiffly_accurate;
    Machine machine(model);
    require(machine.run(*mixed_schedule(table), 1'000'000), "does not end");
    require(machine.done().forward_steps == table->forward_steps(), "announces other forward steps");
    require(machine.done().tiers[0].peak == peak_units(table), "announces another peak");
}

}  // namespace fuzz
