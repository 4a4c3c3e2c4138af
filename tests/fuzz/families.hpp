#pragma once

#include "input.hpp"

/// Every family takes an input, makes something of the library from it, and fails where it is not as documented.
namespace fuzz {

void counts(Input& input);          ///< closed formulas of classic Revolve
void windowed(Input& input);        ///< windowed Revolve from the start, in one tier or several
void from_layout(Input& input);     ///< windowed Revolve from a layout
void periodic(Input& input);        ///< a spine of snapshots, overlapped or not
void hierarchical(Input& input);    ///< H-Revolve and Disk-Revolve
void periodic_disk(Input& input);   ///< the same with forced snapshots
void mixed(Input& input);           ///< states and step data
void online(Input& input);          ///< the online forward run and its reversal, with calls out of order
void classic(Input& input);         ///< the classic state machine
void classic_online(Input& input);  ///< the same for a number of timesteps that becomes known on the way
void window_plan(Input& input);     ///< the search over windows
void tier_plans(Input& input);      ///< the searches over RAM and disk
void copies(Input& input);          ///< snapshot copies of strided arrays

}  // namespace fuzz
