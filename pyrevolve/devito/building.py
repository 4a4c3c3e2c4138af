"""Setting up: build on a short ring, read, measure, plan, and build for the plan."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from devito import Buffer

from ..costs import Costs
from ..plans import Plan
from ..team import Team, together
from .advancing import Advancing
from .checkpoint import TimeFunctionCheckpoint
from .errors import UnsupportedOperatorError
from .given import Given
from .identity import digest_of_code
from .made import Made, Sizes, check_ranges, follows
from .measure import measure_compression, measure_costs, measure_gain
from .memory import in_huge_pages
from .operator import DevitoOperator
from .planner import Demand, Planner
from .problem import Analysis, Problem, analyse
from .retention import FieldState

_T = TypeVar("_T")

__all__ = ["PROBE_RING", "Builder", "built", "set_up", "team_of"]

_LOG = logging.getLogger("pyrevolve.devito")

#: Gradients that take longer than this are worth a second measurement, on the ring that was planned [s].
_REFINE_ABOVE = 5.0

#: Gradients that take longer than this [s] are worth the compilation of operators for short rings, which are
#: used where timesteps gain at least this part of their time.
_SHORTEN_ABOVE, _LEAST_GAIN = 2.0, 0.03

#: No processor has a cache that holds a short ring of more than this [bytes].
_LARGEST_CACHE = 2 << 30

#: Slices of the ring on which costs are measured: many enough to leave the cache as a long ring does.
PROBE_RING = 20


def built(build: Callable[[Any], Any], ring: int) -> Analysis:
    """Build for a ring length, and read the operators; nothing is allocated.

    Parameters
    ----------
    build : callable
        The user's factory.
    ring : int
        The length of the rings [slices].

    Returns
    -------
    Analysis
        Of what the factory returned.

    Raises
    ------
    TypeError, ValueError, UnsupportedOperatorError
        As of `analyse`; a field that runs along in the first sweep only has a long ring.
    """
    analysis = analyse(Problem.of(build(Buffer(ring))))
    for name in analysis.companions:
        if isinstance(analysis.forward_bound[name].save, Buffer):
            raise UnsupportedOperatorError(
                f"{name} runs along in the first sweep only, because neither recompute nor reverse knows "
                "it: a long ring of it would take memory from the window for nothing. "
                f"Make {name} without save="
            )
    return analysis


def team_of(analysis: Analysis) -> Team | None:
    """Return the processes among which the grid is divided; None where there is one only."""
    for field in analysis.fields:
        distributor = field.function.grid.distributor
        if distributor.nprocs > 1:
            return Team(distributor.comm)
    return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Short:
    """Forward operators that were compiled for short rings.

    Attributes
    ----------
    ring : int
        The length of those [slices].
    operators : dict of str to DevitoOperator
        By what they are called.
    fields : list
        How the fields are read and written.
    names : list of str
        The fields whose rings are short.
    """

    ring: int
    operators: dict[str, DevitoOperator]
    fields: list[tuple[str, FieldState]]
    names: list[str]

    @classmethod
    def of(cls, analysis: Analysis, made: Made, ring: int) -> Short:
        """Compile what was built for a short ring.

        Parameters
        ----------
        analysis : Analysis
            Of what was built.
        made : Made
            What was made for another ring.
        ring : int
            The short one's length [slices].

        Raises
        ------
        UnsupportedOperatorError
            It is not the same, or an operator calls a field by another name than its own.
        Exception
            As of `DevitoOperator`.
        """
        if analysis.cautious:
            raise UnsupportedOperatorError(analysis.cautious)
        fields = analysis.retention(made.shift).fields
        names = [field.name for field in fields if follows(field, ring)]
        followed = {field.name for field in made.retained.fields if follows(field, made.ring)}
        fixed = {field.name: field.ring for field in made.retained.fields if field.name not in followed}
        if followed != set(names) or any(fixed.get(f.name, ring) != f.ring for f in fields):
            raise _differing()
        own = {field.name: field.function for field in fields}
        accesses = {"forward": (analysis.problem.forward, analysis.forward, analysis.forward_bound)}
        if analysis.recompute is not None:
            accesses["recompute"] = (
                analysis.problem.recompute,
                analysis.recompute,
                analysis.recompute_bound,
            )
        operators = {}
        for called, (operator, access, bound) in accesses.items():
            other = [name for name in names if bound.get(name) is not own[name]]
            if other:
                raise UnsupportedOperatorError(
                    f"the operator {operator.name} knows the field {other[0]} by another name"
                )
            operators[called] = DevitoOperator(operator, access.time)
        for field in fields:
            if follows(field, ring):
                field.function._data = None  # where the factory used it already
        return cls(ring=ring, operators=operators, fields=[_as_read(field) for field in fields], names=names)

    def within(self, made: Made) -> dict[str, Advancing]:
        """Return operators that use the short rings within the long ones that were made.

        Raises
        ------
        UnsupportedOperatorError
            They are not the same.
        """
        if self.fields != [_as_read(field) for field in made.retained.fields]:
            raise _differing()
        lengths = dict.fromkeys(self.names, self.ring)
        found = {}
        for name, short in self.operators.items():
            operator = made.operators[name]
            short.check_parameters(operator)
            if digest_of_code(short.operator) != digest_of_code(operator.operator):
                raise _differing()
            # What its own functions hold is of no use.
            short.operator = operator.operator
            found[name] = Advancing(operator, short, made.checkpoint, lengths)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Builder:
    """Makes fields and operators for one ring length after another.

    Attributes
    ----------
    build : callable
        The user's factory.
    given : Given
        The arguments of its operators.
    team : Team or None
        The processes among which the grid is divided.
    """

    build: Callable[[Any], Any]
    given: Given
    team: Team | None

    def probe(self, analysis: Analysis, budget: int | None) -> Made:
        """Make what was built, on a ring that takes no more than half of the budget.

        Parameters
        ----------
        analysis : Analysis
            Of what was built for `PROBE_RING`.
        budget : int or None
            [bytes]; None: the ring may be of any length.
        """
        rings = [field for field in analysis.fields if follows(field, PROBE_RING)]
        slice_bytes = sum(field.slice_bytes for field in rings)
        ring = PROBE_RING
        if budget is not None and slice_bytes * ring > budget // 2:
            least = max(_slices_at_most(field) for field in analysis.fields) + 1
            ring = max(least, min(ring, budget // 2 // slice_bytes))
        if self.team is not None:
            (ring,) = self.team.least([ring])
        if ring != PROBE_RING:
            analysis = together(self.team, built)(self.build, ring)
        return self.make(analysis, ring)

    def make(self, analysis: Analysis, ring: int) -> Made:
        """Allocate the fields, compile, and find out the time range and what the rings retain.

        Parameters
        ----------
        analysis : Analysis
            Of what was built.
        ring : int
            For this ring length [slices].

        Raises
        ------
        ValueError
            An argument would replace a forward field, or the sweeps do not cover the same timesteps.
        UnsupportedOperatorError
            As of `Analysis.retention`.
        devito.exceptions.InvalidArgument
            Devito refuses an argument.
        """
        problem, given = analysis.problem, self.given
        for field in analysis.fields:
            in_huge_pages(field.function)

        def compiled() -> tuple[dict[str, DevitoOperator], dict[str, Any], dict[str, Any]]:
            analysis.check_arguments({**given.shared, **given.forward}, reverse=False)
            analysis.check_arguments({**given.shared, **given.reverse}, reverse=True)
            forward = DevitoOperator(problem.forward, analysis.forward.time)
            reverse = DevitoOperator(problem.reverse, analysis.reverse.time)
            operators = {"forward": forward, "reverse": reverse}
            if problem.recompute is not None and analysis.recompute is not None:
                operators["recompute"] = DevitoOperator(problem.recompute, analysis.recompute.time)
            forward_arguments = given.for_forward(problem, forward.known, {})
            reverse_arguments = given.for_reverse(problem, reverse.known, {})
            forward.check_names(forward_arguments)
            reverse.check_names(reverse_arguments)
            return operators, forward_arguments, reverse_arguments

        def ready(
            operators: Mapping[str, DevitoOperator],
            forward_arguments: Mapping[str, Any],
            reverse_arguments: Mapping[str, Any],
        ) -> Made:
            forward, reverse = operators["forward"], operators["reverse"]
            forward_range = forward.prepare(forward_arguments)
            reverse_range = reverse.prepare(reverse_arguments)
            shift = reverse_range.first - forward_range.first
            check_ranges(forward_range, reverse_range, shift)
            retained = analysis.retention(shift)
            initial = None
            if callable(given.initial):
                initial = functools.partial(
                    given.initial, {field.name: field.function for field in analysis.fields}
                )
            return Made(
                analysis=analysis,
                ring=ring,
                forward=forward,
                reverse=reverse,
                recompute=operators.get("recompute"),
                forward_range=forward_range,
                shift=shift,
                retained=retained,
                checkpoint=TimeFunctionCheckpoint(retained, offset=forward_range.first, initial=initial),
            )

        return together(self.team, ready)(*together(self.team, compiled)())

    def shorten(self, made: Made, ring: int) -> Short | None:
        """Compile the forward operators for the shortest rings too; raises nothing.

        Parameters
        ----------
        made : Made
            What was made for other rings.
        ring : int
            The length of the short ones [slices].

        Returns
        -------
        Short or None
            The operators; None, with a warning, where the factory does not make the same for such rings.
        """
        return _tried(self.team, lambda: Short.of(built(self.build, ring), made, ring))

    def remake(self, made: Made, ring: int) -> Made:
        """Make the same for another ring length, in place of what was made before.

        Raises
        ------
        UnsupportedOperatorError
            It is not the same.
        Exception
            As of `built` and `make`.
        """
        before = [_as_read(field) for field in made.retained.fields]
        # The short ring's memory is given back before the long one is taken.
        made.release()
        remade = self.make(together(self.team, built)(self.build, ring), ring)
        if [_as_read(field) for field in remade.retained.fields] != before:
            raise _differing()
        return remade


def set_up(
    builder: Builder,
    analysis: Analysis,
    demand: Demand,
    costs: Costs | None,
    *,
    cache: str | None,
    disk_dir: str,
    threads: int | None,
) -> tuple[Planner, Plan, Made]:
    """Build on a short ring, read, measure, plan, and build for the plan.

    Parameters
    ----------
    builder : Builder
        Makes fields and operators.
    analysis : Analysis
        Of what was built for `PROBE_RING`.
    demand : Demand
        What this process asks of the plan.
    costs : Costs or None
        What the operations cost [s]; None: they are measured, where the plan depends on them.
    cache, disk_dir, threads
        As of `CheckpointedAdjoint`.

    Returns
    -------
    Planner
        What plans for shots of other lengths.
    Plan
        The plan.
    Made
        The fields and operators for its window.

    Raises
    ------
    Exception
        As of `CheckpointedAdjoint`.
    """
    team = builder.team
    made = builder.probe(analysis, demand.memory)
    sizes = Sizes.of(made)
    known = {name for operator in made.operators.values() for name in operator.known}
    together(team, builder.given.check_known)(made.analysis.problem, known)
    n = made.forward_range.n_timesteps
    if team is not None:
        team.agree(**{"the number of timesteps": n})
        sizes, demand = sizes.agreed(team), demand.agreed(team)
    compression = None
    if demand.compression is not None and n > 0:
        if builder.given.free:
            made.checkpoint.set_initial()
        compression = measure_compression(
            made.forward, made.checkpoint, n, demand.compression, threads=threads, team=team
        )

    def measure(made: Made) -> Costs:
        return measure_costs(
            made.runner(made.forward),
            made.forward,
            made.reverse,
            made.checkpoint,
            n,
            threads=threads,
            directory=None if demand.disk is None else disk_dir,
            cache=cache,
            team=team,
        )

    measured = costs is None and n > 0 and (demand.n_checkpoints is None or demand.window is None)
    if measured:
        costs = measure(made)
        _LOG.info("measured on a ring of %d: %s", made.ring, costs)
    planner = Planner(
        demand=demand, sizes=sizes, free=builder.given.free, costs=costs, compression=compression
    )
    chosen = together(team, planner.choose)(n, demand.window)
    ring = sizes.ring(chosen.window)
    short = None
    if _worth_shortening(chosen, made, sizes):
        short = builder.shorten(made, sizes.ring(sizes.min_window))
    # What the factory makes last is what runs.
    rebuilt = ring != made.ring and sizes.slice_bytes > 0
    if rebuilt:
        made = builder.remake(made, ring)
    if made.retained.window < chosen.window:
        raise UnsupportedOperatorError(
            f"build(save) was asked for rings of {ring} slices, which would retain {chosen.window} "
            f"timesteps, but the fields retain {made.retained.window}; make every forward field with "
            "save=save"
        )
    if short is not None:
        made.advancing = _advancing(short, made, team)
    if measured and rebuilt and (made.advancing or chosen.predicted_seconds > _REFINE_ABOVE):
        # A longer ring is further away from the processor; the window stays, the prediction improves.
        planner = dataclasses.replace(planner, costs=measure(made))
        chosen = together(team, planner.choose)(n, chosen.window)
    _LOG.info("%s", chosen)
    return planner, chosen, made


def _worth_shortening(chosen: Plan, made: Made, sizes: Sizes) -> bool:
    """Return whether it may be worth while to compile operators for short rings too."""
    ring, short = sizes.ring(chosen.window), sizes.ring(sizes.min_window)
    return (
        chosen.measured
        and chosen.predicted_seconds > _SHORTEN_ABOVE
        and chosen.forward_steps > chosen.n_timesteps
        and ring != made.ring  # what was made for it already is what runs: nothing is made after it
        and ring >= max(2 * short, 3 * (short - 1))  # room to move states about
        and 0 < short * sizes.slice_bytes <= _LARGEST_CACHE
        and not made.analysis.cautious
    )


def _tried(team: Team | None, work: Callable[[], _T]) -> _T | None:
    """Return what work without which everything works, if more slowly; None and a warning where it raises.

    The factory may fail for rings that it is not made for, and so may Devito. With several processes, all
    return None where one does; but where the factory communicates, it must fail in all or in none.
    """
    found = None
    try:
        found = work()
    except Exception as error:
        _LOG.warning("all timesteps are run in the long rings: %s", error)
    if team is not None and not all(team.least([int(found is not None)])):
        return None
    return found


def _advancing(short: Short, made: Made, team: Team | None) -> dict[str, Advancing]:
    """Return the forward operators that use short rings; none where those are hardly faster."""
    found = _tried(team, lambda: short.within(made))
    if found is None:
        return {}
    n = made.forward_range.n_timesteps
    gain = measure_gain(found["forward"], made.forward, made.checkpoint, n, team=team)
    _LOG.info("timesteps in a ring of %d instead of %d: %.1f %% faster", short.ring, made.ring, 100 * gain)
    return found if gain > _LEAST_GAIN else {}


def _slices_at_most(field: FieldState) -> int:
    """Return a bound of the slices that a state can need of a field."""
    return max(field.slices, 2 - field.reads[0] if field.reads is not None else 0)


def _differing() -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        "build(save) makes operators that read and write differently for different ring lengths; it must "
        "make the same equations for every save"
    )


def _as_read(field: FieldState) -> tuple[str, FieldState]:
    """Return what is known of a field, for comparison with the one of another ring length."""
    return field.name, dataclasses.replace(field, function=None)
