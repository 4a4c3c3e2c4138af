"""Snapshots in RAM."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import crevolve
from ..budget import format_bytes
from ..errors import ArrayShapeError, ArrayTypeError, StorageError
from .base import Storage

__all__ = ["MemoryStorage", "slot_nbytes"]

_TIER = "RAM"
_EMPTY = -1
_MaskedArray = np.ma.MaskedArray


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


class MemoryStorage(Storage):
    """Slots in one block of RAM that is allocated, and touched, once.

    Parameters
    ----------
    n_slots : int
        Number of slots, >= 0.
    arrays_like : sequence of numpy.ndarray, optional
        Arrays with the shapes and dtypes of one state; only these are looked at. None: the first `save`
        decides, and allocates.
    threads : int, optional
        Threads for a copy, >= 1. None: ``OMP_NUM_THREADS``, else the cores of this process, at most 8.

    Raises
    ------
    TypeError
        `n_slots` or `threads` is no integer, or an array cannot be stored (ArrayTypeError: not an array,
        masked, or of a dtype with Python objects).
    ValueError
        `n_slots` < 0 or `threads` < 1.
    OverflowError
        The slots would take more than 2**63 - 1 bytes.
    MemoryError
        The system does not give that much memory.

    Notes
    -----
    Each array lies contiguously at a multiple of 64 bytes in its slot, in the order of its live array's
    indices (C order), whatever the strides of that one. Bytes are copied as they are: no dtype is ever
    converted, a NaN keeps its payload. Copies release the GIL.

    One storage belongs to one driver: it is not meant to be used from two threads at once.

    Examples
    --------
    >>> import numpy as np
    >>> field = np.arange(6.0).reshape(2, 3)
    >>> with MemoryStorage(2, [field]) as storage:
    ...     storage.save(0, [field], t=7)
    ...     field[:] = 0.0
    ...     storage.load(0, [field], t=7)
    >>> field[1]
    array([3., 4., 5.])
    """

    __slots__ = (
        "_buffer",
        "_closed",
        "_copier",
        "_load",
        "_n_slots",
        "_save",
        "_slot_nbytes",
        "_spec",
        "_state_nbytes",
        "_timesteps",
    )

    def __init__(
        self,
        n_slots: int,
        arrays_like: Sequence[npt.NDArray[Any]] | None = None,
        *,
        threads: int | None = None,
    ) -> None:
        self._n_slots = operator.index(n_slots)
        if self._n_slots < 0:
            raise ValueError(f"n_slots must be >= 0, got {n_slots}")
        self._copier = crevolve.SnapshotCopier(threads)
        self._save, self._load = self._copier.save, self._copier.load
        #: The timestep that each slot holds, or _EMPTY.
        self._timesteps = [_EMPTY] * self._n_slots
        self._spec: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...] | None = None
        self._buffer: Any = None
        self._slot_nbytes = 0
        self._state_nbytes = 0
        self._closed = False
        if arrays_like is not None:
            self._allocate(arrays_like, None, None)

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
        return self._state_nbytes

    @property
    def threads(self) -> int:
        """Threads that a large copy uses."""
        return self._copier.threads

    @property
    def timesteps(self) -> tuple[int | None, ...]:
        """The timestep that each slot holds; None where it is empty."""
        return tuple(None if t == _EMPTY else t for t in self._timesteps)

    def __repr__(self) -> str:
        full = sum(t != _EMPTY for t in self._timesteps)
        state = "closed" if self._closed else f"{full} full"
        return f"<MemoryStorage: {self._n_slots} slots ({state}), {format_bytes(self.nbytes)}>"

    # --- what it does ---------------------------------------------------------------------------------------

    def save(self, slot: int, arrays: Sequence[npt.NDArray[Any]], t: int) -> None:
        """Copy the arrays of x_t into an empty slot.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        arrays : sequence of numpy.ndarray
            The live arrays, of any strides; they are only read.
        t : int
            The timestep, >= 0.

        Raises
        ------
        StorageError
            The slot is full or does not exist, or the storage is closed.
        ArrayShapeError, ArrayTypeError
            Number, shapes or dtypes are not those of the state. Both are StorageErrors, the first a
            ValueError and the second a TypeError as well.
        """
        timesteps = self._timesteps
        if not 0 <= slot < len(timesteps):
            raise self._no_such_slot(slot, t)
        if timesteps[slot] != _EMPTY:
            raise StorageError(
                f"cannot save timestep {t}: the slot still holds timestep {timesteps[slot]}; free it first",
                _TIER,
                slot,
                t,
            )
        if t < 0:
            raise StorageError("a timestep must be >= 0", _TIER, slot, t)
        if type(arrays) is not list and type(arrays) is not tuple:
            arrays = tuple(arrays)
        if self._spec is None:
            self._allocate(arrays, slot, t)
        else:
            self._check(arrays, slot, t)
        self._save(self._buffer, slot * self._slot_nbytes, arrays)
        timesteps[slot] = t

    def load(self, slot: int, arrays: Sequence[npt.NDArray[Any]], t: int) -> None:
        """Copy a slot that holds x_t back into arrays; the slot stays full.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        arrays : sequence of numpy.ndarray
            The live, writable arrays, of any strides.
        t : int
            The timestep with which the slot was saved.

        Raises
        ------
        StorageError
            The slot is empty, holds another timestep or does not exist, or the storage is closed.
        ArrayShapeError, ArrayTypeError
            Number, shapes or dtypes are not those of the state, or an array is read-only; nothing was copied.
            Both are StorageErrors, the first a ValueError and the second a TypeError as well.
        """
        timesteps = self._timesteps
        if not 0 <= slot < len(timesteps):
            raise self._no_such_slot(slot, t)
        held = timesteps[slot]
        if held != t:
            raise StorageError(
                f"cannot load timestep {t}: the slot is empty"
                if held == _EMPTY
                else f"cannot load timestep {t}: the slot holds timestep {held}",
                _TIER,
                slot,
                t,
            )
        if type(arrays) is not list and type(arrays) is not tuple:
            arrays = tuple(arrays)
        self._check(arrays, slot, t)
        try:
            self._load(self._buffer, slot * self._slot_nbytes, arrays)
        except (BufferError, ValueError):
            if all(array.flags.writeable for array in arrays):
                raise
            raise ArrayTypeError(
                "cannot load into a read-only array; get_data_location() must return writable views of the "
                "workspace",
                _TIER,
                slot,
                t,
            ) from None

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
        timesteps = self._timesteps
        if not 0 <= slot < len(timesteps):
            raise self._no_such_slot(slot, None)
        if timesteps[slot] == _EMPTY:
            raise StorageError("cannot free a slot that is empty", _TIER, slot)
        timesteps[slot] = _EMPTY

    def clear(self) -> None:
        """Make every slot empty and keep the memory, for the next shot."""
        self._timesteps = [_EMPTY] * len(self._timesteps)

    def close(self) -> None:
        """Give the memory back; may be called again. Saving and loading are errors from now on."""
        self._closed = True
        self._timesteps = []
        self._buffer = None

    # --- inside ---------------------------------------------------------------------------------------------

    def _allocate(self, arrays: Sequence[npt.NDArray[Any]], slot: int | None, t: int | None) -> None:
        """Fix what a state is, and take the memory for all slots."""
        state: tuple[Any, ...] = tuple(arrays)
        for index, array in enumerate(state):
            if not isinstance(array, np.ndarray) or isinstance(array, _MaskedArray):
                what = f"array {index} of the state must be a plain numpy array, got {type(array).__name__}"
                raise ArrayTypeError(what, _TIER, slot, t)
        try:
            nbytes = slot_nbytes(state)
        except (TypeError, ValueError, BufferError) as error:  # Python objects, or a dtype without buffers
            dtypes = ", ".join(str(array.dtype) for array in state)
            what = f"arrays of dtype {dtypes} cannot be stored: {error}"
            raise ArrayTypeError(what, _TIER, slot, t) from error
        buffer = crevolve.Arena(self._n_slots * nbytes)
        self._copier.prefault(buffer)
        self._buffer = buffer
        self._slot_nbytes = nbytes
        self._state_nbytes = sum(array.nbytes for array in state)
        self._spec = tuple((array.shape, array.dtype) for array in state)

    def _check(self, arrays: Sequence[npt.NDArray[Any]], slot: int, t: int) -> None:
        """Raise unless number, shapes and dtypes are those of the state."""
        spec = self._spec
        assert spec is not None
        if len(arrays) != len(spec):
            raise ArrayShapeError(f"a state has {len(spec)} arrays, got {len(arrays)}", _TIER, slot, t)
        for array, (shape, dtype) in zip(arrays, spec):  # noqa: B905 (equally long; strict= costs time)
            try:
                same = array.shape == shape and (array.dtype is dtype or array.dtype == dtype)
                if same and not isinstance(array, _MaskedArray):
                    continue
            except AttributeError:
                raise ArrayTypeError(
                    f"a state is a sequence of numpy arrays, got {type(array).__name__}", _TIER, slot, t
                ) from None
            index = next(i for i, other in enumerate(arrays) if other is array)
            if isinstance(array, _MaskedArray):
                raise ArrayTypeError(f"array {index} of the state is masked", _TIER, slot, t)
            if array.shape != shape:
                raise ArrayShapeError(
                    f"array {index} of the state has shape {shape}, got {array.shape}", _TIER, slot, t
                )
            raise ArrayTypeError(
                f"array {index} of the state has dtype {dtype}, got {array.dtype}; nothing is converted",
                _TIER,
                slot,
                t,
            )

    def _no_such_slot(self, slot: int, t: int | None) -> StorageError:
        """Return the error about a slot number out of range."""
        if self._closed:
            return StorageError("the storage is closed", _TIER, slot, t)
        return StorageError(
            f"there is no such slot; the storage has {self._n_slots}, counted from 0", _TIER, slot, t
        )
