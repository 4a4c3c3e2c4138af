"""One object that computes adjoints with Devito inside a memory budget, shot after shot."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from devito import configuration

from ..arrangement import check_lossless
from ..budget import Bytes, default_budget, format_bytes, parse_bytes
from ..closing import closed
from ..compression import CompressionLike, CompressionLoss, as_compression
from ..costs import Costs
from ..errors import ScheduleError
from ..plans import Plan
from ..profiling import Profiler
from ..progress import ProgressLike
from ..reports import Report, make_report
from ..revolver import Revolver
from ..schedules import Schedule
from ..team import together
from ..timeline import Timeline, as_timeline
from .building import PROBE_RING, Builder, built, set_up, team_of
from .checkpoint import TimeFunctionCheckpoint
from .drivers import Drivers
from .given import Given
from .made import check_ranges
from .measure import measure_costs
from .operator import DevitoOperator, TimeRange
from .planner import Demand
from .problem import Problem

if TYPE_CHECKING:
    from typing_extensions import Self

    from .verification import Verification

__all__ = ["CheckpointedAdjoint"]


class CheckpointedAdjoint:
    """The gradient of a Devito simulation inside a memory budget.

    A factory makes the fields and operators for a given ring length. From it, the costs of a timestep, a
    call and a copy are measured on a short ring, the window and the number of snapshots are planned, and
    the operators are built once more for that window. After that any number of shots run without compiling
    anything: ``forward(...)``, then the residual, then ``reverse(...)``.

    Parameters
    ----------
    build : callable
        ``build(save)`` makes every forward field with ``TimeFunction(..., save=save)`` (but for those that
        run along in the first sweep only; see `Problem`) and returns a `Problem`, or a tuple ``(forward,
        reverse)`` of operators. `save` is always a ``devito.Buffer`` of the ring's length. Called twice,
        rarely three times, once more for a short ring where a gradient takes longer than two seconds, and
        once more by `verify`; everything else (adjoint fields, gradients, models, sources) may be made once,
        outside.
    memory : int, float or str, optional
        Budget for the forward fields' rings and all snapshots together: bytes, or a string such as ``"2
        GiB"``. None: half of the memory that is free (``PYREVOLVE_MEMORY`` names another size or share).
    disk : int, float or str, optional
        Budget for snapshots on disk, beside `memory`: they are written behind the run and read ahead of it.
        None: none are put there.
    compression : str, codec or Compression, optional
        ``"lz4"``, ``"zstd"``, ``"pcodec"``, or what `pyrevolve.compression` makes: snapshots may be
        compressed, where the plan finds that to be faster. What it makes of this wavefield is measured in one
        forward sweep. Lossy compression changes the gradient; see `Compression`. None: they are not.
    disk_dir : path-like, optional
        A directory for them; None: where temporary files go. A file in it is removed by ``close()``.
    n_checkpoints : int, optional
        Snapshots, instead of a budget; >= 1, or >= 0 where the initial state is zero or made by a function.
    window : int, optional
        Timesteps that the rings retain at once, >= 1, instead of what the plan finds best.
    arguments : mapping of str to object, optional
        Arguments of ``devito.Operator.apply`` for all operators that know them: ``dt``, ``time_M``, ...
        They hold for every shot unless a call gives others.
    forward_arguments, reverse_arguments : mapping of str to object, optional
        The same, for one operator.
    initial : {"zeros", "keep"} or callable
        ``"zeros"``: every shot starts from a zero wavefield. ``"keep"``: it starts from what the fields
        hold when ``forward()`` is called; that state takes a snapshot. A callable: ``initial(fields)`` puts
        x_0 into the forward fields whenever that is needed; `fields` maps their names to the TimeFunctions.
    adjoint : {"zeros", "keep"}
        ``"zeros"``: the fields in which the reverse operator steps are filled with zeros before every
        reverse sweep. ``"keep"``: they are left as they are.
    costs : Costs, optional
        What the operations cost [s]; None: they are measured, unless both `n_checkpoints` and `window` are
        given.
    cache : str, optional
        A name for the problem under which measured costs are kept on this machine for 30 days, as for
        `pyrevolve.measure_costs`; *name a changed problem anew*. Not on a grid that is divided among
        processes. None: they are not kept.
    threads : int, optional
        Threads for copies of snapshots; None: see `pyrevolve.MemoryStorage`.
    resume : path-like, optional
        A directory for a journal, from which the same script goes on after its process was killed, and ends
        with the same gradient bit for bit: `Revolver` tells how. What the operators write is kept in it. That
        the run is the same is checked: the generated code of all operators, numbers such as ``dt``, and
        every array that is read, the residual included once the reverse sweep has begun; another window or
        number of snapshots does not matter. Not together with lossy compression. Timesteps may have to be
        run again, so that the forward operator must allow that, see `reverse`. With MPI, each process has a
        directory of its own there. None: there is no journal.
    resume_interval : float
        Seconds between two entries of the journal, >= 0.
    resume_key : str
        What a shot is called: a journal is only for a shot of the same name. Empty: shots are counted; set
        the attribute of this name before each ``forward()`` where a script does not begin with the first.
    progress : bool or callable, optional
        Whether a bar shows how far a sweep is, as of `Revolver`. None: in a terminal or a notebook, where it
        takes longer than a few seconds.
    timeline : bool or Timeline, optional
        Whether every instruction of a shot is taken down with its times, and where: see `Timeline`.
    self_check : bool
        Run with poisoned rings (see `pyrevolve.devito.verify`): slower, and wrong assumptions about what
        the rings retain turn into NaN instead of wrong numbers.

    Raises
    ------
    TypeError
        `build` does not return operators, or an argument is of another type than stated.
    ValueError
        A number out of range, or arguments that no operator knows.
    UnsupportedOperatorError
        The operators cannot be checkpointed without wrong gradients; the message says why and what to do.
    BudgetError
        The budget does not hold the smallest ring and one snapshot; the message says what does.
    StorageError
        The disk has no room, or its directory cannot be written to.
    ImportError
        A package that `compression` needs is not installed.
    PeerError
        Another process of a divided grid found something wrong.
    devito.exceptions.InvalidArgument
        Devito refuses the arguments, or the time range is not determined by them.

    Notes
    -----
    The plan's window is compiled into the operators and stays; a shot with another number of timesteps only
    gets another schedule.

    What a gradient costs in time is ``adjoint.plan.predicted_seconds``; what it takes in memory is
    ``adjoint.memory_held``, never more than the budget. Adjoint fields, models and receivers are not in it,
    nor the copies of what the operators write, and a few states, that measuring costs takes for a moment.

    On a grid that is divided among processes, all make the same calls with the same arguments, but for their
    parts of the data. What one process finds wrong is raised in all (`PeerError`), unless `build` itself
    fails, or Devito does while it distributes sparse functions, which it does in all processes at once.

    Examples
    --------
    >>> def build(save):                                                          # doctest: +SKIP
    ...     u = TimeFunction(name="u", grid=grid, time_order=2, space_order=8, save=save)
    ...     return forward_operator(u), gradient_operator(u, v, gradient)
    >>> with CheckpointedAdjoint(build, memory="2 GiB", arguments={"dt": dt}) as adjoint:   # doctest: +SKIP
    ...     for source, observed in shots:
    ...         adjoint.forward(src=source, rec=simulated)
    ...         residual.data[:] = simulated.data - observed.data
    ...         adjoint.reverse(rec=residual)
    """

    def __init__(
        self,
        build: Callable[[Any], Any],
        *,
        memory: Bytes | None = None,
        disk: Bytes | None = None,
        disk_dir: str | os.PathLike[str] | None = None,
        compression: CompressionLike | None = None,
        n_checkpoints: int | None = None,
        window: int | None = None,
        arguments: Mapping[str, Any] | None = None,
        forward_arguments: Mapping[str, Any] | None = None,
        reverse_arguments: Mapping[str, Any] | None = None,
        initial: Literal["zeros", "keep"] | Callable[[Mapping[str, Any]], object] = "zeros",
        adjoint: Literal["zeros", "keep"] = "zeros",
        costs: Costs | None = None,
        cache: str | None = None,
        threads: int | None = None,
        self_check: bool = False,
        resume: str | os.PathLike[str] | None = None,
        resume_interval: float = 60.0,
        resume_key: str = "",
        progress: ProgressLike | None = None,
        timeline: Timeline | bool | None = None,
    ) -> None:
        if not callable(build):
            raise TypeError(f"build must be a function build(save), got {type(build).__name__}")
        self._build = build
        self._given = Given(
            shared=dict(arguments or {}),
            forward=dict(forward_arguments or {}),
            reverse=dict(reverse_arguments or {}),
            initial=initial,
            adjoint=adjoint,
        )
        self._threads = threads
        self._resume_key = str(resume_key)
        #: The forward sweep that may be reversed.
        self._waiting: _Sweep | None = None
        self._closed = False
        # The process may go to another directory before they are used.
        directory = os.path.abspath(tempfile.gettempdir() if disk_dir is None else disk_dir)
        journal = None if resume is None else (os.path.abspath(resume), resume_interval)

        def ask() -> tuple[Demand, Timeline | None]:
            """Find out what this process wants, and what of that is wrong."""
            if n_checkpoints is not None and memory is not None:
                raise ValueError("n_checkpoints= and memory= exclude each other; give one of them")
            if n_checkpoints is not None and disk is not None:
                raise ValueError("n_checkpoints= and disk= exclude each other; give memory= beside disk=")
            if n_checkpoints is not None and compression is not None:
                raise ValueError("n_checkpoints= and compression= exclude each other; give memory= beside it")
            if disk is None and disk_dir is not None:
                raise ValueError("disk_dir= is of no use without disk=, the budget there")
            if initial not in ("zeros", "keep") and not callable(initial):
                raise ValueError(f'initial must be "zeros", "keep" or a function, got {initial!r}')
            if adjoint not in ("zeros", "keep"):
                raise ValueError(f'adjoint must be "zeros" or "keep", got {adjoint!r}')
            taken_down = as_timeline(timeline)
            compressing = None if compression is None else as_compression(compression)
            if resume is not None:
                check_lossless(compressing)
            on_disk = None if disk is None else parse_bytes(disk, "disk")
            budget = None
            if n_checkpoints is None:
                budget = default_budget() if memory is None else parse_bytes(memory)
            demand = Demand(
                memory=budget,
                disk=on_disk,
                compression=compressing,
                n_checkpoints=n_checkpoints,
                window=window,
            )
            return demand, taken_down

        if not configuration["mpi"]:  # else it is not known yet who is to be told
            ask()
        analysis = built(build, PROBE_RING)
        self._team = team_of(analysis)
        demand, self._timeline = together(self._team, ask)()
        if self._team is not None:
            given = {
                "memory": memory,
                "disk": disk,
                "costs": costs,
                "resume": resume,
                "cache": cache,
            }
            self._team.agree(
                n_checkpoints=n_checkpoints,
                window=window,
                compression=demand.compression,
                initial=initial if isinstance(initial, str) else "a function",
                adjoint=adjoint,
                self_check=self_check,
                **{f"whether {name}= is given": value is not None for name, value in given.items()},
            )
            costs = self._team.first(costs)
        self._planner, self._plan, self._made = set_up(
            Builder(build=build, given=self._given, team=self._team),
            analysis,
            demand,
            costs,
            cache=cache,
            disk_dir=directory,
            threads=threads,
        )
        self._drivers = Drivers(
            made=self._made,
            schedule_for=functools.partial(self._planner.schedule, chosen=self._plan),
            costs=self._plan.costs if self._plan.measured else None,
            team=self._team,
            threads=threads,
            disk_dir=directory,
            compression=demand.compression,
            resume=journal,
            progress=progress,
            timeline=self._timeline,
            self_check=self_check,
        )

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """The plan: window, snapshots, predicted steps and time."""
        return self._plan

    @property
    def problem(self) -> Problem:
        """What the factory made for the planned window."""
        return self._made.analysis.problem

    @property
    def fields(self) -> tuple[Any, ...]:
        """The forward fields for the planned window, as devito.TimeFunctions."""
        return tuple(field.function for field in self._made.analysis.fields)

    @property
    def ring(self) -> int:
        """Slices of the rings that were made for the planned window."""
        return self._made.ring

    @property
    def checkpoint(self) -> TimeFunctionCheckpoint:
        """The state, and what the rings retain."""
        return self._made.checkpoint

    @property
    def costs(self) -> Costs:
        """What the plan rests on [s]."""
        return self._plan.costs

    @property
    def n_timesteps(self) -> int:
        """Timesteps of the last shot, or of the plan before the first one."""
        revolver = self._drivers.revolver
        return self._plan.n_timesteps if revolver is None else revolver.n_timesteps

    @property
    def revolver(self) -> Revolver | None:
        """The driver of the last shot; None before the first one."""
        return self._drivers.revolver

    @property
    def profiler(self) -> Profiler:
        """Times, counts and bytes of the last shot.

        Raises
        ------
        ScheduleError
            No shot was run.
        """
        return self._last_shot.profiler

    @property
    def timeline(self) -> Timeline | None:
        """What the last shot spent its time with, by instruction; None: that is not taken down."""
        return self._timeline

    def report(self) -> Report:
        """Return what the last shot took beside what was predicted; ``print(adjoint.report())`` is a table.

        Raises
        ------
        ScheduleError
            No shot was run.
        """
        revolver, chosen = self._last_shot, self._drivers.plan
        schedule, compression = revolver.schedule, self._planner.compression
        if (
            chosen is None
            and isinstance(schedule, Schedule)
            and schedule.counts == self._plan.schedule.counts
        ):
            chosen = self._plan
        return make_report(
            revolver.profiler,
            schedule,
            revolver.storages,
            n_timesteps=revolver.n_timesteps,
            resumed=revolver.resumed,
            replanned=revolver.replanned,
            plan=chosen,
            costs=self._drivers.costs,
            fixed_bytes=self._made.forward_bytes,
            memory=self._plan.memory,
            disk=self._plan.disk,
            ratio=None if compression is None else compression.ratio,
        )

    @property
    def _last_shot(self) -> Revolver:
        """The driver of the last shot; raise where there is none."""
        if self._drivers.revolver is None:
            raise ScheduleError("no shot was run; call forward() first")
        return self._drivers.revolver

    @property
    def self_check(self) -> bool:
        """Whether the next shot runs with poisoned rings; may be set before ``forward()``."""
        return self._drivers.self_check

    @self_check.setter
    def self_check(self, check: bool) -> None:
        self._drivers.self_check = check

    @property
    def resume_key(self) -> str:
        """What the next shot is called in the journal; may be set before ``forward()``."""
        return self._resume_key

    @resume_key.setter
    def resume_key(self, key: str) -> None:
        self._resume_key = str(key)

    @property
    def memory_held(self) -> int:
        """Bytes that the forward fields, the snapshots in RAM, and those on their way take now."""
        return self._made.forward_bytes + self._drivers.memory_held

    @property
    def disk_held(self) -> int:
        """Bytes that snapshots take on disk now."""
        return self._drivers.disk_held

    @property
    def compression_ratio(self) -> float:
        """How many times smaller the snapshots of compressed tiers have become so far; 1.0 without any."""
        return self._drivers.compressed.ratio

    @property
    def compression_error(self) -> CompressionLoss:
        """The largest errors that lossy compression has made of snapshots so far."""
        return self._drivers.compressed.error

    def __repr__(self) -> str:
        return (
            f"<CheckpointedAdjoint: {self._plan.n_timesteps} timesteps, window {self._plan.window}, "
            f"{self._plan.n_snapshots} snapshots, {format_bytes(self._plan.planned_bytes)}>"
        )

    # --- what it does ---------------------------------------------------------------------------------------

    def forward(self, **arguments: Any) -> None:
        """Run the forward sweep of a shot; afterwards the receivers hold the simulated data.

        Parameters
        ----------
        **arguments
            As of ``devito.Operator.apply``: sources, receivers, models, ``dt``, ``time_M``, ... of this shot.

        Raises
        ------
        ScheduleError
            The object is closed.
        ValueError
            An argument would replace a forward field.
        devito.exceptions.InvalidArgument
            Devito refuses an argument, or the time range goes beyond what the operator may access.
        Exception
            Whatever the operators raise; call `forward` again for the next shot.

        Notes
        -----
        Timesteps are run again during `reverse`, from the same arguments: do not change sources and models,
        nor the forward fields, before it has returned.
        """
        self._check_open()
        self._waiting = None
        made, given = self._made, self._given

        def named() -> dict[str, Any]:
            made.analysis.check_arguments(arguments, reverse=False)
            merged = given.for_forward(made.analysis.problem, made.forward.known, arguments)
            made.forward.check_names(merged)
            return merged

        span = together(self._team, self._prepare)(made.forward, together(self._team, named)())
        if self._team is not None:
            self._team.agree(**{"the number of timesteps": span.n_timesteps})
        made.checkpoint.offset = span.first
        revolver = self._drivers.begin(span.n_timesteps, self._resume_key)
        if given.initial != "keep":
            arrays = made.forward.arrays()
            for name in made.analysis.companions:
                arrays[name].fill(0)
        revolver.apply_forward()
        made.forward.finish()
        self._waiting = _Sweep(span, arguments)

    def reverse(self, **arguments: Any) -> None:
        """Run the reverse sweep of the shot whose forward sweep was run last.

        Parameters
        ----------
        **arguments
            As of ``devito.Operator.apply``: residuals, gradients, models, ... of this shot.

        Raises
        ------
        ScheduleError
            There is no forward sweep to reverse, or it was reversed already.
        UnsupportedOperatorError
            Timesteps have to be run again, and the forward operator writes something that must not be
            written twice: an accumulator, or an array that the reverse operator reads. Nothing was run;
            give the problem a `recompute` operator without it.
        ValueError
            The range of timesteps is not that of the forward sweep, or an argument would replace a forward
            field.
        devito.exceptions.InvalidArgument
            Devito refuses an argument.
        Exception
            Whatever the operators raise; call `forward` again for the next shot.
        """
        self._check_open()
        swept, revolver = self._waiting, self._drivers.revolver
        if swept is None or revolver is None:
            raise ScheduleError("there is no forward sweep to reverse; call forward() first")
        made, given, problem = self._made, self._given, self._made.analysis.problem
        again = self._drivers.repeats

        def named() -> tuple[dict[str, Any], dict[str, Any]]:
            made.analysis.check_arguments(arguments, reverse=True)
            merged = given.for_reverse(problem, made.reverse.known, arguments)
            made.reverse.check_names(merged)
            if made.recompute is None or not again:
                return merged, {}
            time = made.recompute.time
            bounds = {time.min_name: swept.span.first, time.max_name: swept.span.last}
            to_repeat = given.for_recompute(problem, made.recompute.known, bounds, swept.arguments)
            made.recompute.check_names(to_repeat)
            return merged, to_repeat

        def prepared(merged: Mapping[str, Any], to_repeat: Mapping[str, Any]) -> DevitoOperator:
            check_ranges(swept.span, self._prepare(made.reverse, merged), made.shift)
            if not again:
                return made.forward
            runner = made.forward
            if made.recompute is not None:
                runner = made.recompute
                recomputed = self._prepare(runner, to_repeat)
                if recomputed != swept.span:
                    raise ValueError(
                        f"the recompute operator would run time {recomputed.first} ... {recomputed.last}, "
                        f"but the forward sweep ran {swept.span.first} ... {swept.span.last}"
                    )
            # A process without receivers has no arrays that could overlap.
            made.check_repeatable(runner)
            return runner

        runner = together(self._team, prepared)(*together(self._team, named)())
        if given.adjoint == "zeros":
            arrays = made.reverse.arrays()
            for name in made.analysis.adjoint_fields:
                arrays[name].fill(0)
        self._waiting = None
        self._drivers.turn(runner)
        revolver.apply_reverse()
        made.reverse.finish()

    def verify(self, shot: Callable[[Any], Any], **options: Any) -> Verification:
        """Compare with store-all on the user's own operators; see `pyrevolve.devito.verify`."""
        from .verification import verify

        return verify(self, shot, **options)

    def measure_costs(self, *, directory: str | os.PathLike[str] | None = None) -> Costs:
        """Measure the costs anew, on the operators and the ring that are in use.

        Parameters
        ----------
        directory : path, optional
            A directory on a disk that is to be the second tier; see `pyrevolve.measure_costs`. None: RAM
            only.

        Returns
        -------
        Costs
            Lower quartiles over several rounds [s].

        Raises
        ------
        ScheduleError
            The object is closed, or a forward sweep waits to be reversed.
        StorageError
            The disk cannot be measured.
        """
        self._check_open()
        if self._waiting is not None:
            raise ScheduleError(
                "a forward sweep waits for reverse(); measure before forward() or after reverse()"
            )
        made, problem = self._made, self._made.analysis.problem
        span = self._prepare(made.forward, self._given.for_forward(problem, made.forward.known, {}))
        self._prepare(made.reverse, self._given.for_reverse(problem, made.reverse.known, {}))
        made.checkpoint.offset = span.first
        return measure_costs(
            made.runner(made.forward),
            made.forward,
            made.reverse,
            made.checkpoint,
            span.n_timesteps,
            threads=self._threads,
            directory=directory,
            team=self._team,
        )

    def close(self) -> None:
        """Give the memory of the snapshots back; may be called again."""
        self._waiting = None
        self._closed = True
        self._drivers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed(self.close, error)

    # --- inside ---------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        """Raise on a closed object."""
        if self._closed:
            raise ScheduleError("the CheckpointedAdjoint is closed; make a new one")

    def _prepare(self, operator: DevitoOperator, arguments: Mapping[str, Any]) -> TimeRange:
        """Prepare an operator; with fewer timesteps where a verification asks for that."""
        span, limit = operator.prepare(arguments), self._drivers.limit
        if limit is not None and span.n_timesteps > limit:
            last = span.first + limit - 1
            span = operator.prepare({**arguments, operator.time.max_name: last})
        return span

    @contextlib.contextmanager
    def _verifying(self, chosen: Plan | None, schedule: Schedule, *, self_check: bool) -> Iterator[None]:
        """Run shots by another schedule, in storages of its own: those of a plan, if there is one."""
        self._check_open()
        kept = self._drivers
        self._drivers = verifying = kept.for_verification(chosen, schedule, self_check=self_check)
        try:
            yield
        finally:
            self._drivers = kept
            # What the fields hold now is nothing that a shot left there.
            kept.revolver = None
            self._waiting = None
            verifying.close()
            if self._closed:  # meanwhile
                kept.close()


class _Sweep(NamedTuple):
    """A forward sweep that was run: over which iterations, and with which arguments of its shot."""

    span: TimeRange
    arguments: Mapping[str, Any]
