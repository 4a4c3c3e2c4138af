"""Schedules that store a state or the step data of one timestep: a search, and dynamic programs.

Capacity is counted in units, one for a state and `units` for step data: 1 for mixed checkpoints (Maddison,
2024), the number of stages for multistage Runge-Kutta methods (CAMS; Zhang and Constantinescu, 2021 and
2023). With `carries`, for stiffly accurate methods, step data of timestep t holds x_{t+1} too. Costs are
forward steps, recorded ones included; there is one tier, and a timestep's data is at hand right after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oracles.shortest import shortest

if TYPE_CHECKING:
    from collections.abc import Iterator

INFINITY = float("inf")

_ABSENT = -1
_Node = tuple[int, bool, int, int, int, int]


def search(
    n: int,
    capacity: int,
    *,
    units: int = 1,
    carries: bool = False,
    everything: bool = False,
    path: list[tuple[int, _Node]] | None = None,
) -> float:
    """Find the fewest forward steps of all valid schedules.

    A node is (timesteps remaining, turned, position, timestep whose data is at hand, stored states, stored
    step data), -1 where there is none; `path` is filled with (cost so far, node) of a best schedule.

    With `everything`, every instruction that is allowed is tried. Otherwise these are left out, since another
    move is never worse: keeping what can serve no timestep any more; running past what is to be reversed
    next; anything but the reversal when the timestep to be reversed is at hand, and going on from where that
    leaves the workspace; loading before the turn; leaving a run, after the turn, before it reaches what is to
    be reversed (its snapshots lie on the way of a later run that finds no fewer free units).
    """
    if n == 0:
        return 0

    def used(states: int, data: int) -> int:
        return states.bit_count() + units * data.bit_count()

    def edges(r: int, turned: bool, p: int, hand: int, states: int, data: int) -> Iterator[tuple[int, _Node]]:
        if turned and hand == r - 1:
            s = r - 1
            if everything:
                yield 0, (s, True, p, hand, states, data)
            else:
                below = (1 << s) - 1
                yield 0, (s, True, _ABSENT, _ABSENT, states & below, data & below)
                return
        if not turned and p == n:
            yield 0, (r, True, p, hand, states, data)
        if everything or (turned and p == _ABSENT) or (turned and p >= r):
            for m in _positions(states):
                yield 0, (r, turned, m, _ABSENT, states, data)
            for t in _positions(data):
                yield 0, (r, turned, t + 1 if carries else _ABSENT, t, states, data)
        for kept in (states ^ 1 << m for m in _positions(states)):
            yield 0, (r, turned, p, hand, kept, data)
        for kept in (data ^ 1 << t for t in _positions(data)):
            yield 0, (r, turned, p, hand, states, kept)
        free = capacity - used(states, data)
        if hand != _ABSENT and hand < n and free >= units and not data >> hand & 1:
            yield 0, (r, turned, p, hand, states, data | 1 << hand)
        if p == _ABSENT:
            return
        if free >= 1 and not states >> p & 1:
            yield 0, (r, turned, p, hand, states | 1 << p, data)
        end = r if turned and not everything else n
        for q in range(p + 1, end + 1):
            yield q - p, (r, turned, q, q - 1, states, data)

    def bound(r: int, turned: bool, p: int, hand: int, states: int, data: int) -> int:
        # Each timestep whose data is neither at hand nor stored has to be run.
        at_hand = data | (1 << hand if hand != _ABSENT else 0)
        return r - (at_hand & ((1 << r) - 1)).bit_count()

    start: _Node = (n, False, 0, _ABSENT, 0, 0)
    return shortest(start, edges, bound, path)


def _positions(mask: int) -> Iterator[int]:
    while mask:
        bit = mask & -mask
        mask ^= bit
        yield bit.bit_length() - 1


def steps(n_max: int, capacity: int, *, units: int = 1, carries: bool = False) -> list[list[float]]:
    """Return the forward steps ``[s][n]`` of chains from a state at hand that is not stored, s free units.

    p(n, s) is the least of storing the start, running i, and solving the right part and then the left one
    from the start (which frees its unit at its last use); and of storing the step data of the first timestep
    and solving the rest. If step data carries the next state, the rest starts from a state that is stored
    already, g(n, s), and never costs a unit.
    """
    p: list[list[float]] = []
    g: list[list[float]] = []
    for s in range(capacity + 1):
        p.append([0, 1])
        g.append([0, 1])
        for n in range(2, n_max + 1):
            best = INFINITY
            if s >= 1:
                best = min(i + p[s - 1][n - i] + p[s][i] for i in range(1, n))
            if s >= units:
                rest = g if carries else p
                best = min(best, 1 + rest[s - units][n - 1])
            p[s].append(best)
            g[s].append(min(best, *(i + p[s][n - i] + g[s][i] for i in range(1, n))))
    return p


def published_cams(n: int, capacity: int, units: int, *, carries: bool) -> float:
    """Return the extra forward steps of the published recurrences P, and Q where a block has no next state.

    They count the unit of the start in s and hold it until the end.
    """
    P = [[INFINITY] * (n + 1) for _ in range(capacity + 1)]
    Q = [[INFINITY] * (n + 1) for _ in range(capacity + 1)]
    P[0][1] = 0  # a last timestep needs no stored start
    for s in range(1, capacity + 1):
        P[s][0] = P[s][1] = 0
        if s >= units:
            Q[s][1] = 0
        for m in range(2, n + 1):
            if s >= units:
                Q[s][m] = min(P[s - units][m - 1], Q[s - units][m - 1])
            if s == 1:
                P[s][m] = m * (m - 1) // 2
                continue
            P[s][m] = min(k + P[s][k] + P[s - 1][m - k] for k in range(1, m))
            if not carries:
                P[s][m] = min(P[s][m], *(k - 1 + P[s][k - 1] + Q[s - 1][m - k + 1] for k in range(1, m)))
            elif s > units:
                P[s][m] = min(P[s][m], *(k - 1 + P[s][k - 1] + P[s - units][m - k] for k in range(1, m)))
    if not carries:
        return min(P[capacity][n], Q[capacity][n])
    return min(P[capacity][n], P[capacity - units + 1][n - 1] if capacity >= units else INFINITY)
