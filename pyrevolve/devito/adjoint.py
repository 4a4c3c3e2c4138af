"""One object that computes adjoints with Devito inside a memory budget, shot after shot."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from devito import Buffer, configuration

from ..arguments import index
from ..arrangement import check_lossless, make_storages, tiers_for
from ..budget import Bytes, default_budget, format_bytes, parse_bytes
from ..checkpoint import Operator
from ..closing import closed
from ..compression import Compressed, Compression, CompressionError, CompressionLike, as_compression
from ..costs import RELATIVE_COSTS, CompressionCosts, Costs
from ..errors import BudgetError, ScheduleError
from ..journal import Journal
from ..planning import plan
from ..plans import Plan, Tier
from ..profiling import Profiler
from ..progress import ProgressLike
from ..reports import Report, make_report
from ..revolver import Revolver
from ..schedules import Revolve, Schedule
from ..storage import Storage
from ..storage.slots import SlotStorage, slot_nbytes
from ..team import Team, together
from ..timeline import Timeline, as_timeline
from .checkpoint import TimeFunctionCheckpoint
from .errors import UnsupportedOperatorError
from .identity import digest_of_code, identity_of
from .measure import measure_compression, measure_costs
from .operator import DevitoOperator, TimeRange
from .problem import Analysis, Problem, analyse
from .retention import FieldState, Retention
from .selfcheck import Poison

if TYPE_CHECKING:
    from typing_extensions import Self

    from .verification import Verification

__all__ = ["PROBE_RING", "CheckpointedAdjoint"]

_LOG = logging.getLogger("pyrevolve.devito")

_T = TypeVar("_T")

_NOTHING = TimeRange(0, -1)

#: Gradients that take longer than this are worth a second measurement, on the ring that was planned [s].
_REFINE_ABOVE = 5.0

#: Slices of the ring on which costs are measured: many enough to leave the cache as a long ring does.
PROBE_RING = 20


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
        rarely three times, and once more by `verify`; everything else (adjoint fields, gradients, models,
        sources) may be made once, outside.
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
        self._shared = dict(arguments or {})
        self._forward_given = dict(forward_arguments or {})
        self._reverse_given = dict(reverse_arguments or {})
        self._initial = initial
        self._adjoint = adjoint
        self._cache = cache
        self._threads = threads
        self.self_check = self_check
        self._revolver: Revolver | None = None
        self._storages: tuple[Storage, ...] = ()
        #: What the storages were made for.
        self._tiers: tuple[Tier, ...] = ()
        self._disk: int | None = None
        self._compression: Compression | None = None
        self._compression_costs: CompressionCosts | None = None
        self._team: Team | None = None
        # The process may go to another directory before they are used.
        self._disk_dir = os.path.abspath(tempfile.gettempdir() if disk_dir is None else disk_dir)
        self._resume = None if resume is None else (os.path.abspath(resume), resume_interval)
        self._resume_key = str(resume_key)
        self._journal: Journal | None = None
        self._progress = progress
        self._timeline: Timeline | None = None
        self._shot_plan: Plan | None = None
        self._reversing = False
        self._poison: Poison | None = None
        self._turned = False
        self._closed = False
        self._shot: dict[str, Any] = {}
        self._limit: int | None = None
        self._most_snapshots = 0
        self._planned: Callable[..., Plan] = plan
        self._forward_range = _NOTHING
        self._forced: tuple[Plan | None, Schedule] | None = None

        #: What compression made of snapshots in storages that are closed.
        self._compressed = Compressed()

        def ask() -> int | None:
            """Find out what this process wants, and what of that is wrong; return the budget."""
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
            self._timeline = as_timeline(timeline)
            self._compression = None if compression is None else as_compression(compression)
            if resume is not None:
                check_lossless(self._compression)
            self._disk = None if disk is None else parse_bytes(disk, "disk")
            if n_checkpoints is not None:
                return None
            return default_budget() if memory is None else parse_bytes(memory)

        if not configuration["mpi"]:  # else it is not known yet who is to be told
            ask()
        analysis = self._analyse(PROBE_RING)
        self._team = team_of(analysis)
        budget = self._together(ask)()
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
                compression=self._compression,
                initial=initial if isinstance(initial, str) else "a function",
                adjoint=adjoint,
                self_check=self_check,
                **{f"whether {name}= is given": value is not None for name, value in given.items()},
            )
            costs = self._team.first(costs)
        self._plan, self._made = self._set_up(analysis, budget, n_checkpoints, window, costs)

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
        return self._plan.n_timesteps if self._revolver is None else self._revolver.n_timesteps

    @property
    def revolver(self) -> Revolver | None:
        """The driver of the last shot; None before the first one."""
        return self._revolver

    @property
    def profiler(self) -> Profiler:
        """Times, counts and bytes of the last shot.

        Raises
        ------
        ScheduleError
            No shot was run.
        """
        if self._revolver is None:
            raise ScheduleError("no shot was run; call forward() first")
        return self._revolver.profiler

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
        if self._revolver is None:
            raise ScheduleError("no shot was run; call forward() first")
        revolver, chosen = self._revolver, self._shot_plan
        schedule = revolver.schedule
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
            costs=self._plan.costs if self._plan.measured else None,
            fixed_bytes=self._made.forward_bytes,
            memory=self._plan.memory,
            disk=self._plan.disk,
            ratio=None if self._compression_costs is None else self._compression_costs.ratio,
        )

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
        held = sum(storage.staging_nbytes for storage in self._storages)
        held += sum(storage.nbytes for storage in self._storages if not storage.on_disk)
        return self._made.forward_bytes + held

    @property
    def disk_held(self) -> int:
        """Bytes that snapshots take on disk now."""
        return sum(storage.nbytes for storage in self._storages if storage.on_disk)

    @property
    def compression_ratio(self) -> float:
        """How many times smaller the snapshots of compressed tiers have become so far; 1.0 without any."""
        return self._compressed_so_far.ratio

    @property
    def compression_error(self) -> CompressionError:
        """The largest errors that lossy compression has made of snapshots so far."""
        return self._compressed_so_far.error

    @property
    def _compressed_so_far(self) -> Compressed:
        found = self._compressed
        for storage in self._storages:
            if isinstance(storage, SlotStorage):
                found += storage.compressed
        return found

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
        self._turned = False
        made = self._made

        def named() -> dict[str, Any]:
            made.analysis.check_arguments(arguments, reverse=False)
            merged = self._forward_arguments(made, arguments)
            made.forward.check_names(merged)
            return merged

        span = self._together(self._prepare)(made.forward, self._together(named)())
        if self._team is not None:
            self._team.agree(**{"the number of timesteps": span.n_timesteps})
        made.checkpoint.offset = span.first
        self._forward_range = span
        revolver = self._revolver_for(span.n_timesteps)
        if self._poison is not None:
            self._prepare_poison(self._poison)
        if self._initial != "keep":
            arrays = made.forward.arrays()
            for name in made.analysis.companions:
                arrays[name].fill(0)
        made.runner.use(made.forward)
        self._reversing = False
        if self._journal is not None:
            self._journal.key = self._resume_key
            self._journal.inputs = made.identity(forward=made.forward)
        revolver.apply_forward()
        made.forward.finish()
        self._shot = arguments
        self._turned = True

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
        if not self._turned or self._revolver is None:
            raise ScheduleError("there is no forward sweep to reverse; call forward() first")
        made, revolver = self._made, self._revolver
        schedule = revolver.schedule
        assert isinstance(schedule, Schedule)
        # After an interruption, and where snapshots turn out not to fit, timesteps are run again whatever the
        # schedule says.
        again = (
            schedule.forward_steps > schedule.n_timesteps
            or self._journal is not None
            or any(storage.elastic for storage in revolver.storages)
        )

        def named() -> tuple[dict[str, Any], dict[str, Any]]:
            made.analysis.check_arguments(arguments, reverse=True)
            merged = self._reverse_arguments(made, arguments)
            made.reverse.check_names(merged)
            if made.recompute is None or not again:
                return merged, {}
            to_repeat = self._recompute_arguments(made, self._shot)
            made.recompute.check_names(to_repeat)
            return merged, to_repeat

        def prepared(given: Mapping[str, Any], to_repeat: Mapping[str, Any]) -> DevitoOperator:
            span = self._prepare(made.reverse, given)
            self._check_ranges(self._forward_range, span, made.shift)
            if not again:
                return made.forward
            runner = made.forward
            if made.recompute is not None:
                runner = made.recompute
                recomputed = self._prepare(runner, to_repeat)
                if recomputed != self._forward_range:
                    raise ValueError(
                        f"the recompute operator would run time {recomputed.first} ... {recomputed.last}, "
                        f"but the forward sweep ran {self._forward_range.first} ... "
                        f"{self._forward_range.last}"
                    )
            # A process without receivers has no arrays that could overlap.
            self._check_repeatable(made, runner)
            return runner

        runner = self._together(prepared)(*self._together(named)())
        if self._adjoint == "zeros":
            arrays = made.reverse.arrays()
            for name in made.analysis.adjoint_fields:
                arrays[name].fill(0)
        made.runner.use(runner)
        self._turned = False
        self._reversing = True
        if self._journal is not None:
            self._journal.reverse_inputs = made.identity(reverse=made.reverse, recompute=made.recompute)
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
        if self._turned:
            raise ScheduleError(
                "a forward sweep waits for reverse(); measure before forward() or after reverse()"
            )
        made = self._made
        span = self._prepare(made.forward, self._forward_arguments(made, {}))
        self._prepare(made.reverse, self._reverse_arguments(made, {}))
        made.checkpoint.offset = span.first
        return self._measure(made, span.n_timesteps, directory=directory)

    def close(self) -> None:
        """Give the memory of the snapshots back; may be called again."""
        self._turned = False
        self._closed = True
        with contextlib.ExitStack() as each:  # goes on to the others where one raises
            each.callback(self._close_storages)
            if self._journal is not None:
                each.callback(self._journal.close)
            if self._revolver is not None:
                each.callback(self._revolver.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed(self.close, error)

    # --- setting up -----------------------------------------------------------------------------------------

    def _set_up(
        self,
        analysis: Analysis,
        budget: int | None,
        n_checkpoints: int | None,
        window: int | None,
        costs: Costs | None,
    ) -> tuple[Plan, _Made]:
        """Build on a short ring, read, measure, plan, and build for the plan."""
        made, sizes = self._probe(analysis, budget)
        self._together(self._check_known)(made)
        span = made.forward_range
        n = span.n_timesteps
        if self._team is not None:
            self._team.agree(**{"the number of timesteps": n})
            sizes = sizes.agreed(self._team)
            if budget is not None:
                (budget,) = self._team.least([budget])
            if self._disk is not None:
                (self._disk,) = self._team.least([self._disk])
        if self._compression is not None and n > 0:
            self._compression_costs = self._measure_compression(made, n, self._compression)
        measure = costs is None and n > 0 and not (n_checkpoints is not None and window is not None)
        directory = None if self._disk is None else self._disk_dir
        if measure:
            costs = self._measure(made, n, cache=self._cache, directory=directory)
            _LOG.info("measured on a ring of %d: %s", made.ring, costs)
        chosen = self._together(self._choose)(made, sizes, n, budget, n_checkpoints, window, costs)
        ring = max(chosen.window + sizes.gap, sizes.smallest_ring)
        rebuilt = ring != made.ring and sizes.slice_bytes > 0
        if rebuilt:
            # The short ring's memory is given back before the long one is taken.
            _release(made)
            reads = [dataclasses.replace(field, function=None) for field in made.retained.fields]
            names = [field.name for field in made.retained.fields]
            del made
            made = self._finish(self._together(self._analyse)(ring), ring)
            if [field.name for field in made.retained.fields] != names or reads != [
                dataclasses.replace(field, function=None) for field in made.retained.fields
            ]:
                raise UnsupportedOperatorError(
                    "build(save) makes operators that read and write differently for different ring "
                    "lengths; it must make the same equations for every save"
                )
        if made.retained.window < chosen.window:
            raise UnsupportedOperatorError(
                f"build(save) was asked for rings of {ring} slices, which would retain {chosen.window} "
                f"timesteps, but the fields retain {made.retained.window}; make every forward field with "
                "save=save"
            )
        if measure and rebuilt and chosen.predicted_seconds > _REFINE_ABOVE:
            # A longer ring is further away from the processor; the window stays, the prediction improves.
            costs = self._measure(made, n, cache=self._cache, directory=directory)
            chosen = self._together(self._choose)(made, sizes, n, budget, n_checkpoints, chosen.window, costs)
        _LOG.info("%s", chosen)
        self._most_snapshots = chosen.n_snapshots
        if budget is not None:
            left = budget - sizes.fixed_bytes - chosen.window * sizes.slice_bytes
            self._most_snapshots = max(chosen.n_snapshots, left // max(1, sizes.state_bytes))
        return chosen, made

    def _measure(self, made: _Made, n: int, **options: Any) -> Costs:
        """Measure the costs of what was made; options as for `pyrevolve.measure_costs`."""
        return measure_costs(
            made.forward, made.reverse, made.checkpoint, n, threads=self._threads, team=self._team, **options
        )

    def _measure_compression(self, made: _Made, n: int, compression: Compression) -> CompressionCosts:
        """Measure what compression makes of the wavefield of one shot, with what is known of shots now."""
        if self._initial != "keep":
            made.checkpoint.set_initial()
        return measure_compression(
            made.forward, made.checkpoint, n, compression, threads=self._threads, team=self._team
        )

    def _probe(self, analysis: Analysis, budget: int | None) -> tuple[_Made, _Sizes]:
        """Prepare what was built, on a ring that takes no more than half of the budget."""
        rings = [field for field in analysis.fields if _follows(field, PROBE_RING)]
        slice_bytes = sum(field.slice_bytes for field in rings)
        ring = PROBE_RING
        if budget is not None and slice_bytes * ring > budget // 2:
            least = max(_slices_at_most(field) for field in analysis.fields) + 1
            ring = max(least, min(ring, budget // 2 // slice_bytes))
        if self._team is not None:
            (ring,) = self._team.least([ring])
        if ring != PROBE_RING:
            del rings, analysis
            analysis = self._together(self._analyse)(ring)
        made = self._finish(analysis, ring)
        return made, _Sizes.of(made)

    def _analyse(self, ring: int) -> Analysis:
        """Build for a ring length, and read the operators; nothing is allocated."""
        analysis = analyse(Problem.of(self._build(Buffer(ring))))
        for name in analysis.companions:
            if isinstance(analysis.forward_bound[name].save, Buffer):
                raise UnsupportedOperatorError(
                    f"{name} runs along in the first sweep only, because neither recompute nor reverse knows "
                    "it: a long ring of it would take memory from the window for nothing. "
                    f"Make {name} without save="
                )
        return analysis

    def _finish(self, analysis: Analysis, ring: int) -> _Made:
        """Allocate the fields, compile, and find out the time range."""
        problem = analysis.problem

        def compiled() -> tuple[_Made, dict[str, Any], dict[str, Any]]:
            analysis.check_arguments({**self._shared, **self._forward_given}, reverse=False)
            analysis.check_arguments({**self._shared, **self._reverse_given}, reverse=True)
            forward = DevitoOperator(problem.forward, analysis.forward.time)
            reverse = DevitoOperator(problem.reverse, analysis.reverse.time)
            recompute = None
            if problem.recompute is not None and analysis.recompute is not None:
                recompute = DevitoOperator(problem.recompute, analysis.recompute.time)
            made = _Made(analysis, ring, forward, reverse, recompute)
            given = self._forward_arguments(made, {}), self._reverse_arguments(made, {})
            for operator, arguments in zip((forward, reverse), given, strict=True):
                operator.check_names(arguments)
            return made, *given

        made, *given = self._together(compiled)()
        return self._together(self._readied)(made, *given)

    def _readied(
        self, made: _Made, forward_arguments: Mapping[str, Any], reverse_arguments: Mapping[str, Any]
    ) -> _Made:
        """Prepare operators, and find out what their rings retain."""
        analysis = made.analysis
        made.forward_range = self._prepare(made.forward, forward_arguments)
        reverse_range = self._prepare(made.reverse, reverse_arguments)
        made.shift = reverse_range.first - made.forward_range.first
        self._check_ranges(made.forward_range, reverse_range, made.shift)
        made.retained = analysis.retention(made.shift)
        initial = None
        if callable(self._initial):
            initial = functools.partial(
                self._initial, {field.name: field.function for field in analysis.fields}
            )
        made.checkpoint = TimeFunctionCheckpoint(
            made.retained, offset=made.forward_range.first, initial=initial
        )
        return made

    def _choose(
        self,
        made: _Made,
        sizes: _Sizes,
        n: int,
        budget: int | None,
        n_checkpoints: int | None,
        window: int | None,
        costs: Costs | None,
    ) -> Plan:
        """Return the plan for a budget, or what the user asks for as a plan."""
        if window is not None:
            window = index("window", window)
            if not sizes.min_window <= window or (sizes.max_window is not None and window > sizes.max_window):
                most = "" if sizes.max_window is None else f" and <= {sizes.max_window}"
                raise ValueError(
                    f"window must be >= {sizes.min_window}{most} for these operators, got {window}"
                )
            # A window that covers the whole run is as good as any longer one.
            window = min(window, max(sizes.min_window, n + 1 - made.retained.lag))
        if n_checkpoints is not None:
            n_checkpoints = index("n_checkpoints", n_checkpoints)
            least = 0 if self._free else 1
            if n_checkpoints < least:
                raise ValueError(f"n_checkpoints must be >= {least}, got {n_checkpoints}")
            if window is None:
                # Rings of a fixed length retain what they retain, at no further cost.
                fixed = sizes.slice_bytes == 0 and sizes.max_window is not None
                window = sizes.max_window if fixed and sizes.max_window else sizes.min_window
            return self._exact(made, sizes, n, n_checkpoints, window, costs)
        assert budget is not None
        self._planned = functools.partial(
            plan,
            state_bytes=sizes.state_bytes,
            window_slice_bytes=sizes.slice_bytes,
            memory=budget,
            disk=self._disk,
            fixed_bytes=sizes.fixed_bytes,
            lookback=made.retained.lookback,
            lag=made.retained.lag,
            initial_state="free" if self._free else "stored",
            costs=costs,
            compression=self._compression_costs,
        )
        return self._planned(
            n,
            min_window=sizes.min_window if window is None else window,
            max_window=sizes.max_window if window is None else window,
        )

    def _exact(
        self, made: _Made, sizes: _Sizes, n: int, n_checkpoints: int, window: int, costs: Costs | None
    ) -> Plan:
        """Return a number of snapshots and a window as a plan."""
        kept = made.retained
        schedule = Revolve(
            n,
            n_checkpoints,
            window=window,
            lookback=kept.lookback,
            lag=kept.lag,
            initial_state="free" if self._free else "stored",
        )
        held = sizes.fixed_bytes + window * sizes.slice_bytes + schedule.peak_snapshots * sizes.state_bytes
        rates = RELATIVE_COSTS if costs is None else costs
        return Plan(
            n_timesteps=n,
            window=window,
            n_snapshots=n_checkpoints,
            lookback=kept.lookback,
            lag=kept.lag,
            initial_state="free" if self._free else "stored",
            memory=held,
            planned_bytes=held,
            predicted_seconds=schedule.makespan(rates),
            forward_steps=schedule.forward_steps,
            saves=schedule.saves,
            loads=schedule.loads,
            forward_calls=schedule.forward_calls,
            reverse_calls=schedule.reverse_calls,
            costs=rates,
        )

    @property
    def _free(self) -> bool:
        """Whether x_0 can be made again."""
        return self._initial != "keep"

    # --- arguments ------------------------------------------------------------------------------------------

    def _check_known(self, made: _Made) -> None:
        """Raise where an argument for all operators is known to none."""
        operators = [made.forward, made.reverse] + ([] if made.recompute is None else [made.recompute])
        for name in {**made.analysis.problem.arguments, **self._shared}:
            if not any(name in operator.known for operator in operators):
                raise ValueError(f"arguments: none of the operators knows an argument {name!r}")

    def _merge(self, problem: Problem, known: Iterable[str], *arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for all operators, as far as known to this one, then those given for it."""
        shared = {**problem.arguments, **self._shared}
        merged = {name: shared[name] for name in shared if name in known}
        for given in arguments:
            merged.update(given)
        return merged

    def _forward_arguments(self, made: _Made, given: Mapping[str, Any]) -> dict[str, Any]:
        problem = made.analysis.problem
        return self._merge(problem, made.forward.known, problem.forward_arguments, self._forward_given, given)

    def _reverse_arguments(self, made: _Made, given: Mapping[str, Any]) -> dict[str, Any]:
        problem = made.analysis.problem
        return self._merge(problem, made.reverse.known, problem.reverse_arguments, self._reverse_given, given)

    def _recompute_arguments(self, made: _Made, given: Mapping[str, Any]) -> dict[str, Any]:
        assert made.recompute is not None
        problem, known = made.analysis.problem, made.recompute.known
        forward = {**problem.forward_arguments, **self._forward_given, **given}
        # Without receivers to tell it, the range is that of the sweep.
        span = {
            made.recompute.time.min_name: self._forward_range.first,
            made.recompute.time.max_name: self._forward_range.last,
        }
        return self._merge(
            problem,
            known,
            span,
            {name: value for name, value in forward.items() if name in known},
            problem.recompute_arguments,
        )

    def _prepare(self, operator: DevitoOperator, arguments: Mapping[str, Any]) -> TimeRange:
        """Prepare an operator; with fewer timesteps where a verification asks for that."""
        span = operator.prepare(arguments)
        if self._limit is not None and span.n_timesteps > self._limit:
            last = span.first + self._limit - 1
            span = operator.prepare({**arguments, operator.time.max_name: last})
        return span

    # --- checks ---------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        """Raise on a closed object."""
        if self._closed:
            raise ScheduleError("the CheckpointedAdjoint is closed; make a new one")

    @staticmethod
    def _check_ranges(forward: TimeRange, reverse: TimeRange, shift: int) -> None:
        """Raise where the two sweeps do not cover the same timesteps."""
        if forward.n_timesteps != reverse.n_timesteps:
            raise ValueError(
                f"the forward operator runs {forward.n_timesteps} timesteps (time {forward.first} ... "
                f"{forward.last}), the reverse operator {reverse.n_timesteps} ({reverse.first} ... "
                f"{reverse.last}); both must be the same: give time_m and time_M"
            )
        if reverse.first - forward.first != shift:
            raise ValueError(
                f"the reverse operator starts at time {reverse.first} and the forward operator at "
                f"{forward.first}; the rings were planned for a difference of {shift}. Give the same ranges "
                "when the object is made"
            )

    def _check_repeatable(self, made: _Made, runner: DevitoOperator) -> None:
        """Raise where running timesteps again would spoil a result, or what the reverse operator reads."""
        name = runner.operator.name
        remedy = (
            "give the problem a recompute operator without it, or memory for a window that covers all "
            "timesteps"
        )
        for reason in made.analysis.not_repeatable.values():
            raise UnsupportedOperatorError(
                f"timesteps have to be run again, but the operator {name} {reason}; {remedy}"
            )
        access = made.analysis.forward if runner is made.forward else made.analysis.recompute
        assert access is not None
        rings = {field.name for field in made.analysis.fields}
        written = {
            function: array
            for function, array in runner.arrays().items()
            if access[function].writes and function not in rings
        }
        for function, array in made.reverse.arrays().items():
            if not made.analysis.reverse[function].reads:
                continue
            for other, target in written.items():
                if np.may_share_memory(array, target):
                    raise UnsupportedOperatorError(
                        f"timesteps have to be run again, but the operator {name} writes {other} into the "
                        f"array that the reverse operator reads as {function}: the residual would be "
                        f"overwritten while it is used. Hand another array to reverse(), or {remedy}"
                    )
        read = {function: array for function, array in runner.arrays().items() if access[function].reads}
        for function, array in made.reverse.arrays().items():
            if None not in made.analysis.reverse[function].writes:
                continue
            for other, source in read.items():
                if np.may_share_memory(array, source):
                    raise UnsupportedOperatorError(
                        f"timesteps have to be run again, but the reverse operator writes {function}, which "
                        f"the operator {name} reads as {other}: they would be run with other values than "
                        "before. Let the reverse operator write a function of its own"
                    )

    # --- running --------------------------------------------------------------------------------------------

    def _schedule_for(self, n: int) -> tuple[Plan | None, Schedule]:
        """Return the schedule of a shot of n timesteps: the window is built in, snapshots fill the budget.

        With it comes the plan where that tells the tiers; None: all snapshots are in RAM.
        """
        chosen = self._plan
        if self._disk is not None or self._compression is not None:
            same = n == chosen.n_timesteps
            plan_here = (
                chosen if same else self._planned(n, min_window=chosen.window, max_window=chosen.window)
            )
            return plan_here, plan_here.schedule
        schedule = Revolve(
            n,
            max(self._most_snapshots, 0 if self._free else 1),
            window=chosen.window,
            lookback=chosen.lookback,
            lag=chosen.lag,
            initial_state=chosen.initial_state,
        )
        if schedule.peak_snapshots > self._most_snapshots:
            required = self._made.forward_bytes + slot_nbytes(self._made.checkpoint.get_data(0))
            raise BudgetError(
                f"a shot of {n} timesteps needs a snapshot beside the ring, {format_bytes(required)} in all, "
                f"but the budget is {format_bytes(chosen.memory)}",
                required,
                chosen.memory,
            )
        return None, schedule

    def _revolver_for(self, n: int) -> Revolver:
        """Return a driver for n timesteps, with the storage of earlier shots where that is large enough."""
        made = self._made
        poisoned = self._poison is not None
        if self._revolver is not None and self._revolver.n_timesteps == n and poisoned == self.self_check:
            self._revolver.reset()
            return self._revolver
        if self._forced is not None and self._forced[1].n_timesteps != n:
            raise ValueError(f"a shot of {n} timesteps cannot be verified over {self._forced[1].n_timesteps}")
        chosen, schedule = self._schedule_for(n) if self._forced is None else self._forced
        tiers = tiers_for(schedule, chosen)
        # A verification is not to be resumed.
        journal = self._together(self._open_journal)() if self._forced is None else None
        if not _suffice(self._tiers, tiers) or not self._storages:
            self._close_storages()
            self._storages = self._together(make_storages)(
                made.checkpoint,
                schedule,
                chosen,
                self._threads,
                self._disk_dir,
                self._compression,
                None if journal is None else journal.path,
            )
            self._tiers = tiers
        if journal is not None:
            journal.finish()
            journal.next_shot()
        self._poison = None
        checkpoint: Any = made.checkpoint
        forward: Any = made.runner
        reverse: Any = made.reverse
        if self.self_check:
            self._poison = Poison(made.checkpoint, forward, reverse, made.shift)
            checkpoint, forward, reverse = self._poison.checkpoint, self._poison.forward, self._poison.reverse
        self._revolver = Revolver(
            checkpoint,
            forward,
            reverse,
            schedule=schedule,
            storage=self._storages,
            costs=self._costs_of(chosen),
            comm=None if self._team is None else self._team.comm,
            resume=journal,
            resume_arrays=None if journal is None else self._written,
            progress=self._progress,
            # What a verification does is not the shot that somebody wants to look at.
            timeline=self._timeline if self._forced is None else None,
        )
        self._shot_plan = chosen
        for storage in self._storages:
            storage.clear()
        return self._revolver

    def _costs_of(self, chosen: Plan | None) -> Costs | None:
        """Return what the operations of a shot cost, by tier of its plan where it has one."""
        if chosen is not None:
            return chosen.costs
        return self._plan.costs if self._plan.measured else None

    def _together(self, work: Callable[..., _T]) -> Callable[..., _T]:
        """Return a function that raises in all processes where it raises in one; it must not communicate."""
        return together(self._team, work)

    def _open_journal(self) -> Journal | None:
        """Return the journal, which is one for all shots; None where none is asked for."""
        if self._journal is None and self._resume is not None:
            path, interval = self._resume
            self._journal = Journal(path, interval=interval, team=self._team)
        return self._journal

    def _written(self) -> list[npt.NDArray[Any]]:
        """Return the arrays that the sweep under way has written, besides the forward rings."""
        made = self._made
        sweeps = [(made.forward, made.analysis.forward)]
        if self._reversing:
            sweeps.append((made.reverse, made.analysis.reverse))
        return [
            array
            for operator, access in sweeps
            for name, array in operator.arrays().items()
            if access[name].writes and not made.in_rings(array)
        ]

    @contextlib.contextmanager
    def _verifying(self, chosen: Plan | None, schedule: Schedule, *, self_check: bool) -> Iterator[None]:
        """Run shots by another schedule, in storages of its own: those of a plan, if there is one."""
        self._check_open()
        kept = self._forced, self.self_check, self._limit, self._storages, self._tiers
        self._forced, self.self_check, self._limit, self._storages, self._tiers = (
            (chosen, schedule),
            self_check,
            schedule.n_timesteps,
            (),
            (),
        )
        self._revolver = self._poison = None
        try:
            yield
        finally:
            self._close_storages()
            self._forced, self.self_check, self._limit, self._storages, self._tiers = kept
            self._revolver = self._poison = None
            self._turned = False

    def _close_storages(self) -> None:
        """Give the memory of the snapshots back, and remove what is on disk."""
        if self._forced is None:  # what a verification stores is not told of
            self._compressed = self._compressed_so_far
        with contextlib.ExitStack() as each:  # goes on to the others where one raises
            for storage in self._storages:
                each.callback(storage.close)
            self._storages = ()
            self._tiers = ()

    def _prepare_poison(self, poison: Poison) -> None:
        """Put x_0 into the fields, find out what the forward operator writes, and poison the rest."""
        made = self._made
        if made.forward.time_range.n_timesteps == 0:
            return
        if self._free:
            made.checkpoint.set_initial()
        poison.learn(made.forward)
        poison.started(0)


class _Runner(Operator):
    """Whatever operator runs forward at the moment: the forward one, after the turn perhaps another."""

    def apply(self, t_start: int, t_end: int) -> None:
        raise ScheduleError("no operator was chosen to run forward")

    def use(self, operator: DevitoOperator) -> None:
        """Let this operator run from now on."""
        # An attribute of the object hides the class's method: the driver calls the operator itself.
        self.apply = operator.apply  # type: ignore[method-assign]


@dataclasses.dataclass
class _Made:
    """The fields and operators for one ring length."""

    analysis: Analysis
    ring: int
    forward: DevitoOperator
    reverse: DevitoOperator
    recompute: DevitoOperator | None
    runner: _Runner = dataclasses.field(default_factory=_Runner)
    forward_range: TimeRange = _NOTHING
    shift: int = 0
    retained: Retention = dataclasses.field(default_factory=lambda: Retention(1, 0, 1, ()))
    checkpoint: TimeFunctionCheckpoint = dataclasses.field(init=False)
    _codes: dict[str, str] = dataclasses.field(default_factory=dict)

    def in_rings(self, array: npt.NDArray[Any]) -> bool:
        """Return whether an array is one of the forward fields' rings, whatever an operator calls it."""
        rings = (self.checkpoint.ring(field.name)[0] for field in self.checkpoint.fields)
        return any(np.may_share_memory(array, ring) for ring in rings)

    def identity(self, **operators: DevitoOperator | None) -> dict[str, Any]:
        """Return what prepared operators compute with, and the code of all, in terms that JSON knows."""
        if not self._codes:
            self._codes = {
                f"code of the {name} operator": digest_of_code(each.operator)
                for name, each in (
                    ("forward", self.forward),
                    ("reverse", self.reverse),
                    ("recompute", self.recompute),
                )
                if each is not None
            }
        found: dict[str, Any] = dict(self._codes)
        for name, operator in operators.items():
            if operator is not None:
                found.update(identity_of(name, operator, getattr(self.analysis, name), self.in_rings))
        return found

    @property
    def forward_bytes(self) -> int:
        """Bytes of all forward wavefields, those saved at every timestep included."""
        return sum(field.ring * field.slice_bytes for field in self.analysis.fields) + self.saved_bytes

    @property
    def saved_bytes(self) -> int:
        """Bytes of the forward fields that are saved at every timestep."""
        rings = {id(field.function) for field in self.analysis.fields}
        total = 0
        for name, function in self.analysis.forward_bound.items():
            if (
                self.analysis.forward[name].writes
                and getattr(function, "is_TimeFunction", False)
                and id(function) not in rings
            ):
                total += (
                    int(np.prod(function.shape_allocated, dtype=np.int64)) * np.dtype(function.dtype).itemsize
                )
        return total


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What the plan needs to know about sizes.

    Attributes
    ----------
    slice_bytes : int
        One slice of every field whose ring follows ``save`` [bytes].
    state_bytes : int
        One snapshot [bytes].
    fixed_bytes : int
        Forward fields that take the same for every window, and the slices of a ring beyond its window
        [bytes].
    gap : int
        Ring length minus window.
    smallest_ring : int
        Least ring length that the operators allow.
    min_window : int
        Window of the smallest ring.
    max_window : int or None
        Window that fields of fixed ring length allow.
    """

    slice_bytes: int
    state_bytes: int
    fixed_bytes: int
    gap: int
    smallest_ring: int
    min_window: int
    max_window: int | None

    def agreed(self, team: Team) -> _Sizes:
        """Return what all processes can plan with: the largest bytes of any of them."""
        slice_bytes, state_bytes, fixed_bytes = team.greatest(
            [self.slice_bytes, self.state_bytes, self.fixed_bytes]
        )
        return dataclasses.replace(
            self, slice_bytes=slice_bytes, state_bytes=state_bytes, fixed_bytes=fixed_bytes
        )

    @classmethod
    def of(cls, made: _Made) -> _Sizes:
        kept = made.retained
        following = [field for field in kept.fields if _follows(field, made.ring)]
        fixed = [field for field in kept.fields if not _follows(field, made.ring)]
        slice_bytes = sum(field.slice_bytes for field in following)
        fixed_bytes = made.saved_bytes + sum(field.ring * field.slice_bytes for field in fixed)
        state_bytes = slot_nbytes(made.checkpoint.get_data(0))
        smallest = max((field.slices + 1 for field in following), default=0)
        if made.analysis.cautious:
            return cls(
                slice_bytes,
                state_bytes,
                fixed_bytes + (smallest - 1) * slice_bytes,
                smallest - 1,
                smallest,
                1,
                1,
            )
        window_follows = _window(following, kept.lag, made.shift)
        max_window = _window(fixed, kept.lag, made.shift)
        gap = 0 if window_follows is None else made.ring - window_follows
        least = max(smallest - gap, 1, kept.lookback)
        if max_window is not None:
            least = min(least, max_window)
        return cls(
            slice_bytes, state_bytes, fixed_bytes + gap * slice_bytes, gap, smallest, least, max_window
        )


def team_of(analysis: Analysis) -> Team | None:
    """Return the processes among which the grid is divided; None where there is one only."""
    for field in analysis.fields:
        distributor = field.function.grid.distributor
        if distributor.nprocs > 1:
            return Team(distributor.comm)
    return None


def _suffice(made: Sequence[Tier], wanted: Sequence[Tier]) -> bool:
    """Return whether storages that were made for some tiers serve others as well."""
    return len(made) == len(wanted) and all(
        one.medium == other.medium
        and one.compressed == other.compressed
        and bool(one.slots) >= bool(other.slots)
        and (one.nbytes >= other.nbytes if one.compressed else one.slots >= other.slots)
        for one, other in zip(made, wanted, strict=True)
    )


def _slices_at_most(field: FieldState) -> int:
    """Return a bound of the slices that a state can need of a field."""
    return max(field.slices, 2 - field.reads[0] if field.reads is not None else 0)


def _release(made: _Made) -> None:
    """Give back the memory of rings that are not going to be used."""
    for operator in (made.forward, made.reverse, made.recompute):
        if operator is not None:
            operator.release()
    fields = [field.function for field in made.analysis.fields if _follows(field, made.ring)]
    del made.checkpoint
    for function in fields:
        # Caches of symbols keep the function alive, and with it its data; Devito allocates anew where it is
        # used.
        function._data = None


def _follows(field: FieldState, ring: int) -> bool:
    """Return whether a field's ring has the length that the factory was asked for."""
    return isinstance(field.function.save, Buffer) and field.ring == ring


def _window(fields: Sequence[FieldState], lag: int, shift: int) -> int | None:
    """Return the window that these fields allow; None where the reverse operator reads none of them."""
    windows = [
        field.ring + field.reads[0] + shift - field.head - lag for field in fields if field.reads is not None
    ]
    return min(windows) if windows else None
