"""What a Devito operator reads and writes, and at which offsets along its time loop.

Two readings that share no code are made of every operator:

- *symbolic*: the expressions of the operator's iteration tree, whose time indices are symbols with an offset
  each, held against the data space that the compiler used for its own bounds checks;
- *textual*: the C code that is going to run, in which a ring's index is a remainder such as ``(time +
4)%(5)``.

What a checkpointed run relies on is only what both agree about. Where they differ, or one of them meets
something that it does not understand, the function is marked as doubtful, with the reason.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import sympy
from devito.ir.iet import Conditional, Expression, FindNodes, Iteration
from devito.mpi.routines import MPICallable
from devito.symbolics import retrieve_indexed

from .errors import UnsupportedOperatorError

__all__ = ["Access", "OperatorAccess", "read_operator", "time_position"]


@dataclasses.dataclass(frozen=True)
class Access:
    """The offsets from the time loop's index at which an operator touches a function.

    Attributes
    ----------
    reads : frozenset of (int or None)
        Offsets that are read, those of `updates` included.
    assigns : frozenset of (int or None)
        Offsets that are written whatever was there before (``=``).
    updates : frozenset of (int or None)
        Offsets that are added to (``+=`` and the like).

    Notes
    -----
    A function that has no time index has the one offset None. ``u[time + 1]`` has the offset 1.
    """

    reads: frozenset[int | None] = frozenset()
    assigns: frozenset[int | None] = frozenset()
    updates: frozenset[int | None] = frozenset()

    @property
    def writes(self) -> frozenset[int | None]:
        """Offsets that are written, in whatever way."""
        return self.assigns | self.updates

    @property
    def accumulates(self) -> bool:
        """Whether something is added to what an earlier timestep, or an earlier call, left there."""
        return bool(self.updates - self.assigns)


@dataclasses.dataclass(frozen=True)
class OperatorAccess:
    """What an operator does to each of its functions.

    Attributes
    ----------
    operator : devito.Operator
        The operator that was read.
    time : devito.Dimension
        The dimension of its time loop.
    forward : bool
        True where the loop goes forward in time.
    functions : mapping of str to devito function
        Every function with data, by the name of the operator's parameter.
    accesses : mapping of str to Access
        What is done to it, as the symbolic reading says.
    doubts : mapping of str to str
        Functions about which the two readings do not agree, and why.
    sources : mapping of str to frozenset of str
        For every function that is written: the functions from which its values are computed, in one timestep
        or over several.
    """

    operator: Any
    time: Any
    forward: bool
    functions: Mapping[str, Any]
    accesses: Mapping[str, Access]
    doubts: Mapping[str, str]
    sources: Mapping[str, frozenset[str]]

    @property
    def name(self) -> str:
        """The operator's name."""
        return str(self.operator.name)

    def __getitem__(self, name: str) -> Access:
        """Return what the operator does to the function of this name; nothing where it does not know it."""
        return self.accesses.get(name, Access())


def read_operator(operator: Any) -> OperatorAccess:
    """Find out what an operator reads and writes.

    Parameters
    ----------
    operator : devito.Operator
        An operator with one loop over time.

    Returns
    -------
    OperatorAccess
        With ``doubts`` for every function that the two readings do not agree about.

    Raises
    ------
    TypeError
        `operator` is no devito.Operator.
    UnsupportedOperatorError
        The operator has no loop over time, or several, or a function on a ConditionalDimension.

    Notes
    -----
    Nothing is compiled, allocated or run. Costs a few milliseconds for each thousand lines of generated code.
    """
    if not hasattr(operator, "parameters") or not hasattr(operator, "ccode"):
        raise TypeError(f"expected a devito.Operator, got {type(operator).__name__}")
    functions = {p.name: p for p in operator.input if p.is_DiscreteFunction}
    time, forward = _time_loop(operator)
    for function in functions.values():
        _refuse_conditional(operator, function)

    symbolic = _read_expressions(operator, functions, time)
    text = _read_code(operator, functions, time)
    if text.forward is not None and text.forward != forward:
        raise UnsupportedOperatorError(
            f"operator {operator.name}: the generated loop over {time} does not go the way its symbols say"
        )

    accesses, doubts = {}, {}
    written = {function.name for function in operator.writes}
    for name, function in functions.items():
        one, other = symbolic.get(name, _Marks()), text.marks.get(name, _Marks())
        accesses[name] = one.access()
        reason = one.doubt or other.doubt or _disagreement(one, other)
        if not reason:
            reason = _against_compiler(operator, function, time, accesses[name], name in written)
        if reason:
            doubts[name] = reason
    sources = _read_sources(operator, functions)
    return OperatorAccess(operator, time, forward, functions, accesses, doubts, sources)


def time_position(function: Any, time: Any) -> int | None:
    """Return which index of a function runs along a time dimension.

    Parameters
    ----------
    function : devito function
        With ``dimensions``.
    time : devito.Dimension
        The dimension of a time loop.

    Returns
    -------
    int or None
        0 for a TimeFunction; None where no index does.
    """
    for position, dimension in enumerate(function.dimensions):
        if time in dimension._defines:
            return position
    return None


@dataclasses.dataclass
class _Marks:
    """What one reading says about one function: (offset, modulo) pairs; modulo None where it is no ring."""

    reads: set[tuple[int | None, int | None]] = dataclasses.field(default_factory=set)
    assigns: set[tuple[int | None, int | None]] = dataclasses.field(default_factory=set)
    updates: set[tuple[int | None, int | None]] = dataclasses.field(default_factory=set)
    doubt: str = ""

    def access(self) -> Access:
        return Access(*(frozenset(offset for offset, _ in marks) for marks in self._sets()))

    def residues(self) -> tuple[frozenset[tuple[int | None, int | None]], ...]:
        """Return the marks with every ring's offset reduced to 0 ... modulo - 1."""
        return tuple(
            frozenset(
                (offset % modulo if modulo is not None and offset is not None else offset, modulo)
                for offset, modulo in marks
            )
            for marks in self._sets()
        )

    def _sets(self) -> tuple[set[tuple[int | None, int | None]], ...]:
        return self.reads, self.assigns, self.updates


def _disagreement(one: _Marks, other: _Marks) -> str:
    """Return in what two readings differ; empty where they agree."""
    for what, mine, theirs in zip(
        ("reads", "assignments", "updates"), one.residues(), other.residues(), strict=True
    ):
        if mine != theirs:
            return f"the expressions and the generated code differ in {what}: {set(mine)} and {set(theirs)}"
    return ""


def _against_compiler(operator: Any, function: Any, time: Any, access: Access, written: bool) -> str:
    """Return in what the symbolic reading differs from the compiler's own record; empty if in nothing."""
    if bool(access.writes) != written:
        return f"the compiler says that it is {'' if written else 'not '}written"
    parts = getattr(getattr(operator, "_dspace", None), "parts", {})
    interval = parts[function][time] if function in parts else None
    if interval is None or not interval.is_Defined:
        return ""
    offsets = {offset for offset in access.reads | access.writes if offset is not None}
    if not offsets:
        return ""
    if (min(offsets), max(offsets)) != (interval.lower, interval.upper):
        return (
            f"the expressions span {min(offsets)} ... {max(offsets)} in {time}, but the compiler's data "
            f"space {interval.lower} ... {interval.upper}"
        )
    return ""


# --- the operator as a whole --------------------------------------------------------------------------------


def _time_loop(operator: Any) -> tuple[Any, bool]:
    """Return the dimension of the one time loop and whether it goes forward."""
    loops = [loop for loop in FindNodes(Iteration).visit(operator) if loop.dim.is_Time]
    if len(loops) != 1:
        found = "has no loop over time" if not loops else f"has {len(loops)} loops over time"
        raise UnsupportedOperatorError(
            f"operator {operator.name} {found}; a checkpointed run needs exactly one, which it can stop "
            "after any timestep. Split the equations into operators of which each steps through time once"
        )
    (loop,) = loops
    direction = str(loop.direction)
    if direction not in ("++", "--"):
        raise UnsupportedOperatorError(
            f"operator {operator.name}: its timesteps have no order ({direction}), so it is no forward or "
            "reverse step of a simulation"
        )
    return loop.dim, direction == "++"


def _refuse_conditional(operator: Any, function: Any) -> None:
    """Raise where a function lives on a ConditionalDimension."""
    for dimension in function.dimensions:
        if dimension.is_Conditional:
            raise UnsupportedOperatorError(
                f"operator {operator.name}: {function.name} lives on the ConditionalDimension {dimension}; "
                "checkpointing of subsampled fields is not supported. Use a TimeFunction on every timestep"
            )


# --- the symbolic reading -----------------------------------------------------------------------------------


def _read_expressions(operator: Any, functions: Mapping[str, Any], time: Any) -> dict[str, _Marks]:
    """Read the iteration tree of an operator and of the functions that it calls."""
    marks: dict[str, _Marks] = {}
    for root in _roots(operator):
        for node in FindNodes(Expression).visit(root):
            expression = node.expr
            target = expression.lhs
            update = bool(getattr(node, "is_reduction", False)) or node.operation is not None
            read = list(retrieve_indexed(expression.rhs, deep=True))
            if target.is_Indexed:
                for index in target.indices:
                    read.extend(retrieve_indexed(index, deep=True))
                if target.function.name in functions:
                    kept = marks.setdefault(target.function.name, _Marks())
                    _mark(kept, target, time, "updates" if update else "assigns")
                    if update:
                        _mark(kept, target, time, "reads")
            for indexed in read:
                if indexed.function.name in functions:
                    _mark(marks.setdefault(indexed.function.name, _Marks()), indexed, time, "reads")
        for node in FindNodes(Conditional).visit(root):
            for indexed in retrieve_indexed(node.condition, deep=True):
                if indexed.function.name in functions:
                    _mark(marks.setdefault(indexed.function.name, _Marks()), indexed, time, "reads")
    return marks


def _read_sources(operator: Any, functions: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Return what the values of every function that is written are computed from, temporaries seen through.

    Names of temporaries that are used twice make it more than there is, never less.
    """
    direct: dict[str, set[str]] = {}
    deciding: set[str] = set()
    for root in _roots(operator):
        for node in FindNodes(Expression).visit(root):
            expression = node.expr
            read = _names(expression.rhs)
            if expression.lhs.is_Indexed:
                target = expression.lhs.function.name
                for index in expression.lhs.indices:
                    read |= _names(index)
            else:
                target = expression.lhs.name
            direct.setdefault(target, set()).update(read)
        for node in FindNodes(Conditional).visit(root):
            deciding |= _names(node.condition)
    for read in direct.values():
        read |= deciding
    known = functions.keys()
    return {name: frozenset(_reached(direct, name) & known) for name in known if name in direct}


def _names(expression: Any) -> set[str]:
    """Return the names of the symbols and functions in an expression."""
    found = {indexed.function.name for indexed in retrieve_indexed(expression, deep=True)}
    return found | {str(symbol.name) for symbol in sympy.sympify(expression).free_symbols}


def _reached(direct: Mapping[str, set[str]], start: str) -> set[str]:
    """Return every name from which one can be computed."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for name in direct.get(waiting.pop(), ()):
            if name not in reached:
                reached.add(name)
                waiting.append(name)
    return reached


def _roots(operator: Any) -> Iterator[Any]:
    """Yield the operator's own tree and those of the functions that were generated beside it."""
    yield operator
    for call in getattr(operator, "_func_table", {}).values():
        # What exchanges halos fills points that other processes have computed, at the times it is told.
        if call.root is not None and not isinstance(call.root, MPICallable):
            yield call.root


def _mark(marks: _Marks, indexed: Any, time: Any, what: str) -> None:
    """Note one access, or why it cannot be told."""
    position = time_position(indexed.function, time)
    if position is None:
        getattr(marks, what).add((None, None))
        return
    index = indexed.indices[position]
    modulo = None
    if getattr(index, "is_Modulo", False):
        modulo = index.modulo
        index = index.offset
    offset = sympy.sympify(index - time)
    if not offset.is_Integer or (modulo is not None and not isinstance(modulo, int)):
        marks.doubt = marks.doubt or f"its time index {indexed.indices[position]} is not {time} plus a number"
        return
    getattr(marks, what).add((int(offset), None if modulo is None else int(modulo)))


# --- the textual reading ------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Code:
    """What the generated code says."""

    marks: dict[str, _Marks]
    forward: bool | None = None


_WRITTEN = re.compile(r"\s*(=(?!=)|[-+*/|&]=)")
_MODULO = re.compile(r"^(?:int )?(?P<name>\w+) = \((?P<index>[^()]*)\)%\((?P<modulo>\d+)\)$")


def _read_code(operator: Any, functions: Mapping[str, Any], time: Any) -> _Code:
    """Read the C code of an operator and of the functions that it calls."""
    lines = str(operator.ccode).splitlines()
    # A reduction's pragma names whole arrays, a macro its own parameters: neither is an access.
    source = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    for name, call in getattr(operator, "_func_table", {}).items():
        if isinstance(call.root, MPICallable):
            source = _without(source, name)
    rings: dict[str, tuple[int, int]] = {}
    code = _Code({})
    for match in re.finditer(r"\bfor \(", source):
        header, _ = _group(source, match.end() - 1)
        start, _, step = header.split(";")
        counters = _split(start)
        if not counters[0].startswith(f"int {time.name} = "):
            continue
        code.forward = f"{time.name} += 1" in _split(step)
        for counter in counters[1:]:
            ring = _MODULO.match(counter)
            offset = None if ring is None else _offset(ring["index"], time.name)
            if ring is not None and offset is not None:
                rings[ring["name"]] = (offset, int(ring["modulo"]))
    for name, function in functions.items():
        marks = _read_name(source, function, name, time, rings)
        if marks is not None:
            code.marks[name] = marks
    return code


def _without(source: str, name: str) -> str:
    """Return C code without the definition of a function."""
    for match in re.finditer(rf"\b{re.escape(name)}\(", source):
        _, end = _group(source, match.end() - 1)
        body = re.compile(r"\s*\{").match(source, end)
        if body is not None:
            depth, position = 1, body.end()
            while depth:
                depth += {"{": 1, "}": -1}.get(source[position], 0)
                position += 1
            return source[: match.start()] + source[position:]
    return source


def _read_name(
    source: str, function: Any, name: str, time: Any, rings: Mapping[str, tuple[int, int]]
) -> _Marks | None:
    """Read every access to one function; None where the code has none."""
    position = time_position(function, time)
    marks = _Marks()
    found = False
    # Plain subscripts u[t0][x], or the macro uL0(t0, x) of linearised code.
    for match in re.finditer(rf"(?<![\w>.]){re.escape(name)}(?:(?=\[)|L\d+(?=\())", source):
        found = True
        end = match.end()
        if source[end] == "(":
            inner, end = _group(source, end)
            indices = _split(inner)
        else:
            indices = []
            while end < len(source) and source[end] == "[":
                inner, end = _group(source, end)
                indices.append(inner)
        mark: tuple[int | None, int | None] | None = (None, None)
        if position is not None:
            mark = _time_mark(indices[position], time.name, rings) if position < len(indices) else None
        if mark is None:
            marks.doubt = f"the generated code has the access {source[match.start() : end]}"
            continue
        written = _WRITTEN.match(source, end)
        if written is None:
            marks.reads.add(mark)
        elif written[1] == "=":
            marks.assigns.add(mark)
        else:
            marks.updates.add(mark)
            marks.reads.add(mark)
    return marks if found else None


def _time_mark(
    index: str, time: str, rings: Mapping[str, tuple[int, int]]
) -> tuple[int | None, int | None] | None:
    """Return (offset, modulo) of an index expression; None where it cannot be told."""
    if index in rings:
        return rings[index]
    offset = _offset(index, time)
    return None if offset is None else (offset, None)


def _offset(index: str, time: str) -> int | None:
    """Return k of ``time + k``; None where the expression is something else."""
    match = re.fullmatch(rf"{re.escape(time)}(?: ([-+]) (\d+))?", index.strip())
    if match is None:
        return None
    return int(match[1] + match[2]) if match[1] else 0


def _group(source: str, start: int) -> tuple[str, int]:
    """Return what the bracket at `start` encloses, and the position after its end."""
    depth = 0
    for position in range(start, len(source)):
        if source[position] in "([":
            depth += 1
        elif source[position] in ")]":
            depth -= 1
            if depth == 0:
                return source[start + 1 : position], position + 1
    raise UnsupportedOperatorError("the generated code has a bracket that is never closed")


def _split(text: str) -> list[str]:
    """Return the parts of a list between commas that no bracket encloses."""
    parts, depth, begin = [], 0, 0
    for position, letter in enumerate(text):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[begin:position].strip())
            begin = position + 1
    parts.append(text[begin:].strip())
    return parts
