"""The acoustic wave equation and its gradient with Devito; knows nothing of checkpointing.

The demonstration, the inversion and the benchmarks share it, whichever package does the checkpointing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from devito import Eq, Function, Grid, Inc, Operator, SparseTimeFunction, TimeFunction, solve

__all__ = ["MOST_STEPS", "Acoustic", "Shot"]

#: Timesteps of a shot; source and receivers have a value for each.
MOST_STEPS = 10_000_000


class Acoustic:
    """m u_tt - laplace u + damp u_t = source in two or three dimensions, with absorbing layers all around.

    Parameters
    ----------
    vp : numpy.ndarray
        P velocity, shape (x, z) or (x, y, z), km/s.
    spacing : float
        Grid spacing in every dimension, m.
    layers : int
        Grid points of the absorbing layer on each side.
    space_order : int
        Order of the stencil in space, even.
    vmax : float, optional
        The fastest velocity that will be set, km/s, for which the time step is chosen; the model's own by
        default.
    """

    def __init__(
        self,
        vp: npt.NDArray[np.floating[Any]],
        spacing: float,
        layers: int = 40,
        space_order: int = 8,
        vmax: float | None = None,
    ) -> None:
        self.spacing = float(spacing)
        self.layers = int(layers)
        self.space_order = int(space_order)
        self.physical_shape = tuple(vp.shape)
        shape = tuple(n + 2 * self.layers for n in vp.shape)
        self.grid = Grid(
            shape=shape,
            extent=tuple((n - 1) * self.spacing for n in shape),
            origin=(-self.layers * self.spacing,) * len(shape),
            dtype=np.float32,
        )
        self.vmax = float(vp.max()) if vmax is None else float(vmax)
        self.m = Function(name="m", grid=self.grid, space_order=self.space_order)
        self.set_velocity(vp)
        self.damp = Function(name="damp", grid=self.grid, space_order=0)
        self.damp.data[:] = self._damping()

    @property
    def dt(self) -> float:
        """Time step, 93% of the stability limit of the second-order scheme, ms."""
        u = TimeFunction(name="u", grid=self.grid, time_order=2, space_order=self.space_order)
        weights = np.array([float(w) for w in _second_derivative_weights(u)])
        limit = 2.0 / math.sqrt(self.grid.dim * np.abs(weights).sum()) * self.spacing / self.vmax
        return float(f"{0.93 * limit:.3g}")

    def set_velocity(self, vp: npt.NDArray[np.floating[Any]]) -> None:
        """Set the velocity model; values at the edges go on through the absorbing layers.

        Parameters
        ----------
        vp : numpy.ndarray
            P velocity, shape `physical_shape`, km/s, > 0 and not above `vmax`.

        Raises
        ------
        ValueError
            It has another shape, or is faster than the time step allows.
        """
        if tuple(vp.shape) != self.physical_shape:
            raise ValueError(f"vp must have the shape {self.physical_shape}, got {vp.shape}")
        if not vp.max() <= self.vmax * (1 + 1e-6):
            raise ValueError(f"vp must not exceed {self.vmax} km/s, for which the time step was chosen")
        self.m.data[:] = np.pad(1.0 / vp.astype(np.float64) ** 2, self.layers, mode="edge")

    def _damping(self) -> npt.NDArray[np.float64]:
        """Quadratic-like profile that grows from 0 at the model's edge; Sochacki et al. (1987)."""
        total = np.zeros(self.grid.shape)
        strength = 1.5 * math.log(1000.0) / self.layers if self.layers else 0.0
        for axis, n in enumerate(self.grid.shape):
            index = np.arange(n)
            depth = np.maximum(0, np.maximum(self.layers - index, index - (n - 1 - self.layers)))
            position = depth / max(1, self.layers)
            profile = strength * (position - np.sin(2 * np.pi * position) / (2 * np.pi)) / self.spacing
            total += profile.reshape([-1 if i == axis else 1 for i in range(self.grid.dim)])
        return total

    def physical(self, field: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the part of a grid array that is not in the absorbing layers.

        Parameters
        ----------
        field : numpy.ndarray
            Shape of the grid, absorbing layers included.

        Returns
        -------
        numpy.ndarray
            A view of shape `physical_shape`.
        """
        inside = slice(self.layers, -self.layers or None)
        return np.asarray(field[(inside,) * self.grid.dim])

    def wavefield(self, save: Any = None, name: str = "u") -> Any:
        """Make a field of second order in time.

        Parameters
        ----------
        save : int or devito.Buffer, optional
            Slices that it keeps, as Devito takes it. None: three.
        name : str
            Its name.

        Returns
        -------
        devito.TimeFunction
            Zero everywhere.
        """
        return TimeFunction(name=name, grid=self.grid, time_order=2, space_order=self.space_order, save=save)

    def forward(self, u: Any, shot: Shot, *, receivers: bool = True) -> Any:
        """Make the operator that steps `u` forward.

        Parameters
        ----------
        u : devito.TimeFunction
            The wavefield.
        shot : Shot
            Its source, and the receivers that record `u`.
        receivers : bool
            Whether they do; timesteps that are run again need none.

        Returns
        -------
        devito.Operator
            Takes what `Shot.arguments` returns.
        """
        equations = self._step(u, shot)
        if receivers:
            equations.append(shot.simulated.interpolate(expr=u))
        return Operator(equations, name="Forward")

    def gradient(self, u: Any, v: Any, shot: Shot, gradient: Any) -> Any:
        """Make the operator that steps the adjoint `v` backward and adds -u v_tt to `gradient`.

        Parameters
        ----------
        u, v : devito.TimeFunction
            The wavefield, which is read, and the adjoint one.
        shot : Shot
            Whose residual is the source of `v`.
        gradient : devito.Function
            Where dJ/dm goes, from `gradient_field`.

        Returns
        -------
        devito.Operator
            Takes what `Shot.arguments` returns.

        References
        ----------
        Plessix (2006), doi:10.1111/j.1365-246X.2006.02978.x, equation 30.
        """
        step = solve(self.m * v.dt2 - v.laplace + self.damp * v.dt.T, v.backward)
        dt2 = v.grid.stepping_dim.spacing**2
        equations = [
            Eq(v.backward, step),
            shot.residual.inject(v.backward, expr=shot.residual * dt2 / self.m),
            Inc(gradient, -u * v.dt2),
        ]
        return Operator(equations, name="Gradient")

    def born(self, u: Any, scattered: Any, dm: Any, shot: Shot) -> Any:
        """Make the operator that steps `u`, and the first-order change of it that `dm` makes of m.

        The receivers record `scattered`, the derivative of the wavefield in the direction `dm`.

        Parameters
        ----------
        u, scattered : devito.TimeFunction
            The wavefield and its change.
        dm : devito.Function
            The change of m = 1 / v², s²/km².
        shot : Shot
            Source and receivers.

        Returns
        -------
        devito.Operator
            Takes what `Shot.arguments` returns.
        """
        change = solve(
            self.m * scattered.dt2 - scattered.laplace + self.damp * scattered.dt + dm * u.dt2,
            scattered.forward,
        )
        equations = [
            *self._step(u, shot),
            Eq(scattered.forward, change),
            shot.simulated.interpolate(expr=scattered),
        ]
        return Operator(equations, name="Born")

    def illumination(self, u: Any, shot: Shot, illumination: Any) -> Any:
        """Make the operator that steps `u` forward and adds u_tt squared to `illumination`.

        Parameters
        ----------
        u : devito.TimeFunction
            The wavefield.
        shot : Shot
            Its source.
        illumination : devito.Function
            From `gradient_field`.

        Returns
        -------
        devito.Operator
            Takes what `Shot.arguments` returns.
        """
        return Operator([*self._step(u, shot), Inc(illumination, u.dt2 * u.dt2)], name="Illumination")

    def _step(self, u: Any, shot: Shot) -> list[Any]:
        """Return the equations of a forward timestep of `u` with the shot's source."""
        step = solve(self.m * u.dt2 - u.laplace + self.damp * u.dt, u.forward)
        dt2 = u.grid.stepping_dim.spacing**2
        return [Eq(u.forward, step), shot.source.inject(u.forward, expr=shot.source * dt2 / self.m)]

    def gradient_field(self, name: str = "gradient") -> Any:
        """Make a function on the grid, such as the one that a gradient operator adds to.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        devito.Function
            Zero everywhere, without a halo.
        """
        return Function(name=name, grid=self.grid, space_order=0)


class Shot:
    """One source and its receivers.

    Parameters
    ----------
    model : Acoustic
        Where the shot is.
    tn : float
        Recording time, ms.
    f0 : float
        Peak frequency of the Ricker wavelet, kHz.
    receivers : int or numpy.ndarray, optional
        Positions, shape (receivers, dimensions), m, within the model; or a number of receivers, spread over
        the first dimension. By default one for every three grid points, so that no two touch the same point
        and results do not depend on the order in which threads add.
    dt : float, optional
        Time step, ms; the model's by default.
    source : numpy.ndarray, optional
        Position, shape (dimensions,), m, within the model; near the surface in the middle by default.

    Raises
    ------
    ValueError
        `tn` has more than `MOST_STEPS` timesteps.
    """

    def __init__(
        self,
        model: Acoustic,
        tn: float,
        f0: float = 0.015,
        receivers: int | npt.NDArray[np.float64] | None = None,
        dt: float | None = None,
        source: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.dt = model.dt if dt is None else dt
        if not tn < MOST_STEPS * self.dt:
            raise ValueError(
                f"tn must be < {MOST_STEPS * self.dt:.3g} ms, {MOST_STEPS} timesteps, got {tn:g}"
            )
        self.steps = math.ceil(tn / self.dt) + 1
        self.f0 = f0
        # Coordinates between grid points, so that Devito spreads every point over its neighbours.
        extent = [(n - 1) * model.spacing for n in model.physical_shape]
        middle = [0.5 * e + 0.3 * model.spacing for e in extent]
        depth = 2.3 * model.spacing
        if receivers is None:
            receivers = max(1, (model.physical_shape[0] - 1) // 3)
        if isinstance(receivers, np.ndarray):
            where = receivers
        else:
            where = np.zeros((receivers, model.grid.dim))
            where[:, :] = middle
            where[:, 0] = np.linspace(1.3 * model.spacing, extent[0] - 1.3 * model.spacing, receivers)
            where[:, -1] = depth
        position = np.array([*middle[:-1], depth]) if source is None else source
        self.source = self._points(model, "src", position[np.newaxis])
        self.source.data[:, 0] = self.wavelet()
        self.simulated = self._points(model, "rec", where)
        self.residual = self._points(model, "res", where)

    def _points(self, model: Acoustic, name: str, coordinates: npt.NDArray[np.float64]) -> Any:
        return SparseTimeFunction(
            name=name, grid=model.grid, npoint=len(coordinates), nt=self.steps + 2, coordinates=coordinates
        )

    def wavelet(self) -> npt.NDArray[np.float64]:
        """Ricker wavelet of peak frequency f0, one value per time index."""
        time = self.dt * np.arange(self.steps + 2)
        phase = (np.pi * self.f0 * (time - 1.0 / self.f0)) ** 2
        return np.asarray((1.0 - 2.0 * phase) * np.exp(-phase))

    def move(self, source: npt.NDArray[np.float64], receivers: npt.NDArray[np.float64]) -> None:
        """Put the source and the same number of receivers elsewhere.

        Parameters
        ----------
        source : numpy.ndarray
            Position, shape (dimensions,), m, within the model.
        receivers : numpy.ndarray
            Positions, shape (receivers, dimensions), m, within the model.
        """
        self.source.coordinates.data[:] = source[np.newaxis]
        self.simulated.coordinates.data[:] = receivers
        self.residual.coordinates.data[:] = receivers

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that every operator of this shot is given: ``steps`` timesteps of ``dt``."""
        return {"dt": self.dt, "time_m": 1, "time_M": self.steps}


def _second_derivative_weights(u: Any) -> list[Any]:
    """Return the finite-difference weights of u_xx on a grid of spacing 1."""
    x = u.grid.dimensions[0]
    expression = u.dx2.evaluate.subs({x.spacing: 1})
    return [expression.coeff(term) for term in expression.atoms(type(u))]
