"""A run that goes on where an earlier process was killed: what its journal's entries mean to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy.typing as npt

from .arrangement import check_lossless
from .checkpoint import Checkpoint
from .course import Course, Place, Standing
from .errors import JournalError, StorageFullError
from .journal import Arrays, Entry, Journal, Journalled, arrays_of, digest_of
from .schedules import Online, Schedule
from .storage import DiskStorage, Storage
from .team import Team, together

__all__ = ["Resuming", "checked_arrays", "open_journal"]

_LOG = logging.getLogger("pyrevolve.revolver")

_T = TypeVar("_T")


class Resuming:
    """Writes where a run stands into a journal, and puts back what one of an interrupted run tells.

    Parameters
    ----------
    journal : Journal
        The journal.
    arrays : sequence of numpy.ndarray, or callable
        What the operators change besides the state.
    checkpoint : Checkpoint
        What a state is.
    storages : sequence of Storage
        The tiers; the first one on disk that can be found again is what entries tell of.
    team : Team or None
        The processes that run in step.

    Raises
    ------
    ValueError
        A storage loses bits.
    """

    def __init__(
        self,
        journal: Journal,
        arrays: Arrays,
        checkpoint: Checkpoint,
        storages: Sequence[Storage],
        team: Team | None,
    ) -> None:
        check_lossless(*storages)
        self._journal = journal
        self._arrays = arrays
        self._checkpoint = checkpoint
        self._storages = storages
        self._team = team
        on_disk = (each for each in storages if isinstance(each, DiskStorage))
        journal.storage = next((each for each in on_disk if each.resumable), None)
        #: Whether this run goes on with another one.
        self.resumed = False
        #: Where that one was interrupted, until all of it is put back.
        self._entry: Entry | None = None
        #: What the storages hold of it.
        self._stored: dict[Place, int] = {}
        self._n_timesteps = 0
        self._course: Course | None = None

    # --- going on -------------------------------------------------------------------------------------------

    def begin(self, schedule: Schedule) -> Standing | None:
        """Put back what the journal tells of an interrupted forward sweep, with x_0 in the workspace.

        Parameters
        ----------
        schedule : Schedule
            Of the run that begins.

        Returns
        -------
        Standing or None
            Where the forward sweep goes on; None where it starts from its beginning, or is done (`turned`).
        """
        self._n_timesteps = schedule.n_timesteps
        self._entry = self._journal.begin(self._together(self._fingerprint)(schedule))
        standing = None if self._entry is None else self._put_back(schedule, self._entry)
        self.resumed = self._entry is not None
        return standing

    @property
    def turned(self) -> bool:
        """Whether the forward sweep of the interrupted run was done."""
        return self._entry is not None and self._entry.sweep != "forward"

    def turn(self) -> Standing | None:
        """Take notice that the reverse sweep begins; return where it goes on, None: at its beginning."""
        self._journal.turn()
        entry = self._entry
        if entry is None or not self.turned:
            return None
        with self._journal.resuming():
            return self._together(self._reload)(entry)

    def _fingerprint(self, schedule: Schedule) -> dict[str, Any]:
        """Return what the run is, by which its journal is told from others."""
        initial = self._checkpoint.get_data(0)
        return {
            **self._journal.inputs,
            "number of timesteps": self._n_timesteps,
            "lookback and lag": schedule.needs[1:],  # another window changes no bit of the result
            "initial state": "free" if schedule.free_initial_state else "stored",
            "state": [(array.shape, array.dtype.str) for array in initial],
            "x_0": digest_of(initial),
        }

    def _put_back(self, schedule: Schedule, entry: Entry) -> Standing | None:
        """Put back what an entry tells of the forward sweep; None also where nothing can be gone on with."""
        index = list(entry.index)
        while True:
            stored = self._together(self._restore)(index)
            if schedule.free_initial_state or 0 in stored.values() or self._save_initial(stored):
                break
            if not index:  # as where the workspace retains the whole run, and no state is ever stored
                _LOG.info("there is no room for x_0, without which nothing can go on: starting anew")
                self._journal.finish()
                self._entry = None
                return None
            # x_0 was not needed any more, as long as the workspace retained what it did; now it is. One that
            # is above the timesteps to be reversed is of no use, and x_0 is the best instead of the lowest.
            remaining = self._n_timesteps if entry.remaining is None else entry.remaining
            index.remove(min(index, key=lambda held: (held["t"] <= remaining, held["t"])))
        self._stored = stored
        if self.turned:
            self._together(self._restore_turn)()
            return None
        self._together(self._restore_arrays)(entry)
        return Standing(stored, entry.position, entry.position, None)

    def _restore(self, index: list[dict[str, Any]]) -> dict[Place, int]:
        """Find the snapshots that an index tells of; return what the storages hold."""
        storage = self._journal.storage
        if storage is None:
            return {}
        try:
            storage.restore(index)
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(
                f"the journal in {self._journal.path} does not go with the snapshots beside it ({error!r}); "
                "remove the directory to start anew"
            ) from error
        tier = self._storages.index(storage)
        return {Place(tier, slot): t for slot, t in storage.full.items()}

    def _save_initial(self, stored: dict[Place, int]) -> bool:
        """Save x_0, which is in the workspace, beside what is stored; return False where it fits nowhere."""
        initial = self._together(self._checkpoint.get_data)(0)
        for tier, storage in enumerate(self._storages):
            slots = range(min(storage.n_slots, len(stored) + 1))
            slot = next((slot for slot in slots if Place(tier, slot) not in stored), None)
            if slot is not None:
                save = storage.save if self._team is None else self._team.guarded_save(storage)
                with suppress(StorageFullError):
                    save(slot, initial, 0)
                    stored[Place(tier, slot)] = 0
                    return True
        return False

    def _restore_turn(self) -> None:
        """Put back what the forward sweep has left."""
        state = self._checkpoint.get_data_location(self._n_timesteps)
        self._journal.restore_turn([*state, *arrays_of(self._arrays)])

    def _restore_arrays(self, entry: Entry) -> None:
        """Put back what the forward sweep was at."""
        state = self._checkpoint.get_data_location(entry.position)
        self._journal.restore(entry, [*state, *arrays_of(self._arrays)])

    def _reload(self, entry: Entry) -> Standing:
        """Put back what the reverse sweep was at, and load a state from which it can go on."""
        if entry.sweep == "reverse":
            self._journal.restore(entry, arrays_of(self._arrays))
        stored, remaining = self._stored, entry.remaining
        assert remaining is not None
        self._entry = None
        places = [place for place, t in stored.items() if t <= remaining]
        if not places:
            self._checkpoint.set_initial()
            return Standing(stored, 0, 0, remaining)
        place = max(places, key=stored.__getitem__)
        t = stored[place]
        self._storages[place.tier].load(place.slot, self._checkpoint.get_data_location(t), t)
        return Standing(stored, t, t, remaining)

    # --- writing --------------------------------------------------------------------------------------------

    def follow(self, course: Course) -> Iterator[Any]:
        """Return the instructions of a course, before which entries are written where it is time."""
        self._course = course
        return Journalled(course, self._journal, self._write_entry)

    def write_turn(self) -> None:
        """Write what the forward sweep has left."""
        assert self._course is not None
        self._course.carried_out()
        self._journal.write_turn(self._together(self._state_and_arrays)(self._n_timesteps))
        # What the arrays hold when the reverse sweep begins is the user's to say.
        self._journal.write("turned", self._n_timesteps, self._n_timesteps, [])

    def save_again(self, storage: Storage, save: Callable[..., int], *arguments: Any) -> int | None:
        """Save a snapshot that did not fit once the bytes that only the last entry needs are free.

        Returns
        -------
        int or None
            The bytes that were stored; None where it still does not fit.
        """
        if self._journal.storage is not storage:
            return None
        deferred = self._journal.storage.deferred
        if self._team is not None:
            (deferred,) = (bool(value) for value in self._team.greatest([int(deferred)]))
        if not deferred:
            return None
        self._write_entry()
        try:
            return save(*arguments)
        except StorageFullError:
            return None

    def _write_entry(self) -> None:
        """Write where the run stands."""
        assert self._course is not None
        standing = self._course.standing
        if standing.remaining is None:
            position = standing.position
            self._journal.write("forward", position, None, self._together(self._state_and_arrays)(position))
        else:
            self._journal.write("reverse", 0, standing.remaining, self._together(arrays_of)(self._arrays))

    def _state_and_arrays(self, t: int) -> list[npt.NDArray[Any]]:
        """Return the arrays of x_t, which is in the workspace, and those that the operators change."""
        return [*self._checkpoint.get_data(t), *arrays_of(self._arrays)]

    # --- the end --------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Take notice that the run is done; raises as `Journal.finish` does."""
        self._journal.finish()

    def next_shot(self) -> None:
        """Give up what was not finished, and take notice that another run begins."""
        self._journal.finish()
        self._journal.next_shot()
        self._entry = None
        self.resumed = False

    def _together(self, work: Callable[..., _T]) -> Callable[..., _T]:
        """Return a function that raises in all processes where it raises in one."""
        return together(self._team, work)


def open_journal(
    resume: str | os.PathLike[str] | Journal | None,
    schedule: Schedule | Online,
    *,
    interval: float,
    key: str,
    team: Team | None,
) -> Journal | None:
    """Return the journal that is asked for; raise where there can be none.

    Raises
    ------
    ValueError
        Runs of such a schedule cannot be resumed, or `interval` is out of range.
    JournalError
        See `Journal`.
    """
    if resume is None:
        return None
    if (
        not isinstance(schedule, Schedule)
        or schedule.needs_step_data
        or schedule.reverse_steps < schedule.n_timesteps
    ):
        raise ValueError(
            f"{type(schedule).__name__} cannot be resumed: resume= is for schedules that know n, keep "
            "whole states, and reverse them"
        )
    if isinstance(resume, Journal):
        return resume
    return Journal(resume, interval=interval, key=key, team=team)


def checked_arrays(resume: object, arrays: Arrays | None) -> Arrays:
    """Return the arrays that a journal keeps.

    Raises
    ------
    TypeError
        They are missing, or no arrays.
    ValueError
        They are given, and no journal is.
    """
    if resume is None:
        if arrays is not None:
            raise ValueError("resume_arrays= is of no use without resume=, the directory of the journal")
        return ()
    if arrays is None:
        raise TypeError(
            "resume= needs resume_arrays=, all arrays that the operators change besides the state: "
            "adjoint fields, gradients, receivers; without them the gradient would be wrong. Give [] "
            "where there are none"
        )
    return arrays if callable(arrays) else arrays_of(arrays)
