#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "revolve/layout.hpp"
#include "revolve/windowed.hpp"

/// The machine behind every schedule that keeps whole states. It knows what a workspace with a window can do; a
/// *policy* knows where to store.
namespace revolve {

/// What a policy may say.
enum class MoveKind : std::int8_t {
    run,    ///< run all timesteps, reverse all but the first m of them, then go on with these
    split,  ///< run m timesteps and store the state there: `tier` and `node` are those of the right part
    copy,   ///< store the start in `tier` too, give its slot up, and go on with `node`
    shift,  ///< give the start's slot up, run m timesteps, and start from there, with `node`, in the same tier:
            ///< where that state carries all timesteps to its left that are still to be reversed
};

/// What to do at the start of a chain, with its state in the workspace.
template <class Node>
struct Move {
    MoveKind kind = MoveKind::run;
    std::int64_t m = 0;
    std::int32_t tier = 0;
    Node node{};

    static Move run(std::int64_t m) { return {MoveKind::run, m, 0, {}}; }
    static Move split(std::int64_t m, std::int32_t tier, Node node) {
        return {MoveKind::split, m, tier, node};
    }
    static Move copy(std::int32_t tier, Node node) { return {MoveKind::copy, 0, tier, node}; }
    static Move shift(std::int64_t m, Node node) { return {MoveKind::shift, m, 0, node}; }
};

/// How far the workspace stands from the start of the chain: nowhere, but where a schedule begins from a layout.
struct Ahead {
    std::int64_t run =
        0;  ///< timesteps that it has run on already: a split has m >= run, and copy is no answer
    std::int64_t lowest =
        0;  ///< running on to the end will retain none of the chain's first so many timesteps
};

/// Tier of a free initial state, which is re-created instead of loaded.
inline constexpr std::int32_t kFreeTier = -1;

/// A chain: its start and what the policy notes about it.
template <class Node>
struct ChainLevel {
    std::int64_t at;
    std::int32_t tier;
    Node node;
    bool held = false;  ///< whether the state is in `slot`
    std::int64_t slot = -1;
    std::int64_t shift =
        0;  ///< before its chain is gone through: the start is better replaced by one so far right
};

/// Where a schedule begins.
template <class Node>
struct ChainStart {
    std::int64_t timesteps = 0;
    WindowModel model = kClassicRevolve;
    Layout layout;  ///< its stored states are the levels that are held, and those dropped
    std::vector<ChainLevel<Node>>
        levels;                        ///< from the left; empty: the window holds all that is to be reversed
    std::vector<StoredState> dropped;  ///< of no use; freed at once
};

/// Turns the decisions of a policy into instructions. O(snapshots) memory.
///
///   struct Policy {
///       using Node = ...;   // small value: what is known about a chain, such as its free slots
///       Move<Node> decide(Node& node, std::int64_t x, std::int64_t closing, const Ahead& ahead);
///   };
///
/// `decide` is asked at the start of a chain of x timesteps unless the window holds them together with the
/// `closing` timesteps that the start itself carries. It may update the node, which later decisions about the same
/// chain see, always with fewer timesteps.
template <class Policy>
class ChainSchedule final : public Schedule {
public:
    using Node = typename Policy::Node;

    ChainSchedule(Policy policy, ChainStart<Node> start)
        : policy_(std::move(policy)),
          model_(start.model),
          timesteps_(start.timesteps),
          turned_(start.layout.turned),
          position_(start.layout.position),
          loaded_at_(start.layout.loaded_at),
          remaining_(start.layout.end_of_chains(start.timesteps, start.model.lag)),
          stack_(std::move(start.levels)),
          dropped_(std::move(start.dropped)) {
        for (const auto& level : stack_) {
            if (level.held) pool(level.tier).occupy(level.slot);
        }
        for (const StoredState& state : dropped_) pool(state.tier).occupy(state.slot);
    }

    Instruction next() override {
        for (;;) {
            switch (step_) {
                case Step::drop:
                    if (dropped_.empty()) {
                        step_ = Step::start;
                        break;
                    } else {
                        const StoredState state = dropped_.back();
                        dropped_.pop_back();
                        return free(state.t, state.tier, state.slot);
                    }
                case Step::start:
                    if (std::int64_t stop{}; start(stop)) return forward_to(stop);
                    break;
                case Step::store: {
                    ChainLevel<Node>& top = stack_.back();
                    step_ = given_up_.slot >= 0 ? Step::give_up : Step::solve;
                    top.slot = pool(top.tier).take();
                    top.held = true;
                    return Instruction::save(top.at, top.tier, top.slot);
                }
                case Step::give_up:
                    step_ = Step::solve;
                    return free(given_up_.t, given_up_.tier, std::exchange(given_up_.slot, -1));
                case Step::solve:
                    if (std::int64_t stop{}; solve(stop)) return forward_to(stop);
                    break;
                case Step::turn:
                    step_ = Step::reverse;
                    if (!turned_) {
                        turned_ = true;
                        return Instruction::turn();
                    }
                    break;
                case Step::reverse: {
                    const std::int64_t shift = 1 - model_.lag;
                    const std::int64_t first = std::max<std::int64_t>(0, reverse_bottom_ + shift);
                    const std::int64_t stop = std::min(timesteps_, remaining_ + shift);
                    remaining_ = std::min(remaining_, reverse_bottom_);
                    step_ = stack_.empty() ? Step::finish : Step::close;
                    if (first < stop) return Instruction::reverse(first, stop);
                    break;
                }
                case Step::close:
                    if (Instruction instruction; close(instruction)) return instruction;
                    break;
                case Step::finish:
                    return Instruction::end();
            }
        }
    }

private:
    enum class Step : std::int8_t { drop, start, store, give_up, solve, turn, reverse, close, finish };

    SlotPool& pool(std::int32_t tier) {
        const auto index = static_cast<std::size_t>(tier);
        if (index >= pools_.size()) pools_.resize(index + 1);
        return pools_[index];
    }

    Instruction free(std::int64_t t, std::int32_t tier, std::int64_t slot) {
        pool(tier).give_back(slot);
        return Instruction::free(t, tier, slot);
    }

    Instruction forward_to(std::int64_t stop) {
        const std::int64_t from = position_;
        position_ = stop;
        return Instruction::forward(from, stop);
    }

    /// Timesteps that the start of the top chain itself carries and that are not left to another snapshot.
    std::int64_t closing() const noexcept {
        return std::min(model_.lookback, stack_.back().at + 1 - model_.lag);
    }

    /// First thing to do from the layout; true: run forward to `stop`.
    bool start(std::int64_t& stop) {
        if (stack_.empty()) {
            reverse_bottom_ = model_.lag - 1;
            step_ = Step::turn;
            stop = remaining_;
            return position_ < remaining_;
        }
        const ChainLevel<Node>& top = stack_.back();
        if (!top.held && top.tier != kFreeTier) {  // the first snapshot is still to be reached
            step_ = Step::store;
            stop = top.at;
            return position_ < top.at;
        }
        if (position_ < remaining_) {
            step_ = Step::solve;
            return false;
        }
        reverse_bottom_ = std::max(loaded_at_ - model_.lookback, position_ - model_.window);
        const bool reversible = position_ >= remaining_ && reverse_bottom_ < remaining_;
        step_ = !turned_ || reversible ? Step::turn : Step::close;
        return false;
    }

    /// What to do at the start of the chain on top, from which the workspace has run `run` timesteps already.
    void choose(std::int64_t run) {
        ChainLevel<Node>& top = stack_.back();
        const std::int64_t x = remaining_ - top.at;
        has_chosen_ = true;
        const bool loaded_within = run > 0 && loaded_at_ > top.at;
        const std::int64_t lowest = loaded_within ? loaded_at_ - model_.lookback - top.at : 0;
        if (x + closing() <= model_.window && !loaded_within) {
            chosen_ = Move<Node>::run(0);
        } else if (run == 0 && top.shift > 0 && top.shift < x) {
            chosen_ = Move<Node>::shift(std::exchange(top.shift, 0), top.node);
        } else {
            chosen_ = policy_.decide(top.node, x, closing(), {run, std::max<std::int64_t>(0, lowest)});
        }
    }

    /// Carries the move at the start of the top chain out; true: run forward to `stop`.
    bool solve(std::int64_t& stop) {
        ChainLevel<Node>& top = stack_.back();
        if (!has_chosen_) choose(position_ - top.at);
        has_chosen_ = false;
        switch (chosen_.kind) {
            case MoveKind::run: {
                const bool merged = chosen_.m == 0 && remaining_ - top.at + closing() <= model_.window;
                reverse_bottom_ =
                    std::max(merged ? top.at - closing() : top.at + chosen_.m, loaded_at_ - model_.lookback);
                step_ = Step::turn;
                stop = remaining_;
                return true;
            }
            case MoveKind::split:
                stop = top.at + chosen_.m;
                stack_.push_back({stop, chosen_.tier, chosen_.node});
                step_ = Step::store;
                return position_ < stop;
            case MoveKind::copy:
                given_up_ = {top.at, top.tier, top.held ? top.slot : -1};
                top.tier = chosen_.tier;
                top.node = chosen_.node;
                step_ = Step::store;
                return false;
            case MoveKind::shift:
                if (top.held) {
                    given_up_ = {top.at, top.tier, top.slot};
                    top.held = false;
                    has_chosen_ = true;
                    step_ = Step::give_up;
                    return false;
                }
                stop = top.at + chosen_.m;
                top.at = stop;
                top.node = chosen_.node;
                step_ = Step::store;
                return true;
        }
        return false;
    }

    /// The workspace holds nothing more: goes on with what the chain on top still needs. True: an instruction.
    bool close(Instruction& instruction) {
        ChainLevel<Node>& top = stack_.back();
        const std::int64_t x = remaining_ - top.at;
        if (x > 0) {
            choose(0);
            step_ = Step::solve;
            const bool stays = chosen_.kind == MoveKind::run || chosen_.kind == MoveKind::split;
            const bool again = stays && x + closing() > model_.window;
            instruction = load_top(again);
            return true;
        }
        if (x > -closing()) {
            reverse_bottom_ = top.at - closing();
            instruction = load_top(false);
            stack_.pop_back();
            step_ = Step::reverse;
            return true;
        }
        const ChainLevel<Node> level = top;
        stack_.pop_back();
        if (stack_.empty()) step_ = Step::finish;
        if (!level.held) return false;
        instruction = free(level.at, level.tier, level.slot);
        return true;
    }

    Instruction load_top(bool keep) {
        ChainLevel<Node>& top = stack_.back();
        position_ = loaded_at_ = top.at;
        if (top.tier == kFreeTier) return Instruction::load(top.at, kFreeTier, -1, true);
        if (!keep) {
            top.held = false;
            pool(top.tier).give_back(top.slot);
        }
        return Instruction::load(top.at, top.tier, top.slot, keep);
    }

    Policy policy_;
    WindowModel model_;
    std::int64_t timesteps_;
    bool turned_;
    bool has_chosen_ = false;
    Step step_ = Step::drop;
    std::int64_t position_;            ///< index of the state in the workspace
    std::int64_t loaded_at_;           ///< where the workspace was last loaded or started
    std::int64_t remaining_;           ///< everything right of this (shifted by lag) has been reversed
    std::int64_t reverse_bottom_ = 0;  ///< where the pending reversal ends
    Move<Node> chosen_;
    StoredState given_up_{0, 0, -1};  ///< the slot of a start that lies elsewhere by now; slot -1: none
    std::vector<ChainLevel<Node>> stack_;
    std::vector<StoredState> dropped_;
    std::vector<SlotPool> pools_;
};

}  // namespace revolve
