"""The two classes that users subclass, and Devito's own adapter with them."""

from __future__ import annotations

import numpy as np
import pytest

from pyrevolve import Checkpoint, Operator, Revolver


class OldStyle(Checkpoint):
    """As subclasses were written for version 2: nothing is declared that is new."""

    def __init__(self, field):
        self.field = field

    @property
    def dtype(self):
        return self.field.dtype

    @property
    def size(self):
        return self.field.size

    def get_data(self, timestep):
        return [self.field]

    def get_data_location(self, timestep):
        return [self.field]


def test_what_a_checkpoint_declares_where_it_says_nothing():
    checkpoint = OldStyle(np.zeros(3))
    assert (checkpoint.window, checkpoint.lookback, checkpoint.lag, checkpoint.window_bytes) == (
        1,
        0,
        None,
        0,
    )
    with pytest.raises(NotImplementedError, match=r"OldStyle .* initial_state=\"stored\""):
        checkpoint.set_initial()


@pytest.mark.parametrize("missing", ["dtype", "size", "get_data", "get_data_location"])
def test_checkpoint_must_be_complete(missing):
    members = {name: getattr(OldStyle, name) for name in ("dtype", "size", "get_data", "get_data_location")}
    del members[missing]
    with pytest.raises(TypeError, match=missing):
        type("Incomplete", (Checkpoint,), members)()


def test_operator_must_be_complete():
    with pytest.raises(TypeError, match="apply"):
        type("Incomplete", (Operator,), {})()


def test_version_2_code_runs():
    field = np.zeros(4)
    reversed_steps = []

    class Forward(Operator):
        def apply(self, **kwargs):
            field[:] += kwargs["t_end"] - kwargs["t_start"]

    class Reverse(Operator):
        def apply(self, **kwargs):
            assert (field == kwargs["t_end"]).all()
            reversed_steps.extend(reversed(range(kwargs["t_start"], kwargs["t_end"])))

    revolver = Revolver(OldStyle(field), Forward(), Reverse(), 4, 40)
    revolver.apply_forward()
    assert (field == 40).all()
    revolver.apply_reverse()
    assert reversed_steps == list(range(39, -1, -1))


@pytest.mark.devito
@pytest.mark.parametrize("n_checkpoints", [1, 3, None])
def test_gradient_with_the_adapter_of_devito(n_checkpoints):
    """The sum of u[t] v[t] over two wave equations, with Devito's own Checkpoint and Operator."""
    devito = pytest.importorskip(
        "devito", reason="Devito's adapter is tested with Devito: pip install devito"
    )
    grid = devito.Grid(shape=(21, 17), extent=(20.0, 16.0), dtype=np.float64)
    n = 50
    dt = 0.4

    def build(save):
        u = devito.TimeFunction(name="u", grid=grid, time_order=2, space_order=4, save=save)
        v = devito.TimeFunction(name="v", grid=grid, time_order=2, space_order=4)
        gradient = devito.Function(name="gradient", grid=grid)
        forward = devito.Operator(devito.Eq(u.forward, devito.solve(u.dt2 - u.laplace, u.forward)))
        backward = devito.Eq(v.backward, devito.solve(v.dt2 - v.laplace, v.backward))
        reverse = devito.Operator([backward, devito.Inc(gradient, u * v)])
        return u, v, gradient, forward, reverse

    def start(u):
        u.data[:] = 0.0
        u.data[0, 10, 8] = u.data[1, 10, 8] = 1.0

    def residual(u, v, last):
        v.data[:] = 0.0
        v.data[(n + 1) % 3] = u.data[last]

    with devito.switchconfig(log_level="WARNING"):
        u, v, expected, forward, reverse = build(n + 2)
        start(u)
        forward(time_m=1, time_M=n, dt=dt)
        residual(u, v, n + 1)
        reverse(time_m=1, time_M=n, dt=dt)

        u, v, gradient, forward, reverse = build(None)
        keywords = {"time_m": 1, "time_M": n, "dt": dt}
        revolver = Revolver(
            devito.DevitoCheckpoint([u]),
            devito.CheckpointOperator(forward, **keywords),
            devito.CheckpointOperator(reverse, **keywords),
            n_checkpoints,
            n,
        )
        for _ in range(2):
            gradient.data[:] = 0.0
            start(u)
            revolver.apply_forward()
            residual(u, v, (n + 1) % 3)
            revolver.apply_reverse()
            assert np.linalg.norm(expected.data) > 0
            assert gradient.data.tobytes() == expected.data.tobytes()
            revolver.reset()
