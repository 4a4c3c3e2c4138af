"""ShotRunner: sums over shots in this process and with Dask, in one order whoever computes what."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time

import numpy as np
import pytest
import shot_problems
from shot_problems import Numbers, Odd, Recorder, Reusing

from pyrevolve.inversion import ShotRunner

#: Numbers whose sum in float64 depends on the order.
SHOTS = [1e16, 1.0, -1e16, 3.0, 1e-3, -7e15, 2.5, 7e15]


def in_order(values):
    total = np.float64(values[0])
    for value in values[1:]:
        total = total + np.float64(value)
    return total


def test_the_order_of_these_shots_matters():
    assert in_order(SHOTS) != in_order(sorted(SHOTS))


# --- in this process ----------------------------------------------------------------------------------------


def test_sums_of_numbers_arrays_and_tuples_in_the_order_of_the_shots():
    with ShotRunner(Numbers, SHOTS, memory=1000) as runner:
        model = np.array([1.0, -2.0])
        assert runner.sum("number", model) == in_order(SHOTS)
        number, array = runner.sum("both", model)
        assert number == in_order(SHOTS)
        assert array.dtype == np.float64
        assert array.tolist() == [in_order([shot * each for shot in SHOTS]) for each in model]
        assert runner.map("number", model) == SHOTS
        assert runner.map("number", model, shots=SHOTS[:3]) == SHOTS[:3]
        assert runner.sum("number", model, shots=SHOTS[4:]) == in_order(SHOTS[4:])
        assert runner.sum("number", model) == in_order(SHOTS)


def test_float32_results_are_added_in_float64_and_left_as_they_are():
    kept = [np.full(3, value, np.float32) for value in (1.0, 2.0**-30, 2.0**-30)]
    with ShotRunner(lambda memory: Recorder(kept), range(3), memory=0) as runner:
        total = runner.sum("give")
    assert total.dtype == np.float64
    assert total.tolist() == [1.0 + 2.0**-29] * 3
    assert [each[0] for each in kept] == [1.0, np.float32(2.0**-30), np.float32(2.0**-30)]


def test_float64_results_are_not_changed_by_the_sum():
    kept = [np.ones(3), np.ones(3)]
    with ShotRunner(lambda memory: Recorder(kept), range(2), memory=0) as runner:
        assert runner.sum("give").tolist() == [2.0] * 3
        assert runner.sum("give").tolist() == [2.0] * 3
    assert [each.tolist() for each in kept] == [[1.0] * 3] * 2


def test_results_of_different_shape_are_refused():
    runner = ShotRunner(lambda memory: Recorder([np.ones(3), np.ones(1)]), range(2), memory=0)
    with runner, pytest.raises(ValueError, match=r"shape \(1,\), those before \(3,\)"):
        runner.sum("give")


def test_results_may_be_arrays_that_the_next_shot_overwrites():
    shots = [float(shot) for shot in range(1, 41)]
    with ShotRunner(Reusing, shots, memory=0) as runner:
        assert runner.sum("both")[1][0] == 820.0
        assert [gradient[0] for _, gradient in runner.map("both")] == shots


@pytest.mark.parametrize(
    "result", [None, "2", {"misfit": 1.0}, np.array(["2"]), np.ma.masked_array([1.0], [True]), object()]
)
def test_results_that_cannot_be_added_are_named(result):
    with ShotRunner(Odd, [1.0, 2.0], memory=0) as runner:
        with pytest.raises(TypeError, match=r"same\(\) of shot 0 must return a number, .*; got "):
            runner.sum("same", result)
        with pytest.raises(TypeError, match=r"same\(\) of shot 0 of those given must return a number"):
            runner.sum("same", result, shots=[2.0])
        assert len(runner.map("same", result)) == 2


def test_results_that_cannot_be_copied_are_named():
    with ShotRunner(Odd, [1.0], memory=0) as runner:
        for use in (runner.map, runner.sum):
            with pytest.raises(TypeError, match=r"same\(\) of shot 0 returned a lock that cannot be copied"):
                use("same", threading.Lock())
        (result,) = runner.map("same", {"a": [np.ones(2)], "b": (1, "c")})
    assert result["a"][0].tolist() == [1.0, 1.0]
    assert result["b"] == (1, "c")


def test_tuples_and_numbers_are_not_mixed():
    with ShotRunner(Odd, [1.0, 2.0], memory=0) as runner:
        with pytest.raises(TypeError, match="always a tuple"):
            runner.sum("pair_or_number", 1.0)
        with pytest.raises(ValueError, match="has 2 parts, those before no parts"):
            runner.sum("pair_or_number", 2.0)


def test_stopped_iteration_is_an_error_of_the_shot():
    with (
        ShotRunner(Odd, [1.0], memory=0) as runner,
        pytest.raises(RuntimeError, match=r"stops\(\) of shot 0, in this process, raised StopIteration"),
    ):
        runner.sum("stops")


def test_problem_is_made_once_with_the_budget_and_closed():
    made = []

    def make(memory):
        made.append(Recorder([memory] * 2))
        return made[-1]

    runner = ShotRunner(make, range(2), memory="2 kB")
    assert not made
    assert runner.workers() == []
    assert [runner.sum("give"), runner.sum("give")] == [4000.0] * 2
    (worker,) = runner.workers()
    assert (worker.name, worker.budget, worker.shots) == ("this process", 2000, 4)
    assert 0 < worker.resident <= worker.peak_resident
    assert str(made[0]) in str(worker)
    assert len(made) == 1
    runner.close()
    runner.close()
    assert made[0].closed == 1
    for use in (functools.partial(runner.sum, "give"), functools.partial(runner.map, "give"), runner.workers):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_exception_passes_through_with_the_shot_and_the_runner_goes_on():
    with ShotRunner(Numbers, SHOTS, memory=0) as runner:
        with pytest.raises(ZeroDivisionError) as caught:
            runner.sum("fails_at", 3.0)
        notes = getattr(caught.value, "__notes__", ["fails_at() of shot 3, in this process"])
        assert notes == ["fails_at() of shot 3, in this process"]
        with pytest.raises(AttributeError, match="nothing"):
            runner.sum("nothing")
        assert runner.sum("number", 0) == in_order(SHOTS)


def test_closed_while_it_computes_makes_no_other_problem():
    made = []

    def make(memory):
        made.append(Recorder(SHOTS))
        return made[-1]

    runner = ShotRunner(make, range(4), memory=0, on_shot=lambda *_: runner.close())
    with pytest.raises(ValueError, match="closed meanwhile"):
        runner.sum("give")
    assert [each.closed for each in made] == [1]


def test_on_shot_is_told_of_every_shot():
    told = []
    with ShotRunner(Numbers, SHOTS, memory=0, on_shot=lambda *given: told.append(given)) as runner:
        runner.sum("number", 0)
    assert told == [(done, len(SHOTS)) for done in range(1, len(SHOTS) + 1)]


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match="at least one"):
        ShotRunner(Numbers, [])
    with pytest.raises(TypeError, match="make must be a function"):
        ShotRunner(3, SHOTS)
    with pytest.raises(ValueError, match="memory"):
        ShotRunner(Numbers, SHOTS, memory="much")


# --- with Dask ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    """Yield a client of two workers in processes of their own."""
    distributed = pytest.importorskip("distributed", reason='needs Dask: pip install "pyrevolve[dask]"')
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1 GB", dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.processes
def test_workers_give_the_same_sum_whoever_is_first(client):
    # The first shot takes longest, so that all others are there before it.
    with ShotRunner(Numbers, SHOTS, client=client, memory=1000) as runner:
        model = np.array([1.0, -2.0])
        number, array = runner.sum("first_is_slow", model)
        assert number == in_order(SHOTS)
        assert array.tolist() == [in_order([shot * each for shot in SHOTS]) for each in model]
        assert runner.map("number", model) == SHOTS
        workers = runner.workers()
        assert sum(worker.shots for worker in workers) == 2 * len(SHOTS)
        assert {worker.budget for worker in workers} == {1000}


@pytest.mark.processes
def test_budget_follows_from_the_memory_limit_of_a_worker(client):
    with ShotRunner(Numbers, SHOTS, client=client) as runner:
        runner.sum("number", 0)
        workers = runner.workers()
        assert workers
        for worker in workers:
            # The budget is taken a moment before what is resident is told.
            assert abs(worker.budget - (int(0.6e9) - worker.resident)) < 2**20


def test_budget_of_a_worker_without_a_limit_or_without_room():
    workers = pytest.importorskip("pyrevolve.inversion.workers", reason="needs Dask", exc_type=ImportError)
    assert workers._budget(5, None) == 5
    with pytest.raises(ValueError, match="no memory limit"):
        workers._budget(None, None)
    with pytest.raises(MemoryError, match="larger --memory-limit"):
        workers._budget(None, 2**20)


@pytest.mark.processes
def test_restart_of_the_cluster_is_told_and_is_no_result(client):
    def restart(count, total):
        if count == 2:
            client.restart(wait_for_workers=True)

    with (
        ShotRunner(Numbers, SHOTS * 4, client=client, memory=0, on_shot=restart) as runner,
        pytest.raises(RuntimeError, match="Dask gave up shot"),
    ):
        runner.map("slow_number", 0)


@pytest.mark.processes
def test_worker_that_has_just_died_disturbs_neither_workers_nor_close(client):
    runner = ShotRunner(Numbers, SHOTS, client=client, memory=0)
    assert runner.sum("slow_number", 0) == in_order(SHOTS)
    os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    assert len(runner.workers()) <= 2
    runner.close()
    with ShotRunner(Numbers, SHOTS, client=client, memory=0) as runner:
        assert runner.sum("number", 0) == in_order(SHOTS)


@pytest.mark.processes
def test_cluster_without_workers_is_not_waited_for_for_ever(monkeypatch):
    distributed = pytest.importorskip("distributed", reason='needs Dask: pip install "pyrevolve[dask]"')
    monkeypatch.setattr("pyrevolve.inversion.workers.PATIENCE", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
        ShotRunner(Numbers, SHOTS, client=client, memory=0) as runner,
        pytest.raises(TimeoutError, match="no workers"),
    ):
        runner.sum("number", 0)


@pytest.mark.processes
def test_exception_on_a_worker_passes_through_and_the_runner_goes_on(client):
    with ShotRunner(Numbers, SHOTS, client=client, memory=0) as runner:
        with pytest.raises(ZeroDivisionError) as caught:
            runner.sum("fails_at", 3.0)
        if hasattr(caught.value, "add_note"):
            assert caught.value.__notes__[0].startswith("fails_at() of shot 3, in tcp://")
        assert runner.sum("number", 0) == in_order(SHOTS)


@pytest.mark.processes
def test_results_of_workers_may_be_arrays_that_the_next_shot_overwrites(client):
    shots = [float(shot) for shot in range(1, 41)]
    with ShotRunner(Reusing, shots, client=client, memory=0) as runner:
        assert [runner.sum("both")[1][0] for _ in range(3)] == [820.0] * 3
        assert [gradient[0] for _, gradient in runner.map("both")] == shots


@pytest.mark.processes
@pytest.mark.parametrize(("method", "said"), [("panics", "raised Panic"), ("stops", "raised StopIteration")])
def test_what_is_no_exception_is_not_waited_for(method, said, client):
    with ShotRunner(Odd, SHOTS, client=client, memory=0) as runner:
        with pytest.raises(RuntimeError, match=said):
            runner.sum(method)
        assert runner.sum("same", 1.0) == len(SHOTS)


@pytest.mark.processes
def test_closed_while_workers_compute(client):
    # So many that they are not done before.
    runner = ShotRunner(Numbers, SHOTS * 100, client=client, memory=0, on_shot=lambda *_: runner.close())
    with pytest.raises(ValueError, match="closed meanwhile"):
        runner.map("slow_number", 0)


@pytest.mark.processes
def test_runner_outlives_its_cluster():
    distributed = pytest.importorskip("distributed", reason='needs Dask: pip install "pyrevolve[dask]"')
    with (
        distributed.LocalCluster(n_workers=1, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        late = ShotRunner(Numbers, SHOTS, client=client, memory=0)
        assert late.sum("number", 0) == in_order(SHOTS)
        runner = ShotRunner(Numbers, SHOTS * 100, client=client, memory=0, on_shot=lambda *_: cluster.close())
        with pytest.raises(RuntimeError, match="Dask gave up shot"):
            runner.map("slow_number", 0)
        runner.close()
    late.close()


@pytest.mark.processes
def test_closing_closes_the_problems_of_all_workers(client, tmp_path):
    with ShotRunner(
        functools.partial(shot_problems.Leaving, str(tmp_path)), range(8), client=client
    ) as runner:
        runner.map("slowly")
        made = {path.name for path in tmp_path.iterdir()}
        assert len(made) == len(runner.workers())
    deadline = time.monotonic() + 30
    while any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())


@pytest.mark.processes
def test_worker_that_is_killed_costs_only_its_shot(client, tmp_path):
    pids = list(client.run(os.getpid).values())
    done = []

    def kill_one(count, total):
        done.append(count)
        if len(done) == 3:
            os.kill(pids[0], signal.SIGKILL)

    make = functools.partial(shot_problems.Logged, str(tmp_path / "log"))
    shots = [float(number) for number in range(12)]
    with ShotRunner(make, shots, client=client, memory=0, on_shot=kill_one) as runner:
        assert runner.sum("slowly") == in_order(shots)
        # What had come is not computed again: one shot at most, which the killed worker was at or had not
        # handed over, and what the other had been waiting to hand over.
        computed = [float(line) for line in (tmp_path / "log").read_text().split()]
        assert sorted(set(computed)) == shots
        assert len(computed) <= len(shots) + 2
        assert len(done) == len(shots)
        # The worker that took its place has a problem of its own.
        deadline = time.monotonic() + 60
        while len(client.scheduler_info()["workers"]) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert runner.sum("slowly") == in_order(shots)


def test_client_of_another_kind():
    pytest.importorskip("distributed", reason='needs Dask: pip install "pyrevolve[dask]"')
    with pytest.raises(TypeError, match=r"distributed\.Client"):
        ShotRunner(Numbers, SHOTS, client=3)
