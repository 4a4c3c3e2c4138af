"""The demonstration's picture: model, gradient, memory over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MemorySamples", "draw"]

#: Times since the start [s] and resident memory beyond what there was before [bytes].
MemorySamples = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

_MIB = 2.0**20


def draw(
    path: Path,
    *,
    vp: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
    gradient: npt.NDArray[Any],
    spacing: float,
    samples: MemorySamples,
    turn: float,
    held: int,
    budget: int,
    store_all: int,
) -> None:
    """Write the picture.

    Parameters
    ----------
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
    turn : float
        When the forward sweep ended, s.
    held, budget, store_all : int
        Bytes of wavefield and snapshots held, allowed, and needed to store every timestep.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def section(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values[:, values.shape[1] // 2, :] if values.ndim == 3 else values

    true, start, image = section(vp), section(background), section(gradient)
    extent = (0.0, (true.shape[0] - 1) * spacing / 1000, (true.shape[1] - 1) * spacing / 1000, 0.0)
    figure, axes = plt.subplots(2, 2, figsize=(12, 8.2), constrained_layout=True)

    limits = {"vmin": float(true.min()), "vmax": float(true.max())}
    for axis, values, title in (
        (axes[0, 0], true, "True model: made the observed data"),
        (axes[0, 1], start, "Background model: where the gradient is taken"),
    ):
        shown = axis.imshow(values.T, extent=extent, cmap="viridis", aspect="auto", **limits)
        axis.set_title(title)
        figure.colorbar(shown, ax=axis, label="P velocity [km/s]")

    # The source and the receivers dominate the raw gradient; the eye wants the deeper part.
    clip = float(np.percentile(np.abs(image), 98)) or 1.0
    shown = axes[1, 0].imshow(image.T, extent=extent, cmap="RdBu_r", vmin=-clip, vmax=clip, aspect="auto")
    axes[1, 0].set_title("Gradient of the data misfit, one shot")
    figure.colorbar(shown, ax=axes[1, 0], label="dJ/dm, clipped at 98% [a.u.]")
    for axis in (axes[0, 0], axes[0, 1], axes[1, 0]):
        axis.set_xlabel("x [km]")
        axis.set_ylabel("depth [km]")

    axis = axes[1, 1]
    times, resident = samples
    # Okabe & Ito's colours, which colour-blind readers can tell apart.
    axis.plot(
        times, resident / _MIB, color="#0072B2", label="resident memory of this process, beyond its start"
    )
    axis.axhline(held / _MIB, color="#009E73", label=f"wavefield ring and snapshots: {held / _MIB:.0f} MiB")
    axis.axhline(budget / _MIB, color="#E69F00", linestyle="--", label=f"budget: {budget / _MIB:.0f} MiB")
    axis.axhline(
        store_all / _MIB, color="#D55E00", linestyle=":", label=f"store-all: {store_all / _MIB:.0f} MiB"
    )
    axis.axvline(turn, color="0.5", linewidth=0.8)
    axis.annotate(
        "forward | reverse",
        (turn, 1),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
        color="0.3",
        fontsize=8,
    )
    axis.set_yscale("log")
    axis.set_ylim(bottom=max(1.0, 0.3 * min(held, budget) / _MIB))
    axis.set_xlabel("time [s]")
    axis.set_ylabel("memory [MiB]")
    axis.set_title("Memory over time", pad=16)
    axis.legend(loc="center right", fontsize=8)
    axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=110)
    plt.close(figure)
