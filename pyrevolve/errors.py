"""The errors that pyrevolve raises beside the built-in ones.

Bad arguments raise ``ValueError``, ``TypeError`` or ``OverflowError``. The classes here are for what no
built-in class names: calls out of order, a slot that cannot do what it is asked, a budget that is too small.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ArrayShapeError",
    "ArrayTypeError",
    "BudgetError",
    "JournalError",
    "PeerError",
    "ScheduleError",
    "StorageError",
    "StorageFullError",
]


class ScheduleError(RuntimeError):
    """A call out of order, or a schedule that asks for what the driver cannot do."""


class StorageError(RuntimeError):
    """A slot cannot be saved, loaded or freed as asked.

    Parameters
    ----------
    message : str
        What was given, what is allowed, what to do.
    tier : str
        Name of the tier, such as ``"RAM"``.
    slot : int or None
        Slot number within the tier; None where the error is about the whole tier.
    timestep : int or None
        Timestep t of the state x_t; None where no timestep is involved.

    Attributes
    ----------
    tier, slot, timestep
        As given; the message ends with them.
    """

    def __init__(
        self, message: str, tier: str = "RAM", slot: int | None = None, timestep: int | None = None
    ) -> None:
        self.message = message
        self.tier = tier
        self.slot = slot
        self.timestep = timestep
        where = [f"tier {tier}"]
        if slot is not None:
            where.append(f"slot {slot}")
        if timestep is not None:
            where.append(f"timestep {timestep}")
        super().__init__(f"{message} ({', '.join(where)})")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.tier, self.slot, self.timestep)


class ArrayShapeError(StorageError, ValueError):
    """The arrays handed to a slot differ in number or shape from those that the slots are made for."""


class ArrayTypeError(StorageError, TypeError):
    """An array handed to a slot has another dtype than the slot is made for, or cannot be stored at all."""


class StorageFullError(StorageError):
    """A snapshot does not fit in the bytes that are left; nothing was changed."""


class JournalError(RuntimeError):
    """A journal cannot be continued from: it is damaged, in use, or belongs to another run."""


class PeerError(RuntimeError):
    """Another process of the same run failed, and this one cannot go on without it.

    Parameters
    ----------
    message : str
        What failed there.
    rank : int
        The process that failed.
    """

    def __init__(self, message: str, rank: int) -> None:
        self.message = message
        self.rank = rank
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.rank)


class BudgetError(ValueError):
    """A memory budget is too small for any schedule.

    Parameters
    ----------
    message : str
        What was given and what the smallest budget that works is.
    required : int
        The smallest budget that works [bytes].
    given : int
        The budget that was given [bytes].
    """

    def __init__(self, message: str, required: int, given: int) -> None:
        self.message = message
        self.required = required
        self.given = given
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.required, self.given)
