"""The inversion of examples/fwi: it fits the data and the model, twice the same, and goes on where it was."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
pytest.importorskip("distributed", reason="needs Dask: pip install 'pyrevolve[dask]'")

import devito
import numpy as np
from mpi_launch import finish
from pyrevolve.fwi import fwi

from pyrevolve.cli import main as command

pytestmark = [pytest.mark.devito, pytest.mark.processes]

TINY = ["--size", "31", "--shots", "1", "--tn", "300"]
OTHER = [*TINY, "--workers", "0"]
SMALL = ["--size", "41", "--shots", "4", "--tn", "1200", "--iterations", "6", "--memory", "2MiB"]


def invert(folder, *arguments):
    """Run the inversion as a user does; return what it says and what it writes."""
    done = subprocess.run(
        [sys.executable, "-m", "pyrevolve", "fwi", *SMALL, "--output", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "result.npz") as kept:
        return done.stdout, dict(kept)


def test_inversion_fits_and_is_the_same_with_and_without_workers(tmp_path):
    said, found = invert(tmp_path / "workers", "--workers", "2")
    again, same = invert(tmp_path / "here", "--workers", "0")
    assert found["misfits"][-1] < 0.1 * found["misfits"][0]
    assert found["errors"][-1] < 0.95 * found["errors"][0]
    assert np.array_equal(found["model"], same["model"])
    assert found["misfits"].tolist() == same["misfits"].tolist()
    true, start, model = (found[name] for name in ("true", "start", "model"))
    assert np.linalg.norm(model - true) < np.linalg.norm(start - true)
    # The water and the depth of sources and receivers stay as they are.
    assert np.array_equal(model[:, :4], start[:, :4])
    assert model.min() >= 0.95 * true.min() - 1e-12
    assert model.max() <= 1.05 * true.max() + 1e-12
    for text in (said, again):
        for held in re.findall(r"([\d.]+) MiB held", text):
            assert 0 < float(held) <= 2
        assert "resident" in text
    for folder in ("workers", "here"):
        written = sorted(path.name for path in (tmp_path / folder).iterdir())
        assert written == ["fwi.png", "result.npz"]
        assert (tmp_path / folder / "fwi.png").read_bytes().startswith(b"\x89PNG")


def test_inversion_goes_on_from_the_last_model(tmp_path):
    _, before = invert(tmp_path, "--workers", "0", "--iterations", "2")
    _, after = invert(tmp_path, "--workers", "0", "--iterations", "2", "--resume")
    assert after["misfits"][: before["misfits"].size].tolist() == before["misfits"].tolist()
    assert after["misfits"].size == before["misfits"].size + 2
    assert after["misfits"][-1] < before["misfits"][-1]
    foreign = shutil.copytree(tmp_path, tmp_path / "foreign")
    done = subprocess.run(
        [sys.executable, "-m", "pyrevolve", "fwi", "--resume", *OTHER, "--output", str(foreign)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert "is of another model" in done.stderr
    assert "Traceback" not in done.stderr


def test_results_are_not_overwritten_unless_that_is_asked_for(tmp_path):
    (tmp_path / "result.npz").write_bytes(b"of last week")
    done = fails("--output", str(tmp_path))
    assert "--overwrite" in done
    assert (tmp_path / "result.npz").read_bytes() == b"of last week"
    _, found = invert(tmp_path, *OTHER, "--iterations", "1", "--overwrite")
    assert found["misfits"].size == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--memory", "1 kB", "--workers", "1"], "memory must be >="),
        (["--bounds", "9", "10"], "bounds"),
        (["--bounds", "3", "2"], "bounds"),
        (["--shape", "10x"], "numbers of points"),
        (["--resume", "--overwrite"], "not allowed with"),
        (["--shots", "0"], "--shots must be >= 1"),
        (["--resume"], "no result.npz"),
        (["--spacing", "-1"], "--spacing: must be a number > 0"),
        (["--spacing", "0"], "--spacing: must be a number > 0"),
        (["--f0", "400"], "grid points in its shortest wavelength"),
        (["--tn", "1"], "the data do not depend on the model"),
        (["--coarsen", "2"], "--coarsen is of no use without --model"),
        (["--mpi"], "--workers is of no use with --mpi"),
        (["--model", "nofile.npy"], "there is no file nofile.npy"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_before_anything_is_simulated(arguments, said, tmp_path):
    error = fails(*OTHER, "--output", str(tmp_path), *arguments)
    assert said in error
    assert not (tmp_path / "result.npz").exists()


@pytest.fixture(autouse=True)
def as_it_was():
    """Undo what the inversion sets of Devito in this process: rounding depends on the language."""
    before = {name: devito.configuration[name] for name in ("language", "log-level")}
    yield
    for name, value in before.items():
        if devito.configuration[name] != value:
            devito.configuration[name] = value


def complaint(capsys, *arguments):
    """Return what the command says of what is wrong, without a process of its own."""
    try:
        status = command(["fwi", *arguments])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pyrevolve fwi: error: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", ""], "must name a directory"),
        (["--spacing", "1e300"], "--spacing must be between"),
        (["--spacing", "1e-300"], "--spacing must be between"),
        (["--smoothing", "1e300"], "--smoothing must be at most"),
        (["--tn", "1e300"], "--tn must be <"),
        (["--memory", "0"], "--memory must be >="),
    ],
)
def test_extremes_are_told_too(arguments, said, tmp_path, capsys):
    where = [] if "--output" in arguments else ["--output", str(tmp_path)]
    assert said in complaint(capsys, *OTHER, *where, *arguments)
    assert not list(tmp_path.iterdir())


def test_pictures_of_others_stay(tmp_path, capsys):
    (tmp_path / "fwi.png").write_text("mine")
    assert "--overwrite begins anew" in complaint(capsys, *OTHER, "--output", str(tmp_path))
    assert (tmp_path / "fwi.png").read_text() == "mine"


@pytest.mark.parametrize(
    "change",
    [
        {"misfits": ["a"]},
        {"misfits": [0.0, 0.0]},
        {"errors": [1.0]},
        {"misfits": [], "errors": []},
        {"model": np.ones((3, 3))},
        {"model": np.full((31, 31), "2")},
        {"model": np.full((31, 31), 2 + 0j)},
        {"model": np.full((31, 31), np.nan)},
    ],
)
def test_results_that_were_changed_are_not_gone_on_from(change, tmp_path, capsys):
    experiment = fwi.prepare(fwi.parser().parse_args(OTHER))
    kept = {"model": experiment.start, "misfits": [2.0, 1.0], "errors": [2.0, 1.0], **change}
    np.savez(tmp_path / "result.npz", experiment=experiment.digest(), **kept)
    said = complaint(capsys, *OTHER, "--output", str(tmp_path), "--resume")
    assert "was changed since pyrevolve fwi wrote it" in said


def test_results_that_were_damaged_are_not_gone_on_from(tmp_path, capsys):
    path = tmp_path / "result.npz"
    np.savez_compressed(
        path, experiment="", model=np.random.default_rng(0).random(999), misfits=[], errors=[]
    )
    damaged = bytearray(path.read_bytes())
    damaged[100:1500:7] = bytes(byte ^ 255 for byte in damaged[100:1500:7])
    path.write_bytes(damaged)
    assert "is damaged" in complaint(capsys, *OTHER, "--output", str(tmp_path), "--resume")


def test_inversion_goes_on_where_nobody_reads_what_it_says(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "pyrevolve", "fwi", *OTHER, "--iterations", "1", "--output", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("model")
        process.stdout.close()
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fwi.png", "result.npz"]


def fails(*arguments):
    """Run an inversion that cannot be; return what it says about that."""
    done = subprocess.run(
        [sys.executable, "-m", "pyrevolve", "fwi", *arguments], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("pyrevolve fwi: error: ")
    return line


def test_bounds_hold_and_three_dimensions_work(tmp_path):
    said, found = invert(
        tmp_path,
        *["--3d", "--size", "21", "--shots", "2", "--receivers", "5", "--tn", "250", "--iterations", "2"],
        *["--memory", "60 MiB", "--workers", "0", "--bounds", "1.4", "2.9"],
    )
    assert found["model"].shape == (21, 21, 21)
    free = found["model"] != found["start"]
    assert free.any()
    assert found["model"][free].min() >= 1.4
    assert found["model"][free].max() <= 2.9
    assert found["misfits"][-1] < found["misfits"][0]
    assert "25 receivers each" in said


def test_a_cluster_that_is_running_gives_the_same_model(tmp_path):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        said, found = invert(
            tmp_path / "there", *TINY, "--iterations", "2", *["--scheduler", cluster.scheduler_address]
        )
    assert "workers    1 of Dask" in said
    _, same = invert(tmp_path / "here", *OTHER, "--iterations", "2")
    assert np.array_equal(found["model"], same["model"])


def test_processes_of_mpi_divide_shots(launch_devito, tmp_path):
    _, alone = invert(tmp_path / "alone", *OTHER, "--iterations", "2")
    status, said, errors = finish(
        launch_devito(
            2,
            "-m",
            "pyrevolve",
            "fwi",
            *TINY,
            "--iterations",
            "2",
            "--mpi",
            "--output",
            str(tmp_path / "two"),
        )
    )
    assert status == 0, errors
    assert "2 processes share every shot" in said
    assert "process 0: " in said
    assert "process 1: " in said
    with np.load(tmp_path / "two" / "result.npz") as kept:
        assert np.allclose(kept["misfits"], alone["misfits"], rtol=1e-4)
        assert np.allclose(kept["model"], alone["model"], rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--memory", "1kB"], 2, "--memory must be >="),
        (["--sizes", "3"], 2, "unrecognized arguments"),
        pytest.param([], 1, "is a directory", marks=pytest.mark.slow),
    ],
)
def test_processes_say_once_what_is_wrong(arguments, status, said, launch_devito, tmp_path):
    (tmp_path / "result.partial.npz").mkdir()
    processes = launch_devito(
        2, "-m", "pyrevolve", "fwi", *TINY, "--mpi", "--output", str(tmp_path), *arguments
    )
    found, _, errors = finish(processes)
    assert found == status, errors
    lines = [line for line in errors.splitlines() if ": error: " in line]
    assert len(lines) == 1
    assert said in lines[0].lower()


def test_processes_that_would_all_do_the_same_are_told(tmp_path, monkeypatch):
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "2")
            assert "without --mpi" in fails(*OTHER, "--output", str(tmp_path))


def test_result_of_something_else_is_refused_before_anything_is_computed(tmp_path):
    np.savez(tmp_path / "result.npz", other=np.zeros(3))
    assert "was not written by pyrevolve fwi" in fails(*OTHER, "--output", str(tmp_path), "--resume")
    with (tmp_path / "result.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "was not written by pyrevolve fwi" in fails(*OTHER, "--output", str(tmp_path), "--resume")
