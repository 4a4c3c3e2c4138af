#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "revolve/interrupt.hpp"
#include "revolve/schedule.hpp"
#include "revolve/windowed.hpp"

/// Hierarchical schedules: snapshots in several tiers, each with a capacity and with costs of writing and reading
/// (Aupy, Herrmann, Hovland & Robert 2016, doi:10.1137/15M1019222; Aupy & Herrmann 2017,
/// doi:10.1080/10556788.2016.1230612; Herrmann & Pallez 2020, doi:10.1145/3378672), with the moves of windowed
/// Revolve. Window 1, lookback 0 is the published problem.
///
/// A chain is a start with x timesteps to its right, whose own snapshot carries `closing` timesteps that are reversed
/// last. With u per forward step, h_f and h_b per call, S_k(x, m) is the least cost of a chain whose start is at hand
/// and stored at tier k, m more slots being free there and the faster tiers empty; in U_k(x, m) it is not stored:
///   U_k(x, m) = min{ w_k + S_k(x, m - 1),  U_{k-1}(x, c_{k-1}) },                      U_{-1} = infinity;
///   S_k(x, m) = min{ leaf, long leaf:  x u + h_f + h_b + V_k(x - K, m),
///                    copy of the start to a faster tier, which frees its slot here:  U_{k-1}(x, c_{k-1}),
///                    split at j:  j u + h_f + U_k(x - j, m) + V_k(j - d, m) };
///   V_k(y, m) = r_k + S_k(y, m) for y > 0, otherwise r_k + h_b if anything of the closing is left, or 0.
/// That is the least of all schedules where costs do not fall from one tier to the next.
namespace revolve {

/// Capacity of a tier that never fills up.
inline constexpr std::int64_t kUnbounded = -1;

struct TierCosts {
    std::int64_t capacity;  ///< slots, or kUnbounded
    double write;
    double read;
    bool one_read =
        false;  ///< a snapshot is loaded at most once: V_k(y) = r_k + U_{k-1}(y, c_{k-1}), or a leaf
};

struct HierarchicalProblem {
    std::int64_t timesteps;
    WindowModel model;
    bool free_initial_state = false;  ///< x_0 is re-created at the read cost of tier 0 and takes no slot
    double forward_step;
    double forward_call;
    double reverse_call;
    std::vector<TierCosts> tiers;  ///< the fastest first

    /// Throws invalid_argument or overflow_error where a parameter is out of its range.
    void validate() const;
    /// The whole run stays in the window.
    bool fits_window() const noexcept { return model.holds(timesteps); }
};

/// What is known about a chain besides its length and its closing.
struct HierarchicalChain {
    std::int32_t tier = 0;
    std::int64_t slots = 0;      ///< free at this tier
    bool last_of_sweep = false;  ///< it ends with x_n, and nothing is reversed yet
    bool read = false;           ///< its start was loaded, which a tier may allow only once
    bool initial = false;        ///< its start is x_0, which closes 1 - lag timesteps instead of d
};

struct HierarchicalMove {
    enum class Kind : std::int8_t { run, copy, split };
    Kind kind = Kind::run;
    std::int64_t timesteps = 0;  ///< run: left over when the window is reversed; split: up to the snapshot
    HierarchicalChain next;      ///< copy: the start at a faster tier; split: the right part
};

/// Least costs of all chains of at most n timesteps. Immutable; n numbers for every slot that changes anything.
///
/// Only costs are kept; moves are found from them. Of moves that cost the same a run comes first, then a copy, then
/// the split farthest from the start. Costs are sums of doubles: exact where all are integers and the sum is below
/// 2^50, otherwise the least up to rounding.
///
/// Lengths are in units of gcd(K, d) timesteps at lag 1. For a given tree of splits cost is linear in the lengths of
/// the leaves, between 0 and K - d or K, and of what a lookback overlaps, between 0 and d: so that in some optimal
/// schedule all are at these bounds but one, and a chain is whole units but for at most one that is part-filled.
class HierarchicalTables {
public:
    /// Solves the recurrence: O(n) per table entry at worst, a small part of it as a rule (see MinPlus).
    /// Throws what validate throws, invalid_argument where the tiers allow no schedule, and Interrupted.
    /// `any_length`: the tables hold for snapshots' chains of every length, and there is no root.
    explicit HierarchicalTables(const HierarchicalProblem& problem, InterruptCheck check = nullptr,
                                bool any_length = false);

    const HierarchicalProblem& problem() const noexcept { return problem_; }
    /// Least cost of the run, its n reverse steps not counted.
    double cost() const noexcept { return cost_; }
    /// Index of the first snapshot; above 0 where that carries the timesteps before it.
    std::int64_t first_snapshot() const noexcept { return first_snapshot_; }
    /// The chain of the first snapshot; tier -1: a free initial state.
    HierarchicalChain root() const;

    /// What to do with a start that is at hand and stored. O(x).
    HierarchicalMove decide(const HierarchicalChain& chain, std::int64_t timesteps) const;
    /// Where to store a start at hand, the slots of `chain` and all of the faster tiers being free.
    HierarchicalChain place(const HierarchicalChain& chain, std::int64_t timesteps) const;
    /// U_k and V_k, the latter after a split whose snapshot carries d timesteps, y > -d.
    double unstored(const HierarchicalChain& chain, std::int64_t timesteps) const;
    double left_part(const HierarchicalChain& chain, std::int64_t timesteps) const;

private:
    friend class RowSolver;

    /// [0]: chains of whole units. [1]: those with the part-filled unit or, at lag 0, with the last of the sweep.
    using Row = std::array<std::vector<double>, 2>;
    enum class Special : std::int8_t { none, part_filled, last_of_sweep };
    /// Chains whose start has one closing: d timesteps or, from a stored or free x_0, 1 - lag.
    struct Family {
        std::int64_t closing = 0;
        std::vector<std::vector<Row>> stored;  ///< S_k(., m); the last row stands for all further m
        std::vector<Row> faster;               ///< U_{k-1}(., c_{k-1})
    };

    std::int64_t length(std::int64_t units, int kind) const noexcept;
    std::int64_t units(std::int64_t timesteps) const noexcept;
    int kind_of(const HierarchicalChain& chain, std::int64_t timesteps) const noexcept;
    const Family& family(const HierarchicalChain& chain) const noexcept;
    const Row& row(const Family& family, std::size_t tier, std::int64_t slots) const;
    std::size_t index(const HierarchicalChain& chain) const noexcept;
    bool closed_form(std::size_t tier) const noexcept { return tier == 0 && closed_form_; }
    double closed_form_cost(std::int64_t timesteps, std::int64_t slots) const;
    double run_cost(const Family& family, std::size_t tier, const Row& row, std::int64_t x, int kind) const;
    double left_cost(const Family& family, std::size_t tier, const Row& row, std::int64_t y, int kind,
                     std::int64_t run) const;
    double split_left(const Family& family, std::size_t tier, const Row& row, std::int64_t j, int kind) const;
    double split_right(std::size_t tier, const Row* stored, std::int64_t x, int kind) const;
    double unstored_at(const Family& family, std::size_t tier, std::int64_t slots, std::int64_t x,
                       int kind) const;
    void solve_tier(std::size_t tier, InterruptPoll& poll);
    void solve_initial(std::size_t tier, InterruptPoll& poll);

    HierarchicalProblem problem_;
    std::vector<TierCosts> tiers_;  ///< with one more for a free initial state; capacities at most n
    std::int64_t unit_ = 1;
    std::int64_t part_ = 0;    ///< timesteps of the part-filled unit; 0: there is none
    std::int64_t window_ = 1;  ///< in units
    std::int64_t lookback_ = 0;
    std::int64_t size_ = 0;  ///< longest chain
    Special special_ = Special::none;
    bool closed_form_ = false;
    Family snapshot_;  ///< chains of snapshots
    Family initial_;   ///< of x_0, with all slots of a tier free; empty where its closing is d too
    double cost_ = 0.0;
    std::int64_t first_snapshot_ = 0;
};

std::shared_ptr<const HierarchicalTables> plan_hierarchical(const HierarchicalProblem& problem,
                                                            InterruptCheck check = nullptr);

/// A snapshot in the last of two tiers every `period` timesteps, each segment between two solved with the slots of
/// tier 0 from its snapshot. The last segment is not run again and may do without its snapshot.
struct PeriodicDiskPlan {
    std::shared_ptr<const HierarchicalTables> segments;  ///< null: the whole run stays in the window
    WindowModel model = kClassicRevolve;
    std::int64_t timesteps = 0;
    std::int64_t period = 0;
    double cost = 0.0;  ///< n reverse steps not counted
};

/// Solves the segments; `period` 0: takes the period with the least cost per timestep of a run without end,
///   argmin_P ( w + P u + h_f + V_1(P - d) ) / P,
/// of Aupy & Herrmann (2017). Tier 1's capacity is not used. Throws as HierarchicalTables.
PeriodicDiskPlan plan_periodic_disk(HierarchicalProblem problem, std::int64_t period,
                                    InterruptCheck check = nullptr);

/// Generators of the instructions.
std::unique_ptr<Schedule> hierarchical_schedule(std::shared_ptr<const HierarchicalTables> tables);
std::unique_ptr<Schedule> periodic_disk_schedule(const PeriodicDiskPlan& plan);

}  // namespace revolve
