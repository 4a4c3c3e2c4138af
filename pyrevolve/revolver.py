"""The driver: one loop that carries a schedule out."""

from __future__ import annotations

import enum
import logging
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from .budget import MEMORY_VARIABLE, Bytes, default_budget
from .checkpoint import Checkpoint, Operator, check_problem, described, first_arrays
from .costs import Costs
from .crevolve import Kind
from .errors import BudgetError, ScheduleError
from .planning import Plan, plan
from .profiling import Profiler
from .schedules import Layout, Online, Revolve, Schedule
from .schedules.layout import index
from .schedules.offline import resolve_lag
from .schedules.online import MOST_TIMESTEPS
from .storage import DiskStorage, MemoryStorage, Storage
from .storage.memory import slot_nbytes

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Revolver"]

_LOG = logging.getLogger("pyrevolve.revolver")


class _State(enum.Enum):
    """Where a Revolver stands. The value completes the sentence "... cannot be called: <value>"."""

    READY = (
        "no forward sweep was made; call apply_forward() first, or advance() and finish() where the schedule "
        "is online"
    )
    FORWARD = "the forward sweep is still running"
    PAUSED = "the forward sweep is not finished; call advance() to go on, or finish()"
    TURNED = "the forward sweep is made and waits for apply_reverse(); call reset() to start another one"
    REVERSE = "the reverse sweep is still running"
    DONE = "this shot is finished; call reset() and start the next one"
    FAILED = "the last sweep was left by an exception; call reset() and start again"
    CLOSED = "the Revolver is closed; make a new one"


class Revolver:
    """Run a forward operator and its adjoint over many timesteps with few states in memory.

    ``apply_forward()`` runs the forward sweep and returns with x_n in the workspace. The user then forms what
    the adjoint starts from, and calls ``apply_reverse()``. ``reset()`` makes ready for the next shot, in the
    same memory.

    Parameters
    ----------
    checkpoint : Checkpoint
        What a state is and where it lives, and what the workspace retains.
    fwd_operator, rev_operator : Operator
        The forward operator and its adjoint; ``apply(t_start=..., t_end=...)`` is called.
    n_checkpoints : int, optional
        Snapshots to hold, >= 1, or >= 0 where the initial state is free. More than can be used take no
        memory. None: as many as `memory` holds and, where that is not given either, as many as half of the
        memory that is free now holds (the environment variable ``PYREVOLVE_MEMORY`` names another size or
        share, see `default_budget`).
    n_timesteps : int
        Timesteps n, >= 0. May be left out where `schedule` tells it.
    memory : int, float or str, optional
        Budget for the snapshots and ``checkpoint.window_bytes`` together: bytes, or a string such as
        ``"2 GiB"``.
    disk : int, float or str, optional
        Budget for snapshots on disk beside those in memory, which `plan` uses where it saves time. None: all
        are in memory.
    schedule : Schedule or Online, optional
        The schedule to carry out, such as the one of a `Plan`. With an `Online` one, n need not be known: see
        `advance`.
    costs : Costs, optional
        What the operations cost, where budgets choose the number of snapshots; for two tiers where `disk` is
        given. None: typical ratios.
    initial_state : {"stored", "free"}
        ``"free"``: x_0 is re-created by ``checkpoint.set_initial()``, at the start of the sweep also, and
        never stored. Not together with `schedule`, which tells it.
    threads : int, optional
        Threads for copies of snapshots in RAM, >= 1. None: see `MemoryStorage`.
    storage : Storage or sequence of Storage, optional
        Where to keep the snapshots: one storage for every tier of the schedule, the fastest first. They need
        enough slots, are different objects, and stay open on ``close()``. None: `MemoryStorage` for tier 0,
        `DiskStorage` for tier 1.
    disk_dir : path-like, optional
        Where the `DiskStorage` of tier 1 puts its file; not used where no snapshot lies on disk. None: see
        `DiskStorage`.

    Raises
    ------
    TypeError
        A float where an integer belongs, or an argument that is not what is stated above.
    ValueError
        A number out of range, two arguments that exclude each other, a schedule that needs more of the
        workspace than the checkpoint declares or step data that it does not offer, or one with more than two
        tiers and no `storage`.
    BudgetError
        `memory`, with `disk`, does not hold ``checkpoint.window_bytes`` and one snapshot. A ValueError.
    MemoryError
        The system does not give the memory for the snapshots.
    StorageError
        The directory has no room for the snapshots on disk, or cannot be written to.

    Notes
    -----
    With `n_checkpoints` and a checkpoint that declares no window, the schedule is classic Revolve [1]_: the
    fewest forward timesteps and, among those schedules, the fewest saves.

    The workspace must hold x_0 when ``apply_forward()`` is called, for every shot; where the initial state is
    free, the driver sees to it with ``set_initial()``. ``reset()`` does not touch the workspace, nor anything
    else that is the user's.

    An exception in an operator, or in the checkpoint, passes through unchanged. What the storage holds stays
    consistent; after it, only ``reset()`` and ``close()`` may be called.

    Several Revolvers may run at once in several threads, each with its own workspace.

    References
    ----------
    .. [1] A. Griewank, A. Walther (2000), Algorithm 799: Revolve, ACM Trans. Math. Softw. 26(1), 19-45,
       doi:10.1145/347837.347846.

    Examples
    --------
    The derivative of sin(sin(... x)), a hundred deep, with at most three of the hundred states in memory:

    >>> import numpy as np
    >>> x, step_data, adjoint = np.array([0.5]), np.array([np.nan]), np.array([1.0])
    >>> class State(Checkpoint):
    ...     dtype, size = x.dtype, x.size
    ...     def get_data(self, t):
    ...         return [x]
    ...     get_data_location = get_data
    >>> class Forward(Operator):
    ...     def apply(self, t_start, t_end):
    ...         for _ in range(t_start, t_end):
    ...             step_data[:] = x
    ...             x[:] = np.sin(x)
    >>> class Reverse(Operator):
    ...     def apply(self, t_start, t_end):
    ...         adjoint[:] *= np.cos(step_data)
    >>> revolver = Revolver(State(), Forward(), Reverse(), 3, 100)
    >>> revolver.apply_forward()
    >>> revolver.apply_reverse()
    >>> print(adjoint.round(6))
    [0.032833]
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        fwd_operator: Operator,
        rev_operator: Operator,
        n_checkpoints: int | None = None,
        n_timesteps: int | None = None,
        *,
        memory: Bytes | None = None,
        disk: Bytes | None = None,
        schedule: Schedule | Online | None = None,
        costs: Costs | None = None,
        initial_state: Literal["stored", "free"] | None = None,
        threads: int | None = None,
        storage: Storage | Sequence[Storage] | None = None,
        disk_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        check_problem(checkpoint, fwd_operator, rev_operator)
        self._checkpoint = checkpoint
        self._fwd_operator = fwd_operator
        self._rev_operator = rev_operator
        self._plan: Plan | None = None
        if schedule is None:
            schedule = self._choose(
                n_checkpoints,
                n_timesteps,
                memory,
                disk,
                costs,
                "stored" if initial_state is None else initial_state,
            )
        else:
            self._accept(schedule, n_checkpoints, n_timesteps, memory, disk, costs, initial_state)
        self._check_workspace(schedule)
        #: An online schedule changes on the way, so that each shot has its own; None where there is none.
        self._online = schedule.fresh() if isinstance(schedule, Online) else None
        self._schedule = schedule if self._online is None else self._online
        self._n_timesteps = schedule.n_timesteps if isinstance(schedule, Schedule) else 0
        peaks = _peaks(schedule)
        self._owns_storages = storage is None
        if storage is None:
            self._storages = self._make_storages(peaks, threads, disk_dir)
        else:
            for option, own in (("threads", threads), ("disk_dir", disk_dir)):
                if own is not None:
                    raise ValueError(
                        f"{option}= and storage= exclude each other; give it to the storage itself"
                    )
            self._storages = _accept_storages(storage, peaks)
        self._profiler = Profiler(len(self._storages))
        # Any: which attributes of an instruction are set goes with its kind, which types cannot tell.
        self._instructions: Iterator[Any] = iter(())
        self._state = _State.READY
        _LOG.debug("%r over %r", schedule, self._storages)

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def schedule(self) -> Schedule | Online:
        """The schedule that is carried out; after ``finish()`` the one that the online schedule ended as."""
        return self._schedule

    @property
    def plan(self) -> Plan | None:
        """The plan that chose the schedule; None where the caller did."""
        return self._plan

    @property
    def storage(self) -> Storage:
        """Where the snapshots of tier 0, the fastest, are kept."""
        return self._storages[0]

    @property
    def storages(self) -> tuple[Storage, ...]:
        """Where the snapshots are kept, by tier."""
        return self._storages

    @property
    def profiler(self) -> Profiler:
        """Times, counts and bytes of this shot."""
        return self._profiler

    @property
    def checkpoint(self) -> Checkpoint:
        """What a state is."""
        return self._checkpoint

    @property
    def n_timesteps(self) -> int:
        """Timesteps n of the forward run; those run so far where it is not finished and n not known."""
        return self._n_timesteps

    @property
    def n_checkpoints(self) -> int:
        """Slots that the schedule uses, of all tiers."""
        return sum(_peaks(self._schedule))

    def __repr__(self) -> str:
        return f"<Revolver: {self._schedule!r}, {self._state.name.lower()}>"

    # --- what it does ---------------------------------------------------------------------------------------

    def apply_forward(self) -> None:
        """Run the forward sweep; afterwards the workspace holds x_n.

        Raises
        ------
        ScheduleError
            Called twice without `reset`, after an exception, on a closed Revolver, or where the schedule is
            an `Online` one (see `advance`).
        Exception
            Whatever an operator, the checkpoint or the storage raises, unchanged.
        """
        schedule = self._schedule
        if isinstance(schedule, Online):
            raise ScheduleError(
                "apply_forward() cannot be called: the schedule is online, it does not know where the run "
                "ends; call advance() as often as you like, then finish()"
            )
        self._require("apply_forward", _State.READY)
        with self._sweep(_State.FORWARD, _State.TURNED):
            self._instructions = iter(schedule)
            self._put_initial_state()
            self._run(self._instructions, Kind.TURN)

    def advance(self, steps: int = 1, *, last: bool = False) -> int:
        """Run the forward sweep so many timesteps further, where the schedule is an `Online` one.

        Parameters
        ----------
        steps : int, default 1
            Timesteps to run, >= 1; at most 2**62 in all. Few long calls are faster than many short ones.
        last : bool, default False
            The run is known to end with them: nothing is saved that only a longer run would need.

        Returns
        -------
        int
            Timesteps run so far, t; the workspace holds x_t.

        Raises
        ------
        TypeError, ValueError
            `steps` is no integer, or out of its range.
        ScheduleError
            The schedule is no online one, or the call comes after one with `last`, after ``finish()`` without
            `reset`, after an exception, or on a closed Revolver.
        Exception
            Whatever an operator, the checkpoint or the storage raises, unchanged.

        Notes
        -----
        A call that is refused (TypeError, ValueError, ScheduleError as above) changes nothing: the shot can
        go on.

        Examples
        --------
        A fixed-point iteration that runs until it has converged, and the derivative of its result:

        >>> import numpy as np
        >>> x, step_data, adjoint = np.array([0.5]), np.array([np.nan]), np.array([1.0])
        >>> class State(Checkpoint):
        ...     dtype, size = x.dtype, x.size
        ...     def get_data(self, t):
        ...         return [x]
        ...     get_data_location = get_data
        >>> class Forward(Operator):
        ...     def apply(self, t_start, t_end):
        ...         for _ in range(t_start, t_end):
        ...             step_data[:] = x
        ...             x[:] = np.cos(x)
        >>> class Reverse(Operator):
        ...     def apply(self, t_start, t_end):
        ...         adjoint[:] *= -np.sin(step_data)
        >>> revolver = Revolver(State(), Forward(), Reverse(), schedule=Online(3))
        >>> while not abs(x[0] - step_data[0]) < 1e-3:
        ...     n = revolver.advance()
        >>> revolver.finish()
        >>> revolver.apply_reverse()
        >>> print(n, adjoint.round(6))
        16 [0.001335]
        """
        online = self._require_online("advance")
        steps = index("steps", steps)
        most = MOST_TIMESTEPS - self._n_timesteps
        if not 1 <= steps <= most:
            raise ValueError(
                f"steps must be >= 1 and <= {most}, so that there are at most 2**62 timesteps, got {steps}"
            )
        self._require("advance", _State.READY, _State.PAUSED)
        fresh = self._state is _State.READY
        target = self._n_timesteps + steps
        instructions = online.advance_to(target, last=last)  # a bad call is refused here, the shot intact
        with self._sweep(_State.FORWARD, _State.PAUSED):
            if fresh:
                self._put_initial_state()
            self._run(instructions, None)
            self._n_timesteps = target
        return target

    def finish(self) -> None:
        """End the forward sweep where it stands: the workspace holds x_n, as after `apply_forward`.

        Raises
        ------
        ScheduleError
            The schedule is no online one, or the call comes twice without `reset`, after an exception, or on
            a closed Revolver.
        Exception
            Whatever the checkpoint raises, unchanged.
        """
        online = self._require_online("finish")
        self._require("finish", _State.READY, _State.PAUSED)
        fresh = self._state is _State.READY
        with self._sweep(_State.FORWARD, _State.TURNED):
            if fresh:
                self._put_initial_state()
            schedule = online.finish()
            self._schedule, self._instructions = schedule, iter(schedule)
            self._run(self._instructions, Kind.TURN)

    def apply_reverse(self) -> None:
        """Run the reverse sweep, with the forward steps that it needs in between.

        Raises
        ------
        ScheduleError
            Called without a new forward sweep, after an exception, on a closed Revolver, or where the
            schedule runs forward only.
        Exception
            Whatever an operator, the checkpoint or the storage raises, unchanged.
        """
        self._require("apply_reverse", _State.TURNED)
        assert isinstance(self._schedule, Schedule)  # finish() puts it in the place of an online one
        if self._schedule.reverse_steps < self._n_timesteps:
            raise ScheduleError(
                f"apply_reverse() cannot be called: {self._schedule!r} runs forward only and keeps nothing "
                "for an adjoint; use another schedule, such as Revolve"
            )
        with self._sweep(_State.REVERSE, _State.DONE):
            self._run(self._instructions, Kind.END)

    def reset(self) -> None:
        """Make ready for the next shot: empty slots, a new profile, the same memory.

        It touches the Revolver only. **Put x_0 back into the workspace before the next shot**, that is before
        the next ``apply_forward()``, or the first ``advance()``: the workspace still holds what the last shot
        left there. Only a free initial state is put there by the driver. Operators, gradients and receivers
        are the user's to reset too.

        Raises
        ------
        ScheduleError
            Called from within an operator, or on a closed Revolver.
        """
        if self._state in (_State.FORWARD, _State.REVERSE, _State.CLOSED):
            raise ScheduleError(f"reset() cannot be called: {self._state.value}")
        with ExitStack() as each:  # goes on to the other tiers where one raises
            for storage in self._storages:
                each.callback(storage.clear)
        if self._online is not None:
            self._schedule = self._online = self._online.fresh()
            self._n_timesteps = 0
        self._profiler.reset()
        self._instructions = iter(())
        self._state = _State.READY

    def close(self) -> None:
        """Give the memory of the snapshots back, and remove their file; may be called again.

        Raises
        ------
        ScheduleError
            Called from within an operator.
        """
        if self._state in (_State.FORWARD, _State.REVERSE):
            raise ScheduleError(f"close() cannot be called: {self._state.value}")
        self._state = _State.CLOSED
        self._instructions = iter(())
        if self._owns_storages:
            with ExitStack() as each:  # goes on to the other tiers where one raises
                for storage in self._storages:
                    each.callback(storage.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- inside ---------------------------------------------------------------------------------------------

    def _require(self, method: str, *states: _State) -> None:
        """Raise unless the Revolver is in one of the states, in which `method` may be called."""
        if self._state not in states:
            raise ScheduleError(f"{method}() cannot be called: {self._state.value}")

    def _require_online(self, method: str) -> Online:
        """Return the online schedule; raise where the schedule is another one."""
        if self._online is None:
            raise ScheduleError(
                f"{method}() cannot be called: it goes with an online schedule, and this one knows its "
                f"{self._n_timesteps} timesteps; call apply_forward()"
            )
        return self._online

    @contextmanager
    def _sweep(self, during: _State, after: _State) -> Iterator[None]:
        """Keep state and time while a sweep, or a part of it, is carried out."""
        # All of it is in the try block: an interrupt at any point must leave a state that reset() can end.
        try:
            self._state = during
            start = perf_counter_ns()
            yield
            if during is _State.FORWARD:
                self._profiler.forward_nanoseconds += perf_counter_ns() - start
            else:
                self._profiler.reverse_nanoseconds += perf_counter_ns() - start
            self._state = after
        except BaseException:
            self._state = _State.FAILED
            raise

    def _put_initial_state(self) -> None:
        """Re-create a free initial state: an earlier shot left its last state in the workspace."""
        if self._schedule.free_initial_state:
            self._checkpoint.set_initial()

    def _run(self, instructions: Iterable[Any], last: Kind | None) -> None:
        """Carry out instructions up to and including one of the kind `last`; None: all of them."""
        # Every name that the loop needs is local: it turns hundreds of thousands of times a second.
        forward_kind, reverse_kind, load_kind, save_kind = Kind.FORWARD, Kind.REVERSE, Kind.LOAD, Kind.SAVE
        forward, reverse = self._fwd_operator.apply, self._rev_operator.apply
        checkpoint, storages, profiler = self._checkpoint, self._storages, self._profiler
        # By content: STATE, STEP_DATA.
        sources = checkpoint.get_data, checkpoint.get_step_data
        targets = checkpoint.get_data_location, checkpoint.get_step_data_location
        # By tier.
        saving = [(storages[k].save, record.saves) for k, record in enumerate(profiler.tiers)]
        loading = [(storages[k].load, record.loads) for k, record in enumerate(profiler.tiers)]
        forwards, reverses = profiler[forward_kind], profiler[reverse_kind]
        clock = perf_counter_ns

        for instruction in instructions:
            kind = instruction.kind
            if kind is forward_kind:
                start, stop = instruction.start, instruction.stop
                began = clock()
                forward(t_start=start, t_end=stop)
                forwards.nanoseconds += clock() - began
                forwards.calls += 1
                forwards.steps += stop - start
            elif kind is reverse_kind:
                start, stop = instruction.start, instruction.stop
                began = clock()
                reverse(t_start=start, t_end=stop)
                reverses.nanoseconds += clock() - began
                reverses.calls += 1
                reverses.steps += stop - start
            elif kind is load_kind:
                t, content = instruction.t, instruction.content
                tier, slot = instruction.tier, instruction.slot
                began = clock()
                if slot >= 0:
                    load, loads = loading[tier]
                    loads.bytes += load(slot, targets[content](t), t, content)
                    if not instruction.keep:
                        storages[tier].free(slot)
                else:  # x_0 that is free has no slot; it counts as a load of tier 0.
                    loads = loading[0][1]
                    checkpoint.set_initial()
                loads.nanoseconds += clock() - began
                loads.calls += 1
            elif kind is save_kind:
                t, content = instruction.t, instruction.content
                save, saves = saving[instruction.tier]
                began = clock()
                saves.bytes += save(instruction.slot, sources[content](t), t, content)
                saves.nanoseconds += clock() - began
                saves.calls += 1
            elif kind is Kind.FREE:
                storages[instruction.tier].free(instruction.slot)
                profiler[kind].calls += 1
            elif last is not None and kind is last:
                profiler[last].calls += 1
                return
            else:
                raise ScheduleError(
                    f"the schedule says {kind.name} {_before(last)}; it is not a valid schedule"
                )
        if last is not None:
            raise ScheduleError(f"the schedule ends {_before(last)}; it is not a valid schedule")

    def _make_storages(
        self, peaks: list[int], threads: int | None, disk_dir: str | os.PathLike[str] | None
    ) -> tuple[Storage, ...]:
        """Return RAM for tier 0 and disk for tier 1."""
        if len(peaks) > 2:
            raise ValueError(
                f"the schedule has {len(peaks)} tiers, and storages are made for two only, RAM and disk; "
                "give storage= a sequence with one Storage for each tier, the fastest first"
            )
        checkpoint, schedule = self._checkpoint, self._schedule
        state = first_arrays(checkpoint, "get_data") if any(peaks) else ()
        step_data, ram_room, disk_room = None, None, None
        if isinstance(schedule, Schedule) and schedule.needs_step_data:
            step_data = first_arrays(checkpoint, "get_step_data")
            ram_room = MemoryStorage.room_for(schedule, 0, state, step_data)
            disk_room = DiskStorage.room_for(schedule, 1, state, step_data)
        with ExitStack() as made:
            ram = MemoryStorage(peaks[0], state, step_data_like=step_data, room=ram_room, threads=threads)
            storages: list[Storage] = [made.enter_context(ram)]
            if len(peaks) > 1:
                disk = DiskStorage(
                    peaks[1], state, step_data_like=step_data, room=disk_room, directory=disk_dir
                )
                storages.append(made.enter_context(disk))
            made.pop_all()
        return tuple(storages)

    def _choose(
        self,
        n_checkpoints: int | None,
        n_timesteps: int | None,
        memory: Bytes | None,
        disk: Bytes | None,
        costs: Costs | None,
        initial_state: Literal["stored", "free"],
    ) -> Schedule:
        """Return the schedule for a number of snapshots, or for a budget."""
        if n_timesteps is None:
            raise TypeError("n_timesteps is missing; give it, or a schedule= that tells it")
        checkpoint = self._checkpoint
        window, lookback, lag = checkpoint.window, checkpoint.lookback, checkpoint.lag
        if n_checkpoints is not None:
            for name, budget in (("memory", memory), ("disk", disk)):
                if budget is not None:
                    raise ValueError(f"n_checkpoints and {name}= exclude each other; give one of them")
            if costs is not None:
                raise ValueError(
                    "costs= chooses the number of snapshots, which n_checkpoints gives already; "
                    "leave one of them out"
                )
            return Revolve(
                n_timesteps,
                _at_least("n_checkpoints", n_checkpoints, 0 if initial_state == "free" else 1),
                window=window,
                lookback=lookback,
                lag=lag,
                initial_state=initial_state,
            )
        window_bytes = _at_least("checkpoint.window_bytes", checkpoint.window_bytes, 0)
        default = memory is None
        try:
            self._plan = plan(
                n_timesteps,
                state_bytes=slot_nbytes(first_arrays(checkpoint, "get_data")),
                window_slice_bytes=0,
                memory=default_budget() if memory is None else memory,
                disk=disk,
                # What is free now is free beside the workspace, which exists already.
                fixed_bytes=0 if default else window_bytes,
                lookback=lookback,
                lag=lag,
                initial_state=initial_state,
                min_window=window,
                max_window=window,
                costs=costs,
            )
        except BudgetError as error:
            if not default:
                raise
            raise BudgetError(
                f"the default budget, half of the free memory where {MEMORY_VARIABLE} names no other, is too "
                f"small: {error.message}",
                error.required,
                error.given,
            ) from None
        return self._plan.schedule

    def _accept(
        self,
        schedule: object,
        n_checkpoints: int | None,
        n_timesteps: int | None,
        memory: Bytes | None,
        disk: Bytes | None,
        costs: Costs | None,
        initial_state: str | None,
    ) -> None:
        """Raise unless the schedule goes with the other arguments, and starts at the beginning."""
        if not isinstance(schedule, Schedule | Online):
            hint = "; give schedule=plan.schedule" if isinstance(schedule, Plan) else ""
            raise TypeError(f"schedule must be a pyrevolve schedule, got {described(schedule)}{hint}")
        for name, value in (
            ("n_checkpoints", n_checkpoints),
            ("memory", memory),
            ("disk", disk),
            ("costs", costs),
            ("initial_state", initial_state),
        ):
            if value is not None:
                raise ValueError(f"{name} and schedule= exclude each other; the schedule tells it")
        if isinstance(schedule, Online):
            if n_timesteps is not None:
                raise ValueError("n_timesteps and an online schedule exclude each other; finish() tells it")
            begun = schedule.position > 0
        else:
            if n_timesteps is not None and operator.index(n_timesteps) != schedule.n_timesteps:
                raise ValueError(f"n_timesteps is {n_timesteps}, but the schedule has {schedule.n_timesteps}")
            layout = getattr(schedule, "layout", None)
            begun = layout is not None and layout != Layout((), 0)
        if begun:
            raise ValueError(
                f"{schedule!r} goes on with a run that has begun; give a schedule that starts at x_0 with "
                "nothing stored"
            )

    def _check_workspace(self, schedule: Schedule | Online) -> None:
        """Raise unless the checkpoint offers all that the schedule asks of it."""
        checkpoint = self._checkpoint
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


def _defines(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether the checkpoint has an optional method of its own."""
    method = getattr(checkpoint, name, None)
    return method is not None and getattr(method, "__func__", None) is not getattr(Checkpoint, name)


def _at_least(name: str, value: object, least: int) -> int:
    """Return an integer argument; raise where it is none, or too small."""
    number = index(name, value)
    if number < least:
        raise ValueError(f"{name} must be >= {least}, got {number}")
    return number


def _peaks(schedule: Schedule | Online) -> list[int]:
    """Return how many slots the schedule needs, by tier; at least one tier."""
    if isinstance(schedule, Online):
        return [schedule.n_snapshots]
    return [tier.peak for tier in schedule.counts.tiers] or [0]


def _accept_storages(storage: Storage | Sequence[Storage], peaks: list[int]) -> tuple[Storage, ...]:
    """Return the storages of the caller by tier; raise where the schedule needs more."""
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


def _before(last: Kind | None) -> str:
    return "in the middle of the forward sweep" if last is None else f"before {last.name}"
