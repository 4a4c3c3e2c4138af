"""Journals: a run goes on from one after kill -9 at any moment, or says why it cannot."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import itertools
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from interrupted import Case, InterruptedCheckpoint, Server, carry_out, result
from test_revolver import Forward, Reverse, WaveCheckpoint

import pyrevolve.journal
from pyrevolve import (
    Checkpoint,
    Content,
    DiskStorage,
    ForwardOnly,
    JournalError,
    Kind,
    MemoryStorage,
    Mixed,
    Multistage,
    Online,
    Operator,
    Revolver,
    StorageError,
    StorageFullError,
)
from pyrevolve.journal import Journal

pytestmark = pytest.mark.processes

CASES = {
    "RAM": Case("RAM"),
    "RAM, free, window": Case("RAM", window=3, initial="free", interval=0.001),
    "no snapshots": Case("no snapshots", n=20, window=4, initial="free"),
    "no state is ever stored": Case("RAM", n=15, window=20),
    "multistage": Case("multistage", interval=0.002),
    "multistage, window, lag": Case("multistage", window=4, lookback=2, lag=1, interval=0.003),
    "multistage, free, lookback": Case("multistage", window=5, lookback=2, initial="free"),
    "multistage, entry at the turn only": Case("multistage", n=30, interval=1e9),
    "multistage, shots": Case("multistage", n=25, shots=3),
    "disk only": Case("disk only", window=2, interval=0.002),
    "disk only, window, lookback": Case("disk only", window=6, lookback=2),
    "disk only, free, lookback": Case("disk only", window=3, lookback=3, initial="free"),
    "asynchronous": Case("asynchronous", window=3, interval=0.001),
    "asynchronous, free, lookback": Case("asynchronous", window=3, lookback=2, initial="free"),
    "hrevolve": Case("hrevolve", n=60, window=2),
    "planned": Case("planned", n=60, interval=0.001),
    "planned, free, window, lag": Case("planned", n=60, window=2, lookback=1, lag=1, initial="free"),
    "compressed": Case("planned, compressed", n=60, interval=0.001),
    "compressed, window": Case("planned, compressed", n=60, window=3, lookback=1, interval=0.001),
    "RAM compressed": Case("planned, RAM compressed", n=60, interval=0.001),
    "crowded": Case("crowded", n=50),
    "crowded, free, shots": Case("crowded", n=25, window=3, lookback=2, initial="free", shots=2),
    "one timestep": Case("multistage", n=1),
    "no timestep": Case("RAM", n=0),
}
COMPRESSED = [name for name, case in CASES.items() if case.how == "crowded" or "compressed" in case.how]
#: With an entry before every instruction.
MULTISTAGE = Case("multistage")


@pytest.fixture(params=CASES)
def case(request):
    if request.param in COMPRESSED:
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    return CASES[request.param]


@pytest.fixture(scope="module")
def server():
    if not hasattr(os, "fork"):
        pytest.skip("needs a system with fork and SIGKILL, such as Linux")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """What is in the page cache outlives a process; forcing it onto the medium only takes time here."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("fsync", "fdatasync"):
            if hasattr(os, name):
                monkeypatch.setattr(os, name, lambda fd: None)
        yield


# --- killed at any moment -----------------------------------------------------------------------------------


def kill_often(server, case, directory, kills, seed):
    """Kill runs of a case again and again, until so many were killed; all that end are right."""
    expected = [case.expected(shot) for shot in range(case.shots)]
    generator = random.Random(seed)
    first = directory / "uninterrupted"
    first.mkdir()
    assert server.run(case, first)
    assert [(first / f"result-{shot}").read_bytes() for shot in range(case.shots)] == expected
    counts = json.loads((first / "counts").read_text())
    before = server.kills
    for chain in itertools.count():
        place = directory / f"chain-{chain}"
        place.mkdir()
        while True:
            kind = generator.choice(["timestep", "call", "call", "delay"])
            at = 1 + int(generator.random() ** 2 * counts.get(kind, 0))
            if server.run(case, place, kind, generator.uniform(0.0, 0.05) if kind == "delay" else at):
                break
        assert [(place / f"result-{shot}").read_bytes() for shot in range(case.shots)] == expected
        assert not (place / "journal").exists()
        if server.kills - before >= kills or not counts["timestep"]:
            break


def test_gradient_is_the_same_however_often_the_process_is_killed(case, server, tmp_path):
    """At timesteps, in the middle of calls of the system, from outside; each restart is killed again."""
    kill_often(server, case, tmp_path, 6, zlib.crc32(repr(case).encode()))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_the_same_after_very_many_kills(case, seed, server, tmp_path):
    kill_often(server, case, tmp_path, 60, seed)


def test_script_goes_on_in_an_interpreter_of_its_own(tmp_path):
    case = MULTISTAGE
    job = {"case": vars(case), "directory": str(tmp_path), "kind": "timestep", "at": 50}
    for at in (50, 60, 10**9):
        job["at"] = at
        script = [sys.executable, os.path.join(os.path.dirname(__file__), "interrupted.py"), json.dumps(job)]
        done = subprocess.run(script, timeout=60, check=False)
        assert (done.returncode == 0) == (at == 10**9)
    assert (tmp_path / "result-0").read_bytes() == case.expected()


class BrokenError(Exception):
    pass


def break_at(wave, at):
    """Let a run end with an exception at a certain timestep, which leaves behind what a kill leaves."""
    ticks = itertools.count(1)

    def tick():
        if next(ticks) == at:
            raise BrokenError

    wave.tick = tick


def interrupted(case, folder, at, **options):
    """Leave a run in the middle."""
    wave = case.wave()
    with case.revolver(wave, folder, **options) as revolver:
        break_at(wave, at)
        with pytest.raises(BrokenError):
            carry_out(revolver, wave)


def finished(case, folder, **options):
    """Go on with a run; return its result and the forward timesteps that it took."""
    wave = case.wave()
    with case.revolver(wave, folder, **options) as revolver:
        return carry_out(revolver, wave), revolver.profiler[Kind.FORWARD].steps


@pytest.mark.parametrize("interval", [0.0, 0.001, 1e9])
@pytest.mark.parametrize(
    "name", ["multistage", "disk only, window, lookback", "disk only, free, lookback", "crowded"]
)
def test_every_timestep_is_one_to_go_on_from(name, interval, tmp_path):
    """The directory is copied at every timestep of one run, as a kill would leave it there."""
    if name in COMPRESSED:
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    case = dataclasses.replace(CASES[name], n=24, interval=interval)
    folder = tmp_path / "journal"
    copies = []

    def tick():
        copies.append(tmp_path / f"copy-{len(copies)}")
        shutil.copytree(folder, copies[-1])
        assert len(list(folder.glob("entry-*"))) <= 1

    wave = case.wave()
    with case.revolver(wave, folder) as revolver:
        wave.tick = tick
        assert carry_out(revolver, wave) == case.expected()
    for storage in revolver.storages:
        storage.close()
    for copy in copies:
        assert finished(case, copy)[0] == case.expected()
        assert not copy.exists()


@given(
    n=st.integers(0, 60),
    slots=st.tuples(st.integers(0, 2), st.integers(1, 6)),
    window=st.integers(1, 8),
    lookback=st.integers(0, 3),
    lag=st.sampled_from([0, 1]),
    initial=st.sampled_from(["stored", "stored", "free"]),
    interval=st.sampled_from([0.0, 0.0, 0.0005, 1e9]),
    fixed=st.booleans(),
    moments=st.lists(st.integers(1, 200), max_size=5),
)
@example(  # x_0 is needed again, and the disk is full of others
    n=9,
    slots=(0, 1),
    window=4,
    lookback=2,
    lag=0,
    initial="stored",
    interval=0.0,
    fixed=False,
    moments=[1, 6],
)
def test_any_run_goes_on_however_often_it_is_left(
    n, slots, window, lookback, lag, initial, interval, fixed, moments
):
    """For any sizes, with slots of their own or shared bytes on disk."""
    window = max(window, lookback)
    case = Case("multistage", n, window, lookback, lag if lookback else None, initial, interval)
    schedule = Multistage(n, *slots, window=window, lookback=lookback, lag=case.lag, initial_state=initial)
    with tempfile.TemporaryDirectory() as directory:
        folder = os.path.join(directory, "journal")
        for moment in (*moments, None):
            wave = case.wave()
            options = {"schedule": schedule}
            os.makedirs(folder, exist_ok=True)
            with contextlib.ExitStack() as stack:
                if fixed:
                    like = WaveCheckpoint(wave).arrays(0)
                    storages = MemoryStorage(slots[0], like), DiskStorage(slots[1], like, folder=folder)
                    options["storage"] = tuple(stack.enter_context(storage) for storage in storages)
                revolver = stack.enter_context(case.revolver(wave, folder, **options))
                break_at(wave, moment)
                with contextlib.suppress(BrokenError):
                    assert carry_out(revolver, wave) == case.expected()
                    break
        assert not os.path.exists(folder)


def test_snapshots_on_disk_outlive_the_process(folder):
    schedule = Multistage(40, 2, 3)
    interrupted(MULTISTAGE, folder, 60)
    result, steps = finished(MULTISTAGE, folder)
    assert result == MULTISTAGE.expected()
    assert steps < schedule.forward_steps - schedule.n_timesteps


def test_run_in_which_no_state_is_stored_starts_anew(folder):
    case = CASES["no state is ever stored"]
    for at in (5, 14, 16, 25):
        interrupted(case, folder, at)
    assert finished(case, folder) == (case.expected(), case.n)
    assert not folder.exists()


def test_another_window_changes_no_bit(folder):
    interrupted(Case("multistage", window=4, lookback=2), folder, 70)
    case = Case("multistage", window=2, lookback=2)
    assert finished(case, folder)[0] == case.expected()


@pytest.mark.parametrize("how", ["RAM", "disk only", "multistage"])
def test_another_number_of_snapshots_changes_no_bit(how, folder):
    """As where a plan rests on the memory that is free, or on costs that are measured anew."""
    interrupted(Case("multistage"), folder, 90)
    case = Case(how)
    assert finished(case, folder)[0] == case.expected()


def test_another_codec_changes_no_bit(folder):
    pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    for case in (CASES["compressed"], CASES["planned"], CASES["compressed"]):
        interrupted(case, folder, 30)
    assert finished(CASES["planned"], folder)[0] == CASES["planned"].expected()


def test_residual_is_formed_by_the_second_process_where_the_first_was_killed_before(folder):
    """What it puts into the named arrays between the sweeps is not overwritten."""
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder) as revolver:
        wave.set_initial()
        revolver.apply_forward()
        turned = [array.copy() for array in wave.arrays()]
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder) as revolver:
        wave.set_initial()
        wave.receivers[:] = 7.0
        revolver.apply_forward()
        assert int(wave.time[0]) == MULTISTAGE.n
        for array, expected in zip(wave.arrays(), turned, strict=True):
            np.testing.assert_array_equal(array, expected)
        wave.start_adjoint()
        revolver.apply_reverse()
    assert result(wave) == MULTISTAGE.expected()


# --- arrays -------------------------------------------------------------------------------------------------


def test_arrays_of_any_kind_are_put_back(folder):
    """Without elements, without dimensions, strided, of any numbers."""
    base = np.arange(24.0).reshape(4, 6)
    kinds = [
        base[::2, ::-3],
        base.T,
        np.zeros((3, 0)),
        np.array(5.0),
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        np.array([7], ">i2"),
        np.array(["2026-01-01"], "M8[s]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
    ]
    kept = [array.copy() for array in kinds]
    interrupted(MULTISTAGE, folder, 90, resume_arrays=kinds)
    for array in kinds:
        array[...] = np.zeros((), array.dtype)
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder, resume_arrays=kinds) as revolver:
        wave.set_initial()
        revolver.apply_forward()
        for array, expected in zip(kinds, kept, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_arrays_must_be_named(folder):
    with pytest.raises(TypeError, match=r"resume= needs resume_arrays=.*the gradient would be wrong"):
        MULTISTAGE.revolver(MULTISTAGE.wave(), folder, resume_arrays=None)
    with pytest.raises(ValueError, match="resume_arrays= is of no use without resume="):
        MULTISTAGE.revolver(MULTISTAGE.wave(), resume_arrays=[])


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (3.0, "numpy arrays of numbers, got float"),
        ([1.0], "numpy arrays of numbers, got list"),
        (np.array([None]), "numpy arrays of numbers, got ndarray"),
        (np.ma.masked_array([1.0], [True]), "numpy arrays of numbers, got MaskedArray"),
        (np.broadcast_to(1.0, 3), "writable, got a read-only array"),
    ],
)
def test_what_cannot_be_put_back_is_refused_at_the_start(array, what, folder):
    with pytest.raises(TypeError, match=what):
        MULTISTAGE.revolver(MULTISTAGE.wave(), folder, resume_arrays=[np.zeros(3), array])
    folder.rmdir()


@pytest.mark.parametrize("at", [20, 90])
def test_other_arrays_are_refused(at, folder):
    interrupted(MULTISTAGE, folder, at)
    wave = MULTISTAGE.wave()
    others = [
        [],
        wave.arrays()[:-1],
        [*wave.arrays(), np.zeros(1)],
        [wave.adjoint.T, wave.gradient, wave.receivers],
        [wave.adjoint.astype("f4"), wave.gradient, wave.receivers],
    ]
    for arrays in others:
        with pytest.raises(JournalError, match="of another run: it keeps arrays of"):
            finished(MULTISTAGE, folder, resume_arrays=arrays)
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


# --- journals that are refused ------------------------------------------------------------------------------


def foreign_state(wave):
    class Other(InterruptedCheckpoint):
        def arrays(self, t):
            return [*super().arrays(t), np.zeros(2)]

    return Other(wave)


def foreign_start(wave):
    wave.initial = wave.initial.copy()
    wave.initial[0, 0] = np.nextafter(wave.initial[0, 0], 1e9)
    return InterruptedCheckpoint(wave)


@pytest.mark.parametrize(
    ("other", "checkpoint", "options", "what"),
    [
        (Case("multistage", n=41), InterruptedCheckpoint, {}, "its number of timesteps is 40, that .* is 41"),
        (Case("multistage", initial="free"), InterruptedCheckpoint, {}, "its initial state is 'stored'"),
        (Case("multistage", lookback=1), InterruptedCheckpoint, {}, "its lookback and lag is"),
        (MULTISTAGE, foreign_state, {}, "its state is"),
        (MULTISTAGE, foreign_start, {}, "its x_0 is"),
        (
            MULTISTAGE,
            InterruptedCheckpoint,
            {"resume_key": "b"},
            "its name is 'shot 0', that of this run is 'b'",
        ),
    ],
)
@pytest.mark.parametrize("at", [30, 100])
def test_foreign_journal_is_refused_and_stays_as_it_is(at, other, checkpoint, options, what, folder):
    interrupted(MULTISTAGE, folder, at)
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    wave = other.wave()
    parts = checkpoint(wave), Forward(wave), Reverse(wave)
    arguments = other.arguments(wave, folder)
    with Revolver(*parts, **arguments, resume=folder, resume_arrays=wave.arrays, **options) as revolver:
        wave.set_initial()
        with pytest.raises(
            JournalError, match=rf"of another run: {what}.*remove the directory to start anew"
        ):
            revolver.apply_forward()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == left
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


def test_budget_that_is_smaller_does_not_cut_the_snapshots_off(folder):
    interrupted(MULTISTAGE, folder, 100)
    size = (folder / "snapshots").stat().st_size
    with pytest.raises(JournalError, match="of another run"):
        finished(MULTISTAGE, folder, schedule=Multistage(40, 3, 1), resume_key="b")
    assert (folder / "snapshots").stat().st_size == size
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


def test_shots_are_told_from_one_another(folder):
    """By how many there were in this process, or by the names that the user gives them."""
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder) as revolver:
        carry_out(revolver, wave)
        revolver.reset()
        break_at(wave, 90)
        with pytest.raises(BrokenError):
            carry_out(revolver, wave)
    with pytest.raises(JournalError, match="its name is 'shot 1', that of this run is 'shot 0'"):
        finished(MULTISTAGE, folder)
    assert finished(MULTISTAGE, folder, resume_key="shot 1")[0] == MULTISTAGE.expected()


def test_key_is_asked_for_with_a_journal_only():
    with MULTISTAGE.revolver(MULTISTAGE.wave()) as revolver:
        assert revolver.resume_key == ""
        with pytest.raises(ValueError, match="resume_key is of no use without resume="):
            revolver.resume_key = "a"


def test_directory_with_other_things_is_left_alone(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("all of it")
    with pytest.raises(JournalError, match=r"holds other things than a journal, such as thesis\.tex"):
        MULTISTAGE.revolver(MULTISTAGE.wave(), folder)
    assert os.listdir(folder) == ["thesis.tex"]


@pytest.mark.parametrize(("name", "at"), [("entry", 30), ("entry", 100), ("turn", 100)])
def test_damage_is_found_wherever_it_is(name, at, folder):
    interrupted(MULTISTAGE, folder, at)
    (path,) = folder.glob(f"{name}*")
    content = path.read_bytes()
    generator = random.Random(at)
    for place in (*range(30), *(generator.randrange(len(content)) for _ in range(40)), len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(JournalError, match="cannot be used: its checksum is wrong; remove the directory"):
            finished(MULTISTAGE, folder)
    for length in (0, 1, 17, 40, 60, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(JournalError, match="cannot be used: its checksum is wrong"):
            finished(MULTISTAGE, folder)
    path.write_bytes(content)
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


def test_turn_that_is_missing_is_an_error(folder):
    interrupted(MULTISTAGE, folder, 100)
    (folder / "turn").unlink()
    with pytest.raises(JournalError, match="damaged: what the turn left is missing"):
        finished(MULTISTAGE, folder)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut off", "zeros", "one bit"])
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_snapshot_is_told_by_slot_and_timestep(damage, compressed, folder):
    case = CASES["compressed" if compressed else "disk only"]
    if compressed:
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    interrupted(case, folder, 100, resume_interval=0.0)
    path = folder / "snapshots"
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "one bit":
        for block in range(0, len(content), 4096):
            content[block + 17] ^= 4
    if damage != "missing":
        kept = {"empty": 0, "cut off": 1000}.get(damage, len(content))
        path.write_bytes(bytes(kept) if damage == "zeros" else content[:kept])
    with pytest.raises(StorageError, match=r"its checksum was .* when it was written") as error:
        finished(case, folder)
    assert error.value.tier == "disk"
    assert isinstance(error.value.slot, int)
    assert isinstance(error.value.timestep, int)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda index: index[0].update(extents=[[0, 1 << 40]]),
        lambda index: index[0].update(extents=index[1]["extents"]),
        lambda index: index[0].update(extents=[[4096, 0]]),
        lambda index: index[0].update(slot=index[1]["slot"]),
        lambda index: index[0].update(slot=-1),
        lambda index: index[0].update(content=7),
        lambda index: index[0].update(checksum="?"),
        lambda index: index[0].pop("t"),
    ],
)
def test_index_that_does_not_fit_is_refused(spoil, folder, monkeypatch):
    original = DiskStorage.index

    def index(storage):
        found = json.loads(json.dumps(original(storage)))
        if len(found) > 1:
            spoil(found)
        return found

    monkeypatch.setattr(DiskStorage, "index", index)
    interrupted(CASES["disk only"], folder, 100)
    monkeypatch.undo()
    with pytest.raises(JournalError, match="does not go with the snapshots beside it"):
        finished(CASES["disk only"], folder)


def test_journal_is_for_one_process_at_a_time(folder):
    code = f"from pyrevolve.journal import Journal\njournal = Journal({str(folder)!r}, interval=0)\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "print('held', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JournalError, match="another process uses the journal"):
            MULTISTAGE.revolver(MULTISTAGE.wave(), folder)
    finally:
        holder.kill()
        holder.communicate()
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


def test_journal_is_for_one_revolver_at_a_time(folder):
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder) as revolver:
        with pytest.raises(JournalError, match="another process uses the journal"):
            MULTISTAGE.revolver(MULTISTAGE.wave(), folder)
        assert carry_out(revolver, wave) == MULTISTAGE.expected()
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


@pytest.mark.parametrize(
    "options", [{"threads": 2}, {"storage": MemoryStorage(1)}, {"storage": [MemoryStorage(4)] * 2}]
)
def test_revolver_that_cannot_be_made_gives_the_journal_back(options, folder):
    with pytest.raises(ValueError):
        MULTISTAGE.revolver(MULTISTAGE.wave(), folder, **{"storage": [MemoryStorage(4)] * 2, **options})
    assert not folder.exists()
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


@pytest.mark.parametrize("schedule", [Mixed(40, 3), Online(3), ForwardOnly(40)])
def test_schedule_that_cannot_be_gone_on_with_is_refused(schedule, tmp_path):
    class WithStepData(InterruptedCheckpoint):
        def get_step_data(self, t):
            return [self.wave.step_data[t]]

    wave = MULTISTAGE.wave()
    folder = tmp_path / "journal"
    with pytest.raises(ValueError, match=f"{type(schedule).__name__} cannot be resumed: resume= is for"):
        Revolver(
            WithStepData(wave),
            Forward(wave),
            Reverse(wave),
            schedule=schedule,
            resume=folder,
            resume_arrays=wave.arrays,
        )
    assert not folder.exists()


def lossy():
    pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    from pyrevolve.compression import rounded

    return rounded(8)


def of_ones_own():
    class Mine:
        def encode(self, buf):
            return bytes(buf)

        def decode(self, buf, out=None):
            out[...] = np.frombuffer(buf, out.dtype).reshape(out.shape)

    return Mine()


@pytest.mark.parametrize("codec", [lossy, of_ones_own])
@pytest.mark.parametrize("where", ["compression", "storage"])
def test_lossy_compression_is_refused(codec, where, folder):
    """Another schedule, after a kill, lets other states go through the codec."""
    case, compression = MULTISTAGE, codec()
    wave = case.wave()
    if where == "compression":
        options = {"n_timesteps": case.n, "memory": 6000, "compression": compression, "schedule": None}
    else:
        like = WaveCheckpoint(wave).arrays(0)
        options = {"storage": [MemoryStorage(2, like, compression=compression), MemoryStorage(3, like)]}
    with pytest.raises(ValueError, match=r"resume= and lossy compression, here .*, exclude each other"):
        case.revolver(wave, folder, **options)
    assert not folder.exists() or not list(folder.iterdir())


def test_codec_that_is_said_to_be_exact_is_taken(folder):
    from pyrevolve.compression import Compression

    like = WaveCheckpoint(MULTISTAGE.wave()).arrays(0)
    exact = Compression(codec=of_ones_own(), lossless=True)
    with MemoryStorage(2, like, compression=exact) as first, MemoryStorage(3, like) as second:
        assert finished(MULTISTAGE, folder, storage=[first, second])[0] == MULTISTAGE.expected()


@pytest.mark.parametrize("interval", [-1.0, float("nan")])
def test_interval_is_no_negative_number(interval, tmp_path):
    with pytest.raises(ValueError, match="resume_interval must be >= 0 seconds, got"):
        Journal(tmp_path / "journal", interval=interval)
    assert not (tmp_path / "journal").exists()


# --- what is on disk ----------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_run_that_was_finished(case, folder):
    wave = case.wave()
    with case.revolver(wave, folder) as revolver:
        for _ in range(2):
            assert carry_out(revolver, wave) == case.expected()
            revolver.reset()
    for storage in revolver.storages:
        storage.close()
    assert not folder.exists()


def test_journal_stays_after_an_exception_and_goes_on_reset(folder):
    interrupted(MULTISTAGE, folder, 90)
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"entry", "turn", "snapshots", "lock"}
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder) as revolver:
        break_at(wave, 5)
        with pytest.raises(BrokenError):
            carry_out(revolver, wave)
        revolver.reset()
        assert {path.name for path in folder.iterdir()} == {"snapshots", "lock"}
        wave.tick = lambda: None
        assert carry_out(revolver, wave) == MULTISTAGE.expected()
        assert revolver.profiler[Kind.FORWARD].steps >= revolver.n_timesteps
    assert not folder.exists()


def test_entries_that_were_not_finished_are_removed(folder):
    interrupted(MULTISTAGE, folder, 90)
    (folder / "entry-1000.new").write_bytes(b"half of")
    (folder / "turn.new").write_bytes(b"")
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder) as revolver:
        assert not list(folder.glob("*.new"))
        assert carry_out(revolver, wave) == MULTISTAGE.expected()


def test_entry_that_was_given_up_does_not_come_back(folder, monkeypatch):
    """Killed between an entry and the removal of the one before, the next process keeps the new one only."""
    removed = []
    monkeypatch.setattr(Journal, "_remove_entries", lambda *_, **__: removed.append(1))
    interrupted(MULTISTAGE, folder, 90)
    monkeypatch.undo()
    numbers = sorted(int(path.name[6:]) for path in folder.glob("entry-*"))
    assert len(numbers) > 2
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder, resume_interval=1e9) as revolver:
        wave.set_initial()
        revolver.apply_forward()
        assert [path.name for path in folder.glob("entry-*")] == [f"entry-{numbers[-1]}"]
        wave.start_adjoint()
        revolver.apply_reverse()
    assert result(wave) == MULTISTAGE.expected()


def test_entry_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    wave = MULTISTAGE.wave()
    original = pyrevolve.journal.whole
    calls = itertools.count()

    def whole(move, data):
        if next(calls) > 60:
            original(move, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        original(move, data)

    monkeypatch.setattr(pyrevolve.journal, "whole", whole)
    with MULTISTAGE.revolver(wave, folder) as revolver:
        with pytest.raises(OSError, match="No space left"):
            carry_out(revolver, wave)
        assert len(list(folder.glob("entry-*[0-9]"))) == 1
    monkeypatch.undo()
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


def test_entry_tells_of_nothing_that_is_not_on_the_medium(folder, monkeypatch):
    """Snapshots are forced there before it, and the entry itself before it gets its name."""
    calls = []
    for name in ("pwrite", "fdatasync", "fsync", "replace"):
        original = getattr(os, name)

        def call(*arguments, original=original, name=name):
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(os, name, call)
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()
    dirty = named = False
    for this, following in itertools.pairwise([*calls, "end"]):
        dirty = this == "pwrite" or (dirty and this != "fdatasync")
        if following == "replace":
            assert this == "fsync"
            assert not dirty
            named = True
        if this == "replace":
            assert following == "fsync"
    assert named


def entries(monkeypatch):
    """Return a list that grows with every entry."""
    written = []
    original = Journal.write

    def write(journal, sweep, *arguments):
        written.append(sweep)
        original(journal, sweep, *arguments)

    monkeypatch.setattr(Journal, "write", write)
    return written


def test_entry_is_written_where_the_disk_is_full_of_what_the_last_one_tells_of(folder, monkeypatch):
    written = entries(monkeypatch)
    wave = MULTISTAGE.wave()
    like = WaveCheckpoint(wave).arrays(0)
    folder.mkdir()
    with (
        MemoryStorage(1, like) as memory,
        DiskStorage(4, like, folder=folder) as disk,
        MULTISTAGE.revolver(
            wave, folder, schedule=Multistage(40, 1, 4), storage=(memory, disk), resume_interval=1e9
        ) as revolver,
    ):
        assert disk.nbytes == 4 * 4096
        assert carry_out(revolver, wave) == MULTISTAGE.expected()
        assert revolver.profiler[Kind.FORWARD].steps == revolver.schedule.forward_steps
    assert written[0] == "turned"
    assert "reverse" in written


def test_entry_is_not_written_for_a_snapshot_that_is_meant_for_ram(folder, monkeypatch):
    pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
    written = entries(monkeypatch)
    wave = MULTISTAGE.wave()
    like = WaveCheckpoint(wave).arrays(0)
    folder.mkdir()
    with (
        MemoryStorage(None, like, room=600, compression="zstd") as memory,
        DiskStorage(None, like, room=100 * 4096, folder=folder) as disk,
        MULTISTAGE.revolver(
            wave, folder, schedule=Multistage(40, 4, 4), storage=(memory, disk), resume_interval=1e9
        ) as revolver,
    ):
        assert carry_out(revolver, wave) == MULTISTAGE.expected()
        assert revolver.profiler.tiers[1].saves.calls > revolver.schedule.counts.tiers[1].saves
    assert written == ["turned"]


@pytest.mark.parametrize("fixed", [False, True])
def test_slots_that_were_freed_keep_their_bytes_until_the_next_entry(fixed, folder):
    folder.mkdir()
    state = [np.arange(600.0)]
    room = {} if fixed else {"room": 2 * 8192}
    with DiskStorage(2 if fixed else None, state, folder=folder, checksum=False, **room) as storage:
        for t in (0, 1):
            state[0][:] = t
            storage.save(t, state, t)
        index = storage.index()
        storage.hold()
        assert not storage.deferred
        storage.free(1)
        assert storage.deferred
        state[0][:] = 2.0
        with pytest.raises(StorageFullError):
            storage.save(1, state, 2)
        storage.hold()
        assert not storage.deferred
        storage.save(1, state, 2)
        assert storage.index()[1]["extents"] == index[1]["extents"]
        storage.free(1)
        storage.save(1, state, 3)  # what was saved since is nobody's


@pytest.mark.parametrize("compressed", [False, True])
def test_index_finds_everything_again(compressed, folder):
    codec = None
    if compressed:
        pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')
        codec = "zstd"
    folder.mkdir()

    def state(t):
        noise = np.random.default_rng(t).normal(size=1000 * (1 + t % 3))
        return [np.concatenate([noise, np.zeros(3000 - noise.size)]), np.array([t], np.int32)]

    options = {"room": 60 * 4096, "folder": folder, "compression": codec}
    with DiskStorage(None, state(0), **options) as storage:
        for slot in range(9):
            storage.save(slot, state(slot), slot)
        for slot in (1, 4, 7):
            storage.free(slot)
        for slot in (20, 1 << 40):  # in pieces where they do not fit between the others
            storage.save(slot, state(slot % 1000), slot % 1000)
        index = json.loads(json.dumps(storage.index()))
        full, left = storage.full, storage.bytes_left
    with DiskStorage(None, state(0), **options) as storage:
        assert storage.full == {}
        storage.restore(index)
        assert (storage.full, storage.bytes_left) == (full, left)
        assert json.loads(json.dumps(storage.index())) == index
        for slot, t in full.items():
            found = [np.empty(3000), np.empty(1, np.int32)]
            storage.load(slot, found, t, Content.STATE)
            for array, expected in zip(found, state(t), strict=True):
                np.testing.assert_array_equal(array, expected)
            storage.free(slot)
        assert storage.deferred


def test_journal_that_two_share_by_chance_is_made_again(folder, monkeypatch):
    """The first removes it on closing, just when the second has opened its lock."""
    first = Journal(folder, interval=0.0)
    original = os.open

    def late(path, *arguments):
        fd = original(path, *arguments)
        monkeypatch.undo()
        first.close()
        return fd

    monkeypatch.setattr(os, "open", late)
    second = Journal(folder, interval=0.0)
    with pytest.raises(JournalError, match="another process uses"):
        Journal(folder, interval=0.0)
    second.close()
    assert not folder.exists()


class Still(Checkpoint):
    """A state without any arrays."""

    dtype, size = np.dtype(float), 0

    def get_data(self, t):
        return []

    get_data_location = get_data


class Counting(Operator):
    def __init__(self, count):
        self.count = count

    def apply(self, t_start, t_end):
        self.count[0] += t_end - t_start


def test_state_without_arrays_is_journalled_too(folder):
    """What the operators do is all in the named arrays."""
    forward, reverse = np.zeros(1), np.zeros(1)
    with Revolver(
        Still(),
        Counting(forward),
        Counting(reverse),
        schedule=Multistage(9, 1, 2),
        resume=folder,
        resume_arrays=[forward, reverse],
        resume_interval=0.0,
    ) as revolver:
        revolver.apply_forward()
        revolver.apply_reverse()
    assert reverse == 9
    assert forward == revolver.schedule.forward_steps
    assert not folder.exists()


def test_names_of_files_are_what_a_listing_shows(folder):
    """A directory that holds nothing but entries and snapshots is a journal, whoever made it."""
    interrupted(MULTISTAGE, folder, 90)
    with contextlib.closing(Journal(folder, interval=0.0)) as journal:
        assert journal.path == str(folder)
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


# --- the end ------------------------------------------------------------------------------------------------


def test_directory_that_is_gone_does_not_hide_what_happened(folder):
    """The exception of the operator is what is seen, and the lock is given back."""
    wave = MULTISTAGE.wave()
    revolver = MULTISTAGE.revolver(wave, folder, resume_interval=1e9)

    def fail():
        with revolver:
            wave.set_initial()
            revolver.apply_forward()
            shutil.rmtree(folder)
            wave.tick = raise_broken
            revolver.apply_reverse()

    def raise_broken():
        raise BrokenError

    with pytest.raises(BrokenError):
        fail()
    revolver.close()
    assert finished(MULTISTAGE, folder)[0] == MULTISTAGE.expected()


def test_close_that_fails_does_not_hide_what_happened(folder, monkeypatch, caplog):
    wave = MULTISTAGE.wave()

    def close():
        raise OSError("the disk is gone")

    def fail(error):
        with MULTISTAGE.revolver(wave, folder / str(error)) as revolver:
            monkeypatch.setattr(revolver._journal, "close", close)
            if error:
                raise BrokenError

    with pytest.raises(BrokenError):
        fail(True)
    assert "the disk is gone" in caplog.text
    with pytest.raises(OSError, match="the disk is gone"):
        fail(False)


def test_revolver_that_nobody_has_any_more_gives_the_journal_back(folder):
    """And its entries stay, as after a kill."""
    wave = MULTISTAGE.wave()
    revolver = MULTISTAGE.revolver(wave, folder)
    break_at(wave, 30)
    with pytest.raises(BrokenError):
        carry_out(revolver, wave)
    del revolver
    gc.collect()
    result, steps = finished(MULTISTAGE, folder)
    assert result == MULTISTAGE.expected()
    assert steps < MULTISTAGE.revolver(MULTISTAGE.wave()).schedule.forward_steps


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with fork")
@pytest.mark.parametrize("call", ["close", "reset", "apply_forward"])
def test_fork_leaves_the_journal_to_the_parent(call, folder):
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder) as revolver:
        wave.set_initial()
        if call == "reset":
            revolver.apply_forward()
        before = sorted(folder.iterdir())
        pid = os.fork()
        if pid == 0:
            status = 2
            try:
                getattr(revolver, call)()
                status = 0
            except (JournalError, StorageError):
                status = 1
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == (call != "close")
        assert sorted(folder.iterdir()) == before
        with pytest.raises(JournalError, match="another process uses the journal"):
            Journal(folder, interval=0.0)
        if call != "reset":
            revolver.apply_forward()
        wave.gradient[:] = wave.adjoint[:] = 0.0
        wave.start_adjoint()
        revolver.apply_reverse()
        assert result(wave) == MULTISTAGE.expected()
    assert not folder.exists()


def test_journal_that_was_refused_stays_after_reset(folder):
    interrupted(MULTISTAGE, folder, 30, resume_key="a")
    before = {path.name: path.read_bytes() for path in folder.glob("entry-*")}
    wave = MULTISTAGE.wave()
    with MULTISTAGE.revolver(wave, folder, resume_key="b") as revolver:
        for _ in range(2):
            with pytest.raises(JournalError, match="of another run"):
                carry_out(revolver, wave)
            revolver.reset()
    assert {path.name: path.read_bytes() for path in folder.glob("entry-*")} == before
    assert finished(MULTISTAGE, folder, resume_key="a")[0] == MULTISTAGE.expected()


def test_process_may_go_to_another_directory(tmp_path, monkeypatch):
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    wave = MULTISTAGE.wave()
    options = {"resume": "journal", "resume_arrays": wave.arrays, "resume_interval": 0.0}
    with MULTISTAGE.revolver(wave, **options) as revolver:
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert carry_out(revolver, wave) == MULTISTAGE.expected()
        assert (tmp_path / "here" / "journal").is_dir()
    assert not list((tmp_path / "here").iterdir())
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.skipif(os.name != "posix", reason="locks as POSIX has them")
def test_journal_is_no_orphan_whatever_it_is_called(tmp_path):
    """Nor is its file of snapshots, which is locked as long as somebody uses it."""
    for name in ("journal", "17-a_b2cd3e"):
        folder = tmp_path / f"pyrevolve-{platform.node()}-{name}"
        wave = MULTISTAGE.wave()
        with MULTISTAGE.revolver(wave, folder) as revolver:
            wave.set_initial()
            revolver.apply_forward()
            DiskStorage(1, [np.zeros(3)], directory=tmp_path).close()
            assert folder.exists()
            wave.start_adjoint()
            revolver.apply_reverse()
            assert result(wave) == MULTISTAGE.expected()


def test_entries_are_read_and_written_in_pieces(folder):
    """Large arrays are not copied as a whole, contiguous or not."""
    wave = MULTISTAGE.wave()
    large = [np.zeros(3 << 20), np.zeros((2 << 20, 2))[:, 0], np.zeros((0, 3)), np.zeros(())]

    def arrays():
        return [*wave.arrays(), *large]

    peaks = []
    for at in (30, 10**9):
        break_at(wave, at)
        for number, array in enumerate(large):
            array[...] = number + 1 if at == 30 else -1
        with MULTISTAGE.revolver(wave, folder, resume_arrays=arrays, resume_interval=1e9) as revolver:
            revolver._journal._interval = 0.0 if at == 30 else 1e9
            tracemalloc.start()
            try:
                wave.set_initial()
                with contextlib.suppress(BrokenError):
                    revolver.apply_forward()
                peaks.append(tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
            assert all((array == number + 1).all() for number, array in enumerate(large))
    assert max(peaks) < 18 << 20  # two pieces
