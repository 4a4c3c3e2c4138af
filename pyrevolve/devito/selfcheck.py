"""Rings poisoned with NaN: whatever the model says is not there must not be missed.

Two kinds of poison. When a state is loaded, x_0 is set, or timesteps were not recorded, every other slice of
every ring becomes NaN, for good: forward steps and adjoint steps must do without it. Before a reverse call,
every slice but those that the timesteps of this call are said to read becomes NaN, and is put back
afterwards.

Only points that the forward operator writes are poisoned. Others, such as the halo, hold what the user put
there, in all slices alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Checkpoint, Operator
from ..errors import ScheduleError
from .checkpoint import TimeFunctionCheckpoint
from .measure import preserved
from .operator import DevitoOperator
from .retention import FieldState

__all__ = ["Poison"]


class Poison:
    """A checkpoint and two operators that poison what the model says is not retained.

    Parameters
    ----------
    checkpoint : TimeFunctionCheckpoint
        The real one.
    forward, reverse : pyrevolve.Operator
        The real ones.
    shift : int
        First iteration of the reverse operator minus that of the forward operator.

    Attributes
    ----------
    checkpoint, forward, reverse
        What to hand to a `pyrevolve.Revolver` instead.
    """

    def __init__(
        self, checkpoint: TimeFunctionCheckpoint, forward: Operator, reverse: Operator, shift: int
    ) -> None:
        self._real = checkpoint
        self._shift = shift
        self._masks: dict[str, npt.NDArray[np.bool_]] = {}
        self._position = 0
        self._anchor = 0
        self.checkpoint: Checkpoint = _Checkpoint(self, checkpoint)
        self.forward: Operator = _Forward(self, forward)
        self.reverse: Operator = _Reverse(self, reverse)

    def learn(self, operator: DevitoOperator) -> None:
        """Find out which points the forward operator writes; x_0 is in the fields and stays there.

        Parameters
        ----------
        operator : DevitoOperator
            The forward operator, prepared.
        """
        rings = [
            (array, array.copy()) for field in self._real.fields for array in self._real.ring(field.name)
        ]
        held = {id(array) for array in self._real.get_data(0)}
        with preserved([operator], self._real):
            for field in self._inexact():
                for array in self._real.ring(field.name):
                    if id(array) not in held:
                        array.fill(np.nan)
            operator.apply(t_start=0, t_end=1)
            for field in self._inexact():
                ring = self._real.ring(field.name)
                self._masks[field.name] = np.isfinite(ring[(self._real.offset + field.head + 1) % len(ring)])
        for array, copy in rings:
            array[...] = copy

    def started(self, t: int) -> None:
        """Note that x_t was put into the workspace, and poison everything else."""
        self._position = self._anchor = t
        held = {id(array) for array in self._real.get_data(t)}
        for field in self._inexact():
            for array in self._real.ring(field.name):
                if id(array) not in held and field.name in self._masks:
                    array[self._masks[field.name]] = np.nan

    def advanced(self, start: int, stop: int) -> None:
        """Note that the timesteps [start, stop) were run."""
        if start != self._position:
            raise ScheduleError(f"timestep {start} is run from the state x_{self._position}")
        self._position = stop

    def before_reverse(self, start: int, stop: int) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Poison what the timesteps [start, stop) are said not to read; return what to put back."""
        real = self._real
        lag = 1 if real.lag is None else real.lag
        low = max(self._anchor - real.lookback - lag, self._position - real.window - lag)
        if start <= low or stop - 1 > self._position - lag:
            raise ScheduleError(
                f"timesteps {start} ... {stop - 1} are reversed, but {low + 1} ... {self._position - lag} "
                "are retained"
            )
        kept = []
        for field in self._inexact():
            ring = real.ring(field.name)
            needed = set()
            if field.reads is not None:
                first = start + real.offset + self._shift + field.reads[0]
                last = stop - 1 + real.offset + self._shift + field.reads[1]
                needed = {index % len(ring) for index in range(first, last + 1)}
            mask = self._masks[field.name]
            for index, array in enumerate(ring):
                if index not in needed:
                    kept.append((array, array.copy()))
                    array[mask] = np.nan
        return kept

    def _inexact(self) -> Sequence[FieldState]:
        """Return the fields that can hold a NaN."""
        return [field for field in self._real.fields if np.issubdtype(field.function.dtype, np.inexact)]


class _Checkpoint(Checkpoint):
    """The checkpoint that tells the poison where the workspace stands."""

    def __init__(self, poison: Poison, real: TimeFunctionCheckpoint) -> None:
        self._poison = poison
        self._real = real
        self.window, self.lookback, self.lag = real.window, real.lookback, real.lag
        self.window_bytes = real.window_bytes

    @property
    def dtype(self) -> Any:
        return self._real.dtype

    @property
    def size(self) -> int:
        return self._real.size

    def get_data(self, t: int) -> Sequence[npt.NDArray[Any]]:
        return self._real.get_data(t)

    def get_data_location(self, t: int) -> Sequence[npt.NDArray[Any]]:
        arrays = self._real.get_data_location(t)
        # Only the slices that are not about to be loaded are poisoned.
        self._poison.started(t)
        return arrays

    def set_initial(self) -> None:
        self._real.set_initial()
        self._poison.started(0)


class _Forward(Operator):
    """The forward operator, watched."""

    def __init__(self, poison: Poison, real: Operator) -> None:
        self._poison = poison
        self._real = real

    def apply(self, t_start: int, t_end: int) -> None:
        self._poison.advanced(t_start, t_end)
        self._real.apply(t_start=t_start, t_end=t_end)

    @property
    def apply_unrecorded(self) -> Callable[..., object] | None:  # type: ignore[override]
        return None if self._real.apply_unrecorded is None else self._apply_unrecorded

    def _apply_unrecorded(self, t_start: int, t_end: int) -> None:
        assert self._real.apply_unrecorded is not None
        self._poison.advanced(t_start, t_end)
        self._real.apply_unrecorded(t_start=t_start, t_end=t_end)
        self._poison.started(t_end)


class _Reverse(Operator):
    """The reverse operator, in a poisoned workspace."""

    def __init__(self, poison: Poison, real: Operator) -> None:
        self._poison = poison
        self._real = real

    def apply(self, t_start: int, t_end: int) -> None:
        kept = self._poison.before_reverse(t_start, t_end)
        try:
            self._real.apply(t_start=t_start, t_end=t_end)
        finally:
            for array, copy in kept:
                array[...] = copy
