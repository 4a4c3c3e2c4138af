"""The cheapest way through a graph that is given by its edges."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def shortest(
    start: tuple[Any, ...],
    edges: Callable[..., Iterable[tuple[Any, tuple[Any, ...]]]],
    bound: Callable[..., Any] = lambda *node: 0,
    path: list[tuple[Any, tuple[Any, ...]]] | None = None,
) -> Any:
    """Return the least cost from `start` to a node with nothing left after the turn, or infinity.

    A node begins with what remains and whether the schedule has turned. ``edges(*node)`` are pairs of a cost,
    at least 0, and a node, and ``bound(*node)`` is never more than what the rest costs.
    A list `path` is filled with (cost so far, node) along the way.
    """
    best = {start: 0}
    before = {}
    heap = [(bound(*start), 0, start)]
    while heap:
        _, cost, node = heappop(heap)
        if cost > best[node]:
            continue
        if node[0] == 0 and node[1]:
            if path is not None:
                path.append((cost, node))
                while node in before:
                    node = before[node]
                    path.append((best[node], node))
                path.reverse()
            return cost
        for extra, following in edges(*node):
            total = cost + extra
            known = best.get(following)
            if known is None or total < known:
                best[following] = total
                if path is not None:
                    before[following] = node
                heappush(heap, (total + bound(*following), total, following))
    return float("inf")
