"""Timesteps that are run in short rings within the long ones: the same gradients, bit for bit."""

from __future__ import annotations

import contextlib
import ctypes
import functools

import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")

import numpy as np
from devito import Buffer, Constant, Eq, Function, Grid, Inc, Operator, SubDomain, TimeFunction
from devito.data.allocators import ALLOC_GUARD, PosixAllocator
from devito_problems import N, acoustic, adjoint_of, advances, short_rings
from test_devito_journal import Simulation, StoppedError, stopping

from pyrevolve import Costs
from pyrevolve.devito import CheckpointedAdjoint, Problem, TimeFunctionCheckpoint, building
from pyrevolve.devito.memory import HugePages, in_huge_pages

pytestmark = pytest.mark.devito

COSTS = Costs(forward_step=1.0, reverse_step=1.0, save=0.5, load=0.5)


def test_recompute_operators_are_run_in_short_rings_too():
    case, window = acoustic(), 4

    def build(save):
        forward, reverse = case.build(save)
        return Problem(forward=forward, reverse=reverse, recompute=forward)

    with CheckpointedAdjoint(
        case.build, n_checkpoints=3, window=window + 3, arguments=case.arguments
    ) as plain:
        expected = case.shot(plain)["grad"]
    with (
        CheckpointedAdjoint(build, n_checkpoints=3, window=window + 3, arguments=case.arguments) as adjoint,
        advances() as run,
    ):
        adjoint._made.advancing = short_rings(adjoint)
        assert set(adjoint._made.advancing) == {"forward", "recompute"}
        adjoint.forward()
        swept = sum(run)
        assert N - 10 - window <= swept < N
        case.results[0].data_with_halo[:] = 0
        case.residual.data[:] = np.asarray(case.receivers.data) ** 3 + 0.5 * np.asarray(case.receivers.data)
        adjoint.reverse()
        assert sum(run) > swept
        assert np.array_equal(case.results[0].data, expected)


def test_run_goes_on_from_its_journal_wherever_the_state_was(tmp_path):
    simulation = Simulation()
    expected = simulation.stored()
    stopped = 0
    for after in range(1, 60, 3):
        folder = tmp_path / str(after)
        options = {"resume": folder, "resume_interval": 0.0, "n_checkpoints": 2, "window": 6}
        with simulation.adjoint(**options) as adjoint, advances() as run:
            adjoint._made.advancing = short_rings(adjoint)
            with contextlib.suppress(StoppedError), stopping(after):
                simulation.shot(adjoint)
            assert run
        stopped += folder.exists()
        simulation.gradient.data[:] = np.nan
        with simulation.adjoint(**options) as adjoint, advances():
            adjoint._made.advancing = short_rings(adjoint)
            assert simulation.shot(adjoint) == expected
        assert not folder.exists()
    assert stopped > 5


def test_next_shot_is_right_after_one_that_was_left_in_short_rings():
    case = acoustic()
    with (
        CheckpointedAdjoint(case.build, n_checkpoints=2, window=9, arguments=case.arguments) as adjoint,
        advances() as run,
    ):
        expected = case.shot(adjoint)["grad"]
        adjoint._made.advancing = short_rings(adjoint)
        for after in (1, 2, 3):
            run.clear()
            with pytest.raises(StoppedError), stopping(after):
                case.shot(adjoint)
            assert run
            assert np.array_equal(case.shot(adjoint)["grad"], expected)


# --- whether it is worth it


def test_whether_short_rings_are_used_is_measured(monkeypatch):
    case = acoustic()
    built = functools.cache(lambda ring: case.build(Buffer(ring)))  # takes longer than all else that is done
    options = {"memory": 16 * 35 * 31 * 4, "arguments": case.arguments, "costs": COSTS}

    def build(save):
        return built(save.val)

    with CheckpointedAdjoint(build, **options) as plain:
        expected = case.shot(plain)["grad"]
    gains = {}
    for gain in (0.5, -0.5):
        with monkeypatch.context() as patched:
            patched.setattr(building, "measure_gain", lambda *_, gain=gain, **__: gain)
            with CheckpointedAdjoint(build, **options) as adjoint:
                gains[gain] = set(adjoint._made.advancing)
                assert np.array_equal(case.shot(adjoint)["grad"], expected)
                measured = adjoint.measure_costs()
                if gain < 0:
                    assert measured.recording == 0.0
                assert measured.forward_step + measured.recording > 0
    assert gains == {0.5: {"forward"}, -0.5: set()}
    # Nothing is compiled for gradients that take no time, nor where nothing is run again.
    with monkeypatch.context() as patched:
        patched.setattr(building.Builder, "shorten", lambda *_: pytest.fail("it is not worth it"))
        quick = Costs(forward_step=1e-4, reverse_step=1e-4)
        CheckpointedAdjoint(build, **{**options, "costs": quick}).close()
        CheckpointedAdjoint(build, **{**options, "memory": "1 MB"}).close()


def test_gain_is_measured_and_leaves_everything_as_it_was():
    case, adjoint = acoustic(), adjoint_of("acoustic 2D u*v.dt2")
    made = adjoint._made
    before = case.shot(adjoint)["grad"]
    receivers = np.array(case.receivers.data)
    found = short_rings(adjoint)["forward"]
    gain = building.measure_gain(found, made.forward, made.checkpoint, N)
    assert -20 < gain < 1
    assert np.array_equal(case.receivers.data, receivers)
    assert not made.checkpoint.shortened
    assert np.array_equal(case.shot(adjoint)["grad"], before)


class Decay:
    """u(t+1) = c u(t) + 1, whose gradient is the sum of u over all timesteps; made in some strange way."""

    def __init__(self, strange):
        self.strange = strange
        self.grid = Grid(shape=(9, 8))
        self.gradient = Function(name="grad", grid=self.grid)
        self.v = TimeFunction(name="v", grid=self.grid, time_order=1)
        self.v.data[:] = 1.0
        self.built = []
        self.u = None

    def build(self, save):
        self.built.append(save.val)
        factor = Constant(name="factor", value=0.5)
        named = {}
        if self.strange == "names":
            factor = Constant(name=f"factor{len(self.built)}", value=0.5)
        if self.strange == "least":
            save = Buffer(max(save.val, 5))
        if self.strange == "none so short" and save.val < 4:
            raise ValueError("a ring needs four slices")
        if self.strange == "equations" and save.val < 4:
            factor = 0.25
        u = self.u = TimeFunction(name="u", grid=self.grid, time_order=1, save=save)
        written = u
        if self.strange == "alias":
            written = TimeFunction(name="w", grid=self.grid, time_order=1, save=save)
            named = {"forward_arguments": {"w": u}}
        forward = Operator([Eq(written.forward, factor * written + 1.0)], name="Forward")
        reverse = Operator([Eq(self.v.backward, self.v), Inc(self.gradient, u * self.v)], name="Reverse")
        return Problem(forward=forward, reverse=reverse, **named)


@pytest.mark.parametrize("strange", ["", "names", "equations", "least", "none so short", "alias"])
def test_factories_that_make_something_else_for_short_rings(strange, caplog, monkeypatch):
    monkeypatch.setattr(building, "measure_gain", lambda *_, **__: 0.5)
    decay = Decay(strange)
    arguments = {"time_m": 0, "time_M": 49}
    with (
        CheckpointedAdjoint(
            decay.build, memory=4500, arguments=arguments, costs=COSTS, adjoint="keep"
        ) as adjoint,
        advances() as run,
    ):
        assert bool(adjoint._made.advancing) == (strange == "")
        assert adjoint.plan.forward_steps > 50
        if strange != "alias":  # by which timesteps cannot be run again at all
            adjoint.forward()
            adjoint.reverse()
        assert bool(run) == (strange == "")
        # What was made last is what runs.
        assert adjoint.fields == (decay.u,)
        assert decay.built[-1] == adjoint.ring
    found = "all timesteps are run in the long rings: "
    found += {
        "": "nothing",
        "names": "build(save) makes an operator Forward whose parameters factor",
        "equations": "build(save) makes operators that read and write differently",
        "least": "build(save) makes operators that read and write differently",
        "none so short": "a ring needs four slices",
        "alias": "the operator Forward knows the field u by another name",
    }[strange]
    assert (found in caplog.text) == (strange != "")
    if strange == "alias":
        return
    x, total = np.float32(0), np.float32(0)
    for _ in range(50):
        total, x = total + x, np.float32(0.5) * x + np.float32(1)
    assert np.allclose(decay.gradient.data, total, rtol=1e-6)


def test_what_the_factory_puts_into_the_fields_stays(monkeypatch):
    """x_0, halos, and points inside the domain that no timestep writes."""
    inner = type(
        "Inner", (SubDomain,), {"name": "inner", "define": lambda _, d: dict.fromkeys(d, ("middle", 1, 1))}
    )
    grid = Grid(shape=(7, 6), subdomains=(inner(),))
    gradient, v = Function(name="grad", grid=grid), TimeFunction(name="v", grid=grid, time_order=1)
    monkeypatch.setattr(building, "_LEAST_GAIN", -1e9)
    measured = []

    def build(save):
        u = TimeFunction(name="u", grid=grid, time_order=1, space_order=2, save=save)
        u.data_with_halo[:] = 3.0  # edges and halo are a boundary condition
        u.data[0, 1:-1, 1:-1] = 2.0
        step = Eq(u.forward, 0.5 * u + 1e-3 * u.laplace, subdomain=grid.subdomains["inner"])
        return (
            Operator([step], name="Forward"),
            Operator([Eq(v.backward, v), Inc(gradient, u * v)], name="Reverse"),
        )

    def measure_gain(*arguments, **keywords):
        measured.append(original(*arguments, **keywords))
        return measured[-1]

    original = building.measure_gain
    monkeypatch.setattr(building, "measure_gain", measure_gain)
    results = []
    arguments = {"time_m": 0, "time_M": 39}
    for options in ({"n_checkpoints": 1, "window": 50}, {"memory": 6000, "costs": COSTS}):
        v.data[:] = 1.0
        gradient.data[:] = 0.0
        with (
            CheckpointedAdjoint(
                build, initial="keep", adjoint="keep", arguments=arguments, **options
            ) as adjoint,
            advances() as run,
        ):
            adjoint.forward()
            adjoint.reverse()
            assert bool(run) == bool(measured) == ("memory" in options)
        results.append(np.array(gradient.data))
    assert results[0].max() == 120.0  # at the edges
    assert np.array_equal(*results)


# --- where the state is


@pytest.mark.parametrize("ring", [6, 7, 8, 9, 20, 23])
@pytest.mark.parametrize(("order", "length"), [(1, 2), (1, 3), (2, 3), (2, 4)])
def test_state_is_moved_whole_and_back(ring, order, length):
    grid = Grid(shape=(3, 2))
    field = TimeFunction(name="f", grid=grid, time_order=order, save=Buffer(ring))
    fixed = TimeFunction(name="g", grid=grid, time_order=2)
    checkpoint = TimeFunctionCheckpoint([field, fixed], offset=1)
    data, other = (np.asarray(function.data_with_halo) for function in (field, fixed))

    def held(t):
        return [array.flat[0] for array in checkpoint.get_data(t)]

    for start in range(2 * ring + 3):
        for steps in (0, 1, 2, 3, 5, 7, 11):
            checkpoint.give_up()
            for number, array in enumerate(checkpoint.get_data(start)):
                array.fill(number + 1)
            checkpoint.shorten(start, {"f": length})
            assert checkpoint.shortened
            assert held(start) == [*range(1, order + 3)]
            # What an operator does in short rings: the slice after timestep t is that of t + 2.
            for t in range(start, start + steps):
                data[(t + 2) % length] = 100 + t
                other[(t + 2) % 3] = 200 + t
            stop = start + steps
            checkpoint.shorten(stop, {"f": length})  # it is there already
            expected = held(stop)
            assert expected[: min(order, steps)] == [100 + stop - 1 - age for age in range(min(order, steps))]
            checkpoint.lengthen(stop)
            assert not checkpoint.shortened
            assert held(stop) == expected
            assert [data[(stop + 1 - age) % ring].flat[0] for age in range(order)] == expected[:order]
            checkpoint.lengthen(stop)  # nothing is moved twice
            assert held(stop) == expected


# --- memory


def test_rings_lie_in_huge_pages():
    adjoint = adjoint_of("acoustic 2D u*v.dt2")
    assert all(type(field._allocator) is HugePages for field in adjoint.fields)
    grid = Grid(shape=(5, 4))
    used = TimeFunction(name="f", grid=grid)
    used.data[:] = 1
    guarded = TimeFunction(name="g", grid=grid, allocator=ALLOC_GUARD)
    for function in (used, guarded):
        before = function._allocator
        in_huge_pages(function)
        assert function._allocator is before
    fresh = TimeFunction(name="h", grid=grid, time_order=2, space_order=4, dtype=np.float64)
    plain = TimeFunction(name="h", grid=grid, time_order=2, space_order=4, dtype=np.float64)
    assert type(plain._allocator) is PosixAllocator
    in_huge_pages(fresh)
    assert fresh.data_with_halo.shape == plain.data_with_halo.shape
    assert not np.asarray(fresh.data_with_halo).any()
    fresh.data[:] = 3
    assert np.asarray(fresh.data).min() == 3


@pytest.mark.parametrize("padding", [0, 3, (2, 5)])
def test_allocator_gives_an_array_with_room_about_it(padding):
    array, freed = HugePages().alloc((4, 5), np.float32, padding=padding)
    assert array.shape == (4, 5)
    assert array.dtype == np.float32
    assert not array.any()
    before, after = padding if isinstance(padding, tuple) else (padding, padding)
    size = 4 * (before + array.size + after)
    around = (ctypes.c_char * size).from_address(array.ctypes.data - 4 * before)
    assert bytes(around) == bytes(size)
    array[:] = 1
    HugePages().free(*freed)
    assert array.sum() == 20
    assert HugePages().alloc((0, 5), np.float32, padding=padding)[0].size == 0
