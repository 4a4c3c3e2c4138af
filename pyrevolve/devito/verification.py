"""Is the gradient right? Checkpointed against store-all, and against the misfit itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from devito import Buffer

from ..budget import Bytes, available_memory, format_bytes, parse_bytes
from ..plans import Plan
from ..schedules import Revolve, Schedule
from .errors import UnsupportedOperatorError
from .problem import Problem

if TYPE_CHECKING:
    from .adjoint import CheckpointedAdjoint

__all__ = ["TaylorTest", "Verification", "taylor_test", "verify"]

#: Share of the free memory that store-all may take where nobody says.
_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class TaylorTest:
    """How well a gradient predicts the misfit.

    Attributes
    ----------
    steps : tuple of float
        Step lengths h, longest first.
    zeroth : tuple of float
        ``|J(m + h dm) - J(m)|``, which falls like h.
    first : tuple of float
        ``|J(m + h dm) - J(m) - h <g, dm>|``, which falls like h**2 if g is the gradient.
    order : float
        Least-squares slope of log(first) over log(h), over the steps whose remainder rounding does not hide.
    tolerance : float
        How far from 2 the order may be.
    """

    steps: tuple[float, ...]
    zeroth: tuple[float, ...]
    first: tuple[float, ...]
    order: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the remainder is of second order."""
        return self.order >= 2.0 - self.tolerance

    def __str__(self) -> str:
        return f"Taylor test: order {self.order:.2f} ({'passed' if self.passed else 'FAILED'}; 2 is right)"


@dataclasses.dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes
    ----------
    n_timesteps : int
        Timesteps that were compared; fewer than the problem has where storing all does not fit.
    forward_steps : int
        Forward timesteps that the checkpointed run took.
    bitwise : mapping of str to bool
        For every result: whether checkpointed and stored agree in every bit.
    difference : mapping of str to float
        For every result: the largest difference, relative to the largest stored value.
    self_check : mapping of str to bool or None
        For every result: whether the run with poisoned rings agrees with the stored one; None where it was
        not asked for.
    allowed : float
        The largest difference that passes; 0 stands for equality in every bit.
    taylor : TaylorTest or None
        None where no misfit was given.
    """

    n_timesteps: int
    forward_steps: int
    bitwise: Mapping[str, bool]
    difference: Mapping[str, float]
    self_check: Mapping[str, bool] | None
    allowed: float
    taylor: TaylorTest | None

    @property
    def passed(self) -> bool:
        """Whether everything that was checked is right."""
        return (
            all(same or self.difference[name] <= self.allowed for name, same in self.bitwise.items())
            and (self.self_check is None or all(self.self_check.values()))
            and (self.taylor is None or self.taylor.passed)
        )

    def __str__(self) -> str:
        lines = [
            f"verification over {self.n_timesteps} timesteps ({self.forward_steps} forward steps): "
            f"{'passed' if self.passed else 'FAILED'}"
        ]
        for name, same in self.bitwise.items():
            what = (
                "equal bit for bit"
                if same
                else f"DIFFERENT by {self.difference[name]:.3g} of the largest value"
            )
            lines.append(f"  {name}: checkpointed and stored are {what}")
        if self.self_check is not None:
            bad = [name for name, same in self.self_check.items() if not same]
            lines.append(
                f"  poisoned rings: {'no difference' if not bad else 'DIFFERENT in ' + ', '.join(bad)}"
            )
        if self.taylor is not None:
            lines.append(f"  {self.taylor}")
        return "\n".join(lines)


def verify(
    adjoint: CheckpointedAdjoint,
    shot: Callable[[Any], Any],
    *,
    n_timesteps: int | None = None,
    memory: Bytes | None = None,
    n_checkpoints: int | None = None,
    window: int | None = None,
    self_check: bool = True,
    allowed: float = 0.0,
    misfit: Callable[[npt.NDArray[Any]], float] | None = None,
    model: npt.NDArray[Any] | None = None,
    direction: npt.NDArray[Any] | None = None,
    steps: Sequence[float] | None = None,
    tolerance: float = 0.1,
) -> Verification:
    """Compare a checkpointed gradient with store-all, on the user's own operators.

    Parameters
    ----------
    adjoint : CheckpointedAdjoint
        What is verified; no forward sweep may be waiting for its reverse.
    shot : callable
        ``shot(runner)`` computes one shot from scratch: it sets the gradient to zero, calls
        ``runner.forward(...)``, forms the residual, calls ``runner.reverse(...)``, and returns the results:
        an array, a sequence of arrays or a mapping of names to arrays. It is called with `adjoint` and with
        an object that stores every timestep.
    n_timesteps : int, optional
        Compare over this many timesteps from the first, >= 1. None: over as many as `memory` allows to store.
    memory : int, float or str, optional
        What storing all timesteps may take. None: half of the memory that is free.
    n_checkpoints, window : int, optional
        Schedule of the checkpointed run. None: those of the plan; where these would store all, a window of
        a third of the timesteps and two snapshots, so that something is run again.
    self_check : bool
        Also run with poisoned rings: slices that the model says are not retained are filled with NaN, and
        the results must not change.
    allowed : float
        The largest difference that passes, relative to the largest stored value; 0 asks for equality in
        every bit.
    misfit : callable, optional
        ``misfit(m)`` returns the misfit J of a model m, an array like `model`. Given, a Taylor test is made
        of the first result of ``shot(adjoint)`` over all timesteps.
    model, direction : numpy.ndarray, optional
        The model at which `shot` computes the gradient, and a perturbation; needed with `misfit`.
    steps, tolerance
        See `taylor_test`.

    Returns
    -------
    Verification
        ``.passed``, and a readable ``str()``.

    Raises
    ------
    ValueError
        An argument is out of range; `misfit` without `model` and `direction`.
    MemoryError
        Not even two timesteps can be stored.
    UnsupportedOperatorError
        ``build(save)`` makes a field that the reverse operator reads with a ring of its own length.

    Notes
    -----
    Bits agree where the operators themselves are reproducible: one thread, or sources and receivers of
    which no two touch the same grid point, and the same compiler options for both. Otherwise look at
    ``difference``.

    The stored run uses ``devito.Operator.apply`` and nothing of the driver. Its rings are so long that they
    never come round; an integer ``save=`` would do the same, but gives C code that compilers may round in
    another way.
    """
    if misfit is not None and (model is None or direction is None):
        raise ValueError(
            "misfit= needs model= and direction=, the point and the perturbation of the Taylor test"
        )
    planned = adjoint.plan.n_timesteps
    stored = _StoredAdjoint(adjoint)
    count = stored.fitting(planned, memory) if n_timesteps is None else n_timesteps
    if not 1 <= count <= max(planned, 1):
        raise ValueError(f"n_timesteps must be between 1 and {planned}, got {n_timesteps}")
    stored.make(count)
    expected = _results(shot(stored))
    stored.close()

    chosen, schedule = _schedule(adjoint, count, n_checkpoints, window)
    with adjoint._verifying(chosen, schedule, self_check=False):
        found = _results(shot(adjoint))
    checked: dict[str, bool] | None = None
    if self_check:
        with adjoint._verifying(chosen, schedule, self_check=True):
            poisoned = _results(shot(adjoint))
        checked = {
            name: _same(expected[name], poisoned.get(name))
            or _difference(expected[name], poisoned.get(name)) <= allowed
            for name in expected
        }

    taylor = None
    if misfit is not None and model is not None and direction is not None:
        gradient = next(iter(_results(shot(adjoint)).values()))
        taylor = taylor_test(misfit, gradient, model, direction, steps=steps, tolerance=tolerance)
    return Verification(
        n_timesteps=count,
        forward_steps=schedule.forward_steps,
        bitwise={name: _same(expected[name], found.get(name)) for name in expected},
        difference={name: _difference(expected[name], found.get(name)) for name in expected},
        self_check=checked,
        allowed=allowed,
        taylor=taylor,
    )


def taylor_test(
    misfit: Callable[[npt.NDArray[Any]], float],
    gradient: npt.NDArray[Any],
    model: npt.NDArray[Any],
    direction: npt.NDArray[Any],
    *,
    steps: Sequence[float] | None = None,
    tolerance: float = 0.1,
) -> TaylorTest:
    """Test a gradient against the misfit that it belongs to.

    Parameters
    ----------
    misfit : callable
        ``misfit(m)`` returns the misfit J(m), a number.
    gradient, model, direction : numpy.ndarray
        dJ/dm at the model m, and a perturbation dm; of one shape.
    steps : sequence of float, optional
        At least three step lengths h > 0, longest first. None: 1, 1/2, ..., 1/64.
    tolerance : float
        How far below 2 the order may be, > 0.

    Returns
    -------
    TaylorTest
        With the observed order.

    Raises
    ------
    ValueError
        Shapes that differ, fewer than three steps, or a misfit that is not finite.

    Notes
    -----
    Steps at which rounding hides the remainder are left out of the order: from the first step on where the
    remainder no longer falls. With a misfit in single precision, choose `direction` so large that the
    misfit changes by some per cent at h = 1.
    """
    if not gradient.shape == model.shape == direction.shape:
        raise ValueError(
            f"gradient, model and direction must have one shape, got {gradient.shape}, {model.shape}, "
            f"{direction.shape}"
        )
    lengths = tuple(0.5**k for k in range(7)) if steps is None else tuple(float(step) for step in steps)
    if (
        len(lengths) < 3
        or any(step <= 0 for step in lengths)
        or list(lengths) != sorted(lengths, reverse=True)
    ):
        raise ValueError(f"steps must be at least three lengths > 0, longest first, got {steps!r}")
    base = float(misfit(model.copy()))
    slope = float(np.vdot(gradient.astype(np.float64), direction.astype(np.float64)))
    zeroth, first = [], []
    for step in lengths:
        moved = float(misfit((model + step * direction).astype(model.dtype)))
        if not math.isfinite(moved) or not math.isfinite(base):
            raise ValueError(f"the misfit is not finite at h = {step}: {moved} ({base} at h = 0)")
        zeroth.append(abs(moved - base))
        first.append(abs(moved - base - step * slope))
    return TaylorTest(lengths, tuple(zeroth), tuple(first), _order(lengths, first), tolerance)


def _order(steps: Sequence[float], remainders: Sequence[float]) -> float:
    """Return the slope of log(remainder) over log(step), up to where the remainder stops falling."""
    usable = 1
    while usable < len(steps) and 0.0 < remainders[usable] < remainders[usable - 1]:
        usable += 1
    if usable < 3:
        return 0.0
    slopes = [
        math.log(remainders[k] / remainders[k + 1]) / math.log(steps[k] / steps[k + 1])
        for k in range(usable - 1)
    ]
    # Long steps have terms of higher order, short ones rounding: the middle of the slopes has the least of
    # both.
    return float(np.median(slopes))


# --- store-all ----------------------------------------------------------------------------------------------


class _StoredAdjoint:
    """The same problem with every timestep stored, run by Devito alone."""

    def __init__(self, adjoint: CheckpointedAdjoint) -> None:
        self._adjoint = adjoint
        self._count = 0
        self._problem: Problem | None = None

    def fitting(self, n_timesteps: int, memory: Bytes | None) -> int:
        """Return how many timesteps may be stored."""
        budget = int(available_memory() * _SHARE) if memory is None else parse_bytes(memory)
        piece = sum(field.slice_bytes for field in self._adjoint.checkpoint.fields)
        count = min(n_timesteps, budget // max(piece, 1) - self._ring(0))
        if count < min(2, n_timesteps):
            raise MemoryError(
                f"storing two timesteps takes more than {format_bytes(budget)}; give memory= a larger budget"
            )
        return count

    def make(self, count: int) -> None:
        """Build with `count` timesteps stored."""
        self._count = count
        adjoint = self._adjoint
        self._problem = Problem.of(adjoint._build(Buffer(self._ring(count))))
        for function in self.fields:
            if function.shape_allocated[0] < self._ring(count) and _is_read(adjoint, function.name):
                raise UnsupportedOperatorError(
                    f"build(save) must make {function.name} with save=save, so that all timesteps can be "
                    f"stored for the comparison; its ring has {function.shape_allocated[0]} slices"
                )

    def _ring(self, count: int) -> int:
        """Return the length of a ring in which nothing is overwritten that `count` timesteps may read."""
        fields = self._adjoint.checkpoint.fields
        # Ahead of the first timestep its state, behind the last what is written and read ahead.
        return count + max(field.slices + max(0, field.head) for field in fields) + 2

    def forward(self, **arguments: Any) -> None:
        """Run the forward operator over all of the range."""
        problem = self._given()
        adjoint = self._adjoint
        given = adjoint._given.for_forward(problem, problem.forward._known_arguments, arguments)
        initial = adjoint._given.initial
        if initial == "zeros":
            for function in self.fields:
                function.data_with_halo[:] = 0
        elif callable(initial):
            initial({function.name: function for function in self.fields})
        self._run(problem.forward, given, adjoint._made.analysis.forward.time)

    def reverse(self, **arguments: Any) -> None:
        """Run the reverse operator over all of the range."""
        problem = self._given()
        adjoint = self._adjoint
        given = adjoint._given.for_reverse(problem, problem.reverse._known_arguments, arguments)
        if adjoint._given.adjoint == "zeros":
            for name in adjoint._made.analysis.adjoint_fields:
                bound = given.get(name) or next(p for p in problem.reverse.input if p.name == name)
                bound.data_with_halo[:] = 0
        self._run(problem.reverse, given, adjoint._made.analysis.reverse.time)

    @property
    def fields(self) -> tuple[Any, ...]:
        """The forward fields, as devito.TimeFunctions."""
        problem = self._given()
        bound = {**problem.arguments, **problem.forward_arguments}
        functions = {p.name: bound.get(p.name, p) for p in problem.forward.input}
        return tuple(functions[name] for name in self._names())

    def close(self) -> None:
        """Give the memory back."""
        for function in self.fields:
            if _is_read(self._adjoint, function.name):
                # Caches of symbols keep the function alive, and with it its data.
                function._data = None
        self._problem = None

    def _names(self) -> list[str]:
        """Return the names of the operator's parameters that stand for the forward fields."""
        analysis = self._adjoint._made.analysis
        rings = [id(field.function) for field in analysis.fields]
        return [name for name, function in analysis.forward_bound.items() if id(function) in rings]

    def _given(self) -> Problem:
        assert self._problem is not None
        return self._problem

    def _run(self, operator: Any, given: dict[str, Any], time: Any) -> None:
        """Apply an operator to the first timesteps of its range."""
        made = self._adjoint._made
        first = made.forward_range.first + (0 if operator is self._given().forward else made.shift)
        first = int(given.get(time.min_name, first))
        operator.apply(**{**given, time.min_name: first, time.max_name: first + self._count - 1})


def _is_read(adjoint: CheckpointedAdjoint, name: str) -> bool:
    """Return whether the reverse operator reads this forward field."""
    return any(field.name == name and field.reads is not None for field in adjoint.checkpoint.fields)


def _schedule(
    adjoint: CheckpointedAdjoint, count: int, n_checkpoints: int | None, window: int | None
) -> tuple[Plan | None, Schedule]:
    """Return the schedule of the checkpointed run that is compared, and the plan for the tiers, if any."""
    plan = adjoint.plan
    if (
        (plan.n_on_disk or plan.compressed)
        and n_checkpoints is None
        and window is None
        and count > plan.window
    ):
        return adjoint._drivers.schedule_for(count)
    least = max(1, plan.lookback)
    most = plan.window
    if window is None:
        window = most if count > most else max(least, min(most, count // 3))
        if n_checkpoints is None and count <= most:
            n_checkpoints = 2
    if not least <= window <= most:
        raise ValueError(f"window must be between {least} and {most}, the plan's, got {window}")
    if n_checkpoints is None:
        n_checkpoints = max(plan.n_snapshots, 0 if plan.initial_state == "free" else 1)
    return None, Revolve(
        count,
        n_checkpoints,
        window=window,
        lookback=plan.lookback,
        lag=plan.lag,
        initial_state=plan.initial_state,
    )


# --- results ------------------------------------------------------------------------------------------------


def _results(results: Any) -> dict[str, npt.NDArray[Any]]:
    """Return copies of what a shot returned, by name."""
    if isinstance(results, Mapping):
        named = dict(results)
    elif isinstance(results, (tuple, list)):
        named = {f"result {index}": array for index, array in enumerate(results)}
    else:
        named = {"gradient": results}
    if not named or any(value is None for value in named.values()):
        raise ValueError("shot(runner) must return its results: an array, a sequence or a mapping of arrays")
    return {str(name): np.array(value, copy=True) for name, value in named.items()}


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any] | None) -> bool:
    """Return whether two arrays agree in every bit; a NaN agrees with nothing."""
    if other is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    # +0.0 and -0.0 compare as equal but are other bits.
    return bool(np.array_equal(one, other)) and one.tobytes() == other.tobytes()


def _difference(one: npt.NDArray[Any], other: npt.NDArray[Any] | None) -> float:
    """Return the largest difference, relative to the largest value of the first."""
    if other is None or one.shape != other.shape:
        return math.inf
    if not one.size:
        return 0.0
    largest = float(np.max(np.abs(one)))
    kind = np.result_type(one, other, np.float64)
    difference = float(np.max(np.abs(one.astype(kind) - other.astype(kind))))
    return difference / largest if largest else difference
