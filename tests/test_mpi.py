"""Several processes that MPI has started: one plan, one sequence of instructions, no deadlock, one gradient.

What can go wrong in a single call is tried out exhaustively in test_team, where the processes are threads.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from mpi_launch import finish

pytestmark = pytest.mark.processes

HERE = Path(__file__).resolve().parent / "mpi"
PLAIN, ACOUSTIC, RESUMED = HERE / "plain.py", HERE / "acoustic.py", HERE / "resumed.py"
both = pytest.mark.parametrize("size", [2, 3])


# --- one plan, one sequence of instructions -----------------------------------------------------------------

AGREEMENTS = [["plans"], ["files"]]
COMPRESSED = [["compressed_plans"], ["crowded"]]
FAILURES = [
    *(["failing", what, call, rank] for what in ("forward", "reverse") for call, rank in ((5, 0), (9, 1))),
    ["failing", "get_data", 3, 1],
    ["failing", "get_data_location", 2, 0],
    ["failing", "reverse", 7, 1, True],
    ["failing_storage", "full", 1],
    ["failing_storage", "damaged", 0],
    ["failing_start", "no directory", 1],
    ["failing_start", "in use", 1],
    ["failing_start", "something", 0],
]


@pytest.fixture(scope="module", params=[2, 3])
def outcomes(request, launch, tmp_path_factory):
    """Return what all scenarios have come to, by scenario; they are run by the same processes."""
    scenarios = [*AGREEMENTS, *FAILURES]
    if importlib.util.find_spec("numcodecs") is not None:
        scenarios += COMPRESSED
    folder = tmp_path_factory.mktemp("scenarios")
    status, written, errors = finish(launch(request.param, PLAIN, str(folder), json.dumps(scenarios)))
    found = [json.loads(line) for line in written.splitlines()]
    assert status == 0, f"after {[each['scenario'] for each in found]}\n{errors}"
    assert not [path for path in folder.rglob("*") if path.is_file()]
    return {json.dumps(each["scenario"]): each["returned"] for each in found}


def of(outcomes, *scenario):
    if json.dumps(list(scenario)) not in outcomes:
        pytest.skip('needs numcodecs: pip install "pyrevolve[compression]"')
    return outcomes[json.dumps(list(scenario))]


def test_smallest_budgets_decide_for_all(outcomes):
    plans = of(outcomes, "plans")
    assert all(plan == plans[0] for plan in plans)
    assert plans[0]["right"]
    assert plans[0]["memory"] == 2 * 4096 + 4000
    assert plans[0]["disk"] == 30 * 4096


def test_files_never_collide_and_are_all_removed(outcomes):
    files = of(outcomes, "files")
    assert len({each["path"] for each in files}) == len(files)
    assert all(each["there"] and each["gone"] and each["right"] for each in files)


def test_instructions_are_the_same_where_snapshots_are_smaller_in_some_processes(outcomes):
    runs = of(outcomes, "compressed_plans")
    assert len({run["ratio"] for run in runs}) == len(runs)
    assert all(run["elastic"] and run["equal"] and run["right"] for run in runs)
    assert len({(run["schedule"], run["replanned"]) for run in runs}) == 1


def test_snapshot_that_does_not_fit_in_one_process_is_stored_in_none(outcomes):
    runs = of(outcomes, "crowded")
    assert all(run["equal"] and run["right"] for run in runs)
    assert [run["refused"] > 0 for run in runs] == [False] * (len(runs) - 1) + [True]


@pytest.mark.parametrize("scenario", FAILURES, ids=lambda scenario: " ".join(map(str, scenario)))
def test_failure_of_one_process_is_raised_in_all_and_the_next_run_is_right(scenario, outcomes):
    name, what, *_ = scenario
    rank = scenario[3] if name == "failing" else scenario[2]
    own = {"failing": "BrokenError", "failing_storage": "StorageError"}.get(name)
    if own is None:
        own = "StorageError" if what == "no directory" else "JournalError"
    returned = of(outcomes, *scenario)
    assert all(each["right"] for each in returned)
    for process, each in enumerate(returned):
        if process == rank:
            assert each["error"]["type"] == own
        else:
            assert (each["error"]["type"], each["error"]["rank"]) == ("PeerError", rank)
            told = f"process {rank} of {len(returned)} failed: {own}: {returned[rank]['error']['message']}"
            assert each["error"]["message"] == told


# --- journals -----------------------------------------------------------------------------------------------


def resume(launch, size, folder, *arguments, kill_after=None):
    """Run the script; return what it comes to, and None where it was killed.

    `kill_after` kills all processes so many seconds after their start.
    """
    pids = [folder / f"pid-{rank}" for rank in range(size)]
    for path in pids:
        path.unlink(missing_ok=True)
    processes = launch(size, PLAIN, str(folder), json.dumps([["resumed", *arguments]]))
    if kill_after is not None:
        while processes.poll() is None and not all(path.exists() and path.read_text() for path in pids):
            time.sleep(0.01)
        time.sleep(kill_after)
        for path in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)
    status, written, errors = finish(processes)
    lines = written.splitlines()
    assert lines or status != 0, errors
    assert "Traceback" not in errors, errors
    return json.loads(lines[0])["returned"] if lines else None


def kill_again_and_again(launch, size, folder, seed, kills):
    """Kill one process, or all, again and again; return what the last run comes to."""
    generator = random.Random(seed)
    ways = ["one", "all", "outside", "entry"]
    generator.shuffle(ways)
    for number in range(kills):
        way, rank = ways[number % len(ways)], generator.randrange(size)
        at, kill_after = 1 + int(generator.random() ** 2 * 500), None
        if way == "one":
            kind = generator.choice(["timestep", "call"])
            arguments = kind, at if kind == "call" else 1 + at // 5, rank
        elif way == "all":
            arguments = "call", at, size
        elif way == "entry":  # the others have theirs before they are ended
            arguments = "replace", 1 + at // 50, rank, 0.2
        else:
            arguments, kill_after = (), 0.3 * generator.random()
        found = resume(launch, size, folder, *arguments, kill_after=kill_after)
        if found is not None:
            return found
    return resume(launch, size, folder)


@both
def test_gradient_is_the_same_however_often_processes_are_killed(size, launch, tmp_path):
    for each in kill_again_and_again(launch, size, tmp_path, size, 4):
        assert each["right"]
        assert each["left"] == []


@pytest.mark.slow
@both
@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_the_same_after_many_kills(size, seed, launch, tmp_path):
    for each in kill_again_and_again(launch, size, tmp_path, seed, 12):
        assert each["right"]
        assert each["left"] == []


def entries(folder, size):
    return [
        max(
            int(path.name[6:])
            for path in (folder / "journal" / f"rank-{rank}-of-{size}").glob("entry-*[0-9]")
        )
        for rank in range(size)
    ]


def test_entry_that_only_one_process_has_is_given_up(launch, tmp_path):
    """The first one is killed in front of an entry that the second has; then the other way round."""
    assert resume(launch, 2, tmp_path, "replace", 18, 0, 0.5) is None
    first, second = entries(tmp_path, 2)
    assert second == first + 1
    assert resume(launch, 2, tmp_path, "replace", 1, 1, 0.5) is None
    assert entries(tmp_path, 2) == [second, first]
    for each in resume(launch, 2, tmp_path):
        assert each["right"]
        assert each["left"] == []
        assert each["saved"] > 0  # what was done before is not done again


# --- Devito's domain decomposition --------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[2, 3])
def divided(request, launch_devito, tmp_path_factory):
    """Return what each process has found, and the folder with the gradient."""
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    folder = tmp_path_factory.mktemp("divided")
    status, written, errors = finish(launch_devito(request.param, ACOUSTIC, str(folder)))
    assert status == 0, errors
    return json.loads(written.splitlines()[-1]), folder


@pytest.mark.devito
@pytest.mark.parametrize("how", ["measured", "disk", "compression"])
def test_gradient_of_a_divided_grid_is_that_of_store_all(how, divided):
    """Bit for bit, by one plan, within the budget in every process."""
    found = [each[how] for each in divided[0]]
    assert all(each["equal"] == [True, True] and each["within"] for each in found)
    for name in ("plan", "window", "tiers", "costs"):
        assert all(each[name] == found[0][name] for each in found)
    if how == "disk":
        assert "disk" in found[0]["tiers"]
        assert all(each["left"] == [] for each in divided[0])
    if how == "compression" and "compressed RAM" not in found[0]["tiers"]:
        pytest.skip("measured beside other work, compression did not pay here")


@pytest.mark.devito
def test_timesteps_of_a_divided_grid_are_run_in_short_rings(divided):
    found = [each["advancing"] for each in divided[0]]
    assert all(each["equal"] == [True, True] and sum(each["run"]) > 60 for each in found)
    assert all(each == found[0] for each in found)


@pytest.mark.devito
def test_gradient_of_a_divided_grid_is_that_of_the_whole_to_rounding(divided):
    from devito_problems import acoustic
    from test_devito_adjoint import Stored

    found = np.load(divided[1] / "gradient.npy")
    whole = acoustic().shot(Stored(acoustic()))["grad"]
    assert found.shape == whole.shape
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.slow
@pytest.mark.devito
@pytest.mark.parametrize("mode", ["diag2", "full"])
def test_gradient_is_that_of_store_all_however_halos_are_exchanged(mode, launch_devito, tmp_path):
    pytest.importorskip("numcodecs", reason="needs numcodecs: pip install 'pyrevolve[compression]'")
    status, written, errors = finish(launch_devito(3, ACOUSTIC, str(tmp_path), DEVITO_MPI=mode))
    assert status == 0, errors
    for each in json.loads(written.splitlines()[-1]):
        for how in ("measured", "disk", "compression", "advancing"):
            assert each[how]["equal"] == [True, True]


@pytest.mark.devito
def test_what_is_wrong_in_one_process_is_an_error_of_all(divided):
    own = {"memory": "ValueError", "initial": "ValueError", "forward": "InvalidArgument"}
    own["reverse"] = "InvalidArgument"
    for rank, each in enumerate(divided[0]):
        found = each["wrong"]
        for what, error in own.items():
            assert found[what] == ([error, None] if rank == 1 else ["PeerError", 1])
        for what in ("window", "adjoint", "snapshots", "disk", "timesteps"):
            assert found[what] == ["ValueError", None]
        assert found["right"]


def resume_acoustic(launch, folder, kill_at=0, rank=0):
    """Run a shot with a journal in two processes, one of which may be killed; return what it comes to."""
    status, written, errors = finish(launch(2, RESUMED, str(folder), str(kill_at), str(rank)))
    lines = written.splitlines()
    assert lines or (status != 0 and kill_at), errors
    return json.loads(lines[0]) if lines else None


@pytest.mark.slow
@pytest.mark.devito
@pytest.mark.parametrize("seed", range(2))
def test_gradient_of_a_divided_grid_is_that_of_store_all_after_kills(seed, launch_devito, tmp_path):
    """Bit for bit, whichever process is killed in whichever call of an operator."""
    pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
    generator = random.Random(seed)
    first = resume_acoustic(launch_devito, tmp_path)
    assert all(each["right"] and not each["resumed"] for each in first)
    kills = resumed = 0
    while kills < 6:
        at = 1 + int(generator.random() * first[0]["calls"])
        found = resume_acoustic(launch_devito, tmp_path, at, generator.randrange(2))
        kills += found is None
        if found is not None or kills == 6:
            found = found or resume_acoustic(launch_devito, tmp_path)
            assert all(each["right"] for each in found)
            assert os.listdir(tmp_path) == []
            resumed += found[0]["resumed"]
    assert resumed > 0


@pytest.mark.devito
def test_directory_that_one_process_cannot_find_is_an_error_of_all(divided):
    for rank, each in enumerate(divided[0]):
        assert each["missing"] == (["StorageError", None] if rank == 1 else ["PeerError", 1])
