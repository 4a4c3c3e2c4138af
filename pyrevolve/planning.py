"""From budgets of memory and disk to the fastest schedule that fits them."""

from __future__ import annotations

import dataclasses
import logging
import math
import operator
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, cast

from . import crevolve
from .budget import Bytes, format_bytes, parse_bytes
from .costs import RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK, Costs
from .crevolve import Counts
from .errors import BudgetError
from .schedules import AsyncTwoTier, HRevolve, Multistage, Revolve
from .schedules.offline import resolve_lag

__all__ = ["Plan", "plan", "plan_curve"]

#: Windowed Revolve in RAM, a snapshot on disk every so many timesteps, windowed Revolve over RAM and disk,
#: the least time over both.
Family: TypeAlias = Literal["revolve", "two-tier", "multistage", "hierarchical"]

#: Up to so much n**2 times rows in all, tables of H-Revolve are worth the time of a plan (about 30 ms).
_MOST_TABLE_WORK = 600_000_000

_LOG = logging.getLogger("pyrevolve.planning")

_INT64_MAX = (1 << 63) - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do within budgets of memory and disk, and what that is predicted to cost.

    Made by `plan`; ``plan.schedule`` is the schedule to run, ``str(plan)`` a readable summary,
    ``plan.table()`` compares it with the runners-up, and ``plan.explain()`` says in words why it is the best.

    Attributes
    ----------
    n_timesteps : int
        Timesteps n of the forward run.
    family : {"revolve", "two-tier", "multistage", "hierarchical"}
        Windowed Revolve in RAM; a snapshot on disk every `period` timesteps (`AsyncTwoTier`); windowed
        Revolve with snapshots in RAM and on disk (`Multistage`); the least time over both (`HRevolve`).
    window : int
        Timesteps whose step data the workspace must retain; the forward field's ring is built for it.
    n_snapshots : int
        Snapshots held in RAM at once, at most.
    n_on_disk : int
        Snapshots held on disk at once, at most.
    slots : tuple of int or None
        Slots in RAM, and on disk, that the schedule may use, at least as many; None: any number.
    period : int or None
        Timesteps between snapshots on disk, of the two-tier family.
    lookback, lag : int
        What a loaded state carries, as given.
    initial_state : {"stored", "free"}
        Whether x_0 is stored like any state or re-created at no cost.
    memory, disk : int
        The budgets [bytes].
    planned_bytes : int
        What is held in RAM at the peak: fixed bytes, window, snapshots and staging buffers [bytes]; <=
        memory.
    planned_disk_bytes : int
        What is held on disk at the peak [bytes]; <= disk.
    predicted_seconds : float
        The schedule's time in the unit of `costs`, normally seconds.
    predicted_wait : float
        Of that, waiting for the disk.
    overlapped : bool
        Whether the prediction assumes that transfers to and from disk run beside timesteps.
    forward_steps : int
        Forward timesteps executed, first sweep included.
    saves, loads, forward_calls, reverse_calls : int
        Copies into slots, copies back, and calls of the two operators.
    saves_per_tier, loads_per_tier : tuple of int
        The copies of each tier, RAM first.
    costs : Costs
        What the prediction rests on.
    runners_up : tuple of Plan
        The best of every other family that fits, the fastest first.
    """

    n_timesteps: int
    family: Family = "revolve"
    window: int
    n_snapshots: int
    n_on_disk: int = 0
    slots: tuple[int | None, ...] = ()
    period: int | None = None
    lookback: int
    lag: int
    initial_state: Literal["stored", "free"]
    memory: int
    disk: int = 0
    planned_bytes: int
    planned_disk_bytes: int = 0
    predicted_seconds: float
    predicted_wait: float = 0.0
    overlapped: bool = False
    forward_steps: int
    saves: int
    loads: int
    forward_calls: int
    reverse_calls: int
    saves_per_tier: tuple[int, ...] = ()
    loads_per_tier: tuple[int, ...] = ()
    costs: Costs
    runners_up: tuple[Plan, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.slots:
            object.__setattr__(self, "slots", (self.n_snapshots,))
        for name in ("saves", "loads"):
            if not getattr(self, f"{name}_per_tier"):
                object.__setattr__(self, f"{name}_per_tier", (getattr(self, name),))

    @property
    def recompute_factor(self) -> float:
        """Forward timesteps executed per timestep; 1.0 where there are none."""
        return self.forward_steps / self.n_timesteps if self.n_timesteps else 1.0

    @property
    def calls(self) -> int:
        """Calls of the forward and the reverse operator."""
        return self.forward_calls + self.reverse_calls

    @property
    def schedule(self) -> Revolve | Multistage | AsyncTwoTier | HRevolve:
        """The schedule that carries the plan out."""
        options: dict[str, Any] = {
            "window": self.window,
            "lookback": self.lookback,
            "lag": self.lag,
            "initial_state": self.initial_state,
        }
        n, slots = self.n_timesteps, self.slots
        if self.family == "two-tier":
            return AsyncTwoTier(n, cast(int, self.period), cast(int, slots[0]), **options)
        if self.family == "hierarchical":
            return HRevolve(n, slots, costs=self.costs, **options)
        if self.family == "multistage":
            return Multistage(n, cast(int, slots[0]), cast(int, slots[1]), costs=self.costs, **options)
        # Where the workspace retains everything, no snapshot is taken, whatever number is allowed.
        return Revolve(n, max(cast(int, slots[0]), int(self.initial_state == "stored")), **options)

    def __str__(self) -> str:
        budget = format_bytes(self.memory) + (f" and {format_bytes(self.disk)} of disk" if self.disk else "")
        lines = [
            f"{self.n_timesteps} timesteps in {budget}",
            f"  window          {self.window} timesteps (lookback {self.lookback}, lag {self.lag})",
            f"  snapshots       {self.n_snapshots} (initial state {self.initial_state})",
            f"  memory held     {format_bytes(self.planned_bytes)}",
            f"  forward steps   {self.forward_steps} ({self.recompute_factor:.3f} per timestep)",
            f"  copies          {self.saves} saves, {self.loads} loads",
            f"  calls           {self.forward_calls} forward, {self.reverse_calls} reverse",
            f"  predicted time  {self.predicted_seconds:.4g} {self._unit}",
        ]
        if self.n_on_disk:
            every = f", one every {self.period} timesteps" if self.period else ""
            lines[4:4] = [
                f"  on disk         {self.n_on_disk} snapshots{every}, "
                f"{format_bytes(self.planned_disk_bytes)}"
            ]
            lines[-1] += f", {self.predicted_wait:.3g} of it waiting for the disk"
        return "\n".join(lines)

    @property
    def _unit(self) -> str:
        measured = self.costs not in (RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK)
        return "s" if measured else "forward steps (nothing was measured)"

    def table(self) -> str:
        """Return the plan and its runners-up as a table, one line each, the fastest first."""
        head = ("family", "window", "RAM", "disk", "period", "steps/n", "saves", "loads", "memory", "time")
        rows: list[tuple[str, ...]] = [(*head, "")]
        rows += [choice._row(self.predicted_seconds) for choice in (self, *self.runners_up)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join(lines)

    def _row(self, best: float) -> tuple[str, ...]:
        return (
            self.family,
            str(self.window),
            str(self.n_snapshots),
            str(self.n_on_disk),
            "-" if self.period is None else str(self.period),
            f"{self.recompute_factor:.3f}",
            "+".join(map(str, self.saves_per_tier)),
            "+".join(map(str, self.loads_per_tier)),
            format_bytes(self.planned_bytes),
            f"{self.predicted_seconds:.4g}",
            f"{self.predicted_seconds / best:.2f} x" if best else "",
        )

    def explain(self) -> str:
        """Return in words what the plan does and why nothing else is faster, one sentence a line."""
        n, costs = self.n_timesteps, self.costs
        reverse = costs.reverse_step * n
        least = costs.forward_step * n + reverse
        words = [
            f"{n} timesteps run forward once and reversed take {least:.4g} {self._unit}; "
            f"this plan takes {self.predicted_seconds:.4g}."
        ]
        if self.forward_steps == n:
            words.append("Nothing is run twice.")
        else:
            again = self.forward_steps - n
            words.append(
                f"{again} timesteps are run again, {again / n:.3f} per timestep, which takes "
                f"{again * costs.forward_step:.4g}."
            )
        if self.window >= n + 1 - self.lag:
            words.append(f"The window of {self.window} holds the whole run.")
        else:
            words.append(
                f"With a window of {self.window} there are {self.reverse_calls} reverse and "
                f"{self.forward_calls} forward calls; a longer one "
                + ("leaves less memory for snapshots" if self.n_snapshots else "does not fit")
                + ", a shorter one needs more calls and copies."
            )
        if self.n_on_disk:
            where = f"{self.n_on_disk} snapshots lie on disk ({format_bytes(self.planned_disk_bytes)})"
            if self.period is not None:
                where += f", one every {self.period} timesteps, each written once and read at most once"
            words.append(where + ".")
            if self.overlapped:
                words.append(
                    "With a storage that writes behind the run and reads ahead, transfers are hidden."
                    if self.predicted_wait == 0.0
                    else "With a storage that writes behind the run and reads ahead, "
                    f"{self.predicted_wait:.4g} of the transfers cannot be hidden."
                )
            else:
                words.append(f"Every transfer is waited for: {self.predicted_wait:.4g}.")
        elif self.disk and self.runners_up:
            words.append("No snapshot is put on disk, because doing without is faster.")
        elif self.disk and self.forward_steps > n:
            words.append(
                "No snapshot is put on disk, because the disk does not hold one or nothing is won by it."
            )
        if self.runners_up:
            second = self.runners_up[0]
            words.append(
                f"The next best, {second.family}, would take {second.predicted_seconds:.4g} with "
                f"{second.forward_steps} forward timesteps and {sum(second.saves_per_tier)} saves."
            )
        return "\n".join(words)


def plan(
    n_timesteps: int,
    *,
    state_bytes: int,
    window_slice_bytes: int,
    memory: Bytes,
    disk: Bytes | None = None,
    fixed_bytes: int = 0,
    lookback: int = 0,
    lag: int | None = None,
    initial_state: Literal["stored", "free"] = "stored",
    min_window: int = 1,
    max_window: int | None = None,
    costs: Costs | None = None,
    overlap: bool = False,
    buffers: int = 2,
) -> Plan:
    """Choose the schedule, the window and the snapshots that take the least predicted time.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, >= 0.
    state_bytes : int
        What one snapshot takes [bytes], >= 0.
    window_slice_bytes : int
        By how much the workspace grows where its window grows by one timestep: one slice of every field that
        the reverse operator reads [bytes], >= 0.
    memory : int, float or str
        The budget: bytes, or a string such as ``"8 GiB"``. It covers everything named here, at the peak.
    disk : int, float or str, optional
        The budget for snapshots on disk. None: none are put there.
    fixed_bytes : int
        What the workspace takes besides ``window * window_slice_bytes`` [bytes], >= 0.
    lookback : int
        Timesteps whose step data a loaded state carries by itself, >= 0.
    lag : {0, 1}, optional
        1: step data exists only after its timestep was run. 0: the state carries it (needs lookback >= 1).
        None: 1 where lookback is 0, otherwise 0.
    initial_state : {"stored", "free"}
        ``"free"``: x_0 is re-created at no cost and needs no snapshot.
    min_window : int
        The smallest window that the operators allow, >= 1; never less than `lookback` is planned.
    max_window : int, optional
        The largest window that is allowed, >= min_window and >= lookback. None: as large as is of use.
    costs : Costs, optional
        What the operations cost, with two tiers where `disk` is given. Measured costs give the best plan
        (`measure_costs`); without them typical ratios are assumed.
    overlap : bool
        Whether the storage on disk is one that writes behind the run and reads ahead, so that transfers run
        beside timesteps. False: every transfer is waited for, as with `DiskStorage`.
    buffers : int
        Staging buffers of one state each that an overlapping storage takes from `memory`, >= 1.

    Returns
    -------
    Plan
        With what it holds in RAM <= memory and on disk <= disk, and with the best plan of every other family
        as ``runners_up``.

    Raises
    ------
    TypeError
        A float where an integer belongs, or `costs` is no Costs.
    ValueError
        An argument is outside the range stated above, or `disk` is given and `costs` have no tier for it.
    BudgetError
        The budget does not hold the smallest window and, where the initial state is stored and there is no
        disk for it, one snapshot; the message and its attribute ``required`` say how much does. A ValueError.
    OverflowError
        A count or a number of bytes does not fit in 64 bits.

    Notes
    -----
    Every family is searched over windows, with exact counts and without iterating a schedule, for the least

        T = forward_step*F + reverse_step*n + forward_call*C_f + reverse_call*C_b + save*saves + load*loads

    (copies summed over tiers), or for the least overlapped time (`AsyncTwoTier.overlap`). The window of the
    RAM-only family is the best of all. For the others windows and numbers of snapshots are tried in geometric
    steps; `HRevolve` only for the windows that are best for the other families, with as many snapshots in RAM
    as its dynamic program can weigh within the time that a plan may take (about 200 for n = 1000, a few for
    n = 10**4, none beyond n = 24,000), and it is named only where it is the fastest. A small
    window reaches the fewest forward steps F with very many short calls and copies; a larger one trades some
    forward steps for far fewer of both.

    References
    ----------
    A. Griewank, A. Walther (2000), Algorithm 799: Revolve, ACM Trans. Math. Softw. 26(1), 19-45,
    doi:10.1145/347837.347846, for the schedule of window 1.

    Examples
    --------
    >>> chosen = plan(3000, state_bytes=7_000_000, window_slice_bytes=3_500_000, memory="350 MB", lookback=2)
    >>> chosen.planned_bytes <= 350_000_000
    True
    >>> plan(
    ...     3000, state_bytes=2, window_slice_bytes=1, memory=30, disk=10**6, lookback=2, overlap=True
    ... ).family
    'two-tier'
    """
    n = _integer("n_timesteps", n_timesteps, 0)
    state = _integer("state_bytes", state_bytes, 0)
    piece = _integer("window_slice_bytes", window_slice_bytes, 0)
    fixed = _integer("fixed_bytes", fixed_bytes, 0)
    lookback = _integer("lookback", lookback, 0)
    buffers = _integer("buffers", buffers, 1)
    lag = resolve_lag(lookback, lag)
    if initial_state not in ("stored", "free"):
        raise ValueError(f'initial_state must be "stored" or "free", got {initial_state!r}')
    smallest = max(_integer("min_window", min_window, 1), lookback)
    # With lag 0 the workspace at x_n also retains what x_n carries: n timesteps need a window of n + 1.
    everything = max(smallest, n + 1 - lag)
    largest = everything
    if max_window is not None:
        limit = _integer("max_window", max_window, 1)
        if limit < smallest:
            raise ValueError(
                f"max_window must be >= min_window and >= lookback, here {smallest}, got {limit}"
            )
        largest = min(largest, limit)
    budget = parse_bytes(memory)
    on_disk = 0 if disk is None else parse_bytes(disk, "disk")
    if costs is None:
        costs = RELATIVE_COSTS if disk is None else RELATIVE_COSTS_WITH_DISK
    if not isinstance(costs, Costs):
        raise TypeError(f"costs must be pyrevolve.Costs, got {type(costs).__name__}")
    if disk is not None and costs.tiers < 2:
        raise ValueError(
            "costs must have two tiers where disk= is given, save=(ram, disk) and load=(ram, disk), got "
            f"{costs!r}; measure_costs(..., directory=...) measures them"
        )
    if costs.tiers > 1:
        costs = dataclasses.replace(
            costs,
            save=tuple(costs.save_at(tier) for tier in range(1 if disk is None else 2)),
            load=tuple(costs.load_at(tier) for tier in range(1 if disk is None else 2)),
        )

    # The smallest budget that works is that of the smallest window or, where slices are tiny beside a state,
    # that of a window that makes snapshots needless.
    disk_is_of_use = on_disk >= state and on_disk > 0
    snapshot = initial_state == "stored" and smallest < everything and not disk_is_of_use
    smallest_plans = [
        (
            fixed + smallest * piece + snapshot * state,
            f"window {smallest}" + " and one snapshot" * snapshot,
        )
    ]
    if everything <= largest:
        smallest_plans.append((fixed + everything * piece, f"window {everything}"))
    required, what = min(smallest_plans)
    search: dict[str, Any] = {
        "window_min": smallest,
        "window_max": largest,
        "budget_bytes": min(budget, _INT64_MAX),
        "fixed_bytes": fixed,
        "window_slice_bytes": piece,
        "state_bytes": state,
        "lookback": lookback,
        "lag": lag,
        "free_initial": initial_state == "free",
        "forward_step": costs.forward_step,
        "reverse_step": costs.reverse_step,
        "forward_call": costs.forward_call,
        "reverse_call": costs.reverse_call,
        "save": costs.save_at(0),
        "load": costs.load_at(0),
    }

    def make(family: Family, counts: Counts, **found: Any) -> Plan:
        ram, *slower = counts.tiers
        on_disk_at_once = sum(tier.peak for tier in slower)
        held = ram.peak + (buffers if found.get("overlapped") else 0)
        return Plan(
            n_timesteps=n,
            family=family,
            lookback=lookback,
            lag=lag,
            initial_state=initial_state,
            memory=budget,
            disk=on_disk,
            planned_bytes=fixed + found["window"] * piece + held * state,
            n_snapshots=ram.peak,
            n_on_disk=on_disk_at_once,
            planned_disk_bytes=state * on_disk_at_once,
            forward_steps=counts.forward_steps,
            saves=counts.saves,
            loads=counts.loads,
            forward_calls=counts.forward_calls,
            reverse_calls=counts.reverse_calls,
            saves_per_tier=tuple(tier.saves for tier in counts.tiers),
            loads_per_tier=tuple(tier.loads for tier in counts.tiers),
            costs=costs,
            **found,
        )

    found = []
    if budget >= required:
        choice = crevolve.plan_window(n, **search)
        if choice.window:
            found.append(
                make(
                    "revolve",
                    choice.counts,
                    window=choice.window,
                    predicted_seconds=choice.seconds,
                )
            )
        families: tuple[Family, ...] = ("two-tier", "multistage") if disk_is_of_use else ()
        for family in families:
            periodic = family == "two-tier"
            tiers = crevolve.plan_tiers(
                n,
                periodic=periodic,
                disk_bytes=min(on_disk, _INT64_MAX),
                overlapped=overlap and periodic,
                buffers=buffers,
                write=costs.save_at(1),
                read=costs.load_at(1),
                **search,
            )
            if tiers.window and tiers.counts is not None:
                found.append(
                    make(
                        family,
                        tiers.counts,
                        window=tiers.window,
                        slots=(tiers.slots, tiers.on_disk),
                        period=tiers.period or None,
                        predicted_seconds=tiers.seconds,
                        predicted_wait=tiers.waiting,
                        overlapped=overlap and periodic,
                    )
                )
        windows = {candidate.window for candidate in found if disk_is_of_use}
        states_on_disk = min(n, on_disk // state) if state else n
        for window in sorted(windows):
            left = budget - fixed - window * piece
            rows = _MOST_TABLE_WORK // max(1, n * n * len(windows))
            slots = min(n, left // state, rows - 1) if state else min(n, rows - 1)
            # A few states on disk are rows of the table each; many are as good as no bound, one row.
            enough = states_on_disk * (window + lookback) >= n
            if slots < 0 or n < window + lag or (not enough and slots + states_on_disk > rows):
                continue
            table = HRevolve(
                n,
                (slots, None if enough else states_on_disk),
                costs=costs,
                window=window,
                lookback=lookback,
                lag=lag,
                initial_state=initial_state,
            )
            if table.optimal_cost >= min(candidate.predicted_seconds for candidate in found):
                continue
            slower = table.counts.tiers[1:]
            if not 0 < sum(tier.peak for tier in slower) <= states_on_disk:
                continue  # without any snapshot on disk it is no plan over two tiers
            found.append(
                make(
                    "hierarchical",
                    table.counts,
                    window=window,
                    slots=table.capacities,
                    predicted_seconds=table.makespan(costs),
                    predicted_wait=sum(
                        tier.saves * costs.save_at(1) + tier.loads * costs.load_at(1) for tier in slower
                    ),
                )
            )
    if not found:
        raise BudgetError(
            f"memory must be >= {required} bytes ({format_bytes(required)}) for {what}, got {budget} bytes "
            f"({format_bytes(budget)})",
            required,
            budget,
        )
    found.sort(key=lambda candidate: candidate.predicted_seconds)
    best_of_family = {candidate.family: candidate for candidate in reversed(found)}
    others = tuple(candidate for candidate in found[1:] if candidate is best_of_family[candidate.family])
    chosen = dataclasses.replace(found[0], runners_up=others)
    _LOG.debug("plan: %s", chosen)
    return chosen


def plan_curve(
    n_timesteps: int,
    *,
    state_bytes: int,
    window_slice_bytes: int,
    memory: Iterable[Bytes] | None = None,
    points: int = 40,
    fixed_bytes: int = 0,
    **options: Any,
) -> list[Plan]:
    """Return the best plan for each of many memory budgets: predicted time over memory.

    Parameters
    ----------
    n_timesteps, state_bytes, window_slice_bytes, fixed_bytes
        As of `plan`.
    memory : iterable of int, float or str, optional
        The budgets. None: `points` of them, in geometric steps from the smallest that works to what storing
        everything takes.
    points : int
        How many budgets where `memory` is not given, >= 2.
    **options
        Everything else that `plan` takes: ``disk``, ``lookback``, ``costs`` and so on.

    Returns
    -------
    list of Plan
        One for each budget, in the order given. ``[(p.planned_bytes, p.predicted_seconds) for p in ...]`` is
        the trade-off picture.

    Raises
    ------
    TypeError, ValueError, BudgetError, OverflowError
        As of `plan`.

    Examples
    --------
    >>> curve = plan_curve(1000, state_bytes=2, window_slice_bytes=1, lookback=2, points=5)
    >>> [p.memory for p in curve]
    [4, 16, 64, 252, 1001]
    """
    arguments: dict[str, Any] = {
        "state_bytes": state_bytes,
        "window_slice_bytes": window_slice_bytes,
        "fixed_bytes": fixed_bytes,
        **options,
    }
    if memory is None:
        if _integer("points", points, 2) < 2:
            raise ValueError(f"points must be >= 2, got {points}")
        try:
            least = plan(n_timesteps, memory=0, **arguments).planned_bytes
        except BudgetError as error:
            least = error.required
        most = max(least, plan(n_timesteps, memory=2**62, **arguments).planned_bytes)
        ratio = (most / max(1, least)) ** (1.0 / (points - 1))
        memory = [max(least, math.ceil(least * ratio**point)) for point in range(points - 1)] + [most]
    given: object = memory
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"memory must be a list of budgets, got {given!r}")
    return [plan(n_timesteps, memory=budget, **arguments) for budget in memory]


def _integer(name: str, value: int, minimum: int) -> int:
    """Return `value` as an int >= `minimum`; refuse floats instead of cutting them."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {number}")
    return number
