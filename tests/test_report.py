"""Reports: what operators and storages counted, beside what schedule and plan announced.

The problem is that of test_revolver.
"""

from __future__ import annotations

import os

import pytest
from test_revolver import BrokenError, Forward, Reverse, Wave, WaveCheckpoint, run
from test_timeline import SCHEDULES, watched

from pyrevolve import (
    AsyncTwoTier,
    Costs,
    ForwardOnly,
    Kind,
    MemoryStorage,
    Multistage,
    Online,
    Report,
    Revolve,
    Revolver,
)
from pyrevolve.storage.slots import slot_nbytes

COSTS = Costs(
    forward_step=1e-3,
    reverse_step=2e-3,
    forward_call=1e-5,
    reverse_call=2e-5,
    save=(1e-4, 1e-2),
    load=(2e-4, 3e-2),
)


def steps(wave, name):
    """Return what an operator was asked for, by the log that it keeps."""
    return sum(entry[2] - entry[1] for entry in wave.log if entry[0] == name)


def calls(wave, name):
    return sum(entry[0] == name for entry in wave.log)


@pytest.mark.parametrize("name", SCHEDULES)
def test_run_is_what_operators_and_storages_counted(name, tmp_path):
    schedule, wave = SCHEDULES[name]
    revolver = watched(wave, schedule, tmp_path)
    run(wave, revolver)
    report = revolver.report()
    assert isinstance(report, Report)
    for operator in ("forward", "reverse"):
        row = report[f"{operator} steps"]
        assert row.run == steps(wave, operator)
        assert row.run_seconds == revolver.profiler[Kind[operator.upper()]].seconds
        assert report[f"{operator} calls"].run == calls(wave, operator)
    assert report["forward steps"].predicted == schedule.forward_steps
    assert report["reverse steps"].predicted == schedule.n_timesteps
    assert report["forward calls"].predicted == schedule.forward_calls
    assert report["reverse calls"].predicted == schedule.reverse_calls
    counts = schedule.counts.tiers
    state = slot_nbytes(WaveCheckpoint(wave).arrays(0))
    for tier, count in enumerate(counts):
        where = ("RAM", "disk")[tier]
        if not count.saves and not count.loads:
            continue
        saves, loads = report[f"saves, {where}"], report[f"loads, {where}"]
        assert (saves.predicted, loads.predicted) == (count.saves, count.loads)
        assert (saves.run, loads.run) == (count.saves, count.loads)
        record = revolver.profiler.tiers[tier]
        assert (saves.nbytes, loads.nbytes) == (record.saves.bytes, record.loads.bytes)
        assert saves.run_seconds == record.saves.seconds
    assert sum(row.run for row in report.rows if row.name.startswith("saves")) == calls(wave, "save")
    recreated = sum(entry == ("initial",) for entry in wave.log) - 1 if schedule.free_initial_state else 0
    assert (
        sum(row.run for row in report.rows if row.name.startswith("loads")) == calls(wave, "load") + recreated
    )
    if schedule.n_timesteps:
        factor = report["forward steps per timestep"]
        assert factor.predicted == factor.run == wave.forward_steps / wave.n
    held = counts[0].peak * state if counts else 0
    staging = sum(storage.staging_nbytes for storage in revolver.storages)
    assert report["memory held"].run == held + staging
    assert report.efficiency is None  # no costs are known
    assert report["total"].predicted_seconds is None
    assert report["total"].run_seconds == revolver.profiler.seconds
    assert "not finished" not in str(report)
    revolver.close()
    for storage in revolver.storages:
        storage.close()
    assert str(revolver.report()) == str(report)


@pytest.mark.parametrize("name", ["classic", "window", "multistage", "asynchronous"])
def test_seconds_are_predicted_from_costs(name, tmp_path):
    schedule, wave = SCHEDULES[name]
    with watched(wave, schedule, tmp_path, costs=COSTS) as revolver:
        run(wave, revolver)
        report = revolver.report()
    forward = 1e-3 * steps(wave, "forward") + 1e-5 * calls(wave, "forward")
    reverse = 2e-3 * steps(wave, "reverse") + 2e-5 * calls(wave, "reverse")
    assert report["forward steps"].predicted_seconds == pytest.approx(forward)
    assert report["reverse steps"].predicted_seconds == pytest.approx(reverse)
    copies = 0.0
    for where, save, load in (("RAM", 1e-4, 2e-4), ("disk", 1e-2, 3e-2)):
        if where == "disk" and len(schedule.counts.tiers) == 1:
            break
        saves, loads = report[f"saves, {where}"], report[f"loads, {where}"]
        assert saves.predicted_seconds == pytest.approx(save * saves.run)
        assert loads.predicted_seconds == pytest.approx(load * loads.run)
        copies += saves.predicted_seconds + loads.predicted_seconds
    total = report["total"]
    assert total.predicted_seconds == pytest.approx(forward + reverse + copies)
    assert total.predicted_seconds == pytest.approx(schedule.makespan(COSTS))
    assert report.efficiency == total.predicted_seconds / total.run_seconds
    assert report["efficiency (predicted / run)"].run == report.efficiency


def test_recording_is_the_forward_operators():
    wave = Wave(50, 4)
    costs = Costs(forward_step=1e-3, reverse_step=2e-3, recording=5e-4)
    with Revolver(
        WaveCheckpoint(wave), Forward(wave), Reverse(wave), schedule=Revolve(50, 3, window=4), costs=costs
    ) as revolver:
        run(wave, revolver)
        report, schedule = revolver.report(), revolver.schedule
    assert report["forward steps"].predicted_seconds == pytest.approx(1e-3 * schedule.forward_steps + 0.025)
    assert report["reverse steps"].predicted_seconds == pytest.approx(0.1)
    assert report["total"].predicted_seconds == pytest.approx(schedule.makespan(costs))


def test_plan_is_what_was_predicted(tmp_path):
    wave = Wave(80, 4)
    parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    wave.step_bytes = 0
    for disk in (None, "1 MB"):
        with Revolver(
            *parts, n_timesteps=80, memory=20_000, disk=disk, costs=COSTS, disk_dir=tmp_path if disk else None
        ) as revolver:
            run(wave, revolver)
            plan, report = revolver.plan, revolver.report()
            held = sum(s.staging_nbytes for s in revolver.storages) + revolver.storages[0].nbytes
            assert report["memory held"] == ("memory held", plan.planned_bytes, held, 20_000, "bytes")
            assert held <= 20_000
            if disk:
                assert report["disk held"].budget == 1_000_000
                assert report["disk held"].predicted == plan.planned_disk_bytes
        assert report["total"].predicted_seconds == plan.predicted_seconds
        assert report["forward steps"].predicted == plan.forward_steps == steps(wave, "forward")
        if disk and plan.overlapped:
            assert report["waiting, disk"].predicted_seconds == plan.predicted_wait
            assert report["saves, disk"].predicted_seconds == pytest.approx(1e-4 * plan.saves_per_tier[1])
    with Revolver(*parts, n_timesteps=80, memory=20_000) as revolver:
        run(wave, revolver)
        report = revolver.report()
    assert report["total"].predicted_seconds is None  # costs were not measured
    assert report["memory held"].predicted == revolver.plan.planned_bytes


def test_waiting_and_hidden_are_those_of_the_disk(tmp_path):
    wave = Wave(60)
    with watched(wave, AsyncTwoTier(60, 7, 2), tmp_path) as revolver:
        run(wave, revolver)
        report, disk = revolver.report(), revolver.storages[1]
        assert report["waiting, disk"].run_seconds == disk.waited_seconds
        assert report["hidden, disk"].run_seconds == disk.hidden_seconds
        assert report["disk held"].run == disk.nbytes
    disk.close()


def test_online_run_has_no_prediction(tmp_path):
    wave = Wave(20)
    with watched(wave, Online(3), tmp_path) as revolver:
        wave.set_initial()
        revolver.advance(20)
        assert "not finished" in str(revolver.report())
        revolver.finish()
        wave.start_adjoint()
        revolver.apply_reverse()
        report = revolver.report()
    assert "not finished" not in str(report)
    assert all(row.predicted is None and row.predicted_seconds is None for row in report.rows)
    assert report["forward steps"].run == steps(wave, "forward")
    assert report["reverse steps"].run == 20
    assert report["forward steps per timestep"].run == steps(wave, "forward") / 20


def test_unfinished_and_failed_runs_say_so(tmp_path):
    wave = Wave(30)
    with watched(wave, Revolve(30, 3), tmp_path, costs=COSTS) as revolver:
        assert revolver.report()["forward steps"].run == 0
        wave.set_initial()
        revolver.apply_forward()
        report = revolver.report()
        assert "not finished" in report.title
        assert report.efficiency is None
        assert (report["forward steps"].run, report["reverse steps"].run) == (30, 0)
        revolver.reset()
        reverse = wave.reverse

        def failing(t_start, t_end):
            if t_start < 20:
                raise BrokenError
            reverse(t_start, t_end)

        wave.reverse = failing
        with pytest.raises(BrokenError):
            run(wave, revolver)
        report = revolver.report()
        assert "not finished" in report.title
        assert report["reverse steps"].run == 10
        assert (
            report["total"].run_seconds
            >= report["forward steps"].run_seconds + report["reverse steps"].run_seconds
        )


def test_forward_run_alone_is_finished_at_its_end(tmp_path):
    wave = Wave(20)
    with watched(wave, ForwardOnly(20), tmp_path, costs=COSTS) as revolver:
        wave.set_initial()
        revolver.apply_forward()
        report = revolver.report()
    assert "not finished" not in report.title
    assert (report["reverse steps"].predicted, report["reverse steps"].run) == (0, 0)
    assert report["total"].predicted_seconds == pytest.approx(20 * 1e-3 + 1e-5)


def test_run_that_is_planned_anew_says_so():
    wave = Wave(60)
    arrays = WaveCheckpoint(wave).arrays(0)
    parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    storage = MemoryStorage(None, arrays, room=4 * slot_nbytes(arrays))
    with storage, Revolver(*parts, schedule=Revolve(60, 10), storage=storage) as revolver:
        run(wave, revolver)
        report = revolver.report()
    assert report["planned anew, times"].run == revolver.replanned > 0
    assert report["forward steps"].predicted == Revolve(60, 10).forward_steps
    assert report["forward steps"].run == steps(wave, "forward") > report["forward steps"].predicted


def test_compression_is_reported_with_its_error():
    pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    from pyrevolve.compression import rounded

    wave = Wave(30)
    arrays = WaveCheckpoint(wave).arrays(0)
    parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    for codec, lossy in ((rounded(20), True), ("zstd", False)):
        if not lossy:
            wave.initial[:] = wave.source[:] = 0.0  # which takes less, however it is encoded
        with MemoryStorage(20, arrays, compression=codec) as storage:
            with Revolver(*parts, schedule=Revolve(30, 5), storage=storage) as revolver:
                run(wave, revolver)
                report = revolver.report()
            assert report["compression ratio"].run == storage.compression_ratio > 1.0
            names = [fact.name for fact in report.facts]
            assert ("compression error, absolute" in names) == lossy
            if lossy:
                assert report["compression error, absolute"].run == storage.compression_error.absolute > 0


def test_resumed_run_has_no_efficiency(tmp_path, monkeypatch):
    pytest.importorskip("fcntl", reason="needs a system with file locks, such as Linux")
    for name in ("fsync", "fdatasync"):  # forcing things onto the medium only takes time here
        monkeypatch.setattr(os, name, lambda fd: None)
    wave = Wave(20)
    parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    options = {
        "schedule": Multistage(20, 1, 4),
        "resume": tmp_path / "journal",
        "resume_arrays": [],
        "resume_interval": 0.0,
        "costs": COSTS,
    }
    reverse = wave.reverse

    def failing(t_start, t_end):
        if t_start < 10:
            raise BrokenError
        reverse(t_start, t_end)

    wave.reverse = failing
    with Revolver(*parts, **options) as revolver, pytest.raises(BrokenError):
        run(wave, revolver)
    wave.reverse = reverse
    with Revolver(*parts, **options) as revolver:
        wave.log.clear()
        wave.set_initial()
        revolver.apply_forward()
        wave.start_adjoint()
        revolver.apply_reverse()
        report = revolver.report()
    assert "resumed" in report.title
    assert report.efficiency is None
    assert report["reverse steps"].run == steps(wave, "reverse") == 10
    assert report["reverse steps"].predicted == 20


def test_table_is_aligned_and_says_what_is_not_known(tmp_path):
    wave = Wave(40)
    with watched(wave, Multistage(40, 2, 4), tmp_path) as revolver:
        run(wave, revolver)
        report = revolver.report()
    title, head, *lines = str(report).splitlines()
    assert title == "Multistage of 40 timesteps"
    assert head.split() == ["predicted", "run", "predicted", "[s]", "run", "[s]", "copied"]
    table = lines[: len(report.rows)]
    column = head.index("predicted [s]") + len("predicted [s]")
    assert all(line[column - 1] == "-" for line in table)
    run_column = head.index("run") + len("run")
    for row, line in zip(report.rows, table, strict=True):
        assert line.startswith(row.name)
        assert line[:run_column].split()[-1] == ("-" if row.run is None else str(row.run))
    assert lines[len(report.rows) :] == [str(fact) for fact in report.facts]
    assert report._repr_html_().startswith("<pre>Multistage")
    with pytest.raises(KeyError, match="it has forward steps, "):
        report["no such thing"]


@pytest.mark.devito
def test_devito_adjoint_reports_its_shot(tmp_path):
    pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
    from devito_problems import N, acoustic

    from pyrevolve import ScheduleError
    from pyrevolve.devito import CheckpointedAdjoint

    case = acoustic()
    piece = 35 * 31 * 4
    costs = Costs(forward_step=1e-3, reverse_step=1e-3, save=(5e-4, 2e-3), load=(5e-4, 2e-3))
    states = []
    for disk in (None, "1 MB"):
        with CheckpointedAdjoint(
            case.build,
            memory=9 * piece + 4096,
            disk=disk,
            disk_dir=tmp_path if disk else None,
            arguments=case.arguments,
            costs=costs if disk else Costs(forward_step=1e-3, reverse_step=1e-3, save=5e-4, load=5e-4),
            timeline=True,
            progress=states.append,
        ) as adjoint:
            with pytest.raises(ScheduleError, match="no shot was run"):
                adjoint.report()
            case.shot(adjoint)
            plan, report, profiler = adjoint.plan, adjoint.report(), adjoint.profiler
            assert report["memory held"].run == adjoint.memory_held
            assert report["memory held"].predicted == plan.planned_bytes
            assert report["memory held"].budget == 9 * piece + 4096
            assert report["forward steps"][:3] == ("forward steps", plan.forward_steps, plan.forward_steps)
            assert report["reverse steps"].run == profiler[Kind.REVERSE].steps == N
            assert report["total"].predicted_seconds == pytest.approx(plan.predicted_seconds)
            assert report.efficiency == pytest.approx(plan.predicted_seconds / profiler.seconds)
            events = adjoint.timeline.events
            forward = events[events["kind"] == Kind.FORWARD]
            assert (forward["stop"] - forward["start"]).sum() == plan.forward_steps
            assert states[-1].fraction == 1.0
            assert states[-1].unit == "s"
            if disk is None:  # a verification is not the shot
                shown = len(states)
                adjoint.verify(lambda some: case.shot(some)["grad"])
                assert len(adjoint.timeline) == len(events)
                assert len(states) > shown
