"""Timesteps on the way to a state: run in a few slices of the long rings, which stay in the cache."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

from ..checkpoint import Operator
from .checkpoint import TimeFunctionCheckpoint
from .operator import DevitoOperator

__all__ = ["Advancing"]

#: Fewer timesteps than this save less than it takes to move a state between the slices.
_LEAST = 8


class Advancing(Operator):
    """A forward operator that keeps step data in a long ring, or none in a short one that lies within it.

    A ring that retains a window for the reverse operator has many slices, and every timestep writes one that
    no cache holds. Timesteps whose step data nobody needs go round a few slices instead: the same equations,
    compiled for a shorter ring, on the same memory.

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
        #: The arguments that the short operator has now; where a ring begins, and its operator's view of it.
        self._adopted: Any = None
        self._rings: dict[str, tuple[int, Any]] = {}

    def apply(self, t_start: int, t_end: int) -> None:
        """Run timesteps in the long rings; raises as `DevitoOperator.apply` does."""
        self._checkpoint.lengthen(t_start)
        self._operator.apply(t_start, t_end)

    def advance(self, t_start: int, t_end: int) -> None:
        """Run timesteps of which the state x_t_end is all that is left; raises as `DevitoOperator.apply`."""
        checkpoint = self._checkpoint
        if not checkpoint.shortened and t_end - t_start < _LEAST:
            self._operator.apply(t_start, t_end)
            return
        self._adopt()
        for name, first in checkpoint.shorten(t_start, self._lengths).items():
            address, view = self._rings[name]
            view.data.value = address + first * checkpoint.ring(name)[0].nbytes
        self._short.apply(t_start, t_end)

    def _adopt(self) -> None:
        """Let the short operator have the arguments with which the other one is prepared."""
        given = self._operator.prepared
        if given is self._adopted:
            return
        self._rings = {}
        for name in self._lengths:
            ring = given[name]._obj
            self._rings[name] = ring.data.value, type(ring).from_buffer_copy(ring)
        views = {name: ctypes.byref(view) for name, (_, view) in self._rings.items()}
        self._short.adopt(self._operator, views)
        self._adopted = given
