"""The closed forms of the windowed model, in Python's integers of any size, written from the equations.

Notation: x timesteps to the right of a stored start, c free slots, window K, lookback d; rho bounds how often
one timestep is run forward.
"""

from __future__ import annotations

from math import comb


def binomial(a: int, b: int) -> int:
    return comb(a, b) if 0 <= b <= a else 0


def capacity(c: int, rho: int, window: int, lookback: int) -> int:
    """L(c, rho): the longest chain for which no timestep is run forward more than rho times."""
    if rho == 0:
        return 0
    return window * binomial(c + rho, c + 1) + lookback * (binomial(c + rho, c) - 1)


def repetition(x: int, c: int, window: int, lookback: int) -> int:
    """The least rho with L(c, rho) >= x, by doubling and bisection: with c = 0 it can be as large as x."""
    if x <= 0:
        return 0
    high = 1
    while capacity(c, high, window, lookback) < x:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if capacity(c, middle, window, lookback) < x:
            low = middle
        else:
            high = middle
    return high


def chain_steps(x: int, c: int, window: int, lookback: int) -> int:
    """F(x, c): forward steps of a chain of x timesteps from a stored start with c free slots."""
    rho = repetition(x, c, window, lookback)
    return (
        rho * x - window * binomial(c + rho, c + 2) - lookback * (binomial(c + rho, c + 1) - rho)
        if rho
        else 0
    )


def forward_steps(n: int, snapshots: int, window: int, lookback: int, lag: int, free_initial: bool) -> int:
    """F_opt: forward steps of the whole run, first sweep included."""
    if n <= window:
        return n
    if free_initial:
        return chain_steps(n, snapshots, window, lookback)
    first = max(0, lookback - 1 + lag)
    return first + chain_steps(n - first, snapshots - 1, window, lookback)


def default_lag(lookback: int) -> int:
    return 1 if lookback == 0 else 0


def binomial_advances(n: int, snapshots: int) -> int:
    """Advances of classic Revolve: r n - beta(s + 1, r - 1), r the least with beta(s, r) >= n."""
    if n <= 1:
        return 0
    if snapshots == 1:
        return n * (n - 1) // 2
    r = 0
    while comb(snapshots + r, r) < n:
        r += 1
    return r * n - comb(snapshots + r, r - 1)


def binomial_takeshots(n: int, snapshots: int) -> int:
    """Snapshots that classic Revolve takes, x_0 included: the fewest with the fewest advances."""
    if n <= 1:
        return 0
    if snapshots == 1:
        return 1
    r = 0
    while comb(snapshots + r, r) < n:
        r += 1
    return max(comb(snapshots + r - 2, r - 1), n - comb(snapshots + r - 1, r - 1))
