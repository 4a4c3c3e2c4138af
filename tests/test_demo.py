"""The demonstration computes a gradient that equals store-all's, and reads the models that users have."""

from __future__ import annotations

import numpy as np
import pytest

from pyrevolve.inversion.models import check_resolution, generated_model, load_model, smooth


def test_models_are_read_as_they_were_written(tmp_path):
    vp = generated_model(40)[:, :31]
    np.save(tmp_path / "model.npy", vp)
    vp.astype("<f4").tofile(tmp_path / "model.raw")
    assert np.array_equal(load_model(tmp_path / "model.npy", None), vp)
    assert np.array_equal(load_model(tmp_path / "model.raw", (40, 31)), vp)


def test_segy_models_have_one_trace_per_x(tmp_path):
    segyio = pytest.importorskip("segyio", reason="needs segyio: pip install 'pyrevolve[segy]'")
    vp = np.ascontiguousarray(generated_model(40)[:, :31])
    segyio.tools.from_array2D(str(tmp_path / "model.sgy"), vp)
    assert np.array_equal(load_model(tmp_path / "model.sgy", None), vp)


@pytest.mark.parametrize(
    ("values", "shape", "message"),
    [
        (np.full((4, 5), 1500.0), None, "km/s between"),
        (np.full((4, 5), np.nan), None, "not finite"),
        (np.full((4, 5), 2.0 + 1.0j), None, "holds complex128"),
        (np.full(20, 2.0), None, "two or three dimensions"),
        (np.full((4, 5), 2.0), (5, 4), "has the shape"),
    ],
)
def test_models_that_cannot_be_velocities_are_refused(tmp_path, values, shape, message):
    np.save(tmp_path / "model.npy", values)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "model.npy", shape)


def test_raw_models_need_the_shape_of_their_size(tmp_path):
    np.zeros(20, "<f4").tofile(tmp_path / "model.bin")
    with pytest.raises(ValueError, match="--shape"):
        load_model(tmp_path / "model.bin", None)
    with pytest.raises(ValueError, match="holds 20 values"):
        load_model(tmp_path / "model.bin", (4, 4))


def test_smoothing_keeps_water_and_bounds():
    vp = generated_model(80)
    background = smooth(vp, 9)
    assert background.shape == vp.shape
    assert vp.min() <= background.min()
    assert background.max() <= vp.max() * (1 + 1e-6)
    assert np.array_equal(background[:, 0], vp[:, 0])
    assert np.abs(np.diff(background, axis=1)).max() < np.abs(np.diff(vp, axis=1)).max()


@pytest.mark.devito
def test_the_demonstration_checks_itself_and_writes_its_picture(tmp_path, monkeypatch, capsys):
    pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'pyrevolve[plot]'")
    from pyrevolve.demo.__main__ import main

    monkeypatch.setenv("DEVITO_LANGUAGE", "C")
    picture = tmp_path / "picture.png"
    options = ["--size", "61", "--tn", "250", "--memory", "4 MiB", "--check", "--output", str(picture)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "equal bit for bit" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.devito
def test_the_demonstration_says_which_budget_would_do(tmp_path, monkeypatch, capsys):
    pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'pyrevolve[plot]'")
    from pyrevolve.cli import main

    monkeypatch.setenv("DEVITO_LANGUAGE", "C")
    assert main(["demo", "--size", "61", "--tn", "100", "--memory", "1 kB"]) == 2
    assert "memory must be >=" in capsys.readouterr().err


def test_a_raw_file_of_a_known_size_needs_no_shape(tmp_path):
    values = np.full((1601, 401), 2.0, "<f4")
    values[3, 5] = 3.0
    values.tofile(tmp_path / "marmousi")
    assert load_model(tmp_path / "marmousi", None)[3, 5] == 3.0
    values[:, 1:].tofile(tmp_path / "another")
    with pytest.raises(ValueError, match="needs its shape"):
        load_model(tmp_path / "another", None)


def test_resolution_is_told_or_refused():
    vp = np.full((20, 16), 1.5)
    vp[3, 4] = 1.2
    assert check_resolution(vp, 10.0, 15.0) == pytest.approx(8.0)
    with pytest.raises(ValueError, match="at most 60 Hz"):
        check_resolution(vp, 10.0, 61.0)
    with pytest.raises(ValueError, match="at least 16 points"):
        check_resolution(vp[:, :15], 10.0, 15.0)
