#pragma once

#include <cstdint>
#include <exception>

namespace revolve {

/// Asks the caller whether long work is to stop; may be null.
using InterruptCheck = bool (*)();

/// Thrown out of long work that the caller stopped.
struct Interrupted : std::exception {
    const char* what() const noexcept override { return "interrupted"; }
};

/// Calls an InterruptCheck now and then, so often that a person does not wait and so seldom that it costs nothing.
class InterruptPoll {
public:
    explicit InterruptPoll(InterruptCheck check) noexcept : check_(check) {}

    /// To be called with the amount of work done, in elementary operations; throws Interrupted.
    void operator()(std::int64_t work = 1) {
        done_ += work;
        if (done_ < kInterval) return;
        done_ = 0;
        if (check_ != nullptr && check_()) throw Interrupted();
    }

private:
    static constexpr std::int64_t kInterval = std::int64_t{1} << 22;
    InterruptCheck check_;
    std::int64_t done_ = 0;
};

}  // namespace revolve
