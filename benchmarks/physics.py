"""The problems of storage.py: forward and gradient operators of cheap and of expensive physics.

Each has ``fields(save)`` (the forward fields), ``operators(fields)`` (forward, gradient), ``clear(fields)``,
``gradient``, ``arguments``, ``steps``, ``slice_bytes`` (one slice of every forward field) and ``cells``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import load
from devito import Eq, Function, Inc, Operator, TimeFunction, cos, sin, solve, sqrt

acoustic = load("acoustic")


def velocity(given):
    """Return a velocity model, km/s, x slowest."""
    if given.get("model"):
        return np.fromfile(Path(given["model"]), "<f4").reshape(given["shape"])
    shape = given["shape"]
    depth = np.arange(shape[-1]) / shape[-1] + 0.1 * np.sin(np.arange(shape[0]) / shape[0] * 7)[:, None]
    vp = (1.5 + 3.2 * np.clip(np.floor(8 * depth) / 8, 0, 1)).astype(np.float32)
    if len(shape) == 3:
        vp = np.ascontiguousarray(np.broadcast_to(vp[:, None, :], shape))
    return vp


class Isotropic:
    """The acoustic wave equation, in 2D or 3D."""

    def __init__(self, given):
        layers = given.get("layers", 40)
        self.model = acoustic.Acoustic(velocity(given), given["spacing"], layers=layers)
        self.shot = acoustic.Shot(self.model, given["tn"])
        if given.get("steps"):
            self.shot = acoustic.Shot(self.model, (given["steps"] - 1) * self.shot.dt * 0.9999)
        self.gradient = self.model.gradient_field()
        self.adjoint = self._fields("v", None)
        # Any residual does that is there at all times, so that every timestep counts in the gradient.
        self.shot.residual.data[:] = np.random.default_rng(0).standard_normal(
            self.shot.residual.data.shape, np.float32
        )
        self.arguments = self.shot.arguments()
        self.steps = self.shot.steps
        self.cells = int(np.prod(self.model.grid.shape))
        self.slice_bytes = sum(field.data_with_halo[0].nbytes for field in self._fields("u", None))

    def _fields(self, name, save):
        return (self.model.wavefield(save, name=name),)

    def fields(self, save):
        return self._fields("u", save)

    def clear(self, fields):
        for field in fields:
            field.data_with_halo[:2] = 0
        for field in self.adjoint:
            field.data_with_halo[:] = 0

    def operators(self, fields):
        return (
            self.model.forward(*fields, self.shot),
            self.model.gradient(*fields, *self.adjoint, self.shot, self.gradient),
        )


class TiltedTransverse(Isotropic):
    """The pseudo-acoustic equations of tilted transversely isotropic media in 2D.

    Two coupled fields, with rotated second derivatives made of nested first ones (Y. Zhang, H. Zhang, G.
    Zhang (2011), A stable TTI reverse time migration and its implementation, Geophysics 76(3), WA3-WA11,
    doi:10.1190/1.3554411).
    """

    def __init__(self, given):
        super().__init__(given)
        self.epsilon, self.delta, self.theta = (
            Function(name=name, grid=self.model.grid, space_order=self.model.space_order)
            for name in ("epsilon", "delta", "theta")
        )
        slowness = self.model.m.data
        depth = (slowness.max() - slowness) / (slowness.max() - slowness.min())
        self.epsilon.data[:], self.delta.data[:] = 0.2 * depth, 0.1 * depth
        self.theta.data[:] = 0.4 * depth

    def _fields(self, name, save):
        return tuple(
            TimeFunction(
                name=name + part,
                grid=self.model.grid,
                time_order=2,
                space_order=self.model.space_order,
                save=save,
            )
            for part in ("p", "r")
        )

    def operators(self, fields):
        (p, r), (vp, vr), model, shot = fields, self.adjoint, self.model, self.shot
        wide, narrow = 1 + 2 * self.epsilon, sqrt(1 + 2 * self.delta)
        along = self._second_along
        dt2 = model.grid.stepping_dim.spacing**2

        def step(field, right, forward):
            left = model.m * field.dt2 + model.damp * (field.dt if forward else field.dt.T)
            ahead = field.forward if forward else field.backward
            return Eq(ahead, solve(left - right, ahead))

        across = p.laplace - along(p)
        forward = [
            step(p, wide * across + narrow * along(r), True),
            step(r, narrow * across + along(r), True),
        ]
        for field in (p, r):
            forward += shot.source.inject(field.forward, expr=shot.source * dt2 / model.m)
        forward += shot.simulated.interpolate(expr=p + r)
        # The transpose: the derivatives are their own, the factors change sides.
        mixed, straight = wide * vp + narrow * vr, narrow * vp + vr
        reverse = [
            step(vp, mixed.dx2 + mixed.dy2 - along(mixed), False),
            step(vr, along(straight), False),
        ]
        for field in (vp, vr):
            reverse += shot.residual.inject(field.backward, expr=shot.residual * dt2 / model.m)
        reverse.append(Inc(self.gradient, -(p * vp.dt2 + r * vr.dt2)))
        return Operator(forward, name="ForwardTTI"), Operator(reverse, name="GradientTTI")

    def _second_along(self, expression):
        """Return the second derivative along the axis of symmetry."""
        first = sin(self.theta) * expression.dx + cos(self.theta) * expression.dy
        return (sin(self.theta) * first).dx + (cos(self.theta) * first).dy


PROBLEMS = {"acoustic": Isotropic, "tti": TiltedTransverse}
