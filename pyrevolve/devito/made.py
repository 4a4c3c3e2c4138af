"""What is made for a ring length: fields, operators, and how much memory they take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from devito import Buffer

from ..checkpoint import Operator
from ..storage.slots import slot_nbytes
from ..team import Team
from .advancing import Advancing
from .checkpoint import TimeFunctionCheckpoint
from .errors import UnsupportedOperatorError
from .identity import digest_of_code, identity_of
from .operator import DevitoOperator, TimeRange
from .problem import Analysis
from .retention import FieldState, Retention

__all__ = ["Made", "Sizes", "check_ranges", "follows"]


@dataclasses.dataclass
class Made:
    """The fields and operators for one ring length.

    Attributes
    ----------
    analysis : Analysis
        What the operators do to each other.
    ring : int
        The ring length that the factory was asked for [slices].
    forward, reverse : DevitoOperator
        The operators of the two sweeps.
    recompute : DevitoOperator or None
        What runs timesteps again; None: `forward` does.
    forward_range : TimeRange
        The forward operator's iterations, with the arguments that are known before any shot.
    shift : int
        First iteration of `reverse` minus that of `forward`.
    retained : Retention
        What the rings retain.
    checkpoint : TimeFunctionCheckpoint
        The state.
    advancing : dict of str to Advancing
        The operators that run timesteps without keeping step data where nobody needs it, by what they are
        called; empty where that is not worth it.
    """

    analysis: Analysis
    ring: int
    forward: DevitoOperator
    reverse: DevitoOperator
    recompute: DevitoOperator | None
    forward_range: TimeRange
    shift: int
    retained: Retention
    checkpoint: TimeFunctionCheckpoint
    advancing: dict[str, Advancing] = dataclasses.field(default_factory=dict)
    _codes: dict[str, str] = dataclasses.field(init=False, default_factory=dict)

    @property
    def operators(self) -> dict[str, DevitoOperator]:
        """All operators, by what they are called."""
        named = {"forward": self.forward, "reverse": self.reverse}
        return named if self.recompute is None else {**named, "recompute": self.recompute}

    def runner(self, operator: DevitoOperator) -> Operator:
        """Return what a driver calls to have an operator run forward."""
        name = next(name for name, each in self.operators.items() if each is operator)
        return self.advancing.get(name, operator)

    @property
    def forward_bytes(self) -> int:
        """Bytes of all forward wavefields, those saved at every timestep included."""
        return sum(field.ring * field.slice_bytes for field in self.analysis.fields) + self.saved_bytes

    @property
    def saved_bytes(self) -> int:
        """Bytes of the forward fields that are saved at every timestep."""
        rings = {id(field.function) for field in self.analysis.fields}
        total = 0
        for name, function in self.analysis.forward_bound.items():
            if (
                self.analysis.forward[name].writes
                and getattr(function, "is_TimeFunction", False)
                and id(function) not in rings
            ):
                total += (
                    int(np.prod(function.shape_allocated, dtype=np.int64)) * np.dtype(function.dtype).itemsize
                )
        return total

    def in_rings(self, array: npt.NDArray[Any]) -> bool:
        """Return whether an array is one of the forward fields' rings, whatever an operator calls it."""
        rings = (self.checkpoint.ring(field.name)[0] for field in self.checkpoint.fields)
        return any(np.may_share_memory(array, ring) for ring in rings)

    def written(self, *, reversing: bool) -> list[npt.NDArray[Any]]:
        """Return the arrays that the sweep under way has written, besides the forward rings.

        Parameters
        ----------
        reversing : bool
            Whether that is the reverse sweep, which leaves what the forward sweep wrote.
        """
        sweeps = [(self.forward, self.analysis.forward)]
        if reversing:
            sweeps.append((self.reverse, self.analysis.reverse))
        return [
            array
            for operator, access in sweeps
            for name, array in operator.arrays().items()
            if access[name].writes and not self.in_rings(array)
        ]

    def identity(self, *sweeps: str) -> dict[str, Any]:
        """Return what tells this simulation from another, in terms that JSON knows.

        Parameters
        ----------
        *sweeps : {"forward", "reverse", "recompute"}
            The operators, all of them prepared, whose numbers and arrays are part of it; those that there are
            not are passed over. The code of all operators always is.
        """
        operators = self.operators
        if not self._codes:
            self._codes = {
                f"code of the {name} operator": digest_of_code(each.operator)
                for name, each in operators.items()
            }
        found: dict[str, Any] = dict(self._codes)
        for name in sweeps:
            if name in operators:
                access = getattr(self.analysis, name)
                found.update(identity_of(name, operators[name], access, self.in_rings))
        return found

    def check_repeatable(self, runner: DevitoOperator) -> None:
        """Raise where running timesteps again would spoil a result, or what the reverse operator reads.

        Parameters
        ----------
        runner : DevitoOperator
            What runs them again, prepared as the reverse operator is.

        Raises
        ------
        UnsupportedOperatorError
            It would.
        """
        name = runner.operator.name
        remedy = (
            "give the problem a recompute operator without it, or memory for a window that covers all "
            "timesteps"
        )
        for reason in self.analysis.not_repeatable.values():
            raise UnsupportedOperatorError(
                f"timesteps have to be run again, but the operator {name} {reason}; {remedy}"
            )
        access = self.analysis.forward if runner is self.forward else self.analysis.recompute
        assert access is not None
        rings = {field.name for field in self.analysis.fields}
        written = {
            function: array
            for function, array in runner.arrays().items()
            if access[function].writes and function not in rings
        }
        for function, array in self.reverse.arrays().items():
            if not self.analysis.reverse[function].reads:
                continue
            for other, target in written.items():
                if np.may_share_memory(array, target):
                    raise UnsupportedOperatorError(
                        f"timesteps have to be run again, but the operator {name} writes {other} into the "
                        f"array that the reverse operator reads as {function}: the residual would be "
                        f"overwritten while it is used. Hand another array to reverse(), or {remedy}"
                    )
        read = {function: array for function, array in runner.arrays().items() if access[function].reads}
        for function, array in self.reverse.arrays().items():
            if None not in self.analysis.reverse[function].writes:
                continue
            for other, source in read.items():
                if np.may_share_memory(array, source):
                    raise UnsupportedOperatorError(
                        f"timesteps have to be run again, but the reverse operator writes {function}, which "
                        f"the operator {name} reads as {other}: they would be run with other values than "
                        "before. Let the reverse operator write a function of its own"
                    )

    def release(self) -> None:
        """Give back the memory of rings that are not going to be used; nothing else works afterwards."""
        for operator in self.operators.values():
            operator.release()
        fields = [field.function for field in self.analysis.fields if follows(field, self.ring)]
        del self.checkpoint
        for function in fields:
            # Caches of symbols keep the function alive, and with it its data; Devito allocates anew where it
            # is used.
            function._data = None


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a plan needs to know of what was made, the same for every ring length.

    Attributes
    ----------
    slice_bytes : int
        One slice of every field whose ring follows ``save`` [bytes].
    state_bytes : int
        One snapshot [bytes].
    fixed_bytes : int
        Forward fields that take the same for every window, and the slices of a ring beyond its window
        [bytes].
    gap : int
        Ring length minus window.
    smallest_ring : int
        Least ring length that the operators allow.
    min_window : int
        Window of the smallest ring.
    max_window : int or None
        Window that fields of fixed ring length allow.
    lookback, lag : int
        As of `Retention`.
    """

    slice_bytes: int
    state_bytes: int
    fixed_bytes: int
    gap: int
    smallest_ring: int
    min_window: int
    max_window: int | None
    lookback: int
    lag: int

    @classmethod
    def of(cls, made: Made) -> Sizes:
        """Return the sizes of what was made for any ring length."""
        kept = made.retained
        following = [field for field in kept.fields if follows(field, made.ring)]
        fixed = [field for field in kept.fields if not follows(field, made.ring)]
        slice_bytes = sum(field.slice_bytes for field in following)
        fixed_bytes = made.saved_bytes + sum(field.ring * field.slice_bytes for field in fixed)
        smallest = max((field.slices + 1 for field in following), default=0)
        least: int
        most: int | None
        if made.analysis.cautious:
            gap, least, most = smallest - 1, 1, 1
        else:
            window = _window(following, kept.lag, made.shift)
            gap = 0 if window is None else made.ring - window
            most = _window(fixed, kept.lag, made.shift)
            least = max(smallest - gap, 1, kept.lookback)
            if most is not None:
                least = min(least, most)
        return cls(
            slice_bytes=slice_bytes,
            state_bytes=slot_nbytes(made.checkpoint.get_data(0)),
            fixed_bytes=fixed_bytes + gap * slice_bytes,
            gap=gap,
            smallest_ring=smallest,
            min_window=least,
            max_window=most,
            lookback=kept.lookback,
            lag=kept.lag,
        )

    def agreed(self, team: Team) -> Sizes:
        """Return what all processes can plan with: the largest bytes of any of them."""
        slice_bytes, state_bytes, fixed_bytes = team.greatest(
            [self.slice_bytes, self.state_bytes, self.fixed_bytes]
        )
        return dataclasses.replace(
            self, slice_bytes=slice_bytes, state_bytes=state_bytes, fixed_bytes=fixed_bytes
        )

    def ring(self, window: int) -> int:
        """Return the length of the rings that retain a window of timesteps."""
        return max(window + self.gap, self.smallest_ring)

    def held(self, window: int, snapshots: int) -> int:
        """Return what a window and a number of snapshots take [bytes]."""
        return self.fixed_bytes + window * self.slice_bytes + snapshots * self.state_bytes


def check_ranges(forward: TimeRange, reverse: TimeRange, shift: int) -> None:
    """Raise where the two sweeps do not cover the same timesteps.

    Parameters
    ----------
    forward, reverse : TimeRange
        The iterations of the two operators.
    shift : int
        First iteration of `reverse` minus that of `forward` for which the rings are made.

    Raises
    ------
    ValueError
        They do not.
    """
    if forward.n_timesteps != reverse.n_timesteps:
        raise ValueError(
            f"the forward operator runs {forward.n_timesteps} timesteps (time {forward.first} ... "
            f"{forward.last}), the reverse operator {reverse.n_timesteps} ({reverse.first} ... "
            f"{reverse.last}); both must be the same: give time_m and time_M"
        )
    if reverse.first - forward.first != shift:
        raise ValueError(
            f"the reverse operator starts at time {reverse.first} and the forward operator at "
            f"{forward.first}; the rings were planned for a difference of {shift}. Give the same ranges "
            "when the object is made"
        )


def follows(field: FieldState, ring: int) -> bool:
    """Return whether a field's ring has the length that the factory was asked for."""
    return isinstance(field.function.save, Buffer) and field.ring == ring


def _window(fields: Sequence[FieldState], lag: int, shift: int) -> int | None:
    """Return the window that these fields allow; None where the reverse operator reads none of them."""
    windows = [
        field.ring + field.reads[0] + shift - field.head - lag for field in fields if field.reads is not None
    ]
    return min(windows) if windows else None
