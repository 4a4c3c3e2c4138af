"""Schedules that keep snapshots in several tiers of storage, by cost."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property
from typing import Any, Literal

from ..arguments import at_least, check_initial_state, flag, resolve_lag
from ..costs import Costs, check_costs
from ..crevolve import Counts, HierarchicalPlan, Instructions, PeriodicDiskPlan
from .base import Schedule

__all__ = ["DiskRevolve", "HRevolve", "PeriodicDiskRevolve"]


_Tier = tuple[int | None, float, float, bool]


@dataclass(frozen=True)
class _Tiered(Schedule):
    """What the schedules below share: a plan that is solved once, when it is first asked for."""

    n_timesteps: int
    _: KW_ONLY
    costs: Costs
    window: int = 1
    lookback: int = 0
    lag: int | None = None

    def __post_init__(self) -> None:
        check_costs(self.costs)
        for name, least in (("n_timesteps", 0), ("window", 1), ("lookback", 0)):
            object.__setattr__(self, name, at_least(name, getattr(self, name), least))
        if self.lookback > self.window:
            raise ValueError(f"lookback must be <= window = {self.window}, got {self.lookback}")
        object.__setattr__(self, "lag", resolve_lag(self.lookback, self.lag))
        costs = self.costs
        rates = [costs.forward_step, costs.forward_call, costs.reversal, costs.reverse_call]
        rates += [cost(tier) for tier in range(costs.tiers) for cost in (costs.save_at, costs.load_at)]
        if not math.isfinite(max(rates) * float(max(1, self.n_timesteps)) ** 2):
            raise OverflowError(
                f"sums of these costs do not fit in a float; give them in another unit: {costs!r}"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Without the plan, which is solved again where it is needed.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    @abc.abstractmethod
    def _plan(self) -> HierarchicalPlan | PeriodicDiskPlan: ...

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer."""
        assert self.lag is not None
        return self.window, self.lookback, self.lag

    @property
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""
        return False

    @cached_property
    def counts(self) -> Counts:
        """All counts at once, found by going through the schedule."""
        return self.instructions().tally()

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions; the first one waits for the plan."""
        return self._plan.instructions()

    def _solve(self, tiers: tuple[_Tier, ...]) -> HierarchicalPlan:
        costs = self.costs
        return HierarchicalPlan(
            self.n_timesteps,
            tiers,
            *self.needs,
            self.free_initial_state,
            costs.forward_step,
            costs.forward_call,
            costs.reverse_call,
        )

    def _total(self, cost: float) -> float:
        return cost + self.costs.reversal * self.n_timesteps


def _check_any_slot(schedule: _Tiered, slots: Iterable[int | None]) -> None:
    """Refuse tiers without a slot where the initial state needs one."""
    fits = schedule.n_timesteps <= schedule.window - (schedule.lag == 0)
    if not (any(slot != 0 for slot in slots) or fits or schedule.n_timesteps == 0):
        raise ValueError(
            f"capacities are 0 in every tier, but {schedule.n_timesteps} timesteps that a window of "
            f"{schedule.window} does not hold need a slot for the initial state: give at least one slot"
        )


def _check_tiers(costs: Costs, tiers: int) -> None:
    if costs.tiers != tiers:
        raise ValueError(
            f"costs must have save= and load= for each of the {tiers} tiers, got {costs.tiers}: "
            f"give tuples of {tiers} numbers, the fastest tier first"
        )


@dataclass(frozen=True)
class HRevolve(_Tiered):
    """The least time over several tiers, each with a capacity and costs of its own.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, >= 0.
    capacities : sequence of int or None
        Slots for states in each tier, >= 0, the fastest tier first; None: a tier that never fills up.
    costs : Costs
        ``save`` and ``load`` have one number for each tier.
    window : int, default 1
        Timesteps K whose step data the workspace retains at once, >= 1.
    lookback : int, default 0
        Timesteps d whose step data a loaded state carries by itself, 0 <= d <= window.
    lag : {None, 0, 1}
        As for `Revolve`. None: 1 with lookback 0, else 0.
    initial_state : {"stored", "free"}
        "free": x_0 takes no slot; re-creating it costs as much as a load from tier 0.

    Raises
    ------
    TypeError
        A parameter is of the wrong type.
    ValueError
        A parameter is out of its range, `costs` has another number of tiers than `capacities`, or all
        capacities are 0 and the window does not hold the run.
    OverflowError
        Sums of these costs do not fit in a float (at construction), or there are more than 2^31 timesteps, or
        units of them, for the tables (when the plan is solved).
    MemoryError
        The tables do not fit in memory, when the plan is solved.

    Notes
    -----
    The plan is solved when counts, cost or instructions are first asked for; that can be interrupted. It
    takes at most O(n^2) operations and n numbers for each slot, far fewer as a rule: splits that cannot be
    best are passed over, rows end where more slots change nothing, tier 0 has a closed form where its copies
    and the calls cost nothing, and at lag 1 chains are counted in units of gcd(window, lookback) timesteps.

    The cost is the least of all schedules that keep whole states where neither ``save`` nor ``load`` falls
    from one tier to the next: shown by exhaustive search at small sizes, windows included. Where one falls,
    it may be better that a state lies in a slower tier than one to its left, which is not tried here. With
    window 1 and lookback 0 it is H-Revolve's cost.

    References
    ----------
    Aupy, Herrmann, Hovland & Robert (2016), SIAM J. Sci. Comput. 38(3), C255-C279, doi:10.1137/15M1019222
    (two tiers). Herrmann & Pallez (2020), ACM TOMS 46(2), 18, doi:10.1145/3378672 (any number).

    Examples
    --------
    >>> costs = Costs(forward_step=1, reverse_step=1, save=(0, 5), load=(0, 5))
    >>> schedule = HRevolve(41, (2, 2), costs=costs)
    >>> schedule.optimal_cost
    227.0
    >>> [tier.saves for tier in schedule.counts.tiers]
    [16, 2]
    """

    capacities: tuple[int | None, ...]
    _: KW_ONLY
    initial_state: Literal["stored", "free"] = "stored"

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            given = tuple(self.capacities)
        except TypeError:
            raise TypeError(f"capacities must be one number for each tier, got {self.capacities!r}") from None
        capacities = tuple(None if slots is None else at_least("capacities", slots, 0) for slots in given)
        object.__setattr__(self, "capacities", capacities)
        if not capacities:
            raise ValueError("capacities must have one number for each tier, got none")
        _check_tiers(self.costs, len(capacities))
        check_initial_state(self.initial_state)
        if not self.free_initial_state:
            _check_any_slot(self, capacities)

    @property
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""
        return self.initial_state == "free"

    @cached_property
    def _plan(self) -> HierarchicalPlan:
        costs = self.costs
        return self._solve(
            tuple(
                (slots, costs.save_at(tier), costs.load_at(tier), False)
                for tier, slots in enumerate(self.capacities)
            )
        )

    @property
    def optimal_cost(self) -> float:
        """The dynamic program's value for the whole run, which is the makespan with these costs."""
        return self._total(self._plan.cost)


@dataclass(frozen=True)
class DiskRevolve(_Tiered):
    """The least time over a number of slots in RAM and any number on disk.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, >= 0.
    n_snapshots : int
        Slots in RAM, tier 0, >= 0. The disk is tier 1.
    costs : Costs
        ``save`` and ``load`` have two numbers, RAM first.
    one_read : bool, default False
        Whether a state on disk is read at most once.
    window, lookback, lag, initial_state
        As for `HRevolve`.

    Raises
    ------
    TypeError
        A parameter is of the wrong type.
    ValueError
        A parameter is out of its range, or `costs` is not for two tiers.
    OverflowError
        Sums of these costs do not fit in a float (at construction), or there are more than 2^31 timesteps, or
        units of them, for the tables (when the plan is solved).
    MemoryError
        The tables do not fit in memory, when the plan is solved.

    Notes
    -----
    ``HRevolve(n, (n_snapshots, None))``, which see, is the same without `one_read`. The tables are O(n).

    References
    ----------
    Aupy, Herrmann, Hovland & Robert (2016), SIAM J. Sci. Comput. 38(3), C255-C279, doi:10.1137/15M1019222.

    Examples
    --------
    >>> costs = Costs(forward_step=1, reverse_step=0, save=(0, 2), load=(0, 2))
    >>> DiskRevolve(61, 3, costs=costs).optimal_cost
    217.0
    """

    n_snapshots: int
    _: KW_ONLY
    one_read: bool = False
    initial_state: Literal["stored", "free"] = "stored"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "n_snapshots", at_least("n_snapshots", self.n_snapshots, 0))
        _check_tiers(self.costs, 2)
        check_initial_state(self.initial_state)

    @property
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""
        return self.initial_state == "free"

    @cached_property
    def _plan(self) -> HierarchicalPlan:
        return self._solve(_ram_and_disk(self.costs, self.n_snapshots, self.one_read))

    @property
    def optimal_cost(self) -> float:
        """The dynamic program's value for the whole run, which is the makespan with these costs."""
        return self._total(self._plan.cost)


@dataclass(frozen=True)
class PeriodicDiskRevolve(_Tiered):
    """A state on disk every so many timesteps, each segment between two solved with the slots in RAM.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, >= 0.
    n_snapshots : int
        Slots in RAM, tier 0, >= 0. The disk is tier 1.
    costs : Costs
        ``save`` and ``load`` have two numbers, RAM first.
    period : int, optional
        Timesteps from one state on disk to the next, >= 1. None: the best for a run without end.
    one_read : bool, default False
        Whether a state on disk is read at most once.
    window, lookback, lag
        As for `HRevolve`.

    Raises
    ------
    TypeError
        A parameter is of the wrong type.
    ValueError
        A parameter is out of its range, or `costs` is not for two tiers.
    OverflowError
        Sums of these costs do not fit in a float (at construction), or there are more than 2^31 timesteps, or
        units of them, for the tables (when the plan is solved).
    MemoryError
        The tables do not fit in memory, when the plan is solved.

    Notes
    -----
    States on disk are e, e + P, e + 2 P, ... with e = max(0, d - 1 + lag), while more than P + K - d
    timesteps are left, and one more where that pays. The best period has the least
    (w + P u + h_f + V(P - d)) / P, where V is what a segment costs from its state on disk with no further
    write there; of several the longest. It is searched until a lower bound, convex in P, is above the best
    found and rises, or until P is longer than the run, which has no period if that one is the best.

    References
    ----------
    Aupy & Herrmann (2017), Optim. Methods Softw. 32(3), 594-624, doi:10.1080/10556788.2016.1230612.

    Examples
    --------
    >>> costs = Costs(forward_step=1, reverse_step=1, save=(0, 5), load=(0, 5))
    >>> PeriodicDiskRevolve(1000, 5, costs=costs).best_period
    21
    """

    n_snapshots: int
    _: KW_ONLY
    period: int | None = None
    one_read: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "n_snapshots", at_least("n_snapshots", self.n_snapshots, 0))
        if self.period is not None:
            object.__setattr__(self, "period", at_least("period", self.period, 1))
        _check_tiers(self.costs, 2)

    @cached_property
    def _plan(self) -> PeriodicDiskPlan:
        costs = self.costs
        return PeriodicDiskPlan(
            self.n_timesteps,
            _ram_and_disk(costs, self.n_snapshots, self.one_read),
            *self.needs,
            self.period,
            costs.forward_step,
            costs.forward_call,
            costs.reverse_call,
        )

    @property
    def best_period(self) -> int:
        """Timesteps from one state on disk to the next: as given, or the best; 0 where nothing is stored."""
        return self._plan.period

    @property
    def optimal_cost(self) -> float:
        """The least cost with this period, which is the makespan with these costs."""
        return self._total(self._plan.cost)


def _ram_and_disk(costs: Costs, n_snapshots: int, one_read: bool) -> tuple[_Tier, ...]:
    return (
        (n_snapshots, costs.save_at(0), costs.load_at(0), False),
        (None, costs.save_at(1), costs.load_at(1), flag("one_read", one_read)),
    )
