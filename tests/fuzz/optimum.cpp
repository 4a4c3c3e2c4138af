#include "optimum.hpp"

#include <algorithm>
#include <limits>
#include <vector>

namespace fuzz {

namespace {

using Row = std::vector<std::int64_t>;
/// So far from the largest number that sums of a few are still in range.
constexpr std::int64_t kImpossible = std::numeric_limits<std::int64_t>::max() / 8;

std::size_t as_index(std::int64_t value) {
    return static_cast<std::size_t>(std::max<std::int64_t>(0, value));
}

}  // namespace

std::int64_t fewest_steps(const revolve::WindowedProblem& problem) {
    const auto [window, lookback, lag] = problem.model;
    const std::int64_t n = problem.timesteps;
    if (n <= window) return n;
    const std::int64_t first = problem.free_initial_state ? 0 : std::max<std::int64_t>(0, lookback - 1 + lag);
    const std::int64_t slots = std::min(problem.snapshots, n) - (problem.free_initial_state ? 0 : 1);
    // A later first snapshot than x_0 reverses the timesteps before it; where x_n comes first there is none.
    const std::int64_t length = std::max<std::int64_t>(1, n - first);
    std::vector<Row> best;
    for (std::int64_t c = 0; c <= slots; ++c) {
        Row row(as_index(length) + 1, 0);
        for (std::int64_t x = 1; x <= length; ++x) {
            std::int64_t least = x <= window ? x : x + row[as_index(x - window)];
            for (std::int64_t m = 1; c > 0 && m < x; ++m) {
                least = std::min(least, m + best.back()[as_index(x - m)] + row[as_index(m - lookback)]);
            }
            row[as_index(x)] = least;
        }
        best.push_back(std::move(row));
    }
    return first + best.back()[as_index(n - first)];
}

std::int64_t fewest_steps(const revolve::MixedProblem& problem) {
    const std::int64_t n = problem.timesteps;
    if (n == 0) return 0;
    // loose[s][x]: the start is in the workspace only; held[s][x]: stored step data holds it.
    std::vector<Row> loose;
    std::vector<Row> held;
    for (std::int64_t s = 0; s <= problem.units; ++s) {
        Row p(as_index(n) + 1, kImpossible);
        Row g(as_index(n) + 1, kImpossible);
        p[1] = g[1] = 1;
        for (std::int64_t x = 2; x <= n; ++x) {
            if (s >= problem.stages) {
                const std::size_t below = as_index(s - problem.stages);
                const auto& after = problem.stiffly_accurate ? held : loose;
                p[as_index(x)] = 1 + after[below][as_index(x - 1)];
                g[as_index(x)] = 1 + held[below][as_index(x - 1)];
            }
            for (std::int64_t i = 1; i < x; ++i) {
                if (s >= 1) {
                    const std::int64_t sum = i + p[as_index(i)] + loose[as_index(s - 1)][as_index(x - i)];
                    p[as_index(x)] = std::min(p[as_index(x)], sum);
                }
                const std::int64_t sum = i + g[as_index(i)] + p[as_index(x - i)];
                g[as_index(x)] = std::min(g[as_index(x)], sum);
            }
        }
        loose.push_back(std::move(p));
        held.push_back(std::move(g));
    }
    return loose.back()[as_index(n)];
}

}  // namespace fuzz
