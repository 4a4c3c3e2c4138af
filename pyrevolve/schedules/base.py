"""What every schedule answers."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..costs import Costs
from ..crevolve import INSTRUCTION_BYTES, INSTRUCTION_FIELDS, Counts, Instruction, WindowedInstructions

__all__ = ["INSTRUCTION_DTYPE", "Schedule"]

#: One row per instruction: kind (a `Kind`), keep, tier, slot, t, start, stop; -1 where one does not apply.
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

    Schedules are immutable and hold no list: counts are closed forms, and an iterator holds O(snapshots)
    state. Several iterators of one schedule may run at once, in one thread or several.
    """

    n_timesteps: int

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
    def instructions(self) -> WindowedInstructions:
        """Return a new iterator over the instructions."""

    def __iter__(self) -> Iterator[Instruction]:
        return self.instructions()

    @property
    def forward_steps(self) -> int:
        """Forward timesteps executed, the first sweep included."""
        return self.counts.forward_steps

    @property
    def recompute_factor(self) -> float:
        """Forward timesteps executed per timestep; 1 where nothing is run twice."""
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
        """Most snapshots held at once; slots are numbered from 0 to one less."""
        return self.counts.peak_snapshots

    def makespan(self, costs: Costs) -> float:
        """Return the predicted total time in the unit of ``costs``, normally seconds.

        Raises
        ------
        TypeError
            ``costs`` is no `Costs`.

        Notes
        -----
        T = forward_step F + reverse_step n + forward_call C_f + reverse_call C_b + save W + load R with F
        forward timesteps, C_f and C_b calls, W saves and R loads.
        """
        if not isinstance(costs, Costs):
            raise TypeError(f"costs must be pyrevolve.Costs, got {type(costs).__name__}")
        return costs.total(
            forward_steps=self.forward_steps,
            reverse_steps=self.n_timesteps,
            forward_calls=self.forward_calls,
            reverse_calls=self.reverse_calls,
            saves=self.saves,
            loads=self.loads,
        )

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.void]]:
        """Return all instructions as one structured array, shape (instructions,), dtype `INSTRUCTION_DTYPE`.

        Raises
        ------
        MemoryError
            The schedule is too long to be listed; iterate over it instead.
        """
        length = self.calls + self.saves + self.loads + 2
        rows: np.ndarray[Any, np.dtype[np.void]] = np.empty(length, dtype=INSTRUCTION_DTYPE)
        written = self.instructions().fill(rows.view(np.uint8))
        if written != length:
            raise RuntimeError(f"the schedule announced {length} instructions and gave {written}")
        return rows
