"""Runs that are killed at some moment and go on from their journal, each in a process of its own.

The problem, and the workspace that retains no more than it says, are those of test_revolver. `Server` forks
the processes from one that has imported everything, so that hundreds of them take seconds.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
from test_revolver import DT2, NX, Reverse, Wave, WaveCheckpoint, forward_of

import pyrevolve.journal
from pyrevolve import (
    AsyncTwoTier,
    CompressionCosts,
    Costs,
    DiskStorage,
    HRevolve,
    MemoryStorage,
    Multistage,
    Revolver,
)

COSTS = Costs(forward_step=1.0, reverse_step=1.0, save=(0.01, 0.02), load=(0.01, 0.02))
COMPRESSION = {
    "compression": "zstd",
    "compression_costs": CompressionCosts(ratio=1.5, save=0.01, load=0.01, scratch_bytes=0),
}
#: What a snapshot of most waves here takes on disk [bytes].
ON_DISK = 4096


class InterruptedWave(Wave):
    """A wave whose receivers take part in the misfit, so that they must outlive a process too.

    Whatever a state does not carry is NaN from the moment when somebody asks where to load it.
    """

    def __init__(self, n, window=1, lookback=0, lag=None, **options):
        super().__init__(n, window, lookback, lag, **options)
        self.receivers = np.full((n + 1, 3), np.nan)[:, 1]  # not contiguous
        self.adjoint, self.gradient = np.zeros((3, NX)), np.zeros(NX)
        self.loading = None
        self.tick = lambda: None

    def arrays(self):
        """Return what the operators change besides the state."""
        return [self.adjoint, self.gradient, self.receivers]

    def set_initial(self):
        super().set_initial()
        self.loading = None

    def settle(self):
        """Take notice of a state that was loaded."""
        if self.loading is not None:
            assert int(self.time[0]) == self.loading
            self.arrive(self.loading)
            self.loading = None

    def forward(self, t_start, t_end):
        self.settle()
        for t in range(t_start, t_end):
            self.tick()
            super().forward(t, t + 1)
            self.receivers[t + 1] = self.slice(t + 1)[NX // 2]

    def start_adjoint(self):
        super().start_adjoint()
        self.adjoint[0] += DT2 * self.receivers[1:].sum()

    def reverse(self, t_start, t_end):
        self.settle()
        for t in reversed(range(t_start, t_end)):
            self.tick()
            super().reverse(t, t + 1)


class InterruptedCheckpoint(WaveCheckpoint):
    def get_data_location(self, t):
        self.wave.ring[:] = np.nan
        self.wave.step_data[:] = np.nan
        self.wave.time[:] = -1
        self.wave.loading = t
        return self.arrays(t)


class PeerWave(InterruptedWave):
    """A wave that is driven by what all processes have.

    Whoever is at another timestep than the others, or runs another operator, finds that at once. The state
    has an array besides that nobody changes: of another size in each process, and of noise in the last one,
    which no codec makes smaller.

    Attributes
    ----------
    alarm : callable
        Is told of every call of an operator, at its end, and of the checkpoint, and may raise. What happens
        where an operator raises before it has exchanged its data with others is not for a driver to say.
    """

    def __init__(self, comm, n=40, window=2, **options):
        super().__init__(n, window, seed=comm.rank, **options)
        self.comm = comm
        self.quiet_source = self.source.copy()
        self.ballast = np.zeros(40 * (comm.rank + 1))
        if comm.rank == comm.size - 1:
            self.ballast[:] = np.random.default_rng(5).normal(size=self.ballast.size)
        self.kept = self.ballast.copy()
        self.alarm = lambda what, t: None

    def set_initial(self):
        super().set_initial()
        self.ballast[:] = self.kept

    def meet(self, what, t, value):
        """Return the sum over all processes of a value; all have to do the same."""
        met = self.comm.allgather((what, t, float(value)))
        assert len({each[:2] for each in met}) == 1, met
        return sum(each[2] for each in met)

    def forward(self, t_start, t_end):
        self.settle()
        for t in range(t_start, t_end):
            push = self.meet("forward", t, self.slice(t)[0])
            self.source[t] = self.quiet_source[t] + 0.01 * np.tanh(push)
            super().forward(t, t + 1)
            assert (self.ballast == self.kept).all()
        self.alarm("forward", t_end)

    def reverse(self, t_start, t_end):
        self.settle()
        for t in reversed(range(t_start, t_end)):
            self.adjoint[0] += 0.01 * self.meet("reverse", t, self.adjoint[0].sum())
            super().reverse(t, t + 1)
        self.alarm("reverse", t_start)


class PeerCheckpoint(InterruptedCheckpoint):
    def arrays(self, t):
        return [*super().arrays(t), self.wave.ballast]

    def get_data(self, t):
        self.wave.alarm("get_data", t)
        return self.arrays(t)

    def get_data_location(self, t):
        self.wave.alarm("get_data_location", t)
        self.wave.ballast[:] = np.nan
        return super().get_data_location(t)

    def set_initial(self):
        self.wave.alarm("set_initial", 0)
        super().set_initial()


@dataclasses.dataclass(frozen=True)
class Case:
    """A run, and where it keeps its snapshots."""

    how: str = "RAM"
    n: int = 40
    window: int = 1
    lookback: int = 0
    lag: int | None = None
    initial: str = "stored"
    interval: float = 0.0
    shots: int = 1

    def wave(self, shot=0):
        return InterruptedWave(self.n, self.window, self.lookback, self.lag, seed=shot)

    def arguments(self, wave, folder):
        """Return the arguments that tell a Revolver where to keep its snapshots."""
        needs = {
            "window": self.window,
            "lookback": self.lookback,
            "lag": self.lag,
            "initial_state": self.initial,
        }
        if self.how == "RAM":
            return {"n_checkpoints": 4, "n_timesteps": self.n, "initial_state": self.initial}
        if self.how == "no snapshots":
            return {"n_checkpoints": 0, "n_timesteps": self.n, "initial_state": "free"}
        if self.how == "multistage":
            return {"schedule": Multistage(self.n, 2, 3, **needs)}
        if self.how == "disk only":
            return {"schedule": Multistage(self.n, 0, 4, **needs)}
        if self.how == "asynchronous":
            return {"schedule": AsyncTwoTier(self.n, 7, 2, **needs)}
        if self.how == "hrevolve":
            return {"schedule": HRevolve(self.n, (1, 4), costs=COSTS, **needs)}
        if self.how == "planned":
            return {**self._budgets, "memory": 2 * ON_DISK + 448}
        if self.how == "planned, compressed":
            return {**self._budgets, "memory": 2 * ON_DISK + 448, **COMPRESSION}
        if self.how == "planned, RAM compressed":
            costs = Costs(forward_step=1.0, reverse_step=1.0, save=0.01, load=0.01)
            return {**self._budgets, "memory": 6000, "disk": None, "costs": costs, **COMPRESSION}
        assert self.how == "crowded"
        like = WaveCheckpoint(wave).arrays(0)
        storage = (
            MemoryStorage(None, like, room=1000, compression="zstd"),
            DiskStorage(None, like, room=4 * ON_DISK, compression="zstd", folder=folder),
        )
        return {"schedule": Multistage(self.n, 2, 6, **needs), "storage": storage}

    @property
    def _budgets(self):
        return {
            "n_timesteps": self.n,
            "disk": 40 * ON_DISK,
            "initial_state": self.initial,
            "costs": COSTS,
        }

    def revolver(self, wave, folder=None, **options):
        """Return a Revolver, with a journal where there is a folder."""
        parts = InterruptedCheckpoint(wave), forward_of(wave), Reverse(wave)
        if folder is not None:
            os.makedirs(folder, exist_ok=True)
            options = {
                "resume": folder,
                "resume_arrays": wave.arrays,
                "resume_interval": self.interval,
                **options,
            }
        return Revolver(*parts, **{**self.arguments(wave, folder), **options})

    def expected(self, shot=0):
        """Return what store-all computes."""
        wave = InterruptedWave(self.n, self.n + 1, self.lookback, self.lag, seed=shot)
        wave.set_initial()
        wave.forward(0, self.n)
        wave.start_adjoint()
        wave.reverse(0, self.n)
        return result(wave)


def carry_out(revolver, wave):
    """Return the result of a shot."""
    wave.gradient[:] = wave.adjoint[:] = 0.0
    wave.receivers[:] = np.nan
    if revolver.schedule.free_initial_state:
        wave.ring[:] = np.nan
    else:
        wave.set_initial()
    revolver.apply_forward()
    wave.start_adjoint()
    revolver.apply_reverse()
    return result(wave)


def result(wave):
    """Return the gradients and the receivers as bytes."""
    assert np.isfinite(wave.gradient).all()
    return b"".join(array.tobytes() for array in (wave.gradient, wave.adjoint[:2], wave.receivers[1:]))


def script(case, directory):
    """Do what a user's script does: all shots that have no result yet, in order."""
    folder = directory / "journal"
    wave = case.wave()
    with case.revolver(wave, folder) as revolver:
        fresh = True
        for shot in range(case.shots):
            path = directory / f"result-{shot}"
            if path.exists():
                continue
            if not fresh:
                revolver.reset()
            fresh = False
            revolver.resume_key = f"shot {shot}"
            vars(wave).update(
                (name, value)
                for name, value in vars(case.wave(shot)).items()
                if name in ("model", "source", "data", "initial")
            )
            found = carry_out(revolver, wave)
            path.with_suffix(".new").write_bytes(found)
            path.with_suffix(".new").replace(path)
    for storage in revolver.storages:
        storage.close()


# --- killing ----------------------------------------------------------------------------------------------

#: Calls of the system at which a process may be killed.
CALLS = ("pwrite", "preadv", "fsync", "fdatasync", "replace", "remove", "rmdir", "open", "posix_fallocate")


def lie_in_wait(wave, kind, at, hesitate=0.0):
    """Have this process killed at a certain timestep, or in the middle of a certain call of the system.

    Parameters
    ----------
    wave : InterruptedWave
        Its timesteps are counted.
    kind : str
        "timestep" (in either direction), "call" (of any kind), or the name of a call in `CALLS`.
    at : int
        Which one, counted from 1.
    hesitate : float
        How long to wait before the end [s].

    Returns
    -------
    dict
        Counts so far, by kind.
    """
    counts = dict.fromkeys(("timestep", "call", *CALLS), 0)

    def passed(*kinds):
        for each in kinds:
            counts[each] += 1
        return kind in kinds and counts[kind] == at

    def kill():
        time.sleep(hesitate)
        os.kill(os.getpid(), signal.SIGKILL)

    def tick():
        if passed("timestep"):
            kill()

    def watched(name):
        original = getattr(os, name)

        def call(*arguments, **options):
            if passed("call", name):
                if name == "pwrite":  # torn
                    fd, data, offset = arguments
                    original(fd, data[: len(data) // 2], offset)
                kill()
            if name in ("fsync", "fdatasync"):
                return None  # what is in the page cache outlives a process
            return original(*arguments, **options)

        return call

    for name in CALLS:
        if hasattr(os, name):
            setattr(os, name, watched(name))
    whole = pyrevolve.journal.whole

    def torn(move, data):
        if passed("call"):
            whole(move, data[: len(data) // 2])
            kill()
        whole(move, data)

    pyrevolve.journal.whole = torn
    wave.tick = tick
    return counts


def work(job):
    """Run the script in this process, which may not survive it."""
    case, directory = Case(**job["case"]), Path(job["directory"])
    make = Case.wave
    counts = {}

    def wave(self, shot=0):
        made = make(self, shot)
        if not counts:
            counts.update(first=lie_in_wait(made, job["kind"], job["at"]))
        return made

    Case.wave = wave
    script(case, directory)
    (directory / "counts").write_text(json.dumps(counts["first"]))


def serve():
    """Carry out jobs, one line each, in forks of this process."""
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                work(job)
                os._exit(0)
            except BaseException:
                Path(job["directory"], "error").write_text(traceback.format_exc())
                os._exit(1)
        killed_at = time.monotonic() + (job["at"] if job["kind"] == "delay" else 60)
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() >= killed_at:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
                break
            time.sleep(0.0005)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Server:
    """Runs scripts in processes of their own."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self.kills = 0

    def run(self, case, directory, kind="never", at=0.0):
        """Run the script; return whether it came to its end."""
        job = {"case": dataclasses.asdict(case), "directory": str(directory), "kind": kind, "at": at}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())
        if status == 1:
            raise AssertionError((directory / "error").read_text())
        assert status in (0, -signal.SIGKILL), status
        assert status == 0 or kind != "never", "it hangs"
        self.kills += status != 0
        return status == 0

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(json.loads(sys.argv[1]))
    else:
        serve()
