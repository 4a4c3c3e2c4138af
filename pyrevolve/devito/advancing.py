"""Timesteps on the way to a state: run in a few slices of the long rings, which stay in the cache."""

from __future__ import annotations

from collections.abc import Mapping

from ..checkpoint import Operator
from .checkpoint import TimeFunctionCheckpoint
from .operator import DevitoOperator

__all__ = ["Advancing"]

#: Fewer timesteps than this save less than it takes to move a state between the slices.
_LEAST = 8


class Advancing(Operator):
    """A forward operator that records step data in long rings, or nothing in the first slices of them.

    A ring that retains a window for the reverse operator has many slices, and every timestep writes one that
    no cache holds. Timesteps whose step data nobody needs go round the first few slices instead: the same
    equations, compiled for a short ring, with the same arguments.

    Parameters
    ----------
    operator : DevitoOperator
        The operator on the long rings; prepared before each sweep.
    short : DevitoOperator
        The same equations, with the same names, for short rings; never prepared.
    checkpoint : TimeFunctionCheckpoint
        The state in the long rings.
    lengths : mapping of str to int
        The short rings' slices, by field.
    """

    def __init__(
        self,
        operator: DevitoOperator,
        short: DevitoOperator,
        checkpoint: TimeFunctionCheckpoint,
        lengths: Mapping[str, int],
    ) -> None:
        self._operator = operator
        self._short = short
        self._checkpoint = checkpoint
        self._lengths = dict(lengths)

    def apply(self, t_start: int, t_end: int) -> None:
        """Run timesteps in the long rings; raises as `DevitoOperator.apply` does."""
        self._checkpoint.lengthen(t_start)
        self._operator.apply(t_start, t_end)

    def apply_unrecorded(self, t_start: int, t_end: int) -> None:
        """Run timesteps of which the state x_t_end is all that is left; raises as `apply` does."""
        if not self._checkpoint.shortened and t_end - t_start < _LEAST:
            self._operator.apply(t_start, t_end)
            return
        self._short.adopt(self._operator)
        self._checkpoint.shorten(t_start, self._lengths)
        self._short.apply(t_start, t_end)
