"""Checkpointed gradients equal those of store-all, bit for bit, for the operators that users have."""

from __future__ import annotations

import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")

import numpy as np
from devito import switchconfig
from devito_problems import CASES, RING, N, adjoint_of, advances, short_rings

from pyrevolve import Kind
from pyrevolve.devito import CheckpointedAdjoint, Problem, read_operator

pytestmark = pytest.mark.devito


@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_store_all_bit_for_bit_also_in_poisoned_rings(name):
    case, adjoint = CASES[name](), adjoint_of(name)
    report = adjoint.verify(case.shot)
    assert report.passed, str(report)
    assert report.n_timesteps == N
    assert report.forward_steps > N
    assert all(np.abs(array).max() > 0 for array in case.shot(adjoint).values())


#: Of one field and of several, whose lags are 0 and 1; the others are slow to compile once more.
IN_SHORT_RINGS = ("acoustic 2D u*v.dt2", "acoustic 2D u.dt2*v", "velocity-stress")


@pytest.mark.parametrize(
    "name",
    [name if name in IN_SHORT_RINGS else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_gradient_equals_store_all_where_timesteps_are_run_in_short_rings(name):
    case, adjoint = CASES[name](), adjoint_of(name)
    made = adjoint._made
    made.advancing = short_rings(adjoint)
    try:
        with advances() as run:
            report = adjoint.verify(case.shot)
            assert report.passed, str(report)
            for _ in range(2):
                run.clear()
                case.shot(adjoint)
                # All that is run besides the timesteps that are reversed, but for the end of the first sweep.
                assert adjoint.plan.forward_steps - N <= sum(run) + 1
                assert adjoint.profiler[Kind.FORWARD].steps == adjoint.plan.forward_steps
    finally:
        made.advancing = {}


@pytest.mark.parametrize("name", CASES)
def test_retention_is_what_the_operators_need(name):
    case, adjoint = CASES[name](), adjoint_of(name)
    checkpoint = adjoint.checkpoint
    assert (checkpoint.lookback, checkpoint.lag) == (case.lookback, case.lag)
    assert checkpoint.window == RING - case.gap == adjoint.plan.window
    assert not read_operator(adjoint.problem.forward).doubts
    assert not read_operator(adjoint.problem.reverse).doubts


@pytest.mark.parametrize("name", ["acoustic 3D", "velocity-stress"])
def test_gradient_equals_what_devito_computes_from_stored_fields(name):
    # save=N gives C code that compilers may round in another way, unless they are told not to.
    case = CASES[name]()
    with switchconfig(safe_math=True):
        adjoint = CheckpointedAdjoint(
            case.build, n_checkpoints=3, window=RING - case.gap, arguments=case.arguments
        )
        found = case.shot(adjoint)
        problem = Problem.of(case.build(case.source.nt))
        forward, reverse = problem.forward, problem.reverse
        stored = {p.name for p in forward.input if p.is_TimeFunction}
        for parameter in reverse.input:
            if parameter.is_TimeFunction and parameter.name not in stored:
                parameter.data_with_halo[:] = 0

        class Stored:
            def forward(self):
                forward.apply(**case.arguments)

            def reverse(self):
                reverse.apply(**case.arguments)

        expected = case.shot(Stored())
    assert adjoint.profiler[Kind.FORWARD].steps > N
    for result, array in expected.items():
        assert np.array_equal(found[result], array)
        assert np.abs(array).max() > 0
