"""The driver: one loop that carries a schedule out."""

from __future__ import annotations

import enum
import logging
import operator
from collections.abc import Iterator
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from .budget import MEMORY_VARIABLE, Bytes, default_budget
from .checkpoint import Checkpoint, Operator
from .costs import RELATIVE_COSTS, Costs
from .crevolve import Kind
from .errors import BudgetError, ScheduleError
from .planning import Plan, plan
from .profiling import Profiler
from .schedules import Revolve, Schedule
from .schedules.offline import resolve_lag
from .storage import MemoryStorage, Storage
from .storage.memory import slot_nbytes

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Revolver"]

_LOG = logging.getLogger("pyrevolve.revolver")


class _State(enum.Enum):
    """Where a Revolver stands. The value completes the sentence "... cannot be called: <value>"."""

    READY = "no forward sweep was made; call apply_forward() first"
    FORWARD = "the forward sweep is still running"
    TURNED = "the forward sweep is made and waits for apply_reverse(); call reset() to start another one"
    REVERSE = "the reverse sweep is still running"
    DONE = "this shot is finished; call reset(), then apply_forward() for the next one"
    FAILED = "the last sweep was left by an exception; call reset() and start again with apply_forward()"
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
    schedule : Revolve or StoreAll, optional
        The schedule to carry out, such as the one of a `Plan`.
    costs : Costs, optional
        What the operations cost, where `memory` or the default chooses the number of snapshots. None: typical
        ratios.
    initial_state : {"stored", "free"}
        ``"free"``: x_0 is re-created by ``checkpoint.set_initial()``, at the start of the sweep also, and
        never stored. Not together with `schedule`, which tells it.
    threads : int, optional
        Threads for copies of snapshots, >= 1. None: see `MemoryStorage`.
    storage : Storage, optional
        Where to keep the snapshots; it needs enough slots and stays open on ``close()``. None:
        `MemoryStorage`.

    Raises
    ------
    TypeError
        A float where an integer belongs, or an argument that is not what is stated above.
    ValueError
        A number out of range, two arguments that exclude each other, or a schedule that needs more of the
        workspace than the checkpoint declares.
    BudgetError
        `memory` does not hold ``checkpoint.window_bytes`` and one snapshot. A ValueError.
    MemoryError
        The system does not give the memory for the snapshots.

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
        schedule: Schedule | None = None,
        costs: Costs | None = None,
        initial_state: Literal["stored", "free"] | None = None,
        threads: int | None = None,
        storage: Storage | None = None,
    ) -> None:
        if not isinstance(checkpoint, Checkpoint):
            raise TypeError(f"checkpoint must be a pyrevolve.Checkpoint, got {type(checkpoint).__name__}")
        for name, value in (("fwd_operator", fwd_operator), ("rev_operator", rev_operator)):
            if not callable(getattr(value, "apply", None)):
                raise TypeError(f"{name} must be a pyrevolve.Operator, got {type(value).__name__}")
        self._checkpoint = checkpoint
        self._fwd_operator = fwd_operator
        self._rev_operator = rev_operator
        self._plan: Plan | None = None
        if schedule is None:
            schedule = self._choose(
                n_checkpoints,
                n_timesteps,
                memory,
                costs,
                "stored" if initial_state is None else initial_state,
            )
        else:
            self._accept(schedule, n_checkpoints, n_timesteps, memory, costs, initial_state)
        self._schedule = schedule
        self._free_initial = schedule.free_initial_state
        if self._free_initial and _lacks_set_initial(checkpoint):
            raise ValueError(
                f'initial_state="free" needs {type(checkpoint).__name__}.set_initial() to put x_0 into '
                'the workspace; define it, or use initial_state="stored"'
            )

        self._owns_storage = storage is None
        if storage is None:
            n_slots = schedule.peak_snapshots
            storage = MemoryStorage(n_slots, checkpoint.get_data(0) if n_slots else None, threads=threads)
        elif threads is not None:
            raise ValueError(
                "threads= and storage= exclude each other; give the storage its own number of threads"
            )
        elif storage.n_slots < schedule.peak_snapshots:
            raise ValueError(
                f"the schedule needs {schedule.peak_snapshots} slots, but storage has {storage.n_slots}"
            )
        self._storage = storage
        self._profiler = Profiler()
        # Any: which attributes of an instruction are set goes with its kind, which types cannot tell.
        self._instructions: Iterator[Any] = iter(())
        self._state = _State.READY
        _LOG.debug("%r over %r", schedule, storage)

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def schedule(self) -> Schedule:
        """The schedule that is carried out."""
        return self._schedule

    @property
    def plan(self) -> Plan | None:
        """The plan that chose the schedule; None where the caller did."""
        return self._plan

    @property
    def storage(self) -> Storage:
        """Where the snapshots are kept."""
        return self._storage

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
        """Timesteps n of the forward run."""
        return self._schedule.n_timesteps

    @property
    def n_checkpoints(self) -> int:
        """Slots that the schedule uses."""
        return self._schedule.peak_snapshots

    def __repr__(self) -> str:
        return f"<Revolver: {self._schedule!r}, {self._state.name.lower()}>"

    # --- what it does ---------------------------------------------------------------------------------------

    def apply_forward(self) -> None:
        """Run the forward sweep; afterwards the workspace holds x_n.

        Raises
        ------
        ScheduleError
            Called twice without `reset`, after an exception, or on a closed Revolver.
        Exception
            Whatever an operator, the checkpoint or the storage raises, unchanged.
        """
        if self._state is not _State.READY:
            raise ScheduleError(f"apply_forward() cannot be called: {self._state.value}")
        # All of it is in the try block: an interrupt at any point must leave a state that reset() can end.
        try:
            self._state = _State.FORWARD
            start = perf_counter_ns()
            self._instructions = iter(self._schedule)
            if self._free_initial:
                # x_0 may not be what is in the workspace: an earlier shot left its last state there.
                self._checkpoint.set_initial()
            self._run(Kind.TURN)
            self._profiler.forward_nanoseconds += perf_counter_ns() - start
            self._state = _State.TURNED
        except BaseException:
            self._state = _State.FAILED
            raise

    def apply_reverse(self) -> None:
        """Run the reverse sweep, with the forward steps that it needs in between.

        Raises
        ------
        ScheduleError
            Called without a new forward sweep, after an exception, or on a closed Revolver.
        Exception
            Whatever an operator, the checkpoint or the storage raises, unchanged.
        """
        if self._state is not _State.TURNED:
            raise ScheduleError(f"apply_reverse() cannot be called: {self._state.value}")
        try:
            self._state = _State.REVERSE
            start = perf_counter_ns()
            self._run(Kind.END)
            self._profiler.reverse_nanoseconds += perf_counter_ns() - start
            self._state = _State.DONE
        except BaseException:
            self._state = _State.FAILED
            raise

    def reset(self) -> None:
        """Make ready for the next shot: empty slots, a new profile, the same memory.

        It touches the Revolver only. The user puts x_0 into the workspace before the next
        ``apply_forward()``, and resets operators, gradients and receivers as needed.

        Raises
        ------
        ScheduleError
            Called from within an operator, or on a closed Revolver.
        """
        if self._state in (_State.FORWARD, _State.REVERSE, _State.CLOSED):
            raise ScheduleError(f"reset() cannot be called: {self._state.value}")
        self._storage.clear()
        self._profiler.reset()
        self._instructions = iter(())
        self._state = _State.READY

    def close(self) -> None:
        """Give the memory of the snapshots back; may be called again.

        Raises
        ------
        ScheduleError
            Called from within an operator.
        """
        if self._state in (_State.FORWARD, _State.REVERSE):
            raise ScheduleError(f"close() cannot be called: {self._state.value}")
        self._state = _State.CLOSED
        self._instructions = iter(())
        if self._owns_storage:
            self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- inside ---------------------------------------------------------------------------------------------

    def _run(self, last: Kind) -> None:
        """Carry out instructions up to and including one of the kind `last`."""
        # Every name that the loop needs is local: it turns hundreds of thousands of times a second.
        forward_kind, reverse_kind, load_kind, save_kind = Kind.FORWARD, Kind.REVERSE, Kind.LOAD, Kind.SAVE
        forward, reverse = self._fwd_operator.apply, self._rev_operator.apply
        checkpoint, storage, profiler = self._checkpoint, self._storage, self._profiler
        get_data, get_data_location = checkpoint.get_data, checkpoint.get_data_location
        forwards, reverses = profiler[forward_kind], profiler[reverse_kind]
        loads, saves = profiler[load_kind], profiler[save_kind]
        clock = perf_counter_ns

        for instruction in self._instructions:
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
                t, slot = instruction.t, instruction.slot
                began = clock()
                if slot >= 0:
                    storage.load(slot, get_data_location(t), t)
                    if not instruction.keep:
                        storage.free(slot)
                    loads.bytes += storage.state_nbytes
                else:  # x_0 that is free has no slot.
                    checkpoint.set_initial()
                loads.nanoseconds += clock() - began
                loads.calls += 1
            elif kind is save_kind:
                t, slot = instruction.t, instruction.slot
                began = clock()
                storage.save(slot, get_data(t), t)
                saves.nanoseconds += clock() - began
                saves.calls += 1
                saves.bytes += storage.state_nbytes
            elif kind is Kind.FREE:
                storage.free(instruction.slot)
                profiler[kind].calls += 1
            elif kind is last:
                profiler[kind].calls += 1
                return
            else:
                raise ScheduleError(
                    f"the schedule says {kind.name} before {last.name}; it is not a valid schedule"
                )
        raise ScheduleError(f"the schedule ends before {last.name}; it is not a valid schedule")

    def _choose(
        self,
        n_checkpoints: int | None,
        n_timesteps: int | None,
        memory: Bytes | None,
        costs: Costs | None,
        initial_state: Literal["stored", "free"],
    ) -> Schedule:
        """Return the schedule for a number of snapshots, or for a budget."""
        if n_timesteps is None:
            raise TypeError("n_timesteps is missing; give it, or a schedule= that tells it")
        checkpoint = self._checkpoint
        window, lookback, lag = checkpoint.window, checkpoint.lookback, checkpoint.lag
        if n_checkpoints is not None:
            if memory is not None:
                raise ValueError("n_checkpoints and memory= exclude each other; give one of them")
            if costs is not None:
                raise ValueError(
                    "costs= chooses the number of snapshots, which n_checkpoints gives already; "
                    "leave one of them out"
                )
            return Revolve(
                n_timesteps,
                n_checkpoints,
                window=window,
                lookback=lookback,
                lag=lag,
                initial_state=initial_state,
            )
        default = memory is None
        try:
            self._plan = plan(
                n_timesteps,
                state_bytes=slot_nbytes(checkpoint.get_data(0)),
                window_slice_bytes=0,
                memory=default_budget() if memory is None else memory,
                # What is free now is free beside the workspace, which exists already.
                fixed_bytes=0 if default else checkpoint.window_bytes,
                lookback=lookback,
                lag=lag,
                initial_state=initial_state,
                min_window=window,
                max_window=window,
                costs=RELATIVE_COSTS if costs is None else costs,
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
        costs: Costs | None,
        initial_state: str | None,
    ) -> None:
        """Raise unless the schedule goes with the other arguments and with what the workspace retains."""
        if not isinstance(schedule, Schedule):
            hint = "; give schedule=plan.schedule" if isinstance(schedule, Plan) else ""
            raise TypeError(f"schedule must be a pyrevolve schedule, got {type(schedule).__name__}{hint}")
        for name, value in (
            ("n_checkpoints", n_checkpoints),
            ("memory", memory),
            ("costs", costs),
            ("initial_state", initial_state),
        ):
            if value is not None:
                raise ValueError(f"{name} and schedule= exclude each other; the schedule tells it")
        if n_timesteps is not None and operator.index(n_timesteps) != schedule.n_timesteps:
            raise ValueError(f"n_timesteps is {n_timesteps}, but the schedule has {schedule.n_timesteps}")
        checkpoint = self._checkpoint
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
                f"Set window, lookback and lag of {type(checkpoint).__name__} to what its workspace retains, "
                "or use a schedule that needs no more"
            )


def _lacks_set_initial(checkpoint: Checkpoint) -> bool:
    """Return whether the checkpoint has no set_initial() of its own."""
    method = getattr(checkpoint, "set_initial", None)
    return method is None or getattr(method, "__func__", None) is Checkpoint.set_initial
