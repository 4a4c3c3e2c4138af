"""What it costs to finish a run from the states that are stored, and what online rules have stored.

Three independent answers to the first: a search over all schedules, the sum over gaps of the chain formula of
the windowed model, and the published formula for one timestep at a time. The rules are written from their
texts, for windows of one timestep, and say what is stored before x_{n-1}, when the run turns out to end at
x_n.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

from oracles import closed_form, tiered
from oracles.classic import beta
from oracles.closed_form import binomial_advances as advances
from oracles.exhaustive import Best

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator import Layout

INFINITY = float("inf")


def search(
    n: int,
    snapshots: int,
    layout: Layout,
    *,
    window: int = 1,
    lookback: int = 0,
    lag: int = 1,
    free_initial: bool = False,
    everything: bool = False,
) -> float:
    """Find the fewest forward steps of all schedules that start from `layout`; infinity if there is none."""
    return tiered.search(
        n,
        [snapshots],
        [0],
        [0],
        layout=layout,
        window=window,
        lookback=lookback,
        lag=lag,
        free_initial=free_initial,
        everything=everything,
    )


def search_lexicographic(
    n: int,
    snapshots: int,
    layout: Layout,
    *,
    window: int = 1,
    lookback: int = 0,
    lag: int = 1,
    free_initial: bool = False,
) -> Best | None:
    """Find the least (forward steps, saves + loads, calls) of all schedules that start from `layout`."""
    step, copy = 1 << 40, 1 << 20
    cost = tiered.search(
        n,
        [snapshots],
        [copy],
        [copy],
        forward_step=step,
        forward_call=1,
        reverse_call=1,
        layout=layout,
        window=window,
        lookback=lookback,
        lag=lag,
        free_initial=free_initial,
    )
    return None if cost == INFINITY else Best(cost // step, cost % step // copy, cost % copy)


def finish(
    n: int,
    snapshots: int,
    layout: Layout,
    *,
    window: int = 1,
    lookback: int = 0,
    lag: int = 1,
    free_initial: bool = False,
) -> float:
    """Return the fewest forward steps from a layout, by the chain formula.

    The workspace reverses what it retains, before or after running to x_n. Then each stored state is the
    start of a chain that ends at the state to its right, less the timesteps which that carries by lookback;
    all free slots help. Any stored state may be dropped for its slot, the state at hand may be saved, or
    given up, and the start of a chain may first be replaced by a state further right (run, save over the
    start), where nothing, or less than it saves, needs the start again. The least over all subsets and
    moves, so 2^k programs.
    """

    @cache
    def chains(kept: tuple[int, ...], end: int) -> float:
        """Reverse everything to the left of x_end."""
        if end <= lag - 1:
            return 0
        if not kept:
            return closed_form.chain_steps(end, snapshots, window, lookback) if free_initial else INFINITY
        left, start = kept[:-1], kept[-1]
        free = snapshots - len(kept)
        if end <= start:
            return chains(left, min(end, start - lookback))
        return min(
            moved
            + closed_form.chain_steps(end - start - moved, free, window, lookback)
            + chains(left, start + moved - lookback)
            for moved in range(end - start)
        )

    remaining = n if layout.remaining is None else layout.remaining
    end = remaining - 1 + lag if layout.turned else n
    position, base = layout.position, layout.base
    states = sorted({stored.t for stored in layout.stored})
    best = INFINITY
    for size in range(len(states) + 1):
        for kept in combinations(states, size):
            best = min(best, chains(kept, end))
            if position is None:
                continue
            retained = min(window, lookback + position - (position if base is None else base))
            if position <= end:
                retained = min(window, retained + end - position)
                best = min(best, end - position + chains(kept, end - retained))
            elif position - retained < end:
                best = min(best, chains(kept, position - retained))
            if len(kept) < snapshots:
                best = min(best, chains(tuple(sorted({*kept, position})), end))
    return best


def published(n: int, snapshots: int, stored: Sequence[int]) -> int:
    """Return the advances of the whole run, first sweep to x_{n-1} included, if no stored state is dropped.

    The cost of section 3 for one timestep at a time: state i, by time, has c - i slots with its own.
    """
    gaps = [*stored, n - 1]
    return n - 1 + sum(advances(gaps[i + 1] - gaps[i], snapshots - i) for i in range(len(stored)))


def offline_optimum(n: int, snapshots: int) -> int:
    return advances(n, snapshots)


def wang_moin_iaccarino(snapshots: int) -> Iterator[list[int]]:
    """Yield the stored states at x_1, x_2, ...: those before the state at hand, by time."""
    stored: list[tuple[int, float]] = []  # (time, level)
    level: float = INFINITY
    time = 0
    while True:
        dispensable = [
            k
            for k, (_, mine) in enumerate(stored)
            if level > mine or any(later > mine for _, later in stored[k + 1 :])
        ]
        if len(stored) < snapshots or dispensable:
            if len(stored) == snapshots:
                del stored[dispensable[-1]]
            stored.append((time, level))
            level = 0
        else:
            level += 1
        time += 1
        yield [state for state, _ in stored]


def greedy(snapshots: int) -> Iterator[list[int]]:
    """Yield as above: store x_p if that makes a run to x_{p+2} cheaper than the layout without it."""
    stored: list[int] = []
    p = 0
    while True:
        if len(stored) < snapshots:
            stored.append(p)
        else:
            layouts = [[*stored[:k], *stored[k + 1 :], p] for k in range(1, snapshots)]
            best = min(layouts, key=lambda layout: published(p + 2, snapshots, layout), default=stored)
            if published(p + 2, snapshots, best) < published(p + 2, snapshots, stored):
                stored = best
        p += 1
        yield list(stored)


def target_gap(snapshots: int) -> Iterator[list[int]]:
    """Yield as above: replace the newest state whose two gaps may be one, unless it is a target."""
    c = snapshots
    stored: list[int] = []
    p = 0
    while True:
        if len(stored) < c:
            stored.append(p)
        else:
            r = 0
            while beta(c, r) < p + 1:
                r += 1
            targets = [0]
            while len(targets) < c:
                targets.append(targets[-1] + beta(c - len(targets) + 1, r - 1))
            follows = [*stored, p]
            removable = [
                k
                for k in range(1, c)
                if stored[k] not in targets and follows[k + 1] - follows[k - 1] <= beta(c - 1 - k + 2, r - 1)
            ]
            if removable:
                del stored[removable[-1]]
                stored.append(p)
            elif p in targets:
                stored[-1] = p
        p += 1
        yield list(stored)
