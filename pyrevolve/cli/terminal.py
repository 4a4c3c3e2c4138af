"""A schedule in the terminal."""

from __future__ import annotations

import textwrap

import numpy as np
import numpy.typing as npt

from ..crevolve import Kind
from ..quantities import number_text, time_text
from .cost_options import GivenCosts
from .shown import Floats, Ints, Shown

__all__ = ["Symbols", "drawing", "summary"]


class Symbols:
    """What the drawing is made of; what has a greater number covers what has a smaller one.

    Parameters
    ----------
    unicode : bool
        Whether the terminal shows more than ASCII.
    """

    def __init__(self, unicode: bool) -> None:
        self.tiers = "─┄═┈" if unicode else "-.=:"
        self.save = "●" if unicode else "o"
        self.forward = "╱" if unicode else "/"
        self.reverse = "█" if unicode else "#"
        self.levels = " ▁▂▃▄▅▆▇█" if unicode else " .:-=+*#@"
        self.corner, self.across, self.up = ("└", "─", "│") if unicode else ("+", "-", "|")


def summary(shown: Shown, costs: GivenCosts) -> str:
    """Return the counts of a schedule, a few lines."""
    n = shown.n_timesteps
    lines = [
        f"{shown.name}: {', '.join(shown.parameters())}",
        f"forward  {shown.forward_steps:,} timesteps ({shown.recompute_factor:.3f} per timestep) in "
        f"{shown.calls(Kind.FORWARD):,} calls; reverse {shown.calls(Kind.REVERSE):,} calls",
    ]
    lines += [
        f"{shown.tiers[tier]:8} at most {int(shown.held(tier).max()):,} snapshots; {shown.traffic(tier)}"
        for tier in shown.used_tiers
        if shown.copies(Kind.SAVE, tier) or shown.copies(Kind.LOAD, tier)
    ]
    total = float(shown.ends(costs.costs)[-1])
    if costs.measured:
        lines.append(f"time     {time_text(total)}, every copy waited for")
    else:
        per = f", {total / n:.3g} per timestep" if n else ""
        lines.append(f"time     that of {number_text(total)} forward timesteps{per}, every copy waited for")
    return "\n".join(lines)


def drawing(shown: Shown, costs: GivenCosts, *, width: int, height: int, symbols: Symbols, by: str) -> str:
    """Return the drawing: timesteps upwards, execution to the right.

    Parameters
    ----------
    shown : Shown
        The schedule.
    costs : GivenCosts
        From which the time comes.
    width, height : int
        Columns in all, >= 20, and rows of the upper part, >= 4.
    symbols : Symbols
        What to draw with.
    by : {"time", "instruction"}
        What goes to the right.
    """
    ends = shown.ends(costs.costs) if by == "time" else np.arange(1.0, len(shown.rows) + 1.0)
    begins = np.concatenate([[0.0], ends[:-1]])
    n = max(1, shown.n_timesteps)
    labels = max(map(len, [str(shown.n_timesteps), *shown.tiers]))
    columns = max(1, width - labels - 2)
    per_column = columns / float(ends[-1]) if ends[-1] else 1.0
    rows = min(height, n + 1)
    grid = np.full((rows, columns), " ")

    def first_column(where: Floats) -> Ints:
        return np.clip(np.floor(where * per_column + 1e-9).astype(np.int64), 0, columns - 1)

    def last_column(where: Floats) -> Ints:
        # What ends where a column begins does not reach into it, and rounding errors must not make it.
        return np.clip(np.ceil(where * per_column - 1e-9).astype(np.int64) - 1, 0, columns - 1)

    def row(t: Ints) -> Ints:
        return np.clip((t / n * (rows - 1) + 0.5).astype(np.int64), 0, rows - 1)

    snapshots = shown.snapshots
    edges = np.concatenate([ends, ends[-1:]])
    for tier in reversed(shown.used_tiers):
        here = snapshots.tier == tier
        for y, left, right in zip(
            row(snapshots.t[here]),
            last_column(ends[snapshots.saved[here]]),
            last_column(edges[snapshots.dropped[here]]),
            strict=True,
        ):
            grid[y, left : right + 1] = symbols.tiers[tier % len(symbols.tiers)]
    for kind, symbol in ((Kind.FORWARD, symbols.forward), (Kind.REVERSE, symbols.reverse)):
        here = shown.of_kind(kind)
        first, last = shown.rows["start"][here], shown.rows["stop"][here]
        if kind is Kind.REVERSE:
            first, last = last, first
        left = first_column(begins[here])
        right = np.maximum(left, last_column(ends[here]))
        _draw_lines(grid, symbol, (row(first), row(last)), (left, right))
    if len(snapshots) <= 4 * columns:
        grid[row(snapshots.t), first_column(begins[snapshots.saved])] = symbols.save
    turn = int(last_column(ends[[shown.turn]])[0])
    lines = []
    for y in range(rows - 1, -1, -1):
        label = str(round(y * n / (rows - 1))) if rows > 1 and (y in (0, rows - 1) or y == rows // 2) else ""
        lines.append(f"{label:>{labels}} {symbols.up}{''.join(grid[y]).rstrip()}")
    axis = symbols.across * columns
    lines.append(f"{'':>{labels}} {symbols.corner}{axis[:turn]}T{axis[turn + 1 :]}")
    for tier in shown.used_tiers:
        held = shown.held(tier)
        if held.max(initial=0):
            levels = _levels(held, last_column(ends), columns, symbols)
            lines.append(f"{shown.tiers[tier]:>{labels}} {symbols.up}{levels}")
    total = costs.text(float(ends[-1])) if by == "time" else f"{len(shown.rows)} instructions"
    key = (
        f"{symbols.forward} forward  {symbols.reverse} reverse  {symbols.save} save  "
        + "  ".join(
            f"{symbols.tiers[tier % len(symbols.tiers)]} {shown.where(tier)}" for tier in shown.used_tiers
        )
        + "  T turn"
    )
    lines += _wrapped(f"{key}; upwards: timesteps; to the right: {total}", width)
    return "\n".join(lines)


def _draw_lines(
    grid: npt.NDArray[np.str_], symbol: str, rows: tuple[Ints, Ints], columns: tuple[Ints, Ints]
) -> None:
    """Draw straight lines, each from the first to the second row and column."""
    (top, bottom), (left, right) = rows, columns
    points = np.maximum(np.abs(bottom - top), right - left) + 1
    line = np.repeat(np.arange(len(points)), points)
    along = np.arange(len(line)) - np.repeat(np.cumsum(points) - points, points)
    share = along / np.maximum(1, points - 1)[line]
    y = np.rint(top[line] + share * (bottom - top)[line]).astype(np.int64)
    x = np.rint(left[line] + share * (right - left)[line]).astype(np.int64)
    grid[y, x] = symbol


def _levels(held: Ints, columns: Ints, width: int, symbols: Symbols) -> str:
    """Return the most snapshots held in every column, as bars."""
    most = np.zeros(width, dtype=np.int64)
    np.maximum.at(most, columns, held)
    # Columns without the end of an instruction are in the middle of one, during which nothing changes.
    last = np.maximum.accumulate(np.where(np.isin(np.arange(width), columns), np.arange(width), 0))
    top = len(symbols.levels) - 1
    return "".join(symbols.levels[level] for level in -(-most[last] * top // held.max())).rstrip()


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width), break_long_words=False)
