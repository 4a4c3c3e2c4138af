#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "revolve/layout.hpp"
#include "revolve/schedule.hpp"
#include "revolve/windowed.hpp"

namespace fuzz {

/// What a machine is made of, besides the layout that it starts with.
struct MachineModel {
    std::int64_t timesteps;
    revolve::WindowModel window;
    bool free_initial_state = false;
    /// Units that every tier holds; negative: any number.
    std::vector<std::int64_t> capacities;
    /// What the step data of one timestep takes; a state takes 1.
    std::int64_t step_data_units = 1;
    /// Step data of timestep t holds x_{t+1} as well.
    bool carries_next_state = false;
    bool forward_only = false;
};

/// Carries instructions out and trusts nothing: shares no code with the library. At x_p, run from x_a, where the
/// workspace was last loaded or started, it retains the step data of max(a - d - lag, p - K - lag) < tau <= p - lag.
class Machine {
public:
    explicit Machine(MachineModel model);
    Machine(MachineModel model, const revolve::Layout& layout);

    /// Fails where the instruction is not allowed.
    void execute(const revolve::Instruction& instruction);
    /// Takes instructions until the end or until `most` are carried out; returns whether the end was reached.
    bool run(revolve::Schedule& schedule, std::int64_t most);
    /// Fails unless that is what was done.
    void require_counts(const revolve::ScheduleTally& announced) const;

    const revolve::ScheduleTally& done() const noexcept { return done_; }
    /// Where the run stands; meaningful while the workspace holds a state.
    revolve::Layout layout() const;
    bool has_state() const noexcept { return position_ >= 0; }

private:
    using Held = std::pair<revolve::Content, std::int64_t>;

    void require(bool condition, const char* why) const;
    std::size_t tier_of(const revolve::Instruction& instruction) const;
    std::int64_t units_of(revolve::Content content) const;
    void put(std::size_t tier, std::int64_t slot, Held held);
    Held held(const revolve::Instruction& instruction) const;
    void drop(const revolve::Instruction& instruction);
    void arrive(std::int64_t t);
    void go_on(std::int64_t t);
    void forward(const revolve::Instruction& instruction);
    void save(const revolve::Instruction& instruction);
    void load(const revolve::Instruction& instruction);
    void reverse(const revolve::Instruction& instruction);

    MachineModel model_;
    std::vector<std::map<std::int64_t, Held>> slots_;
    std::vector<std::int64_t> used_;
    std::int64_t position_ = -1;
    std::int64_t loaded_at_ = 0;
    std::int64_t oldest_ = 0;  ///< retained: oldest_ <= tau <= newest_
    std::int64_t newest_ = -1;
    std::int64_t remaining_;
    bool turned_ = false;
    bool ended_ = false;
    revolve::ScheduleTally done_;
    revolve::Instruction last_;
};

/// Runs a schedule that starts at x_0 with empty slots to its end; fails where it is not what was announced.
Machine require_valid(revolve::Schedule& schedule, const MachineModel& model,
                      const revolve::ScheduleTally& announced);

}  // namespace fuzz
