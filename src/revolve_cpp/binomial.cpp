#include "revolve/binomial.hpp"

#include <algorithm>
#include <numeric>
#include <string>

#include "revolve/windowed.hpp"

namespace revolve {

namespace {

void require_at_least(const char* name, std::int64_t value, std::int64_t least) {
    if (value < least) {
        throw std::invalid_argument(std::string(name) + " must be >= " + std::to_string(least) + ", got " +
                                    std::to_string(value));
    }
}

}  // namespace

std::int64_t exact_multiply_divide(std::int64_t a, std::int64_t b, std::int64_t c) noexcept {
    std::int64_t product{};
    if (!multiply_overflows(a, b, product)) return product / c;
    // Cancel first: what is left of c divides b because the whole division is exact.
    const std::int64_t common = std::gcd(a, c);
    return saturating_multiply(a / common, b / (c / common));
}

std::int64_t binomial_saturating(std::int64_t n, std::int64_t k) noexcept {
    if (k < 0 || n < 0 || k > n) return 0;
    k = std::min(k, n - k);
    std::int64_t value = 1;
    for (std::int64_t i = 1; i <= k; ++i) {
        value = exact_multiply_divide(value, n - k + i, i);
        if (value == kSaturated) return kSaturated;
    }
    return value;
}

std::int64_t beta(std::int64_t snapshots, std::int64_t repetitions) {
    if (snapshots < 0 || repetitions < 0) return 0;
    const std::int64_t smaller = std::min(snapshots, repetitions);
    const std::int64_t sum = checked_add(snapshots, repetitions);
    if (smaller == 1) return sum;  // the only binomial that can be 2^63 - 1 itself
    const std::int64_t value = binomial_saturating(sum, smaller);
    if (value == kSaturated) throw_overflow();
    return value;
}

std::int64_t maxrange(std::int64_t snapshots, std::int64_t repetitions) {
    require_at_least("snapshots", snapshots, 0);
    require_at_least("repetitions", repetitions, 0);
    return beta(snapshots, repetitions);
}

std::int64_t maxrange_saturating(std::int64_t snapshots, std::int64_t repetitions) {
    require_at_least("snapshots", snapshots, 0);
    require_at_least("repetitions", repetitions, 0);
    std::int64_t sum{};
    if (add_overflows(snapshots, repetitions, sum)) {
        return std::min(snapshots, repetitions) == 0 ? 1 : kSaturated;
    }
    return binomial_saturating(sum, snapshots);
}

// Classic Revolve is the windowed family with window 1 and no lookback: a chain with the start stored and
// c = s - 1 further slots, whose forward steps count each recorded run once more.

namespace {

void require_chain(std::int64_t timesteps, std::int64_t snapshots) {
    require_at_least("timesteps", timesteps, 1);
    require_at_least("snapshots", snapshots, 1);
    if (timesteps > kMostTimesteps) throw_overflow();
}

/// Slots besides the start's; more than one per timestep are never used.
std::int64_t free_slots(std::int64_t timesteps, std::int64_t snapshots) {
    return std::min(timesteps, snapshots) - 1;
}

}  // namespace

std::int64_t repetition_number(std::int64_t timesteps, std::int64_t snapshots) {
    require_chain(timesteps, snapshots);
    return kClassicRevolve.repetitions(timesteps, free_slots(timesteps, snapshots)) - 1;
}

std::int64_t numforw(std::int64_t timesteps, std::int64_t snapshots) {
    require_chain(timesteps, snapshots);
    return checked_narrow(
        kClassicRevolve.chain(timesteps, free_slots(timesteps, snapshots), 0).forward_steps - timesteps);
}

double expense(std::int64_t timesteps, std::int64_t snapshots) {
    return static_cast<double>(numforw(timesteps, snapshots)) / static_cast<double>(timesteps);
}

std::int64_t takeshots(std::int64_t timesteps, std::int64_t snapshots) {
    require_chain(timesteps, snapshots);
    if (timesteps == 1) return 0;
    return kClassicRevolve.chain(timesteps, free_slots(timesteps, snapshots), 0).saves + 1;
}

std::int64_t adjust(std::int64_t timesteps) {
    require_at_least("timesteps", timesteps, 1);
    if (timesteps == 1) return 1;
    std::int64_t s = 1;
    std::int64_t r = 1;
    while (maxrange_saturating(s, r) < timesteps) {
        ++s;
        ++r;
    }
    // Lower the larger of the two as long as the chain still fits.
    for (;;) {
        std::int64_t& larger = s > r ? s : r;
        --larger;
        if (maxrange_saturating(s, r) < timesteps) {
            ++larger;
            return std::max<std::int64_t>(s, 1);
        }
    }
}

}  // namespace revolve
