#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "revolve/chain_schedule.hpp"

namespace revolve {

/// Policy that stores a snapshot every `period` timesteps on the way forward, and leaves each segment between two of
/// them, and what remains behind the last, to another policy:
///
///   struct Inner {
///       using Node = ...;
///       Move<Node> decide(Node& node, std::int64_t x, std::int64_t closing, const Ahead& ahead);
///       Node segment(std::int64_t x) const;                         // x timesteps from a snapshot of the spine
///       std::pair<std::int32_t, Node> tail(std::int64_t x) const;   // where the last snapshot of the spine goes
///       bool whole(std::int64_t x, std::int64_t period) const;      // better not stored once more, period < x
///   };
template <class Inner>
class SpinePolicy {
public:
    struct Node {
        typename Inner::Node inner;
        bool spine = false;  ///< on the way forward: the spine goes on from here
    };

    SpinePolicy(Inner inner, std::int64_t period, std::int32_t tier, std::int64_t lookback)
        : inner_(std::move(inner)), period_(period), tier_(tier), lookback_(lookback) {}

    /// The chain of all x timesteps from the first snapshot on.
    std::pair<std::int32_t, Node> root(std::int64_t x) const { return after(x); }

    Move<Node> decide(Node& node, std::int64_t x, std::int64_t closing, const Ahead& ahead) {
        if (node.spine) {
            node.spine = false;
            node.inner = inner_.segment(std::max<std::int64_t>(0, period_ - lookback_));
            const auto [tier, right] = after(x - period_);
            return Move<Node>::split(period_, tier, right);
        }
        const Move<typename Inner::Node> move = inner_.decide(node.inner, x, closing, ahead);
        return {move.kind, move.m, move.tier, {move.node, false}};
    }

private:
    std::pair<std::int32_t, Node> after(std::int64_t x) const {
        if (x > period_ && !inner_.whole(x, period_)) return {tier_, Node{{}, true}};
        auto [tier, node] = inner_.tail(x);
        return {tier, Node{std::move(node), false}};
    }

    Inner inner_;
    std::int64_t period_;
    std::int32_t tier_;
    std::int64_t lookback_;
};

}  // namespace revolve
