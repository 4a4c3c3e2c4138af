"""What tiers with slots of one size share: which slot holds what, and the checks."""

from __future__ import annotations

import abc
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import crevolve
from ..budget import format_bytes
from ..crevolve import Content
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


class _Layout(NamedTuple):
    """The arrays of one content: shapes and dtypes, their bytes, and those of a slot that holds them."""

    arrays: _Arrays
    nbytes: int
    slot_nbytes: int


class SlotStorage(Storage):
    """A tier with numbered slots of one size, each of which holds a state or one timestep's step data.

    It knows what every slot holds and checks every call; a subclass takes the room and moves the bytes, see
    `_reserve`. An OSError from there becomes a StorageError that names the slot.

    Parameters
    ----------
    n_slots : int
        Number of slots, >= 0.
    arrays_like, step_data_like : sequence of numpy.ndarray, optional
        Arrays with the shapes and dtypes of one state, and of the step data of one timestep; only these are
        looked at. A slot has the bytes of the larger of the two. None: the first `save` of that kind decides
        what it looks like, within the size of the slots; where both are None, it decides that as well.
    """

    #: What errors call the tier.
    tier_name: ClassVar[str]
    #: Slots begin at multiples of so many bytes, a multiple of 64.
    _alignment: ClassVar[int] = 64

    def __init__(
        self,
        n_slots: int,
        arrays_like: Sequence[npt.NDArray[Any]] | None,
        step_data_like: Sequence[npt.NDArray[Any]] | None,
    ) -> None:
        self._n_slots = operator.index(n_slots)
        if self._n_slots < 0:
            raise ValueError(f"n_slots must be >= 0, got {n_slots}")
        #: What each slot holds: timestep and content; None where it is empty.
        self._held: list[tuple[int, Content] | None] = [None] * self._n_slots
        self._layouts: list[_Layout | None] = [None, None]  # by content
        self._slot_nbytes = 0
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

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def n_slots(self) -> int:
        """How many slots there are."""
        return self._n_slots

    @property
    def nbytes(self) -> int:
        """How many bytes all slots take together; 0 before the arrays are known and after `close`."""
        return 0 if self._closed else self._n_slots * self._slot_nbytes

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
            arrays = tuple(arrays)
        layout = self._layouts[content]
        if layout is None:
            layout = self._learn(arrays, content, slot, t)
        elif not _fit(arrays, layout.arrays):
            raise self._misfit(arrays, layout.arrays, content, slot, t)
        assert self._write is not None
        try:
            self._write(slot * self._slot_nbytes, arrays)
        except OSError as error:
            raise self._error(f"cannot save {_name(t, content)}: {error}", slot, t) from error
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
            arrays = tuple(arrays)
        layout = self._layouts[content]
        assert layout is not None
        assert self._read is not None
        if not _fit(arrays, layout.arrays):
            raise self._misfit(arrays, layout.arrays, content, slot, t)
        try:
            self._read(slot * self._slot_nbytes, arrays)
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

    def clear(self) -> None:
        """Make every slot empty and keep the room, for the next shot."""
        self._held = [None] * len(self._held)

    def close(self) -> None:
        """Give the room back; may be called again. Saving and loading are errors from now on."""
        self._closed = True
        self._held = []
        self._write = self._read = None
        self._release()

    # --- what a subclass does -------------------------------------------------------------------------------

    @abc.abstractmethod
    def _reserve(self, nbytes: int) -> tuple[Mover, Mover]:
        """Take the room for all slots, which use it from byte 0 on; called once.

        Returns
        -------
        write, read : callable
            Called with a byte offset and arrays of any strides. Where an array is read-only, `read` raises
            BufferError or ValueError before anything is copied.
        """

    @abc.abstractmethod
    def _release(self) -> None:
        """Give the room back; may be called again, and without `_reserve`."""

    # --- inside ---------------------------------------------------------------------------------------------

    def _take(self, nbytes: int) -> None:
        """Fix the size of a slot, and reserve all of them."""
        nbytes = -(-nbytes // self._alignment) * self._alignment
        self._write, self._read = self._reserve(self._n_slots * nbytes)
        self._slot_nbytes = nbytes

    def _learn(self, arrays: Sequence[npt.NDArray[Any]], content: Content, slot: int, t: int) -> _Layout:
        """Let the first save of a content decide what it looks like."""
        layout = self._layout_of(arrays, content, slot, t)
        if self._write is None:
            self._take(layout.slot_nbytes)
        elif layout.slot_nbytes > self._slot_nbytes:
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
        state: tuple[Any, ...] = tuple(arrays)
        for index, array in enumerate(state):
            if not isinstance(array, np.ndarray) or isinstance(array, _MaskedArray):
                what = (
                    f"array {index} of the {_NOUNS[content]} must be a plain numpy array, "
                    f"got {type(array).__name__}"
                )
                raise ArrayTypeError(what, self.tier_name, slot, t)
        try:
            packed = slot_nbytes(state)
        except (TypeError, ValueError, BufferError) as error:  # Python objects, or a dtype without buffers
            dtypes = ", ".join(str(array.dtype) for array in state)
            what = f"arrays of dtype {dtypes} cannot be stored: {error}"
            raise ArrayTypeError(what, self.tier_name, slot, t) from error
        nbytes = sum(array.nbytes for array in state)
        return _Layout(tuple((array.shape, array.dtype) for array in state), nbytes, packed)

    def _misfit(
        self, arrays: Sequence[Any], expected: _Arrays, content: Content, slot: int, t: int
    ) -> StorageError:
        """Return the error about arrays that do not fit."""
        where = self.tier_name, slot, t
        noun = _NOUNS[content]
        if len(arrays) != len(expected):
            return ArrayShapeError(f"the {noun} has {len(expected)} arrays, got {len(arrays)}", *where)
        index = next(i for i, array in enumerate(arrays) if not _fit([array], [expected[i]]))
        array, (shape, dtype) = arrays[index], expected[index]
        which = f"array {index} of the {noun}"
        if not isinstance(array, np.ndarray):
            return ArrayTypeError(f"{which} must be a numpy array, got {type(array).__name__}", *where)
        if isinstance(array, _MaskedArray):
            return ArrayTypeError(f"{which} is masked", *where)
        if array.shape != shape:
            return ArrayShapeError(f"{which} has shape {shape}, got {array.shape}", *where)
        return ArrayTypeError(f"{which} has dtype {dtype}, got {array.dtype}; nothing is converted", *where)

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


def _name(t: int, content: Content) -> str:
    return f"the step data of timestep {t}" if content else f"timestep {t}"
