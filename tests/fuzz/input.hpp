#pragma once

#include <cstdint>
#include <exception>
#include <fuzzer/FuzzedDataProvider.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "revolve/windowed.hpp"

/// What every family of inputs shares: numbers out of bytes, and what a failure is.
namespace fuzz {

/// Where something is wrong: says what, and ends the process, which makes the input a finding.
[[noreturn]] void fail(const std::string& message);

inline void require(bool condition, const char* message) {
    if (!condition) fail(message);
}

/// How a call ended that may refuse its arguments.
enum class Outcome { done, invalid, overflow, out_of_order };

/// Calls `call`. Every exception but those that the library documents is a failure.
template <class Call>
Outcome attempt(Call&& call) {
    try {
        std::forward<Call>(call)();
        return Outcome::done;
    } catch (const std::invalid_argument&) {
        return Outcome::invalid;
    } catch (const std::overflow_error&) {
        return Outcome::overflow;
    } catch (const std::logic_error&) {
        return Outcome::out_of_order;
    } catch (const std::exception& error) {
        fail(std::string("an exception that is not documented: ") + error.what());
    }
}

/// Numbers out of the bytes of one input.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : provider_(data, size) {}

    std::int64_t between(std::int64_t least, std::int64_t most) {
        return provider_.ConsumeIntegralInRange(least, most);
    }
    bool flag() { return provider_.ConsumeBool(); }
    bool left() { return provider_.remaining_bytes() > 0; }
    /// One time in `times`; never where no bytes are left.
    bool rarely(std::int64_t times) { return between(0, times - 1) == times - 1; }

    /// Any number, mostly one around which something changes.
    std::int64_t wild();
    /// A finite cost >= 0: mostly a small whole number, so that sums of doubles are exact.
    double cost();
    /// A number of timesteps, mostly small.
    std::int64_t timesteps(std::int64_t most);
    /// A window, a lookback and a lag that go together.
    revolve::WindowModel model(std::int64_t longest_window);

private:
    FuzzedDataProvider provider_;
};

/// Whether windowed Revolve takes such a problem: what its documentation states, written down once more.
bool is_legal(const revolve::WindowedProblem& problem);
/// Whether a run of so many timesteps is too long by itself.
bool is_too_long(std::int64_t timesteps);
/// Whether `outcome` is what arguments that are legal, or not, have to lead to.
void require_outcome(Outcome outcome, bool legal, bool too_long, const char* what);

}  // namespace fuzz
