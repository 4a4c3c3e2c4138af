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

import numpy as np

pytestmark = [pytest.mark.devito, pytest.mark.processes]

OTHER = ["--size", "31", "--shots", "1", "--tn", "300", "--workers", "0"]
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
