"""How fast a disk takes states and gives them back, past the page cache."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import shutil
import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from .arguments import index
from .crevolve import Arena
from .errors import StorageError
from .storage.checksums import choose_checksum
from .storage.file import BLOCK, drop_pages, go_direct, whole

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DiskSpeed", "Transfers", "measure_disk"]

_LOG = logging.getLogger("pyrevolve.measuring")

#: Larger states are transferred in pieces of this size [bytes].
_PIECE = 16 << 20
#: The file grows no larger than this [bytes].
_FILE = 1 << 30
#: A pass has three pieces at least, where there is room; there are five passes at most.
_LEAST_PIECES = 3
_PASSES = 5
#: One pass takes about this long [s], and no pass begins later than this after the first.
_PASS_SECONDS = 0.4
_TOTAL_SECONDS = 1.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiskSpeed:
    """What the transfer of one state to and from a disk takes.

    Attributes
    ----------
    write, read : float
        Seconds for one state.
    direct : bool
        True: measured with direct I/O, which goes past the page cache. False: the file system does not offer
        it; every write was forced to the disk, and the page cache was told to drop the file before each read.
    directory : str
        Where the file was.
    state_bytes : int
        Size of the state.
    """

    write: float
    read: float
    direct: bool
    directory: str
    state_bytes: int

    @property
    def write_bandwidth(self) -> float:
        """Written bytes per second."""
        return self.state_bytes / self.write

    @property
    def read_bandwidth(self) -> float:
        """Read bytes per second."""
        return self.state_bytes / self.read


def measure_disk(state_bytes: int, directory: str | os.PathLike[str] | None = None) -> DiskSpeed:
    """Measure how long the transfer of one state to a disk takes, and back.

    Parameters
    ----------
    state_bytes : int
        Size of one state, >= 0. At least one block of 4096 bytes is transferred.
    directory : path, optional
        A directory on that disk. None: that of temporary files (``TMPDIR``).

    Returns
    -------
    DiskSpeed
        Medians over several passes through the file [s].

    Raises
    ------
    TypeError
        `state_bytes` is no integer.
    ValueError
        It is negative.
    StorageError
        The directory does not exist or may not be written, the disk is full, or a transfer fails.

    Notes
    -----
    Takes about two seconds, more only where nine transfers (of 16 MiB at most) take longer. The file has no
    name, or loses it at once, so nothing is left behind even where the process is killed. It holds what is
    written in 0.4 s, at most 1 GiB and half of the free space.

    The file is written once before anything is timed, as the file of a storage is that serves shot after
    shot: a file that grows is slower. The bytes are random, so that a file system that compresses finds
    nothing to gain. What the disk caches by itself, or a host of this machine for it, cannot be seen from
    here; a directory in RAM (tmpfs) is as fast as RAM.

    Examples
    --------
    >>> speed = measure_disk(7_000_000)
    >>> speed.write > 0 and speed.read > 0
    True
    """
    nbytes = index("state_bytes", state_bytes)
    if nbytes < 0:
        raise ValueError(f"state_bytes must be >= 0, got {nbytes}")
    where = tempfile.gettempdir() if directory is None else os.fspath(directory)
    padded, piece = _sizes(nbytes)
    with _reported(where, piece):
        size = min(_FILE, shutil.disk_usage(where).free // 2)
        with tempfile.TemporaryFile(dir=where, buffering=0) as file:
            writes, reads, direct = _transfer(file, piece, max(1, size // piece))
    scale = padded / piece
    speed = DiskSpeed(
        write=statistics.median(writes) * scale,
        read=statistics.median(reads) * scale,
        direct=direct,
        directory=where,
        state_bytes=nbytes,
    )
    _LOG.info("%s", speed)
    return speed


class Transfers:
    """Writes to a disk and reads from it, with checksums, on a thread until the end of the ``with`` block.

    Parameters
    ----------
    state_bytes : int
        Size of one state, >= 0.
    directory : path, optional
        As of `measure_disk`.

    Raises
    ------
    StorageError
        As from `measure_disk`.
    """

    def __init__(self, state_bytes: int, directory: str | os.PathLike[str] | None = None) -> None:
        self._where = tempfile.gettempdir() if directory is None else os.fspath(directory)
        padded, self._piece = _sizes(state_bytes)
        self._scale = padded / self._piece
        self._arena = Arena(self._piece)
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._seconds, self._moved = 0.0, 0
        self._thread = threading.Thread(target=self._work, name="pyrevolve-transfers", daemon=True)

    def __enter__(self) -> Self:
        with _reported(self._where, self._piece), contextlib.ExitStack() as stack:
            self._file = stack.enter_context(tempfile.TemporaryFile(dir=self._where, buffering=0))
            self._thread.start()
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._opened.close()

    def seconds_per_state(self) -> float:
        """Return what the transfer of one state took on average, after the ``with`` block.

        Raises
        ------
        StorageError
            A transfer failed.
        """
        with _reported(self._where, self._piece):
            if self._error is not None:
                raise self._error
        return self._seconds / self._moved * self._scale

    def _work(self) -> None:
        try:
            buffer = memoryview(self._arena)
            buffer[:] = np.random.default_rng().bytes(self._piece)
            direct = go_direct(self._file.fileno(), buffer[:BLOCK])
            checksum = choose_checksum(True)[1]
            assert checksum is not None
            for turn in itertools.count():
                self._file.seek(0)
                began = perf_counter()
                for _ in range(_LEAST_PIECES):
                    checksum([buffer])
                    whole(lambda rest, done: self._file.write(rest), buffer)
                if not direct:
                    os.fsync(self._file.fileno())
                    drop_pages(self._file.fileno())
                self._file.seek(0)
                for _ in range(_LEAST_PIECES):
                    whole(lambda rest, done: self._file.readinto(rest), buffer)
                    checksum([buffer])
                if turn:  # the first time, the file grows
                    self._seconds += perf_counter() - began
                    self._moved += 2 * _LEAST_PIECES
                    if self._ended.is_set():
                        return
        except BaseException as error:
            self._error = error


def _sizes(state_bytes: int) -> tuple[int, int]:
    """Return the bytes of a state in whole blocks, and of the pieces in which it is transferred."""
    padded = max(1, -(-state_bytes // BLOCK)) * BLOCK
    return padded, min(padded, _PIECE)


@contextlib.contextmanager
def _reported(where: str, piece: int) -> Iterator[None]:
    """Say of which disk an error is."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot measure the disk of {where!r}: {error}; give a directory that exists and may be "
            f"written, on a disk with {2 * _LEAST_PIECES * piece} bytes free",
            "disk",
        ) from error


def _transfer(file: FileIO, piece: int, count: int) -> tuple[list[float], list[float], bool]:
    """Return the seconds that a piece took to write and to read in each pass, and whether directly."""
    arena = Arena(piece)
    buffer = memoryview(arena)
    buffer[:] = np.random.default_rng().bytes(piece)
    direct = go_direct(file.fileno(), buffer[:BLOCK])

    def write() -> None:
        whole(lambda rest, done: file.write(rest), buffer)
        if not direct:
            os.fsync(file.fileno())

    def read() -> None:
        whole(lambda rest, done: file.readinto(rest), buffer)

    began = perf_counter()
    _, count = _timed(file, write, count)
    writes: list[float] = []
    reads: list[float] = []
    for _ in range(_PASSES):
        seconds, written = _timed(file, write, count)
        writes.append(seconds / written)
        if not direct:
            drop_pages(file.fileno())
        seconds, done = _timed(file, read, written)
        reads.append(seconds / done)
        if perf_counter() - began > _TOTAL_SECONDS:
            break
    return writes, reads, direct


def _timed(file: FileIO, work: Callable[[], None], count: int) -> tuple[float, int]:
    """Transfer `count` pieces from the beginning, fewer where they are slow; return seconds and pieces.

    They are timed together: reading ahead makes single ones look fast.
    """
    file.seek(0)
    began = perf_counter()
    seconds, done = 0.0, 0
    while done < count and (done < _LEAST_PIECES or seconds < _PASS_SECONDS):
        work()
        done += 1
        seconds = perf_counter() - began
    return seconds, done
