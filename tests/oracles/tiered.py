"""Search over every valid schedule of the windowed model with several tiers, by A*.

`search` says what the cheapest schedule costs: forward steps, calls, and every save and load at the price of
its tier. Reversing timesteps costs the same in all schedules and is left out, the call is not.

With `everything` an edge is one instruction, any that is allowed. Otherwise an edge is a decision: which
state to load; where to save on the way, into which tier, and over what; to run to the end and reverse all
that is retained. Left out because another move is never worse:

* Freeing a slot before it is needed. Saving into a full tier chooses what it replaces.
* Keeping a snapshot all of whose timesteps are reversed: no schedule can use it.
* Going on from the state at which timesteps were reversed. It lies behind them, and so do the timesteps that
  it could bring by lookback, since the workspace retained at least these.
* Running forward past what is to be reversed next, after the turn.
* Reversing fewer timesteps than are retained, or later, where a call costs nothing or there is no lookback:
  the workspace stays as it is, and slots can only become free. (Where calls cost something, a timestep at
  hand by lookback can be left for a longer call later, so that is tried.)
* Leaving a run before it reaches what is to be reversed, and loading anything before the turn. The snapshots
  that an abandoned run saved lie on the way of a later run, which can save them there. This does not hold
  for a run that starts where a given layout says, so that from a layout all runs may be abandoned.

`test_oracles.py` compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oracles.shortest import shortest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator import Layout

_ABSENT = -1  # the position of a workspace that holds no state


class _Problem:
    """The instance, and what both searches need to know."""

    def __init__(
        self,
        n: int,
        capacities: Sequence[int | None],
        write: Sequence[Any],
        read: Sequence[Any],
        forward_step: Any,
        window: int,
        lookback: int,
        lag: int,
        reset: Any,
        forward_call: Any,
        reverse_call: Any,
    ) -> None:
        assert len(capacities) == len(write) == len(read)
        self.n = n
        self.bits = n + 1  # of the mask of stored states of one tier
        self.full = (1 << self.bits) - 1
        self.tiers = range(len(capacities))
        self.capacities = [n + 1 if capacity is None else capacity for capacity in capacities]
        self.write, self.read = list(write), list(read)
        self.step, self.forward_call, self.reverse_call = forward_step, forward_call, reverse_call
        self.window, self.lookback, self.lag = window, lookback, lag
        self.fresh = min(window, lookback)  # timesteps at hand after a load
        self.reset = reset
        # A snapshot of x_m brings the timesteps m - d - lag + 1 ... m - lag and helps to reach those to its
        # right: once all are reversed it is of no use.
        self.useful = []
        for r in range(n + 1):
            mask = sum(1 << m for m in range(n + 1) if max(0, m - lookback - lag + 1) <= r - 1)
            self.useful.append(sum(mask << tier * self.bits for tier in self.tiers))

    def sources(self, stored: int) -> Iterator[tuple[int, Any]]:
        """Yield every state that is stored and the least cost to load it."""
        at_least_once = 0
        for tier in self.tiers:
            at_least_once |= stored >> tier * self.bits & self.full
        while at_least_once:
            bit = at_least_once & -at_least_once
            at_least_once ^= bit
            m = bit.bit_length() - 1
            yield m, min(self.read[k] for k in self.tiers if stored >> k * self.bits & bit)

    def saved(self, stored: int, t: int) -> Iterator[tuple[Any, int]]:
        """Yield (cost, stored) for every way to save x_t: the tier, and what is replaced if it is full."""
        bit = 1 << t
        for tier in self.tiers:
            mask = stored >> tier * self.bits & self.full
            capacity = self.capacities[tier]
            if mask & bit or capacity == 0:
                continue
            cost, added = self.write[tier], stored | bit << tier * self.bits
            if mask.bit_count() < capacity:
                yield cost, added
                continue
            while mask:
                victim = mask & -mask
                mask ^= victim
                yield cost, added ^ victim << tier * self.bits

    def stored_in(self, layout: Layout) -> int:
        stored = 0
        for tier, _, t, content in layout.stored:
            assert content == "STATE"
            stored |= 1 << t + tier * self.bits
        return stored


def search(
    n: int,
    capacities: Sequence[int | None],
    write: Sequence[Any],
    read: Sequence[Any],
    *,
    forward_step: Any = 1,
    window: int = 1,
    lookback: int = 0,
    lag: int = 1,
    free_initial: bool = False,
    reset: Any = 0,
    forward_call: Any = 0,
    reverse_call: Any = 0,
    layout: Layout | None = None,
    everything: bool = False,
    path: list[tuple[Any, Any]] | None = None,
) -> Any:
    """Find the least cost of a valid schedule, reversed timesteps excluded; infinity where there is none.

    Parameters
    ----------
    n, window, lookback, lag, free_initial
        The instance; re-creating a free x_0 costs `reset`.
    capacities, write, read
        For each tier: snapshots that fit (None: any number), cost of a save, cost of a load.
    forward_step, forward_call, reverse_call
        Costs of a timestep forward, and of a forward run and a reversal of any length. All costs may be
        integers, fractions or floats, and are at least 0.
    layout
        Where the schedule starts: what is stored in which tiers, the state at hand and where the workspace
        was last loaded, how many timesteps are left, whether the forward run is complete.
    everything
        Use every instruction rather than decisions. Slow beyond n = 6.
    path
        A list to fill with (cost so far, node) of a cheapest schedule; a node is (timesteps remaining,
        turned, position or -1, number of timesteps retained, mask of stored states, tier after tier).
    """
    problem = _Problem(
        n, capacities, write, read, forward_step, window, lookback, lag, reset, forward_call, reverse_call
    )
    if layout is None:
        node = n, False, 0, min(window, lookback), 0
    else:
        position = _ABSENT if layout.position is None else layout.position
        base = position if layout.base is None else layout.base
        retained = min(window, lookback + position - base) if position >= 0 else 0
        remaining = n if layout.remaining is None else layout.remaining
        node = remaining, layout.turned, position, retained, problem.stored_in(layout)
    if everything:
        return _instructions(problem, node, free_initial, path)
    return _decisions(problem, node, free_initial, abandon=layout is not None, path=path)


_Node = tuple[int, bool, int, int, int]  # remaining, turned, position, retained timesteps, stored


def _instructions(problem: _Problem, start: _Node, free_initial: bool, path: Any) -> Any:
    n, window, lag, step = problem.n, problem.window, problem.lag, problem.step

    def edges(r: int, turned: bool, p: int, w: int, stored: int) -> Iterator[tuple[Any, _Node]]:
        for m, cost in problem.sources(stored):
            yield cost, (r, turned, m, problem.fresh, stored)
        if free_initial:
            yield problem.reset, (r, turned, 0, problem.fresh, stored)
        left = stored
        while left:
            bit = left & -left
            left ^= bit
            yield 0, (r, turned, p, w, stored ^ bit)
        if p == _ABSENT:
            return
        for q in range(p + 1, n + 1):
            yield (q - p) * step + problem.forward_call, (r, turned, q, min(window, w + q - p), stored)
        for cost, saved in problem.saved(stored, p):
            yield cost, (r, turned, p, w, saved)
        if not turned and p == n:
            yield 0, (r, True, p, w, stored)
        if turned and p - lag - w < r - 1 <= p - lag:
            for s in range(max(0, p - lag - w + 1), r):
                yield problem.reverse_call, (s, True, p, w, stored)

    return shortest(start, edges, path=path)


def _decisions(problem: _Problem, start: _Node, free_initial: bool, *, abandon: bool, path: Any) -> Any:
    n, window, lag, step, call = problem.n, problem.window, problem.lag, problem.step, problem.forward_call
    reverse_call, fresh = problem.reverse_call, problem.fresh
    may_wait = bool(reverse_call) and problem.lookback > 0

    def edges(r: int, turned: bool, p: int, w: int, stored: int) -> Iterator[tuple[Any, _Node]]:
        if p == _ABSENT:
            for m, cost in problem.sources(stored):
                yield cost, (r, turned, m, fresh, stored)
            if free_initial:
                yield problem.reset, (r, turned, 0, fresh, stored)
            return
        if not turned and p == n:
            yield 0, (r, True, p, w, stored)
        if abandon or (turned and p >= r - 1 + lag):
            yield 0, (r, turned, _ABSENT, 0, stored)
        if turned and p - lag - w < r - 1 <= p - lag:
            s = max(0, p - lag - w + 1)
            yield reverse_call, (s, True, _ABSENT, 0, stored & problem.useful[s])
            if not may_wait:
                return
        target = r - 1 + lag if turned else n
        if p < target:
            yield (target - p) * step + call, (r, turned, target, min(window, w + target - p), stored)
        for cost, saved in problem.saved(stored, p):
            yield cost, (r, turned, p, w, saved)
        for q in range(p + 1, target):
            run = (q - p) * step + call
            for cost, saved in problem.saved(stored, q):
                yield cost + run, (r, turned, q, min(window, w + q - p), saved)

    if abandon or problem.lookback:
        return shortest(start, edges, path=path)

    # What is left costs at least one forward step per timestep, and per window a load and two calls.
    sources = [*problem.read, problem.reset] if free_initial else problem.read
    each = min(sources) + call + reverse_call
    at_least = [r * step + -(-r // window) * each for r in range(n + 1)]

    def bound(r: int, turned: bool, p: int, w: int, stored: int) -> Any:
        if p == _ABSENT or (w == 0 and p == r):
            return at_least[r]
        return (r - p) * step + at_least[r - min(window, w + r - p)]

    return shortest(start, edges, bound, path)
