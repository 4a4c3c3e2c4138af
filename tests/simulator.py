"""A machine that executes a schedule and trusts nothing: it shares no code with the library.

It knows the instructions (by the names of their kinds) and the windowed model: at x_p, reached by running
forward from x_a, where a is where the workspace was last loaded or started, the workspace retains the step
data of the timesteps tau with max(a - d - lag, p - K - lag) < tau <= p - lag.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class InvalidSchedule(AssertionError):  # noqa: N818
    """A schedule did what no schedule may do."""


@dataclass(frozen=True)
class Report:
    """What a valid schedule did; `resets`, re-creations of a free x_0, are no loads."""

    forward_steps: int
    saves: int
    loads: int
    resets: int
    forward_calls: int
    reverse_calls: int
    peak_snapshots: int
    left_stored: int
    instructions: int


@dataclass
class Machine:
    """One workspace, at x_position, and numbered slots of one tier."""

    n: int
    snapshots: int
    window: int
    lookback: int
    lag: int
    free_initial: bool
    tier: int

    position: int = 0
    base: int = 0  # where the workspace was last loaded or started
    reversed_down_to: int = -1
    turned: bool = False
    ended: bool = False
    slots: dict[int, int] = field(default_factory=dict)

    forward_steps: int = 0
    saves: int = 0
    loads: int = 0
    resets: int = 0
    forward_calls: int = 0
    reverse_calls: int = 0
    peak_snapshots: int = 0
    instructions: int = 0

    def __post_init__(self) -> None:
        self.reversed_down_to = self.n

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

    def _forward(self, i: Any) -> None:
        self._require(i.start == self.position, "runs forward from a state that is not at hand")
        self._require(i.start < i.stop <= self.n, "runs over an empty or impossible range")
        self.position = i.stop
        self.forward_steps += i.stop - i.start
        self.forward_calls += 1

    def _save(self, i: Any) -> None:
        self._require(i.t == self.position, "saves a state that is not at hand")
        self._require(
            i.tier == self.tier and 0 <= i.slot < self.snapshots, "names a slot that does not exist"
        )
        self._require(i.slot not in self.slots, "saves into a slot that is full")
        self.slots[i.slot] = i.t
        self.peak_snapshots = max(self.peak_snapshots, len(self.slots))
        self.saves += 1

    def _load(self, i: Any) -> None:
        if i.tier == -1:
            self._require(self.free_initial, "re-creates an initial state that is not free")
            self._require(i.t == 0 and i.slot == -1, "re-creates another state than x_0")
            self.resets += 1
        else:
            self._require_stored(i)
            if not i.keep:
                del self.slots[i.slot]
            self.loads += 1
        self.position = self.base = i.t

    def _free(self, i: Any) -> None:
        self._require_stored(i)
        del self.slots[i.slot]

    def _require_stored(self, i: Any) -> None:
        self._require(i.tier == self.tier and i.slot in self.slots, "names a slot that is empty")
        self._require(self.slots[i.slot] == i.t, "names another state than the slot holds")

    def _turn(self, i: Any) -> None:
        self._require(not self.turned, "turns twice")
        self._require(self.position == self.n, "turns before the end of the first sweep")
        self.turned = True

    def _reverse(self, i: Any) -> None:
        first_retained = 1 + max(self.base - self.lookback, self.position - self.window) - self.lag
        self._require(self.turned, "reverses before the turn")
        self._require(i.stop == self.reversed_down_to, "does not reverse the next timestep")
        self._require(0 <= i.start < i.stop, "reverses an empty or impossible range")
        self._require(
            i.stop - 1 <= self.position - self.lag, "reverses timesteps whose data does not exist yet"
        )
        self._require(i.start >= first_retained, "reverses timesteps whose data is gone")
        self._require(i.stop - i.start <= self.window, "reverses more than a window in one call")
        self.reversed_down_to = i.start
        self.reverse_calls += 1

    def _end(self, i: Any) -> None:
        self._require(self.turned, "ends before the turn")
        self._require(self.reversed_down_to == 0, "ends before everything is reversed")
        self.ended = True


def simulate(
    instructions: Iterable[Any],
    *,
    n: int,
    snapshots: int,
    window: int = 1,
    lookback: int = 0,
    lag: int = 1,
    free_initial: bool = False,
    tier: int = 0,
) -> Report:
    """Execute `instructions` and say what they did; the first that is not allowed is an `InvalidSchedule`."""
    machine = Machine(n, snapshots, window, lookback, lag, free_initial, tier)
    for instruction in instructions:
        machine.execute(instruction)
    if not machine.ended:
        raise InvalidSchedule(f"the schedule stops without END; {machine}")
    return Report(
        forward_steps=machine.forward_steps,
        saves=machine.saves,
        loads=machine.loads,
        resets=machine.resets,
        forward_calls=machine.forward_calls,
        reverse_calls=machine.reverse_calls,
        peak_snapshots=machine.peak_snapshots,
        left_stored=len(machine.slots),
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
