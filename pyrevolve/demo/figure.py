"""The demonstration's picture: model, gradient, memory over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cli.figures import save_figure
from ..colours import BLACK, ORANGE, RAM

__all__ = ["MemorySamples", "draw"]

#: Times since the start [s], resident memory beyond what there was then [bytes], and what of the forward
#: wavefield and the snapshots is in use [bytes].
MemorySamples = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]

_MIB = 2.0**20


def draw(
    figure: Any,
    path: Path,
    *,
    vp: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
    gradient: npt.NDArray[Any],
    spacing: float,
    samples: MemorySamples,
    sweeps: tuple[float, float],
    held: int,
    budget: int,
    store_all: int,
) -> None:
    """Write the picture.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        An empty one, about 12 by 8 inches.
    path : Path
        PNG, SVG or PDF, by its suffix.
    vp, background : numpy.ndarray
        True and background velocity, shape (x, z) or (x, y, z), km/s; of three dimensions the middle y is
        shown.
    gradient : numpy.ndarray
        Gradient with respect to squared slowness, same shape.
    spacing : float
        Grid spacing, m.
    samples : MemorySamples
        Resident memory over time.
    sweeps : (float, float)
        When the forward sweep and the reverse sweep began, s.
    held, budget, store_all : int
        Bytes of wavefield and snapshots held, allowed, and needed to store every timestep.
    """

    def section(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values[:, values.shape[1] // 2, :] if values.ndim == 3 else values

    true, start, image = section(vp), section(background), section(gradient)
    extent = (0.0, (true.shape[0] - 1) * spacing / 1000, (true.shape[1] - 1) * spacing / 1000, 0.0)
    axes = figure.subplots(2, 2)

    limits = {"vmin": float(true.min()), "vmax": float(true.max())}
    for axis, values, title in (
        (axes[0, 0], true, "True model: made the observed data"),
        (axes[0, 1], start, "Background model: where the gradient is taken"),
    ):
        shown = axis.imshow(values.T, extent=extent, cmap="viridis", aspect="auto", **limits)
        axis.set_title(title)
        figure.colorbar(shown, ax=axis, label="P velocity [km/s]")

    # The source and the receivers dominate the raw gradient; the eye wants the deeper part.
    clip = float(np.percentile(np.abs(image[:, image.shape[1] // 4 :]), 99)) or 1.0
    shown = axes[1, 0].imshow(image.T, extent=extent, cmap="RdBu_r", vmin=-clip, vmax=clip, aspect="auto")
    axes[1, 0].set_title("Gradient of the data misfit, one shot")
    figure.colorbar(shown, ax=axes[1, 0], label="dJ/dm, clipped for the deeper part [a.u.]")
    for axis in (axes[0, 0], axes[0, 1], axes[1, 0]):
        axis.set_xlabel("x [km]")
        axis.set_ylabel("depth [km]")

    axis = axes[1, 1]
    times, resident, used = samples
    axis.fill_between(
        times,
        used / _MIB,
        step="post",
        color=RAM,
        alpha=0.6,
        label="wavefield ring and snapshots in use",
    )
    axis.plot(times, resident / _MIB, color=BLACK, label="resident memory of the process, beyond the start")
    axis.axhline(budget / _MIB, color=ORANGE, linestyle="--", label=f"budget: {budget / _MIB:.0f} MiB")
    axis.axhline(
        store_all / _MIB,
        color=BLACK,
        linestyle=":",
        label=f"store-all would take {store_all / _MIB:.0f} MiB",
    )
    top = 1.12 * max(store_all, budget, float(resident.max(initial=0))) / _MIB
    borders = (0.0, *sweeps, float(times[-1]))
    for name, left, right in zip(("measure, plan", "forward", "reverse"), borders, borders[1:], strict=False):
        axis.axvline(right, color="0.6", linewidth=0.8)
        axis.text((left + right) / 2, 0.985 * top, name, ha="center", va="top", color="0.3", fontsize=8)
    axis.set_xlim(0, float(times[-1]))
    axis.set_ylim(0, top)
    axis.set_xlabel("time [s]")
    axis.set_ylabel("memory [MiB]")
    axis.set_title(f"Memory over time: {held / _MIB:.0f} MiB held")
    axis.legend(loc="center left", fontsize=8)
    axis.grid(alpha=0.3)
    save_figure(figure, path)
