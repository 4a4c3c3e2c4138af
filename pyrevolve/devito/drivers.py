"""The drivers of shots: which schedule and storages serve one, what its journal is told, and poison."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from ..arrangement import costs_of, make_storages, tiers_for
from ..checkpoint import Operator
from ..compression import Compressed, Compression
from ..costs import Costs
from ..errors import ScheduleError
from ..journal import Journal
from ..plans import Plan, Tier
from ..progress import ProgressLike
from ..revolver import Revolver
from ..schedules import Schedule
from ..storage import Storage
from ..storage.slots import SlotStorage
from ..team import Team, together
from ..timeline import Timeline
from .made import Made
from .operator import DevitoOperator
from .selfcheck import Poison

__all__ = ["Drivers"]


class _Runner(Operator):
    """Whatever operator runs forward at the moment: the forward one, after the turn perhaps another."""

    def apply(self, t_start: int, t_end: int) -> object:
        raise ScheduleError("no operator was chosen to run forward")

    def use(self, operator: Operator) -> None:
        """Let this operator run from now on."""
        # Attributes of the object hide the class's: the driver calls the operator itself.
        self.apply = operator.apply  # type: ignore[method-assign]
        self.apply_unrecorded = operator.apply_unrecorded


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Drivers:
    """Makes the driver of one shot after another; storages and the journal stay.

    Attributes
    ----------
    made : Made
        The fields and operators.
    schedule_for : callable
        ``schedule_for(n)`` returns the schedule of a shot of n timesteps, and before it the plan that tells
        its tiers; None: all snapshots are in RAM.
    costs : Costs or None
        What operations cost where no plan tells that of the shot; None: nobody measured it.
    team : Team or None
        The processes among which the grid is divided.
    threads, progress, timeline, self_check
        As of `CheckpointedAdjoint`.
    disk_dir : str
        Where snapshots on disk go.
    compression : Compression or None
        How snapshots are compressed where a plan says that they are.
    resume : (str, float) or None
        The journal's directory and seconds between two entries; None: there is no journal.
    limit : int or None
        Timesteps that a shot has at most, whatever its arguments say.
    revolver : Revolver or None
        The driver of the last shot; None before the first one.
    plan : Plan or None
        The plan of that shot, where one tells its tiers.
    journal : Journal or None
        The journal, which is one for all shots.
    storages : tuple of Storage
        Where the snapshots of that shot are, by tier.
    """

    made: Made
    schedule_for: Callable[[int], tuple[Plan | None, Schedule]]
    costs: Costs | None
    team: Team | None
    threads: int | None
    disk_dir: str
    compression: Compression | None
    resume: tuple[str, float] | None
    progress: ProgressLike | None
    timeline: Timeline | None
    self_check: bool
    limit: int | None = None
    revolver: Revolver | None = dataclasses.field(init=False, default=None)
    plan: Plan | None = dataclasses.field(init=False, default=None)
    journal: Journal | None = dataclasses.field(init=False, default=None)
    storages: tuple[Storage, ...] = dataclasses.field(init=False, default=())
    #: What the storages were made for.
    _tiers: tuple[Tier, ...] = dataclasses.field(init=False, default=())
    #: What compression made of snapshots in storages that are closed.
    _compressed: Compressed = dataclasses.field(init=False, default_factory=Compressed)
    _runner: _Runner = dataclasses.field(init=False, default_factory=_Runner)
    _poison: Poison | None = dataclasses.field(init=False, default=None)
    _reversing: bool = dataclasses.field(init=False, default=False)

    def begin(self, n: int, key: str) -> Revolver:
        """Return the driver of the next shot, ready for its forward sweep.

        Parameters
        ----------
        n : int
            Timesteps of the shot, for which the forward operator is prepared.
        key : str
            What the shot is called in the journal.

        Raises
        ------
        BudgetError
            As of `schedule_for`.
        Exception
            As of `Revolver` and the storages.
        """
        self._runner.use(self.made.runner(self.made.forward))
        revolver = self._revolver_for(n)
        self.made.checkpoint.give_up()
        if self._poison is not None and n > 0:
            if revolver.schedule.free_initial_state:
                self.made.checkpoint.set_initial()
            self._poison.learn(self.made.forward)
            self._poison.started(0)
        self._reversing = False
        if self.journal is not None:
            self.journal.key = key
            self.journal.inputs = self.made.identity("forward")
        return revolver

    @property
    def repeats(self) -> bool:
        """Whether the reverse sweep of the shot that has begun may run timesteps again."""
        assert self.revolver is not None
        schedule = self.revolver.schedule
        assert isinstance(schedule, Schedule)
        # After an interruption, and where snapshots turn out not to fit, timesteps are run again whatever the
        # schedule says.
        return (
            schedule.forward_steps > schedule.n_timesteps
            or self.journal is not None
            or any(storage.elastic for storage in self.revolver.storages)
        )

    def turn(self, runner: DevitoOperator) -> None:
        """Make ready for the reverse sweep of the shot that has begun.

        Parameters
        ----------
        runner : DevitoOperator
            What runs timesteps again, prepared as the reverse operator is.
        """
        self._runner.use(self.made.runner(runner))
        self._reversing = True
        if self.journal is not None:
            self.journal.reverse_inputs = self.made.identity("reverse", "recompute")

    def for_verification(self, chosen: Plan | None, schedule: Schedule, *, self_check: bool) -> Drivers:
        """Return the drivers of shots by another schedule, in storages of their own.

        Parameters
        ----------
        chosen : Plan or None
            The plan that tells the tiers; None: all snapshots are in RAM.
        schedule : Schedule
            The schedule; shots have no more timesteps than it.
        self_check : bool
            Whether rings are poisoned.

        Notes
        -----
        Such shots are not to be resumed, and what they do is not the shot that somebody wants to look at.
        """

        def always(n: int) -> tuple[Plan | None, Schedule]:
            if n != schedule.n_timesteps:
                raise ValueError(f"a shot of {n} timesteps cannot be verified over {schedule.n_timesteps}")
            return chosen, schedule

        return dataclasses.replace(
            self,
            schedule_for=always,
            limit=schedule.n_timesteps,
            self_check=self_check,
            resume=None,
            timeline=None,
        )

    @property
    def memory_held(self) -> int:
        """Bytes that the snapshots in RAM, and those on their way, take now."""
        held = sum(storage.staging_nbytes for storage in self.storages)
        return held + sum(storage.nbytes for storage in self.storages if not storage.on_disk)

    @property
    def disk_held(self) -> int:
        """Bytes that snapshots take on disk now."""
        return sum(storage.nbytes for storage in self.storages if storage.on_disk)

    @property
    def compressed(self) -> Compressed:
        """What compression has made of snapshots so far."""
        found = self._compressed
        for storage in self.storages:
            if isinstance(storage, SlotStorage):
                found += storage.compressed
        return found

    def close(self) -> None:
        """Give back what the shots took; may be called again."""
        with contextlib.ExitStack() as each:  # goes on to the others where one raises
            each.callback(self.close_storages)
            if self.journal is not None:
                each.callback(self.journal.close)
            if self.revolver is not None:
                each.callback(self.revolver.close)

    def close_storages(self) -> None:
        """Give the memory of the snapshots back, and remove what is on disk."""
        self._compressed = self.compressed
        with contextlib.ExitStack() as each:  # goes on to the others where one raises
            for storage in self.storages:
                each.callback(storage.close)
            self.storages = ()
            self._tiers = ()

    def _revolver_for(self, n: int) -> Revolver:
        """Return a driver for n timesteps, with the storages of earlier shots where they are large enough."""
        made = self.made
        poisoned = self._poison is not None
        if self.revolver is not None and self.revolver.n_timesteps == n and poisoned == self.self_check:
            self.revolver.reset()
            return self.revolver
        chosen, schedule = self.schedule_for(n)
        tiers = tiers_for(schedule, chosen)
        together(self.team, self._open_journal)()
        if not _suffice(self._tiers, tiers) or not self.storages:
            self.close_storages()
            self.storages = together(self.team, make_storages)(
                made.checkpoint,
                schedule,
                chosen,
                self.threads,
                self.disk_dir,
                self.compression,
                None if self.journal is None else self.journal.path,
            )
            self._tiers = tiers
        if self.journal is not None:
            self.journal.finish()
            self.journal.next_shot()
        self._poison = None
        checkpoint: Any = made.checkpoint
        forward: Any = self._runner
        reverse: Any = made.reverse
        if self.self_check:
            self._poison = Poison(made.checkpoint, forward, reverse, made.shift)
            checkpoint, forward, reverse = self._poison.checkpoint, self._poison.forward, self._poison.reverse
        self.revolver = Revolver(
            checkpoint,
            forward,
            reverse,
            schedule=schedule,
            storage=self.storages,
            costs=costs_of(chosen, self.costs),
            comm=None if self.team is None else self.team.comm,
            resume=self.journal,
            resume_arrays=None if self.journal is None else self._written,
            progress=self.progress,
            timeline=self.timeline,
        )
        self.plan = chosen
        for storage in self.storages:
            storage.clear()
        return self.revolver

    def _open_journal(self) -> None:
        """Open the journal, unless it is open already or none is asked for."""
        if self.journal is None and self.resume is not None:
            path, interval = self.resume
            self.journal = Journal(path, interval=interval, team=self.team)

    def _written(self) -> list[npt.NDArray[Any]]:
        """Return the arrays that the shot under way has written, besides the forward rings."""
        return self.made.written(reversing=self._reversing)


def _suffice(made: Sequence[Tier], wanted: Sequence[Tier]) -> bool:
    """Return whether storages that were made for some tiers serve others as well."""
    return len(made) == len(wanted) and all(
        one.medium == other.medium
        and one.compressed == other.compressed
        and bool(one.slots) >= bool(other.slots)
        and (one.nbytes >= other.nbytes if one.compressed else one.slots >= other.slots)
        for one, other in zip(made, wanted, strict=True)
    )
