"""The simulator accepts what is allowed and refuses everything else: one broken rule per case."""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace

import pytest
from simulator import InvalidSchedule, simulate, simulate_classic

Kind = IntEnum("Kind", ["FORWARD", "SAVE", "LOAD", "REVERSE", "FREE", "TURN", "END"], start=0)


def program(text):
    """Read ``F0-2 S0@0 L0@0! R0-2 X0@0 T E``; ``!`` frees the slot, slot -1 is a free initial state."""
    for word in text.split():
        what, rest = word[0], word[1:].rstrip("!")
        if what in "FR":
            start, stop = (int(number) for number in rest.split("-"))
            kind = Kind.FORWARD if what == "F" else Kind.REVERSE
            yield SimpleNamespace(kind=kind, start=start, stop=stop)
        elif what in "SLX":
            slot, t = (int(number) for number in rest.split("@"))
            kind = {"S": Kind.SAVE, "L": Kind.LOAD, "X": Kind.FREE}[what]
            yield SimpleNamespace(kind=kind, t=t, slot=slot, tier=min(slot, 0), keep=not word.endswith("!"))
        else:
            yield SimpleNamespace(kind=Kind.TURN if what == "T" else Kind.END)


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("T E", {"n": 0, "snapshots": 0}),
        ("F0-3 T R0-3 E", {"n": 3, "snapshots": 0, "window": 3}),
        ("S0@0 F0-2 T R1-2 L0@0! F0-1 R0-1 E", {"n": 2, "snapshots": 1}),
        ("F0-2 T R1-2 L-1@0 F0-1 R0-1 E", {"n": 2, "snapshots": 0, "free_initial": True}),
        # lag 0: x_t carries its own timestep, and the window holds timestep n, which does not exist
        ("S0@0 F0-2 T R1-2 L0@0! R0-1 E", {"n": 2, "snapshots": 1, "window": 2, "lookback": 1, "lag": 0}),
        # a loaded state carries d timesteps
        ("F0-2 S0@2 F2-4 T R2-4 L0@2! R0-2 E", {"n": 4, "snapshots": 1, "window": 2, "lookback": 2}),
        # after a reversal the workspace is still where it was
        ("F0-2 T R1-2 S0@2 R0-1 X0@2 E", {"n": 2, "snapshots": 1, "window": 2}),
    ],
)
def test_what_is_allowed(text, parameters):
    report = simulate(program(text), **parameters)
    assert report.instructions == len(text.split())
    assert report.forward_calls == text.count("F")
    assert report.reverse_calls == text.count("R")
    assert report.saves == text.count("S")
    assert report.loads + report.resets == text.count("L")
    assert report.resets == text.count("L-1")


@pytest.mark.parametrize(
    ("text", "parameters", "why"),
    [
        ("F1-2", {}, "not at hand"),
        ("F0-2 F0-1", {}, "not at hand"),
        ("F0-0", {}, "empty"),
        ("F0-9", {}, "impossible"),
        ("F0-1 S0@0", {}, "not at hand"),
        ("S0@0 S0@0", {}, "full"),
        ("S1@0", {}, "does not exist"),
        ("L0@0", {}, "empty"),
        ("S0@0 L0@1", {}, "another state"),
        ("S0@0 L0@0! L0@0", {}, "empty"),
        ("X0@0", {}, "empty"),
        ("S0@0 X0@1", {}, "another state"),
        ("L-1@0", {}, "not free"),
        ("L-1@1", {"free_initial": True}, "another state"),
        ("T", {}, "before the end"),
        ("F0-3 T T", {}, "twice"),
        ("F0-3 R2-3", {}, "before the turn"),
        ("F0-3 T R1-2", {}, "next timestep"),
        ("F0-3 T R3-3", {}, "empty or impossible"),
        ("F0-3 T R1-3", {}, "gone"),
        ("S0@0 F0-3 T R2-3 L0@0 F0-1 R1-2", {}, "does not exist yet"),
        ("S0@0 F0-3 T L0@0 F0-2 R2-3", {}, "does not exist yet"),
        ("F0-2 S0@2 F2-3 T R2-3 L0@2 R1-2", {}, "gone"),
        ("F0-2 S0@2 F2-3 T R2-3 L0@2 R0-2", {"window": 2, "lookback": 1}, "gone"),
        ("F0-3 T R2-3", {"lookback": 1, "lag": 0}, "gone"),
        ("F0-3 T E", {}, "before everything"),
        ("E", {"n": 0}, "before the turn"),
        ("T E E", {"n": 0}, "after END"),
        ("T", {"n": 0}, "without END"),
    ],
)
def test_what_is_not_allowed(text, parameters, why):
    with pytest.raises(InvalidSchedule, match=why):
        simulate(program(text), **({"n": 3, "snapshots": 1} | parameters))


VALID = [
    ("takeshot", 0, 2, 0),
    ("advance", 1, 2, 0),
    ("firstrun", 1, 1, 0),
    ("restore", 0, 1, 0),
    ("youturn", 0, 0, -1),
    ("terminate", 0, 0, -1),
]


def test_a_classic_stream_that_is_allowed():
    report = simulate_classic(VALID, n=2, snapshots=1)
    assert (report.advances, report.takeshots, report.restores, report.finished) == (1, 1, 1, True)


@pytest.mark.parametrize("position", range(len(VALID) - 1))
def test_a_classic_stream_with_an_action_missing(position):
    with pytest.raises(InvalidSchedule):
        simulate_classic(VALID[:position] + VALID[position + 1 :], n=2, snapshots=1)
