"""Runs that several processes carry out in step, each with a wave that depends on all others.

`python -m mpi4py plain.py FOLDER SCENARIOS` runs some of the functions below, one after the other; SCENARIOS
is a JSON list of lists with a name and arguments. What a function returns is written by process 0 as a line
of JSON: the scenario, and what each process has returned.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from interrupted import (
    COMPRESSION,
    COSTS,
    ON_DISK,
    PeerCheckpoint,
    PeerWave,
    carry_out,
    lie_in_wait,
    result,
)
from mpi4py import MPI
from test_revolver import Forward, Reverse

import pyrevolve.storage.file
from pyrevolve import Costs, DiskStorage, Kind, MemoryStorage, Multistage, Revolver
from pyrevolve.errors import StorageFullError
from pyrevolve.journal import Journal

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.rank, COMM.size
N = 40
RAM_COSTS = Costs(forward_step=1.0, reverse_step=1.0, save=0.01, load=0.01)


def revolver(wave, **options):
    """Return a Revolver of all processes."""
    if options.get("resume") is not None:
        options = {"resume_arrays": wave.arrays, "resume_interval": 0.0, **options}
    return Revolver(PeerCheckpoint(wave), Forward(wave), Reverse(wave), comm=COMM, **options)


def expected():
    """Return what store-all computes."""
    wave = PeerWave(COMM, window=N + 1)
    wave.set_initial()
    wave.forward(0, N)
    wave.start_adjoint()
    wave.reverse(0, N)
    return result(wave)


def contents_are_equal(driver):
    """Return whether the storages hold the same timesteps in the same slots in all processes."""
    held = COMM.allgather([sorted(storage.full.items()) for storage in driver.storages])
    return all(each == held[0] for each in held)


def watch_contents(wave, driver):
    """Have the contents of the storages compared after every call of an operator; return what was found."""
    found = []

    def alarm(what, t):
        if what in ("forward", "reverse"):
            found.append(contents_are_equal(driver))

    wave.alarm = alarm
    return found


# --- agreement --------------------------------------------------------------------------------------------


def plans(folder):
    """Let every process have other budgets."""
    wave = PeerWave(COMM)
    memory = 2 * ON_DISK + 6000 - 2000 * (RANK == SIZE - 1)
    disk = ON_DISK * (40 - 10 * (RANK == 0))
    with revolver(
        wave,
        n_timesteps=N,
        memory=memory,
        disk=disk,
        costs=dataclasses.replace(COSTS, forward_step=1.0 + RANK),
        disk_dir=folder,
    ) as driver:
        plan = driver.plan
        right = carry_out(driver, wave) == expected()
    return {"schedule": repr(plan.schedule), "memory": plan.memory, "disk": plan.disk, "right": right}


def compressed_plans(folder):
    """Let snapshots take less in some processes than in others."""
    wave = PeerWave(COMM)
    with revolver(wave, n_timesteps=N, memory=12_000 + 3000 * RANK, costs=RAM_COSTS, **COMPRESSION) as driver:
        compared = watch_contents(wave, driver)
        right = carry_out(driver, wave) == expected()
        ratio = driver.storages[0].compression_ratio
        elastic = driver.storages[0].elastic
    return {
        "schedule": repr(driver.schedule),
        "ratio": ratio,
        "elastic": elastic,
        "replanned": driver._course.replanned,
        "equal": all(compared),
        "right": right,
    }


class Refusing(MemoryStorage):
    """Counts the snapshots that do not fit."""

    refused = 0

    def save(self, *arguments):
        try:
            return super().save(*arguments)
        except StorageFullError:
            self.refused += 1
            raise


def crowded(folder):
    """Let a snapshot not fit in one process that fits in all others."""
    wave = PeerWave(COMM)
    like = PeerCheckpoint(wave).arrays(0)
    rooms = 8000 - 6000 * (RANK == SIZE - 1), ON_DISK * (6 - 3 * (RANK == 0))
    storages = (
        Refusing(None, like, room=rooms[0], compression="zstd"),
        DiskStorage(None, like, room=rooms[1], compression="zstd", directory=folder),
    )
    with contextlib.ExitStack() as stack:
        for storage in storages:
            stack.enter_context(storage)
        driver = revolver(wave, schedule=Multistage(N, 4, 8, window=2), storage=storages)
        compared = watch_contents(wave, driver)
        right = carry_out(driver, wave) == expected()
    return {"refused": storages[0].refused, "equal": all(compared), "right": right}


def files(folder):
    """Keep snapshots on disk in one directory of all processes, shot after shot."""
    wave = PeerWave(COMM)
    with revolver(wave, schedule=Multistage(N, 1, 4, window=2), disk_dir=folder) as driver:
        path = driver.storages[1].path
        right = carry_out(driver, wave) == expected()
        driver.reset()
        right = right and carry_out(driver, wave) == expected()
        there = os.path.exists(path)
    return {"path": path, "there": there, "gone": not os.path.exists(path), "right": right}


# --- failures ---------------------------------------------------------------------------------------------


class BrokenError(Exception):
    pass


def told(error):
    """Return an error as JSON knows it."""
    return {"type": type(error).__name__, "rank": getattr(error, "rank", None), "message": str(error)}


def caught(work):
    """Return the error that a call raises, and None where there is none."""
    try:
        work()
    except Exception as error:
        return told(error)
    return None


def failing(folder, what, call, rank, resume=False):
    """Raise in a certain call of an operator or a checkpoint in one process; then run another shot.

    An operator raises at its end: what others wait for within it is not ours to say.
    """
    wave = PeerWave(COMM)
    calls = itertools.count(1)
    options = {"resume": os.path.join(folder, "journal")} if resume else {"disk_dir": folder}
    schedule = Multistage(N, 1, 4, window=2)
    with revolver(wave, schedule=schedule, **options) as driver:

        def alarm(this, t):
            if this == what and rank == RANK and next(calls) == call:
                raise BrokenError(f"{what} of {t}")

        wave.alarm = alarm
        error = caught(lambda: carry_out(driver, wave))
        wave.alarm = lambda what, t: None
        driver.reset()
        right = carry_out(driver, wave) == expected()
    return {"error": error, "right": right}


def failing_storage(folder, what, rank):
    """Let the disk of one process fail; then run another shot."""
    wave = PeerWave(COMM)
    with revolver(wave, schedule=Multistage(N, 1, 4, window=2), disk_dir=folder) as driver:
        mine = rank == RANK
        original = pyrevolve.storage.file._pwrite

        def pwrite(fd, data, offset):
            if what == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(fd, np.zeros(len(data), np.uint8).data, offset)

        if mine:
            pyrevolve.storage.file._pwrite = pwrite
        wave.set_initial()
        error = caught(driver.apply_forward)
        if error is None:
            wave.start_adjoint()
            error = caught(driver.apply_reverse)
        pyrevolve.storage.file._pwrite = original
        driver.reset()
        right = carry_out(driver, wave) == expected()
    return {"error": error, "right": right}


def failing_start(folder, what, rank):
    """Let one process find no directory, or a journal that is in use; then make another driver."""
    wave = PeerWave(COMM)
    mine = rank == RANK
    path = Path(folder, "journal")
    options = {"schedule": Multistage(N, 1, 4, window=2)}
    stack = contextlib.ExitStack()
    if what == "no directory":
        options["disk_dir"] = os.path.join(folder, "missing") if mine else folder
    else:
        options["resume"] = path
        if mine and what == "in use":
            stack.callback(Journal(path / f"rank-{RANK}-of-{SIZE}", interval=0.0).close)
        elif mine:
            (path / f"rank-{RANK}-of-{SIZE}" / "something").mkdir(parents=True)
    COMM.Barrier()
    error = caught(lambda: revolver(wave, **options))
    stack.close()
    if what == "something" and mine:
        (path / f"rank-{RANK}-of-{SIZE}" / "something").rmdir()
    COMM.Barrier()
    options["disk_dir"] = None
    with revolver(wave, **options) as driver:
        right = carry_out(driver, wave) == expected()
    return {"error": error, "right": right}


# --- journals ---------------------------------------------------------------------------------------------


def resumed(folder, kind="never", at=0, rank=-1, hesitate=0.0):
    """Do what a user's script does, which is killed in one process, or for `rank` = their number in all."""
    wave = PeerWave(COMM)
    Path(folder, f"pid-{RANK}").write_text(str(os.getpid()))
    if rank in (RANK, SIZE):
        lie_in_wait(wave, kind, at, hesitate)
    schedule = Multistage(N, 1, 4, window=2)
    with revolver(wave, schedule=schedule, resume=os.path.join(folder, "journal")) as driver:
        found = carry_out(driver, wave)
        steps = driver.profiler[Kind.FORWARD].steps
    COMM.Barrier()
    left = os.listdir(folder)
    return {
        "right": found == expected(),
        "saved": schedule.forward_steps - steps,
        "left": [name for name in left if not name.startswith("pid-")],
    }


def main(folder, scenarios):
    for number, scenario in enumerate(json.loads(scenarios)):
        name, *arguments = scenario
        place = os.path.join(folder, f"scenario-{number}") if name != "resumed" else folder
        os.makedirs(place, exist_ok=True)
        returned = COMM.gather(globals()[name](place, *arguments))
        if RANK == 0:
            print(json.dumps({"scenario": scenario, "returned": returned}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
