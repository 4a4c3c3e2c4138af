/// Coverage-guided fuzzing of the C++ library with libFuzzer: `make fuzz`. The last bytes of an input say which
/// family it is for; an input on which a family fails ends the process and is written to a file.

#include <array>
#include <cstddef>
#include <cstdint>

#include "families.hpp"

namespace {

constexpr std::array kFamilies{fuzz::counts,       fuzz::windowed,       fuzz::from_layout, fuzz::periodic,
                               fuzz::hierarchical, fuzz::periodic_disk,  fuzz::mixed,       fuzz::online,
                               fuzz::classic,      fuzz::classic_online, fuzz::window_plan, fuzz::tier_plans,
                               fuzz::copies};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const auto family = static_cast<std::size_t>(input.between(0, kFamilies.size() - 1));
    kFamilies[family](input);
    return 0;
}
