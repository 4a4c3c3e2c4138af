"""Plans: the best window and number of snapshots that a budget holds, found by trying them all."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrevolve import BudgetError, Costs, Plan, Revolve, plan
from pyrevolve.costs import RELATIVE_COSTS

MEASURED = Costs(
    forward_step=0.8e-3,
    reverse_step=1.2e-3,
    forward_call=20e-6,
    reverse_call=30e-6,
    save=0.5e-3,
    load=0.6e-3,
    recording=0.2e-3,
)


def makespan(schedule, costs):
    """Return the time of a schedule from its counts, independently of the library."""
    return (
        schedule.forward_steps * costs.forward_step
        + schedule.n_timesteps * (costs.reverse_step + costs.recording)
        + schedule.forward_calls * costs.forward_call
        + schedule.reverse_calls * costs.reverse_call
        + schedule.saves * costs.save
        + schedule.loads * costs.load
    )


def all_plans(n, budget, state, piece, fixed, lookback, lag, initial_state, windows, costs, *, fewer):
    """Yield the time of every window with as many snapshots as the budget holds, or also with fewer."""
    for window in windows:
        left = budget - fixed - window * piece
        if left < 0:
            continue
        least = int(initial_state == "stored")
        most = min(left // state, n + 1)
        if window + lag > n:
            most = max(most, least)  # a workspace that retains everything needs no snapshot
        for snapshots in range(least if fewer else max(least, most), most + 1):
            schedule = Revolve(
                n, snapshots, window=window, lookback=lookback, lag=lag, initial_state=initial_state
            )
            yield makespan(schedule, costs), window


CASES = [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]


@pytest.mark.parametrize(("lookback", "lag"), CASES)
@pytest.mark.parametrize("initial_state", ["stored", "free"])
@pytest.mark.parametrize(
    "costs", [RELATIVE_COSTS, MEASURED, Costs(forward_step=1, reverse_step=0)], ids="RM1"
)
def test_plan_is_the_best_of_all_windows(lookback, lag, initial_state, costs):
    for n, budget, fixed in itertools.product((0, 1, 2, 3, 7, 12, 30), (3, 6, 7, 11, 20, 45, 100), (0, 2)):
        windows = range(max(1, lookback), max(n + 2, lookback) + 1)
        arguments = n, budget, 2, 1, fixed, lookback, lag, initial_state
        best = min(all_plans(*arguments, windows, costs, fewer=True), default=None)

        def make(n=n, budget=budget, fixed=fixed):
            return plan(
                n,
                state_bytes=2,
                window_slice_bytes=1,
                memory=budget,
                fixed_bytes=fixed,
                lookback=lookback,
                lag=lag,
                initial_state=initial_state,
                costs=costs,
            )

        if best is None:
            with pytest.raises(BudgetError):
                make()
            continue
        chosen = make()
        assert chosen.predicted_seconds == pytest.approx(best[0], rel=1e-12)
        assert_consistent(chosen)


def assert_consistent(chosen):
    """Assert that a plan fits its budget and announces what its schedule does."""
    schedule = chosen.schedule
    assert chosen.planned_bytes <= chosen.memory
    assert schedule.peak_snapshots <= chosen.n_snapshots
    assert schedule.window == chosen.window >= 1
    for name in ("n_timesteps", "forward_steps", "saves", "loads", "forward_calls", "reverse_calls", "calls"):
        assert getattr(chosen, name) == getattr(schedule, name), name
    assert chosen.recompute_factor == schedule.recompute_factor
    assert chosen.predicted_seconds == pytest.approx(makespan(schedule, chosen.costs), rel=1e-12)
    assert chosen.predicted_seconds == pytest.approx(schedule.makespan(chosen.costs), rel=1e-12)


@given(
    n=st.integers(0, 80),
    budget=st.integers(0, 200),
    state=st.integers(1, 9),
    piece=st.integers(1, 5),
    case=st.sampled_from(CASES),
    limits=st.tuples(st.integers(1, 20), st.integers(0, 100)),
    # Libraries built with fast math, as Devito's are, make the processor flush subnormal numbers to zero.
    save=st.floats(0, 3, allow_subnormal=False),
    call=st.floats(0, 3, allow_subnormal=False),
    initial_state=st.sampled_from(["stored", "free"]),
)
def test_plan_within_limits_on_the_window(n, budget, state, piece, case, limits, save, call, initial_state):
    lookback, lag = case
    smallest, largest = limits[0], max(limits[0], lookback) + limits[1]
    costs = Costs(
        forward_step=1, reverse_step=1.5, forward_call=call, reverse_call=call, save=save, load=save
    )
    least = max(smallest, lookback)
    windows = range(least, max(least, min(largest, n + 2)) + 1)
    arguments = n, budget, state, piece, 0, lookback, lag, initial_state
    best = min(all_plans(*arguments, windows, costs, fewer=False), default=None)
    keywords = {
        "state_bytes": state,
        "window_slice_bytes": piece,
        "lookback": lookback,
        "lag": lag,
        "initial_state": initial_state,
        "min_window": smallest,
        "max_window": largest,
        "costs": costs,
    }
    if best is None:
        with pytest.raises(BudgetError) as caught:
            plan(n, memory=budget, **keywords)
        required = caught.value.required
        assert caught.value.given == budget < required
        assert f"{required} bytes" in str(caught.value)
        assert_consistent(plan(n, memory=required, **keywords))
        with pytest.raises(BudgetError):
            plan(n, memory=required - 1, **keywords)
        return
    chosen = plan(n, memory=budget, **keywords)
    assert chosen.predicted_seconds == pytest.approx(best[0], rel=1e-12)
    assert chosen.window >= max(smallest, lookback)
    assert chosen.window <= largest
    assert_consistent(chosen)


def test_everything_fits():
    chosen = plan(100, state_bytes=2, window_slice_bytes=1, memory=1000)
    assert (chosen.window, chosen.n_snapshots, chosen.forward_steps) == (100, 0, 100)
    assert chosen.recompute_factor == 1.0
    # With lag 0 the workspace at x_n holds a slice that no timestep of the run needs.
    chosen = plan(100, state_bytes=2, window_slice_bytes=1, memory=1000, lookback=2)
    assert (chosen.window, chosen.n_snapshots, chosen.forward_steps) == (101, 0, 100)
    assert [instruction.kind.name for instruction in chosen.schedule] == ["FORWARD", "TURN", "REVERSE", "END"]


def test_smallest_budget_is_named_and_works():
    arguments = {"state_bytes": 10, "window_slice_bytes": 4, "fixed_bytes": 7, "lookback": 2}
    with pytest.raises(BudgetError, match=r"25 bytes .* window 2 and one snapshot") as caught:
        plan(1000, memory=24, **arguments)
    assert (caught.value.required, caught.value.given) == (25, 24)
    assert isinstance(caught.value, ValueError)
    assert pickle.loads(pickle.dumps(caught.value)).required == 25
    assert plan(1000, memory=25, **arguments).window == 2
    with pytest.raises(BudgetError, match=r"15 bytes .* window 2,"):
        plan(1000, memory=14, initial_state="free", **arguments)
    assert plan(1000, memory=15, initial_state="free", **arguments).n_snapshots == 0
    # Slices so small that no snapshot is the least of all.
    with pytest.raises(BudgetError) as caught:
        plan(5, state_bytes=1000, window_slice_bytes=1, memory=1)
    assert caught.value.required == 5
    assert plan(5, state_bytes=1000, window_slice_bytes=1, memory=5).window == 5


@pytest.mark.parametrize("n", [0, 1])
def test_zero_and_one_timestep(n):
    for initial_state in ("stored", "free"):
        chosen = plan(n, state_bytes=2, window_slice_bytes=1, memory=1, initial_state=initial_state)
        assert chosen.forward_steps == n
        assert_consistent(chosen)


def test_more_memory_never_takes_longer():
    times = [
        plan(
            500, state_bytes=2, window_slice_bytes=1, memory=memory, lookback=2, costs=MEASURED
        ).predicted_seconds
        for memory in range(4, 600)
    ]
    assert times == sorted(times, reverse=True)


def test_large_problems():
    for n in (10**6, 10**9):
        chosen = plan(
            n, state_bytes=2 << 30, window_slice_bytes=1 << 30, memory="1 TiB", lookback=2, costs=MEASURED
        )
        assert_consistent(chosen)
        assert chosen.forward_steps < 3 * n if n == 10**6 else chosen.forward_steps < 5 * n
    chosen = plan(10**6, state_bytes=0, window_slice_bytes=0, memory=0)
    assert chosen.forward_steps == 10**6


def test_counts_that_do_not_fit():
    with pytest.raises(OverflowError):
        plan(1 << 62, state_bytes=1, window_slice_bytes=1, memory=2, max_window=1)
    with pytest.raises(OverflowError):
        plan(10, state_bytes=1 << 64, window_slice_bytes=1, memory="1 GiB")


def test_budget_beyond_64_bits():
    assert plan(10, state_bytes=1, window_slice_bytes=1, memory=1 << 80).memory == 1 << 80


def test_plan_is_readable_frozen_and_comparable():
    def make():
        return plan(
            3000,
            state_bytes=7 << 20,
            window_slice_bytes=7 << 19,
            memory="350 MiB",
            lookback=2,
            costs=MEASURED,
        )

    chosen = make()
    text = str(chosen)
    for part in ("3000 timesteps", "350 MiB", f"{chosen.window} timesteps", str(chosen.n_snapshots)):
        assert part in text
    assert f"{chosen.predicted_seconds:.4g} s" in text
    assert chosen == make()
    assert pickle.loads(pickle.dumps(chosen)) == chosen
    with pytest.raises(dataclasses.FrozenInstanceError):
        chosen.window = 3
    assert "nothing was measured" in str(plan(30, state_bytes=2, window_slice_bytes=1, memory=9))
    assert isinstance(chosen, Plan)


GOOD = {"n_timesteps": 100, "state_bytes": 2, "window_slice_bytes": 1, "memory": 50}


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"n_timesteps": -1}, ValueError),
        ({"n_timesteps": 100.0}, TypeError),
        ({"n_timesteps": True}, TypeError),
        ({"n_timesteps": "100"}, TypeError),
        ({"state_bytes": -1}, ValueError),
        ({"state_bytes": 2.0}, TypeError),
        ({"window_slice_bytes": -1}, ValueError),
        ({"window_slice_bytes": 1.0}, TypeError),
        ({"fixed_bytes": -1}, ValueError),
        ({"fixed_bytes": 0.0}, TypeError),
        ({"memory": -1}, ValueError),
        ({"memory": "much"}, ValueError),
        ({"memory": None}, TypeError),
        ({"lookback": -1}, ValueError),
        ({"lookback": 1.0}, TypeError),
        ({"lag": 2}, ValueError),
        ({"lag": -1}, ValueError),
        ({"lag": 1.0}, TypeError),
        ({"lag": 0}, ValueError),
        ({"initial_state": "zero"}, ValueError),
        ({"min_window": 0}, ValueError),
        ({"min_window": 1.0}, TypeError),
        ({"max_window": 0}, ValueError),
        ({"max_window": 5.0}, TypeError),
        ({"min_window": 5, "max_window": 4}, ValueError),
        ({"lookback": 3, "max_window": 2}, ValueError),
        ({"costs": "fast"}, TypeError),
        ({"disk": -1}, ValueError),
        ({"disk": "much"}, ValueError),
        ({"disk": 10, "costs": MEASURED}, ValueError),
        ({"buffers": 0}, ValueError),
        ({"costs": 1.0}, TypeError),
    ],
    ids=str,
)
def test_bad_arguments(changed, error):
    name = "costs" if "costs" in changed else [*changed][-1]
    with pytest.raises(error, match=name):
        plan(**GOOD | changed)


def test_integers_of_numpy():
    chosen = plan(np.int64(100), state_bytes=np.int32(2), window_slice_bytes=np.uint8(1), memory=np.int64(50))
    assert chosen == plan(**GOOD)
    assert type(chosen.n_timesteps) is int


# --- costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Costs)])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1e-9, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        ("1", TypeError),
        (True, TypeError),
        (None, TypeError),
        (1j, TypeError),
    ],
)
def test_costs_that_are_none(name, value, error):
    with pytest.raises(error, match=name):
        Costs(**{"forward_step": 1.0, "reverse_step": 1.0, name: value})


def test_costs_are_floats():
    costs = Costs(forward_step=1, reverse_step=np.float32(2))
    assert all(type(getattr(costs, field.name)) is float for field in dataclasses.fields(costs))
    assert (costs.forward_call, costs.reverse_call, costs.save, costs.load) == (0.0, 0.0, 0.0, 0.0)
    assert costs == Costs(forward_step=1.0, reverse_step=2.0)
    with pytest.raises(TypeError):
        Costs(1.0, 2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        costs.save = 1.0
