"""What may go wrong with stored snapshots: it is said of which, nothing hangs, and nothing is left behind."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pyrevolve import StorageError
from pyrevolve.errors import StorageFullError
from pyrevolve.storage import DiskStorage, MemoryStorage, file
from pyrevolve.storage.background import Background

#: Nothing here takes as long, unless it hangs [s].
PATIENCE = 60

SIZE = 2000


def guarded(test):
    """Run a test in a thread, and fail where it hangs."""

    @functools.wraps(test)
    def run(*arguments, **keywords):
        raised = []

        def work():
            try:
                test(*arguments, **keywords)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
        if raised:
            raise raised[0]

    return run


def threads_of_storages():
    return {thread for thread in threading.enumerate() if thread.name == "pyrevolve-disk"}


@pytest.fixture(autouse=True)
def others(tmp_path):
    """Check after every test that no file and no thread of a storage is there that was not there before."""
    before = threads_of_storages()
    yield before
    gc.collect()
    assert not list(tmp_path.glob("**/snapshots"))
    assert not threads_of_storages() - before


def state(t):
    """Return arrays that tell what they are, and that no codec makes much smaller."""
    return [np.random.default_rng(t).normal(size=SIZE)]


def target():
    return [np.zeros(SIZE)]


def assert_holds(storage, *slots, t=None):
    """Assert that slots hold the states of the timesteps with their numbers."""
    for slot in slots:
        found = target()
        storage.load(slot, found, slot if t is None else t)
        np.testing.assert_array_equal(found, state(slot if t is None else t))


def assert_names(error, slot, timestep, tier="disk"):
    assert (error.tier, error.slot, error.timestep) == (tier, slot, timestep)
    assert f"tier {tier}, slot {slot}, timestep {timestep}" in str(error)


def leave_the_buffers(storage, *others):
    """Load other slots, until nothing but those is in the buffers."""
    storage.flush()
    storage.forget()
    for slot in others:
        assert_holds(storage, slot)


class Disk:
    """Stands between a storage and the system: holds calls up, and lets them fail."""

    def __init__(self, monkeypatch):
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()
        self.fail_writes = self.fail_reads = None
        self.pwrite, self.pread = file._pwrite, file._pread
        monkeypatch.setattr(file, "_pwrite", self.write)
        monkeypatch.setattr(file, "_pread", self.read)

    def hold(self):
        self.gate.clear()
        self.reached.clear()

    def pass_through(self):
        self.reached.set()
        assert self.gate.wait(PATIENCE)

    def write(self, fd, data, offset):
        self.pass_through()
        result = None if self.fail_writes is None else self.fail_writes(fd, data, offset)
        return self.pwrite(fd, data, offset) if result is None else result

    def read(self, fd, data, offset):
        self.pass_through()
        result = None if self.fail_reads is None else self.fail_reads(fd, data, offset)
        return self.pread(fd, data, offset) if result is None else result


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def full(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def broken(*arguments):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


WAYS = {
    "buffered": {"direct": False},
    "one buffer": {"direct": False, "buffers": 1},
    "direct": {"direct": True, "buffers": 3},
    "compressed": {"direct": False, "compression": "zstd"},
}


@pytest.fixture(params=WAYS)
def way(request, tmp_path):
    """Return keywords for one of the ways to the file and back."""
    keywords = {**WAYS[request.param], "directory": tmp_path}
    if "compression" in keywords:
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    if keywords["direct"] and not has_direct_io(tmp_path):
        pytest.skip("needs a file system with direct I/O: name one with TMPDIR")
    return keywords


def has_direct_io(directory):
    """Tell whether files in a directory can go past the page cache."""
    try:
        DiskStorage(1, state(0), directory=directory, direct=True).close()
    except StorageError:
        return False
    return True


# --- writes that fail behind the run


@guarded
@pytest.mark.parametrize("finds_out", ["save", "load", "load it", "load what was announced", "flush"])
def test_snapshot_that_could_not_be_written_is_named_by_the_next_call(finds_out, way, disk):
    with DiskStorage(5, state(0), **way) as storage:
        storage.save(0, state(0), 0)
        storage.flush()
        disk.fail_writes = full
        storage.save(1, state(1), 1)
        while storage._background.failed is None:
            time.sleep(0.001)
        disk.fail_writes = None
        found = target()
        call = {
            "save": lambda: storage.save(2, state(2), 2),
            "flush": storage.flush,
            "load it": lambda: storage.load(1, found, 1),
        }.get(finds_out, lambda: storage.load(0, found, 0))
        for _ in range(2):
            if finds_out == "load what was announced":
                storage.prefetch(1)
                storage.prefetch(0)
            with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)) as caught:
                call()
            assert_names(caught.value, 1, 1)
            assert not isinstance(caught.value, StorageFullError)
            assert isinstance(caught.value.__cause__, OSError)
            assert not found[0].any()
        assert storage.timesteps[:3] == (0, 1, None)
        storage.free(1)
        for slot in range(1, 5):
            storage.save(slot, state(slot), slot)
        assert_holds(storage, 0, 1, 2, 3, 4)


@guarded
def test_every_snapshot_that_was_lost_is_named_in_its_turn(way, disk):
    with DiskStorage(4, state(0), **way) as storage:
        disk.hold()
        disk.fail_writes = full
        storage.save(2, state(2), 2)
        if way.get("buffers", 2) > 1:
            storage.save(1, state(1), 1)
        disk.gate.set()
        for slot in (2, 1) if way.get("buffers", 2) > 1 else (2,):
            with pytest.raises(StorageError) as caught:
                storage.flush()
            assert_names(caught.value, slot, slot)
            storage.free(slot)
        storage.flush()


@guarded
def test_clear_forgets_what_was_lost(way, disk):
    with DiskStorage(2, state(0), **way) as storage:
        disk.fail_writes = full
        storage.save(1, state(1), 1)
        with pytest.raises(StorageError):
            storage.flush()
        disk.fail_writes = None
        storage.clear()
        storage.save(1, state(1), 1)
        storage.flush()
        assert_holds(storage, 1)


@guarded
def test_clear_forgets_what_is_just_being_lost(way, disk):
    with DiskStorage(2, state(0), **way) as storage:
        disk.hold()
        disk.fail_writes = full
        storage.save(1, state(1), 1)
        assert disk.reached.wait(PATIENCE)
        threading.Timer(0.02, disk.gate.set).start()
        storage.clear()
        disk.fail_writes = None
        storage.save(1, state(1), 1)
        storage.flush()
        assert_holds(storage, 1)


@guarded
def test_snapshot_that_was_dropped_before_its_write_failed_is_no_error(way, disk):
    with DiskStorage(2, state(0), **way) as storage:
        disk.hold()
        disk.fail_writes = full
        storage.save(1, state(1), 1)
        assert disk.reached.wait(PATIENCE)
        storage.free(1)
        disk.gate.set()
        storage.flush()
        disk.fail_writes = None
        storage.save(1, state(1), 1)
        storage.flush()
        assert_holds(storage, 1)


@guarded
def test_snapshot_is_read_whole_from_its_buffer_while_its_write_fails(disk, tmp_path):
    """Nobody else is given the buffer, until it has been read."""

    class Copier:
        """Lets the write fail in the middle of a copy, and gives the thread time to go on."""

        def __init__(self, copier):
            self.save, self.copy = copier.save, copier.load

        def load(self, memory, offset, arrays):
            disk.fail_writes = full
            disk.gate.set()
            while storage._background.failed is None:
                time.sleep(0.001)
            time.sleep(0.05)
            self.copy(memory, offset, arrays)

    with DiskStorage(2, state(0), directory=tmp_path, buffers=1) as storage:
        storage.save(0, state(0), 0)
        storage.flush()
        disk.hold()
        storage.save(1, state(1), 1)
        storage.prefetch(0)
        assert disk.reached.wait(PATIENCE)
        storage._copier = Copier(storage._copier)
        assert_holds(storage, 1)
        with pytest.raises(StorageError):
            storage.flush()


@guarded
def test_every_write_is_forced_onto_the_medium_where_that_is_asked_for(way, monkeypatch):
    forced, sync = [], file.SnapshotFile.sync
    monkeypatch.setattr(file.SnapshotFile, "sync", lambda self: forced.append(sync(self)))
    for fsync in (False, True):
        with DiskStorage(3, state(0), fsync=fsync, **way) as storage:
            for slot in range(3):
                storage.save(slot, state(slot), slot)
            storage.flush()
            assert len(forced) == 3 * fsync
            assert_holds(storage, 0, 1, 2)


@guarded
def test_medium_that_fails_when_it_is_forced(way, monkeypatch):
    monkeypatch.setattr(file.SnapshotFile, "sync", broken)
    with DiskStorage(3, state(0), fsync=True, **way) as storage:
        storage.save(1, state(1), 1)
        with pytest.raises(StorageError, match=os.strerror(errno.EIO)) as caught:
            storage.flush()
        assert_names(caught.value, 1, 1)


@guarded
def test_file_system_that_offers_direct_transfers_and_has_none(disk, tmp_path, monkeypatch):
    if not has_direct_io(tmp_path):
        pytest.skip("needs a file system with direct I/O: name one with TMPDIR")
    monkeypatch.setattr(file, "_CACHED_BELOW", 0)
    refused = []

    def refuse_the_first(*arguments):
        if not refused:
            refused.append(1)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    disk.fail_writes = refuse_the_first
    with DiskStorage(2, state(0), directory=tmp_path) as storage:
        assert refused
        assert not storage.direct
        storage.save(0, state(0), 0)
        assert_holds(storage, 0)


@guarded
def test_disk_that_is_full_when_direct_transfers_are_tried(disk, tmp_path, monkeypatch):
    if not has_direct_io(tmp_path):
        pytest.skip("needs a file system with direct I/O: name one with TMPDIR")
    monkeypatch.setattr(file, "_CACHED_BELOW", 0)
    disk.fail_writes = full
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        DiskStorage(2, state(0), directory=tmp_path)
    assert not list(tmp_path.iterdir())


@guarded
def test_way_that_is_chosen_by_a_trial_works(tmp_path, monkeypatch):
    for unless in (0.0, 1e9):
        monkeypatch.setattr(file, "_CACHED_BELOW", 0)
        monkeypatch.setattr(file, "_DIRECT_UNLESS", unless)
        with DiskStorage(4, state(0), directory=tmp_path) as storage:
            assert storage.direct == (unless > 0 and has_direct_io(tmp_path))
            for slot in range(4):
                storage.save(slot, state(slot), slot)
            assert_holds(storage, 0, 1, 2, 3)


@guarded
def test_write_that_makes_no_progress(way, disk):
    with DiskStorage(2, state(0), **way) as storage:
        disk.fail_writes = lambda *arguments: 0
        storage.save(1, state(1), 1)
        with pytest.raises(StorageError, match="nothing could be written") as caught:
            storage.flush()
        assert_names(caught.value, 1, 1)


@guarded
def test_writes_and_reads_that_stop_early_go_on(way, disk):
    random = np.random.default_rng(0)

    def partly(call):
        def move(fd, data, offset):
            some = int(random.integers(1, 5000))
            if way["direct"]:
                return min(call(fd, data, offset), some)
            return call(fd, data[:some], offset)

        return move

    disk.fail_writes, disk.fail_reads = partly(disk.pwrite), partly(disk.pread)
    with DiskStorage(6, state(0), **way) as storage:
        for slot in range(6):
            storage.save(slot, state(slot), slot)
        assert_holds(storage, *range(6))


@guarded
def test_limit_on_the_size_of_files_that_comes_in_the_middle(way):
    resource = pytest.importorskip("resource", reason="resource exists on POSIX systems only")
    with DiskStorage(4, state(0), **way) as storage:
        storage.save(0, state(0), 0)
        storage.flush()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, hard))
        try:
            storage.save(1, state(1), 1)
            with pytest.raises(StorageError, match=os.strerror(errno.EFBIG)) as caught:
                storage.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert_names(caught.value, 1, 1)
        storage.free(1)
        assert_holds(storage, 0)


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@guarded
@pytest.mark.parametrize("reserves", [True, False])
def test_disk_that_is_really_full(small_disk, reserves, monkeypatch):
    """Where blocks are reserved it does not matter that others fill the disk, else the loss is named."""
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        DiskStorage(100, state(0), directory=small_disk)
    assert not list(small_disk.iterdir())
    with DiskStorage(5, state(0), directory=small_disk) as storage:
        storage.save(0, state(0), 0)
        storage.flush()
        with (small_disk / "others").open("wb") as others, contextlib.suppress(OSError):
            others.write(bytes(1 << 20))
        if reserves:
            for slot in range(1, 5):
                storage.save(slot, state(slot), slot)
            assert_holds(storage, *range(5))
        else:
            storage.save(1, state(1), 1)
            with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)) as caught:
                storage.flush()
            assert_names(caught.value, 1, 1)
            (small_disk / "others").unlink()
            storage.free(1)
            storage.save(1, state(1), 1)
            assert_holds(storage, 0, 1)


# --- reads that fail, and what was damaged


@guarded
@pytest.mark.parametrize("announced", [False, True])
def test_read_that_fails_is_an_error_of_its_own_load_only(announced, way, disk):
    with DiskStorage(6, state(0), **way) as storage:
        for slot in range(6):
            storage.save(slot, state(slot), slot)
        leave_the_buffers(storage, 0, 1, 2)
        disk.fail_reads = broken
        for slot in (5, 4, 3) if announced else ():
            storage.prefetch(slot)
        for slot in (5, 4, 5):
            with pytest.raises(StorageError, match=os.strerror(errno.EIO)) as caught:
                storage.load(slot, target(), slot)
            assert_names(caught.value, slot, slot)
        disk.fail_reads = None
        assert_holds(storage, 5, 4, 3, 0)


@guarded
@pytest.mark.parametrize("checksum", ["xxh3", "crc32"])
@pytest.mark.parametrize("announced", [False, True])
def test_one_bit_flipped_in_the_file_is_found(checksum, announced, way):
    if checksum == "xxh3":
        pytest.importorskip("xxhash", reason='needs xxhash: pip install "pyrevolve[disk]"')
    with DiskStorage(6, state(0), checksum=checksum, **way) as storage:
        assert storage.checksum == checksum
        for slot in range(6):
            storage.save(slot, state(slot), slot)
        leave_the_buffers(storage, 0, 1, 2)
        ((begin, end),) = storage._held[5].record.transfer.extents
        with open(storage.path, "r+b") as damaged:
            for at in (begin, begin + 7777, end - 5000):
                damaged.seek(at)
                byte = damaged.read(1)[0]
                damaged.seek(at)
                damaged.write(bytes([byte ^ 16]))
                damaged.flush()
                for _ in range(2):
                    if announced:
                        storage.prefetch(5)
                    with pytest.raises(StorageError, match="damaged on disk") as caught:
                        storage.load(5, target(), 5)
                    assert_names(caught.value, 5, 5)
                damaged.seek(at)
                damaged.write(bytes([byte]))
                damaged.flush()
                assert_holds(storage, 5, 0, 1, 2)
            damaged.seek(begin)
            damaged.write(b"damaged too")
        assert_holds(storage, 4, 3)
        storage.free(5)
        storage.save(5, state(5), 5)
        leave_the_buffers(storage, 0, 1, 2)
        assert_holds(storage, 5)


@guarded
def test_without_checksum_nobody_looks(tmp_path):
    with DiskStorage(3, state(0), checksum=False, directory=tmp_path) as storage:
        assert storage.checksum is None
        for slot in range(3):
            storage.save(slot, state(slot), slot)
        leave_the_buffers(storage, 0, 1)
        with open(storage.path, "r+b") as damaged:
            damaged.seek(storage._held[2].record.transfer.extents[0][0])
            damaged.write(bytes(8))
        found = target()
        storage.load(2, found, 2)
        assert found[0][0] == 0
        np.testing.assert_array_equal(found[0][1:], state(2)[0][1:])


@guarded
@pytest.mark.parametrize("checksum", ["xxh3", "crc32", True])
@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
@pytest.mark.parametrize("n_slots", [3, None])
def test_one_bit_flipped_in_memory_is_found(checksum, codec, n_slots):
    if checksum == "xxh3":
        pytest.importorskip("xxhash", reason='needs xxhash: pip install "pyrevolve[disk]"')
    if codec is not None:
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    with MemoryStorage(n_slots, state(0), room=60_000, checksum=checksum, compression=codec) as storage:
        for slot in range(3):
            storage.save(slot, state(slot), slot)
        arena = np.frombuffer(storage._buffer, "u1")
        begin = storage._held[1].record.extents[0][0]
        for at in (begin, begin + 3000, begin + 9999):
            arena[at] ^= 1
            found = target()
            with pytest.raises(StorageError, match="damaged in memory") as caught:
                storage.load(1, found, 1)
            assert_names(caught.value, 1, 1, "RAM")
            assert not found[0].any()
            assert_holds(storage, 0, 2)
            arena[at] ^= 1
            assert_holds(storage, 1)


@guarded
@pytest.mark.parametrize("codec", ["lz4", "zstd", "pcodec"])
def test_damage_that_a_codec_comes_upon_is_named_too(codec):
    """Without a checksum it may also go unnoticed, but it is never another error."""
    package = "pcodec" if codec == "pcodec" else "numcodecs"
    pytest.importorskip(package, reason=f'needs {package}: pip install "pyrevolve[compression]"')
    random = np.random.default_rng(0)
    with MemoryStorage(2, state(0), compression=codec) as storage:
        storage.save(1, [np.arange(SIZE) * 1.0], 3)
        arena = np.frombuffer(storage._buffer, "u1")
        ((begin, end),) = storage._held[1].record.extents
        intact, found = arena[begin:end].copy(), 0
        for _ in range(200):
            arena[begin:end] = intact
            arena[random.integers(begin, end, 20)] = random.integers(0, 256, 20)
            try:
                storage.load(1, target(), 3)
            except StorageError as error:
                assert_names(error, 1, 3, "RAM")
                found += 1
        assert found > 0
        arena[begin:end] = intact
        loaded = target()
        storage.load(1, loaded, 3)
        np.testing.assert_array_equal(loaded[0], np.arange(SIZE))


@guarded
def test_file_that_somebody_emptied(way):
    with DiskStorage(6, state(0), **way) as storage:
        for slot in range(6):
            storage.save(slot, state(slot), slot)
        leave_the_buffers(storage, 0, 1, 2)
        os.truncate(storage.path, 0)
        with pytest.raises(StorageError, match="cut it off") as caught:
            storage.load(5, target(), 5)
        assert_names(caught.value, 5, 5)
        storage.free(5)
        storage.save(5, state(7), 7)
        leave_the_buffers(storage)
        assert_holds(storage, 5, t=7)


@guarded
def test_directory_that_is_removed_in_the_middle(way):
    """The system keeps an open file, where it is POSIX."""
    with DiskStorage(6, state(0), **way) as storage:
        for slot in range(3):
            storage.save(slot, state(slot), slot)
        shutil.rmtree(Path(storage.path).parent, ignore_errors=os.name != "posix")
        for slot in range(3, 6):
            storage.save(slot, state(slot), slot)
        assert_holds(storage, *range(6))


# --- memory and threads that cannot be had


@guarded
@pytest.mark.parametrize("direct", [None, False])
def test_buffers_that_are_too_large_leave_no_file(direct, tmp_path):
    huge = [np.broadcast_to(0.0, 1 << 57)]
    with pytest.raises(MemoryError):
        DiskStorage(None, huge, room=4096, directory=tmp_path, direct=direct)
    assert not list(tmp_path.iterdir())


@guarded
def test_memory_that_is_too_large_leaves_a_storage_that_can_be_closed():
    with pytest.raises(MemoryError):
        MemoryStorage(None, room=1 << 62, arrays_like=state(0))
    with MemoryStorage(1 << 10) as storage:
        with pytest.raises(MemoryError):
            storage.save(0, [np.broadcast_to(0.0, 1 << 49)], 0)
        assert storage.timesteps[:2] == (None, None)
        storage.save(0, state(0), 0)
        assert_holds(storage, 0)


@guarded
def test_thread_that_cannot_be_started(way, monkeypatch):
    """Nothing is changed, and once there are threads again, all is well."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    with DiskStorage(3, state(0), **way) as storage:
        left = storage.bytes_left
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            for _ in range(5):
                with pytest.raises(StorageError, match=r"can't start new thread") as caught:
                    storage.save(1, state(1), 1)
                assert_names(caught.value, 1, 1)
                assert storage.timesteps == (None, None, None)
                assert storage.bytes_left == left
        for slot in range(3):
            storage.save(slot, state(slot), slot)
        storage.flush()
        assert_holds(storage, 0, 1, 2)


@guarded
def test_thread_that_cannot_be_started_for_what_another_process_has_left(tmp_path, monkeypatch):
    """An announcement is no promise: the load tells."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    with DiskStorage(3, state(0), folder=tmp_path) as storage:
        storage.save(1, state(1), 1)
        index = storage.index()
    with DiskStorage(3, state(0), folder=tmp_path) as storage:
        storage.restore(index)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            for _ in range(3):
                storage.prefetch(1)
                with pytest.raises(StorageError, match=r"can't start new thread") as caught:
                    storage.load(1, target(), 1)
                assert_names(caught.value, 1, 1)
        storage.prefetch(1)
        assert_holds(storage, 1)
    (tmp_path / "snapshots").unlink()


def go_through(storage, n_slots):
    """Save and load until something goes wrong."""
    for slot in range(n_slots):
        storage.save(slot, state(slot), slot)
    leave_the_buffers(storage, *range(n_slots))


@guarded
@pytest.mark.parametrize("after", [0, 1, 3, 12])
@pytest.mark.parametrize("method", ["_next", "_finished"])
def test_thread_that_dies_is_reported_and_nothing_hangs(method, after, way, monkeypatch):
    original, calls = getattr(Background, method), []

    def die(self, *arguments):
        calls.append(1)
        if len(calls) > after:
            raise RuntimeError("the thread has had enough")
        return original(self, *arguments)

    monkeypatch.setattr(Background, method, die)
    with DiskStorage(9, state(0), **way) as storage:
        with pytest.raises(StorageError, match="the thread has had enough"):
            go_through(storage, 9)
        if None not in storage.timesteps:
            storage.free(8)
        empty = storage.timesteps.index(None)
        refused = [storage.flush, lambda: storage.save(empty, state(0), 0)]
        if empty > 0:
            refused.append(lambda: storage.load(0, target(), 0))
        for call in refused:
            with pytest.raises(StorageError, match="the thread has had enough"):
                call()
        storage.prefetch(0)
        storage.forget()
        with contextlib.suppress(StorageError):
            storage.clear()
        with pytest.raises(StorageError, match="the thread has had enough"):
            storage.save(0, state(0), 0)


@guarded
def test_thread_that_vanishes_without_a_word(way, monkeypatch):
    """As a fork, or the end of the interpreter, may leave it."""
    monkeypatch.setattr("pyrevolve.storage.background._HEARTBEAT", 0.01)
    monkeypatch.setattr(Background, "_work", lambda self: None)
    with DiskStorage(9, state(0), **way) as storage:
        with pytest.raises(StorageError, match="background thread ended"):
            go_through(storage, 9)
        with pytest.raises(StorageError, match="background thread ended"):
            storage.flush()


# --- interrupts


def fill_the_buffers(storage, disk):
    """Have every buffer wait to be written."""
    for slot in range(storage.ahead):
        storage.free(slot)
        storage.save(slot, state(slot), slot)
    assert disk.reached.wait(PATIENCE)


WAITS = {
    "save": (fill_the_buffers, lambda storage, slot: storage.save(5, state(5), 5)),
    "flush": (fill_the_buffers, lambda storage, slot: storage.flush()),
    "clear": (fill_the_buffers, lambda storage, slot: storage.clear()),
    "load": (lambda storage, disk: None, lambda storage, slot: storage.load(slot, target(), slot)),
    "load behind a write": (fill_the_buffers, lambda storage, slot: storage.load(slot, target(), slot)),
    "load of what is being read": (
        lambda storage, disk: storage.prefetch(4),
        lambda storage, slot: storage.load(slot, target(), slot),
    ),
}


@guarded
@pytest.mark.parametrize("buffers", [1, 2])
@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("then", ["again", "free", "go on"])
def test_interrupt_while_waiting_leaves_a_storage_that_can_be_used(wait, then, buffers, disk, tmp_path):
    """Once and again, more often than there are buffers."""
    prepare, call = WAITS[wait]
    with DiskStorage(6, state(0), directory=tmp_path, buffers=buffers) as storage:
        changed, me, interrupts = storage._background._changed, threading.current_thread(), []
        really_wait = changed.wait

        def interrupted(*arguments):
            if interrupts and threading.current_thread() is me:
                interrupts.pop()
                raise KeyboardInterrupt
            return really_wait(*arguments)

        changed.wait = interrupted
        for _ in range(2 * buffers + 1):
            for slot in range(5):
                if storage.timesteps[slot] is None:
                    storage.save(slot, state(slot), slot)
            leave_the_buffers(storage, 0, 1, 2)
            disk.hold()
            prepare(storage, disk)
            for slot in (4, 3) if then == "again" else (4,):
                interrupts.append(1)
                with pytest.raises(KeyboardInterrupt):
                    call(storage, slot)
            if then == "free" and storage.timesteps[4] is not None:
                storage.free(4)
            disk.gate.set()
            assert storage.timesteps[5] is None
            for slot in range(5):
                if storage.timesteps[slot] is None:
                    storage.save(slot, state(slot), slot)
                storage.prefetch(slot)
            assert_holds(storage, *range(5))


PROGRAM = """
import contextlib, gc, os, signal, sys, threading, time
import numpy as np
from pyrevolve import StorageError
from pyrevolve.storage import DiskStorage, file

signal.signal(signal.SIGINT, signal.default_int_handler)
pwrite, pread, delay = file._pwrite, file._pread, [0.0]

def write(fd, data, offset):
    time.sleep(delay[0])
    return pwrite(fd, data, offset)

def read(fd, data, offset):
    time.sleep(delay[0])
    return pread(fd, data, offset)

file._pwrite, file._pread = write, read

def state(t):
    return [np.random.default_rng(t).normal(size=2000)]

def held(t):
    found = [np.zeros(2000)]
    storage.load(t, found, t)
    return np.array_equal(found, state(t))

def ready():
    print("ready", flush=True)

storage = DiskStorage(8, state(0), directory=sys.argv[1], buffers=2)
"""


def program(code, directory):
    """Start a program that has a storage in a directory and a slow disk; it is killed where it hangs."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM + textwrap.dedent(code), str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    process.watch = threading.Timer(PATIENCE, process.kill)
    process.watch.start()
    return process


def output_of(process, status=0):
    """Return what else a program prints; assert how it ends."""
    with process:
        output, errors = process.stdout.read(), process.stderr.read()
    process.watch.cancel()
    assert process.returncode == status, errors
    return output, errors


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    "call",
    ["storage.save(7, state(7), 7)", "held(0)", "storage.flush()", "storage.clear()", "time.sleep(60)"],
)
def test_interrupted_program_leaves_nothing_behind(call, tmp_path):
    code = f"""
    for slot in range(2):
        storage.save(slot, state(slot), slot)
    storage.flush()
    delay[0] = 0.25
    for slot in range(2, 4):
        storage.save(slot, state(slot), slot)
    ready()
    while True:
        {call}
        storage.flush()
    """
    process = program(code, tmp_path)
    assert process.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = output_of(process, -signal.SIGINT)
    assert "KeyboardInterrupt" in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_program_that_survives_its_interrupts_computes_on(tmp_path):
    code = """
    for slot in range(8):
        storage.save(slot, state(slot), slot)
    storage.flush()
    delay[0] = 0.2
    ready()
    stopped = 0
    while stopped < 6:
        try:
            for slot in range(8):
                assert held(slot)
                storage.free(slot)
                storage.save(slot, state(slot), slot)
                storage.prefetch((slot + 3) % 8)
        except KeyboardInterrupt:
            stopped += 1
            for slot in range(8):
                if storage.timesteps[slot] is None:
                    delay[0] = 0.0
                    storage.save(slot, state(slot), slot)
                    delay[0] = 0.2
            ready()
    delay[0] = 0.0
    assert all(held(slot) for slot in range(8))
    print("done")
    """
    process = program(code, tmp_path)
    for _ in range(6):
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
    output, _ = output_of(process)
    assert output == "ready\ndone\n"
    assert not list(tmp_path.iterdir())


# --- the end


def open_files():
    """Return what this process has open, by descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs the files in /proc of Linux")
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("where", ["unlink", "join", "remove"])
def test_interrupted_end_keeps_nothing(where, again, disk, tmp_path, monkeypatch):
    """Not the blocks on disk either: no descriptor may stay open, and none be closed under a transfer."""
    before = set(open_files().values())
    storage = DiskStorage(2, state(0), directory=tmp_path)
    disk.hold()
    storage.save(0, state(0), 0)
    assert disk.reached.wait(PATIENCE)
    interrupts = [KeyboardInterrupt]
    owner = storage._background._thread if where == "join" else storage._file
    original = getattr(owner, where)

    def interrupted(*arguments):
        if interrupts and threading.current_thread() is threading.main_thread():
            raise interrupts.pop()
        return original(*arguments)

    monkeypatch.setattr(owner, where, interrupted)
    if where != "join":
        disk.gate.set()
    with pytest.raises(KeyboardInterrupt):
        storage.close()
    if where == "join":  # a transfer is at it still
        assert any("snapshots" in path for path in set(open_files().values()) - before)
        disk.gate.set()
    if again:
        storage.close()
    else:
        del storage
        gc.collect()
    for thread in threads_of_storages():
        thread.join(PATIENCE)
    assert not [path for path in set(open_files().values()) - before if "snapshots" in path]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs the files in /proc of Linux")
def test_program_interrupted_while_it_closes_leaves_nothing_behind(tmp_path):
    code = """
    import os
    delay[0] = 0.6
    begun = threading.Event()
    file._pwrite = lambda *arguments: begun.set() or write(*arguments)
    storage.save(0, state(0), 0)
    begun.wait()
    ready()
    try:
        storage.close()
        print("not interrupted")
    except KeyboardInterrupt:
        pass
    storage.close()
    links = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    print([link for link in links if "snapshots" in link], flush=True)
    """
    process = program(code, tmp_path)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = output_of(process)
    assert output == "[]\n"
    assert not list(tmp_path.iterdir())


CALLS = {
    "save": lambda storage: storage.save(1, state(1), 1),
    "load": lambda storage: storage.load(0, target(), 0),
    "free": lambda storage: storage.free(0),
    "flush": lambda storage: storage.flush(),
}
QUIET_CALLS = {
    "prefetch": lambda storage: storage.prefetch(0),
    "forget": lambda storage: storage.forget(),
    "clear": lambda storage: storage.clear(),
    "close": lambda storage: storage.close(),
    "properties": lambda storage: (
        storage.nbytes,
        storage.timesteps,
        storage.staging_nbytes,
        storage.waited_seconds,
        storage.hidden_seconds,
        storage.bytes_left,
        storage.stored_nbytes(0),
        storage.ahead,
        storage.elastic,
        storage.checksum,
        storage.compression_ratio,
        storage.compression_error,
        storage.path,
        storage.direct,
        repr(storage),
    ),
}


@guarded
@pytest.mark.parametrize("call", CALLS)
def test_use_after_the_end_is_an_error(call, way):
    storage = DiskStorage(2, state(0), **way)
    storage.save(0, state(0), 0)
    storage.prefetch(0)
    storage.close()
    with pytest.raises(StorageError, match="closed"):
        CALLS[call](storage)


@guarded
@pytest.mark.parametrize("call", QUIET_CALLS)
def test_what_may_be_called_after_the_end_does_nothing(call, way):
    storage = DiskStorage(2, state(0), **way)
    storage.save(0, state(0), 0)
    storage.prefetch(0)
    storage.close()
    QUIET_CALLS[call](storage)
    assert (storage.nbytes, storage.staging_nbytes) == (0, 0)


@guarded
@pytest.mark.parametrize("kind", [MemoryStorage, DiskStorage])
def test_memory_is_given_back_at_the_end(kind, tmp_path):
    """Not only when the object goes, which a variable may keep alive for long."""
    psutil = pytest.importorskip("psutil", reason="needs psutil: pip install psutil")
    process, large = psutil.Process(), [np.zeros(4 << 20)]
    keywords = {"directory": tmp_path} if kind is DiskStorage else {}
    storage = kind(2, large, **keywords)
    for slot in range(2):
        storage.save(slot, [large[0] + slot + 1], slot)
    storage.load(0, large, 0)
    before = process.memory_info().rss
    storage.close()
    assert process.memory_info().rss < before - 48 * (1 << 20)


@guarded
def test_file_that_is_to_be_kept_is_kept(way, tmp_path):
    storage = DiskStorage(2, state(0), keep=True, **way)
    storage.save(1, state(1), 1)
    storage.flush()
    path, nbytes = Path(storage.path), storage.nbytes
    storage.close()
    assert path.stat().st_size == nbytes
    if way.get("compression") is None:
        assert state(1)[0].tobytes() in path.read_bytes()
    del storage
    gc.collect()
    assert path.exists()
    shutil.rmtree(path.parent)


@guarded
@pytest.mark.parametrize("cycle", [False, True])
@pytest.mark.parametrize("traffic", ["write", "read", "many"])
def test_storage_that_nobody_has_any_more_ends_its_thread(cycle, traffic, way, disk, tmp_path, others):
    storage = DiskStorage(6, state(0), **way)
    for slot in range(5):
        storage.save(slot, state(slot), slot)
    leave_the_buffers(storage, 0, 1, 2)
    (thread,) = threads_of_storages() - others
    disk.hold()
    threading.Timer(0.05, disk.gate.set).start()
    if traffic != "write":
        storage.prefetch(4)
    if traffic != "read":
        storage.save(5, state(5), 5)
    assert disk.reached.wait(PATIENCE)
    if cycle:
        storage.itself = storage
    del storage
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not list(tmp_path.iterdir())


@guarded
def test_storage_that_its_own_thread_collects(disk, tmp_path, others):
    """The garbage may be found by any thread, by the one that is to end as well."""
    gc.disable()
    try:
        storage = DiskStorage(3, state(0), directory=tmp_path)
        disk.hold()
        storage.save(0, state(0), 0)
        assert disk.reached.wait(PATIENCE)
        disk.fail_writes = lambda *arguments: gc.collect() and None
        (thread,) = threads_of_storages() - others
        storage.itself = storage
        del storage
        disk.gate.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    finally:
        gc.enable()
    assert not list(tmp_path.iterdir())


@guarded
def test_exception_in_between_ends_everything(way, disk, tmp_path, others):
    disk.hold()
    threading.Timer(0.1, disk.gate.set).start()

    def compute():
        with DiskStorage(3, state(0), **way) as storage:
            storage.save(0, state(0), 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compute()
    assert not list(tmp_path.iterdir())
    assert not threads_of_storages() - others


@guarded
def test_exception_of_the_user_is_not_hidden_by_one_of_the_end(tmp_path, disk):
    """A file that is to be kept is written to its end, which may fail."""
    disk.fail_writes = full

    def compute(error):
        with DiskStorage(3, state(0), directory=tmp_path, keep=True) as storage:
            storage.save(0, state(0), 0)
            if error is not None:
                raise error

    with pytest.raises(ZeroDivisionError):
        compute(ZeroDivisionError())
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        compute(None)
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError", 1),
        ("del storage", 0),
        ("storage.itself = storage", 0),
    ],
)
def test_program_that_ends_with_transfers_in_flight(end, status, tmp_path):
    code = f"""
    for slot in range(6):
        storage.save(slot, state(slot), slot)
    storage.flush()
    delay[0] = 0.3
    storage.save(6, state(6), 6)
    storage.save(7, state(7), 7)
    storage.prefetch(0)
    ready()
    {end}
    """
    began = time.monotonic()
    assert output_of(program(code, tmp_path), status)[0] == "ready\n"
    assert time.monotonic() - began < PATIENCE
    assert not list(tmp_path.iterdir())


# --- other processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_fork_in_the_middle_of_transfers(tmp_path):
    """A child has no thread and nobody to let go of a lock: it gets errors, and never waits."""
    code = """
    def refused(call):
        try:
            call()
        except StorageError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("not refused")

    for slot in range(4):
        storage.save(slot, state(slot), slot)
    storage.flush()
    children = []
    for turn in range(12):
        delay[0] = 0.002 * (turn % 3)
        storage.free(turn % 4)
        storage.save(turn % 4, state(turn % 4), turn % 4)
        storage.prefetch((turn + 2) % 4)
        storage.save(4 + turn % 4, state(turn), turn)
        child = os.fork()
        if child == 0:
            delay[0] = 60
            refused(lambda: storage.load(0, state(0), 0))
            refused(storage.flush)
            storage.free(0)
            refused(lambda: storage.save(0, state(0), 0))
            storage.prefetch(1)
            storage.forget()
            storage.clear()
            refused(lambda: storage.save(1, state(0), 0))
            (storage.close, lambda: None, gc.collect)[turn % 3]()
            own = DiskStorage(2, state(0), directory=sys.argv[1])
            delay[0] = 0
            own.save(0, state(3), 3)
            own.load(0, state(0), 3)
            sys.exit(7)
        children.append(child)
        storage.free(4 + turn % 4)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert all(held(slot) for slot in range(4))
    assert os.listdir(sys.argv[1]) == [os.path.basename(os.path.dirname(storage.path))]
    print("done")
    """
    assert output_of(program(code, tmp_path))[0] == "done\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_process_that_is_killed_does_not_harm_its_neighbour(tmp_path):
    code = """
    ready()
    for turn in {turns}:
        for slot in range(8):
            storage.save(slot, state(slot + turn), slot)
        for slot in range(8):
            found = state(0)
            storage.load(slot, found, slot)
            assert np.array_equal(found, state(slot + turn))
            storage.free(slot)
    print("done")
    """
    processes = [
        program(code.format(turns=turns), tmp_path) for turns in ("iter(int, 1)", "range(50)", "range(50)")
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    processes[0].kill()
    assert [output_of(process)[0] for process in processes[1:]] == ["done\n"] * 2
    assert output_of(processes[0], -signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert f"-{processes[0].pid}-" in left.name
    shutil.rmtree(left)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users as POSIX has them")
def test_permission_denied(tmp_path):
    code = """
    storage.close()
    if os.geteuid() == 0:
        os.seteuid(65534)
    os.umask(0)
    try:
        DiskStorage(2, state(0), directory=sys.argv[1] + "/locked")
    except StorageError as error:
        print(error)
    """
    (tmp_path / "locked").mkdir(mode=0o500)
    tmp_path.chmod(0o755)
    output, _ = output_of(program(code, tmp_path))
    assert os.strerror(errno.EACCES) in output
    assert "name another" in output
    assert not list((tmp_path / "locked").iterdir())


COLLECTED = """
import gc, sys, threading
import numpy as np
from pyrevolve import DiskStorage

storage = DiskStorage(2, [np.zeros(1000)], directory=sys.argv[1])
storage.save(0, [np.ones(1000)], 0)
with threading._active_limbo_lock:  # as within threading.enumerate()
    del storage
    gc.collect()
"""


def test_storage_that_is_collected_while_threads_are_counted_does_not_wait_for_its_own(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", COLLECTED, str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, env=environment)
    assert not list(tmp_path.iterdir())
