"""Schedules whose slots hold states or the step data of a timestep, all in one tier."""

from __future__ import annotations

import abc
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property
from typing import Any

from ..arguments import at_least, flag
from ..crevolve import Counts, Instructions, MixedTable
from .base import Schedule

__all__ = ["CAMS", "Mixed"]

#: n (n + 2) must fit in 64 bits, so that every entry of the table does.
_MOST_TIMESTEPS = 3037000498
#: What fits in 64 bits.
_MOST = 2**63 - 1


def _check_capacity(name: str, capacity: int, n_timesteps: int) -> None:
    if n_timesteps > 1 and capacity == 0:
        raise ValueError(
            f"{name} must be >= 1 for more than one timestep, got 0 for n_timesteps={n_timesteps}"
        )


class _StepDataSchedule(Schedule):
    """What `Mixed` and `CAMS` share: both follow a table, which is made once, when it is first needed."""

    @abc.abstractmethod
    def _new_table(self) -> MixedTable: ...

    @cached_property
    def _table(self) -> MixedTable:
        return self._new_table()

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer: step data of the last timestep only."""
        return 1, 0, 1

    @property
    def free_initial_state(self) -> bool:
        """False: x_0 is stored where that saves timesteps."""
        return False

    @property
    def needs_step_data(self) -> bool:
        """True: slots hold step data too, which the checkpoint must offer."""
        return True

    @property
    def optimal_forward_steps(self) -> int:
        """Forward timesteps by the recurrence; no schedule has fewer, and this one has as many."""
        return self._table.forward_steps

    @cached_property
    def peak_units(self) -> int:
        """Most units of memory in use at once."""
        return self._table.peak_units()

    @cached_property
    def counts(self) -> Counts:
        """All counts at once, by running through the schedule."""
        return self.instructions().tally()

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""
        return self._table.instructions()


@dataclass(frozen=True)
class Mixed(_StepDataSchedule):
    """Slots hold states or step data of single timesteps: the fewest forward timesteps of all such schedules.

    A timestep whose step data is stored is reversed without being run again, but a run cannot start from
    it. The initial state is in the workspace at first and is stored only where that saves timesteps, and a
    state is dropped when it is loaded for the last time.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 3037000498.
    n_snapshots : int
        Slots s, each for one state or the step data of one timestep, >= 0; >= 1 for n > 1.

    Raises
    ------
    TypeError
        A parameter is no integer.
    ValueError
        A parameter is out of its range.
    OverflowError
        A parameter is too large.

    Notes
    -----
    Forward timesteps p(n, s), the first sweep included: p(1, s) = 1, and otherwise the lesser of

    - 1 + p(n - 1, s - 1): the step data of the first timestep are kept;
    - the least i + p(i, s) + p(n - i, s - 1), 0 < i < n: the start is stored and i timesteps are run.

    Where both are equal the start is stored; of several i the largest is taken.

    Planning takes O(n s) memory (8 bytes per entry) and at most O(n^2 s) time, in practice much less:
    timesteps that provably cannot be the best i are not tried. It is done once, when it is first needed,
    can be interrupted, and does not travel with a pickled schedule.

    References
    ----------
    Maddison (2024), Journal of Computational Science 82, 102405, doi:10.1016/j.jocs.2024.102405.

    Examples
    --------
    >>> from pyrevolve import Revolve
    >>> Mixed(100, 10).forward_steps, Revolve(100, 10).forward_steps
    (237, 322)
    >>> print(Mixed(3, 1).to_text(), end="")
    save 0 @ 0:0
    forward 0 2
    forward 2 3
    turn
    reverse 2 3
    load 0 @ 0:0
    forward 0 1
    save data 0 @ 0:0
    forward 1 2
    reverse 1 2
    load data 0 @ 0:0
    reverse 0 1
    end
    """

    n_timesteps: int
    n_snapshots: int

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "n_timesteps", at_least("n_timesteps", self.n_timesteps, 0, most=_MOST_TIMESTEPS)
        )
        object.__setattr__(self, "n_snapshots", at_least("n_snapshots", self.n_snapshots, 0, most=_MOST))
        _check_capacity("n_snapshots", self.n_snapshots, self.n_timesteps)

    def _new_table(self) -> MixedTable:
        return MixedTable(self.n_timesteps, self.n_snapshots)


@dataclass(frozen=True)
class CAMS(_StepDataSchedule):
    """States and stage values of a multistage method share the memory: the fewest forward timesteps.

    Made for adjoints of Runge-Kutta methods. The step data of a timestep are its stage values and take
    ``stages`` units of memory, one unit being one solution vector; a state takes one unit.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 3037000498.
    n_units : int
        Units of memory s, >= 0; >= 1 for n > 1.
    stages : int
        Units that one timestep's step data take, >= 1.
    stiffly_accurate : bool
        Whether the last stage is the new solution. The stored step data of timestep t then contain x_{t+1}:
        loading them brings the workspace to x_{t+1}, from where the run can go on.

    Raises
    ------
    TypeError
        ``stiffly_accurate`` is no bool, or another parameter is no integer.
    ValueError
        A parameter is out of its range.
    OverflowError
        A parameter is too large.

    Notes
    -----
    Forward timesteps p(n, s), the first sweep included: p(1, s) = 1, and otherwise the lesser of

    - 1 + X(n - 1, s - stages): the step data of the first timestep are kept;
    - the least i + p(i, s) + p(n - i, s - 1), 0 < i < n: the start is stored and i timesteps are run.

    In general X = p. For stiffly accurate methods X = g, whose start is held by stored step data:
    g(1, s) = 1, and otherwise the lesser of 1 + g(n - 1, s - stages) and the least
    i + g(i, s) + p(n - i, s), 0 < i < n.

    The recurrences of Zhang & Constantinescu keep the start of a stretch stored until the stretch is
    reversed. Here it is dropped when it is loaded for the last time: for n = 100, 20 units and 4 stages of
    a stiffly accurate method that makes 233 forward timesteps instead of 238. `Mixed` is the general case
    with one stage.

    Slots are labels, fewer than ``n_units``; the capacity is counted in units (`peak_units`). Planning takes
    O(n s) memory and is done as in `Mixed`.

    References
    ----------
    Zhang & Constantinescu (2021), arXiv:2106.13879, doi:10.48550/arXiv.2106.13879.

    Examples
    --------
    >>> schedule = CAMS(100, 20, 4, stiffly_accurate=True)
    >>> schedule.forward_steps, schedule.peak_units, schedule.peak_snapshots <= 20
    (233, 20, True)
    """

    n_timesteps: int
    n_units: int
    stages: int
    _: KW_ONLY
    stiffly_accurate: bool

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "n_timesteps", at_least("n_timesteps", self.n_timesteps, 0, most=_MOST_TIMESTEPS)
        )
        object.__setattr__(self, "n_units", at_least("n_units", self.n_units, 0, most=_MOST))
        object.__setattr__(self, "stages", at_least("stages", self.stages, 1, most=_MOST))
        flag("stiffly_accurate", self.stiffly_accurate)
        _check_capacity("n_units", self.n_units, self.n_timesteps)

    def _new_table(self) -> MixedTable:
        return MixedTable(self.n_timesteps, self.n_units, self.stages, self.stiffly_accurate)

    def explain(self) -> str:
        """Return in words what the schedule does: steps, copies, calls, and what it keeps where."""
        return (
            f"{super().explain()}\n"
            f"  units     at most {self.peak_units} of {self.n_units}; "
            f"step data take {self.stages}, a state 1"
        )
