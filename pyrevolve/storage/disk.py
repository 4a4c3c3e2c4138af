"""Snapshots in a file, written behind the run and read ahead of it."""

from __future__ import annotations

import logging
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy.typing as npt

from .. import crevolve
from ..arguments import at_least, flag
from ..compression import CompressionLike
from ..crevolve import Content
from ..errors import StorageError
from .background import Background, Told, Transfer
from .file import BLOCK, SnapshotFile
from .slots import Held, SlotStorage
from .space import Extent, Space

__all__ = ["DiskStorage"]

_LOG = logging.getLogger("pyrevolve.storage")

_TIER = "disk"


class DiskStorage(SlotStorage):
    """Slots in one file of their own, reserved when the storage is made and removed when it goes.

    Parameters
    ----------
    n_slots : int or None
        Number of slots, >= 0. None: as many as fit in `room`; slots may then have any numbers.
    arrays_like : sequence of numpy.ndarray
        Arrays with the shapes and dtypes of one state; only these are looked at.
    step_data_like : sequence of numpy.ndarray, optional
        The same for the step data of one timestep, where the schedule keeps such data. Every slot can hold
        either kind: it has the bytes of the larger one. None: the first `save` of step data decides, within
        the size of the slots.
    room : int, optional
        Bytes that all slots share, >= 0, each taking what it needs when it is saved; `room_for` tells how
        many a schedule needs. None: every slot has bytes of its own or, with `compression`, all share what
        that would take.
    directory : path-like, optional
        An existing directory on a local disk. None: that of `tempfile.gettempdir` (the environment variable
        ``TMPDIR``), which on many systems lies in RAM and saves nothing there.
    threads : int, optional
        Threads for the copies between arrays and buffers, >= 1. None: as for `MemoryStorage`.
    compression : str, codec or Compression, optional
        As for `MemoryStorage`.
    checksum : bool or {"xxh3", "crc32"}
        Whether every snapshot has a checksum, which what is read must have; True: XXH3 where xxhash is
        installed, CRC-32 where it is not.
    buffers : int, default 2
        Snapshots that may be on their way at once, >= 1; each takes the memory of one state.
    direct : bool, optional
        Whether to go past the page cache, which otherwise fills the memory that snapshots on disk are to
        save. None: where the file system offers it and it is not much slower, which is measured; files of
        less than 64 MiB stay in the page cache.
    fsync : bool
        Whether every write is forced onto the medium.
    keep : bool
        Whether the file stays when the storage is closed.
    folder : path-like, optional
        A directory that exists and is the caller's own, in which the file is kept; one that is there already
        is opened as it is, by one storage at a time. None: a new directory in `directory`.

    Raises
    ------
    ImportError
        A package is not installed that `compression` or `checksum` needs.
    MemoryError
        The system does not give the memory for the buffers.
    TypeError
        An integer or a flag is none, `directory` is no path, or an array cannot be stored (ArrayTypeError:
        not an array, masked, or of a dtype with Python objects).
    ValueError
        `n_slots` or `room` < 0, ``n_slots=None`` without `room`, `buffers` or `threads` < 1, or no such
        checksum or codec.
    StorageError
        The directory does not exist or cannot be written to, the file does not fit in it, another storage
        uses `folder`, or `direct` is True and not offered.

    Notes
    -----
    The file lies in a directory of its own, named after host and process, that nobody else can open. Its
    blocks are taken at once where the filesystem can do so, so that a full disk is an error at the start and
    not in the middle of a run. `close`, the end of the object and the end of the interpreter remove it, after
    an exception too. What a process leaves behind that is killed goes when the next storage is made in the
    same directory on the same host (not on Windows). Paths are those of the time when it is made.

    `save` copies the arrays to a buffer and returns; a thread writes them to the file. `prefetch` tells the
    thread what to read next, so that `load` finds it in a buffer. Both wait only where no buffer is free, or
    where what is wanted has not arrived: `waited_seconds` tells how long, `hidden_seconds` what the transfers
    took besides. A write that fails is an error of the next call, which names the slot that was lost.

    Bytes are written as they are, or as they are encoded.

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
    on_disk = True
    grain = BLOCK
    _bounded_slots = True

    def __init__(
        self,
        n_slots: int | None,
        arrays_like: Sequence[npt.NDArray[Any]],
        *,
        step_data_like: Sequence[npt.NDArray[Any]] | None = None,
        room: int | None = None,
        directory: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        compression: CompressionLike | None = None,
        checksum: bool | str = True,
        buffers: int = 2,
        direct: bool | None = None,
        fsync: bool = False,
        keep: bool = False,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self._directory = tempfile.gettempdir() if directory is None else os.fspath(directory)
        self._buffers = at_least("buffers", buffers, 1)
        self._direct = None if direct is None else flag("direct", direct)
        self._fsync = flag("fsync", fsync)
        self._keep = flag("keep", keep) or folder is not None
        self._folder = None if folder is None else os.fspath(folder)
        #: Bytes that the last `hold` keeps, and of these the ones that were freed since.
        self._kept: set[Extent] = set()
        self._deferred: list[Extent] = []
        self._copier = crevolve.SnapshotCopier(threads)
        super().__init__(n_slots, arrays_like, step_data_like, room, compression, checksum)

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The file; gone after `close`, unless it is to be kept."""
        return self._file.path

    @property
    def direct(self) -> bool:
        """Whether transfers go past the page cache."""
        return self._file.direct

    @property
    def resumable(self) -> bool:
        """Whether another process can find its snapshots in the folder that it was given."""
        return self._folder is not None

    @property
    def ahead(self) -> int:
        """How many loads it is of use to announce at once."""
        return self._buffers

    @property
    def staging_nbytes(self) -> int:
        """Bytes of the buffers."""
        return 0 if self._closed else self._background.nbytes

    @property
    def waited_seconds(self) -> float:
        """How long `save` and `load` have waited for transfers since the last `clear` [s]."""
        return self._background.waited * 1e-9

    @property
    def hidden_seconds(self) -> float:
        """How much of the transfers since the last `clear` nobody waited for [s]."""
        return max(0, self._background.busy - self._background.waited) * 1e-9

    # --- what it does ---------------------------------------------------------------------------------------

    def tell(self, told: Told | None) -> None:
        """Let a function know of every transfer and every wait from now on; None: of none.

        Parameters
        ----------
        told : callable or None
            ``told(what, slot, t, began, ended)`` with `what` one of ``"write"``, ``"read"`` and ``"wait"``,
            slot and timestep of the snapshot (-1 for a wait), and times of `time.perf_counter_ns` [ns]. It is
            called in the thread that transfers or waits, and must neither raise nor hold a reference to the
            storage.
        """
        self._background.told = told

    def prefetch(self, slot: int) -> None:
        """Take notice that a full slot will be loaded soon, after those that were announced before.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots. Where it is empty, nothing happens.
        """
        held = self._held.get(slot)
        if held is not None and held.record is not None and self._file.owned:
            self._background.prefetch(held.record.transfer)

    def forget(self) -> None:
        """Take notice that slots that were announced will not be loaded soon."""
        if self._ready and self._file.owned:
            self._background.forget()

    def flush(self) -> None:
        """Wait until everything that was saved is in the file.

        Raises
        ------
        StorageError
            The storage is closed, or something could not be written.
        """
        if self._closed:
            raise self._error("the storage is closed")
        try:
            self._background.flush()
        except OSError as error:
            raise self._error(f"cannot write: {error}") from error
        self._check_written()

    def clear(self) -> None:
        """Make every slot empty and keep the file, for the next shot."""
        super().clear()
        self._kept, self._deferred = set(), []
        if self._ready:
            try:
                self._background.clear()
            except OSError as error:
                raise self._error(f"cannot be used any more: {error}; make a new storage") from error

    def close(self) -> None:
        """Give everything back, as of `Storage`; a file that is kept holds all that was saved."""
        if self._keep and self._ready and self._file.owned:
            try:
                self.flush()
            finally:
                super().close()
        else:
            super().close()

    # --- for journals ---------------------------------------------------------------------------------------

    def index(self) -> list[dict[str, Any]]:
        """Put everything on the medium, and tell what is where, in terms that JSON knows.

        Raises
        ------
        StorageError
            As of `flush`.
        """
        self.flush()
        try:
            self._file.sync()
        except OSError as error:
            raise self._error(f"cannot write: {error}") from error
        return [
            {
                "slot": slot,
                "t": held.t,
                "content": int(held.content),
                "extents": [] if held.record is None else list(held.record.transfer.extents),
                "checksum": ((held.record and held.record.transfer.checksum) or b"").hex(),
                "pieces": held.record and held.record.pieces,
                "codec": self._codec_name,
            }
            for slot, held in sorted(self._held.items())
        ]

    def hold(self) -> None:
        """Keep the bytes of all slots that are full now until the next call, also of those that are freed."""
        self._kept = {
            extent
            for held in self._held.values()
            if held.record is not None
            for extent in held.record.transfer.extents
        }
        self._give_back(self._deferred)
        self._deferred = []

    @property
    def _codec_name(self) -> str:
        return "none" if self._encoder is None else str(self._encoder.compression)

    @property
    def deferred(self) -> bool:
        """Whether bytes of slots that were freed are kept, which another call of `hold` would give back."""
        return bool(self._deferred)

    def restore(self, index: list[dict[str, Any]]) -> None:
        """Make slots full that `index` told of, of an earlier storage with the same file.

        Raises
        ------
        ValueError, KeyError, TypeError
            This cannot be an index of this file.
        """
        self.clear()
        for entry in index:
            if entry["codec"] != self._codec_name:
                _LOG.warning(
                    "x_%d was stored with the codec %s and cannot be read with %s: it is given up",
                    entry["t"],
                    entry["codec"],
                    self._codec_name,
                )
                continue
            if not 0 <= entry["slot"] < self._n_slots or entry["slot"] in self._held:
                raise ValueError(f"there is no slot {entry['slot']}")
            extents = tuple((int(begin), int(end)) for begin, end in entry["extents"])
            if self._space is not None:
                self._space.claim(extents)
            record = None
            if extents:
                transfer = Transfer(
                    extents, (entry["slot"], entry["t"]), bytes.fromhex(entry["checksum"]) or None
                )
                pieces = entry["pieces"]
                record = _Record(transfer, pieces and [(bool(bare), int(n)) for bare, n in pieces])
            nbytes = 0 if record is None else record.transfer.nbytes
            self._held[entry["slot"]] = Held(entry["t"], Content(entry["content"]), nbytes, record)
        self.hold()

    # --- inside ---------------------------------------------------------------------------------------------

    def _reserve(self, nbytes: int, slot_nbytes: int) -> None:
        self._file = file = SnapshotFile(
            self._directory,
            nbytes,
            direct=self._direct,
            keep=self._keep,
            folder=self._folder,
            trial=self._buffers * slot_nbytes,  # no more than the buffers, which are taken afterwards
        )
        if self._folder is not None and self._space is None:
            # A slot that is freed and filled again is not to overwrite what a journal tells of.
            self._space = Space(nbytes, self.grain)
        if self._space is not None and file.nbytes > nbytes:
            # What an earlier storage with more room has left there must be found again.
            self._nbytes = file.nbytes
            self._space = Space(file.nbytes, self.grain)
        try:
            self._background = background = Background(
                file, max(slot_nbytes, BLOCK), self._buffers, self._checksum, self._fsync
            )
        except BaseException:
            file.remove()
            raise
        #: Ends it with this object or with the interpreter, unless close() did.
        self._ending = weakref.finalize(self, _end, file, background, join=False)

    def _put(
        self, slot: int, t: int, arrays: Sequence[npt.NDArray[Any]], slot_nbytes: int
    ) -> tuple[int, _Record | None]:
        self._check_written()
        if slot_nbytes == 0:
            return 0, None
        buffer = self._background.buffer()
        extents: Iterable[Extent] = ()
        try:
            if self._encoder is None:
                self._copier.save(buffer.memory, 0, arrays)
                nbytes, pieces = slot_nbytes, None
            else:
                nbytes, pieces = self._encode(arrays, buffer.memory)
            extents = self._extents(nbytes, slot, t, scattered=True)
            record = _Record(Transfer(extents, (slot, t)), pieces)
            self._background.write(record.transfer, buffer)
        except BaseException:
            self._give_back(extents)
            self._background.give_back(buffer)
            raise
        return record.transfer.nbytes, record

    def _encode(
        self, arrays: Sequence[npt.NDArray[Any]], memory: memoryview
    ) -> tuple[int, list[tuple[bool, int]]]:
        """Encode arrays into a buffer, which has the bytes of the bare arrays."""
        done, pieces = 0, []
        for bare, data in self._encoded(arrays):
            memory[done : done + len(data)] = data
            done += len(data)
            pieces.append((bare, len(data)))
        return done, pieces

    def _get(self, record: _Record | None, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self._check_written()
        if not all(array.flags.writeable for array in arrays):
            raise BufferError("an array is read-only")
        if record is None:
            return
        memory = self._background.fetch(record.transfer)
        try:
            if record.pieces is None:
                self._copier.load(memory, 0, arrays)
            else:
                self._decode(_pieces(memory, record.pieces), arrays)
        finally:
            self._background.done(record.transfer)

    def _drop(self, record: _Record | None) -> None:
        if record is not None:
            self._background.drop(record.transfer)
            if self._kept and not self._kept.isdisjoint(record.transfer.extents):
                self._deferred += record.transfer.extents
            else:
                self._give_back(record.transfer.extents)

    def _release(self) -> None:
        if hasattr(self, "_ending") and self._ending.alive:
            # Called like this, an interrupt lets it be called again.
            _end(self._file, self._background, join=True)
            self._ending.detach()

    def _check_written(self) -> None:
        """Raise where something that was saved could not be written."""
        failed = self._background.failed
        if failed is not None:
            slot, t = failed.label
            raise StorageError(
                f"timestep {t} could not be written behind the run, and is lost: {failed.error}",
                self.tier_name,
                slot,
                t,
            ) from failed.error


class _Record:
    """A snapshot in the file, and its encoded pieces: whether bare, and bytes; None: bare arrays."""

    __slots__ = ("pieces", "transfer")

    def __init__(self, transfer: Transfer, pieces: list[tuple[bool, int]] | None) -> None:
        self.transfer = transfer
        self.pieces = pieces


def _pieces(memory: memoryview, pieces: Iterable[tuple[bool, int]]) -> Iterator[tuple[bool, memoryview]]:
    """Yield encoded pieces that follow one another."""
    done = 0
    for bare, nbytes in pieces:
        yield bare, memory[done : done + nbytes]
        done += nbytes


def _end(file: SnapshotFile, background: Background, *, join: bool) -> None:
    """Remove the file and end the thread; may be called again where an interrupt ended it."""
    try:
        file.unlink()
    finally:
        background.stop(join=join)
