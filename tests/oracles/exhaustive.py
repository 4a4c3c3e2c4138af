"""Search over *every* valid schedule of the windowed model, by Dijkstra on its complete state graph.

No recursion, no formula and no notion of a split is used: a node is what a machine that executes instructions
could tell about itself, an edge is one instruction. The order of runs, saves, loads and frees is arbitrary.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

_COPY = 1 << 20  # cost units: one forward step = 2**40, one copy = 2**20, one call = 1
_STEP = 1 << 40


class Best(NamedTuple):
    """The lexicographic minimum of (forward steps, copies, calls)."""

    forward_steps: int
    copies: int
    calls: int


def search(
    n: int,
    snapshots: int,
    window: int,
    lookback: int,
    lag: int,
    free_initial: bool,
    *,
    reset_is_copy: bool = False,
    partial_reversals: bool = False,
) -> Best:
    """Find the lexicographically least (forward steps, saves + loads, forward + reverse calls).

    Parameters
    ----------
    n, snapshots, window, lookback, lag, free_initial
        The instance. With `free_initial`, x_0 can be re-created at any time.
    reset_is_copy
        Whether re-creating x_0 counts as a load (it never costs forward steps).
    partial_reversals
        Also try reversals of fewer timesteps than are retained. A longer one leaves strictly more freedom at
        the same cost, so this changes nothing; it is there to be tested.

    Notes
    -----
    A node is (reversed down to r, position p, number w of timesteps whose data the workspace retains, stored
    states, turned). By the model the retained timesteps are p-lag-w+1 ... p-lag with w = min(K, d + p - a),
    where a is where the workspace was last loaded or started; w is all that a and the window's history amount
    to. Left out because another move is never worse: two forward runs with nothing between them, saving what
    is stored already, evicting a snapshot while a slot is free, and running forward beyond x_r after the
    turn.
    """
    if n == 0:
        return Best(0, 0, 0)
    k, d = window, lookback
    full_mask_bits = n + 1
    reset_cost = _COPY if reset_is_copy else 0
    # A snapshot of x_m carries the timesteps m-d-lag+1 ... m-lag and helps to reach those to its right. Once
    # all of them are reversed it is dropped from the node (dropping is free).
    useful = [0] * (n + 1)
    for r in range(n + 1):
        for m in range(n + 1):
            if max(0, m - d - lag + 1) <= r - 1:
                useful[r] |= 1 << m

    def encode(r: int, p: int, w: int, turned: int, mask: int) -> int:
        return ((((r * (n + 1) + p) * (k + 1) + w) * 2 + turned) << full_mask_bits) | mask

    start = encode(n, 0, min(k, d), 0, 0)
    best = {start: 0}
    heap: list[tuple[int, int]] = [(0, start)]
    low = (1 << full_mask_bits) - 1
    while heap:
        cost, node = heappop(heap)
        if cost > best[node]:
            continue
        mask = node & low
        rest = node >> full_mask_bits
        turned = rest & 1
        rest >>= 1
        rest, w = divmod(rest, k + 1)
        r, p = divmod(rest, n + 1)
        if r == 0:
            return Best(cost // _STEP, cost % _STEP // _COPY, cost % _COPY)
        edges: list[tuple[int, int]] = []
        # FORWARD
        edges.extend(
            ((q - p) * _STEP + 1, encode(r, q, min(k, w + q - p), turned, mask))
            for q in range(p + 1, (r if turned else n) + 1)
        )
        # SAVE, where need be over another snapshot (a free FREE)
        bit = 1 << p
        if snapshots > 0 and not mask & bit:
            if mask.bit_count() < snapshots:
                edges.append((_COPY, node | bit))
            else:
                left = mask
                while left:
                    victim = left & -left
                    left ^= victim
                    edges.append((_COPY, node ^ victim | bit))
        # LOAD
        left = mask
        while left:
            source = left & -left
            left ^= source
            edges.append((_COPY, encode(r, source.bit_length() - 1, min(k, d), turned, mask)))
        # re-creation of a free initial state
        if free_initial:
            edges.append((reset_cost, encode(r, 0, min(k, d), turned, mask)))
        # TURN
        if not turned and p == n:
            edges.append((0, encode(r, p, w, 1, mask)))
        # REVERSE
        if turned and p - lag - w < r - 1 <= p - lag:
            lowest = max(0, p - lag - w + 1)
            edges.extend(
                (1, encode(s, p, w, 1, mask & useful[s]))
                for s in range(lowest, r if partial_reversals else lowest + 1)
            )
        for extra, following in edges:
            total = cost + extra
            known = best.get(following)
            if known is None or total < known:
                best[following] = total
                heappush(heap, (total, following))
    raise AssertionError(
        f"no valid schedule exists: {n=} {snapshots=} {window=} {lookback=} {lag=} {free_initial=}"
    )
