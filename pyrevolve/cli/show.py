"""``pyrevolve show``: a schedule as text, as a picture, or as an interactive page."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from .. import __version__
from ..crevolve import Content, Kind
from ..schedules import Schedule
from .cost_options import GivenCosts, add_cost_options, given_costs
from .families import FAMILIES, OnlineRun
from .figures import PICTURES, path_ending_in
from .output import tell_written, whole_file
from .parsing import Parser
from .quantities import argument, parse_count
from .shown import Shown, tier_names
from .terminal import Symbols, drawing, summary

__all__ = ["main", "parse_drawing", "parser", "write_schedule"]

_EPILOG = """\
examples:
  pyrevolve show revolve 100 --snapshots 5
  pyrevolve show revolve 1000 --snapshots 20 --window 8 --lookback 2 -o revolve.html
  pyrevolve show multistage 200 --snapshots 2 --on-disk 4 -o multistage.svg
  pyrevolve show hrevolve 300 --slots 3,none --save 0.4ms,8ms --load 0.4ms,5ms --forward-step 0.8ms
  pyrevolve show async-two-tier 3000 --period 50 --window 50 --lookback 2 --json
  pyrevolve show revolve 1000000 --snapshots 50 --instructions | head
'pyrevolve show SCHEDULE --help' tells the options of each. 'pyrevolve plan ... --show FILE' draws what a plan
has chosen.

with --json, one object:
  version, schedule, n_timesteps, window, lookback, lag, initial_state, forward_steps, recompute_factor,
  forward_calls, reverse_calls, makespan, time_unit ("s" or "forward timesteps"), costs,
  tiers [{name, slots (null: any number), peak, saves, loads}], n_instructions, and with --instructions
  instructions {kind, start, stop, t, tier, slot, keep, content, end}: lists, -1 where one does not apply, end
  is the time when an instruction is done
"""

#: Columns and rows of a drawing at most.
_MOST_CELLS = 10_000

#: Reads a path that `write_schedule` can write.
parse_drawing = path_ending_in(".html", *PICTURES)


def _cells(text: str) -> int:
    return parse_count(text, most=_MOST_CELLS)


def parser() -> Parser:
    """Return the command's parser."""
    result = Parser(
        prog="pyrevolve show",
        description="Show a schedule: in the terminal, as a picture (PNG, SVG, PDF), or as one\n"
        "self-contained page with hover and play.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    schedules = result.add_subparsers(dest="schedule", metavar="SCHEDULE", required=True)
    for name, family in FAMILIES.items():
        one = schedules.add_parser(name, help=family.summary, description=family.summary)
        one.set_defaults(parser=one)
        family.add_options(one)
        add_cost_options(one)
        output = one.add_argument_group("output")
        output.add_argument(
            "-o",
            "--output",
            type=argument(parse_drawing),
            metavar="FILE",
            help="write .html (interactive), .png, .svg or .pdf instead of drawing in the terminal",
        )
        output.add_argument(
            "--by",
            choices=("time", "instruction"),
            default="time",
            help="what goes to the right in the terminal and in pictures, default time (the page has both)",
        )
        output.add_argument(
            "--width", type=argument(_cells), metavar="N", help="columns, default as the terminal has"
        )
        output.add_argument(
            "--height", type=argument(_cells), default=20, metavar="N", help="rows, default 20"
        )
        output.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
        output.add_argument(
            "--instructions", action="store_true", help="list the instructions instead of drawing them"
        )
        output.add_argument(
            "--json", action="store_true", help="one JSON object, see 'pyrevolve show --help'"
        )
    return result


def main(argv: list[str] | None = None) -> int:
    """Show a schedule; returns the exit status."""
    options = parser().parse_args(argv)
    with options.parser.speaking():
        return _show(options)


def _show(options: argparse.Namespace) -> int:
    family = FAMILIES[options.schedule]
    capacities = family.tiers(options)
    costs = given_costs(options, len(capacities))
    schedule = family.make(options, costs)
    if options.instructions and not options.json and options.output is None:
        _list_instructions(schedule)
        return 0
    shown = Shown(schedule, capacities, family.what.__name__, tier_names(len(capacities)))
    if options.output is not None:
        write_schedule(options.output, shown, costs, by=options.by)
        tell_written(options.output)
    if options.json:
        print(json.dumps(_as_json(shown, costs, instructions=options.instructions), indent=1))
    elif options.output is None:
        width = options.width or min(_MOST_CELLS, shutil.get_terminal_size((100, 24)).columns)
        symbols = Symbols(not options.ascii and _shows_unicode())
        print(summary(shown, costs))
        print()
        print(
            drawing(
                shown,
                costs,
                width=max(20, width),
                height=max(4, options.height),
                symbols=symbols,
                by=options.by,
            )
        )
    return 0


def write_schedule(path: Path, shown: Shown, costs: GivenCosts, *, by: str = "time") -> None:
    """Write a schedule as a page or as a picture, by the suffix of `path`.

    Parameters
    ----------
    path : Path
        ``.html``, ``.png``, ``.svg`` or ``.pdf``.
    shown : Shown
        The schedule.
    costs : GivenCosts
        From which the time comes.
    by : {"time", "instruction"}
        What goes to the right in a picture; a page has both.

    Raises
    ------
    ValueError
        The suffix is another one.
    ImportError
        Matplotlib is not installed, and it is a picture.
    OSError
        The file cannot be written.
    """
    parse_drawing(str(path))
    if path.suffix.lower() == ".html":
        from .page import page

        with whole_file(path) as whole:
            whole.write_text(page(shown, costs), encoding="utf-8")
    else:
        from .picture import draw

        draw(path, shown, costs, by=by)


def _shows_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") in (
        "utf8",
        "utf16",
        "utf32",
    )


def _list_instructions(schedule: Schedule | OnlineRun) -> None:
    for instruction in schedule:
        print(instruction)


def _as_json(shown: Shown, costs: GivenCosts, *, instructions: bool) -> dict[str, Any]:
    window, lookback, lag = shown.schedule.needs
    ends = shown.ends(costs.costs)
    found: dict[str, Any] = {
        "version": __version__,
        "schedule": shown.name,
        "n_timesteps": shown.n_timesteps,
        "window": window,
        "lookback": lookback,
        "lag": lag,
        "initial_state": "free" if shown.schedule.free_initial_state else "stored",
        "forward_steps": shown.forward_steps,
        "recompute_factor": shown.recompute_factor,
        "forward_calls": shown.calls(Kind.FORWARD),
        "reverse_calls": shown.calls(Kind.REVERSE),
        "makespan": float(ends[-1]),
        "time_unit": costs.unit,
        "costs": dataclasses.asdict(costs.costs),
        "tiers": [
            {
                "name": name,
                "slots": shown.capacities[tier],
                "peak": int(shown.held(tier).max(initial=0)),
                "saves": shown.copies(Kind.SAVE, tier),
                "loads": shown.copies(Kind.LOAD, tier),
            }
            for tier, name in enumerate(shown.tiers)
        ],
        "n_instructions": len(shown.rows),
    }
    if instructions:
        rows = shown.rows
        found["instructions"] = {
            "kind": [Kind(kind).name for kind in rows["kind"].tolist()],
            **{name: rows[name].tolist() for name in ("start", "stop", "t", "tier", "slot", "keep")},
            "content": [Content(content).name for content in rows["content"].tolist()],
            "end": ends.tolist(),
        }
    return found
