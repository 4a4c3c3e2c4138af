"""Progress: honest numbers, shown only where somebody watches, and nothing left behind.

The problem is that of test_revolver. What is done is compared with what its operators and storages count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import types

import pytest
from test_revolver import BrokenError, Forward, Reverse, Wave, WaveCheckpoint, run
from test_timeline import SCHEDULES, watched

import pyrevolve.progress
from pyrevolve import (
    Costs,
    ForwardOnly,
    Kind,
    MemoryStorage,
    Multistage,
    Online,
    ProgressState,
    Revolve,
    Revolver,
)
from pyrevolve.progress import make_progress
from pyrevolve.storage.slots import slot_nbytes


@pytest.fixture(autouse=True)
def _always_shown(monkeypatch):
    """Let every instruction be shown, and at once, so that no test depends on the clock."""
    monkeypatch.setattr(pyrevolve.progress, "_INTERVAL", 0)
    monkeypatch.setattr(pyrevolve.progress, "_DELAY", 0.0)


class Seen:
    """Takes the states down, each with what operators and storages have done by then."""

    def __init__(self, wave):
        self.wave = wave
        self.states = []
        self.done = []
        self.full = []
        self.revolver = None

    def __call__(self, state):
        assert isinstance(state, ProgressState)
        log = self.wave.log
        forward = sum(e[2] - e[1] for e in log if e[0] == "forward")
        reverse = sum(e[2] - e[1] for e in log if e[0] == "reverse")
        self.states.append(state)
        self.done.append((forward, reverse))
        storages = self.revolver.storages
        self.full.append(tuple(sum(t is not None for t in storage.timesteps) for storage in storages))


def seen(wave, schedule, folder, **options):
    """Return what is seen of a run, and the Revolver, which is still open."""
    told = Seen(wave)
    told.revolver = watched(wave, schedule, folder, progress=told, **options)
    wave.log.clear()
    run(wave, told.revolver)
    return told


# --- honest numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_timesteps_are_counted_up_to_the_announced_total(name, tmp_path):
    schedule, wave = SCHEDULES[name]
    told = seen(wave, schedule, tmp_path)
    total = schedule.forward_steps + schedule.n_timesteps
    for state, (forward, reverse), full in zip(told.states, told.done, told.full, strict=True):
        assert state.unit == "timesteps"
        assert state.total == total
        assert state.done == forward + reverse
        assert 0.0 <= state.fraction <= 1.0
        assert state.snapshots == full
        assert state.tiers == ("RAM", "disk")[: len(full)]
        assert state.nbytes == tuple(
            count * storage.state_nbytes for count, storage in zip(full, told.revolver.storages, strict=True)
        )
        assert state.n_timesteps == schedule.n_timesteps
        if state.sweep == "reverse":
            assert state.timesteps == reverse
    assert [state.sweep for state in told.states] == sorted(state.sweep for state in told.states)
    assert told.states[-1].done == told.states[-1].total == total
    assert told.states[-1].fraction == 1.0
    first = [state for state in told.states if state.sweep == "forward"]
    assert (first[0].timesteps, first[-1].timesteps) == (0, schedule.n_timesteps)


@pytest.mark.parametrize("name", ["classic", "window", "free", "multistage"])
def test_costs_weigh_the_work(name, tmp_path):
    schedule, wave = SCHEDULES[name]
    costs = Costs(
        forward_step=3.0,
        reverse_step=5.0,
        forward_call=0.25,
        reverse_call=0.5,
        save=(7.0, 70.0),
        load=(11.0, 90.0),
    )
    told = seen(wave, schedule, tmp_path, costs=costs)
    # The disk transfers behind the run: what is waited for is a copy in RAM.
    counts = schedule.counts
    total = 3.0 * counts.forward_steps + 5.0 * schedule.n_timesteps
    total += (
        0.25 * counts.forward_calls + 0.5 * counts.reverse_calls + 7.0 * counts.saves + 11.0 * counts.loads
    )
    assert {state.unit for state in told.states} == {"s"}
    assert all(state.total == pytest.approx(total) for state in told.states)
    assert told.states[-1].done == pytest.approx(total)
    operators = [3.0 * forward + 5.0 * reverse for forward, reverse in told.done]
    assert all(state.done >= least for state, least in zip(told.states, operators, strict=True))
    dones = [state.done for state in told.states]
    assert dones == sorted(dones)


def test_costs_of_nothing_are_no_measure(tmp_path):
    wave = Wave(20)
    told = seen(wave, Revolve(20, 3), tmp_path, costs=Costs(forward_step=0.0, reverse_step=0.0))
    assert {state.unit for state in told.states} == {"timesteps"}


def test_costs_for_fewer_tiers_than_there_are(tmp_path):
    wave = Wave(30)
    costs = Costs(forward_step=1.0, reverse_step=2.0, save=0.5, load=0.5)
    told = seen(wave, Multistage(30, 2, 3), tmp_path, costs=costs)
    assert told.states[-1].done == pytest.approx(told.states[0].total)


def test_planned_run_is_weighed_by_its_costs():
    wave = Wave(40)
    costs = Costs(forward_step=1e-3, reverse_step=2e-3, save=1e-4, load=1e-4)
    states = []
    parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
    with Revolver(*parts, n_timesteps=40, memory=4096, costs=costs, progress=states.append) as revolver:
        run(wave, revolver)
        assert states[0].total == pytest.approx(revolver.plan.predicted_seconds)
        assert states[-1].done == pytest.approx(revolver.plan.predicted_seconds)
    states.clear()
    with Revolver(*parts, n_timesteps=40, memory=4096, progress=states.append) as revolver:
        run(wave, revolver)  # nothing was measured
        assert {state.unit for state in states} == {"timesteps"}


def test_online_total_is_known_once_the_run_ends(tmp_path):
    wave = Wave(30)
    told = Seen(wave)
    with watched(wave, Online(3), tmp_path, progress=told) as told.revolver:
        wave.set_initial()
        for steps in (1, 9, 20):
            told.revolver.advance(steps)
            last = told.states[-1]
            assert (last.total, last.fraction, last.n_timesteps) == (None, None, None)
            assert last.sweep == "forward"
        told.revolver.finish()
        wave.start_adjoint()
        told.revolver.apply_reverse()
        rest = told.revolver.schedule.forward_steps
    total = 30 + rest + 30
    assert told.states[-1].done == told.states[-1].total == total
    assert all(state.total == total for state in told.states if state.sweep == "reverse")
    assert [state.done for state in told.states] == [sum(done) for done in told.done]


def test_each_shot_begins_anew(tmp_path):
    wave = Wave(20)
    told = seen(wave, Revolve(20, 3), tmp_path)
    count = len(told.states)
    told.revolver.reset()
    wave.log.clear()
    run(wave, told.revolver)
    assert told.states[count:] == told.states[:count]


def test_resumed_run_begins_where_it_was_left(tmp_path, monkeypatch):
    pytest.importorskip("fcntl", reason="needs a system with file locks, such as Linux")
    for name in ("fsync", "fdatasync"):  # forcing things onto the medium only takes time here
        monkeypatch.setattr(os, name, lambda fd: None)

    def left(operator, at):
        """Return the states of a run that goes on with one that was left after so many calls."""
        wave = Wave(24)
        parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
        options = {
            "schedule": Multistage(24, 1, 4),
            "resume": tmp_path / f"journal-{operator}-{at}",
            "resume_arrays": [],  # the gradient is not looked at here
            "resume_interval": 0.0,
        }
        apply, calls = getattr(wave, operator), []

        def failing(t_start, t_end):
            calls.append(t_start)
            if len(calls) > at:
                raise BrokenError
            apply(t_start, t_end)

        setattr(wave, operator, failing)
        with Revolver(*parts, **options) as revolver, pytest.raises(BrokenError):
            run(wave, revolver)
        setattr(wave, operator, apply)
        states = []
        with Revolver(*parts, **options, progress=states.append) as revolver:
            wave.set_initial()
            revolver.apply_forward()
            assert revolver.resumed
            wave.start_adjoint()
            revolver.apply_reverse()
        return states

    for at in (1, 12, 23):
        states = left("reverse", at)
        assert states[0].sweep == "reverse"
        assert states[0].timesteps == at
        assert 0.0 < states[0].fraction < 1.0
        assert states[-1].fraction == 1.0
        assert states[-1].timesteps == 24
        assert sum(states[0].snapshots) > 0
        dones = [state.done for state in states]
        assert dones == sorted(dones)
    states = left("forward", 2)
    assert states[0].sweep == "forward"
    assert 0 < states[0].timesteps < 24
    assert states[0].done == states[0].timesteps
    assert states[-1].fraction == 1.0


def test_run_that_is_planned_anew_has_another_total(tmp_path):
    wave = Wave(60)
    arrays = WaveCheckpoint(wave).arrays(0)
    room = 4 * slot_nbytes(arrays)
    with MemoryStorage(None, arrays, room=room) as storage:
        states = []
        parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
        with Revolver(*parts, schedule=Revolve(60, 10), storage=storage, progress=states.append) as revolver:
            run(wave, revolver)
            assert revolver.replanned > 0
            steps = revolver.profiler[Kind.FORWARD].steps
    assert states[0].total == Revolve(60, 10).forward_steps + 60
    assert states[-1].done == states[-1].total == steps + 60 > states[0].total
    assert len({state.total for state in states}) > 1
    assert max(state.nbytes[0] for state in states) <= room
    assert max(state.snapshots[0] for state in states) == 4


def test_what_a_state_says():
    state = ProgressState("reverse", 30.0, 120.0, "s", 12, 40, ("RAM", "disk"), (3, 0), (3 * 2**20, 0))
    assert state.fraction == 0.25
    assert str(state) == "12 of 40 timesteps, 3 snapshots in RAM (3 MiB)"
    assert str(state._replace(n_timesteps=None, snapshots=(0, 0))) == "12 timesteps"
    assert state._replace(done=0.0, total=0.0).fraction == 1.0


# --- who shows it -------------------------------------------------------------------------------------------


def test_only_the_first_process_shows_it():
    states = []
    assert make_progress(states.append, None, first=False) is None
    assert make_progress(False, None, first=True) is None
    with pytest.raises(TypeError, match="True, False, None or a function, got"):
        make_progress("yes", None, first=True)


def test_only_the_first_process_of_several_is_told(monkeypatch):
    from test_team import MPI, World

    monkeypatch.setattr(MPI, "Is_initialized", lambda: True)  # its communicators are none of MPI's

    def work(comm):
        states = []
        wave = Wave(20)
        parts = WaveCheckpoint(wave), Forward(wave), Reverse(wave)
        with Revolver(*parts, 3, 20, comm=comm, progress=states.append) as revolver:
            run(wave, revolver)
        return len(states)

    outcomes = World(3).run(work)
    assert outcomes[0] > 2
    assert outcomes[1:] == [0, 0]


def test_bar_needs_tqdm_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setattr(pyrevolve.progress, "_is_watched", lambda: True)
    parts = WaveCheckpoint(Wave(5)), Forward(Wave(5)), Reverse(Wave(5))
    with pytest.raises(ImportError, match=r'pip install "pyrevolve\[progress\]"'):
        Revolver(*parts, 2, 5, progress=True)
    with pytest.raises(ImportError, match=r"pyrevolve\[progress\]"):
        make_progress(True, None, first=False)
    assert make_progress(None, None, first=True) is None
    wave = Wave(5)
    with Revolver(WaveCheckpoint(wave), Forward(wave), Reverse(wave), 2, 5) as revolver:
        run(wave, revolver)


def test_a_notebook_is_a_place_to_watch(monkeypatch):
    # Stands in for the kernel, whose shell is told by what it is: one that has a kernel.
    def ipython(shell):
        return types.SimpleNamespace(get_ipython=lambda: shell)

    monkeypatch.setattr(sys, "stderr", open(os.devnull, "w"))  # noqa: SIM115 (monkeypatch puts it back)
    try:
        for shell, expected in (
            (types.SimpleNamespace(kernel=object()), True),
            (types.SimpleNamespace(), False),
            (None, False),
        ):
            monkeypatch.setitem(sys.modules, "IPython", ipython(shell))
            assert pyrevolve.progress._is_watched() is expected
        monkeypatch.delitem(sys.modules, "IPython")
        assert not pyrevolve.progress._is_watched()
    finally:
        sys.stderr.close()


SCRIPT = textwrap.dedent(
    """
    import sys
    import pyrevolve.progress
    from test_revolver import Forward, Reverse, Wave, WaveCheckpoint, run
    from pyrevolve import Revolver

    if "now" in sys.argv:
        pyrevolve.progress._DELAY, pyrevolve.progress._INTERVAL = 0.0, 0
    wave = Wave(60)
    with Revolver(WaveCheckpoint(wave), Forward(wave), Reverse(wave), 4, 60) as revolver:
        run(wave, revolver)
    instances = len(sys.modules["tqdm"].tqdm._instances) if "tqdm" in sys.modules else None
    print("done", instances, sys.stderr.isatty())
    """
)


def script(*arguments, stderr):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env={**os.environ, "TERM": "xterm"},
    )


def test_nothing_is_shown_where_nobody_watches():
    done = script("now", stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "done None False\n")  # no tqdm was imported


def in_terminal(*arguments):
    """Run the script with standard error in a terminal; return its output, and what the terminal was sent."""
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals, such as those of Linux")
    pytest.importorskip("tqdm", reason='needs tqdm: pip install "pyrevolve[progress]"')
    import fcntl
    import struct
    import termios

    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 120, 0, 0))  # lines, columns
    sent = bytearray()

    def listen():
        try:
            while piece := os.read(master, 65536):
                sent.extend(piece)
        except OSError:  # EIO: the other end was closed
            return

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        done = script(*arguments, stderr=terminal)
    finally:
        os.close(terminal)
        listener.join()
        os.close(master)
    assert done.returncode == 0, sent.decode()
    return done.stdout, sent.decode()


def test_bar_is_shown_in_a_terminal_and_leaves_nothing_behind():
    written, sent = in_terminal("now")
    assert written == "done 0 True\n"
    assert "forward:" in sent
    assert "reverse:" in sent
    assert "60 of 60 timesteps" in sent
    assert "snapshots in RAM" in sent
    assert "%|" in sent
    # The last that is written is blanks over the bar, and back to the beginning of the line.
    assert sent.endswith("\r")
    assert sent.rstrip("\r").rpartition("\r")[2].strip() == ""


def test_short_runs_show_no_bar_in_a_terminal():
    written, sent = in_terminal()
    assert written == "done 0 True\n"
    assert sent == ""


# --- closed, whatever happens -------------------------------------------------------------------------------


@pytest.fixture
def tqdm():
    return pytest.importorskip("tqdm", reason='needs tqdm: pip install "pyrevolve[progress]"').tqdm


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("sweep", ["forward", "reverse"])
def test_bar_is_closed_after_an_exception(error, sweep, tqdm, capsys, tmp_path):
    wave = Wave(30)
    revolver = watched(wave, Revolve(30, 3), tmp_path, progress=True)

    def failing(t_start, t_end):
        raise error

    apply = getattr(wave, sweep)
    setattr(wave, sweep, failing)
    with pytest.raises(error):
        run(wave, revolver)
    assert not tqdm._instances
    setattr(wave, sweep, apply)
    revolver.reset()
    run(wave, revolver)
    assert not tqdm._instances
    assert "reverse:" in capsys.readouterr().err


def test_function_that_raises_ends_the_sweep(tmp_path):
    wave = Wave(30)
    states = []

    def failing(state):
        states.append(state)
        if len(states) == 5:
            raise BrokenError

    revolver = watched(wave, Revolve(30, 3), tmp_path, progress=failing)
    with pytest.raises(BrokenError):
        run(wave, revolver)
    revolver.reset()
    run(wave, revolver)
    assert states[-1].fraction == 1.0


def test_bars_of_the_user_keep_their_places(tqdm, capsys, tmp_path):
    wave = Wave(20)
    with (
        watched(wave, Revolve(20, 3), tmp_path, progress=True) as revolver,
        tqdm(total=2, desc="shots") as outer,
    ):
        for _ in range(2):
            run(wave, revolver)
            revolver.reset()
            outer.update()
            assert outer.pos == 0
            assert list(tqdm._instances) == [outer]
    assert not tqdm._instances
    assert "shots: 100%" in capsys.readouterr().err


@pytest.mark.parametrize("left", ["close", "reset", "finish"])
def test_bar_of_an_online_run_stays_until_its_end(left, tqdm, capsys, tmp_path):
    wave = Wave(20)
    revolver = watched(wave, Online(3), tmp_path, progress=True)
    wave.set_initial()
    revolver.advance(3)
    (bar,) = tqdm._instances
    revolver.advance(3)
    assert list(tqdm._instances) == [bar]
    getattr(revolver, left)()
    assert not tqdm._instances
    revolver.close()
    assert "6 timesteps" in capsys.readouterr().err


def test_forward_run_alone_ends_at_its_total(tmp_path):
    wave = Wave(20)
    states = []
    with watched(wave, ForwardOnly(20), tmp_path, progress=states.append) as revolver:
        wave.set_initial()
        revolver.apply_forward()
    assert states[-1].fraction == 1.0
    assert states[-1].done == 20


def test_several_threads_show_bars_at_once(tqdm, capsys, tmp_path):
    waves = [Wave(30, seed=seed) for seed in range(4)]
    expected = [wave.store_all()[0] for wave in waves]
    gradients = [None] * len(waves)
    barrier = threading.Barrier(len(waves), timeout=60)

    def work(number):
        with watched(waves[number], Revolve(30, 3), tmp_path, progress=True) as revolver:
            barrier.wait()
            gradients[number] = run(waves[number], revolver)[0]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(waves))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not tqdm._instances
    for gradient, right in zip(gradients, expected, strict=True):
        assert gradient.tobytes() == right.tobytes()


def test_progress_goes_with_a_timeline_and_the_profile(tmp_path):
    wave = Wave(40)
    told = seen(wave, Revolve(40, 4), tmp_path, timeline=True)
    events = told.revolver.timeline.events
    assert len(events) == sum(i.kind not in (Kind.TURN, Kind.END) for i in told.revolver.schedule)
    assert told.revolver.profiler[Kind.FORWARD].steps + 40 == told.states[-1].done
