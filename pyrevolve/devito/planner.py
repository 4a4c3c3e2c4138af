"""From what is asked for to a window and a number of snapshots, and to the schedule of every shot."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ..arguments import index
from ..budget import format_bytes
from ..compression import Compression
from ..costs import RELATIVE_COSTS, CompressionCosts, Costs
from ..errors import BudgetError
from ..planning import plan
from ..plans import Plan
from ..schedules import Revolve, Schedule
from ..team import Team
from .made import Sizes

__all__ = ["Demand", "Planner"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand:
    """What one process asks of a plan.

    Attributes
    ----------
    memory : int or None
        Budget for rings and snapshots [bytes]; None: the number of snapshots is given.
    disk : int or None
        Budget on disk [bytes]; None: no snapshot goes there.
    compression : Compression or None
        How snapshots may be compressed; None: they are not.
    n_checkpoints, window : int or None
        What the user chooses; None: the plan does.
    """

    memory: int | None
    disk: int | None
    compression: Compression | None
    n_checkpoints: int | None
    window: int | None

    def agreed(self, team: Team) -> Demand:
        """Return what all processes can plan with: the smallest budgets of any of them."""
        memory, disk = team.least([self.memory or 0, self.disk or 0])
        return dataclasses.replace(
            self,
            memory=None if self.memory is None else memory,
            disk=None if self.disk is None else disk,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans for one problem, whatever the number of timesteps.

    Attributes
    ----------
    demand : Demand
        What is asked for, the same in all processes.
    sizes : Sizes
        What was made takes, the same in all processes.
    free : bool
        Whether x_0 can be made again.
    costs : Costs or None
        What the operations cost; None: nobody measured that.
    compression : CompressionCosts or None
        What compression makes of the wavefield; None: there is none.
    """

    demand: Demand
    sizes: Sizes
    free: bool
    costs: Costs | None
    compression: CompressionCosts | None

    def choose(self, n: int, window: int | None) -> Plan:
        """Return the plan for the budget, or what the user asks for as a plan.

        Parameters
        ----------
        n : int
            Timesteps, >= 0.
        window : int or None
            Timesteps that the rings are to retain; None: what the plan finds best.

        Raises
        ------
        TypeError, ValueError
            The window, or the number of snapshots that is asked for, is none that the operators allow.
        BudgetError
            The budget does not hold the smallest ring and one snapshot.
        """
        sizes, n_checkpoints = self.sizes, self.demand.n_checkpoints
        if window is not None:
            window = index("window", window)
            if not sizes.min_window <= window or (sizes.max_window is not None and window > sizes.max_window):
                most = "" if sizes.max_window is None else f" and <= {sizes.max_window}"
                raise ValueError(
                    f"window must be >= {sizes.min_window}{most} for these operators, got {window}"
                )
            # A window that covers the whole run is as good as any longer one.
            window = min(window, max(sizes.min_window, n + 1 - sizes.lag))
        if n_checkpoints is None:
            return self._planned(
                n,
                sizes.min_window if window is None else window,
                sizes.max_window if window is None else window,
            )
        n_checkpoints = index("n_checkpoints", n_checkpoints)
        least = 0 if self.free else 1
        if n_checkpoints < least:
            raise ValueError(f"n_checkpoints must be >= {least}, got {n_checkpoints}")
        if window is None:
            # Rings of a fixed length retain what they retain, at no further cost.
            fixed = sizes.slice_bytes == 0 and sizes.max_window is not None
            window = sizes.max_window if fixed and sizes.max_window else sizes.min_window
        return self._exact(n, n_checkpoints, window)

    def schedule(self, n: int, chosen: Plan) -> tuple[Plan | None, Schedule]:
        """Return the schedule of a shot: the window is built in, snapshots fill the budget.

        Parameters
        ----------
        n : int
            Timesteps of the shot, >= 0.
        chosen : Plan
            The plan for whose window the operators were made.

        Returns
        -------
        Plan or None
            The plan of this shot, where it tells the tiers; None: all snapshots are in RAM.
        Schedule
            Its schedule.

        Raises
        ------
        BudgetError
            The budget holds no snapshot, and this shot needs one.
        """
        demand, sizes = self.demand, self.sizes
        if demand.disk is not None or demand.compression is not None:
            here = chosen if n == chosen.n_timesteps else self._planned(n, chosen.window, chosen.window)
            return here, here.schedule
        most = chosen.n_snapshots
        if demand.memory is not None:
            left = demand.memory - sizes.held(chosen.window, 0)
            most = max(most, min(n, left // max(1, sizes.state_bytes)))
        schedule = self._revolve(n, max(most, 0 if self.free else 1), chosen.window)
        if schedule.peak_snapshots > most:
            required = sizes.held(chosen.window, 1)
            raise BudgetError(
                f"a shot of {n} timesteps needs a snapshot beside the ring, {format_bytes(required)} in all, "
                f"but the budget is {format_bytes(chosen.memory)}",
                required,
                chosen.memory,
            )
        return None, schedule

    @property
    def _initial_state(self) -> Literal["free", "stored"]:
        return "free" if self.free else "stored"

    def _planned(self, n: int, min_window: int, max_window: int | None) -> Plan:
        """Return the plan for the budget, with a window between these."""
        demand, sizes = self.demand, self.sizes
        assert demand.memory is not None
        return plan(
            n,
            state_bytes=sizes.state_bytes,
            window_slice_bytes=sizes.slice_bytes,
            memory=demand.memory,
            disk=demand.disk,
            fixed_bytes=sizes.fixed_bytes,
            lookback=sizes.lookback,
            lag=sizes.lag,
            initial_state=self._initial_state,
            min_window=min_window,
            max_window=max_window,
            costs=self.costs,
            compression=self.compression,
        )

    def _revolve(self, n: int, n_snapshots: int, window: int) -> Revolve:
        """Return the schedule with so many snapshots in RAM."""
        return Revolve(
            n,
            n_snapshots,
            window=window,
            lookback=self.sizes.lookback,
            lag=self.sizes.lag,
            initial_state=self._initial_state,
        )

    def _exact(self, n: int, n_checkpoints: int, window: int) -> Plan:
        """Return a number of snapshots and a window as a plan."""
        sizes = self.sizes
        schedule = self._revolve(n, n_checkpoints, window)
        held = sizes.held(window, schedule.peak_snapshots)
        rates = RELATIVE_COSTS if self.costs is None else self.costs
        return Plan(
            n_timesteps=n,
            window=window,
            n_snapshots=n_checkpoints,
            lookback=sizes.lookback,
            lag=sizes.lag,
            initial_state=self._initial_state,
            memory=held,
            planned_bytes=held,
            predicted_seconds=schedule.makespan(rates),
            forward_steps=schedule.forward_steps,
            saves=schedule.saves,
            loads=schedule.loads,
            forward_calls=schedule.forward_calls,
            reverse_calls=schedule.reverse_calls,
            costs=rates,
        )
