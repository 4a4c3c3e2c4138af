#include "revolve/hierarchical.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "revolve/chain_schedule.hpp"
#include "revolve/min_plus.hpp"

namespace revolve {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr std::int64_t kLongestTable = std::int64_t{1} << 31;

double as_double(std::int64_t value) {
    return static_cast<double>(value);
}
std::size_t as_index(std::int64_t value) {
    return static_cast<std::size_t>(value);
}

void check_cost(const char* name, double cost) {
    if (std::isfinite(cost) && cost >= 0.0) return;
    throw std::invalid_argument(std::string(name) + " must be finite and >= 0, got " + std::to_string(cost));
}

}  // namespace

void HierarchicalProblem::validate() const {
    WindowedProblem{timesteps, 1, model, free_initial_state}.validate();
    check_cost("forward_step", forward_step);
    check_cost("forward_call", forward_call);
    check_cost("reverse_call", reverse_call);
    if (tiers.empty()) throw std::invalid_argument("capacities must name at least one tier, got none");
    if (tiers.front().one_read) {
        throw std::invalid_argument("one_read needs a faster tier to copy states to; tier 0 has none");
    }
    bool any = free_initial_state || fits_window();
    for (const TierCosts& tier : tiers) {
        check_cost("save", tier.write);
        check_cost("load", tier.read);
        if (tier.capacity < kUnbounded) {
            throw std::invalid_argument("capacities must be >= 0, got " + std::to_string(tier.capacity));
        }
        any = any || tier.capacity != 0;
    }
    if (!any) {
        throw std::invalid_argument(
            "capacities are 0 in every tier: " + std::to_string(timesteps) +
            " timesteps that the window does not hold need a slot for the initial state; "
            "give at least one slot");
    }
}

// ---------------------------------------------------------------------------------------------------------- lengths

std::int64_t HierarchicalTables::length(std::int64_t units, int kind) const noexcept {
    if (kind == 0 || special_ != Special::part_filled || units < 1) return units * unit_;
    return (units - 1) * unit_ + part_;
}

std::int64_t HierarchicalTables::units(std::int64_t timesteps) const noexcept {
    return timesteps <= 0 ? 0 : ceil_divide(timesteps, unit_);
}

int HierarchicalTables::kind_of(const HierarchicalChain& chain, std::int64_t timesteps) const noexcept {
    if (special_ == Special::last_of_sweep) return chain.last_of_sweep ? 1 : 0;
    return timesteps % unit_ != 0 ? 1 : 0;
}

std::size_t HierarchicalTables::index(const HierarchicalChain& chain) const noexcept {
    return chain.tier == kFreeTier ? problem_.tiers.size() : as_index(chain.tier);
}

const HierarchicalTables::Family& HierarchicalTables::family(const HierarchicalChain& chain) const noexcept {
    return chain.initial || chain.tier == kFreeTier ? initial_ : snapshot_;
}

const HierarchicalTables::Row& HierarchicalTables::row(const Family& family, std::size_t tier,
                                                       std::int64_t slots) const {
    const auto& rows = (tier == problem_.tiers.size() ? initial_ : family).stored[tier];
    return rows[std::min(as_index(slots), rows.size() - 1)];
}

// ------------------------------------------------------------------------------------------------------------ costs

double HierarchicalTables::closed_form_cost(std::int64_t timesteps, std::int64_t slots) const {
    if (slots < 0) return kInfinity;
    const ChainCounts counts = problem_.model.chain(timesteps, std::min(slots, timesteps), 0);
    return problem_.forward_step * static_cast<double>(counts.forward_steps);
}

double HierarchicalTables::left_cost(const Family& family, std::size_t tier, const Row& row, std::int64_t y,
                                     int kind, std::int64_t run) const {
    const TierCosts& costs = tiers_[tier];
    const WindowModel& model = problem_.model;
    if (y <= 0) {
        // The snapshot's own lookback reaches over the start.
        const bool owed = family.closing > model.lookback - run;
        return owed ? costs.read + problem_.reverse_call : 0.0;
    }
    if (!costs.one_read) return costs.read + row[as_index(kind)][as_index(y)];
    const std::int64_t timesteps = length(y, kind);
    if (timesteps + family.closing <= model.window) {
        return costs.read +
               (as_double(timesteps) * problem_.forward_step + problem_.forward_call + problem_.reverse_call);
    }
    return costs.read + family.faster[tier][as_index(kind)][as_index(y)];
}

double HierarchicalTables::run_cost(const Family& family, std::size_t tier, const Row& row, std::int64_t x,
                                    int kind) const {
    const WindowModel& model = problem_.model;
    const std::int64_t timesteps = length(x, kind);
    // At lag 0 timestep n does not exist; where it alone fills the reversal there is none.
    const bool last = kind == 1 && special_ == Special::last_of_sweep;
    const double forward = as_double(timesteps) * problem_.forward_step + problem_.forward_call;
    if (x > window_) {
        const double reverse = last && model.window == 1 ? 0.0 : problem_.reverse_call;
        return forward + reverse + left_cost(family, tier, row, x - window_, last ? 0 : kind, timesteps);
    }
    const bool merged = timesteps + family.closing <= model.window;
    const std::int64_t reversed = timesteps - (last ? 1 : 0) + (merged ? family.closing : 0);
    const double reverse = reversed > 0 ? problem_.reverse_call : 0.0;
    const bool done = merged || family.closing == 0;
    return forward + reverse + (done ? 0.0 : tiers_[tier].read + problem_.reverse_call);
}

double HierarchicalTables::unstored_at(const Family& family, std::size_t tier, std::int64_t slots,
                                       std::int64_t x, int kind) const {
    if (closed_form(tier)) return closed_form_cost(length(x, kind), slots - 1);
    const double faster = family.faster[tier][as_index(kind)][as_index(x)];
    if (slots == 0) return faster;
    const double stored = row(family, tier, slots - 1)[as_index(kind)][as_index(x)];
    return std::min(tiers_[tier].write + stored, faster);
}

double HierarchicalTables::unstored(const HierarchicalChain& chain, std::int64_t timesteps) const {
    return unstored_at(family(chain), index(chain), chain.slots, units(timesteps), kind_of(chain, timesteps));
}

double HierarchicalTables::left_part(const HierarchicalChain& chain, std::int64_t timesteps) const {
    const std::size_t tier = index(chain);
    return left_cost(snapshot_, tier, row(snapshot_, tier, chain.slots), units(timesteps),
                     kind_of(chain, timesteps), timesteps + problem_.model.lookback);
}

// ----------------------------------------------------------------------------------------------------------- tables

/// Fills in one row S_k(., m), x ascending.
class RowSolver {
public:
    using Row = HierarchicalTables::Row;
    using Family = HierarchicalTables::Family;

    /// `right`: S_k(., m - 1) as right parts see it; the row itself where the tier is unbounded; null where m = 0.
    RowSolver(const HierarchicalTables& tables, const Family& family, std::size_t tier, Row& row,
              const Row* right)
        : tables_(tables), family_(family), tier_(tier), row_(row), right_(right) {
        const auto none = tables.special_ == HierarchicalTables::Special::none;
        const auto part_filled = tables.special_ == HierarchicalTables::Special::part_filled;
        kinds_ = none ? 1 : 2;
        const bool places = right != nullptr || tables.snapshot_.faster[tier][0][1] < kInfinity;
        if (places) splits_.assign(none ? 1 : part_filled ? 3 : 2, MinPlus(tables.size_));
        for (int kind = 0; kind < kinds_; ++kind) row[as_index(kind)].assign(as_index(tables.size_ + 1), 0.0);
    }

    /// The chains before `first` cost what they do in `previous`.
    void solve(const Row* previous, std::int64_t first, InterruptPoll& poll) {
        constexpr std::int64_t kTilt = 64;
        for (std::int64_t x = 1; x <= tables_.size_; ++x) {
            push(x - 1);
            if (x < first) {
                for (std::size_t kind = 0; kind < as_index(kinds_); ++kind) {
                    row_[kind][as_index(x)] = (*previous)[kind][as_index(x)];
                }
                continue;
            }
            if (x == first || x % kTilt == 0) tilt(x - 1, kTilt);
            for (int kind = 0; kind < kinds_; ++kind) {
                double best = std::min(tables_.run_cost(family_, tier_, row_, x, kind),
                                       family_.faster[tier_][as_index(kind)][as_index(x)]);
                if (!splits_.empty()) best = splits_[as_index(kind)].least(x, best);
                if (kind == 1 && splits_.size() == 3) best = splits_[2].least(x, best);
                row_[as_index(kind)][as_index(x)] = best;
            }
            poll(64 + x / 64);
        }
    }

private:
    void push(std::int64_t j) {
        if (splits_.empty() || j < 1) return;
        std::array<double, 2> left{};
        std::array<double, 2> right{};
        for (int kind = 0; kind < kinds_; ++kind) {
            left[as_index(kind)] = tables_.split_left(family_, tier_, row_, j, kind);
            right[as_index(kind)] = tables_.split_right(tier_, right_, j, kind);
        }
        splits_[0].push(left[0], right[0]);
        if (kinds_ == 2) splits_[1].push(left[0], right[1]);
        if (splits_.size() == 3) splits_[2].push(left[1], right[0]);
    }

    void tilt(std::int64_t x, std::int64_t over) {
        const std::int64_t from = std::max<std::int64_t>(0, x - over);
        if (x == from) return;
        const double slope = (row_[0][as_index(x)] - row_[0][as_index(from)]) / as_double(x - from);
        if (!std::isfinite(slope)) return;
        for (MinPlus& split : splits_) split.tilt(slope);
    }

    const HierarchicalTables& tables_;
    const Family& family_;
    std::size_t tier_;
    Row& row_;
    const Row* right_;
    int kinds_ = 1;
    std::vector<MinPlus> splits_;  // by kind; the third: part-filled on the left
};

double HierarchicalTables::split_left(const Family& family, std::size_t tier, const Row& row, std::int64_t j,
                                      int kind) const {
    if (kind == 1 && special_ == Special::last_of_sweep) return kInfinity;  // never left of a split
    const std::int64_t run = length(j, kind);
    // Before x_e a snapshot carries less than d timesteps; one at x_e, shifting the others, is as good.
    if (&family == &initial_ && run < problem_.model.carrying_state()) return kInfinity;
    return (as_double(run) * problem_.forward_step + problem_.forward_call) +
           left_cost(family, tier, row, j - lookback_, kind, run);
}

double HierarchicalTables::split_right(std::size_t tier, const Row* stored, std::int64_t x, int kind) const {
    const double faster = snapshot_.faster[tier][as_index(kind)][as_index(x)];
    if (stored == nullptr) return faster;
    return std::min(tiers_[tier].write + (*stored)[as_index(kind)][as_index(x)], faster);
}

void HierarchicalTables::solve_tier(std::size_t tier, InterruptPoll& poll) {
    Row& faster = snapshot_.faster[tier + 1];
    faster = snapshot_.faster[tier];
    const std::int64_t capacity = tiers_[tier].capacity;
    if (capacity == 0) return;
    std::vector<Row>& rows = snapshot_.stored[tier];
    if (capacity == kUnbounded) {
        rows.resize(1);
        RowSolver(*this, snapshot_, tier, rows[0], &rows[0]).solve(nullptr, 1, poll);
    } else if (!closed_form(tier)) {
        // Rows that agree up to some x agree there with all further ones, and for one x more: S(x, m) depends on
        // S(y, m) and S(y, m - 1) for y < x only. Once two rows are equal there are no further ones.
        std::int64_t first = 1;
        while (as_index(capacity) > rows.size()) {
            const std::size_t m = rows.size();
            rows.emplace_back();
            const Row* previous = m == 0 ? nullptr : &rows[m - 1];
            RowSolver(*this, snapshot_, tier, rows[m], previous).solve(previous, first, poll);
            if (m == 0) continue;
            std::int64_t equal = size_ + 1;
            for (std::size_t kind = 0; kind < rows[m].size(); ++kind) {
                const auto& row = rows[m][kind];
                const auto differs = std::mismatch(row.begin(), row.end(), (*previous)[kind].begin());
                if (differs.first != row.end())
                    equal = std::min<std::int64_t>(equal, differs.first - row.begin());
            }
            if (equal > size_) {
                rows.pop_back();
                break;
            }
            first = equal + 1;
        }
    }
    for (std::size_t kind = 0; kind < faster.size(); ++kind) {
        for (std::int64_t x = 1; x < static_cast<std::int64_t>(faster[kind].size()); ++x) {
            faster[kind][as_index(x)] = unstored_at(snapshot_, tier, capacity == kUnbounded ? 1 : capacity, x,
                                                    static_cast<int>(kind));
        }
    }
}

void HierarchicalTables::solve_initial(std::size_t tier, InterruptPoll& poll) {
    const std::int64_t capacity = tiers_[tier].capacity;
    const bool last = tier + 1 == initial_.faster.size();
    if (!last) initial_.faster[tier + 1] = initial_.faster[tier];
    if (capacity == 0) return;
    if (!closed_form(tier)) {
        const Row* right = nullptr;
        if (capacity == kUnbounded) right = &snapshot_.stored[tier][0];
        if (capacity > 1) right = &row(snapshot_, tier, capacity - 2);
        initial_.stored[tier].resize(1);
        RowSolver(*this, initial_, tier, initial_.stored[tier][0], right).solve(nullptr, 1, poll);
    }
    if (last) return;
    Row& faster = initial_.faster[tier + 1];
    for (std::size_t kind = 0; kind < faster.size(); ++kind) {
        for (std::int64_t x = 1; x < static_cast<std::int64_t>(faster[kind].size()); ++x) {
            faster[kind][as_index(x)] =
                unstored_at(initial_, tier, capacity == kUnbounded ? 1 : capacity, x, static_cast<int>(kind));
        }
    }
}

HierarchicalTables::HierarchicalTables(const HierarchicalProblem& problem, InterruptCheck check,
                                       bool any_length)
    : problem_((problem.validate(), problem)), tiers_(problem.tiers) {
    const WindowModel& model = problem_.model;
    const std::int64_t n = problem_.timesteps;
    const std::size_t count = tiers_.size();
    if (problem_.fits_window() && !any_length) {
        const bool reverses = n > 0;
        cost_ = reverses
                    ? as_double(n) * problem_.forward_step + problem_.forward_call + problem_.reverse_call
                    : 0.0;
        return;
    }
    if (!any_length && model.lag == 1) unit_ = std::gcd(model.window, model.lookback);
    part_ = n % unit_;
    window_ = model.window / unit_;
    lookback_ = model.lookback / unit_;
    size_ = units(n);
    if (size_ > kLongestTable) {
        throw std::overflow_error(
            std::to_string(n) +
            " timesteps are too many for tables; give a larger window or, with two tiers, "
            "use a periodic schedule");
    }
    if (part_ != 0) special_ = Special::part_filled;
    // A reversal of timestep n alone, which is nothing, saves a call only where no lookback is merged into it.
    if (model.lag == 0 && problem_.reverse_call > 0.0 && model.lookback == model.window) {
        special_ = Special::last_of_sweep;
    }
    const TierCosts& first = tiers_.front();
    closed_form_ = first.write == 0.0 && first.read == 0.0 && !first.one_read &&
                   problem_.forward_call == 0.0 && problem_.reverse_call == 0.0;
    for (TierCosts& tier : tiers_) {
        if (tier.capacity >= n) tier.capacity = kUnbounded;
    }
    if (closed_form_ && tiers_.front().capacity == kUnbounded) tiers_.front().capacity = n;

    InterruptPoll poll(check);
    snapshot_.closing = model.lookback;
    snapshot_.stored.resize(count);
    snapshot_.faster.resize(count + 1);
    const std::size_t kinds = special_ == Special::none ? 1 : 2;
    for (std::size_t kind = 0; kind < kinds; ++kind) {
        snapshot_.faster[0][kind].assign(as_index(size_ + 1), kInfinity);
    }
    for (std::size_t tier = 0; tier < count; ++tier) solve_tier(tier, poll);
    if (any_length) return;

    initial_.closing = 1 - model.lag;
    const bool differs = initial_.closing != model.lookback;
    if (differs || problem_.free_initial_state) {
        initial_.stored.resize(count + 1);
        initial_.faster = snapshot_.faster;
        if (problem_.free_initial_state) tiers_.push_back({1, 0.0, problem_.tiers.front().read, false});
        for (std::size_t tier = differs ? 0 : count; tier < tiers_.size(); ++tier) solve_initial(tier, poll);
    }
    const auto kind = as_index(special_ == Special::none ? 0 : 1);
    if (problem_.free_initial_state) {
        cost_ = initial_.stored[count][0][kind][as_index(size_)];
    } else {
        const std::int64_t e = model.carrying_state();
        cost_ = snapshot_.faster[count][kind][as_index(units(n - e))];
        if (e > 0) cost_ += as_double(e) * problem_.forward_step + problem_.forward_call;
        first_snapshot_ = e;
        if (differs && initial_.faster[count][kind][as_index(size_)] < cost_) {
            cost_ = initial_.faster[count][kind][as_index(size_)];
            first_snapshot_ = 0;
        }
    }
    if (cost_ == kInfinity) {
        throw std::invalid_argument("no schedule reverses " + std::to_string(n) +
                                    " timesteps where so few snapshots are read only once; give more slots");
    }
}

}  // namespace revolve
