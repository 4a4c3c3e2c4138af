"""Coverage-guided fuzzing of the planner with Atheris: `make fuzz`.

    python tests/fuzz/plans.py [options of libFuzzer] [corpus]

The properties are those of the test suite, which there see random arguments; here hypothesis builds them from
the bytes that have reached new lines of the planner. The first byte says which property an input is for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["pyrevolve"]):
    import test_planning as in_memory
    import test_planning_compression as compressed
    import test_planning_tiers as on_disk

PROPERTIES = [
    in_memory.test_plan_within_limits_on_the_window,
    on_disk.test_every_plan_tells_what_its_schedule_does,
    compressed.test_every_plan_keeps_to_its_budgets_and_tells_what_its_schedule_does,
    compressed.test_compression_needs_no_larger_budget_and_never_makes_a_plan_worse,
]


def check(data: bytes) -> None:
    """Let one property look at one input; what it raises is a finding."""
    if data:
        PROPERTIES[data[0] % len(PROPERTIES)].hypothesis.fuzz_one_input(data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
