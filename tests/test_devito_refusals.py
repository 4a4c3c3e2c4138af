"""What would give a wrong gradient without a sign of it is refused, with an error that says what to do."""

from __future__ import annotations

import functools

import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")

import numpy as np
from devito import (
    Buffer,
    ConditionalDimension,
    Eq,
    Function,
    Grid,
    Inc,
    Operator,
    SparseTimeFunction,
    TimeFunction,
    sin,
)
from devito.exceptions import InvalidArgument
from devito_problems import RING, N, acoustic, adjoint_of

from pyrevolve import BudgetError, Kind, ScheduleError
from pyrevolve.devito import CheckpointedAdjoint, Problem, UnsupportedOperatorError

pytestmark = pytest.mark.devito

NT = 41


class Toy:
    """Equations so small that operators are made in no time."""

    def __init__(self):
        self.grid = Grid(shape=(8,), extent=(7.0,))
        self.v = self.field("v", None)
        self.gradient = Function(name="gradient", grid=self.grid)
        points = np.array([[2.0], [5.0]])
        self.rec = SparseTimeFunction(name="rec", grid=self.grid, npoint=2, nt=NT, coordinates=points)
        self.res = SparseTimeFunction(name="res", grid=self.grid, npoint=2, nt=NT, coordinates=points)

    def field(self, name, save, **options):
        return TimeFunction(
            name=name, grid=self.grid, save=save, **{"time_order": 2, "space_order": 2, **options}
        )

    def step(self, u, extra=None):
        equations = [Eq(u.forward, 1.5 * u - 0.7 * u.backward + 0.1)]
        equations += [self.rec.inject(field=u.forward, expr=self.rec)]
        return Operator(equations + ([] if extra is None else [extra]), name="Step")

    def back(self, u, extra=None):
        equations = [Eq(self.v.backward, 0.5 * self.v + 1)]
        equations += [self.res.inject(field=self.v.backward, expr=self.res), Inc(self.gradient, u * self.v)]
        return Operator(equations + ([] if extra is None else [extra]), name="Back")


@pytest.fixture(scope="module")
def toy():
    return Toy()


def make(build, **options):
    return CheckpointedAdjoint(
        build, **{"n_checkpoints": 2, "window": 4, "arguments": {"time_m": 1, "time_M": NT - 2}, **options}
    )


def ring_of(adjoint):
    return adjoint.checkpoint.ring(adjoint.fields[0].name)


def test_reverse_operator_that_writes_a_forward_field(toy):
    def build(save):
        u = toy.field("u", save)
        return toy.step(u), toy.back(u, Eq(u, 0.5 * u))

    with pytest.raises(UnsupportedOperatorError, match="reverse operator Back writes the forward field u"):
        make(build)


def test_field_that_the_forward_operator_carries_but_the_checkpoint_lacks(toy):
    def build(save, both=False):
        u, w = toy.field("u", save), toy.field("w", save)
        forward = Operator([Eq(u.forward, u + w), Eq(w.forward, w - u)], name="Two")
        return Problem(forward=forward, reverse=toy.back(u), fields=[u, w] if both else [u])

    with pytest.raises(UnsupportedOperatorError, match=r"carries w .* fields= lacks it"):
        make(build)
    assert make(functools.partial(build, both=True)).checkpoint.window == 4


def test_reverse_operator_with_another_object_of_the_same_name(toy):
    def build(save, bound=False):
        u, other = toy.field("u", save), toy.field("u", save)
        bind = {"reverse_arguments": {"u": u}} if bound else {}
        return Problem(forward=toy.step(u), reverse=toy.back(other), **bind)

    with pytest.raises(
        UnsupportedOperatorError, match=r"is not the object .* bind it: Problem\(reverse_arguments="
    ):
        make(build)
    adjoint = make(functools.partial(build, bound=True))
    adjoint.forward()
    adjoint.reverse()


def test_reverse_operator_that_reads_a_ring_which_nobody_writes(toy):
    def build(save):
        u = toy.field("u", save)
        return toy.step(u), toy.back(u, Inc(toy.gradient, toy.field("w", None)))

    with pytest.raises(UnsupportedOperatorError, match="reads w, which neither operator writes"):
        make(build)


def test_reverse_operator_that_reads_no_forward_field(toy):
    def build(save):
        return toy.step(toy.field("u", save)), toy.back(toy.v)

    with pytest.raises(UnsupportedOperatorError, match="none of the forward operator's fields"):
        make(build)


def test_accumulator_is_not_counted_twice_after_an_interruption(toy, tmp_path):
    """Nothing is run twice by the schedule, but what the workspace retained is lost with the process."""
    illumination = Function(name="illumination", grid=toy.grid)

    def build(save):
        u = toy.field("u", save)
        return Problem(forward=toy.step(u, Inc(illumination, u * u)), reverse=toy.back(u))

    def start():
        illumination.data[:] = 0
        adjoint = make(build, window=NT, resume=tmp_path / "journal", resume_interval=0)
        adjoint.forward()
        return adjoint

    with start() as adjoint:
        assert adjoint.plan.forward_steps == adjoint.n_timesteps  # and then the process ends
    with start() as adjoint:
        assert adjoint.revolver.resumed
        with pytest.raises(UnsupportedOperatorError, match=r"run again, but .* adds to illumination"):
            adjoint.reverse()


@pytest.mark.parametrize("kind", ["sum", "last", "norm"])
def test_forward_accumulator_that_would_be_counted_twice(toy, kind):
    total = Function(name="total", grid=toy.grid)
    norm = Function(name="norm", dimensions=(toy.grid.time_dim,), shape=(NT,))

    def build(save, recompute=True):
        u = toy.field("u", save)
        extra = {"sum": Inc(total, u * u), "last": Eq(total, u), "norm": Inc(norm, u * u)}[kind]
        again = toy.step(u) if recompute else None
        return Problem(forward=toy.step(u, extra), reverse=toy.back(u), recompute=again)

    adjoint = make(functools.partial(build, recompute=False))
    adjoint.forward()
    with pytest.raises(
        UnsupportedOperatorError, match=r"have to be run again, but .* give the problem a recompute operator"
    ):
        adjoint.reverse()
    # Nothing was run: a window that covers everything works, and so does an operator for running again.
    results = []
    for options in ({"window": NT}, {"window": 4}):
        adjoint = make(functools.partial(build, recompute=options["window"] == 4), **options)
        for function in (total, norm, toy.gradient):
            function.data[:] = 0
        adjoint.forward()
        adjoint.reverse()
        results.append([np.array(function.data) for function in (total, norm, toy.gradient)])
    # Other operators may be rounded in another way; twice the sum would be something else.
    assert all(np.allclose(one, other, rtol=1e-5) for one, other in zip(*results, strict=True))
    assert np.abs(results[0][2]).max() > 0


def test_receivers_that_the_reverse_operator_reads_as_residual(toy):
    def build(save, recompute=False):
        u = toy.field("u", save)
        record = toy.res.interpolate(expr=u)
        again = toy.step(u) if recompute else None
        return Problem(forward=toy.step(u, record), reverse=toy.back(u), recompute=again)

    adjoint = make(build)
    adjoint.forward()
    with pytest.raises(UnsupportedOperatorError, match="residual would be overwritten"):
        adjoint.reverse()
    other = SparseTimeFunction(
        name="res", grid=toy.grid, npoint=2, nt=NT, coordinates=np.array(toy.res.coordinates.data)
    )
    adjoint.reverse(res=other)  # The sweep is still there.

    for options in ({"window": NT}, {}):
        adjoint = make(functools.partial(build, recompute=not options), **options)
        adjoint.forward()
        toy.res.data[:] -= 1.0
        kept = np.array(toy.res.data)
        adjoint.reverse()
        assert np.array_equal(toy.res.data, kept)


def test_recompute_operator_that_leaves_a_field_stale(toy):
    def build(save):
        u, w = toy.field("u", save), toy.field("w", save)
        forward = Operator([Eq(u.forward, u + w), Eq(w.forward, w - u)], name="Two")
        return Problem(forward=forward, reverse=toy.back(u), recompute=toy.step(u))

    with pytest.raises(UnsupportedOperatorError, match="does not write the forward field w"):
        make(build)

    def through_a_temporary(save):
        u, w = toy.field("u", save), toy.field("w", save)
        total = sum(sin(w + k) for k in range(3))  # which is computed once, for both equations
        forward = Operator([Eq(u.forward, u + total), Eq(w.forward, w + total)], name="Hidden")
        return Problem(forward=forward, reverse=toy.back(u), recompute=toy.step(u))

    with pytest.raises(UnsupportedOperatorError, match="does not write the forward field w"):
        make(through_a_temporary)


def test_field_of_the_first_sweep_alone_with_a_long_ring(toy):
    def build(save, ring):
        u, w = toy.field("u", save), toy.field("w", ring)
        forward = Operator([Eq(u.forward, u + 1), Eq(w.forward, w - u)], name="Along")
        return Problem(forward=forward, reverse=toy.back(u), recompute=toy.step(u))

    with pytest.raises(UnsupportedOperatorError, match="Make w without save="):
        make(lambda save: build(save, save))
    assert [field.name for field in make(lambda save: build(save, None)).fields] == ["u"]


def test_ranges_of_different_length(toy):
    def build(save):
        u = toy.field("u", save)
        return toy.step(u), toy.back(u)

    with pytest.raises(ValueError, match=r"39 timesteps .* reverse operator 29"):
        make(build, reverse_arguments={"time_M": 29})
    with pytest.raises(ValueError, match=r"39 timesteps .* reverse operator 40"):
        make(build, arguments={})
    adjoint = make(build)
    adjoint.forward()
    with pytest.raises(ValueError, match=r"39 timesteps .* reverse operator 38"):
        adjoint.reverse(time_m=2)
    with pytest.raises(ValueError, match="planned for a difference of 0"):
        adjoint.reverse(time_m=2, time_M=40)
    adjoint.reverse()


def test_fields_on_a_conditional_dimension(toy):
    every = ConditionalDimension("every", parent=toy.grid.time_dim, factor=4)
    saved = TimeFunction(name="saved", grid=toy.grid, time_dim=every, save=12)

    def build(save):
        u = toy.field("u", save)
        return toy.step(u, Eq(saved, u)), toy.back(u)

    with pytest.raises(UnsupportedOperatorError, match="saved lives on the ConditionalDimension every"):
        make(build)


def test_operators_that_step_the_wrong_way_or_not_at_all(toy):
    u = toy.field("u", Buffer(RING))
    still = Operator(Eq(toy.gradient, 1), name="Still")
    for operators, message in (
        ((toy.back(u), toy.back(u)), "Back steps backward in time"),
        ((toy.step(u), toy.step(u)), "Step steps forward in time"),
        ((still, toy.back(u)), "Still has no loop over time"),
    ):
        with pytest.raises(UnsupportedOperatorError, match=message):
            make(lambda save, operators=operators: operators)


def test_reading_further_ahead_than_the_forward_run_has_come(toy):
    def build(save):
        u = toy.field("u", save)
        t = toy.grid.stepping_dim
        return toy.step(u), Operator(
            [Eq(toy.v.backward, 0.5 * toy.v), Inc(toy.gradient, u._subs(t, t + 2) * toy.v)], name="Ahead"
        )

    with pytest.raises(UnsupportedOperatorError, match="reads u 2 timesteps ahead"):
        make(build)


def test_factory_that_returns_something_else():
    with pytest.raises(TypeError, match=r"tuple \(forward, reverse"):
        make(lambda save: None)
    with pytest.raises(TypeError, match=r"expected a devito\.Operator, got int"):
        make(lambda save: (1, 2))
    with pytest.raises(TypeError, match="build must be a function"):
        make(None)


def test_factory_that_ignores_the_ring_it_is_asked_for(toy):
    def build(save):
        u = toy.field("u", Buffer(RING))
        return toy.step(u), toy.back(u)

    with pytest.raises(UnsupportedOperatorError, match="every forward field with save=save"):
        make(build, window=30)


def test_options_out_of_range():
    case = acoustic()
    for options, error, message in (
        ({"n_checkpoints": -1}, ValueError, "n_checkpoints must be >= 0, got -1"),
        ({"n_checkpoints": 0, "initial": "keep"}, ValueError, "n_checkpoints must be >= 1, got 0"),
        ({"n_checkpoints": 2.0}, TypeError, "integer"),
        ({"window": 1}, ValueError, "window must be >= 3 for these operators, got 1"),
        ({"n_checkpoints": 2, "memory": 10**9}, ValueError, "exclude each other"),
        ({"initial": "random"}, ValueError, "initial must be"),
        ({"adjoint": "random"}, ValueError, "adjoint must be"),
        ({"arguments": {"dt": 2.0, "velocity": 3}}, ValueError, "none of the operators knows .* 'velocity'"),
    ):
        with pytest.raises(error, match=message):
            make(case.build, **{"arguments": case.arguments, **options})


def test_budget_that_holds_no_ring_says_which_one_does():
    case = acoustic()
    with pytest.raises(BudgetError, match="memory must be >= ") as caught:
        CheckpointedAdjoint(case.build, memory=1000, arguments=case.arguments)
    assert caught.value.required == 3 * 35 * 31 * 4
    adjoint = CheckpointedAdjoint(case.build, memory=caught.value.required, arguments=case.arguments)
    assert adjoint.plan.n_snapshots == 0
    assert adjoint.ring == 3


def test_longer_shot_says_which_budget_holds_its_snapshot():
    case = acoustic()
    options = {"initial": "keep", "arguments": {**case.arguments, "time_M": 3}}
    short = CheckpointedAdjoint(case.build, memory=5 * 35 * 31 * 4, **options)
    assert short.plan.n_snapshots == 0
    with pytest.raises(BudgetError, match=f"a shot of {N} timesteps needs a snapshot beside") as caught:
        short.forward(time_M=N)
    longer = CheckpointedAdjoint(case.build, memory=caught.value.required, **options)
    longer.forward(time_M=N)
    longer.reverse(time_M=N)
    assert longer.memory_held <= caught.value.required


def test_calls_out_of_order_and_bad_arguments():
    case, adjoint = acoustic(), adjoint_of("acoustic 2D u*v.dt2")
    with pytest.raises(ScheduleError, match=r"call forward\(\) first"):
        adjoint.reverse()
    with pytest.raises(ValueError, match="would replace the forward field u"):
        adjoint.forward(u=TimeFunction(name="u", grid=case.receivers.grid, time_order=2))
    with pytest.raises(ValueError, match="is the forward field u"):
        adjoint.reverse_check = adjoint._made.analysis.check_arguments({"v": adjoint.fields[0]}, reverse=True)
    with pytest.raises(InvalidArgument, match="OOB"):
        adjoint.forward(time_M=N + 40)
    with pytest.raises(InvalidArgument, match="Unrecognized argument"):
        adjoint.forward(velocity=3)
    case.shot(adjoint)
    with pytest.raises(ScheduleError, match=r"call forward\(\) first"):
        adjoint.reverse()


@pytest.mark.parametrize("which", ["arguments", "forward_arguments", "reverse_arguments"])
def test_a_forward_field_cannot_be_replaced_through_the_constructor(toy, which):
    other = toy.field("other", Buffer(RING))
    span = {"time_m": 1, "time_M": NT - 2}
    options = {"arguments": span, which: {**(span if which == "arguments" else {}), "u": other}}

    def build(save):
        u = toy.field("u", save)
        return toy.step(u), toy.back(u)

    with pytest.raises(ValueError, match="would replace the forward field u"):
        make(build, **options)


def test_what_timesteps_that_are_run_again_read_must_not_be_written_by_the_reverse_operator(toy):
    factor = Function(name="factor", grid=toy.grid)
    factor.data[:] = 1.5

    def build(save):
        u = toy.field("u", save)
        forward = Operator([Eq(u.forward, factor * u - 0.7 * u.backward + 0.1)], name="Step")
        return forward, toy.back(u, Inc(factor, 1e-3 * u * toy.v))

    adjoint = make(build)
    adjoint.forward()
    with pytest.raises(UnsupportedOperatorError, match="the reverse operator writes factor"):
        adjoint.reverse()


@pytest.mark.parametrize("initial", ["keep", "zeros"])
def test_a_shot_that_is_longer_than_planned_uses_the_budget(toy, initial):
    def build(save):
        u = toy.field("u", save)
        return toy.step(u), toy.back(u)

    def gradient(adjoint, **given):
        toy.gradient.data[:] = 0
        for field in adjoint.fields:
            field.data_with_halo[:] = 0
        adjoint.forward(**given)
        adjoint.reverse(**given)
        return toy.gradient.data.copy()

    short = {"time_m": 1, "time_M": 9}
    options = {"n_checkpoints": None, "window": None, "memory": "1 MB", "initial": initial}
    adjoint = make(build, arguments=short, **options)
    assert np.abs(gradient(adjoint)).max() > 0
    assert adjoint.revolver.schedule.forward_steps == 9
    found = gradient(adjoint, time_M=NT - 2)
    assert adjoint.revolver.schedule.forward_steps == NT - 2
    whole = make(build, **options)
    assert whole.plan.window >= NT - 2
    assert np.array_equal(found, gradient(whole))


def test_a_window_is_no_longer_than_the_run(toy):
    def build(save):
        u = toy.field("u", save)
        return toy.step(u), toy.back(u)

    assert make(build, window=10**9).ring <= NT + 3


def test_budget_without_an_end_is_as_good_as_store_all():
    case = acoustic()
    adjoint = CheckpointedAdjoint(case.build, memory=10**30, initial="keep", arguments=case.arguments)
    adjoint.forward()
    adjoint.reverse()
    assert adjoint.revolver.profiler[Kind.FORWARD].steps == N
