#include "input.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace fuzz {

void fail(const std::string& message) {
    std::fprintf(stderr, "failed: %s\n", message.c_str());
    std::abort();
}

std::int64_t Input::wild() {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    constexpr std::array<std::int64_t, 8> corners{0,
                                                  1,
                                                  std::int64_t{1} << 31,
                                                  std::int64_t{1} << 32,
                                                  std::int64_t{1} << 61,
                                                  std::int64_t{1} << 62,
                                                  most,
                                                  std::numeric_limits<std::int64_t>::min()};
    switch (between(0, 3)) {
        case 0:
            return between(-2, 16);
        case 1:
            return between(0, 1 << 20);
        case 2: {
            const std::int64_t corner = corners[static_cast<std::size_t>(between(0, corners.size() - 1))];
            const std::int64_t step = between(-2, 2);
            if (step > 0 && corner > most - step) return most;
            if (step < 0 && corner < std::numeric_limits<std::int64_t>::min() - step) return corner;
            return corner + step;
        }
        default:
            return provider_.ConsumeIntegral<std::int64_t>();
    }
}

double Input::cost() {
    switch (between(0, 7)) {
        case 0:
            return 0.0;
        case 1:
            return provider_.ConsumeProbability<double>();
        case 2:
            return provider_.ConsumeFloatingPointInRange<double>(0.0, 1e12);
        default:
            return static_cast<double>(between(0, 20));
    }
}

std::int64_t Input::timesteps(std::int64_t most) {
    return rarely(8) ? between(0, most) : between(0, most < 25 ? most : 25);
}

revolve::WindowModel Input::model(std::int64_t longest_window) {
    const std::int64_t window = between(1, longest_window);
    const std::int64_t lookback = between(0, window < 4 ? window : 4);
    const std::int64_t lag = lookback == 0 ? 1 : between(0, 1);
    return {window, lookback, lag};
}

bool is_too_long(std::int64_t timesteps) {
    return timesteps > std::int64_t{1} << 62;
}

bool is_legal(const revolve::WindowedProblem& problem) {
    const revolve::WindowModel& model = problem.model;
    const bool window = model.window >= 1 && model.lookback >= 0 && model.lookback <= model.window;
    const bool lag = model.lag == 1 || (model.lag == 0 && model.lookback >= 1);
    return problem.timesteps >= 0 && window && lag &&
           problem.snapshots >= (problem.free_initial_state ? 0 : 1);
}

void require_outcome(Outcome outcome, bool legal, bool too_long, const char* what) {
    const bool expected = legal ? outcome == (too_long ? Outcome::overflow : Outcome::done)
                                : outcome == Outcome::invalid || (too_long && outcome == Outcome::overflow);
    if (expected) return;
    constexpr std::array<const char*, 4> names{"accepted", "invalid_argument", "overflow_error",
                                               "logic_error"};
    fail(std::string(what) + (legal ? ": legal arguments: " : ": illegal arguments: ") +
         names[static_cast<std::size_t>(outcome)]);
}

}  // namespace fuzz
