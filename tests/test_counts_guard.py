"""The regression guard, benchmarks/counts.py, finds what it is there for; and what it guards is right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from oracles.closed_form import forward_steps

import pyrevolve

GUARD = Path(__file__).resolve().parent.parent / "benchmarks" / "counts.py"


@pytest.fixture(scope="module")
def guard():
    if not GUARD.is_file():
        pytest.skip("no benchmarks beside these tests: run them in a checkout")
    specification = importlib.util.spec_from_file_location("counts", GUARD)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def changed(counts, key, factor):
    return {**counts, key: str(type(factor)(counts[key]) * factor)}


def test_reviewed_counts_agree_with_themselves(guard):
    assert guard.compare(guard.read(), guard.read()) == []


def test_any_other_exact_count_is_found(guard):
    expected = guard.read()
    exact = [key for key in expected if key[0] not in guard.TOOLS.values() and not key[0].startswith("core,")]
    assert len(exact) > 50
    for key in exact:
        for other in (-1, 1):
            found = {**expected, key: str(int(expected[key]) + other)}
            assert len(guard.compare(expected, found)) == 1, key


def test_counts_that_are_missing_or_new_are_found(guard):
    expected = guard.read()
    key = next(iter(expected))
    fewer = {other: value for other, value in expected.items() if other != key}
    assert "nothing counts it" in guard.compare(expected, fewer)[0]
    assert "not in counts.csv" in guard.compare(fewer, expected)[0]


@pytest.mark.parametrize(
    ("case", "same_tool", "factor", "is_found"),
    [
        ("core, windowed", True, 1.02, False),
        ("core, windowed", True, 1.04, True),
        ("core, windowed", True, 0.96, True),
        ("core, windowed", False, 1.4, False),
        ("core, windowed", False, 0.5, False),
        ("core, windowed", False, 1.6, True),
        ("core, copies", True, 1.4, False),
        ("core, copies", True, 1.6, True),
        ("driver", True, 1.0, False),
        ("driver", True, 0.9, False),
        ("driver", True, 1.01, True),
        ("driver", False, 1.1, False),
        ("driver", False, 1.2, True),
    ],
)
def test_growth_is_found_as_finely_as_the_tools_allow(guard, case, same_tool, factor, is_found):
    expected = guard.read()
    (key,) = [key for key in expected if key[0] == case and key[1] not in guard.TOOLS]
    found = changed(expected, key, factor)
    if not same_tool:
        tool = "Python" if case == "driver" else "compiler"
        found[guard.TOOLS[tool], tool] = "another"
    assert bool(guard.compare(expected, found)) == is_found


def test_counts_of_schedules_are_those_of_this_build(guard):
    expected = guard.read()
    for name, make in guard.SCHEDULES.items():
        for count, value in guard.of_schedule(make()):
            assert expected[name, count] == str(value), (name, count)


def test_reviewed_counts_are_the_optimum_where_it_is_known(guard):
    expected = guard.read()
    n, snapshots = 100_000, 50
    advances = forward_steps(n, snapshots, 1, 0, 1, False) - n
    assert int(expected["CRevolve(50, 100000)", "timesteps advanced"]) == advances
    assert int(expected["Revolve(100000, 50)", "forward steps"]) == advances + n
    windowed = forward_steps(3622, 22, 59, 2, 0, False)
    assert int(expected["Revolve(3622, 22), window 59", "forward steps"]) == windowed
    # Nothing that does not know how the run ends can do better.
    best = pyrevolve.Revolve(5000, 20).forward_steps
    for rule in pyrevolve.crevolve.ONLINE_RULES:
        assert int(expected[f"Online(20, {rule})", "forward steps"]) >= best


def test_calls_of_the_driver_are_counted_alike_every_time(guard):
    few, instructions = guard.calls(50)
    assert guard.calls(50) == (few, instructions)
    assert few > instructions
    assert guard.calls_per_instruction() == guard.calls_per_instruction()
