#pragma once

#include <cstdint>
#include <vector>

#include "revolve/instruction.hpp"
#include "revolve/interrupt.hpp"

namespace revolve {

/// A generator of instructions; it holds O(slots) state besides what it shares with others, never the list.
class Schedule {
public:
    virtual ~Schedule() = default;
    /// The next instruction; after `end`, `end` for ever.
    virtual Instruction next() = 0;
};

/// The forward sweep alone: nothing is stored and nothing reversed.
class ForwardOnly final : public Schedule {
public:
    explicit ForwardOnly(std::int64_t timesteps) noexcept : timesteps_(timesteps) {}
    Instruction next() override;

private:
    std::int64_t timesteps_;  ///< still to be run
    bool turned_ = false;
};

struct TierCounts {
    std::int64_t saves = 0;
    std::int64_t loads = 0;
    std::int64_t peak = 0;  ///< most snapshots held at once
};

/// What a schedule does in all. Re-creations of a free initial state count as loads of tier 0.
struct ScheduleTally {
    std::int64_t forward_steps = 0;
    std::int64_t forward_calls = 0;
    std::int64_t reverse_calls = 0;
    std::int64_t frees = 0;
    std::vector<TierCounts> tiers;
};

/// Counts what a schedule does from where it stands to its end, by running through it. `held` is the number of
/// snapshots in each tier at the beginning. Throws overflow_error where forward steps do not fit, and Interrupted.
ScheduleTally tally(Schedule& schedule, InterruptCheck check = nullptr, std::vector<std::int64_t> held = {});

}  // namespace revolve
