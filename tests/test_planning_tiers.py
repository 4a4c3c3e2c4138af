"""Plans over memory and disk: against all windows, periods and slots, and against what schedules do."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrevolve import AsyncTwoTier, BudgetError, Costs, Multistage, Revolve, plan, plan_curve
from pyrevolve.costs import RELATIVE_COSTS_WITH_DISK

#: What lies on disk takes whole blocks, so budgets are told in them.
BLOCK = 4096
STATE, SLICE = 2 * BLOCK, BLOCK  # bytes

costs = st.builds(
    lambda calls, ram, write, read, reverse, recording: Costs(
        forward_step=1.0,
        reverse_step=reverse,
        recording=recording,
        forward_call=calls,
        reverse_call=calls,
        save=(ram, write),
        load=(ram, read),
    ),
    st.sampled_from([0.0, 0.02, 0.5]),
    st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    st.sampled_from([0.0, 0.3, 3.0, 12.0, 80.0]),
    st.sampled_from([0.0, 0.5, 4.0, 30.0]),
    st.sampled_from([0.5, 1.5]),
    st.sampled_from([0.0, 0.4]),
)
reads = st.sampled_from([(0, 1), (1, 0), (1, 1), (2, 0), (2, 1)])


def counts_of(chosen):
    return (
        chosen.forward_steps,
        chosen.forward_calls,
        chosen.reverse_calls,
        chosen.saves_per_tier,
        chosen.loads_per_tier,
    )


def counts_of_schedule(schedule):
    tiers = schedule.counts.tiers
    return (
        schedule.forward_steps,
        schedule.forward_calls,
        schedule.reverse_calls,
        tuple(tier.saves for tier in tiers),
        tuple(tier.loads for tier in tiers),
    )


@given(
    n=st.integers(0, 3000),
    memory=st.integers(3, 300),
    disk=st.integers(0, 3000),
    read=reads,
    free=st.booleans(),
    rates=costs,
    overlap=st.booleans(),
)
def test_every_plan_tells_what_its_schedule_does(n, memory, disk, read, free, rates, overlap):
    lookback, lag = read
    try:
        best = plan(
            n,
            state_bytes=STATE,
            window_slice_bytes=SLICE,
            memory=memory * BLOCK,
            disk=disk * BLOCK,
            lookback=lookback,
            lag=lag,
            initial_state="free" if free else "stored",
            costs=rates,
            overlap=overlap,
        )
    except BudgetError:
        window = max(1, lookback) * SLICE
        kept = 0 if free else STATE
        if disk * BLOCK >= STATE and not overlap:
            kept = 0
        assert memory * BLOCK < window + kept
        return
    predicted = [choice.predicted_seconds for choice in (best, *best.runners_up)]
    assert predicted == sorted(predicted)
    for choice in (best, *best.runners_up):
        schedule = choice.schedule
        padded = counts_of_schedule(schedule)
        assert padded == counts_of(choice)
        if choice.overlapped:
            time = schedule.overlap(rates)
            assert choice.predicted_seconds == pytest.approx(time.seconds + rates.interference * time.hidden)
            assert choice.predicted_wait == pytest.approx(time.write_wait + time.read_wait)
        else:
            # What a storage that writes behind the run does not hide is the copy to and from its buffer.
            copies = rates
            if overlap:
                copies = dataclasses.replace(
                    rates,
                    save=(rates.save_at(0), rates.save_at(0) + rates.save_at(1)),
                    load=(rates.load_at(0), rates.load_at(0) + rates.load_at(1)),
                )
            assert choice.predicted_seconds == pytest.approx(schedule.makespan(copies))
        tiers = schedule.counts.tiers
        buffers = 2 if overlap and choice.family != "revolve" else 0
        held = choice.window * SLICE + (tiers[0].peak + buffers) * STATE
        assert choice.planned_bytes == held <= memory * BLOCK
        assert choice.planned_disk_bytes == STATE * sum(tier.peak for tier in tiers[1:]) <= disk * BLOCK
        assert choice.n_snapshots == tiers[0].peak
        assert choice.n_on_disk == sum(tier.peak for tier in tiers[1:])


def all_two_tier(n, memory, disk, lookback, lag, rates, *, overlap):
    """Yield the time of every window with every period and every number of slots."""
    for window in range(max(1, lookback), memory + 1):
        room = (memory - window) // 2 - 2 * overlap
        for period in range(max(1, lookback), n + 1):
            for slots in range(room + 1):
                schedule = AsyncTwoTier(n, period, slots, window=window, lookback=lookback, lag=lag)
                tiers = schedule.counts.tiers
                if len(tiers) < 2 or 2 * tiers[1].peak > disk:
                    continue
                if not overlap:
                    yield schedule.makespan(rates)
                elif tiers[1].loads <= tiers[1].saves:
                    time = schedule.overlap(rates)
                    yield time.seconds + rates.interference * time.hidden


@settings(max_examples=12)
@given(
    n=st.integers(20, 60),
    memory=st.integers(4, 16),
    disk=st.integers(2, 60),
    read=reads,
    rates=costs,
    overlap=st.booleans(),
)
def test_no_period_window_or_slots_are_much_better(n, memory, disk, read, rates, overlap):
    """The periods that are tried are the kinks of the cost; the rest is rounding at the run's end."""
    lookback, lag = read
    best = min(all_two_tier(n, memory, disk, lookback, lag, rates, overlap=overlap), default=None)
    try:
        found = plan(
            n,
            state_bytes=STATE,
            window_slice_bytes=SLICE,
            memory=memory * BLOCK,
            disk=disk * BLOCK,
            lookback=lookback,
            lag=lag,
            costs=rates,
            overlap=overlap,
        )
    except BudgetError:
        assert best is None
        return
    if best is not None:
        assert found.predicted_seconds <= 1.08 * best


def test_one_tier_stays_as_it_was():
    """Without disk= nothing is planned there, and costs of a disk are not looked at."""
    arguments = {"state_bytes": STATE, "window_slice_bytes": SLICE, "memory": 40 * BLOCK, "lookback": 2}
    rates = Costs(forward_step=1, reverse_step=1, save=(0.5, 9), load=(0.5, 9))
    one = plan(1000, **arguments, costs=rates)
    assert one.family == "revolve"
    assert isinstance(one.schedule, Revolve)
    assert one.runners_up == ()
    assert one.disk == one.n_on_disk == one.planned_disk_bytes == 0
    assert counts_of(one) == counts_of(
        plan(1000, **arguments, costs=dataclasses.replace(rates, save=0.5, load=0.5))
    )


def test_slow_disk_is_left_alone_and_a_fast_one_is_not():
    def make(write, read):
        rates = Costs(forward_step=1, reverse_step=1.5, save=(0.4, write), load=(0.4, read))
        return plan(
            3000,
            state_bytes=STATE,
            window_slice_bytes=SLICE,
            memory=60 * BLOCK,
            disk=10**5 * BLOCK,
            lookback=2,
            costs=rates,
        )

    slow, fast = make(1e4, 1e4), make(2.0, 1.0)
    assert slow.family == "revolve"
    assert "No snapshot is put on disk" in slow.explain()
    assert fast.family != "revolve"
    assert fast.predicted_seconds < slow.predicted_seconds
    assert {choice.family for choice in (slow, *slow.runners_up)} >= {"revolve", "two-tier", "multistage"}


def test_hidden_transfers_cost_nothing():
    rates = Costs(forward_step=1, reverse_step=1.5, save=(0.4, 8.0), load=(0.4, 5.0))
    chosen = plan(
        3000,
        state_bytes=STATE,
        window_slice_bytes=SLICE,
        memory=60 * BLOCK,
        disk=10**5 * BLOCK,
        lookback=2,
        costs=rates,
        overlap=True,
    )
    assert chosen.family == "two-tier"
    assert chosen.predicted_wait == 0.0
    assert chosen.period >= 8
    assert "transfers are hidden" in chosen.explain()
    waited = plan(
        3000,
        state_bytes=STATE,
        window_slice_bytes=SLICE,
        memory=60 * BLOCK,
        disk=10**5 * BLOCK,
        lookback=2,
        costs=rates,
        overlap=False,
    )
    assert chosen.predicted_seconds < waited.predicted_seconds
    assert "Every transfer is waited for" in waited.explain()


def test_table_and_words_name_every_family_and_figure():
    chosen = plan(
        3000, state_bytes=STATE, window_slice_bytes=SLICE, memory=60 * BLOCK, disk=10**5 * BLOCK, lookback=2
    )
    table = chosen.table().splitlines()
    assert len(table) == 2 + len(chosen.runners_up)
    for line, choice in zip(table[1:], (chosen, *chosen.runners_up), strict=True):
        cells = line.split()
        assert cells[0] == choice.family
        assert cells[2:5] == [str(choice.window), str(choice.n_snapshots), str(choice.n_on_disk)]
        assert f"{choice.recompute_factor:.3f}" in cells
    assert "nothing was measured" in str(chosen)
    assert str(chosen.forward_steps) in str(chosen)
    assert str(chosen.n_on_disk) in chosen.explain()
    assert chosen.runners_up[0].family in chosen.explain()


def test_initial_state_on_disk_needs_no_slot_in_memory():
    arguments = {
        "state_bytes": 100,
        "window_slice_bytes": 10,
        "lookback": 2,
        "costs": RELATIVE_COSTS_WITH_DISK,
        "overlap": False,
    }
    chosen = plan(50, memory=30, disk=10**4, **arguments)
    assert chosen.n_snapshots == 0
    assert chosen.planned_bytes <= 30
    with pytest.raises(BudgetError, match="one snapshot") as failure:
        plan(50, memory=30, disk=99, **arguments)
    assert failure.value.required == 120
    with pytest.raises(BudgetError) as failure:
        plan(50, memory=19, disk=10**4, **arguments)
    assert failure.value.required == 20
    assert plan(50, memory=20, disk=10**4, **arguments).planned_bytes == 20


def test_plans_pickle_and_compare():
    chosen = plan(
        3000, state_bytes=STATE, window_slice_bytes=SLICE, memory=60 * BLOCK, disk=10**5 * BLOCK, lookback=2
    )
    copy = pickle.loads(pickle.dumps(chosen))
    assert copy == chosen
    assert copy.runners_up == chosen.runners_up
    assert isinstance(copy.schedule, (AsyncTwoTier, Multistage, Revolve))


def test_a_curve_falls_from_the_smallest_budget_to_store_all():
    arguments = {"state_bytes": 2, "window_slice_bytes": 1, "lookback": 2}
    curve = plan_curve(1000, **arguments)
    assert len(curve) == 40
    budgets = [chosen.memory for chosen in curve]
    assert budgets == sorted(budgets)
    seconds = [chosen.predicted_seconds for chosen in curve]
    assert all(later <= earlier * 1.02 for earlier, later in itertools.pairwise(seconds))
    assert curve[-1].forward_steps == 1000
    with pytest.raises(BudgetError):
        plan(1000, memory=budgets[0] - 1, **arguments)
    assert [chosen.memory for chosen in plan_curve(1000, memory=[50, "90 B"], **arguments)] == [50, 90]
    with_disk = plan_curve(1000, disk=10**5, points=10, **arguments)
    assert all(
        with_disk[i].predicted_seconds
        <= plan(1000, memory=with_disk[i].memory, **arguments).predicted_seconds * (1 + 1e-12)
        for i in range(1, 10)
    )
    with pytest.raises(ValueError, match="points"):
        plan_curve(1000, points=1, **arguments)


@pytest.mark.parametrize("memory", ["1 GB", 10**9, 1.5])
def test_one_budget_is_no_curve(memory):
    with pytest.raises(TypeError, match=f"memory must be a list of budgets, got {memory!r}"):
        plan_curve(1000, state_bytes=2, window_slice_bytes=1, memory=memory)
