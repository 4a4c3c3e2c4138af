"""A schedule as a picture: timesteps against execution, and the snapshots held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..colours import FORWARD, REVERSE, TIERS
from ..crevolve import Kind
from ..quantities import number_text, time_text
from .cost_options import GivenCosts
from .figures import new_figure, save_figure
from .shown import Floats, Shown

__all__ = ["draw"]

_DASHES = ("solid", "dashed", "dotted", "dashdot")

#: With more instructions, lines are drawn as an image also in SVG and PDF.
_MOST_VECTORS = 20_000
#: With more snapshots, where they are saved is not marked.
_MOST_MARKS = 400


def draw(path: Path, shown: Shown, costs: GivenCosts, *, by: str) -> None:
    """Write the picture.

    Parameters
    ----------
    path : Path
        PNG, SVG or PDF, by its suffix.
    shown : Shown
        The schedule.
    costs : GivenCosts
        From which the time comes.
    by : {"time", "instruction"}
        What goes to the right.

    Raises
    ------
    ImportError
        Matplotlib is not installed.
    OSError
        The file cannot be written.
    """
    figure = new_figure(10.0, 6.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    scale, label = _execution(shown, costs, by)
    ends = (shown.ends(costs.costs) if by == "time" else np.arange(1.0, len(shown.rows) + 1.0)) / scale
    begins = np.concatenate([[0.0], ends[:-1]])
    as_image = len(shown.rows) > _MOST_VECTORS
    _timesteps(upper, shown, begins, ends, as_image)
    _held(lower, shown, ends)
    lower.set_xlabel(label)
    lower.set_xlim(0.0, float(ends[-1]) or 1.0)
    for axis in (upper, lower):
        axis.axvline(float(ends[shown.turn]), color="0.4", linestyle=":", linewidth=1.0, label="turn")
        axis.grid(alpha=0.25)
    handles, names = upper.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 6), frameon=False)
    total = float(shown.ends(costs.costs)[-1])
    took = time_text(total) if costs.measured else f"the time of {number_text(total)} forward timesteps"
    upper.set_title(
        f"{shown.name}: {', '.join(shown.parameters())}\n"
        f"{shown.forward_steps} forward timesteps ({shown.recompute_factor:.3f} per timestep), {took}",
        fontsize=11,
    )
    save_figure(figure, path)


def _execution(shown: Shown, costs: GivenCosts, by: str) -> tuple[float, str]:
    """Return by what to divide what goes to the right, and what to call it."""
    if by == "instruction":
        return 1.0, "instructions carried out"
    if not costs.measured:
        return 1.0, "time [forward timesteps]"
    total = float(shown.ends(costs.costs)[-1])
    for scale, unit in ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if total >= 2 * scale:
            return scale, f"time [{unit}]"
    return 1.0, "time [s]"


def _timesteps(axis: Any, shown: Shown, begins: Floats, ends: Floats, as_image: bool) -> None:
    from matplotlib.collections import LineCollection

    snapshots = shown.snapshots
    edges = np.concatenate([ends, ends[-1:]])
    for tier in shown.used_tiers:
        here = snapshots.tier == tier
        if not here.any():
            continue
        color = TIERS[tier % len(TIERS)]
        axis.add_collection(
            LineCollection(
                _segments(
                    ends[snapshots.saved[here]],
                    snapshots.t[here],
                    edges[snapshots.dropped[here]],
                    snapshots.t[here],
                ),
                colors=color,
                linewidths=1.1 if len(snapshots) <= _MOST_MARKS else 0.5,
                linestyles=_DASHES[tier % len(_DASHES)],
                rasterized=as_image,
                label=f"snapshot {shown.where(tier)}",
            )
        )
        if len(snapshots) <= _MOST_MARKS:
            middle = (begins[snapshots.saved[here]] + ends[snapshots.saved[here]]) / 2
            axis.plot(middle, snapshots.t[here], "o", color=color, markersize=3.5)
    for kind, color, width, label in (
        (Kind.FORWARD, FORWARD, 1.3, "forward"),
        (Kind.REVERSE, REVERSE, 2.4, "reverse"),
    ):
        here = shown.of_kind(kind)
        first, last = shown.rows["start"][here], shown.rows["stop"][here]
        if kind is Kind.REVERSE:
            first, last = last, first
        axis.add_collection(
            LineCollection(
                _segments(begins[here], first, ends[here], last),
                colors=color,
                linewidths=width,
                rasterized=as_image,
                label=label,
            )
        )
    top = max(1, shown.n_timesteps)
    axis.set_ylim(-0.02 * top, 1.02 * top)
    axis.set_ylabel("timestep")


def _held(axis: Any, shown: Shown, ends: Floats) -> None:
    most = 0
    for tier in shown.used_tiers:
        held, color = shown.held(tier), TIERS[tier % len(TIERS)]
        dashes = _DASHES[tier % len(_DASHES)]
        axis.step(ends, held, where="post", color=color, linestyle=dashes, linewidth=1.3)
        axis.fill_between(ends, held, step="post", color=color, alpha=0.2, linewidth=0)
        most = max(most, int(held.max(initial=0)))
    axis.set_ylim(0.0, max(1, most) * 1.15)
    axis.set_ylabel("snapshots held")
    axis.yaxis.get_major_locator().set_params(integer=True)


def _segments(left: Any, from_t: Any, right: Any, to_t: Any) -> Any:
    """Return lines from (left, from_t) to (right, to_t), shape (lines, 2, 2)."""
    return np.stack([np.stack([left, from_t], axis=1), np.stack([right, to_t], axis=1)], axis=1)
