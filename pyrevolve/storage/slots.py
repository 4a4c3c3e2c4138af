"""What tiers share: which slot holds what and which bytes, and the checks."""

from __future__ import annotations

import abc
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import crevolve
from ..arguments import at_least
from ..budget import format_bytes
from ..compression import Compressed, CompressionLike, CompressionLoss, Encoder, as_compression
from ..crevolve import Content, Instruction, Kind
from ..errors import ArrayShapeError, ArrayTypeError, StorageError, StorageFullError
from .base import Storage
from .checksums import choose_checksum
from .space import Extent, Space

__all__ = ["Held", "SlotStorage", "slot_nbytes"]

_Array, _MaskedArray = np.ndarray, np.ma.MaskedArray
#: Shape and dtype of each array.
_Arrays = Sequence[tuple[tuple[int, ...], np.dtype[Any]]]

#: By content: what the arrays are called in messages, and the argument that announces them.
_NOUNS = ("state", "step data")
_ARGUMENTS = ("arrays_like", "step_data_like")


def slot_nbytes(arrays: Sequence[npt.NDArray[Any]]) -> int:
    """Return how many bytes of memory one slot for these arrays takes.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray
        The arrays of one state.

    Returns
    -------
    int
        The sum of their bytes, each rounded up to a multiple of 64.
    """
    return crevolve.packed_nbytes(tuple(arrays))


class _Layout(NamedTuple):
    """The arrays of one content: shapes and dtypes, their bytes, and those of a slot that holds them."""

    arrays: _Arrays
    nbytes: int
    slot_nbytes: int


class Held(NamedTuple):
    """What a full slot holds: timestep and content, and what the subclass knows it by."""

    t: int
    content: Content
    nbytes: int
    record: Any


class SlotStorage(Storage):
    """A tier with numbered slots, each of which holds a state or one timestep's step data.

    It knows what every slot holds and checks every call; a subclass takes the memory and moves the bytes, see
    `_reserve`, `_put`, `_get` and `_drop`. An OSError from there becomes a StorageError that names the slot.

    Parameters
    ----------
    n_slots : int or None
        Number of slots, >= 0. None: as many as fit in `room`, with any numbers.
    arrays_like, step_data_like : sequence of numpy.ndarray, optional
        Arrays with the shapes and dtypes of one state, and of the step data of one timestep; only these are
        looked at. A slot has the bytes of the larger of the two. None: the first `save` of that kind decides
        what it looks like, within the size of the slots; where both are None, it decides that as well.
    room : int, optional
        Bytes that all slots share, >= 0; each takes what it needs when it is saved. None: every slot has
        bytes of its own or, with `compression`, all share what that would take.
    compression : str, codec or Compression, optional
        What encodes the arrays; see `pyrevolve.compression`.
    checksum : bool or str
        See `choose_checksum`.
    """

    #: What errors call the tier.
    tier_name: ClassVar[str]
    #: Slots take a multiple of so many bytes.
    grain: ClassVar[int]
    #: Whether no slot may be larger than those that were announced, even where all share a room.
    _bounded_slots: ClassVar[bool] = False

    def __init__(
        self,
        n_slots: int | None,
        arrays_like: Sequence[npt.NDArray[Any]] | None,
        step_data_like: Sequence[npt.NDArray[Any]] | None,
        room: int | None,
        compression: CompressionLike | None,
        checksum: bool | str,
    ) -> None:
        self._elastic = n_slots is None
        self._n_slots = sys.maxsize if n_slots is None else at_least("n_slots", n_slots, 0)
        if self._elastic and room is None:
            raise ValueError("n_slots=None needs room=, the bytes that all slots share")
        #: What each full slot holds.
        self._held: dict[int, Held] = {}
        self._layouts: list[_Layout | None] = [None, None]  # by content
        self._slot_nbytes = 0
        self._nbytes = 0 if room is None else at_least("room", room, 0, " bytes")
        self._encoder = None if compression is None else Encoder(as_compression(compression))
        self._checksum_name, self._checksum = choose_checksum(checksum)
        #: Who has which bytes; None where every slot has bytes of its own.
        self._space = None if room is None and self._encoder is None else Space(self._nbytes, self.grain)
        self._room_given = room is not None
        self._ready = False
        self._closed = False
        for content, arrays in ((Content.STATE, arrays_like), (Content.STEP_DATA, step_data_like)):
            if arrays is not None:
                self._layouts[content] = self._layout_of(arrays, content, None, None)
        known = [layout.slot_nbytes for layout in self._layouts if layout is not None]
        if known:
            self._take(max(known))

    @classmethod
    def room_for(
        cls,
        instructions: Iterable[Instruction],
        tier: int,
        arrays_like: Sequence[npt.NDArray[Any]],
        step_data_like: Sequence[npt.NDArray[Any]],
    ) -> int:
        """Return how many bytes a schedule needs as `room` in one of its tiers.

        Parameters
        ----------
        instructions : iterable of Instruction
            The schedule; it is gone through once.
        tier : int
            Number of the tier, >= 0.
        arrays_like, step_data_like : sequence of numpy.ndarray
            Arrays like those of one state and of the step data of one timestep.

        Returns
        -------
        int
            The least that does [bytes].
        """
        sizes = [slot_nbytes(arrays) for arrays in (arrays_like, step_data_like)]
        space, most = Space(None, cls.grain), 0
        taken: dict[int, tuple[Extent, ...]] = {}
        for i in instructions:
            if i.tier != tier:
                continue
            assert i.slot is not None
            if i.content is not None and i.kind is Kind.SAVE:
                extents = space.take(sizes[i.content])
                assert extents is not None
                taken[i.slot] = extents
                most = max(most, space.end)
            elif not i.keep:
                space.give_back(taken.pop(i.slot, ()))
        return most

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def n_slots(self) -> int:
        """How many slots there are."""
        return self._n_slots

    @property
    def nbytes(self) -> int:
        """How many bytes all slots take together; 0 before the arrays are known and after `close`."""
        return self._nbytes if self._ready else 0

    @property
    def elastic(self) -> bool:
        """Whether there are as many slots as fit in the bytes that they share."""
        return self._elastic

    @property
    def lossless(self) -> bool:
        """Whether what is loaded is what was saved, bit for bit."""
        return self._encoder is None or self._encoder.compression.lossless

    @property
    def bytes_left(self) -> int | None:
        """How many bytes no slot has; None where every slot has bytes of its own."""
        return None if self._space is None else self._space.left

    @property
    def checksum(self) -> str | None:
        """Name of the checksum that every snapshot has; None: they have none."""
        return self._checksum_name

    @property
    def compression_ratio(self) -> float:
        """How many times smaller the snapshots saved so far became; 1.0 without compression."""
        return self.compressed.ratio

    @property
    def compression_error(self) -> CompressionLoss:
        """The largest errors that lossy compression has made so far."""
        return self.compressed.error

    @property
    def compressed(self) -> Compressed:
        """What compression has made of the snapshots saved so far."""
        return Compressed() if self._encoder is None else self._encoder.compressed

    @property
    def full(self) -> dict[int, int]:
        """The timestep whose state or step data each full slot holds, by slot."""
        return {slot: held.t for slot, held in self._held.items()}

    def stored_nbytes(self, slot: int) -> int:
        """Return how many bytes a full slot takes, after compression and rounding; 0 where it is empty."""
        held = self._held.get(slot)
        return 0 if held is None else held.nbytes

    @property
    def state_nbytes(self) -> int:
        """How many bytes one state has, without padding; 0 before the arrays are known."""
        layout = self._layouts[Content.STATE]
        return 0 if layout is None else layout.nbytes

    @property
    def timesteps(self) -> tuple[int | None, ...]:
        """The timestep whose state or step data each slot holds; None where it is empty.

        Where there is no fixed number of slots, those of the full ones only, in the order of their numbers.
        """
        if self._elastic:
            return tuple(self._held[slot].t for slot in sorted(self._held))
        count = self._n_slots
        return tuple(self._held[slot].t if slot in self._held else None for slot in range(count))

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._held)} full"
        slots = "slots as they fit" if self._elastic else f"{self._n_slots} slots"
        how = "" if self._encoder is None else f", {self._encoder.compression}"
        return f"<{type(self).__name__}: {slots} ({state}), {format_bytes(self.nbytes)}{how}>"

    # --- what it does ---------------------------------------------------------------------------------------

    def save(
        self, slot: int, arrays: Sequence[npt.NDArray[Any]], t: int, content: Content = Content.STATE
    ) -> int:
        """Copy the arrays of x_t, or the step data of timestep t, into an empty slot.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        arrays : sequence of numpy.ndarray
            The live arrays, of any strides; they are only read.
        t : int
            The timestep, >= 0.
        content : Content
            What the arrays are.

        Returns
        -------
        int
            Bytes copied.

        Raises
        ------
        StorageError
            The slot is full or does not exist, the storage is closed, or the system refuses.
        ArrayShapeError, ArrayTypeError
            Number, shapes or dtypes are not those of the state or the step data. Both are StorageErrors, the
            first a ValueError and the second a TypeError as well.
        """
        if self._closed or not 0 <= slot < self._n_slots:
            raise self._no_such_slot(slot, t)
        held = self._held.get(slot)
        if held is not None:
            raise self._error(
                f"cannot save {_name(t, content)}: the slot still holds {_name(held.t, held.content)}; "
                "free it first",
                slot,
                t,
            )
        if t < 0:
            raise self._error("a timestep must be >= 0", slot, t)
        if type(arrays) is not list and type(arrays) is not tuple:
            arrays = self._sequence(arrays, content, slot, t)
        layout = self._layouts[content]
        if layout is None:
            layout = self._learn(arrays, content, slot, t)
        elif not _fit(arrays, layout.arrays):
            raise self._misfit(arrays, layout.arrays, content, slot, t)
        try:
            nbytes, record = self._put(slot, t, arrays, layout.slot_nbytes)
        except OSError as error:
            raise self._error(f"cannot save {_name(t, content)}: {error}", slot, t) from error
        self._layouts[content] = layout
        self._held[slot] = Held(t, content, nbytes, record)
        if self._encoder is not None:
            self._encoder.keep()
        return layout.nbytes

    def load(
        self, slot: int, arrays: Sequence[npt.NDArray[Any]], t: int, content: Content = Content.STATE
    ) -> int:
        """Copy a slot that holds x_t, or the step data of timestep t, back; the slot stays full.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        arrays : sequence of numpy.ndarray
            The live, writable arrays, of any strides.
        t : int
            The timestep with which the slot was saved.
        content : Content
            What was saved.

        Returns
        -------
        int
            Bytes copied.

        Raises
        ------
        StorageError
            The slot is empty, holds something else or does not exist, the storage is closed, or the system
            refuses; after the last of these the arrays may be changed in part.
        ArrayShapeError, ArrayTypeError
            Number, shapes or dtypes are not those of what was saved, or an array is read-only; nothing was
            copied. Both are StorageErrors, the first a ValueError and the second a TypeError as well.
        """
        if self._closed or not 0 <= slot < self._n_slots:
            raise self._no_such_slot(slot, t)
        held = self._held.get(slot)
        if held is None or held.t != t or held.content is not content:
            what = "is empty" if held is None else f"holds {_name(held.t, held.content)}"
            raise self._error(f"cannot load {_name(t, content)}: the slot {what}", slot, t)
        if type(arrays) is not list and type(arrays) is not tuple:
            arrays = self._sequence(arrays, content, slot, t)
        layout = self._layouts[content]
        assert layout is not None
        if not _fit(arrays, layout.arrays):
            raise self._misfit(arrays, layout.arrays, content, slot, t)
        try:
            self._get(held.record, arrays)
        except OSError as error:
            raise self._error(f"cannot load {_name(t, content)}: {error}", slot, t) from error
        except (BufferError, ValueError):
            if all(array.flags.writeable for array in arrays):
                raise
            method = "get_step_data_location" if content else "get_data_location"
            raise ArrayTypeError(
                f"cannot load into a read-only array; {method}() must return writable views of the workspace",
                self.tier_name,
                slot,
                t,
            ) from None
        return layout.nbytes

    def free(self, slot: int) -> None:
        """Make a full slot empty.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.

        Raises
        ------
        StorageError
            The slot is empty or does not exist, or the storage is closed.
        """
        if self._closed or not 0 <= slot < self._n_slots:
            raise self._no_such_slot(slot, None)
        held = self._held.pop(slot, None)
        if held is None:
            raise self._error("cannot free a slot that is empty", slot)
        self._drop(held.record)

    def clear(self) -> None:
        """Make every slot empty and keep what they lie in, for the next shot."""
        self._held = {}
        if self._space is not None:
            self._space.clear()

    def close(self) -> None:
        """Give back what the slots lie in; may be called again. Saving and loading are errors from now on."""
        self._closed = True
        self._held = {}
        self._ready = False
        self._release()

    # --- what a subclass does -------------------------------------------------------------------------------

    @abc.abstractmethod
    def _reserve(self, nbytes: int, slot_nbytes: int) -> None:
        """Take so many bytes for all slots, which count them from 0; called once.

        `slot_nbytes` is what a slot takes at most, a multiple of the grain.
        """

    @abc.abstractmethod
    def _put(
        self, slot: int, t: int, arrays: Sequence[npt.NDArray[Any]], slot_nbytes: int
    ) -> tuple[int, object]:
        """Store arrays; return the bytes that they take, and what they are to be known by.

        Raises
        ------
        StorageFullError
            They do not fit; nothing was changed.
        """

    @abc.abstractmethod
    def _get(self, record: Any, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Fill arrays with what `_put` stored.

        Where an array is read-only, raise BufferError or ValueError before anything is copied.
        """

    @abc.abstractmethod
    def _drop(self, record: Any) -> None:
        """Give back the bytes of what `_put` stored."""

    @abc.abstractmethod
    def _release(self) -> None:
        """Give all bytes back; may be called again, and without `_reserve`."""

    # --- inside ---------------------------------------------------------------------------------------------

    def _take(self, nbytes: int) -> None:
        """Fix the size of a slot, and reserve all of them."""
        nbytes = -(-nbytes // self.grain) * self.grain
        if not self._room_given:
            self._nbytes = self._n_slots * nbytes
            if self._space is not None:
                self._space = Space(self._nbytes, self.grain)
        self._slot_nbytes = nbytes
        self._reserve(self._nbytes, nbytes)
        self._ready = True

    def _extents(self, nbytes: int, slot: int, t: int, *, scattered: bool) -> tuple[Extent, ...]:
        """Return bytes for a slot; raise StorageFullError where there are not enough."""
        if self._space is None:
            begin = slot * self._slot_nbytes
            return ((begin, begin + self._space_of(nbytes)),) if nbytes else ()
        extents = self._space.take(nbytes, scattered=scattered)
        if extents is None:
            left = self._space.left
            raise StorageFullError(
                f"the {nbytes} bytes of the slot do not fit in the {left} that are left of the "
                f"{self._nbytes} that all slots share"
                + ("" if scattered else ", or not in one gap of them")
                + "; give more room=",
                self.tier_name,
                slot,
                t,
            )
        return extents

    def _space_of(self, nbytes: int) -> int:
        return -(-nbytes // self.grain) * self.grain

    def _give_back(self, extents: Iterable[Extent]) -> None:
        """Take the bytes of a slot back."""
        if self._space is not None:
            self._space.give_back(extents)

    def _encoded(self, arrays: Sequence[npt.NDArray[Any]]) -> Iterator[tuple[bool, memoryview]]:
        """Yield the encoded pieces of arrays; raise OSError where the codec cannot encode them."""
        assert self._encoder is not None
        self._encoder.begin()
        try:
            for array in arrays:
                yield from self._encoder.encode(array)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise OSError(f"{self._encoder.compression} cannot encode it: {error!r}") from error

    def _decode(self, pieces: Iterator[tuple[bool, memoryview]], arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Fill arrays from encoded pieces; raise OSError where the codec cannot decode them."""
        assert self._encoder is not None
        try:
            for array in arrays:
                self._encoder.decode(pieces, array)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise OSError(f"{self._encoder.compression} cannot decode it: {error!r}") from error

    def _learn(self, arrays: Sequence[npt.NDArray[Any]], content: Content, slot: int, t: int) -> _Layout:
        """Let the first save of a content decide what it looks like."""
        layout = self._layout_of(arrays, content, slot, t)
        if not self._ready:
            self._take(layout.slot_nbytes)
        elif layout.slot_nbytes > self._slot_nbytes and (not self._room_given or self._bounded_slots):
            raise ArrayShapeError(
                f"the {_NOUNS[content]} takes {layout.slot_nbytes} bytes, but the slots have "
                f"{self._slot_nbytes}; give {_ARGUMENTS[content]}= when the storage is made",
                self.tier_name,
                slot,
                t,
            )
        return layout

    def _layout_of(
        self, arrays: Sequence[npt.NDArray[Any]], content: Content, slot: int | None, t: int | None
    ) -> _Layout:
        """Return the layout of these arrays; raise where one cannot be stored."""
        state = self._sequence(arrays, content, slot, t)
        for index, array in enumerate(state):
            if not isinstance(array, np.ndarray) or isinstance(array, _MaskedArray):
                what = (
                    f"array {index} of the {_NOUNS[content]} must be a plain numpy array, "
                    f"got {_type_of(array)}"
                )
                raise ArrayTypeError(what, self.tier_name, slot, t)
        try:
            packed = slot_nbytes(state)
        except (TypeError, ValueError, BufferError) as error:  # Python objects, or a dtype without buffers
            dtypes = ", ".join(str(array.dtype) for array in state)
            what = f"arrays of dtype {dtypes} cannot be stored: {error}"
            raise ArrayTypeError(what, self.tier_name, slot, t) from error
        nbytes = sum(array.nbytes for array in state)
        arrays_of = tuple((array.shape, array.dtype) for array in state)
        return _Layout(arrays_of, nbytes, packed)

    def _misfit(
        self, arrays: Sequence[Any], expected: _Arrays, content: Content, slot: int, t: int
    ) -> StorageError:
        """Return the error about arrays that do not fit."""
        where = self.tier_name, slot, t
        noun = _NOUNS[content]
        if len(arrays) != len(expected) and not any(isinstance(array, np.generic) for array in arrays):
            return ArrayShapeError(f"the {noun} has {len(expected)} arrays, got {len(arrays)}", *where)
        index = next(i for i, array in enumerate(arrays) if not _fit([array], [expected[i]]))
        array, (shape, dtype) = arrays[index], expected[index]
        which = f"array {index} of the {noun}"
        if not isinstance(array, np.ndarray):
            return ArrayTypeError(f"{which} must be a numpy array, got {_type_of(array)}", *where)
        if isinstance(array, _MaskedArray):
            return ArrayTypeError(f"{which} is masked", *where)
        if array.shape != shape:
            return ArrayShapeError(f"{which} has shape {shape}, got {array.shape}", *where)
        return ArrayTypeError(f"{which} has dtype {dtype}, got {array.dtype}; nothing is converted", *where)

    def _sequence(self, arrays: object, content: Content, slot: int | None, t: int | None) -> tuple[Any, ...]:
        """Return the arrays as a tuple; raise where they are no sequence."""
        try:
            return tuple(arrays)  # type: ignore[arg-type]
        except TypeError:
            what = "None" if arrays is None else type(arrays).__name__
            raise ArrayTypeError(
                f"the {_NOUNS[content]} must be a list of arrays, got {what}", self.tier_name, slot, t
            ) from None

    def _error(self, message: str, slot: int | None = None, t: int | None = None) -> StorageError:
        return StorageError(message, self.tier_name, slot, t)

    def _no_such_slot(self, slot: int, t: int | None) -> StorageError:
        """Return the error about a slot number out of range."""
        if self._closed:
            return self._error("the storage is closed", slot, t)
        count = "any number" if self._elastic else str(self._n_slots)
        return self._error(f"there is no such slot; the storage has {count}, counted from 0", slot, t)


def _fit(arrays: Sequence[Any], expected: _Arrays) -> bool:
    """Return whether arrays are plain ones of the expected number, shapes and dtypes."""
    if len(arrays) != len(expected):
        return False
    for array, (shape, dtype) in zip(arrays, expected):  # noqa: B905 (equally long; strict= costs time)
        if type(array) is not _Array and (not isinstance(array, _Array) or isinstance(array, _MaskedArray)):
            return False
        if array.shape != shape or (array.dtype is not dtype and array.dtype != dtype):
            return False
    return True


def _type_of(array: object) -> str:
    """Return what errors call something that is no array."""
    # Scalars are what a single array gives where a list of arrays is expected.
    hint = "; return [x], a list of arrays" if isinstance(array, np.generic) else ""
    return type(array).__name__ + hint


def _name(t: int, content: Content) -> str:
    return f"the step data of timestep {t}" if content else f"timestep {t}"
