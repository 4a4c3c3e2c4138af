"""A snapshot every so many timesteps, on disk or in RAM; and schedules without any."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import closed_form
from simulator import simulate

from pyrevolve import AsyncTwoTier, Costs, ForwardOnly, Kind, Periodic, Revolve, StoreAll, TwoLevel, crevolve

INT64_MAX = 2**63 - 1


def run(schedule):
    """Simulate a schedule and compare what it did with what it announces, tier by tier."""
    window, lookback, lag = schedule.needs
    capacities = [None] if isinstance(schedule, Periodic) else [min(schedule.n_snapshots, 10**9), None]
    report = simulate(
        schedule,
        n=schedule.n_timesteps,
        snapshots=capacities,
        window=window,
        lookback=lookback,
        lag=lag,
        free_initial=schedule.free_initial_state,
    )
    assert schedule.forward_steps == report.forward_steps
    assert (schedule.forward_calls, schedule.reverse_calls) == (report.forward_calls, report.reverse_calls)
    assert (schedule.saves, schedule.loads) == (report.saves, report.loads + report.resets)
    announced = [*schedule.counts.tiers, (0, 0, 0)][: len(capacities)]
    for tier, (mine, theirs) in enumerate(zip(announced, report.tiers, strict=True)):
        assert tuple(mine) == (theirs.saves, theirs.loads + (report.resets if tier == 0 else 0), theirs.peak)
    assert schedule.counts.frees == report.frees
    assert report.left_stored == 0
    assert len(schedule.to_numpy()) == report.instructions
    return report


def most_runs(schedule):
    """How often the timestep that is run most often is run."""
    runs = Counter()
    for i in schedule:
        if i.kind is Kind.FORWARD:
            runs.update(range(i.start, i.stop))
    return max(runs.values(), default=0)


@st.composite
def problems(draw, n_max=3000, slots=True):
    window = draw(st.one_of(st.integers(1, 6), st.integers(1, 60)))
    lookback = draw(st.integers(0, min(4, window)))
    positional = [
        draw(st.integers(0, n_max)),
        draw(st.integers(max(1, lookback), draw(st.sampled_from([5, 80, 400])) + lookback)),
    ]
    if slots:
        positional.append(draw(st.integers(0, 6)))
    return positional, {
        "window": window,
        "lookback": lookback,
        "lag": draw(st.integers(0, 1)) if lookback else 1,
        "initial_state": draw(st.sampled_from(["stored", "stored", "free"])),
    }


# --- two levels ---------------------------------------------------------------------------------------------


def advances(length, slots):
    return closed_form.binomial_advances(length, slots)


def two_level_steps(n, period, slots):
    """Window 1, no lookback; the last segment, run once in the sweep, may take in the one before it."""
    full, last = (n - 1) // period, (n - 1) % period + 1

    def steps(full, last):
        return n + full * (advances(period, slots + 1) + period) + advances(last, slots + 1)

    return min(steps(full, last), steps(full - 1, last + period)) if full else steps(full, last)


PUBLISHED = [  # n, period, slots in RAM: forward steps, saves and loads on disk, of Pringle et al.
    (100, 10, 2, 350, 10, 30),
    (100, 25, 3, 416, 4, 16),
    (103, 20, 2, 433, 6, 22),
    (1000, 50, 4, 4440, 20, 80),
]


@pytest.mark.parametrize(("n", "period", "slots", "steps", "saves", "loads"), PUBLISHED)
def test_two_levels_take_the_published_steps_less_the_last_segment_s_second_run(
    n, period, slots, steps, saves, loads
):
    schedule = TwoLevel(n, period, slots)
    disk = schedule.counts.tiers[1]
    last = (n - 1) % period + 1
    published = n + sum(
        advances(length, slots + 1) + length for length in [period] * ((n - 1) // period) + [last]
    )
    assert published == steps
    # What is saved: the last segment, or more where that is so short that it is left to the one before.
    saved = {(103, 20, 2): 13}.get((n, period, slots), last)
    assert schedule.forward_steps == steps - saved == two_level_steps(n, period, slots)
    assert disk.saves == saves - (saved > last)
    assert disk.loads < loads
    run(schedule)


def test_two_levels_take_as_many_steps_as_their_segments():
    for n in range(1, 90):
        for period in (1, 2, 3, 5, 8, 13, 30, 100):
            for slots in range(5):
                assert TwoLevel(n, period, slots).forward_steps == two_level_steps(n, period, slots)


@pytest.mark.filterwarnings("ignore:Numba not available")
def test_two_levels_take_fewer_steps_than_checkpoint_schedules_by_the_last_segment():
    """And no more copies to or from disk."""
    other = pytest.importorskip("checkpoint_schedules", reason="pip install checkpoint-schedules")
    disk = other.StorageType.DISK
    for n in (2, 5, 10, 20, 37, 100, 103):
        for period in (1, 2, 3, 5, 10, 25, 50):
            for slots in (1, 2, 3, 5):
                theirs = other.TwoLevelCheckpointSchedule(period, slots)
                steps = writes = reads = 0
                for action in theirs:
                    if isinstance(action, other.Forward):
                        stop = min(action.n1, n)
                        steps += stop - action.n0
                        writes += action.write_ics and action.storage == disk
                        if stop == n and theirs.max_n is None:
                            theirs.finalize(n)
                    elif isinstance(action, (other.Copy, other.Move)):
                        reads += action.from_storage == disk
                    elif isinstance(action, other.EndReverse):
                        break
                schedule = TwoLevel(n, period, slots)
                mine = schedule.counts.tiers[1] if n > 1 else (0, 0)
                last = (n - 1) % period + 1
                assert last <= steps - schedule.forward_steps
                merged = two_level_steps(n, period, slots) < steps - last
                assert merged or schedule.forward_steps == steps - last
                assert mine[0] <= writes or merged
                assert mine[1] <= reads or merged


@given(problem=problems())
def test_every_two_level_schedule_is_valid_and_within_its_slots(problem):
    positional, model = problem
    run(TwoLevel(*positional, **model))


def test_slots_in_ram_are_pushed_to_their_limit():
    for kind in (TwoLevel, AsyncTwoTier):
        for slots in range(1, 6):
            schedule = kind(500, 50, slots)
            assert schedule.counts.tiers[0].peak == slots
            assert schedule.counts.tiers[1].peak == (10 if kind is TwoLevel else 9)
            run(schedule)


def test_no_timesteps_and_what_fits_the_window():
    for kind in (TwoLevel, AsyncTwoTier):
        assert kind(0, 3, 2).to_text() == "turn\nend\n"
        assert kind(7, 3, 2, window=7).to_text() == "forward 0 7\nturn\nreverse 0 7\nend\n"
    assert Periodic(0, 3).to_text() == "turn\nend\n"


# --- periodic -----------------------------------------------------------------------------------------------


@given(problem=problems(slots=False))
def test_every_periodic_schedule_is_valid(problem):
    positional, model = problem
    run(Periodic(*positional, **model))


@given(problem=problems(n_max=400, slots=False), kind=st.sampled_from([Periodic, AsyncTwoTier]))
def test_no_timestep_is_run_more_than_twice_where_a_segment_fits_window_and_lookback(problem, kind):
    (n, period), model = problem
    period = max(1, model["lookback"], min(period, model["window"] + model["lookback"]))
    schedule = kind(n, period, **model)
    assert most_runs(schedule) <= 2
    assert schedule.forward_steps <= 2 * n


@given(problem=problems(n_max=400))
def test_slots_in_ram_let_no_timestep_be_run_more_than_twice_either(problem):
    (n, period, slots), model = problem
    period = max(1, model["lookback"], min(period, model["window"] + model["lookback"]))
    assert most_runs(AsyncTwoTier(n, period, slots, **model)) <= 2


def test_a_longer_period_runs_timesteps_three_times():
    for window, lookback in ((1, 0), (4, 0), (4, 2), (7, 3)):
        period = window + lookback + 1
        assert most_runs(Periodic(20 * period, period, window=window, lookback=lookback)) == 3


# --- asynchronous -------------------------------------------------------------------------------------------


def rereads(schedule):
    return len(schedule.counts.tiers) > 1 and schedule.counts.tiers[1].loads > schedule.counts.tiers[1].saves


@given(problem=problems())
def test_every_asynchronous_schedule_is_valid_and_loads_each_snapshot_on_disk_at_most_once(problem):
    (n, period, slots), model = problem
    schedule = AsyncTwoTier(n, period, slots, **model)
    run(schedule)
    saved, loaded = Counter(), Counter()
    for i in schedule:
        if i.kind is Kind.SAVE and i.tier == 1:
            saved[i.t] += 1
        elif i.kind is Kind.LOAD and i.tier == 1:
            loaded[i.t] += 1
    assert set(saved.values()) <= {1}
    if slots or period <= model["window"]:
        assert set(loaded.values()) <= {1}
    # With slots, one that is not needed is not loaded at all: its timesteps were at hand.
    assert set(loaded) <= set(saved)
    assert [*loaded] == sorted(loaded, reverse=True)


def test_counts_without_running_are_those_of_running():
    rng = random.Random(3)
    for _ in range(6000):
        window = rng.randint(1, 12)
        lookback = rng.randint(0, min(3, window))
        arguments = (
            rng.randint(0, 300),
            rng.randint(max(lookback, 1), 40),
            rng.randint(0, 5),
            window,
            lookback,
            rng.randint(0, 1) if lookback else 1,
            rng.random() < 0.3,
        )
        one_read = arguments[2] > 0 or rng.random() < 0.5
        ran = crevolve.periodic_instructions(*arguments, 1, one_read).tally()
        counted = crevolve.periodic_counts(*arguments, 1, one_read)
        unused = crevolve.TierCounts(0, 0, 0)
        assert counted.tiers == (*ran.tiers, unused)[:2], arguments
        assert counted._replace(frees=0, tiers=()) == ran._replace(frees=0, tiers=()), arguments


def test_counts_of_a_trillion_timesteps_take_no_time():
    counts = crevolve.periodic_counts(10**12, 1000, 20, 10, 2, 0, False)
    assert counts.tiers[1].saves == counts.tiers[1].loads == 10**9 - 2  # the last two segments are one
    each = 1000 + closed_form.chain_steps(998, 19, 10, 2)
    assert counts.forward_steps == pytest.approx(10**9 * each, rel=1e-8)


# --- transfers beside the run -------------------------------------------------------------------------------


def event_simulation(schedule, costs, buffers):
    """Run the instructions against one thread that writes, then reads, through `buffers` buffers.

    Returns seconds, and what of it was spent waiting for a buffer to be written and for a read.
    """
    time = write_wait = read_wait = 0.0
    written, read, emptied = [], [], []
    reading = None
    for i in schedule:
        if i.kind is Kind.FORWARD:
            time += costs.forward_call + (i.stop - i.start) * costs.forward_step
        elif i.kind is Kind.REVERSE:
            time += costs.reverse_call + (i.stop - i.start) * costs.reverse_step
        elif i.kind is Kind.TURN:
            reading = max([time, *written[-1:]])
        elif i.kind is Kind.SAVE:
            if i.tier == 1 and len(written) >= buffers:
                wait = max(0.0, written[-buffers] - time)
                write_wait += wait
                time += wait
            time += costs.save_at(0)
            if i.tier == 1:
                written.append(max([time, *written[-1:]]) + costs.save_at(1))
        elif i.kind is Kind.LOAD:
            if i.tier == 1:
                begin = max([reading, *read[-1:], *emptied[-buffers:][: len(emptied) >= buffers]])
                read.append(begin + costs.load_at(1))
                wait = max(0.0, read[-1] - time)
                read_wait += wait
                time += wait
            time += costs.load_at(0)
            if i.tier == 1:
                emptied.append(time)
    return time, write_wait, read_wait


def random_costs(rng):
    """Copies in RAM, to and from buffers, take no longer than a transfer or an interval between two."""
    slow = rng.choice([1.0, 10.0, 100.0, 1000.0])
    return Costs(
        forward_step=rng.uniform(0.5, 2.0),
        reverse_step=rng.uniform(0.5, 3.0),
        forward_call=rng.choice([0.0, rng.uniform(0.0, 1.0)]),
        reverse_call=rng.choice([0.0, rng.uniform(0.0, 1.0)]),
        save=(rng.choice([0.0, rng.uniform(0.0, 0.5)]), rng.uniform(0.5, 1.0) * slow),
        load=(rng.choice([0.0, rng.uniform(0.0, 0.5)]), rng.uniform(0.5, 1.0) * slow),
    )


def test_overlapped_time_is_that_of_an_event_simulation():
    rng = random.Random(4)
    compared = Counter()
    while compared["all"] < 4000:
        window = rng.randint(1, 12)
        lookback = rng.randint(0, min(3, window))
        schedule = AsyncTwoTier(
            rng.choice([rng.randint(0, 30), rng.randint(0, 400)]),
            rng.randint(max(lookback, 1), rng.choice([4, 40])),
            rng.randint(0, 5),
            window=window,
            lookback=lookback,
            lag=rng.randint(0, 1) if lookback else 1,
            initial_state=rng.choice(["stored", "free"]),
        )
        if rereads(schedule):
            continue
        costs, buffers = random_costs(rng), rng.randint(1, 4)
        expected = event_simulation(schedule, costs, buffers)
        found = schedule.overlap(costs, buffers)
        case = schedule, costs, buffers
        assert found.seconds == pytest.approx(expected[0], rel=1e-9, abs=1e-9), case
        assert found.write_wait == pytest.approx(expected[1], rel=1e-9, abs=1e-6), case
        assert found.read_wait == pytest.approx(expected[2], rel=1e-9, abs=1e-6), case
        compared["all"] += 1
        compared["hidden"] += expected[1] == expected[2] == 0.0
        compared["waits"] += expected[1] > 0.0 and expected[2] > 0.0
    assert compared["hidden"] > 300
    assert compared["waits"] > 300


def test_hidden_transfers_cost_the_copies_to_and_from_buffers_alone():
    schedule = AsyncTwoTier(3000, 50, window=50, lookback=2)
    costs = Costs(forward_step=1e-3, reverse_step=1e-3, save=(5e-4, 2e-2), load=(5e-4, 1e-2))
    found = schedule.overlap(costs)
    assert (found.write_wait, found.read_wait) == (0.0, 0.0)
    disk = schedule.counts.tiers[1]
    assert found.hidden == pytest.approx(2e-2 * disk.saves + 1e-2 * disk.loads)
    synchronous = schedule.makespan(costs)
    assert found.seconds == pytest.approx(synchronous - found.hidden + 5e-4 * (disk.saves + disk.loads))
    assert "all transfers are hidden" in str(found)
    slower = dataclasses.replace(costs, save=(5e-4, 8e-2))
    assert "waiting for writes" in str(schedule.overlap(slower))


def test_more_buffers_and_faster_disks_never_take_longer():
    rng = random.Random(5)
    for _ in range(200):
        schedule = AsyncTwoTier(rng.randint(50, 400), rng.randint(5, 40), rng.randint(1, 4))
        costs = random_costs(rng)
        times = [schedule.overlap(costs, buffers).seconds for buffers in range(1, 6)]
        assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(times))
        save, load = costs.save, costs.load
        faster = dataclasses.replace(costs, save=(save[0], save[1] / 2), load=(load[0], load[1] / 2))
        assert schedule.overlap(faster).seconds <= times[1] * (1 + 1e-12)


def test_what_overlap_refuses():
    schedule = AsyncTwoTier(100, 10, 2)
    costs = Costs(forward_step=1.0, reverse_step=1.0, save=(0.0, 1.0), load=(0.0, 1.0))
    with pytest.raises(TypeError, match="costs must be"):
        schedule.overlap(1.0)
    with pytest.raises(ValueError, match="two tiers"):
        schedule.overlap(Costs(forward_step=1.0, reverse_step=1.0))
    with pytest.raises(ValueError, match="buffers must be >= 1, got 0"):
        schedule.overlap(costs, 0)
    for bad in (2.0, True, None):
        with pytest.raises(TypeError, match="buffers"):
            schedule.overlap(costs, bad)
    with pytest.raises(ValueError, match="n_snapshots >= 1"):
        AsyncTwoTier(100, 10).overlap(costs)


# --- none, and all ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 2, 100, 10**12])
def test_forward_only_runs_and_turns(n):
    schedule = ForwardOnly(n)
    report = simulate(schedule, n=n, snapshots=0, forward_only=True)
    assert report.forward_steps == schedule.forward_steps == n
    assert (schedule.forward_calls, schedule.reverse_calls) == (report.forward_calls, 0)
    assert (schedule.saves, schedule.loads, schedule.reverse_steps, schedule.peak_snapshots) == (0, 0, 0, 0)
    assert schedule.to_text() == (f"forward 0 {n}\n" if n else "") + "turn\nend\n"
    assert len(schedule.to_numpy()) == report.instructions
    assert "runs forward only" in schedule.explain()
    assert "no snapshots" in schedule.explain()


@pytest.mark.parametrize("n", [1, 2, 100, 10**12])
def test_store_all_runs_once_in_one_window(n):
    schedule = StoreAll(n)
    report = simulate(schedule, n=n, snapshots=0, window=schedule.window)
    assert report.forward_steps == schedule.forward_steps == n
    assert schedule.to_text() == f"forward 0 {n}\nturn\nreverse 0 {n}\nend\n"


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TwoLevel, AsyncTwoTier])
@pytest.mark.parametrize(
    ("arguments", "model", "message"),
    [
        ((-1, 5, 2), {}, "-1"),
        ((10, 0, 2), {}, "period must be >= 1.*got 0"),
        ((10, -3, 2), {}, "period must be >= 1.*got -3"),
        ((10, 2, 2), {"window": 4, "lookback": 3}, "period must be .*>= lookback.* 3, got 2"),
        ((10, 5, -1), {}, "n_snapshots must be >= 0, got -1"),
        ((10, 5, 1), {"window": 0}, "window"),
        ((10, 5, 1), {"lookback": 2}, "lookback"),
        ((10, 5, 1), {"lag": 2}, "lag"),
        ((10, 5, 1), {"lag": 0}, "lag 0 needs lookback"),
        ((10, 5, 1), {"initial_state": "none"}, "initial_state"),
    ],
)
def test_what_is_out_of_range_is_a_value_error_that_names_it(kind, arguments, model, message):
    with pytest.raises(ValueError, match=message):
        kind(*arguments, **model)
    if arguments[2] >= 0:
        with pytest.raises(ValueError, match=message):
            Periodic(*arguments[:2], **model)


@pytest.mark.parametrize("bad", [2.0, "2", True, None])
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_integer_is_a_type_error(place, bad):
    arguments = [10, 2, 2]
    arguments[place] = bad
    for kind in (TwoLevel, AsyncTwoTier):
        with pytest.raises(TypeError):
            kind(*arguments)
    if place < 2:
        with pytest.raises(TypeError):
            Periodic(*arguments[:2])
    for simple in (ForwardOnly, StoreAll):
        with pytest.raises(TypeError):
            simple(bad)


def test_negative_timesteps_are_a_value_error():
    for simple in (ForwardOnly, StoreAll):
        with pytest.raises(ValueError, match="-1"):
            simple(-1)


def test_sizes_beyond_64_bits_are_overflow_errors():
    for arguments in ((2**63, 5, 2), (10, 2**63, 2), (10, 5, 2**63), (2**62 + 1, 5, 2)):
        for kind in (TwoLevel, AsyncTwoTier):
            with pytest.raises(OverflowError):
                kind(*arguments)


def test_periods_and_slots_without_bound_are_revolve():
    for n in (1, 2, 9, 77):
        for kind in (TwoLevel, AsyncTwoTier):
            schedule = kind(n, INT64_MAX, 4)
            slots = 5 if kind is TwoLevel else 4
            assert schedule.forward_steps == Revolve(n, slots).forward_steps
            assert run(kind(n, 3, INT64_MAX)).forward_steps == run(kind(n, 3, n)).forward_steps
