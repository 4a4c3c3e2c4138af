"""The picture of a timeline."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .colours import BLACK, FORWARD, LOAD, REVERSE, SAVE, TIERS, WAIT
from .crevolve import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .timeline import Timeline

__all__ = ["draw", "draw_timesteps"]

_Floats: TypeAlias = npt.NDArray[np.float64]

_DASHES = ("-", "--", "-.", ":")

#: The order of legends and layers.
_KINDS = (Kind.FORWARD, Kind.REVERSE, Kind.SAVE, Kind.LOAD)

#: Where legends are: beside the axes.
_BESIDE: dict[str, Any] = {
    "loc": "upper left",
    "bbox_to_anchor": (1.005, 1.0),
    "borderaxespad": 0.0,
    "frameon": False,
}

#: The share of time is shown in so many columns.
_COLUMNS = 240
#: With more instructions than this, lines and markers are pixels in vector formats too.
_CROWD = 2000
#: Snapshots held are shown by their extremes in so many columns, where they change more often.
_HELD_COLUMNS = 1000


def draw(timeline: Timeline, path: str | os.PathLike[str] | None) -> Figure:
    """Draw a timeline: timesteps over time, what took the time, and snapshots held.

    Parameters
    ----------
    timeline : Timeline
        What to draw.
    path : path-like, optional
        PNG, SVG or PDF, by its suffix; None: nothing is written.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    OSError, ValueError
        The file cannot be written, or its suffix is not known.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plot() needs the package matplotlib: pip install "pyrevolve[plot]"') from None

    figure = Figure(figsize=(11.0, 8.5), dpi=120, layout="constrained")
    upper, middle, lower = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [3.2, 1.3, 1.3]})
    unit, scale = _unit(timeline)
    _timesteps(upper, timeline, scale, **_BESIDE)
    _shares(middle, timeline, scale)
    _held(lower, timeline, scale)
    upper.set_title(_title(timeline))
    lower.set_xlabel(f"wall time [{unit}]")
    lower.set_xlim(0.0, max(_end(timeline) / scale, 1e-9))
    for axes in (middle, lower):
        axes.legend(*axes.get_legend_handles_labels(), **_BESIDE)
    if path is not None:
        figure.savefig(path)
    return figure


def draw_timesteps(timeline: Timeline, axes: Axes) -> Figure:
    """Draw timesteps over time into axes; return the figure that they are of."""
    unit, scale = _unit(timeline)
    _timesteps(axes, timeline, scale)
    axes.set_title(_title(timeline))
    axes.set_xlabel(f"wall time [{unit}]")
    axes.set_xlim(0.0, max(_end(timeline) / scale, 1e-9))
    figure: Any = axes.figure
    return figure  # type: ignore[no-any-return]


def _timesteps(axes: Axes, timeline: Timeline, scale: float, **legend: Any) -> None:
    """Draw which timesteps were run, saved and loaded when."""
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    events, transfers = timeline.events, timeline.transfers
    began, ended = events["began"] / scale, events["ended"] / scale
    crowded = len(events) > _CROWD
    handles: dict[Kind, Any] = {}
    # Copies first: where there are many, the operators are to be seen through them.
    for kind, first, last, colour, marker in (
        (Kind.SAVE, "t", "t", SAVE, "^"),
        (Kind.LOAD, "t", "t", LOAD, "v"),
        (Kind.FORWARD, "start", "stop", FORWARD, ""),
        (Kind.REVERSE, "stop", "start", REVERSE, ""),
    ):
        chosen = events["kind"] == kind
        if not chosen.any():
            continue
        points = np.empty((int(chosen.sum()), 2, 2))
        points[:, 0, 0], points[:, 0, 1] = began[chosen], events[first][chosen]
        points[:, 1, 0], points[:, 1, 1] = ended[chosen], events[last][chosen]
        width = float(np.clip(2.2 * (200.0 / len(points)) ** 0.25, 1.0, 2.2))
        lines: Any = LineCollection(points.tolist(), colors=colour, linewidths=width, rasterized=crowded)
        axes.add_collection(lines)
        style: dict[str, Any] = {"color": colour, "marker": marker, "linewidth": 2.2, "markersize": 6.0}
        handles[kind] = Line2D([], [], label=kind.name.lower(), **style)
        if marker:
            size = float(np.clip(30.0 * (50.0 / len(points)) ** 0.7, 0.4, 30.0))
            middle = points.mean(axis=1)
            axes.scatter(
                middle[:, 0],
                middle[:, 1],
                s=size,
                marker=marker,
                color=colour,
                linewidths=0,
                rasterized=crowded,
            )
    shown = [handles[kind] for kind in _KINDS if kind in handles]
    waits = transfers[transfers["what"] == timeline.WHATS.index("wait")]
    if len(waits):
        spans = np.column_stack([waits["began"], waits["ended"] - waits["began"]]) / scale
        axes.broken_barh(
            spans.tolist(),
            (0.0, 1.0),
            transform=axes.get_xaxis_transform(),
            facecolor=WAIT,
            alpha=0.55,
            linewidth=0,
            zorder=0,
            rasterized=crowded,
        )
        shown.append(Patch(color=WAIT, alpha=0.55, label="waiting"))
    turned = timeline.sweeps.get("forward", (0, 0))[1] / scale
    if "reverse" in timeline.sweeps:
        shown.append(axes.axvline(turned, color="0.4", linewidth=0.9, linestyle=":", label="turn"))
    axes.set_ylim(-0.02 * max(1, timeline.n_timesteps), 1.02 * max(1, timeline.n_timesteps))
    axes.set_ylabel("timestep")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(handles=shown, **legend)


def _shares(axes: Axes, timeline: Timeline, scale: float) -> None:
    """Draw which part of the time everything took."""
    from matplotlib.patheffects import withStroke

    events, transfers = timeline.events, timeline.transfers
    end = max(1.0, float(_end(timeline)))
    edges = np.linspace(0.0, end, _COLUMNS + 1)
    width = end / _COLUMNS

    def share(spans: npt.NDArray[Any]) -> _Floats:
        return 100.0 * _covered(spans["began"], spans["ended"], edges) / width

    waits = np.zeros(_COLUMNS)
    threads = []
    waiting = transfers["what"] == timeline.WHATS.index("wait")
    for tier in range(len(timeline.tiers)):
        here = transfers["tier"] == tier
        waits += share(transfers[here & waiting])
        if np.any(here & ~waiting):
            threads.append((timeline.tiers[tier], share(transfers[here & ~waiting])))
    kinds = [share(events[events["kind"] == kind]) for kind in _KINDS]
    # A wait is a part of the copy that has to wait.
    copies = kinds[2] + kinds[3]
    moving = np.divide(np.maximum(copies - waits, 0.0), copies, out=np.zeros(_COLUMNS), where=copies > 0.0)
    layers = (*kinds[:2], kinds[2] * moving, kinds[3] * moving, waits)
    colours = (FORWARD, REVERSE, SAVE, LOAD, WAIT)
    total = np.array([layer.sum() * width / 100.0 for layer in layers])
    bottom = np.zeros(_COLUMNS)
    for layer, colour, name, spent in zip(
        layers, colours, ("forward", "reverse", "save", "load", "waiting"), total, strict=True
    ):
        if spent == 0.0:
            continue
        axes.stairs(
            bottom + layer,
            edges / scale,
            baseline=bottom,
            fill=True,
            color=colour,
            linewidth=0,
            label=f"{name}: {100.0 * spent / end:.3g} %",
        )
        bottom = bottom + layer
    rest = max(0.0, 100.0 * (1.0 - total.sum() / end))
    axes.fill_between(
        [], [], facecolor="white", edgecolor="0.6", linewidth=0.8, label=f"driver, user: {rest:.3g} %"
    )
    for name, busy in threads:
        axes.stairs(
            busy,
            edges / scale,
            color=BLACK,
            linewidth=1.0,
            label=f"thread, {name}: {busy.mean():.3g} %",
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
        )
    axes.set_ylim(0.0, 102.0)
    axes.set_ylabel("share of time [%]")


def _held(axes: Axes, timeline: Timeline, scale: float) -> None:
    """Draw how many snapshots every tier holds."""
    from matplotlib.ticker import MaxNLocator

    end = float(_end(timeline))
    for tier, name in enumerate(timeline.tiers):
        colour, style = TIERS[tier % len(TIERS)], _DASHES[tier % len(_DASHES)]
        times: npt.NDArray[Any]
        times, counts = timeline.held(tier)
        label = f"{name}: at most {int(counts.max())}"
        if len(times) > 2 * _HELD_COLUMNS:
            edges = np.linspace(0.0, end, _HELD_COLUMNS + 1)
            low, counts = _extremes(times, counts, edges)
            times = edges[:-1]
            axes.fill_between(times / scale, low, counts, step="post", color=colour, alpha=0.35, linewidth=0)
        axes.step(
            np.append(times, end) / scale,
            np.append(counts, counts[-1]),
            where="post",
            color=colour,
            linestyle=style,
            linewidth=1.4,
            label=label,
        )
    axes.set_ylim(bottom=0.0)
    axes.set_ylabel("snapshots held")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)


def _covered(began: npt.NDArray[Any], ended: npt.NDArray[Any], edges: _Floats) -> _Floats:
    """Return how much of each column spans cover that do not overlap, in the unit of the edges."""
    if not len(began):
        return np.zeros(len(edges) - 1)
    order = np.argsort(began, kind="stable")
    began, ended = began[order], ended[order]
    after = np.cumsum(ended - began)
    times = np.column_stack([began, ended]).ravel().astype(np.float64)
    sums = np.column_stack([after - (ended - began), after]).ravel().astype(np.float64)
    covered: _Floats = np.diff(np.interp(edges, times, sums, left=0.0))
    return covered


def _extremes(
    times: npt.NDArray[Any], counts: npt.NDArray[Any], edges: _Floats
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the least and the greatest value of a step function in each column."""
    at_edges = counts[np.searchsorted(times, edges[:-1], side="right") - 1]
    column = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(edges) - 2)
    low, high = at_edges.copy(), at_edges.copy()
    np.minimum.at(low, column, counts)
    np.maximum.at(high, column, counts)
    return low, high


def _end(timeline: Timeline) -> int:
    """Return when the last sweep ended [ns]."""
    return max((ended for _, ended in timeline.sweeps.values()), default=0)


def _unit(timeline: Timeline) -> tuple[str, float]:
    """Return a unit of time in which the run is no long number, and how many ns it has."""
    end = _end(timeline)
    return next(((name, size) for name, size in (("s", 1e9), ("ms", 1e6)) if end >= 2 * size), ("µs", 1e3))


def _title(timeline: Timeline) -> str:
    title = f"{timeline.n_timesteps} timesteps, {len(timeline)} instructions"
    return title + (f"; {timeline.dropped} more are not shown" if timeline.dropped else "")
