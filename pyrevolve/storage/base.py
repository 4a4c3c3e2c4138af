"""The interface between the driver and a place where snapshots are kept."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from ..closing import closed
from ..crevolve import Content

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Storage"]


class Storage(abc.ABC):
    """A tier: numbered slots, each of which is empty or holds the arrays of one state.

    In the schedules that keep step data too, a slot holds either a state or the step data of one timestep.

    The driver needs nothing but what is declared here; what `MemoryStorage` and `DiskStorage` have besides
    (journals, transfers, compression) is used where it is there. An implementation promises that a slot is
    full only once all of its bytes are there, that nothing is dropped, and that whatever goes wrong with a
    slot is a `StorageError` that names tier, slot and timestep.
    """

    #: Whether `nbytes` are on disk and not in memory.
    on_disk: ClassVar[bool] = False

    @property
    def tier_name(self) -> str:
        """What errors and tables call it."""
        return type(self).__name__

    @property
    @abc.abstractmethod
    def n_slots(self) -> int:
        """How many slots there are."""

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """How many bytes all slots take together."""

    @property
    @abc.abstractmethod
    def state_nbytes(self) -> int:
        """How many bytes one state has; 0 as long as no state is known."""

    @abc.abstractmethod
    def save(
        self, slot: int, arrays: Sequence[npt.NDArray[Any]], t: int, content: Content = Content.STATE
    ) -> int:
        """Copy the arrays of x_t, or the step data of timestep t, into an empty slot.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        arrays : sequence of numpy.ndarray
            The live arrays; they are read only.
        t : int
            The timestep, which `load` is to name again.
        content : Content
            What the arrays are, which `load` is to name again.

        Returns
        -------
        int
            Bytes copied.

        Raises
        ------
        StorageError
            The slot is full or does not exist, the storage is closed, or the arrays are not those it was made
            for.
        """

    @abc.abstractmethod
    def load(
        self, slot: int, arrays: Sequence[npt.NDArray[Any]], t: int, content: Content = Content.STATE
    ) -> int:
        """Copy a slot that holds x_t, or the step data of timestep t, back; the slot stays full.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        arrays : sequence of numpy.ndarray
            The live, writable arrays.
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
            The slot is empty, holds something else or does not exist, the storage is closed, or the arrays
            are not those it was made for.
        """

    @abc.abstractmethod
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

    @abc.abstractmethod
    def clear(self) -> None:
        """Make every slot empty and keep the memory, for the next shot."""

    @property
    def ahead(self) -> int:
        """How many loads it is of use to announce at once with `prefetch`; 0: none."""
        return 0

    def prefetch(self, slot: int) -> None:  # noqa: B027 (nothing to do is the right thing for most tiers)
        """Take notice that a full slot will be loaded soon, after those that were announced before.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        """

    def forget(self) -> None:  # noqa: B027
        """Take notice that slots that were announced will not be loaded soon."""

    def flush(self) -> None:  # noqa: B027
        """Wait until everything that was saved is where it is to be kept.

        Raises
        ------
        StorageError
            Something could not be kept.
        """

    @property
    def staging_nbytes(self) -> int:
        """How many bytes of RAM it takes besides its slots, for snapshots on their way."""
        return 0

    @property
    def waited_seconds(self) -> float:
        """How long `save` and `load` have waited for transfers since the last `clear` [s]."""
        return 0.0

    @property
    def hidden_seconds(self) -> float:
        """How much of the transfers since the last `clear` ran beside other work [s]."""
        return 0.0

    @property
    def elastic(self) -> bool:
        """Whether there are as many slots as fit in the bytes that they share, with any numbers.

        Then `save` raises StorageFullError where a snapshot does not fit.
        """
        return False

    @property
    def lossless(self) -> bool:
        """Whether what is loaded is what was saved, bit for bit."""
        return True

    @property
    def bytes_left(self) -> int | None:
        """How many bytes no slot has; None where every slot has bytes of its own."""
        return None

    def stored_nbytes(self, slot: int) -> int:
        """Return how many bytes a full slot takes, unless told otherwise those of a state.

        Parameters
        ----------
        slot : int
            0 <= slot < n_slots.
        """
        return self.state_nbytes

    @abc.abstractmethod
    def close(self) -> None:
        """Give the memory back; may be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed(self.close, error)
