"""What was predicted of a run beside what it was."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from .budget import format_bytes
from .compression import Compressed
from .costs import Costs
from .crevolve import Kind
from .observers import names_of
from .plans import Plan
from .profiling import Profiler
from .schedules import Online, Schedule
from .storage import Storage
from .storage.slots import SlotStorage

__all__ = ["Fact", "Report", "Row", "make_report"]


class Row(NamedTuple):
    """What was done of one kind. Whatever is None is not known, or there is no such thing.

    Attributes
    ----------
    name : str
        What was done.
    predicted, run : int or None
        How often: timesteps, calls or copies.
    predicted_seconds, run_seconds : float or None
        How long that took [s].
    nbytes : int or None
        Bytes copied in the run.
    """

    name: str
    predicted: int | None = None
    run: int | None = None
    predicted_seconds: float | None = None
    run_seconds: float | None = None
    nbytes: int | None = None


class Fact(NamedTuple):
    """One number about the whole run. Whatever is None is not known, or there is no such thing.

    Attributes
    ----------
    name : str
        What it is.
    predicted, run : float or None
        Its value before the run, and in it.
    budget : float or None
        What was allowed.
    unit : {"", "bytes"}
        The unit of all three.
    """

    name: str
    predicted: float | None
    run: float | None
    budget: float | None = None
    unit: Literal["", "bytes"] = ""

    def __str__(self) -> str:
        values = [("", self.run), ("predicted ", self.predicted), ("budget ", self.budget)]
        return f"{self.name}: " + ", ".join(
            what + (format_bytes(int(value)) if self.unit == "bytes" else f"{value:.4g}")
            for what, value in values
            if value is not None
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """What a shot took, beside what was predicted; ``str(report)`` is a table.

    ``report["forward steps"]`` is the `Row` or `Fact` of that name. Of a shot that is not finished, the run
    is what was carried out so far.

    Attributes
    ----------
    title : str
        What was run.
    rows : tuple of Row
        What was done: timesteps and calls of the operators, saves and loads of every tier, and how long was
        waited for its transfers, or they were hidden behind timesteps; the driver's own time, and all of it.
    facts : tuple of Fact
        What else there is to say: how often a timestep was run, what was held, what compression made of it.
    efficiency : float or None
        Predicted over real time, of a finished shot; None where no time was predicted, or it was resumed.
    """

    title: str
    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]
    efficiency: float | None

    def __getitem__(self, name: str) -> Row | Fact:
        every: tuple[Row | Fact, ...] = (*self.rows, *self.facts)
        for each in every:
            if each.name == name:
                return each
        raise KeyError(f"{name!r} is not in this report; it has {', '.join(each.name for each in every)}")

    def __str__(self) -> str:
        cells = [("", "predicted", "run", "predicted [s]", "run [s]", "copied"), *map(_cells, self.rows)]
        widths = [max(len(each[column]) for each in cells) for column in range(len(cells[0]))]
        lines = [self.title]
        for each in cells:
            numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(each[1:], widths[1:], strict=True))
            lines.append(f"{each[0]:{widths[0]}}  {numbers}".rstrip())
        return "\n".join([*lines, *map(str, self.facts)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _cells(row: Row) -> tuple[str, ...]:
    counts = ["-" if value is None else str(value) for value in (row.predicted, row.run)]
    times = ["-" if value is None else f"{value:.4g}" for value in (row.predicted_seconds, row.run_seconds)]
    return row.name, *counts, *times, "" if row.nbytes is None else format_bytes(row.nbytes)


def make_report(
    profiler: Profiler,
    schedule: Schedule | Online,
    storages: Sequence[Storage],
    *,
    n_timesteps: int,
    resumed: bool = False,
    replanned: int = 0,
    plan: Plan | None = None,
    costs: Costs | None = None,
    fixed_bytes: int = 0,
    memory: int | None = None,
    disk: int | None = None,
    ratio: float | None = None,
) -> Report:
    """Return what a shot took beside what was predicted.

    Parameters
    ----------
    profiler : Profiler
        What it took.
    schedule : Schedule or Online
        What was carried out.
    storages : sequence of Storage
        By tier.
    n_timesteps : int
        Timesteps n, or those run so far.
    resumed : bool
        Whether another process began it.
    replanned : int
        How often what was left of the run was planned anew.
    plan : Plan, optional
        The plan, where it is of this schedule: bytes and seconds are what it predicts.
    costs : Costs, optional
        By tier [s], where they are known.
    fixed_bytes : int
        What is held of the memory budget besides the storages [bytes].
    memory, disk : int, optional
        The budgets [bytes].
    ratio : float, optional
        How many times smaller compression was expected to make a state.
    """
    runs_back = not isinstance(schedule, Schedule) or schedule.reverse_steps == n_timesteps
    finished = profiler[Kind.END if runs_back else Kind.TURN].calls > 0
    foretold = schedule if isinstance(schedule, Schedule) and schedule.layout is None else None
    seconds = None
    if foretold is not None and costs is not None:
        seconds = foretold.makespan(costs) if plan is None else plan.predicted_seconds
    efficiency = None
    if seconds and finished and not resumed and profiler.seconds > 0.0:
        efficiency = seconds / profiler.seconds
    rows = (
        *_operators(profiler, foretold, costs),
        *_tiers(profiler, foretold, storages, costs, plan),
        Row("driver", run_seconds=profiler.driver_seconds),
        Row("total", predicted_seconds=seconds, run_seconds=profiler.seconds),
    )
    factor = None if foretold is None else foretold.recompute_factor
    facts = [
        Fact("forward steps per timestep", factor, profiler[Kind.FORWARD].steps / max(1, n_timesteps)),
        *_held(profiler, storages, plan, fixed_bytes, memory, disk),
        *_compression(storages, ratio),
    ]
    if replanned:
        facts.append(Fact("planned anew, times", 0, replanned))
    if efficiency is not None:
        facts.append(Fact("efficiency (predicted / run)", None, efficiency))
    words = [f"{type(schedule).__name__} of {n_timesteps} timesteps"]
    if resumed:
        words.append("resumed: of the run, only what this process did")
    if not finished:
        words.append("not finished: of the run, what was done so far")
    return Report("; ".join(words), rows, tuple(facts), efficiency)


def _operators(profiler: Profiler, foretold: Schedule | None, costs: Costs | None) -> Iterator[Row]:
    """Yield what is to be said of the two operators."""
    forward, reverse = profiler[Kind.FORWARD], profiler[Kind.REVERSE]
    if foretold is None:
        yield Row("forward steps", None, forward.steps, None, forward.seconds)
        yield Row("forward calls", None, forward.calls)
        yield Row("reverse steps", None, reverse.steps, None, reverse.seconds)
        yield Row("reverse calls", None, reverse.calls)
        return
    run, back = foretold.forward_steps, foretold.reverse_steps
    calls, back_calls = foretold.forward_calls, foretold.reverse_calls
    seconds = back_seconds = None
    if costs is not None:
        seconds = costs.forward_step * run + costs.recording * back + costs.forward_call * calls
        back_seconds = costs.reverse_step * back + costs.reverse_call * back_calls
    yield Row("forward steps", run, forward.steps, seconds, forward.seconds)
    yield Row("forward calls", calls, forward.calls)
    yield Row("reverse steps", back, reverse.steps, back_seconds, reverse.seconds)
    yield Row("reverse calls", back_calls, reverse.calls)


def _tiers(
    profiler: Profiler,
    foretold: Schedule | None,
    storages: Sequence[Storage],
    costs: Costs | None,
    plan: Plan | None,
) -> Iterator[Row]:
    """Yield what is to be said of the copies of every tier that are made or predicted."""
    overlapped = plan is not None and plan.overlapped
    counts = () if foretold is None else foretold.counts.tiers
    for tier, (name, storage, record) in enumerate(
        zip(names_of(storages), storages, profiler.tiers, strict=True)
    ):
        saves = loads = save_seconds = load_seconds = None
        if foretold is not None:
            saves, loads = (counts[tier].saves, counts[tier].loads) if tier < len(counts) else (0, 0)
            # What is transferred behind the run takes a copy in RAM.
            priced = 0 if overlapped and storage.ahead else tier
            if costs is not None and priced < costs.tiers:
                save_seconds, load_seconds = saves * costs.save_at(priced), loads * costs.load_at(priced)
        if record.saves.calls or record.loads.calls or saves or loads:
            made = record.saves
            yield Row(f"saves, {name}", saves, made.calls, save_seconds, made.seconds, made.bytes)
            made = record.loads
            yield Row(f"loads, {name}", loads, made.calls, load_seconds, made.seconds, made.bytes)
            if storage.ahead or record.transfers.waited_seconds:
                waited = plan.predicted_wait if plan is not None and overlapped else None
                moved = record.transfers
                yield Row(f"waiting, {name}", None, None, waited, moved.waited_seconds)
                yield Row(f"hidden, {name}", None, None, None, moved.hidden_seconds)


def _held(
    profiler: Profiler,
    storages: Sequence[Storage],
    plan: Plan | None,
    fixed_bytes: int,
    memory: int | None,
    disk: int | None,
) -> Iterator[Fact]:
    """Yield how much is held."""
    in_memory, on_disk = fixed_bytes, 0
    for storage, record in zip(storages, profiler.tiers, strict=True):
        in_memory += record.transfers.staging_nbytes
        if storage.on_disk:
            on_disk += record.transfers.nbytes
        else:
            in_memory += record.transfers.nbytes
    yield Fact("memory held", None if plan is None else plan.planned_bytes, in_memory, memory, "bytes")
    if on_disk or disk:
        yield Fact("disk held", None if plan is None else plan.planned_disk_bytes, on_disk, disk, "bytes")


def _compression(storages: Sequence[Storage], ratio: float | None) -> Iterator[Fact]:
    """Yield what compression has made of the snapshots, where there is any."""
    found = sum(
        (storage.compressed for storage in storages if isinstance(storage, SlotStorage)), start=Compressed()
    )
    error = found.error
    if found.encoded_bytes or error.measured:
        yield Fact("compression ratio", ratio, found.ratio)
    if error.measured:
        yield Fact("compression error, absolute", None, error.absolute)
        yield Fact("compression error, relative", None, error.relative)
