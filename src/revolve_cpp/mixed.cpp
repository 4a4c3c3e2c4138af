#include "revolve/mixed.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "revolve/checked.hpp"

namespace revolve {

namespace {

using Row = std::vector<std::int64_t>;

/// Strides over which increments are compared. More of them leave fewer candidates and cost more themselves; these
/// were the fastest of those tried.
constexpr std::array<std::int64_t, 3> kStrides{1, 4, 16};
constexpr std::int64_t kLongestStride = kStrides.back();

/// Monotone bounds on the increments q(j) - q(j - k) of a row q(1) .. q(last), for every stride k.
class Increments {
public:
    Increments(const Row& row, std::int64_t last) {
        for (std::size_t index = 0; index < kStrides.size(); ++index) {
            const std::int64_t stride = kStrides[index];
            const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, last - stride));
            Row& most = most_until_[index];
            Row& least = least_from_[index];
            most.resize(count);
            least.resize(count);
            const std::int64_t* low = row.data() + 1;
            const std::int64_t* high = low + stride;
            std::int64_t bound = 0;
            for (std::size_t x = 0; x < count; ++x) most[x] = bound = std::max(bound, high[x] - low[x]);
            bound = std::numeric_limits<std::int64_t>::max();
            for (std::size_t x = count; x-- > 0;) least[x] = bound = std::min(bound, high[x] - low[x]);
        }
    }

    /// Least j with q(j + k) - q(j) >= rise; `from` where that is larger.
    std::int64_t first_rising(std::size_t index, std::int64_t rise, std::int64_t from) const {
        const Row& most = most_until_[index];
        const auto count = static_cast<std::int64_t>(most.size());
        if (from > count || most[from - 1] >= rise) return from;
        return std::lower_bound(most.begin() + from, most.end(), rise) - most.begin() + 1;
    }

    /// Largest j for which not all of q(x) - q(x - k), x >= j, are >= rise; `until` where that is smaller.
    std::int64_t last_not_rising(std::size_t index, std::int64_t rise, std::int64_t until) const {
        const Row& least = least_from_[index];
        const std::int64_t stride = kStrides[index];
        if (until <= stride || least[until - stride - 1] < rise) return until;
        const auto end = least.begin() + (until - stride);
        return std::lower_bound(least.begin(), end, rise) - least.begin() + stride;
    }

private:
    std::array<Row, kStrides.size()> most_until_;
    std::array<Row, kStrides.size()> least_from_;
};

/// row(n) = min(row(n), min i + row(i) + q(n - i)) over 1 <= i < n with n - i <= q_last, for n ascending. Exact.
///
/// Write h(i) = i + row(i) and j = n - i. Of the best candidates (i, j) of one n take that with the largest i: neither
/// is (i + k, j - k) as good, nor (i - k, j + k) better. So i need not be tried with any j from which on all
/// q(j) - q(j - k) >= h(i + k) - h(i), nor with any j up to which all q(j + k) - q(j) < h(i) - h(i - k). Rows are nearly
/// convex with small integer slopes, which leaves few candidates; only the speed relies on that. The first bound
/// looks ahead of i, hence j <= kLongestStride is done without it as soon as row(i) is known, the rest later.
void relax(Row& row, const Row& q, std::int64_t q_last, InterruptPoll& poll) {
    const Increments increments(q, q_last);
    const auto size = static_cast<std::int64_t>(row.size());
    Row first(row.size());
    const auto rise = [&row](std::int64_t i, std::int64_t stride) {
        return row[i + stride] - row[i] + stride;
    };
    const auto apply = [&](std::int64_t i, std::int64_t begin, std::int64_t end) {
        const std::int64_t run = i + row[i];
        const std::int64_t* from = q.data();
        std::int64_t* to = row.data() + i;
        for (std::int64_t j = begin; j <= end; ++j) to[j] = std::min(to[j], run + from[j]);
        poll(std::max<std::int64_t>(0, end - begin) + 1);
    };
    for (std::int64_t i = 1; i < size - 1; ++i) {
        const std::int64_t last = std::min(q_last, size - 1 - i);
        std::int64_t begin = 1;
        for (std::size_t index = 0; index < kStrides.size() && kStrides[index] < i && begin <= last; ++index)
            begin = increments.first_rising(index, rise(i - kStrides[index], kStrides[index]), begin);
        first[i] = begin;
        apply(i, begin, std::min(last, kLongestStride));
        const std::int64_t far = i - kLongestStride;
        if (far < 1) continue;
        std::int64_t end = std::min(q_last, size - 1 - far);
        begin = std::max(first[far], kLongestStride + 1);
        for (std::size_t index = 0; index < kStrides.size() && begin <= end; ++index)
            end = increments.last_not_rising(index, rise(far, kStrides[index]), end);
        apply(far, begin, end);
    }
}

/// Largest i with row(n) = i + row(i) + q(n - i); 0 where there is none.
std::int64_t last_split(const Row& row, const Row& q, std::int64_t n, std::int64_t q_last) {
    for (std::int64_t i = n - 1; i >= std::max<std::int64_t>(1, n - q_last); --i)
        if (i + row[i] + q[n - i] == row[n]) return i;
    return 0;
}

}  // namespace

void MixedProblem::validate() const {
    const auto require = [](bool valid, const char* name, const char* allowed, std::int64_t given) {
        if (!valid)
            throw std::invalid_argument(std::string(name) + " must be " + allowed + ", got " +
                                        std::to_string(given));
    };
    require(timesteps >= 0, "n_timesteps", ">= 0", timesteps);
    require(units >= 0, "the number of units", ">= 0", units);
    require(stages >= 1, "stages", ">= 1", stages);
    require(timesteps <= 1 || units >= 1, "the number of units", ">= 1 for more than one timestep", units);
    checked_multiply(timesteps, checked_add(timesteps, std::int64_t{2}));
}

bool MixedProblem::fits(std::int64_t run, std::int64_t free_units) const noexcept {
    return run <= 1 || free_units / stages >= run - 1;
}

MixedTable::MixedTable(const MixedProblem& problem, InterruptCheck interrupt) : problem_(problem) {
    problem_.validate();
    const std::int64_t n = problem_.timesteps;
    if (problem_.fits(n, problem_.units)) return;
    InterruptPoll poll(interrupt);
    const bool held = problem_.stiffly_accurate;
    const std::vector<Row>& kept = held ? start_held_ : start_loose_;
    // The answers of keeping the first timestep's step data; the rest of the row is not reached yet.
    const auto new_row = [&](std::int64_t s) {
        Row row(static_cast<std::size_t>(n + 1), std::numeric_limits<std::int64_t>::max());
        row[0] = 0;
        row[1] = 1;
        if (s >= problem_.stages) {
            const Row& rest = kept[s - problem_.stages];
            const std::int64_t last = held ? n : last_of(s - problem_.stages);
            for (std::int64_t m = 2; m <= std::min(n, last + 1); ++m) row[m] = 1 + rest[m - 1];
        }
        return row;
    };
    for (std::int64_t s = 0; s <= problem_.units; ++s) {
        Row loose = new_row(s);
        if (s > 0) relax(loose, start_loose_.back(), last_of(s - 1), poll);
        start_loose_.push_back(std::move(loose));
        if (!held) continue;
        Row from_step_data = new_row(s);
        relax(from_step_data, start_loose_.back(), last_of(s), poll);
        start_held_.push_back(std::move(from_step_data));
    }
}

std::int64_t MixedTable::last_of(std::int64_t free_units) const noexcept {
    return free_units == 0 ? 1 : problem_.timesteps;
}

std::int64_t MixedTable::forward_steps() const {
    if (problem_.fits(problem_.timesteps, problem_.units)) return problem_.timesteps;
    return start_loose_.back()[problem_.timesteps];
}

std::int64_t MixedTable::advance(std::int64_t timesteps, std::int64_t free_units) const {
    if (problem_.fits(timesteps, free_units)) return 0;
    return last_split(start_loose_[free_units], start_loose_[free_units - 1], timesteps,
                      last_of(free_units - 1));
}

std::int64_t MixedTable::advance_from_step_data(std::int64_t timesteps, std::int64_t free_units) const {
    if (problem_.fits(timesteps, free_units)) return 0;
    return last_split(start_held_[free_units], start_loose_[free_units], timesteps, last_of(free_units));
}

namespace {

class MixedSchedule final : public Schedule {
public:
    explicit MixedSchedule(std::shared_ptr<const MixedTable> table);

    Instruction next() override;

    /// Most units in use so far.
    std::int64_t peak_units() const noexcept { return peak_units_; }

private:
    enum class Step : std::int8_t { solve, advance, keep, turn, reverse, resume, finish };

    /// Something stored, and the units that are free where the run goes on from it (a state's own unit included).
    struct Level {
        std::int64_t at;
        std::int64_t free_units;
        Content content;
    };

    Instruction store(std::int64_t at, std::int64_t free_units, Content content);
    Instruction resume();
    std::int64_t units_of(Content content) const noexcept;
    std::int64_t top_slot() const noexcept { return static_cast<std::int64_t>(stack_.size()) - 1; }

    std::shared_ptr<const MixedTable> table_;
    Step step_ = Step::solve;
    bool turned_ = false;
    bool start_held_ = false;    ///< stored step data holds the state in the workspace
    std::int64_t position_ = 0;  ///< state in the workspace
    std::int64_t remaining_;     ///< everything from here on has been reversed
    std::int64_t free_units_;
    std::int64_t advance_ = 0;
    std::int64_t used_units_ = 0;
    std::int64_t peak_units_ = 0;
    std::vector<Level> stack_;
};

MixedSchedule::MixedSchedule(std::shared_ptr<const MixedTable> table)
    : table_(std::move(table)),
      remaining_(table_->problem().timesteps),
      free_units_(table_->problem().units) {
    if (remaining_ == 0) step_ = Step::turn;
}

Instruction MixedSchedule::next() {
    for (;;) {
        const std::int64_t from = position_;
        switch (step_) {
            case Step::solve:
                if (remaining_ - from > 1) {
                    advance_ = start_held_ ? table_->advance_from_step_data(remaining_ - from, free_units_)
                                           : table_->advance(remaining_ - from, free_units_);
                    if (advance_ > 0) {
                        step_ = Step::advance;
                        if (start_held_) break;
                        return store(from, free_units_, Content::state);
                    }
                }
                position_ = from + 1;
                step_ = position_ == remaining_ ? Step::turn : Step::keep;
                return Instruction::forward(from, position_);
            case Step::advance:
                // A state on top of the stack takes a unit from what is ahead.
                if (!start_held_) --free_units_;
                start_held_ = false;
                position_ = from + advance_;
                step_ = Step::solve;
                return Instruction::forward(from, position_);
            case Step::keep:
                free_units_ -= table_->problem().stages;
                start_held_ = table_->problem().stiffly_accurate;
                step_ = Step::solve;
                return store(from - 1, free_units_, Content::step_data);
            case Step::turn:
                step_ = Step::reverse;
                if (!turned_) {
                    turned_ = true;
                    return Instruction::turn();
                }
                break;
            case Step::reverse:
                step_ = stack_.empty() ? Step::finish : Step::resume;
                if (remaining_ == 0) break;
                --remaining_;
                return Instruction::reverse(remaining_, remaining_ + 1);
            case Step::resume:
                return resume();
            case Step::finish:
                return Instruction::end();
        }
    }
}

Instruction MixedSchedule::resume() {
    const Level top = stack_.back();
    const std::int64_t slot = top_slot();
    bool keep = false;
    free_units_ = top.free_units;
    if (top.content == Content::state) {
        const std::int64_t n = remaining_ - top.at;
        advance_ = table_->advance(n, free_units_);
        keep = advance_ > 0;
        start_held_ = false;
        position_ = top.at;
        step_ = keep ? Step::advance : Step::solve;
    } else {
        keep = remaining_ > top.at + 1;
        start_held_ = keep;
        position_ = top.at + 1;
        step_ = keep ? Step::solve : Step::reverse;
    }
    if (!keep) {
        used_units_ -= units_of(top.content);
        stack_.pop_back();
    }
    return Instruction::load(top.at, 0, slot, keep, top.content);
}

Instruction MixedSchedule::store(std::int64_t at, std::int64_t free_units, Content content) {
    stack_.push_back({at, free_units, content});
    used_units_ += units_of(content);
    peak_units_ = std::max(peak_units_, used_units_);
    return Instruction::save(at, 0, top_slot(), content);
}

std::int64_t MixedSchedule::units_of(Content content) const noexcept {
    return content == Content::state ? 1 : table_->problem().stages;
}

}  // namespace

std::unique_ptr<Schedule> mixed_schedule(std::shared_ptr<const MixedTable> table) {
    return std::make_unique<MixedSchedule>(std::move(table));
}

std::int64_t peak_units(const std::shared_ptr<const MixedTable>& table, InterruptCheck interrupt) {
    InterruptPoll poll(interrupt);
    MixedSchedule schedule(table);
    while (schedule.next().kind != Kind::end) poll(64);
    return schedule.peak_units();
}

}  // namespace revolve
