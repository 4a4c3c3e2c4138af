"""The driver: one loop that carries a schedule out."""

from __future__ import annotations

import enum
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .arguments import index
from .arrangement import (
    Request,
    accept,
    asked,
    check_elastic,
    check_lossless,
    check_workspace,
    costs_of,
    make_storages,
    peaks_of,
    take_storages,
)
from .budget import Bytes
from .checkpoint import Checkpoint, Operator, check_problem, unrecorded_of
from .closing import closed
from .compression import CompressionLike, as_compression
from .costs import CompressionCosts, Costs, check_costs
from .course import Course, Standing
from .crevolve import Content, Kind
from .errors import ScheduleError, StorageFullError
from .journal import Arrays, Journal
from .lookahead import looking_ahead
from .observers import Observers
from .plans import Plan
from .profiling import Profiler
from .progress import Progress, ProgressLike, make_progress
from .reports import Report, make_report
from .resuming import Resuming, checked_arrays, open_journal
from .schedules import Online, Schedule
from .schedules.online import MOST_TIMESTEPS
from .storage import Storage
from .team import Team, together
from .timeline import Timeline, as_timeline

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Revolver"]

_LOG = logging.getLogger("pyrevolve.revolver")

_T = TypeVar("_T")


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
    compression : str, codec or Compression, optional
        What may encode snapshots where budgets are given: ``"lz4"``, ``"zstd"``, ``"pcodec"``, a codec with
        the interface of numcodecs, or what `pyrevolve.compression` makes. The plan compresses what lies in
        RAM, on disk, in both or nowhere, whichever it finds to be fastest. None: nothing is compressed.
    compression_costs : CompressionCosts, optional
        What compression makes of this problem's states, from `measure_compression`. None: typical ratios.
    comm : mpi4py.MPI.Comm, optional
        Processes whose operators exchange data, each with a part of the state, so that they have to run in
        step. They agree on one plan, for the smallest budgets, and store a snapshot in all processes or in
        none; what fails in one is raised in all, and so is what must be the same in all and is not. None:
        this process is on its own.
    resume : path-like, optional
        A directory for a journal of the run. After this process was killed, at any moment, the same script
        goes on from the newest entry. None: there is no journal.
    resume_arrays : sequence of numpy.ndarray or callable, optional
        All arrays that the operators change besides the state, or a function that returns them: adjoint
        fields, gradients, receivers. Needed with `resume`.
    resume_interval : float
        Seconds between two entries, >= 0.
    resume_key : str
        What a shot is called: an entry is only for a shot of the same name. Empty: shots are counted.
    progress : bool or callable, optional
        Whether a bar of tqdm shows how far a run is, on standard error or in the notebook; or a function,
        which is called with a `ProgressState` when a sweep begins and ends, and about ten times a second in
        between. None: there is a bar where somebody watches, that is where standard error is a terminal or a
        notebook is run, where tqdm is installed, and where a sweep takes longer than a few seconds. With
        `comm`, only the first process shows anything; a function must not raise there.
    timeline : bool or Timeline, optional
        Whether every instruction is taken down with its times, and where: see `Timeline`.

    Raises
    ------
    TypeError
        A float where an integer belongs, or an argument that is not what is stated above.
    ValueError
        A number out of range, two arguments that exclude each other (`resume` and lossy compression among
        them), a schedule that needs more of the workspace than the checkpoint declares or step data that it
        does not offer, one with more than two tiers and no `storage`, or one that cannot be planned anew and
        a storage with as many slots as fit. With `comm`: an argument that must be the same in all processes.
    BudgetError
        `memory`, with `disk`, does not hold ``checkpoint.window_bytes`` and one snapshot. A ValueError.
    ImportError
        A package that `compression`, `comm` or ``progress=True`` needs is not installed.
    MemoryError
        The system does not give the memory for the snapshots.
    StorageError
        The directory has no room for the snapshots on disk, or cannot be written to.
    JournalError
        Another process uses the journal, or its directory holds something else.

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

    A compressed tier holds as many snapshots as fit. One that does not fit goes to the next tier with room
    for it, or is left out, and what is left of the run is planned anew; also where snapshots turn out to be
    so much smaller that more of them save time.

    With a journal, ``apply_forward()`` of the second process continues the forward sweep; where that was done
    already, it puts back x_n and the named arrays as they were at its end, and returns. ``apply_reverse()``
    then puts back what the newest entry has of the arrays, and goes on. The gradient is the same bit for bit.
    Snapshots in RAM are lost with a process; those on disk are kept in the journal's directory. The script
    must put x_0 into the workspace again, as for every shot; models, sources and all else must be as they
    were. ``checkpoint.get_data(n)`` is asked for too. Entries of another run are refused (JournalError, from
    ``apply_forward()``), and so are damaged ones; they stay where they are, also after ``reset()``, until
    somebody removes the directory. When a shot is done, or given up with ``reset()``, its own are removed.
    What the operators compute with besides the state cannot be seen from here: name the run by it
    (`resume_key`). Lossy compression is refused: which states go through the codec depends on when a run was
    interrupted, and so would the gradient.

    `DiskStorage` has more options (``fsync``, ``buffers``, ``checksum``, ``direct``), and so has
    `MemoryStorage`: make the storages of a plan yourself for those, ``schedule=plan.schedule,
    storage=[...]``.

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
        compression: CompressionLike | None = None,
        compression_costs: CompressionCosts | None = None,
        comm: Any = None,
        resume: str | os.PathLike[str] | Journal | None = None,
        resume_arrays: Arrays | None = None,
        resume_interval: float = 60.0,
        resume_key: str = "",
        progress: ProgressLike | None = None,
        timeline: Timeline | bool | None = None,
    ) -> None:
        self._team = None if comm is None else Team(comm)
        if self._team is not None and self._team.size == 1:
            self._team = None
        self._checkpoint = checkpoint
        self._fwd_operator = fwd_operator
        self._rev_operator = rev_operator
        self._timeline: Timeline | None = None
        compressing = None
        kept_arrays: Arrays = ()

        def ask() -> Schedule | Online | Request:
            """Find out what this process wants, and what of that is wrong."""
            nonlocal compressing, kept_arrays
            check_problem(checkpoint, fwd_operator, rev_operator)
            self._timeline = as_timeline(timeline)
            kept_arrays = checked_arrays(resume, resume_arrays)
            compressing = None if compression is None else as_compression(compression)
            if resume is not None:
                check_lossless(compressing)
            elif resume_key:
                raise ValueError("resume_key is of no use without resume=, the directory of the journal")
            if costs is not None:
                check_costs(costs)
            if schedule is None:
                return asked(
                    checkpoint,
                    n_checkpoints,
                    n_timesteps,
                    memory,
                    disk,
                    costs,
                    "stored" if initial_state is None else initial_state,
                    compressing,
                    compression_costs,
                )
            accept(
                schedule,
                n_timesteps,
                n_checkpoints=n_checkpoints,
                memory=memory,
                disk=disk,
                initial_state=initial_state,
                compression=compression,
                compression_costs=compression_costs,
            )
            return schedule

        wanted = self._together(ask)()
        self._costs = costs
        if self._team is not None:
            self._team.agree(
                n_timesteps=n_timesteps,
                n_checkpoints=n_checkpoints,
                schedule=schedule,
                initial_state=initial_state,
                compression=str(compressing),
                **{
                    "the window of the checkpoint": checkpoint.window,
                    "the lookback of the checkpoint": checkpoint.lookback,
                    "the lag of the checkpoint": checkpoint.lag,
                    "whether fwd_operator has apply_unrecorded()": unrecorded_of(fwd_operator) is not None,
                    **{
                        f"whether {name}= is given": given is not None
                        for name, given in (
                            ("memory", memory),
                            ("disk", disk),
                            ("resume", resume),
                            ("storage", storage),
                        )
                    },
                },
            )
            # They decide whether to plan anew, which all processes must do or none.
            self._costs = self._team.first(costs)
        self._plan: Plan | None = None
        if isinstance(wanted, Request):
            request = wanted if self._team is None else wanted.agreed(self._team)
            self._plan = self._together(request.plan)()
            schedule = self._plan.schedule
        else:
            schedule = wanted
        #: What of the memory budget is not for snapshots.
        self._fixed_bytes = 0 if memory is None else checkpoint.window_bytes
        self._expected_ratio = None if compression_costs is None else compression_costs.ratio
        #: What the operations cost in seconds; None where nobody measured that.
        measured = self._plan is None or self._plan.measured
        self._seconds = costs_of(self._plan, self._costs) if measured else None
        #: An online schedule changes on the way, so that each shot has its own; None where there is none.
        self._online = schedule.fresh() if isinstance(schedule, Online) else None
        self._schedule = schedule if self._online is None else self._online
        self._n_timesteps = schedule.n_timesteps if isinstance(schedule, Schedule) else 0
        self._owns_storages = storage is None
        self._storages: tuple[Storage, ...] = ()
        self._journal: Journal | None = None
        self._resuming: Resuming | None = None

        def open_storages() -> Progress | None:
            check_workspace(checkpoint, schedule)
            first = self._team is None or self._team.rank == 0
            shown = make_progress(progress, self._seconds, first=first)
            self._journal = open_journal(
                resume, schedule, interval=resume_interval, key=resume_key, team=self._team
            )
            if storage is None:
                folder = None if self._journal is None else self._journal.path
                self._storages = make_storages(
                    checkpoint, schedule, self._plan, threads, disk_dir, compressing, folder
                )
            else:
                for option, own in (
                    ("threads", threads),
                    ("disk_dir", disk_dir),
                    ("compression", compression),
                ):
                    if own is not None:
                        raise ValueError(
                            f"{option}= and storage= exclude each other; give it to the storage itself"
                        )
                self._storages = take_storages(storage, peaks_of(schedule))
            check_elastic(schedule, self._storages)
            if self._journal is not None:
                self._resuming = Resuming(self._journal, kept_arrays, checkpoint, self._storages, self._team)
            return shown

        try:
            shown = self._together(open_storages)()
            if self._team is not None:
                self._team.agree(**{"the number of slots of the storages, by tier,": self._slots()})
        except BaseException:
            self._close_storages(journal=not isinstance(resume, Journal))
            raise
        self._profiler = Profiler(len(self._storages))
        self._observer = Observers.of(self._profiler, self._timeline, shown)
        # Any: which attributes of an instruction are set goes with its kind, which types cannot tell.
        self._instructions: Iterator[Any] = iter(())
        self._course: Course | None = None
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
    def timeline(self) -> Timeline | None:
        """What this shot spent its time with, instruction by instruction; None: that is not taken down."""
        return self._timeline

    @property
    def resumed(self) -> bool:
        """Whether this shot goes on with one that another process began: timesteps are run again."""
        return self._resuming is not None and self._resuming.resumed

    @property
    def replanned(self) -> int:
        """How often what was left of this shot was planned anew, because of compression or a journal."""
        return 0 if self._course is None else self._course.replanned

    @property
    def resume_key(self) -> str:
        """What the next shot is called in the journal; may be set before ``apply_forward()``."""
        return "" if self._journal is None else self._journal.key

    @resume_key.setter
    def resume_key(self, key: str) -> None:
        if self._journal is None:
            raise ValueError("resume_key is of no use without resume=, the directory of the journal")
        self._journal.key = str(key)

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
        return sum(peaks_of(self._schedule))

    def __repr__(self) -> str:
        return f"<Revolver: {self._schedule!r}, {self._state.name.lower()}>"

    def report(self) -> Report:
        """Return what this shot took beside what was predicted; ``print(revolver.report())`` is a table.

        What is predicted is what the schedule counts and, where there is a plan or where `costs` were given,
        what it holds and takes. Counts are right so far while a shot is not finished, times as of the last
        sweep that ended.
        """
        return make_report(
            self._profiler,
            self._schedule,
            self._storages,
            n_timesteps=self._n_timesteps,
            resumed=self.resumed,
            replanned=self.replanned,
            plan=self._plan,
            costs=self._seconds,
            fixed_bytes=self._fixed_bytes,
            memory=None if self._plan is None else self._plan.memory,
            disk=None if self._plan is None else self._plan.disk,
            ratio=self._expected_ratio,
        )

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
            self._put_initial_state()
            begin = None if self._resuming is None else self._resuming.begin(schedule)
            if self._resuming is not None and self._resuming.turned:
                return  # the forward sweep is done; apply_reverse() goes on
            self._instructions = self._follow(schedule, begin)
            self._run(self._instructions, Kind.TURN)
            if self._resuming is not None:
                self._resuming.write_turn()

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
                self._observer.follow(online, None)
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
            self._schedule, self._instructions = schedule, self._follow(schedule)
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
            begin = None if self._resuming is None else self._resuming.turn()
            if begin is not None:
                self._instructions = self._follow(self._schedule, begin)
            self._run(self._instructions, Kind.END)
            if self._resuming is not None:
                self._resuming.finish()

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
        self._together(self._clear_storages)()
        if self._online is not None:
            self._schedule = self._online = self._online.fresh()
            self._n_timesteps = 0
        if self._resuming is not None:
            self._resuming.next_shot()
        self._observer.reset()
        self._instructions = iter(())
        self._course = None
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
        self._observer.end("failed")
        self._instructions = iter(())
        self._close_storages(journal=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed(self.close, error)

    # --- inside ---------------------------------------------------------------------------------------------

    def _slots(self) -> list[int | None]:
        """Return how many slots the storages have, by tier; None: as many as fit."""
        return [None if storage.elastic else storage.n_slots for storage in self._storages]

    def _clear_storages(self) -> None:
        with ExitStack() as each:  # goes on to the other tiers where one raises
            for storage in self._storages:
                each.callback(storage.clear)

    def _close_storages(self, *, journal: bool) -> None:
        """Close the storages, unless they are the caller's, and the journal if that is asked for."""
        with ExitStack() as each:  # goes on to the other tiers where one raises
            if journal and self._journal is not None:
                each.callback(self._journal.close)
            if self._owns_storages:
                for storage in self._storages:
                    each.callback(storage.close)

    def _together(self, work: Callable[..., _T]) -> Callable[..., _T]:
        """Return a function that raises in all processes where it raises in one; it must not communicate."""
        return together(self._team, work)

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
            self._observer.begin("forward" if during is _State.FORWARD else "reverse", self._storages)
            yield
            self._observer.end("paused" if after is _State.PAUSED else "done")
            self._state = after
        except BaseException:
            self._state = _State.FAILED
            self._observer.end("failed")
            raise

    def _follow(self, schedule: Schedule, begin: Standing | None = None) -> Iterator[Any]:
        """Return the instructions of a schedule as they are to be carried out here."""
        instructions = self._instructions_of(schedule, begin)
        self._observer.follow(schedule, self._course)
        return instructions

    def _instructions_of(self, schedule: Schedule, begin: Standing | None) -> Iterator[Any]:
        self._course = None
        keeping = unrecorded_of(self._fwd_operator) is not None
        elastic = any(storage.elastic for storage in self._storages)
        adaptable = elastic and not schedule.needs_step_data and schedule.layout is None
        if adaptable or self._resuming is not None:
            self._course = Course(
                schedule,
                self._storages,
                costs=costs_of(self._plan, self._costs),
                agree=None if self._team is None else self._team.least,
                begin=begin,
                keeping=keeping,
            )
            return self._course if self._resuming is None else self._resuming.follow(self._course)
        storages = self._storages
        return looking_ahead(
            schedule, storages, lambda tier, slot: storages[tier].prefetch(slot), keeping=keeping
        )

    def _put_initial_state(self) -> None:
        """Re-create a free initial state: an earlier shot left its last state in the workspace."""
        if self._schedule.free_initial_state:
            self._together(self._checkpoint.set_initial)()

    def _run(self, instructions: Iterable[Any], last: Kind | None) -> None:
        """Carry out instructions up to and including one of the kind `last`; None: all of them."""
        # Every name that the loop needs is local: it turns hundreds of thousands of times a second.
        forward_kind, reverse_kind, load_kind, save_kind = Kind.FORWARD, Kind.REVERSE, Kind.LOAD, Kind.SAVE
        forward, reverse = self._fwd_operator.apply, self._rev_operator.apply
        unrecorded = unrecorded_of(self._fwd_operator)
        checkpoint, storages, observer = self._checkpoint, self._storages, self._observer
        set_initial, course, resuming = checkpoint.set_initial, self._course, self._resuming
        state_content = Content.STATE
        state, step_data = checkpoint.get_data, checkpoint.get_step_data
        state_location, step_data_location = checkpoint.get_data_location, checkpoint.get_step_data_location
        # By tier.
        saves: list[Callable[..., int]] = [storage.save for storage in storages]
        loads: list[Callable[..., int]] = [storage.load for storage in storages]
        frees = [storage.free for storage in storages]
        team = self._team
        if team is not None:
            forward, reverse = team.guarded(forward), team.guarded(reverse)
            unrecorded = None if unrecorded is None else team.guarded(unrecorded)
            set_initial = team.guarded(set_initial)
            state, step_data = team.guarded(state), team.guarded(step_data)
            state_location, step_data_location = (
                team.guarded(state_location),
                team.guarded(step_data_location),
            )
            saves = [team.guarded_save(storage) for storage in storages]
            loads = [team.guarded(load) for load in loads]
        ran_forward, ran_reverse = observer.ran_forward, observer.ran_reverse
        saved, loaded, freed = observer.saved, observer.loaded, observer.freed
        clock = perf_counter_ns

        for instruction in instructions:
            kind = instruction.kind
            if kind is forward_kind:
                start, stop, kept = instruction.start, instruction.stop, instruction.kept
                began = clock()
                if kept is None or unrecorded is None:
                    forward(t_start=start, t_end=stop)
                else:
                    unrecorded(t_start=start, t_end=kept)
                    if kept < stop:
                        forward(t_start=kept, t_end=stop)
                ran_forward(start, stop, began, clock())
            elif kind is reverse_kind:
                start, stop = instruction.start, instruction.stop
                began = clock()
                reverse(t_start=start, t_end=stop)
                ran_reverse(start, stop, began, clock())
            elif kind is load_kind:
                t, content, keep = instruction.t, instruction.content, instruction.keep
                tier, slot = instruction.tier, instruction.slot
                began = clock()
                if slot >= 0:
                    arrays = state_location(t) if content is state_content else step_data_location(t)
                    nbytes = loads[tier](slot, arrays, t, content)
                    if not keep:
                        frees[tier](slot)
                else:  # x_0 that is free has no slot; it counts as a load of tier 0.
                    tier = nbytes = 0
                    set_initial()
                loaded(t, tier, slot, keep, nbytes, began, clock())
            elif kind is save_kind:
                t, content = instruction.t, instruction.content
                tier, slot = instruction.tier, instruction.slot
                began = clock()
                try:
                    arrays = state(t) if content is state_content else step_data(t)
                    nbytes = saves[tier](slot, arrays, t, content)
                except StorageFullError as error:
                    if course is None:
                        raise
                    again = None
                    if resuming is not None:
                        again = resuming.save_again(storages[tier], saves[tier], slot, arrays, t, content)
                    if again is None:
                        course.no_room(error)
                        continue
                    nbytes = again
                saved(t, tier, slot, nbytes, began, clock())
            elif kind is Kind.FREE:
                tier, slot = instruction.tier, instruction.slot
                frees[tier](slot)
                freed(tier, slot)
            elif last is not None and kind is last:
                observer.reached(last)
                return
            else:
                raise ScheduleError(
                    f"the schedule says {kind.name} {_before(last)}; it is not a valid schedule"
                )
        if last is not None:
            raise ScheduleError(f"the schedule ends {_before(last)}; it is not a valid schedule")


def _before(last: Kind | None) -> str:
    return "in the middle of the forward sweep" if last is None else f"before {last.name}"
