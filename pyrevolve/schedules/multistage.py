"""Windowed Revolve whose snapshots lie partly in RAM and partly on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, astuple, dataclass
from functools import cached_property
from typing import Literal

from ..arguments import index
from ..costs import Costs, check_costs
from ..crevolve import Counts, Instructions, place_ranks, rank_counts, windowed_instructions
from .base import Schedule
from .layout import Layout, check_layout, elements
from .offline import Revolve

__all__ = ["COPIES_TO_DISK", "Multistage"]

#: Every copy to or from disk costs the same and those in RAM nothing: what the published placement minimises.
COPIES_TO_DISK = Costs(forward_step=0.0, reverse_step=0.0, save=(0.0, 1.0), load=(0.0, 1.0))


@dataclass(frozen=True)
class Multistage(Schedule):
    """The schedule of `Revolve`, with every snapshot in RAM (tier 0) or on disk (tier 1).

    The forward timesteps are those of `Revolve` with as many slots. Which snapshot lies where is chosen for
    the least cost of copies, from exact counts of how often the i-th snapshot from the left is saved and
    loaded.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 2**62.
    n_snapshots : int
        Slots in RAM, >= 0.
    n_on_disk : int
        Slots on disk, >= 0; at least one slot in all, or none with a free initial state.
    costs : Costs
        What a copy costs in either tier, ``save=(ram, disk), load=(ram, disk)``. Default: one per copy to or
        from disk, nothing in RAM.
    window, lookback, lag, initial_state
        As of `Revolve`.
    layout : Layout, optional
        Where the run stands already (see `from_layout`).

    Raises
    ------
    TypeError
        A number is no integer, or `costs` no Costs.
    ValueError
        A parameter is out of its range, or `costs` are not for two tiers.
    OverflowError
        A parameter or a count does not fit in 64 bits.

    Notes
    -----
    The cost is a sum over slots, so that the best placement gives RAM to those with the largest difference
    between disk and RAM. The counts hold for any number of repetitions; the published formulas are for at
    most three. The published ranking (RAM for the rightmost) is the best one with window 1 and lookback 0
    wherever it was compared, but can be twice as dear with lookback. `HRevolve` may be faster: it does not
    keep to Revolve's splits.

    References
    ----------
    P. Stumm, A. Walther (2009), SIAM J. Sci. Comput. 31(3), 1946-1967, doi:10.1137/080718036.

    Examples
    --------
    >>> schedule = Multistage(10, 1, 2)
    >>> schedule.forward_steps, [tier.saves for tier in schedule.counts.tiers]
    (25, [3, 3])
    """

    n_timesteps: int
    n_snapshots: int
    n_on_disk: int
    _: KW_ONLY
    costs: Costs = COPIES_TO_DISK
    window: int = 1
    lookback: int = 0
    lag: int | None = None
    initial_state: Literal["stored", "free"] = "stored"
    layout: Layout | None = None

    def __post_init__(self) -> None:
        for name in ("n_snapshots", "n_on_disk"):
            value = index(name, getattr(self, name))
            if value < 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
            object.__setattr__(self, name, value)
        check_costs(self.costs, disk=True)
        if self.n_snapshots + self.n_on_disk < 1 and self.initial_state == "stored":
            raise ValueError(
                "n_snapshots and n_on_disk are both 0; the initial state needs a slot in RAM or on disk"
            )
        whole = self._in_one_tier
        for name in ("n_timesteps", "window", "lookback", "lag"):
            object.__setattr__(self, name, getattr(whole, name))
        check_layout(self.layout)
        if self.layout is None:
            return
        for t, tier, slot in self.layout.stored:
            if tier not in (0, 1) or slot >= (self.n_snapshots, self.n_on_disk)[tier]:
                raise ValueError(
                    f"x_{t} is said to be in slot {slot} of tier {tier}, but there are "
                    f"{self.n_snapshots} slots in tier 0 and {self.n_on_disk} in tier 1"
                )
        self.instructions()  # checks that the run can stand like this

    @classmethod
    def from_layout(
        cls,
        n_timesteps: int,
        n_snapshots: int,
        n_on_disk: int,
        stored: Iterable[tuple[int, ...]],
        *,
        position: int,
        loaded_at: int = 0,
        remaining: int | None = None,
        costs: Costs = COPIES_TO_DISK,
        window: int = 1,
        lookback: int = 0,
        lag: int | None = None,
        initial_state: Literal["stored", "free"] = "stored",
    ) -> Multistage:
        """Return the schedule that finishes a run from what is stored, as `Revolve.from_layout` does.

        Parameters
        ----------
        n_timesteps, n_snapshots, n_on_disk, costs, window, lookback, lag, initial_state
            As of the class.
        stored : iterable of tuple
            ``(t, tier, slot)`` of every stored state x_t.
        position, loaded_at, remaining
            As of `Revolve.from_layout`.

        Raises
        ------
        TypeError, OverflowError
            As of the class.
        ValueError
            No run can stand like this, or the first timesteps cannot be reversed from what is stored.

        Notes
        -----
        Forward timesteps are the fewest for the layout. New snapshots fill the disk's free slots from the
        left and RAM's from the right, because those further right are copied more often.
        """
        return cls(
            n_timesteps,
            n_snapshots,
            n_on_disk,
            costs=costs,
            window=window,
            lookback=lookback,
            lag=lag,
            initial_state=initial_state,
            layout=Layout(elements(stored), position, loaded_at, remaining),
        )

    @cached_property
    def _in_one_tier(self) -> Revolve:
        return Revolve(
            self.n_timesteps,
            self.n_snapshots + self.n_on_disk,
            window=self.window,
            lookback=self.lookback,
            lag=self.lag,
            initial_state=self.initial_state,
        )

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer."""
        return self._in_one_tier.needs

    @property
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""
        return self.initial_state == "free"

    @cached_property
    def placement(self) -> tuple[int, ...]:
        """Tier of the i-th snapshot from the left among those stored at once."""
        if self.layout is not None:
            return (1,) * self.n_on_disk + (0,) * self.n_snapshots
        costs = self.costs
        return place_ranks(
            self.n_timesteps,
            self.n_snapshots,
            self.n_on_disk,
            *self.needs,
            self.free_initial_state,
            (costs.save_at(0), costs.save_at(1)),
            (costs.load_at(0), costs.load_at(1)),
        )

    @property
    def copies_per_snapshot(self) -> list[tuple[int, int]]:
        """How often the i-th snapshot from the left is saved and loaded, from the beginning of a run."""
        n_slots = self.n_snapshots + self.n_on_disk
        return rank_counts(self.n_timesteps, n_slots, *self.needs, self.free_initial_state)

    @cached_property
    def counts(self) -> Counts:
        """All counts at once, by going through the schedule."""
        return self.instructions().tally()

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""
        return windowed_instructions(
            self.n_timesteps,
            self.n_snapshots + self.n_on_disk,
            *self.needs,
            self.free_initial_state,
            self.placement,
            None if self.layout is None else astuple(self.layout),
        )
