"""Schedules with a snapshot every so many timesteps, and the one that runs forward only."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import ClassVar, Literal

from ..arguments import check_initial_state, index, resolve_lag
from ..costs import Costs, check_costs
from ..crevolve import (
    Counts,
    Instructions,
    forward_instructions,
    periodic_counts,
    periodic_instructions,
    periodic_overlap,
)
from .base import Schedule

__all__ = ["AsyncTwoTier", "ForwardOnly", "Overlap", "Periodic", "TwoLevel"]


@dataclass(frozen=True)
class _Spine(Schedule):
    """A snapshot every `period` timesteps, and windowed Revolve between two of them."""

    n_timesteps: int
    period: int
    n_snapshots: int = 0
    _: KW_ONLY
    window: int = 1
    lookback: int = 0
    lag: int | None = None
    initial_state: Literal["stored", "free"] = "stored"

    _spine_tier: ClassVar[int] = 1
    _one_read: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("n_timesteps", "period", "n_snapshots", "window", "lookback"):
            object.__setattr__(self, name, index(name, getattr(self, name)))
        object.__setattr__(self, "lag", resolve_lag(self.lookback, self.lag))
        check_initial_state(self.initial_state)
        self.instructions()  # checks the ranges

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer."""
        assert self.lag is not None
        return self.window, self.lookback, self.lag

    @property
    def free_initial_state(self) -> bool:
        """Whether x_0 is re-created where it is needed, instead of stored."""
        return self.initial_state == "free"

    @cached_property
    def counts(self) -> Counts:
        """All counts at once, by going through the schedule: O(n / period) time and memory."""
        return self.instructions().tally()

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""
        return periodic_instructions(
            self.n_timesteps,
            self.period,
            self.n_snapshots,
            *self.needs,
            self.free_initial_state,
            self._spine_tier,
            self._one_read,
        )


@dataclass(frozen=True)
class TwoLevel(_Spine):
    """A snapshot on disk every `period` timesteps; each segment by Revolve with slots in RAM.

    The snapshot on disk is the first of its segment's Revolve schedule and is read again whenever that needs
    its start; all slots in RAM are for others. The last segment is not run again.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 2**62.
    period : int
        Timesteps between two snapshots on disk (tier 1), >= 1 and >= lookback.
    n_snapshots : int, default 0
        Slots in RAM (tier 0), >= 0.
    window, lookback, lag, initial_state
        As of `Revolve`.

    Raises
    ------
    TypeError
        A parameter that must be an integer is none.
    ValueError
        A parameter is out of its range.
    OverflowError
        A parameter does not fit in 64 bits.

    Notes
    -----
    Forward timesteps with window 1 and lookback 0: n + sum of t(L, b+1) + L over the segments of L <= period
    timesteps but the last, which costs t(L, b+1) alone, where t is Revolve's number of advances and b the
    slots in RAM. The published schedule runs the last segment again, and so takes up to a period more. Where
    the last segment is so short that storing its start takes more forward timesteps than leaving it to the
    one before, the start is not stored.

    References
    ----------
    G. C. Pringle, D. C. Jones, S. Goswami, S. H. K. Narayanan, D. Goldberg (2016), Providing the ARCHER
    community with adjoint modelling tools for high-performance oceanographic and cryospheric computation,
    eCSE report.

    Examples
    --------
    >>> TwoLevel(100, 10, 2).forward_steps
    340
    """


@dataclass(frozen=True)
class Periodic(_Spine):
    """A snapshot in RAM every `period` timesteps, and nothing else.

    What lies between two of them is run again for every window of it. With ``period <= window + lookback`` no
    timestep is run more than twice.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 2**62.
    period : int
        Timesteps between two snapshots, >= 1 and >= lookback.
    window, lookback, lag, initial_state
        As of `Revolve`.

    Raises
    ------
    TypeError
        A parameter that must be an integer is none.
    ValueError
        A parameter is out of its range.
    OverflowError
        A parameter does not fit in 64 bits.

    Examples
    --------
    >>> Periodic(100, 10, window=10).forward_steps
    190
    """

    n_snapshots: int = dataclasses.field(default=0, init=False, repr=False)

    _spine_tier: ClassVar[int] = 0


@dataclass(frozen=True)
class Overlap:
    """Predicted time of a schedule whose transfers run beside the timesteps.

    Attributes
    ----------
    seconds : float
        In all, waiting included [s].
    write_wait, read_wait : float
        Of that, waiting for snapshots to be written and to be read [s]; 0 where transfers are hidden.
    hidden : float
        Transfers that cost nothing because they ran beside timesteps [s].
    """

    seconds: float
    write_wait: float
    read_wait: float
    hidden: float

    def __str__(self) -> str:
        if self.write_wait == self.read_wait == 0.0:
            return f"{self.seconds:.4g} s; all transfers are hidden ({self.hidden:.4g} s)"
        return (
            f"{self.seconds:.4g} s; of that {self.write_wait:.4g} s waiting for writes and "
            f"{self.read_wait:.4g} s for reads, while {self.hidden:.4g} s of transfers are hidden"
        )


@dataclass(frozen=True)
class AsyncTwoTier(_Spine):
    """A snapshot to disk every `period` timesteps behind the run, read ahead on the way back.

    Each snapshot on disk is written once and read at most once; a segment that needs its start again keeps it
    in RAM.
    With ``period <= window + lookback`` every timestep is run at most twice, whatever n is.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 2**62.
    period : int
        Timesteps between two snapshots on disk (tier 1), >= 1 and >= lookback.
    n_snapshots : int, default 0
        Slots in RAM (tier 0), >= 0; without any, a segment longer than the window reads its start again.
    window, lookback, lag, initial_state
        As of `Revolve`.

    Raises
    ------
    TypeError
        A parameter that must be an integer is none.
    ValueError
        A parameter is out of its range.
    OverflowError
        A parameter does not fit in 64 bits.

    Notes
    -----
    With state bytes S, bandwidths B_w and B_r, and steps of tau_f and tau_b seconds, writes are hidden where
    period tau_f >= S / B_w, and reads where reversing one segment takes S / B_r: `overlap` tells. Steps per
    timestep do not depend on n. All loads are known ahead: the driver announces each as early as the storage
    has a buffer for it.

    References
    ----------
    N. Kukreja, J. Hueckelheim, G. J. Gorman (2018), Backpropagation for long sequences: beyond memory
    constraints with constant overheads, arXiv:1806.01117.

    Examples
    --------
    >>> schedule = AsyncTwoTier(3000, 50, window=50, lookback=2)
    >>> schedule.forward_steps, [tier.peak for tier in schedule.counts.tiers]
    (5832, [0, 60])
    >>> costs = Costs(forward_step=1e-3, reverse_step=1e-3, save=(5e-4, 2e-2), load=(5e-4, 1e-2))
    >>> schedule.overlap(costs).write_wait
    0.0
    """

    _one_read: ClassVar[bool] = True

    def overlap(self, costs: Costs, buffers: int = 2) -> Overlap:
        """Return the time that is predicted where transfers run beside the timesteps.

        Parameters
        ----------
        costs : Costs
            For two tiers: RAM, whose costs are those of staging copies too, and disk.
        buffers : int, default 2
            Staging buffers of one state each, >= 1.

        Returns
        -------
        Overlap
            Total time and what of it is spent waiting. `makespan` tells the time where every copy is waited
            for.

        Raises
        ------
        TypeError
            `costs` is no Costs, or `buffers` no integer.
        ValueError
            `costs` are not for two tiers, `buffers` < 1, or segments are longer than the window while there
            is no slot in RAM (their starts are read again, which is not foreseen ahead).
        """
        check_costs(costs, disk=True)
        if index("buffers", buffers) < 1:
            raise ValueError(f"buffers must be >= 1, got {buffers}")
        disk = periodic_counts(
            self.n_timesteps, self.period, self.n_snapshots, *self.needs, self.free_initial_state
        ).tiers[1]
        if disk.loads > disk.saves:
            raise ValueError(
                f"period {self.period} is longer than what window {self.window} holds: starts would be "
                "read more than once; give n_snapshots >= 1"
            )
        seconds, write_wait, read_wait = periodic_overlap(
            self.n_timesteps,
            self.period,
            self.n_snapshots,
            *self.needs,
            self.free_initial_state,
            buffers,
            forward_step=costs.forward_step,
            reverse_step=costs.reversal,
            forward_call=costs.forward_call,
            reverse_call=costs.reverse_call,
            save=costs.save_at(0),
            load=costs.load_at(0),
            write=costs.save_at(1),
            read=costs.load_at(1),
        )
        transfers = costs.save_at(1) * disk.saves + costs.load_at(1) * disk.loads
        return Overlap(seconds, write_wait, read_wait, transfers - write_wait - read_wait)


@dataclass(frozen=True)
class ForwardOnly(Schedule):
    """Run forward and reverse nothing, for a run whose adjoint is not wanted.

    Parameters
    ----------
    n_timesteps : int
        Timesteps n of the forward run, 0 <= n <= 2**62.

    Raises
    ------
    TypeError
        ``n_timesteps`` is no integer.
    ValueError, OverflowError
        ``n_timesteps`` is out of its range.

    Examples
    --------
    >>> [i.kind.name for i in ForwardOnly(100)]
    ['FORWARD', 'TURN', 'END']
    """

    n_timesteps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_timesteps", index("n_timesteps", self.n_timesteps))
        self.instructions()  # checks the range

    @property
    def needs(self) -> tuple[int, int, int]:
        """Window, lookback and lag that the workspace must offer: the least there is."""
        return 1, 0, 1

    @property
    def free_initial_state(self) -> bool:
        """False: x_0 is not needed again."""
        return False

    @property
    def reverse_steps(self) -> int:
        """None are reversed."""
        return 0

    @cached_property
    def counts(self) -> Counts:
        """All counts at once."""
        return self.instructions().tally()

    def instructions(self) -> Instructions:
        """Return a new iterator over the instructions."""
        return forward_instructions(self.n_timesteps)
