#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <tuple>

#include "revolve/binomial.hpp"
#include "revolve/offline.hpp"
#include "revolve/online_revolve.hpp"

#include "families.hpp"

namespace fuzz {

namespace {

using revolve::Action;
using revolve::OfflineRevolve;

/// What an action of the classic machine may do; the slots are those that its caller would have.
class ClassicMachine {
public:
    explicit ClassicMachine(std::int64_t snapshots) : snapshots_(snapshots) {}

    /// Carries out what `machine` says; returns whether it has terminated. `slots_are_reused`: a takeshot may replace
    /// another state, as it does while the number of timesteps is not known.
    bool execute(OfflineRevolve& machine, bool slots_are_reused) {
        const Action action = machine.revolve();
        const std::int64_t capo = machine.capo();
        require(machine.old_capo() == position_, "oldcapo is not where the workspace was");
        switch (action) {
            case Action::advance:
                require(capo > position_, "advances backwards or not at all");
                require(fine_ < 0 || capo < fine_, "advances beyond what is to be reversed");
                advances_ += std::min(capo - position_, std::numeric_limits<std::int64_t>::max() - advances_);
                position_ = capo;
                break;
            case Action::takeshot:
                require(capo == position_, "stores a state that is not at hand");
                require(0 <= machine.check() && machine.check() < snapshots_, "stores in no slot");
                require(slots_are_reused || slots_.count(machine.check()) == 0,
                        "stores in a slot that is full");
                slots_[machine.check()] = capo;
                ++takeshots_;
                break;
            case Action::restore:
                require(slots_.count(machine.check()) == 1, "restores from an empty slot");
                require(slots_.at(machine.check()) == capo, "restores another state than is stored");
                position_ = capo;
                break;
            case Action::firstrun:
            case Action::youturn:
                require((action == Action::firstrun) == !turned_, "turns the first time twice, or never");
                require(position_ == fine_ - 1 && capo == position_, "turns another timestep than the last");
                turned_ = true;
                --fine_;
                // The stack is popped before the last turn of a slot: a state at or behind the end is of no use.
                for (auto slot = slots_.begin(); slot != slots_.end();) {
                    slot = slot->second >= fine_ ? slots_.erase(slot) : std::next(slot);
                }
                break;
            case Action::terminate:
                require(fine_ == 0 && (turned_ || position_ == 0), "terminates too early");
                return true;
            case Action::error:
                fail("an error that is no exception");
        }
        require(machine.fine() == fine_, "fine is not what is left to be reversed");
        require(machine.advances() == advances_, "counts other advances");
        return false;
    }

    void begin(std::int64_t timesteps) { fine_ = timesteps; }
    /// The caller broke the last advance off at `final`, the last timestep.
    void turn(std::int64_t final) {
        advances_ -= position_ - final;
        position_ = final;
        fine_ = final + 1;
    }

    std::int64_t takeshots() const noexcept { return takeshots_; }
    std::int64_t advances() const noexcept { return advances_; }

private:
    std::int64_t snapshots_;
    std::int64_t position_ = 0;
    std::int64_t fine_ = -1;
    std::int64_t advances_ = 0;
    std::int64_t takeshots_ = 0;
    bool turned_ = false;
    std::map<std::int64_t, std::int64_t> slots_;
};

auto seen(const OfflineRevolve& machine) {
    return std::make_tuple(machine.capo(), machine.old_capo(), machine.fine(), machine.check(),
                           machine.advances());
}

}  // namespace

void classic(Input& input) {
    const bool wild = input.rarely(4);
    const std::int64_t n = wild ? input.wild() : input.timesteps(400);
    const std::int64_t snapshots = wild ? input.wild() : input.between(1, input.rarely(8) ? n + 2 : 10);
    std::unique_ptr<OfflineRevolve> machine;
    const Outcome outcome = attempt([&] { machine = std::make_unique<OfflineRevolve>(n, snapshots); });
    require_outcome(outcome, n >= 0 && snapshots >= 1, is_too_long(n), "classic machine");
    if (machine == nullptr) return;
    ClassicMachine check(snapshots);
    check.begin(n);
    bool ended = false;
    for (std::int64_t count = 0; count < (wild ? 300 : 1'000'000) && !ended; ++count) {
        ended = check.execute(*machine, false);
    }
    if (!ended) return require(wild, "does not end");
    require(machine->revolve() == Action::terminate, "goes on after the end");
    if (n == 0) return;
    require(check.advances() == revolve::numforw(n, snapshots), "not the advances of the closed formula");
    require(check.takeshots() == revolve::takeshots(n, snapshots), "not the takeshots of the closed formula");
}

void classic_online(Input& input) {
    const auto rule = static_cast<revolve::OnlineRule>(input.between(0, 5));
    const std::int64_t snapshots = input.rarely(16) ? input.wild() : input.between(1, 12);
    std::unique_ptr<revolve::OnlineRevolve> machine;
    const Outcome outcome =
        attempt([&] { machine = std::make_unique<revolve::OnlineRevolve>(snapshots, rule); });
    require_outcome(outcome, snapshots >= 1, false, "classic machine without an end");
    if (machine == nullptr) return;
    ClassicMachine check(snapshots);
    const std::int64_t actions = input.between(0, 400);
    for (std::int64_t count = 0; count < actions; ++count) {
        if (machine->capo() >= revolve::kMostTimesteps) {
            const auto before = seen(*machine);
            require(attempt([&] { machine->revolve(); }) == Outcome::overflow, "runs beyond 2^62");
            return require(seen(*machine) == before, "a refused action changes the machine");
        }
        // One action may go as far as there are timesteps.
        check.execute(*machine, true);
    }
    const auto refuse = [&](std::int64_t final, Outcome expected) {
        const auto before = seen(*machine);
        require(attempt([&] { machine->turn(final); }) == expected, "a turn is not refused as documented");
        require(seen(*machine) == before, "a refused turn changes the machine");
    };
    if (input.flag()) refuse(machine->capo() + 1, Outcome::invalid);
    if (input.flag()) refuse(machine->old_capo() - 1, Outcome::invalid);
    const std::int64_t final =
        input.flag() ? machine->capo() : input.between(machine->old_capo(), machine->capo());
    machine->turn(final);
    check.turn(final);
    refuse(final, Outcome::out_of_order);
    const std::int64_t most = final > 3000 ? 300 : 1'000'000;
    bool ended = false;
    for (std::int64_t count = 0; count < most && !ended; ++count) ended = check.execute(*machine, false);
    require(ended || final > 3000, "does not end");
}

// ----------------------------------------------------------------------------------------------------------- counts

namespace {

/// C(a, b) to about 18 digits, and 2^64 where it is larger.
long double binomial(long double a, long double b) {
    const long double least = std::min(b, a - b);
    long double value = 1;
    for (long double i = 1; i <= least && value < 0x1p64L; ++i) value *= (a - least + i) / i;
    return std::min(value, 0x1p64L);
}

bool is_about(std::int64_t value, long double expected) {
    return std::abs(static_cast<long double>(value) - expected) <= 1e-15L * expected + 0.5L;
}

}  // namespace

void counts(Input& input) {
    const std::int64_t s = input.wild();
    const std::int64_t r = input.wild();
    std::int64_t range{};
    const Outcome outcome = attempt([&] { range = revolve::maxrange(s, r); });
    std::int64_t saturated{};
    const Outcome bounded = attempt([&] { saturated = revolve::maxrange_saturating(s, r); });
    if (s < 0 || r < 0) {
        require(outcome == Outcome::invalid && bounded == Outcome::invalid, "negative numbers are accepted");
        std::int64_t beta{};
        require(attempt([&] { beta = revolve::beta(s, r); }) == Outcome::done && beta == 0, "beta is not 0");
    } else {
        const long double expected = binomial(static_cast<long double>(s) + static_cast<long double>(r),
                                              static_cast<long double>(std::min(s, r)));
        require(bounded == Outcome::done, "a saturating count is refused");
        if (expected < 0x1p63L * (1 - 1e-15L)) {
            require(is_about(saturated, expected), "another binomial");
            const bool fits = s <= std::numeric_limits<std::int64_t>::max() - r;
            require(outcome == (fits ? Outcome::done : Outcome::overflow) || s == 0 || r == 0,
                    "a count is refused");
            if (outcome == Outcome::done) require(range == saturated, "two counts of the same differ");
        } else if (expected > 0x1p63L * (1 + 1e-15L)) {
            require(outcome == Outcome::overflow, "a count that does not fit is none");
            require(saturated == revolve::kSaturated, "a count that does not fit is not saturated");
        }
    }
    const std::int64_t n = input.wild();
    const bool legal = n >= 1 && s >= 1;
    std::int64_t steps{};
    std::int64_t repetitions{};
    const Outcome found = attempt([&] { repetitions = revolve::repetition_number(n, s); });
    require_outcome(found, legal, is_too_long(n), "repetition number");
    const Outcome counted = attempt([&] { steps = revolve::numforw(n, s); });
    if (found != Outcome::done) return require(counted == found, "advances of what has no repetition number");
    require(revolve::maxrange_saturating(s, repetitions) >= n, "a repetition number that is too small");
    require(repetitions == 0 || revolve::maxrange_saturating(s, repetitions - 1) < n,
            "a repetition number that is not the least");
    // t(n, s) = r n - beta(s + 1, r - 1)
    const long double whole = static_cast<long double>(repetitions) * static_cast<long double>(n);
    const long double less =
        repetitions == 0
            ? 0.0L
            : binomial(static_cast<long double>(std::min(s, n)) + static_cast<long double>(repetitions),
                       static_cast<long double>(repetitions - 1));
    if (counted == Outcome::done) {
        const long double error = std::abs(static_cast<long double>(steps) - (whole - less));
        require(s > n || error <= 1e-15L * whole + 0.5L, "not the advances of the closed formula");
        require(revolve::expense(n, s) == static_cast<double>(steps) / static_cast<double>(n),
                "an expense that is none");
        attempt([&] { revolve::takeshots(n, s); });
    } else {
        require(counted == Outcome::overflow && whole > 0x1p62L, "advances are refused");
    }
    if (n >= 1) {
        const std::int64_t balanced = revolve::adjust(n);
        require(balanced >= 1 && balanced < 64, "an odd number of snapshots");
    }
}

}  // namespace fuzz
