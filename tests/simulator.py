"""A machine that executes a schedule and trusts nothing: it shares no code with the library.

It knows the instructions (by the names of their kinds and contents) and the windowed model: at x_p, reached
by running forward from x_a, where a is where the workspace was last loaded or started, the workspace retains
the step data of the timesteps tau with max(a - d - lag, p - K - lag) < tau <= p - lag.

Of a forward range that keeps step data from a timestep on, that timestep is where the workspace starts anew.

A slot holds a state or the step data of one timestep. Loading step data of timestep t retains that timestep
and nothing else, and leaves the workspace without a state, unless a block of step data carries x_{t+1}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STATE, STEP_DATA = "STATE", "STEP_DATA"


class InvalidSchedule(AssertionError):  # noqa: N818
    """A schedule did what no schedule may do."""


class Stored(NamedTuple):
    """What is in a slot: x_t, or the step data of timestep t."""

    tier: int
    slot: int
    t: int
    content: str = STATE


@dataclass(frozen=True)
class Layout:
    """Where a schedule starts, if not at x_0 with empty slots.

    `position` None is a workspace without a state; `base`, where the workspace was last loaded or started,
    is `position` unless given; `remaining` timesteps are still to be reversed, all unless given.
    """

    stored: Sequence[Stored] = ()
    position: int | None = 0
    base: int | None = None
    remaining: int | None = None
    turned: bool = False


@dataclass(frozen=True)
class TierReport:
    """What happened to the slots of one tier; `peak` counts units, one for a state."""

    saves: int
    loads: int
    peak: int


@dataclass(frozen=True)
class Report:
    """What a valid schedule did; `resets`, re-creations of a free x_0, are no loads.

    `saves` and `loads` are sums over the tiers, and `peak_snapshots` is the sum of their peaks.
    """

    forward_steps: int
    saves: int
    loads: int
    resets: int
    forward_calls: int
    reverse_calls: int
    frees: int
    peak_snapshots: int
    tiers: tuple[TierReport, ...]
    left_stored: int
    instructions: int

    def cost(
        self,
        *,
        write: Sequence[Any],
        read: Sequence[Any],
        forward_step: Any = 1,
        forward_call: Any = 0,
        reverse_call: Any = 0,
        reset: Any = 0,
    ) -> Any:
        """Return the time taken, reversed timesteps excluded; `write` and `read` have a cost per tier."""
        total = self.forward_steps * forward_step + self.resets * reset
        total += self.forward_calls * forward_call + self.reverse_calls * reverse_call
        for tier, to_write, to_read in zip(self.tiers, write, read, strict=True):
            total += tier.saves * to_write + tier.loads * to_read
        return total


@dataclass
class Tier:
    """Numbered slots, and how many units they have together (None: any number)."""

    capacity: int | None
    slots: dict[int, tuple[str, int]] = field(default_factory=dict)
    used: int = 0
    saves: int = 0
    loads: int = 0
    peak: int = 0


@dataclass
class Machine:
    """One workspace, at x_position, and the slots of some tiers; the parameters are those of `simulate`."""

    n: int
    snapshots: int | Sequence[int | None]
    window: int
    lookback: int
    lag: int
    free_initial: bool
    tier: int = 0
    step_data_units: int = 1
    step_data_carries_next_state: bool = False
    forward_only: bool = False
    layout: Layout = field(default_factory=Layout)

    forward_steps: int = 0
    resets: int = 0
    forward_calls: int = 0
    reverse_calls: int = 0
    frees: int = 0
    instructions: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        assert not self.step_data_carries_next_state or self.lag == 1
        if isinstance(self.snapshots, int):
            self.snapshots = [0] * self.tier + [self.snapshots]
        layout = self.layout
        self.tiers = [Tier(capacity) for capacity in self.snapshots]
        self.turned = layout.turned
        self.reversed_down_to = self.n if layout.remaining is None else layout.remaining
        self.position: int | None = None
        # The retained timesteps tau: oldest <= tau <= newest.
        self.oldest, self.newest = 0, -1
        self._instruction: Any = layout
        for stored in layout.stored:
            self._put(stored, stored.content)
        if layout.position is not None:
            base = layout.position if layout.base is None else layout.base
            self._require(0 <= base <= layout.position <= self.n, "starts where no run can be")
            self._arrive(base)
            self._go_on(layout.position)

    def execute(self, instruction: Any) -> None:
        name = instruction.kind.name
        action = getattr(self, f"_{name.lower()}", None)
        self._instruction = instruction
        self._require(action is not None, "is of no known kind")
        self._require(not self.ended, "comes after END")
        action(instruction)
        self.instructions += 1

    def _require(self, condition: bool, why: str) -> None:
        if not condition:
            raise InvalidSchedule(f"instruction {self.instructions}, {self._instruction!r}: {why}; {self}")

    def __str__(self) -> str:
        slots = [tier.slots for tier in self.tiers]
        return (
            f"{self.n=} at {self.position}, retains {self.oldest}..{self.newest}, {self.reversed_down_to=} "
            f"{self.turned=} {slots=} {self.snapshots=} {self.window=} {self.lookback=} {self.lag=}"
        )

    def _arrive(self, t: int) -> None:
        """Load or create x_t."""
        self.position = t
        self.oldest = 1 + max(t - self.lookback, t - self.window) - self.lag
        self.newest = t - self.lag

    def _go_on(self, t: int) -> None:
        """Run forward to x_t."""
        self.position = t
        self.newest = t - self.lag
        self.oldest = max(self.oldest, self.newest - self.window + 1)

    def _forward(self, i: Any) -> None:
        self._require(i.start == self.position, "runs forward from a state that is not at hand")
        self._require(i.start < i.stop <= self.n, "runs over an empty or impossible range")
        kept = getattr(i, "kept", None)
        if kept is not None:
            self._require(i.start < kept <= i.stop, "keeps step data from an impossible timestep on")
            self._arrive(kept)
        self._go_on(i.stop)
        self.forward_steps += i.stop - i.start
        self.forward_calls += 1

    def _content(self, i: Any) -> str:
        content = i.content.name if hasattr(i, "content") else STATE
        self._require(content in (STATE, STEP_DATA), "has no known content")
        return content

    def _units(self, content: str) -> int:
        return self.step_data_units if content == STEP_DATA else 1

    def _put(self, i: Any, content: str) -> Tier:
        exists = 0 <= i.tier < len(self.tiers) and i.slot >= 0
        tier = self.tiers[i.tier] if exists else Tier(0)
        exists = exists and (tier.capacity is None or i.slot < tier.capacity)
        self._require(exists, "names a slot that does not exist")
        self._require(i.slot not in tier.slots, "saves into a slot that is full")
        tier.slots[i.slot] = content, i.t
        tier.used += self._units(content)
        self._require(tier.capacity is None or tier.used <= tier.capacity, "fills more than the tier has")
        tier.peak = max(tier.peak, tier.used)
        return tier

    def _save(self, i: Any) -> None:
        content = self._content(i)
        if content == STEP_DATA:
            self._require(self.oldest <= i.t <= self.newest, "saves step data that is not at hand")
            self._require(0 <= i.t < self.n, "saves step data of no timestep")
        else:
            self._require(i.t == self.position, "saves a state that is not at hand")
        self._put(i, content).saves += 1

    def _load(self, i: Any) -> None:
        content = self._content(i)
        if i.tier == -1:
            self._require(self.free_initial, "re-creates an initial state that is not free")
            self._require(i.t == 0 and i.slot == -1 and content == STATE, "re-creates another state than x_0")
            self.resets += 1
        else:
            tier = self._holder(i)
            self._require(tier.slots[i.slot][0] == content, "names another content than the slot holds")
            if not i.keep:
                self._drop(i)
            tier.loads += 1
        if content == STATE:
            self._arrive(i.t)
        else:
            self.oldest = self.newest = i.t
            self.position = i.t + 1 if self.step_data_carries_next_state else None

    def _free(self, i: Any) -> None:
        self._holder(i)
        self._drop(i)
        self.frees += 1

    def _holder(self, i: Any) -> Tier:
        full = 0 <= i.tier < len(self.tiers) and i.slot in self.tiers[i.tier].slots
        self._require(full, "names a slot that is empty")
        tier = self.tiers[i.tier]
        self._require(tier.slots[i.slot][1] == i.t, "names another state than the slot holds")
        return tier

    def _drop(self, i: Any) -> None:
        tier = self.tiers[i.tier]
        content, _ = tier.slots.pop(i.slot)
        tier.used -= self._units(content)

    def _turn(self, i: Any) -> None:
        self._require(not self.turned, "turns twice")
        self._require(self.position == self.n, "turns before the end of the first sweep")
        self.turned = True

    def _reverse(self, i: Any) -> None:
        self._require(not self.forward_only, "reverses, where only a forward run is asked for")
        self._require(self.turned, "reverses before the turn")
        self._require(i.stop == self.reversed_down_to, "does not reverse the next timestep")
        self._require(0 <= i.start < i.stop, "reverses an empty or impossible range")
        self._require(i.stop - 1 <= self.newest, "reverses timesteps whose data does not exist yet")
        self._require(i.start >= self.oldest, "reverses timesteps whose data is gone")
        self._require(i.stop - i.start <= self.window, "reverses more than a window in one call")
        self.reversed_down_to = i.start
        self.reverse_calls += 1

    def _end(self, i: Any) -> None:
        self._require(self.turned, "ends before the turn")
        self._require(self.forward_only or self.reversed_down_to == 0, "ends before everything is reversed")
        self.ended = True


def simulate(
    instructions: Iterable[Any],
    *,
    n: int,
    snapshots: int | Sequence[int | None],
    window: int = 1,
    lookback: int = 0,
    lag: int = 1,
    free_initial: bool = False,
    tier: int = 0,
    step_data_units: int = 1,
    step_data_carries_next_state: bool = False,
    layout: Layout | None = None,
    forward_only: bool = False,
) -> Report:
    """Execute `instructions` and say what they did; the first that is not allowed is an `InvalidSchedule`.

    Parameters
    ----------
    snapshots
        The capacity of every tier, None where it has no bound, or the capacity of `tier` alone.
    step_data_units
        How much of a capacity the step data of one timestep takes; a state takes 1. Slots are labels: below
        the capacity, whatever they hold.
    step_data_carries_next_state
        Whether step data of timestep t holds x_{t+1} as well, so that loading it allows to go on from there.
    layout
        Where the schedule starts.
    forward_only
        Whether the schedule has to end after the turn, without reversing anything.
    """
    machine = Machine(
        n,
        snapshots,
        window,
        lookback,
        lag,
        free_initial,
        tier,
        step_data_units,
        step_data_carries_next_state,
        forward_only,
        Layout() if layout is None else layout,
    )
    for instruction in instructions:
        machine.execute(instruction)
    if not machine.ended:
        raise InvalidSchedule(f"the schedule stops without END; {machine}")
    tiers = machine.tiers
    return Report(
        forward_steps=machine.forward_steps,
        saves=sum(tier.saves for tier in tiers),
        loads=sum(tier.loads for tier in tiers),
        resets=machine.resets,
        forward_calls=machine.forward_calls,
        reverse_calls=machine.reverse_calls,
        frees=machine.frees,
        peak_snapshots=sum(tier.peak for tier in tiers),
        tiers=tuple(TierReport(tier.saves, tier.loads, tier.peak) for tier in tiers),
        left_stored=sum(len(tier.slots) for tier in tiers),
        instructions=machine.instructions,
    )


@dataclass(frozen=True)
class ClassicReport:
    """What a valid stream of classic actions did."""

    advances: int
    takeshots: int
    restores: int
    actions: int
    finished: bool


def simulate_classic(stream: Iterable[tuple[str, int, int, int]], *, n: int, snapshots: int) -> ClassicReport:
    """Execute (name of the action, capo, fine, check), a stream or the beginning of one."""
    position, fine, turns = 0, n, 0
    slots: dict[int, int] = {}
    advances = takeshots = restores = count = 0
    finished = False
    for name, capo, new_fine, check in stream:
        what = f"action {count}, {name} {capo=} fine={new_fine} {check=} at x_{position}, {fine=}, {slots}"
        count += 1
        allowed = not finished
        if name == "advance":
            allowed &= position < capo < fine == new_fine
            advances += capo - position
            position = capo
        elif name == "takeshot":
            allowed &= 0 <= check < snapshots and check not in slots and capo == position and new_fine == fine
            slots[check] = position
            takeshots += 1
        elif name == "restore":
            allowed &= slots.get(check) == capo and new_fine == fine
            position = capo
            restores += 1
        elif name in ("firstrun", "youturn"):
            allowed &= position == capo == new_fine == fine - 1 and (name == "firstrun") == (turns == 0)
            fine = new_fine
            turns += 1
            # The stack is popped before the last turn of a slot.
            slots = {slot: state for slot, state in slots.items() if slot <= check}
        elif name == "terminate":
            allowed &= fine == new_fine == 0 and turns == n
            finished = True
        else:
            allowed = False
        if not allowed:
            raise InvalidSchedule(what)
    return ClassicReport(advances, takeshots, restores, count, finished)
