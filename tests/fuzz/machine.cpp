#include "machine.hpp"

#include <algorithm>
#include <limits>

#include "input.hpp"

namespace fuzz {

using revolve::Content;
using revolve::Instruction;
using revolve::Kind;
using revolve::Layout;
using revolve::ScheduleTally;

Machine::Machine(MachineModel model) : Machine(model, {{}, 0, 0, model.timesteps, false}) {}

Machine::Machine(MachineModel model, const Layout& layout)
    : model_(std::move(model)),
      slots_(model_.capacities.size()),
      used_(model_.capacities.size(), 0),
      remaining_(layout.remaining),
      turned_(layout.turned) {
    done_.tiers.resize(slots_.size());
    for (const revolve::StoredState& state : layout.stored) {
        put(static_cast<std::size_t>(state.tier), state.slot, {Content::state, state.t});
    }
    arrive(layout.loaded_at);
    go_on(layout.position);
}

void Machine::require(bool condition, const char* why) const {
    if (condition) return;
    const auto text = [](std::int64_t number) { return std::to_string(number); };
    std::string message = std::string(why) + "; kind " + text(static_cast<int>(last_.kind)) + " t " +
                          text(last_.t) + " tier " + text(last_.tier) + " slot " + text(last_.slot) +
                          " start " + text(last_.start) + " stop " + text(last_.stop) + " keep " +
                          text(last_.keep) + "; at x_" + text(position_) + " retaining " + text(oldest_) +
                          ".." + text(newest_) + ", remaining " + text(remaining_) + " of " +
                          text(model_.timesteps) + ", window " + text(model_.window.window) + " lookback " +
                          text(model_.window.lookback) + " lag " + text(model_.window.lag) +
                          (model_.free_initial_state ? " free" : " stored") + ", slots";
    for (std::size_t tier = 0; tier < slots_.size(); ++tier) {
        message += " [" + text(model_.capacities[tier]) + "]";
        for (const auto& [slot, held] : slots_[tier]) message += " " + text(slot) + ":x_" + text(held.second);
    }
    fail(message);
}

void Machine::execute(const Instruction& instruction) {
    last_ = instruction;
    require(!ended_, "an instruction after the end");
    switch (instruction.kind) {
        case Kind::forward:
            return forward(instruction);
        case Kind::save:
            return save(instruction);
        case Kind::load:
            return load(instruction);
        case Kind::reverse:
            return reverse(instruction);
        case Kind::free:
            held(instruction);
            drop(instruction);
            ++done_.frees;
            return;
        case Kind::turn:
            require(!turned_, "turns twice");
            require(position_ == model_.timesteps, "turns before the end of the first sweep");
            turned_ = true;
            return;
        case Kind::end:
            require(turned_, "ends before the turn");
            require(model_.forward_only || remaining_ == 0, "ends before everything is reversed");
            ended_ = true;
            return;
    }
    require(false, "no known kind");
}

bool Machine::run(revolve::Schedule& schedule, std::int64_t most) {
    for (std::int64_t count = 0; count < most && !ended_; ++count) execute(schedule.next());
    if (ended_) require(schedule.next().kind == Kind::end, "something after the end");
    return ended_;
}

void Machine::forward(const Instruction& i) {
    require(position_ >= 0 && i.start == position_, "runs forward from a state that is not at hand");
    require(i.start < i.stop && i.stop <= model_.timesteps, "runs over an empty or impossible range");
    go_on(i.stop);
    // Of a run that is not gone through to its end they may exceed 64 bits.
    const std::int64_t room = std::numeric_limits<std::int64_t>::max() - done_.forward_steps;
    done_.forward_steps += std::min(i.stop - i.start, room);
    ++done_.forward_calls;
}

void Machine::save(const Instruction& i) {
    if (i.content == Content::step_data) {
        require(oldest_ <= i.t && i.t <= newest_, "saves step data that is not at hand");
        require(0 <= i.t && i.t < model_.timesteps, "saves step data of no timestep");
    } else {
        require(position_ >= 0 && i.t == position_, "saves a state that is not at hand");
    }
    const std::size_t tier = tier_of(i);
    put(tier, i.slot, {i.content, i.t});
    ++done_.tiers[tier].saves;
}

void Machine::load(const Instruction& i) {
    if (i.tier == -1) {
        require(model_.free_initial_state, "re-creates an initial state that is not free");
        require(i.t == 0 && i.slot == -1 && i.content == Content::state, "re-creates another state than x_0");
        ++done_.tiers.front().loads;
    } else {
        require(held(i).first == i.content, "names another content than the slot holds");
        ++done_.tiers[tier_of(i)].loads;
        if (i.keep == 0) drop(i);
    }
    if (i.content == Content::state) return arrive(i.t);
    oldest_ = newest_ = i.t;
    position_ = model_.carries_next_state ? i.t + 1 : -1;
}

void Machine::reverse(const Instruction& i) {
    require(!model_.forward_only, "reverses where only a forward run is asked for");
    require(turned_, "reverses before the turn");
    require(i.stop == remaining_, "does not reverse the next timestep");
    require(0 <= i.start && i.start < i.stop, "reverses an empty or impossible range");
    require(i.stop - 1 <= newest_, "reverses timesteps whose data does not exist yet");
    require(i.start >= oldest_, "reverses timesteps whose data is gone");
    require(i.stop - i.start <= model_.window.window, "reverses more than a window in one call");
    remaining_ = i.start;
    ++done_.reverse_calls;
}

std::size_t Machine::tier_of(const Instruction& i) const {
    const bool exists = i.tier >= 0 && static_cast<std::size_t>(i.tier) < slots_.size();
    require(exists, "names a tier that does not exist");
    return static_cast<std::size_t>(i.tier);
}

std::int64_t Machine::units_of(Content content) const {
    return content == Content::state ? 1 : model_.step_data_units;
}

void Machine::put(std::size_t tier, std::int64_t slot, Held held) {
    const std::int64_t capacity = model_.capacities[tier];
    require(slot >= 0 && (capacity < 0 || slot < capacity), "names a slot that does not exist");
    require(slots_[tier].emplace(slot, held).second, "saves into a slot that is full");
    used_[tier] += units_of(held.first);
    require(capacity < 0 || used_[tier] <= capacity, "fills more than the tier has");
    done_.tiers[tier].peak = std::max(done_.tiers[tier].peak, used_[tier]);
}

Machine::Held Machine::held(const Instruction& i) const {
    const auto& slots = slots_[tier_of(i)];
    const auto found = slots.find(i.slot);
    require(found != slots.end(), "names a slot that is empty");
    require(found->second.second == i.t, "names another state than the slot holds");
    return found->second;
}

void Machine::drop(const Instruction& i) {
    const std::size_t tier = tier_of(i);
    used_[tier] -= units_of(slots_[tier].at(i.slot).first);
    slots_[tier].erase(i.slot);
}

void Machine::arrive(std::int64_t t) {
    const revolve::WindowModel& window = model_.window;
    position_ = loaded_at_ = t;
    newest_ = t - window.lag;
    oldest_ = newest_ + 1 - std::min(window.lookback, window.window);
}

void Machine::go_on(std::int64_t t) {
    position_ = t;
    newest_ = t - model_.window.lag;
    oldest_ = std::max(oldest_, newest_ - model_.window.window + 1);
}

Layout Machine::layout() const {
    Layout result;
    for (std::size_t tier = 0; tier < slots_.size(); ++tier) {
        for (const auto& [slot, held] : slots_[tier]) {
            result.stored.push_back({held.second, static_cast<std::int32_t>(tier), slot});
        }
    }
    std::sort(result.stored.begin(), result.stored.end(),
              [](const auto& a, const auto& b) { return a.t < b.t; });
    result.position = position_;
    result.loaded_at = loaded_at_;
    result.remaining = remaining_;
    result.turned = turned_;
    return result;
}

void Machine::require_counts(const ScheduleTally& announced) const {
    require(announced.forward_steps == done_.forward_steps, "announces other forward steps");
    require(announced.forward_calls == done_.forward_calls, "announces other forward calls");
    require(announced.reverse_calls == done_.reverse_calls, "announces other reverse calls");
    require(announced.frees == done_.frees, "announces other frees");
    const std::size_t tiers = std::max(announced.tiers.size(), done_.tiers.size());
    for (std::size_t tier = 0; tier < tiers; ++tier) {
        const revolve::TierCounts none;
        const auto& said = tier < announced.tiers.size() ? announced.tiers[tier] : none;
        const auto& did = tier < done_.tiers.size() ? done_.tiers[tier] : none;
        require(said.saves == did.saves, "announces other saves");
        require(said.loads == did.loads, "announces other loads");
        require(said.peak == did.peak, "announces another peak");
    }
}

Machine require_valid(revolve::Schedule& schedule, const MachineModel& model,
                      const ScheduleTally& announced) {
    constexpr std::int64_t most = 1'000'000;
    Machine machine(model);
    require(machine.run(schedule, most), "does not end");
    machine.require_counts(announced);
    return machine;
}

}  // namespace fuzz
