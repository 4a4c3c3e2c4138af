"""Velocity models: a generated one, and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_resolution", "generated_model", "generated_model_3d", "load_model", "smooth", "water"]

#: Shapes of models that are handed around as raw files, by the number of their points: Marmousi at 7.5 m.
KNOWN_SHAPES = {1601 * 401: (1601, 401)}

#: P velocities that a model may have, km/s; beyond them the unit of a file is probably m/s.
PLAUSIBLE = (0.2, 12.0)


def generated_model(n: int = 301) -> npt.NDArray[np.float32]:
    """Make a model of dipping layers with a slow, a fast and a small round anomaly.

    Parameters
    ----------
    n : int
        Grid points in each of the two dimensions, >= 16.

    Returns
    -------
    numpy.ndarray
        P velocity, shape (n, n), float32, km/s, water on top.
    """
    if n < 16:
        raise ValueError(f"the generated model needs at least 16 points a side, got {n}")
    x, z = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n), indexing="ij")
    depth = z + 0.06 * np.sin(2.5 * x) - 0.05 * x
    vp = np.full((n, n), 1.5)
    for top, velocity in ((0.12, 1.8), (0.28, 2.2), (0.45, 2.6), (0.62, 3.0), (0.8, 3.6)):
        vp[depth > top] = velocity
    for cx, cz, radius, velocity in ((0.35, 0.42, 0.09, 1.9), (0.68, 0.55, 0.08, 3.4), (0.5, 0.7, 0.05, 2.2)):
        vp[(x - cx) ** 2 + (z - cz) ** 2 < radius**2] = velocity
    return vp.astype(np.float32)


def generated_model_3d(n: int = 41) -> npt.NDArray[np.float32]:
    """Make a model of flat layers with two balls in them.

    Parameters
    ----------
    n : int
        Grid points in each of the three dimensions, >= 16.

    Returns
    -------
    numpy.ndarray
        P velocity, shape (n, n, n), float32, km/s, water on top.
    """
    if n < 16:
        raise ValueError(f"the generated model needs at least 16 points a side, got {n}")
    x, y, z = np.meshgrid(*3 * [np.linspace(0, 1, n)], indexing="ij")
    vp = np.full((n, n, n), 1.5)
    for top, velocity in ((0.2, 1.8), (0.45, 2.2), (0.75, 2.8)):
        vp[z > top] = velocity
    for center, radius, velocity in (((0.35, 0.4, 0.5), 0.15, 1.9), ((0.65, 0.6, 0.55), 0.14, 2.6)):
        vp[sum((one - at) ** 2 for one, at in zip((x, y, z), center, strict=True)) < radius**2] = velocity
    return vp.astype(np.float32)


def water(vp: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where a model is water: its velocity at the top, from the top down; same shape as `vp`."""
    return np.asarray(np.logical_and.accumulate(np.isclose(vp, vp[..., :1]), axis=-1))


def load_model(path: Path, shape: tuple[int, ...] | None) -> npt.NDArray[np.float32]:
    """Read a velocity model: ``.npy``, SEG-Y (``.sgy``, ``.segy``), or raw little-endian float32.

    Parameters
    ----------
    path : path-like
        The file. A SEG-Y file has one trace per x; a raw file has z fastest.
    shape : tuple of int, optional
        Shape (x, z) or (x, y, z) of a raw file; may be left out for those of `KNOWN_SHAPES`.

    Returns
    -------
    numpy.ndarray
        P velocity, float32, km/s.

    Raises
    ------
    ValueError
        The file does not fit the shape, or holds values that are no velocities in km/s.
    ImportError
        SEG-Y without segyio.
    """
    suffix = path.suffix.lower()
    vp: npt.NDArray[Any]
    if suffix == ".npy":
        try:
            vp = np.load(path)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path.name} is no file of NumPy's .npy format with numbers") from error
    elif suffix in (".sgy", ".segy"):
        try:
            import segyio
        except ImportError as error:
            raise ImportError("reading SEG-Y needs segyio: pip install 'pyrevolve[segy]'") from error
        try:
            with segyio.open(str(path), ignore_geometry=True) as file:
                vp = segyio.tools.collect(file.trace[:])
        except (OSError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path.name} cannot be read as SEG-Y: {error}") from error
    else:
        vp = np.fromfile(path, dtype="<f4")
        shape = shape or KNOWN_SHAPES.get(vp.size)
        if shape is None:
            raise ValueError(f"{path.name} is read as raw float32, which needs its shape: --shape NXxNZ")
        if vp.size != np.prod(shape):
            points = "x".join(map(str, shape))
            raise ValueError(
                f"{path.name} holds {vp.size} values, --shape {points} asks for {np.prod(shape)}"
            )
        vp = vp.reshape(shape)
    if shape is not None and tuple(vp.shape) != tuple(shape):
        raise ValueError(f"{path.name} has the shape {vp.shape}, not {shape}")
    if vp.ndim not in (2, 3):
        raise ValueError(f"a model has two or three dimensions, {path.name} has {vp.ndim}")
    if not (np.issubdtype(vp.dtype, np.floating) or np.issubdtype(vp.dtype, np.integer)):
        raise ValueError(f"{path.name} holds {vp.dtype}; P velocities in km/s are expected")
    if not np.isfinite(vp).all():
        raise ValueError(f"{path.name} holds values that are not finite; P velocities in km/s are expected")
    low, high = PLAUSIBLE
    if not (low <= vp.min() and vp.max() <= high):
        raise ValueError(
            f"{path.name} holds values from {vp.min():g} to {vp.max():g}; P velocities in km/s between "
            f"{low} and {high} are expected (divide m/s by 1000)"
        )
    return np.ascontiguousarray(vp, dtype=np.float32)


def check_resolution(vp: npt.NDArray[Any], spacing: float, f0: float) -> float:
    """Return how many grid points the shortest wavelength of a Ricker wavelet's peak has.

    Parameters
    ----------
    vp : numpy.ndarray
        P velocity, km/s.
    spacing : float
        Grid spacing, m.
    f0 : float
        Peak frequency, Hz.

    Returns
    -------
    float
        Points, at the slowest velocity.

    Raises
    ------
    ValueError
        There are fewer than two, or the model has fewer than 16 points in a dimension.
    """
    if min(vp.shape) < 16:
        raise ValueError(f"a model needs at least 16 points in each dimension, got {vp.shape}")
    points = 1000.0 * float(vp.min()) / (f0 * spacing)
    if points < 2.0:
        raise ValueError(
            f"a peak frequency of {f0:g} Hz has {points:.2g} grid points in its shortest wavelength, and "
            f"needs 2 at the least: at most {500.0 * float(vp.min()) / spacing:.2g} Hz, or a finer grid"
        )
    return points


def smooth(vp: npt.NDArray[np.float32], points: int) -> npt.NDArray[np.float32]:
    """Average the slowness over about `points` grid points in every dimension, three times over.

    Parameters
    ----------
    vp : numpy.ndarray
        P velocity, any number of dimensions, the last one depth, km/s, > 0.
    points : int
        Length of each moving average, grid points, >= 1.

    Returns
    -------
    numpy.ndarray
        Same shape, float32, km/s. The part of the model that is water (its velocity at the top, from the top
        down) stays as it is.
    """
    slowness = 1.0 / vp.astype(np.float64)
    for axis in range(vp.ndim):
        for _ in range(3):
            slowness = _box(slowness, points, axis)
    return np.where(water(vp), vp, 1.0 / slowness).astype(np.float32)


def _box(values: npt.NDArray[np.float64], points: int, axis: int) -> npt.NDArray[np.float64]:
    """Return the moving average over 2 (points // 2) + 1 values along one axis; edge values go on."""
    half = points // 2
    width = [(half + 1, half) if i == axis else (0, 0) for i in range(values.ndim)]
    total = np.cumsum(np.pad(values, width, mode="edge"), axis=axis)
    upper = np.take(total, np.arange(2 * half + 1, total.shape[axis]), axis=axis)
    lower = np.take(total, np.arange(0, total.shape[axis] - 2 * half - 1), axis=axis)
    return np.asarray((upper - lower) / (2 * half + 1))
