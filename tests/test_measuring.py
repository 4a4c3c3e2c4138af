"""Measured costs: legal calls, a state put back, honest disks, and what is kept."""

from __future__ import annotations

import errno
import json
import logging
import os
import pathlib
import sys
import threading

import numpy as np
import pytest

from pyrevolve import (
    Checkpoint,
    Costs,
    DiskSpeed,
    Operator,
    StorageError,
    cost_cache,
    disk_speed,
    measure_costs,
    measure_disk,
    measuring,
    plan,
)
from pyrevolve.disk_speed import Transfers

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at what Linux tells of a process")


class Clock:
    """A clock that goes on only where something says that it takes time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Measure for a moment only, and never in the user's own cache."""
    monkeypatch.setattr(measuring, "_TOTAL_SECONDS", 0.01)
    monkeypatch.setattr(measuring, "_CALL_SECONDS", 1e-4)
    monkeypatch.setattr(disk_speed, "_FILE", 1 << 20)
    monkeypatch.delenv("PYREVOLVE_CACHE", raising=False)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measuring, "perf_counter", clock)
    monkeypatch.setattr(measuring, "_TOTAL_SECONDS", 1.0)
    monkeypatch.setattr(measuring, "_CALL_SECONDS", 0.02)
    return clock


class Chain(Checkpoint):
    """A chain whose state tells its timestep, with operators that refuse an illegal call.

    Parameters
    ----------
    forward, reverse : tuple of float
        What a step and a call cost on the clock.
    """

    dtype, size = np.dtype(np.float64), 36

    def __init__(self, n=20, window=1, lookback=0, lag=None, clock=None, forward=(0, 0), reverse=(0, 0)):
        self.n, self.window, self.lookback, self.lag = n, window, lookback, lag
        self.true_lag = lag if lag is not None else int(lookback == 0)
        self.t = np.zeros(1)
        # Odd bit patterns, which arithmetic would not keep.
        self.field = np.random.default_rng(1).integers(0, 2**64, (7, 5), np.uint64).view(np.float64)
        self.loaded = 0
        self.clock, self.costs = clock, {"forward": forward, "reverse": reverse}
        self.calls = []
        chain = self

        class Forward(Operator):
            def apply(self, t_start, t_end):
                chain.run(t_start, t_end)

        class Reverse(Operator):
            def apply(self, t_start, t_end):
                chain.reverse(t_start, t_end)

        self.operators = Forward(), Reverse()

    def get_data(self, t):
        assert 0 <= t < self.n
        return [self.t, self.field]

    def get_data_location(self, t):
        self.loaded = t
        return self.get_data(t)

    def spend(self, kind, steps):
        self.calls.append((kind, steps))
        if self.clock is not None:
            step, call = self.costs[kind]
            self.clock.now += step * steps + call

    def run(self, start, stop):
        assert 0 <= start < stop <= self.n
        assert self.t[0] == start
        self.t[0] = stop
        self.field[:] = stop
        self.spend("forward", stop - start)

    def reverse(self, start, stop):
        """Reverse a range if the workspace retains its step data (see `Checkpoint`)."""
        assert 0 <= start < stop <= self.n
        assert stop - start <= self.window
        a, p, lag = self.loaded, int(self.t[0]), self.true_lag
        first = max(a - self.lookback - lag, p - self.window - lag) + 1
        assert first <= start
        assert stop - 1 <= p - lag
        self.spend("reverse", stop - start)

    def measure(self, **options):
        before = self.t.tobytes() + self.field.tobytes()
        try:
            return measure_costs(self, *self.operators, n_timesteps=self.n, **options)
        finally:
            assert self.t.tobytes() + self.field.tobytes() == before

    def lengths(self, kind):
        return {steps for called, steps in self.calls if called == kind}


# --- operators ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 9, 40])
@pytest.mark.parametrize(("lookback", "lag"), [(0, None), (0, 1), (1, None), (2, 0), (1, 1)])
@pytest.mark.parametrize("window", [1, 2, 5])
def test_calls_are_those_of_a_legal_schedule_and_the_state_is_put_back(n, lookback, lag, window):
    chain = Chain(n, max(window, lookback), lookback, lag)
    costs = chain.measure()
    assert costs.tiers == 1
    assert costs.save > 0
    assert costs.load > 0
    assert chain.lengths("forward") >= {1}
    assert chain.lengths("reverse") >= {1}


@pytest.mark.parametrize(("lookback", "most"), [(0, 4), (1, 5)])
def test_calls_have_the_lengths_that_were_asked_for(lookback, most):
    chain = Chain(window=6, lookback=lookback)
    chain.measure(steps=4)
    assert chain.lengths("forward") == {1, 4}
    # With lag 0 the state at the end carries one timestep more.
    assert chain.lengths("reverse") == {1, most}


@pytest.mark.parametrize("window", [1, 3, 10])
def test_costs_are_those_of_the_clock(clock, window):
    chain = Chain(100, window, clock=clock, forward=(2e-3, 7e-3), reverse=(3e-3, 5e-3))
    costs = chain.measure()
    assert costs.forward_step == pytest.approx(2e-3)
    assert costs.forward_call == pytest.approx(7e-3)
    # A window of one timestep cannot tell the step from the call.
    step, call = (3e-3, 5e-3) if window > 1 else (8e-3, 0.0)
    assert costs.reverse_step == pytest.approx(step)
    assert costs.reverse_call == pytest.approx(call, abs=1e-12)
    assert costs.save == costs.load == 0.0


@pytest.mark.parametrize(("bare", "recording"), [(0.5e-3, 1.5e-3), (2e-3, 0.0), (3e-3, 0.0)])
def test_what_is_saved_where_step_data_is_left_out(clock, bare, recording):
    chain = Chain(100, 4, clock=clock, forward=(2e-3, 7e-3), reverse=(3e-3, 5e-3))

    class Advancing(type(chain.operators[0])):
        def apply_unrecorded(self, t_start, t_end):
            chain.costs["bare"] = bare, 7e-3
            assert 0 <= t_start < t_end <= chain.n
            assert chain.t[0] == t_start
            chain.t[0], chain.field[:] = t_end, t_end
            chain.loaded = t_end  # nothing else is retained: a reverse call after it is illegal
            chain.spend("bare", t_end - t_start)

    chain.operators = Advancing(), chain.operators[1]
    costs = chain.measure()
    assert costs.recording == pytest.approx(recording, abs=1e-12)
    assert costs.forward_step + costs.recording == pytest.approx(2e-3)
    assert costs.forward_call == pytest.approx(7e-3)
    assert costs.reverse_step == pytest.approx(3e-3)


def test_the_first_calls_do_not_count(clock):
    chain = Chain(50, 4, clock=clock, forward=(2e-3, 0), reverse=(3e-3, 0))
    spend, seen = chain.spend, set()

    def slow_at_first(kind, steps):
        if (kind, steps) not in seen:
            seen.add((kind, steps))
            clock.now += 100.0
        spend(kind, steps)

    chain.spend = slow_at_first
    costs = chain.measure()
    assert costs.forward_step == pytest.approx(2e-3)
    assert costs.reverse_step == pytest.approx(3e-3)
    assert costs.forward_call == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("step", "rounds"), [(1e-3, 15), (0.04, 3), (0.5, 2), (60.0, 1)])
def test_slow_timesteps_bound_the_number_of_rounds(clock, step, rounds):
    chain = Chain(2000, 3, clock=clock, forward=(step, 0), reverse=(2 * step, 0))
    costs = chain.measure()
    assert costs.forward_step == pytest.approx(step)
    reversals = [steps for kind, steps in chain.calls if kind == "reverse"]
    # Two for each round, and two that do not count.
    assert len(reversals) == 2 * (rounds + 1)


@pytest.mark.parametrize("at", [1, 2, 5, 12])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_passes_through_and_the_state_is_put_back(at, error):
    chain = Chain(window=3)
    spend = chain.spend

    def fail(kind, steps):
        spend(kind, steps)
        if len(chain.calls) == at:
            raise error("the user's own")

    chain.spend = fail
    with pytest.raises(error, match="the user's own"):
        chain.measure()
    assert len(chain.calls) == at


def test_large_states_go_through_two_slots(monkeypatch):
    monkeypatch.setattr(measuring, "_SMALL_STATE", 16)
    made = []

    class Storage(measuring.MemoryStorage):
        def __init__(self, n_slots, *arguments, **options):
            made.append(n_slots)
            super().__init__(n_slots, *arguments, **options)

    monkeypatch.setattr(measuring, "MemoryStorage", Storage)
    Chain(window=3).measure()
    assert made == [2]


def test_a_state_without_arrays():
    class Nothing(Checkpoint):
        dtype, size = np.dtype(np.float64), 0

        def get_data(self, t):
            return []

        get_data_location = get_data

    operators = Chain(3).operators

    class Idle(Operator):
        def apply(self, t_start, t_end):
            pass

    assert measure_costs(Nothing(), Idle(), Idle(), n_timesteps=3).tiers == 1
    with pytest.raises(TypeError, match="checkpoint must be"):
        measure_costs(operators[0], *operators, n_timesteps=3)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"n_timesteps": 1}, ValueError, "n_timesteps must be >= 2, got 1"),
        ({"n_timesteps": 2.5}, TypeError, "n_timesteps must be an integer, got 2.5"),
        ({"n_timesteps": 9, "steps": 0}, ValueError, "steps must be >= 1 and < n_timesteps = 9, got 0"),
        ({"n_timesteps": 9, "steps": 9}, ValueError, "got 9"),
        ({"n_timesteps": 9, "cache": True}, TypeError, "cache must be a name"),
        ({"n_timesteps": 9, "cache": ""}, ValueError, "cache must be a name"),
        ({"n_timesteps": 9, "threads": 0}, ValueError, "threads"),
    ],
)
def test_bad_arguments(options, error, match):
    chain = Chain(9)
    with pytest.raises(error, match=match):
        measure_costs(chain, *chain.operators, **options)
    assert not chain.calls


def test_operators_must_be_operators():
    chain = Chain(9)
    with pytest.raises(TypeError, match=r"rev_operator must be a pyrevolve\.Operator, got int"):
        measure_costs(chain, chain.operators[0], 3, n_timesteps=9)


# --- disks --------------------------------------------------------------------------------------------------


def without_direct_io(monkeypatch):
    """Let the file system refuse direct I/O."""
    import fcntl

    control = fcntl.fcntl

    def refuse(file, command, flags=0):
        if command == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return control(file, command, flags)

    monkeypatch.setattr(fcntl, "fcntl", refuse)


def read_from_disk():
    """Return the bytes that this process had read from disks (not from the page cache)."""
    lines = pathlib.Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["read_bytes"])


@linux
@pytest.mark.parametrize("direct", [True, False])
def test_reads_come_from_the_disk(monkeypatch, tmp_path, direct):
    probe = tmp_path / "probe"
    before = read_from_disk()
    with open(probe, "w+b") as file:
        file.write(bytes(1 << 20))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        file.read()
    if read_from_disk() - before < 1 << 20:
        pytest.skip(
            f"reads in {tmp_path} are not counted (a directory in RAM?); run pytest --basetemp elsewhere"
        )
    if not direct:
        without_direct_io(monkeypatch)
    asked = []
    timed = disk_speed._timed

    def counted(file, work, count):
        seconds, done = timed(file, work, count)
        if work.__name__ == "read":
            asked.append(done * 65536)
        return seconds, done

    monkeypatch.setattr(disk_speed, "_timed", counted)
    before = read_from_disk()
    speed = measure_disk(65536, tmp_path)
    assert sum(asked) > 0
    assert read_from_disk() - before >= sum(asked)
    assert direct or not speed.direct


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("nbytes", [0, 1, 4096, 100_000, 3 << 20])
def test_the_disk_is_left_as_it_was(monkeypatch, tmp_path, nbytes, direct):
    if not direct:
        if sys.platform != "linux":
            pytest.skip("needs Linux's fcntl")
        without_direct_io(monkeypatch)
    speed = measure_disk(nbytes, tmp_path)
    assert speed.write > 0
    assert speed.read > 0
    assert speed.state_bytes == nbytes
    assert speed.directory == str(tmp_path)
    assert speed.write_bandwidth == nbytes / speed.write
    assert speed.read_bandwidth == nbytes / speed.read
    assert direct or not speed.direct
    assert not list(tmp_path.iterdir())


def test_the_default_directory_is_that_of_temporary_files(monkeypatch, tmp_path):
    monkeypatch.setattr(disk_speed.tempfile, "tempdir", str(tmp_path))
    assert measure_disk(4096).directory == str(tmp_path)


def test_large_states_are_transferred_in_pieces(monkeypatch, tmp_path):
    monkeypatch.setattr(disk_speed, "_PIECE", 8192)
    seconds = {"write": 3.0, "read": 2.0}
    monkeypatch.setattr(
        disk_speed, "_timed", lambda file, work, count: (seconds[work.__name__] * count, count)
    )
    speed = measure_disk(20_000, tmp_path)
    # Five blocks of 4096 bytes, in pieces of two.
    assert speed.write == pytest.approx(3.0 * 2.5)
    assert speed.read == pytest.approx(2.0 * 2.5)


def test_the_file_takes_at_most_half_of_what_is_free(monkeypatch, tmp_path):
    class Usage:
        free = 10 * 4096

    monkeypatch.setattr(disk_speed.shutil, "disk_usage", lambda where: Usage)
    counts = []

    def timed(file, work, count):
        counts.append(count)
        return 1.0, count

    monkeypatch.setattr(disk_speed, "_timed", timed)
    measure_disk(4096, tmp_path)
    assert set(counts) == {5}


@linux
def test_a_full_disk(tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot measure the disk of .*; give a directory") as caught:
            measure_disk(1 << 17, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.tier == "disk"
    assert not list(tmp_path.iterdir())


def test_a_directory_that_does_not_exist(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(StorageError, match="missing"):
        measure_disk(4096, missing)
    chain = Chain()
    with pytest.raises(StorageError, match="missing"):
        chain.measure(directory=missing)
    # The disk comes first: a wrong name costs no timesteps.
    assert not chain.calls


def test_sizes_of_a_state():
    with pytest.raises(ValueError, match="state_bytes must be >= 0, got -1"):
        measure_disk(-1)
    with pytest.raises(TypeError, match="state_bytes must be an integer"):
        measure_disk(4096.0)


def test_a_disk_is_the_second_tier(tmp_path):
    costs = Chain(window=3).measure(directory=tmp_path)
    assert costs.tiers == 2
    assert costs.save_at(1) > 0
    assert costs.load_at(1) > 0
    chosen = plan(20, state_bytes=288, window_slice_bytes=8, memory="1 kB", costs=costs)
    assert chosen.predicted_seconds > 0


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("nbytes", [0, 100_000])
def test_transfers_go_on_until_the_end(monkeypatch, tmp_path, nbytes, direct):
    if not direct:
        if sys.platform != "linux":
            pytest.skip("needs Linux's fcntl")
        without_direct_io(monkeypatch)
    before = threading.active_count()
    with Transfers(nbytes, tmp_path) as transfers:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert transfers.seconds_per_state() > 0
    assert not list(tmp_path.iterdir())


@linux
def test_transfers_that_fail(tmp_path):
    import resource

    with pytest.raises(StorageError, match="missing"), Transfers(4096, tmp_path / "missing"):
        pass
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with Transfers(1 << 17, tmp_path) as transfers:
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(StorageError, match=r"cannot measure the disk of .*; give a directory"):
        transfers.seconds_per_state()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("slower", "moved", "expected"), [(2.0, 3.6, 0.6), (1.0, 3.6, 0.0), (4.0, 9.0, 1.0)])
def test_interference_is_what_timesteps_lose_to_transfers(
    monkeypatch, tmp_path, clock, slower, moved, expected
):
    chain = Chain(window=3, clock=clock, forward=(2.0, 0.0), reverse=(3.0, 0.0))

    class Beside:
        def __init__(self, state_bytes, directory):
            pass

        def __enter__(self):
            chain.costs = {name: (step * slower, call) for name, (step, call) in chain.costs.items()}
            return self

        def __exit__(self, *error):
            pass

        def seconds_per_state(self):
            return moved

    speed = DiskSpeed(write=2.0, read=4.0, direct=True, directory=str(tmp_path), state_bytes=8)
    monkeypatch.setattr(measuring, "measure_disk", lambda *arguments: speed)
    monkeypatch.setattr(measuring, "Transfers", Beside)
    costs = chain.measure(directory=tmp_path)
    assert (costs.forward_step, costs.reverse_step) == (pytest.approx(2.0), pytest.approx(3.0))
    assert (costs.save_at(1), costs.load_at(1)) == (2.0, 4.0)
    # (1 - 1 / slower) of the time of a transfer, beside the 3 s that one takes alone.
    assert costs.interference == pytest.approx(expected)


# --- what is kept -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(monkeypatch, tmp_path):
    folder = tmp_path / "deep" / "cache"
    monkeypatch.setenv("PYREVOLVE_CACHE", str(folder))
    return folder


def test_kept_costs_are_returned_without_running_anything(folder, tmp_path):
    for options in ({}, {"directory": tmp_path}):
        first = Chain(window=3)
        costs = first.measure(cache="chain", **options)
        assert first.calls
        second = Chain(window=3)
        assert second.measure(cache="chain", **options) == costs
        assert not second.calls
    assert len(list(folder.iterdir())) == 2


def test_nothing_is_kept_unless_asked_for(folder):
    Chain().measure()
    assert not folder.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"cache": "another"},
        {"threads": 1},
        {"directory": "."},
        {"window": 4},
        {"field": np.zeros(3)},
        {"OMP_NUM_THREADS": "97"},
        {"DEVITO_LANGUAGE": "something"},
        {"version": "0.1"},
        {"host": "elsewhere"},
        {"cores": {0: 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_circumstances_are_measured(folder, monkeypatch, change):
    Chain(window=3).measure(cache="chain")
    chain, options = Chain(window=3), {"cache": "chain"}
    for name, value in change.items():
        if name in ("cache", "threads", "directory"):
            options[name] = value
        elif name in ("window", "field"):
            setattr(chain, name, value)
        elif name == "version":
            monkeypatch.setattr("pyrevolve.__version__", value)
        elif name == "host":
            monkeypatch.setattr(cost_cache.platform, "node", lambda: "elsewhere")
        elif name == "cores":
            monkeypatch.setattr(cost_cache.os, "sched_getaffinity", lambda pid: range(999), raising=False)
        else:
            monkeypatch.setenv(name, value)
    chain.measure(**options)
    assert chain.calls
    assert len(list(folder.iterdir())) == 2


def spoil(**changes):
    def edit(text):
        return json.dumps({**json.loads(text), **changes}).encode()

    return edit


def without(text):
    kept = json.loads(text)
    del kept["costs"]["save"]
    return json.dumps(kept).encode()


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: b"",
        lambda text: text[: len(text) // 2].encode(),
        lambda text: b"\xff\xfe\x00nonsense",
        lambda text: b"[1, 2]",
        lambda text: b"{}",
        spoil(costs=3),
        spoil(costs={"forward_step": 1.0}),
        spoil(measured="yesterday"),
        spoil(measured="2999-01-01T00:00:00"),
        spoil(facts={"problem": "chain"}),
        lambda text: text.replace('"save": ', '"save": -').encode(),
        lambda text: text.replace('"save": ', '"save": NaN, "was": ').encode(),
        without,
    ],
)
def test_a_damaged_file_is_replaced_with_a_warning(folder, caplog, edit):
    Chain().measure(cache="chain")
    (path,) = folder.iterdir()
    path.write_bytes(edit(path.read_text()))
    chain = Chain()
    with caplog.at_level(logging.WARNING, "pyrevolve.measuring"):
        costs = chain.measure(cache="chain")
    assert chain.calls
    assert path.name in caplog.text
    assert "measuring anew" in caplog.text
    caplog.clear()
    chain = Chain()
    assert chain.measure(cache="chain") == costs
    assert not chain.calls
    assert not caplog.records
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize(("days", "used"), [(29.9, True), (30.1, False), (-0.1, False)])
def test_kept_costs_grow_old(folder, days, used):
    Chain().measure(cache="chain")
    (path,) = folder.iterdir()
    kept = json.loads(path.read_text())
    zone = cost_cache.datetime.timezone.utc
    kept["measured"] = str(cost_cache.datetime.datetime.now(zone) - cost_cache.datetime.timedelta(days=days))
    path.write_text(json.dumps(kept))
    chain = Chain()
    chain.measure(cache="chain")
    assert bool(chain.calls) is not used


def test_a_cache_that_cannot_be_written_costs_a_warning_only(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PYREVOLVE_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING, "pyrevolve.measuring"):
        assert Chain().measure(cache="chain").tiers == 1
    assert "cannot be kept" in caplog.text


def test_a_write_that_fails_leaves_the_old_file(folder, monkeypatch, caplog):
    Chain().measure(cache="chain")
    (path,) = folder.iterdir()
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cost_cache, "AGE_LIMIT", cost_cache.datetime.timedelta(0))
    monkeypatch.setattr(cost_cache.os, "replace", full)
    with caplog.at_level("WARNING", logger="pyrevolve"):
        Chain().measure(cache="chain")
    assert "No space left" in caplog.text
    assert list(folder.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("platform", "variable", "inside"),
    [
        ("linux", "XDG_CACHE_HOME", ".cache/pyrevolve"),
        ("win32", "LOCALAPPDATA", "AppData/Local/pyrevolve"),
        ("darwin", None, "Library/Caches/pyrevolve"),
    ],
)
def test_where_costs_are_kept(monkeypatch, tmp_path, platform, variable, inside):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cost_cache.sys, "platform", platform)
    monkeypatch.setattr(cost_cache.pathlib.Path, "home", lambda: tmp_path)
    assert cost_cache.cache_directory() == tmp_path / inside
    if variable is not None:
        monkeypatch.setenv(variable, str(tmp_path / "other"))
        assert cost_cache.cache_directory() == tmp_path / "other" / "pyrevolve"
    monkeypatch.setenv("PYREVOLVE_CACHE", str(tmp_path / "own"))
    assert cost_cache.cache_directory() == tmp_path / "own"


def test_no_home_directory(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(cost_cache.pathlib.Path, "home", homeless)
    with pytest.raises(RuntimeError, match="PYREVOLVE_CACHE"):
        cost_cache.cache_directory()


def test_costs_survive_exactly(folder):
    exact = Costs(forward_step=0.1, reverse_step=1 / 3, save=(1e-7 / 3, 2 / 7), load=(5e-324, 1e300))
    options = {"state_bytes": 1, "window": 1, "threads": None, "directory": None, "unrecorded": False}
    for measure in (lambda: exact, lambda: pytest.fail("was kept")):
        assert cost_cache.remembered("exact", measure, **options) == exact


# --- Devito -------------------------------------------------------------------------------------------------


@pytest.mark.devito
def test_devito_measures_the_disk_and_keeps_costs(folder, monkeypatch, tmp_path):
    pytest.importorskip("devito", reason="tested with Devito: pip install devito")
    from devito_problems import acoustic

    from pyrevolve.devito import CheckpointedAdjoint, measure

    case = acoustic()
    options = {"memory": "60 kB", "arguments": case.arguments, "cache": "acoustic"}
    first = CheckpointedAdjoint(case.build, **options)
    costs = first.measure_costs(directory=tmp_path)
    assert costs.tiers == 2
    assert costs.forward_step > 0
    assert costs.save_at(1) > 0

    def fail(*arguments, **options):
        pytest.fail("the costs were kept")

    monkeypatch.setattr(measure, "time_operators", fail)
    second = CheckpointedAdjoint(case.build, **options)
    assert second.costs == first.costs
    assert second.plan == first.plan


def test_classes_in_the_place_of_objects_and_states_that_are_none():
    chain = Chain(9)
    forward, reverse = chain.operators
    for arguments, name in (
        ((Chain, forward, reverse), "Chain"),
        ((chain, type(forward), reverse), type(forward).__name__),
        ((chain, forward, type(reverse)), type(reverse).__name__),
    ):
        with pytest.raises(TypeError, match=f"got the class {name}; give an instance"):
            measure_costs(*arguments, n_timesteps=9)
    chain.get_data = lambda t: None
    with pytest.raises(TypeError, match=r"Chain\.get_data\(0\) must return a list of arrays, got None"):
        measure_costs(chain, forward, reverse, n_timesteps=9)
