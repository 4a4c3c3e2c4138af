#include "revolve/multistage.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "revolve/windowed_schedule.hpp"

namespace revolve {

std::vector<RankCounts> rank_counts(const WindowedProblem& problem) {
    problem.validate();
    if (problem.fits_window()) return {};
    const WindowModel& model = problem.model;
    const WindowedPolicy policy(model, problem.free_initial_state);
    const std::int64_t stored = problem.free_initial_state ? 0 : 1;
    const std::int64_t most = problem.chain_slots();
    std::vector<RankCounts> result(static_cast<std::size_t>(most + stored));
    if (stored == 1) result[0].saves = 1;
    // Chains of one rank, longest first, with how often each occurs; what is left of one is a shorter one.
    using Chains = std::map<std::int64_t, wide_t, std::greater<>>;
    Chains chains{{problem.timesteps - problem.first_snapshot(), 1}};
    for (std::int64_t slots = most; !chains.empty(); --slots) {
        const std::int64_t rank = most - slots - 1 + stored;
        const std::int64_t closing = slots == most ? problem.closing() : model.lookback;
        wide_t loads = 0;
        wide_t saves_right = 0;
        Chains right;
        while (!chains.empty()) {
            const auto [x, times] = *chains.begin();
            chains.erase(chains.begin());
            if (x + closing <= model.window) continue;
            ChainNode node = model.node(x, slots);
            const Move<ChainNode> move = policy.decide(node, x, closing, {});
            std::int64_t left = move.m;
            if (move.kind == MoveKind::split) {
                saves_right += times;
                right[x - move.m] += times;
                left -= model.lookback;
            }
            if (left + closing > 0) loads += times;
            if (left > 0) chains[left] += times;
        }
        if (rank >= 0) result[static_cast<std::size_t>(rank)].loads = checked_narrow(loads);
        if (!right.empty()) result[static_cast<std::size_t>(rank + 1)].saves = checked_narrow(saves_right);
        chains = std::move(right);
    }
    return result;
}

std::vector<std::int32_t> place_ranks(const std::vector<RankCounts>& counts, std::int64_t in_memory,
                                      std::int64_t on_disk, const TwoTierCosts& costs) {
    const auto used = static_cast<std::int64_t>(counts.size());
    const auto dearer_on_disk = [&](std::size_t rank) {
        return (costs.save[1] - costs.save[0]) * static_cast<double>(counts[rank].saves) +
               (costs.load[1] - costs.load[0]) * static_cast<double>(counts[rank].loads);
    };
    std::vector<std::size_t> order(counts.size());
    std::iota(order.rbegin(), order.rend(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return dearer_on_disk(a) > dearer_on_disk(b); });
    const auto worth_memory = std::count_if(order.begin(), order.end(),
                                            [&](std::size_t rank) { return dearer_on_disk(rank) >= 0; });
    const std::int64_t memory =
        std::max(used - on_disk, std::min<std::int64_t>({used, in_memory, worth_memory}));
    std::vector<std::int32_t> tiers(counts.size(), 1);
    for (std::int64_t i = 0; i < memory; ++i) tiers[order[static_cast<std::size_t>(i)]] = 0;
    return tiers;
}

}  // namespace revolve
