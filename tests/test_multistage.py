"""Snapshots in RAM and on disk: exact copies per snapshot, the best placement, valid schedules."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import classic, closed_form
from simulator import simulate

from pyrevolve import Costs, Kind, Multistage, Revolve, crevolve


def costs_of_copies(save, load):
    return Costs(forward_step=0.0, reverse_step=0.0, save=save, load=load)


def windows(window_max, lookback_max):
    for window in range(1, window_max + 1):
        for lag in (0, 1):
            for lookback in range(1 - lag, min(lookback_max, window) + 1):
                yield {"window": window, "lookback": lookback, "lag": lag}


def run(schedule):
    """Simulate a schedule and compare what it did with what it announces, tier by tier."""
    window, lookback, lag = schedule.needs
    report = simulate(
        schedule,
        n=schedule.n_timesteps,
        snapshots=[schedule.n_snapshots, schedule.n_on_disk],
        window=window,
        lookback=lookback,
        lag=lag,
        free_initial=schedule.free_initial_state,
    )
    assert schedule.forward_steps == report.forward_steps
    assert schedule.loads == report.loads + report.resets
    assert schedule.peak_snapshots == report.peak_snapshots
    assert (schedule.forward_calls, schedule.reverse_calls) == (report.forward_calls, report.reverse_calls)
    announced = [*schedule.counts.tiers, (0, 0, 0)][:2]
    for tier, (mine, theirs) in enumerate(zip(announced, report.tiers, strict=True)):
        assert tuple(mine) == (theirs.saves, theirs.loads + (report.resets if tier == 0 else 0), theirs.peak)
    assert report.left_stored == report.frees == schedule.counts.frees == 0
    return report


def by_running(schedule):
    """Count saves and loads of every rank: how many states lie further left."""
    saves, loads = Counter(), Counter()
    held = []
    for i in schedule:
        if i.kind is Kind.SAVE:
            saves[len(held)] += 1
            held.append(i.t)
        elif i.kind is Kind.LOAD and i.slot >= 0:
            loads[held.index(i.t)] += 1
            if not i.keep:
                held.remove(i.t)
    return [(saves[rank], loads[rank]) for rank in range(max(saves, default=-1) + 1)]


def used(copies):
    return [tuple(rank) for rank in copies if any(rank)]


def fewest(copies, in_ram, on_disk, costs):
    """Try every placement; return the least cost of all copies."""
    placements = (
        placement
        for placement in itertools.product((0, 1), repeat=len(copies))
        if placement.count(0) <= in_ram and placement.count(1) <= on_disk
    )
    return min(cost_of(copies, placement, costs) for placement in placements)


def cost_of(copies, placement, costs):
    return sum(
        saves * costs.save_at(tier) + loads * costs.load_at(tier)
        for (saves, loads), tier in zip(copies, placement, strict=False)
    )


# --- copies per snapshot ------------------------------------------------------------------------------------


def copies_by_recursion(n, s, split):
    """Return (writes, reads) of every slot, by recursion over the chain."""
    writes, reads = [0] * s, [0] * s

    def node(n, slot, stored):
        if n == 1:
            return
        writes[slot] += not stored
        reads[slot] += 1
        m = split(n, s - slot) if slot < s - 1 else n - 1
        if n - m > 1:
            node(n - m, slot + 1, False)
        node(m, slot, True)

    node(n, 0, False)
    return writes, reads


def test_copies_are_the_published_ones_where_the_rules_for_splits_agree(golden):
    """The golden file splits by another rule: the same totals, and the same numbers by slot in most rows."""
    same = rows = 0
    for row in golden("ref_multistage.csv"):
        n, s = int(row["n"]), int(row["s"])
        writes = [int(count) for count in row["writes_per_slot"].split()]
        reads = [int(count) for count in row["reads_per_slot"].split()]
        copies = Multistage(n, s, 0).copies_per_snapshot
        mine = [count for count, _ in copies], [count for _, count in copies]
        padding = [0] * (s - len(copies))
        mine = mine[0] + padding, mine[1] + padding
        assert [sum(counts) for counts in mine] == [sum(writes), sum(reads)]
        if n <= 1000:
            assert (writes, reads) == copies_by_recursion(n, s, classic.golden_split)
            assert mine == copies_by_recursion(n, s, classic.libadolc_split)
        same += mine == (writes, reads)
        rows += 1
    assert (same, rows) == (64, 96)


def test_copies_of_full_ranges_are_the_closed_facts():
    for s in range(1, 9):
        for r in range(1, 6):
            copies = Multistage(classic.beta(s, r), s, 0).copies_per_snapshot
            for i, (saves, loads) in enumerate(copies):
                assert (saves, loads) == (classic.beta(i, r - 1), classic.beta(i + 1, r - 1))


@pytest.mark.parametrize("model", [*windows(3, 2)])
def test_copies_are_what_running_the_schedule_shows(model):
    for n in (1, 2, 3, 5, 9, 17, 40, 111):
        for slots in (0, 1, 2, 3, 6):
            for state in ("stored", "free")[slots == 0 :]:
                schedule = Multistage(n, slots, 0, initial_state=state, **model)
                assert used(schedule.copies_per_snapshot) == by_running(schedule)
                assert by_running(schedule) == by_running(Revolve(n, slots, initial_state=state, **model))


@given(
    n=st.integers(0, 3000),
    slots=st.integers(1, 40),
    window=st.integers(1, 20),
    lookback=st.integers(0, 3),
    lag=st.integers(0, 1),
    free=st.booleans(),
)
def test_copies_of_many_timesteps_are_what_running_the_schedule_shows(n, slots, window, lookback, lag, free):
    schedule = Multistage(
        n,
        slots,
        0,
        window=max(window, lookback),
        lookback=lookback,
        lag=lag if lookback else 1,
        initial_state="free" if free else "stored",
    )
    assert used(schedule.copies_per_snapshot) == by_running(schedule)


def test_copies_of_a_million_timesteps_add_up_to_those_of_the_counts():
    for n, slots in ((10**6, 20), (10**6, 1000), (10**12, 50)):
        counts = crevolve.windowed_counts(n, slots)
        copies = Multistage(n, slots, 0).copies_per_snapshot
        assert sum(saves for saves, _ in copies) == counts.saves == closed_form.binomial_takeshots(n, slots)
        assert sum(loads for _, loads in copies) == counts.loads == n - 1


# --- placement ----------------------------------------------------------------------------------------------


def check_placement(schedule):
    copies = by_running(schedule)
    least = fewest(copies, schedule.n_snapshots, schedule.n_on_disk, schedule.costs)
    report = run(schedule)
    tiers = zip(report.tiers, (0, 1), strict=True)
    taken = sum(
        tier.saves * schedule.costs.save_at(k) + tier.loads * schedule.costs.load_at(k) for tier, k in tiers
    )
    assert taken == pytest.approx(least, rel=1e-12, abs=1e-12)
    assert schedule.forward_steps == closed_form.forward_steps(
        schedule.n_timesteps,
        schedule.n_snapshots + schedule.n_on_disk,
        *schedule.needs,
        schedule.free_initial_state,
    )


def test_no_placement_is_cheaper_whatever_copies_cost():
    """RAM dearer than disk, too."""
    rng = random.Random(1)
    for _ in range(500):
        window = rng.randint(1, 4)
        lookback = rng.randint(0, min(2, window))
        free = rng.random() < 0.3
        in_ram, on_disk = rng.randint(0, 4), rng.randint(0, 4)
        if in_ram + on_disk == 0 and not free:
            continue
        schedule = Multistage(
            rng.randint(0, 120),
            in_ram,
            on_disk,
            costs=costs_of_copies(
                (rng.randint(0, 5), rng.randint(0, 9)), (rng.randint(0, 5), rng.uniform(0, 9))
            ),
            window=window,
            lookback=lookback,
            lag=rng.randint(0, 1) if lookback else 1,
            initial_state="free" if free else "stored",
        )
        check_placement(schedule)


def test_among_equals_those_further_right_are_in_ram():
    for n, slots in ((35, 4), (100, 5), (3000, 10)):
        for in_ram in range(slots + 1):
            schedule = Multistage(n, in_ram, slots - in_ram)
            assert schedule.placement == (1,) * (slots - in_ram) + (0,) * in_ram


def published_ranking(all_copies):
    """Give RAM to the rightmost of the slots that are used, for every size of RAM.

    Returns how many placements there are, how many are not the best, and by what factor the worst is worse.
    """
    placements = worse = 0
    factor = 1.0
    for copies in all_copies:
        counts = [sum(rank) for rank in copies if sum(rank)]
        for on_disk in range(1, len(counts)):
            published, best = sum(counts[:on_disk]), sum(sorted(counts)[:on_disk])
            placements += 1
            worse += published > best
            factor = max(factor, published / best)
    return placements, worse, factor


def test_the_published_ranking_is_right_for_our_splits_of_window_one():
    sizes = [(n, s) for n in range(2, 400) for s in range(2, 13)]
    assert published_ranking(Multistage(n, s, 0).copies_per_snapshot for n, s in sizes) == (25982, 0, 1.0)


def test_the_published_ranking_is_wrong_for_the_splits_of_the_golden_file():
    """For n = 8 and 3 slots, with 3, 5, 3 copies, the slot in RAM must be the middle one."""
    assert copies_by_recursion(8, 3, classic.golden_split) == ([1, 2, 1], [2, 3, 2])
    copies = [
        zip(*copies_by_recursion(n, s, classic.golden_split), strict=True)
        for n in range(2, 60)
        for s in range(2, 13)
    ]
    placements, worse, factor = published_ranking(copies)
    assert worse > 0.1 * placements
    assert factor == pytest.approx(14 / 9)


@pytest.mark.parametrize(
    ("model", "state", "factor"),
    [
        ({"window": 1, "lookback": 1}, "stored", 1.5),
        ({"window": 3, "lookback": 2}, "stored", 1.5),
        ({"window": 3, "lookback": 2}, "free", 2.0),
        ({"window": 4, "lookback": 1, "lag": 1}, "free", 13 / 6),
    ],
)
def test_the_published_ranking_is_wrong_with_lookback(model, state, factor):
    sizes = [(n, s) for n in range(2, 100) for s in range(2, 9)]
    copies = (Multistage(n, s, 0, initial_state=state, **model).copies_per_snapshot for n, s in sizes)
    placements, worse, found = published_ranking(copies)
    assert worse > 0.03 * placements
    assert found == pytest.approx(factor)


# --- valid --------------------------------------------------------------------------------------------------


@given(
    n=st.integers(0, 2000),
    in_ram=st.integers(0, 12),
    on_disk=st.integers(0, 12),
    window=st.integers(1, 12),
    lookback=st.integers(0, 3),
    lag=st.integers(0, 1),
    free=st.booleans(),
)
def test_every_schedule_is_valid_and_takes_the_steps_of_revolve(
    n, in_ram, on_disk, window, lookback, lag, free
):
    schedule = Multistage(
        n,
        in_ram + (in_ram + on_disk == 0),
        on_disk,
        window=max(window, lookback),
        lookback=lookback,
        lag=lag if lookback else 1,
        initial_state="free" if free else "stored",
    )
    steps = closed_form.forward_steps(n, schedule.n_snapshots + on_disk, *schedule.needs, free)
    assert run(schedule).forward_steps == steps


@pytest.mark.filterwarnings("ignore:Numba not available")
def test_steps_equal_those_of_checkpoint_schedules_and_copies_on_disk_are_no_more():
    """Over all cases together, 5 per cent fewer."""
    other = pytest.importorskip("checkpoint_schedules", reason="pip install checkpoint-schedules")
    disk = other.StorageType.DISK
    mine_in_all = theirs_in_all = 0
    for n in (2, 3, 5, 8, 10, 13, 20, 35, 50, 100, 200):
        for in_ram, on_disk in itertools.product(range(5), range(5)):
            if in_ram + on_disk == 0:
                continue
            steps = writes = reads = 0
            for action in other.MultistageCheckpointSchedule(n, in_ram, on_disk):
                if isinstance(action, other.Forward):
                    steps += action.n1 - action.n0
                    writes += action.write_ics and action.storage == disk
                elif isinstance(action, (other.Copy, other.Move)):
                    reads += action.from_storage == disk
                elif isinstance(action, other.EndReverse):
                    break
            schedule = Multistage(n, in_ram, on_disk)
            mine = [*schedule.counts.tiers, (0, 0, 0)][1]
            assert schedule.forward_steps == steps
            assert mine[0] <= writes
            assert mine[1] <= reads
            mine_in_all += mine[0] + mine[1]
            theirs_in_all += writes + reads
    assert (mine_in_all, theirs_in_all) == (4476, 4694)


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, -1, 2), "n_snapshots must be >= 0, got -1"),
        ((10, 2, -1), "n_on_disk must be >= 0, got -1"),
        ((10, 0, 0), "both 0; the initial state needs a slot"),
        ((-1, 1, 1), "got -1"),
    ],
)
def test_what_is_out_of_range_is_a_value_error_that_names_it(arguments, message):
    with pytest.raises(ValueError, match=message):
        Multistage(*arguments)


@pytest.mark.parametrize("costs", [None, 3.0, (0.0, 1.0)])
def test_costs_that_are_none_are_a_type_error(costs):
    with pytest.raises(TypeError, match="costs must be"):
        Multistage(10, 1, 1, costs=costs)


@pytest.mark.parametrize("save", [0.0, (0.0, 1.0, 2.0)])
def test_costs_of_another_number_of_tiers_are_a_value_error(save):
    with pytest.raises(ValueError, match="two tiers"):
        Multistage(10, 1, 1, costs=costs_of_copies(save, save))


@pytest.mark.parametrize("bad", [2.0, "2", True, None])
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_integer_is_a_type_error(place, bad):
    arguments = [10, 2, 2]
    arguments[place] = bad
    with pytest.raises(TypeError):
        Multistage(*arguments)
