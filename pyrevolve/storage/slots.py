"""What tiers with slots of one size share: which slot holds what, and the checks."""

from __future__ import annotations

import abc
import bisect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import crevolve
from ..budget import format_bytes
from ..crevolve import Content, Instruction, Kind
from ..errors import ArrayShapeError, ArrayTypeError, StorageError
from .base import Storage

__all__ = ["Mover", "SlotStorage", "slot_nbytes"]

_Array, _MaskedArray = np.ndarray, np.ma.MaskedArray
#: Shape and dtype of each array.
_Arrays = Sequence[tuple[tuple[int, ...], np.dtype[Any]]]
#: Copies arrays of any strides to the slot that begins at a byte offset, or back.
Mover = Callable[[int, Sequence[npt.NDArray[Any]]], object]

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


class _Room:
    """Who has which bytes of a room that slots of several sizes share.

    A slot begins in the lowest gap that is large enough. Where the slot that was filled last is emptied
    first, as in the schedules that keep step data, there are no gaps, and every call takes O(log n)
    comparisons.
    """

    def __init__(self) -> None:
        self._regions: list[tuple[int, int]] = []  # begin, end; ascending
        self._of: dict[int, tuple[int, int]] = {}  # by slot
        self._used = 0

    @property
    def end(self) -> int:
        """Where the last region ends."""
        return self._regions[-1][1] if self._regions else 0

    def gap(self, nbytes: int) -> int:
        """Return where so many bytes are free."""
        if self._used == self.end:
            return self._used
        begin = 0
        for start, end in self._regions:
            if start - begin >= nbytes:
                break
            begin = end
        return begin

    def take(self, begin: int, nbytes: int, slot: int) -> None:
        """Give bytes that are free to a slot that has none."""
        region = begin, begin + nbytes
        bisect.insort(self._regions, region)
        self._of[slot] = region
        self._used += nbytes

    def begin(self, slot: int) -> int:
        """Return where a slot begins that has bytes."""
        return self._of[slot][0]

    def give_back(self, slot: int) -> None:
        """Take the bytes of a slot from it, if it has any."""
        region = self._of.pop(slot, None)
        if region is not None:
            self._regions.pop(bisect.bisect_left(self._regions, region))
            self._used -= region[1] - region[0]


class _Layout(NamedTuple):
    """The arrays of one content: shapes and dtypes, their bytes, and those of a slot that holds them."""

    arrays: _Arrays
    nbytes: int
    slot_nbytes: int


class SlotStorage(Storage):
    """A tier with numbered slots of one size, each of which holds a state or one timestep's step data.

    It knows what every slot holds and checks every call; a subclass takes the memory and moves the bytes, see
    `_reserve`. An OSError from there becomes a StorageError that names the slot.

    Parameters
    ----------
    n_slots : int
        Number of slots, >= 0.
    arrays_like, step_data_like : sequence of numpy.ndarray, optional
        Arrays with the shapes and dtypes of one state, and of the step data of one timestep; only these are
        looked at. A slot has the bytes of the larger of the two. None: the first `save` of that kind decides
        what it looks like, within the size of the slots; where both are None, it decides that as well.
    room : int, optional
        Bytes that all slots share, >= 0; each takes what it needs when it is saved. None: every slot has
        bytes of its own.
    """

    #: What errors call the tier.
    tier_name: ClassVar[str]

    def __init__(
        self,
        n_slots: int,
        arrays_like: Sequence[npt.NDArray[Any]] | None,
        step_data_like: Sequence[npt.NDArray[Any]] | None,
        room: int | None,
    ) -> None:
        self._n_slots = operator.index(n_slots)
        if self._n_slots < 0:
            raise ValueError(f"n_slots must be >= 0, got {n_slots}")
        #: What each slot holds: timestep and content; None where it is empty.
        self._held: list[tuple[int, Content] | None] = [None] * self._n_slots
        self._layouts: list[_Layout | None] = [None, None]  # by content
        self._slot_nbytes = 0
        self._nbytes = 0 if room is None else operator.index(room)
        if self._nbytes < 0:
            raise ValueError(f"room must be >= 0 bytes, got {room}")
        self._room = None if room is None else _Room()
        #: What copies arrays to a byte offset, and back; None before the slots are reserved.
        self._write: Mover | None = None
        self._read: Mover | None = None
        self._closed = False
        for content, arrays in ((Content.STATE, arrays_like), (Content.STEP_DATA, step_data_like)):
            if arrays is not None:
                self._layouts[content] = self._layout_of(arrays, content, None, None)
        known = [layout.slot_nbytes for layout in self._layouts if layout is not None]
        if known:
            self._take(max(known))

    @staticmethod
    def room_for(
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
        room, most = _Room(), 0
        for i in instructions:
            if i.tier != tier:
                continue
            assert i.slot is not None
            if i.content is not None and i.kind is Kind.SAVE:
                room.take(room.gap(sizes[i.content]), sizes[i.content], i.slot)
                most = max(most, room.end)
            elif not i.keep:
                room.give_back(i.slot)
        return most

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def n_slots(self) -> int:
        """How many slots there are."""
        return self._n_slots

    @property
    def nbytes(self) -> int:
        """How many bytes all slots take together; 0 before the arrays are known and after `close`."""
        return 0 if self._write is None else self._nbytes

    @property
    def state_nbytes(self) -> int:
        """How many bytes one state has, without padding; 0 before the arrays are known."""
        layout = self._layouts[Content.STATE]
        return 0 if layout is None else layout.nbytes

    @property
    def timesteps(self) -> tuple[int | None, ...]:
        """The timestep whose state or step data each slot holds; None where it is empty."""
        return tuple(None if held is None else held[0] for held in self._held)

    def __repr__(self) -> str:
        full = sum(held is not None for held in self._held)
        state = "closed" if self._closed else f"{full} full"
        return f"<{type(self).__name__}: {self._n_slots} slots ({state}), {format_bytes(self.nbytes)}>"

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
        slots = self._held
        if not 0 <= slot < len(slots):
            raise self._no_such_slot(slot, t)
        held = slots[slot]
        if held is not None:
            raise self._error(
                f"cannot save {_name(t, content)}: the slot still holds {_name(*held)}; free it first",
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
        write, room = self._write, self._room
        assert write is not None
        offset = slot * self._slot_nbytes if room is None else self._gap(layout, slot, t)
        try:
            write(offset, arrays)
        except OSError as error:
            raise self._error(f"cannot save {_name(t, content)}: {error}", slot, t) from error
        if room is not None:
            room.give_back(slot)  # what an interrupt at this point of an earlier call may have left
            room.take(offset, layout.slot_nbytes, slot)
        slots[slot] = t, content
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
        slots = self._held
        if not 0 <= slot < len(slots):
            raise self._no_such_slot(slot, t)
        held = slots[slot]
        if held != (t, content):
            what = "is empty" if held is None else f"holds {_name(*held)}"
            raise self._error(f"cannot load {_name(t, content)}: the slot {what}", slot, t)
        if type(arrays) is not list and type(arrays) is not tuple:
            arrays = self._sequence(arrays, content, slot, t)
        layout, read, room = self._layouts[content], self._read, self._room
        assert layout is not None
        assert read is not None
        if not _fit(arrays, layout.arrays):
            raise self._misfit(arrays, layout.arrays, content, slot, t)
        try:
            read(slot * self._slot_nbytes if room is None else room.begin(slot), arrays)
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
        slots = self._held
        if not 0 <= slot < len(slots):
            raise self._no_such_slot(slot, None)
        if slots[slot] is None:
            raise self._error("cannot free a slot that is empty", slot)
        slots[slot] = None
        if self._room is not None:
            self._room.give_back(slot)

    def clear(self) -> None:
        """Make every slot empty and keep what they lie in, for the next shot."""
        self._held = [None] * len(self._held)
        if self._room is not None:
            self._room = _Room()

    def close(self) -> None:
        """Give back what the slots lie in; may be called again. Saving and loading are errors from now on."""
        self._closed = True
        self._held = []
        self._write = self._read = None
        self._release()

    # --- what a subclass does -------------------------------------------------------------------------------

    @abc.abstractmethod
    def _reserve(self, nbytes: int) -> tuple[Mover, Mover]:
        """Take so many bytes for all slots, which count them from 0; called once.

        Returns
        -------
        write, read : callable
            Called with a byte offset and arrays of any strides. Where an array is read-only, `read` raises
            BufferError or ValueError before anything is copied.
        """

    @abc.abstractmethod
    def _release(self) -> None:
        """Give the bytes back; may be called again, and without `_reserve`."""

    # --- inside ---------------------------------------------------------------------------------------------

    def _take(self, nbytes: int) -> None:
        """Fix the size of a slot, and reserve all of them."""
        if self._room is None:
            self._nbytes = self._n_slots * nbytes
        self._write, self._read = self._reserve(self._nbytes)
        self._slot_nbytes = nbytes

    def _gap(self, layout: _Layout, slot: int, t: int) -> int:
        """Return where a slot of the shared room is to begin."""
        assert self._room is not None
        offset = self._room.gap(layout.slot_nbytes)
        if offset + layout.slot_nbytes > self._nbytes:
            raise self._error(
                f"the {layout.slot_nbytes} bytes of the slot do not fit in a gap of the {self._nbytes} that "
                "all slots share; give more room=",
                slot,
                t,
            )
        return offset

    def _learn(self, arrays: Sequence[npt.NDArray[Any]], content: Content, slot: int, t: int) -> _Layout:
        """Let the first save of a content decide what it looks like."""
        layout = self._layout_of(arrays, content, slot, t)
        if self._write is None:
            self._take(layout.slot_nbytes)
        elif self._room is None and layout.slot_nbytes > self._slot_nbytes:
            raise ArrayShapeError(
                f"the {_NOUNS[content]} takes {layout.slot_nbytes} bytes, but the slots have "
                f"{self._slot_nbytes}; give {_ARGUMENTS[content]}= when the storage is made",
                self.tier_name,
                slot,
                t,
            )
        self._layouts[content] = layout
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
        return self._error(f"there is no such slot; the storage has {self._n_slots}, counted from 0", slot, t)


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
