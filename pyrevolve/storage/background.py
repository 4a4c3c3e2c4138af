"""Transfers that run beside the timesteps: writes behind the run, reads ahead of it."""

from __future__ import annotations

import collections
import contextlib
import enum
import errno
import os
import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import TypeAlias

from ..crevolve import Arena
from .checksums import Checksum
from .file import SnapshotFile
from .space import Extent

__all__ = ["Background", "Buffer", "Told", "Transfer"]

#: Called with ``"write"``, ``"read"`` or ``"wait"``, slot and timestep of the snapshot (-1 for a wait), and
#: from when to when [ns]. It must not raise.
Told: TypeAlias = Callable[[str, int, int, int, int], object]

#: How often a waiting thread looks whether the background thread is still alive [s].
_HEARTBEAT = 1.0


class Buffer:
    """Page-aligned memory for one snapshot on its way.

    Attributes
    ----------
    memory : memoryview
        The bytes.
    owner : Transfer or None
        Whose bytes it holds; None where they belong to nobody any more.
    """

    __slots__ = ("memory", "owner")

    def __init__(self, nbytes: int) -> None:
        self.memory = memoryview(Arena(nbytes))
        self.owner: Transfer | None = None


class _Stage(enum.Enum):
    QUEUED = "waits to be written; the buffer holds it"
    WRITING = "is being written; the buffer holds it"
    ON_DISK = "is on disk; where there is a buffer, that holds it too"
    READING = "is being read into the buffer"
    FAILED = "could not be written or read"
    DROPPED = "is not wanted any more"


class Transfer:
    """One snapshot: where it lies in the file, and where it is on its way.

    Attributes
    ----------
    extents : tuple of (int, int)
        Its bytes in the file.
    label : tuple of int
        Slot and timestep.
    checksum : bytes or None
        Of its bytes, once they were written.
    error : BaseException or None
        What became of the last transfer.
    """

    __slots__ = ("announced", "buffer", "checksum", "error", "extents", "label", "pinned", "stage")

    def __init__(
        self, extents: tuple[Extent, ...], label: tuple[int, int], checksum: bytes | None = None
    ) -> None:
        self.extents = extents
        self.label = label
        self.checksum = checksum
        self.error: BaseException | None = None
        self.buffer: Buffer | None = None
        self.stage = _Stage.ON_DISK
        self.announced = False
        self.pinned = False

    @property
    def nbytes(self) -> int:
        """Bytes that are transferred."""
        return sum(end - begin for begin, end in self.extents)


class Background:
    """One thread that writes and reads a file through a bounded number of buffers.

    Writes go in the order in which they are asked for. A read that somebody waits for goes before them: it
    can only be of bytes that no pending write touches, because what waits to be written is still in its
    buffer. Reads that were announced come last, each as early as a buffer is free.

    Parameters
    ----------
    file : SnapshotFile
        The file.
    buffer_bytes : int
        Size of a buffer [bytes], > 0.
    buffers : int
        How many, >= 1.
    checksum : callable or None
        Computes a checksum of what is written, which what is read must have again.
    fsync : bool
        Whether every write is forced onto the medium.

    Attributes
    ----------
    waited, busy : int
        Nanoseconds that the caller spent waiting here, and that the thread spent transferring.
    told : callable or None
        Is told of all that adds to them, with the lock held, by the thread that it is of; see `Told`.

    Notes
    -----
    All methods are for one thread. The thread is started with the first transfer, holds no reference to the
    storage, and ends with `stop`.
    """

    def __init__(
        self, file: SnapshotFile, buffer_bytes: int, buffers: int, checksum: Checksum | None, fsync: bool
    ) -> None:
        self._file = file
        self._checksum = checksum
        self._fsync = fsync
        self._buffers = [Buffer(buffer_bytes) for _ in range(buffers)]
        #: Buffers that nobody uses; they may still hold a copy of what is on disk. The oldest first.
        self._free = list(self._buffers)
        self._writes: collections.deque[Transfer] = collections.deque()
        #: Announced and neither in a buffer nor being read.
        self._ahead: collections.deque[Transfer] = collections.deque()
        #: Announced and in a buffer, in the order in which they were read.
        self._ready: list[Transfer] = []
        self._urgent: Transfer | None = None
        self._failed: list[Transfer] = []
        self._running: Transfer | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._broken: BaseException | None = None
        self._stopping = False
        # Not entered as a condition, which interrupts could leave locked.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self.waited = 0
        self.busy = 0
        self.told: Told | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(len(buffer.memory) for buffer in self._buffers)

    # --- what the caller does -------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise OSError where a write behind the run has failed, or in a fork of the owner."""
        if not self._file.owned:
            raise OSError(
                "the file belongs to another process, of which this one is a fork; "
                "make a storage after the fork"
            )
        if self._broken is not None:
            raise OSError(f"the background thread ended: {self._broken!r}") from self._broken

    @property
    def failed(self) -> Transfer | None:
        """A snapshot that could not be written, of those that were not dropped."""
        return self._failed[0] if self._failed else None

    def buffer(self) -> Buffer:
        """Return a buffer for the caller to fill; wait for one where all are in use."""
        self.check()
        with self._lock:
            return self._take_buffer()

    def give_back(self, buffer: Buffer) -> None:
        """Take a buffer back; a snapshot that `write` has of it, as after an interrupt, is dropped."""
        with self._lock:
            if buffer.owner is not None:
                self.drop(buffer.owner)
            else:
                self._release(buffer)

    def write(self, transfer: Transfer, buffer: Buffer) -> None:
        """Write a filled buffer behind the run."""
        with self._lock:
            self._start()
            transfer.buffer, buffer.owner = buffer, transfer
            transfer.stage = _Stage.QUEUED
            self._writes.append(transfer)
            self._changed.notify_all()

    def prefetch(self, transfer: Transfer) -> None:
        """Take notice that a snapshot will be fetched; those announced first are fetched first."""
        with self._lock:
            if transfer.announced or transfer.stage in (_Stage.FAILED, _Stage.DROPPED):
                return
            try:
                self._start()
            except OSError:
                return  # `fetch` will tell
            transfer.announced = True
            if transfer.stage in (_Stage.QUEUED, _Stage.WRITING):
                return  # stays in its buffer, see _written
            if transfer.buffer is not None:
                if transfer.buffer in self._free:
                    self._free.remove(transfer.buffer)
                    self._ready.append(transfer)
                return
            self._ahead.append(transfer)
            self._changed.notify_all()

    def forget(self) -> None:
        """Take all announcements back."""
        with self._lock:
            for transfer in (*self._ahead, *self._ready, *self._writes):
                transfer.announced = False
            if self._running is not None:
                self._running.announced = False
            for transfer in self._ready:
                if not transfer.pinned and transfer.buffer is not None:
                    self._keep(transfer.buffer)
            self._ahead.clear()
            self._ready.clear()
            self._changed.notify_all()

    def fetch(self, transfer: Transfer) -> memoryview:
        """Return the bytes of a snapshot, which stay in their buffer until `done`; wait for them.

        Raises
        ------
        OSError
            It could not be read, or what was read is not what was written.
        """
        self.check()
        with self._lock:
            if transfer in self._ahead:
                self._ahead.remove(transfer)
            if transfer.buffer is not None and transfer.buffer in self._free:
                self._free.remove(transfer.buffer)
            transfer.pinned = True
            try:
                if transfer.buffer is None and transfer.stage is _Stage.ON_DISK:
                    self._start()
                    buffer = self._take_buffer()
                    # First, so that an interrupt never leaves a buffer that seems to hold what is on disk.
                    transfer.stage = _Stage.READING
                    transfer.buffer, buffer.owner = buffer, transfer
                    self._urgent = transfer
                    self._changed.notify_all()
                self._wait(lambda: transfer.stage is not _Stage.READING)
                if transfer.error is not None or transfer.buffer is None:
                    raise transfer.error or OSError("its bytes are gone")
                return transfer.buffer.memory
            except BaseException:  # an interrupt among them
                if transfer.stage is _Stage.READING and self._running is not transfer:
                    # It was not begun, and nobody else would.
                    self._urgent = None
                    unread, transfer.buffer = transfer.buffer, None
                    transfer.stage = _Stage.ON_DISK
                    if unread is not None:
                        self._release(unread)
                self.done(transfer)
                raise

    def done(self, transfer: Transfer) -> None:
        """Take notice that what `fetch` returned was used."""
        with self._lock:
            transfer.pinned = transfer.announced = False
            if transfer in self._ready:
                self._ready.remove(transfer)
            if transfer.stage is _Stage.ON_DISK and transfer.buffer is not None:
                self._keep(transfer.buffer)
            self._changed.notify_all()

    def drop(self, transfer: Transfer) -> None:
        """Forget a snapshot. Its extents may be given to another one at once."""
        if not self._file.owned:
            return
        with self._lock:
            before = transfer.stage
            transfer.stage = _Stage.DROPPED
            for queue in (self._ahead, self._writes, self._ready, self._failed):
                if transfer in queue:
                    queue.remove(transfer)
            if before not in (_Stage.WRITING, _Stage.READING) and transfer.buffer is not None:
                self._release(transfer.buffer)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until everything is in the file."""
        self.check()
        with self._lock:
            self._wait(lambda: self._running is None and not self._writes)

    def clear(self) -> None:
        """Forget all snapshots, the failed ones too."""
        if not self._file.owned:
            return
        with self._lock:
            self._writes.clear()
            self._ahead.clear()
            self._ready.clear()
            self._failed.clear()
            self._urgent = None
            in_use = None
            if self._running is not None:
                self._running.stage = _Stage.DROPPED
                in_use = self._running.buffer
            for buffer in self._buffers:
                if buffer is not in_use:
                    self._release(buffer)
            self._wait(lambda: self._running is None)
            self.waited = self.busy = 0

    def stop(self, *, join: bool) -> None:
        """End the thread after the transfer that it is at, give the buffers back, and remove the file.

        What was not written is lost. May be called again, as after an interrupt: a thread that nobody waits
        for any more removes the file by itself, and nobody else may, as long as it is at a transfer.

        Parameters
        ----------
        join : bool
            Whether the thread itself is waited for, and not only its work: not where a storage is collected
            as garbage, which may be while this thread holds a lock that the other one needs in order to end.
        """
        if self._file.owned:
            with self._lock:
                self._stopping = True
                self._writes.clear()
                self._ahead.clear()
                self._changed.notify_all()
            thread = self._thread
            if thread is threading.current_thread():  # which came upon the storage as garbage
                return
            if thread is not None:
                if join:
                    thread.join()
                else:
                    self._ended.wait()
            with self._lock:
                for buffer in self._buffers:
                    self._release(buffer)
                self._buffers.clear()
                self._free.clear()
        self._file.remove()

    # --- inside, with the lock held -------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            # An interrupt may come while it starts; then it finds that it is not the one, and ends.
            self._thread = threading.Thread(target=self._work, name="pyrevolve-disk", daemon=True)
            try:
                self._thread.start()
            except BaseException as error:
                self._thread = None
                if isinstance(error, RuntimeError):
                    raise OSError(errno.EAGAIN, f"{os.strerror(errno.EAGAIN)}: {error}") from error
                raise

    def _wait(self, arrived: Callable[[], bool]) -> None:
        """Wait until something has happened; raise OSError where the thread has ended before."""
        if arrived():
            return
        began = perf_counter_ns()
        try:
            while not arrived():
                heard = self._broken is None and self._wait_a_moment()
                if not heard and (self._broken or self._thread is None or not self._thread.is_alive()):
                    raise OSError(f"the background thread ended: {self._broken!r}") from self._broken
        finally:
            ended = perf_counter_ns()
            self.waited += ended - began
            if self.told is not None:
                self.told("wait", -1, -1, began, ended)

    def _wait_a_moment(self) -> bool:
        """Wait until something changes, but not long; return whether it did."""
        try:
            return self._changed.wait(_HEARTBEAT)
        except BaseException:
            # An interrupt may come before the lock was taken again, which those who hold it rely on.
            with contextlib.suppress(RuntimeError):
                self._lock.release()
            self._lock.acquire()
            raise

    def _take_buffer(self) -> Buffer:
        """Return a buffer; what was read ahead and is needed last makes way."""
        self._reclaim()

        def available() -> bool:
            if not self._free and self._ready:
                transfer = self._ready.pop()
                assert transfer.buffer is not None
                self._ahead.appendleft(transfer)
                self._release(transfer.buffer)
            return bool(self._free)

        self._wait(available)
        return self._pop_free()

    def _reclaim(self) -> None:
        """Take back what the caller was using, which it has left by an exception: it asks for another."""
        used = [transfer.buffer for transfer in (*self._writes, *self._ready)]
        used += [transfer.buffer for transfer in (self._running, self._urgent) if transfer is not None]
        for buffer in self._buffers:
            if buffer not in used and buffer not in self._free:
                self._release(buffer)
        for transfer in self._ready:
            transfer.pinned = False

    def _pop_free(self) -> Buffer:
        """Return a free buffer, rather one whose bytes belong to nobody."""
        buffer = next((buffer for buffer in self._free if buffer.owner is None), self._free[0])
        self._free.remove(buffer)
        if buffer.owner is not None:
            buffer.owner.buffer, buffer.owner = None, None
        return buffer

    def _release(self, buffer: Buffer) -> None:
        """Make a buffer free, whose bytes belong to nobody any more."""
        if buffer.owner is not None:
            buffer.owner.buffer, buffer.owner = None, None
        self._keep(buffer)
        self._changed.notify_all()

    def _keep(self, buffer: Buffer) -> None:
        """Make a buffer free that may hold a copy of what is on disk; once, however often it is asked."""
        if buffer not in self._free:
            self._free.append(buffer)

    # --- the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return
        try:
            while (job := self._next()) is not None:
                self._carry_out(*job)
        except BaseException as error:
            with self._lock:
                self._broken = error
                self._changed.notify_all()
        finally:
            with self._lock:
                if self._stopping:  # perhaps nobody waits for the end
                    self._file.remove()
            self._ended.set()

    def _next(self) -> tuple[Transfer, bool] | None:
        """Wait for something to do, and whether that is to write; None: the end."""
        with self._lock:
            while True:
                if self._stopping:
                    return None
                writing = False
                if self._urgent is not None:
                    transfer, self._urgent = self._urgent, None
                elif self._writes:
                    writing = True
                    transfer = self._writes.popleft()
                    transfer.stage = _Stage.WRITING
                elif self._ahead and self._free:
                    transfer = self._ahead.popleft()
                    buffer = self._pop_free()
                    transfer.buffer, buffer.owner = buffer, transfer
                    transfer.stage = _Stage.READING
                else:
                    self._changed.wait()
                    continue
                self._running = transfer
                return transfer, writing

    def _carry_out(self, transfer: Transfer, writing: bool) -> None:
        """Write or read a snapshot. What goes wrong belongs to it, not to this thread."""
        began = perf_counter_ns()
        error: BaseException | None = None
        try:
            (self._write if writing else self._read)(transfer)
        except BaseException as caught:
            error = caught
        with self._lock:
            ended = perf_counter_ns()
            self.busy += ended - began
            if self.told is not None:
                self.told("write" if writing else "read", *transfer.label, began, ended)
            self._running = None
            self._finished(transfer, writing, error)
            self._changed.notify_all()

    def _write(self, transfer: Transfer) -> None:
        assert transfer.buffer is not None
        data = transfer.buffer.memory[: transfer.nbytes]
        if self._checksum is not None:
            transfer.checksum = self._checksum([data])
        self._file.write(data, transfer.extents)
        if self._fsync:
            self._file.sync()

    def _read(self, transfer: Transfer) -> None:
        assert transfer.buffer is not None
        data = transfer.buffer.memory[: transfer.nbytes]
        self._file.read(data, transfer.extents)
        if self._checksum is not None and transfer.checksum is not None:
            found = self._checksum([data])
            if found != transfer.checksum:
                raise OSError(
                    errno.EIO,
                    "it was damaged on disk: its checksum was "
                    f"{transfer.checksum.hex()} when it was written and is {found.hex()} now",
                )

    def _finished(self, transfer: Transfer, writing: bool, error: BaseException | None) -> None:
        """Take notice of the end of a transfer."""
        buffer = transfer.buffer
        assert buffer is not None
        if transfer.stage is _Stage.DROPPED:
            self._release(buffer)
        elif error is not None:
            transfer.error = error
            if writing:
                self._failed.append(transfer)
                transfer.stage = _Stage.FAILED
            else:
                transfer.stage = _Stage.ON_DISK
            if not (writing and transfer.pinned):  # else it is being read, and `drop` does
                self._release(buffer)
        else:
            transfer.error = None
            transfer.stage = _Stage.ON_DISK
            if transfer.announced:
                self._ready.append(transfer)
            elif not transfer.pinned:
                self._keep(buffer)
