"""Snapshots in RAM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from .. import crevolve
from ..compression import CompressionLike
from .slots import SlotStorage
from .space import Extent

__all__ = ["MemoryStorage"]


class _Stored(NamedTuple):
    """Where a snapshot lies, its encoded pieces (whether bare, and bytes), and its checksum."""

    extents: tuple[Extent, ...]
    pieces: tuple[tuple[bool, int], ...]
    checksum: bytes | None


class MemoryStorage(SlotStorage):
    """Slots in one block of RAM that is allocated, and touched, once.

    Parameters
    ----------
    n_slots : int or None
        Number of slots, >= 0. None: as many as fit in `room`; slots may then have any numbers.
    arrays_like : sequence of numpy.ndarray, optional
        Arrays with the shapes and dtypes of one state; only these are looked at. None: the first `save`
        decides, and allocates.
    step_data_like : sequence of numpy.ndarray, optional
        The same for the step data of one timestep, where the schedule keeps such data. Every slot can hold
        either kind: it has the bytes of the larger one. None: the first `save` of step data decides, within
        the size of the slots.
    room : int, optional
        Bytes that all slots share, >= 0, each taking what it needs when it is saved; `room_for` tells how
        many a schedule needs. None: every slot has bytes of its own or, with `compression`, all share what
        that would take.
    threads : int, optional
        Threads for a copy, >= 1. None: ``OMP_NUM_THREADS``, else the cores of this process, at most 8.
    compression : str, codec or Compression, optional
        ``"lz4"``, ``"zstd"`` or ``"pcodec"``, a codec with the interface of numcodecs, or what
        `pyrevolve.compression` makes. A snapshot then takes the bytes that it is encoded to, and a `save` for
        which there are not enough left raises StorageFullError and changes nothing. None: bytes are copied as
        they are.
    checksum : bool or {"xxh3", "crc32"}
        Whether every snapshot has a checksum, which its bytes must have when it is loaded; True: XXH3 where
        xxhash is installed, CRC-32 where it is not.

    Raises
    ------
    ImportError
        A package is not installed that `compression` or `checksum` needs.
    TypeError
        `n_slots` or `threads` is no integer, or an array cannot be stored (ArrayTypeError: not an array,
        masked, or of a dtype with Python objects).
    ValueError
        `n_slots` or `room` < 0, ``n_slots=None`` without `room`, `threads` < 1, or no such checksum or codec.
    OverflowError
        The slots would take more than 2**63 - 1 bytes.
    MemoryError
        The system does not give that much memory.

    Notes
    -----
    Each array lies contiguously at a multiple of 64 bytes in its slot, in the order of its live array's
    indices (C order), whatever the strides of that one. Bytes are copied as they are: no dtype is ever
    converted, a NaN keeps its payload. Copies release the GIL.

    Encoded arrays lie in whatever bytes are free, in several pieces where they have to, so that all of them
    are of use. A codec works on pieces of 8 MiB: besides the slots it takes what
    ``Compression.scratch_bytes`` tells.

    One storage belongs to one driver: it is not meant to be used from two threads at once.

    Examples
    --------
    >>> import numpy as np
    >>> field = np.arange(6.0).reshape(2, 3)
    >>> with MemoryStorage(2, [field]) as storage:
    ...     copied = storage.save(0, [field], t=7)
    ...     field[:] = 0.0
    ...     copied = storage.load(0, [field], t=7)
    >>> field[1]
    array([3., 4., 5.])
    """

    tier_name = "RAM"
    grain = 64  # a cache line

    def __init__(
        self,
        n_slots: int | None,
        arrays_like: Sequence[npt.NDArray[Any]] | None = None,
        *,
        step_data_like: Sequence[npt.NDArray[Any]] | None = None,
        room: int | None = None,
        threads: int | None = None,
        compression: CompressionLike | None = None,
        checksum: bool | str = False,
    ) -> None:
        self._copier = crevolve.SnapshotCopier(threads)
        self._buffer: Any = None
        super().__init__(n_slots, arrays_like, step_data_like, room, compression, checksum)

    @property
    def threads(self) -> int:
        """Threads that a large copy uses."""
        return self._copier.threads

    def _reserve(self, nbytes: int, slot_nbytes: int) -> None:
        buffer = crevolve.Arena(nbytes)
        self._copier.prefault(buffer)
        self._buffer = buffer

    def _put(
        self, slot: int, t: int, arrays: Sequence[npt.NDArray[Any]], slot_nbytes: int
    ) -> tuple[int, _Stored]:
        if self._encoder is not None:
            return self._put_encoded(slot, t, arrays)
        extents = self._extents(slot_nbytes, slot, t, scattered=False)
        try:
            self._copier.save(self._buffer, extents[0][0] if extents else 0, arrays)
        except BaseException:
            self._give_back(extents)
            raise
        return slot_nbytes, _Stored(extents, (), self._sum(extents))

    def _put_encoded(self, slot: int, t: int, arrays: Sequence[npt.NDArray[Any]]) -> tuple[int, _Stored]:
        """Lay the encoded pieces behind one another, so that only the last one is rounded up to the grain."""
        memory = memoryview(self._buffer)
        extents: list[Extent] = []
        pieces: list[tuple[bool, int]] = []
        at = stop = 0  # what is left of the last extent
        try:
            for bare, data in self._encoded(arrays):
                done = min(stop - at, len(data))
                memory[at : at + done] = data[:done]
                at += done
                taken = self._extents(len(data) - done, slot, t, scattered=True)
                extents += taken
                for begin, stop in taken:
                    at = begin + min(stop - begin, len(data) - done)
                    memory[begin:at] = data[done : done + at - begin]
                    done += at - begin
                pieces.append((bare, len(data)))
        except BaseException:
            self._give_back(extents)
            raise
        joined = _joined(extents)
        nbytes = sum(end - begin for begin, end in joined)
        return nbytes, _Stored(joined, tuple(pieces), self._sum(joined))

    def _get(self, record: _Stored, arrays: Sequence[npt.NDArray[Any]]) -> None:
        if record.checksum is not None and self._sum(record.extents) != record.checksum:
            raise OSError("it was damaged in memory: its checksum is not what it was when it was saved")
        if self._encoder is None:
            self._copier.load(self._buffer, record.extents[0][0] if record.extents else 0, arrays)
            return
        if not all(array.flags.writeable for array in arrays):
            raise BufferError("an array is read-only")
        self._decode(self._pieces(record), arrays)

    def _pieces(self, record: _Stored) -> Iterator[tuple[bool, memoryview]]:
        """Yield the encoded pieces, put together where they lie scattered."""
        memory = memoryview(self._buffer)
        extents = iter(record.extents)
        begin = end = 0
        for bare, nbytes in record.pieces:
            parts: list[memoryview] = []
            left = nbytes
            while left > 0:
                if begin == end:
                    begin, end = next(extents)
                some = min(left, end - begin)
                parts.append(memory[begin : begin + some])
                begin += some
                left -= some
            yield bare, parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def _sum(self, extents: Iterable[Extent]) -> bytes | None:
        """Return the checksum of what lies in extents; None where none is wanted."""
        if self._checksum is None:
            return None
        memory = memoryview(self._buffer)
        return self._checksum(memory[begin:end] for begin, end in extents)

    def _drop(self, record: _Stored) -> None:
        self._give_back(record.extents)

    def _release(self) -> None:
        self._buffer = None


def _joined(extents: Iterable[Extent]) -> tuple[Extent, ...]:
    """Return the same bytes in the same order, those that follow one another as one extent."""
    joined: list[Extent] = []
    for begin, end in extents:
        if joined and joined[-1][1] == begin:
            begin = joined.pop()[0]
        joined.append((begin, end))
    return tuple(joined)
