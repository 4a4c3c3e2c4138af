"""The published recurrences for hierarchical storage, in plain Python, written from the equations.

Aupy, Herrmann, Hovland, Robert (2016), Aupy and Herrmann (2017), Herrmann and Pallez (2020): a chain of l
edges has l + 1 timesteps to reverse, each at `reverse_step`, which includes its recorded forward run; a
timestep forward that is not recorded costs `forward_step`. At the start the state is at hand and not stored.
So the costs of `oracles.tiered` are these with n = l + 1 and reverse_step = forward_step.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

INFINITY = float("inf")


def h_revolve(
    l_max: int,
    capacities: Sequence[int | None],
    write: Sequence[Any],
    read: Sequence[Any],
    forward_step: Any = 1,
    reverse_step: Any = 1,
) -> list[Any]:
    """Return Opt_{K-1}(l, c_{K-1}) for l = 0 ... l_max; tier 0 is the fastest, None has no bound.

    The recurrence with the plain base cases l = 0 and "no tier left", rather than the published ones for l =
    1 and for one slot in memory, which are too high where a cost decreases from one tier to the next.
    """
    lengths = range(l_max + 1)
    # Opt_{k-1}(l, c_{k-1}); without any slot a chain of one timestep alone can be reversed.
    below = [reverse_step if length == 0 else INFINITY for length in lengths]
    for capacity, to_write, to_read in zip(capacities, write, read, strict=True):
        fewer = below  # Opt_k(., m - 1)
        for _ in range(l_max if capacity is None else capacity):
            stored: list[Any] = []  # Opt'_k(., m): the start is in one of the m slots
            for length in lengths:
                best = below[length]
                for j in range(1, length + 1):
                    split = j * forward_step + fewer[length - j] + to_read + stored[j - 1]
                    best = min(best, split)
                stored.append(best)
            fewer = [min(below[length], to_write + stored[length]) for length in lengths]
        below = fewer
    return below


class Disk:
    """Disk-Revolve: `memory_slots` free slots in memory, and a disk without bound."""

    def __init__(
        self,
        l_max: int,
        memory_slots: int,
        write: Any,
        read: Any,
        forward_step: Any = 1,
        reverse_step: Any = 1,
        *,
        one_read: bool = False,
    ) -> None:
        self.write, self.read, self.forward_step = write, read, forward_step
        self.in_memory = h_revolve(l_max, [memory_slots], [0], [0], forward_step, reverse_step)
        self.from_disk = self._solve(0, None)  # D: the start is on disk, and nothing else will be
        if one_read:
            self.from_disk = self.in_memory
        self.unlimited = self._solve(write, self.from_disk)  # I: the start is at hand

    def _solve(self, write: Any, left: list[Any] | None) -> list[Any]:
        """Split at j, writing the start at a cost: D where the right part is O, I where it is I itself."""
        table: list[Any] = []
        for length, best in enumerate(self.in_memory):
            for j in range(1, length + 1):
                right = self.in_memory[length - j] if left is None else table[length - j]
                again = table[j - 1] if left is None else left[j - 1]
                best = min(best, write + j * self.forward_step + right + self.read + again)
            table.append(best)
        return table

    def average(self, period: int) -> Fraction:
        """Return (w + r + D(m - 1)) / m, what a long chain costs per timestep beyond the forward step."""
        return Fraction(self.write + self.read + self.from_disk[period - 1]) / period

    def best_period(self, longest: int) -> int:
        """Return the shortest of the best periods up to `longest`, which has to be within l_max + 1."""
        return min(range(1, longest + 1), key=self.average)

    def periodic(self, length: int, period: int) -> Any:
        """Return the cost of a chain with one disk checkpoint per period, except in the last segment.

        While more than `period` edges remain the state is written to disk; the last segment is reversed from
        memory, or from one more disk checkpoint if that is cheaper.
        """
        segments = max(0, -(-length // period) - 1)
        rest = length - segments * period
        last = min(self.in_memory[rest], self.write + self.from_disk[rest])
        once = self.write + period * self.forward_step + self.read + self.from_disk[period - 1]
        return segments * once + last


def beta(s: int, r: int) -> int:
    return comb(s + r, r) if s >= 0 and r >= 0 else 0


def _first(condition: Any) -> int:
    index = 0
    while not condition(index):
        index += 1
    return index


def longest_period(memory_slots: int, write: Any, read: Any, forward_step: Any = 1) -> int:
    """Return the published bound m_max on the best period."""
    c = memory_slots
    a = _first(lambda q: beta(c, q) * forward_step > write + read)
    b = _first(lambda q: beta(c, q) * forward_step > write)
    return max(beta(c, a + 1), 2 * beta(c, b) + 1)


def one_read_period(memory_slots: int, write: Any, read: Any, forward_step: Any = 1) -> int:
    """Return the published best period where each disk checkpoint is read once, m_RR."""
    return beta(memory_slots, _first(lambda q: beta(memory_slots + 1, q) * forward_step > write + read))
