"""The online rules with windows, one timestep after the other, and what any rule can do at all.

Notation as in `closed_form`: window K, lookback d, S states of which the first, x_e, is never given up. What
is stored is told as a tuple of timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

from oracles.closed_form import capacity, chain_steps, forward_steps, repetition


@dataclass(frozen=True)
class Model:
    """S states, the first at x_e, and the workspace."""

    states: int
    window: int
    lookback: int
    first: int

    def steps(self, stored: tuple[int, ...], n: int) -> int:
        """Forward steps of a run of n timesteps with these states stored, all used."""
        return n + sum(
            chain_steps(x, self.states - 1 - i, self.window, self.lookback)
            for i, x in self._chains(stored, n)
        )

    def most_runs(self, stored: tuple[int, ...], n: int) -> int:
        """How often one timestep is run forward at most."""
        return 1 + max(
            (
                repetition(x, self.states - 1 - i, self.window, self.lookback)
                for i, x in self._chains(stored, n)
            ),
            default=0,
        )

    def least_steps(self, stored: tuple[int, ...], n: int) -> int:
        """Forward steps where stored states, but for the first, may be dropped before the reversal."""
        return min(
            self.steps(stored[:1] + kept, n)
            for size in range(len(stored))
            for kept in combinations(stored[1:], size)
        )

    def runs_needed(self, n: int) -> int:
        """The least rho with which n timesteps can be reversed."""
        return repetition(n - self.first, self.states - 1, self.window, self.lookback)

    def allowed(self, rank: int, rho: int) -> int:
        """The largest gap to the right of the state of this rank."""
        return self.lookback + capacity(self.states - 1 - rank, rho - 1, self.window, self.lookback)

    def targets(self, rho: int) -> list[int]:
        places = [self.first]
        for rank in range(self.states - 1):
            places.append(places[-1] + self.allowed(rank, rho))
        return places

    def _chains(self, stored: tuple[int, ...], n: int) -> list[tuple[int, int]]:
        ends = [right - self.lookback for right in stored[1:]] + [n]
        chains = [(i, min(end, n - self.window) - stored[i]) for i, end in enumerate(ends)]
        return [(i, x) for i, x in chains if x > 0]


def states_stored(rule: str, model: Model, n: int) -> list[tuple[int, ...]]:
    """What is stored once the run has left x_p, for p = 0 ... n - 1."""
    stored: list[int] = []
    levels: list[float] = []
    history = []
    long_run = False
    for p in range(n):
        victim: int | None = None
        level = float("inf")
        if not stored:
            save = p == model.first
        else:
            beyond = p - stored[-1] - model.lookback
            windows, rest = divmod(beyond, model.window)
            on_grid = beyond >= 0 and rest == 0 and p > stored[-1]
            level = windows
            if len(stored) < model.states:
                save = on_grid
            elif model.states == 1:
                save = False
            else:
                rho = max(1, model.runs_needed(p + model.window - model.lookback))
                limit_of = {"late_greedy": 3, "stumm_walther": 4}.get(rule)
                if limit_of is not None and not long_run and rho > limit_of:
                    by_limits = _by_limits(rule, model, stored, p, rho, windows, on_grid)
                    if by_limits is not None:  # from here on the other rule decides
                        long_run = True
                        levels[1:] = [3] * (len(levels) - 1)
                if rule in ("spaced", "target_gap") or (limit_of is not None and not long_run):
                    victim = _by_limits(rule, model, stored, p, rho, windows, on_grid)
                elif on_grid and windows >= 1 and rule in ("greedy", "late_greedy"):
                    victim = _by_cost(model, stored, p)
                elif on_grid and rule in ("minimal_repetition", "stumm_walther"):
                    later = [max([level, *levels[i + 1 :]]) for i in range(len(levels))]
                    dispensable = [i for i in range(1, len(levels)) if levels[i] < later[i]]
                    victim = max(dispensable, default=None)
                save = victim is not None
        if save:
            if victim is not None:
                del stored[victim], levels[victim]
            stored.append(p)
            levels.append(level)
        history.append(tuple(stored))
    return history


def _by_limits(
    rule: str, model: Model, stored: list[int], p: int, rho: int, windows: int, on_grid: bool
) -> int | None:
    targets = model.targets(rho)
    spaced = rule in ("spaced", "stumm_walther") and rho >= 4
    stop = p in targets or (on_grid and windows >= (rho - 1 if spaced else 1))
    if rule == "stumm_walther" and spaced and p not in targets:
        shortly = range(p + 1, p + model.window + model.lookback + 1)
        beyond = model.window - model.lookback
        if any(t in targets and model.runs_needed(t + beyond) == rho for t in shortly):
            return None
    newest = len(stored) - 1
    limit = stored[newest - 1] + model.allowed(newest - 1, rho)
    if stored[newest] not in targets and p <= limit:
        return newest if stop or p == limit else None
    if stop:
        for i in range(newest - 1, 0, -1):
            if stored[i] not in targets and stored[i + 1] - stored[i - 1] <= model.allowed(i - 1, rho):
                return i
    return newest if p in targets else None


def _by_cost(model: Model, stored: list[int], p: int) -> int | None:
    n = p + 2 * model.window
    costs = [model.steps((*stored[:i], *stored[i + 1 :], p), n) for i in range(1, len(stored))]
    least = min(costs)
    return 1 + costs.index(least) if least < model.steps(tuple(stored), n) else None


def least_worst_excess(model: Model, n: int, useless: int) -> int:
    """The least excess over the optimum, at all lengths up to n, that one strategy can keep to, of all.

    A strategy may save at any timestep and give up any state. What is saved at x_p counts for runs of more
    than p + `useless` timesteps, because shorter ones are known to end.
    """

    @cache
    def excess(stored: tuple[int, ...], length: int) -> int:
        optimum = forward_steps(
            length, model.states, model.window, model.lookback, 1 if model.lookback == 0 else 0, False
        )
        steps = length if length <= model.window else model.least_steps(stored, length)
        return steps - optimum

    bound = 0
    while True:
        reachable = {(model.first,)}
        for length in range(model.first + 1, n + 1):
            p = length - useless - 1
            if p > model.first:
                reachable |= {
                    (*kept, p)
                    for stored in reachable
                    for kept in (
                        [stored]
                        if len(stored) < model.states
                        else [stored[:i] + stored[i + 1 :] for i in range(1, len(stored))]
                    )
                }
            reachable = {stored for stored in reachable if excess(stored, length) <= bound}
            if not reachable:
                break
        else:
            return bound
        bound += 1
