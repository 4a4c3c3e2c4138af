#include "revolve/min_plus.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace revolve {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Improvements smaller than this are rounding.
constexpr double kExact = 1.0 - 0x1p-50;

double least_of(double a, double b) {
    return b < a ? b : a;
}

}  // namespace

MinPlus::MinPlus(std::int64_t size)
    : size_(size),
      blocks_((size >> kLog) + 2),
      left_(static_cast<std::size_t>(size + 1), kInfinity),
      right_(static_cast<std::size_t>(size + 1), kInfinity),
      left_bounds_(static_cast<std::size_t>(blocks_), kInfinity),
      right_bounds_(static_cast<std::size_t>(blocks_ + 2), kInfinity),
      bounds_(static_cast<std::size_t>(blocks_ + kGroup), kInfinity) {}

void MinPlus::bound_left(std::int64_t j, double value) {
    double& bound = left_bounds_[static_cast<std::size_t>(j >> kLog)];
    bound = least_of(bound, value - slope_ * static_cast<double>(j));
}

void MinPlus::bound_right(std::int64_t y, double value) {
    const double tilted = value - slope_ * static_cast<double>(y);
    const auto place = static_cast<std::size_t>(blocks_ - (y >> kLog));
    right_bounds_[place] = least_of(right_bounds_[place], tilted);
    right_bounds_[place + 1] = least_of(right_bounds_[place + 1], tilted);
}

void MinPlus::push(double left, double right) {
    ++terms_;
    left_[static_cast<std::size_t>(terms_)] = left;
    right_[static_cast<std::size_t>(size_ - terms_)] = right;
    bound_left(terms_, left);
    bound_right(terms_, right);
}

void MinPlus::tilt(double slope) {
    slope_ = slope;
    std::fill(left_bounds_.begin(), left_bounds_.end(), kInfinity);
    std::fill(right_bounds_.begin(), right_bounds_.end(), kInfinity);
    for (std::int64_t i = 1; i <= terms_; ++i) {
        bound_left(i, left_[static_cast<std::size_t>(i)]);
        bound_right(i, right_[static_cast<std::size_t>(size_ - i)]);
    }
}

double MinPlus::block(std::int64_t index, std::int64_t x) const {
    const std::int64_t first = std::max<std::int64_t>(1, index << kLog);
    const std::int64_t count = std::min(x, (index + 1) << kLog) - first;
    const double* left = left_.data() + first;
    const double* right = right_.data() + (size_ - x + first);
    // Separate minima, which the compiler can keep in vector registers without reordering a sum.
    std::array<double, 8> least{};
    least.fill(kInfinity);
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (std::size_t lane = 0; lane < 8; ++lane) {
            const double sum =
                left[i + static_cast<std::int64_t>(lane)] + right[i + static_cast<std::int64_t>(lane)];
            least[lane] = least_of(least[lane], sum);
        }
    }
    for (; i < count; ++i) least[0] = least_of(least[0], left[i] + right[i]);
    return *std::min_element(least.begin(), least.end());
}

double MinPlus::least(std::int64_t x, double best) {
    if (x < 2) return best;
    const std::int64_t last = (x - 1) >> kLog;
    const auto visit = [&](std::int64_t index) {
        const double value = block(index, x);
        if (value < best) {
            best = value;
            best_block_ = index;
        }
    };
    // The best j moves little from x to x + 1, or jumps.
    const std::int64_t start = std::min(best_block_, last);
    visit(start);
    if (start < last) visit(start + 1);

    // Terms x - j of block b lie in the right sequence's blocks i and i + 1, i + b = (x - 63) / 64 rounded down.
    const std::int64_t sum = (x + 1 - kBlock) >= 0 ? (x + 1 - kBlock) >> kLog : -1;
    const double shift = slope_ * static_cast<double>(x);
    const double* right = right_bounds_.data() + (blocks_ - sum);
    for (std::int64_t b = 0; b <= last; ++b) {
        bounds_[static_cast<std::size_t>(b)] = left_bounds_[static_cast<std::size_t>(b)] + right[b] + shift;
    }
    double limit = best * kExact;
    for (std::int64_t group = 0; group <= last; group += kGroup) {
        const double* bounds = bounds_.data() + group;
        bool any = false;
        for (std::int64_t i = 0; i < kGroup; ++i) any |= bounds[i] < limit;
        if (!any) continue;
        for (std::int64_t b = group; b <= std::min(last, group + kGroup - 1); ++b) {
            if (!(bounds_[static_cast<std::size_t>(b)] < limit) || b == start || b == start + 1) continue;
            visit(b);
            limit = best * kExact;
        }
    }
    return best;
}

}  // namespace revolve
