"""Snapshots in a file: what MemoryStorage promises, and what a file system may do to it."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import platform
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrevolve import MemoryStorage, Storage, StorageError
from pyrevolve.crevolve import Content
from pyrevolve.errors import ArrayShapeError, ArrayTypeError
from pyrevolve.storage import DiskStorage, file

DTYPES = ["f4", "f8", "f2", ">f8", "c16", "i1", "?", "i4,f8", "S5", "U2", "V5", "M8[s]", "g"]


def filled(shape, dtype, seed=0):
    """Return an array of arbitrary bytes, NaN payloads and all."""
    array = np.empty(shape, dtype)
    if array.dtype == bool:
        array[...] = np.random.default_rng(seed).integers(0, 2, shape)
    else:
        array[...] = np.frombuffer(np.random.default_rng(seed).bytes(array.nbytes), dtype).reshape(shape)
    return array


def assert_names(caught, slot, timestep):
    """Assert that an error names tier, slot and timestep."""
    assert (caught.value.tier, caught.value.slot, caught.value.timestep) == ("disk", slot, timestep)
    assert "tier disk" in str(caught.value)


def seek(monkeypatch):
    """Use the calls that Windows has."""
    monkeypatch.setattr(file, "_pwrite", file._seek_and_write)
    monkeypatch.setattr(file, "_pread", file._seek_and_read)
    monkeypatch.delattr(os, "posix_fallocate", raising=False)


@pytest.fixture(params=["vectored", "seeking"])
def system(request, monkeypatch):
    """Use the calls of POSIX, or those that Windows has."""
    if request.param == "seeking":
        seek(monkeypatch)
    return request.param


def has_direct_io(directory):
    """Tell whether the files in a directory can go past the page cache."""
    try:
        DiskStorage(1, [np.zeros(3)], directory=directory, direct=True).close()
    except StorageError:
        return False
    return True


WAYS = {
    "buffered": {"direct": False},
    "seeking": {"direct": False},
    "direct": {"direct": True},
    "one buffer": {"direct": False, "buffers": 1},
    "compressed": {"direct": False, "compression": "zstd"},
    "compressed, direct": {"direct": True, "compression": "lz4", "buffers": 3},
    "without checksum": {"direct": False, "checksum": False},
}


@pytest.fixture(params=WAYS)
def way(request, tmp_path, monkeypatch):
    """Return keywords for one of the ways to the file and back."""
    keywords = WAYS[request.param]
    if "compression" in keywords:
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    if keywords["direct"] and not has_direct_io(tmp_path):
        pytest.skip("needs a file system with direct I/O: name one with TMPDIR")
    if request.param == "seeking":
        seek(monkeypatch)
    return {**keywords, "directory": tmp_path}


# --- copies


@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_come_back(dtype, way):
    saved = filled((3, 5), dtype)
    with DiskStorage(2, [saved], **way) as storage:
        assert storage.save(1, [saved], 4) == saved.nbytes
        loaded = filled((3, 5), dtype, seed=1)
        assert storage.load(1, [loaded], 4) == saved.nbytes
        assert loaded.tobytes() == saved.tobytes()


def test_mixed_arrays_and_several_slots(way):
    states = [
        [filled(s, d, t) for s, d in (((7, 3), "f4"), ((), "i8"), ((0, 4), "f8"), (11, "c8"), (1, "i1"))]
        for t in range(5)
    ]
    with DiskStorage(5, states[0], **way) as storage:
        for t in (3, 0, 4, 1, 2):
            storage.save(t, states[t], 10 + t)
        assert storage.timesteps == (10, 11, 12, 13, 14)
        target = [np.zeros_like(array) for array in states[0]]
        for t in (2, 2, 0, 4, 3, 1):
            storage.load(t, target, 10 + t)
            assert [array.tobytes() for array in target] == [array.tobytes() for array in states[t]]


def test_strided_arrays_keep_their_surroundings(way):
    base = np.zeros((6, 8, 3))
    views = [base[1:-1, 2:-2, 1], base[::2, ::-1, 2], np.asfortranarray(np.ones((4, 5)))]
    sources = [np.random.default_rng(0).normal(size=view.shape) for view in views]
    before = base.copy()
    with DiskStorage(1, sources, **way) as storage:
        storage.save(0, sources, 0)
        storage.load(0, views, 0)
        for view, source in zip(views, sources, strict=True):
            np.testing.assert_array_equal(view, source)
        before[1:-1, 2:-2, 1], before[::2, ::-1, 2] = sources[0], sources[1]
        np.testing.assert_array_equal(base, before)
        storage.free(0)
        storage.save(0, views, 1)
        targets = [np.zeros_like(source) for source in sources]
        storage.load(0, targets, 1)
        for target, source in zip(targets, sources, strict=True):
            np.testing.assert_array_equal(target, source)


def test_array_class_with_slicing_of_its_own(tmp_path):
    class Odd(np.ndarray):
        def __getitem__(self, index):
            raise AssertionError("not to be asked")

        __setitem__ = reshape = view = __getitem__

    plain = np.arange(24.0).reshape(4, 6)
    for state in (plain, plain.T):
        source = np.ndarray.view(state.copy(order="K"), Odd)
        target = np.ndarray.view(np.zeros_like(state), Odd)
        with DiskStorage(1, [source], directory=tmp_path) as storage:
            storage.save(0, [source], 0)
            storage.load(0, [target], 0)
        np.testing.assert_array_equal(np.asarray(target), state)


def test_more_arrays_than_one_call_takes(way):
    state = [np.full(t % 3, t, "i4") for t in range(2500)]
    target = [np.zeros_like(array) for array in state]
    with DiskStorage(2, state, **way) as storage:
        storage.save(1, state, 0)
        storage.load(1, target, 0)
    assert [array.tobytes() for array in target] == [array.tobytes() for array in state]


@given(seed=st.integers(0, 2**32 - 1), most=st.integers(40, 5000), direct=st.booleans())
def test_system_that_does_less_than_it_is_asked(seed, most, direct):
    """Every call may stop anywhere; nothing is lost and nothing else is touched."""
    random = np.random.default_rng(seed)
    direct = direct and has_direct_io(None)

    def partly(call):
        def move(fd, data, offset):
            some = int(random.integers(1, most + 1))
            if fd == storage._file._direct_fd:  # which takes whole blocks, but may say that it did less
                return min(call(fd, data, offset), some)
            return call(fd, data[:some], offset)

        return move

    sizes = [int(size) for size in random.integers(0, 4000, 5)]
    states = [[filled(size, "u1", 10 * t + i) for i, size in enumerate(sizes)] for t in range(4)]
    with (
        pytest.MonkeyPatch.context() as patch,
        DiskStorage(4, states[0], buffers=1, direct=direct) as storage,
    ):
        patch.setattr(file, "_pwrite", partly(file._pwrite))
        patch.setattr(file, "_pread", partly(file._pread))
        for slot, state in enumerate(states):
            storage.save(slot, state, slot)
        for slot, state in enumerate(states):
            target = [np.zeros_like(array) for array in state]
            storage.load(slot, target, slot)
            assert [array.tobytes() for array in target] == [array.tobytes() for array in state]


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_slot_holds_a_state_or_step_data(kind, tmp_path):
    state, data = [np.arange(3.0)], [np.arange(100, dtype="i2"), np.ones((2, 2), "f4")]
    keywords = {} if kind == "memory" else {"directory": tmp_path}
    for first, second in ((state, data), (data, state)):
        storage = {"memory": MemoryStorage, "disk": DiskStorage}[kind](
            2, first, step_data_like=second, **keywords
        )
        with storage:
            assert storage.save(1, first, 4) == sum(array.nbytes for array in first)
            assert storage.save(0, second, 4, Content.STEP_DATA) == sum(array.nbytes for array in second)
            assert storage.timesteps == (4, 4)
            assert storage.state_nbytes == sum(array.nbytes for array in first)
            target = [np.zeros_like(array) for array in second]
            storage.load(0, target, 4, Content.STEP_DATA)
            assert [array.tobytes() for array in target] == [array.tobytes() for array in second]
            with pytest.raises(StorageError, match=r"cannot load timestep 4: .* the step data of timestep 4"):
                storage.load(0, first, 4)
            with pytest.raises(StorageError, match=r"cannot load the step data of timestep 4: .* timestep 4"):
                storage.load(1, second, 4, Content.STEP_DATA)
            with pytest.raises(StorageError, match="still holds the step data of timestep 4"):
                storage.save(0, first, 5)
            storage.free(1)
            with pytest.raises(ArrayShapeError, match="the step data has"):
                storage.save(1, first * 3, 5, Content.STEP_DATA)
            read_only = [np.broadcast_to(array, array.shape) for array in second]
            with pytest.raises(ArrayTypeError, match="get_step_data_location"):
                storage.load(0, read_only, 4, Content.STEP_DATA)


def test_first_step_data_decides_within_the_size_of_a_slot(tmp_path):
    state = [np.zeros(16)]
    with MemoryStorage(2, state) as storage:
        with pytest.raises(ArrayShapeError, match="step_data_like"):
            storage.save(0, [np.zeros(17)], 3, Content.STEP_DATA)
        storage.save(0, [np.ones(2)], 3, Content.STEP_DATA)
        with pytest.raises(ArrayShapeError):
            storage.save(1, [np.ones(3)], 4, Content.STEP_DATA)
    with MemoryStorage(1) as storage:
        storage.save(0, [np.zeros(64)], 0, Content.STEP_DATA)
        storage.free(0)
        storage.save(0, state, 0)
        assert storage.nbytes == 512


@pytest.mark.parametrize("kind", [MemoryStorage, DiskStorage])
@given(
    calls=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Content)), max_size=40),
    room=st.integers(0, 8),
)
def test_slots_that_share_a_room_keep_apart(kind, calls, room):
    """Like a dictionary, until the room of `room` states is full; step data is as large as three states."""
    sizes = {Content.STATE: 512, Content.STEP_DATA: 3 * 512}
    arrays = [np.zeros(size) for size in sizes.values()]
    held = {}
    with kind(6, arrays[:1], step_data_like=arrays[1:], room=room * 4096) as storage:
        assert storage.nbytes == room * 4096
        for t, (slot, content) in enumerate(calls):
            if slot in held:
                storage.free(slot)
                del held[slot]
                continue
            array = np.full(sizes[content], t, float)
            # A gap before each slot and one at the end: where they are as large as this in all, one is.
            used = sum(sizes[what] for _, what in held.values())
            fits = room * 512 - used > (sizes[content] - 512) * (len(held) + 1)
            try:
                storage.save(slot, [array], t, content)
            except StorageError:
                if fits:
                    raise
                continue
            held[slot] = t, content
            for other, (time, what) in held.items():
                target = np.zeros(sizes[what])
                storage.load(other, [target], time, what)
                assert (target == time).all()
        storage.clear()
        if room >= 3:
            storage.save(0, [np.zeros(3 * 512)], 0, Content.STEP_DATA)


def test_bad_room():
    for room, error in ((-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error):
            MemoryStorage(2, [np.zeros(3)], room=room)


# --- the file


def test_file_is_reserved_private_and_removed(tmp_path, system):
    state = [np.zeros(5000)]
    with DiskStorage(3, state, directory=tmp_path) as storage:
        path = Path(storage.path)
        assert path.parent.parent == tmp_path
        assert path.parent.name.startswith("pyrevolve-")
        assert f"-{os.getpid()}-" in path.parent.name
        assert path.stat().st_size == storage.nbytes >= 3 * 40_000
        if os.name == "posix":
            assert path.parent.stat().st_mode & 0o077 == 0
            if system == "vectored":
                assert path.stat().st_blocks * 512 >= storage.nbytes
        assert isinstance(storage, Storage)
        assert "3 slots" in repr(storage)
    assert not list(tmp_path.iterdir())
    storage.close()
    assert storage.nbytes == 0
    for call in (
        lambda: storage.save(1, state, 1),
        lambda: storage.load(0, state, 1),
        lambda: storage.free(0),
    ):
        with pytest.raises(StorageError, match="closed"):
            call()


def test_file_goes_with_its_storage(tmp_path):
    storage = DiskStorage(1, [np.zeros(3)], directory=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    del storage
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_two_storages_in_one_directory(tmp_path):
    states = [np.full(10, t) for t in range(2)]
    with (
        DiskStorage(1, states[:1], directory=tmp_path) as one,
        DiskStorage(1, states[:1], directory=tmp_path) as other,
    ):
        assert one.path != other.path
        one.save(0, states[:1], 0)
        other.save(0, states[1:], 0)
        target = np.zeros_like(states[0])
        one.load(0, [target], 0)
        assert not target.any()
        other.load(0, [target], 0)
        assert target.all()


def test_default_directory_is_the_temporary_one(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with DiskStorage(1, [np.zeros(3)]) as storage:
        assert Path(storage.path).parent.parent == tmp_path


def test_room_is_kept_for_the_next_shot(way):
    state = [np.arange(1000.0)]
    with DiskStorage(2, state, **way) as storage:
        path = storage.path
        for shot in range(3):
            storage.save(0, [state[0] + shot], 0)
            storage.save(1, [state[0] - shot], 1)
            found = np.zeros(1000)
            storage.load(0, [found], 0)
            np.testing.assert_array_equal(found, state[0] + shot)
            storage.clear()
            assert storage.timesteps == (None, None)
        assert storage.path == path


def test_no_slots_and_no_arrays(tmp_path, system):
    with DiskStorage(0, [np.zeros(3)], directory=tmp_path) as storage:
        assert storage.nbytes == 0
        with pytest.raises(StorageError, match="no such slot"):
            storage.save(0, [np.zeros(3)], 0)
    with DiskStorage(2, [], directory=tmp_path) as storage:
        storage.save(0, (), 5)
        assert storage.load(0, [], 5) == 0
    assert not list(tmp_path.iterdir())


def test_storages_in_several_threads(way, tmp_path):
    failures = []

    def work(seed):
        arrays = [filled(50_001, "f4", seed), filled(17, "f8", seed)]
        target = [np.zeros_like(array) for array in arrays]
        with DiskStorage(3, arrays, **way) as storage:
            for t in range(20):
                storage.save(t % 3, arrays, t)
                storage.load(t % 3, target, t)
                storage.free(t % 3)
                if any(a.tobytes() != b.tobytes() for a, b in zip(arrays, target, strict=True)):
                    failures.append((seed, t))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not list(tmp_path.iterdir())


# --- behind the run and ahead of it


class Transfers:
    """What goes to the file and from there, in order; it can be held up."""

    def __init__(self, monkeypatch):
        self.done = []
        self.gate = threading.Event()
        self.gate.set()
        self.pwrite, self.pread = file._pwrite, file._pread
        monkeypatch.setattr(file, "_pwrite", self.write)
        monkeypatch.setattr(file, "_pread", self.read)

    def write(self, fd, data, offset):
        self.done.append(("write", offset // len(data)))
        assert self.gate.wait(60)
        return self.pwrite(fd, data, offset)

    def read(self, fd, data, offset):
        self.done.append(("read", offset // len(data)))
        assert self.gate.wait(60)
        return self.pread(fd, data, offset)

    def of(self, kind):
        return [slot for what, slot in self.done if what == kind]

    def wait_for(self, *expected):
        """Wait until this and nothing else was done."""
        deadline = time.monotonic() + 60
        while len(self.done) < len(expected) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert self.done == list(expected)
        self.done.clear()


@pytest.fixture
def transfers(monkeypatch):
    return Transfers(monkeypatch)


def numbered(slot):
    return [np.full(512, slot, float)]


def assert_numbered(storage, *slots):
    for slot in slots:
        found = numbered(-1)
        storage.load(slot, found, slot)
        assert (found[0] == slot).all()


@pytest.fixture(params=[1, 2, 3])
def filled_storage(request, transfers, tmp_path):
    """Give a storage of eight full slots, with no copy of any but the last of them in a buffer."""
    with DiskStorage(9, numbered(0), directory=tmp_path, buffers=request.param) as storage:
        for slot in range(8):
            storage.save(slot, numbered(slot), slot)
        storage.flush()
        assert transfers.of("write") == list(range(8))
        transfers.done.clear()
        yield storage
        transfers.gate.set()


def test_what_was_just_saved_is_not_read(transfers, tmp_path):
    with DiskStorage(3, numbered(0), directory=tmp_path, buffers=3) as storage:
        for slot in range(3):
            storage.save(slot, numbered(slot), slot)
        for _ in range(2):
            assert_numbered(storage, 2, 0, 1)
            storage.flush()
        assert transfers.of("read") == []


def test_announced_slots_are_read_in_their_order_and_once(filled_storage, transfers):
    for slot in (4, 1, 3, 0):
        filled_storage.prefetch(slot)
        filled_storage.prefetch(slot)
    for slot in (4, 1, 3, 0):
        assert_numbered(filled_storage, slot)
    assert transfers.of("read") == [4, 1, 3, 0]


def test_no_more_is_read_ahead_than_there_are_buffers(filled_storage, transfers):
    for slot in range(5):
        filled_storage.prefetch(slot)
    transfers.wait_for(*(("read", slot) for slot in range(filled_storage.ahead)))
    assert_numbered(filled_storage, *range(5))
    assert transfers.of("read") == list(range(filled_storage.ahead, 5))


def test_slot_that_is_freed_before_it_was_read_is_not_read(filled_storage, transfers):
    transfers.gate.clear()
    for slot in (2, 3, 4):
        filled_storage.prefetch(slot)
    transfers.wait_for(("read", 2))
    filled_storage.free(3)
    filled_storage.free(2)
    transfers.gate.set()
    assert_numbered(filled_storage, 4)
    assert transfers.of("read") == [4]
    filled_storage.save(2, numbered(2), 2)
    filled_storage.save(3, numbered(3), 3)
    assert_numbered(filled_storage, 2, 3, 0, 1)


def test_slots_that_are_forgotten_are_not_read(filled_storage, transfers):
    transfers.gate.clear()
    for slot in (2, 3, 4, 5):
        filled_storage.prefetch(slot)
    transfers.wait_for(("read", 2))
    filled_storage.forget()
    filled_storage.prefetch(1)
    transfers.gate.set()
    assert_numbered(filled_storage, 1)
    assert transfers.of("read") == [1]


def test_forgotten_slots_leave_their_buffers_to_others(filled_storage, transfers):
    for slot in range(filled_storage.ahead):
        filled_storage.prefetch(slot)
    transfers.wait_for(*(("read", slot) for slot in range(filled_storage.ahead)))
    filled_storage.forget()
    for slot in (6, 5, 4)[: filled_storage.ahead]:
        filled_storage.prefetch(slot)
    transfers.wait_for(*(("read", slot) for slot in (6, 5, 4)[: filled_storage.ahead]))
    assert_numbered(filled_storage, 6, 5, 4)


def test_save_takes_the_buffer_of_what_is_needed_last(filled_storage, transfers):
    """Which is then read again, when there is a buffer."""
    last = filled_storage.ahead - 1
    for slot in range(filled_storage.ahead):
        filled_storage.prefetch(slot)
    transfers.wait_for(*(("read", slot) for slot in range(filled_storage.ahead)))
    filled_storage.save(8, numbered(8), 8)
    transfers.wait_for(("write", 8), ("read", last))
    assert_numbered(filled_storage, *range(filled_storage.ahead))
    assert transfers.of("read") == []
    assert_numbered(filled_storage, 8)


def test_what_is_announced_while_it_waits_to_be_written_stays_in_its_buffer(filled_storage, transfers):
    transfers.gate.clear()
    filled_storage.save(8, numbered(8), 8)
    filled_storage.prefetch(8)
    transfers.wait_for(("write", 8))
    transfers.gate.set()
    filled_storage.flush()
    if filled_storage.ahead > 1:
        assert_numbered(filled_storage, *range(3))
        transfers.done.clear()
    assert_numbered(filled_storage, 8)
    assert transfers.of("read") == []


def test_read_that_somebody_waits_for_goes_before_what_is_to_be_written(transfers, tmp_path):
    with DiskStorage(9, numbered(0), directory=tmp_path, buffers=4) as storage:
        for slot in range(6):
            storage.save(slot, numbered(slot), slot)
        storage.flush()
        transfers.done.clear()
        transfers.gate.clear()
        for slot in (6, 7, 8):
            storage.save(slot, numbered(slot), slot)
        transfers.wait_for(("write", 6))
        threading.Timer(0.05, transfers.gate.set).start()
        assert_numbered(storage, 0)
        storage.flush()
        assert transfers.done == [("read", 0), ("write", 7), ("write", 8)]


def test_snapshot_that_is_freed_before_it_was_written_is_not_written(transfers, tmp_path):
    with DiskStorage(9, numbered(0), directory=tmp_path, buffers=4) as storage:
        transfers.gate.clear()
        for slot in range(3):
            storage.save(slot, numbered(slot), slot)
        transfers.wait_for(("write", 0))
        storage.free(1)
        transfers.gate.set()
        storage.flush()
        assert transfers.done == [("write", 2)]
        assert_numbered(storage, 0, 2)


def test_time_that_was_waited_and_time_that_was_not(transfers, tmp_path):
    """Both are of the transfers since the last `clear`."""
    with DiskStorage(3, numbered(0), directory=tmp_path, buffers=2) as storage:
        assert (storage.waited_seconds, storage.hidden_seconds) == (0, 0)
        transfers.gate.clear()
        storage.save(0, numbered(0), 0)
        transfers.wait_for(("write", 0))
        assert storage.waited_seconds == 0
        transfers.gate.set()
        storage.flush()
        assert storage.hidden_seconds > 0
        transfers.gate.clear()
        storage.save(1, numbered(1), 1)
        threading.Timer(0.05, transfers.gate.set).start()
        storage.flush()
        assert storage.waited_seconds > 0
        storage.clear()
        assert (storage.waited_seconds, storage.hidden_seconds) == (0, 0)
        assert storage.staging_nbytes == 2 * 4096
        assert storage.ahead == 2


@pytest.mark.parametrize("buffers", [0, -1])
def test_bad_number_of_buffers(buffers, tmp_path):
    with pytest.raises(ValueError, match="buffers"):
        DiskStorage(1, numbered(0), directory=tmp_path, buffers=buffers)
    for bad in (1.5, "2", None, True):
        with pytest.raises(TypeError, match="buffers"):
            DiskStorage(1, numbered(0), directory=tmp_path, buffers=bad)
    assert not list(tmp_path.iterdir())


# --- faults


def test_slot_that_is_full_empty_or_missing(tmp_path):
    array = np.arange(3.0)
    with DiskStorage(2, [array], directory=tmp_path) as storage:
        with pytest.raises(StorageError, match="empty") as caught:
            storage.load(1, [array], 7)
        assert_names(caught, 1, 7)
        with pytest.raises(StorageError, match="empty") as caught:
            storage.free(1)
        assert_names(caught, 1, None)
        storage.save(1, [array], 7)
        with pytest.raises(StorageError, match="still holds timestep 7") as caught:
            storage.save(1, [array + 1], 9)
        assert_names(caught, 1, 9)
        with pytest.raises(StorageError, match="holds timestep 7") as caught:
            storage.load(1, [array], 9)
        assert_names(caught, 1, 9)
        for slot in (-1, 2, 10**20):
            with pytest.raises(StorageError, match="no such slot") as caught:
                storage.save(slot, [array], 5)
            assert_names(caught, slot, 5)
        with pytest.raises(StorageError, match="must be >= 0"):
            storage.save(0, [array], -1)


@pytest.mark.parametrize(
    ("arrays", "error"),
    [
        ([np.zeros((2, 3), "f4")], ArrayShapeError),
        ([np.zeros((3, 2), "f4"), np.zeros(4)], ArrayShapeError),
        ([np.zeros((2, 3), "f8"), np.zeros(4)], ArrayTypeError),
        ([np.zeros((2, 3), ">f4"), np.zeros(4)], ArrayTypeError),
        ([np.zeros((2, 3), "f4"), [0.0] * 4], ArrayTypeError),
        ([np.zeros((2, 3), "f4"), np.ma.zeros(4)], ArrayTypeError),
    ],
)
def test_arrays_that_are_not_those_of_the_state(arrays, error, tmp_path):
    state = [np.ones((2, 3), "f4"), np.ones(4)]
    with DiskStorage(2, state, directory=tmp_path) as storage:
        storage.save(0, state, 3)
        for call, slot in ((storage.save, 1), (storage.load, 0)):
            with pytest.raises(error) as caught:
                call(slot, arrays, 3)
            assert_names(caught, slot, 3)
        assert storage.timesteps == (3, None)


def test_read_only_array_changes_nothing(tmp_path, system):
    state = [np.ones(3), np.ones(4)]
    target = [np.zeros(3), np.zeros(4)]
    target[1].flags.writeable = False
    with DiskStorage(1, state, directory=tmp_path) as storage:
        storage.save(0, state, 3)
        with pytest.raises(ArrayTypeError, match="read-only") as caught:
            storage.load(0, target, 3)
        assert_names(caught, 0, 3)
        assert not target[0].any()
        state[1].flags.writeable = False
        storage.free(0)
        storage.save(0, state, 3)  # a source may well be


@pytest.mark.parametrize("array", [np.array([object()]), np.ma.zeros(3), [1.0, 2.0], None])
def test_arrays_that_cannot_be_stored_leave_no_file(array, tmp_path):
    with pytest.raises(ArrayTypeError):
        DiskStorage(1, [array], directory=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("n_slots", "error"), [(-1, ValueError), (1.0, TypeError), ("2", TypeError)])
def test_bad_number_of_slots(n_slots, error, tmp_path):
    with pytest.raises(error):
        DiskStorage(n_slots, [np.zeros(3)], directory=tmp_path)
    assert not list(tmp_path.iterdir())


def test_directory_that_is_missing_or_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(StorageError, match="name another") as caught:
            DiskStorage(1, [np.zeros(3)], directory=directory)
        assert str(directory) in str(caught.value)
    with pytest.raises(TypeError):
        DiskStorage(1, [np.zeros(3)], directory=3)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions stop")
def test_directory_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        DiskStorage(1, [np.zeros(3)], directory=tmp_path)
    tmp_path.chmod(0o700)


def test_full_disk_is_reported_at_the_start(tmp_path, monkeypatch):
    free = file.shutil.disk_usage(tmp_path).free
    huge = np.broadcast_to(0.0, 1 << 40)
    with pytest.raises(StorageError) as caught:
        DiskStorage(3, [huge], directory=tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert str(3 * 8 << 40) in message
    assert "free" in message
    assert os.strerror(errno.ENOSPC) in message
    assert not list(tmp_path.iterdir())
    assert file.shutil.disk_usage(tmp_path).free > free / 2


def test_limit_on_the_size_of_files(tmp_path):
    resource = pytest.importorskip("resource", reason="resource exists on POSIX systems only")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(StorageError, match="cannot reserve") as caught:
            DiskStorage(3, [np.zeros(10_000)], directory=tmp_path)
        assert str(tmp_path) in str(caught.value)
        DiskStorage(3, [np.zeros(1000)], directory=tmp_path).close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full of Linux")
def test_disk_that_is_full_in_the_middle(way):
    """Where blocks cannot be reserved; what was lost is named until it is freed, the others stay."""
    state, lost = [np.arange(2000.0)], [np.ones(2000)]
    with DiskStorage(3, state, **way) as storage:
        storage.save(0, state, 3)
        storage.flush()
        own = storage._file._fd, storage._file._direct_fd
        full = os.open("/dev/full", os.O_RDWR)
        storage._file._fd = storage._file._direct_fd = full
        storage.save(1, lost, 4)
        target = [np.zeros(2000)]
        for call in (
            storage.flush,
            lambda: storage.save(2, state, 5),
            lambda: storage.load(0, target, 3),
            lambda: storage.load(1, target, 4),
        ):
            with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)) as caught:
                call()
            assert_names(caught, 1, 4)
            assert isinstance(caught.value.__cause__, OSError)
        assert not target[0].any()
        storage._file._fd, storage._file._direct_fd = own
        os.close(full)
        assert storage.timesteps == (3, 4, None)
        storage.free(1)
        storage.load(0, target, 3)
        np.testing.assert_array_equal(target, state)
        storage.save(1, lost, 5)
        storage.flush()
        storage.load(0, target, 3)
        storage.load(1, target, 5)
        np.testing.assert_array_equal(target, lost)


@pytest.mark.parametrize("announced", [False, True])
def test_file_that_was_cut_off(way, announced):
    """Snapshots that have left the buffers are lost where they were cut, and no others."""
    states = [[filled(2000, "f8", seed)] for seed in range(5)]
    target = [np.zeros(2000)]
    with DiskStorage(5, states[0], **way) as storage:
        for slot in range(5):
            storage.save(slot, states[slot], slot)
        storage.flush()
        for slot in range(way.get("buffers", 2)):
            storage.load(slot, target, slot)
        os.truncate(storage.path, storage.nbytes - 9000)
        for slot in (4, 3) if announced else ():
            storage.prefetch(slot)
        for _ in range(2):
            with pytest.raises(StorageError, match="cut it off") as caught:
                storage.load(4, target, 4)
            assert_names(caught, 4, 4)
            storage.load(3, target, 3)
            assert target[0].tobytes() == states[3][0].tobytes()


def test_directory_that_somebody_removed(tmp_path):
    storage = DiskStorage(1, [np.zeros(3)], directory=tmp_path)
    file.shutil.rmtree(Path(storage.path).parent)
    storage.close()


def test_interrupt_while_it_is_made_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(file.shutil, "disk_usage", interrupted)
    with pytest.raises(KeyboardInterrupt):
        DiskStorage(1, [np.zeros(3)], directory=tmp_path)
    assert not list(tmp_path.iterdir())


def test_errors_survive_pickling():
    error = StorageError("short", "disk", 3, 8)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(other) == "short (tier disk, slot 3, timestep 8)"


# --- other processes


def python(code, directory, **keywords):
    """Run a program that keeps a storage open in a directory."""
    program = "import os, sys, time\nimport numpy as np\nfrom pyrevolve.storage import DiskStorage\n"
    program += f"storage = DiskStorage(2, [np.zeros(100)], directory={str(directory)!r})\n"
    return subprocess.Popen(
        [sys.executable, "-c", program + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **keywords,
    )


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("assert os.path.exists(storage.path)", 0),
        ("raise RuntimeError('user')", 1),
        ("sys.exit(3)", 3),
        ("def keep(s=storage):\n    yield s\n    yield s\nfor s in keep():\n    sys.exit('in a loop')", 1),
    ],
    ids=["end", "exception", "exit", "generator"],
)
def test_end_of_the_interpreter_removes_the_file(code, status, tmp_path):
    process = python(code, tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_interrupt_removes_the_file(tmp_path):
    # A shell may have started all of this in the background, with interrupts ignored.
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = python(heed + "print('ready', flush=True)\ntime.sleep(60)", tmp_path)
    assert process.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize(
    "leave", ["sys.exit()", "raise RuntimeError('child')", "storage.close()", "del storage"]
)
def test_fork_leaves_the_file_to_the_parent(leave, tmp_path):
    """The end of a child removes nothing, and the child can neither read nor write the parent's slots."""
    code = f"""
    from pyrevolve import StorageError
    storage.save(0, [np.ones(100)], 5)
    child = os.fork()
    if child == 0:
        for method in (storage.save, storage.load):
            try:
                method(int(method == storage.save), [np.ones(100)], 5)
            except StorageError as error:
                assert "fork" in str(error)
            else:
                os._exit(9)
        {leave}
        sys.exit()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1), status
    target = np.zeros(100)
    storage.load(0, [target], 5)
    assert target.all()
    storage.save(1, [target], 6)
    assert os.path.exists(storage.path)
    print("parent is done")
    """
    process = python(code, tmp_path)
    output, errors = process.communicate(timeout=60)
    assert output == "parent is done\n", errors
    assert not list(tmp_path.iterdir())


def test_two_processes_in_one_directory(tmp_path):
    code = """
    value = float(os.getpid())
    for t in range(200):
        storage.save(t % 2, [np.full(100, value + t)], t)
        target = np.zeros(100)
        storage.load(t % 2, [target], t)
        assert (target == value + t).all()
        storage.free(t % 2)
    """
    processes = [python(code, tmp_path) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
def test_what_a_killed_process_left_goes_with_the_next_storage(tmp_path):
    processes = [python("print('ready', flush=True)\ntime.sleep(60)", tmp_path) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    processes[0].kill()
    processes[0].communicate(timeout=60)
    assert len(list(tmp_path.iterdir())) == 2
    with DiskStorage(1, [np.zeros(3)], directory=tmp_path):
        assert len(list(tmp_path.iterdir())) == 2  # the file of the living process, and its own
    assert len(list(tmp_path.iterdir())) == 1
    DiskStorage(1, [np.zeros(3)], directory=tmp_path, keep=True).close()
    DiskStorage(1, [np.zeros(3)], directory=tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 2  # what is to be kept is kept
    processes[1].kill()
    processes[1].communicate(timeout=60)


def ours(number, rank=""):
    """Return the name of a directory as a process makes it for its file."""
    return f"pyrevolve-{platform.node()}-{number}-{rank}a_b2cd3e"


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
@pytest.mark.parametrize("what", ["no file", "a file without its name"])
@pytest.mark.parametrize("rank", ["", "rank12-"])
def test_directory_of_a_process_killed_before_it_had_a_file_goes(what, rank, tmp_path):
    """Where it is old: somebody may be just making a file in a new one."""
    for name, age in ((ours(1, rank), 3600.0), (ours(2, rank), 0.0)):
        folder = tmp_path / name
        folder.mkdir()
        if what != "no file":
            (folder / "snapshots.new").write_bytes(b"")
        os.utime(folder, (folder.stat().st_atime, folder.stat().st_mtime - age))
    DiskStorage(1, [np.zeros(3)], directory=tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == [ours(2, rank)]


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
def test_only_what_a_storage_has_made_is_an_orphan(tmp_path):
    """A directory of the user's may begin like one, and have a file of that name."""
    names = [
        f"pyrevolve-{platform.node()}-journal",
        f"pyrevolve-{platform.node()}-17-resumable",
        f"pyrevolve-{platform.node()}-shot17-a_b2cd3e",
        ours(1) + "-kept",
        "old-" + ours(1),
    ]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "snapshots").write_bytes(b"mine")
    DiskStorage(1, [np.zeros(3)], directory=tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    (tmp_path / ours(1)).mkdir()
    (tmp_path / ours(1) / "snapshots").write_bytes(b"nobody's")
    DiskStorage(1, [np.zeros(3)], directory=tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
def test_folder_is_for_one_storage_at_a_time(tmp_path):
    with DiskStorage(2, [np.zeros(3)], folder=tmp_path) as storage:
        storage.save(0, [np.ones(3)], 5)
        with pytest.raises(StorageError, match="another storage uses the file"):
            DiskStorage(2, [np.zeros(3)], folder=tmp_path)
        found = np.zeros(3)
        storage.flush()
        storage.load(0, [found], 5)
        assert (found == 1).all()
    DiskStorage(2, [np.zeros(3)], folder=tmp_path).close()


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
def test_file_system_without_locks_is_served(monkeypatch, tmp_path):
    import fcntl

    def flock(fd, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ours(1)).mkdir()
    (tmp_path / ours(1) / "snapshots").write_bytes(b"perhaps somebody's")
    for options in ({"directory": tmp_path}, {"folder": tmp_path}):
        with DiskStorage(2, [np.zeros(3)], **options) as storage:
            storage.save(0, [np.ones(3)], 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [ours(1), "snapshots"]


def test_process_may_go_to_another_directory(tmp_path, monkeypatch):
    for name in ("there", "own", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    storages = [
        DiskStorage(2, [np.zeros(3)], directory="there"),
        DiskStorage(2, [np.zeros(3)], folder="own"),
    ]
    paths = [storage.path for storage in storages]
    assert all(os.path.isabs(path) for path in paths)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for storage in storages:
        storage.save(0, [np.ones(3)], 5)
        storage.close()
    assert not list((tmp_path / "there").iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["snapshots"]


@pytest.mark.parametrize("kind", [MemoryStorage, DiskStorage])
@pytest.mark.parametrize("option", ["n_slots", "room"])
@pytest.mark.parametrize("value", [True, 2.0, "3"])
def test_numbers_are_integers(kind, option, value, tmp_path):
    options = {"n_slots": 2, "arrays_like": [np.zeros(3)], option: value}
    if kind is DiskStorage:
        options["directory"] = tmp_path
    with pytest.raises(TypeError, match=f"{option} must be an integer, got"):
        kind(**options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["direct", "fsync", "keep"])
@pytest.mark.parametrize("value", ["yes", 1, 0.0])
def test_flags_are_flags(option, value, tmp_path):
    with pytest.raises(TypeError, match=f"{option} must be True or False, got"):
        DiskStorage(2, [np.zeros(3)], directory=tmp_path, **{option: value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [1, 0, "md5", None])
def test_checksums_are_known(value, tmp_path):
    with pytest.raises(ValueError, match="checksum must be True, False, 'xxh3' or 'crc32', got"):
        DiskStorage(2, [np.zeros(3)], directory=tmp_path, checksum=value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("buffers", "slot", "most"), [(2, 8192, 16384), (1, 100, 4096), (3, 8 << 20, 8 << 20)]
)
def test_trial_of_direct_transfers_takes_no_more_memory_than_the_buffers(
    buffers, slot, most, tmp_path, monkeypatch
):
    if not has_direct_io(tmp_path):
        pytest.skip("needs a file system with direct I/O: name one with TMPDIR")
    taken = []
    pwrite = file._pwrite

    def write(fd, data, offset):
        taken.append(len(data))
        return pwrite(fd, data, offset)

    monkeypatch.setattr(file, "_CACHED_BELOW", 0)
    monkeypatch.setattr(file, "_pwrite", write)
    DiskStorage(6, [np.zeros(slot, "u1")], directory=tmp_path, buffers=buffers).close()
    assert set(taken) == {most}


def test_buffer_that_is_given_back_twice_is_free_once(tmp_path):
    """As where an interrupt comes between giving it back and knowing that it was."""
    arrays = [np.arange(1000.0)]
    with DiskStorage(3, arrays, directory=tmp_path, buffers=2) as storage:
        storage.save(0, arrays, 0)
        storage.flush()
        background, transfer = storage._background, storage._held[0].record.transfer
        background.fetch(transfer)
        background.done(transfer)
        background.done(transfer)
        assert len(background._free) == len(set(map(id, background._free))) == 2
