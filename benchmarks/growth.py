"""How cost grows: with timesteps, with snapshots, and with the grid.

    python benchmarks/growth.py
    python benchmarks/growth.py --figures            # draws what the files have so far; measures nothing

1. Planning, for 10^2 to 10^6 timesteps and several budgets: time, and memory.
2. The driver: schedules of as many timesteps over operators that do nothing, time per action.
3. Efficiency, on acoustic grids in two and three dimensions: the time that the plan's formula,

       T = forward_step*F + reverse_step*n + calls + copies,

   gives with costs measured in the same process, after each shot, divided by the shot's real time. Wanted:
   at least 0.97 with snapshots in RAM, on grids of more than a million points.

Every measurement is a process of its own, with nothing else running; a command that was stopped goes on where
it was.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sweep_optimum
from common import ROOT, facts, print_facts, threads_of, worker
from sweep_problems import Problem
from sweep_results import Results, read_rows
from sweep_tables import line

from pyrevolve.colours import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILLION

HERE = Path(__file__).resolve().parent
WANTED, LARGE_GRID = 0.97, 1_000_000

TIMESTEPS = (100, 1000, 10_000, 100_000, 1_000_000)
#: Budgets of memory [slices], and one of disk.
BUDGETS = (20, 200, 2000)
DISK = "4 TiB"
SNAPSHOTS = (10, 100)
WINDOWS = (1, 10)
GRIDS = tuple(
    Problem(" x ".join(map(str, (points,) * dimensions)), (points - 2 * layers,) * dimensions, steps, layers)
    for points, dimensions, layers, steps in (
        (256, 2, 20, 2000),
        (512, 2, 20, 1000),
        (1024, 2, 20, 600),
        (1448, 2, 20, 400),
        (64, 3, 10, 600),
        (80, 3, 10, 400),
        (104, 3, 10, 300),
        (128, 3, 10, 200),
    )
)
TINY_GRIDS = (Problem("40 x 40", (30, 30), 30, layers=5),)

PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "planning": (
        ("n", "slices", "disk", "repeats"),
        (
            "seconds",
            "seconds_first",
            "traced_bytes",
            "grown_bytes",
            "family",
            "window",
            "snapshots",
            "snapshots_on_disk",
            "recompute_factor",
        ),
    ),
    "driver": (
        ("n", "snapshots", "window", "repeats"),
        (
            "actions",
            "forward_steps",
            "seconds",
            "overhead_per_action",
            "iterating_per_action",
            "grown_bytes",
        ),
    ),
    "efficiency": (
        ("grid", "timesteps", "slices", "shots"),
        (
            "cells",
            "window",
            "snapshots",
            "forward_steps",
            "optimum_steps",
            "planned_bytes",
            "predicted_seconds",
            "seconds",
            "efficiency",
            "efficiency_least",
            "efficiency_most",
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tiny", action="store_true", help="seconds: to see that everything works")
    parser.add_argument("--most", type=int, default=TIMESTEPS[-1], help="most timesteps of parts 1 and 2")
    parser.add_argument("--repeats", type=int, default=5, help="in a process, of parts 1 and 2")
    parser.add_argument("--slices", type=int, default=43, help="memory limit of part 3")
    parser.add_argument("--shots", type=int, default=4, help="shots per process, the first one not counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument(
        "--figures",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FOLDER",
        help="draw what the files have, beside them or in another folder; measure nothing",
    )
    options = parser.parse_args()
    if options.shots < 2:
        parser.error(f"--shots must be >= 2, because the first one is not counted, got {options.shots}")
    paths = {part: options.folder / f"growth_{part}.csv" for part in options.parts}
    if options.figures is not None:
        for path in paths.values():
            if not path.is_file():
                raise SystemExit(f"there is no {path}: measure first, without --figures")
        target = (options.figures if options.figures.parts else options.folder) / "growth.png"
        draw({part: read_rows(path) for part, path in paths.items()}, target)
        print(f"written to {target}")
        return

    machine = facts("pyrevolve", "devito", "numpy")
    print_facts(machine)
    del machine["load_average"]
    for part, path in paths.items():
        identity, columns = PARTS[part]
        with Results(
            path, (*identity, *columns), identity, {**machine, "threads": options.threads}
        ) as results:
            for case in cases(part, options):
                if results.find(case) is None:
                    print(part, *case.values(), "...", file=sys.stderr, flush=True)
                    results.append({**case, **measure(part, case, options)})
            {"planning": print_planning, "driver": print_driver, "efficiency": print_efficiency}[part](
                results.rows
            )
        print(f"written to {path}")


def cases(part: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what tells the measurements of a part from one another."""
    timesteps = [n for n in TIMESTEPS if n <= options.most]
    if part == "planning":
        for slices in BUDGETS:
            for disk in ("", DISK):
                for n in timesteps:
                    yield {"n": n, "slices": slices, "disk": disk, "repeats": options.repeats}
    elif part == "driver":
        for snapshots in SNAPSHOTS:
            for window in WINDOWS:
                for n in timesteps:
                    # A million timesteps take many seconds each time.
                    repeats = options.repeats if n < 10**6 else 2
                    yield {"n": n, "snapshots": snapshots, "window": window, "repeats": repeats}
    else:
        for grid in TINY_GRIDS if options.tiny else GRIDS:
            yield {
                "grid": grid.name,
                "timesteps": grid.steps,
                "slices": options.slices,
                "shots": options.shots,
            }


def measure(part: str, case: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the rest of a row."""
    if part != "efficiency":
        return worker(sys.executable, HERE / "sweep_growth_worker.py", {"part": part, **case})
    grid = next(grid for grid in (*TINY_GRIDS, *GRIDS) if grid.name == case["grid"])
    found: dict[str, Any] = worker(
        sys.executable,
        HERE / "sweep_worker.py",
        {**grid.arguments(), "method": "RAM", "slices": case["slices"], "shots": case["shots"]},
        **threads_of(options.threads),
    )
    efficiency = found["efficiency"][1:]
    return {
        "cells": found["cells"],
        "window": found["window"],
        "snapshots": found["snapshots"],
        "forward_steps": found["forward_steps"],
        "optimum_steps": sweep_optimum.windowed(grid.steps, found["snapshots"], found["window"]),
        "planned_bytes": found["held"],
        "predicted_seconds": found["predicted"],
        "seconds": statistics.median(found["seconds"][1:]),
        "efficiency": statistics.median(efficiency),
        "efficiency_least": min(efficiency),
        "efficiency_most": max(efficiency),
    }


def print_planning(rows: Sequence[Mapping[str, str]]) -> None:
    """Print part 1."""
    print("\nplanning: plan() for n timesteps")
    widths = (12, 8, 8, 11, 10, 12, 12, 14, 8, 8, 8, 10)
    head = ("", "memory", "disk", "median", "first", "traced", "resident", "", "", "", "", "")
    print(line(head, widths))
    names = ("family", "window", "RAM", "disk", "steps/n")
    print(line(("timesteps", "slices", "", "ms", "ms", "KiB", "+ KiB", *names), widths))
    for row in rows:
        cells = (
            row["n"],
            row["slices"],
            row["disk"],
            f"{float(row['seconds']) * 1e3:.3f}",
            f"{float(row['seconds_first']) * 1e3:.3f}",
            f"{int(row['traced_bytes']) / 1024:.1f}",
            f"{int(row['grown_bytes']) / 1024:.0f}",
            row["family"],
            row["window"],
            row["snapshots"],
            row["snapshots_on_disk"],
            f"{float(row['recompute_factor']):.3f}",
        )
        print(line(cells, widths))


def print_driver(rows: Sequence[Mapping[str, str]]) -> None:
    """Print part 2."""
    print("\ndriver: operators that do nothing")
    widths = (12, 10, 8, 12, 12, 14, 14, 14)
    print(line(("", "", "", "", "", "driver", "iterator", "resident"), widths))
    units = ("ns/action", "ns/action", "+ KiB")
    print(line(("timesteps", "snapshots", "window", "actions", "steps", *units), widths))
    for row in rows:
        cells = (
            row["n"],
            row["snapshots"],
            row["window"],
            row["actions"],
            row["forward_steps"],
            f"{float(row['overhead_per_action']) * 1e9:.0f}",
            f"{float(row['iterating_per_action']) * 1e9:.0f}",
            f"{int(row['grown_bytes']) / 1024:.0f}",
        )
        print(line(cells, widths))


def print_efficiency(rows: Sequence[Mapping[str, str]]) -> None:
    """Print part 3."""
    print("\nefficiency: time by the formula, with costs measured in the same process, / real time")
    widths = (18, 10, 11, 8, 8, 10, 10, 10, 12, 18)
    names = ("timesteps", "points", "window", "RAM", "steps", "optimum", "time [s]", "efficiency")
    print(line(("grid", *names, "least ... most"), widths))
    for row in rows:
        cells = (
            row["grid"],
            row["timesteps"],
            row["cells"],
            row["window"],
            row["snapshots"],
            row["forward_steps"],
            row["optimum_steps"],
            f"{float(row['seconds']):.3f}",
            f"{float(row['efficiency']):.3f}",
            f"{float(row['efficiency_least']):.3f} ... {float(row['efficiency_most']):.3f}",
        )
        print(line(cells, widths))
    large = [row for row in rows if int(row["cells"]) > LARGE_GRID]
    if large:
        least = min(large, key=lambda row: float(row["efficiency"]))
        print(
            f"grids of more than a million points: {float(least['efficiency']):.3f} at least, on "
            f"{least['grid']} (wanted {WANTED})"
        )


# --- the figure -------------------------------------------------------------------------------------------


def draw(rows: Mapping[str, Sequence[Mapping[str, str]]], path: Path) -> None:
    """Draw all parts in one figure."""
    from pyrevolve.cli.figures import new_figure, save_figure

    figure = new_figure(10.5, 8.0)
    axes = figure.subplots(2, 2)
    _draw_planning(axes[0, 0], axes[0, 1], rows.get("planning", ()))
    _draw_driver(axes[1, 0], rows.get("driver", ()))
    _draw_efficiency(axes[1, 1], rows.get("efficiency", ()))
    for axis in axes.flat:
        axis.set_xscale("log")
        axis.grid(alpha=0.3, which="both", linewidth=0.5)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=7)
    save_figure(figure, path)


#: Colours and shapes, in turn.
_STYLES = (
    (BLUE, "o"),
    (VERMILLION, "s"),
    (GREEN, "^"),
    (PURPLE, "D"),
    (ORANGE, "v"),
    (SKY, "P"),
)


def _lines(
    rows: Sequence[Mapping[str, str]], *names: str
) -> Iterator[tuple[tuple[str, ...], list[Mapping[str, str]], dict[str, Any]]]:
    """Yield rows that are alike but for n, with what they are alike in and how they are drawn."""
    keys = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
    for number, key in enumerate(keys):
        mine = [row for row in rows if tuple(row[name] for name in names) == key]
        color, marker = _STYLES[number % len(_STYLES)]
        yield key, mine, {"color": color, "marker": marker, "markersize": 5}


def _draw_planning(times: Any, memory: Any, rows: Sequence[Mapping[str, str]]) -> None:
    for (slices, disk), mine, style in _lines(rows, "slices", "disk"):
        n = [int(row["n"]) for row in mine]
        label = f"{slices} slices" + (f" and {disk} of disk" if disk else "")
        times.plot(n, [float(row["seconds"]) * 1e3 for row in mine], label=label, **style)
        memory.plot(n, [int(row["grown_bytes"]) / 1024 for row in mine], **style)
        traced = [int(row["traced_bytes"]) / 1024 for row in mine]
        memory.plot(n, traced, linestyle=":", color=style["color"])
    what_of_memory = (
        "memory to plan [KiB], budgets as at left:\ngrowth of the process; dotted: Python's objects"
    )
    for axis, what in ((times, "time to plan [ms]"), (memory, what_of_memory)):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel("timesteps")
        axis.set_ylabel(what)


def _draw_driver(axis: Any, rows: Sequence[Mapping[str, str]]) -> None:
    for (snapshots, window), mine, style in _lines(rows, "snapshots", "window"):
        overhead = [float(row["overhead_per_action"]) * 1e6 for row in mine]
        label = f"{snapshots} snapshots, window {window}"
        axis.plot([int(row["n"]) for row in mine], overhead, label=label, **style)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("timesteps")
    axis.set_ylabel("driver, time per action [µs]")


def _draw_efficiency(axis: Any, rows: Sequence[Mapping[str, str]]) -> None:
    for dimensions, (color, marker) in zip((2, 3), _STYLES, strict=False):
        mine = [row for row in rows if row["grid"].count("x") == dimensions - 1]
        if mine:
            middle = [float(row["efficiency"]) for row in mine]
            axis.errorbar(
                [int(row["cells"]) for row in mine],
                middle,
                yerr=[
                    [value - float(row["efficiency_least"]) for value, row in zip(middle, mine, strict=True)],
                    [float(row["efficiency_most"]) - value for value, row in zip(middle, mine, strict=True)],
                ],
                color=color,
                marker=marker,
                markersize=5,
                capsize=3,
                label=f"{dimensions}D: median, least and most of the shots",
            )
    axis.axhline(WANTED, color="0.4", linestyle=":", label=f"wanted: {WANTED}, beyond a million points")
    axis.axvline(LARGE_GRID, color="0.7", linewidth=0.8)
    axis.set_xlabel("grid points")
    axis.set_ylabel("efficiency: predicted / real time")


if __name__ == "__main__":
    main()
