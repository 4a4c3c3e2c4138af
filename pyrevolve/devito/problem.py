"""What the user's factory returns, and what is checked about it before anything runs."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .access import OperatorAccess, read_operator, time_position
from .errors import UnsupportedOperatorError
from .retention import FieldState, Retention, classic, field_state, retention

__all__ = ["Analysis", "Problem", "analyse"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """The operators of one adjoint computation, for one ring length.

    Parameters
    ----------
    forward : devito.Operator
        Steps forward in time; with sources, receivers and whatever else the first sweep is to compute.
    reverse : devito.Operator
        Steps backward in time and reads the forward fields: the adjoint, with its imaging condition.
    recompute : devito.Operator, optional
        Steps forward like `forward`, writes the same fields bit for bit, but no receivers and no
        accumulators. It replaces `forward` wherever timesteps are run again. None: `forward` itself runs
        again. A field that neither `recompute` nor `reverse` knows, such as the scattered field of a Born
        operator, runs along in the first sweep only: it takes no snapshots, starts at zero unless the
        initial state is kept, and is made without ``save=``.
    arguments : mapping of str to object
        Arguments of ``apply`` for every one of the operators that knows them, such as ``dt`` or ``time_M``.
    forward_arguments, reverse_arguments, recompute_arguments : mapping of str to object
        Arguments for one operator; `recompute` takes those of `forward` that it knows, then its own. Use
        them to bind functions by name, ``reverse_arguments={"u": u}``, where the operators were made
        separately.
    fields : sequence of devito.TimeFunction, optional
        The fields that make a state. None: those that `forward` writes. Anything that it carries from one
        timestep to the next must be among them.
    reads : mapping of str to (int, int), optional
        For forward fields, by name: the lowest and highest offset from its own time index at which
        `reverse` reads the field, which overrides what is read from the operator. ``{"u": (0, 0)}`` for
        ``u*v.dt2``.

    Examples
    --------
    >>> def build(save):                                            # doctest: +SKIP
    ...     u = TimeFunction(name="u", grid=grid, time_order=2, space_order=8, save=save)
    ...     return Problem(forward=forward_operator(u), reverse=gradient_operator(u))
    """

    forward: Any
    reverse: Any
    recompute: Any = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    forward_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reverse_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    recompute_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fields: Sequence[Any] | None = None
    reads: Mapping[str, tuple[int, int]] | None = None

    @classmethod
    def of(cls, made: Any) -> Problem:
        """Return what a factory returned as a Problem.

        Parameters
        ----------
        made : Problem or tuple of devito.Operator
            ``(forward, reverse)`` or ``(forward, reverse, recompute)``.

        Raises
        ------
        TypeError
            It is something else.
        """
        if isinstance(made, cls):
            return made
        if isinstance(made, tuple) and len(made) in (2, 3):
            return cls(forward=made[0], reverse=made[1], recompute=made[2] if len(made) == 3 else None)
        raise TypeError(
            "build(save) must return a pyrevolve.devito.Problem or a tuple (forward, reverse[, recompute]) "
            f"of devito operators, got {type(made).__name__}"
        )


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What the operators of a problem do to each other.

    Attributes
    ----------
    problem : Problem
        The problem.
    forward, reverse : OperatorAccess
        What they read and write.
    recompute : OperatorAccess or None
        The same of the operator that runs timesteps again, where there is one.
    fields : tuple of FieldState
        The forward fields that live in rings.
    cautious : str
        Why nothing is taken for granted about what the rings retain; empty where both readings agree.
    not_repeatable : mapping of str to str
        What the operator that runs timesteps again writes but must not write twice, and why.
    forward_bound, reverse_bound, recompute_bound : mapping of str to object
        The functions of the operators' parameters, after the problem's own arguments.
    adjoint_fields : tuple of str
        Parameters of `reverse`: the rings that it steps backward in.
    companions : tuple of str
        Parameters of `forward`: rings that it steps in and that nothing else knows.
    """

    problem: Problem
    forward: OperatorAccess
    reverse: OperatorAccess
    recompute: OperatorAccess | None
    fields: tuple[FieldState, ...]
    cautious: str
    not_repeatable: Mapping[str, str]
    forward_bound: Mapping[str, Any]
    reverse_bound: Mapping[str, Any]
    recompute_bound: Mapping[str, Any]
    adjoint_fields: tuple[str, ...]
    companions: tuple[str, ...]

    def retention(self, shift: int) -> Retention:
        """Return what the rings retain.

        Parameters
        ----------
        shift : int
            First iteration of `reverse` minus that of `forward`, over the whole range.

        Raises
        ------
        UnsupportedOperatorError
            See `pyrevolve.devito.retention`; or nothing is known for sure and not even classic checkpointing
            serves what is known.
        """
        if not self.cautious:
            return retention(self.fields, shift)
        for field in self.fields:
            if field.reads is not None:
                low, high = field.reads[0] + shift, field.reads[1] + shift
                if low < 1 - field.slices or high > 1:
                    raise UnsupportedOperatorError(
                        f"the reverse operator seems to read {field.name} at the offsets {low} ... {high}, "
                        "further than classic checkpointing retains, and this could not be made sure of: "
                        f"{self.cautious}. Declare what it reads: Problem(reads={{{field.name!r}: (lowest, "
                        "highest)})"
                    )
        kept = classic([field.function for field in self.fields])
        return dataclasses.replace(kept, fields=self.fields)

    def check_arguments(self, given: Mapping[str, Any], *, reverse: bool) -> None:
        """Raise where arguments of a call rebind a forward field.

        Parameters
        ----------
        given : mapping of str to object
            Arguments of a sweep.
        reverse : bool
            Whether they are for the reverse operator.

        Raises
        ------
        ValueError
            A forward field would be replaced, or take the place of another function.
        """
        bound = self.reverse_bound if reverse else self.forward_bound
        rings = {id(field.function): field.name for field in self.fields}
        for name, value in given.items():
            if name not in bound or value is bound[name]:
                continue
            if id(bound[name]) in rings:
                raise ValueError(
                    f"the argument {name}= would replace the forward field {name}, which was built for this "
                    "window and whose slices are the state; leave it out"
                )
            if id(value) in rings:
                raise ValueError(
                    f"the argument {name}= is the forward field {rings[id(value)]}, but the operators were "
                    "analysed with another function; bind it in "
                    f"Problem({'reverse' if reverse else 'forward'}_arguments=...)"
                )


def analyse(problem: Problem) -> Analysis:
    """Read a problem's operators and refuse those that checkpointing would turn into a wrong gradient.

    Parameters
    ----------
    problem : Problem
        What the factory returned.

    Returns
    -------
    Analysis
        What the driver relies on.

    Raises
    ------
    TypeError
        An operator is no devito.Operator.
    ValueError
        ``fields`` or ``reads`` name something that is no forward field.
    UnsupportedOperatorError
        See the messages below; each stands for a gradient that would be wrong without a sign of it.

    Warns
    -----
    UserWarning
        What the reverse operator reads could not be made sure of; classic checkpointing is used.
    """
    forward, reverse = read_operator(problem.forward), read_operator(problem.reverse)
    recompute = None if problem.recompute is None else read_operator(problem.recompute)
    _check_direction(forward, reverse, recompute)
    forward_bound = _bind(forward, problem.arguments, problem.forward_arguments)
    reverse_bound = _bind(reverse, problem.arguments, problem.reverse_arguments)

    written = {
        name: function
        for name, function in forward_bound.items()
        if forward[name].writes and getattr(function, "is_TimeFunction", False)
    }
    rings = {name: function for name, function in written.items() if function._time_buffering}
    if not rings:
        raise UnsupportedOperatorError(
            f"operator {forward.name} writes no TimeFunction that lives in a ring: there is nothing to "
            "checkpoint. Make the forward field with save=save in build(save)"
        )
    reads = _reverse_reads(forward, reverse, written, reverse_bound)
    companions: tuple[str, ...] = ()
    recompute_bound: dict[str, Any] = {}
    if recompute is not None:
        recompute_bound = _bind(
            recompute, problem.arguments, problem.forward_arguments, problem.recompute_arguments
        )
        companions = _companions(forward, recompute_bound, rings, reads)
        rings = {name: function for name, function in rings.items() if name not in companions}
        _check_recompute(forward, recompute, recompute_bound, rings)
    declared = _declared(problem.reads, rings)
    states, cautious = _states(forward, reverse, rings, reads, declared, reverse_bound)
    _check_fields(problem.fields, states)
    if cautious:
        warnings.warn(
            f"what the reverse operator {reverse.name} reads of the forward run could not be made sure of "
            f"({cautious}); every timestep is run again before it is reversed. Declare it with "
            "Problem(reads=...) to have it reversed in windows",
            UserWarning,
            stacklevel=2,
        )
    repeated = forward if recompute is None else recompute
    adjoint = tuple(
        name
        for name, function in reverse_bound.items()
        if reverse[name].writes and getattr(function, "is_TimeFunction", False) and function._time_buffering
    )
    return Analysis(
        problem=problem,
        forward=forward,
        reverse=reverse,
        recompute=recompute,
        fields=tuple(states),
        cautious=cautious,
        not_repeatable=_not_repeatable(repeated, set(rings)),
        forward_bound=forward_bound,
        reverse_bound=reverse_bound,
        recompute_bound=recompute_bound,
        adjoint_fields=adjoint,
        companions=companions,
    )


def _bind(access: OperatorAccess, *arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the function behind every parameter, arguments given beforehand considered."""
    bound = dict(access.functions)
    for given in arguments:
        bound.update({name: value for name, value in given.items() if name in bound})
    return bound


def _check_direction(
    forward: OperatorAccess, reverse: OperatorAccess, recompute: OperatorAccess | None
) -> None:
    """Raise where an operator steps the wrong way through time."""
    for access, expected in ((forward, True), (reverse, False), (recompute, True)):
        if access is not None and access.forward is not expected:
            raise UnsupportedOperatorError(
                f"operator {access.name} steps {'forward' if access.forward else 'backward'} in time, but it "
                f"was given as the {'forward or recompute' if expected else 'reverse'} operator"
            )


def _reverse_reads(
    forward: OperatorAccess,
    reverse: OperatorAccess,
    written: Mapping[str, Any],
    reverse_bound: Mapping[str, Any],
) -> dict[str, str]:
    """Return the reverse operator's parameter for every forward field; refuse what goes wrong."""
    names = {id(function): name for name, function in written.items()}
    reads = {}
    for name, function in reverse_bound.items():
        access = reverse[name]
        field = names.get(id(function))
        if field is not None:
            if access.writes:
                raise UnsupportedOperatorError(
                    f"the reverse operator {reverse.name} writes the forward field {field}; timesteps that "
                    "are reversed later would read what it left there. Let it write a field of its own"
                )
            reads[field] = name
        elif access.reads and not access.writes and getattr(function, "is_TimeFunction", False):
            if name in written:
                raise UnsupportedOperatorError(
                    f"the reverse operator {reverse.name} reads a TimeFunction {name} that is not the object "
                    f"which the forward operator {forward.name} writes; make both with the same object, or "
                    f"bind it: Problem(reverse_arguments={{{name!r}: ...}})"
                )
            if function._time_buffering:
                raise UnsupportedOperatorError(
                    f"the reverse operator {reverse.name} reads {name}, which neither operator writes; if it "
                    f"is a forward field, bind it: Problem(reverse_arguments={{{name!r}: ...}}); data given "
                    "for every timestep needs save="
                )
    return reads


def _declared(
    reads: Mapping[str, tuple[int, int]] | None, rings: Mapping[str, Any]
) -> dict[str, tuple[int, int]]:
    """Return the user's declaration, checked."""
    declared = {}
    for name, (low, high) in (reads or {}).items():
        if name not in rings:
            raise ValueError(f"reads: {name!r} is no forward field; those are {', '.join(rings)}")
        if int(low) != low or int(high) != high or low > high:
            raise ValueError(f"reads: {name!r} must have two integers, lowest and highest, got {(low, high)}")
        declared[name] = (int(low), int(high))
    return declared


def _states(
    forward: OperatorAccess,
    reverse: OperatorAccess,
    rings: Mapping[str, Any],
    reads: Mapping[str, str],
    declared: Mapping[str, tuple[int, int]],
    reverse_bound: Mapping[str, Any],
) -> tuple[list[FieldState], str]:
    """Return every ring's state, and why nothing is taken for granted, if so."""
    states, doubts = [], []
    for name, function in rings.items():
        if time_position(function, forward.time) != 0:
            raise UnsupportedOperatorError(
                f"time must be the first dimension of {name}, so that its slices are contiguous; it has the "
                f"dimensions {function.dimensions}"
            )
        span = declared.get(name)
        if name in reads and span is None:
            doubt = reverse.doubts.get(reads[name])
            if doubt:
                doubts.append(f"{reads[name]} in {reverse.name}: {doubt}")
            offsets = [offset for offset in reverse[reads[name]].reads if offset is not None]
            span = (min(offsets), max(offsets)) if offsets else None
        if name in forward.doubts:
            doubts.append(f"{name} in {forward.name}: {forward.doubts[name]}")
            states.append(FieldState(function, slices=int(function.time_order), reads=span))
        else:
            states.append(field_state(function, forward[name], span))
    if not doubts:
        return states, ""
    least = [
        dataclasses.replace(state, slices=max(state.slices, int(state.function.time_order)))
        for state in states
    ]
    return least, "; ".join(doubts)


def _check_fields(fields: Sequence[Any] | None, states: Iterable[FieldState]) -> None:
    """Raise where the fields that the user names are not those of the state."""
    if fields is None:
        return
    given = {id(function) for function in fields}
    for state in states:
        if id(state.function) not in given and (state.slices or state.reads is not None):
            raise UnsupportedOperatorError(
                f"the forward operator carries {state.name} from one timestep to the next, but fields= lacks "
                f"it: timesteps would be run again from a state with a stale {state.name}. Add it, or leave "
                "fields= out"
            )
        given.discard(id(state.function))
    for function in fields:
        if id(function) in given:
            raise ValueError(f"fields: {function.name} is not written by the forward operator into a ring")


def _companions(
    forward: OperatorAccess,
    recompute_bound: Mapping[str, Any],
    rings: Mapping[str, Any],
    reads: Mapping[str, str],
) -> tuple[str, ...]:
    """Return the rings that only the forward operator knows, and from which no other ring is computed."""
    known = {id(function) for function in recompute_bound.values()}
    own = {name for name, function in rings.items() if id(function) not in known and name not in reads}
    state = rings.keys() - own
    if not state or any(own & forward.sources[name] for name in state):
        return ()  # The recompute operator leaves out what it must not; _check_recompute() says so.
    return tuple(name for name in rings if name in own)


def _check_recompute(
    forward: OperatorAccess,
    recompute: OperatorAccess,
    bound: Mapping[str, Any],
    rings: Mapping[str, Any],
) -> None:
    """Raise where the recompute operator does not compute the forward fields."""
    for name, function in rings.items():
        if not any(value is function and recompute[other].writes for other, value in bound.items()):
            fed = sorted(other for other in rings if other != name and name in forward.sources[other])
            raise UnsupportedOperatorError(
                f"the recompute operator {recompute.name} does not write the forward field {name}, which "
                f"{forward.name} writes"
                + (f" and computes {', '.join(fed)} from" if fed else "")
                + "; timesteps that are run again would leave it stale"
            )
        if name in bound and bound[name] is function and recompute[name].writes != forward[name].writes:
            raise UnsupportedOperatorError(
                f"the recompute operator {recompute.name} writes {name} at other times than {forward.name} "
                "does"
            )


def _not_repeatable(access: OperatorAccess, rings: set[str]) -> dict[str, str]:
    """Return what running timesteps again would spoil."""
    found = {}
    for name in access.functions:
        touched = access[name]
        if name in rings or not touched.writes:
            continue
        if touched.accumulates:
            found[name] = f"adds to {name}, so timesteps that are run again would be counted twice"
        elif None in touched.writes:
            found[name] = (
                f"writes {name} at every timestep, so an earlier value than the last would be left in it"
            )
        elif name in access.doubts:
            found[name] = f"writes {name} in a way that could not be made sure of ({access.doubts[name]})"
    return found
