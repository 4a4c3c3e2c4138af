"""What the user gives once: the arguments of the operators, and the states from which sweeps start."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from .problem import Problem

__all__ = ["Given"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given:
    """What holds for every shot, whatever ring the operators are made for.

    Attributes
    ----------
    shared : mapping of str to object
        Arguments of ``devito.Operator.apply`` for all operators that know them.
    forward, reverse : mapping of str to object
        The same, for one operator.
    initial : {"zeros", "keep"} or callable
        Where the forward sweep starts, as of `CheckpointedAdjoint`.
    adjoint : {"zeros", "keep"}
        Where the reverse sweep starts, as of `CheckpointedAdjoint`.

    Notes
    -----
    Of an argument that is given several times, the last of these holds: for all operators by the problem, for
    all by the user, for this one by the problem, for this one by the user, for this one shot.
    """

    shared: Mapping[str, Any]
    forward: Mapping[str, Any]
    reverse: Mapping[str, Any]
    initial: Literal["zeros", "keep"] | Callable[[Mapping[str, Any]], object]
    adjoint: Literal["zeros", "keep"]

    @property
    def free(self) -> bool:
        """Whether x_0 can be made again."""
        return self.initial != "keep"

    def check_known(self, problem: Problem, known: Collection[str]) -> None:
        """Raise where an argument for all operators is none of those that any of them knows."""
        for name in {**problem.arguments, **self.shared}:
            if name not in known:
                raise ValueError(f"arguments: none of the operators knows an argument {name!r}")

    def for_forward(
        self, problem: Problem, known: Collection[str], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return all arguments of a forward operator, which knows those called `known`, for one shot."""
        return self._merged(problem, known, problem.forward_arguments, self.forward, arguments)

    def for_reverse(
        self, problem: Problem, known: Collection[str], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return all arguments of a reverse operator, which knows those called `known`, for one shot."""
        return self._merged(problem, known, problem.reverse_arguments, self.reverse, arguments)

    def for_recompute(
        self,
        problem: Problem,
        known: Collection[str],
        bounds: Mapping[str, int],
        arguments: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return all arguments of a recompute operator; `arguments` are those of the shot's forward sweep.

        Without receivers to tell the range, it is that of the sweep: `bounds`.
        """
        forward = {**problem.forward_arguments, **self.forward, **arguments}
        repeated = {name: value for name, value in forward.items() if name in known}
        return self._merged(problem, known, bounds, repeated, problem.recompute_arguments)

    def _merged(
        self, problem: Problem, known: Collection[str], *arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the arguments for all operators, as far as known to this one, then those given for it."""
        shared = {**problem.arguments, **self.shared}
        merged = {name: shared[name] for name in shared if name in known}
        for given in arguments:
            merged.update(given)
        return merged
