"""What every schedule answers, whatever its family."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import threading
from collections import Counter
from itertools import zip_longest

import numpy as np
import pytest

import pyrevolve
from pyrevolve import (
    CAMS,
    AsyncTwoTier,
    Content,
    Costs,
    DiskRevolve,
    ForwardOnly,
    HRevolve,
    Kind,
    Mixed,
    Multistage,
    Periodic,
    PeriodicDiskRevolve,
    Revolve,
    Schedule,
    StoreAll,
    TwoLevel,
)
from pyrevolve.crevolve import TierCounts
from pyrevolve.schedules import INSTRUCTION_DTYPE

RAM_AND_DISK = Costs(forward_step=1.0, reverse_step=1.5, save=(0.0, 2.0), load=(0.0, 3.0))
THREE_TIERS = Costs(forward_step=1.0, reverse_step=1.5, save=(0.0, 2.0, 9.0), load=(0.0, 3.0, 7.0))

SCHEDULES = [
    Revolve(60, 4),
    Revolve(60, 4, window=5, lookback=2),
    Revolve(60, 0, window=5, lookback=2, lag=1, initial_state="free"),
    Revolve.from_layout(60, 4, [(0, 3), (7, 0), (40, 1)], position=50, window=2),
    Revolve.from_layout(60, 4, [(0, 3), (7, 0), (40, 1)], position=50, remaining=45),
    StoreAll(60),
    ForwardOnly(60),
    Multistage(60, 2, 3),
    Multistage(60, 2, 3, costs=RAM_AND_DISK, window=4, lookback=2, initial_state="free"),
    Multistage.from_layout(60, 2, 3, [(0, 1, 2), (20, 0, 0)], position=30),
    TwoLevel(60, 9, 3),
    TwoLevel(60, 9, 3, window=3, lookback=1, initial_state="free"),
    Periodic(60, 7, window=4),
    AsyncTwoTier(60, 9, 3, window=3),
    Mixed(60, 5),
    CAMS(60, 9, 2, stiffly_accurate=True),
    HRevolve(60, (2, 3), costs=RAM_AND_DISK),
    HRevolve(60, (2, 3, None), costs=THREE_TIERS, window=3, lookback=1, initial_state="free"),
    DiskRevolve(60, 2, costs=RAM_AND_DISK),
    DiskRevolve(60, 2, costs=RAM_AND_DISK, one_read=True),
    PeriodicDiskRevolve(60, 2, costs=RAM_AND_DISK),
]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


def test_every_exported_schedule_is_among_those_tested():
    exported = {
        value
        for value in vars(pyrevolve).values()
        if isinstance(value, type) and issubclass(value, Schedule) and value is not Schedule
    }
    assert exported == {type(schedule) for schedule in SCHEDULES}


def held_at_first(schedule):
    layout = getattr(schedule, "layout", None)
    return Counter(tier for _, tier, _ in layout.stored) if layout is not None else Counter()


def tallied(schedule):
    """Count by iterating: totals by kind, and (saves, loads, peak) by tier; x_0 re-created is of tier 0."""
    total = Counter()
    saves, loads, held = Counter(), Counter(), held_at_first(schedule)
    peak = Counter(held)
    for i in schedule:
        total[i.kind] += 1
        if i.kind in (Kind.FORWARD, Kind.REVERSE):
            total[i.kind, "steps"] += i.stop - i.start
        elif i.kind is Kind.SAVE:
            saves[i.tier] += 1
            held[i.tier] += 1
            peak[i.tier] = max(peak[i.tier], held[i.tier])
        elif i.kind is Kind.LOAD:
            loads[max(0, i.tier)] += 1
            held[i.tier] -= i.tier >= 0 and not i.keep
        elif i.kind is Kind.FREE:
            held[i.tier] -= 1
    tiers = 1 + max([0, *saves, *loads, *peak])
    return total, tuple(TierCounts(saves[k], loads[k], peak[k]) for k in range(tiers))


@each_schedule
def test_counts_are_what_iterating_shows(schedule):
    total, tiers = tallied(schedule)
    counts = schedule.counts
    assert counts.forward_steps == schedule.forward_steps == total[Kind.FORWARD, "steps"]
    assert counts.forward_calls == schedule.forward_calls == total[Kind.FORWARD]
    assert counts.reverse_calls == schedule.reverse_calls == total[Kind.REVERSE]
    assert schedule.calls == total[Kind.FORWARD] + total[Kind.REVERSE]
    assert schedule.reverse_steps == total[Kind.REVERSE, "steps"]
    assert counts.frees == total[Kind.FREE]
    assert counts.saves == schedule.saves == total[Kind.SAVE]
    assert counts.loads == schedule.loads == total[Kind.LOAD]
    unused = TierCounts(0, 0, 0)
    assert all(mine == theirs for mine, theirs in zip_longest(counts.tiers, tiers, fillvalue=unused))
    assert counts.peak_snapshots == schedule.peak_snapshots == sum(tier.peak for tier in tiers)
    assert schedule.recompute_factor == schedule.forward_steps / 60


@each_schedule
def test_iterating_again_gives_the_same(schedule):
    first = list(schedule)
    assert list(schedule) == first
    assert first[-1].kind is Kind.END
    assert [i.kind for i in first].count(Kind.END) == 1


@each_schedule
def test_rows_equal_iteration(schedule):
    rows = schedule.to_numpy()
    assert rows.dtype == INSTRUCTION_DTYPE
    assert len(rows) == len(list(schedule))
    for row, i in zip(rows, schedule, strict=True):
        assert Kind(row["kind"]) is i.kind
        for name in ("start", "stop", "t", "tier", "slot"):
            value = getattr(i, name)
            assert row[name] == (-1 if value is None else value)
        assert row["keep"] == bool(i.keep)
        assert Content(row["content"]) is (Content.STATE if i.content is None else i.content)


@each_schedule
def test_text_has_a_line_for_each_instruction(schedule):
    lines = schedule.to_text().splitlines()
    for line, i in zip(lines, schedule, strict=True):
        words = line.split()
        assert words[0] == i.kind.name.lower()
        if i.kind in (Kind.FORWARD, Kind.REVERSE):
            assert words[1:] == [str(i.start), str(i.stop)]
        elif i.kind in (Kind.TURN, Kind.END):
            assert len(words) == 1
        else:
            place = "free" if i.tier == -1 else f"{i.tier}:{i.slot}"
            assert f"{i.t} @ {place}" in line
            assert (words[1] == "data") == (i.content is Content.STEP_DATA)
            assert (words[-1] == "keep") == bool(i.kind is Kind.LOAD and i.tier >= 0 and i.keep)


@each_schedule
def test_explain_names_the_counts(schedule):
    words = schedule.explain()
    counts = schedule.counts
    assert words.splitlines()[0] == repr(schedule)
    taken_over = getattr(schedule, "layout", None) is not None
    purpose = "of what is left of 60" if taken_over else "for 60"
    assert f"{counts.forward_steps} timesteps {purpose}" in words
    assert ("times each" in words) != taken_over
    assert f"in {counts.forward_calls} calls" in words
    if schedule.reverse_steps:
        assert f"{schedule.reverse_steps} timesteps in {counts.reverse_calls} calls" in words
    for tier, (saves, loads, peak) in enumerate(counts.tiers):
        if saves or loads:
            (line,) = (line for line in words.splitlines() if line.startswith(f"  tier {tier} "))
            assert f"{saves} saves, {loads} loads" in line
            assert f"at most {peak}" in line
    assert ("no snapshots" in words) == (not counts.saves and not counts.loads)
    assert ("re-created" in words) == schedule.free_initial_state
    assert ("step data" in words) == schedule.needs_step_data


@each_schedule
def test_makespan_is_the_sum_of_what_every_instruction_costs(schedule):
    costs = Costs(
        forward_step=2.0,
        reverse_step=3.0,
        forward_call=0.25,
        reverse_call=0.5,
        save=(5.0, 70.0, 1100.0),
        load=(7.0, 130.0, 1700.0),
    )
    seconds = 0.0
    for i in schedule:
        if i.kind is Kind.FORWARD:
            seconds += 0.25 + 2.0 * (i.stop - i.start)
        elif i.kind is Kind.REVERSE:
            seconds += 0.5 + 3.0 * (i.stop - i.start)
        elif i.kind is Kind.SAVE:
            seconds += (5.0, 70.0, 1100.0)[i.tier]
        elif i.kind is Kind.LOAD:
            seconds += (7.0, 130.0, 1700.0)[max(0, i.tier)]
    assert schedule.makespan(costs) == seconds


@each_schedule
def test_schedules_are_values(schedule):
    _ = schedule.counts
    for twin in (
        pickle.loads(pickle.dumps(schedule)),
        copy.copy(schedule),
        copy.deepcopy(schedule),
        dataclasses.replace(schedule),
        eval(repr(schedule), dict(vars(pyrevolve))),
    ):
        assert type(twin) is type(schedule)
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert repr(twin) == repr(schedule)
        assert twin.counts == schedule.counts
        assert list(twin) == list(schedule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.n_timesteps = 3
    if getattr(schedule, "layout", None) is None:
        other = dataclasses.replace(schedule, n_timesteps=61)
        assert other != schedule
        assert len({other, schedule, copy.copy(schedule)}) == 2


@each_schedule
def test_several_threads_iterate_at_once(schedule):
    fresh = pickle.loads(pickle.dumps(schedule))  # so that the first use is in threads, too
    expected = list(schedule)
    found = []
    start = threading.Barrier(4)

    def work():
        start.wait()
        found.append(list(fresh))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


# --- texts --------------------------------------------------------------------------------------------------

TEXTS = [
    (
        Revolve(3, 1),
        "save 0 @ 0:0; forward 0 3; turn; reverse 2 3; load 0 @ 0:0 keep; forward 0 2; reverse 1 2; "
        "load 0 @ 0:0; forward 0 1; reverse 0 1; end",
    ),
    (
        Revolve(2, 0, initial_state="free"),
        "forward 0 2; turn; reverse 1 2; load 0 @ free; forward 0 1; reverse 0 1; end",
    ),
    (  # x_1 carries timesteps 1 and 0; x_4 that of timestep 4, which does not exist, and of 3
        Revolve(4, 1, window=2, lookback=2),
        "forward 0 1; save 1 @ 0:0; forward 1 4; turn; reverse 3 4; load 1 @ 0:0 keep; forward 1 2; "
        "reverse 2 3; load 1 @ 0:0; reverse 0 2; end",
    ),
    (  # x_2 is of no use: x_5 is at hand, and the window holds the last three timesteps
        Revolve.from_layout(5, 2, [(0, 1), (2, 0)], position=5, window=3),
        "free 2 @ 0:0; turn; reverse 2 5; load 0 @ 0:1; forward 0 2; reverse 0 2; end",
    ),
    (
        Revolve.from_layout(5, 2, [(0, 1), (2, 0)], position=2, loaded_at=2, remaining=4),
        "forward 2 4; reverse 3 4; load 2 @ 0:0; forward 2 3; reverse 2 3; load 0 @ 0:1 keep; forward 0 2; "
        "reverse 1 2; load 0 @ 0:1; forward 0 1; reverse 0 1; end",
    ),
    (
        Multistage(4, 1, 2),
        "save 0 @ 1:0; forward 0 1; save 1 @ 1:1; forward 1 2; save 2 @ 0:0; forward 2 4; turn; reverse 3 4; "
        "load 2 @ 0:0; forward 2 3; reverse 2 3; load 1 @ 1:1; forward 1 2; reverse 1 2; load 0 @ 1:0; "
        "forward 0 1; reverse 0 1; end",
    ),
    (
        TwoLevel(4, 2),
        "save 0 @ 1:0; forward 0 2; save 2 @ 1:1; forward 2 4; turn; reverse 3 4; load 2 @ 1:1; forward 2 3; "
        "reverse 2 3; load 0 @ 1:0 keep; forward 0 2; reverse 1 2; load 0 @ 1:0; forward 0 1; reverse 0 1; "
        "end",
    ),
    (  # leaving the last four timesteps in one piece takes as many steps
        Periodic(4, 2, window=2),
        "save 0 @ 0:0; forward 0 4; turn; reverse 2 4; load 0 @ 0:0; forward 0 2; reverse 0 2; end",
    ),
    (
        AsyncTwoTier(6, 3, 1),
        "save 0 @ 1:0; forward 0 3; save 3 @ 0:0; forward 3 6; turn; reverse 5 6; load 3 @ 0:0 keep; "
        "forward 3 5; reverse 4 5; load 3 @ 0:0; forward 3 4; reverse 3 4; load 0 @ 1:0; save 0 @ 0:0; "
        "forward 0 3; reverse 2 3; load 0 @ 0:0 keep; forward 0 2; reverse 1 2; load 0 @ 0:0; forward 0 1; "
        "reverse 0 1; end",
    ),
    (
        Mixed(2, 1),
        "forward 0 1; save data 0 @ 0:0; forward 1 2; turn; reverse 1 2; load data 0 @ 0:0; reverse 0 1; end",
    ),
    (
        CAMS(2, 2, 2, stiffly_accurate=False),
        "forward 0 1; save data 0 @ 0:0; forward 1 2; turn; reverse 1 2; load data 0 @ 0:0; reverse 0 1; end",
    ),
    (  # a copy to disk and back costs more than the timestep that it saves
        HRevolve(3, (1, 1), costs=RAM_AND_DISK),
        "save 0 @ 0:0; forward 0 3; turn; reverse 2 3; load 0 @ 0:0 keep; forward 0 2; reverse 1 2; "
        "load 0 @ 0:0; forward 0 1; reverse 0 1; end",
    ),
    (
        HRevolve(2, (0, 1), costs=RAM_AND_DISK),
        "save 0 @ 1:0; forward 0 2; turn; reverse 1 2; load 0 @ 1:0; forward 0 1; reverse 0 1; end",
    ),
    (
        DiskRevolve(2, 1, costs=RAM_AND_DISK),
        "save 0 @ 0:0; forward 0 2; turn; reverse 1 2; load 0 @ 0:0; forward 0 1; reverse 0 1; end",
    ),
    (StoreAll(2), "forward 0 2; turn; reverse 0 2; end"),
    (ForwardOnly(2), "forward 0 2; turn; end"),
    (Revolve(0, 1), "turn; end"),
]


@pytest.mark.parametrize(("schedule", "text"), TEXTS, ids=[repr(schedule) for schedule, _ in TEXTS])
def test_small_schedules_in_words(schedule, text):
    assert schedule.to_text() == text.replace("; ", "\n") + "\n"


# --- costs --------------------------------------------------------------------------------------------------


def test_costs_of_each_tier():
    costs = Costs(forward_step=1, reverse_step=2, save=(3, 4), load=[5, np.float32(6)])
    assert [costs.save_at(tier) for tier in (0, 1)] == [3.0, 4.0]
    assert [costs.load_at(tier) for tier in (0, 1)] == [5.0, 6.0]
    assert costs.tiers == 2
    assert costs == eval(repr(costs), dict(vars(pyrevolve))) == pickle.loads(pickle.dumps(costs))
    one = Costs(forward_step=1, reverse_step=2, save=3, load=4)
    assert (one.tiers, one.save_at(0), one.load_at(0)) == (1, 3.0, 4.0)
    for tier in (1, 2, -1):
        with pytest.raises(ValueError, match=f"1 tier, tier {tier} is asked for; give save="):
            one.save_at(tier)
        with pytest.raises(ValueError, match=f"1 tier, tier {tier} is asked for; give load="):
            one.load_at(tier)


@each_schedule
def test_every_timestep_that_is_reversed_is_recorded_once(schedule):
    tiers = max(1, len(schedule.counts.tiers))
    nothing = (0.0,) * tiers
    costs = Costs(forward_step=0.0, reverse_step=0.0, save=nothing, load=nothing, recording=2.0)
    assert schedule.makespan(costs) == 2.0 * schedule.reverse_steps
    assert costs.reversal == 2.0


def test_costs_for_too_few_tiers_are_refused_where_the_tier_is_used():
    one = Costs(forward_step=1.0, reverse_step=2.0, save=3.0, load=4.0)
    with pytest.raises(ValueError, match="1 tier, tier 1 is asked for"):
        Multistage(60, 2, 3).makespan(one)
    assert Multistage(60, 5, 0).makespan(one) == Revolve(60, 5).makespan(one)


@each_schedule
def test_what_is_no_costs_is_a_type_error(schedule):
    for bad in (None, 1.0, (1.0, 2.0)):
        with pytest.raises(TypeError, match="costs must be"):
            schedule.makespan(bad)


@pytest.mark.parametrize(
    "name",
    [
        "forward_step",
        "reverse_step",
        "forward_call",
        "reverse_call",
        "save",
        "load",
        "recording",
        "interference",
    ],
)
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (-1.0, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (True, TypeError),
        ("1", TypeError),
        (None, TypeError),
        (1j, TypeError),
    ],
)
def test_costs_that_cannot_be(name, bad, error):
    good = {"forward_step": 1.0, "reverse_step": 1.0}
    with pytest.raises(error, match=name):
        Costs(**{**good, name: bad})
    if name in ("save", "load"):
        tiers = {"save": (1.0, 1.0), "load": (1.0, 1.0), name: (1.0, bad)}
        with pytest.raises(error, match=name):
            Costs(**good, **tiers)
    else:
        with pytest.raises(TypeError, match=name):
            Costs(**{**good, name: (1.0, 1.0)})


@pytest.mark.parametrize(("save", "load"), [((1.0, 2.0), 1.0), (1.0, (1.0, 2.0)), ((1.0,), (1.0, 2.0))])
def test_costs_of_different_numbers_of_tiers(save, load):
    with pytest.raises(ValueError, match="alike"):
        Costs(forward_step=1.0, reverse_step=1.0, save=save, load=load)
    with pytest.raises(ValueError, match="a number for each tier"):
        Costs(forward_step=1.0, reverse_step=1.0, save=(), load=())


# --- bad input ----------------------------------------------------------------------------------------------


def integers(schedule):
    """Names of the parameters that are integers and may be replaced."""
    for field in dataclasses.fields(schedule):
        value = getattr(schedule, field.name)
        if field.init and isinstance(value, int) and not isinstance(value, bool):
            yield field.name


@each_schedule
@pytest.mark.parametrize("bad", [2.0, True, "2", np.float64(3), [2]])
def test_what_is_no_integer_is_a_type_error_that_names_it(schedule, bad):
    for name in integers(schedule):
        with pytest.raises(TypeError, match=name):
            dataclasses.replace(schedule, **{name: bad})


@each_schedule
def test_what_is_negative_is_a_value_error_that_names_it(schedule):
    for name in integers(schedule):
        for bad in (-1, -(2**63)):
            with pytest.raises(ValueError, match=f"{name} must be|there are {bad} slots"):
                dataclasses.replace(schedule, **{name: bad})


@each_schedule
def test_what_does_not_fit_in_64_bits_is_refused(schedule):
    for name in integers(schedule):
        for bad in (2**63, 10**30):
            with pytest.raises((OverflowError, ValueError)):
                _ = dataclasses.replace(schedule, **{name: bad}).counts  # or already when it is made


@each_schedule
def test_integers_of_numpy_are_integers(schedule):
    values = {name: np.int64(getattr(schedule, name)) for name in integers(schedule)}
    twin = dataclasses.replace(schedule, **values)
    assert twin == schedule
    assert repr(twin) == repr(schedule)
    assert all(type(getattr(twin, name)) is int for name in values)


@pytest.mark.parametrize("schedule", [Revolve(10**12, 20), Revolve(10**16, 200), Revolve(10**18, 2000)])
def test_what_is_too_long_to_be_listed_is_a_memory_error_with_the_remedy(schedule):
    with pytest.raises(MemoryError, match="iterate over it instead"):
        schedule.to_numpy()


@pytest.mark.parametrize(
    "make",
    [lambda: Revolve(2**62, 50), lambda: Multistage(2**62, 25, 25), lambda: Revolve(2**62, 2, window=9)],
)
def test_counts_beyond_64_bits_name_the_timesteps_and_the_remedy(make):
    with pytest.raises(
        OverflowError, match=r"n_timesteps = 4611686018427387904 .* more snapshots or a larger"
    ):
        make()
    assert Revolve(2**62, 50, window=2**58).forward_steps > 2**62  # what the message advises


def test_too_many_timesteps_or_snapshots_are_named():
    with pytest.raises(OverflowError, match=r"n_timesteps must be <= 2\*\*62, got 4611686018427387905"):
        Revolve(2**62 + 1, 50)
    with pytest.raises(OverflowError, match="n_timesteps must fit in 64 bits"):
        Revolve(2**63, 50)
    with pytest.raises(OverflowError, match="n_snapshots must fit in 64 bits"):
        Revolve(2**62, 2**63)
