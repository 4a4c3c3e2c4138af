"""The simulator accepts what is allowed and refuses everything else: one broken rule per case."""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace

import pytest
from simulator import STEP_DATA, InvalidSchedule, Layout, Stored, TierReport, simulate, simulate_classic

Kind = IntEnum("Kind", ["FORWARD", "SAVE", "LOAD", "REVERSE", "FREE", "TURN", "END"], start=0)
Content = IntEnum("Content", ["STATE", "STEP_DATA"], start=0)


def program(text):
    """Read ``F0-2 S0@0 L0@0! R0-2 X0@0 T E``.

    ``!`` frees the slot, slot -1 is a free initial state, ``S1.0@0`` names slot 0 of tier 1, and a small
    letter saves or loads step data.
    """
    for word in text.split():
        what, rest = word[0], word[1:].rstrip("!")
        if what in "FR":
            start, stop = (int(number) for number in rest.split("-"))
            kind = Kind.FORWARD if what == "F" else Kind.REVERSE
            yield SimpleNamespace(kind=kind, start=start, stop=stop)
        elif what in "SLXsl":
            place, t = rest.split("@")
            tier, _, slot = place.rpartition(".")
            kind = {"S": Kind.SAVE, "L": Kind.LOAD, "X": Kind.FREE}[what.upper()]
            yield SimpleNamespace(
                kind=kind,
                t=int(t),
                slot=int(slot),
                tier=int(tier or min(int(slot), 0)),
                keep=not word.endswith("!"),
                content=Content.STEP_DATA if what.islower() else Content.STATE,
            )
        else:
            yield SimpleNamespace(kind=Kind.TURN if what == "T" else Kind.END)


def without_content(instruction):
    return SimpleNamespace(**{name: value for name, value in vars(instruction).items() if name != "content"})


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
        # tiers, one of them without a bound
        (
            "S1.0@0 F0-1 S0.0@1 F1-2 S1.7@2 F2-3 T R2-3 L1.7@2! L0.0@1! F1-2 R1-2 L1.0@0 F0-1 R0-1 E",
            {"n": 3, "snapshots": (1, None)},
        ),
        # step data: saved after the step that makes it, reversed without a forward step
        ("F0-1 s0@0 F1-2 T R1-2 l0@0! R0-1 E", {"n": 2, "snapshots": 1}),
        # ... of any timestep in the window
        ("F0-2 s0@0 F2-3 T R1-3 l0@0! R0-1 E", {"n": 3, "snapshots": 1, "window": 2}),
        # a block of step data that carries the next state
        (
            "F0-1 s0@0 F1-3 T R2-3 l0@0 F1-2 R1-2 l0@0! R0-1 E",
            {"n": 3, "snapshots": 2, "step_data_units": 2, "step_data_carries_next_state": True},
        ),
        (
            "F0-1 s0@0 F1-2 T R1-2 S0.1@2 l0@0 R0-1 X0@0 X0.1@2 E",
            {"n": 2, "snapshots": 3, "step_data_units": 2, "step_data_carries_next_state": True},
        ),
    ],
)
def test_what_is_allowed(text, parameters):
    report = simulate(program(text), **parameters)
    assert report.instructions == len(text.split())
    assert report.forward_calls == text.count("F")
    assert report.reverse_calls == text.count("R")
    assert report.saves == text.upper().count("S")
    assert report.loads + report.resets == text.upper().count("L")
    assert report.resets == text.count("L-1")
    assert report.frees == text.count("X")
    assert report.left_stored == report.saves - text.count("!") - text.count("X")


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
        ("S1.0@0", {}, "does not exist"),
        ("S-1.0@0", {}, "does not exist"),
        ("S0.-1@0", {"snapshots": (None,)}, "does not exist"),
        ("S1.0@0", {"snapshots": (2, 0)}, "does not exist"),
        ("S0@0 L1.0@0", {"snapshots": (1, 1)}, "empty"),
        ("S0@0 X1.0@0", {"snapshots": (1, 1)}, "empty"),
        ("F0-1 S0@0", {"snapshots": (1, 1)}, "not at hand"),
        ("s0@0", {}, "not at hand"),
        ("F0-2 s0@0", {}, "not at hand"),
        ("F0-1 s0@1", {}, "not at hand"),
        ("F0-3 s0@3", {"lookback": 1, "lag": 0}, "no timestep"),
        ("F0-1 s0@0 l0@1", {}, "another state"),
        ("F0-1 s0@0 L0@0", {}, "another content"),
        ("S0@0 l0@0", {}, "another content"),
        ("F0-1 s0@0 l0@0 F1-2", {}, "not at hand"),
        ("F0-1 s0@0 l0@0 F0-1", {}, "not at hand"),
        ("F0-1 s0@0 l0@0 S0.1@1", {"snapshots": 2}, "not at hand"),
        ("F0-3 s0@2 l0@2 T", {}, "before the end"),
        ("F0-2 s0@1 F2-3 T R2-3 l0@1 R0-2", {"window": 2}, "gone"),
        ("F0-1 s0@0 F1-3 T l0@0 R2-3", {}, "does not exist yet"),
        ("F0-1 s-1@0 l-1@0", {"free_initial": True}, "does not exist"),
        ("l-1@0", {"free_initial": True}, "another state"),
        ("F0-1 s0@0", {"step_data_units": 2}, "more than the tier has"),
        ("S0@0 F0-1 s0.1@0", {"step_data_units": 2, "snapshots": 2}, "more than the tier has"),
        ("F0-3 T R2-3", {"forward_only": True}, "only a forward run"),
        ("F0-3 E", {"forward_only": True}, "before the turn"),
    ],
)
def test_what_is_not_allowed(text, parameters, why):
    with pytest.raises(InvalidSchedule, match=why):
        simulate(program(text), **({"n": 3, "snapshots": 1} | parameters))


def test_unknown_kinds_and_contents():
    strange = SimpleNamespace(kind=SimpleNamespace(name="JUMP"))
    with pytest.raises(InvalidSchedule, match="no known kind"):
        simulate([strange], n=1, snapshots=1)
    strange = SimpleNamespace(kind=Kind.SAVE, t=0, tier=0, slot=0, content=SimpleNamespace(name="GRADIENT"))
    with pytest.raises(InvalidSchedule, match="no known content"):
        simulate([strange], n=1, snapshots=1)


def test_instructions_without_content_are_about_states():
    text = "S0@0 F0-2 T R1-2 L0@0! F0-1 R0-1 E"
    assert simulate(map(without_content, program(text)), n=2, snapshots=1) == simulate(
        program(text), n=2, snapshots=1
    )


def test_each_tier_is_counted():
    text = (
        "S1.0@0 F0-1 S0.0@1 F1-2 S0.1@2 X0.0@1 F2-3 T R2-3 L0.1@2! L1.0@0 F0-2 R1-2 L-1@0 F0-1 R0-1 X1.0@0 E"
    )
    report = simulate(program(text), n=3, snapshots=(2, None, 1), free_initial=True)
    assert report.tiers == (TierReport(2, 1, 2), TierReport(1, 1, 1), TierReport(0, 0, 0))
    assert (report.peak_snapshots, report.resets, report.forward_calls, report.forward_steps) == (3, 1, 5, 6)
    assert report.cost(write=(1, 10, 0), read=(100, 1000, 0), forward_call=10**4, reset=10**5) == 151118


def test_a_peak_counts_units():
    text = "F0-1 s0@0 F1-2 T R1-2 l0@0! R0-1 E"
    assert simulate(program(text), n=2, snapshots=4, step_data_units=3).tiers[0].peak == 3


def test_a_forward_run_alone():
    report = simulate(program("F0-2 S0@2 F2-3 T E"), n=3, snapshots=1, forward_only=True)
    assert (report.forward_steps, report.left_stored, report.reverse_calls) == (3, 1, 0)


FROM_LAYOUT = Layout(stored=(Stored(0, 0, 0), Stored(1, 3, 2)), position=3, base=2)


@pytest.mark.parametrize(
    ("text", "layout", "parameters"),
    [
        ("F3-4 T R3-4 L1.3@2 F2-3 R2-3 X1.3@2 L0@0 F0-2 R1-2 L0@0 F0-1 R0-1 E", FROM_LAYOUT, {}),
        ("F3-4 T R2-4 L0@0 F0-2 R0-2 E", FROM_LAYOUT, {"window": 2}),
        ("F0-2 R1-2 L0@0 F0-1 R0-1 E", Layout((Stored(0, 0, 0),), 0, remaining=2, turned=True), {}),
        ("l0@0 R0-1 E", Layout((Stored(0, 0, 0, STEP_DATA),), None, remaining=1, turned=True), {}),
        ("E", Layout(position=None, remaining=0, turned=True), {}),
    ],
)
def test_a_schedule_from_a_layout(text, layout, parameters):
    report = simulate(program(text), **({"n": 4, "snapshots": (1, None), "layout": layout} | parameters))
    assert report.instructions == len(text.split())
    assert report.saves == 0


@pytest.mark.parametrize(
    ("text", "layout", "why"),
    [
        ("F3-4 T R2-4", FROM_LAYOUT, "more than a window|gone"),
        ("T", FROM_LAYOUT, "before the end"),
        ("F3-4 T R2-3", FROM_LAYOUT, "next timestep"),
        ("L0@2", FROM_LAYOUT, "another state"),
        ("S1.3@3", FROM_LAYOUT, "full"),
        ("T", Layout((), 4, turned=True), "twice"),
        ("R3-4", Layout((), 4), "before the turn"),
        ("R3-4", Layout((), 4, base=4, turned=True), "gone"),
        ("R3-4", Layout((), 4, base=3, remaining=3, turned=True), "next timestep"),
        ("F0-1", Layout((), None), "not at hand"),
        ("E", Layout((Stored(0, 0, 0), Stored(0, 0, 1))), "full"),
        ("E", Layout((Stored(0, 1, 0),)), "does not exist"),
        ("E", Layout((), 5), "no run can be"),
        ("E", Layout((), 1, base=2), "no run can be"),
    ],
)
def test_a_broken_schedule_from_a_layout(text, layout, why):
    with pytest.raises(InvalidSchedule, match=why):
        simulate(program(text), n=4, snapshots=(1, None), layout=layout)


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
