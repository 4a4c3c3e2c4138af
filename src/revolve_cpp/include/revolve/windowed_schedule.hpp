#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "revolve/chain_schedule.hpp"
#include "revolve/windowed.hpp"

namespace revolve {

/// Policy of windowed Revolve, O(1) amortised per decision. `tiers` holds the tier of the snapshot that is the i-th
/// from the left among those stored, for every i; empty: all are in tier 0.
class WindowedPolicy {
public:
    using Node = ChainNode;

    explicit WindowedPolicy(const WindowModel& model, bool free_initial_state = false,
                            std::vector<std::int32_t> tiers = {})
        : model_(model), free_initial_state_(free_initial_state), tiers_(std::move(tiers)) {}

    Move<Node> decide(Node& node, std::int64_t x, std::int64_t closing, const Ahead& ahead) const;

private:
    Move<Node> split(const Node& node, std::int64_t x, std::int64_t m) const;

    WindowModel model_;
    bool free_initial_state_;
    std::vector<std::int32_t> tiers_;
};

/// Windowed Revolve from the beginning. Throws as WindowedProblem::validate.
std::unique_ptr<Schedule> windowed_schedule(const WindowedProblem& problem,
                                            std::vector<std::int32_t> tiers = {});

/// Windowed Revolve from a layout on, with the fewest forward steps of all schedules that keep whole states;
/// among the subsets of stored states with which that is reached, the fewest copies, then calls. Stored states
/// that are better given up are freed first. New snapshots go to tier 0 or, where `tiers` is given, each takes a
/// place that the kept ones leave.
/// Throws invalid_argument where the layout is impossible or the run cannot be reversed from it.
std::unique_ptr<Schedule> windowed_schedule(const WindowedProblem& problem, const Layout& layout,
                                            std::vector<std::int32_t> tiers = {},
                                            InterruptCheck check = nullptr);

}  // namespace revolve
