"""The example for solvers of one's own: its derivatives are right, and checkpointing changes no bit."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import pyrevolve
from pyrevolve import Kind

EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "examples" / "shallow_water" / "shallow_water.py"
if not EXAMPLE.is_file():
    pytest.skip("examples/ is not beside tests/; run them in a checkout", allow_module_level=True)


def _load():
    spec = importlib.util.spec_from_file_location("shallow_water", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


shallow_water = _load()

N = 30
OCEAN = shallow_water.Ocean(shape=(16, 20))  # a state takes a multiple of 64 bytes, as a slot does


@pytest.fixture(scope="module")
def problem():
    return shallow_water.Problem.twin(OCEAN, N)


def a_state(ocean, seed):
    """Water in motion everywhere, so that every term of the equations counts."""
    rng = np.random.default_rng(seed)
    x = ocean.hump(3.0, 0.4, 0.5)
    x[0] += rng.standard_normal(ocean.shape)
    x[1:] += 0.3 * rng.standard_normal((2, *ocean.shape))
    return x


def a_direction(ocean, seed):
    """Return a perturbation of such water."""
    return a_state(ocean, seed) - ocean.hump(0.0, 0.5, 0.5)


def complex_step(function, x, y, size=1e-30):
    """Return the derivative of an analytic function at x in the direction y, exact to rounding."""
    return np.imag(function(x + 1j * size * y)) / size


def test_the_tangents_are_the_derivatives():
    x, y = a_state(OCEAN, 1), a_direction(OCEAN, 2)
    for function, tangent in (
        (OCEAN.tendency, OCEAN.tendency_tangent),
        (OCEAN.step, OCEAN.step_tangent),
    ):
        expected = complex_step(function, x, y)
        np.testing.assert_allclose(tangent(x, y), expected, rtol=1e-11, atol=1e-13 * abs(expected).max())


def test_the_adjoints_are_the_transposed_jacobian_entry_by_entry():
    ocean = shallow_water.Ocean(shape=(3, 4))
    x = a_state(ocean, 3)
    for function, adjoint in (
        (ocean.tendency, ocean.tendency_adjoint),
        (ocean.step, ocean.step_adjoint),
    ):
        basis = np.eye(x.size).reshape(x.size, *x.shape)
        jacobian = np.array([complex_step(function, x, e).ravel() for e in basis]).T
        transposed = np.array([adjoint(x, e).ravel() for e in basis]).T
        scale = abs(jacobian).max()
        np.testing.assert_allclose(transposed, jacobian.T, rtol=1e-11, atol=1e-14 * scale)


def test_the_ocean_keeps_its_water_and_its_rest():
    x = a_state(OCEAN, 4)
    after = x
    for _ in range(20):
        after = OCEAN.step(after)
    assert after[0].sum() == pytest.approx(x[0].sum(), rel=1e-13)
    assert not np.allclose(after[0], x[0])
    still = OCEAN.hump(0.0, 0.5, 0.5)
    np.testing.assert_array_equal(OCEAN.step(still), still)


def test_the_stored_gradient_is_the_derivative_of_the_misfit(problem):
    x_0, y = a_state(OCEAN, 5), a_direction(OCEAN, 6)
    every = shallow_water.Gauges(OCEAN, N).every

    def misfit(x):
        total = 0.0
        for t in range(N):
            x = OCEAN.step(x)
            seen = x[0, every // 2 :: every, every // 2 :: every]
            total = total + 0.5 * np.sum((seen - problem.observed[t + 1]) ** 2)
        return total

    assert problem.misfit(x_0) == pytest.approx(float(misfit(x_0)), rel=1e-13)
    assert np.vdot(problem.stored(x_0), y) == pytest.approx(complex_step(misfit, x_0, y), rel=1e-11)


@pytest.mark.parametrize("window", [1, 2, 3, 7, N, N + 1])
@pytest.mark.parametrize("kind", ["States", "GeneralStates"])
@pytest.mark.parametrize("n_checkpoints", [1, 4, N])
def test_every_window_gives_the_stored_gradient_bit_for_bit(problem, kind, window, n_checkpoints):
    x_0 = a_state(OCEAN, 7)
    states = getattr(shallow_water, kind)(x_0, window)
    gradient, revolver = problem.checkpointed(states, n_checkpoints=n_checkpoints)
    np.testing.assert_array_equal(gradient, problem.stored(x_0), strict=True)
    assert revolver.profiler[Kind.FORWARD].steps == revolver.schedule.forward_steps
    assert revolver.profiler[Kind.REVERSE].steps == N


def test_what_the_states_declare_is_what_the_ring_retains(problem):
    """One timestep more than declared is not retained: with it the gradient comes out wrong."""
    x_0 = a_state(OCEAN, 8)
    for kind in (shallow_water.States, shallow_water.GeneralStates):
        states = kind(x_0, 4)
        states.window += 1
        gradient, _ = problem.checkpointed(states, n_checkpoints=3)
        assert not np.array_equal(gradient, problem.stored(x_0))


def test_a_plan_fits_its_budget_and_is_no_worse_than_what_it_is_compared_with(problem):
    x_0 = a_state(OCEAN, 9)
    memory = 9 * x_0.nbytes
    gradient, rows = shallow_water.compare(problem, x_0, memory, rounds=1)
    np.testing.assert_array_equal(gradient, problem.stored(x_0), strict=True)
    stored, classic, windows, lookback = rows
    assert all(row.equal for row in rows)
    assert stored.held == (N + 1) * x_0.nbytes
    assert all(row.held <= memory for row in rows[1:])
    assert classic.forward_steps == pyrevolve.numforw(N, 7) + N  # Griewank & Walther; two states are the ring
    assert stored.forward_steps < lookback.forward_steps < windows.forward_steps < classic.forward_steps


def test_the_taylor_test_tells_a_gradient_from_what_is_none(problem):
    x_0 = a_state(OCEAN, 10)
    direction = a_direction(OCEAN, 11)
    gradient = problem.stored(x_0)
    assert shallow_water.taylor_order(problem, x_0, gradient, direction) == pytest.approx(2.0, abs=0.05)
    assert shallow_water.taylor_order(problem, x_0, 1.01 * gradient, direction) < 1.5


def test_the_dot_product_test_tells_an_adjoint_from_what_is_none(problem, monkeypatch):
    x_0, direction = a_state(OCEAN, 12), a_direction(OCEAN, 13)
    residual = np.random.default_rng(14).standard_normal(problem.observed.shape)

    def error():
        return shallow_water.dot_product_error(problem, x_0, direction, residual, n_checkpoints=4)

    assert error() < 1e-13
    right = shallow_water.Ocean.tendency_adjoint

    def wrong(self, x, y):
        bar = right(self, x, y)
        bar[1] += 1e-9 * x[1]
        return bar

    monkeypatch.setattr(shallow_water.Ocean, "tendency_adjoint", wrong)
    assert error() > 1e-12


def test_the_program_needs_numpy_alone(tmp_path):
    """It prints its table and that all is right, and loads nothing else that is installed."""
    code = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE.parent)!r})\n"
        "before = set(sys.modules)\n"  # what the interpreter's own start-up files load
        "import shallow_water\n"
        "code = shallow_water.main(['--shape', '16x20', '--timesteps', '40', '--memory', '80 kB'])\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print('loaded', *(new - set(sys.stdlib_module_names) - {'shallow_water'}))\n"
        "sys.exit(code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines if line.endswith(("yes", "NO"))] == ["yes"] * 4
    assert lines[-2] == "all right"
    loaded = set(lines[-1].split()[1:])
    # Names with an underscore are helpers of numpy and of Cython, such as _cython_3_0_0.
    assert {name for name in loaded if not name.startswith(("_", "cython"))} == {"numpy", "pyrevolve"}


def test_the_program_says_what_budget_it_needs(capsys):
    with pytest.raises(SystemExit) as stopped:
        shallow_water.main(["--shape", "16x20", "--timesteps", "40", "--memory", "1 kB"])
    assert stopped.value.code == 2
    # The ring of two states, and one snapshot.
    assert f"memory must be >= {3 * 3 * 16 * 20 * 8} bytes" in capsys.readouterr().err
