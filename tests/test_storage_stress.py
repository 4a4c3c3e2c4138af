"""Storages under load: many at once, on disks of moods, and for long."""

from __future__ import annotations

import errno
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest

from pyrevolve import StorageError
from pyrevolve.errors import StorageFullError
from pyrevolve.storage import DiskStorage, MemoryStorage, file

#: Nothing here takes as long, unless it hangs [s].
PATIENCE = 300

SIZE = 1500


def in_threads(works):
    """Run functions at once; raise what any of them raises, and where one hangs."""
    raised = []

    def run(work):
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if raised:
        raise raised[0]
    assert not any(thread.is_alive() for thread in threads), "it hangs"


def state(seed):
    """Return arrays that tell what they are; some of them compress well."""
    values = np.random.default_rng(seed).normal(size=SIZE)
    if seed % 2:
        values[: SIZE // 2] = 0.0
    return [values, np.full((), seed), np.full(seed % 1 + 7, seed, "i2")]


@pytest.fixture
def moody(monkeypatch):
    """Let every transfer take a little while or none, and now and then stop early."""
    pwrite, pread, moods = file._pwrite, file._pread, random.Random(1)

    def in_a_mood(call):
        def move(fd, data, offset):
            mood = moods.random()
            if mood < 0.6:
                time.sleep(moods.choice([0.0, 0.0, 1e-4, 1e-3, 3e-3]))
            if mood < 0.1 and len(data) > file.BLOCK:
                data = data[: file.BLOCK * moods.randrange(1, len(data) // file.BLOCK + 1)]
            moved = call(fd, data, offset)
            if mood > 0.9:
                time.sleep(1e-3)
            return moved

        return move

    monkeypatch.setattr(file, "_pwrite", in_a_mood(pwrite))
    monkeypatch.setattr(file, "_pread", in_a_mood(pread))


class Traffic:
    """Random calls on a storage, beside a dictionary of what it holds."""

    def __init__(self, storage, seed, n_slots):
        self.storage = storage
        self.random = random.Random(seed)
        self.n_slots = n_slots
        self.held = {}
        self.t = 0

    def go_on(self, calls):
        for _ in range(calls):
            getattr(self, self.random.choice(self.CALLS))(self.random.randrange(self.n_slots))
            if self.random.random() < 0.05:
                time.sleep(self.random.choice([0.0, 1e-4, 2e-3]))

    def save(self, slot):
        self.t += 1
        if slot not in self.held:
            try:
                self.storage.save(slot, state(self.t), self.t)
            except StorageFullError:
                return
            self.held[slot] = self.t

    def load(self, slot):
        if slot in self.held:
            found = [np.zeros_like(array) for array in state(0)]
            self.storage.load(slot, found, self.held[slot])
            expected = state(self.held[slot])
            assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]

    def free(self, slot):
        if slot in self.held:
            self.storage.free(slot)
            del self.held[slot]

    def replace(self, slot):
        self.free(slot)
        self.save(slot)

    def prefetch(self, slot):
        self.storage.prefetch(slot)

    def sweep_back(self, slot):
        """Do what a driver does: announce some, load them in that order."""
        slots = self.random.sample(sorted(self.held), min(4, len(self.held)))
        for other in slots:
            self.storage.prefetch(other)
        for other in slots:
            if self.random.random() < 0.9:
                self.load(other)

    def forget(self, slot):
        self.storage.forget()

    def flush(self, slot):
        self.storage.flush()

    def clear(self, slot):
        if self.random.random() < 0.1:
            self.storage.clear()
            self.held = {}

    CALLS = (
        ["save"] * 6 + ["load"] * 4 + ["free", "replace", "replace", "prefetch", "prefetch", "sweep_back"] * 2
    )
    CALLS += ["forget", "flush", "clear"]


OPTIONS = [
    {"buffers": 1},
    {"buffers": 2, "checksum": "crc32"},
    {"buffers": 3, "checksum": False},
    {"buffers": 2, "compression": "lz4"},
    {"buffers": 1, "compression": "zstd"},
    {"buffers": 4, "direct": True},
]


def options(number, directory):
    """Return keywords of one of many storages; those for which this system is not made are left out."""
    chosen = {**OPTIONS[number % len(OPTIONS)], "directory": directory}
    if "compression" in chosen and not has_numcodecs():
        del chosen["compression"]
    if chosen.get("direct"):
        try:
            DiskStorage(1, state(0), directory=directory, direct=True).close()
        except StorageError:
            del chosen["direct"]
    return chosen


def has_numcodecs():
    try:
        import numcodecs
    except ImportError:
        return False
    return numcodecs is not None


def hammer(directory, seed, calls):
    n_slots, elastic = 7, seed % 3 == 0
    keywords = options(seed, directory)
    if elastic:
        keywords["room"] = 5 * 16384
    with DiskStorage(None if elastic else n_slots, state(0), **keywords) as storage:
        traffic = Traffic(storage, seed, n_slots)
        traffic.go_on(calls)
        for slot in range(n_slots):
            traffic.load(slot)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_called_whenever_it_holds_what_was_saved(seed, moody, tmp_path):
    in_threads([lambda: hammer(tmp_path, seed, 300)])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_many_storages_in_many_threads(moody, tmp_path):
    in_threads([lambda seed=seed: hammer(tmp_path, seed, 1500) for seed in range(24)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(4))
def test_failures_at_random_are_told_and_cost_nothing_else(seed, moody, monkeypatch, tmp_path):
    """Every StorageError names a slot that was really lost, and what is not named comes back as it was."""
    moods = random.Random(seed)

    def sometimes(call, error, told):
        def move(fd, data, offset):
            if moods.random() < 0.05:
                told.append(error)
                raise OSError(error, os.strerror(error))
            return call(fd, data, offset)

        return move

    lost, unread = [], []
    monkeypatch.setattr(file, "_pwrite", sometimes(file._pwrite, errno.ENOSPC, lost))
    monkeypatch.setattr(file, "_pread", sometimes(file._pread, errno.EIO, unread))

    class Unlucky(Traffic):
        """Frees what was lost, as a careful user would."""

        losses = failures = 0

        def carry_on(self, calls):
            for _ in range(calls):
                error = self.error_of_one_call()
                if error is None:
                    continue
                assert self.held[error.slot] == error.timestep
                if os.strerror(errno.EIO) in str(error):
                    self.failures += 1
                else:
                    assert os.strerror(errno.ENOSPC) in str(error)
                    self.losses += 1
                    self.free(error.slot)

        def error_of_one_call(self):
            try:
                self.go_on(1)
            except StorageError as error:
                return error

    def work():
        with DiskStorage(7, state(0), **options(seed, tmp_path)) as storage:
            traffic = Unlucky(storage, seed, 7)
            traffic.carry_on(600)
            assert 0 < traffic.losses <= len(lost)
            assert 0 < traffic.failures <= len(unread)

    in_threads([work])
    assert not list(tmp_path.iterdir())


INTERRUPTED = """
import random, signal, sys, time
import numpy as np
from pyrevolve.storage import DiskStorage, file

seed = int(sys.argv[1])
moods, pwrite, pread = random.Random(seed), file._pwrite, file._pread

def write(*arguments):
    time.sleep(moods.choice([0, 0, 1e-4, 5e-4]))
    return pwrite(*arguments)

def read(*arguments):
    time.sleep(moods.choice([0, 0, 1e-4, 5e-4]))
    return pread(*arguments)

def interrupt(*arguments):
    if armed:
        raise KeyboardInterrupt

def state(t):
    return [np.full(1500, t, float)]

def check(slot):
    found, t = state(-1), storage.timesteps[slot]
    if t is not None:
        storage.load(slot, found, t)
        assert (found[0] == t).all()

file._pwrite, file._pread, armed = write, read, False
signal.signal(signal.SIGALRM, interrupt)
with DiskStorage(6, state(0), directory=sys.argv[2], buffers=1 + seed % 3) as storage:
    interrupts = 0
    for t in range(4000):
        slot, call = moods.randrange(6), moods.randrange(5)
        signal.setitimer(signal.ITIMER_REAL, moods.random() * 3e-4 + 1e-6)
        armed = True
        try:
            if call < 2 and storage.timesteps[slot] is None:
                storage.save(slot, state(t), t)
            elif call == 2:
                check(slot)
            elif call == 3:
                storage.prefetch(slot)
            elif storage.timesteps[slot] is not None:
                storage.free(slot)
            armed = False
        except KeyboardInterrupt:
            armed = False
            interrupts += 1
            if sys.argv[3] == "clear":
                storage.clear()
    for slot in range(6):
        check(slot)
assert interrupts > 10
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals as POSIX has them")
@pytest.mark.parametrize("afterwards", ["clear", "go on"])
@pytest.mark.parametrize("seed", range(6))
def test_interrupts_at_any_instant_do_no_harm(seed, afterwards, tmp_path):
    subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(seed), str(tmp_path), afterwards],
        check=True,
        timeout=PATIENCE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert not list(tmp_path.iterdir())


# --- leaks


def open_files():
    """Return how many files this process has open; 0 where the system does not tell."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def resident_bytes():
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a sanitizer keeps what was freed")
    psutil = pytest.importorskip("psutil", reason="needs psutil: pip install psutil")
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize(
    "kind", ["memory", "compressed memory", "memory with checksum", "disk", "compressed disk"]
)
def test_ten_thousand_snapshots_leave_nothing_behind(kind, tmp_path):
    if kind.startswith("compressed"):
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    arrays, found = [state(n) for n in range(2)], [np.zeros_like(array) for array in state(0)]
    keywords = {"compression": "lz4"} if kind.startswith("compressed") else {}
    if kind.endswith("disk"):
        storage = DiskStorage(4, arrays[0], directory=tmp_path, **keywords)
    else:
        storage = MemoryStorage(4, arrays[0], checksum=kind.endswith("checksum"), **keywords)

    def cycles(count):
        for t in range(count):
            storage.save(t % 3, arrays[t % 2], t)
            storage.prefetch((t + 1) % 3)
            storage.load(t % 3, found, t)
            if t % 3 == 2:
                for slot in range(3):
                    storage.free(slot)
            if t % 300 == 299:
                storage.clear()

    def measured():
        gc.collect()
        return tracemalloc.get_traced_memory()[0], resident_bytes(), threading.active_count(), open_files()

    def work():
        with storage:
            tracemalloc.start()
            try:
                measured()
                cycles(600)
                before = measured()
                cycles(10_200)
                after = measured()
            finally:
                tracemalloc.stop()
        assert after[0] - before[0] < 50_000
        assert after[1] - before[1] < 8 << 20
        assert after[2:] == before[2:]

    in_threads([work])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("buffers", [1, 3])
def test_storages_come_and_go(buffers, tmp_path):
    def once():
        with DiskStorage(3, state(0), directory=tmp_path, buffers=buffers) as storage:
            for slot in range(3):
                storage.save(slot, state(slot), slot)
            storage.prefetch(0)

    def work():
        for _ in range(20):
            once()
        gc.collect()
        before = threading.active_count(), open_files()
        for _ in range(300):
            once()
        gc.collect()
        assert (threading.active_count(), open_files()) == before

    in_threads([work])
    assert not list(tmp_path.iterdir())
