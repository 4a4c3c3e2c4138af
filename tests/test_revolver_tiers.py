"""The driver over several tiers, with step data in the slots, and where n is not known beforehand.

The problem, and the workspace that retains no more than it says, are those of test_revolver.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_revolver import (
    BrokenError,
    Forward,
    Reverse,
    Telling,
    Wave,
    WaveCheckpoint,
    WaveStorage,
    assert_equal,
    forward_of,
    run,
)

from pyrevolve import (
    CAMS,
    AsyncTwoTier,
    BudgetError,
    Checkpoint,
    Costs,
    DiskStorage,
    ForwardOnly,
    Kind,
    MemoryStorage,
    Mixed,
    Multistage,
    Operator,
    Periodic,
    Revolve,
    Revolver,
    Schedule,
    ScheduleError,
    StorageError,
    StoreAll,
    TwoLevel,
)
from pyrevolve.crevolve import Content, Counts, TierCounts, _instruction, windowed_instructions
from pyrevolve.schedules import Online
from pyrevolve.storage.slots import slot_nbytes


class WaveDiskStorage(Telling, DiskStorage):
    def __init__(self, n_slots, wave, directory):
        super().__init__(n_slots, WaveCheckpoint(wave).arrays(0), directory=directory)
        self.wave = wave


class StepDataCheckpoint(WaveCheckpoint):
    """Offers the step data of a timestep, which has another shape than the slices of a state."""

    def get_step_data(self, t):
        return [self.wave.step_data[t]]


def make(wave, schedule, disk=None, checkpoint=WaveCheckpoint):
    """Return a Revolver with storages that tell the wave of loads; `disk` holds what is above tier 0."""
    slots = [tier.peak for tier in schedule.counts.tiers] if isinstance(schedule, Schedule) else [50]
    storages = [
        WaveDiskStorage(peak, wave, disk) if disk is not None and tier else WaveStorage(peak, wave)
        for tier, peak in enumerate(slots)
    ]
    return Revolver(checkpoint(wave), forward_of(wave), Reverse(wave), schedule=schedule, storage=storages)


class Listed(Schedule):
    """A schedule of the test's own, given as rows (kind, start, stop, t, tier, slot, keep, content)."""

    def __init__(self, n_timesteps, rows, needs=(1, 0, 1)):
        self.n_timesteps = n_timesteps
        self.rows = [_instruction(*row) for row in rows]
        self._needs = needs

    needs = property(lambda self: self._needs)
    free_initial_state = False

    @property
    def needs_step_data(self):
        return any(i.content is Content.STEP_DATA for i in self.rows)

    @property
    def counts(self):
        def of(kind):
            return [i for i in self.rows if i.kind is kind]

        copies = of(Kind.SAVE) + of(Kind.LOAD)
        tiers = []
        for tier in range(1 + max((i.tier for i in copies), default=0)):
            saves, loads = ([i for i in of(k) if i.tier == tier] for k in (Kind.SAVE, Kind.LOAD))
            peak = 1 + max((i.slot for i in saves), default=-1)
            tiers.append(TierCounts(len(saves), len(loads), peak))
        return Counts(
            sum(i.stop - i.start for i in of(Kind.FORWARD)),
            len(of(Kind.SAVE)),
            len(of(Kind.LOAD)),
            len(of(Kind.FORWARD)),
            len(of(Kind.REVERSE)),
            sum(tier.peak for tier in tiers),
            tuple(tiers),
            len(of(Kind.FREE)),
        )

    def instructions(self):
        return iter(self.rows)


def forward(start, stop):
    return int(Kind.FORWARD), start, stop, -1, -1, -1, 0, 0


def reverse(t):
    return int(Kind.REVERSE), t, t + 1, -1, -1, -1, 0, 0


def copy(kind, t, tier, slot, content=Content.STATE):
    return int(kind), -1, -1, t, tier, slot, 0, int(content)


TURN = int(Kind.TURN), -1, -1, -1, -1, -1, 0, 0
END = int(Kind.END), -1, -1, -1, -1, -1, 0, 0


@functools.cache
def mixed_split(n, s):
    """Forward steps of the best mixed schedule (Maddison 2024), and its first move: 1 keeps step data."""
    if n == 1:
        return 1, 0
    if s == 0:
        return float("inf"), 0
    moves = [(i + mixed_split(i, s)[0] + mixed_split(n - i, s - 1)[0], i) for i in range(2, n)]
    return min([(1 + mixed_split(n - 1, s - 1)[0], 1), *moves])


def mixed(n, s, data_tier):
    """A schedule that keeps states in tier 0 and step data in `data_tier`, at most s of both at once."""
    free = {tier: list(range(s))[::-1] for tier in (0, data_tier)}
    rows = []

    def chain(a, b, slots):
        if b - a == 1:
            rows.append(forward(a, b))
            if TURN not in rows:
                rows.append(TURN)
            rows.append(reverse(a))
            return
        _, i = mixed_split(b - a, slots)
        tier, content = (data_tier, Content.STEP_DATA) if i == 1 else (0, Content.STATE)
        slot = free[tier].pop()
        saving = copy(Kind.SAVE, a, tier, slot, content)
        rows.extend((forward(a, a + 1), saving) if i == 1 else (saving, forward(a, a + i)))
        chain(a + i, b, slots - 1)
        rows.append(copy(Kind.LOAD, a, tier, slot, content))
        free[tier].append(slot)
        if i == 1:
            rows.append(reverse(a))
        else:
            chain(a, a + i, slots)

    chain(0, n, s)
    return Listed(n, [*rows, END])


def in_tiers(n, tiers, window=1, lookback=0, lag=1):
    """Revolve whose i-th snapshot from the left is in tier tiers[i]."""
    instructions = windowed_instructions(n, len(tiers), window, lookback, lag, tiers=tiers)
    rows = [
        [int(i.kind)]
        + [-1 if value is None else value for value in (i.start, i.stop, i.t, i.tier, i.slot)]
        + [int(bool(i.keep)), int(i.content or 0)]
        for i in instructions
    ]
    return Listed(n, rows, (window, lookback, lag))


def assert_profile(revolver, schedule):
    """Assert that what was counted is what the schedule announced."""
    profiler = revolver.profiler
    assert profiler[Kind.FORWARD].steps == schedule.forward_steps
    assert profiler[Kind.FORWARD].calls == schedule.forward_calls
    assert profiler[Kind.REVERSE].steps == schedule.n_timesteps
    assert profiler[Kind.SAVE].calls == schedule.saves
    assert profiler[Kind.LOAD].calls == schedule.loads
    assert profiler[Kind.FREE].calls == schedule.counts.frees
    for record, count in zip(profiler.tiers, schedule.counts.tiers, strict=True):
        assert (record.saves.calls, record.loads.calls) == (count.saves, count.loads)


# --- gradients over several tiers


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    ("window", "lookback", "lag"), [(1, 0, 1), (4, 0, 1), (1, 1, 0), (3, 2, 0), (4, 2, 1)]
)
def test_gradient_over_two_tiers_equals_store_all(window, lookback, lag, on_disk, tmp_path):
    workspace = {"window": window, "lookback": lookback, "lag": lag}
    for n, (ram, disk) in itertools.product((0, 1, 5, 13, 41), ((0, 1), (1, 1), (2, 3), (4, 0))):
        period = max(7, lookback)
        for schedule in (
            Multistage(n, ram, disk, **workspace),
            Multistage(n, ram, disk, initial_state="free", **workspace),
            TwoLevel(n, period, ram, **workspace),
            AsyncTwoTier(n, period, ram, **workspace),
            Periodic(n, period, **workspace),
        ):
            wave = Wave(n, window, lookback, lag, seed=n)
            revolver = make(wave, schedule, tmp_path if on_disk else None)
            assert_equal(run(wave, revolver), wave.store_all())
            assert_profile(revolver, schedule)
            for storage in revolver.storages:
                storage.close()
    assert not list(tmp_path.iterdir())


@given(
    n=st.integers(1, 120),
    tiers=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    window=st.integers(1, 10),
    lookback=st.integers(0, 3),
)
def test_gradient_over_three_tiers_equals_store_all(n, tiers, window, lookback):
    window, lag = max(window, lookback), 0 if lookback else 1
    schedule = in_tiers(n, tiers, window, lookback, lag)
    wave = Wave(n, window, lookback, lag)
    revolver = make(wave, schedule)
    for _ in range(2):
        assert_equal(run(wave, revolver), wave.store_all())
        assert_profile(revolver, schedule)
        revolver.reset()


def test_bytes_are_counted_per_tier(tmp_path):
    wave = Wave(60)
    schedule = Multistage(60, 2, 3)
    revolver = make(wave, schedule, tmp_path)
    run(wave, revolver)
    state = sum(array.nbytes for array in WaveCheckpoint(wave).arrays(0))
    profiler = revolver.profiler
    for record, count in zip(profiler.tiers, schedule.counts.tiers, strict=True):
        assert record.saves.bytes == count.saves * state
        assert record.loads.bytes == count.loads * state
        assert 0 < record.saves.seconds < profiler.seconds
    assert profiler[Kind.SAVE].bytes == schedule.saves * state
    assert profiler[Kind.LOAD].nanoseconds == sum(tier.loads.nanoseconds for tier in profiler.tiers)
    assert 0 < sum(record.seconds for _, record in profiler) <= profiler.seconds
    assert "tier 1" in str(profiler)
    revolver.reset()
    assert not any(tier.saves.calls or tier.loads.calls for tier in profiler.tiers)


def test_free_initial_state_counts_as_loads_of_the_first_tier():
    wave = Wave(40)
    schedule = Multistage(40, 0, 2, initial_state="free")
    revolver = make(wave, schedule)
    run(wave, revolver)
    created = wave.log.count(("initial",)) - 1  # one of them starts the sweep
    assert revolver.profiler.tiers[0].loads.calls == created == schedule.counts.tiers[0].loads > 0
    assert revolver.profiler.tiers[0].loads.bytes == 0


# --- the storages


def test_storages_made_by_default(tmp_path):
    wave = Wave(50)
    schedule = Multistage(50, 2, 3)
    with Revolver(
        WaveCheckpoint(wave), Forward(wave), Reverse(wave), schedule=schedule, threads=1, disk_dir=tmp_path
    ) as revolver:
        ram, disk = revolver.storages
        assert revolver.storage is ram
        assert (type(ram), type(disk)) == (MemoryStorage, DiskStorage)
        assert (ram.n_slots, disk.n_slots) == (2, 3)
        assert revolver.n_checkpoints == 5
        (folder,) = tmp_path.iterdir()
        assert disk.path.startswith(str(folder))
        for _ in range(2):
            assert_equal(run(wave, revolver), wave.store_all())
            revolver.reset()
    assert not list(tmp_path.iterdir())
    assert (ram.nbytes, disk.nbytes) == (0, 0)


def test_unbounded_disk_has_as_many_slots_as_are_used(tmp_path):
    wave = Wave(100)
    schedule = TwoLevel(100, 10, 2)
    with Revolver(
        WaveCheckpoint(wave), Forward(wave), Reverse(wave), schedule=schedule, disk_dir=tmp_path
    ) as revolver:
        assert [storage.n_slots for storage in revolver.storages] == [2, schedule.counts.tiers[1].peak]
        assert_equal(run(wave, revolver), wave.store_all())


def test_no_room_on_disk_is_said_at_the_start(tmp_path):
    class Huge(WaveCheckpoint):
        def get_data(self, t):
            return [np.broadcast_to(0.0, 1 << 46)]

    wave = Wave(50)
    with pytest.raises(StorageError, match="cannot reserve"):
        Revolver(Huge(wave), Forward(wave), Reverse(wave), schedule=Multistage(50, 0, 3), disk_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("schedule", "keywords", "error", "message"),
    [
        (Multistage(50, 2, 3), {"storage": MemoryStorage(2)}, ValueError, "2 tiers"),
        (Multistage(50, 2, 3), {"storage": []}, ValueError, "2 tiers"),
        (Multistage(50, 2, 3), {"storage": [MemoryStorage(2), MemoryStorage(2)]}, ValueError, "tier 1"),
        (Multistage(50, 2, 3), {"storage": [MemoryStorage(1), MemoryStorage(3)]}, ValueError, "tier 0"),
        (Multistage(50, 2, 3), {"storage": [MemoryStorage(2), "disk"]}, TypeError, "str"),
        (Multistage(50, 2, 3), {"storage": 3}, TypeError, "int"),
        (
            Multistage(50, 2, 3),
            {"storage": [MemoryStorage(2), MemoryStorage(3)], "disk_dir": "."},
            ValueError,
            "disk_dir",
        ),
        (
            Multistage(50, 2, 3),
            {"storage": [MemoryStorage(2), MemoryStorage(3)], "threads": 1},
            ValueError,
            "threads",
        ),
        (Multistage(50, 2, 3), {"disk_dir": "no/such/directory"}, StorageError, "no/such/directory"),
        (in_tiers(50, [0, 1, 2]), {}, ValueError, "storage="),
    ],
)
def test_storages_that_do_not_do(schedule, keywords, error, message):
    wave = Wave(50)
    with pytest.raises(error, match=message):
        Revolver(WaveCheckpoint(wave), Forward(wave), Reverse(wave), schedule=schedule, **keywords)


def test_storages_of_the_callers_own_stay_open():
    wave = Wave(50)
    storages = [MemoryStorage(9), MemoryStorage(9), MemoryStorage(9)]
    with Revolver(
        WaveCheckpoint(wave),
        Forward(wave),
        Reverse(wave),
        schedule=Multistage(50, 2, 3),
        storage=iter(storages),
    ) as revolver:
        assert_equal(run(wave, revolver), wave.store_all())
    assert [storage.nbytes > 0 for storage in storages] == [True, True, False]


@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (3, 0, 1)])
def test_budgets_of_memory_and_disk(window, lookback, lag, tmp_path):
    wave = Wave(300, window, lookback, lag)
    checkpoint = WaveCheckpoint(wave)
    checkpoint.window_bytes = 1000
    slot = slot_nbytes(checkpoint.arrays(0))
    families = set()
    for ram, disk, cost in ((2, 4, 0.01), (2, 100, 0.01), (1, 20, 3.0), (5, 50, 1e6), (0, 300, 0.0)):
        memory = 1000 + ram * slot + slot - 1 + 2 * 4096  # two buffers
        costs = Costs(forward_step=1.0, reverse_step=1.5, save=(0.1, cost), load=(0.1, cost))
        with Revolver(
            checkpoint,
            Forward(wave),
            Reverse(wave),
            n_timesteps=300,
            memory=memory,
            disk=disk * 4096,
            costs=costs,
            disk_dir=tmp_path,
        ) as revolver:
            assert_equal(run(wave, revolver), wave.store_all())
            held = [storage.nbytes for storage in revolver.storages]
            assert held[0] + 1000 <= memory
            assert sum(held[1:]) <= disk * 4096
            assert revolver.plan.forward_steps == wave.forward_steps
            assert revolver.plan.saves_per_tier == tuple(t.saves.calls for t in revolver.profiler.tiers)
            assert revolver.plan.loads_per_tier == tuple(t.loads.calls for t in revolver.profiler.tiers)
            families.add(revolver.plan.family)
        assert not list(tmp_path.iterdir())
    assert "revolve" in families
    assert len(families) >= 2


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"n_checkpoints": 3, "n_timesteps": 10, "disk": 10**6}, ValueError),
        ({"schedule": Revolve(10, 3), "disk": 10**6}, ValueError),
        ({"n_timesteps": 10, "memory": 0, "disk": 0}, BudgetError),
        ({"n_timesteps": 10, "memory": 10**6, "disk": "a lot"}, ValueError),
        (
            {
                "n_timesteps": 10,
                "memory": 10**6,
                "disk": 10**6,
                "costs": Costs(forward_step=1, reverse_step=1),
            },
            ValueError,
        ),
    ],
)
def test_budgets_that_do_not_do(keywords, error, tmp_path):
    wave = Wave(10)
    with pytest.raises(error):
        Revolver(WaveCheckpoint(wave), Forward(wave), Reverse(wave), disk_dir=tmp_path, **keywords)


# --- faults


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("after", range(0, 60, 7))
def test_exception_anywhere_and_reset(monkeypatch, tmp_path, error, after):
    wave = Wave(40, 2, 1)
    revolver = make(wave, Multistage(40, 2, 2, window=2, lookback=1), tmp_path)
    count = itertools.count()

    def failing(original):
        def call(*arguments, **keywords):
            if next(count) == after:
                raise error("user's own")
            return original(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((Forward, "apply"), (Reverse, "apply"), (Telling, "save"), (Telling, "load")):
            patch.setattr(owner, name, failing(getattr(owner, name)))
        with pytest.raises(error, match="user's own"):
            run(wave, revolver)
    for storage in revolver.storages:
        for slot, t in enumerate(storage.timesteps):
            if t is not None:
                storage.load(slot, WaveCheckpoint(wave).arrays(t), t)
    revolver.reset()
    assert all(t is None for storage in revolver.storages for t in storage.timesteps)
    assert_equal(run(wave, revolver), wave.store_all())


def test_one_tier_that_cannot_be_cleared_or_closed_leaves_the_others_done():
    class Stubborn(MemoryStorage):
        def clear(self):
            raise BrokenError("clear")

        def close(self):
            raise BrokenError("close")

    wave = Wave(50)
    for broken in range(2):
        storages = [MemoryStorage(2), MemoryStorage(3)]
        storages[broken] = Stubborn(5)
        revolver = Revolver(
            WaveCheckpoint(wave),
            Forward(wave),
            Reverse(wave),
            schedule=Multistage(50, 2, 3),
            storage=storages,
        )
        wave.set_initial()
        revolver.apply_forward()
        with pytest.raises(BrokenError, match="clear"):
            revolver.reset()
        assert all(t is None for t in storages[1 - broken].timesteps)
        revolver._owns_storages = True
        with pytest.raises(BrokenError, match="close"):
            revolver.close()
        assert storages[1 - broken].nbytes == 0


@pytest.mark.parametrize("end", ["raise RuntimeError", "import sys; sys.exit(2)", "0 / 0"])
def test_operator_that_ends_the_interpreter_leaves_no_file(end, tmp_path):
    program = f"""
    import numpy as np
    from pyrevolve import Checkpoint, Multistage, Operator, Revolver
    x = np.zeros(1000)
    class State(Checkpoint):
        dtype, size = x.dtype, x.size
        def get_data(self, t):
            return [x]
        get_data_location = get_data
    class Forward(Operator):
        def apply(self, t_start, t_end):
            if t_end == 20:
                {end}
    schedule = Multistage(20, 1, 3)
    revolver = Revolver(State(), Forward(), Forward(), schedule=schedule, disk_dir={str(tmp_path)!r})
    revolver.apply_forward()
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert result.returncode in (1, 2)
    assert not list(tmp_path.iterdir())


# --- step data


@pytest.mark.parametrize("data_tier", [0, 1])
def test_gradient_with_step_data_equals_store_all(data_tier, tmp_path):
    for n, s in itertools.product((1, 2, 3, 7, 20, 41), (1, 2, 3, 6)):
        schedule = mixed(n, s, data_tier)
        assert schedule.forward_steps == mixed_split(n, s)[0]
        wave = Wave(n, seed=n)
        revolver = make(wave, schedule, tmp_path, StepDataCheckpoint)
        for _ in range(2):
            assert_equal(run(wave, revolver), wave.store_all())
            assert_profile(revolver, schedule)
            revolver.reset()
        for storage in revolver.storages:
            storage.close()


def test_step_data_in_storages_made_by_default(tmp_path):
    """Step data is larger than a state in one case, smaller in the other."""
    for depth in (2, 6):
        wave = Wave(30)
        wave.depth = depth
        wave.ring = np.full((depth, *wave.ring.shape[1:]), np.nan)
        schedule = mixed(30, 4, 1)
        assert schedule.needs_step_data
        with Revolver(
            StepDataCheckpoint(wave), Forward(wave), Reverse(wave), schedule=schedule, disk_dir=tmp_path
        ) as revolver:
            assert_equal(run(wave, revolver), wave.store_all())
            state, data = (
                sum(array.nbytes for array in arrays)
                for arrays in (revolver.checkpoint.get_data(0), revolver.checkpoint.get_step_data(0))
            )
            counts = schedule.counts.tiers
            assert revolver.profiler.tiers[0].saves.bytes == counts[0].saves * state
            assert revolver.profiler.tiers[1].loads.bytes == counts[1].loads * data
            assert revolver.storages[0].nbytes >= counts[0].peak * state
            assert revolver.storages[1].nbytes >= counts[1].peak * data


@pytest.mark.parametrize("stages", [1, 2, 4])
@pytest.mark.parametrize("stiffly_accurate", [False, True])
def test_states_and_stages_share_the_memory(stages, stiffly_accurate):
    """Step data of so many states: the memory is what is held at most at once, whichever it is."""

    class Stages(StepDataCheckpoint):
        def get_data(self, t):
            return [np.zeros(512)]

        get_data_location = get_data

        def get_step_data(self, t):
            return [np.zeros((stages, 512))]

    class Idle(Forward):
        def apply(self, t_start, t_end):
            pass

    for n, units in ((1, 1), (20, 3), (50, 9), (100, 20)):
        schedule = CAMS(n, units, stages, stiffly_accurate=stiffly_accurate)
        wave = Wave(1)
        with Revolver(Stages(wave), Idle(wave), Idle(wave), schedule=schedule) as revolver:
            assert revolver.storage.nbytes == schedule.peak_units * 4096 <= units * 4096
            for _ in range(2):
                revolver.apply_forward()
                revolver.apply_reverse()
                revolver.reset()


class RungeKutta:
    """x' = -m x^3 + x[::-1] in two stages; `stiffly_accurate` appends the new solution as a third.

    The stages of a timestep are its step data. The misfit is sum(x_n^2) / 2, the gradient that by m.
    """

    H = 0.1

    def __init__(self, n, stiffly_accurate):
        random = np.random.default_rng(n)
        self.n, self.stiffly_accurate = n, stiffly_accurate
        self.model, self.initial = random.uniform(0.5, 1.5, 7), random.normal(size=7)
        self.stages = np.full((2 + stiffly_accurate, 7), np.nan)
        # A stiffly accurate method has its state in the last stage, and nowhere else.
        self.x = self.stages[-1] if stiffly_accurate else np.full(7, np.nan)
        self.forward_steps = 0

    def slope(self, y):
        return -self.model * y**3 + y[::-1]

    def forward(self, t_start, t_end):
        for _ in range(t_start, t_end):
            self.stages[0] = self.x
            self.stages[1] = self.stages[0] + self.H * self.slope(self.stages[0])
            self.x[:] = self.stages[0] + self.H / 2 * (
                self.slope(self.stages[0]) + self.slope(self.stages[1])
            )
        self.forward_steps += t_end - t_start

    def reverse(self, t_start, t_end):
        assert t_end == t_start + 1
        one, two, later = self.stages[0], self.stages[1], self.adjoint
        second = self.H / 2 * later
        by_two = -3 * self.model * two**2 * second + second[::-1]
        first = self.H / 2 * later + self.H * by_two
        self.gradient -= two**3 * second + one**3 * first
        self.adjoint = later + by_two - 3 * self.model * one**2 * first + first[::-1]

    def start(self):
        self.stages[:] = np.nan
        self.x[:] = self.initial
        self.gradient, self.forward_steps = np.zeros(7), 0

    def misfit(self, model):
        self.start()
        own, self.model = self.model, model
        self.forward(0, self.n)
        self.model = own
        return self.x @ self.x / 2

    def store_all(self):
        self.start()
        kept = []
        for t in range(self.n):
            self.forward(t, t + 1)
            kept.append(self.stages.copy())
        self.adjoint = self.x.copy()
        for t in reversed(range(self.n)):
            self.stages[:] = kept[t]
            self.reverse(t, t + 1)
        return self.gradient, self.adjoint


class Apply(Operator):
    def __init__(self, function):
        self.function = function

    def apply(self, t_start, t_end):
        self.function(t_start, t_end)


class RungeKuttaCheckpoint(Checkpoint):
    dtype, size = np.dtype(float), 7

    def __init__(self, problem):
        self.problem = problem

    def get_data(self, t):
        return [self.problem.x]

    get_data_location = get_data

    def get_step_data(self, t):
        return [self.problem.stages]


@pytest.mark.parametrize("stiffly_accurate", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 20, 60])
def test_gradient_of_runge_kutta_with_stored_stages(n, stiffly_accurate):
    problem = RungeKutta(n, stiffly_accurate)
    expected = problem.store_all()
    direction = np.random.default_rng(3).normal(size=7)
    change = problem.misfit(problem.model + 1e-6 * direction) - problem.misfit(
        problem.model - 1e-6 * direction
    )
    assert expected[0] @ direction == pytest.approx(change / 2e-6, rel=1e-5)

    stages = len(problem.stages)
    for schedule in (
        *(CAMS(n, units, stages, stiffly_accurate=stiffly_accurate) for units in (1, 2, 3, 7, 15)),
        *(Mixed(n, slots) for slots in (1, 2, 5)),
        Revolve(n, 3),
    ):
        with Revolver(
            RungeKuttaCheckpoint(problem), Apply(problem.forward), Apply(problem.reverse), schedule=schedule
        ) as revolver:
            for _ in range(2):
                problem.start()
                revolver.apply_forward()
                problem.adjoint = problem.x.copy()
                revolver.apply_reverse()
                assert_equal((problem.gradient, problem.adjoint), expected)
                assert problem.forward_steps == schedule.forward_steps
                assert_profile(revolver, schedule)
                revolver.reset()


def test_step_data_has_a_location_of_its_own():
    asked = []

    class Elsewhere(StepDataCheckpoint):
        def get_step_data_location(self, t):
            asked.append(t)
            return [self.wave.step_data[t]]

    wave = Wave(10)
    schedule = mixed(10, 3, 0)
    assert_equal(run(wave, make(wave, schedule, None, Elsewhere)), wave.store_all())
    assert asked == [i.t for i in schedule if i.kind is Kind.LOAD and i.content is Content.STEP_DATA]


def test_step_data_that_the_checkpoint_does_not_offer():
    wave = Wave(10)
    with pytest.raises(ValueError, match=r"WaveCheckpoint.get_step_data\(t\)") as caught:
        make(wave, mixed(10, 3, 0))
    assert "Listed" in str(caught.value)
    with pytest.raises(NotImplementedError, match="get_step_data"):
        WaveCheckpoint(wave).get_step_data(0)
    with pytest.raises(NotImplementedError, match="get_step_data"):
        WaveCheckpoint(wave).get_step_data_location(0)


# --- schedules that are not from beginning to end


def test_forward_only():
    wave = Wave(30, 1, 1)
    revolver = make(wave, ForwardOnly(30))
    wave.set_initial()
    revolver.apply_forward()
    assert int(wave.time[0]) == wave.forward_steps == 30
    with pytest.raises(ScheduleError, match="forward only"):
        revolver.apply_reverse()
    revolver.reset()
    wave.set_initial()
    revolver.apply_forward()


def test_schedule_that_goes_on_with_another_run():
    wave = Wave(10)
    for layout in (
        {"stored": [(0, 0), (4, 1)], "position": 4},
        {"stored": [(0, 0), (4, 1)], "position": 4, "remaining": 7},
        {"stored": [(0, 0)], "position": 0},
    ):
        with pytest.raises(ValueError, match="begun"):
            make(wave, Revolve.from_layout(10, 3, **layout))
    schedule = Revolve.from_layout(10, 3, [], position=0)
    assert_equal(run(wave, make(wave, schedule)), wave.store_all())


# --- online


@pytest.mark.parametrize(("window", "lookback", "lag"), [(1, 0, 1), (3, 0, 1), (3, 2, 0)])
@pytest.mark.parametrize("steps", [1, 4, 100])
def test_online_gradient_equals_store_all(window, lookback, lag, steps):
    for n, snapshots in itertools.product((0, 1, 2, 7, 30, 61), (1, 2, 5)):
        wave = Wave(n, window, lookback, lag, seed=n)
        online = Online(snapshots, window=window, lookback=lookback, lag=lag)
        revolver = make(wave, online)
        for _ in range(2):
            wave.set_initial()
            wave.forward_steps = 0
            assert revolver.n_timesteps == 0
            while revolver.n_timesteps < n:
                before = revolver.n_timesteps
                assert revolver.advance(min(steps, n - before)) == min(n, before + steps)
                assert int(wave.time[0]) == revolver.n_timesteps
            revolver.finish()
            assert revolver.n_timesteps == n == wave.forward_steps
            assert revolver.schedule.n_timesteps == n
            wave.start_adjoint()
            revolver.apply_reverse()
            assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())
            assert revolver.profiler[Kind.FORWARD].steps == n + revolver.schedule.forward_steps
            assert revolver.profiler.forward_nanoseconds > 0
            revolver.reset()
        assert online.position == 0  # each shot has its own


def test_online_last_steps_save_nothing_that_only_a_longer_run_needs():
    wave = Wave(9)
    revolver = make(wave, Online(20))
    wave.set_initial()
    revolver.advance(8)
    revolver.advance(last=True)
    revolver.finish()
    assert ("save", 8, 8) not in wave.log
    wave.start_adjoint()
    revolver.apply_reverse()
    assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())


def test_online_free_initial_state():
    wave = Wave(25, 2, 1)
    revolver = make(wave, Online(3, window=2, lookback=1, initial_state="free"))
    wave.ring[:] = np.nan
    revolver.advance(25)
    revolver.finish()
    wave.start_adjoint()
    revolver.apply_reverse()
    assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())
    assert wave.log[0] == ("initial",)


def test_online_calls_out_of_order():
    wave = Wave(12)
    revolver = make(wave, Online(3))
    with pytest.raises(ScheduleError, match="advance"):
        revolver.apply_forward()
    with pytest.raises(ScheduleError, match="advance"):
        revolver.apply_reverse()
    wave.set_initial()
    revolver.advance(12)
    with pytest.raises(ScheduleError, match="finish"):
        revolver.apply_reverse()
    revolver.finish()
    for method in (revolver.advance, revolver.finish, revolver.apply_forward):
        with pytest.raises(ScheduleError, match="reset"):
            method()
    wave.start_adjoint()
    revolver.apply_reverse()
    assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())
    for steps, error in ((0, ValueError), (-3, ValueError), (1.0, TypeError)):
        revolver.reset()
        with pytest.raises(error):
            revolver.advance(steps)
        wave.set_initial()
        assert revolver.advance(1) == 1
    revolver.close()
    for method in (revolver.advance, revolver.finish):
        with pytest.raises(ScheduleError, match="closed"):
            method()


def test_online_methods_need_an_online_schedule():
    revolver = make(Wave(12), Revolve(12, 3))
    for method in (revolver.advance, revolver.finish):
        with pytest.raises(ScheduleError, match=r"apply_forward\(\)"):
            method()


def test_online_exception_and_reset(monkeypatch):
    wave = Wave(20)
    revolver = make(wave, Online(3))
    wave.set_initial()
    revolver.advance(5)
    with monkeypatch.context() as patch:
        patch.setattr(Forward, "apply", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            revolver.advance(5)
    for method in (revolver.advance, revolver.finish):
        with pytest.raises(ScheduleError, match="reset"):
            method()
    revolver.reset()
    wave.set_initial()
    revolver.advance(20)
    revolver.finish()
    wave.start_adjoint()
    revolver.apply_reverse()
    assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())


def test_online_schedule_with_what_does_not_go_with_it():
    wave = Wave(20)
    parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    with pytest.raises(ValueError, match="n_timesteps"):
        Revolver(*parts, n_timesteps=20, schedule=Online(3))
    with pytest.raises(ValueError, match="does not retain"):
        Revolver(*parts, schedule=Online(3, window=2))
    used = Online(3)
    list(used.advance_to(4))
    with pytest.raises(ValueError, match="begun"):
        Revolver(*parts, schedule=used)


def test_schedules_that_need_more_than_the_workspace_retains():
    wave = Wave(40, 6, 2)
    for schedule in (
        Multistage(40, 2, 2, window=7, lookback=2),
        TwoLevel(40, 9, 2, window=6, lookback=3),
        StoreAll(40),
    ):
        with pytest.raises(ValueError, match="does not retain"):
            make(wave, schedule)


@pytest.mark.parametrize(
    ("begin", "refused", "error", "message"),
    [
        (((5, False), (2, True)), (1, False), ScheduleError, "timestep 6 was said to be the last"),
        (((3, False),), (2**63, False), ValueError, "steps must be >= 1 and <= 4611686018427387901"),
        (((3, False),), (2**62 - 2, False), ValueError, "steps must be .*, got 4611686018427387902"),
        (((3, False),), (1.5, False), TypeError, r"steps must be an integer, got 1\.5"),
        (((3, False),), (0, False), ValueError, "steps must be .*, got 0"),
        ((), (2**63, False), ValueError, "steps must be"),
    ],
)
def test_advance_that_is_refused_leaves_the_shot_as_it_was(begin, refused, error, message):
    n = sum(steps for steps, _ in begin) or 4
    wave = Wave(n)
    revolver = make(wave, Online(2))
    wave.set_initial()
    for steps, last in begin:
        revolver.advance(steps, last=last)
    done = wave.forward_steps
    for _ in range(2):
        with pytest.raises(error, match=message):
            revolver.advance(refused[0], last=refused[1])
    assert wave.forward_steps == done
    if not begin:
        revolver.advance(n)
    revolver.finish()
    assert revolver.n_timesteps == n
    wave.start_adjoint()
    revolver.apply_reverse()
    assert_equal((wave.gradient, wave.adjoint[:2]), wave.store_all())


def test_one_storage_for_two_tiers():
    wave = Wave(50)
    storage = MemoryStorage(50)
    schedule = Multistage(50, 2, 3)
    with pytest.raises(ValueError, match="storage= gives the same object twice"):
        Revolver(
            WaveCheckpoint(wave),
            Forward(wave),
            Reverse(wave),
            schedule=schedule,
            storage=[storage, storage],
        )
