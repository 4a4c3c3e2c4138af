"""Random failures, anywhere in a run: of operators, of the checkpoint, and of the storages.

Whatever fails, and with whichever exception, it comes out unchanged; `reset()` and the next sweep give the
gradient of a run that keeps everything, bit for bit; nothing is left behind. For all families of schedules,
in memory and on disk, compressed or not, and for plans that fit budgets.

The problem is the wave of test_revolver, whose workspace here learns of a load by being asked where to put
it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_revolver import Forward, Reverse, Wave, WaveCheckpoint, assert_equal

from pyrevolve import (
    CAMS,
    AsyncTwoTier,
    Costs,
    DiskRevolve,
    DiskStorage,
    ForwardOnly,
    HRevolve,
    MemoryStorage,
    Mixed,
    Multistage,
    Online,
    Periodic,
    PeriodicDiskRevolve,
    Revolve,
    Revolver,
    Schedule,
    ScheduleError,
    StoreAll,
    TwoLevel,
)

CODECS = [None] + (["lz4", "zstd"] if importlib.util.find_spec("numcodecs") else [])


class OwnError(Exception):
    """An exception of the user's own, with an argument that no library would guess."""

    def __init__(self, first, second):
        super().__init__(first, second)


ERRORS = {
    "own": lambda: OwnError("user's", "own"),
    "arithmetic": lambda: FloatingPointError("not finite"),
    "memory": lambda: MemoryError("a device is full"),
    "system": lambda: OSError(28, "No space left on device"),
    "index": lambda: IndexError("list index out of range"),
    # What iterators, generators and programs end with means nothing here.
    "iteration": lambda: StopIteration(7),
    "generator": lambda: GeneratorExit(),
    "interrupt": lambda: KeyboardInterrupt(),
    "exit": lambda: SystemExit(3),
}


class Fuse:
    """Counts what is called, and raises `error` in the call number `at`."""

    def __init__(self):
        self.arm(None, None)

    def arm(self, at, error):
        self.at, self.error, self.calls, self.log = at, error, 0, []

    def burn(self, what):
        self.log.append(what)
        self.calls += 1
        if self.calls - 1 == self.at:
            raise self.error

    def around(self, what, call):
        """Return a call that may fail before anything is done, or when all of it is."""

        def fused(*arguments, **keywords):
            self.burn(f"before {what}")
            result = call(*arguments, **keywords)
            self.burn(f"after {what}")
            return result

        return fused


class FusedCheckpoint(WaveCheckpoint):
    """Tells the wave of a load before it happens; what it was is lost."""

    def __init__(self, wave, fuse):
        super().__init__(wave)
        self.fuse = fuse
        wave.loading = None

    def settle(self):
        """Let the workspace be as the last load has left it."""
        t, self.wave.loading = self.wave.loading, None
        if t is not None:
            assert int(self.wave.time[0]) == t
            self.wave.arrive(t)

    def forget(self):
        self.wave.ring[:] = np.nan
        self.wave.step_data[:] = np.nan
        self.wave.time[:] = -1

    def set_initial(self):
        self.fuse.burn("before set_initial")
        self.wave.loading = None
        super().set_initial()
        self.fuse.burn("after set_initial")

    def get_data(self, t):
        self.settle()
        self.fuse.burn("get_data")
        return super().get_data(t)

    def get_data_location(self, t):
        self.fuse.burn("get_data_location")
        self.forget()
        self.wave.loading = t
        return super().get_data_location(t)


class StepDataCheckpoint(FusedCheckpoint):
    def get_step_data(self, t):
        self.settle()
        self.fuse.burn("get_step_data")
        return [self.wave.step_data[t]]

    def get_step_data_location(self, t):
        self.fuse.burn("get_step_data_location")
        self.forget()
        self.wave.loading = None
        return [self.wave.step_data[t]]


class FusedForward(Forward):
    """May fail before, after or in the middle of a call, where the state is neither the old nor the new."""

    def __init__(self, checkpoint):
        super().__init__(checkpoint.wave)
        self.checkpoint = checkpoint

    def apply(self, t_start, t_end):
        burn = self.checkpoint.fuse.burn
        burn("before forward")
        self.checkpoint.settle()
        middle = (t_start + t_end) // 2
        if t_start < middle:
            self.wave.forward(t_start, middle)
        burn("in forward")
        self.wave.forward(middle, t_end)
        burn("after forward")


class FusedReverse(Reverse):
    def __init__(self, checkpoint):
        super().__init__(checkpoint.wave)
        self.checkpoint = checkpoint

    def apply(self, t_start, t_end):
        burn = self.checkpoint.fuse.burn
        burn("before reverse")
        self.checkpoint.settle()
        super().apply(t_start, t_end)
        burn("after reverse")


def drive(wave, revolver, pieces):
    """Return the gradients, or the final state of a run that is not reversed; `pieces`: of an online run."""
    wave.loading = None
    wave.set_initial()
    wave.forward_steps = 0
    schedule = revolver.schedule
    if isinstance(schedule, Online):
        for piece in pieces:
            revolver.advance(piece)
        revolver.finish()
    else:
        revolver.apply_forward()
    if isinstance(schedule, ForwardOnly):
        return (wave.slice(wave.n).copy(),)
    wave.start_adjoint()
    revolver.apply_reverse()
    return wave.gradient, wave.adjoint[:2]


def expected_of(wave, revolver):
    if isinstance(revolver.schedule, ForwardOnly):
        return (wave.trajectory()[-1],)
    return wave.store_all()


def descriptors():
    """How many files, pipes and sockets this process has open; what it can tell of that on this system."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@contextmanager
def nothing_left_behind():
    """Give a directory, and assert that neither files in it, nor threads, nor open files stay."""
    threads, files = set(threading.enumerate()), descriptors()
    folder = tempfile.mkdtemp()
    try:
        yield folder
        assert os.listdir(folder) == []
        assert set(threading.enumerate()) <= threads
        assert descriptors() <= files
    finally:
        shutil.rmtree(folder)


def survive(data, wave, revolver, fuse, pieces=()):
    """Assert that a Revolver computes on as if nothing had been after some random failures."""
    for storage in revolver.storages:
        storage.save = fuse.around("save", storage.save)
        storage.load = fuse.around("load", storage.load)
    expected = expected_of(wave, revolver)
    fuse.arm(None, None)
    assert_equal(drive(wave, revolver, pieces), expected)
    steps, calls = wave.forward_steps, fuse.calls
    revolver.reset()
    kinds = st.sampled_from(sorted(ERRORS))
    for at, kind in data.draw(st.lists(st.tuples(st.integers(0, calls - 1), kinds), min_size=1, max_size=3)):
        error = ERRORS[kind]()
        fuse.arm(at, error)
        with pytest.raises(type(error)) as caught:
            drive(wave, revolver, pieces)
        assert caught.value is error
        assert fuse.calls == at + 1, "something is called after the failure"
        fuse.arm(None, None)
        is_online = isinstance(revolver.schedule, Online)
        first = (revolver.advance, revolver.finish) if is_online else (revolver.apply_forward,)
        for method in (*first, revolver.apply_reverse):
            with pytest.raises(ScheduleError, match="reset"):
                method()
        assert fuse.calls == 0, "a refused call does something"
        revolver.reset()
        assert not any(t is not None for storage in revolver.storages for t in storage.timesteps)
    fuse.arm(None, None)
    assert_equal(drive(wave, revolver, pieces), expected)
    assert (wave.forward_steps, fuse.calls) == (steps, calls)
    assert not any(t is not None for storage in revolver.storages for t in storage.timesteps)


# --- schedules and storages of the caller's own


def costs_for(tiers):
    return Costs(
        forward_step=1,
        reverse_step=2,
        forward_call=0.5,
        save=tuple(0.25 * 3**tier for tier in range(tiers)),
        load=tuple(0.25 * 3**tier for tier in range(tiers)),
    )


@st.composite
def schedules(draw):
    """Return a schedule and the (window, lookback, lag) of a workspace for it."""
    n = draw(st.integers(1, 40))
    slots = draw(st.integers(1, 5))
    window = draw(st.integers(1, 6))
    lookback = draw(st.integers(0, min(2, window)))
    lag = draw(st.sampled_from([0, 1])) if lookback else 1
    workspace = {"window": window, "lookback": lookback, "lag": lag}
    free = {"initial_state": draw(st.sampled_from(["stored", "free"]))}
    classic = {"window": 1, "lookback": 0, "lag": 1}
    period = draw(st.integers(max(1, lookback), 12))
    build, model = draw(
        st.sampled_from(
            [
                (lambda: Revolve(n, slots, **workspace, **free), workspace),
                (lambda: Multistage(n, slots, 2, **workspace, **free), workspace),
                (lambda: TwoLevel(n, period, slots, **workspace, **free), workspace),
                (lambda: AsyncTwoTier(n, period, slots, **workspace, **free), workspace),
                (lambda: Periodic(n, period, **workspace, **free), workspace),
                (lambda: HRevolve(n, (1, slots, 3), costs=costs_for(3), **workspace, **free), workspace),
                (lambda: DiskRevolve(n, slots, costs=costs_for(2), **workspace), workspace),
                (lambda: PeriodicDiskRevolve(n, slots, costs=costs_for(2), **workspace), workspace),
                (lambda: Mixed(n, slots), classic),
                (lambda: CAMS(n, 3 * slots, stages=2, stiffly_accurate=False), classic),
                (lambda: Online(slots, **workspace, **free), workspace),
                (lambda: StoreAll(n), {"window": n + 1, "lookback": 0, "lag": 1}),
                (lambda: ForwardOnly(n), classic),
            ]
        )
    )
    return n, build(), model


KINDS = [(disk, codec) for disk in (False, True) for codec in CODECS]


@given(data=st.data(), problem=schedules(), seed=st.integers(0, 100))
def test_any_schedule_survives_failures_in_any_storage(data, problem, seed):
    n, schedule, model = problem
    wave, fuse = Wave(n, **model, seed=seed), Fuse()
    needs_step_data = isinstance(schedule, Schedule) and schedule.needs_step_data
    checkpoint = (StepDataCheckpoint if needs_step_data else FusedCheckpoint)(wave, fuse)
    peaks = [tier.peak for tier in schedule.counts.tiers] if isinstance(schedule, Schedule) else [5]
    likeness = WaveCheckpoint(wave).arrays(0)
    pieces = []
    while sum(pieces) < n:
        pieces.append(data.draw(st.integers(1, n - sum(pieces))))
    with nothing_left_behind() as folder, ExitStack() as opened:
        storages = []
        for peak in peaks:
            on_disk, codec = data.draw(st.sampled_from(KINDS))
            if on_disk:
                storage = DiskStorage(peak, likeness, directory=folder, compression=codec, buffers=1)
            else:
                storage = MemoryStorage(peak, likeness, compression=codec, threads=1)
            storages.append(opened.enter_context(storage))
        operators = FusedForward(checkpoint), FusedReverse(checkpoint)
        with Revolver(checkpoint, *operators, schedule=schedule, storage=storages) as revolver:
            survive(data, wave, revolver, fuse, pieces)


# --- plans, with the storages that they come with


@given(
    data=st.data(),
    n=st.integers(1, 60),
    memory=st.integers(1, 8),
    disk=st.one_of(st.none(), st.integers(1, 8)),
    codec=st.sampled_from(CODECS),
    window=st.integers(1, 4),
    initial_state=st.sampled_from(["stored", "free"]),
)
def test_any_plan_survives_failures(data, n, memory, disk, codec, window, initial_state):
    wave, fuse = Wave(n, window), Fuse()
    checkpoint = FusedCheckpoint(wave, fuse)
    page = 4096  # what a state takes on disk and in each of the two buffers
    with nothing_left_behind() as folder:
        revolver = Revolver(
            checkpoint,
            FusedForward(checkpoint),
            FusedReverse(checkpoint),
            n_timesteps=n,
            memory=512 * memory + (0 if disk is None else 2 * page),
            disk=None if disk is None else page * disk,
            costs=costs_for(1 if disk is None else 2),
            initial_state=initial_state,
            compression=codec,
            disk_dir=folder,
            threads=1,
        )
        with revolver:
            survive(data, wave, revolver, fuse)
