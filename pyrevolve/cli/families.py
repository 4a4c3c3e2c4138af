"""The schedules by name, each with the options that it takes."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .. import schedules
from ..crevolve import ONLINE_RULES, Instruction
from ..schedules import Online, Schedule
from .cost_options import GivenCosts
from .problem import add_workspace_options
from .quantities import argument, parse_count

__all__ = ["FAMILIES", "Family", "OnlineRun"]


class OnlineRun:
    """A run of `Online` that ends after `n_timesteps`, which it does not know before.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the run, >= 0.
    n_snapshots : int
        Slots, as of `Online`.
    **options
        As of `Online`.
    """

    def __init__(self, n_timesteps: int, n_snapshots: int, **options: Any) -> None:
        self.n_timesteps = n_timesteps
        self.n_snapshots = n_snapshots
        self._online = Online(n_snapshots, **options)
        self.needs = self._online.needs
        self.free_initial_state = self._online.free_initial_state
        self.rule = self._online.rule

    def __iter__(self) -> Iterator[Instruction]:
        online = self._online.fresh()
        yield from online.advance_to(self.n_timesteps)
        yield from online.finish()


class Family(NamedTuple):
    """A schedule's name, its options and its maker.

    Attributes
    ----------
    what : callable
        The class, whose first line is the help.
    tiers : callable
        From the options to the capacity of every tier, None for one without a limit.
    make : callable
        From the options and the costs to the schedule.
    options : tuple of str
        Names among `_OPTIONS` and the groups "workspace" and "costs".
    """

    what: type
    tiers: Callable[[argparse.Namespace], tuple[int | None, ...]]
    make: Callable[[argparse.Namespace, GivenCosts], Schedule | OnlineRun]
    options: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What the schedule is, in a line."""
        return (inspect.getdoc(self.what) or "").partition("\n\n")[0].replace("\n", " ").replace("`", "")

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""
        parser.add_argument(
            "n_timesteps", type=argument(parse_count), metavar="N", help="timesteps of the forward run"
        )
        for name in self.options:
            if name == "workspace":
                add_workspace_options(parser)
            else:
                flags, settings = _OPTIONS[name]
                parser.add_argument(*flags, **settings)


def _slots(text: str) -> int | None:
    return None if text.strip().lower() in ("none", "inf") else parse_count(text)


def _capacities(text: str) -> tuple[int | None, ...]:
    return tuple(_slots(part) for part in text.split(","))


_COUNT: dict[str, Any] = {"type": argument(parse_count), "metavar": "N"}

_OPTIONS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "snapshots": (("-s", "--snapshots"), {**_COUNT, "required": True, "help": "slots in RAM"}),
    "few": (("-s", "--snapshots"), {**_COUNT, "default": 0, "help": "slots in RAM, default 0"}),
    "on_disk": (("--on-disk",), {**_COUNT, "required": True, "help": "slots on disk"}),
    "capacities": (
        ("--slots",),
        {
            "type": argument(_capacities),
            "required": True,
            "metavar": "N,N,...",
            "help": 'slots of each tier, the fastest first; "none" for any number',
        },
    ),
    "period": (
        ("--period",),
        {**_COUNT, "required": True, "help": "timesteps from one snapshot to the next"},
    ),
    "best_period": (
        ("--period",),
        {**_COUNT, "help": "timesteps from one snapshot on disk to the next; default: the best"},
    ),
    "one_read": (("--one-read",), {"action": "store_true", "help": "read a snapshot on disk at most once"}),
    "units": (
        ("--units",),
        {**_COUNT, "required": True, "help": "units of memory; a state takes one"},
    ),
    "stages": (
        ("--stages",),
        {**_COUNT, "required": True, "help": "units that a timestep's own data takes"},
    ),
    "stiffly_accurate": (
        ("--stiffly-accurate",),
        {"action": "store_true", "help": "the last stage is the new solution"},
    ),
    "rule": (
        ("--rule",),
        {"choices": ONLINE_RULES, "default": "spaced", "help": "which snapshot makes way, default spaced"},
    ),
}


def _workspace(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "window": options.window,
        "lookback": options.lookback or 0,
        "lag": options.lag,
        "initial_state": options.initial_state or "stored",
    }


def _in_ram(options: argparse.Namespace) -> tuple[int | None, ...]:
    return (options.snapshots,)


def _ram_and_disk(options: argparse.Namespace) -> tuple[int | None, ...]:
    return (options.snapshots, None)


def _no_slots(options: argparse.Namespace) -> tuple[int | None, ...]:
    return (0,)


def _periodic_disk_revolve(options: argparse.Namespace, costs: GivenCosts) -> Schedule:
    workspace = _workspace(options)
    if workspace.pop("initial_state") == "free":
        raise ValueError("periodic-disk-revolve stores its initial state; leave out --initial-state free")
    return schedules.PeriodicDiskRevolve(
        options.n_timesteps,
        options.snapshots,
        period=options.period,
        one_read=options.one_read,
        costs=costs.costs,
        **workspace,
    )


FAMILIES = {
    "revolve": Family(
        schedules.Revolve,
        _in_ram,
        lambda o, _: schedules.Revolve(o.n_timesteps, o.snapshots, **_workspace(o)),
        ("snapshots", "workspace"),
    ),
    "multistage": Family(
        schedules.Multistage,
        lambda o: (o.snapshots, o.on_disk),
        lambda o, costs: schedules.Multistage(
            o.n_timesteps, o.snapshots, o.on_disk, costs=costs.costs, **_workspace(o)
        ),
        ("snapshots", "on_disk", "workspace"),
    ),
    "hrevolve": Family(
        schedules.HRevolve,
        lambda o: o.slots,
        lambda o, costs: schedules.HRevolve(o.n_timesteps, o.slots, costs=costs.costs, **_workspace(o)),
        ("capacities", "workspace"),
    ),
    "disk-revolve": Family(
        schedules.DiskRevolve,
        _ram_and_disk,
        lambda o, costs: schedules.DiskRevolve(
            o.n_timesteps, o.snapshots, one_read=o.one_read, costs=costs.costs, **_workspace(o)
        ),
        ("snapshots", "one_read", "workspace"),
    ),
    "periodic-disk-revolve": Family(
        schedules.PeriodicDiskRevolve,
        _ram_and_disk,
        _periodic_disk_revolve,
        ("snapshots", "best_period", "one_read", "workspace"),
    ),
    "two-level": Family(
        schedules.TwoLevel,
        _ram_and_disk,
        lambda o, _: schedules.TwoLevel(o.n_timesteps, o.period, o.snapshots, **_workspace(o)),
        ("period", "few", "workspace"),
    ),
    "async-two-tier": Family(
        schedules.AsyncTwoTier,
        _ram_and_disk,
        lambda o, _: schedules.AsyncTwoTier(o.n_timesteps, o.period, o.snapshots, **_workspace(o)),
        ("period", "few", "workspace"),
    ),
    "periodic": Family(
        schedules.Periodic,
        lambda o: (None,),
        lambda o, _: schedules.Periodic(o.n_timesteps, o.period, **_workspace(o)),
        ("period", "workspace"),
    ),
    "mixed": Family(
        schedules.Mixed,
        _in_ram,
        lambda o, _: schedules.Mixed(o.n_timesteps, o.snapshots),
        ("snapshots",),
    ),
    "cams": Family(
        schedules.CAMS,
        lambda o: (o.units,),
        lambda o, _: schedules.CAMS(o.n_timesteps, o.units, o.stages, stiffly_accurate=o.stiffly_accurate),
        ("units", "stages", "stiffly_accurate"),
    ),
    "online": Family(
        Online,
        _in_ram,
        lambda o, _: OnlineRun(o.n_timesteps, o.snapshots, rule=o.rule, **_workspace(o)),
        ("snapshots", "rule", "workspace"),
    ),
    "store-all": Family(schedules.StoreAll, _no_slots, lambda o, _: schedules.StoreAll(o.n_timesteps), ()),
    "forward-only": Family(
        schedules.ForwardOnly, _no_slots, lambda o, _: schedules.ForwardOnly(o.n_timesteps), ()
    ),
}
