"""A schedule on its way: where its snapshots really are, and what to do when they do not fit as planned."""

from __future__ import annotations

import collections
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from .costs import Costs
from .crevolve import Content, Instruction, Kind
from .errors import StorageFullError
from .lookahead import looking_ahead
from .schedules import Multistage, Revolve, Schedule
from .storage import Storage

__all__ = ["Course", "Place", "Standing"]

_LOG = logging.getLogger("pyrevolve.course")

#: How many of the last snapshots tell what the next ones take.
_RECENT = 4
#: A tier must turn out so much larger or smaller than planned before the rest is planned anew.
_GROWTH, _SHRINKAGE = 1.125, 0.9
#: Slots of elastic tiers beyond those of the schedule have numbers from here on.
_FRESH = 1 << 40
#: A new plan is tried with all of the room that there is in a tier, with these parts of it, and with none.
_PARTS = (1, 2, 4)
#: So many snapshots at least are saved or freed between two plans that are only for the better.
_LEAST_CHANGES = 8


class Place(NamedTuple):
    """A slot of a storage."""

    tier: int
    slot: int


class Standing(NamedTuple):
    """Where a run stands.

    Attributes
    ----------
    stored : dict of Place to int
        The timestep whose state each full slot holds.
    position, loaded_at : int
        As of `Layout`.
    remaining : int or None
        Timesteps that are still to be reversed; None before the first sweep is done.
    """

    stored: dict[Place, int]
    position: int
    loaded_at: int
    remaining: int | None


class Course(Iterator[Any]):
    """The instructions of a schedule in terms of storages, changed on the way where that is necessary.

    A snapshot that does not fit in the tier for which it is meant goes to the next one that has room for it.
    Where none has, it is not stored, and what is left of the run is planned anew from what is
    (`Revolve.from_layout`, `Multistage.from_layout`). The same is done where tiers turn out to hold more
    snapshots, or fewer, than the schedule counts on.

    Parameters
    ----------
    schedule : Schedule
        The schedule to begin with; whole states only where a storage is elastic.
    storages : sequence of Storage
        By tier.
    costs : Costs, optional
        By tier; a new plan that nobody needs must be faster by them. None: it must run fewer timesteps.
    agree : callable, optional
        Returns, for a list of integers, the least of each over all processes that run in step. None: there is
        one process.
    begin : Standing, optional
        Where the run stands already, instead of at its start.
    keeping : bool
        Whether to find out of which timesteps nobody needs the step data.

    Attributes
    ----------
    standing : Standing
        Where the run stands: after all instructions but the one handed out last, which is taken to be carried
        out when the next is asked for.
    replanned : int
        How often what was left was planned anew.
    """

    def __init__(
        self,
        schedule: Schedule,
        storages: Sequence[Storage],
        *,
        costs: Costs | None = None,
        agree: Callable[[list[int]], list[int]] | None = None,
        begin: Standing | None = None,
        keeping: bool = False,
    ) -> None:
        self._storages = storages
        self._keeping = keeping
        if costs is None or costs.tiers < len(storages):
            nothing = (0.0,) * len(storages)
            costs = Costs(forward_step=1.0, reverse_step=0.0, save=nothing, load=nothing)
        self._costs = costs
        self._agree = agree
        self._n = schedule.n_timesteps
        self._needs = schedule.needs
        self._initial: Literal["stored", "free"] = "free" if schedule.free_initial_state else "stored"
        self._elastic = [tier for tier, storage in enumerate(storages) if storage.elastic]
        self._recent: list[collections.deque[int]] = [collections.deque(maxlen=_RECENT) for _ in storages]
        #: How many snapshots each tier is planned to hold, as long as none was stored there.
        self._planned = [0] * len(storages)
        for tier, count in enumerate(schedule.counts.tiers[: len(storages)]):
            self._planned[tier] = count.peak
        self._fresh = 0
        #: How many snapshots the tiers were thought to hold when the present schedule was chosen.
        self._counted_on = 0
        self._changes = 0
        self._handed: Instruction | None = None
        self._instead: collections.deque[Instruction] = collections.deque()
        #: Tiers in which the snapshot that is to be saved was found not to fit.
        self._tried: set[int] = set()
        self.replanned = 0
        self.standing = Standing({}, 0, 0, None) if begin is None else begin
        #: Where the slots of the schedule are.
        self._places: dict[tuple[int, int], Place] = {}
        self._follow(schedule)
        if begin is not None:
            self._replan(self._room())

    def __iter__(self) -> Course:
        return self

    def __next__(self) -> Any:
        self.carried_out()
        while True:
            if self._instead:
                self._handed = self._instead.popleft()
                return self._handed
            instruction = next(self._source)
            kind = instruction.kind
            if kind is Kind.SAVE:
                place = self._place_for(instruction.tier, instruction.slot)
                if place is None:  # every tier has as many snapshots as it has slots
                    self._replan_without(instruction)
                    continue
                self._places[instruction.tier, instruction.slot] = place
                instruction = self._at(instruction, place)
            elif instruction.slot is not None and instruction.slot >= 0:
                key = instruction.tier, instruction.slot
                instruction = self._at(instruction, self._places[key])
                if kind is Kind.FREE or not instruction.keep:
                    del self._places[key]
            self._handed = instruction
            return instruction

    # --- what happened --------------------------------------------------------------------------------------

    def carried_out(self) -> None:
        """Take notice that the instruction handed out last was carried out."""
        done, self._handed = self._handed, None
        if done is None:
            return
        kind, costs = done.kind, self._costs
        stored, position, loaded_at, remaining = self.standing
        if kind is Kind.FORWARD:
            assert done.start is not None
            assert done.stop is not None
            self._spent += costs.forward_call + costs.forward_step * (done.stop - done.start)
            position = done.stop
            if done.kept is not None:  # of what was before, no more than by a load from there is retained
                loaded_at = done.kept
        elif kind is Kind.REVERSE:
            assert done.start is not None
            assert done.stop is not None
            self._spent += costs.reverse_call + costs.reversal * (done.stop - done.start)
            remaining = done.start
        elif kind is Kind.TURN:
            remaining = self._n
        elif kind is Kind.SAVE:
            place = _place(done)
            assert done.t is not None
            stored[place] = done.t
            self._spent += costs.save_at(place.tier)
            self._recent[place.tier].append(self._storages[place.tier].stored_nbytes(place.slot))
            self._tried.clear()
            self._changes += 1
        elif kind is Kind.LOAD:
            assert done.t is not None
            position = loaded_at = done.t
            self._spent += costs.load_at(max(0, done.tier or 0))
            if done.slot is not None and done.slot >= 0 and not done.keep:
                del stored[_place(done)]
                self._changes += 1
        elif kind is Kind.FREE:
            del stored[_place(done)]
            self._changes += 1
        self.standing = Standing(stored, position, loaded_at, remaining)
        if self._elastic and kind in (Kind.SAVE, Kind.LOAD, Kind.FREE, Kind.TURN):
            self._reconsider(turned=kind is Kind.TURN)

    def no_room(self, error: StorageFullError) -> None:
        """Take notice that the snapshot handed out last did not fit; what comes next does without it.

        Raises
        ------
        StorageFullError
            `error`, where the run cannot go on without this snapshot.
        """
        instruction, self._handed = self._handed, None
        assert instruction is not None
        place = _place(instruction)
        self._tried.add(place.tier)
        self._planned[place.tier] = 0
        if instruction.content is not Content.STATE:
            raise error
        key = next(key for key, value in self._places.items() if value == place)
        elsewhere = self._place_for(place.tier, place.slot)
        if elsewhere is not None:
            _LOG.debug("x_%s does not fit in tier %d: it goes to %s", instruction.t, place.tier, elsewhere)
            self._places[key] = elsewhere
            self._instead.append(self._at(instruction, elsewhere))
            return
        if not self.standing.stored and self._initial == "stored":
            raise error  # x_0 itself
        self._replan_without(instruction)

    # --- where snapshots go ---------------------------------------------------------------------------------

    def _place_for(self, wanted: int, slot: int) -> Place | None:
        """Return where a snapshot goes that is meant for a tier; None where there is no slot left to try."""
        tiers = range(len(self._storages))
        for tier in (*range(wanted, len(tiers)), *reversed(range(min(wanted, len(tiers))))):
            if tier in self._tried:
                continue
            if tier == wanted and Place(tier, slot) not in self.standing.stored and not self.replanned:
                return Place(tier, slot)
            number = self._unused_slot(tier)
            if number is not None:
                return Place(tier, number)
        return None

    def _unused_slot(self, tier: int) -> int | None:
        """Return a slot that is empty and that nobody counts on; None where there is none."""
        storage = self._storages[tier]
        if storage.elastic:
            self._fresh += 1
            while Place(tier, _FRESH + self._fresh) in self.standing.stored:  # of an earlier process
                self._fresh += 1
            return _FRESH + self._fresh
        used = {place.slot for place in self.standing.stored if place.tier == tier}
        # From the end: the schedule counts on the first ones.
        return next((slot for slot in reversed(range(storage.n_slots)) if slot not in used), None)

    @staticmethod
    def _at(instruction: Any, place: Place) -> Instruction:
        """Return the instruction for a slot of a storage."""
        if place == (instruction.tier, instruction.slot):
            return instruction  # type: ignore[no-any-return]
        return instruction.at(*place)  # type: ignore[no-any-return]

    # --- planning anew --------------------------------------------------------------------------------------

    def _room(self) -> list[int]:
        """Return how many snapshots more each tier holds, as far as can be told."""
        room = []
        for tier, storage in enumerate(self._storages):
            used = sum(place.tier == tier for place in self.standing.stored)
            left = storage.bytes_left
            if storage.elastic and left is not None:
                need = max(self._recent[tier], default=0)
                room.append(left // (need or max(1, storage.state_nbytes)))
                if not need:
                    room[-1] = max(room[-1], self._planned[tier])
            else:
                room.append(max(0, storage.n_slots - used))
            # More than there are timesteps left is of no use, and bounds what is planned.
            room[-1] = min(room[-1], self._n)
        return room if self._agree is None else self._agree(room)

    def _held(self) -> list[int]:
        """Return how many snapshots each tier holds."""
        held = [0] * len(self._storages)
        for place in self.standing.stored:
            held[place.tier] += 1
        return held

    def _reconsider(self, *, turned: bool) -> None:
        """Plan anew where the tiers hold clearly more snapshots than the schedule counts on, or fewer."""
        remaining = self.standing.remaining
        if remaining == 0 or (not turned and self._changes < _LEAST_CHANGES):
            return
        if not any(self._recent[tier] for tier in self._elastic):
            return
        room = self._room()
        n = self._n if remaining is None else remaining
        # No more are of use than let every timestep be run twice.
        useful = n // self._needs[0] + 2
        holds = min(sum(self._held()) + sum(room), useful)
        counted_on = min(self._counted_on, useful)
        if counted_on * _SHRINKAGE <= holds <= counted_on * _GROWTH:
            return
        if holds > counted_on and remaining is None:
            return  # what is stored later, when the wavefield is there, takes more than what came first
        self._changes = 0
        schedule, keys = self._best_from_here(room)
        if holds < counted_on or self._is_better(schedule):
            self._take(schedule, keys)
        self._counted_on = holds

    def _is_better(self, schedule: Schedule) -> bool:
        """Return whether a schedule of what is left is faster than what is left of the present one."""
        return schedule.makespan(self._costs) < self._present.makespan(self._costs) - self._spent

    def _replan_without(self, instruction: Instruction) -> None:
        """Plan what is left without the snapshot that is to be saved now."""
        _LOG.debug("x_%s fits nowhere: planning anew without it", instruction.t)
        self._tried.clear()
        self._replan([0] * len(self._storages))

    def _replan(self, room: list[int]) -> None:
        """Plan what is left anew, with so many snapshots more in each tier."""
        self._take(*self._best_from_here(room))
        self._counted_on = sum(self._held()) + sum(room)

    def _best_from_here(self, room: list[int]) -> tuple[Schedule, dict[tuple[int, int], Place]]:
        """Return the fastest schedule of what is left that takes no more room than there is.

        Each snapshot more saves timesteps, but is one more to copy, or to encode.
        """
        shares = [tuple(more // part for more in room) for part in _PARTS]
        shares += itertools.product(*((0, more) for more in room))
        # Other than of two tiers, the sum is all that matters.
        choices = {c if len(room) == 2 else sum(c): c for c in shares}
        # Where nothing is stored yet, the initial state is to be.
        least = min(sum(room), int(self._initial == "stored" and not self.standing.stored))
        found = [self._from_here(list(c)) for c in sorted(choices.values(), reverse=True) if sum(c) >= least]
        return min(found, key=lambda each: each[0].makespan(self._costs))

    def _from_here(self, room: list[int]) -> tuple[Schedule, dict[tuple[int, int], Place]]:
        """Return the schedule of what is left, and where its slots are."""
        stored, position, loaded_at, remaining = self.standing
        two = len(self._storages) == 2
        keys: dict[tuple[int, int], Place] = {}
        capacity = [0] * (1 + two)
        for place in stored:
            tier = place.tier if two else 0
            keys[tier, capacity[tier]] = place
            capacity[tier] += 1
        for tier, more in enumerate(room):
            capacity[tier if two else 0] += more
        states = [(stored[place], *key) for key, place in keys.items()]
        window, lookback, lag = self._needs
        options: dict[str, Any] = {
            "position": position,
            "loaded_at": loaded_at,
            "remaining": remaining,
            "window": window,
            "lookback": lookback,
            "lag": lag,
            "initial_state": self._initial,
        }
        if two:
            return Multistage.from_layout(self._n, capacity[0], capacity[1], states, **options), keys
        least = int(self._initial == "stored")
        return (
            Revolve.from_layout(
                self._n, max(least, capacity[0]), [(t, slot) for t, _, slot in states], **options
            ),
            keys,
        )

    def _take(self, schedule: Schedule, keys: dict[tuple[int, int], Place]) -> None:
        """Go on with another schedule."""
        self.replanned += 1
        _LOG.debug("planned anew at %s: %r", self.standing[1:], schedule)
        for storage in self._storages:
            storage.forget()
        self._places = keys
        self._follow(schedule)

    def _follow(self, schedule: Schedule) -> None:
        """Take the instructions from a schedule from now on."""
        self._present = schedule
        self._spent = 0.0
        self._counted_on = sum(tier.peak for tier in schedule.counts.tiers)
        self._source: Iterator[Any] = looking_ahead(
            schedule, self._storages, self._announce, keeping=self._keeping
        )

    def _announce(self, tier: int, slot: int) -> None:
        place = self._places.get((tier, slot))
        if place is not None:
            self._storages[place.tier].prefetch(place.slot)


def _place(instruction: Instruction) -> Place:
    assert instruction.tier is not None
    assert instruction.slot is not None
    return Place(instruction.tier, instruction.slot)
