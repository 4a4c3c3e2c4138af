"""The trade-off of time against memory, as a table, as CSV and as a picture."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from ..budget import format_bytes
from ..colours import BLUE, DISK, ORANGE, RAM, VERMILLION
from ..planning import plan_curve
from ..plans import Plan
from ..quantities import number_text
from .cost_options import GivenCosts
from .figures import PICTURES, new_figure, path_ending_in, save_figure
from .output import whole_file
from .quantities import argument, parse_count

__all__ = ["add_curve_options", "curve_of", "curve_table", "write_curve"]

#: A colour and a shape for every family.
_STYLES = {
    "revolve": (RAM, "o"),
    "two-tier": (DISK, "s"),
    "multistage": (VERMILLION, "^"),
    "hierarchical": (BLUE, "D"),
}

#: Budgets of a curve.
_POINTS = 20

_COLUMNS = (
    "memory_bytes",
    "disk_bytes",
    "predicted_time",
    "recompute_factor",
    "family",
    "window",
    "n_snapshots",
    "n_on_disk",
)


def add_curve_options(parser: argparse._ActionsContainer) -> None:
    """Add the options."""
    parser.add_argument(
        "--curve",
        nargs="?",
        const="table",
        type=_curve_file,
        metavar="FILE",
        help="the best plan for budgets from the least to store-all: as a table, and in a FILE as a picture "
        "(.png, .svg, .pdf) or as .csv",
    )
    parser.add_argument(
        "--points",
        type=argument(_points),
        metavar="N",
        help=f"budgets of the curve, default {_POINTS}",
    )


def _points(text: str) -> int:
    return parse_count(text, most=1000)


def _curve_file(text: str) -> str | Path:
    # argparse reads what stands for an option without its argument, too.
    return text if text == "table" else argument(path_ending_in(*PICTURES, ".csv"))(text)


def curve_of(options: argparse.Namespace, arguments: dict[str, Any]) -> list[Plan]:
    """Return the best plans for many budgets, those left out that are no faster than one with less memory."""
    found = plan_curve(**arguments, points=_POINTS if options.points is None else options.points)
    kept: list[Plan] = []
    for point in found:
        if not kept or point.predicted_seconds < kept[-1].predicted_seconds:
            kept.append(point)
    return kept


def curve_table(curve: list[Plan], costs: GivenCosts) -> str:
    """Return the curve as a table, the least memory first."""
    best = curve[-1].predicted_seconds
    rows = [
        (
            "memory",
            "disk",
            f"time [{'s' if costs.measured else 'steps'}]",
            "× best",
            "steps/n",
            "window",
            "RAM",
            "disk",
            "family",
        )
    ]
    rows += [
        (
            format_bytes(point.planned_bytes),
            format_bytes(point.planned_disk_bytes) if point.planned_disk_bytes else "-",
            number_text(point.predicted_seconds),
            f"{point.predicted_seconds / best:.2f}" if best else "-",
            f"{point.recompute_factor:.3f}",
            str(point.window),
            str(point.n_snapshots),
            str(point.n_on_disk),
            point.family,
        )
        for point in curve
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == len(widths) - 1 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def write_curve(path: Path, curve: list[Plan], chosen: Plan, costs: GivenCosts) -> None:
    """Write the curve, as CSV or as a picture by the suffix of `path`.

    Raises
    ------
    ImportError
        Matplotlib is not installed, and it is not CSV.
    OSError
        The file cannot be written.
    """
    if path.suffix.lower() == ".csv":
        with whole_file(path) as whole, whole.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for point in curve:
                writer.writerow(
                    (
                        point.planned_bytes,
                        point.planned_disk_bytes,
                        repr(point.predicted_seconds),
                        repr(point.recompute_factor),
                        point.family,
                        point.window,
                        point.n_snapshots,
                        point.n_on_disk,
                    )
                )
        return
    _draw(path, curve, chosen, costs)


def _draw(path: Path, curve: list[Plan], chosen: Plan, costs: GivenCosts) -> None:
    figure = new_figure(8.0, 5.0)
    axis = figure.subplots()
    power = min(max(0, (max(1, curve[-1].planned_bytes).bit_length() - 1) // 10), 6)
    scale, unit = 1024.0**power, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")[power]
    memory = [point.planned_bytes / scale for point in curve]
    time = [point.predicted_seconds for point in curve]
    axis.step(memory, time, where="post", color="0.6", linewidth=1.0, zorder=1)
    for family, (color, marker) in _STYLES.items():
        here = [number for number, point in enumerate(curve) if point.family == family]
        if here:
            axis.plot(
                [memory[number] for number in here],
                [time[number] for number in here],
                marker,
                color=color,
                label=family,
                zorder=2,
            )
    axis.plot(
        chosen.planned_bytes / scale,
        chosen.predicted_seconds,
        "*",
        markersize=16,
        color=ORANGE,
        markeredgecolor="black",
        label=f"chosen for {format_bytes(chosen.memory)}",
        zorder=3,
    )
    least = (chosen.costs.forward_step + chosen.costs.reversal) * chosen.n_timesteps
    axis.axhline(
        least,
        color="0.3",
        linestyle=":",
        label="every timestep once forward and once in reverse",
    )
    axis.set_xscale("log")
    if max(time) > 10 * min(time):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0.0)
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xlabel(f"memory held at the peak [{unit}]")
    axis.set_ylabel(f"predicted time [{costs.unit}]")
    disk = f", up to {format_bytes(chosen.disk)} on disk" if chosen.disk else ""
    axis.set_title(f"Time against memory: {chosen.n_timesteps} timesteps{disk}")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    save_figure(figure, path)
