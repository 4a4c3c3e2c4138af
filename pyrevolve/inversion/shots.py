"""Acoustic shots for full waveform inversion: misfits, gradients and Gauss-Newton products, checkpointed.

With Devito's MPI every process calls the same methods with the same models, and all get the same results.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arguments import at_least, index
from ..budget import Bytes, default_budget, format_bytes, parse_bytes
from ..devito import CheckpointedAdjoint, Problem
from ..plans import Plan
from .acoustic import Acoustic, Shot

__all__ = ["AcousticShots", "Gather", "Survey"]

Array = npt.NDArray[np.float64]

#: Slower waves have no grid: 1 / v² is to stay far within float32 [km/s].
SLOWEST = 1e-3


@dataclass(frozen=True)
class Survey:
    """What all shots have in common.

    Parameters
    ----------
    shape : tuple of int
        Grid points of the velocity model, (x, z) or (x, y, z), each >= 2.
    spacing : float
        Grid spacing in every dimension, m, > 0.
    tn : float
        Recording time, ms, > 0.
    f0 : float
        Peak frequency of the Ricker wavelet, Hz, > 0.
    vmax : float
        The fastest velocity that will be asked for, km/s, > 0; the time step is chosen for it.
    layers : int
        Grid points of the absorbing layer on each side, >= 0.
    space_order : int
        Order of the stencil in space, even, >= 2.

    Raises
    ------
    TypeError
        A value is of another type.
    ValueError
        A value is out of range.
    """

    shape: tuple[int, ...]
    spacing: float
    tn: float
    f0: float
    vmax: float
    layers: int = 40
    space_order: int = 8

    def __post_init__(self) -> None:
        if not isinstance(self.shape, tuple):
            raise TypeError(f"shape must be a tuple such as (101, 101), got {self.shape!r}")
        if len(self.shape) not in (2, 3) or min(index("shape", points) for points in self.shape) < 2:
            raise ValueError(f"shape must be (x, z) or (x, y, z), each >= 2, got {self.shape}")
        for name in ("spacing", "tn", "f0", "vmax"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(f"{name} must be a number, got {value!r}")
            if not 0 < float(value) < float("inf"):
                raise ValueError(f"{name} must be > 0, got {value}")
        at_least("layers", self.layers, 0)
        if at_least("space_order", self.space_order, 2) % 2:
            raise ValueError(f"space_order must be even and >= 2, got {self.space_order}")


@dataclass(frozen=True)
class Gather:
    """One shot.

    Parameters
    ----------
    source : numpy.ndarray
        Position, shape (dimensions,), m, within the model.
    receivers : numpy.ndarray
        Positions, shape (receivers, dimensions), m, within the model. All gathers have the same number.
    observed : numpy.ndarray, optional
        Recorded pressure, shape (times, receivers), as `AcousticShots.simulate` returns it.
    """

    source: Array
    receivers: Array
    observed: npt.NDArray[np.float32] | None = field(default=None, repr=False)


class AcousticShots:
    """A problem for `ShotRunner`: the acoustic wave equation with constant density.

    The misfit of a shot is half the sum over receivers and times of (simulated - observed)² dt. Models are P
    velocities in km/s, and gradients are exact derivatives with respect to their grid values, those at the
    edges included, which go on through the absorbing layers. What does not fit the survey (positions outside
    of the model, another number of receivers or samples, velocities that are not > 0) is a ValueError,
    and complex numbers are a TypeError.

    Parameters
    ----------
    survey : Survey
        What all shots have in common.
    gather : Gather
        Any of the shots: how many receivers there are.
    memory : int, float or str, optional
        Budget for forward wavefields and snapshots [bytes], as of `pyrevolve.devito.CheckpointedAdjoint`.
    disk : int, float or str, optional
        Budget for snapshots on disk [bytes].
    second_order : bool
        Whether Gauss-Newton products will be asked for; they and gradients then have half of both budgets
        each.
    **options
        More for `CheckpointedAdjoint`: ``disk_dir=``, ``compression=``, ``cache=``, ...

    Notes
    -----
    The forward equation is m u_tt - laplace u + c u_t = q with m = 1 / v² and the damping c of the absorbing
    layers. With the adjoint field v of the residual, dJ/dm = - sum over t of u v_tt (Plessix 2006,
    doi:10.1111/j.1365-246X.2006.02978.x, equation 30 with the second derivative put on the adjoint).
    """

    def __init__(
        self,
        survey: Survey,
        gather: Gather,
        *,
        memory: Bytes | None = None,
        disk: Bytes | None = None,
        second_order: bool = False,
        **options: Any,
    ) -> None:
        start = np.full(survey.shape, survey.vmax)
        self.survey = survey
        self._model = Acoustic(start, survey.spacing, survey.layers, survey.space_order, vmax=survey.vmax)
        self._shot = Shot(
            self._model,
            survey.tn,
            f0=survey.f0 / 1000,
            receivers=np.asarray(gather.receivers, dtype=np.float64),
            source=np.asarray(gather.source, dtype=np.float64),
        )
        budget = default_budget() if memory is None else parse_bytes(memory)
        on_disk = None if disk is None else parse_bytes(disk, "disk")
        if second_order:
            budget, on_disk = budget // 2, None if on_disk is None else on_disk // 2
        self._options = {
            **options,
            "memory": budget,
            "disk": on_disk,
            "arguments": self._shot.arguments(),
        }
        self._second_order = second_order
        self._gradient = self._model.gradient_field()
        self._direction = self._model.gradient_field(name="dm")
        self._adjoint_field = self._model.wavefield(name="v")
        self._adjoints: dict[str, CheckpointedAdjoint] = {}
        self._operators: dict[str, tuple[Any, ...]] = {}

    def times(self, shot: Gather | None = None) -> Array:
        """Return the times of the recorded samples.

        Parameters
        ----------
        shot : Gather, optional
            Any: all have the same.

        Returns
        -------
        numpy.ndarray
            Shape (times,), ms.
        """
        return self._shot.dt * np.arange(self._shot.simulated.data.shape[0])

    def simulate(self, vp: npt.NDArray[Any], shot: Gather) -> npt.NDArray[np.float32]:
        """Return what the receivers record in a model.

        Parameters
        ----------
        vp : numpy.ndarray
            P velocity, shape of the survey, km/s.
        shot : Gather
            Where source and receivers are.

        Returns
        -------
        numpy.ndarray
            Pressure, shape (times, receivers), float32.
        """
        self._place(vp, shot)
        if "simulate" not in self._operators:
            u = self._model.wavefield()
            self._operators["simulate"] = self._model.forward(u, self._shot), u
        self._run("simulate")
        return self._recorded()

    def misfit(self, vp: npt.NDArray[Any], shot: Gather) -> float:
        """Return half the sum over receivers and times of (simulated - observed)² dt, without a gradient.

        Parameters
        ----------
        vp : numpy.ndarray
            P velocity, shape of the survey, km/s.
        shot : Gather
            The shot, with observed data.

        Returns
        -------
        float
            The misfit.

        Raises
        ------
        ValueError
            The shot has no observed data, or does not fit the survey.
        """
        return self._misfit(self.simulate(vp, shot) - self._observed(shot))

    def misfit_and_gradient(self, vp: npt.NDArray[Any], shot: Gather) -> tuple[float, Array]:
        """Return the misfit of a shot and its gradient.

        Parameters
        ----------
        vp : numpy.ndarray
            P velocity, shape of the survey, km/s.
        shot : Gather
            The shot, with observed data.

        Returns
        -------
        misfit : float
            Half the sum over receivers and times of (simulated - observed)² dt.
        gradient : numpy.ndarray
            Its derivative with respect to every value of `vp`, shape of the survey.

        Raises
        ------
        ValueError
            The shot has no observed data, or the model another shape or too high a velocity.
        """
        observed = self._observed(shot)
        self._place(vp, shot)
        adjoint = self._adjoint("gradient", self._build_gradient)
        self._gradient.data[:] = 0
        adjoint.forward()
        residual = self._recorded() - observed
        self._shot.residual.data[:] = residual * np.float32(self._shot.dt)
        adjoint.reverse()
        return self._misfit(residual), self._with_respect_to_velocity(vp)

    def born(
        self, vp: npt.NDArray[Any], direction: npt.NDArray[Any], shot: Gather
    ) -> npt.NDArray[np.float32]:
        """Return the derivative of the recorded data in a direction: the Born approximation.

        Parameters
        ----------
        vp, direction : numpy.ndarray
            P velocity and its change, shape of the survey, km/s.
        shot : Gather
            Where source and receivers are.

        Returns
        -------
        numpy.ndarray
            Shape (times, receivers), float32: to first order simulate(vp + direction) - simulate(vp).
        """
        self._place(vp, shot, direction)
        if "born" not in self._operators:
            u, scattered = self._model.wavefield(), self._model.wavefield(name="U")
            self._operators["born"] = self._born(u, scattered), u, scattered
        self._run("born")
        return self._recorded()

    def gauss_newton_product(self, vp: npt.NDArray[Any], direction: npt.NDArray[Any], shot: Gather) -> Array:
        """Return the product of the misfit's Gauss-Newton Hessian, J^T J dt, with a direction.

        J is the derivative of the recorded data; the Born operator's wavefield runs along in the first sweep
        only and takes no snapshots.

        Parameters
        ----------
        vp, direction : numpy.ndarray
            P velocity and its change, shape of the survey, km/s.
        shot : Gather
            Where source and receivers are.

        Returns
        -------
        numpy.ndarray
            Shape of the survey.

        Raises
        ------
        ValueError
            The problem was made without ``second_order=True``.

        References
        ----------
        Pratt, Shin and Hicks (1998), doi:10.1046/j.1365-246X.1998.00498.x, equation 14.
        """
        if not self._second_order:
            raise ValueError("Gauss-Newton products need AcousticShots(..., second_order=True)")
        self._place(vp, shot, direction)
        adjoint = self._adjoint("gauss_newton", self._build_gauss_newton)
        self._gradient.data[:] = 0
        adjoint.forward()
        self._shot.residual.data[:] = self._recorded() * np.float32(self._shot.dt)
        adjoint.reverse()
        return self._with_respect_to_velocity(vp)

    def illumination(self, vp: npt.NDArray[Any], shot: Gather) -> Array:
        """Return the sum over time of u_tt² dt: the source's part of the diagonal of the Hessian.

        Its sum over shots preconditions gradients (Shin, Jang and Min 2001,
        doi:10.1046/j.1365-2478.2001.00279.x).

        Parameters
        ----------
        vp : numpy.ndarray
            P velocity, shape of the survey, km/s.
        shot : Gather
            Where the source is.

        Returns
        -------
        numpy.ndarray
            Shape of the survey, >= 0.
        """
        self._place(vp, shot)
        if "illumination" not in self._operators:
            u, total = self._model.wavefield(), self._model.gradient_field()
            self._operators["illumination"] = self._model.illumination(u, self._shot, total), u, total
        self._run("illumination")
        total = self._everywhere(self._operators["illumination"][2])
        return np.asarray(self._model.physical(total), dtype=np.float64) * self._shot.dt

    def prepare(self) -> Plan:
        """Make the operators of gradients and plan for them now, and not with the first gradient.

        Returns
        -------
        Plan
            The plan.

        Raises
        ------
        BudgetError
            The budget is too small.
        """
        return self._adjoint("gradient", self._build_gradient).plan

    def close(self) -> None:
        """Give the memory of snapshots back; may be called again."""
        for adjoint in self._adjoints.values():
            adjoint.close()

    def __str__(self) -> str:
        parts = []
        for name, adjoint in self._adjoints.items():
            plan = adjoint.plan
            parts.append(
                f"{name.replace('_', '-')}: {plan.n_timesteps} timesteps, window {plan.window}, "
                f"{plan.n_snapshots} snapshots, "
                + (
                    f"{format_bytes(plan.planned_bytes)} planned"
                    if adjoint.revolver is None
                    else f"{format_bytes(adjoint.memory_held)} held"
                )
                + (f" and {format_bytes(adjoint.disk_held)} on disk" if adjoint.disk_held else "")
            )
        return "; ".join(parts) or "no gradient so far"

    # --- operators ------------------------------------------------------------------------------------------

    def _build_gradient(self, save: Any) -> Problem:
        u = self._model.wavefield(save)
        return Problem(
            forward=self._model.forward(u, self._shot),
            recompute=self._model.forward(u, self._shot, receivers=False),
            reverse=self._model.gradient(u, self._adjoint_field, self._shot, self._gradient),
        )

    def _build_gauss_newton(self, save: Any) -> Problem:
        u = self._model.wavefield(save)
        return Problem(
            forward=self._born(u, self._model.wavefield(name="U")),
            recompute=self._model.forward(u, self._shot, receivers=False),
            reverse=self._model.gradient(u, self._adjoint_field, self._shot, self._gradient),
        )

    def _born(self, u: Any, scattered: Any) -> Any:
        return self._model.born(u, scattered, self._direction, self._shot)

    def _adjoint(self, name: str, build: Any) -> CheckpointedAdjoint:
        if name not in self._adjoints:
            self._adjoints[name] = CheckpointedAdjoint(build, **self._options)
        return self._adjoints[name]

    def _run(self, name: str) -> None:
        """Run an operator from zero wavefields, without checkpoints."""
        operator, *fields = self._operators[name]
        for wavefield in fields:
            wavefield.data_with_halo[:] = 0
        operator.apply(**self._shot.arguments())

    # --- numbers --------------------------------------------------------------------------------------------

    def _place(self, vp: npt.NDArray[Any], shot: Gather, direction: npt.NDArray[Any] | None = None) -> None:
        """Set the model, the direction in which it changes, and the positions of a shot."""
        velocity = np.asarray(vp)
        if velocity.dtype.kind not in "fiu":
            raise TypeError(f"vp must be real numbers, got {velocity.dtype}")
        if velocity.shape == self.survey.shape and not (
            np.isfinite(velocity).all() and velocity.min() >= SLOWEST
        ):
            raise ValueError(f"vp must be finite and >= {SLOWEST} km/s, got values from {velocity.min():g}")
        self._model.set_velocity(velocity)
        receivers = (self._shot.simulated.npoint_global, len(self.survey.shape))
        self._shot.move(
            self._inside("source", shot.source, receivers[1:]),
            self._inside("receivers", shot.receivers, receivers),
        )
        if direction is not None:
            if np.iscomplexobj(direction):
                raise TypeError("direction must be real numbers, got complex ones")
            if np.shape(direction) != self.survey.shape:
                raise ValueError(
                    f"direction must have the shape {self.survey.shape}, got {np.shape(direction)}"
                )
            change = -2.0 * np.asarray(direction, dtype=np.float64) / np.asarray(vp, dtype=np.float64) ** 3
            self._direction.data[:] = np.pad(change, self._model.layers, mode="edge")

    def _inside(self, name: str, positions: npt.NDArray[Any], shape: tuple[int, ...]) -> Array:
        """Return positions of this shape, none of which is in the absorbing layers or beyond."""
        given = np.asarray(positions, dtype=np.float64)
        extent = (np.array(self.survey.shape) - 1) * self.survey.spacing
        if given.shape != shape:
            raise ValueError(f"{name} must have the shape {shape} as in the first gather, got {given.shape}")
        if not ((given >= 0).all() and (given <= extent).all()):
            raise ValueError(f"{name} must lie within the model, 0 to {extent} m, got {given}")
        return given

    def _observed(self, shot: Gather) -> npt.NDArray[np.float32]:
        if shot.observed is None:
            raise ValueError("the shot has no observed data; a misfit needs Gather(..., observed=...)")
        shape = (self._shot.steps + 2, self._shot.simulated.npoint_global)
        if np.shape(shot.observed) != shape:
            raise ValueError(f"observed must have the shape {shape}, got {np.shape(shot.observed)}")
        return shot.observed

    def _with_respect_to_velocity(self, vp: npt.NDArray[Any]) -> Array:
        """Return the gradient, with respect to m on the whole grid so far, with respect to the model."""
        total = self._everywhere(self._gradient).astype(np.float64)
        layers = self._model.layers
        for axis in range(total.ndim if layers else 0):
            # The adjoint of going on with the values at the edges.
            total = np.moveaxis(total, axis, 0)
            inside = total[layers:-layers].copy()
            inside[0] += total[:layers].sum(axis=0)
            inside[-1] += total[-layers:].sum(axis=0)
            total = np.moveaxis(inside, 0, axis)
        return np.asarray(-2.0 * total / np.asarray(vp, dtype=np.float64) ** 3)

    def _misfit(self, residual: npt.NDArray[Any]) -> float:
        return 0.5 * float(np.sum(residual.astype(np.float64) ** 2)) * self._shot.dt

    def _recorded(self) -> npt.NDArray[np.float32]:
        return self._everywhere(self._shot.simulated)

    def _everywhere(self, function: Any) -> npt.NDArray[np.float32]:
        """Return the values of a function on the whole grid, in every process."""
        distributor = self._model.grid.distributor
        if distributor.nprocs == 1:
            return np.array(function.data)
        gathered = function.data_gather(rank=0)
        return np.asarray(distributor.comm.bcast(gathered if distributor.myrank == 0 else None, root=0))
