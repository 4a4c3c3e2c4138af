"""Schedules for a known number of timesteps with all snapshots in one tier."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, astuple, dataclass
from functools import cached_property
from typing import Literal

from ..arguments import check_initial_state, index, resolve_lag
from ..crevolve import Counts, Instructions, windowed_counts, windowed_instructions
from .base import Schedule
from .layout import Layout, check_layout, elements

__all__ = ["Revolve", "StoreAll"]


@dataclass(frozen=True)
class Revolve(Schedule):
    """Windowed Revolve: the fewest forward timesteps, then the fewest copies, then the fewest calls.

    With the defaults it is the classic binomial schedule of Griewank & Walther, split for split.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 2**62.
    n_snapshots : int
        Slots for states, >= 1, or >= 0 with a free initial state.
    window : int, default 1
        Timesteps K whose step data the workspace retains at once, >= 1.
    lookback : int, default 0
        Timesteps d whose step data a loaded state carries by itself, 0 <= d <= window.
    lag : {None, 0, 1}
        1: the data of timestep t exists only after it was run; 0: x_t carries that of timestep t, which needs
        lookback >= 1. None: 1 with lookback 0, else 0.
    initial_state : {"stored", "free"}
        "free": x_0 takes no slot, because it can be re-created at no cost (a zero wavefield). A LOAD with
        tier and slot -1 asks for it.
    layout : Layout, optional
        Where the run stands already (see `from_layout`). None: at its beginning.

    Raises
    ------
    TypeError
        A parameter that must be an integer is none.
    ValueError
        A parameter is out of its range.
    OverflowError
        A parameter or a count does not fit in 64 bits.

    Notes
    -----
    Forward timesteps: n for n <= K; otherwise e + F(n - e, S - 1) with e = max(0, d - 1 + lag), or F(n, S)
    with a free initial state, where F(x, c) = rho x - K C(c+rho, c+2) - d (C(c+rho, c+1) - rho) and rho is
    the least number with K C(c+rho, c+1) + d (C(c+rho, c) - 1) >= x. That is the least of all schedules that
    keep whole states; copies, then calls, are the fewest among those with as many forward timesteps.

    References
    ----------
    Griewank & Walther (2000), ACM TOMS 26(1), 19-45, doi:10.1145/347837.347846 (window 1, lookback 0).

    Examples
    --------
    >>> schedule = Revolve(10, 3)
    >>> schedule.forward_steps, schedule.saves, schedule.calls
    (25, 6, 25)
    >>> Revolve(10, 3, window=4, lookback=2).forward_steps
    11
    >>> [str(i) for i in Revolve(3, 1, window=2)][:4]
    ['SAVE(t=0, tier=0, slot=0)', 'FORWARD(start=0, stop=3)', 'TURN()', 'REVERSE(start=1, stop=3)']
    """

    n_timesteps: int
    n_snapshots: int
    _: KW_ONLY
    window: int = 1
    lookback: int = 0
    lag: int | None = None
    initial_state: Literal["stored", "free"] = "stored"
    layout: Layout | None = None

    def __post_init__(self) -> None:
        for name in ("n_timesteps", "n_snapshots", "window", "lookback"):
            object.__setattr__(self, name, index(name, getattr(self, name)))
        object.__setattr__(self, "lag", resolve_lag(self.lookback, self.lag))
        check_initial_state(self.initial_state)
        _check_slots(self.layout, self.n_snapshots)
        _ = self.counts  # checks the ranges

    @classmethod
    def from_layout(
        cls,
        n_timesteps: int,
        n_snapshots: int,
        stored: Iterable[tuple[int, ...]],
        *,
        position: int,
        loaded_at: int = 0,
        remaining: int | None = None,
        window: int = 1,
        lookback: int = 0,
        lag: int | None = None,
        initial_state: Literal["stored", "free"] = "stored",
    ) -> Revolve:
        """Return the schedule that finishes a run from what is stored, with the fewest forward timesteps.

        Parameters
        ----------
        n_timesteps, n_snapshots, window, lookback, lag, initial_state
            As of the class.
        stored : iterable of tuple
            ``(t, slot)`` of every stored state x_t, 0 <= slot < n_snapshots, in any order.
        position : int
            The workspace holds x_position. The first sweep goes on from there; with ``position=n_timesteps``
            it is done, and the window's step data is reversed without being run again.
        loaded_at : int
            Index of the state with which the workspace was last loaded or started, <= position.
        remaining : int, optional
            Given where the reversal has begun: the timesteps before it are still to be reversed.

        Raises
        ------
        TypeError, OverflowError
            As of the class.
        ValueError
            No run can stand like this, or the first timesteps cannot be reversed from what is stored.

        Notes
        -----
        With stored states d_0 < ... < d_{k-1} that are kept, chain i goes from d_i to d_{i+1} - d and has
        S - 1 - i free slots, so that the forward timesteps that are left are those from `position` to the end
        plus the sum of F(d_{i+1} - d - d_i, S - 1 - i) (A-Revolve's cost of a layout, with windows). Which
        states to keep is a shortest path over (state, number kept before it); the others are freed at once,
        because a slot is of use to every chain further right. A kept state is replaced by one further right
        where that saves more steps than the way there. With up to 64 stored states, other choices of what to
        keep are then tried with the replacements that suit them: the fewest steps of all wherever that was
        compared. With more, it may be a few per cent off.

        References
        ----------
        M. Hinze, J. Sternberg (2005), A-Revolve, Optimization Methods and Software 20(6), 645-663,
        doi:10.1080/10556780410001684158.

        Examples
        --------
        >>> Revolve.from_layout(10, 3, [(0, 0), (4, 1), (7, 2)], position=10).forward_steps
        15
        """
        return cls(
            n_timesteps,
            n_snapshots,
            window=window,
            lookback=lookback,
            lag=lag,
            initial_state=initial_state,
            layout=Layout(elements(stored), position, loaded_at, remaining),
        )

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer."""
        assert self.lag is not None
        return self.window, self.lookback, self.lag

    @property
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""
        return self.initial_state == "free"

    @property
    def _parameters(self) -> tuple[int, int, int, int, int, bool]:
        return self.n_timesteps, self.n_snapshots, *self.needs, self.free_initial_state

    @cached_property
    def counts(self) -> Counts:
        """All counts at once; closed forms, or counted by going through where a layout is given."""
        try:
            return windowed_counts(*self._parameters) if self.layout is None else self.instructions().tally()
        except OverflowError:
            if max(self._parameters) >= 2**63:
                raise  # it names the parameter that is too large by itself
            if self.n_timesteps > 2**62:
                raise OverflowError(f"n_timesteps must be <= 2**62, got {self.n_timesteps}") from None
            raise OverflowError(
                f"n_timesteps = {self.n_timesteps} with {self.n_snapshots} snapshots and a window of "
                f"{self.window} takes more forward timesteps than 64 bits count; give more snapshots or a "
                "larger window"
            ) from None

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""
        layout = None if self.layout is None else astuple(self.layout)
        return windowed_instructions(*self._parameters, layout=layout)


def _check_slots(layout: Layout | None, n_snapshots: int) -> None:
    """Raise where a layout is none, or names a slot that does not exist."""
    check_layout(layout)
    for t, tier, slot in layout.stored if layout is not None else ():
        if tier != 0 or slot >= n_snapshots:
            raise ValueError(
                f"x_{t} is said to be in slot {slot} of tier {tier}, but there are "
                f"{n_snapshots} slots, all in tier 0"
            )


@dataclass(frozen=True)
class StoreAll(Schedule):
    """Keep everything in the workspace: one forward sweep, one reverse call, no snapshots.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 2**62; the workspace must retain the step data of all.

    Raises
    ------
    TypeError
        ``n_timesteps`` is no integer.
    ValueError, OverflowError
        ``n_timesteps`` is out of its range.

    Examples
    --------
    >>> [i.kind.name for i in StoreAll(100)]
    ['FORWARD', 'TURN', 'REVERSE', 'END']
    """

    n_timesteps: int

    def __post_init__(self) -> None:
        n_timesteps = index("n_timesteps", self.n_timesteps)
        object.__setattr__(self, "n_timesteps", n_timesteps)
        _ = self.counts  # checks the range

    @property
    def window(self) -> int:
        """Timesteps whose step data the workspace must retain: all of them."""
        return max(1, self.n_timesteps)

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer."""
        return self.window, 0, 1

    @property
    def free_initial_state(self) -> bool:
        """False: x_0 is not needed again."""
        return False

    @cached_property
    def counts(self) -> Counts:
        """All counts at once; closed forms."""
        return windowed_counts(self.n_timesteps, 1, self.window)

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""
        return windowed_instructions(self.n_timesteps, 1, self.window)
