"""Schedules for a known number of timesteps with all snapshots in one tier."""

from __future__ import annotations

import operator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Literal

from ..crevolve import Counts, Instructions, windowed_counts, windowed_instructions
from .base import Schedule

__all__ = ["Revolve", "StoreAll"]


def _index(name: str, value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def resolve_lag(lookback: int, lag: int | None) -> int:
    """Return the lag that is meant: as given, or the default that goes with `lookback`.

    Parameters
    ----------
    lookback : int
        Timesteps whose step data a loaded state carries, >= 0.
    lag : {0, 1} or None
        None: 1 where lookback is 0, otherwise 0.

    Returns
    -------
    int
        0 or 1.

    Raises
    ------
    TypeError
        `lag` is no integer.
    ValueError
        `lag` is neither 0 nor 1, or is 0 with lookback 0.
    """
    if lag is None:
        return 0 if lookback else 1
    lag = _index("lag", lag)
    if lag not in (0, 1):
        raise ValueError(f"lag must be 0 or 1, got {lag}")
    if lag == 0 and lookback == 0:
        raise ValueError(
            "lag 0 needs lookback >= 1: a state that carries its own timestep's data carries at least one"
        )
    return lag


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

    def __post_init__(self) -> None:
        for name in ("n_timesteps", "n_snapshots", "window", "lookback"):
            object.__setattr__(self, name, _index(name, getattr(self, name)))
        object.__setattr__(self, "lag", resolve_lag(self.lookback, self.lag))
        if self.initial_state not in ("stored", "free"):
            raise ValueError(f'initial_state must be "stored" or "free", got {self.initial_state!r}')
        _ = self.counts  # checks the ranges

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
        """All counts at once; closed forms."""
        return windowed_counts(*self._parameters)

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""
        return windowed_instructions(*self._parameters)


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
        n_timesteps = _index("n_timesteps", self.n_timesteps)
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
