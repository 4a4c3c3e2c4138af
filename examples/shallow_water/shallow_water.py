"""Drive a solver of your own: the initial state of nonlinear shallow water from the records of a few gauges.

A wave crosses an ocean, gauges record the height of the water at every timestep, and the misfit between what
they recorded and what a first guess predicts has a gradient with respect to the whole initial state. The
adjoint is written by hand. Nothing but NumPy and pyrevolve is needed:

    python shallow_water.py                      # a table of four ways to the same gradient, and its tests
    python shallow_water.py --memory "2 MB"      # with less memory

What to look at, if a solver of your own is to be driven: `States`, `Forward` and `Reverse`. The adjoint of a
timestep reads the state in which the timestep began and nothing else: it computes the stages of the
Runge-Kutta scheme again. So a state carries the data of its own timestep (``lookback = 1``), and a ring of
the last K states, instead of a single one, is a window of K timesteps.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

import pyrevolve
from pyrevolve.budget import format_bytes, parse_bytes
from pyrevolve.cli.quantities import argument, parse_shape

#: Depth h, eastward velocity u, northward velocity v: shape (3, ny, nx). Any floating-point dtype.
State: TypeAlias = npt.NDArray[Any]

X, Y = -1, -2  # axes


# --- the physics ----------------------------------------------------------------------------------------
#
# The grid is staggered (Arakawa C) and periodic: u lies half a cell west of h, v half a cell south of it, the
# vorticity at the corner. A mean or a difference leads from one place to the next, forward or backward. With
# respect to the scalar product, mean_f and mean_b are each other's transposes, diff_f and -diff_b too: the
# adjoint below is made of the same four functions.


def mean_f(a: State, axis: int) -> State:
    """Return the mean of each value and the next one."""
    return 0.5 * (a + np.roll(a, -1, axis))


def mean_b(a: State, axis: int) -> State:
    """Return the mean of each value and the one before."""
    return 0.5 * (a + np.roll(a, 1, axis))


def diff_f(a: State, axis: int) -> State:
    """Return the next value minus each value."""
    return np.roll(a, -1, axis) - a


def diff_b(a: State, axis: int) -> State:
    """Return each value minus the one before."""
    return a - np.roll(a, 1, axis)


@dataclasses.dataclass(frozen=True)
class Ocean:
    """Rotating shallow water over a flat bottom, with its tangent and its adjoint.

    Parameters
    ----------
    shape : tuple of int
        Cells (ny, nx), >= 3 each.
    spacing : float
        Width of a cell [m], > 0.
    dt : float
        Timestep [s], > 0; below about ``0.6 * spacing / sqrt(gravity * depth)``.
    gravity, coriolis : float
        Acceleration [m/s²] and Coriolis parameter [1/s].
    """

    shape: tuple[int, int] = (64, 96)
    spacing: float = 10e3
    dt: float = 150.0
    gravity: float = 9.81
    coriolis: float = 1e-4

    def tendency(self, x: State) -> State:
        """Return dx/dt: shallow water in vector-invariant form."""
        h, u, v = x
        vorticity = self.coriolis + (diff_b(v, X) - diff_b(u, Y)) / self.spacing
        head = self.gravity * h + 0.5 * (mean_f(u * u, X) + mean_f(v * v, Y))
        dh = -(diff_f(mean_b(h, X) * u, X) + diff_f(mean_b(h, Y) * v, Y)) / self.spacing
        du = mean_f(vorticity * mean_b(v, X), Y) - diff_b(head, X) / self.spacing
        dv = -mean_f(vorticity * mean_b(u, Y), X) - diff_b(head, Y) / self.spacing
        return np.stack((dh, du, dv))

    def tendency_tangent(self, x: State, y: State) -> State:
        """Return the derivative of the tendency at x in the direction y."""
        (h, u, v), (eta, p, q) = x, y
        vorticity = self.coriolis + (diff_b(v, X) - diff_b(u, Y)) / self.spacing
        curl = (diff_b(q, X) - diff_b(p, Y)) / self.spacing
        head = self.gravity * eta + mean_f(u * p, X) + mean_f(v * q, Y)
        dh = -diff_f(mean_b(eta, X) * u + mean_b(h, X) * p, X) / self.spacing
        dh -= diff_f(mean_b(eta, Y) * v + mean_b(h, Y) * q, Y) / self.spacing
        du = mean_f(curl * mean_b(v, X) + vorticity * mean_b(q, X), Y) - diff_b(head, X) / self.spacing
        dv = -mean_f(curl * mean_b(u, Y) + vorticity * mean_b(p, Y), X) - diff_b(head, Y) / self.spacing
        return np.stack((dh, du, dv))

    def tendency_adjoint(self, x: State, y: State) -> State:
        """Return the transpose of the derivative of the tendency at x, applied to y."""
        (h, u, v), (dh, du, dv) = x, y
        vorticity = self.coriolis + (diff_b(v, X) - diff_b(u, Y)) / self.spacing
        head = (diff_f(du, X) + diff_f(dv, Y)) / self.spacing
        east, north = diff_b(dh, X) / self.spacing, diff_b(dh, Y) / self.spacing
        du, dv = mean_b(du, Y), mean_b(dv, X)  # at the corners
        curl = (mean_b(v, X) * du - mean_b(u, Y) * dv) / self.spacing
        eta = self.gravity * head + mean_f(u * east, X) + mean_f(v * north, Y)
        p = mean_b(h, X) * east + u * mean_b(head, X) + diff_f(curl, Y) - mean_f(vorticity * dv, Y)
        q = mean_b(h, Y) * north + v * mean_b(head, Y) - diff_f(curl, X) + mean_f(vorticity * du, X)
        return np.stack((eta, p, q))

    def stages(self, x: State) -> tuple[State, State]:
        """Return the two intermediate states of a timestep (Shu & Osher 1988, of third order)."""
        first = x + self.dt * self.tendency(x)
        second = 0.75 * x + 0.25 * (first + self.dt * self.tendency(first))
        return first, second

    def step(self, x: State) -> State:
        """Return the state one timestep later."""
        _, second = self.stages(x)
        return (x + 2.0 * (second + self.dt * self.tendency(second))) / 3.0

    def step_tangent(self, x: State, y: State) -> State:
        """Return the derivative of `step` at x in the direction y."""
        first, second = self.stages(x)
        y1 = y + self.dt * self.tendency_tangent(x, y)
        y2 = 0.75 * y + 0.25 * (y1 + self.dt * self.tendency_tangent(first, y1))
        return (y + 2.0 * (y2 + self.dt * self.tendency_tangent(second, y2))) / 3.0

    def step_adjoint(self, x: State, y: State) -> State:
        """Return the transpose of the derivative of `step` at x, applied to y."""
        first, second = self.stages(x)
        y2 = (y + self.dt * self.tendency_adjoint(second, y)) * (2.0 / 3.0)
        y1 = 0.25 * (y2 + self.dt * self.tendency_adjoint(first, y2))
        return y / 3.0 + 0.75 * y2 + (y1 + self.dt * self.tendency_adjoint(x, y1))

    def hump(self, height: float, east: float, north: float, depth: float = 100.0) -> State:
        """Return water of a depth [m], at rest, with a hump of a height [m] at (east, north) of the ocean."""
        ny, nx = self.shape
        j, i = np.mgrid[:ny, :nx]
        distance = ((i / nx - east) * 10.0) ** 2 + ((j / ny - north) * 10.0) ** 2
        x = np.zeros((3, ny, nx))
        x[0] = depth + height * np.exp(-distance)
        return x


# --- what pyrevolve is told -------------------------------------------------------------------------------


class States(pyrevolve.Checkpoint):
    """A ring of the last states: x_t lies in ``ring[t % slices]``, and a snapshot is one of its slices.

    While the forward run stands at x_p, the ring holds the last `slices` states, and each carries the data of
    its own timestep: a window of `slices` timesteps, lookback 1, and lag 0, because the data of timestep t is
    there before it is run.
    """

    lookback = 1
    lag = 0
    #: Slices of the ring beyond its window.
    spare = 0

    def __init__(self, x_0: State, window: int = 1) -> None:
        self.ring: State = np.empty((window + self.spare, *x_0.shape), x_0.dtype)
        self.ring[0] = x_0
        self.window = window
        self.window_bytes = self.ring.nbytes

    def __getitem__(self, t: int) -> State:
        slot: State = self.ring[t % len(self.ring)]
        return slot

    def get_data(self, t: int) -> list[State]:
        """Return where x_t is."""
        return [self[t]]

    def get_data_location(self, t: int) -> list[State]:
        """Return where x_t is to be put."""
        return [self[t]]

    @property
    def dtype(self) -> Any:
        """The dtype of a state."""
        return self.ring.dtype

    @property
    def size(self) -> int:
        """The number of values in a state."""
        return self[0].size


class GeneralStates(States):
    """The same, declared as for a solver of which nothing is known: data is there after a timestep was run.

    One slice of the ring is then the state that was reached, the others the data of the timesteps before. A
    window of one is classic Revolve.
    """

    lookback = 0
    lag = 1
    spare = 1


class Forward(pyrevolve.Operator):
    """Run the ocean, and record what the gauges see."""

    def __init__(self, ocean: Ocean, states: States, gauges: Gauges) -> None:
        self.ocean, self.states, self.gauges = ocean, states, gauges

    def apply(self, t_start: int, t_end: int) -> None:
        """Take the ring from x_t_start to x_t_end."""
        states = self.states
        for t in range(t_start, t_end):
            states[t + 1][:] = self.ocean.step(states[t])
            self.gauges.observe(t + 1, states[t + 1])


class Reverse(pyrevolve.Operator):
    """Run the adjoint; `bar` is the derivative of the misfit with respect to the state."""

    def __init__(self, ocean: Ocean, states: States, gauges: Gauges) -> None:
        self.ocean, self.states, self.gauges = ocean, states, gauges
        self.bar = np.zeros_like(states[0])

    def apply(self, t_start: int, t_end: int) -> None:
        """Reverse the timesteps t_end - 1, ..., t_start."""
        for t in reversed(range(t_start, t_end)):
            self.gauges.add_residual(t + 1, self.bar)
            self.bar[:] = self.ocean.step_adjoint(self.states[t], self.bar)


# --- the problem ------------------------------------------------------------------------------------------


class Gauges:
    """Gauges on a regular grid; they record the depth of the water at x_1, ..., x_n.

    Attributes
    ----------
    record : numpy.ndarray
        What they see in the run that is being made [m], shape (n + 1, ny, nx) of the gauges; ``record[0]`` is
        not used.
    residual : numpy.ndarray
        From what the reverse run starts, of the same shape: record minus observation [m].
    """

    def __init__(self, ocean: Ocean, n: int, every: int = 16) -> None:
        self.every = every
        seen = np.zeros(ocean.shape)[every // 2 :: every, every // 2 :: every]
        self.record = np.zeros((n + 1, *seen.shape))
        self.residual = np.zeros_like(self.record)

    def observe(self, t: int, x: State) -> None:
        """Record the depth at x_t."""
        self.record[t] = self._at(x)

    def add_residual(self, t: int, bar: State) -> None:
        """Add the derivative of the misfit with respect to what was recorded of x_t."""
        self._at(bar)[:] += self.residual[t]

    def _at(self, x: State) -> State:
        return x[0, self.every // 2 :: self.every, self.every // 2 :: self.every]


@dataclasses.dataclass(frozen=True)
class Problem:
    """The misfit J(x_0) = ½ Σ_t ‖gauges at x_t - observed[t]‖² over n timesteps, and ways to its gradient."""

    ocean: Ocean
    n: int
    observed: npt.NDArray[Any]

    @classmethod
    def twin(cls, ocean: Ocean, n: int) -> Problem:
        """Return the problem whose observations come from a run of a true state: a hump of 5 m."""
        gauges = Gauges(ocean, n)
        Forward(ocean, States(ocean.hump(5.0, 0.3, 0.6)), gauges).apply(0, n)
        return cls(ocean, n, gauges.record)

    def misfit(self, x_0: State) -> float:
        """Return J(x_0)."""
        gauges = Gauges(self.ocean, self.n)
        Forward(self.ocean, States(x_0), gauges).apply(0, self.n)
        return 0.5 * float(np.sum((gauges.record[1:] - self.observed[1:]) ** 2))

    def stored(self, x_0: State) -> State:
        """Return the gradient with every state kept, by two plain loops."""
        gauges = Gauges(self.ocean, self.n)
        x = [x_0]
        for t in range(self.n):
            x.append(self.ocean.step(x[t]))
            gauges.observe(t + 1, x[t + 1])
        gauges.residual[1:] = gauges.record[1:] - self.observed[1:]
        bar = np.zeros_like(x_0)
        for t in reversed(range(self.n)):
            gauges.add_residual(t + 1, bar)
            bar = self.ocean.step_adjoint(x[t], bar)
        return bar

    def checkpointed(
        self, states: States, *, residual: npt.NDArray[Any] | None = None, **options: Any
    ) -> tuple[State, pyrevolve.Revolver]:
        """Return the gradient with some states kept, and the Revolver that saw to it.

        Parameters
        ----------
        states : States
            The workspace, with x_0 in it.
        residual : numpy.ndarray, optional
            From what the reverse run starts. None: record minus observation.
        **options
            Of `pyrevolve.Revolver`: ``memory="5 MB"``, ``n_checkpoints=10`` or ``schedule=...``.
        """
        gauges = Gauges(self.ocean, self.n)
        forward, reverse = Forward(self.ocean, states, gauges), Reverse(self.ocean, states, gauges)
        with pyrevolve.Revolver(states, forward, reverse, n_timesteps=self.n, **options) as revolver:
            revolver.apply_forward()
            # Formed once: forward steps that are run again only write the same records again.
            gauges.residual[1:] = gauges.record[1:] - self.observed[1:] if residual is None else residual[1:]
            revolver.apply_reverse()
        return reverse.bar, revolver

    def plan(self, kind: type[States], x_0: State, memory: int) -> pyrevolve.Plan:
        """Divide a budget [bytes] between ring and snapshots, by measured costs."""
        states, gauges = kind(x_0, window=8), Gauges(self.ocean, self.n)
        operators = Forward(self.ocean, states, gauges), Reverse(self.ocean, states, gauges)
        costs = pyrevolve.measure_costs(states, *operators, n_timesteps=self.n)
        return pyrevolve.plan(
            self.n,
            state_bytes=x_0.nbytes,
            window_slice_bytes=x_0.nbytes,
            fixed_bytes=kind.spare * x_0.nbytes,
            memory=memory,
            lookback=kind.lookback,
            lag=kind.lag,
            costs=costs,
        )


# --- is it right? -----------------------------------------------------------------------------------------


def taylor_order(problem: Problem, x_0: State, gradient: State, direction: State) -> float:
    """Return the order of |J(x_0 + s y) - J(x_0) - s <gradient, y>| in s, which is 2 for a gradient."""
    at_0, slope = problem.misfit(x_0), float(np.vdot(gradient, direction))
    steps = 10.0 ** -np.arange(1, 5)
    remainders = [abs(problem.misfit(x_0 + s * direction) - at_0 - s * slope) for s in steps]
    return float(np.polyfit(np.log(steps), np.log(remainders), 1)[0])


def dot_product_error(
    problem: Problem, x_0: State, direction: State, residual: State, **options: Any
) -> float:
    """Return the relative difference of <M y, r> and <y, Mᵀ r>, M being the derivative of the records.

    M y comes from the tangent, Mᵀ r from the checkpointed adjoint.
    """
    ocean, tangent = problem.ocean, Gauges(problem.ocean, problem.n)
    x, y = x_0, direction
    for t in range(problem.n):
        y = ocean.step_tangent(x, y)
        x = ocean.step(x)
        tangent.observe(t + 1, y)
    transposed, _ = problem.checkpointed(States(x_0), residual=residual, **options)
    one, other = float(np.vdot(tangent.record[1:], residual[1:])), float(np.vdot(direction, transposed))
    return abs(one - other) / abs(one)


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to the gradient: bytes held, forward steps, seconds, and whether it is the stored one."""

    name: str
    held: int
    forward_steps: int
    seconds: float
    equal: bool

    def __str__(self) -> str:
        verdict = "yes" if self.equal else "NO"
        held = format_bytes(self.held)
        return f"{self.name:24}{held:>11}{self.forward_steps:>8}{self.seconds:>8.2f}  {verdict}"


def compare(problem: Problem, x_0: State, memory: int, rounds: int = 3) -> tuple[State, list[Row]]:
    """Return the stored gradient and four ways to it, the last three within a budget [bytes].

    The seconds are those of the fastest of several rounds.
    """
    windows, lookback = problem.plan(GeneralStates, x_0, memory), problem.plan(States, x_0, memory)
    ways: list[tuple[str, type[States], int, dict[str, Any]]] = [
        ("classic Revolve", GeneralStates, 1, {"memory": memory}),
        (f"a window of {windows.window}", GeneralStates, windows.window, {"schedule": windows.schedule}),
        (f"lookback 1, window {lookback.window}", States, lookback.window, {"schedule": lookback.schedule}),
    ]
    seconds, gradient = fastest(rounds, lambda: problem.stored(x_0))
    rows = [Row("every state stored", (problem.n + 1) * x_0.nbytes, problem.n, seconds, True)]
    for name, kind, window, options in ways:

        def run(kind: type[States] = kind, window: int = window, options: dict[str, Any] = options) -> Any:
            return problem.checkpointed(kind(x_0, window), **options)

        seconds, (found, revolver) = fastest(rounds, run)
        held = revolver.checkpoint.window_bytes + revolver.n_checkpoints * x_0.nbytes
        steps = revolver.profiler[pyrevolve.Kind.FORWARD].steps
        rows.append(Row(name, held, steps, seconds, np.array_equal(found, gradient)))
    return gradient, rows


def fastest(rounds: int, run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of the fastest of several rounds, and what the last one returned."""
    seconds = []
    for _ in range(rounds):
        began = perf_counter()
        result = run()
        seconds.append(perf_counter() - began)
    return min(seconds), result


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the tests; return 0 where everything is right."""
    parser = argparse.ArgumentParser(description="The gradient of a shallow-water misfit within a budget.")
    parser.add_argument(
        "--shape", type=argument(parse_shape), default=(64, 96), metavar="NYxNX", help="cells"
    )
    parser.add_argument("--timesteps", type=int, default=600, help="of 150 s each (default: 600)")
    parser.add_argument("--memory", default="5 MB", help='for ring and snapshots (default: "5 MB")')
    options = parser.parse_args(arguments)

    ocean = Ocean(shape=options.shape)
    problem = Problem.twin(ocean, options.timesteps)
    x_0 = ocean.hump(2.0, 0.4, 0.5)  # a first guess
    memory = parse_bytes(options.memory)
    print(
        f"{problem.n} timesteps, states of {format_bytes(x_0.nbytes)}, a budget of {format_bytes(memory)}\n"
    )
    try:
        gradient, rows = compare(problem, x_0, memory)
    except pyrevolve.BudgetError as small:
        parser.error(f"--memory: {small}")
    print(f"{'':24}{'held':>11}{'steps':>8}{'s':>8}  equal bit for bit")
    for row in rows:
        print(row)

    rng = np.random.default_rng(1)
    direction = rng.standard_normal(x_0.shape)
    direction[1:] *= 0.01  # velocities are small beside depths
    residual = rng.standard_normal(problem.observed.shape)
    order = taylor_order(problem, x_0, gradient, direction)
    error = dot_product_error(problem, x_0, direction, residual, memory=memory)
    right = all(row.equal for row in rows) and abs(order - 2.0) < 0.1 and error < 1e-12
    print(f"\nTaylor test: order {order:.3f} (2 is right)")
    print(f"dot-product test: relative difference {error:.1e} (rounding is right)")
    print("all right" if right else "SOMETHING IS WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
