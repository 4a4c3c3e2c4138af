/// What `benchmarks/counts.py` counts the instructions of: the core alone, without Python.
///
///     counts_core CASE SIZE
///
/// Prints the units of work that were done: actions, instructions, or calls. Every case is run with two sizes, so that
/// starting the program drops out.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "revolve/hierarchical.hpp"
#include "revolve/mixed.hpp"
#include "revolve/offline.hpp"
#include "revolve/online.hpp"
#include "revolve/snapshot_copy.hpp"
#include "revolve/tier_plan.hpp"
#include "revolve/window_plan.hpp"
#include "revolve/windowed_schedule.hpp"

namespace {

/// A problem of a wave equation of time order 2: 3622 timesteps of 3.4 MB slices.
constexpr std::int64_t kSlice = 3'400'000;

std::int64_t gone_through(revolve::Schedule& schedule) {
    std::int64_t count = 1;
    while (schedule.next().kind != revolve::Kind::end) ++count;
    return count;
}

std::int64_t classic(std::int64_t n) {
    revolve::OfflineRevolve machine(n, 50);
    std::int64_t count = 1;
    while (machine.revolve() != revolve::Action::terminate) ++count;
    return count;
}

std::int64_t windowed(std::int64_t n) {
    const revolve::WindowedProblem problem{n, 50, {8, 2, 0}, false};
    return gone_through(*windowed_schedule(problem));
}

std::int64_t single_step(std::int64_t n) {
    const revolve::WindowedProblem problem{n, 50, revolve::kClassicRevolve, false};
    return gone_through(*windowed_schedule(problem));
}

std::int64_t online(std::int64_t n) {
    revolve::OnlineForward run(20, {1, 0, 1}, false, revolve::OnlineRule::spaced);
    run.set_goal(n, true);
    revolve::Instruction instruction;
    std::int64_t count = 0;
    while (run.next(instruction)) ++count;
    return count;
}

/// Entries of the tables: timesteps times slots.
std::int64_t hierarchical(std::int64_t n) {
    const revolve::HierarchicalProblem problem{
        n, {4, 2, 0}, false, 1.0, 0.25, 0.25, {{8, 0.5, 0.5}, {16, 4.0, 3.0}}};
    const auto tables = plan_hierarchical(problem);
    return tables->cost() > 0 ? n * 24 : 0;
}

/// Entries of the table: timesteps times units.
std::int64_t mixed(std::int64_t n) {
    const revolve::MixedTable table({n, 30, 1, false});
    return table.forward_steps() > 0 ? n * 30 : 0;
}

std::int64_t plans(std::int64_t times) {
    const revolve::StepCosts steps{0.8e-3, 1.2e-3, 1e-5, 1e-5, 0.4e-3, 0.4e-3};
    std::int64_t found = 0;
    for (std::int64_t i = 0; i < times; ++i) {
        const revolve::WindowBudget memory{350'000'000 + i, 0, kSlice, 2 * kSlice, 2, 1 << 20};
        found += choose_window(3622, 2, 0, true, memory, steps).window > 0 ? 1 : 0;
    }
    return found;
}

std::int64_t plans_with_disk(std::int64_t times) {
    const revolve::StepCosts steps{0.8e-3, 1.2e-3, 1e-5, 1e-5, 0.4e-3, 0.4e-3};
    std::int64_t found = 0;
    for (std::int64_t i = 0; i < times; ++i) {
        revolve::TierProblem problem{};
        problem.timesteps = 3622;
        problem.lookback = 2;
        problem.memory = {150'000'000 + i, 4 * kSlice, kSlice, 2 * kSlice, 2, 1 << 20};
        problem.disk_states = 300;
        problem.costs = {steps, 8e-3, 5e-3, 2};
        problem.overlapped = true;
        problem.interference = 0.2;
        found += choose_periodic(problem).window > 0 ? 1 : 0;
    }
    return found;
}

/// Saves and loads of 64 kB, row by row of a wider array.
std::int64_t copies(std::int64_t times) {
    std::vector<double> array(64 * 160, 1.0);
    std::vector<std::byte> slot(64 * 128 * sizeof(double) + revolve::kPackAlignment);
    const revolve::ArrayView view{reinterpret_cast<std::byte*>(array.data()),
                                  sizeof(double),
                                  {64, 128},
                                  {160 * sizeof(double), sizeof(double)}};
    revolve::SnapshotCopier copier(1);
    for (std::int64_t i = 0; i < times; ++i) {
        copier.save(slot.data(), {view});
        copier.load(slot.data(), {view});
    }
    return 2 * times;
}

struct Case {
    const char* name;
    std::int64_t (*run)(std::int64_t);
};

constexpr Case kCases[]{{"classic", classic},
                        {"windowed", windowed},
                        {"single_step", single_step},
                        {"online", online},
                        {"hierarchical", hierarchical},
                        {"mixed", mixed},
                        {"plans", plans},
                        {"plans_with_disk", plans_with_disk},
                        {"copies", copies}};

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3) {
        for (const Case& each : kCases) {
            if (std::string(argv[1]) != each.name) continue;
            std::printf("%lld\n", static_cast<long long>(each.run(std::atoll(argv[2]))));
            return 0;
        }
    }
    std::fprintf(stderr, "usage: counts_core CASE SIZE; cases:");
    for (const Case& each : kCases) std::fprintf(stderr, " %s", each.name);
    std::fprintf(stderr, "\n");
    return 2;
}
