"""What the instructions that follow tell: what will be loaded, and of which timesteps the data is needed."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .crevolve import Content, Kind
from .schedules import Schedule
from .storage import Storage

__all__ = ["Keeping", "LookAhead", "looking_ahead"]

#: No more instructions than this are drawn from the schedule ahead of time.
_HORIZON = 2048


class LookAhead:
    """The instructions of a schedule, whose loads are announced ahead of time.

    Parameters
    ----------
    instructions : iterator of Instruction
        The schedule.
    ahead : sequence of int
        By tier: how many loads may be announced at once; see `Storage.ahead`.
    announce : callable
        Called with tier and slot of a load that will come, in the order in which they come, and once the
        slot has been saved.

    Notes
    -----
    An instruction is taken to be carried out when the next one is asked for.
    """

    def __init__(
        self, instructions: Iterator[Any], ahead: Sequence[int], announce: Callable[[int, int], object]
    ) -> None:
        self._source = instructions
        self._ahead = {tier: most for tier, most in enumerate(ahead) if most > 0}
        self._announce = announce
        self._drawn: collections.deque[Any] = collections.deque()
        #: Loads that were drawn and neither announced nor carried out, by tier: the slot, and how many saves
        #: of it come before.
        self._waiting: dict[int, collections.deque[tuple[int, int]]] = {
            tier: collections.deque() for tier in self._ahead
        }
        #: How many loads are announced and not carried out, by tier.
        self._announced = dict.fromkeys(self._ahead, 0)
        #: How many saves of a slot were drawn, and carried out.
        self._saves: collections.Counter[tuple[int, int]] = collections.Counter()
        self._saved: collections.Counter[tuple[int, int]] = collections.Counter()
        self._saving: tuple[int, int] | None = None
        self._ended = False

    def __iter__(self) -> LookAhead:
        return self

    def __next__(self) -> Any:
        if self._saving is not None:  # it was carried out
            self._saved[self._saving] += 1
            self._saving = None
        self._draw()
        self._tell()
        if not self._drawn:
            raise StopIteration
        instruction = self._drawn.popleft()
        if instruction.tier in self._ahead and instruction.slot >= 0:
            tier = instruction.tier
            if instruction.kind is Kind.SAVE:
                self._saving = tier, instruction.slot
            elif instruction.kind is Kind.LOAD:
                if self._announced[tier]:
                    self._announced[tier] -= 1
                else:
                    self._waiting[tier].popleft()
        return instruction

    def _draw(self) -> None:
        """Draw instructions until enough loads are known of every tier, and at least one."""
        drawn, waiting = self._drawn, self._waiting
        while not self._ended and (
            not drawn
            or (
                len(drawn) < _HORIZON
                and any(
                    self._announced[tier] + len(waiting[tier]) < most for tier, most in self._ahead.items()
                )
            )
        ):
            instruction = next(self._source, None)
            if instruction is None:
                self._ended = True
                return
            drawn.append(instruction)
            if instruction.tier in self._ahead and instruction.slot >= 0:
                where = instruction.tier, instruction.slot
                if instruction.kind is Kind.LOAD:
                    waiting[instruction.tier].append((instruction.slot, self._saves[where]))
                elif instruction.kind is Kind.SAVE:
                    self._saves[where] += 1

    def _tell(self) -> None:
        """Announce the loads that come next, as far as their slots are saved."""
        for tier, most in self._ahead.items():
            waiting = self._waiting[tier]
            while waiting and self._announced[tier] < most:
                slot, saves = waiting[0]
                if self._saved[tier, slot] < saves:
                    break
                waiting.popleft()
                self._announce(tier, slot)
                self._announced[tier] += 1


class Keeping:
    """The instructions of a schedule, each FORWARD with the timesteps whose step data nobody needs.

    Step data that the workspace holds is needed where it is reversed, or saved, before the workspace is
    loaded again. The last timestep before a REVERSE or TURN always counts as needed: it is the operator's
    `apply` that leaves the workspace to the reverse operator, and to the user. So do timesteps after which
    nothing is known for too many instructions.

    Parameters
    ----------
    schedule : Schedule
        The schedule.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._source: Iterator[Any] = iter(schedule)
        self._drawn: collections.deque[Any] = collections.deque()
        window, _, lag = schedule.needs
        #: So many timesteps later the workspace has forgotten a timestep, whatever is reversed there.
        self._reach = window + lag

    def __iter__(self) -> Keeping:
        return self

    def __next__(self) -> Any:
        instruction = self._drawn.popleft() if self._drawn else next(self._source)
        if instruction.kind is not Kind.FORWARD:
            return instruction
        first = self._first_needed(instruction.stop)
        return instruction if first <= instruction.start else instruction.keeping(first)

    def _first_needed(self, stop: int) -> int:
        """Return the first timestep whose data is needed; `stop`: none before it is; 0: it is not known."""
        first = stop
        moved = False
        for count, following in enumerate(self._following()):
            kind = following.kind
            if kind is Kind.LOAD:
                break
            if kind is Kind.FORWARD:
                moved = True
                if following.stop >= stop + self._reach:
                    break
            elif kind is Kind.SAVE and following.content is Content.STEP_DATA:
                first = min(first, following.t)
            elif kind is Kind.REVERSE or kind is Kind.TURN:
                if not moved:
                    first = min(first, stop - 1)
                if kind is Kind.REVERSE:
                    first = min(first, following.start)
            if count == _HORIZON:
                return 0
        return first

    def _following(self) -> Iterator[Any]:
        """Go through the instructions that come next, drawing them as far as they are asked for."""
        yield from self._drawn
        for instruction in self._source:
            self._drawn.append(instruction)
            yield instruction


def looking_ahead(
    schedule: Schedule,
    storages: Sequence[Storage],
    announce: Callable[[int, int], object],
    *,
    keeping: bool,
) -> Iterator[Any]:
    """Return the instructions of a schedule with what those that follow tell, where that is of use.

    Parameters
    ----------
    schedule : Schedule
        The schedule.
    storages : sequence of Storage
        By tier; loads are announced where any of them can use that.
    announce : callable
        As of `LookAhead`.
    keeping : bool
        Whether to find out of which timesteps nobody needs the step data.
    """
    instructions: Iterator[Any] = Keeping(schedule) if keeping else iter(schedule)
    ahead = [storage.ahead for storage in storages]
    return LookAhead(instructions, ahead, announce) if any(ahead) else instructions
