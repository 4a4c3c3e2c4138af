"""Snapshots in a file."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from io import FileIO
from typing import Any

import numpy as np
import numpy.typing as npt

from ..budget import format_bytes
from ..errors import StorageError
from .slots import Mover, SlotStorage

__all__ = ["DiskStorage"]

_TIER = "disk"
#: Writes or reads buffers at a byte offset; returns how many bytes went.
_Move = Callable[[FileIO, Sequence[memoryview], int], int]

#: Most buffers that one system call takes (IOV_MAX of Linux, macOS and the BSDs).
_MOST_BUFFERS = 1024


def _write_at(file: FileIO, buffers: Sequence[memoryview], offset: int) -> int:
    return os.pwritev(file.fileno(), buffers, offset)


def _read_at(file: FileIO, buffers: Sequence[memoryview], offset: int) -> int:
    return os.preadv(file.fileno(), buffers, offset)


def _seek_and_write(file: FileIO, buffers: Sequence[memoryview], offset: int) -> int:
    file.seek(offset)
    return file.write(buffers[0])


def _seek_and_read(file: FileIO, buffers: Sequence[memoryview], offset: int) -> int:
    file.seek(offset)
    return file.readinto(buffers[0])


if not hasattr(os, "pwritev"):  # Windows
    _write_at, _read_at = _seek_and_write, _seek_and_read


class DiskStorage(SlotStorage):
    """Slots in one file of their own, reserved when the storage is made and removed when it goes.

    Parameters
    ----------
    n_slots : int
        Number of slots, >= 0.
    arrays_like : sequence of numpy.ndarray
        Arrays with the shapes and dtypes of one state; only these are looked at.
    step_data_like : sequence of numpy.ndarray, optional
        The same for the step data of one timestep, where the schedule keeps such data. Every slot can hold
        either kind: it has the bytes of the larger one. None: the first `save` of step data decides, within
        the size of the slots.
    room : int, optional
        Bytes that all slots share, >= 0, each taking what it needs when it is saved; `room_for` tells how
        many a schedule needs. None: every slot has bytes of its own.
    directory : path-like, optional
        An existing directory on a local disk. None: that of `tempfile.gettempdir` (the environment variable
        ``TMPDIR``), which on many systems lies in RAM and saves nothing there.

    Raises
    ------
    TypeError
        `n_slots` is no integer, `directory` is no path, or an array cannot be stored (ArrayTypeError: not an
        array, masked, or of a dtype with Python objects).
    ValueError
        `n_slots` or `room` < 0.
    StorageError
        The directory does not exist or cannot be written to, or the file does not fit in it.

    Notes
    -----
    The file lies in a directory of its own, named after host and process, that nobody else can open. Its
    blocks are taken at once where the filesystem can do so, so that a full disk is an error at the start and
    not in the middle of a run. `close`, the end of the object and the end of the interpreter remove it, after
    an exception too; a process that is killed leaves it behind.

    Contiguous arrays go to the file and come back without a copy in between; others through a contiguous one.
    Bytes are written as they are. A write has reached the system's page cache when `save` returns.

    After a fork the storage stays the parent's: a child that saves or loads gets a StorageError, and its end
    does not remove the file. One storage belongs to one driver: it is not meant to be used from two threads
    at once.

    Examples
    --------
    >>> import numpy as np
    >>> field = np.arange(6.0).reshape(2, 3)
    >>> with DiskStorage(2, [field]) as storage:
    ...     copied = storage.save(0, [field], t=7)
    ...     field[:] = 0.0
    ...     copied = storage.load(0, [field], t=7)
    >>> field[1]
    array([3., 4., 5.])
    """

    tier_name = _TIER

    def __init__(
        self,
        n_slots: int,
        arrays_like: Sequence[npt.NDArray[Any]],
        *,
        step_data_like: Sequence[npt.NDArray[Any]] | None = None,
        room: int | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        self._directory = tempfile.gettempdir() if directory is None else os.fspath(directory)
        super().__init__(n_slots, arrays_like, step_data_like, room)

    @property
    def path(self) -> str:
        """The file; gone after `close`."""
        return self._file.path

    def _reserve(self, nbytes: int) -> tuple[Mover, Mover]:
        self._file = file = _PrivateFile(self._directory, nbytes)
        # Called once, by close() or at the end of this object or of the interpreter, whichever is first.
        self._remove = weakref.finalize(self, file.remove)
        return file.write, file.read

    def _release(self) -> None:
        self._remove()


class _PrivateFile:
    """A file of fixed size that belongs to this process, in a directory that nobody else uses.

    Parameters
    ----------
    directory : str
        Where to make that directory.
    nbytes : int
        Size of the file [bytes], >= 0.

    Raises
    ------
    StorageError
        The directory does not exist, cannot be written to, or has no room.
    """

    def __init__(self, directory: str, nbytes: int) -> None:
        self._pid = os.getpid()
        try:
            self._folder = tempfile.mkdtemp(prefix=f"pyrevolve-{platform.node()}-{self._pid}-", dir=directory)
        except OSError as error:
            raise StorageError(
                f"cannot write to the directory {directory}: {error.strerror}; name another one", _TIER
            ) from error
        self.path = os.path.join(self._folder, "snapshots")
        try:
            self._file = FileIO(self.path, "x+")
            self._reserve(directory, nbytes)
        except BaseException:
            self.remove()
            raise

    def _reserve(self, directory: str, nbytes: int) -> None:
        """Give the file its size and, where the system can do so, all of its blocks."""
        free = shutil.disk_usage(self._folder).free
        try:
            if nbytes > free:  # said before the disk is filled up to the brim to find out
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if nbytes and hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                os.posix_fallocate(self._file.fileno(), 0, nbytes)
            else:
                self._file.truncate(nbytes)
        except OSError as error:
            raise StorageError(
                f"cannot reserve {format_bytes(nbytes)} ({nbytes} bytes) in {directory}, where "
                f"{format_bytes(free)} are free: {error.strerror}; name another directory, or keep fewer "
                "snapshots on disk",
                _TIER,
            ) from error

    def write(self, offset: int, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Write arrays from byte `offset` on, each in C order."""
        self._move(_write_at, offset, [_bytes(np.ascontiguousarray(array)) for array in arrays])

    def read(self, offset: int, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Read them back; BufferError where one is read-only."""
        if not all(array.flags.writeable for array in arrays):
            raise BufferError("an array is read-only")
        # Plain views: a subclass may have a way of its own of slicing and of setting items.
        targets = [np.asarray(array) for array in arrays]
        staged = [a if a.flags.c_contiguous else np.empty(a.shape, a.dtype) for a in targets]
        self._move(_read_at, offset, [_bytes(array) for array in staged])
        for target, source in zip(targets, staged):  # noqa: B905 (equally long)
            if target is not source:
                target[...] = source

    def _move(self, move: _Move, offset: int, buffers: list[memoryview]) -> None:
        """Call `move` until all bytes have gone: the system may do less than it is asked."""
        if os.getpid() != self._pid:
            raise OSError(
                f"the file belongs to process {self._pid}, of which this one is a fork; "
                "make a storage after the fork"
            )
        rest = [buffer for buffer in buffers if len(buffer)]
        while rest:
            moved = move(self._file, rest[:_MOST_BUFFERS], offset)
            if moved == 0:
                raise OSError(f"the file {self.path} ends at byte {offset}; something cut it off")
            offset += moved
            while rest and moved >= len(rest[0]):
                moved -= len(rest.pop(0))
            if moved:
                rest[0] = rest[0][moved:]

    def remove(self) -> None:
        """Close the file, and remove it with its directory unless this process is a fork of its owner."""
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()
        if os.getpid() == self._pid:
            shutil.rmtree(self._folder, ignore_errors=True)


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data if array.nbytes else memoryview(b"")
