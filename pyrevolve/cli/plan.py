"""``pyrevolve plan``: the fastest schedule for a memory budget, and what it will take."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from .. import __version__
from ..budget import MEMORY_VARIABLE, default_budget, format_bytes
from ..costs import CompressionCosts
from ..disk_speed import measure_disk
from ..planning import plan
from ..plans import Plan
from .cost_options import GivenCosts, add_cost_options, given_costs
from .curve import add_curve_options, curve_of, curve_table, write_curve
from .output import tell_written
from .parsing import Parser
from .problem import Problem, add_problem_options, given_problem
from .quantities import argument, listed, parse_directory, parse_size, parse_transfer
from .show import parse_drawing, write_schedule
from .shown import of_plan

__all__ = ["main", "parser", "plan_json"]

_EPILOG = """\
examples:
  pyrevolve plan 3647 --shape 1681x481 --memory "150 MB"
  pyrevolve plan 3647 --shape 1681x481 --memory "150 MB" --disk "2 GB" --forward-step 0.8ms \\
      --reverse-step 1.2ms --save 0.4ms,8ms --load 0.4ms,5ms
  pyrevolve plan 3000 --shape 401x401x201 --memory "32 GiB" --disk "1 TB" \\
      --disk-dir /scratch --forward-step 60ms
  pyrevolve plan 1000 --state-bytes 64 --window-slice-bytes 32 --memory 2kB --curve
  pyrevolve plan 3647 --shape 1681x481 --curve trade-off.svg
  pyrevolve plan 200 --shape 301x301 --memory "20 MB" --show schedule.html

with --json, one object:
  version, problem {n_timesteps, state_bytes, window_slice_bytes, fixed_bytes, lookback, lag, initial_state,
  min_window}, costs, time_unit ("s" or "forward timesteps"), assumed [sentences], plan {family, window,
  n_snapshots, n_on_disk, period, memory, disk, planned_bytes, planned_disk_bytes, predicted_seconds,
  predicted_wait, forward_steps, recompute_factor, forward_calls, reverse_calls, saves_per_tier,
  loads_per_tier, tiers [{medium, compressed, slots, nbytes}]}, runners_up [as plan], and with --curve
  curve [as plan, for one budget each]
"""


def parser() -> Parser:
    """Return the command's parser."""
    result = Parser(
        prog="pyrevolve plan",
        description="Choose the schedule, the window and the snapshots that take the least predicted time\n"
        "inside budgets of memory and disk, and list the best of every other kind beside it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_problem_options(result)
    budgets = result.add_argument_group("budgets")
    size = argument(parse_size)
    budgets.add_argument(
        "--memory",
        type=size,
        metavar="SIZE",
        help='for the forward wavefield and all snapshots in RAM, such as "8 GiB"; default: half of what '
        "is free",
    )
    budgets.add_argument(
        "--disk", type=size, metavar="SIZE", help="for snapshots on disk; default: none there"
    )
    budgets.add_argument(
        "--disk-dir",
        type=argument(parse_directory),
        metavar="DIR",
        help="measure that disk (two seconds) instead of assuming one",
    )
    budgets.add_argument(
        "--compression",
        type=argument(_parse_compression),
        metavar="RATIO,ENCODE,DECODE",
        help="weigh compressed snapshots too: how many times smaller, and a time or a bandwidth for both, "
        "such as 4,800MB/s,2GB/s",
    )
    add_cost_options(result)
    output = result.add_argument_group("output")
    add_curve_options(output)
    output.add_argument(
        "--show",
        type=argument(parse_drawing),
        metavar="FILE",
        help="draw the chosen schedule: .html (interactive), .png, .svg or .pdf",
    )
    output.add_argument("--json", action="store_true", help="one JSON object, described below")
    return result


def main(argv: list[str] | None = None) -> int:
    """Plan, and print what is found; returns the exit status."""
    reader = parser()
    options = reader.parse_args(argv)
    with reader.speaking():
        return _plan(options)


def _plan(options: argparse.Namespace) -> int:
    if options.n_timesteps == 0:
        raise ValueError("N must be >= 1, got 0: a run without timesteps needs no plan")
    if options.points is not None and options.curve is None:
        raise ValueError("--points is of no use without --curve")
    problem = given_problem(options)
    costs = _costs(options, problem)
    if options.compression is not None and not costs.measured:
        raise ValueError(
            "--compression tells seconds; give --forward-step, what a timestep takes beside them"
        )
    assumed = list(problem.assumed)
    memory = options.memory
    if memory is None:
        memory = default_budget()
        told = os.environ.get(MEMORY_VARIABLE, "").strip()
        why = f"as {MEMORY_VARIABLE} says" if told else "half of what is free"
        assumed.append(f"--memory {format_bytes(memory)}, {why}")
    if costs.sentence():
        assumed.append(costs.sentence())
    arguments: dict[str, Any] = {
        **problem.arguments(),
        "costs": costs.costs,
        "disk": options.disk,
        "compression": None if options.compression is None else options.compression.of(problem.state_bytes),
    }
    chosen = plan(memory=memory, **arguments)
    curve = [] if options.curve is None else curve_of(options, arguments)
    if options.json:
        _print_json(problem, costs, assumed, chosen, curve)
    else:
        _print_text(problem, costs, assumed, chosen)
        if options.curve is not None:
            print()
            print(curve_table(curve, costs))
    if isinstance(options.curve, Path):
        write_curve(options.curve, curve, chosen, costs)
        tell_written(options.curve)
    if options.show is not None:
        write_schedule(options.show, of_plan(chosen), costs)
        tell_written(options.show)
    return 0


@dataclasses.dataclass(frozen=True)
class _Compression:
    """What compression makes of a state of any size."""

    ratio: float
    encode: Any
    decode: Any

    def of(self, state_bytes: int) -> CompressionCosts:
        return CompressionCosts(
            ratio=self.ratio, save=self.encode.of(state_bytes), load=self.decode.of(state_bytes)
        )


def _parse_compression(text: str) -> _Compression:
    wanted = f"must be a ratio and two times or bandwidths such as 4,800MB/s,2GB/s, got {text!r}"
    first, _, rest = text.partition(",")
    if rest.count(",") != 1:
        raise ValueError(wanted)
    try:
        return _Compression(float(first), *listed(parse_transfer)(rest))
    except ValueError as error:
        raise ValueError(wanted) from error


def _costs(options: argparse.Namespace, problem: Problem) -> GivenCosts:
    """Return the costs that are given, with those of the disk that is to be measured."""
    tiers = 1 if options.disk is None else 2
    if options.disk_dir is None:
        return given_costs(options, tiers, problem.state_bytes)
    if options.disk is None:
        raise ValueError("--disk-dir says where snapshots on disk go; give --disk, how much they may take")
    costs = given_costs(options, tiers, problem.state_bytes)
    if not costs.measured:
        raise ValueError(
            "--disk-dir measures seconds; give --forward-step, what a timestep takes beside them"
        )
    speed = measure_disk(problem.state_bytes, options.disk_dir)
    return GivenCosts(
        dataclasses.replace(
            costs.costs,
            save=(costs.costs.save_at(0), speed.write),
            load=(costs.costs.load_at(0), speed.read),
        ),
        True,
        {name: value for name, value in costs.assumed.items() if not name.endswith("disk")},
    )


def _print_text(problem: Problem, costs: GivenCosts, assumed: list[str], chosen: Plan) -> None:
    n = problem.n_timesteps
    everything = problem.fixed_bytes + max(problem.min_window, n + 1) * problem.window_slice_bytes
    print(
        f"{n} timesteps; a snapshot takes {format_bytes(problem.state_bytes)}, "
        f"storing everything about {format_bytes(everything)}"
    )
    for sentence in assumed:
        print(f"assumed: {sentence}")
    print()
    print(chosen.table())
    print(f"(RAM, disk: snapshots held; saves, loads: RAM+disk; time in {costs.unit})")
    print()
    print(chosen.explain())


def plan_json(chosen: Plan) -> dict[str, Any]:
    """Return a plan as the JSON object that the command's help describes."""
    found = {
        name: getattr(chosen, name)
        for name in (
            "family",
            "window",
            "n_snapshots",
            "n_on_disk",
            "period",
            "memory",
            "disk",
            "planned_bytes",
            "planned_disk_bytes",
            "predicted_seconds",
            "predicted_wait",
            "forward_steps",
            "recompute_factor",
            "forward_calls",
            "reverse_calls",
            "saves_per_tier",
            "loads_per_tier",
        )
    }
    return {**found, "tiers": [dataclasses.asdict(tier) for tier in chosen.tiers]}


def _print_json(
    problem: Problem, costs: GivenCosts, assumed: list[str], chosen: Plan, curve: list[Plan]
) -> None:
    found: dict[str, Any] = {
        "version": __version__,
        "problem": {**problem.arguments(), "lag": chosen.lag},
        "costs": dataclasses.asdict(costs.costs),
        "time_unit": costs.unit,
        "assumed": assumed,
        "plan": plan_json(chosen),
        "runners_up": [plan_json(other) for other in chosen.runners_up],
    }
    if curve:
        found["curve"] = [plan_json(point) for point in curve]
    print(json.dumps(found, indent=1))
