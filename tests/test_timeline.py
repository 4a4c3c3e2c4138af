"""Timelines: what they take down is what the schedule says and what the operators and storages did.

The problem is that of test_revolver; its log, which operators and storages keep, is one truth, the list of
the schedule's instructions another.
"""

from __future__ import annotations

import gc
import itertools
import json
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_revolver import BrokenError, Forward, Reverse, Wave, WaveCheckpoint, WaveStorage, run
from test_revolver_tiers import StepDataCheckpoint, WaveDiskStorage

from pyrevolve import (
    AsyncTwoTier,
    DiskStorage,
    ForwardOnly,
    Kind,
    MemoryStorage,
    Mixed,
    Multistage,
    Online,
    Revolve,
    Revolver,
    StoreAll,
    Timeline,
)
from pyrevolve.storage.file import SnapshotFile

COPIES = {"save": Kind.SAVE, "load": Kind.LOAD}


def watched(wave, schedule, folder, checkpoint=WaveCheckpoint, **options):
    """Return a Revolver whose storages tell the wave of copies: RAM for tier 0, disk above."""
    slots = [50] if isinstance(schedule, Online) else [tier.peak for tier in schedule.counts.tiers] or [0]
    storages = [
        WaveDiskStorage(peak, wave, folder) if tier else WaveStorage(peak, wave)
        for tier, peak in enumerate(slots)
    ]
    return Revolver(
        checkpoint(wave), Forward(wave), Reverse(wave), schedule=schedule, storage=storages, **options
    )


SCHEDULES = {
    "classic": (Revolve(40, 4), Wave(40)),
    "window": (Revolve(60, 3, window=5, lookback=2), Wave(60, 5, 2)),
    "free": (Revolve(30, 2, initial_state="free"), Wave(30)),
    "one timestep": (Revolve(1, 1), Wave(1)),
    "no timestep": (Revolve(0, 1), Wave(0)),
    "store-all": (StoreAll(20), Wave(20, 20)),
    "multistage": (Multistage(50, 2, 4), Wave(50)),
    "asynchronous": (AsyncTwoTier(60, 7, 2), Wave(60)),
    "asynchronous, window": (AsyncTwoTier(60, 9, 1, window=4), Wave(60, 4)),
}


@pytest.fixture(params=SCHEDULES)
def finished(request, tmp_path):
    """Return a schedule, its wave, and a Revolver that has carried it out."""
    schedule, wave = SCHEDULES[request.param]
    revolver = watched(wave, schedule, tmp_path, timeline=True)
    run(wave, revolver)
    yield schedule, wave, revolver
    revolver.close()
    for storage in revolver.storages:
        storage.close()


# --- what is taken down -------------------------------------------------------------------------------------


def listed(schedule):
    """Return the instructions of a schedule as rows: kind, tier, keep, start, stop, t, slot."""
    rows = []
    for i in schedule:
        if i.kind in (Kind.FORWARD, Kind.REVERSE):
            rows.append((i.kind, -1, False, i.start, i.stop, -1, -1))
        elif i.kind in (Kind.SAVE, Kind.LOAD):
            keep = i.kind is Kind.LOAD and (i.keep or i.slot < 0)
            rows.append((i.kind, max(0, i.tier), keep, -1, -1, i.t, i.slot))
        elif i.kind is Kind.FREE:
            rows.append((i.kind, i.tier, False, -1, -1, -1, i.slot))
    return rows


def test_events_are_the_instructions_of_the_schedule(finished):
    schedule, _, revolver = finished
    events = revolver.timeline.events
    taken = events[["kind", "tier", "keep", "start", "stop", "t", "slot"]].tolist()
    assert taken == listed(schedule)
    assert len(revolver.timeline) == len(taken)
    assert revolver.timeline.nbytes == 40 * (len(taken) + len(revolver.timeline.transfers))
    assert revolver.timeline.dropped == 0


def test_events_are_what_operators_and_storages_did(finished):
    _, wave, revolver = finished
    done = []
    for kind, _, _, _, _, start, stop, t, slot in revolver.timeline.events.tolist():
        if kind in (Kind.FORWARD, Kind.REVERSE):
            done.append((Kind(kind).name.lower(), start, stop))
        elif kind != Kind.FREE and slot >= 0:
            done.append((Kind(kind).name.lower(), t, slot))
    assert done == [entry for entry in wave.log if entry[0] != "initial"]


def test_times_follow_one_another_and_add_up_to_the_profile(finished):
    _, _, revolver = finished
    timeline, profiler = revolver.timeline, revolver.profiler
    events = timeline.events
    assert (events["began"] >= 0).all()
    assert (events["began"] <= events["ended"]).all()
    assert (events["ended"][:-1] <= events["began"][1:]).all()
    spent = events["ended"] - events["began"]
    for kind in Kind:
        if kind is not Kind.FREE:
            assert spent[events["kind"] == kind].sum() == profiler[kind].nanoseconds
    for tier, record in enumerate(profiler.tiers):
        here = events["tier"] == tier
        assert spent[here & (events["kind"] == Kind.SAVE)].sum() == record.saves.nanoseconds
        assert spent[here & (events["kind"] == Kind.LOAD)].sum() == record.loads.nanoseconds
    (began, turned), (again, ended) = timeline.sweeps["forward"], timeline.sweeps["reverse"]
    assert 0 == began <= turned <= again <= ended
    forward = events["ended"] <= turned
    assert not np.isin(events["kind"][forward], (Kind.REVERSE, Kind.LOAD)).any()
    assert (events["began"][~forward] >= again).all()
    assert (events["ended"] <= ended).all()


def test_snapshots_held_are_those_of_the_schedule(finished):
    schedule, _, revolver = finished
    held = [[0] for _ in schedule.counts.tiers]
    for kind, tier, keep, *_ in listed(schedule):
        if kind is Kind.SAVE:
            held[tier].append(held[tier][-1] + 1)
        elif kind is Kind.FREE or (kind is Kind.LOAD and not keep):
            held[tier].append(held[tier][-1] - 1)
    for tier, (counts, announced) in enumerate(zip(held, schedule.counts.tiers, strict=True)):
        times, found = revolver.timeline.held(tier)
        assert found.tolist() == counts
        assert found.max() == announced.peak
        assert (np.diff(times) >= 0).all()
    with pytest.raises(ValueError, match="tier must be >= 0"):
        revolver.timeline.held(len(revolver.storages))


def test_transfers_are_those_of_the_background_thread(finished):
    _, _, revolver = finished
    timeline = revolver.timeline
    transfers = timeline.transfers
    what = np.array(timeline.WHATS)[transfers["what"]]
    for tier, storage in enumerate(revolver.storages):
        here = transfers[transfers["tier"] == tier]
        if not isinstance(storage, DiskStorage):
            assert len(here) == 0
            continue
        kinds = what[transfers["tier"] == tier]
        spent = (here["ended"] - here["began"]) * 1e-9
        waited = spent[kinds == "wait"].sum()
        assert waited == pytest.approx(storage.waited_seconds)
        assert max(0.0, spent[kinds != "wait"].sum() - waited) == pytest.approx(storage.hidden_seconds)
        saved = {(t, slot) for name, t, slot in _copies(timeline, tier) if name == "save"}
        for kind, row in zip(kinds, here, strict=True):
            assert kind == "wait" or (row["t"], row["slot"]) in saved
        assert (kinds == "write").sum() <= revolver.profiler.tiers[tier].saves.calls
        assert (kinds == "read").sum() <= revolver.profiler.tiers[tier].loads.calls + 2  # read ahead, dropped


def _copies(timeline, tier):
    for kind, where, _, _, _, _, _, t, slot in timeline.events.tolist():
        if where == tier and kind in (Kind.SAVE, Kind.LOAD):
            yield Kind(kind).name.lower(), t, slot


def slow_disk(monkeypatch):
    """Let every transfer take long enough to be waited for."""
    write, read, slow = SnapshotFile.write, SnapshotFile.read, np.ones(300_000)

    def dawdle(transfer):
        def dawdling(*arguments):
            for _ in range(3):
                np.sort(slow)
            return transfer(*arguments)

        return dawdling

    monkeypatch.setattr(SnapshotFile, "write", dawdle(write))
    monkeypatch.setattr(SnapshotFile, "read", dawdle(read))


def test_waits_lie_within_the_copies_that_had_to_wait(tmp_path, monkeypatch):
    slow_disk(monkeypatch)
    wave = Wave(40)
    with watched(wave, AsyncTwoTier(40, 4, 1), tmp_path, timeline=True) as revolver:
        run(wave, revolver)
        timeline = revolver.timeline
        waits = timeline.transfers[timeline.transfers["what"] == timeline.WHATS.index("wait")]
        assert len(waits) > 0
        copies = timeline.events[timeline.events["tier"] == 1]
        for wait in waits:
            around = (copies["began"] <= wait["began"]) & (wait["ended"] <= copies["ended"])
            assert around.sum() == 1


def test_step_data_is_taken_down_too(tmp_path):
    wave = Wave(20)
    schedule = Mixed(20, 4)
    with watched(wave, schedule, tmp_path, StepDataCheckpoint, timeline=True) as revolver:
        run(wave, revolver)
        taken = revolver.timeline.events[["kind", "tier", "keep", "start", "stop", "t", "slot"]].tolist()
    assert taken == listed(schedule)


def test_online_run_is_taken_down_as_one(tmp_path):
    wave = Wave(30)
    with watched(wave, Online(3), tmp_path, timeline=True) as revolver:
        wave.set_initial()
        for steps in (1, 4, 10, 15):
            revolver.advance(steps)
        assert revolver.timeline.n_timesteps == 30
        revolver.finish()
        wave.start_adjoint()
        revolver.apply_reverse()
        timeline = revolver.timeline
        events = timeline.events
        assert set(timeline.sweeps) == {"forward", "reverse"}
        done = [(Kind(kind).name.lower(), t, slot) for kind, *_, t, slot in events.tolist() if t >= 0]
        assert done == [entry for entry in wave.log if entry[0] in COPIES]
        reversed_ = events[events["kind"] == Kind.REVERSE]
        assert np.concatenate([np.arange(r["start"], r["stop"]) for r in reversed_]).tolist()[::-1] == [
            *range(30)
        ]


@given(n=st.integers(0, 60), slots=st.integers(1, 6), window=st.integers(1, 6), most=st.integers(1, 60))
def test_no_more_than_asked_for_is_taken_down(n, slots, window, most):
    schedule = Revolve(n, slots, window=window)
    wave = Wave(n, window)
    timeline = Timeline(most)
    with watched(wave, schedule, None, timeline=timeline) as revolver:
        run(wave, revolver)
        rows = listed(schedule)
        assert len(timeline) == min(most, len(rows))
        assert timeline.dropped == len(rows) - len(timeline)
        taken = timeline.events[["kind", "tier", "keep", "start", "stop", "t", "slot"]].tolist()
        assert taken == rows[:most]
        revolver.reset()
        assert len(timeline) == timeline.dropped == len(timeline.transfers) == 0
        run(wave, revolver)
        assert timeline.events[["kind", "start"]].tolist() == [(r[0], r[3]) for r in rows[:most]]


# --- who keeps whom -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 3, 8, 30, 45])
def test_failed_run_is_taken_down_up_to_there(at, tmp_path):
    wave = Wave(40)
    schedule = AsyncTwoTier(40, 6, 1)
    revolver = watched(wave, schedule, tmp_path, timeline=True)
    forward, count = wave.forward, itertools.count(1)

    def failing(t_start, t_end):
        if next(count) == at:
            raise BrokenError
        forward(t_start, t_end)

    wave.forward = failing
    with pytest.raises(BrokenError):
        run(wave, revolver)
    timeline = revolver.timeline
    rows = timeline.events[["kind", "tier", "keep", "start", "stop", "t", "slot"]].tolist()
    assert rows == listed(schedule)[: len(rows)]
    assert sum(row[0] == Kind.FORWARD for row in rows) == at - 1
    assert revolver.storages[1]._background.told is None
    timeline.to_chrome_trace(tmp_path / "trace.json")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    wave.forward = forward
    revolver.reset()
    run(wave, revolver)
    assert [tuple(row) for row in timeline.events[["kind", "start"]]] == [
        (r[0], r[3]) for r in listed(schedule)
    ]
    revolver.close()
    for storage in revolver.storages:
        storage.close()


def test_storages_are_told_nothing_and_kept_by_nobody_after_the_run(tmp_path):
    wave = Wave(40)
    revolver = watched(wave, AsyncTwoTier(40, 6, 1), tmp_path, timeline=True)
    wave.set_initial()
    revolver.apply_forward()
    assert revolver.storages[1]._background.told is not None
    wave.start_adjoint()
    revolver.apply_reverse()
    assert revolver.storages[1]._background.told is None
    timeline, profiler = revolver.timeline, revolver.profiler
    storages = [weakref.ref(storage) for storage in revolver.storages]
    del revolver
    gc.collect()
    assert [storage() for storage in storages] == [None, None]
    assert len(timeline) > 0
    assert profiler.tiers[1].saves.calls > 0


def test_abandoned_run_lets_the_storages_go(tmp_path):
    wave = Wave(40)
    revolver = watched(wave, AsyncTwoTier(40, 6, 1), tmp_path, timeline=True)
    wave.set_initial()
    revolver.apply_forward()
    storages = revolver.storages
    revolver.close()
    assert storages[1]._background.told is None
    for storage in storages:
        storage.close()


def test_what_is_asked_for():
    parts = WaveCheckpoint(Wave(5)), Forward(Wave(5)), Reverse(Wave(5))
    for nothing in (None, False):
        with Revolver(*parts, 2, 5, timeline=nothing) as revolver:
            assert revolver.timeline is None
    mine = Timeline()
    with Revolver(*parts, 2, 5, timeline=mine) as revolver:
        assert revolver.timeline is mine
    with pytest.raises(TypeError, match=r"True, False or a pyrevolve\.Timeline"):
        Revolver(*parts, 2, 5, timeline="yes")
    with pytest.raises(ValueError, match="most must be >= 1"):
        Timeline(0)
    with pytest.raises(TypeError):
        Timeline(2.5)


# --- the trace file -----------------------------------------------------------------------------------------


def trace_of(timeline, path):
    """Return the parsed events of a trace, by track, and the counters."""
    timeline.to_chrome_trace(path)
    parsed = json.loads(path.read_text())
    names, tracks, counters = {}, {}, []
    for event in parsed["traceEvents"]:
        assert {"name", "ph", "pid"} <= event.keys()
        assert event["ph"] in ("X", "M", "C")
        if event["ph"] == "M" and event["name"] == "thread_name":
            names[event["tid"]] = event["args"]["name"]
        elif event["ph"] == "X":
            tracks.setdefault(names[event["tid"]], []).append(event)
        elif event["ph"] == "C":
            counters.append(event)
    assert len(set(names.values())) == len(names)
    return tracks, counters


def nanoseconds(event):
    """Return begin and end of a complete event [ns], which the file has in µs."""
    began, spent = round(event["ts"] * 1000), round(event["dur"] * 1000)
    assert event["ts"] * 1000 == pytest.approx(began, abs=1e-3)
    return began, began + spent


def test_trace_has_the_times_of_the_profile_in_tracks_without_overlap(finished, tmp_path):
    schedule, wave, revolver = finished
    tracks, counters = trace_of(revolver.timeline, tmp_path / "trace.json")
    for events in tracks.values():
        spans = sorted(map(nanoseconds, events))
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))

    def spent(track, name):
        spans = [nanoseconds(event) for event in tracks.get(track, []) if event["name"] == name]
        return sum(end - begin for begin, end in spans)

    profiler = revolver.profiler
    assert spent("operators", "forward") == profiler[Kind.FORWARD].nanoseconds
    assert spent("operators", "reverse") == profiler[Kind.REVERSE].nanoseconds
    for name, storage, record in zip(("RAM", "disk"), revolver.storages, profiler.tiers, strict=False):
        assert spent(f"copies, {name}", "save") == record.saves.nanoseconds
        assert spent(f"copies, {name}", "load") == record.loads.nanoseconds
        assert spent(f"waits, {name}", "wait") * 1e-9 == pytest.approx(storage.waited_seconds)
        peaks = [event["args"]["held"] for event in counters if event["name"] == f"snapshots, {name}"]
        assert max(peaks, default=0) == (storage.n_slots if peaks else 0)
        assert min(peaks, default=0) >= 0

    operators = [
        (event["name"], event["args"]["start"], event["args"]["stop"])
        for event in tracks.get("operators", [])
    ]
    assert operators == [entry for entry in wave.log if entry[0] in ("forward", "reverse")]
    times = np.zeros((2, max(1, wave.n)), int)
    for name, start, stop in operators:
        times[int(name == "reverse"), start:stop] += 1
    assert times[0].sum() == wave.forward_steps == schedule.forward_steps
    assert (times[0] >= 1).all() or wave.n == 0
    assert (times[1] == 1).all() or wave.n == 0


def test_trace_of_nothing_and_of_half_a_run(tmp_path):
    tracks, counters = trace_of(Timeline(), tmp_path / "trace.json")
    assert not tracks
    assert not counters
    wave = Wave(20)
    with watched(wave, Revolve(20, 3), None, timeline=True) as revolver:
        wave.set_initial()
        revolver.apply_forward()
        tracks, _ = trace_of(revolver.timeline, tmp_path / "trace.json")
        assert {event["name"] for event in tracks["operators"]} == {"forward"}
    with pytest.raises(OSError, match="no such place"):
        Timeline().to_chrome_trace(tmp_path / "no such place" / "trace.json")


# --- the picture --------------------------------------------------------------------------------------------


def segments(axes):
    """Return the points of all lines in collections of axes."""
    from matplotlib.collections import LineCollection

    return [c.get_segments() for c in axes.collections if isinstance(c, LineCollection)]


def test_picture_shows_every_instruction(finished, tmp_path):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "pyrevolve[plot]"')
    schedule, wave, revolver = finished
    figure = revolver.timeline.plot(tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    upper, middle, lower = figure.axes
    assert upper.get_ylabel() == "timestep"
    assert middle.get_ylabel() == "share of time [%]"
    assert lower.get_ylabel() == "snapshots held"
    assert lower.get_xlabel() in ("wall time [s]", "wall time [ms]", "wall time [µs]")
    drawn = sorted(
        (round(float(y)), round(float(y_end))) for lines in segments(upper) for (_, y), (_, y_end) in lines
    )
    copies = [(e[1], e[1]) for e in wave.log if e[0] in COPIES]
    copies += [(0, 0)] * sum(i.kind is Kind.LOAD and i.slot < 0 for i in schedule)
    operators = [(e[1], e[2]) for e in wave.log if e[0] == "forward"]
    operators += [(e[2], e[1]) for e in wave.log if e[0] == "reverse"]
    assert drawn == sorted(copies + operators)
    labels = [text.get_text() for text in upper.get_legend().get_texts()]
    for name in ("forward", "reverse", *COPIES):
        assert (name in labels) == any(e[0] == name for e in wave.log) or schedule.free_initial_state
    shown = [text.get_text() for text in lower.get_legend().get_texts()]
    peaks = [tier.peak for tier in schedule.counts.tiers] or [0]
    assert [int(text.rpartition(" ")[2]) for text in shown] == peaks


def test_share_of_time_is_that_of_the_profile(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "pyrevolve[plot]"')
    slow_disk(monkeypatch)
    wave = Wave(40)
    with watched(wave, AsyncTwoTier(40, 4, 1), tmp_path, timeline=True) as revolver:
        run(wave, revolver)
        figure = revolver.timeline.plot()
        profiler, whole = revolver.profiler, revolver.timeline.sweeps["reverse"][1] * 1e-9
    shown = {}
    for text in figure.axes[1].get_legend().get_texts():
        name, _, share = text.get_text().rpartition(": ")
        shown[name] = float(share.removesuffix(" %"))
    assert shown["forward"] == pytest.approx(100 * profiler[Kind.FORWARD].seconds / whole, rel=0.01)
    assert shown["reverse"] == pytest.approx(100 * profiler[Kind.REVERSE].seconds / whole, rel=0.01)
    copies = profiler[Kind.SAVE].seconds + profiler[Kind.LOAD].seconds
    assert shown["waiting"] == pytest.approx(100 * profiler.waited_seconds / whole, rel=0.01)
    assert shown["save"] + shown["load"] + shown["waiting"] == pytest.approx(100 * copies / whole, rel=0.02)
    assert sum(share for name, share in shown.items() if "thread" not in name) == pytest.approx(100, abs=0.5)
    assert "waiting" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_picture_goes_into_axes_of_the_user():
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "pyrevolve[plot]"')
    from matplotlib.figure import Figure

    wave = Wave(20)
    with watched(wave, Revolve(20, 3), None, timeline=True) as revolver:
        run(wave, revolver)
        figure = Figure()
        mine, other = figure.subplots(1, 2)
        assert revolver.timeline.plot(mine) is figure
        assert segments(mine)
        assert mine.get_xlabel().startswith("wall time [")
        assert not other.collections
        with pytest.raises(ValueError, match="not supported"):
            revolver.timeline.plot("timeline.nothing")
    Timeline().plot()


@pytest.mark.slow
def test_picture_of_very_many_instructions(tmp_path):
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "pyrevolve[plot]"')
    schedule = Revolve(20_000, 30)
    timeline = Timeline()
    storage = MemoryStorage(1, [np.zeros(1)])
    timeline.begin("forward", [storage])
    timeline.follow(schedule, None)
    for now, i in enumerate(schedule):
        began, ended = timeline.origin + 10 * now, timeline.origin + 10 * now + 9
        if i.kind is Kind.FORWARD:
            timeline.ran_forward(i.start, i.stop, began, ended)
        elif i.kind is Kind.REVERSE:
            timeline.ran_reverse(i.start, i.stop, began, ended)
        elif i.kind is Kind.SAVE:
            timeline.saved(i.t, i.tier, i.slot, 8, began, ended)
        elif i.kind is Kind.LOAD:
            timeline.loaded(i.t, i.tier, i.slot, i.keep, 8, began, ended)
    timeline.end("done")
    assert len(timeline) > 80_000
    assert timeline.nbytes == 40 * len(timeline)
    figure = timeline.plot(tmp_path / "timeline.svg")
    assert (tmp_path / "timeline.svg").stat().st_size < 2_000_000  # crowds are drawn as pixels
    assert sum(map(len, segments(figure.axes[0]))) == len(timeline)


def test_forward_sweep_alone_is_drawn():
    pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "pyrevolve[plot]"')
    wave = Wave(10)
    with watched(wave, ForwardOnly(10), None, timeline=True) as revolver:
        wave.set_initial()
        revolver.apply_forward()
        figure = revolver.timeline.plot()
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["forward"]
