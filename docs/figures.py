"""Draw the figures of the documentation, from the schedules themselves and from what was measured.

``python docs/figures.py FOLDER`` writes them as SVG; the build of the site calls `draw_all`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

import pyrevolve
from pyrevolve import Content, Costs, Instruction, Kind
from pyrevolve.colours import BLACK, BLUE, DISK, FORWARD, LOAD, RAM, REVERSE, TIERS, VERMILLION

#: By tier.
TIER_NAMES = ("in RAM", "on disk", "in tier 2")

#: Step data that the workspace retains as its timestep was run, or as a state was loaded: pale, for the text.
RUN, LOADED = to_rgba(FORWARD, 0.35), to_rgba(LOAD, 0.6)

#: In units of one forward timestep: writing to disk takes 4, reading 3.
WITH_DISK = Costs(forward_step=1, reverse_step=1, save=(0.1, 4), load=(0.1, 3))

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "pyrevolve",
    "figure.facecolor": "white",
}


# --- one schedule -----------------------------------------------------------------------------------------


def draw_schedule(axes: Axes, instructions: Iterable[Instruction]) -> None:
    """Draw what a schedule does: executed timesteps to the right, timesteps of the run upwards."""
    work = 0
    since: dict[tuple[int, int], tuple[int, int, Content]] = {}

    def release(place: tuple[int, int]) -> None:
        t, begun, content = since.pop(place)
        colour = TIERS[place[0]]
        style = "-" if content is Content.STATE else (0, (2, 1))
        axes.plot([begun, work], [t, t], color=colour, lw=1.6, ls=style, solid_capstyle="butt")
        axes.plot([begun], [t], color=colour, marker="o", ms=3.2, ls="")

    for i in instructions:
        if i.kind is Kind.FORWARD:
            axes.plot([work, work + i.stop - i.start], [i.start, i.stop], color=FORWARD, lw=1.3)
            work += i.stop - i.start
        elif i.kind is Kind.REVERSE:
            axes.plot([work, work + i.stop - i.start], [i.stop, i.start], color=REVERSE, lw=1.3)
            work += i.stop - i.start
        elif i.kind is Kind.SAVE:
            since[i.tier, i.slot] = (i.t, work, i.content)
        elif i.kind is Kind.LOAD and i.slot >= 0:
            axes.plot([work], [i.t], color=TIERS[i.tier], marker="|", ms=7, mew=1.2, ls="")
            if not i.keep:
                release((i.tier, i.slot))
        elif i.kind is Kind.FREE:
            release((i.tier, i.slot))
    for place in list(since):
        release(place)
    axes.margins(0.01, 0.03)
    axes.set_ylabel("timestep t")


def legend(figure: Figure, tiers: int, *, step_data: bool = False) -> None:
    """Say what the colours of `draw_schedule` mean."""
    handles: list[Any] = [
        Line2D([], [], color=FORWARD, lw=1.6, label="forward"),
        Line2D([], [], color=REVERSE, lw=1.6, label="reverse"),
    ]
    for tier in range(tiers):
        label = f"snapshot {TIER_NAMES[tier]}"
        handles.append(Line2D([], [], color=TIERS[tier], lw=1.6, marker="o", ms=3.2, label=label))
    if step_data:
        handles.append(Line2D([], [], color=RAM, lw=1.6, ls=(0, (2, 1)), label="step data in RAM"))
    handles.append(Line2D([], [], color="#555555", marker="|", ms=7, mew=1.2, ls="", label="load"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=1.6)


def one_schedule(schedule: Any, *, step_data: bool = False) -> Figure:
    """Return the figure of one schedule."""
    instructions = list(schedule)
    tiers = 1 + max((i.tier for i in instructions if i.kind is Kind.SAVE), default=0)
    figure = Figure(figsize=(7.4, 2.7), layout="constrained")
    axes = figure.subplots()
    draw_schedule(axes, instructions)
    axes.set_xlabel("executed timesteps, forward and reverse")
    legend(figure, tiers, step_data=step_data)
    return figure


def online_run() -> list[Instruction]:
    """Return what is carried out of an online schedule that ends after 40 timesteps."""
    online = pyrevolve.Online(4)
    done = list(online.advance_to(40))
    return done + list(online.finish())


SCHEDULES: dict[str, Callable[[], Figure]] = {
    "revolve": lambda: one_schedule(pyrevolve.Revolve(40, 4)),
    "revolve-window": lambda: one_schedule(pyrevolve.Revolve(40, 4, window=5)),
    "revolve-lookback": lambda: one_schedule(pyrevolve.Revolve(40, 4, window=5, lookback=2)),
    "online": lambda: one_schedule(online_run()),
    "multistage": lambda: one_schedule(pyrevolve.Multistage(40, 3, 3, costs=WITH_DISK)),
    "hrevolve": lambda: one_schedule(pyrevolve.HRevolve(40, (3, 3), costs=WITH_DISK)),
    "disk-revolve": lambda: one_schedule(pyrevolve.DiskRevolve(40, 3, costs=WITH_DISK)),
    "periodic-disk-revolve": lambda: one_schedule(pyrevolve.PeriodicDiskRevolve(40, 3, costs=WITH_DISK)),
    "two-level": lambda: one_schedule(pyrevolve.TwoLevel(40, 10, 2)),
    "async-two-tier": lambda: one_schedule(pyrevolve.AsyncTwoTier(40, 8, window=8)),
    "mixed": lambda: one_schedule(pyrevolve.Mixed(40, 4), step_data=True),
    "cams": lambda: one_schedule(pyrevolve.CAMS(40, 9, 2, stiffly_accurate=False), step_data=True),
}


# --- windows and lookback ---------------------------------------------------------------------------------


def three_ways() -> Figure:
    """Return one run within the same memory: classic, with a window, with a window and lookback."""
    n = 40
    ways = [
        ("10 snapshots, window 1 (classic Revolve)", pyrevolve.Revolve(n, 10)),
        ("5 snapshots, window 10", pyrevolve.Revolve(n, 5, window=10)),
        ("5 snapshots, window 10, lookback 2", pyrevolve.Revolve(n, 5, window=10, lookback=2)),
    ]
    figure = Figure(figsize=(7.4, 6.0), layout="constrained")
    panels = figure.subplots(len(ways), 1, sharex=True)
    for axes, (name, schedule) in zip(panels, ways, strict=True):
        draw_schedule(axes, schedule)
        calls = f"{schedule.forward_steps} forward steps, {schedule.calls} calls"
        axes.set_title(f"{name}: {calls}", fontsize=9, loc="left")
    panels[-1].set_xlabel("executed timesteps, forward and reverse")
    legend(figure, 1)
    return figure


def workspace() -> Figure:
    """Return what the workspace retains at x_p with a window of five, for both lags."""
    figure = Figure(figsize=(7.4, 2.9), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    last, window = 13, 5
    cases = [("lag 1, lookback 0", 1, 0), ("lag 0, lookback 2", 0, 2)]
    for axes, (title, lag, lookback) in zip(panels, cases, strict=True):
        for p, y, loaded in ((13, 1, 0), (7, 0, 6)):
            low = max(loaded - lookback - lag, p - window - lag)
            for t in range(last + 1):
                inside = low < t <= p - lag
                carried = inside and t <= loaded - lag
                colour = LOADED if carried else (RUN if inside else "white")
                axes.add_patch(Rectangle((t - 0.5, y - 0.36), 1, 0.72, fc=colour, ec="#777777", lw=0.6))
                axes.text(t, y, str(t), ha="center", va="center", fontsize=8)
            axes.annotate(
                "",
                (p - 0.5, y - 0.44),
                (p - 0.5, y + 0.44),
                arrowprops={"arrowstyle": "-", "lw": 2.6, "color": BLACK},
            )
            text = f"at x$_{{{p}}}$, run from x$_{{{loaded}}}$"
            axes.text(last + 0.8, y, text, va="center", fontsize=8)
        axes.set_xlim(-0.8, last + 5.2)
        axes.set_ylim(-0.6, 1.6)
        axes.set_yticks([])
        axes.set_xticks([])
        axes.grid(visible=False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_title(title, fontsize=9, loc="left")
    figure.legend(
        handles=[
            Patch(fc=RUN, ec="#777777", label="retained: run since the load"),
            Patch(fc=LOADED, ec="#777777", label="retained: carried by the loaded state"),
            Patch(fc="white", ec="#777777", label="not there"),
        ],
        loc="outside upper center",
        ncols=3,
    )
    return figure


def steps_over_memory() -> Figure:
    """Return the fewest forward steps over memory, with windows and without."""
    n = 3000
    figure = Figure(figsize=(7.4, 3.3), layout="constrained")
    axes = figure.subplots()
    memory = np.unique(np.geomspace(10, n, 60).astype(int))
    for name, lookback, windows, colour, style in (
        ("classic Revolve (window 1)", 0, False, BLACK, "--"),
        ("the best window", 0, True, BLUE, "-"),
        ("the best window, lookback 2", 2, True, VERMILLION, "-"),
    ):
        factors = [_fewest(n, slices, lookback, windows) / n for slices in memory]
        axes.plot(memory, factors, color=colour, ls=style, lw=1.6, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("memory for window and snapshots [slices]")
    axes.set_ylabel("forward steps per timestep")
    axes.set_ylim(0, None)
    axes.set_title(f"n = {n} timesteps, a state is two slices", fontsize=9, loc="left")
    axes.legend()
    return figure


def _fewest(n: int, slices: int, lookback: int, windows: bool) -> int:
    """Return the fewest forward steps in so many slices; a state takes two, a window of K takes K + 1."""
    longest = slices - 3 if windows else max(1, lookback)
    longest = min(longest, n)
    candidates = np.unique(np.geomspace(max(1, lookback), max(1, lookback, longest), 200).astype(int))
    counted = []
    for window in candidates:
        snapshots = (slices - 1 - int(window)) // 2
        if snapshots >= 1:
            schedule = pyrevolve.Revolve(n, snapshots, window=int(window), lookback=lookback)
            counted.append(schedule.forward_steps)
    if windows and slices > n:
        counted.append(n)
    return min(counted)


# --- budgets ----------------------------------------------------------------------------------------------


def time_over_memory() -> Figure:
    """Return the predicted time of a gradient over the memory that it may take, with a disk and without."""
    problem: dict[str, Any] = {
        "state_bytes": 6_800_000,
        "window_slice_bytes": 3_400_000,
        "lookback": 2,
        "initial_state": "free",
    }
    n = 3647
    ram = {"forward_step": 0.8e-3, "reverse_step": 1.2e-3, "forward_call": 2e-5, "reverse_call": 2e-5}
    alone = Costs(**ram, save=0.4e-3, load=0.4e-3)
    with_disk = Costs(**ram, save=(0.4e-3, 8e-3), load=(0.4e-3, 5e-3))
    budgets = [int(size) for size in np.geomspace(25e6, n * 3.5e6, 25)]
    figure = Figure(figsize=(7.4, 3.3), layout="constrained")
    axes = figure.subplots()
    for name, options, colour, marker in (
        ("in memory alone", {"costs": alone}, RAM, "o"),
        ("with up to 20 GB of disk", {"costs": with_disk, "disk": "20 GB"}, DISK, "s"),
    ):
        curve = pyrevolve.plan_curve(n, memory=budgets, **problem, **options)
        axes.plot(
            [budget / 1e9 for budget in budgets],
            [plan.predicted_seconds for plan in curve],
            color=colour,
            marker=marker,
            ms=4,
            lw=1.4,
            label=name,
        )
    least = n * (alone.forward_step + alone.reverse_step)
    axes.axhline(least, color=BLACK, ls=":", lw=1.2, label="every timestep once, both ways")
    axes.set_xscale("log")
    axes.set_xlabel("memory budget [GB]")
    axes.set_ylabel("predicted time [s]")
    axes.set_ylim(0, None)
    axes.legend()
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    **{f"schedule-{name}": draw for name, draw in SCHEDULES.items()},
    "windows-three-ways": three_ways,
    "windows-workspace": workspace,
    "windows-steps": steps_over_memory,
    "budget-curve": time_over_memory,
}


# --- what was measured ------------------------------------------------------------------------------------

_HERE = Path(__file__).resolve().parent


def draw_measured(folder: Path) -> None:
    """Let the benchmarks make figures, and a page of tables, of what they measured for this documentation."""
    sweep, growth = (_HERE.parent / "benchmarks" / f"{name}.py" for name in ("memory_sweep", "growth"))
    results = _HERE / "measured"
    csv = ("--csv", results / "memory_sweep_small.csv")
    _run(sweep, *csv, "--figures", folder)
    _run(growth, "--folder", results, "--figures", folder)
    (folder / "memory_sweep_tables.md").write_text(_run(sweep, *csv, "--markdown"), encoding="utf-8")


def _run(*command: Any) -> str:
    done = subprocess.run([sys.executable, *map(str, command)], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def draw_all(folder: Path) -> None:
    """Write all figures into a folder, which is made if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name, draw in FIGURES.items():
            draw().savefig(folder / f"{name}.svg", metadata={"Date": None})
    draw_measured(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/figures.py FOLDER")
    draw_all(Path(sys.argv[1]))
