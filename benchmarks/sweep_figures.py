"""The figures of memory_sweep.py, from its CSV file: time, and forward timesteps, against memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sweep_optimum
from sweep_problems import RING, STATE

from pyrevolve.cli.figures import new_figure, save_figure
from pyrevolve.colours import BLUE, DISK, ORANGE, RAM, VERMILLION

#: A colour and a shape for each method.
STYLES: dict[str, tuple[str, str]] = {
    "RAM": (RAM, "o"),
    "RAM + disk": (DISK, "s"),
    "compressed": (BLUE, "D"),
    "pyrevolve 2.2.8": (VERMILLION, "^"),
    "checkpoint-schedules": (ORANGE, "v"),
    "classic Revolve": (VERMILLION, "^"),
}
LABELS = {name: f"this package, {name}" for name in ("RAM", "RAM + disk", "compressed")}


def draw_sweep(
    rows: Sequence[Mapping[str, str]], predicted: Sequence[Mapping[str, object]], path: Path
) -> list[Path]:
    """Draw all figures beside the CSV file.

    Parameters
    ----------
    rows : sequence of mapping
        Those of the CSV file.
    predicted : sequence of mapping
        Predictions of the large configuration; may be empty.
    path : Path
        The CSV file; figures have its name and a suffix.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    ImportError
        Matplotlib is not installed.
    ValueError
        No row has been measured yet.
    """
    measured = [row for row in rows if row["method"] != "costs"]
    if not measured:
        raise ValueError(f"{path} has no measurements; run memory_sweep.py without --figures first")
    names = ["time", "steps", "resident"] + ["large_predicted"] * bool(predicted)
    paths = [path.with_name(f"{path.stem}_{name}.png") for name in names]
    _panels(measured, _time, "time, relative to store-all with warm memory", paths[0])
    _panels(measured, _steps, "forward timesteps per timestep", paths[1])
    _resident(measured, paths[2])
    if predicted:
        _large(predicted, paths[3])
    return paths


def _panels(
    rows: Sequence[Mapping[str, str]],
    draw: Callable[[Any, Sequence[Mapping[str, str]]], None],
    label: str,
    path: Path,
) -> None:
    """Draw one panel for each problem, with one legend for all."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    across = min(3, len(problems)) if len(problems) != 4 else 2
    down = math.ceil(len(problems) / across)
    figure = new_figure(4.4 * across + 0.4, 4.0 * down + 1.8 / across + 0.4)
    axes = figure.subplots(down, across, squeeze=False, sharey=True)
    for axis, problem in zip(axes.flat, problems, strict=False):
        mine = [row for row in rows if row["problem"] == problem]
        stored = mine[0]
        draw(axis, mine)
        _log_axes(axis)
        axis.set_title(
            f"{problem}, {stored['timesteps']} timesteps\nstore-all: "
            f"{_size(int(stored['store_all_bytes']))}, {float(stored['seconds']):.3g} s",
            fontsize=9,
        )
        axis.set_xlabel("memory held, as a fraction of store-all")
    for axis in axes.flat[len(problems) :]:
        axis.set_visible(False)
    for row in axes:
        row[0].set_ylabel(label)
    handles: dict[str, Any] = {}
    for axis in axes.flat:
        handles.update(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=across, fontsize=8)
    save_figure(figure, path)


def _time(axis: Any, rows: Sequence[Mapping[str, str]]) -> None:
    """Draw time over memory."""
    stored = next(row for row in rows if row["method"] == "store-all")
    warm = float(stored["seconds"])
    for method, (color, marker) in STYLES.items():
        mine = _sorted(rows, method)
        if not mine:
            continue
        x = [_fraction(row) for row in mine]
        y = [float(row["seconds"]) / warm for row in mine]
        axis.plot(x, y, color=color, marker=marker, markersize=5, label=LABELS.get(method, method))
        # Where a plan had the choice and found it faster to do without, it is that of RAM: hollow.
        hollow = [index for index, row in enumerate(mine) if _declined(row)]
        axis.plot(
            [x[i] for i in hollow], [y[i] for i in hollow], marker, color=color, mfc="white", markersize=5
        )
    cold = float(stored["seconds_cold"]) / warm
    axis.plot(1.0, cold, "P", color="black", markersize=8, label="store-all, memory touched first (cold)")
    axis.plot(1.0, 1.0, "*", color="black", markersize=11, label="store-all, warm")
    axis.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)


def _steps(axis: Any, rows: Sequence[Mapping[str, str]]) -> None:
    """Draw forward timesteps over memory, and the optima."""
    n = int(rows[0]["timesteps"])
    every = range(RING, n + 3)
    fractions = [slices / (n + 2) for slices in every]
    axis.plot(
        fractions,
        [sweep_optimum.least(n, slices) / n for slices in every],
        color="black",
        linewidth=1.0,
        label="fewest of any schedule in memory",
    )
    snapshots = range(1, (n + 2 - RING) // STATE + 1)
    axis.plot(
        [(RING + STATE * s) / (n + 2) for s in snapshots],
        [sweep_optimum.classic(n, s) / n for s in snapshots],
        color="black",
        linestyle="--",
        linewidth=1.0,
        label="fewest of one timestep at a time (classic Revolve)",
    )
    for method, (color, marker) in STYLES.items():
        mine = _sorted(rows, method)
        if mine:
            axis.plot(
                [_fraction(row) for row in mine],
                [int(row["forward_steps"]) / n for row in mine],
                marker,
                color=color,
                markersize=5,
                mfc="none" if method == "checkpoint-schedules" else color,
                label=LABELS.get(method, method),
            )


def _resident(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw how much the process grew over what was planned."""
    figure = new_figure(6.4, 5.6)
    axis = figure.subplots()
    for method, (color, marker) in {"store-all": ("black", "*"), **STYLES}.items():
        mine = _sorted(rows, method)
        if mine:
            axis.plot(
                [int(row["planned_bytes"]) / 2**20 for row in mine],
                [_grown(row) / 2**20 for row in mine],
                marker,
                color=color,
                markersize=6,
                label=LABELS.get(method, method),
            )
    planned = [int(row["planned_bytes"]) / 2**20 for row in rows]
    ends = min(planned), max(planned)
    axis.plot(ends, ends, color="0.5", linewidth=1.0, zorder=0, label="as planned")
    _log_axes(axis)
    axis.set_xlabel("wavefield and snapshots, as planned [MiB]")
    axis.set_ylabel("growth of the process's peak resident memory [MiB]")
    axis.set_title("Peak resident memory beside the bytes planned", fontsize=10)
    axis.legend(fontsize=8)
    save_figure(figure, path)


def _large(predicted: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the predictions."""
    figure = new_figure(7.0, 5.2)
    axis = figure.subplots()
    labels = {**LABELS, "classic Revolve": "classic Revolve (pyrevolve 2.2.8, checkpoint-schedules)"}
    for method, (color, marker) in STYLES.items():
        mine = sorted((row for row in predicted if row["method"] == method), key=lambda row: row["fraction"])
        if mine:
            axis.plot(
                [row["fraction"] for row in mine],
                [row["times_store_all"] for row in mine],
                color=color,
                marker=marker,
                markersize=4,
                linestyle=":",
                label=labels[method],
            )
    axis.plot(1.0, 1.0, "*", color="black", markersize=11, label="store-all")
    axis.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
    first = predicted[0]
    everything = int(first["store_all_bytes"])
    _log_axes(axis)
    top = axis.secondary_xaxis(
        "top", functions=(lambda x: x * everything / 2**30, lambda x: x * 2**30 / everything)
    )
    top.set_xlabel("memory held [GiB]")
    top.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel("memory held, as a fraction of store-all")
    axis.set_ylabel("time, relative to store-all (predicted)")
    axis.set_title(
        f"PREDICTED, not run: {first['configuration']}, {first['timesteps']} timesteps\n"
        f"from costs measured on {first['from_problem']}, scaled by points and bytes",
        fontsize=10,
    )
    axis.legend(fontsize=8)
    save_figure(figure, path)


def _log_axes(axis: Any) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    for each in (axis.xaxis, axis.yaxis):
        each.set_major_formatter(lambda value, _: f"{value:g}")
        low, high = each.get_view_interval()
        # Few decades leave room for, and need, more numbers than powers of ten.
        if high < 100 * low:
            each.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "235" else "")
        else:
            each.set_minor_formatter(lambda value, _: "")
    axis.grid(alpha=0.3, which="both", linewidth=0.5)


def _sorted(rows: Sequence[Mapping[str, str]], method: str) -> list[Mapping[str, str]]:
    return sorted((row for row in rows if row["method"] == method), key=_fraction)


def _fraction(row: Mapping[str, str]) -> float:
    return int(row["planned_bytes"]) / int(row["store_all_bytes"])


def _grown(row: Mapping[str, str]) -> int:
    return int(row["peak_resident_bytes"]) - int(row["resident_before_bytes"])


def _declined(row: Mapping[str, str]) -> bool:
    if row["method"] == "RAM + disk":
        return row["snapshots_on_disk"] in ("", "0")
    return row["method"] == "compressed" and row["compressed"] != "True"


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB" if nbytes >= 2**30 else f"{nbytes / 2**20:.1f} MiB"
