"""From what two operators read and write to what a ring retains: window, lookback and lag.

Forward field f: its newest slice at state x_t has the time index t + o_f + head, where o_f is the forward
operator's first iteration (``time_m``) and ``head + 1`` the highest offset that the forward operator
writes, so that head = 0 for the usual ``Eq(u.forward, ...)``. A state holds the s_f newest slices, a ring
the W_f newest. The reverse operator, at its iteration t + o_r, reads the offsets lo ... hi. Measured from
the newest slice, with ``shift = o_r - o_f``:

    lo_f = lo + shift - head,    hi_f = hi + shift - head.

A slice that the forward operator still changes after it was written (offsets ``settled`` < 1, from the
newest) is final only 1 - settled timesteps later, which is as if it were read that much later. So

    H = max over f of hi_f + 1 - settled_f    (at least 0)
    lag = H,    window K = min_f(W_f + lo_f) - H,    lookback d = min_f(s_f + lo_f) - H.

With settled = 1 and head = 0 this is K = min_f(W_f + lo_f), d = min_f(s_f + lo_f), of docs/architecture.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .access import Access
from .errors import UnsupportedOperatorError

__all__ = ["FieldState", "Retention", "retention"]


@dataclasses.dataclass(frozen=True)
class FieldState:
    """One forward field: what of it makes a state, and what the reverse operator reads of it.

    Attributes
    ----------
    function : devito.TimeFunction
        The field; its first index is the ring's.
    head : int
        Highest offset that the forward operator writes, minus 1.
    settled : int
        Lowest offset that it writes, minus `head`, <= 1; 1 where a slice is written by one timestep only.
    slices : int
        Slices s_f in a state, >= 0.
    reads : (int, int) or None
        Lowest and highest offset that the reverse operator reads; None where it does not read the field.
    """

    function: Any
    head: int = 0
    settled: int = 1
    slices: int = 1
    reads: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The field's name."""
        return str(self.function.name)

    @property
    def ring(self) -> int:
        """Slices W_f that the field holds."""
        return int(self.function.shape_allocated[0])

    @property
    def slice_bytes(self) -> int:
        """Bytes of one slice, halo and padding included."""
        allocated = self.function.shape_allocated
        count = 1
        for extent in allocated[1:]:
            count *= int(extent)
        return count * int(self.function.dtype().itemsize)


@dataclasses.dataclass(frozen=True)
class Retention:
    """What the fields retain of a forward run; the words are those of `pyrevolve.Checkpoint`.

    Attributes
    ----------
    window : int
        Timesteps whose step data the rings retain at once, K >= 1.
    lookback : int
        Timesteps whose step data a loaded state carries by itself, d >= 0.
    lag : {0, 1}
        1 where a timestep's data exists only after it was run.
    fields : tuple of FieldState
        The fields, with as many slices in a state as the reverse operator needs.
    """

    window: int
    lookback: int
    lag: int
    fields: tuple[FieldState, ...]


def field_state(function: Any, forward: Access, reads: tuple[int, int] | None) -> FieldState:
    """Derive from the forward operator's access what of a field makes a state.

    Parameters
    ----------
    function : devito.TimeFunction
        A field that the forward operator writes.
    forward : Access
        What the forward operator does to it.
    reads : (int, int) or None
        Offsets that the reverse operator reads.

    Returns
    -------
    FieldState
        With the slices that the forward operator itself needs.

    Raises
    ------
    UnsupportedOperatorError
        The forward operator reads a slice that no earlier timestep wrote, or adds to a slice that it does not
        assign.
    """
    writes = sorted(offset for offset in forward.writes if offset is not None)
    read = sorted(offset for offset in forward.reads if offset is not None)
    top = writes[-1]
    if read and read[-1] > top:
        raise UnsupportedOperatorError(
            f"the forward operator reads {function.name} {read[-1]} timesteps ahead of its loop but writes "
            f"it only up to {top}: it reads what the ring happens to hold"
        )
    if top not in forward.assigns:
        raise UnsupportedOperatorError(
            f"the forward operator adds to the newest slice of {function.name} without assigning it first, "
            "so the slice keeps what the ring held before; assign it (Eq) and then add to it (Inc, inject)"
        )
    # Reading the slice that the same timestep wrote needs nothing from an earlier one.
    slices = max(0, top - read[0]) if read else 0
    return FieldState(function, head=top - 1, settled=writes[0] - top + 1, slices=slices, reads=reads)


def retention(fields: Sequence[FieldState], shift: int = 0) -> Retention:
    """Derive window, lookback and lag.

    Parameters
    ----------
    fields : sequence of FieldState
        Every field whose slices make a state.
    shift : int
        First iteration of the reverse operator minus that of the forward operator, over the whole range.

    Returns
    -------
    Retention
        Its fields may hold more slices than those given: as many as a condition that reads further back
        needs.

    Raises
    ------
    UnsupportedOperatorError
        The reverse operator reads a slice that the forward run writes too late, or a ring is too short.

    References
    ----------
    docs/architecture.md, "Windows and lookback".

    Examples
    --------
    ``u*v.dt2`` reads ``u[time]`` alone, time order 2, ring of 50: window 50, lookback 2, lag 0.
    """
    spans = {
        index: (field.reads[0] + shift - field.head, field.reads[1] + shift - field.head)
        for index, field in enumerate(fields)
        if field.reads is not None
    }
    lag = max(0, *(high + 1 - fields[i].settled for i, (_, high) in spans.items()), 0)
    if lag > 1:
        late = next(fields[i].name for i, (_, high) in spans.items() if high + 1 - fields[i].settled == lag)
        raise UnsupportedOperatorError(
            f"the reverse operator reads {late} {lag} timesteps ahead of the timestep that it reverses, when "
            "the forward run has not computed it; shift the reverse operator's range (time_m, time_M) or "
            "its equation"
        )
    # "Or store one more slice": a condition that reads far back needs it in the state.
    least = 1 - lag
    grown = tuple(
        dataclasses.replace(field, slices=max(field.slices, lag + least - spans[index][0]))
        if index in spans
        else field
        for index, field in enumerate(fields)
    )
    for field in grown:
        if field.ring < field.slices + 1:
            raise UnsupportedOperatorError(
                f"{field.name} has a ring of {field.ring} slices, but {field.slices} make a state and one "
                f"more is being written; give it save=Buffer({field.slices + 1}) or more"
            )
    if not spans:
        raise UnsupportedOperatorError(
            "the reverse operator reads none of the forward operator's fields: there is nothing to "
            "checkpoint. Make both operators with the same TimeFunction object, or bind it with "
            "reverse_arguments"
        )
    window = min(grown[i].ring + low for i, (low, _) in spans.items()) - lag
    lookback = min(grown[i].slices + low for i, (low, _) in spans.items()) - lag
    return Retention(window=window, lookback=lookback, lag=lag, fields=grown)


def classic(fields: Sequence[Any]) -> Retention:
    """Return the retention that asks for nothing: window 1, lookback 0, lag 1, ``time_order`` slices each.

    Parameters
    ----------
    fields : sequence of devito.TimeFunction
        The fields that make a state.

    Returns
    -------
    Retention
        The one under which classic Revolve runs.
    """
    functions = list(fields)
    return Retention(
        window=1,
        lookback=0,
        lag=1,
        fields=tuple(FieldState(function, slices=int(function.time_order)) for function in functions),
    )
