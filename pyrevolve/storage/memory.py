"""Snapshots in RAM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy.typing as npt

from .. import crevolve
from .slots import SlotStorage, slot_nbytes

__all__ = ["MemoryStorage", "slot_nbytes"]


class MemoryStorage(SlotStorage):
    """Slots in one block of RAM that is allocated, and touched, once.

    Parameters
    ----------
    n_slots : int
        Number of slots, >= 0.
    arrays_like : sequence of numpy.ndarray, optional
        Arrays with the shapes and dtypes of one state; only these are looked at. None: the first `save`
        decides, and allocates.
    step_data_like : sequence of numpy.ndarray, optional
        The same for the step data of one timestep, where the schedule keeps such data. Every slot can hold
        either kind: it has the bytes of the larger one. None: the first `save` of step data decides, within
        the size of the slots.
    room : int, optional
        Bytes that all slots share, >= 0, each taking what it needs when it is saved; `room_for` tells how
        many a schedule needs. None: every slot has bytes of its own.
    threads : int, optional
        Threads for a copy, >= 1. None: ``OMP_NUM_THREADS``, else the cores of this process, at most 8.

    Raises
    ------
    TypeError
        `n_slots` or `threads` is no integer, or an array cannot be stored (ArrayTypeError: not an array,
        masked, or of a dtype with Python objects).
    ValueError
        `n_slots` or `room` < 0, or `threads` < 1.
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
    ...     copied = storage.save(0, [field], t=7)
    ...     field[:] = 0.0
    ...     copied = storage.load(0, [field], t=7)
    >>> field[1]
    array([3., 4., 5.])
    """

    tier_name = "RAM"

    def __init__(
        self,
        n_slots: int,
        arrays_like: Sequence[npt.NDArray[Any]] | None = None,
        *,
        step_data_like: Sequence[npt.NDArray[Any]] | None = None,
        room: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._copier = crevolve.SnapshotCopier(threads)
        self._buffer: Any = None
        super().__init__(n_slots, arrays_like, step_data_like, room)

    @property
    def threads(self) -> int:
        """Threads that a large copy uses."""
        return self._copier.threads

    def _reserve(self, nbytes: int) -> tuple[partial[None], partial[None]]:
        buffer = crevolve.Arena(nbytes)
        self._copier.prefault(buffer)
        self._buffer = buffer
        return partial(self._copier.save, buffer), partial(self._copier.load, buffer)

    def _release(self) -> None:
        self._buffer = None
