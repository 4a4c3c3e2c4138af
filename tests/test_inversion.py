"""Acoustic shots: exact gradients and Gauss-Newton products inside a budget, alone and in many processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")

from inversion_survey import DIRECTIONS, RECEIVERS, SOURCES, START, TRUE, make
from mpi_launch import finish

from pyrevolve.inversion import AcousticShots, Gather, ShotRunner, Survey
from pyrevolve.inversion.models import generated_model_3d, smooth

pytestmark = pytest.mark.devito

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def gathers():
    with ShotRunner(make, [Gather(source, RECEIVERS) for source in SOURCES], memory="1 MB") as runner:
        observed = runner.map("simulate", TRUE)
    return [Gather(source, RECEIVERS, data) for source, data in zip(SOURCES, observed, strict=True)]


@pytest.fixture(scope="module")
def problem():
    problem = make("1 MB", second_order=True)
    yield problem
    problem.close()


def orders(errors):
    """Return by which power of the step errors fall when it is halved."""
    return np.log2(np.array(errors[:-1]) / np.array(errors[1:]))


def test_gradient_passes_the_taylor_test(problem, gathers):
    misfit, gradient = problem.misfit_and_gradient(START, gathers[1])
    assert misfit == problem.misfit(START, gathers[1])
    slope = np.sum(gradient * DIRECTIONS[0])
    errors = [
        abs(problem.misfit(START + step * DIRECTIONS[0], gathers[1]) - misfit - step * slope)
        for step in (0.04, 0.02, 0.01, 0.005)
    ]
    assert np.all(np.abs(orders(errors) - 2) < 0.15), errors
    # Without the gradient they would not fall like that.
    assert abs(0.005 * slope) > 5 * errors[-1]


def test_checkpointed_gradient_is_that_of_store_all(problem, gathers):
    everything = make("1 GB")
    for gather in gathers:
        misfit, gradient = problem.misfit_and_gradient(START, gather)
        other, expected = everything.misfit_and_gradient(START, gather)
        assert misfit == other
        assert np.array_equal(gradient, expected)
        assert np.abs(gradient).max() > 0
    assert "0 snapshots" in str(everything)
    assert "0 snapshots" not in str(problem)


def test_born_approximation_passes_the_taylor_test(problem, gathers):
    born = problem.born(START, DIRECTIONS[0], gathers[0]).astype(np.float64)
    before = problem.simulate(START, gathers[0]).astype(np.float64)
    first, second = [], []
    for step in (0.08, 0.04, 0.02, 0.01):
        change = problem.simulate(START + step * DIRECTIONS[0], gathers[0]) - before
        first.append(np.linalg.norm(change))
        second.append(np.linalg.norm(change - step * born))
    assert np.all(np.abs(orders(second) - 2) < 0.15), second
    assert np.all(orders(first) < 1.5), first


def test_gauss_newton_products_are_symmetric_and_those_of_the_born_data(problem, gathers):
    one, other = DIRECTIONS
    dt = problem.times()[1]
    for gather in gathers[:2]:
        data = [problem.born(START, each, gather).astype(np.float64) for each in DIRECTIONS]
        products = [problem.gauss_newton_product(START, each, gather) for each in DIRECTIONS]
        expected = dt * np.sum(data[0] * data[1])
        scale = dt * np.linalg.norm(data[0]) * np.linalg.norm(data[1])
        assert abs(np.sum(one * products[1]) - expected) < 1e-5 * scale
        assert abs(np.sum(other * products[0]) - expected) < 1e-5 * scale
        assert np.sum(one * products[0]) == pytest.approx(dt * np.sum(data[0] ** 2), rel=1e-5)


def test_gauss_newton_product_is_that_of_store_all_and_does_not_depend_on_what_ran_before(problem, gathers):
    everything = make("1 GB", second_order=True)
    expected = everything.gauss_newton_product(START, DIRECTIONS[0], gathers[0])
    problem.gauss_newton_product(TRUE, DIRECTIONS[1], gathers[2])
    problem.misfit_and_gradient(TRUE, gathers[2])
    assert np.array_equal(problem.gauss_newton_product(START, DIRECTIONS[0], gathers[0]), expected)
    # The scattered field is no part of the state: snapshots are of one field.
    held = problem._adjoints["gauss_newton"]
    assert [field.name for field in held.fields] == ["u"]
    assert held.plan.forward_steps > held.n_timesteps


def test_illumination_is_the_sum_of_squares(problem, gathers):
    found = problem.illumination(START, gathers[0])
    assert found.shape == TRUE.shape
    assert (found >= 0).all()
    # Twice the source is four times the illumination; the strongest is at the source.
    x, z = np.unravel_index(found.argmax(), found.shape)
    assert abs(x - SOURCES[0][0] / 20) <= 1
    assert abs(z - SOURCES[0][1] / 20) <= 1
    assert np.array_equal(found, problem.illumination(START, gathers[0]))


def test_what_is_not_there_is_asked_for(problem):
    with pytest.raises(ValueError, match="no observed data"):
        problem.misfit_and_gradient(START, Gather(SOURCES[0], RECEIVERS))
    with pytest.raises(ValueError, match="second_order=True"):
        make("1 MB").gauss_newton_product(START, DIRECTIONS[0], Gather(SOURCES[0], RECEIVERS))
    with pytest.raises(ValueError, match="must have the shape"):
        problem.simulate(START[1:], Gather(SOURCES[0], RECEIVERS))
    with pytest.raises(ValueError, match="must not exceed"):
        problem.simulate(2 * START, Gather(SOURCES[0], RECEIVERS))
    source, several = SOURCES[0], RECEIVERS
    observed = np.zeros((problem.times().size, len(RECEIVERS)), np.float32)
    for gather, told in (
        (Gather(source, several[:1], observed), "receivers must have the shape"),
        (Gather(source[:1], several, observed), "source must have the shape"),
        (Gather(source - 203.0, several, observed), "source must lie within the model"),
        (Gather(source, several + 203.0, observed), "receivers must lie within the model"),
        (Gather(source, several, observed[:1]), "observed must have the shape"),
        (Gather(source, several, observed[:, :1]), "observed must have the shape"),
    ):
        with pytest.raises(ValueError, match=told):
            problem.misfit_and_gradient(START, gather)
    for velocity in (0 * START, -START, START * np.nan, START * 1e-30):
        with pytest.raises(ValueError, match=r"vp must be finite and >= 0\.001"):
            problem.simulate(velocity, Gather(source, several))
    for velocity in (START + 0j, START.astype(str)):
        with pytest.raises(TypeError, match="vp must be real numbers"):
            problem.simulate(velocity, Gather(source, several))
    with pytest.raises(TypeError, match="direction must be real numbers"):
        problem.born(START, DIRECTIONS[0] + 0j, Gather(source, several))
    for direction in (DIRECTIONS[0, 0], 1.0):
        with pytest.raises(ValueError, match="direction must have the shape"):
            problem.born(START, direction, Gather(source, several))
    for wrong in (
        {"layers": -1},
        {"space_order": 3},
        {"shape": (3,)},
        {"spacing": 0.0},
        {"tn": float("inf")},
        {"f0": -1.0},
        {"shape": 24},
        {"shape": (9, 9.0)},
        {"vmax": "4"},
        {"layers": 1.5},
    ):
        with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
            Survey(**{"shape": (9, 9), "spacing": 1.0, "tn": 1.0, "f0": 1.0, "vmax": 2.0, **wrong})
    with pytest.raises(ValueError, match="tn must be <"):
        AcousticShots(Survey((20, 20), 1.0, 1e30, 1.0, vmax=2.0), Gather(source, several))


@pytest.mark.processes
def test_two_dask_workers_give_the_serial_gradient_bit_for_bit(gathers):
    distributed = pytest.importorskip("distributed", reason='needs Dask: pip install "pyrevolve[dask]"')
    with ShotRunner(make, gathers, memory="1 MB") as runner:
        expected = runner.sum("misfit_and_gradient", START)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
        ShotRunner(make, gathers, memory="700 kB", client=client) as runner,
    ):
        misfit, gradient = runner.sum("misfit_and_gradient", START)
    assert misfit == expected[0]
    assert np.array_equal(gradient, expected[1])


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_processes_that_share_a_shot_give_the_serial_gradient(size, launch_devito, problem, gathers):
    status, written, errors = finish(launch_devito(size, str(HERE / "mpi" / "inversion.py")))
    assert status == 0, errors
    told = [json.loads(line) for line in written.splitlines()]
    assert len(told) == size
    for key in told[0].keys() - {"rank"}:
        assert all(each[key] == told[0][key] for each in told), key
    (found, *_) = told
    assert found["plan"][1] > 0
    # To what a sum of float32 over all timesteps rounds.
    misfit, gradient = problem.misfit_and_gradient(START, gathers[1])
    assert found["misfit"] == pytest.approx(misfit, rel=1e-5)
    assert np.linalg.norm(found["gradient"] - gradient) < 1e-4 * np.linalg.norm(gradient)
    product = problem.gauss_newton_product(START, DIRECTIONS[0], gathers[1])
    assert np.linalg.norm(found["product"] - product) < 1e-4 * np.linalg.norm(product)
    assert np.all(np.abs(orders(found["taylor"]) - 2) < 0.15), found["taylor"]


def test_gradient_in_three_dimensions_passes_the_taylor_test():
    true = generated_model_3d(16).astype(np.float64)
    start = smooth(true.astype(np.float32), 5).astype(np.float64)
    survey = Survey(true.shape, 25.0, 300.0, 12.0, vmax=3.2, layers=8, space_order=4)
    x, y = np.meshgrid([60.0, 180.0, 310.0], [60.0, 180.0, 310.0])
    receivers = np.stack([x.ravel(), y.ravel(), np.full(9, 60.0)], axis=1)
    gather = Gather(np.array([190.0, 170.0, 60.0]), receivers)
    problem = AcousticShots(survey, gather, memory="8 MB", second_order=True)
    gather = Gather(gather.source, receivers, problem.simulate(true, gather))
    misfit, gradient = problem.misfit_and_gradient(start, gather)
    direction = np.random.default_rng(5).standard_normal(true.shape) + 0.5 * gradient / gradient.std()
    slope = np.sum(gradient * direction)
    steps = np.array([0.01, 0.005, 0.0025])
    changes = np.array([problem.misfit(start + step * direction, gather) - misfit for step in steps])
    assert np.all(np.abs(orders(np.abs(changes - steps * slope)) - 2) < 0.2)
    # A gradient that is one half wrong would not pass.
    assert not np.all(np.abs(orders(np.abs(changes - steps * slope / 2)) - 2) < 0.2)
    data = problem.born(start, direction, gather).astype(np.float64)
    product = problem.gauss_newton_product(start, direction, gather)
    assert np.sum(direction * product) == pytest.approx(problem.times()[1] * np.sum(data**2), rel=1e-5)
    problem.close()
