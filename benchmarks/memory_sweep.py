"""Time against memory: the gradient of one shot under memory limits from the least that works to store-all.

    python benchmarks/memory_sweep.py                # small: minutes on two cores
    python benchmarks/memory_sweep.py --medium       # an hour or two, 16 GB
    python benchmarks/memory_sweep.py --figures      # draws what the file has so far; measures nothing

Acoustic problems in two and three dimensions, the same Devito operators everywhere: this package with
snapshots in RAM, in RAM and on disk, and compressed; pyrevolve 2.2.8 with Devito's adapter, in an environment
of its own (`.venv-reference`); checkpoint-schedules, whose actions drive the operators; and store-all, with
its memory touched for the first time (cold) and again (warm).

Every measurement is a process of its own, with nothing else running. Its row is appended to a CSV file at
once: stopped at any moment, the same command goes on where it was. All are measured in several rounds, one
after the other; the time is the median over the shots of a process after its first one, in the best round.
Gradients are compared with that of store-all bit for bit, forward timesteps with the fewest possible,
computed without this package. The large configuration is not run but predicted, from costs measured on the
largest three-dimensional problem, and labelled so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import sweep_optimum
from common import ROOT, facts, print_facts, reference_python, threads_of, worker
from sweep_large import predict, write_predictions
from sweep_problems import LARGE, RING, SETS, STATE, Problem, Set, limits
from sweep_results import Results, fastest, read_rows
from sweep_tables import markdown, print_large, print_problems

WORKER = Path(__file__).with_name("sweep_worker.py")

#: The least slices that each method works with, or has a choice to make with: a ring; a ring and one
#: snapshot; a ring and two more states, which are on their way to disk or being compressed.
METHODS = {
    "RAM": RING,
    "RAM + disk": RING + 2 * STATE,
    "compressed": RING + 2 * STATE,
    "pyrevolve 2.2.8": RING + STATE,
    "checkpoint-schedules": RING + STATE,
}

IDENTITY = ("problem", "timesteps", "method", "limit_slices", "codec", "shots", "round")
COLUMNS = (
    *IDENTITY,
    "shape",
    "cells",
    "slice_bytes",
    "store_all_bytes",
    "limit_bytes",
    "planned_bytes",
    "disk_bytes",
    "resident_before_bytes",
    "peak_resident_bytes",
    "family",
    "window",
    "snapshots",
    "snapshots_on_disk",
    "compressed",
    "direct_io",
    "planned_steps",
    "forward_steps",
    "optimum_steps",
    "least_steps",
    "seconds",
    "seconds_cold",
    "seconds_each",
    "predicted_seconds",
    "efficiency",
    "waited_seconds",
    "hidden_seconds",
    "gradient",
    "same_gradient",
    "gradient_difference",
    "costs",
    "large_cells",
    "large_slice_bytes",
    "measured_at",
    "load_average",
)


def main() -> None:
    options = parse()
    chosen = SETS[options.size]
    if options.only:
        problems = tuple(p for p in chosen.problems if options.only in p.name)
        if not problems:
            names = ", ".join(repr(problem.name) for problem in chosen.problems)
            raise SystemExit(f"--only {options.only!r} fits none of {names}")
    else:
        problems = chosen.problems
    path = options.csv or ROOT / "benchmarks" / "results" / f"memory_sweep_{options.size}.csv"
    if (options.markdown or options.figures is not None) and not path.is_file():
        raise SystemExit(f"there is no {path}: measure first, without --figures and --markdown")
    if options.markdown:
        rows = fastest(read_rows(path), IDENTITY)
        print(markdown(rows, predictions(rows)))
        return
    if options.figures is not None:
        from sweep_figures import draw_sweep

        target = (options.figures if options.figures.parts else path.parent) / path.name
        rows = fastest(read_rows(path), IDENTITY)
        for figure in draw_sweep(rows, predictions(rows), target):
            print(f"written to {figure}")
        return

    machine = facts("pyrevolve", "devito", "numpy", "checkpoint-schedules", "xxhash", "numcodecs", "pcodec")
    print_facts(machine)
    del machine["load_average"]
    with Results(path, COLUMNS, IDENTITY, {**machine, "threads": options.threads}) as results:
        sweep = Sweep(options, results)
        for sweep.round in range(1, options.rounds + 1):
            for problem in problems:
                sweep.measure(problem, chosen)
            if problems[-1] is chosen.problems[-1]:
                sweep.measure_costs(problems[-1])
        rows = fastest(results.rows, IDENTITY)
        print_problems(rows)
        predicted = predictions(rows)
        if predicted:
            print_large(predicted)
            written = path.with_name(path.stem + "_large_predicted.csv")
            write_predictions(written, predicted)
            print(f"predictions written to {written}")
        print(f"written to {path}")
    for line in dict.fromkeys(sweep.left_out):
        print(f"left out    {line}")
    for line in sweep.failed:
        print(f"FAILED      {line}")
    if sweep.failed:
        raise SystemExit(1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    size = parser.add_mutually_exclusive_group()
    for name, text in (
        ("tiny", "seconds: to see that everything works"),
        ("small", "minutes (the default)"),
        ("medium", "an hour or two"),
    ):
        size.add_argument(f"--{name}", dest="size", action="store_const", const=name, help=text)
    parser.set_defaults(size="small")
    parser.add_argument("--only", metavar="TEXT", help="problems whose name contains it, such as 3D")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--points", type=int, help="memory limits for each problem")
    parser.add_argument("--limits", type=int, nargs="+", metavar="SLICES", help="these, instead of so many")
    parser.add_argument("--most-seconds", type=float, help="leave out gradients that take longer [s]")
    parser.add_argument("--shots", type=int, default=3, help="shots per process, the first one not counted")
    parser.add_argument("--rounds", type=int, default=2, help="how often all is measured, default 2")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--codec", default="lz4", choices=("lz4", "zstd", "pcodec"))
    parser.add_argument("--disk", default="32 GiB", help="budget on disk")
    parser.add_argument("--disk-dir", type=Path, help="where; by default benchmarks/results")
    parser.add_argument("--reference-python", type=Path, help="interpreter with pyrevolve 2.2.8 and Devito")
    parser.add_argument("--csv", type=Path, help="by default benchmarks/results/memory_sweep_SIZE.csv")
    parser.add_argument(
        "--figures",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="FOLDER",
        help="draw what the CSV file has, beside it or in a folder; measure nothing",
    )
    parser.add_argument("--markdown", action="store_true", help="print it as tables in Markdown")
    options = parser.parse_args()
    if options.figures is not None or options.markdown:
        return options
    if options.shots < 2:
        parser.error(f"--shots must be >= 2, because the first one is not counted, got {options.shots}")
    if "checkpoint-schedules" in options.methods and not importlib.util.find_spec("checkpoint_schedules"):
        parser.error(
            "checkpoint-schedules is not installed: pip install checkpoint-schedules==1.0.4, or "
            "name the others with --methods"
        )
    return options


def predictions(rows: list[dict[str, str]]) -> list[dict[str, object]]:
    """Return what the large configuration would take; nothing where its costs were not measured."""
    for row in rows:
        if row["method"] == "costs":
            return predict(row)
    return []


class Sweep:
    """Measure what a file of results lacks."""

    def __init__(self, options: argparse.Namespace, results: Results) -> None:
        self.options = options
        self.results = results
        self.round = 1
        self.left_out: list[str] = []
        self.failed: list[str] = []
        self.gradients = results.path.with_suffix("")
        self.gradients.mkdir(exist_ok=True)
        self.reference = None
        if "pyrevolve 2.2.8" in options.methods:
            self.reference = reference_python(options.reference_python)

    def measure(self, problem: Problem, chosen: Set) -> None:
        """Measure one problem with all methods and limits."""
        everything = problem.steps + 2
        stored = self.row(problem, "store-all", everything)
        if stored is None:
            return
        if not self.gradient_file(problem).exists():
            again = self.run(problem, "store-all", everything)
            if again["gradient"] != stored["gradient"]:
                raise SystemExit(
                    f"store-all of {problem.name} gives gradient {again['gradient']} now, but "
                    f"{self.results.path} has {stored['gradient']}; move that file away"
                )
        warm = float(stored["seconds"])
        most = self.options.most_seconds or chosen.most_seconds
        wanted = self.options.limits or [
            RING,
            *limits(problem.steps, self.options.points or chosen.points),
        ]
        for method, slices in self.tasks(problem, wanted):
            steps = fewest(problem, method, slices)
            # Timesteps in reverse take about as long as those forward.
            expected = warm * (steps + problem.steps) / (2 * problem.steps)
            if expected > most and self.results.find(self.identity(problem, method, slices)) is None:
                self.left_out.append(
                    f"{problem.name}: {method} in {slices} slices, at least {steps} forward timesteps, "
                    f"about {expected:.2g} s (--most-seconds {most:g})"
                )
                continue
            self.row(problem, method, slices)

    def tasks(self, problem: Problem, wanted: Sequence[int]) -> Iterator[tuple[str, int]]:
        """Yield methods and limits [slices], all methods at one limit after another."""
        for slices in wanted:
            for method in self.options.methods:
                # All slices of the run leave nothing to be put on disk, or compressed.
                everything = method in ("RAM + disk", "compressed") and slices >= problem.steps + 2
                if slices >= METHODS[method] and not everything:
                    yield method, slices

    def measure_costs(self, problem: Problem) -> None:
        """Measure what the large configuration is predicted from."""
        self.row(problem, "costs", min(problem.steps + 2, 43), large_grid=list(LARGE.grid))

    def identity(self, problem: Problem, method: str, slices: int) -> dict[str, object]:
        return {
            "problem": problem.name,
            "timesteps": problem.steps,
            "method": method,
            "limit_slices": slices,
            "codec": self.options.codec if method == "compressed" else "",
            "shots": self.options.shots,
            "round": self.round,
        }

    def gradient_file(self, problem: Problem) -> Path:
        return self.gradients / ("".join(c if c.isalnum() else "_" for c in problem.name) + ".npy")

    def row(self, problem: Problem, method: str, slices: int, **more: object) -> dict[str, str] | None:
        """Return the row of a measurement, made now where it is missing; None where it fails."""
        identity = self.identity(problem, method, slices)
        found = self.results.find(identity)
        if found is not None:
            return found
        print(f"{problem.name}: {method}, {slices} slices ...", file=sys.stderr, flush=True)
        try:
            result = self.run(problem, method, slices, **more)
        except SystemExit as error:
            self.failed.append(str(error))
            return None
        return self.results.append({**identity, **summary(problem, method, slices, result)})

    def run(self, problem: Problem, method: str, slices: int, **more: object) -> dict:
        """Run one measurement in a process of its own."""
        options = self.options
        disk_dir = str((options.disk_dir or self.results.path.parent).resolve())
        arguments = {
            **problem.arguments(),
            **more,
            "method": method,
            "slices": slices,
            "shots": options.shots,
            "gradient_file": str(self.gradient_file(problem).resolve()),
        }
        if method in ("RAM + disk", "costs"):
            arguments.update(disk=options.disk, disk_dir=disk_dir)
        if method == "compressed":
            arguments.update(compression=options.codec)
        python = self.reference if method == "pyrevolve 2.2.8" else sys.executable
        assert python is not None
        return worker(
            python,
            WORKER,
            arguments,
            **threads_of(options.threads),
        )


def fewest(problem: Problem, method: str, slices: int) -> int:
    """Return the fewest forward timesteps that a method can do with so many slices."""
    if method in ("pyrevolve 2.2.8", "checkpoint-schedules"):
        return sweep_optimum.classic(problem.steps, (slices - RING) // STATE)
    if method in ("RAM + disk", "compressed"):
        return problem.steps  # more snapshots than slices: less than twice as many steps, as a rule
    return sweep_optimum.least(problem.steps, slices)


def optimum(problem: Problem, method: str, result: dict) -> int | None:
    """Return the optimum for the snapshots and the window that were used; None where there is no formula.

    With snapshots on disk it is a bound: each is read once at most.
    """
    if method == "store-all":
        return problem.steps
    if method in ("pyrevolve 2.2.8", "checkpoint-schedules"):
        return sweep_optimum.classic(problem.steps, result["snapshots"])
    if result["compressed"]:
        return None  # as many snapshots as fit
    return sweep_optimum.windowed(problem.steps, result["snapshots"] + result["on_disk"], result["window"])


def summary(problem: Problem, method: str, slices: int, result: dict) -> dict[str, object]:
    """Return what a measurement's row says besides its identity."""

    def median(name: str) -> float | None:
        values = result.get(name, [])[1:]
        return statistics.median(values) if values else None

    row = {
        "shape": "x".join(map(str, problem.grid)),
        "cells": result["cells"],
        "slice_bytes": result["slice"],
        "store_all_bytes": (problem.steps + 2) * result["slice"],
        "limit_bytes": slices * result["slice"],
        "resident_before_bytes": result["resident_before"],
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load_average": facts()["load_average"],
    }
    if method == "costs":
        row.update(
            seconds=result["costs"]["forward_step"],
            costs=json.dumps(result["costs"]),
            large_cells=result["large_cells"],
            large_slice_bytes=result["large_slice"],
        )
        return row
    row.update(
        planned_bytes=result["held"],
        disk_bytes=result.get("held_on_disk"),
        peak_resident_bytes=result["peak"],
        family=result.get("family"),
        window=result.get("window"),
        snapshots=result.get("snapshots"),
        snapshots_on_disk=result.get("on_disk"),
        compressed=result.get("compressed"),
        direct_io=result.get("direct"),
        planned_steps=result.get("planned_steps"),
        forward_steps=result["forward_steps"],
        optimum_steps=optimum(problem, method, result),
        least_steps=sweep_optimum.least(problem.steps, slices),
        seconds=statistics.median(result["seconds"][1:]),
        seconds_cold=result["seconds"][0],
        seconds_each=json.dumps(result["seconds"]),
        predicted_seconds=result.get("predicted"),
        efficiency=median("efficiency"),
        waited_seconds=median("waited"),
        hidden_seconds=median("hidden"),
        gradient=result["gradient"],
        same_gradient=result["same_gradient"],
        gradient_difference=result["gradient_difference"],
    )
    return row


if __name__ == "__main__":
    main()
