"""What watches a run: told by the driver of every instruction, once that was carried out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal, TypeAlias

from .course import Course
from .crevolve import Kind
from .schedules import Online, Schedule
from .storage import Storage

__all__ = ["Observer", "Observers", "Outcome", "Sweep", "names_of"]

Sweep: TypeAlias = Literal["forward", "reverse"]

#: How a sweep, or a part of it, was left: another part follows; it is complete; an exception ended it, or
#: nobody went on with it.
Outcome: TypeAlias = Literal["paused", "done", "failed"]


class Observer:
    """Watches a run; a subclass overrides what it wants to know.

    The driver calls the methods in the thread that runs the sweep. Times are those of `time.perf_counter_ns`
    [ns]. An exception in a method ends the sweep like one in an operator.
    """

    def begin(self, sweep: Sweep, storages: Sequence[Storage]) -> None:
        """Take notice that a sweep begins, or a part of it.

        Parameters
        ----------
        sweep : {"forward", "reverse"}
            Which.
        storages : sequence of Storage
            By tier. Not to be kept beyond `end`: they would stay in memory with the observer.
        """

    def follow(self, schedule: Schedule | Online, course: Course | None) -> None:
        """Take notice of what is carried out from now on.

        Parameters
        ----------
        schedule : Schedule or Online
            The schedule; one with a layout tells what is left of a run that has begun.
        course : Course, optional
            What may change the schedule on the way, and where it stands; None: nothing does.
        """

    def ran_forward(self, start: int, stop: int, began: int, ended: int) -> None:
        """Take notice that timesteps [start, stop) were run forward."""

    def ran_reverse(self, start: int, stop: int, began: int, ended: int) -> None:
        """Take notice that timesteps [start, stop) were reversed."""

    def saved(self, t: int, tier: int, slot: int, nbytes: int, began: int, ended: int) -> None:
        """Take notice that so many bytes of timestep t were saved."""

    def loaded(self, t: int, tier: int, slot: int, keep: bool, nbytes: int, began: int, ended: int) -> None:
        """Take notice that so many bytes of timestep t were loaded, and whether the slot stays full.

        A free x_0 that was re-created has tier 0, slot -1 and no bytes.
        """

    def freed(self, tier: int, slot: int) -> None:
        """Take notice that a slot was made empty other than by a load."""

    def reached(self, kind: Kind) -> None:
        """Take notice of TURN or END."""

    def end(self, outcome: Outcome) -> None:
        """Take notice of how a sweep, or a part of it, was left; perhaps again, then with "failed"."""

    def reset(self) -> None:
        """Make ready for the next shot, or for none."""


class Observers(Observer):
    """Several observers as one, told in their order.

    Parameters
    ----------
    *observers : Observer
        At least one.
    """

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    @classmethod
    def of(cls, *observers: Observer | None) -> Observer:
        """Return those that are not None as one, of which there is at least one."""
        present = [each for each in observers if each is not None]
        return present[0] if len(present) == 1 else cls(*present)

    def begin(self, sweep: Sweep, storages: Sequence[Storage]) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.begin(sweep, storages)

    def follow(self, schedule: Schedule | Online, course: Course | None) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.follow(schedule, course)

    def ran_forward(self, start: int, stop: int, began: int, ended: int) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.ran_forward(start, stop, began, ended)

    def ran_reverse(self, start: int, stop: int, began: int, ended: int) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.ran_reverse(start, stop, began, ended)

    def saved(self, t: int, tier: int, slot: int, nbytes: int, began: int, ended: int) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.saved(t, tier, slot, nbytes, began, ended)

    def loaded(self, t: int, tier: int, slot: int, keep: bool, nbytes: int, began: int, ended: int) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.loaded(t, tier, slot, keep, nbytes, began, ended)

    def freed(self, tier: int, slot: int) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.freed(tier, slot)

    def reached(self, kind: Kind) -> None:
        """Tell all of them."""
        for each in self._observers:
            each.reached(kind)

    def end(self, outcome: Outcome) -> None:
        """Tell all of them, also where one raises."""
        with ExitStack() as callbacks:  # which are called in reverse
            for each in reversed(self._observers):
                callbacks.callback(each.end, outcome)

    def reset(self) -> None:
        """Reset all of them, also where one raises."""
        with ExitStack() as callbacks:
            for each in reversed(self._observers):
                callbacks.callback(each.reset)


def names_of(storages: Sequence[Storage]) -> tuple[str, ...]:
    """Return what tiers are called, such as ``("RAM", "disk")``, numbered where one name is of several."""
    names = [each.tier_name for each in storages]
    return tuple(
        f"{name} (tier {tier})" if names.count(name) > 1 else name for tier, name in enumerate(names)
    )
