#pragma once

#include <cstdint>

#include "revolve/offline.hpp"
#include "revolve/online.hpp"

namespace revolve {

/// The classic state machine for a number of timesteps that becomes known on the way. Before `turn`: takeshot and
/// advance, without end. After it: what the offline machine does with the same stored states.
class OnlineRevolve final : public OfflineRevolve {
public:
    /// Throws invalid_argument for snapshots < 1.
    OnlineRevolve(std::int64_t snapshots, OnlineRule rule);

    /// Throws overflow_error where the run passes kMostTimesteps.
    Action revolve() override;

    /// The workspace holds x_final, and timestep `final`, the one that starts there, is the last: firstrun is next.
    /// Throws logic_error the second time, invalid_argument for a state that the last action did not pass.
    void turn(std::int64_t final);

private:
    std::int64_t snapshots_;
    OnlineLayout layout_;
    bool final_known_ = false;
};

}  // namespace revolve
