"""CheckpointedAdjoint: budgets, many shots, initial states, exceptions, and what it reports."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")

import devito
import numpy as np
from devito import Buffer, Eq, Function, Grid, Inc, Operator, TimeFunction
from devito_problems import CASES, RING, N, acoustic, adjoint_of, ricker, velocity_stress

from pyrevolve import Costs, Kind, Revolve, Revolver, ScheduleError
from pyrevolve.devito import (
    CheckpointedAdjoint,
    DevitoOperator,
    Problem,
    TimeFunctionCheckpoint,
    UnsupportedOperatorError,
    read_operator,
    taylor_test,
)

pytestmark = pytest.mark.devito

COSTS = Costs(
    forward_step=1e-3, reverse_step=1e-3, forward_call=1e-5, reverse_call=1e-5, save=5e-4, load=5e-4
)
NAME = "acoustic 2D u*v.dt2"


class Stored:
    """Store-all with Devito alone: what every gradient is compared with."""

    def __init__(self, case, ring=N + 4):
        made = case.build(Buffer(ring))
        self.forward_operator, self.reverse_operator = made
        self.arguments = case.arguments
        self.fields = [p for p in self.forward_operator.input if p.is_TimeFunction]
        self.adjoints = [p for p in self.reverse_operator.input if p.is_TimeFunction and p not in self.fields]

    def forward(self, **given):
        for field in self.fields:
            field.data_with_halo[:] = 0
        self.forward_operator.apply(**{**self.arguments, **given})

    def reverse(self, **given):
        for field in self.adjoints:
            field.data_with_halo[:] = 0
        self.reverse_operator.apply(**{**self.arguments, **given})


@pytest.fixture(scope="module")
def stored():
    return Stored(acoustic())


@pytest.fixture(scope="module")
def expected(stored):
    return acoustic().shot(stored)["grad"]


# --- budgets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slices", [4, 5, 9, 16, 40, 63, 90])
def test_gradient_and_memory_for_every_budget(slices, expected):
    case = acoustic()
    budget = slices * 35 * 31 * 4 + 4096
    with CheckpointedAdjoint(case.build, memory=budget, arguments=case.arguments, costs=COSTS) as adjoint:
        assert np.array_equal(case.shot(adjoint)["grad"], expected)
        assert adjoint.memory_held <= adjoint.plan.planned_bytes <= budget
        assert adjoint.profiler[Kind.FORWARD].steps == adjoint.plan.forward_steps
        assert adjoint.profiler[Kind.REVERSE].steps == N
        assert adjoint.profiler[Kind.SAVE].calls == adjoint.plan.saves
        if slices >= 63:
            assert adjoint.plan.forward_steps == N


@pytest.mark.parametrize("slices", [3, 4, 8, 20])
@pytest.mark.parametrize("slow", [0.0, 2e-3, 1.0])
def test_snapshots_on_disk_give_the_same_gradient(slices, slow, expected, stored, tmp_path):
    """Bit for bit, as planned, within both budgets, for shots of other lengths too; no file is left."""
    case = acoustic()
    piece = 35 * 31 * 4
    budget = slices * piece + 4096
    costs = Costs(forward_step=1e-3, reverse_step=1e-3, save=(5e-4, slow), load=(5e-4, slow))
    with CheckpointedAdjoint(
        case.build, memory=budget, disk="1 MB", disk_dir=tmp_path, arguments=case.arguments, costs=costs
    ) as adjoint:
        for _ in range(2):
            assert np.array_equal(case.shot(adjoint)["grad"], expected)
        plan = adjoint.plan
        assert adjoint.memory_held <= plan.planned_bytes <= budget
        assert adjoint.disk_held == plan.planned_disk_bytes <= 1_000_000
        assert (plan.family == "revolve") == (adjoint.disk_held == 0)
        profiler = adjoint.profiler
        assert profiler[Kind.FORWARD].steps == plan.forward_steps
        assert profiler[Kind.FORWARD].calls == plan.forward_calls
        assert profiler[Kind.REVERSE].calls == plan.reverse_calls
        assert tuple(tier.saves.calls for tier in profiler.tiers) == plan.saves_per_tier
        assert tuple(tier.loads.calls for tier in profiler.tiers) == plan.loads_per_tier
        if slow < 1.0 and slices == 8:  # two buffers on their way to disk take four slices and more
            assert plan.family != "revolve"
            assert len(list(tmp_path.iterdir())) == 1
        results = []
        for runner in (stored, adjoint):
            case.results[0].data_with_halo[:] = 0
            runner.forward(time_M=N // 2)
            case.residual.data[:] = case.receivers.data
            runner.reverse(time_M=N // 2)
            results.append(np.array(case.results[0].data))
        assert np.array_equal(*results)
        verification = adjoint.verify(lambda runner: case.shot(runner)["grad"])
        assert verification.passed, verification
    assert list(tmp_path.iterdir()) == []


def test_disk_is_measured_where_snapshots_will_lie(expected, tmp_path):
    case = acoustic()
    with CheckpointedAdjoint(
        case.build, memory=30_000, disk="1 MB", disk_dir=tmp_path, arguments=case.arguments
    ) as adjoint:
        assert adjoint.costs.tiers == 2
        assert adjoint.costs.save_at(1) > 0
        assert np.array_equal(case.shot(adjoint)["grad"], expected)
    with pytest.raises(ValueError, match="disk="):
        CheckpointedAdjoint(case.build, memory=30_000, disk_dir=tmp_path, arguments=case.arguments)
    with pytest.raises(ValueError, match="n_checkpoints= and disk="):
        CheckpointedAdjoint(case.build, n_checkpoints=3, disk="1 MB", arguments=case.arguments)


@pytest.mark.parametrize("window", [2, 3, 7, N - 1, N, N + 1])
def test_windows_from_the_smallest_to_all_timesteps(window, expected):
    case = acoustic()
    adjoint = CheckpointedAdjoint(
        case.build, n_checkpoints=3, window=max(window, 3), arguments=case.arguments
    )
    assert np.array_equal(case.shot(adjoint)["grad"], expected)
    steps = adjoint.profiler[Kind.FORWARD].steps
    assert steps == adjoint.plan.forward_steps
    assert steps == N or window < N


def test_plain_rings_are_enough(expected):
    case = acoustic()
    made = []

    def build(save):
        made.append(save)
        return case.build(None)

    adjoint = CheckpointedAdjoint(build, n_checkpoints=5, arguments=case.arguments)
    assert adjoint.checkpoint.window == adjoint.plan.window == 3
    assert np.array_equal(case.shot(adjoint)["grad"], expected)
    assert len(made) == 1


def test_measured_costs_lead_to_a_plan_and_leave_everything_as_it_was(expected):
    case = acoustic()
    case.results[0].data[:] = 7.0
    case.receivers.data[:] = 5.0
    adjoint = CheckpointedAdjoint(case.build, memory="60 kB", arguments=case.arguments)
    costs = adjoint.costs
    assert costs.forward_step > 0
    assert costs.reverse_step > 0
    assert costs.save > 0
    assert costs.load > 0
    assert adjoint.plan.predicted_seconds > 0
    assert np.all(np.array(case.results[0].data) == 7.0)
    assert np.all(np.array(case.receivers.data) == 5.0)
    assert not np.any(adjoint.fields[0].data)
    assert np.array_equal(case.shot(adjoint)["grad"], expected)
    assert adjoint.measure_costs().forward_step > 0
    assert np.array_equal(case.shot(adjoint)["grad"], expected)


def test_probe_takes_no_more_than_half_of_the_budget():
    case = acoustic()
    lengths = []

    def build(save):
        lengths.append(save.val)
        return case.build(save)

    adjoint = CheckpointedAdjoint(build, memory=10 * 35 * 31 * 4, arguments=case.arguments, costs=COSTS)
    assert lengths[0] == RING
    assert lengths[1] == 5
    assert adjoint.ring == lengths[-1]


# --- many shots ---------------------------------------------------------------------------------------------


def test_new_sources_receivers_and_models_without_building_again(stored):
    case, adjoint = acoustic(), adjoint_of(NAME)
    grid = case.source.grid
    builds = []
    adjoint._build, build = builds.append, adjoint._build
    for shot in range(3):
        source = devito.SparseTimeFunction(
            name="src", grid=grid, npoint=1, nt=N + 2, coordinates=np.array([[60.0 + 30 * shot, 70.0]])
        )
        source.data[:, 0] = (30 + shot) * ricker(N + 2, 2.0, 0.015 + 0.004 * shot)
        model = Function(name="m", grid=grid)
        model.data[:] = 1.0 / (1.6 + 0.2 * shot) ** 2
        observed = devito.SparseTimeFunction(
            name="rec",
            grid=grid,
            npoint=7,
            nt=N + 2,
            coordinates=np.array(case.receivers.coordinates.data) + shot,
        )
        residual = devito.SparseTimeFunction(
            name="res", grid=grid, npoint=7, nt=N + 2, coordinates=np.array(observed.coordinates.data)
        )
        results = []
        for runner in (stored, adjoint):
            gradient = Function(name="grad", grid=grid)
            runner.forward(src=source, rec=observed, m=model)
            residual.data[:] = observed.data
            runner.reverse(res=residual, grad=gradient, m=model)
            results.append((np.array(observed.data), np.array(gradient.data)))
        assert np.array_equal(results[0][0], results[1][0])
        assert np.array_equal(results[0][1], results[1][1])
        assert np.abs(results[0][1]).max() > 0
    assert builds == []
    adjoint._build = build


def test_shots_of_different_length(stored):
    case, adjoint = acoustic(), adjoint_of(NAME)
    for last in (N, 30, 5, 1, 0, N):
        results = []
        for runner in (stored, adjoint):
            case.results[0].data_with_halo[:] = 0
            runner.forward(time_M=last)
            case.residual.data[:] = case.receivers.data
            runner.reverse(time_M=last)
            results.append(np.array(case.results[0].data))
        assert np.array_equal(*results)
        assert adjoint.n_timesteps == last
        assert (adjoint.profiler[Kind.FORWARD].steps == last) == (last <= adjoint.plan.window)


def test_sweeps_start_where_the_arguments_say(stored):
    case, adjoint = acoustic(), adjoint_of(NAME)
    results = []
    for runner in (stored, adjoint):
        case.results[0].data_with_halo[:] = 0
        runner.forward(time_m=8)
        case.residual.data[:] = case.receivers.data
        runner.reverse(time_m=8)
        results.append(np.array(case.results[0].data))
    assert np.array_equal(*results)
    assert adjoint.n_timesteps == N - 7


def test_forward_sweep_may_be_repeated_before_it_is_reversed(expected):
    case, adjoint = acoustic(), adjoint_of(NAME)
    adjoint.forward()
    assert np.array_equal(case.shot(adjoint)["grad"], expected)


def test_exception_passes_through_and_the_next_shot_is_right(expected, monkeypatch):
    case, adjoint = acoustic(), adjoint_of(NAME)
    for sweep, limit in (("forward", 2), ("reverse", 3)):
        operator = getattr(adjoint._made, sweep)
        real, calls = operator._function, []

        def broken(*values, real=real, calls=calls, limit=limit):
            calls.append(1)
            if len(calls) == limit:
                raise KeyboardInterrupt
            return real(*values)

        with monkeypatch.context() as patch:
            patch.setattr(operator, "_function", broken)
            with pytest.raises(KeyboardInterrupt):
                case.shot(adjoint)
        with pytest.raises(ScheduleError):
            adjoint.reverse()
        assert np.array_equal(case.shot(adjoint)["grad"], expected)


def test_error_codes_of_the_generated_code_are_raised(monkeypatch):
    case, adjoint = acoustic(), adjoint_of(NAME)
    for code, message in ((100, "nan/inf"), (7, "An error occurred")):
        with monkeypatch.context() as patch:
            patch.setattr(adjoint._made.forward, "_function", lambda *values, code=code: code)
            with pytest.raises(devito.exceptions.ExecutionError, match=message):
                case.shot(adjoint)


# --- states -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("initial", ["keep", "function"])
def test_initial_states(initial, stored):
    case = acoustic()
    shape = stored.fields[0].data.shape[1:]
    start = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)

    def put(fields):
        fields["u"].data[0:2] = start

    adjoint = CheckpointedAdjoint(
        case.build,
        n_checkpoints=3,
        window=RING,
        arguments=case.arguments,
        initial="keep" if initial == "keep" else put,
    )
    results = []
    for _ in range(2):
        case.results[0].data_with_halo[:] = 0
        if initial == "keep":
            put({"u": adjoint.fields[0]})
        adjoint.forward()
        case.residual.data[:] = case.receivers.data
        adjoint.reverse()
        results.append(np.array(case.results[0].data))
    case.results[0].data_with_halo[:] = 0
    stored.fields[0].data_with_halo[:] = 0
    put({"u": stored.fields[0]})
    stored.forward_operator.apply(**case.arguments)
    case.residual.data[:] = case.receivers.data
    stored.reverse()
    assert np.array_equal(results[0], np.array(case.results[0].data))
    assert np.array_equal(results[0], results[1])
    assert adjoint.plan.initial_state == ("stored" if initial == "keep" else "free")
    if initial == "function":
        assert adjoint.verify(case.shot).passed


def test_adjoint_fields_are_zero_at_the_start_unless_asked_otherwise(expected):
    case, adjoint = acoustic(), adjoint_of(NAME)
    v = next(p for p in adjoint.problem.reverse.input if p.name == "v")
    v.data[:] = 3.0
    assert np.array_equal(case.shot(adjoint)["grad"], expected)
    given = adjoint._given
    adjoint._given = dataclasses.replace(given, adjoint="keep")
    v.data[:] = 3.0
    try:
        assert not np.array_equal(case.shot(adjoint)["grad"], expected)
    finally:
        adjoint._given = given


def test_slice_that_the_forward_operator_changes_later_is_not_taken_as_final():
    # u[t] is damped in place by timestep t, after timestep t - 1 wrote it.
    grid = Grid(shape=(9, 8))
    gradient = Function(name="grad", grid=grid)
    v = TimeFunction(name="v", grid=grid, time_order=2)

    def build(save):
        u = TimeFunction(name="u", grid=grid, time_order=2, save=save)
        forward = Operator([Eq(u, 0.9 * u), Eq(u.forward, 1.7 * u - 0.8 * u.backward + 0.01)], name="Damped")
        reverse = Operator([Eq(v.backward, 0.5 * v + 1), Inc(gradient, u * v)], name="Back")
        return forward, reverse

    adjoint = CheckpointedAdjoint(build, n_checkpoints=2, window=6, arguments={"time_M": 40})
    assert (adjoint.checkpoint.lag, adjoint.checkpoint.lookback, adjoint.ring) == (1, 1, 7)

    def shot(runner):
        gradient.data[:] = 0
        runner.forward()
        runner.reverse()
        return gradient.data

    report = adjoint.verify(shot)
    assert report.passed, str(report)


def test_condition_that_reads_far_back_gets_more_slices_in_a_state():
    grid = Grid(shape=(9, 8))
    gradient = Function(name="grad", grid=grid)
    v = TimeFunction(name="v", grid=grid, time_order=2)
    t = grid.stepping_dim

    def build(save):
        u = TimeFunction(name="u", grid=grid, time_order=2, save=save)
        forward = Operator(Eq(u.forward, 1.7 * u - 0.8 * u.backward + 0.01), name="Step")
        reverse = Operator([Eq(v.backward, 0.5 * v + 1), Inc(gradient, u._subs(t, t - 3) * v)], name="Back")
        return forward, reverse

    adjoint = CheckpointedAdjoint(build, n_checkpoints=2, window=6, arguments={"time_m": 3, "time_M": 40})
    assert adjoint.checkpoint.fields[0].slices == 4
    assert (adjoint.checkpoint.lag, adjoint.checkpoint.lookback, adjoint.ring) == (0, 1, 9)

    def shot(runner):
        gradient.data[:] = 0
        runner.forward()
        runner.reverse()
        return gradient.data

    report = adjoint.verify(shot)
    assert report.passed, str(report)


# --- declarations and the self-check ------------------------------------------------------------------------


def test_wrong_declaration_is_found_by_the_self_check():
    case = acoustic("u.dt2*v")

    def build(save):
        forward, reverse = case.build(save)
        return Problem(forward=forward, reverse=reverse, reads={"u": (0, 0)})

    adjoint = CheckpointedAdjoint(build, n_checkpoints=3, window=RING, arguments=case.arguments)
    assert adjoint.checkpoint.lookback == 2  # as declared, though u.dt2 reads one slice on either side
    report = adjoint.verify(case.shot)
    assert not report.passed
    assert not any(report.self_check.values())
    assert "FAILED" in str(report)
    adjoint.self_check = True
    assert np.isnan(case.shot(adjoint)["grad"]).any()


def test_declaration_that_is_wider_than_needed_costs_time_only(expected):
    case = acoustic()

    def build(save):
        forward, reverse = case.build(save)
        return Problem(forward=forward, reverse=reverse, reads={"u": (-1, 1)})

    adjoint = CheckpointedAdjoint(build, n_checkpoints=3, window=RING - 2, arguments=case.arguments)
    assert (adjoint.checkpoint.lookback, adjoint.checkpoint.lag, adjoint.ring) == (0, 1, RING)
    assert np.array_equal(case.shot(adjoint)["grad"], expected)
    for reads, message in (({"w": (0, 0)}, "'w' is no forward field"), ({"u": (1, 0)}, "two integers")):
        with pytest.raises(ValueError, match=message):
            CheckpointedAdjoint(
                lambda save, reads=reads: Problem(
                    **dict(zip(("forward", "reverse"), case.build(save), strict=True)), reads=reads
                )
            )


def test_operators_that_cannot_be_read_are_run_the_classic_way(expected, monkeypatch):
    from pyrevolve.devito import problem as module

    case = acoustic()

    def doubtful(operator):
        access = read_operator(operator)
        access.doubts["u"] = "it was made up for this test"
        return access

    monkeypatch.setattr(module, "read_operator", doubtful)
    with pytest.warns(UserWarning, match="made up for this test"):
        adjoint = CheckpointedAdjoint(case.build, n_checkpoints=5, arguments=case.arguments)
    checkpoint = adjoint.checkpoint
    assert (checkpoint.window, checkpoint.lookback, checkpoint.lag, adjoint.ring) == (1, 0, 1, 3)
    assert np.array_equal(case.shot(adjoint)["grad"], expected)
    far = acoustic("u*v.dt2")

    def build(save):
        u = TimeFunction(name="u", grid=far.source.grid, time_order=2, save=save)
        v = TimeFunction(name="v", grid=far.source.grid, time_order=2)
        t = far.source.grid.stepping_dim
        return (
            Operator(Eq(u.forward, u + u.backward)),
            Operator([Eq(v.backward, v), Inc(far.results[0], u._subs(t, t - 2) * v)]),
        )

    with pytest.warns(UserWarning, match="made up"), pytest.raises(UnsupportedOperatorError, match="Declare"):
        CheckpointedAdjoint(build, n_checkpoints=5, arguments={"time_m": 2, "time_M": 20})


# --- parts --------------------------------------------------------------------------------------------------


def test_parts_work_with_a_revolver_of_ones_own(expected):
    case = acoustic()
    forward_operator, reverse_operator = case.build(None)
    u = next(p for p in forward_operator.input if p.name == "u")
    v = next(p for p in reverse_operator.input if p.name == "v")
    forward = DevitoOperator(forward_operator, u.grid.time_dim)
    reverse = DevitoOperator(reverse_operator, u.grid.time_dim)
    with pytest.raises(ScheduleError, match="prepare"):
        forward.apply(t_start=0, t_end=1)
    for function in (u, v, case.results[0]):
        function.data_with_halo[:] = 0
    span = forward.prepare(case.arguments)
    assert span == (1, N)
    checkpoint = TimeFunctionCheckpoint([u], offset=span.first)
    assert checkpoint.size * checkpoint.dtype.itemsize == checkpoint.state_bytes == 2 * 35 * 31 * 4
    revolver = Revolver(checkpoint, forward, reverse, 4, span.n_timesteps)
    revolver.apply_forward()
    forward.finish()
    case.residual.data[:] = np.asarray(case.receivers.data) ** 3 + 0.5 * np.asarray(case.receivers.data)
    reverse.prepare(case.arguments)
    revolver.apply_reverse()
    assert np.array_equal(np.array(case.results[0].data), expected)
    assert revolver.profiler[Kind.FORWARD].steps == Revolve(N, 4).forward_steps
    forward.release()
    assert "not prepared" in repr(forward)


def test_checkpoints_mix_dtypes_orders_and_rings():
    grid = Grid(shape=(5, 4))
    one = TimeFunction(name="one", grid=grid, time_order=1, dtype=np.float64, save=Buffer(7))
    two = TimeFunction(name="two", grid=grid, time_order=2, dtype=np.float32)
    checkpoint = TimeFunctionCheckpoint([one, two], offset=1)
    for t in range(50):
        arrays = checkpoint.get_data(t)
        assert [array.dtype for array in arrays] == [np.float64, np.float32, np.float32]
        places = [(t + 1) % 7, (t + 1) % 3, t % 3]
        rings = ["one", "two", "two"]
        for array, ring, place in zip(arrays, rings, places, strict=True):
            assert array is checkpoint.ring(ring)[place]
            assert array.flags.c_contiguous
    assert checkpoint.dtype == np.uint8
    assert checkpoint.size == checkpoint.state_bytes
    with pytest.raises(KeyError):
        checkpoint.ring("three")
    # So many different states that they are not kept ready.
    rings = [TimeFunction(name=f"f{w}", grid=grid, time_order=2, save=Buffer(w)) for w in (97, 89)]
    many = TimeFunctionCheckpoint(rings, offset=1)
    assert [id(a) for a in many.get_data(10_000)] == [
        id(many.ring(f"f{w}")[index % w]) for w in (97, 89) for index in (10_001, 10_000)
    ]
    with pytest.raises(TypeError, match=r"must be a devito\.TimeFunction"):
        TimeFunctionCheckpoint([Function(name="f", grid=grid)])
    with pytest.raises(ValueError, match="saved at every timestep"):
        TimeFunctionCheckpoint([TimeFunction(name="all", grid=grid, save=10)])
    with pytest.raises(ValueError, match="at least one field"):
        TimeFunctionCheckpoint([])
    with pytest.raises(ValueError, match="offset must be >= 0"):
        TimeFunctionCheckpoint([two], offset=-1)


def test_taylor_test_tells_a_gradient_from_a_wrong_one():
    rng = np.random.default_rng(0)
    matrix, model, direction = rng.normal(size=(6, 6)), rng.normal(size=6), rng.normal(size=6)

    def misfit(m):
        return float(np.sum(np.sin(matrix @ m) ** 2))

    gradient = matrix.T @ np.sin(2 * matrix @ model)
    steps = [0.1 * 0.5**k for k in range(8)]
    report = taylor_test(misfit, gradient, model, direction, steps=steps)
    assert report.passed
    assert abs(report.order - 2) < 0.2
    assert not taylor_test(misfit, 1.01 * gradient, model, direction, steps=steps[-5:]).passed
    with pytest.raises(ValueError, match="one shape"):
        taylor_test(misfit, gradient[1:], model, direction)
    with pytest.raises(ValueError, match="at least three"):
        taylor_test(misfit, gradient, model, direction, steps=[1, 2])
    with pytest.raises(ValueError, match="not finite"):
        taylor_test(lambda m: float("nan"), gradient, model, direction)


def test_verify_over_few_timesteps_and_in_little_memory():
    case, adjoint = acoustic(), adjoint_of(NAME)
    report = adjoint.verify(case.shot, n_timesteps=9)
    assert report.passed
    assert report.n_timesteps == 9
    assert report.forward_steps > 9
    report = adjoint.verify(case.shot, memory=40 * 35 * 31 * 4, self_check=False)
    assert 30 < report.n_timesteps < 40
    assert report.passed
    assert report.self_check is None
    assert adjoint.verify(case.shot, n_timesteps=9, allowed=1e-6).passed
    assert "bit for bit" in str(report)
    for options, error in (
        ({"n_timesteps": 0}, ValueError),
        ({"n_timesteps": N + 1}, ValueError),
        ({"window": RING + 1}, ValueError),
        ({"misfit": lambda m: 0.0}, ValueError),
        ({"memory": 100}, MemoryError),
    ):
        with pytest.raises(error):
            adjoint.verify(case.shot, **options)


def test_verify_finds_a_gradient_that_does_not_fit_the_misfit():
    # The gradient of a misfit with respect to a scale of the source: J = sum(rec**2) / 2 is quadratic in it.
    case = velocity_stress()
    adjoint = adjoint_of("velocity-stress")
    scale = np.array([1.0])

    def shot(runner):
        runner.forward()
        total = float(np.sum(np.asarray(case.receivers.data, dtype=np.float64) ** 2))
        case.residual.data[:] = case.receivers.data
        runner.reverse()
        return np.array([total])

    def misfit(m):
        kept = np.array(case.source.data)
        case.source.data[:] = kept * float(m[0])
        adjoint.forward()
        case.source.data[:] = kept
        return 0.5 * float(np.sum(np.asarray(case.receivers.data, dtype=np.float64) ** 2))

    options = {"model": scale, "direction": np.array([0.5]), "n_timesteps": 30}
    report = adjoint.verify(shot, misfit=misfit, **options)
    assert report.passed, str(report)
    assert abs(report.taylor.order - 2) < 0.1
    report = adjoint.verify(shot, misfit=lambda m: 1.1 * misfit(m), **options)
    assert not report.passed


def test_gradient_of_a_waveform_misfit_passes_the_taylor_test():
    name = "acoustic 2D float64"
    case, adjoint = CASES[name](), adjoint_of(name)
    m = next(p for p in adjoint.problem.forward.input if p.name == "m")
    start, observed = np.array(m.data), Function(name="m", grid=m.grid)
    observed.data[:] = 1.1 * start
    adjoint.forward(m=observed)
    data = np.array(case.receivers.data)

    def simulate(model):
        m.data[:] = model
        try:
            adjoint.forward()
        finally:
            m.data[:] = start
        return 0.5 * float(np.sum((np.asarray(case.receivers.data) - data) ** 2))

    def shot(runner):
        case.results[0].data_with_halo[:] = 0
        runner.forward()
        case.residual.data[:] = np.asarray(case.receivers.data) - data
        runner.reverse()
        # Minus the correlation of u and v.dt2: the derivative of m u.dt2 - laplace(u) with respect to m.
        return -np.asarray(case.results[0].data)

    direction = 0.01 * np.random.default_rng(2).normal(size=start.shape)
    report = adjoint.verify(shot, misfit=simulate, model=start, direction=direction)
    assert report.passed, str(report)
    assert abs(report.taylor.order - 2) < 0.05


def test_closed_object_says_so():
    case = acoustic()
    with CheckpointedAdjoint(case.build, n_checkpoints=1, window=RING, arguments=case.arguments) as adjoint:
        with pytest.raises(ScheduleError, match="no shot"):
            _ = adjoint.profiler
        case.shot(adjoint)
        assert "61 timesteps, window 20, 1 snapshots" in repr(adjoint)
    with pytest.raises(ScheduleError, match="closed"):
        adjoint.forward()
    adjoint.close()


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("import pyrevolve, sys; print('devito' in sys.modules)", "False"),
        (
            "import sys; sys.modules['devito'] = None\n"
            "try:\n    import pyrevolve.devito\nexcept ImportError as e: print(e)",
            "pip install 'pyrevolve[devito]'",
        ),
    ],
)
def test_devito_is_imported_by_this_package_alone(code, output):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output in done.stdout


def test_every_case_has_fields_of_the_planned_ring():
    for name in CASES:
        adjoint = adjoint_of(name)
        assert adjoint.ring == RING
        assert adjoint.memory_held >= sum(np.asarray(f._data).nbytes for f in adjoint.fields)


# --- compression --------------------------------------------------------------------------------------------

SLICE = 35 * 31 * 4


@pytest.fixture
def cheap_codecs(monkeypatch):
    """Let codecs cost next to nothing, so that plans use them whatever this machine measures."""
    from pyrevolve.devito import building as module

    measure = module.measure_compression

    def cheaply(*arguments, **options):
        return dataclasses.replace(measure(*arguments, **options), save=1e-7, load=1e-7)

    monkeypatch.setattr(module, "measure_compression", cheaply)


def assert_within(adjoint, budget, disk):
    """Assert that what is held now is within the budgets."""
    plan = adjoint.plan
    assert adjoint.memory_held <= plan.planned_bytes <= budget
    assert plan.planned_disk_bytes <= (disk or 0)
    assert adjoint.disk_held <= (disk or 0)


@pytest.mark.parametrize(
    ("slices", "disk", "codec"),
    [
        (12, None, "zstd"),
        (20, None, "lz4"),
        (12, 100_000, "lz4"),
        (20, 10**6, "zstd"),
        *(
            pytest.param(slices, disk, codec, marks=pytest.mark.slow)
            for slices in (12, 16, 45)
            for disk in (None, 50_000, 10**6)
            for codec in ("lz4", "pcodec")
        ),
    ],
)
def test_compressed_snapshots_give_the_same_gradient(
    slices, disk, codec, expected, stored, tmp_path, cheap_codecs
):
    """Bit for bit and within both budgets, for shots of other lengths too, and where NaN would show."""
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    if codec == "pcodec":
        pytest.importorskip("pcodec", reason="needs pcodec: pip install 'pyrevolve[compression]'")
    case = acoustic()
    budget = slices * SLICE
    costs = Costs(forward_step=1e-3, reverse_step=1e-3, save=(5e-4, 2e-3), load=(5e-4, 2e-3))
    with CheckpointedAdjoint(
        case.build,
        memory=budget,
        disk=disk,
        disk_dir=None if disk is None else tmp_path,
        compression=codec,
        arguments=case.arguments,
        costs=COSTS if disk is None else costs,
    ) as adjoint:
        assert_within(adjoint, budget, disk)
        assert disk is not None or adjoint.plan.compressed
        for _ in range(2):
            assert np.array_equal(case.shot(adjoint)["grad"], expected)
            assert_within(adjoint, budget, disk)
        assert adjoint.profiler[Kind.REVERSE].steps == N
        for last in (N // 2, 5, 1, 0, N):
            results = []
            for runner in (stored, adjoint):
                case.results[0].data_with_halo[:] = 0
                runner.forward(time_M=last)
                assert runner is stored or adjoint.memory_held <= budget
                case.residual.data[:] = case.receivers.data
                runner.reverse(time_M=last)
                results.append(np.array(case.results[0].data))
            assert np.array_equal(*results)
            assert adjoint.memory_held <= budget
            assert adjoint.disk_held <= (disk or 0)
        verification = adjoint.verify(lambda runner: case.shot(runner)["grad"])
        assert verification.passed, str(verification)
        assert np.array_equal(case.shot(adjoint)["grad"], expected)
        assert not adjoint.compression_error.measured
    assert list(tmp_path.iterdir()) == []


def test_compression_is_measured_on_the_wavefield_and_leaves_everything_as_it_was(expected):
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    case = acoustic()
    case.results[0].data[:] = 7.0
    case.receivers.data[:] = 5.0
    with CheckpointedAdjoint(
        case.build, memory=20 * SLICE, compression="zstd", arguments=case.arguments
    ) as adjoint:
        assert np.all(np.array(case.results[0].data) == 7.0)
        assert np.all(np.array(case.receivers.data) == 5.0)
        assert not np.any(adjoint.fields[0].data)
        measured = adjoint._planner.compression
        assert measured.ratio > 1.0
        assert measured.scratch_bytes == 2 * SLICE
        assert np.array_equal(case.shot(adjoint)["grad"], expected)
        assert_within(adjoint, 20 * SLICE, None)


@pytest.mark.parametrize("bits", [8, 14])
def test_lossy_compression_tells_its_error_and_changes_the_gradient_within_reason(
    bits, expected, cheap_codecs
):
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    from pyrevolve.compression import rounded

    case, budget = acoustic(), 20 * SLICE
    with CheckpointedAdjoint(
        case.build, memory=budget, compression=rounded(bits), arguments=case.arguments, costs=COSTS
    ) as adjoint:
        assert adjoint.plan.compressed
        assert not adjoint.compression_error.measured
        gradient = case.shot(adjoint)["grad"]
        error = adjoint.compression_error
        assert error.measured
        assert 0 < error.relative <= 2.0 ** -(bits + 1)
        assert error.absolute > 0
        assert_within(adjoint, budget, None)
        difference = np.abs(gradient - expected).max() / np.abs(expected).max()
        assert 0 < difference < 50 * error.relative
        assert np.array_equal(case.shot(adjoint)["grad"], gradient)
        before = adjoint.compression_error, adjoint.compression_ratio
        verification = adjoint.verify(lambda runner: case.shot(runner)["grad"], allowed=50 * error.relative)
        assert (adjoint.compression_error, adjoint.compression_ratio) == before  # of shots, not of this
        assert verification.passed, str(verification)
        assert not adjoint.verify(lambda runner: case.shot(runner)["grad"], self_check=False).passed
        adjoint._drivers.close_storages()  # as for a shot that needs others
        assert (adjoint.compression_error, adjoint.compression_ratio) == before


def test_compressed_snapshots_survive_an_exception(expected, monkeypatch, cheap_codecs):
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    case = acoustic()
    with CheckpointedAdjoint(
        case.build, memory=20 * SLICE, compression="lz4", arguments=case.arguments, costs=COSTS
    ) as adjoint:
        operator = adjoint._made.forward
        real, calls = operator._function, []

        def broken(*values):
            calls.append(1)
            if len(calls) == 9:
                raise KeyboardInterrupt
            return real(*values)

        with monkeypatch.context() as patch:
            patch.setattr(operator, "_function", broken)
            with pytest.raises(KeyboardInterrupt):
                case.shot(adjoint)
        assert np.array_equal(case.shot(adjoint)["grad"], expected)


def test_compression_that_does_not_go_with_other_arguments():
    case = acoustic()
    with pytest.raises(ValueError, match="n_checkpoints= and compression= exclude each other"):
        CheckpointedAdjoint(case.build, n_checkpoints=3, compression="lz4", arguments=case.arguments)
    with pytest.raises(ValueError, match="compression must be"):
        CheckpointedAdjoint(case.build, memory=10**6, compression="zip", arguments=case.arguments)
