"""Every schedule is accepted by the simulator, announces what it does, and meets the optimum."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import random
import threading
from itertools import islice, zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import closed_form, dynamic
from oracles.exhaustive import search
from simulator import Machine, simulate

from pyrevolve import Costs, Instruction, Kind, Revolve, StoreAll

COUNTS = ("forward_steps", "saves", "loads", "forward_calls", "reverse_calls", "peak_snapshots")
FIELDS = ("kind", "start", "stop", "t", "tier", "slot", "keep")


def make(n, snapshots, window=1, lookback=0, lag=None, free=False):
    return Revolve(
        n, snapshots, window=window, lookback=lookback, lag=lag, initial_state="free" if free else "stored"
    )


def run(n, snapshots, window=1, lookback=0, lag=None, free=False):
    """Simulate a schedule and compare what it did with what it announces."""
    schedule = make(n, snapshots, window, lookback, lag, free)
    report = simulate(
        schedule,
        n=n,
        snapshots=snapshots,
        window=window,
        lookback=lookback,
        lag=closed_form.default_lag(lookback) if lag is None else lag,
        free_initial=free,
    )
    done = {name: getattr(report, name) for name in COUNTS}
    done["loads"] += report.resets  # re-creating a free x_0 is announced as a load
    assert {name: getattr(schedule, name) for name in COUNTS} == done
    assert schedule.calls == report.forward_calls + report.reverse_calls
    assert report.left_stored == 0
    return report


def costs_of(report):
    copies = report.saves + report.loads + report.resets
    return report.forward_steps, copies, report.forward_calls + report.reverse_calls


def windows(window_max, lookback_max):
    for window in range(1, window_max + 1):
        for lag in (0, 1):
            for lookback in range(1 - lag, min(lookback_max, window) + 1):
                yield window, lookback, lag


@st.composite
def problems(draw, n_max=10_000):
    n = draw(st.integers(0, n_max))
    window = draw(st.one_of(st.integers(1, 12), st.integers(1, max(1, n + 2))))
    lookback = draw(st.one_of(st.integers(0, min(4, window)), st.integers(0, window)))
    lag = draw(st.sampled_from([1] if lookback == 0 else [0, 1]))
    free = draw(st.booleans())
    snapshots = draw(st.one_of(st.integers(0 if free else 1, 12), st.integers(1, 300)))
    return n, snapshots, window, lookback, lag, free


# --- valid, as announced, optimal --------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "lookback", "lag"), [*windows(4, 3)])
def test_schedules_reach_the_optimum_over_all_schedules(window, lookback, lag):
    for free in (False, True):
        for snapshots in range(0 if free else 1, 3):
            for n in range(1, 9):
                report = run(n, snapshots, window, lookback, lag, free)
                best = search(n, snapshots, window, lookback, lag, free, reset_is_copy=True)
                assert costs_of(report) == best, (n, snapshots, free)


@pytest.mark.parametrize(("window", "lookback", "lag"), [*windows(6, 3)])
def test_small_schedules_are_valid_and_reach_the_lexicographic_optimum(window, lookback, lag):
    program = dynamic.Lexicographic(40, 4, window, lookback, lag, reset_is_copy=True)
    for free in (False, True):
        for snapshots in range(0 if free else 1, 5):
            for n in range(41):
                report = run(n, snapshots, window, lookback, lag, free)
                assert costs_of(report) == program.best(n, snapshots, free), (n, snapshots, free)


@given(problem=problems())
def test_every_schedule_is_valid_and_does_what_it_announces(problem):
    assert run(*problem).forward_steps == closed_form.forward_steps(*problem)


def test_schedules_of_thousands_of_timesteps_are_valid_and_optimal():
    """Small windows and few snapshots, which the random problems above seldom combine with many timesteps."""
    rng = random.Random(6)
    for _ in range(120):
        n, window = rng.randint(2000, 10_000), rng.choice([1, 2, 3, 5, 8, 13, 40])
        lookback = rng.randint(0, min(4, window))
        lag = rng.randint(0, 1) if lookback else 1
        problem = n, rng.choice([1, 2, 3, 5, 10, 30, 100]), window, lookback, lag, rng.random() < 0.5
        assert run(*problem).forward_steps == closed_form.forward_steps(*problem)


@pytest.mark.slow
@settings(max_examples=1500)
@given(problem=problems())
def test_every_schedule_is_valid_and_does_what_it_announces_thoroughly(problem):
    report = run(*problem)
    assert report.forward_steps == closed_form.forward_steps(*problem)


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("window", "lookback", "lag"), [*windows(3, 2)])
def test_no_timesteps_and_one_timestep(n, free, window, lookback, lag):
    report = run(n, 1, window, lookback, lag, free)
    assert report.forward_steps == n
    kinds = [instruction.kind for instruction in make(n, 1, window, lookback, lag, free)]
    assert kinds.count(Kind.REVERSE) == n
    assert kinds[-1] == Kind.END
    if n == 0:
        assert kinds == [Kind.TURN, Kind.END]


def test_a_free_initial_state_needs_no_snapshots():
    for n in range(1, 40):
        for window, lookback, lag in windows(4, 2):
            assert run(n, 0, window, lookback, lag, free=True).peak_snapshots == 0


def test_classic_revolve_takes_the_published_number_of_steps():
    for n, snapshots, advances in [(10, 3, 15), (100, 5, 316), (1000, 10, 3636), (3000, 20, 9976)]:
        assert Revolve(n, snapshots).forward_steps == advances + n
        assert Revolve(n, snapshots).recompute_factor == (advances + n) / n


def test_what_fits_into_the_window_is_run_once_and_reversed_at_once():
    schedule = Revolve(50, 3, window=50)
    assert [(i.kind.name, i.start, i.stop) for i in schedule if i.kind in (Kind.FORWARD, Kind.REVERSE)] == [
        ("FORWARD", 0, 50),
        ("REVERSE", 0, 50),
    ]
    assert schedule.forward_steps == 50
    assert schedule.saves == schedule.loads == 0


@pytest.mark.parametrize("n", [0, 1, 2, 100, 10**12])
def test_store_all_runs_every_timestep_once(n):
    schedule = StoreAll(n)
    report = simulate(schedule, n=n, snapshots=0, window=max(n, 1))
    assert report.forward_steps == schedule.forward_steps == n
    assert report.saves == schedule.saves == report.loads == schedule.loads == 0
    assert schedule.peak_snapshots == 0
    assert report.forward_calls + report.reverse_calls == schedule.calls


# --- as Python objects -------------------------------------------------------------------------------------


def as_row(instruction):
    """Read an instruction as the row of `to_numpy`: what does not apply is -1, `keep` False."""
    values = [getattr(instruction, name) for name in FIELDS]
    return (*(-1 if value is None else int(value) for value in values[:-1]), int(bool(values[-1])))


@settings(max_examples=40)
@given(problem=problems(n_max=2000))
def test_numpy_array_equals_iteration(problem):
    schedule = make(*problem)
    table = schedule.to_numpy()
    assert table.dtype.names is not None
    assert set(FIELDS) <= set(table.dtype.names)
    rows = list(zip(*(table[name].astype(int).tolist() for name in FIELDS), strict=True))
    assert rows == [as_row(instruction) for instruction in schedule]


def test_numpy_array_of_store_all_equals_iteration():
    table = StoreAll(7).to_numpy()
    assert [tuple(int(row[name]) for name in FIELDS) for row in table] == [as_row(i) for i in StoreAll(7)]


def test_iterating_again_gives_the_same_instructions():
    schedule = Revolve(200, 4, window=3, lookback=2)
    assert [as_row(i) for i in schedule] == [as_row(i) for i in schedule]


def test_iterators_of_one_schedule_are_independent():
    schedule = Revolve(300, 5, window=4, lookback=1)
    expected = [as_row(i) for i in schedule]
    late, early = iter(schedule), iter(schedule)
    head = [as_row(i) for i in islice(early, 100)]
    pairs = list(zip_longest(early, late))
    assert head + [as_row(a) for a, _ in pairs if a is not None] == expected
    assert [as_row(b) for _, b in pairs if b is not None] == expected


def test_one_schedule_iterated_in_several_threads():
    schedule = Revolve(2000, 9, window=3, lookback=2)
    expected = [as_row(i) for i in schedule]
    got: dict[int, list[tuple[int, ...]]] = {}

    def work(index):
        got[index] = [as_row(i) for i in schedule]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(got[index] == expected for index in range(6))


@pytest.mark.parametrize("schedule", [Revolve(10, 3, window=2, lookback=1), StoreAll(10)])
def test_schedules_are_immutable_values(schedule):
    assert dataclasses.is_dataclass(schedule)
    for field in dataclasses.fields(schedule):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(schedule, field.name, 1)
    with pytest.raises(AttributeError):
        schedule.forward_steps = 1
    same = copy.deepcopy(schedule)
    assert same == schedule
    assert hash(same) == hash(schedule)
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert [as_row(i) for i in again] == [as_row(i) for i in schedule]


def test_instructions_are_immutable():
    for instruction in Revolve(5, 2):
        assert isinstance(instruction, Instruction)
        for name in FIELDS:
            with pytest.raises(AttributeError):
                setattr(instruction, name, 0)


def test_instruction_kinds_are_numbered_as_documented():
    names = ["FORWARD", "SAVE", "LOAD", "REVERSE", "FREE", "TURN", "END"]
    assert [kind.name for kind in sorted(Kind)] == names
    assert [int(kind) for kind in sorted(Kind)] == list(range(7))


def test_lag_defaults_to_one_without_and_to_zero_with_lookback():
    assert Revolve(40, 3, window=3).lag in (None, 1)
    for lookback in range(4):
        default = Revolve(40, 3, window=4, lookback=lookback)
        explicit = Revolve(40, 3, window=4, lookback=lookback, lag=closed_form.default_lag(lookback))
        assert [as_row(i) for i in default] == [as_row(i) for i in explicit]


def test_makespan_is_the_sum_of_what_everything_costs():
    costs = Costs(
        forward_step=1.5, reverse_step=2.25, forward_call=0.5, reverse_call=0.125, save=8.0, load=4.0
    )
    for schedule in (Revolve(200, 4, window=5, lookback=2), Revolve(50, 2), StoreAll(30), Revolve(0, 1)):
        expected = (
            1.5 * schedule.forward_steps
            + 2.25 * schedule.n_timesteps
            + 0.5 * schedule.forward_calls
            + 0.125 * schedule.reverse_calls
            + 8.0 * schedule.saves
            + 4.0 * schedule.loads
        )
        assert schedule.makespan(costs) == pytest.approx(expected, rel=1e-14)


# --- sizes -------------------------------------------------------------------------------------------------


def test_a_trillion_timesteps_start_at_once_and_are_counted_exactly():
    n, snapshots = 10**12, 50
    schedule = Revolve(n, snapshots)
    assert schedule.forward_steps == closed_form.binomial_advances(n, snapshots) + n
    machine = Machine(n, snapshots, 1, 0, 1, False, 0)
    for instruction in islice(schedule, 5000):
        machine.execute(instruction)
    assert machine.instructions == 5000
    assert machine.turned


@pytest.mark.parametrize(("window", "lookback"), [(1, 0), (7, 2), (10**6, 3), (10**6, 1000)])
def test_a_trillion_timesteps_with_windows(window, lookback):
    n, snapshots = 10**12, 50
    lag = closed_form.default_lag(lookback)
    schedule = Revolve(n, snapshots, window=window, lookback=lookback)
    expected = closed_form.forward_steps(n, snapshots, window, lookback, lag, False)
    assert schedule.forward_steps == expected
    machine = Machine(n, snapshots, window, lookback, lag, False, 0)
    for instruction in islice(schedule, 5000):
        machine.execute(instruction)
    assert machine.reversed_down_to < n


def test_sizes_beyond_64_bits_are_overflow_errors():
    for arguments in ((2**63, 3), (3, 2**63), (10**30, 3)):
        with pytest.raises(OverflowError):
            Revolve(*arguments)
    with pytest.raises(OverflowError):
        Revolve(10, 3, window=2**63)
    with pytest.raises(OverflowError):
        StoreAll(2**63)
    # One snapshot: n (n + 1) / 2 forward steps, which n = 10**10 takes beyond 2**63.
    with pytest.raises(OverflowError):
        _ = Revolve(10**10, 1).forward_steps


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [2.0, 2.5, "2", [2], np.float64(2)])
@pytest.mark.parametrize("name", ["n_timesteps", "n_snapshots", "window", "lookback", "lag"])
def test_what_is_no_integer_is_a_type_error(name, bad):
    arguments = {"n_timesteps": 10, "n_snapshots": 2, "window": 4, "lookback": 1, "lag": 1} | {name: bad}
    with pytest.raises(TypeError, match=name):
        Revolve(**arguments)


def test_store_all_of_what_is_no_integer_is_a_type_error():
    with pytest.raises(TypeError):
        StoreAll(10.0)


def test_integers_of_numpy_are_integers():
    schedule = Revolve(np.int64(40), np.int8(3), window=np.uint16(4), lookback=np.int32(1))
    assert [as_row(i) for i in schedule] == [as_row(i) for i in Revolve(40, 3, window=4, lookback=1)]
    assert schedule == Revolve(40, 3, window=4, lookback=1)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"n_timesteps": -1}, "n_timesteps"),
        ({"n_snapshots": 0}, "n_snapshots"),
        ({"n_snapshots": -1}, "n_snapshots"),
        ({"n_snapshots": -1, "initial_state": "free"}, "n_snapshots"),
        ({"window": 0}, "window"),
        ({"window": -3}, "window"),
        ({"lookback": -1}, "lookback"),
        ({"lookback": 5, "window": 4}, "lookback"),
        ({"lag": 2}, "lag"),
        ({"lag": -1}, "lag"),
        ({"lag": 0, "lookback": 0}, "lag"),
        ({"initial_state": "zero"}, "initial_state"),
    ],
)
def test_what_is_out_of_range_is_a_value_error_that_names_it(arguments, name):
    with pytest.raises(ValueError, match=name):
        Revolve(**({"n_timesteps": 10, "n_snapshots": 3, "window": 4} | arguments))


def test_store_all_of_negative_timesteps_is_a_value_error():
    with pytest.raises(ValueError):
        StoreAll(-1)
