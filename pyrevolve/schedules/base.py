"""What every schedule answers."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..costs import Costs, check_costs
from ..crevolve import INSTRUCTION_BYTES, INSTRUCTION_FIELDS, Content, Counts, Instruction, Instructions, Kind
from .layout import Layout

__all__ = ["INSTRUCTION_DTYPE", "Schedule"]

#: One row per instruction: kind (a `Kind`), keep, content (a `Content`), tier, slot, t, start, stop; -1 where
#: one does not apply (keep, content: 0).
INSTRUCTION_DTYPE = np.dtype(
    {
        "names": [name for name, _, _ in INSTRUCTION_FIELDS],
        "formats": [code for _, code, _ in INSTRUCTION_FIELDS],
        "offsets": [offset for _, _, offset in INSTRUCTION_FIELDS],
        "itemsize": INSTRUCTION_BYTES,
    }
)


class Schedule(abc.ABC):
    """When to run forward, save, load and reverse; iterating starts afresh each time.

    Schedules are immutable and hold no list: an iterator holds O(snapshots) state. Several iterators of one
    schedule may run at once, in one thread or several.

    Counts and times are those of the whole run. Where a schedule takes a run over from a layout
    (`Revolve.from_layout`, `Multistage.from_layout`, `Online.finish`), they are those of what is left of it.
    """

    n_timesteps: int
    #: Where the run stands that the schedule takes over; None: it starts from the beginning.
    layout: Layout | None = None

    @property
    @abc.abstractmethod
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer."""

    @property
    @abc.abstractmethod
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""

    @property
    @abc.abstractmethod
    def counts(self) -> Counts:
        """All counts at once; what the properties below take their values from."""

    @abc.abstractmethod
    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""

    @property
    def needs_step_data(self) -> bool:
        """Whether slots hold step data too, which the checkpoint must offer."""
        return False

    @property
    def reverse_steps(self) -> int:
        """Timesteps that are reversed: all, from a layout those left, none where it runs forward only."""
        remaining = None if self.layout is None else self.layout.remaining
        return self.n_timesteps if remaining is None else remaining

    def __iter__(self) -> Iterator[Instruction]:
        return self.instructions()

    @property
    def forward_steps(self) -> int:
        """Forward timesteps executed, the first sweep included; from a layout, those that are left."""
        return self.counts.forward_steps

    @property
    def recompute_factor(self) -> float:
        """Forward timesteps executed per timestep; 1 where nothing is run twice.

        From a layout, those that are left per timestep of the whole run: less than 1 where few are run again.
        """
        return self.forward_steps / self.n_timesteps if self.n_timesteps else 1.0

    @property
    def saves(self) -> int:
        """SAVE instructions."""
        return self.counts.saves

    @property
    def loads(self) -> int:
        """LOAD instructions, those that re-create a free initial state included."""
        return self.counts.loads

    @property
    def forward_calls(self) -> int:
        """FORWARD instructions, each one call of the forward operator."""
        return self.counts.forward_calls

    @property
    def reverse_calls(self) -> int:
        """REVERSE instructions, each one call of the reverse operator."""
        return self.counts.reverse_calls

    @property
    def calls(self) -> int:
        """Operator calls of both kinds."""
        return self.forward_calls + self.reverse_calls

    @property
    def peak_snapshots(self) -> int:
        """Most snapshots held at once, the most of every tier added up."""
        return self.counts.peak_snapshots

    def makespan(self, costs: Costs) -> float:
        """Return the predicted total time in the unit of ``costs``, normally seconds.

        Raises
        ------
        TypeError
            ``costs`` is no `Costs`.

        Notes
        -----
        T = forward_step F + (reverse_step + recording) n + forward_call C_f + reverse_call C_b + save W
        + load R with F forward timesteps, C_f and C_b calls, W saves and R loads, the last two terms summed
        over tiers. Every copy is waited for.
        """
        check_costs(costs)
        return costs.total(
            forward_steps=self.forward_steps,
            reverse_steps=self.reverse_steps,
            forward_calls=self.forward_calls,
            reverse_calls=self.reverse_calls,
            saves=[tier.saves for tier in self.counts.tiers],
            loads=[tier.loads for tier in self.counts.tiers],
        )

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.void]]:
        """Return all instructions as one structured array, shape (instructions,), dtype `INSTRUCTION_DTYPE`.

        Raises
        ------
        MemoryError
            The schedule is too long to be listed; iterate over it instead.
        """
        length = self.calls + self.saves + self.loads + self.counts.frees
        # TURN, unless the reversal has begun, and END.
        length += 2 if self.layout is None or self.layout.remaining is None else 1
        try:
            rows: np.ndarray[Any, np.dtype[np.void]] = np.empty(length, dtype=INSTRUCTION_DTYPE)
        except (MemoryError, ValueError):  # ValueError: more than NumPy can count
            raise MemoryError(
                f"{length} instructions of {INSTRUCTION_BYTES} bytes do not fit in memory; "
                "iterate over it instead"
            ) from None
        written = self.instructions().fill(rows.view(np.uint8))
        if written != length:
            raise RuntimeError(f"the schedule announced {length} instructions and gave {written}")
        return rows

    def to_text(self) -> str:
        """Return all instructions in a stable text form, one line each.

        Returns
        -------
        str
            Lines such as ``forward 0 4``, ``save 4 @ 0:1`` (state x_4, tier 0, slot 1), ``load 4 @ 0:1 keep``
            (without ``keep`` the slot is freed), ``load 0 @ free`` (a free initial state), ``reverse 3 4``,
            ``free 4 @ 0:1``, ``turn``, ``end``; ``save data 4 @ 0:1`` and ``load data 4 @ 0:1`` where it is
            step data of timestep 4.
        """
        lines = []
        for i in self:
            words = [i.kind.name.lower()]
            if i.kind in (Kind.FORWARD, Kind.REVERSE):
                words += [str(i.start), str(i.stop)]
            elif i.kind in (Kind.SAVE, Kind.LOAD, Kind.FREE):
                words += ["data"] * (i.content is Content.STEP_DATA)
                words += [str(i.t), "@", "free" if i.slot == -1 else f"{i.tier}:{i.slot}"]
                words += ["keep"] * (bool(i.keep) and i.slot != -1)
            lines.append(" ".join(words))
        return "\n".join(lines) + "\n"

    def explain(self) -> str:
        """Return in words what the schedule does: steps, copies, calls, and what it keeps where.

        From a layout, what it does of what is left of the run.
        """
        n, counts = self.n_timesteps, self.counts
        window, lookback, lag = self.needs
        whole = f"for {n} ({self.recompute_factor:.3f} times each)"
        purpose = f"of what is left of {n}" if self.layout is not None else whole
        lines = [
            f"{self!r}",
            f"  forward   {counts.forward_steps} timesteps {purpose} in {counts.forward_calls} calls",
            f"  reverse   {self.reverse_steps} timesteps in {counts.reverse_calls} calls of at most {window}"
            if self.reverse_steps
            else "  reverse   nothing: this schedule runs forward only",
            f"  workspace retains {window} timesteps; a state carries {lookback}; lag {lag}",
        ]
        if not any(tier.saves or tier.loads for tier in counts.tiers):
            lines.append("  no snapshots")
        for number, tier in enumerate(counts.tiers):
            if tier.saves or tier.loads:
                lines.append(
                    f"  tier {number}    at most {tier.peak} snapshots; "
                    f"{tier.saves} saves, {tier.loads} loads"
                )
        if self.free_initial_state:
            lines.append("  the initial state is re-created, not stored (counted with the loads of tier 0)")
        if self.needs_step_data:
            lines.append("  slots hold states or step data")
        return "\n".join(lines)
