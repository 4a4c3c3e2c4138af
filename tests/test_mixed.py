"""Schedules that store step data: valid, announced exactly, and with the fewest forward steps."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import signal
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import step_data
from simulator import simulate

from pyrevolve import CAMS, Costs, Kind, Mixed, Revolve
from pyrevolve.crevolve import Content

COUNTS = ("forward_steps", "saves", "loads", "forward_calls", "reverse_calls")


def cams(n, units, stages, stiffly_accurate):
    return CAMS(n, units, stages, stiffly_accurate=stiffly_accurate)


def run(schedule):
    """Simulate a schedule and compare what it did with what it announces."""
    mixed = isinstance(schedule, Mixed)
    capacity = schedule.n_snapshots if mixed else schedule.n_units
    stages = 1 if mixed else schedule.stages
    report = simulate(
        schedule,
        n=schedule.n_timesteps,
        snapshots=capacity,
        step_data_units=stages,
        step_data_carries_next_state=not mixed and schedule.stiffly_accurate,
    )
    assert {name: getattr(schedule, name) for name in COUNTS} == {
        name: getattr(report, name) for name in COUNTS
    }
    assert report.forward_steps == schedule.optimal_forward_steps
    assert report.peak_snapshots == schedule.peak_units <= capacity  # the simulator counts units
    assert report.left_stored == report.frees == schedule.counts.frees == 0
    assert report.reverse_calls == schedule.reverse_steps == schedule.n_timesteps
    slots = [instruction.slot for instruction in schedule if instruction.kind is Kind.SAVE]
    assert max(slots, default=-1) == schedule.peak_snapshots - 1
    return report


def plain_table(n_max, capacity, stages, carries):
    """p(n, s) for every n <= n_max and s <= capacity, all candidates tried."""
    infinity = 2**60
    p, g = [], []
    for s in range(capacity + 1):
        loose = np.full(n_max + 1, infinity)
        loose[:2] = 0, 1
        held = loose.copy()
        if s >= stages:
            loose[2:] = 1 + (g if carries else p)[s - stages][1:-1]
            held[2:] = 1 + g[s - stages][1:-1]
        for row, right in ((loose, p[s - 1] if s else None), (held, loose)):
            for i in range(1, n_max if right is not None else 0):
                np.minimum(row[i + 1 :], i + row[i] + right[1 : n_max + 1 - i], out=row[i + 1 :])
        p.append(loose)
        g.append(held)
    return p


# --- optimality --------------------------------------------------------------------------------------------


def test_mixed_equals_the_published_recurrence(golden):
    for row in golden("ref_mixed.csv"):
        n, s = int(row["n"]), int(row["s"])
        assert Mixed(n, s).forward_steps == int(row["mixed_total"])
        assert Revolve(n, s).forward_steps == int(row["binomial_total"])


def test_mixed_costs_what_was_published_for_a_thousand_timesteps():
    """From Spyro's and Maddison's figures: recompute factors for s slots."""
    published = {5: 6.828, 10: 3.921, 20: 2.823, 40: 2.142, 60: 1.958, 80: 1.932}
    assert {s: round(Mixed(1000, s).recompute_factor, 3) for s in published} == published


def test_cams_equals_the_optimum_and_beats_the_published_recurrence(golden):
    """Stiffly accurate methods: fewer forward timesteps in 58 of 224 cases, by up to 5 and by 106 in all."""
    better = []
    for row in golden("ref_multistage_rk.csv"):
        n, units, stages = int(row["n"]), int(row["units"]), int(row["stages"])
        stiff, general = cams(n, units, stages, True), cams(n, units, stages, False)
        assert stiff.forward_steps - n == int(row["optimal_stiffly_accurate_extra"])
        assert general.forward_steps - n == int(row["optimal_general_extra"])
        assert Revolve(n, units).forward_steps - n == int(row["revolve_extra"])
        better.append(int(row["published_stiffly_accurate_extra"]) + n - stiff.forward_steps)
    assert (len(better), min(better), max(better)) == (224, 0, 5)
    assert (sum(saved > 0 for saved in better), sum(better)) == (58, 106)


def test_cams_of_general_schemes_beats_the_published_recurrence():
    """Fewer forward timesteps in 121 of 288 cases, by up to 11."""
    better = []
    for n in (3, 5, 10, 20, 30, 50):
        for units in range(1, 13):
            for stages in (1, 2, 3, 4):
                published = step_data.published_cams(n, units, stages, carries=False)
                better.append(published + n - cams(n, units, stages, False).forward_steps)
    assert (len(better), min(better), max(better)) == (288, 0, 11)
    assert sum(saved > 0 for saved in better) == 121


def test_cams_saves_what_the_reference_values_say():
    """(n, units, stages): extra forward timesteps, published and here."""
    for (n, units, stages), values in {
        (10, 6, 2): (6, 8, 6, 7),
        (30, 6, 2): (45, 46, 43, 45),
        (100, 10, 2): (167, 172, 163, 170),
        (100, 20, 4): (138, 138, 133, 133),
    }.items():
        published = [step_data.published_cams(n, units, stages, carries=carries) for carries in (True, False)]
        here = [cams(n, units, stages, stiff).forward_steps - n for stiff in (True, False)]
        assert (*published, *here) == values


@pytest.mark.parametrize("stiffly_accurate", [False, True])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_no_valid_schedule_is_better(stages, stiffly_accurate):
    """Exhaustive search over all valid schedules."""
    for n in range(10):
        for units in range(1, 6):
            best = step_data.search(n, units, units=stages, carries=stiffly_accurate)
            assert cams(n, units, stages, stiffly_accurate).forward_steps == best, (n, units)


@pytest.mark.slow
@pytest.mark.parametrize("stiffly_accurate", [False, True])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_no_valid_schedule_of_more_timesteps_is_better(stages, stiffly_accurate):
    for n in range(10, 12):
        for units in range(1, 6):
            best = step_data.search(n, units, units=stages, carries=stiffly_accurate)
            assert cams(n, units, stages, stiffly_accurate).forward_steps == best, (n, units)


@pytest.mark.parametrize("stiffly_accurate", [False, True])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_optimum_equals_a_plain_dynamic_program(stages, stiffly_accurate):
    n_max, capacity = 60, 9
    table = step_data.steps(n_max, capacity, units=stages, carries=stiffly_accurate)
    for units in range(1, capacity + 1):
        for n in range(n_max + 1):
            assert cams(n, units, stages, stiffly_accurate).optimal_forward_steps == table[units][n]


@pytest.mark.parametrize("stiffly_accurate", [False, True])
@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_leaving_candidates_out_loses_nothing(stages, stiffly_accurate):
    """The table skips what provably cannot be best; here every candidate is tried."""
    n_max, capacity = 400, 24
    table = plain_table(n_max, capacity, stages, stiffly_accurate)
    for units in range(1, capacity + 1):
        for n in [*range(1, n_max, 17), n_max]:
            assert cams(n, units, stages, stiffly_accurate).optimal_forward_steps == table[units][n]


@pytest.mark.slow
@pytest.mark.parametrize(("stages", "stiffly_accurate"), [(1, False), (1, True), (3, False), (4, True)])
def test_leaving_candidates_out_loses_nothing_in_long_runs(stages, stiffly_accurate):
    n_max, capacity = 3000, 60
    table = plain_table(n_max, capacity, stages, stiffly_accurate)
    for units in (1, 2, 3, 5, 8, 13, 21, 34, 60):
        for n in [*range(1, n_max, 211), n_max]:
            assert cams(n, units, stages, stiffly_accurate).optimal_forward_steps == table[units][n]


@pytest.mark.filterwarnings("ignore:Numba not available")
def test_mixed_equals_checkpoint_schedules():
    other = pytest.importorskip("checkpoint_schedules", reason="pip install checkpoint-schedules")
    for n in (1, 2, 3, 5, 8, 13, 30, 60):
        for s in (1, 2, 3, 5, 8, 13):
            forward_steps = 0
            for action in other.MixedCheckpointSchedule(n, s, storage=other.StorageType.RAM):
                if isinstance(action, other.Forward):
                    forward_steps += action.n1 - action.n0
                elif isinstance(action, other.EndReverse):
                    break
            assert Mixed(n, s).forward_steps == forward_steps, (n, s)


def test_one_stage_of_a_general_scheme_is_mixed():
    for n in (0, 1, 2, 7, 40):
        for s in (1, 2, 5, 50):
            assert cams(n, s, 1, False).to_text() == Mixed(n, s).to_text()


def test_nothing_is_run_twice_where_all_step_data_fit():
    for n in range(1, 40):
        assert Mixed(n, n - 1).forward_steps == n
        assert n < 3 or Mixed(n, n - 2).forward_steps > n
        for stages in (1, 2, 3):
            for stiffly_accurate in (False, True):
                assert cams(n, stages * (n - 1), stages, stiffly_accurate).forward_steps == n
    assert Mixed(10**6, 10**6).optimal_forward_steps == 10**6


def test_where_step_data_never_fit_the_schedule_costs_what_revolve_costs_without_a_last_rerun():
    """A start that is not pinned: every chain's last timestep runs from the start itself, as in Revolve."""
    for n in range(1, 60):
        for s in range(1, 8):
            assert cams(n, s, s + 1, False).forward_steps == Revolve(n, s).forward_steps


# --- what the instructions do ------------------------------------------------------------------------------


def test_every_mixed_schedule_is_accepted_by_the_simulator():
    for n in range(25):
        for s in range(0 if n <= 1 else 1, 12):
            run(Mixed(n, s))


@given(
    n=st.integers(0, 150),
    units=st.integers(1, 40),
    stages=st.integers(1, 7),
    stiffly_accurate=st.booleans(),
)
def test_every_cams_schedule_is_accepted_by_the_simulator(n, units, stages, stiffly_accurate):
    run(cams(n, units, stages, stiffly_accurate))


def test_long_schedules_are_accepted_by_the_simulator():
    assert run(Mixed(1000, 20)).forward_steps == 2823
    run(cams(1000, 20, 4, True))
    run(cams(1000, 20, 3, False))


def test_a_state_is_freed_by_its_last_load_and_step_data_is_loaded_once():
    for schedule in (Mixed(50, 5), cams(50, 9, 2, False)):
        assert schedule.saves == sum(i.kind is Kind.LOAD and not i.keep for i in schedule)
        data = [i for i in schedule if i.content is Content.STEP_DATA]
        assert [i.keep for i in data if i.kind is Kind.LOAD] == [False] * (len(data) // 2)


def test_no_timesteps():
    for schedule in (Mixed(0, 0), Mixed(0, 3), cams(0, 0, 2, True)):
        assert [i.kind.name for i in schedule] == ["TURN", "END"]
        assert schedule.forward_steps == schedule.peak_units == 0
        assert schedule.recompute_factor == 1.0


def test_one_timestep_needs_no_slot():
    for schedule in (Mixed(1, 0), cams(1, 0, 3, True)):
        assert [i.kind.name for i in schedule] == ["FORWARD", "TURN", "REVERSE", "END"]


def test_array_and_text_hold_what_iteration_gives():
    schedule = cams(40, 9, 2, True)
    rows = schedule.to_numpy()
    assert len(rows) == len(list(schedule)) == schedule.to_text().count("\n")
    assert [(Kind(row["kind"]), row["content"], row["t"]) for row in rows] == [
        (i.kind, i.content or 0, -1 if i.t is None else i.t) for i in schedule
    ]
    assert "save data" in schedule.to_text()


def test_what_the_schedules_ask_for():
    for schedule in (Mixed(9, 2), cams(9, 4, 2, True)):
        assert schedule.needs == (1, 0, 1)
        assert schedule.needs_step_data
        assert not schedule.free_initial_state
        assert "slots hold states or step data" in schedule.explain()
    assert "at most 4 of 4; step data take 2, a state 1" in cams(9, 4, 2, True).explain()


def test_makespan_counts_steps_calls_and_copies():
    schedule = Mixed(30, 4)
    costs = Costs(forward_step=2.0, reverse_step=3.0, forward_call=0.25, reverse_call=0.5, save=5.0, load=7.0)
    expected = 2.0 * schedule.forward_steps + 90.0 + 0.25 * schedule.forward_calls + 15.0
    assert schedule.makespan(costs) == pytest.approx(expected + 5.0 * schedule.saves + 7.0 * schedule.loads)


# --- objects -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Mixed(60, 4), CAMS(60, 9, 3, stiffly_accurate=True)])
def test_schedules_are_values(schedule):
    text = schedule.to_text()
    for twin in (
        pickle.loads(pickle.dumps(schedule)),
        copy.copy(schedule),
        copy.deepcopy(schedule),
        dataclasses.replace(schedule),
    ):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert set(vars(twin)) == {field.name for field in dataclasses.fields(schedule)}  # not the table
        assert twin.to_text() == text
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.n_timesteps = 3


def test_several_iterators_share_one_table():
    schedule = Mixed(300, 6)
    expected = list(schedule)
    first, second = iter(schedule), iter(schedule)
    assert [i for pair in zip(first, second, strict=True) for i in pair] == [
        i for i in expected for _ in "ab"
    ]
    found = []
    threads = [threading.Thread(target=lambda: found.append(list(schedule))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_an_iterator_outlives_its_schedule():
    instructions = Mixed(20, 3).instructions()
    assert list(instructions) == list(Mixed(20, 3))
    assert list(instructions) == []


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a POSIX system's timers")
def test_planning_can_be_interrupted():
    def stop(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            _ = Mixed(300_000, 100).forward_steps
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 2), "n_timesteps must be >= 0, got -1"),
        ((5, -2), "n_snapshots must be >= 0, got -2"),
        ((2, 0), "n_snapshots must be >= 1 for more than one timestep, got 0 for n_timesteps=2"),
    ],
)
def test_mixed_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixed(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-3, 2, 1), "n_timesteps must be >= 0, got -3"),
        ((5, -2, 1), "n_units must be >= 0, got -2"),
        ((5, 2, 0), "stages must be >= 1, got 0"),
        ((9, 0, 2), "n_units must be >= 1 for more than one timestep, got 0 for n_timesteps=9"),
    ],
)
def test_cams_out_of_range(arguments, message):
    for stiffly_accurate in (False, True):
        with pytest.raises(ValueError, match=message):
            cams(*arguments, stiffly_accurate)


@pytest.mark.parametrize("value", [2.0, "2", None, True, np.float64(3)])
def test_what_is_no_integer_is_refused(value):
    for name, make in (
        ("n_timesteps", lambda: Mixed(value, 2)),
        ("n_snapshots", lambda: Mixed(2, value)),
        ("n_timesteps", lambda: cams(value, 2, 1, True)),
        ("n_units", lambda: cams(2, value, 1, True)),
        ("stages", lambda: cams(2, 2, value, True)),
    ):
        with pytest.raises(TypeError, match=f"{name} must be an integer"):
            make()


@pytest.mark.parametrize("value", [1, "no", None])
def test_stiffly_accurate_is_true_or_false(value):
    with pytest.raises(TypeError, match="stiffly_accurate must be True or False"):
        cams(5, 2, 1, value)
    with pytest.raises(TypeError):
        CAMS(5, 2, 1)


def test_numpy_integers_are_integers():
    assert Mixed(np.int32(10), np.uint8(2)) == Mixed(10, 2)
    assert type(Mixed(np.int32(10), 2).n_timesteps) is int


def test_sizes_beyond_the_range_are_overflow_errors():
    with pytest.raises(OverflowError, match="n_timesteps must be <= 3037000498"):
        Mixed(3037000499, 3)
    with pytest.raises(OverflowError, match="n_snapshots"):
        Mixed(3, 2**63)
    with pytest.raises(OverflowError, match="stages"):
        cams(3, 2, 2**63, True)
    assert cams(50, 2, 2**63 - 1, True).forward_steps == Revolve(50, 2).forward_steps
    assert Mixed(50, 2**63 - 1).forward_steps == 50
