"""How fast a disk takes states and gives them back, past the page cache."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from io import FileIO
from time import perf_counter

import numpy as np

from .arguments import index
from .crevolve import Arena
from .errors import StorageError
from .storage.file import BLOCK, drop_pages, go_direct, whole

__all__ = ["DiskSpeed", "measure_disk"]

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
    padded = max(1, -(-nbytes // BLOCK)) * BLOCK
    piece = min(padded, _PIECE)
    try:
        size = min(_FILE, shutil.disk_usage(where).free // 2)
        with tempfile.TemporaryFile(dir=where, buffering=0) as file:
            writes, reads, direct = _transfer(file, piece, max(1, size // piece))
    except OSError as error:
        raise StorageError(
            f"cannot measure the disk of {where!r}: {error}; give a directory that exists and may be "
            f"written, on a disk with {2 * _LEAST_PIECES * piece} bytes free",
            "disk",
        ) from error
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
