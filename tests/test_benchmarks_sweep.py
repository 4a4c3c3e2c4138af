"""The memory sweep: its optima are those of brute force, its file survives a kill, its counts are optimal."""

from __future__ import annotations

import csv
import functools
import importlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from oracles import classic, closed_form, dynamic

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("benchmarks/ is not beside tests/; run them in a checkout", allow_module_level=True)

sys.path.append(str(BENCHMARKS))
sweep_growth_worker = importlib.import_module("sweep_growth_worker")
sweep_large = importlib.import_module("sweep_large")
sweep_optimum = importlib.import_module("sweep_optimum")
sweep_problems = importlib.import_module("sweep_problems")
sweep_results = importlib.import_module("sweep_results")
sweep_tables = importlib.import_module("sweep_tables")
sys.path.remove(str(BENCHMARKS))


# --- the optima ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "lookback"), [(1, 0), (3, 0), (1, 1), (2, 2), (5, 2), (7, 3)])
def test_windowed_optimum_is_that_of_the_dynamic_program(window, lookback):
    longest, slots = 60, 5
    chain = dynamic.chain_steps(longest, slots, window, lookback)
    first = max(0, lookback - 1 + (lookback == 0))
    for n in range(1, longest + 1):
        for snapshots in range(slots + 1):
            free = n if n <= window else chain[snapshots, n]
            assert sweep_optimum.windowed(n, snapshots, window, lookback) == free
            if snapshots:
                stored = n if n <= window else first + chain[snapshots - 1, n - first]
                assert sweep_optimum.windowed(n, snapshots, window, lookback, free=False) == stored


def test_classic_optimum_is_that_of_the_dynamic_program():
    advances = dynamic.classic_advances(80, 8)
    for n in range(1, 81):
        for snapshots in range(1, 9):
            assert sweep_optimum.classic(n, snapshots) == n + advances[snapshots, n]


@pytest.mark.parametrize("state", [1, 2, 3])
def test_fewest_of_any_schedule_are_those_of_the_dynamic_program_over_slices(state):
    @functools.cache
    def right_of_a_start(x: int, free: int) -> int:
        """Steps for x timesteps right of a stored start, whose own slices serve the window too."""
        if x <= 0:
            return 0
        if x <= free + state:
            return x
        best = x + right_of_a_start(x - free - state, free)
        if free >= state:
            splits = (
                m + right_of_a_start(x - m, free - state) + right_of_a_start(max(0, m - state), free)
                for m in range(1, x)
            )
            best = min(best, *splits)
        return best

    for n in range(1, 41):
        for slices in range(state, 13):
            assert sweep_optimum.least(n, slices, state) == right_of_a_start(n, slices - state)


def test_fewest_of_any_schedule_for_3000_timesteps():
    # Computed by hand from the closed form of docs/architecture.md, with a zero initial state.
    assert [sweep_optimum.least(3000, slices) for slices in (20, 50, 100)] == [12280, 8250, 6250]


def test_no_window_beats_the_fewest_of_any_schedule():
    for n in (50, 333):
        for slices in range(3, n, 7):
            for window in range(2, slices + 1):
                steps = sweep_optimum.windowed(n, (slices - window) // 2, window)
                assert steps >= sweep_optimum.least(n, slices)


# --- limits -------------------------------------------------------------------------------------------------


def test_limits_go_from_a_ring_and_a_snapshot_to_every_slice_in_even_ratios():
    found = sweep_problems.limits(2000, 8)
    assert (found[0], found[-1]) == (5, 2002)
    assert all((slices - 3) % 2 == 0 for slices in found[:-1])
    ratios = [b / a for a, b in itertools.pairwise(found[2:])]
    assert max(ratios) / min(ratios) < 1.1
    assert sweep_problems.limits(4, 6) == [5, 6], "each once, however many are asked for"
    with pytest.raises(ValueError, match="points must be >= 2"):
        sweep_problems.limits(100, 1)


def test_slots_take_no_more_than_their_slices():
    halo = 8
    for chosen in sweep_problems.SETS.values():
        assert len(chosen.problems[-1].shape) == 3
        for problem in chosen.problems:
            points = math.prod(points + 2 * halo for points in problem.grid)
            assert 2 * points * 4 % 64 == 0, problem.name
            assert " x ".join(map(str, problem.grid)) in problem.name


# --- the file -----------------------------------------------------------------------------------------------


@pytest.fixture
def open_results(tmp_path):
    return functools.partial(
        sweep_results.Results, tmp_path / "new" / "r.csv", ("name", "n", "seconds"), ("name", "n")
    )


def test_rows_are_found_again_by_their_identity(open_results):
    with open_results(constant={"cpu": "one, two"}) as results:
        assert results.find({"name": "a", "n": 3}) is None
        results.append({"name": "a", "n": 3, "seconds": 0.5})
        results.append({"name": "a", "n": 4})
    with open_results(constant={"cpu": "one, two"}) as results:
        assert results.find({"name": "a", "n": 3}) == {
            "name": "a",
            "n": "3",
            "seconds": "0.5",
            "cpu": "one, two",
        }
        assert results.find({"name": "b", "n": 3}) is None
        with pytest.raises(ValueError, match="already"):
            results.append({"name": "a", "n": 4, "seconds": 1.0})
        with pytest.raises(ValueError, match=r"no columns \['hours'\]"):
            results.append({"name": "c", "n": 4, "hours": 1.0})
    assert len(sweep_results.read_rows(results.path)) == 2


def test_a_row_cut_short_at_any_byte_is_forgotten_and_those_before_it_are_kept(open_results):
    with open_results() as results:
        results.append({"name": "kept", "n": 1, "seconds": 1})
        whole = results.path.read_bytes()
        results.append({"name": "cut", "n": 22, "seconds": 2})
    both = results.path.read_bytes()
    for length in range(len(whole), len(both)):
        results.path.write_bytes(both[:length])
        assert [row["name"] for row in sweep_results.read_rows(results.path)] == ["kept"]
        with open_results() as again:
            assert [row["name"] for row in again.rows] == ["kept"]
            again.append({"name": "cut", "n": 22, "seconds": 2})
        assert results.path.read_bytes() == both


def test_rows_of_another_machine_or_format_are_refused(open_results):
    with open_results(constant={"cpu": "fast"}) as results:
        results.append({"name": "a", "n": 1})
    with pytest.raises(ValueError, match="cpu 'fast', but here it is 'slow'"):
        open_results(constant={"cpu": "slow"})
    with pytest.raises(ValueError, match="other columns"):
        open_results()
    assert len(sweep_results.read_rows(results.path)) == 1


def test_two_runs_do_not_write_to_one_file(open_results):
    with open_results(), pytest.raises(BlockingIOError, match="another run"):
        open_results()
    with open_results():
        pass


# --- the large configuration --------------------------------------------------------------------------------

CELLS, SLICE = 1000, 4000
LARGE_CELLS, LARGE_SLICE = 300_000, 2_000_000
COSTS = {
    "forward_step": 1e-3,
    "reverse_step": 2e-3,
    "forward_call": 0.0,
    "reverse_call": 0.25,
    "save": [3e-4, 5e-3],
    "load": [2e-4, 4e-3],
}


@pytest.fixture(scope="module")
def predicted():
    row = {
        "problem": "small",
        "cells": str(CELLS),
        "slice_bytes": str(SLICE),
        "large_cells": str(LARGE_CELLS),
        "large_slice_bytes": str(LARGE_SLICE),
        "costs": json.dumps(COSTS),
    }
    return sweep_large.predict(row)


def test_predictions_say_that_they_are(predicted):
    assert {row["label"] for row in predicted} == {"predicted"}
    assert {row["timesteps"] for row in predicted} == {2500}
    assert {row["method"] for row in predicted} == {"RAM", "RAM + disk", "classic Revolve", "store-all"}


def test_predictions_in_memory_have_optimal_steps_and_keep_their_limits(predicted):
    for row in predicted:
        assert row["planned_bytes"] <= row["limit_bytes"]
        if row["method"] != "RAM":
            continue
        assert row["planned_bytes"] == (row["window"] + 2 * row["snapshots"]) * LARGE_SLICE
        steps = closed_form.forward_steps(2500, row["snapshots"], row["window"], 2, 0, True)
        assert row["forward_steps"] == steps >= row["least_steps"]


def test_predictions_of_classic_revolve_are_its_actions_at_scaled_costs(predicted):
    for row in [row for row in predicted if row["method"] == "classic Revolve"][::6]:
        counts = dict.fromkeys(range(6), 0)
        steps = before = 0
        for action, capo, _, _ in classic.actions(2500, row["snapshots"], classic.golden_split):
            counts[action] += 1
            # An advance, or the recorded run of a reversal.
            steps += capo - before if action == classic.ADVANCE else 0
            steps += action in (classic.FIRSTRUN, classic.YOUTURN)
            before = capo
        cells, nbytes = LARGE_CELLS / CELLS, LARGE_SLICE / SLICE
        seconds = (
            COSTS["forward_step"] * cells * steps
            + COSTS["reverse_step"] * cells * 2500
            + COSTS["reverse_call"] * 2500
            + COSTS["save"][0] * nbytes * counts[classic.TAKESHOT]
            + COSTS["load"][0] * nbytes * counts[classic.RESTORE]
        )
        assert row["forward_steps"] == steps
        assert row["seconds"] == pytest.approx(seconds, rel=1e-12)


def test_store_all_is_the_end_of_the_curve(predicted):
    stored = predicted[-1]
    assert stored["seconds"] == pytest.approx(2500 * (1e-3 + 2e-3) * LARGE_CELLS / CELLS)
    most = [row for row in predicted if row["method"] == "RAM"][-1]
    assert most["forward_steps"] == 2500
    assert most["times_store_all"] == pytest.approx(1.0, rel=1e-3)


# --- how cost grows -----------------------------------------------------------------------------------------


def test_the_driver_is_timed_over_all_actions_of_an_optimal_schedule():
    n, snapshots = 120, 4
    found = sweep_growth_worker.driver({"n": n, "snapshots": snapshots, "window": 1, "repeats": 2})
    counts = [action for action, *_ in classic.actions(n, snapshots, classic.golden_split)]
    assert found["forward_steps"] == n + classic_advances(n, snapshots)
    # Every takeshot and restore is an action of its own, and so is every reversal; runs forward are joined.
    copies = sum(action in (classic.TAKESHOT, classic.RESTORE) for action in counts)
    assert copies + 2 * n < found["actions"] <= len(counts) + n + 2
    assert found["overhead_per_action"] * found["actions"] == pytest.approx(found["seconds"])


def test_a_measured_plan_keeps_what_the_formula_says():
    found = sweep_growth_worker.planning({"n": 5000, "slices": 50, "disk": "", "repeats": 1})
    steps = closed_form.forward_steps(5000, found["snapshots"], found["window"], 2, 0, True)
    assert found["recompute_factor"] * 5000 == pytest.approx(steps)
    assert found["window"] + 2 * found["snapshots"] <= 50
    assert found["traced_bytes"] > 0


# --- the whole of it ----------------------------------------------------------------------------------------


@pytest.mark.devito
@pytest.mark.processes
def test_a_killed_sweep_goes_on_and_finds_optimal_counts_and_the_gradient_of_store_all(tmp_path):
    pytest.importorskip("devito", reason='pip install "pyrevolve[devito]"')
    pytest.importorskip("checkpoint_schedules", reason="pip install checkpoint-schedules")
    path = tmp_path / "sweep.csv"
    command = [sys.executable, str(BENCHMARKS / "memory_sweep.py"), "--tiny", "--only", "2D"]
    command += ["--threads", "1", "--shots", "2", "--rounds", "1", "--limits", "7", "--csv", str(path)]
    command += ["--methods", "RAM", "checkpoint-schedules"]

    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        while first.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 2):
            time.sleep(0.02)
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    before = sweep_results.read_rows(path)
    assert 1 <= len(before) < 3, "the sweep was not killed on its way"

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[: len(before)] == before
    assert [row["method"] for row in rows] == ["store-all", "RAM", "checkpoint-schedules"]
    stored, own, other = rows
    n, size = int(stored["timesteps"]), int(stored["slice_bytes"])
    assert int(stored["store_all_bytes"]) == (n + 2) * size == int(stored["planned_bytes"])
    assert {row["same_gradient"] for row in rows} == {"True"}
    assert len({row["gradient"] for row in rows}) == 1

    window, snapshots = int(own["window"]), int(own["snapshots"])
    steps = closed_form.forward_steps(n, snapshots, window, 2, 0, True)
    assert int(own["forward_steps"]) == int(own["optimum_steps"]) == steps
    assert int(own["planned_bytes"]) == (window + 2 * snapshots) * size <= 7 * size
    assert int(other["snapshots"]) == 2
    assert int(other["forward_steps"]) == n + classic_advances(n, 2) == int(other["optimum_steps"])
    for row in rows:
        assert int(row["peak_resident_bytes"]) > int(row["resident_before_bytes"]) > 0
        assert sweep_tables.optimal(row)
        assert row["cpu"]
        assert row["threads"] == "1"
    assert "all gradients are equal bit for bit" in done.stdout
    assert "forward timesteps are the optimum" in done.stdout


def classic_advances(n: int, snapshots: int) -> int:
    return int(dynamic.classic_advances(n, snapshots)[snapshots, n])


def test_of_several_rounds_the_fastest_counts():
    rows = [
        {"name": "a", "round": "1", "seconds": "3.0"},
        {"name": "b", "round": "1", "seconds": "1.0"},
        {"name": "a", "round": "2", "seconds": "2.5"},
        {"name": "b", "round": "2", "seconds": "10.0"},
    ]
    assert sweep_results.fastest(rows, ("name", "round")) == [rows[2], rows[1]]
