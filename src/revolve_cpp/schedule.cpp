#include "revolve/schedule.hpp"

#include <algorithm>
#include <utility>

#include "revolve/checked.hpp"

namespace revolve {

Instruction ForwardOnly::next() {
    if (timesteps_ > 0) return Instruction::forward(0, std::exchange(timesteps_, 0));
    return std::exchange(turned_, true) ? Instruction::end() : Instruction::turn();
}

ScheduleTally tally(Schedule& schedule, InterruptCheck check, std::vector<std::int64_t> held) {
    ScheduleTally result;
    InterruptPoll poll(check);
    result.tiers.resize(std::max<std::size_t>(1, held.size()));
    held.resize(result.tiers.size());
    for (std::size_t tier = 0; tier < held.size(); ++tier) result.tiers[tier].peak = held[tier];
    const auto tier_of = [&](const Instruction& instruction) {
        const auto tier = static_cast<std::size_t>(std::max<std::int32_t>(0, instruction.tier));
        if (tier >= result.tiers.size()) {
            result.tiers.resize(tier + 1);
            held.resize(tier + 1);
        }
        return tier;
    };
    for (;;) {
        const Instruction instruction = schedule.next();
        poll(64);
        switch (instruction.kind) {
            case Kind::forward:
                ++result.forward_calls;
                result.forward_steps =
                    checked_add(result.forward_steps, instruction.stop - instruction.start);
                break;
            case Kind::reverse:
                ++result.reverse_calls;
                break;
            case Kind::save: {
                const std::size_t tier = tier_of(instruction);
                ++result.tiers[tier].saves;
                result.tiers[tier].peak = std::max(result.tiers[tier].peak, ++held[tier]);
                break;
            }
            case Kind::load: {
                const std::size_t tier = tier_of(instruction);
                ++result.tiers[tier].loads;
                if (instruction.slot >= 0 && instruction.keep == 0) --held[tier];
                break;
            }
            case Kind::free:
                ++result.frees;
                --held[tier_of(instruction)];
                break;
            case Kind::turn:
                break;
            case Kind::end:
                return result;
        }
    }
}

}  // namespace revolve
