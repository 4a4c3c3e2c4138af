#pragma once

#include <cstdint>

#include "revolve/checked.hpp"

/// Exact counts of offline Revolve (Griewank & Walther 2000, ACM TOMS 26(1), Algorithm 799, doi:10.1145/347837.347846).
/// `snapshots` always includes the slot of the initial state; forward counts are advances, not recorded runs.
namespace revolve {

/// C(n, k), 0 outside 0 <= k <= n; saturates at kSaturated. O(min(k, n - k)).
std::int64_t binomial_saturating(std::int64_t n, std::int64_t k) noexcept;

/// beta(s, r) = C(s + r, s), 0 for a negative argument; throws overflow_error where it does not fit.
std::int64_t beta(std::int64_t snapshots, std::int64_t repetitions);

/// Longest chain for which no timestep is advanced more than `repetitions` times: beta(s, r).
/// Throws invalid_argument for a negative argument, overflow_error where it does not fit.
std::int64_t maxrange(std::int64_t snapshots, std::int64_t repetitions);

/// maxrange, but 2^63 - 1 where the true value does not fit.
std::int64_t maxrange_saturating(std::int64_t snapshots, std::int64_t repetitions);

/// Repetition number: least r with beta(s, r) >= n.
std::int64_t repetition_number(std::int64_t timesteps, std::int64_t snapshots);

/// Least number of advances t(n, s) = r n - beta(s + 1, r - 1).
std::int64_t numforw(std::int64_t timesteps, std::int64_t snapshots);

/// t(n, s) / n.
double expense(std::int64_t timesteps, std::int64_t snapshots);

/// Fewest snapshots written by any schedule with t(n, s) advances, the initial state's included.
std::int64_t takeshots(std::int64_t timesteps, std::int64_t snapshots);

/// Number of snapshots about equal to the repetition number (memory and time grow alike, about log_4 n).
std::int64_t adjust(std::int64_t timesteps);

}  // namespace revolve
