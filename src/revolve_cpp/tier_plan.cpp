#include "revolve/tier_plan.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace revolve {

namespace {

constexpr std::int64_t kMostRanks = 20000;

/// What both searches share: which windows there are and what is left beside them.
class TierSearch {
public:
    explicit TierSearch(const TierProblem& problem) : problem_(problem) {
        const WindowBudget& memory = problem.memory;
        const std::int64_t whole = std::max<std::int64_t>(1, problem.timesteps + (1 - problem.lag));
        first_ = std::max({std::int64_t{1}, problem.lookback, memory.window_min});
        std::int64_t affordable = kSaturated;
        if (memory.window_slice > 0) {
            affordable = (memory.budget - std::min(memory.budget, memory.fixed)) / memory.window_slice;
        }
        last_ = std::min({memory.window_max, std::max(first_, whole), affordable});
    }

    /// Windows from the shortest to the longest, each more than the one before by at least one and the given share.
    std::vector<std::int64_t> windows(double growth) const {
        std::vector<std::int64_t> result;
        for (std::int64_t window = first_; window <= last_;) {
            result.push_back(window);
            const auto grown = static_cast<std::int64_t>(static_cast<double>(window) * growth);
            window = std::max(window + 1, grown);
        }
        if (!result.empty() && result.back() != last_) result.push_back(last_);
        return result;
    }

    WindowModel model(std::int64_t window) const { return {window, problem_.lookback, problem_.lag}; }

    /// States that RAM holds beside a window; -1: not even that.
    std::int64_t slots(std::int64_t window) const {
        const WindowBudget& memory = problem_.memory;
        const std::int64_t room = memory.room(window);
        if (room < 0) return -1;
        return memory.state == 0 ? useful() : std::min(useful(), room / memory.state);
    }

    /// States that the disk holds; no more than are of use.
    std::int64_t on_disk() const { return std::min(useful(), problem_.disk_states); }

    /// Time of a schedule in which every copy is waited for.
    double waited(const ScheduleTally& counts) const {
        const auto real = [](std::int64_t count) { return static_cast<double>(count); };
        const StepCosts& steps = problem_.costs.steps;
        double seconds = steps.forward_step * real(counts.forward_steps) +
                         steps.reverse_step * real(problem_.timesteps) +
                         steps.forward_call * real(counts.forward_calls) +
                         steps.reverse_call * real(counts.reverse_calls) +
                         steps.save * real(counts.tiers[0].saves) + steps.load * real(counts.tiers[0].loads);
        if (counts.tiers.size() > 1) {
            seconds += problem_.costs.write * real(counts.tiers[1].saves) +
                       problem_.costs.read * real(counts.tiers[1].loads);
        }
        return seconds;
    }

private:
    /// More snapshots than timesteps are of no use.
    std::int64_t useful() const { return std::max<std::int64_t>(1, problem_.timesteps); }

    const TierProblem& problem_;
    std::int64_t first_;
    std::int64_t last_;
};

/// Periods at which the cost per timestep has its kinks.
std::vector<std::int64_t> periods(const TierProblem& problem, const WindowModel& model, std::int64_t slots,
                                  std::int64_t most_on_disk) {
    const std::int64_t d = problem.lookback;
    const std::int64_t n = std::max<std::int64_t>(1, problem.timesteps);
    // What the window holds at the end needs no snapshot.
    const std::int64_t beyond_window = std::max<std::int64_t>(1, n + d - model.window);
    const std::int64_t shortest =
        std::max({std::int64_t{1}, d, ceil_divide(beyond_window, std::max<std::int64_t>(1, most_on_disk))});
    std::vector<std::int64_t> kinks{shortest, model.window, model.window + d};
    for (std::int64_t repetitions = 1; repetitions < 64; ++repetitions) {
        const std::int64_t most =
            model.capacity_saturating(std::max<std::int64_t>(0, slots - 1), repetitions);
        if (most >= n) break;
        kinks.push_back(most + d);
    }
    if (problem.overlapped) {
        const StepCosts& steps = problem.costs.steps;
        for (const double hidden :
             {problem.costs.write - steps.forward_call - steps.save, problem.costs.read}) {
            const double each =
                steps.forward_step + (hidden == problem.costs.read ? steps.reverse_step : 0.0);
            if (each > 0 && hidden > 0 && hidden / each < static_cast<double>(n)) {
                kinks.push_back(static_cast<std::int64_t>(std::ceil(hidden / each)));
            }
        }
    }
    std::vector<std::int64_t> result;
    for (const std::int64_t kink : kinks) {
        const std::int64_t period = std::clamp(kink, shortest, std::max(shortest, n));
        result.push_back(period);
        // As many segments, or one more, of even length; the last may be left in the window.
        for (const std::int64_t whole : {n, beyond_window}) {
            const std::int64_t segments = ceil_divide(whole, period);
            result.push_back(std::max(shortest, ceil_divide(whole, segments)));
            result.push_back(std::max(shortest, ceil_divide(whole, segments + 1)));
        }
    }
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
}

}  // namespace

TierChoice choose_periodic(const TierProblem& problem) {
    const TierSearch search(problem);
    const std::int64_t most_on_disk = search.on_disk();
    TierChoice best;
    if (most_on_disk < 1) return best;
    for (const std::int64_t window : search.windows(1.03)) {
        const std::int64_t room = search.slots(window);
        if (room < 0) break;
        for (const std::int64_t slots : {std::int64_t{0}, room}) {
            if (slots == 0 && room == 0 && best.window == window) continue;
            for (const std::int64_t period : periods(problem, search.model(window), slots, most_on_disk)) {
                const PeriodicProblem candidate{
                    problem.timesteps,          period, slots, search.model(window),
                    problem.free_initial_state, 1,      true};
                if (candidate.fits_window()) continue;  // needs no disk
                TierChoice choice;
                choice.counts = periodic_counts(candidate);
                choice.on_disk = choice.counts.tiers[1].peak;
                if (choice.on_disk > most_on_disk || choice.on_disk == 0) continue;
                const bool read_once = choice.counts.tiers[1].loads <= choice.on_disk;
                if (problem.overlapped && !read_once) continue;
                if (problem.overlapped) {
                    const OverlapTime time = overlap(candidate, problem.costs);
                    choice.waiting = time.write_wait + time.read_wait;
                    const double hidden =
                        problem.costs.write * static_cast<double>(choice.counts.tiers[1].saves) +
                        problem.costs.read * static_cast<double>(choice.counts.tiers[1].loads) -
                        choice.waiting;
                    choice.seconds = time.seconds + problem.interference * std::max(0.0, hidden);
                } else {
                    choice.seconds = search.waited(choice.counts);
                    choice.waiting = problem.costs.write * static_cast<double>(choice.counts.tiers[1].saves) +
                                     problem.costs.read * static_cast<double>(choice.counts.tiers[1].loads);
                }
                if (best.window > 0 && choice.seconds >= best.seconds) continue;
                choice.window = window;
                choice.slots = slots;
                choice.period = period;
                best = std::move(choice);
            }
        }
    }
    return best;
}

TierChoice choose_multistage(const TierProblem& problem) {
    const TierSearch search(problem);
    const std::int64_t most_on_disk = search.on_disk();
    const OverlapCosts& costs = problem.costs;
    const TwoTierCosts copies{{costs.steps.save, costs.write}, {costs.steps.load, costs.read}};
    TierChoice best;
    // Long windows first: mostly the better ones, which spare the counting of the others.
    std::vector<std::int64_t> windows = search.windows(1.3);
    std::reverse(windows.begin(), windows.end());
    for (const std::int64_t window : windows) {
        const std::int64_t room = search.slots(window);
        if (room < 0) continue;
        // As many as run everything twice at most, and powers of 4.
        std::vector<std::int64_t> numbers{
            std::min(most_on_disk, ceil_divide(problem.timesteps, window + problem.lookback))};
        for (std::int64_t number = 1; number <= most_on_disk; number = saturating_multiply(number, 4)) {
            numbers.push_back(number);
        }
        for (const std::int64_t on_disk : numbers) {
            const WindowedProblem candidate{problem.timesteps, saturating_add(room, on_disk),
                                            search.model(window), problem.free_initial_state};
            if (on_disk < 1 || candidate.fits_window()) continue;
            const ScheduleCounts total = candidate.counts();
            TierChoice choice;
            choice.counts.forward_steps = total.forward_steps;
            choice.counts.forward_calls = total.forward_calls;
            choice.counts.reverse_calls = total.reverse_calls;
            choice.counts.tiers.resize(2);
            // What is no load of a rank re-creates a free initial state.
            choice.counts.tiers[0].loads = total.loads;
            // No placement does better than one that puts everything in the cheaper tier.
            choice.counts.tiers[0].saves = total.saves;
            if (best.window > 0 && costs.write >= costs.steps.save && costs.read >= costs.steps.load &&
                search.waited(choice.counts) >= best.seconds) {
                continue;
            }
            choice.counts.tiers[0].saves = 0;
            // Counting takes as long as there are snapshots; with so many a disk is of no use beside RAM.
            if (candidate.snapshots > kMostRanks) continue;
            const std::vector<RankCounts> ranks = rank_counts(candidate);
            const std::vector<std::int32_t> tiers = place_ranks(ranks, room, on_disk, copies);
            for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
                TierCounts& tier = choice.counts.tiers[static_cast<std::size_t>(tiers[rank])];
                tier.saves += ranks[rank].saves;
                tier.peak += ranks[rank].saves > 0 ? 1 : 0;
                if (tiers[rank] == 0) continue;
                choice.counts.tiers[1].loads += ranks[rank].loads;
                choice.counts.tiers[0].loads -= ranks[rank].loads;
            }
            choice.seconds = search.waited(choice.counts);
            if (choice.counts.tiers[1].peak == 0) continue;
            if (best.window > 0 && choice.seconds >= best.seconds) continue;
            choice.waiting = costs.write * static_cast<double>(choice.counts.tiers[1].saves) +
                             costs.read * static_cast<double>(choice.counts.tiers[1].loads);
            choice.window = window;
            choice.slots = room;
            choice.on_disk = on_disk;
            best = std::move(choice);
        }
    }
    return best;
}

}  // namespace revolve
