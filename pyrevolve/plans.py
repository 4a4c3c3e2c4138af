"""What a plan decides, and how it explains itself."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias, cast

from .budget import format_bytes
from .costs import RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK, Costs
from .quantities import cost_text, number_text
from .schedules import AsyncTwoTier, HRevolve, Multistage, Revolve

__all__ = ["Family", "Plan", "Tier"]

#: Windowed Revolve in RAM, a snapshot on disk every so many timesteps, windowed Revolve over RAM and disk,
#: the least time over all tiers.
Family: TypeAlias = Literal["revolve", "two-tier", "multistage", "hierarchical"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tier:
    """Where some of a plan's snapshots are kept.

    Attributes
    ----------
    medium : {"memory", "disk"}
        What it is.
    compressed : bool
        Whether snapshots are compressed. Then there are as many as fit in `nbytes`, and `slots` is an
        estimate.
    slots : int
        Snapshots that it holds at once, at most.
    nbytes : int
        Bytes that it may take.
    """

    medium: Literal["memory", "disk"]
    compressed: bool = False
    slots: int
    nbytes: int

    def __str__(self) -> str:
        return ("compressed " if self.compressed else "") + ("RAM" if self.medium == "memory" else "disk")


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
        Revolve with snapshots in RAM and on disk (`Multistage`); the least time over all tiers (`HRevolve`).
    window : int
        Timesteps whose step data the workspace must retain; the forward field's ring is built for it.
    n_snapshots : int
        Snapshots held in RAM at once, at most.
    n_on_disk : int
        Snapshots held on disk at once, at most.
    slots : tuple of int or None
        Slots of each tier that the schedule may use, at least as many; None: any number.
    tiers : tuple of Tier
        The tiers, the fastest first.
    period : int or None
        Timesteps between snapshots on disk, of the two-tier family.
    lookback, lag : int
        What a loaded state carries, as given.
    initial_state : {"stored", "free"}
        Whether x_0 is stored like any state or re-created at no cost.
    memory, disk : int
        The budgets [bytes].
    planned_bytes : int
        What is held in RAM at the peak: fixed bytes, window, snapshots, staging buffers and what codecs need
        to work [bytes]; <= memory.
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
        What the prediction rests on, by tier of the plan.
    measured : bool
        Whether these are seconds; False: nothing was measured, and the unit is a forward timestep.
    runners_up : tuple of Plan
        The best of every other family that fits, the fastest first.
    """

    n_timesteps: int
    family: Family = "revolve"
    window: int
    n_snapshots: int
    n_on_disk: int = 0
    slots: tuple[int | None, ...] = ()
    tiers: tuple[Tier, ...] = ()
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
    measured: bool = dataclasses.field(default=True, repr=False)
    runners_up: tuple[Plan, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.slots:
            object.__setattr__(self, "slots", (self.n_snapshots,))
        if not self.tiers:
            tier = Tier(medium="memory", slots=self.n_snapshots, nbytes=self.planned_bytes)
            object.__setattr__(self, "tiers", (tier,))
        if self.costs in (RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK):
            object.__setattr__(self, "measured", False)
        for name in ("saves", "loads"):
            if not getattr(self, f"{name}_per_tier"):
                object.__setattr__(self, f"{name}_per_tier", (getattr(self, name),))

    @property
    def recompute_factor(self) -> float:
        """Forward timesteps executed per timestep; 1.0 where there are none."""
        return self.forward_steps / self.n_timesteps if self.n_timesteps else 1.0

    @property
    def compressed(self) -> bool:
        """Whether snapshots of some tier are compressed."""
        return any(tier.compressed for tier in self.tiers)

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
            f"  predicted time  {cost_text(self.predicted_seconds, self.measured)}{self._measured}",
        ]
        if self.n_on_disk:
            every = f", one every {self.period} timesteps" if self.period else ""
            lines[4:4] = [
                f"  on disk         {self.n_on_disk} snapshots{every}, "
                f"{format_bytes(self.planned_disk_bytes)}"
            ]
            lines[-1] += f", {cost_text(self.predicted_wait, self.measured)} of it waiting for the disk"
        if self.compressed:
            tiers = ", ".join(f"about {tier.slots} in {tier}" for tier in self.tiers if tier.compressed)
            lines.insert(3, f"  compressed      {tiers}")
        return "\n".join(lines)

    def _time(self, value: float) -> str:
        """Return a time for a sentence."""
        return ("" if self.measured else "the time of ") + cost_text(value, self.measured)

    @property
    def _measured(self) -> str:
        return "" if self.measured else " (nothing was measured)"

    def table(self) -> str:
        """Return the plan and its runners-up as a table, one line each, the fastest first."""
        head = (
            "family",
            "compressed",
            "window",
            "RAM",
            "disk",
            "period",
            "steps/n",
            "saves",
            "loads",
            "memory",
            "time [s]" if self.measured else "time [steps]",
        )
        rows: list[tuple[str, ...]] = [(*head, "")]
        rows += [choice._row(self.predicted_seconds) for choice in (self, *self.runners_up)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join(lines)

    def _row(self, best: float) -> tuple[str, ...]:
        return (
            self.family,
            ", ".join("RAM" if t.medium == "memory" else "disk" for t in self.tiers if t.compressed) or "-",
            str(self.window),
            str(self.n_snapshots),
            str(self.n_on_disk),
            "-" if self.period is None else str(self.period),
            f"{self.recompute_factor:.3f}",
            "+".join(map(str, self.saves_per_tier)),
            "+".join(map(str, self.loads_per_tier)),
            format_bytes(self.planned_bytes),
            number_text(self.predicted_seconds),
            f"{self.predicted_seconds / best:.2f} x" if best else "",
        )

    def explain(self) -> str:
        """Return in words what the plan does and why nothing else is faster, one sentence a line."""
        n, costs = self.n_timesteps, self.costs
        reverse = costs.reversal * n
        least = costs.forward_step * n + reverse
        words = [
            f"{n} timesteps run forward once and reversed take {self._time(least)}"
            f"{self._measured}; this plan takes {self._time(self.predicted_seconds)}."
        ]
        if self.forward_steps == n:
            words.append("Nothing is run twice.")
        else:
            again = self.forward_steps - n
            words.append(
                f"{again} timesteps are run again, {again / n:.3f} per timestep, which takes "
                f"{self._time(again * costs.forward_step)}."
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
                    f"{self._time(self.predicted_wait)} of the transfers cannot be hidden."
                )
            else:
                words.append(f"Every transfer is waited for: {self._time(self.predicted_wait)}.")
        words += [
            f"About {tier.slots} snapshots fit in {format_bytes(tier.nbytes)} of {tier}; where they turn out "
            "larger or smaller, what is left of the run is planned anew."
            for tier in self.tiers
            if tier.compressed
        ]
        if not self.n_on_disk and self.disk and self.runners_up:
            words.append("No snapshot is put on disk, because doing without is faster.")
        elif not self.n_on_disk and self.disk and self.forward_steps > n:
            words.append(
                "No snapshot is put on disk, because the disk does not hold one or nothing is won by it."
            )
        if self.runners_up:
            second = self.runners_up[0]
            words.append(
                f"The next best, {second.family}{' with compression' * second.compressed}, would take "
                f"{self._time(second.predicted_seconds)} with {second.forward_steps} forward timesteps and "
                f"{sum(second.saves_per_tier)} saves."
            )
        return "\n".join(words)
