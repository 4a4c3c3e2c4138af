"""A journal of a run on disk, from which another process goes on after this one was killed."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import struct
import weakref
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from time import monotonic
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from .compression import pieces_of
from .course import Course
from .errors import JournalError
from .storage import DiskStorage
from .storage.file import whole
from .storage.locks import lock
from .team import Team, together

__all__ = ["Arrays", "Entry", "Journal", "Journalled", "arrays_of", "digest_of"]

_LOG = logging.getLogger("pyrevolve.journal")

#: Where the arrays are that an entry is to keep: the arrays, or what returns them when they are asked for.
Arrays = Sequence[npt.NDArray[Any]] | Callable[[], Sequence[npt.NDArray[Any]]]

_T = TypeVar("_T")

_Sweep = Literal["forward", "turned", "reverse"]
_SWEEPS: tuple[_Sweep, ...] = get_args(_Sweep)

#: How often to try to make a directory that another process removes at the same time.
_CHANCES = 10

_FORMAT = 2
_MAGIC = b"pyrevolve journal\n"
_LENGTH = struct.Struct("<Q")
_DIGEST_BYTES = 32
#: Files are read in blocks of this size to find out whether they are whole [bytes].
_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a run stood when an entry was written.

    Attributes
    ----------
    number : int
        Entries count from 1.
    sweep : {"forward", "turned", "reverse"}
        Which sweep was under way; "turned": the forward sweep was done, and the reverse one had not begun.
    position : int
        In the forward sweep: the entry holds the state x_position.
    remaining : int or None
        In the reverse sweep: the timesteps before it are still to be reversed.
    index : list
        What lay on disk, see `DiskStorage.index`.
    """

    number: int
    sweep: _Sweep
    position: int
    remaining: int | None
    index: list[dict[str, Any]]


class Journal:
    """Entries in a directory, the newest of which is enough to go on with the run.

    An entry is a file of its own: where the run stands, what lies on disk, and copies of arrays. It is
    complete before it gets its name, and the one before it is removed only then. Bytes on disk that the
    newest entry tells of are not used again before there is another.

    Parameters
    ----------
    path : path-like
        A directory for this run alone; it is made where it does not exist, and removed when a run is done.
    interval : float
        Seconds between two entries, >= 0.
    key : str
        What the run is called; an entry is only for a run of the same name. Empty: runs are counted.
    team : Team, optional
        The processes that run in step; each has a directory of its own in `path`.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is stated above.
    JournalError
        Another process uses the journal, or the directory holds something else.
    OSError
        The directory cannot be made or read.

    Notes
    -----
    The directory is locked until `close`, the end of the object, or that of the process. After a fork the
    journal stays the parent's.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, interval: float, key: str = "", team: Team | None = None
    ) -> None:
        if not interval >= 0:
            raise ValueError(f"resume_interval must be >= 0 seconds, got {interval}")
        self._interval = float(interval)
        #: What the run is called.
        self.key = str(key)
        self._team = team
        # The process may go to another directory before the journal is closed.
        self._path = os.path.abspath(path)
        self._pid = os.getpid()
        if team is not None:
            self._path = os.path.join(self._path, f"rank-{team.rank}-of-{team.size}")
        for chances in reversed(range(_CHANCES)):
            try:
                self._check_folder()
                os.makedirs(self._path, exist_ok=True)
                #: Gives the lock back, at the end of this object at the latest.
                self._unlock = weakref.finalize(self, os.close, _locked(self._path))
                break
            except FileNotFoundError:  # a run that was at its end has just removed it
                if not chances:
                    raise
        for name in os.listdir(self._path):
            if name.endswith(".new"):  # an entry that was not finished
                os.remove(os.path.join(self._path, name))
        self._shot = 0
        #: Whether the present shot has asked for its entry, and whether the entries are its own.
        self._begun = self._accepted = False
        self._number = 0
        self._written_at = monotonic()
        self._fingerprint: dict[str, Any] = {}
        #: What else identifies the run, in terms that JSON knows, and its reverse sweep.
        self.inputs: dict[str, Any] = {}
        self.reverse_inputs: dict[str, Any] = {}
        self.storage: DiskStorage | None = None

    @property
    def path(self) -> str:
        """Its directory, that of this process."""
        return self._path

    # --- reading --------------------------------------------------------------------------------------------

    def begin(self, fingerprint: dict[str, Any]) -> Entry | None:
        """Return the newest entry of a run that was not finished; None: the run starts from the beginning.

        Parameters
        ----------
        fingerprint : dict
            What the run is, in terms that JSON knows: it has to be the same as when the entry was written.

        Raises
        ------
        JournalError
            There is an entry, but it is damaged or of another run.
        PeerError
            So it is in another process.
        """
        self._begun, self._accepted = True, False
        name = self.key or f"shot {self._shot}"
        self._fingerprint = _as_json({**fingerprint, "name": name})
        entry = self._together(self._entry)(None)
        if self._team is not None:
            entry = self._in_common(entry, self._team)
        # Only now is it sure that they are of this run. One that is newer than the others' must not be taken
        # for one of theirs that is yet to come; one that is older tells of bytes that nobody keeps any more.
        self._together(self._remove_entries)(0 if entry is None else entry.number)
        self._accepted = True
        self._number = 0 if entry is None else entry.number
        self._written_at = monotonic()
        if entry is not None:
            _LOG.info("going on from entry %d of %s: %s", entry.number, self._path, entry)
        return entry

    def _entry(self, number: int | None) -> Entry | None:
        """Return an entry, by default the newest; None where there is none, or for the number 0."""
        self._check_owned()
        if number is None:
            number = max(self._numbers(), default=0)
        if number == 0:
            return None
        header = self._read(self._entry_path(number), [])
        if header["sweep"] != "forward" and not os.path.exists(self._turn_path):
            raise JournalError(f"the journal in {self._path} is damaged: what the turn left is missing")
        return Entry(number, header["sweep"], header["position"], header["remaining"], header["index"])

    def _in_common(self, newest: Entry | None, team: Team) -> Entry | None:
        """Return the newest entry that all processes have.

        A kill may have come when only some had written theirs; the one before is there still.
        """
        number = 0 if newest is None else newest.number
        (least,) = team.least([number])
        (missing,) = team.greatest([int(least > 0 and least not in self._numbers())])
        if missing:
            raise self._not_in_common()
        entry = self._together(self._entry)(least) if least < max(team.greatest([number])) else newest
        standing = [0, 0, 0]
        if entry is not None:
            remaining = -1 if entry.remaining is None else entry.remaining
            standing = [_SWEEPS.index(entry.sweep), entry.position, remaining]
        if team.least(standing) != team.greatest(standing):
            raise self._not_in_common()
        return entry

    def _not_in_common(self) -> JournalError:
        return JournalError(
            f"the processes have no journal entry in common in {os.path.dirname(self._path)}; "
            "remove the directory to start anew"
        )

    def restore(self, entry: Entry, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Put back the arrays that an entry holds.

        Raises
        ------
        JournalError
            It is damaged, or holds other arrays.
        """
        self._read(self._entry_path(entry.number), arrays)

    def restore_turn(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Put back what the arrays held when the forward sweep was done; raises as `restore` does."""
        self._read(self._turn_path, arrays)

    def turn(self) -> None:
        """Take notice that the reverse sweep begins: its entries tell of `reverse_inputs` too."""
        self._fingerprint = {**self._fingerprint, **_as_json(self.reverse_inputs)}

    @contextlib.contextmanager
    def resuming(self) -> Iterator[None]:
        """Put back what an entry holds of the reverse sweep; where that fails, `finish` leaves it alone."""
        self._accepted = False
        yield
        self._accepted = True

    # --- writing --------------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether it is time for another entry; the same in all processes."""
        due = monotonic() - self._written_at >= self._interval
        return due if self._team is None else self._team.first(due)

    def write(
        self,
        sweep: _Sweep,
        position: int,
        remaining: int | None,
        arrays: Sequence[npt.NDArray[Any]],
    ) -> None:
        """Write an entry, then remove the one before it.

        Raises
        ------
        StorageError
            What was saved on disk could not be written.
        OSError
            The entry could not be written; the one before it stays.
        PeerError
            So it was in another process.
        """
        number = self._number + 1

        def write() -> None:
            header = {
                "number": number,
                "sweep": sweep,
                "position": position,
                "remaining": remaining,
                "index": [] if self.storage is None else self.storage.index(),
            }
            self._write(self._entry_path(number), header, arrays)

        def give_up() -> None:
            if self.storage is not None:
                self.storage.hold()
            self._remove_entries(but=number)

        self._together(write)()  # all processes have theirs when it returns
        self._number = number
        self._together(give_up)()
        self._written_at = monotonic()

    def write_turn(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Keep what the arrays hold at the end of the forward sweep; raises as `write` does."""
        self._together(self._write)(self._turn_path, {}, arrays)

    def finish(self) -> None:
        """Remove all entries: the run is done, or given up, and the next one starts from its beginning.

        Entries that were refused, or that nobody has asked for, stay.

        Raises
        ------
        OSError
            They cannot be removed.
        PeerError
            So it is in another process.
        """
        if self._accepted:
            self._together(self._finish)()

    def _finish(self) -> None:
        self._check_owned()
        self._remove_entries(but=0)
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._turn_path)
        self._number = 0

    def next_shot(self) -> None:
        """Take notice that another run begins, unless none has begun since the last time."""
        self._shot += self._begun
        self._begun = self._accepted = False

    def close(self) -> None:
        """Let another process use the journal, and remove its directory where nothing is left to do.

        May be called again. A fork only lets go of it. A directory that is gone is no error.
        """
        if not self._unlock.alive:
            return
        try:
            if self._owned and not self._numbers():
                for name in _listed(self._path):
                    if _is_ours(name):
                        with contextlib.suppress(OSError):
                            os.remove(os.path.join(self._path, name))
        finally:
            self._unlock()
        if not self._owned:
            return
        for folder in (self._path, os.path.dirname(self._path) if self._team is not None else None):
            with contextlib.suppress(OSError):  # there is something in it still
                if folder is not None:
                    os.rmdir(folder)

    # --- files ----------------------------------------------------------------------------------------------

    @property
    def _turn_path(self) -> str:
        return os.path.join(self._path, "turn")

    def _entry_path(self, number: int) -> str:
        return os.path.join(self._path, f"entry-{number}")

    def _numbers(self) -> list[int]:
        names = [name for name in _listed(self._path) if name.startswith("entry-")]
        return [int(name[6:]) for name in names if name[6:].isdigit()]

    @property
    def _owned(self) -> bool:
        """Whether this process made it, and is no fork of the one that did."""
        return os.getpid() == self._pid

    def _check_owned(self) -> None:
        """Raise in a fork."""
        if not self._owned:
            raise JournalError(
                f"the journal in {self._path} belongs to another process, of which this one is a fork; "
                "make another one, with a directory of its own, after the fork"
            )

    def _remove_entries(self, but: int) -> None:
        # The oldest first, so that the newest is never one that was given up.
        for number in sorted(self._numbers()):
            if number != but:
                os.remove(self._entry_path(number))

    def _check_folder(self) -> None:
        """Raise where there is something that does not belong to a journal of these processes."""
        folder, whose = self._path, ""
        strangers = [name for name in _listed(folder) if not _is_ours(name)]
        if self._team is not None and not strangers:
            folder, whose = os.path.dirname(self._path), f" of {self._team.size} processes"
            beside = [f"rank-{rank}-of-{self._team.size}" for rank in range(self._team.size)]
            strangers = [name for name in _listed(folder) if name not in beside]
        if strangers:
            raise JournalError(
                f"the directory {folder} holds other things than a journal{whose}, such as {strangers[0]}; "
                "name one of its own"
            )

    def _together(self, work: Callable[..., _T]) -> Callable[..., _T]:
        """Return a function that raises in all processes where it raises in one."""
        return together(self._team, work)

    def _write(self, path: str, header: dict[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Write a file that is there as a whole or not at all."""
        self._check_owned()
        text = json.dumps(
            {
                **header,
                "format": _FORMAT,
                "fingerprint": self._fingerprint,
                "arrays": _layout(arrays),
            }
        ).encode()
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        with open(path + ".new", "wb", buffering=0) as file:

            def write(block: memoryview) -> None:
                digest.update(block)
                whole(lambda rest, done: file.write(rest), block)

            for block in (_MAGIC, _LENGTH.pack(len(text)), text):
                write(memoryview(block))
            for array in arrays:
                for piece in pieces_of(array):
                    write(_bytes(np.ascontiguousarray(piece)))
            write(memoryview(digest.digest()))
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
        _sync_folder(self._path)

    def _read(self, path: str, arrays: Sequence[npt.NDArray[Any]]) -> dict[str, Any]:
        """Read a file, check it, and fill the arrays; with none, only the header is returned."""
        try:
            with open(path, "rb") as file:
                if not _is_whole(file):
                    raise self._damaged(path, "its checksum is wrong")
                header: dict[str, Any] = json.loads(file.read(_LENGTH.unpack(file.read(_LENGTH.size))[0]))
                if header["format"] != _FORMAT:
                    raise self._damaged(path, f"it has format {header['format']}, this is for {_FORMAT}")
                self._check(header["fingerprint"])
                if arrays and header["arrays"] != _as_json(_layout(arrays)):
                    raise JournalError(
                        f"the journal in {self._path} is of another run: it keeps arrays of "
                        f"{header['arrays']}, and those of this run are {_layout(arrays)}"
                    )
                for array in arrays:
                    _fill(array, file)
        except OSError as error:
            raise self._damaged(path, str(error)) from error
        return header

    def _check(self, fingerprint: dict[str, Any]) -> None:
        """Raise unless an entry is of this run."""
        for name, value in self._fingerprint.items():
            if fingerprint.get(name) != value:
                raise JournalError(
                    f"the journal in {self._path} is of another run: its {name} is "
                    f"{fingerprint.get(name)!r}, that of this run is {value!r}; go on with that run, or "
                    "remove the directory to start anew"
                )

    def _damaged(self, path: str, why: str) -> JournalError:
        return JournalError(
            f"the journal entry {path} cannot be used: {why}; remove the directory to start anew"
        )


class Journalled(Iterator[Any]):
    """Instructions, before which entries are written where it is time.

    Parameters
    ----------
    course : Course
        The instructions; each is taken to be carried out when the next is asked for.
    journal : Journal
        Tells when it is time.
    write : callable
        Writes an entry.
    """

    def __init__(self, course: Course, journal: Journal, write: Callable[[], object]) -> None:
        self._course = course
        self._journal = journal
        self._write = write

    def __iter__(self) -> Journalled:
        return self

    def __next__(self) -> Any:
        self._course.carried_out()
        if self._journal.due:
            self._write()
        return next(self._course)


def arrays_of(given: Arrays) -> list[npt.NDArray[Any]]:
    """Return the arrays that were given, or those that a function returns.

    Raises
    ------
    TypeError
        There is something else among them.
    """
    arrays: list[Any] = list(given() if callable(given) else given)
    for array in arrays:
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray) or array.dtype.hasobject:
            raise TypeError(f"resume_arrays must be numpy arrays of numbers, got {type(array).__name__}")
        if not array.flags.writeable:
            raise TypeError("resume_arrays must be writable, got a read-only array")
    return arrays


def digest_of(arrays: Sequence[npt.NDArray[Any]]) -> str:
    """Return what tells the contents of arrays from others."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        for piece in pieces_of(array):
            digest.update(_bytes(np.ascontiguousarray(piece)))
    return digest.hexdigest()


def _layout(arrays: Sequence[npt.NDArray[Any]]) -> list[tuple[list[int], str]]:
    return [(list(array.shape), array.dtype.str) for array in arrays]


def _as_json(value: _T) -> _T:
    """Return what is left of a value where it was written as JSON, which makes lists of tuples."""
    return json.loads(json.dumps(value))  # type: ignore[no-any-return]


def _bytes(array: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def _fill(array: npt.NDArray[Any], file: BufferedReader) -> None:
    """Fill an array with what comes next in a file."""
    for target in pieces_of(array):
        # Not through what a subclass makes of indices, such as Devito's arrays of several processes.
        piece = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
        whole(lambda rest, done: file.readinto(rest), _bytes(piece))
        if piece is not target:
            target[...] = piece


def _is_whole(file: BufferedReader) -> bool:
    """Return whether a file is as it was written; leave it behind its first bytes."""
    left = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
    if left < len(_MAGIC) + _LENGTH.size:
        return False
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    while left > 0:
        block = file.read(min(left, _BLOCK))
        if not block:
            return False
        digest.update(block)
        left -= len(block)
    same = file.read() == digest.digest()
    file.seek(len(_MAGIC))
    return same


def _sync_folder(path: str) -> None:
    """Have the system remember the names in a directory."""
    if os.name == "posix":
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _listed(folder: str) -> list[str]:
    """Return the names in a directory, which need not exist."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _is_ours(name: str) -> bool:
    return name in ("lock", "snapshots", "turn", "turn.new") or name.startswith("entry-")


def _locked(folder: str) -> int:
    """Return the locked file of a folder; raise JournalError where somebody has it.

    Raise FileNotFoundError where the one that had it was just removing it.
    """
    path = os.path.join(folder, "lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        try:
            mine = lock(fd)
        except OSError as error:
            raise JournalError(
                f"files cannot be locked in {folder} ({error}), so that nobody could tell whether another "
                "process uses the journal; name a directory on another file system"
            ) from error
        if not mine:
            raise JournalError(
                f"another process uses the journal in {folder}; wait for it, or name another directory"
            )
        if not os.path.samestat(os.fstat(fd), os.stat(path)):
            raise FileNotFoundError(f"{path} was removed")
    except BaseException:
        os.close(fd)
        raise
    return fd
