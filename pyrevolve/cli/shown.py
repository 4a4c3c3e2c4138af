"""A schedule that is to be shown, and what becomes of it over its execution."""

from __future__ import annotations

import dataclasses
import itertools
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..costs import Costs
from ..crevolve import Content, Kind
from ..plans import Plan
from ..schedules import Schedule
from ..schedules.base import INSTRUCTION_DTYPE
from .families import OnlineRun

__all__ = ["MOST_INSTRUCTIONS", "Shown", "Snapshots", "of_plan", "tier_names"]

#: Longer schedules are not drawn; a million is far more than a screen has points.
MOST_INSTRUCTIONS = 2_000_000

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Snapshots:
    """The snapshots of a schedule in the order of their tiers and slots, arrays of one length.

    Attributes
    ----------
    tier, slot, t : numpy.ndarray of int64
        Where each is kept, and the state (or the timestep whose step data) that it is.
    step_data : numpy.ndarray of bool
        Whether it is step data.
    saved, dropped : numpy.ndarray of int64
        Instructions that store it and with which it is gone; the number of instructions where it stays.
    loads : numpy.ndarray of int64
        How often it is loaded.
    """

    tier: Ints
    slot: Ints
    t: Ints
    step_data: npt.NDArray[np.bool_]
    saved: Ints
    dropped: Ints
    loads: Ints

    def __len__(self) -> int:
        return len(self.t)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A schedule, listed.

    Parameters
    ----------
    schedule : Schedule or OnlineRun
        The schedule, from the beginning of a run.
    capacities : tuple of int or None
        Slots (CAMS: units) of every tier, the fastest first; None: any number.
    name : str
        What it is called.
    tiers : tuple of str
        What the tiers are called.

    Raises
    ------
    ValueError
        It has more than `MOST_INSTRUCTIONS` instructions.
    """

    schedule: Schedule | OnlineRun
    capacities: tuple[int | None, ...]
    name: str
    tiers: tuple[str, ...]

    def __post_init__(self) -> None:
        _ = self.rows

    @property
    def n_timesteps(self) -> int:
        """Timesteps n of the forward run."""
        return self.schedule.n_timesteps

    @cached_property
    def rows(self) -> npt.NDArray[np.void]:
        """All instructions, dtype ``INSTRUCTION_DTYPE``."""
        rows: npt.NDArray[np.void] = np.empty(MOST_INSTRUCTIONS + 1, dtype=INSTRUCTION_DTYPE)
        if isinstance(self.schedule, Schedule):
            length = self.schedule.instructions().fill(rows.view(np.uint8))
        else:
            length = 0
            for i in itertools.islice(iter(self.schedule), len(rows)):
                values = (i.kind, i.keep or False, i.content or 0, i.tier, i.slot, i.t, i.start, i.stop)
                rows[length] = tuple(-1 if value is None else value for value in values)
                length += 1
        if length > MOST_INSTRUCTIONS:
            raise ValueError(
                f"the schedule has more than {MOST_INSTRUCTIONS} instructions, too many to draw; give fewer "
                "timesteps, more snapshots or a larger window, or list it with --instructions"
            )
        return rows[:length].copy()

    def where(self, tier: int) -> str:
        """Return where the snapshots of a tier are, such as ``"on disk"``."""
        name = self.tiers[tier]
        return f"{'on' if name.endswith('disk') else 'in'} {name}"

    def of_kind(self, *kinds: Kind) -> npt.NDArray[np.bool_]:
        """Return which instructions are of these kinds."""
        return np.isin(self.rows["kind"], kinds)

    @property
    def turn(self) -> int:
        """The instruction with which the first sweep is done."""
        return int(np.argmax(self.of_kind(Kind.TURN)))

    @property
    def forward_steps(self) -> int:
        """Forward timesteps executed, the first sweep included."""
        rows = self.rows[self.of_kind(Kind.FORWARD)]
        return int((rows["stop"] - rows["start"]).sum())

    @property
    def recompute_factor(self) -> float:
        """Forward timesteps executed per timestep; 1 where there are none."""
        return self.forward_steps / self.n_timesteps if self.n_timesteps else 1.0

    def calls(self, kind: Kind) -> int:
        """Return how many instructions of one kind there are."""
        return int(self.of_kind(kind).sum())

    def copies(self, kind: Kind, tier: int) -> int:
        """Return how many SAVEs or LOADs of one tier there are; x_0 made again is a load from tier 0."""
        return int((self.of_kind(kind) & (np.maximum(self.rows["tier"], 0) == tier)).sum())

    def traffic(self, tier: int) -> str:
        """Return the copies to and from a tier, in words."""
        made_again = int((self.of_kind(Kind.LOAD) & (self.rows["tier"] < 0)).sum()) if tier == 0 else 0
        counts = (
            f"{count:,} {noun}{'s' * (count != 1)}"
            for noun, count in (
                ("save", self.copies(Kind.SAVE, tier)),
                ("load", self.copies(Kind.LOAD, tier)),
            )
        )
        return ", ".join(counts) + f", {made_again:,} of them x_0 made again" * (made_again > 0)

    @property
    def used_tiers(self) -> tuple[int, ...]:
        """The tiers that hold a snapshot at some time, and at least the first."""
        return tuple(sorted({0, *np.unique(self.snapshots.tier).tolist()}))

    @cached_property
    def snapshots(self) -> Snapshots:
        """All snapshots."""
        rows, numbers = self.rows, np.arange(len(self.rows))
        kept = self.of_kind(Kind.SAVE, Kind.LOAD, Kind.FREE) & (rows["slot"] >= 0)
        rows, numbers = rows[kept], numbers[kept]
        # What happens to one slot comes together in the order of time, and each SAVE begins a snapshot.
        order = np.lexsort((numbers, rows["slot"], rows["tier"]))
        rows, numbers = rows[order], numbers[order]
        saves = rows["kind"] == Kind.SAVE
        which = np.cumsum(saves) - 1
        loads = rows["kind"] == Kind.LOAD
        dropping = (rows["kind"] == Kind.FREE) | (loads & ~rows["keep"])
        dropped = np.full(int(saves.sum()), len(self.rows))
        dropped[which[dropping]] = numbers[dropping]
        saved = rows[saves]
        return Snapshots(
            tier=saved["tier"].astype(np.int64),
            slot=saved["slot"],
            t=saved["t"],
            step_data=saved["content"] == Content.STEP_DATA,
            saved=numbers[saves],
            dropped=dropped,
            loads=np.bincount(which[loads], minlength=len(dropped)),
        )

    def held(self, tier: int) -> Ints:
        """Return the snapshots that a tier holds after every instruction."""
        here = self.snapshots.tier == tier
        length = len(self.rows)
        come = np.bincount(self.snapshots.saved[here], minlength=length)
        go = np.bincount(self.snapshots.dropped[here], minlength=length + 1)[:length]
        return np.asarray(np.cumsum(come - go))

    def ends(self, costs: Costs) -> Floats:
        """Return when every instruction ends, in the unit of the costs; every copy is waited for."""
        rows = self.rows
        steps = rows["stop"] - rows["start"]
        seconds = np.zeros(len(rows))
        for kind, step, call in (
            (Kind.FORWARD, costs.forward_step, costs.forward_call),
            (Kind.REVERSE, costs.reversal, costs.reverse_call),
        ):
            here = self.of_kind(kind)
            seconds[here] = call + step * steps[here]
        for kind, cost_at in ((Kind.SAVE, costs.save_at), (Kind.LOAD, costs.load_at)):
            for tier in self.used_tiers:
                # To make x_0 again is counted with the loads of tier 0.
                here = self.of_kind(kind) & (np.maximum(rows["tier"], 0) == tier)
                seconds[here] = cost_at(tier) if here.any() else 0.0
        return np.cumsum(seconds)

    def parameters(self) -> list[str]:
        """Return what the schedule was made with, in words."""
        window, lookback, lag = self.schedule.needs
        words = [f"{self.n_timesteps} timesteps"]
        stages = getattr(self.schedule, "stages", None)
        for tier, capacity in enumerate(self.capacities):
            if capacity != 0:
                number = "any number of" if capacity is None else capacity
                noun = f"{'slot' if stages is None else 'unit'}{'' if capacity == 1 else 's'}"
                words.append(f"{number} {noun} {self.where(tier)}")
        if stages is not None:
            accurate = getattr(self.schedule, "stiffly_accurate", False)
            words.append(f"{stages} units for a timestep's data{', stiffly accurate' * accurate}")
        period = getattr(self.schedule, "best_period", getattr(self.schedule, "period", None))
        if period:
            words.append(f"period {period}")
        words.append(f"window {window}")
        if lookback or lag != 1:
            words.append(f"lookback {lookback}, lag {lag}")
        if self.schedule.free_initial_state:
            words.append("initial state free")
        rule = getattr(self.schedule, "rule", None)
        return words + [f"rule {rule}"] * (rule is not None)


def tier_names(tiers: int) -> tuple[str, ...]:
    """Return what tiers are called: the first is RAM, of two the second is disk."""
    if tiers <= 2:
        return ("RAM", "disk")[:tiers]
    return ("RAM", *(f"tier {tier}" for tier in range(1, tiers)))


def of_plan(chosen: Plan) -> Shown:
    """Return the schedule of a plan, to be shown."""
    schedule = chosen.schedule
    return Shown(schedule, chosen.slots, type(schedule).__name__, tuple(map(str, chosen.tiers)))
