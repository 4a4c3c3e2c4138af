"""The state machine of ACM Algorithm 799 in a few lines of Python, for any choice among the optimal splits.

Two choices are in use, with equal advances and equal takeshots: that of the C version in Debian's libadolc2,
found by experiment (``test_original_revolve.py``), and that of pyrevolve before 3.0 and ref_revolve.csv.
"""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ADVANCE, TAKESHOT, RESTORE, FIRSTRUN, YOUTURN, TERMINATE = range(6)


def beta(s: int, r: int) -> int:
    return comb(s + r, r) if s >= 0 and r >= 0 else 0


def repetitions(n: int, s: int) -> int:
    """Return the least r with beta(s, r) >= n."""
    if s == 1:
        return n - 1
    r = 0
    while beta(s, r) < n:
        r += 1
    return r


def optimal_splits(n: int, s: int) -> tuple[int, int]:
    """Return the first and last of all splits m with t(n, s) = m + t(m, s) + t(n - m, s - 1)."""
    r = repetitions(n, s)
    low = max(1, beta(s, r - 2), n - beta(s - 1, r))
    return low, min(n - 1, beta(s, r - 1), n - beta(s - 1, r - 1))


def golden_split(n: int, s: int) -> int:
    r = repetitions(n, s)
    if n <= beta(s, r - 1) + beta(s - 2, r - 1):
        return max(1, beta(s, r - 2))
    if n >= beta(s, r) - beta(s - 3, r):
        return beta(s, r - 1)
    return n - beta(s - 1, r - 1) - beta(s - 2, r - 1)


def libadolc_split(n: int, s: int) -> int:
    r = repetitions(n, s)
    plateau = beta(s, r - 2) + beta(s - 1, r - 2)
    return max(
        1,
        beta(s, r - 2),
        n - beta(s - 1, r),
        min(plateau, n - beta(s - 1, r - 1) - beta(s - 2, r - 1)),
    )


def actions(n: int, snapshots: int, split: Callable[[int, int], int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (action, capo, fine, check) after each action, up to and including terminate."""
    capo, fine, stored, turned = 0, n, list[int](), False
    while True:
        left = fine - capo
        if left == 0 and not stored:
            yield TERMINATE, capo, fine, -1
            return
        if left == 0:
            capo = stored[-1]
            action = RESTORE
        elif left == 1:
            fine -= 1
            if stored and stored[-1] == capo:
                stored.pop()
            action, turned = (YOUTURN if turned else FIRSTRUN), True
        elif not stored or stored[-1] != capo:
            stored.append(capo)
            action = TAKESHOT
        else:
            capo += split(left, snapshots - len(stored) + 1)
            action = ADVANCE
        yield action, capo, fine, len(stored) - 1
