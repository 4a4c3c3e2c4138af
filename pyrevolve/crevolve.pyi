from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, SupportsIndex

import numpy.typing as npt
from typing_extensions import Buffer

class Kind(IntEnum):
    FORWARD = 0
    SAVE = 1
    LOAD = 2
    REVERSE = 3
    FREE = 4
    TURN = 5
    END = 6

class Content(IntEnum):
    STATE = 0
    STEP_DATA = 1

class Action(IntEnum):
    advance = 0
    takeshot = 1
    restore = 2
    firstrun = 3
    youturn = 4
    terminate = 5
    error = 6

class TierCounts(NamedTuple):
    saves: int
    loads: int
    peak: int

class Counts(NamedTuple):
    forward_steps: int
    saves: int
    loads: int
    forward_calls: int
    reverse_calls: int
    peak_snapshots: int
    tiers: tuple[TierCounts, ...]
    frees: int

class WindowChoice(NamedTuple):
    window: int
    snapshots: int
    seconds: float
    counts: Counts

class TierChoice(NamedTuple):
    window: int
    slots: int
    on_disk: int
    period: int
    seconds: float
    waiting: float
    counts: Counts | None

INSTRUCTION_FIELDS: tuple[tuple[str, str, int], ...]
INSTRUCTION_BYTES: int

def beta(snapshots: SupportsIndex, repetitions: SupportsIndex) -> int: ...
def maxrange(snapshots: SupportsIndex, repetitions: SupportsIndex) -> int: ...
def maxrange_saturating(snapshots: SupportsIndex, repetitions: SupportsIndex) -> int: ...
def repetition_number(timesteps: SupportsIndex, snapshots: SupportsIndex) -> int: ...
def numforw(timesteps: SupportsIndex, snapshots: SupportsIndex) -> int: ...
def expense(timesteps: SupportsIndex, snapshots: SupportsIndex) -> float: ...
def takeshots(timesteps: SupportsIndex, snapshots: SupportsIndex) -> int: ...
def adjust(timesteps: SupportsIndex) -> int: ...
def windowed_counts(
    timesteps: SupportsIndex,
    snapshots: SupportsIndex,
    window: SupportsIndex = 1,
    lookback: SupportsIndex = 0,
    lag: SupportsIndex = 1,
    free_initial: bool = False,
) -> Counts: ...
def plan_window(
    timesteps: SupportsIndex,
    *,
    window_min: SupportsIndex,
    window_max: SupportsIndex,
    budget_bytes: SupportsIndex,
    fixed_bytes: SupportsIndex,
    window_slice_bytes: SupportsIndex,
    state_bytes: SupportsIndex,
    lookback: SupportsIndex,
    lag: SupportsIndex,
    free_initial: bool,
    forward_step: float,
    reverse_step: float,
    forward_call: float,
    reverse_call: float,
    save: float,
    load: float,
) -> WindowChoice: ...
def plan_tiers(
    timesteps: SupportsIndex,
    *,
    periodic: bool,
    window_min: SupportsIndex,
    window_max: SupportsIndex,
    budget_bytes: SupportsIndex,
    fixed_bytes: SupportsIndex,
    window_slice_bytes: SupportsIndex,
    state_bytes: SupportsIndex,
    disk_states: SupportsIndex,
    lookback: SupportsIndex,
    lag: SupportsIndex,
    free_initial: bool,
    overlapped: bool,
    buffers: SupportsIndex,
    forward_step: float,
    reverse_step: float,
    forward_call: float,
    reverse_call: float,
    save: float,
    load: float,
    write: float,
    read: float,
    interference: float = 0.0,
) -> TierChoice: ...

class Instruction:
    @property
    def kind(self) -> Kind: ...
    @property
    def start(self) -> int | None: ...
    @property
    def stop(self) -> int | None: ...
    @property
    def t(self) -> int | None: ...
    @property
    def tier(self) -> int | None: ...
    @property
    def slot(self) -> int | None: ...
    @property
    def content(self) -> Content | None: ...
    @property
    def keep(self) -> bool | None: ...
    @property
    def kept(self) -> int | None: ...
    def keeping(self, first: int) -> Instruction: ...
    def at(self, tier: int, slot: int) -> Instruction: ...

class Instructions(Iterator[Instruction]):
    def __iter__(self) -> Instructions: ...
    def __next__(self) -> Instruction: ...
    def fill(self, rows: npt.NDArray[Any] | memoryview | bytearray) -> int: ...
    def tally(self) -> Counts: ...

def windowed_instructions(
    timesteps: SupportsIndex,
    snapshots: SupportsIndex,
    window: SupportsIndex = 1,
    lookback: SupportsIndex = 0,
    lag: SupportsIndex = 1,
    free_initial: bool = False,
    tiers: Sequence[SupportsIndex] = (),
    layout: tuple[Sequence[tuple[int, ...]], int, int, int | None] | None = None,
) -> Instructions: ...
def rank_counts(
    timesteps: SupportsIndex,
    snapshots: SupportsIndex,
    window: SupportsIndex = 1,
    lookback: SupportsIndex = 0,
    lag: SupportsIndex = 1,
    free_initial: bool = False,
) -> list[tuple[int, int]]: ...
def place_ranks(
    timesteps: SupportsIndex,
    in_memory: int,
    on_disk: int,
    window: SupportsIndex,
    lookback: SupportsIndex,
    lag: SupportsIndex,
    free_initial: bool,
    save: tuple[float, float],
    load: tuple[float, float],
) -> tuple[int, ...]: ...
def periodic_instructions(
    timesteps: SupportsIndex,
    period: SupportsIndex,
    slots: SupportsIndex,
    window: SupportsIndex = 1,
    lookback: SupportsIndex = 0,
    lag: SupportsIndex = 1,
    free_initial: bool = False,
    spine_tier: SupportsIndex = 1,
    one_read: bool = False,
) -> Instructions: ...
def periodic_counts(
    timesteps: SupportsIndex,
    period: SupportsIndex,
    slots: SupportsIndex,
    window: SupportsIndex = 1,
    lookback: SupportsIndex = 0,
    lag: SupportsIndex = 1,
    free_initial: bool = False,
    spine_tier: SupportsIndex = 1,
    one_read: bool = True,
) -> Counts: ...
def periodic_overlap(
    timesteps: SupportsIndex,
    period: SupportsIndex,
    slots: SupportsIndex,
    window: SupportsIndex,
    lookback: SupportsIndex,
    lag: SupportsIndex,
    free_initial: bool,
    buffers: SupportsIndex,
    *,
    forward_step: float,
    reverse_step: float,
    forward_call: float,
    reverse_call: float,
    save: float,
    load: float,
    write: float,
    read: float,
) -> tuple[float, float, float]: ...
def forward_instructions(timesteps: SupportsIndex) -> Instructions: ...

class MixedTable:
    def __init__(
        self,
        timesteps: SupportsIndex,
        units: SupportsIndex,
        stages: SupportsIndex = 1,
        stiffly_accurate: bool = False,
    ) -> None: ...
    @property
    def forward_steps(self) -> int: ...
    def peak_units(self) -> int: ...
    def instructions(self) -> Instructions: ...

ONLINE_RULES: tuple[str, ...]

class OnlineForward(Iterator[Instruction]):
    def __init__(
        self,
        snapshots: SupportsIndex,
        rule: str,
        window: SupportsIndex,
        lookback: SupportsIndex,
        lag: SupportsIndex,
        free_initial: bool,
    ) -> None: ...
    def set_goal(self, goal: SupportsIndex, last: bool) -> None: ...
    def __iter__(self) -> OnlineForward: ...
    def __next__(self) -> Instruction: ...
    @property
    def arrived(self) -> bool: ...
    @property
    def position(self) -> int: ...
    @property
    def next_stop(self) -> int: ...
    @property
    def stored(self) -> tuple[tuple[int, int], ...]: ...

class CRevolve:
    def __init__(
        self,
        snapshots: SupportsIndex,
        timesteps: SupportsIndex | None = None,
        snapshots_disk: SupportsIndex | None = None,
        rule: str = "spaced",
    ) -> None: ...
    def revolve(self) -> Action: ...
    def turn(self, final: SupportsIndex) -> None: ...
    @property
    def snapshots(self) -> int: ...
    @property
    def timesteps(self) -> int | None: ...
    @property
    def capo(self) -> int: ...
    @property
    def oldcapo(self) -> int: ...
    @property
    def fine(self) -> int: ...
    @property
    def check(self) -> int: ...
    @property
    def where(self) -> bool: ...
    @property
    def advances(self) -> int: ...
    @property
    def info(self) -> int: ...

class HierarchicalPlan:
    def __init__(
        self,
        timesteps: SupportsIndex,
        tiers: Sequence[tuple[SupportsIndex | None, float, float, bool]],
        window: SupportsIndex,
        lookback: SupportsIndex,
        lag: SupportsIndex,
        free_initial: bool,
        forward_step: float,
        forward_call: float,
        reverse_call: float,
    ) -> None: ...
    @property
    def cost(self) -> float: ...
    def instructions(self) -> Instructions: ...

class PeriodicDiskPlan:
    def __init__(
        self,
        timesteps: SupportsIndex,
        tiers: Sequence[tuple[SupportsIndex | None, float, float, bool]],
        window: SupportsIndex,
        lookback: SupportsIndex,
        lag: SupportsIndex,
        period: SupportsIndex | None,
        forward_step: float,
        forward_call: float,
        reverse_call: float,
    ) -> None: ...
    @property
    def period(self) -> int: ...
    @property
    def cost(self) -> float: ...
    def instructions(self) -> Instructions: ...

class Arena:
    def __init__(self, nbytes: SupportsIndex) -> None: ...
    @property
    def nbytes(self) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class SnapshotCopier:
    def __init__(self, threads: SupportsIndex | None = None) -> None: ...
    @property
    def threads(self) -> int: ...
    def save(
        self, slot_buffer: Buffer, offset: SupportsIndex, arrays: Sequence[npt.NDArray[Any]]
    ) -> None: ...
    def load(
        self, slot_buffer: Buffer, offset: SupportsIndex, arrays: Sequence[npt.NDArray[Any]]
    ) -> None: ...
    def prefault(self, buffer: Buffer) -> None: ...

def packed_nbytes(arrays: Sequence[npt.NDArray[Any]]) -> int: ...
