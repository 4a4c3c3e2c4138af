#pragma once

#include <cstdint>
#include <vector>

namespace revolve {

/// The least of left(j) + right(x - j), 1 <= j < x, for x in ascending order, of sequences that become known as x
/// grows.
///
/// Neither sequence need be convex, nor the best j monotone in x. Exact all the same: terms are taken in blocks of
/// j, and a block is passed over if the sum of the least left and the least right term in it is no improvement. The
/// bounds are sharp because they are taken of left(j) - s j and right(y) - s y, which changes every sum by s x alone;
/// with s near the slope of both sequences at the best j all its neighbours are passed over that are not as good.
/// As a rule two or three blocks are left of x / 64 bounds.
class MinPlus {
public:
    /// For x up to `size`.
    explicit MinPlus(std::int64_t size);

    /// Appends left(j) and right(j), j = 1, 2, ...
    void push(double left, double right);
    /// Takes the bounds anew with another slope s, O(terms).
    void tilt(double slope);
    /// min(best, the least sum); needs the terms 1 .. x - 1.
    double least(std::int64_t x, double best);

private:
    static constexpr std::int64_t kLog = 6;
    static constexpr std::int64_t kBlock = std::int64_t{1} << kLog;
    static constexpr std::int64_t kGroup = 8;

    void bound_left(std::int64_t j, double value);
    void bound_right(std::int64_t y, double value);
    double block(std::int64_t index, std::int64_t x) const;

    std::int64_t size_;
    std::int64_t blocks_;
    std::int64_t terms_ = 0;
    std::int64_t best_block_ = 0;
    double slope_ = 0.0;
    std::vector<double> left_;          // left(j) at j
    std::vector<double> right_;         // right(y) at size - y, so that the terms of one x lie side by side
    std::vector<double> left_bounds_;   // least left(j) - s j of the block at its index
    std::vector<double> right_bounds_;  // the same of right, of blocks i and i + 1, at blocks - i
    std::vector<double> bounds_;
};

}  // namespace revolve
