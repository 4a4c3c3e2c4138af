"""Small simulations with Devito that several test modules use; operators are built once per session."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from devito import (
    Eq,
    Function,
    Grid,
    Inc,
    Operator,
    SparseTimeFunction,
    TimeFunction,
    VectorTimeFunction,
    configuration,
    div,
    grad,
    solve,
)

from pyrevolve.devito import CheckpointedAdjoint, Problem, advancing, building

configuration["log-level"] = "ERROR"
# One thread: sources and receivers are added up in one order, so that results agree bit for bit.
configuration["language"] = "C"

#: Timesteps of the simulations.
N = 61
#: Ring of the adjoints that most tests share: that of the probe, so that nothing is built twice.
RING = 20


@dataclasses.dataclass(frozen=True)
class Case:
    """One simulation.

    Attributes
    ----------
    build : callable
        The factory for CheckpointedAdjoint.
    results : tuple of Function
        What the reverse operator accumulates.
    receivers, residual : SparseTimeFunction
        What the forward operator records, and what the reverse operator injects.
    source : SparseTimeFunction
        What the forward operator injects.
    arguments : dict
        Arguments for both operators.
    lookback, lag, gap : int
        What is to be found out: how much less than the ring the window is, for instance.
    """

    build: Callable[[Any], Any]
    results: tuple[Function, ...]
    receivers: SparseTimeFunction
    residual: SparseTimeFunction
    source: SparseTimeFunction
    arguments: dict[str, Any]
    lookback: int
    lag: int
    gap: int

    def shot(self, runner: Any, **forward: Any) -> dict[str, np.ndarray]:
        """Compute one shot from scratch."""
        for function in self.results:
            function.data_with_halo[:] = 0
        runner.forward(**forward)
        self.residual.data[:] = np.asarray(self.receivers.data) ** 3 + 0.5 * np.asarray(self.receivers.data)
        runner.reverse()
        return {function.name: np.array(function.data) for function in self.results}


def ricker(nt: int, dt: float, f0: float) -> np.ndarray:
    """Return a wavelet."""
    t = np.arange(nt) * dt - 1.0 / f0
    return ((1 - 2 * (np.pi * f0 * t) ** 2) * np.exp(-((np.pi * f0 * t) ** 2))).astype(np.float32)


def geometry(grid: Grid, nt: int, dt: float) -> tuple[SparseTimeFunction, ...]:
    """Return a source, receivers, and the residual at the receivers."""
    extent = np.array(grid.extent)
    source = SparseTimeFunction(name="src", grid=grid, npoint=1, nt=nt, coordinates=0.37 * extent[None, :])
    source.data[:, 0] = 50 * ricker(nt, dt, 0.02)
    places = np.linspace(0.15, 0.85, 7)[:, None] * extent[None, :]
    places[:, -1] = 0.22 * extent[-1]
    receivers = SparseTimeFunction(name="rec", grid=grid, npoint=7, nt=nt, coordinates=places)
    residual = SparseTimeFunction(name="res", grid=grid, npoint=7, nt=nt, coordinates=places)
    return source, receivers, residual


IMAGING: dict[str, tuple[Callable[[Any, Any], Any], tuple[int, int, int]]] = {
    "u*v.dt2": (lambda u, v: u * v.dt2, (2, 0, 0)),
    "u.dt2*v": (lambda u, v: u.dt2 * v, (0, 1, 2)),
    "u.dt*v": (lambda u, v: u.dt * v, (1, 1, 1)),
    "u.forward*v": (lambda u, v: u.forward * v, (2, 1, 0)),
    "u.backward*v": (lambda u, v: u.backward * v, (1, 0, 1)),
}


def acoustic(imaging: str = "u*v.dt2", dims: int = 2, dtype: Any = np.float32, language: str = "C") -> Case:
    """Return an acoustic simulation of second order in time; always the same for the same arguments."""
    return _acoustic(imaging, dims, dtype, language)


@functools.cache
def _acoustic(imaging: str, dims: int, dtype: Any, language: str) -> Case:
    shape = (27, 23) if dims == 2 else (15,) if dims == 1 else (13, 12, 11)
    grid = Grid(shape=shape, extent=tuple(10.0 * (extent - 1) for extent in shape), dtype=dtype)
    dt, nt = 2.0, N + 2
    m = Function(name="m", grid=grid)
    m.data[:] = 1.0 / 1.5**2
    m.data[..., shape[-1] // 2 :] = 1.0 / 2.2**2
    source, receivers, residual = geometry(grid, nt, dt)
    gradient = Function(name="grad", grid=grid)
    v = TimeFunction(name="v", grid=grid, time_order=2, space_order=4)
    condition, (lookback, lag, gap) = IMAGING[imaging]
    s = grid.stepping_dim.spacing

    def build(save: Any) -> tuple[Operator, Operator]:
        u = TimeFunction(name="u", grid=grid, time_order=2, space_order=4, save=save)
        forward = Operator(
            [
                Eq(u.forward, solve(m * u.dt2 - u.laplace, u.forward)),
                source.inject(field=u.forward, expr=source * s**2 / m),
                receivers.interpolate(expr=u),
            ],
            name="Forward",
            language=language,
        )
        reverse = Operator(
            [
                Eq(v.backward, solve(m * v.dt2 - v.laplace, v.backward)),
                residual.inject(field=v.backward, expr=residual * s**2 / m),
                Inc(gradient, condition(u, v)),
            ],
            name="Gradient",
            language=language,
        )
        return forward, reverse

    arguments = {"dt": dt} if language == "C" else {"dt": dt, "nthreads": 2}
    return Case(build, (gradient,), receivers, residual, source, arguments, lookback, lag, gap)


@functools.cache
def tilted() -> Case:
    """Return Devito's example of a tilted transversely isotropic medium: two fields of second order."""
    from examples.seismic import demo_model
    from examples.seismic.tti.operators import kernel_centered

    model = demo_model("layers-tti", shape=(21, 21), spacing=(10.0, 10.0), nbl=4, space_order=4, nlayers=2)
    grid, m = model.grid, model.m
    dt = float(model.critical_dt)
    source, receivers, residual = geometry(grid, N + 2, dt)
    gradient = Function(name="dm", grid=grid)
    du = TimeFunction(name="du", grid=grid, time_order=2, space_order=4)
    dv = TimeFunction(name="dv", grid=grid, time_order=2, space_order=4)
    s = grid.stepping_dim.spacing

    def build(save: Any) -> Problem:
        u = TimeFunction(name="u0", grid=grid, time_order=2, space_order=4, save=save)
        v = TimeFunction(name="v0", grid=grid, time_order=2, space_order=4, save=save)
        forward = Operator(
            kernel_centered(model, u, v)
            + source.inject(field=(u.forward, v.forward), expr=source * s**2 / m)
            + receivers.interpolate(expr=u + v),
            subs=model.spacing_map,
            name="ForwardTTI",
        )
        reverse = Operator(
            kernel_centered(model, du, dv, forward=False)
            + residual.inject(field=(du.backward, dv.backward), expr=residual * s**2 / m)
            + [Inc(gradient, -(u * du.dt2 + v * dv.dt2))],
            subs=model.spacing_map,
            name="GradientTTI",
        )
        return Problem(forward=forward, reverse=reverse)

    return Case(build, (gradient,), receivers, residual, source, {"dt": dt}, 2, 0, 0)


@functools.cache
def viscoacoustic() -> Case:
    """Return Devito's example of a standard linear solid, second order: pressure and a memory variable.

    The reverse operator has a memory variable of its own with the name of the forward one, as in the example.
    """
    from examples.seismic import AcquisitionGeometry, demo_model
    from examples.seismic.viscoacoustic.operators import sls_2nd_order

    model = demo_model(
        "layers-viscoacoustic", shape=(21, 21), spacing=(10.0, 10.0), nbl=4, space_order=4, nlayers=2
    )
    grid, m = model.grid, model.m
    dt = float(model.critical_dt)
    point = np.array([[100.0, 100.0]])
    acquisition = AcquisitionGeometry(model, point, point, 0.0, (N + 1) * dt, f0=0.02, src_type="Ricker")
    source, receivers, residual = geometry(grid, N + 2, dt)
    gradient = Function(name="grad", grid=grid)
    adjoint = {"grid": grid, "time_order": 2, "space_order": 4}
    pa, ra = TimeFunction(name="pa", **adjoint), TimeFunction(name="r", **adjoint)
    s = grid.stepping_dim.spacing

    def build(save: Any) -> Problem:
        p = TimeFunction(name="p", grid=grid, time_order=2, space_order=4, save=save)
        # The reverse operator does not read it: a plain ring is enough.
        r = TimeFunction(name="r", grid=grid, time_order=2, space_order=4)
        forward = Operator(
            sls_2nd_order(model, acquisition, p, r)
            + source.inject(field=p.forward, expr=source * s**2 / m)
            + receivers.interpolate(expr=p),
            subs=model.spacing_map,
            name="ForwardSLS",
        )
        reverse = Operator(
            sls_2nd_order(model, acquisition, pa, ra, forward=False)
            + residual.inject(field=pa.backward, expr=residual * s**2 / m)
            + [Inc(gradient, -p * pa.dt2)],
            subs=model.spacing_map,
            name="GradientSLS",
        )
        return Problem(forward=forward, reverse=reverse)

    return Case(build, (gradient,), receivers, residual, source, {"dt": dt}, 2, 0, 0)


@functools.cache
def velocity_stress() -> Case:
    """Return pressure and particle velocity on staggered grids, first order in time."""
    grid = Grid(shape=(24, 22), extent=(230.0, 210.0))
    dt, nt = 2.0, N + 1
    b, lam = Function(name="b", grid=grid), Function(name="lam", grid=grid)
    b.data[:] = 1.0
    lam.data[:] = 1.5**2
    lam.data[:, 11:] = 2.0**2
    source, receivers, residual = geometry(grid, nt, dt)
    density, stiffness = Function(name="gb", grid=grid), Function(name="glam", grid=grid)
    va = VectorTimeFunction(name="va", grid=grid, time_order=1, space_order=4)
    pa = TimeFunction(name="pa", grid=grid, time_order=1, space_order=4)
    s = grid.stepping_dim.spacing

    def build(save: Any) -> Problem:
        v = VectorTimeFunction(name="v", grid=grid, time_order=1, space_order=4, save=save)
        p = TimeFunction(name="p", grid=grid, time_order=1, space_order=4, save=save)
        forward = Operator(
            [
                Eq(v.forward, v - s * b * grad(p)),
                Eq(p.forward, p - s * lam * div(v.forward)),
                source.inject(field=p.forward, expr=source * s),
                receivers.interpolate(expr=p),
            ],
            name="ForwardVP",
        )
        reverse = Operator(
            [
                Eq(pa.backward, pa + s * div(b * va)),
                Eq(va.backward, va + s * grad(lam * pa.backward)),
                residual.inject(field=pa.backward, expr=residual * s),
                Inc(stiffness, div(v) * pa),
                Inc(density, v[0] * va[0]),
            ],
            name="GradientVP",
        )
        return Problem(forward=forward, reverse=reverse)

    # Forward from time 0, reverse to time 1: timestep t needs what it wrote itself, the velocity of time t
    # + 1.
    return Case(build, (stiffness, density), receivers, residual, source, {"dt": dt}, 1, 1, 0)


CASES: dict[str, Callable[[], Case]] = {
    **{f"acoustic 2D {name}": functools.partial(acoustic, name) for name in IMAGING},
    "acoustic 1D": functools.partial(acoustic, "u*v.dt2", 1),
    "acoustic 3D": functools.partial(acoustic, "u*v.dt2", 3),
    "acoustic 3D u.dt2*v": functools.partial(acoustic, "u.dt2*v", 3),
    "acoustic 2D float64": functools.partial(acoustic, "u*v.dt2", 2, np.float64),
    # No two receivers touch the same point, so two threads add in one order.
    "acoustic 2D two threads": functools.partial(acoustic, "u*v.dt2", 2, np.float32, "openmp"),
    "tilted": tilted,
    "viscoacoustic": viscoacoustic,
    "velocity-stress": velocity_stress,
}


@functools.cache
def adjoint_of(name: str) -> CheckpointedAdjoint:
    """Return the adjoint of a case on a ring of RING slices with four snapshots; built once per session."""
    case = CASES[name]()
    return CheckpointedAdjoint(case.build, n_checkpoints=4, window=RING - case.gap, arguments=case.arguments)


@contextlib.contextmanager
def advances():
    """Let no call be too short to be run in short rings, and count the timesteps that are."""
    run, original, least = [], advancing.Advancing.apply_unrecorded, advancing._LEAST

    def apply_unrecorded(self, t_start, t_end):
        run.append(t_end - t_start)
        original(self, t_start, t_end)
        assert self._checkpoint.shortened

    advancing.Advancing.apply_unrecorded, advancing._LEAST = apply_unrecorded, 1
    try:
        yield run
    finally:
        advancing.Advancing.apply_unrecorded, advancing._LEAST = original, least


def short_rings(adjoint):
    """Return the operators for short rings of an adjoint that was made without."""
    made = adjoint._made
    sizes = building.Sizes.of(made)
    builder = building.Builder(build=adjoint._build, given=adjoint._given, team=adjoint._team)
    return builder.shorten(made, sizes.ring(sizes.min_window)).within(made)
