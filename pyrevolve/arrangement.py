"""What a Revolver is made of: which schedule fits its arguments, and which storages fit the schedule."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal

import numpy.typing as npt

from .arguments import at_least, index, resolve_lag
from .budget import MEMORY_VARIABLE, Bytes, default_budget, parse_bytes
from .checkpoint import Checkpoint, described, first_arrays
from .compression import CompressionLike, as_compression
from .costs import RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK, CompressionCosts, Costs
from .errors import BudgetError
from .planning import plan
from .plans import Plan, Tier
from .schedules import Layout, Online, Revolve, Schedule
from .storage import DiskStorage, MemoryStorage, Storage
from .storage.slots import slot_nbytes
from .team import Team

__all__ = [
    "Request",
    "accept",
    "asked",
    "check_elastic",
    "check_lossless",
    "check_workspace",
    "compression_costs_for",
    "costs_of",
    "make_storages",
    "peaks_of",
    "take_storages",
    "tiers_for",
]

#: Where nobody measured: how many times smaller compression makes a state, and how many copies in RAM
#: encoding and decoding take.
_TYPICAL_RATIO, _ENCODING, _DECODING = 2.0, 8.0, 4.0

#: Beside other tiers that are compressed, a disk has room for more snapshots than planned: those that do not
#: fit in the others.
_SPARE = 1.25

#: With a journal, a disk has room for so many snapshots more, which were freed since its last entry.
_HELD_BACK = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What one process asks of a plan.

    Attributes
    ----------
    n_timesteps : int
        Timesteps of the run.
    memory, disk : int or None
        Budgets [bytes]; None: no disk.
    default : bool
        Whether nobody named the memory.
    state_bytes, window_bytes : int
        A snapshot, and what the workspace retains [bytes].
    window, lookback, lag
        As of `Checkpoint`.
    initial_state, costs, compression
        As of `plan`.
    """

    n_timesteps: int
    memory: int
    disk: int | None
    default: bool
    state_bytes: int
    window_bytes: int
    window: int
    lookback: int
    lag: int | None
    initial_state: Literal["stored", "free"]
    costs: Costs | None
    compression: CompressionCosts | None

    def agreed(self, team: Team) -> Request:
        """Return what all processes can plan with: the smallest budgets, the largest states, one's costs."""
        memory, disk = team.least([self.memory, self.disk or 0])
        state_bytes, window_bytes = team.greatest([self.state_bytes, self.window_bytes])
        costs, compression = team.first((self.costs, self.compression))
        return dataclasses.replace(
            self,
            memory=memory,
            disk=None if self.disk is None else disk,
            state_bytes=state_bytes,
            window_bytes=window_bytes,
            costs=costs,
            compression=compression,
        )

    def plan(self) -> Plan:
        """Return the plan.

        Raises
        ------
        TypeError, ValueError, BudgetError
            As of `Revolver`.
        """
        try:
            return plan(
                self.n_timesteps,
                state_bytes=self.state_bytes,
                window_slice_bytes=0,
                memory=self.memory,
                disk=self.disk,
                # What is free now is free beside the workspace, which exists already.
                fixed_bytes=0 if self.default else self.window_bytes,
                lookback=self.lookback,
                lag=self.lag,
                initial_state=self.initial_state,
                min_window=self.window,
                max_window=self.window,
                costs=self.costs,
                compression=self.compression,
            )
        except BudgetError as error:
            if not self.default:
                raise
            raise BudgetError(
                f"the default budget, half of the free memory where {MEMORY_VARIABLE} names no other, is too "
                f"small: {error.message}",
                error.required,
                error.given,
            ) from None


def asked(
    checkpoint: Checkpoint,
    n_checkpoints: int | None,
    n_timesteps: int | None,
    memory: Bytes | None,
    disk: Bytes | None,
    costs: Costs | None,
    initial_state: Literal["stored", "free"],
    compression: CompressionLike | None,
    compression_costs: CompressionCosts | None,
) -> Schedule | Request:
    """Return the schedule for a number of snapshots, or what is asked of a plan for budgets.

    Everything that a process can find wrong by itself is found here; nothing communicates.

    Raises
    ------
    TypeError, ValueError
        As of `Revolver`.
    """
    if n_timesteps is None:
        raise TypeError("n_timesteps is missing; give it, or a schedule= that tells it")
    window, lookback, lag = checkpoint.window, checkpoint.lookback, checkpoint.lag
    if compression is None and compression_costs is not None:
        raise ValueError("compression_costs= is of no use without compression=")
    if n_checkpoints is not None:
        for name, budget in (("memory", memory), ("disk", disk), ("compression", compression)):
            if budget is not None:
                raise ValueError(f"n_checkpoints and {name}= exclude each other; give one of them")
        if costs is not None:
            raise ValueError(
                "costs= chooses the number of snapshots, which n_checkpoints gives already; "
                "leave one of them out"
            )
        return Revolve(
            n_timesteps,
            at_least("n_checkpoints", n_checkpoints, 0 if initial_state == "free" else 1),
            window=window,
            lookback=lookback,
            lag=lag,
            initial_state=initial_state,
        )
    window_bytes = at_least("checkpoint.window_bytes", checkpoint.window_bytes, 0)
    arrays = first_arrays(checkpoint, "get_data")
    if compression is not None:
        scratch = as_compression(compression).scratch_bytes(arrays)
        typical = RELATIVE_COSTS if disk is None else RELATIVE_COSTS_WITH_DISK
        if compression_costs is None:
            compression_costs = compression_costs_for(typical if costs is None else costs, scratch)
    return Request(
        n_timesteps=n_timesteps,
        memory=default_budget() if memory is None else parse_bytes(memory),
        disk=None if disk is None else parse_bytes(disk, "disk"),
        default=memory is None,
        state_bytes=slot_nbytes(arrays),
        window_bytes=window_bytes,
        window=window,
        lookback=lookback,
        lag=lag,
        initial_state=initial_state,
        costs=costs,
        compression=compression_costs,
    )


def compression_costs_for(costs: Costs, scratch_bytes: int) -> CompressionCosts:
    """Return what compression typically makes of a state and costs, where nobody measured that."""
    return CompressionCosts(
        ratio=_TYPICAL_RATIO,
        save=_ENCODING * costs.save_at(0),
        load=_DECODING * costs.load_at(0),
        scratch_bytes=scratch_bytes,
    )


def costs_of(chosen: Plan | None, given: Costs | None) -> Costs | None:
    """Return the costs by tier that a plan rests on, or those that were given without one."""
    return given if chosen is None else chosen.costs


def accept(schedule: object, n_timesteps: int | None, **excluded: object) -> None:
    """Raise unless the schedule goes with the other arguments, and starts at the beginning.

    Raises
    ------
    TypeError
        It is no schedule.
    ValueError
        One of `excluded` is given too, `n_timesteps` is not the schedule's, or it goes on with a run that has
        begun.
    """
    if not isinstance(schedule, Schedule | Online):
        hint = "; give schedule=plan.schedule" if isinstance(schedule, Plan) else ""
        raise TypeError(f"schedule must be a pyrevolve schedule, got {described(schedule)}{hint}")
    for name, value in excluded.items():
        if value is not None:
            raise ValueError(f"{name} and schedule= exclude each other; the schedule tells it")
    if isinstance(schedule, Online):
        if n_timesteps is not None:
            raise ValueError("n_timesteps and an online schedule exclude each other; finish() tells it")
        begun = schedule.position > 0
    else:
        if n_timesteps is not None and index("n_timesteps", n_timesteps) != schedule.n_timesteps:
            raise ValueError(f"n_timesteps is {n_timesteps}, but the schedule has {schedule.n_timesteps}")
        layout = getattr(schedule, "layout", None)
        begun = layout is not None and layout != Layout((), 0)
    if begun:
        raise ValueError(
            f"{schedule!r} goes on with a run that has begun; give a schedule that starts at x_0 with "
            "nothing stored"
        )


def check_workspace(checkpoint: Checkpoint, schedule: Schedule | Online) -> None:
    """Raise unless the checkpoint offers all that the schedule asks of it.

    Raises
    ------
    ValueError
        It does not.
    """
    name = type(checkpoint).__name__
    if schedule.free_initial_state and not _defines(checkpoint, "set_initial"):
        raise ValueError(
            f'initial_state="free" needs {name}.set_initial() to put x_0 into the workspace; define it, '
            'or use initial_state="stored"'
        )
    if isinstance(schedule, Schedule):
        if schedule.needs_step_data and not _defines(checkpoint, "get_step_data"):
            raise ValueError(
                f"{type(schedule).__name__} keeps step data beside states, which needs "
                f"{name}.get_step_data(t) to tell where that of timestep t lies; define it, or use a "
                "schedule that keeps whole states only, such as Revolve"
            )
        if schedule.reverse_steps == 0:
            return  # nothing that the workspace retains is read
    window, lookback = checkpoint.window, checkpoint.lookback
    lag = resolve_lag(lookback, checkpoint.lag)
    needed_window, needed_lookback, needed_lag = schedule.needs
    # With lag 0 the workspace retains step data one timestep further on than with lag 1, so a schedule of
    # lag 1 has one timestep less of the window and of the lookback at its disposal.
    extra = needed_lag - lag
    if extra < 0 or needed_window + extra > window or needed_lookback + extra > lookback:
        raise ValueError(
            f"the schedule is for window {needed_window}, lookback {needed_lookback}, "
            f"lag {needed_lag}, but the checkpoint declares window {window}, lookback {lookback}, "
            f"lag {lag}: the reverse operator would read step data that the workspace does not retain. "
            f"Set window, lookback and lag of {name} to what its workspace retains, or use a schedule "
            "that needs no more"
        )


def peaks_of(schedule: Schedule | Online) -> list[int]:
    """Return how many slots the schedule needs, by tier; at least one tier."""
    if isinstance(schedule, Online):
        return [schedule.n_snapshots]
    return [tier.peak for tier in schedule.counts.tiers] or [0]


def make_storages(
    checkpoint: Checkpoint,
    schedule: Schedule | Online,
    chosen: Plan | None,
    threads: int | None,
    disk_dir: str | os.PathLike[str] | None,
    compression: CompressionLike | None,
    folder: str | None = None,
) -> tuple[Storage, ...]:
    """Return the storages of a plan or, without one, RAM for tier 0 and disk for tier 1.

    With a `folder`, snapshots on disk are kept there and can be found again by another process.

    Raises
    ------
    ValueError
        The schedule has more than two tiers, and there is no plan that tells what they are.
    MemoryError, StorageError
        As of the storages.
    """
    state = first_arrays(checkpoint, "get_data") if any(peaks_of(schedule)) else ()
    tiers = tiers_for(schedule, chosen)
    step_data = None
    rooms: list[int | None] = [tier.nbytes if tier.compressed and tier.slots else None for tier in tiers]
    if isinstance(schedule, Schedule) and schedule.needs_step_data:
        step_data = first_arrays(checkpoint, "get_step_data")
        rooms = [
            (MemoryStorage if tier.medium == "memory" else DiskStorage).room_for(
                schedule, number, state, step_data
            )
            for number, tier in enumerate(tiers)
        ]
    with ExitStack() as made:
        storages: list[Storage] = []
        for tier, room in zip(tiers, rooms, strict=True):
            elastic = tier.compressed and tier.slots > 0
            options: dict[str, Any] = {
                "step_data_like": step_data,
                "room": room,
                "threads": threads,
                "compression": compression if elastic else None,
            }
            slots = None if elastic else tier.slots
            if tier.medium == "memory":
                storage: Storage = MemoryStorage(slots, state, **options)
            else:
                if folder is not None and tier.slots:
                    # What a journal tells of is kept for a while when it is freed; and a later process may
                    # have another plan, with other slots.
                    slots = None
                    if not elastic:
                        options["room"] = (tier.slots + _HELD_BACK) * _padded(state)
                        if chosen is not None:
                            options["room"] = min(options["room"], chosen.disk)
                storage = DiskStorage(slots, state, directory=disk_dir, folder=folder, **options)
            storages.append(made.enter_context(storage))
        made.pop_all()
    return tuple(storages)


def tiers_for(schedule: Schedule | Online, chosen: Plan | None) -> tuple[Tier, ...]:
    """Return the tiers of a plan or, without one, RAM for tier 0 and disk for tier 1.

    Raises
    ------
    ValueError
        The schedule has more than two tiers, and there is no plan that tells what they are.
    """
    peaks = peaks_of(schedule)
    if chosen is not None:
        spare = tuple(Tier(medium="disk", slots=0, nbytes=0) for _ in peaks[len(chosen.tiers) :])
        if not chosen.compressed:
            return chosen.tiers + spare
        return tuple(_with_spare(tier, chosen) for tier in chosen.tiers) + spare
    if len(peaks) > 2:
        raise ValueError(
            f"the schedule has {len(peaks)} tiers, and storages are made for two only, RAM and disk; "
            "give storage= a sequence with one Storage for each tier, the fastest first"
        )
    media: tuple[Literal["memory", "disk"], ...] = ("memory", "disk")
    return tuple(
        Tier(medium=medium, slots=peak, nbytes=0) for medium, peak in zip(media, peaks, strict=False)
    )


def _padded(state: Sequence[npt.NDArray[Any]]) -> int:
    """Return what a bare state takes on disk [bytes]."""
    return -(-slot_nbytes(state) // DiskStorage.grain) * DiskStorage.grain


def _with_spare(tier: Tier, chosen: Plan) -> Tier:
    """Give bare snapshots on disk some slots more, for those that do not fit where they are compressed."""
    if tier.medium == "memory" or tier.compressed or not tier.slots:
        return tier
    each = tier.nbytes // tier.slots
    most = chosen.disk // each if each else tier.slots
    slots = max(tier.slots, min(most, int(tier.slots * _SPARE) + 1))
    return dataclasses.replace(tier, slots=slots, nbytes=slots * each)


def take_storages(storage: Storage | Sequence[Storage], peaks: list[int]) -> tuple[Storage, ...]:
    """Return the storages of the caller by tier.

    Raises
    ------
    TypeError
        Something else is among them.
    ValueError
        The schedule needs more.
    """
    storages = (storage,) if isinstance(storage, Storage) else tuple(storage)
    for given in storages:
        if not isinstance(given, Storage):
            raise TypeError(f"storage must be a pyrevolve.Storage or several, got {described(given)}")
    if len({id(given) for given in storages}) < len(storages):
        raise ValueError("storage= gives the same object twice; every tier needs a Storage of its own")
    if len(storages) < len(peaks):
        raise ValueError(
            f"the schedule has {len(peaks)} tiers, but storage= gives {len(storages)}; give a sequence with "
            "one Storage for each tier, the fastest first"
        )
    for tier, (given, needed) in enumerate(zip(storages, peaks, strict=False)):
        if given.n_slots < needed:
            raise ValueError(
                f"the schedule needs {needed} slots in tier {tier}, but its storage has {given.n_slots}"
            )
    return storages


def check_lossless(*given: object) -> None:
    """Raise where snapshots of a run with a journal would be changed.

    Parameters
    ----------
    *given : CompressionLike, Storage or None
        What is to compress or to keep them.

    Raises
    ------
    ValueError
        It is lossy: which states go through it depends on when a run was interrupted.
    """
    for each in given:
        if isinstance(each, Storage):
            lossless, name = each.lossless, repr(each)
        elif each is None:
            continue
        else:
            compression = as_compression(each)  # type: ignore[arg-type]  # it checks the type
            lossless, name = compression.lossless, str(compression)
        if not lossless:
            raise ValueError(
                f"resume= and lossy compression, here {name}, exclude each other: which states are "
                "compressed depends on where a run is interrupted, so that it would end with another "
                'gradient. Use "lz4", "zstd" or "pcodec", leave resume= out, or say of a codec of your own '
                "that it gives every bit back: pyrevolve.compression.Compression(codec=..., lossless=True)"
            )


def check_elastic(schedule: Schedule | Online, storages: Sequence[Storage]) -> None:
    """Raise where a schedule counts on slots that are not sure to be there, and cannot be planned anew.

    Raises
    ------
    ValueError
        A storage has as many slots as fit.
    """
    if isinstance(schedule, Online):
        why = "does not know n"
    elif schedule.needs_step_data:
        why = "keeps step data beside states"
    else:
        return
    for tier, storage in enumerate(storages):
        if storage.elastic:
            raise ValueError(
                f"the storage of tier {tier} has as many slots as fit (n_slots=None), but a schedule of the "
                f"kind {type(schedule).__name__} {why}, so that it cannot be planned anew where a snapshot "
                "does not fit: give the storage n_slots="
            )


def _defines(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether the checkpoint has an optional method of its own."""
    method = getattr(checkpoint, name, None)
    return method is not None and getattr(method, "__func__", None) is not getattr(Checkpoint, name)
