"""Forward timesteps that no schedule can do without, from closed forms and Python's integers alone.

What the packages run is compared with these; nothing here imports pyrevolve. Notation: n timesteps, a state
of s slices, a chain of x timesteps to the right of a stored start with c free slots, window K, lookback d;
rho bounds how often one timestep is run forward.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

#: Slices of a state of the acoustic wave equation, second order in time. The imaging condition of the
#: benchmarks, u v_tt, reads u at its own time alone: a loaded state carries the data of both its slices.
STATE_SLICES = LOOKBACK = 2


def windowed(n: int, snapshots: int, window: int, lookback: int = LOOKBACK, *, free: bool = True) -> int:
    """Return the fewest forward timesteps, the first sweep included, for a window and so many snapshots.

    `free`: the initial state is re-created at no cost and takes no slot. The lag is 1 where the lookback is
    0, and else 0.
    """
    if n <= window:
        return n
    if free:
        return _chain(n, snapshots, window, lookback)
    first = max(0, lookback - 1 + (lookback == 0))
    return first + _chain(n - first, snapshots - 1, window, lookback)


def classic(n: int, snapshots: int) -> int:
    """Return the same for classic Revolve: one timestep at a time, the initial state in a slot."""
    return windowed(n, snapshots, 1, 0, free=False)


def least(n: int, slices: int, state: int = STATE_SLICES) -> int:
    """Return the fewest forward timesteps of any schedule whatever that holds so many slices.

    That of a stencil which may be updated in place, with a zero initial state: a step reads u[t] to be
    reversed, a state is `state` consecutive slices, and every slice may serve as both.
    """
    free = slices - state
    if free < 0:
        raise ValueError(f"slices must be >= {state}, those of a state, got {slices}")
    q, e = divmod(free, state)

    def capacity(rho: int) -> int:
        if rho == 0:
            return 0
        return state * comb(q + rho, rho) + (e + state) * comb(q + rho, q + 1) - state

    rho = _first(lambda rho: capacity(rho) >= n)
    return rho * n - sum(capacity(i) for i in range(rho))


def _chain(x: int, c: int, window: int, lookback: int) -> int:
    """Return the forward timesteps of a chain."""

    def capacity(rho: int) -> int:
        return window * comb(c + rho, c + 1) + lookback * (comb(c + rho, c) - 1)

    if x <= 0:
        return 0
    rho = _first(lambda rho: capacity(rho) >= x)
    twice = comb(c + rho, c + 2) if rho >= 2 else 0
    return rho * x - window * twice - lookback * (comb(c + rho, c + 1) - rho)


def _first(holds: Callable[[int], bool]) -> int:
    """Return the least number >= 0 for which something holds that goes on to hold."""
    high = 1
    while not holds(high):
        high *= 2
    low = -1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
