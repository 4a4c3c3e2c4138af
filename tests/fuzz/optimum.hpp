#pragma once

#include <cstdint>

#include "revolve/mixed.hpp"
#include "revolve/windowed.hpp"

/// Fewest forward steps by plain dynamic programs over what a schedule may do, for small runs.
namespace fuzz {

/// Over leaf, long leaf and split (the documentation of `WindowedProblem`); O(n^2 snapshots).
std::int64_t fewest_steps(const revolve::WindowedProblem& problem);
/// Over keeping step data and storing states (the recurrence of `MixedTable`, unabridged); O(n^2 units).
std::int64_t fewest_steps(const revolve::MixedProblem& problem);

}  // namespace fuzz
