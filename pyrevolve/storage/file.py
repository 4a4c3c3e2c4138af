"""A file of fixed size for snapshots: made, reserved, read and written past the page cache, removed."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from time import perf_counter, time

from ..budget import format_bytes
from ..errors import StorageError
from .locks import lock
from .space import Extent

__all__ = ["BLOCK", "FILE_NAME", "SnapshotFile", "drop_pages", "go_direct", "process_rank", "whole"]

_LOG = logging.getLogger("pyrevolve.storage")
_TIER = "disk"

#: Direct I/O wants addresses, offsets and lengths in multiples of the disk's block, which is never larger.
BLOCK = 4096
#: The file's name in its directory.
FILE_NAME = "snapshots"
#: Smaller files than this stay in the page cache, where they do no harm [bytes].
_CACHED_BELOW = 64 << 20
#: What is transferred to find out whether direct I/O is faster [bytes].
_TRIAL = 8 << 20
#: Direct I/O is chosen unless it takes so many times as long as buffered I/O that reaches the disk.
_DIRECT_UNLESS = 1.5
#: What the system says where there is no direct I/O.
_NOT_DIRECT = (errno.EINVAL, errno.EOPNOTSUPP)
#: A directory without a file that is so old is not just being made any more [s].
_STILLBORN = 60.0

#: Environment variables by which launchers of MPI programs tell a process its rank.
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")


def _pwrite(fd: int, data: memoryview, offset: int) -> int:
    return os.pwrite(fd, data, offset)


def _pread(fd: int, data: memoryview, offset: int) -> int:
    return os.preadv(fd, [data], offset)


def _seek_and_write(fd: int, data: memoryview, offset: int) -> int:
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


def _seek_and_read(fd: int, data: memoryview, offset: int) -> int:
    os.lseek(fd, offset, os.SEEK_SET)
    found = os.read(fd, len(data))
    data[: len(found)] = found
    return len(found)


if not hasattr(os, "preadv"):  # Windows
    _pwrite, _pread = _seek_and_write, _seek_and_read


class SnapshotFile:
    """A file of fixed size that belongs to this process, in a directory that nobody else uses.

    Parameters
    ----------
    directory : str
        Where to make that directory; with `folder`, what errors call the place.
    nbytes : int
        Size of the file [bytes], >= 0.
    direct : bool or None
        Whether to go past the page cache. None: where that is not slower, which is measured unless the file
        is small.
    keep : bool
        Whether `remove` leaves it.
    folder : str, optional
        A directory that exists and is the caller's own, instead of a new one. A file that is there already is
        opened with what it holds.
    trial : int
        Bytes of memory that finding out whether direct I/O is faster may take, of which whole blocks are
        used, and one at least.

    Raises
    ------
    StorageError
        The directory does not exist, cannot be written to, or has no room; another storage has the file in
        `folder`; or `direct` is True and the file system does not offer it.

    Notes
    -----
    On POSIX the file is locked as long as it is open.
    """

    def __init__(
        self,
        directory: str,
        nbytes: int,
        *,
        direct: bool | None = None,
        keep: bool = False,
        folder: str | None = None,
        trial: int = _TRIAL,
    ) -> None:
        self._pid = os.getpid()
        self._trial = min(max(trial, BLOCK), _TRIAL)
        self._keep = keep
        self._fd = self._direct_fd = -1
        try:
            if folder is None:
                _remove_orphans(directory)
            # The process may go to another directory before the file is removed.
            self._folder = os.path.abspath(_make_folder(directory, keep) if folder is None else folder)
        except OSError as error:
            raise StorageError(
                f"cannot write to the directory {directory}: {error.strerror}; name another one", _TIER
            ) from error
        self.path = os.path.join(self._folder, FILE_NAME)
        try:
            try:
                self._open(fresh=folder is None)
            except OSError as error:
                raise StorageError(
                    f"cannot make the file {self.path}: {error.strerror}; name another directory", _TIER
                ) from error
            found = os.fstat(self._fd).st_size
            #: Size of the file [bytes]; one that was larger stays so.
            self.nbytes = max(nbytes, found)
            if found < nbytes:
                self._reserve(directory, nbytes)
            try:
                self.direct = self._choose_direct(nbytes, direct, fresh=folder is None)
            except OSError as error:
                raise StorageError(
                    f"cannot use the file {self.path}: {error.strerror}; name another directory", _TIER
                ) from error
        except BaseException:
            self.remove()
            raise

    def _open(self, *, fresh: bool) -> None:
        """Open the file; a new one is locked before it gets its name, see `_remove_orphans`."""
        mode = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        if not fresh:
            self._fd = os.open(self.path, mode, 0o600)
            if os.name == "posix" and not _locked(self._fd):
                raise StorageError(
                    f"another storage uses the file {self.path}: name another folder, or close that one",
                    _TIER,
                )
        elif os.name == "posix":
            self._fd = os.open(self.path + ".new", mode | os.O_EXCL, 0o600)
            _locked(self._fd)
            os.rename(self.path + ".new", self.path)
        else:
            self._fd = os.open(self.path, mode | os.O_EXCL, 0o600)

    def _reserve(self, directory: str, nbytes: int) -> None:
        """Give the file its size and, where the system can do so, all of its blocks."""
        free = shutil.disk_usage(self._folder).free
        try:
            if nbytes > free:  # said before the disk is filled up to the brim to find out
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if nbytes and hasattr(os, "posix_fallocate"):  # not on macOS and Windows
                os.posix_fallocate(self._fd, 0, nbytes)
            os.truncate(self._fd, nbytes)
        except OSError as error:
            raise StorageError(
                f"cannot reserve {format_bytes(nbytes)} ({nbytes} bytes) in {directory}, where "
                f"{format_bytes(free)} are free: {error.strerror}; name another directory, or keep fewer "
                "snapshots on disk",
                _TIER,
            ) from error

    # --- transfers ------------------------------------------------------------------------------------------

    def write(self, data: memoryview, extents: Iterable[Extent]) -> None:
        """Write the beginning of `data`, as much as the extents have, to them in order.

        With direct I/O, extents and the address of `data` are multiples of `BLOCK`.
        """
        self._each(_pwrite, data, extents)

    def read(self, data: memoryview, extents: Iterable[Extent]) -> None:
        """Fill the beginning of `data` from the extents in order."""
        self._each(_pread, data, extents)

    def sync(self) -> None:
        """Have the system put everything on the medium."""
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def _each(
        self, move: Callable[[int, memoryview, int], int], data: memoryview, extents: Iterable[Extent]
    ) -> None:
        done = 0
        for begin, end in extents:
            self._whole(move, data[done : done + end - begin], begin)
            done += end - begin

    def _whole(self, move: Callable[[int, memoryview, int], int], data: memoryview, offset: int) -> None:
        """Call `move` until all bytes have gone."""

        def some(rest: memoryview, done: int) -> int:
            # What is left of a transfer that stopped within a block cannot go directly.
            direct = self.direct and (offset + done) % BLOCK == 0 and len(rest) % BLOCK == 0
            moved = move(self._direct_fd if direct else self._fd, rest, offset + done)
            if moved == 0:
                raise OSError(
                    f"the file {self.path} ends at byte {offset + done}; something cut it off"
                    if move is _pread
                    else f"nothing could be written to the file {self.path} at byte {offset + done}"
                )
            return moved

        whole(some, data)

    # --- past the page cache --------------------------------------------------------------------------------

    def _choose_direct(self, nbytes: int, wanted: bool | None, *, fresh: bool) -> bool:
        """Open the file once more for direct I/O where that is asked for, or found to be faster."""
        if wanted is False or nbytes == 0 or (wanted is None and nbytes < max(BLOCK, _CACHED_BELOW)):
            return False
        self._direct_fd = self._open_direct()
        if self._direct_fd < 0:
            if wanted:
                raise StorageError(
                    f"the file system of {self._folder} has no direct I/O; leave direct= out, or name "
                    "another directory",
                    _TIER,
                )
            return False
        return bool(wanted) or not fresh or self._direct_is_faster(nbytes)

    def _open_direct(self) -> int:
        """Return a second descriptor, for direct I/O; -1 where there is none."""
        fd = os.open(self.path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        if go_direct(fd):
            return fd
        os.close(fd)
        return -1

    def _direct_is_faster(self, nbytes: int) -> bool:
        """Write and read a part of the file both ways; buffered writes are forced to the disk."""
        from ..crevolve import Arena

        nbytes = min(_TRIAL, nbytes)
        piece = memoryview(Arena(min(self._trial, nbytes) // BLOCK * BLOCK))
        pieces = [((begin, begin + len(piece)),) for begin in range(0, nbytes + 1 - len(piece), len(piece))]

        def seconds(direct: bool) -> float:
            self.direct = direct
            for extents in pieces:  # the first time allocates
                self.write(piece, extents)
            began = perf_counter()
            for extents in pieces:
                self.write(piece, extents)
            if not direct:
                self.sync()
            written = perf_counter()
            if not direct:
                drop_pages(self._fd)
            dropped = perf_counter()
            for extents in pieces:
                self.read(piece, extents)
            return perf_counter() - dropped + written - began

        try:
            direct = seconds(True)
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
            _LOG.info("no direct I/O in %s: %s", self._folder, error)
            return False
        buffered = seconds(False)
        _LOG.info("%s: %.3g s direct, %.3g s buffered", self.path, direct, buffered)
        return direct <= _DIRECT_UNLESS * buffered

    # --- the end --------------------------------------------------------------------------------------------

    @property
    def owned(self) -> bool:
        """Whether this process made it, and is no fork of the one that did."""
        return os.getpid() == self._pid

    def unlink(self) -> None:
        """Remove the file's name and its directory, unless it is kept or belongs to another process.

        What is open stays usable until it is closed; Windows wants it closed first, see `remove`.
        """
        if self.owned and not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    def remove(self) -> None:
        """Close the file, and remove it as `unlink` does."""
        self.unlink()
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._fd = self._direct_fd = -1
        self.unlink()


def _make_folder(directory: str, keep: bool) -> str:
    """Make a directory that nobody else can open, named after host, process and rank."""
    rank = process_rank()
    name = f"pyrevolve-{'kept-' * keep}{platform.node()}-{os.getpid()}-"
    return tempfile.mkdtemp(prefix=name + ("" if rank is None else f"rank{rank}-"), dir=directory)


def _locked(fd: int) -> bool:
    """Lock an open file; return False where another has it, and True also where files cannot be locked."""
    try:
        return lock(fd)
    except OSError:
        _LOG.warning("files cannot be locked here: take care that no two storages share a folder")
        return True


def _remove_orphans(directory: str) -> None:
    """Remove what processes of this host have left in a directory that were killed.

    A process locks its file as long as it lives; what can be locked has no owner any more. Where there is no
    file yet, somebody may be making it, but not for a minute.
    """
    if os.name != "posix":
        return
    ours = re.compile(rf"pyrevolve-{re.escape(platform.node())}-\d+-(rank\d+-)?[a-z0-9_]{{8}}")
    for name in os.listdir(directory):
        folder = os.path.join(directory, name)
        if ours.fullmatch(name) and _is_orphan(folder):
            _LOG.info("removing %s, whose process has ended", folder)
            shutil.rmtree(folder, ignore_errors=True)


def _is_orphan(folder: str) -> bool:
    """Return whether the process has ended that has made a directory for its file."""
    try:
        fd = os.open(os.path.join(folder, FILE_NAME), os.O_RDWR)
    except FileNotFoundError:  # just being made or removed, unless it is old
        with contextlib.suppress(OSError):
            return os.path.isdir(folder) and time() - os.stat(folder).st_mtime > _STILLBORN
        return False
    except OSError:  # another user's
        return False
    try:
        return lock(fd)
    except OSError:  # nobody can tell
        return False
    finally:
        os.close(fd)


def process_rank() -> int | None:
    """Return the rank that a launcher of MPI programs gave this process; None where there is none."""
    return next((int(os.environ[name]) for name in _RANKS if os.environ.get(name, "").isdigit()), None)


# --- shared with what measures disks ----------------------------------------------------------------------


def whole(move: Callable[[memoryview, int], int | None], data: memoryview) -> None:
    """Transfer all of some bytes: the system may stop early.

    Parameters
    ----------
    move : callable
        Transfers the beginning of what is left, given that and how many bytes have gone before; returns how
        many went.
    data : memoryview
        The bytes.

    Raises
    ------
    OSError
        Nothing more goes.
    """
    done = 0
    while done < len(data):
        moved = move(data[done:], done)
        if not moved:
            raise OSError(errno.EIO, f"only {done} of {len(data)} bytes were transferred")
        done += moved


def go_direct(fd: int, block: memoryview | None = None) -> bool:
    """Switch the page cache off for a file; return False where the file system does not allow that.

    `block` is written as a trial: some file systems find out only then.
    """
    if sys.platform == "linux":
        import fcntl

        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            if block is not None:
                whole(lambda rest, done: os.write(fd, rest), block)
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
            fcntl.fcntl(fd, fcntl.F_SETFL, flags)
            return False
        return True
    elif sys.platform == "darwin":  # noqa: RET505 (mypy reads platforms in branches only)
        import fcntl

        fcntl.fcntl(fd, fcntl.F_NOCACHE, 1)
        return True
    else:
        return False


def drop_pages(fd: int) -> None:
    """Let the page cache forget a file that was written to the disk."""
    if sys.platform == "win32" or not hasattr(os, "posix_fadvise"):
        _LOG.warning("this system cannot read past the page cache: the disk may be slower than measured")
    else:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
