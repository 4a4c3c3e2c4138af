#pragma once

#include <cstdint>
#include <vector>

#include "revolve/windowed.hpp"

/// Multistage checkpointing: windowed Revolve with some of its snapshots on disk (P. Stumm, A. Walther 2009, SIAM J.
/// Sci. Comput. 31(3), 1946-1967, doi:10.1137/080718036).
namespace revolve {

/// How often the snapshot that is the i-th from the left among those stored is saved and loaded.
struct RankCounts {
    std::int64_t saves = 0;
    std::int64_t loads = 0;
};

/// Exact counts for every rank. A chain is told by its length and its free slots, and the latter tell its rank, so
/// that chains of the same length are counted together: a few hundred for a million timesteps. The paper's closed
/// formulas hold for at most three repetitions; this holds for any.
std::vector<RankCounts> rank_counts(const WindowedProblem& problem);

/// What a copy costs in each of two tiers.
struct TwoTierCosts {
    double save[2];
    double load[2];
};

/// The tier (0: RAM, 1: disk) of every rank that is used, with the least cost of all placements that have at most
/// `in_memory` and `on_disk` snapshots, together no fewer than there are ranks. Among equals the right ones are in
/// RAM.
std::vector<std::int32_t> place_ranks(const std::vector<RankCounts>& counts, std::int64_t in_memory,
                                      std::int64_t on_disk, const TwoTierCosts& costs);

}  // namespace revolve
