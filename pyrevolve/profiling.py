"""What a sweep spent: time, counts and bytes for every kind of instruction."""

from __future__ import annotations

from collections.abc import Iterator

from .budget import format_bytes
from .crevolve import Kind

__all__ = ["Profiler", "Record"]


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


class Profiler:
    """Times, counts and bytes of one shot, for every kind of instruction.

    ``profiler[Kind.FORWARD]`` is the `Record` of one kind; ``str(profiler)`` is a table. ``Revolver.reset()``
    starts it anew.

    Attributes
    ----------
    forward_nanoseconds, reverse_nanoseconds : int
        Wall time inside ``apply_forward()`` and ``apply_reverse()`` [ns]; what the records do not account for
        is the driver's own.
    """

    __slots__ = ("_records", "forward_nanoseconds", "reverse_nanoseconds")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start anew; records handed out earlier keep their values."""
        self._records = {kind: Record() for kind in Kind}
        self.forward_nanoseconds = 0
        self.reverse_nanoseconds = 0

    def __getitem__(self, kind: Kind) -> Record:
        return self._records[kind]

    def __iter__(self) -> Iterator[tuple[Kind, Record]]:
        return iter(self._records.items())

    @property
    def seconds(self) -> float:
        """Wall time of the shot, inside ``apply_forward()`` and ``apply_reverse()`` [s]."""
        return (self.forward_nanoseconds + self.reverse_nanoseconds) * 1e-9

    @property
    def driver_seconds(self) -> float:
        """Wall time that neither an operator nor a copy took [s]."""
        return self.seconds - sum(record.seconds for record in self._records.values())

    def __str__(self) -> str:
        lines = [f"{'':8}{'calls':>10}{'steps':>10}{'bytes':>12}{'seconds':>12}"]
        for kind, record in self:
            if record.calls:
                lines.append(
                    f"{kind.name:8}{record.calls:>10}{record.steps or '':>10}"
                    f"{format_bytes(record.bytes) if record.bytes else '':>12}{record.seconds:>12.4f}"
                )
        lines.append(f"{'driver':8}{'':>32}{self.driver_seconds:>12.4f}")
        lines.append(f"{'total':8}{'':>32}{self.seconds:>12.4f}")
        return "\n".join(lines)
