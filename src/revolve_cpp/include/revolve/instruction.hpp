#pragma once

#include <cstdint>

namespace revolve {

/// What the driver of a schedule is told to do.
enum class Kind : std::int8_t { forward, save, load, reverse, free, turn, end };

/// What a slot holds: the state x_t, or the step data of timestep t.
enum class Content : std::int8_t { state, step_data };

/// One instruction; a field that does not apply is -1 (`keep`: false, `content`: state).
///   forward  run timesteps [start, stop)
///   save     copy x_t, or timestep t's step data, into (tier, slot)
///   load     copy it back from (tier, slot); keep false frees the slot.
///            Tier and slot -1 stand for a free initial state, which the user re-creates.
///   reverse  one adjoint call over timesteps stop - 1 down to start
///   free     drop what (tier, slot) holds
struct Instruction {
    Kind kind = Kind::end;
    std::int8_t keep = 0;
    Content content = Content::state;
    std::int32_t tier = -1;
    std::int64_t slot = -1;
    std::int64_t t = -1;
    std::int64_t start = -1;
    std::int64_t stop = -1;

    static Instruction forward(std::int64_t start, std::int64_t stop) noexcept {
        return {Kind::forward, 0, Content::state, -1, -1, -1, start, stop};
    }
    static Instruction save(std::int64_t t, std::int32_t tier, std::int64_t slot,
                            Content content = Content::state) noexcept {
        return {Kind::save, 0, content, tier, slot, t, -1, -1};
    }
    static Instruction load(std::int64_t t, std::int32_t tier, std::int64_t slot, bool keep,
                            Content content = Content::state) noexcept {
        return {Kind::load, static_cast<std::int8_t>(keep), content, tier, slot, t, -1, -1};
    }
    static Instruction reverse(std::int64_t start, std::int64_t stop) noexcept {
        return {Kind::reverse, 0, Content::state, -1, -1, -1, start, stop};
    }
    static Instruction free(std::int64_t t, std::int32_t tier, std::int64_t slot) noexcept {
        return {Kind::free, 0, Content::state, tier, slot, t, -1, -1};
    }
    static Instruction turn() noexcept { return {Kind::turn}; }
    static Instruction end() noexcept { return {Kind::end}; }
};

}  // namespace revolve
