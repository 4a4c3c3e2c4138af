"""Loads that are told to storages before their turn: in order, never too early, and as early as can be."""

from __future__ import annotations

import collections
import itertools
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import Layout, Stored, simulate
from test_revolver import Reverse, Telling, Wave, WaveCheckpoint, WaveStorage, assert_equal, forward_of, run

from pyrevolve import (
    AsyncTwoTier,
    Costs,
    DiskRevolve,
    DiskStorage,
    HRevolve,
    Kind,
    Mixed,
    Multistage,
    Periodic,
    Revolve,
    Revolver,
    TwoLevel,
    lookahead,
)
from pyrevolve.crevolve import Content
from pyrevolve.lookahead import Keeping, LookAhead

#: No more instructions than these are to be held.
HORIZON = 2048

COSTS = Costs(forward_step=1.0, reverse_step=1.0, save=(0.1, 2.0), load=(0.1, 1.5))
THREE = Costs(forward_step=1.0, reverse_step=1.0, save=(0.1, 1.0, 8.0), load=(0.1, 1.0, 5.0))


def copies(schedule):
    """Return (position in the schedule, tier, slot, position of its save) of all loads from a slot."""
    saved, loads = collections.defaultdict(lambda: -1), []
    for position, i in enumerate(schedule):
        if i.kind is Kind.SAVE:
            saved[i.tier, i.slot] = position
        elif i.kind is Kind.LOAD and i.slot >= 0:
            loads.append((position, i.tier, i.slot, saved[i.tier, i.slot]))
    return loads


def assert_told_in_time(schedule, ahead):
    """Carry a schedule out, and assert all that is promised of what is told on the way."""
    layout = schedule.layout
    full = {} if layout is None else {(tier, slot): t for t, tier, slot in layout.stored}
    outstanding = [collections.deque() for _ in ahead]
    left = [
        collections.deque((at, save) for at, tier, _, save in copies(schedule) if tier == own)
        for own in range(len(ahead))
    ]
    drawn, handed = 0, []

    def source():
        nonlocal drawn
        for instruction in schedule:
            drawn += 1
            assert drawn - len(handed) <= HORIZON
            yield instruction

    def announce(tier, slot):
        outstanding[tier].append((slot, full[tier, slot]))  # it is full
        assert len(outstanding[tier]) <= ahead[tier]
        left[tier].popleft()

    for i in LookAhead(source(), ahead, announce):
        where, now = (i.tier, i.slot), len(handed)
        handed.append(str(i))
        for own, most in enumerate(ahead):
            if len(outstanding[own]) < most and left[own] and left[own][0][0] < now + HORIZON:
                assert left[own][0][1] >= now  # what is loaded next is not saved yet
        if i.kind is Kind.SAVE:
            assert where not in full
            full[where] = i.t
        elif i.kind is Kind.LOAD and i.slot >= 0:
            if i.tier < len(ahead) and ahead[i.tier]:
                assert outstanding[i.tier].popleft() == (i.slot, i.t)
            if not i.keep:
                del full[where]
        elif i.kind is Kind.FREE:
            del full[where]
    assert handed == [str(i) for i in schedule]
    assert not any(outstanding)


def stand(schedule, count):
    """Return where a run stands after so many instructions, as arguments of `from_layout`."""
    stored, position, loaded_at, remaining = {}, 0, 0, None
    for i, _ in zip(schedule, range(count), strict=False):
        if i.kind is Kind.FORWARD:
            position = i.stop
        elif i.kind is Kind.REVERSE:
            remaining = i.start
        elif i.kind is Kind.TURN:
            remaining = schedule.n_timesteps
        elif i.kind is Kind.SAVE:
            stored[i.tier, i.slot] = i.t
        elif i.kind is Kind.LOAD:
            position = loaded_at = i.t
        if i.kind is Kind.FREE or (i.kind is Kind.LOAD and i.slot >= 0 and not i.keep):
            del stored[i.tier, i.slot]
    states = [(t, *where) for where, t in stored.items()]
    return states, {"position": position, "loaded_at": loaded_at, "remaining": remaining}


@st.composite
def schedules(draw, largest=300):
    n = draw(st.integers(0, largest))
    window, lookback, lag = draw(
        st.sampled_from([(1, 0, 1), (4, 0, 1), (1, 1, 0), (3, 2, 0), (4, 2, 1), (20, 2, 0)])
    )
    workspace = {"window": window, "lookback": lookback, "lag": lag}
    free = draw(st.booleans())
    workspace_and_start = {**workspace, "initial_state": "free" if free else "stored"}
    ram, disk = draw(st.integers(0, 6)), draw(st.integers(1, 9))
    period = draw(st.integers(max(1, lookback), 40))
    family = draw(st.sampled_from(["two-tier", "two-level", "periodic", "multistage", "three", "disk"]))
    if family == "two-tier":
        schedule = AsyncTwoTier(n, period, ram, **workspace_and_start)
    elif family == "two-level":
        schedule = TwoLevel(n, period, ram, **workspace_and_start)
    elif family == "periodic":
        schedule = Periodic(n, period, **workspace_and_start)
    elif family == "three":
        schedule = HRevolve(n, (ram, 2, disk), costs=THREE, **workspace_and_start)
    elif family == "disk":
        schedule = DiskRevolve(n, max(1, ram), costs=COSTS, **workspace)
    else:
        schedule = Multistage(n, ram, disk, **workspace_and_start)
        states, standing = stand(schedule, draw(st.integers(0, 5 * n)))
        if draw(st.booleans()) and standing["remaining"] != 0:
            more = draw(st.integers(0, 3))
            schedule = Multistage.from_layout(
                n, ram + more, disk + more, states, **standing, **workspace_and_start
            )
    return schedule


@settings(max_examples=500)
@given(schedules(), st.lists(st.integers(0, 5), max_size=3))
def test_every_load_is_told_in_order_as_soon_as_it_is_saved_and_there_is_room(schedule, ahead):
    assert_told_in_time(schedule, ahead)


@given(n=st.integers(0, 300), slots=st.integers(1, 12), count=st.integers(0, 900), ahead=st.integers(1, 4))
def test_schedules_that_take_a_run_over(n, slots, count, ahead):
    states, standing = stand(Revolve(n, slots), count)
    if standing["remaining"] != 0:
        schedule = Revolve.from_layout(n, slots + 1, [(t, slot) for t, _, slot in states], **standing)
        assert_told_in_time(schedule, [ahead])


@given(n=st.integers(1, 60), slots=st.integers(1, 8), ahead=st.integers(1, 4))
def test_step_data_is_told_like_states(n, slots, ahead):
    assert_told_in_time(Mixed(n, slots), [ahead])


def test_no_more_is_held_than_the_horizon_where_the_next_load_is_far_away():
    schedule = TwoLevel(12_000, 6_000, 9)
    on_disk = [at for at, tier, *_ in copies(schedule) if tier == 1]
    assert max(later - at for at, later in itertools.pairwise(on_disk)) > 2 * HORIZON
    for ahead in ([0, 1], [2, 2], [0, 3]):
        assert_told_in_time(schedule, ahead)


def test_slots_that_are_used_again_and_again_are_read_ahead_every_time():
    schedule = Multistage(300, 0, 3)
    disk = schedule.counts.tiers[1]
    assert disk.saves > 10 * disk.peak
    for most in (1, 3, 20):
        assert_told_in_time(schedule, [0, most])


def test_nothing_is_told_where_nothing_is_of_use():
    told = []
    schedule = Multistage(50, 2, 3)
    for ahead in ([], [0, 0], [0]):
        handed = list(LookAhead(iter(schedule), ahead, lambda *where: told.append(where)))
        assert [str(i) for i in handed] == [str(i) for i in schedule]
    assert told == []


def test_what_the_schedule_raises_passes_through_where_it_is():
    def broken():
        yield from list(Multistage(20, 1, 2))[:7]
        raise ZeroDivisionError

    handed = []
    with pytest.raises(ZeroDivisionError):
        handed.extend(LookAhead(broken(), [0], lambda *where: None))
    look = LookAhead(iter([]), [1], lambda *where: None)
    for _ in range(2):
        assert next(look, None) is None


# --- step data that nobody needs


def first_kept(schedule):
    """Return, for every FORWARD, the first timestep whose data is needed (its stop: none), read backwards."""
    needed, kept, handed_on = set(), [], False
    for i in reversed(list(schedule)):
        if i.kind is Kind.REVERSE:
            needed |= set(range(i.start, i.stop))
            handed_on = True
        elif i.kind is Kind.SAVE and i.content is Content.STEP_DATA:
            needed.add(i.t)
        elif i.kind is Kind.LOAD:
            needed.clear()
            handed_on = False
        elif i.kind is Kind.TURN:
            handed_on = True
        elif i.kind is Kind.FORWARD:
            # What is handed on to a reverse operator, or to the user, is left by a timestep that is recorded.
            first = min([i.stop, *needed, *[i.stop - 1] * handed_on])
            kept.append(max(first, i.start))
            handed_on = False
            # What is needed from before this call is retained across it.
            needed -= set(range(i.start, i.stop))
    return kept[::-1]


def assert_keeps_what_is_needed(schedule, **simulated):
    handed = list(Keeping(schedule))
    forward = [i for i in handed if i.kind is Kind.FORWARD]
    assert [i.start if i.kept is None else i.kept for i in forward] == first_kept(schedule)
    assert [(i.kind, i.start, i.stop, i.t, i.tier, i.slot, i.keep) for i in handed] == [
        (i.kind, i.start, i.stop, i.t, i.tier, i.slot, i.keep) for i in schedule
    ]
    window, lookback, lag = schedule.needs
    layout = schedule.layout
    if layout is not None:
        simulated["layout"] = Layout(
            [Stored(tier, slot, t) for t, tier, slot in layout.stored],
            layout.position,
            layout.loaded_at,
            layout.remaining,
            layout.remaining is not None,
        )
    simulate(
        handed,
        n=schedule.n_timesteps,
        snapshots=[None] * 3,
        window=window,
        lookback=lookback,
        lag=lag,
        free_initial=schedule.free_initial_state,
        **simulated,
    )


@settings(max_examples=500)
@given(schedules())
def test_step_data_is_kept_from_the_first_timestep_on_that_anybody_needs(schedule):
    assert_keeps_what_is_needed(schedule)


@given(n=st.integers(0, 200), slots=st.integers(1, 20), window=st.integers(1, 40))
def test_step_data_that_is_kept_by_revolve_and_by_mixed_schedules(n, slots, window):
    assert_keeps_what_is_needed(Revolve(n, slots, window=window))
    assert_keeps_what_is_needed(Mixed(n, slots))


def test_most_step_data_of_a_long_run_is_needed_by_nobody():
    schedule = Revolve(1000, 10, window=20)
    run_again = [(i.start, i.stop, i.kept) for i in Keeping(schedule) if i.kind is Kind.FORWARD]
    kept = sum(stop - (start if kept is None else kept) for start, stop, kept in run_again)
    assert kept == 1000 < schedule.forward_steps / 2
    (only,) = [i for i in Keeping(Revolve(5, 1, window=9)) if i.kind is Kind.FORWARD]
    assert only.kept is None
    with pytest.raises(ValueError, match="cannot keep the step data from timestep 6"):
        only.keeping(6)
    assert only.keeping(3) != only
    assert repr(only.keeping(3)) == "FORWARD(start=0, stop=5, kept=3)"
    assert pickle.loads(pickle.dumps(only.keeping(3))) == only.keeping(3)


def test_what_is_not_known_within_the_horizon_is_kept(monkeypatch):
    monkeypatch.setattr(lookahead, "_HORIZON", 6)
    schedule = Revolve(300, 40, window=100)
    handed = [i for i in Keeping(schedule) if i.kind is Kind.FORWARD]
    unknown = [i for i, first in zip(handed, first_kept(schedule), strict=True) if i.kept != first]
    assert unknown
    assert all(i.kept is None for i in unknown)


# --- with a disk


class ToldDiskStorage(Telling, DiskStorage):
    """A disk that keeps account of what it was told."""

    def __init__(self, n_slots, wave, directory, buffers):
        super().__init__(n_slots, WaveCheckpoint(wave).arrays(0), directory=directory, buffers=buffers)
        self.wave = wave
        self.told, self.loaded = [], []

    def prefetch(self, slot):
        assert self.timesteps[slot] is not None
        self.told.append((slot, self.timesteps[slot]))
        super().prefetch(slot)

    def load(self, slot, arrays, t, *content):
        self.loaded.append((slot, t))
        return super().load(slot, arrays, t, *content)


@pytest.mark.parametrize("buffers", [1, 2, 3])
@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (4, 2, 0)])
def test_gradient_from_a_disk_that_reads_ahead_equals_store_all(buffers, window, lookback, lag, tmp_path):
    workspace = {"window": window, "lookback": lookback, "lag": lag}
    n = 45
    for schedule in (
        AsyncTwoTier(n, 6, 2, **workspace),
        AsyncTwoTier(n, 3, 0, initial_state="free", **workspace),
        TwoLevel(n, 9, 1, **workspace),
        Multistage(n, 1, 2, **workspace),
        Multistage(n, 0, 4, initial_state="free", **workspace),
        HRevolve(n, (1, 3), costs=COSTS, **workspace),
        DiskRevolve(n, 2, costs=COSTS, **workspace),
    ):
        wave = Wave(n, window, lookback, lag)
        ram, disk = (tier.peak for tier in (*schedule.counts.tiers, *schedule.counts.tiers)[:2])
        with ToldDiskStorage(disk, wave, tmp_path, buffers) as storage:
            storages = [WaveStorage(ram, wave), storage]
            revolver = Revolver(
                WaveCheckpoint(wave), forward_of(wave), Reverse(wave), schedule=schedule, storage=storages
            )
            for _ in range(2):
                assert_equal(run(wave, revolver), wave.store_all())
                assert wave.forward_steps == schedule.forward_steps
                assert storage.told == storage.loaded
                storage.told.clear()
                storage.loaded.clear()
                revolver.reset()
    assert list(tmp_path.iterdir()) == []


@given(schedules(largest=60), st.integers(1, 3))
def test_gradient_from_a_disk_equals_store_all_for_any_sizes(tmp_path_factory, schedule, buffers):
    if schedule.layout is not None:
        return
    window, lookback, lag = schedule.needs
    wave = Wave(schedule.n_timesteps, window, lookback, lag)
    folder = tmp_path_factory.getbasetemp()
    storages = [
        ToldDiskStorage(tier.peak, wave, folder, buffers) if tier.peak else WaveStorage(0, wave)
        for tier in schedule.counts.tiers
    ] or [WaveStorage(0, wave)]
    revolver = Revolver(
        WaveCheckpoint(wave), forward_of(wave), Reverse(wave), schedule=schedule, storage=storages
    )
    assert_equal(run(wave, revolver), wave.store_all())
    assert wave.forward_steps == schedule.forward_steps
    for storage in storages:
        assert storage.n_slots == 0 or storage.told == storage.loaded
        storage.close()
