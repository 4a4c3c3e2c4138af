"""Dynamic programs over the moves of the windowed model: leaf, long leaf, split.

They share nothing with the library but the model, and are themselves compared with `oracles.exhaustive`,
which knows no moves at all (``test_oracles.py``). `Lexicographic` is the reference for forward steps, copies
and calls at sizes that no search over schedules reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from oracles.exhaustive import Best

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEP = 1 << 40  # packed costs: forward steps, copies and calls, 23, 20 and 20 bits
_COPY = 1 << 20


def classic_advances(n_max: int, snapshots_max: int) -> NDArray[np.int64]:
    """Solve t(n, s) = min over m of m + t(m, s) + t(n - m, s - 1), t(1, s) = 0, t(n, 1) = n (n - 1) / 2."""
    t = np.zeros((snapshots_max + 1, n_max + 1), np.int64)
    sizes = np.arange(n_max + 1)
    t[1] = sizes * (sizes - 1) // 2
    for s in range(2, snapshots_max + 1):
        for n in range(2, n_max + 1):
            m = np.arange(1, n)
            t[s, n] = np.min(m + t[s, m] + t[s - 1, n - m])
    return t


def chain_steps(x_max: int, c_max: int, window: int, lookback: int) -> NDArray[np.int64]:
    """Forward steps of a chain, ``[c, x]``: the least over leaf, long leaf and every split."""
    f = np.zeros((c_max + 1, x_max + 1), np.int64)
    for c in range(c_max + 1):
        for x in range(1, x_max + 1):
            best = x if x <= window else x + f[c, x - window]
            if c > 0 and x > 1:
                m = np.arange(1, x)
                best = min(best, np.min(m + f[c - 1, x - m] + f[c, np.maximum(0, m - lookback)]))
            f[c, x] = best
    return f


class Lexicographic:
    """The least (forward steps, saves + loads, forward + reverse calls), for n and S up to the given sizes.

    A chain is (x, c, owed, fictional, load): x timesteps to the right of a start that is stored and at hand,
    c free slots, and `owed` timesteps that the start's own snapshot carries and that are still to be reversed
    once everything to the right is. At lag 0 the first sweep ends with a timestep n that does not exist
    (`fictional` = 1): it fills its place in the window and is never reversed. `load` is 1, or 0 where the
    start is a free initial state. Then

    * x = 0: one load and one reversal if anything is owed;
    * leaf, x <= K: run x, reverse them; what is owed goes into the *same* reversal if x + owed <= K, since
      the window still reaches back over the start, and needs a load and a reversal of its own otherwise;
    * long leaf, x > K: run x, reverse the last K, load the start, go on with x - K;
    * split at m: run m, save; the right part x - m, which owes d; load the start, go on with m - d. If m <=
      d, the snapshot at m covers d - m of what the start owes.

    The whole run: one sweep without any snapshot where the window holds everything, a chain from the free
    x_0, or one from a first snapshot at x_j, which owes timesteps 0 ... j - lag, for the best j <= d - 1 +
    lag.
    """

    def __init__(
        self,
        n_max: int,
        snapshots_max: int,
        window: int,
        lookback: int,
        lag: int,
        *,
        reset_is_copy: bool = False,
    ) -> None:
        self._window, self._lookback, self._lag = window, lookback, lag
        self._fictional = 1 - lag
        self._first_max = max(0, lookback - 1 + lag)
        self._reset = int(reset_is_copy)
        self._tables: dict[tuple[int, int, int], NDArray[np.int64]] = {}
        self._sizes = n_max, snapshots_max

    def _table(self, kind: tuple[int, int, int]) -> NDArray[np.int64]:
        """Costs of all chains of one kind (owed, fictional, load), ``[c, x]``."""
        if kind in self._tables:
            return self._tables[kind]
        owed, fictional, load = kind
        k, d = self._window, self._lookback
        n_max, c_max = self._sizes
        table = np.zeros((c_max + 1, n_max + 1), np.int64)
        left_kind, right_kind = (owed, 0, load), (d, fictional, 1)
        left = table if left_kind == kind else self._table(left_kind)
        right = table if right_kind == kind else self._table(right_kind)
        from_start = load * _COPY + 1  # load the start and reverse what it carries
        run_and_save = np.arange(n_max + 1) * _STEP + _COPY + 1
        for c in range(c_max + 1):
            table[c, 0] = from_start if owed else 0
            for x in range(1, n_max + 1):
                if x > k:
                    best = x * _STEP + 1 + (k > fictional) + load * _COPY + int(left[c, x - k])
                elif x + owed <= k:
                    best = x * _STEP + 1 + (x - fictional + owed > 0)
                else:
                    best = x * _STEP + 1 + (x > fictional) + from_start
                if c > 0:
                    for m in range(1, min(d, x - 1) + 1):
                        rest = from_start if owed > d - m else 0
                        best = min(best, m * _STEP + _COPY + 1 + int(right[c - 1, x - m]) + rest)
                    if x > d + 1:  # all m = d + 1 ... x - 1 at once
                        splits = run_and_save[d + 1 : x] + right[c - 1, x - d - 1 : 0 : -1]
                        splits += left[c, 1 : x - d]
                        best = min(best, int(splits.min()) + load * _COPY)
                table[c, x] = best
        self._tables[kind] = table
        return table

    def best(self, n: int, snapshots: int, free_initial: bool) -> Best:
        if n == 0:
            return Best(0, 0, 0)
        candidates = []
        if n + self._fictional <= self._window:
            candidates.append(n * _STEP + 2)
        if free_initial:
            kind = (1 - self._lag, self._fictional, self._reset)
            candidates.append(int(self._table(kind)[snapshots, n]))
        else:
            for j in range(min(self._first_max, n - 1) + 1):
                kind = (j + 1 - self._lag, self._fictional, 1)
                chain = int(self._table(kind)[snapshots - 1, n - j])
                candidates.append(j * _STEP + _COPY + (j > 0) + chain)
        least = min(candidates)
        return Best(least // _STEP, least % _STEP // _COPY, least % _COPY)
