#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "revolve/interrupt.hpp"
#include "revolve/schedule.hpp"

/// Schedules that store step data beside states: a timestep whose step data is stored is reversed without being run
/// again. A state takes one unit of memory, the step data of one timestep takes `stages` units.
///   - Mixed checkpoints: stages 1 (Maddison 2024, doi:10.1016/j.jocs.2024.102405).
///   - CAMS: step data are the stage values of a Runge-Kutta method (Zhang & Constantinescu 2021,
///     doi:10.48550/arXiv.2106.13879). Their recurrences keep the start of a stretch stored until all of it has been
///     reversed; here it is dropped at its last load, which saves forward steps.
namespace revolve {

/// A run of n timesteps with so many units of memory.
struct MixedProblem {
    std::int64_t timesteps;
    std::int64_t units;
    std::int64_t stages;
    /// The step data of timestep t contains x_{t+1} (a stiffly accurate method): a run can start again from there.
    bool stiffly_accurate = false;

    /// Throws invalid_argument where a parameter is out of its range or no schedule fits, overflow_error where
    /// n (n + 2) does not fit in 64 bits.
    void validate() const;
    /// All but the last timestep's step data fit: nothing is run twice.
    bool fits(std::int64_t timesteps, std::int64_t free_units) const noexcept;
};

/// Fewest forward steps of every shorter run with every smaller number of free units.
///
/// p(n, s), start in the workspace and not stored, s free units, and g(n, s), start held by stored step data:
///   p(1, s) = g(1, s) = 1
///   p(n, s) = min(1 + X(n - 1, s - stages), min_{1 <= i < n} i + p(i, s) + p(n - i, s - 1))
///   g(n, s) = min(1 + g(n - 1, s - stages), min_{1 <= i < n} i + g(i, s) + p(n - i, s))
/// with X = g for stiffly accurate methods and X = p otherwise. A stored start is dropped at its last load.
///
/// O(n s) memory; at most O(n^2 s) time, in practice tens of nanoseconds per answer (see `relax` in mixed.cpp).
class MixedTable {
public:
    explicit MixedTable(const MixedProblem& problem, InterruptCheck interrupt = nullptr);

    const MixedProblem& problem() const noexcept { return problem_; }
    /// Forward steps of the whole run.
    std::int64_t forward_steps() const;
    /// How far to advance from the start, which is stored before, or 0: keep the step data of the first timestep.
    /// Keeps step data only where that is strictly better, and otherwise advances as far as it can. Requires n >= 2.
    std::int64_t advance(std::int64_t timesteps, std::int64_t free_units) const;
    /// The same where stored step data holds the start.
    std::int64_t advance_from_step_data(std::int64_t timesteps, std::int64_t free_units) const;

private:
    using Row = std::vector<std::int64_t>;

    /// With no free unit only one timestep can be reversed.
    std::int64_t last_of(std::int64_t free_units) const noexcept;

    MixedProblem problem_;
    std::vector<Row> start_loose_;  ///< p, one row per number of free units; empty where everything fits
    std::vector<Row> start_held_;   ///< g, for stiffly accurate methods only
};

/// Generator of the instructions of a schedule with the fewest forward steps; O(units in use) memory beside the table.
/// Slots are labels: those in use are 0 .. k - 1, for states and step data alike.
std::unique_ptr<Schedule> mixed_schedule(std::shared_ptr<const MixedTable> table);

/// Most units that the schedule has in use at once, by running through it.
std::int64_t peak_units(const std::shared_ptr<const MixedTable>& table, InterruptCheck interrupt = nullptr);

}  // namespace revolve
