"""What a sweep spent: time, counts and bytes for every kind of instruction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter_ns
from typing import NamedTuple

from .budget import format_bytes
from .crevolve import Kind
from .observers import Observer, Outcome, Sweep
from .storage import Storage

__all__ = ["Profiler", "Record", "TierRecords", "Transfers"]


class Record:
    """What one kind of instruction spent since the profiler was last reset.

    Attributes
    ----------
    calls : int
        Instructions carried out.
    steps : int
        Timesteps in them (FORWARD and REVERSE; 0 for the others).
    bytes : int
        Bytes copied (SAVE and LOAD; 0 for the others).
    nanoseconds : int
        Wall time in the operator or the copy [ns].
    """

    __slots__ = ("bytes", "calls", "nanoseconds", "steps")

    def __init__(self) -> None:
        self.calls = 0
        self.steps = 0
        self.bytes = 0
        self.nanoseconds = 0

    @property
    def seconds(self) -> float:
        """Wall time in the operator or the copy [s]."""
        return self.nanoseconds * 1e-9

    def __repr__(self) -> str:
        return (
            f"Record(calls={self.calls}, steps={self.steps}, bytes={self.bytes}, seconds={self.seconds:.6g})"
        )


class Transfers:
    """What a tier takes, and transferred beside the timesteps since the profiler was last reset.

    All of it is as of the end of a sweep.

    Attributes
    ----------
    waited_seconds : float
        Wall time within SAVE and LOAD that was spent waiting for transfers [s].
    hidden_seconds : float
        Time of transfers that nobody waited for [s].
    nbytes, staging_nbytes : int
        What the tier takes: its slots, and the memory for snapshots on their way [bytes].
    """

    __slots__ = ("hidden_seconds", "nbytes", "staging_nbytes", "waited_seconds")

    def __init__(self) -> None:
        self.waited_seconds = 0.0
        self.hidden_seconds = 0.0
        self.nbytes = 0
        self.staging_nbytes = 0


class TierRecords(NamedTuple):
    """What the copies to and from one tier spent.

    Attributes
    ----------
    saves, loads : Record
        SAVE and LOAD instructions. Re-creations of a free x_0 count as loads of tier 0, of no bytes.
    transfers : Transfers
        What ran beside the timesteps, and what the tier takes.
    """

    saves: Record
    loads: Record
    transfers: Transfers


class Profiler(Observer):
    """Times, counts and bytes of one shot, for every kind of instruction and for every tier.

    ``profiler[Kind.FORWARD]`` is the `Record` of one kind, for SAVE and LOAD the sum over the tiers so far;
    ``str(profiler)`` is a table. ``Revolver.reset()`` starts it anew.

    Parameters
    ----------
    n_tiers : int, default 1
        Number of tiers, >= 1.

    Attributes
    ----------
    tiers : tuple of TierRecords
        By tier, the fastest first.
    forward_nanoseconds, reverse_nanoseconds : int
        Wall time inside ``apply_forward()`` (or ``advance()`` and ``finish()``) and ``apply_reverse()`` [ns];
        what the records do not account for is the driver's own.
    """

    def __init__(self, n_tiers: int = 1) -> None:
        self._start(n_tiers)

    def _start(self, n_tiers: int) -> None:
        self._records: dict[Kind, Record] = {
            kind: Record() for kind in Kind if kind not in (Kind.SAVE, Kind.LOAD)
        }
        self._forward, self._reverse = self._records[Kind.FORWARD], self._records[Kind.REVERSE]
        self.tiers = tuple(TierRecords(Record(), Record(), Transfers()) for _ in range(n_tiers))
        self._saves, self._loads = [tier.saves for tier in self.tiers], [tier.loads for tier in self.tiers]
        self.forward_nanoseconds = 0
        self.reverse_nanoseconds = 0
        #: When the sweep that is under way began, and what it uses; None, and nothing, in between.
        self._began: int | None = None
        self._sweep: Sweep = "forward"
        self._storages: Sequence[Storage] = ()

    def reset(self) -> None:
        """Start anew; records handed out earlier keep their values."""
        self._start(len(self.tiers))

    # --- what the driver tells ------------------------------------------------------------------------------

    def begin(self, sweep: Sweep, storages: Sequence[Storage]) -> None:
        """Let the time of a sweep run."""
        self._sweep, self._storages = sweep, storages
        self._began = perf_counter_ns()

    def ran_forward(self, start: int, stop: int, began: int, ended: int) -> None:
        """Count a call of the forward operator."""
        record = self._forward
        record.nanoseconds += ended - began
        record.calls += 1
        record.steps += stop - start

    def ran_reverse(self, start: int, stop: int, began: int, ended: int) -> None:
        """Count a call of the reverse operator."""
        record = self._reverse
        record.nanoseconds += ended - began
        record.calls += 1
        record.steps += stop - start

    def saved(self, t: int, tier: int, slot: int, nbytes: int, began: int, ended: int) -> None:
        """Count a copy into a slot."""
        record = self._saves[tier]
        record.nanoseconds += ended - began
        record.calls += 1
        record.bytes += nbytes

    def loaded(self, t: int, tier: int, slot: int, keep: bool, nbytes: int, began: int, ended: int) -> None:
        """Count a copy out of a slot."""
        record = self._loads[tier]
        record.nanoseconds += ended - began
        record.calls += 1
        record.bytes += nbytes

    def freed(self, tier: int, slot: int) -> None:
        """Count a slot that was made empty."""
        self._records[Kind.FREE].calls += 1

    def reached(self, kind: Kind) -> None:
        """Count TURN or END."""
        self._records[kind].calls += 1

    def end(self, outcome: Outcome) -> None:
        """Add the time of a sweep up, and what the storages of the tiers have transferred so far."""
        began, storages = self._began, self._storages
        self._began, self._storages = None, ()
        if began is None:
            return
        if outcome != "failed":  # what is broken is not asked any more
            for tier, storage in zip(self.tiers, storages, strict=True):
                tier.transfers.waited_seconds = storage.waited_seconds
                tier.transfers.hidden_seconds = storage.hidden_seconds
                tier.transfers.nbytes = storage.nbytes
                tier.transfers.staging_nbytes = storage.staging_nbytes
        spent = perf_counter_ns() - began
        if self._sweep == "forward":
            self.forward_nanoseconds += spent
        else:
            self.reverse_nanoseconds += spent

    # --- what it tells --------------------------------------------------------------------------------------

    def __getitem__(self, kind: Kind) -> Record:
        if kind is Kind.SAVE:
            return _total(tier.saves for tier in self.tiers)
        if kind is Kind.LOAD:
            return _total(tier.loads for tier in self.tiers)
        return self._records[kind]

    def __iter__(self) -> Iterator[tuple[Kind, Record]]:
        return ((kind, self[kind]) for kind in Kind)

    @property
    def seconds(self) -> float:
        """Wall time of the shot, of both sweeps [s]."""
        return (self.forward_nanoseconds + self.reverse_nanoseconds) * 1e-9

    @property
    def driver_seconds(self) -> float:
        """Wall time that neither an operator nor a copy took [s]."""
        return self.seconds - sum(record.seconds for _, record in self)

    @property
    def waited_seconds(self) -> float:
        """Wall time that was spent waiting for transfers to and from disk [s]."""
        return sum(tier.transfers.waited_seconds for tier in self.tiers)

    def __str__(self) -> str:
        lines = [f"{'':8}{'calls':>10}{'steps':>10}{'bytes':>12}{'seconds':>12}"]
        for kind, record in self:
            if record.calls:
                lines.append(_row(kind.name, record))
            if len(self.tiers) > 1 and kind in (Kind.SAVE, Kind.LOAD):
                lines += [
                    _row(f" tier {number}", tier.saves if kind is Kind.SAVE else tier.loads)
                    for number, tier in enumerate(self.tiers)
                ]
        for number, tier in enumerate(self.tiers):
            moved = tier.transfers
            if moved.waited_seconds or moved.hidden_seconds:
                lines.append(
                    f" tier {number}: waited {moved.waited_seconds:.4f} s for transfers, "
                    f"{moved.hidden_seconds:.4f} s of them hidden"
                )
        lines.append(f"{'driver':8}{'':>32}{self.driver_seconds:>12.4f}")
        lines.append(f"{'total':8}{'':>32}{self.seconds:>12.4f}")
        return "\n".join(lines)


def _total(records: Iterable[Record]) -> Record:
    """Return the sum of records."""
    total = Record()
    for record in records:
        total.calls += record.calls
        total.bytes += record.bytes
        total.nanoseconds += record.nanoseconds
    return total


def _row(name: str, record: Record) -> str:
    return (
        f"{name:8}{record.calls:>10}{record.steps or '':>10}"
        f"{format_bytes(record.bytes) if record.bytes else '':>12}{record.seconds:>12.4f}"
    )
