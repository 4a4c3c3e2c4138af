"""Where a run stands when a schedule takes it over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from ..arguments import index

__all__ = ["Layout", "check_layout", "elements"]


def elements(stored: object) -> tuple[Any, ...]:
    """Return the elements of stored states, or of one of them; where there are none, TypeError names it."""
    try:
        return tuple(stored)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"stored must be (t, slot) pairs or (t, tier, slot) triples, got {stored!r}"
        ) from None


@dataclasses.dataclass(frozen=True)
class Layout:
    """Stored states, and what the workspace holds.

    Parameters
    ----------
    stored : iterable of tuple
        ``(t, slot)`` or ``(t, tier, slot)`` of every stored state x_t; kept as sorted ``(t, tier, slot)``.
    position : int
        The workspace holds x_position, 0 <= position <= n_timesteps.
    loaded_at : int, default 0
        Index of the state with which the workspace was last loaded or started, <= position: the step data
        that it retains goes no further back than from there.
    remaining : int, optional
        Timesteps that are still to be reversed, those before `remaining`, where the reversal has begun. None:
        the first sweep is still going on, or has just reached x_n.

    Raises
    ------
    TypeError
        A number is no integer, or `stored` no iterable of tuples.
    ValueError
        A stored state is not told as a pair or a triple. What is impossible for the run is found by the
        schedule.
    """

    stored: tuple[tuple[int, ...], ...]
    position: int
    loaded_at: int = 0
    remaining: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored", tuple(sorted(_states(self.stored))))
        object.__setattr__(self, "position", index("position", self.position))
        object.__setattr__(self, "loaded_at", index("loaded_at", self.loaded_at))
        if self.remaining is not None:
            object.__setattr__(self, "remaining", index("remaining", self.remaining))


def _states(stored: Iterable[tuple[int, ...]]) -> Iterable[tuple[int, int, int]]:
    for state in elements(stored):
        numbers = tuple(index("stored", number) for number in elements(state))
        if len(numbers) == 2:
            yield numbers[0], 0, numbers[1]
        elif len(numbers) == 3:
            yield numbers[0], numbers[1], numbers[2]
        else:
            raise ValueError(f"stored states are told as (t, slot) or (t, tier, slot), got {state!r}")


def check_layout(layout: object) -> None:
    """Raise TypeError where what is given as a layout is neither a `Layout` nor None."""
    if layout is not None and not isinstance(layout, Layout):
        raise TypeError(f"layout must be pyrevolve.Layout or None, got {type(layout).__name__}")
