"""Schedules are shown as they are: counts, times, what is stored when, and every sign in the terminal."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from simulator import Machine

import pyrevolve
from pyrevolve import Kind
from pyrevolve.cli import main
from pyrevolve.cli.cost_options import GivenCosts
from pyrevolve.cli.families import FAMILIES, OnlineRun
from pyrevolve.cli.shown import Shown, of_plan, tier_names
from pyrevolve.cli.terminal import Symbols, drawing
from pyrevolve.costs import RELATIVE_COSTS, RELATIVE_COSTS_WITH_DISK

TWO = RELATIVE_COSTS_WITH_DISK
THREE = pyrevolve.Costs(forward_step=1, reverse_step=1.5, save=(0.1, 1, 9), load=(0.1, 1, 7))
WORKSPACE = "--window 3 --lookback 2 --initial-state free"
COSTS = "--forward-step 1 --forward-call 0 --reverse-call 0 --save 0.1,1,9 --load 0.1,1,7"
OPTIONS = {"window": 3, "lookback": 2, "initial_state": "free"}

#: What is given, and the schedule that is meant.
CASES = {
    "revolve 50 -s 4": pyrevolve.Revolve(50, 4),
    f"revolve 50 -s 4 {WORKSPACE}": pyrevolve.Revolve(50, 4, **OPTIONS),
    "revolve 20 -s 4 --lookback 1 --lag 1": pyrevolve.Revolve(20, 4, lookback=1, lag=1),
    f"multistage 50 -s 2 --on-disk 2 {WORKSPACE}": pyrevolve.Multistage(50, 2, 2, costs=TWO, **OPTIONS),
    "hrevolve 60 --slots 2,none": pyrevolve.HRevolve(60, (2, None), costs=TWO),
    f"hrevolve 60 --slots 1,2,3 {COSTS}":
        pyrevolve.HRevolve(60, (1, 2, 3), costs=THREE),
    "disk-revolve 60 -s 2 --one-read": pyrevolve.DiskRevolve(60, 2, costs=TWO, one_read=True),
    "periodic-disk-revolve 60 -s 2": pyrevolve.PeriodicDiskRevolve(60, 2, costs=TWO),
    "periodic-disk-revolve 60 -s 2 --period 7": pyrevolve.PeriodicDiskRevolve(60, 2, costs=TWO, period=7),
    "two-level 60 --period 10 -s 2": pyrevolve.TwoLevel(60, 10, 2),
    f"async-two-tier 60 --period 5 {WORKSPACE}": pyrevolve.AsyncTwoTier(60, 5, **OPTIONS),
    "periodic 60 --period 8 --window 8": pyrevolve.Periodic(60, 8, window=8),
    "mixed 40 -s 5": pyrevolve.Mixed(40, 5),
    "cams 40 --units 9 --stages 2": pyrevolve.CAMS(40, 9, 2, stiffly_accurate=False),
    "cams 40 --units 9 --stages 2 --stiffly-accurate": pyrevolve.CAMS(40, 9, 2, stiffly_accurate=True),
    "store-all 40": pyrevolve.StoreAll(40),
    "forward-only 40": pyrevolve.ForwardOnly(40),
}  # fmt: skip


def shown_json(arguments, capsys, *more):
    assert main(["show", *arguments.split(), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("arguments", list(CASES))
def test_counts_and_instructions_are_those_of_the_schedule(arguments, capsys):
    schedule = CASES[arguments]
    found = shown_json(arguments, capsys, "--instructions")
    counts = schedule.counts
    assert found["schedule"] == type(schedule).__name__
    assert (found["window"], found["lookback"], found["lag"]) == schedule.needs
    assert found["initial_state"] == ("free" if schedule.free_initial_state else "stored")
    assert found["forward_steps"] == counts.forward_steps
    assert found["recompute_factor"] == schedule.recompute_factor
    assert (found["forward_calls"], found["reverse_calls"]) == (counts.forward_calls, counts.reverse_calls)
    listed = found["instructions"]
    tiers = [[tier["saves"], tier["loads"], tier["peak"]] for tier in found["tiers"]]
    expected = [list(tier) for tier in counts.tiers] + [[0, 0, 0]] * (len(tiers) - len(counts.tiers))
    if isinstance(schedule, pyrevolve.CAMS):  # whose slots are labels
        tiers[0][2] = expected[0][2] = 0
    assert tiers == expected
    used = pyrevolve.Costs(**found["costs"])
    assert found["makespan"] == pytest.approx(schedule.makespan(used))
    assert listed["end"][-1] == found["makespan"]
    names = ("start", "stop", "t", "tier", "slot")
    for number, i in enumerate(schedule):
        assert listed["kind"][number] == i.kind.name
        values = [getattr(i, name) for name in names]
        assert [listed[name][number] for name in names] == [
            -1 if value is None else value for value in values
        ]
        assert listed["keep"][number] == bool(i.keep)
        if i.content is not None:
            assert listed["content"][number] == i.content.name
    assert found["n_instructions"] == number + 1


def test_every_family_is_tried():
    assert {arguments.split()[0] for arguments in CASES} | {"online"} == set(FAMILIES)


def made(schedule, costs=RELATIVE_COSTS, tiers=1):
    return Shown(schedule, (None,) * tiers, "it", tier_names(tiers)), GivenCosts(costs, False, {})


@pytest.mark.parametrize("arguments", list(CASES))
def test_snapshots_live_from_their_save_to_their_last_load(arguments):
    schedule = CASES[arguments]
    shown, _ = made(schedule, tiers=3)
    stored, expected = {}, []
    for number, i in enumerate(schedule):
        place = (i.tier, i.slot)
        if i.kind is Kind.SAVE:
            stored[place] = [i.tier, i.slot, i.t, number, len(shown.rows), 0]
            expected.append(stored[place])
        elif i.kind is Kind.LOAD and i.slot != -1:
            stored[place][5] += 1
            if not i.keep:
                stored.pop(place)[4] = number
        elif i.kind is Kind.FREE:
            stored.pop(place)[4] = number
        for tier in range(3):
            assert shown.held(tier)[number] == sum(key[0] == tier for key in stored)
    s = shown.snapshots
    found = np.stack([s.tier, s.slot, s.t, s.saved, s.dropped, s.loads], axis=1)
    assert found[np.argsort(s.saved)].tolist() == expected


@pytest.mark.parametrize("rule", ["spaced", "greedy", "stumm_walther"])
@pytest.mark.parametrize("n", [0, 1, 7, 60])
def test_an_online_run_is_shown_from_its_beginning_to_its_end(rule, n, capsys):
    found = shown_json(f"online {n} -s 3 --rule {rule} --window 2 --lookback 1", capsys)
    run = OnlineRun(n, 3, rule=rule, window=2, lookback=1)
    machine = Machine(n, 3, 2, 1, 0, False)
    for instruction in run:
        machine.execute(instruction)
    assert machine.ended
    assert machine.reversed_down_to == 0
    assert found["forward_steps"] == machine.forward_steps
    assert found["tiers"][0]["saves"] == machine.tiers[0].saves
    assert found["n_instructions"] == machine.instructions


def test_the_schedule_of_a_plan_is_shown():
    for disk in (None, "100 MB"):
        plan = pyrevolve.plan(
            500, state_bytes=2_000_000, window_slice_bytes=1_000_000, memory="20 MB", disk=disk, lookback=2
        )
        shown = of_plan(plan)
        assert shown.forward_steps == plan.forward_steps
        assert len(shown.tiers) == len(plan.tiers)
        total = plan.schedule.makespan(plan.costs)
        assert shown.ends(plan.costs)[-1] == pytest.approx(total)


def test_what_is_too_long_to_draw_is_refused_and_can_be_listed(capsys):
    assert main(["show", "revolve", "1e9", "-s", "3", "--window", "50"]) == 2
    assert "--instructions" in capsys.readouterr().err


def test_instructions_are_listed_one_a_line(capsys):
    assert main(["show", "mixed", "12", "-s", "3", "--instructions"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(i) for i in pyrevolve.Mixed(12, 3)]


# --- the terminal -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "tiers"),
    [
        (pyrevolve.Revolve(9, 2), 1),
        (pyrevolve.Revolve(14, 3, window=3, lookback=1), 1),
        (pyrevolve.Multistage(8, 1, 2), 2),
    ],
)
def test_every_sign_is_where_the_instruction_is(schedule, tiers):
    """With a column for every instruction and a row for every state, the drawing is known sign for sign."""
    shown, costs = made(schedule, RELATIVE_COSTS_WITH_DISK, tiers)
    n, instructions = schedule.n_timesteps, list(schedule)
    labels = max(len(name) for name in (*shown.tiers, str(n)))
    lines = drawing(
        shown,
        costs,
        width=len(instructions) + labels + 2,
        height=n + 1,
        symbols=Symbols(unicode=False),
        by="instruction",
    ).splitlines()
    grid = {
        n - number: line[labels + 2 :].ljust(len(instructions)) for number, line in enumerate(lines[: n + 1])
    }
    held = {}
    for column, i in enumerate(instructions):
        expected = {t: "-."[tier] for (tier, _), t in sorted(held.items(), reverse=True)}
        if i.kind is Kind.FORWARD:
            expected |= dict.fromkeys(range(i.start, i.stop + 1), "/")
        elif i.kind is Kind.REVERSE:
            expected |= dict.fromkeys(range(i.start, i.stop + 1), "#")
        elif i.kind is Kind.SAVE:
            held[i.tier, i.slot] = i.t
            expected[i.t] = "o"
        elif i.kind is Kind.FREE or (i.kind is Kind.LOAD and not i.keep):
            held.pop((i.tier, i.slot), None)
        assert {t: line[column] for t, line in grid.items()} == {
            t: expected.get(t, " ") for t in range(n + 1)
        }
    axis = lines[n + 1]
    assert axis[labels + 2 :].index("T") == [i.kind for i in instructions].index(Kind.TURN)


@pytest.mark.parametrize("width", [20, 61, 200])
@pytest.mark.parametrize("by", ["time", "instruction"])
@pytest.mark.parametrize("arguments", list(CASES))
def test_the_drawing_fits_its_width(arguments, by, width, capsys):
    assert (
        main(["show", *arguments.split(), "--width", str(width), "--height", "9", "--by", by, "--ascii"]) == 0
    )
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    picture = lines[lines.index("") + 1 :]
    assert max(map(len, picture)) <= width
    assert f"{CASES[arguments].forward_steps} timesteps" in printed
    assert "/" in "".join(picture)
    assert ("#" in "".join(picture)) or arguments.startswith("forward-only")


@pytest.mark.parametrize("n", [0, 1, 2])
def test_short_runs_are_drawn_too(n, capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'pyrevolve[plot]'")
    assert main(["show", "revolve", str(n), "-s", "1"]) == 0
    assert f"{n} timesteps" in capsys.readouterr().out
    for suffix in ("png", "html"):
        assert main(["show", "revolve", str(n), "-s", "1", "-o", str(tmp_path / f"short.{suffix}")]) == 0


# --- pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["time", "instruction"])
def test_the_picture_has_a_line_for_every_run_and_snapshot(tmp_path, by):
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'pyrevolve[plot]'")
    path = tmp_path / "schedule.svg"
    assert main(["show", "multistage", "60", "-s", "2", "--on-disk", "3", "--by", by, "-o", str(path)]) == 0
    svg = "{http://www.w3.org/2000/svg}"
    lines = {}
    for group in ElementTree.parse(path).getroot().iter(f"{svg}g"):
        if group.get("id", "").startswith("LineCollection"):
            style = group.find(f"{svg}path").get("style")
            color = next(
                part.split(":")[1].strip() for part in style.split(";") if part.strip().startswith("stroke:")
            )
            lines[color] = lines.get(color, 0) + len(group.findall(f"{svg}path"))
    schedule = pyrevolve.Multistage(60, 2, 3, costs=TWO)
    kinds = [i.kind for i in schedule]
    assert {color: count for color, count in lines.items() if color.startswith("#")} == {
        "#0072b2": kinds.count(Kind.FORWARD),
        "#d55e00": kinds.count(Kind.REVERSE),
        "#009e73": schedule.counts.tiers[0].saves,
        "#cc79a7": schedule.counts.tiers[1].saves,
    }


def test_pictures_without_matplotlib_name_the_extra(tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["show", "revolve", "9", "-s", "2", "-o", str(tmp_path / "a.png")]) == 1
    assert 'pip install "pyrevolve[plot]"' in capsys.readouterr().err
