"""The state of a Devito forward run: slices of its fields' rings, copied as they lie in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Checkpoint
from .retention import FieldState, Retention, classic

__all__ = ["TimeFunctionCheckpoint"]

#: Up to this many different sets of slices are kept ready; beyond, they are looked up one by one.
_TABLE = 8192


class TimeFunctionCheckpoint(Checkpoint):
    """The slices of any number of `TimeFunction` rings that make a state.

    Parameters
    ----------
    fields : Retention, or sequence of devito.TimeFunction
        What is checkpointed. A `Retention` (see `pyrevolve.devito.retention`) also tells window, lookback and
        lag. From bare fields, ``time_order`` slices each are taken, with window 1, lookback 0 and lag 1:
        classic checkpointing, right for every reverse operator that reads what a ring of ``time_order + 1``
        slices holds.
    offset : int
        The forward operator's first iteration in time (``time_m``), >= 0: timestep 0 of the schedule.
    initial : callable, optional
        Called without arguments to put x_0 into the fields, for ``initial_state="free"``. None: the state's
        slices are filled with zeros.

    Raises
    ------
    TypeError
        A field is no TimeFunction.
    ValueError
        No field, a field whose slices are not contiguous, or a field that is saved at every timestep.

    Notes
    -----
    The arrays are views of the fields' own data, halo and padding included, so that every one is contiguous
    and nothing is copied in between. Data of another process is not touched: with MPI, each rank keeps its
    part.

    Several dtypes and time orders may be mixed. Fields with rings of different length may be, too.
    """

    def __init__(
        self,
        fields: Retention | Sequence[Any],
        *,
        offset: int = 1,
        initial: Callable[[], object] | None = None,
    ) -> None:
        given = fields if isinstance(fields, Retention) else classic(_time_functions(fields))
        self.window, self.lookback, self.lag = given.window, given.lookback, given.lag
        self._fields = given.fields
        self._initial = initial
        self._slices = [_ring(field) for field in self._fields]
        self.window_bytes = sum(field.ring * field.slice_bytes for field in self._fields)
        used = [
            (field.name, slices, field.head, field.slices)
            for field, slices in zip(self._fields, self._slices, strict=True)
            if field.slices
        ]
        self._used = used
        self._period = math.lcm(*(len(slices) for _, slices, _, _ in used)) if used else 1
        #: The slices of the short rings that hold the state, by field; None: the rings themselves do.
        self._short: Mapping[str, int] | None = None
        self._table: list[tuple[npt.NDArray[Any], ...]] | None = None
        if self._period <= _TABLE:
            self._table = [self._state(index) for index in range(self._period)]
        self._dtypes = {np.dtype(field.function.dtype) for field in self._fields}
        self.offset = offset

    @property
    def fields(self) -> tuple[FieldState, ...]:
        """The fields, with what of each makes a state."""
        return self._fields

    @property
    def offset(self) -> int:
        """The forward operator's first iteration in time; set it before each sweep that starts elsewhere."""
        return self._offset

    @offset.setter
    def offset(self, offset: int) -> None:
        if offset < 0:
            raise ValueError(f"offset must be >= 0, got {offset}")
        self._offset = offset

    @property
    def dtype(self) -> np.dtype[Any]:
        """The fields' dtype; bytes where they have several."""
        return next(iter(self._dtypes)) if len(self._dtypes) == 1 else np.dtype(np.uint8)

    @property
    def size(self) -> int:
        """Elements of one state, of the dtype above."""
        return self.state_bytes // self.dtype.itemsize

    @property
    def state_bytes(self) -> int:
        """Bytes of one state."""
        return sum(field.slices * field.slice_bytes for field in self._fields)

    def get_data(self, t: int) -> tuple[npt.NDArray[Any], ...]:
        """Return the slices that hold x_t, newest first for each field.

        Parameters
        ----------
        t : int
            Timestep, >= 0.

        Returns
        -------
        tuple of numpy.ndarray
            Contiguous views, halo and padding included.
        """
        index = t + self._offset
        if self._short is not None:
            return self._state(index)
        return self._table[index % self._period] if self._table is not None else self._state(index)

    def get_data_location(self, t: int) -> tuple[npt.NDArray[Any], ...]:
        """Return the slices of the whole rings that are to hold x_t; what the workspace holds is given up.

        Parameters
        ----------
        t : int
            Timestep, >= 0.

        Returns
        -------
        tuple of numpy.ndarray
            As of `get_data`.
        """
        self._short = None
        return self.get_data(t)

    def set_initial(self) -> None:
        """Put x_0 into the fields: zeros, unless something else was asked for."""
        self._short = None
        if self._initial is not None:
            self._initial()
            return
        for array in self.get_data(0):
            array.fill(0)

    def ring(self, name: str) -> tuple[npt.NDArray[Any], ...]:
        """Return all slices of a field.

        Parameters
        ----------
        name : str
            The field's name.

        Returns
        -------
        tuple of numpy.ndarray
            As many contiguous views as the ring has slices.

        Raises
        ------
        KeyError
            There is no such field.
        """
        for field, slices in zip(self._fields, self._slices, strict=True):
            if field.name == name:
                return slices
        raise KeyError(name)

    def give_up(self) -> None:
        """Take the rings for whole ones, with x_t where it belongs, whatever was in the workspace before."""
        self._short = None

    @property
    def shortened(self) -> bool:
        """Whether the state lies in short rings within the rings."""
        return self._short is not None

    def shorten(self, t: int, lengths: Mapping[str, int]) -> None:
        """Put x_t, which is in the workspace, into short rings; whatever else the rings hold is given up.

        Parameters
        ----------
        t : int
            Timestep.
        lengths : mapping of str to int
            The short rings' slices by field, the first ones of the ring: one more at least than a state has,
            and so few that the ring holds the state three times. Fields that are not named stay as they are.
        """
        if self._short is None:
            for slices, long, short in self._places(t, lengths):
                self._move(slices, long, short)
            self._short = lengths

    def lengthen(self, t: int) -> None:
        """Put x_t, which is in the workspace, back to where the rings hold it, if it is in short ones."""
        if self._short is not None:
            for slices, long, short in self._places(t, self._short):
                self._move(slices, short, long)
            self._short = None

    def _places(
        self, t: int, lengths: Mapping[str, int]
    ) -> Iterator[tuple[tuple[npt.NDArray[Any], ...], list[int], list[int]]]:
        """Yield the rings that have short ones, and which slices of the two hold x_t."""
        for name, slices, head, count in self._used:
            if name in lengths:
                times = [t + self._offset + head - age for age in range(count)]
                yield (
                    slices,
                    [time % len(slices) for time in times],
                    [time % lengths[name] for time in times],
                )

    def _move(self, slices: tuple[npt.NDArray[Any], ...], sources: list[int], targets: list[int]) -> None:
        """Copy slices of a ring to others, where the two differ."""
        if sources == targets:
            return
        if set(sources) & set(targets):  # by way of slices that are in nobody's way
            aside = [index for index in range(len(slices)) if index not in {*sources, *targets}]
            aside = aside[: len(sources)]
            self._move(slices, sources, aside)
            sources = aside
        for source, target in zip(sources, targets, strict=True):
            slices[target][...] = slices[source]

    def _state(self, index: int) -> tuple[npt.NDArray[Any], ...]:
        """Return the slices of the state whose newest slice has this time index (without `head`)."""
        state = []
        for name, slices, head, count in self._used:
            length = (self._short or {}).get(name, len(slices))
            state += [slices[(index + head - age) % length] for age in range(count)]
        return tuple(state)

    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}: {field.slices} of {field.ring}" for field in self._fields)
        return (
            f"<TimeFunctionCheckpoint: {fields}; window {self.window}, lookback {self.lookback}, lag "
            f"{self.lag}>"
        )


def _time_functions(fields: Sequence[Any]) -> list[Any]:
    """Return the fields as a list, each of them checked."""
    functions = list(fields)
    if not functions:
        raise ValueError("at least one field is needed")
    for function in functions:
        if not getattr(function, "is_TimeFunction", False):
            raise TypeError(f"a field must be a devito.TimeFunction, got {type(function).__name__}")
        if not function._time_buffering:
            raise ValueError(
                f"{function.name} is saved at every timestep (save={function.save}); it needs no checkpoint"
            )
    return functions


def _ring(field: FieldState) -> tuple[npt.NDArray[Any], ...]:
    """Return the slices of a field as contiguous views."""
    data = np.asarray(field.function._data_allocated)
    slices = tuple(data[index] for index in range(data.shape[0]))
    if not all(array.flags.c_contiguous for array in slices):
        raise ValueError(
            f"the time slices of {field.name} are not contiguous in memory; its time index must come first "
            "and its data must be in C order"
        )
    return slices
