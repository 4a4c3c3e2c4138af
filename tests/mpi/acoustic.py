"""Devito's domain decomposition: `python -m mpi4py acoustic.py FOLDER`, with any number of processes.

Process 0 writes what each has found as JSON, and the gradient of store-all into the folder.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from devito import Buffer
from devito_problems import N, acoustic, advances, short_rings
from mpi4py import MPI

from pyrevolve import Costs
from pyrevolve.devito import CheckpointedAdjoint
from pyrevolve.devito.measure import measure_gain
from pyrevolve.team import Team

COMM = MPI.COMM_WORLD
CASE = acoustic()
#: One slice of the undivided field [bytes].
SLICE = 35 * 31 * 4


@functools.cache
def built(ring):
    return CASE.build(Buffer(ring))


def build(save):
    """Make the operators for a ring, once: they take longer to make than to run."""
    return built(save.val)


class Stored:
    """Store-all with Devito alone."""

    def __init__(self):
        self.forward_operator, self.reverse_operator = built(N + 4)
        fields = [p for p in self.forward_operator.input if p.is_TimeFunction]
        self.fields = fields
        self.adjoints = [p for p in self.reverse_operator.input if p.is_TimeFunction and p not in fields]

    def forward(self):
        for field in self.fields:
            field.data_with_halo[:] = 0
        self.forward_operator.apply(**CASE.arguments)

    def reverse(self):
        for field in self.adjoints:
            field.data_with_halo[:] = 0
        self.reverse_operator.apply(**CASE.arguments)


def shot(runner):
    """Return this process's part of the gradient of one shot."""
    (gradient,) = CASE.results
    gradient.data_with_halo[:] = 0
    runner.forward()
    simulated = np.asarray(CASE.receivers.data)
    np.asarray(CASE.residual.data)[:] = simulated**3 + 0.5 * simulated
    runner.reverse()
    return np.array(gradient.data)


def checkpointed(expected, **options):
    """Return what a checkpointed gradient is like, for two shots."""
    with CheckpointedAdjoint(build, arguments=CASE.arguments, **options) as adjoint:
        equal = [np.array_equal(shot(adjoint), expected) for _ in range(2)]
        return {
            "equal": equal,
            "plan": repr(adjoint.plan.schedule),
            "window": adjoint.plan.window,
            "tiers": [str(tier) for tier in adjoint.plan.tiers],
            "costs": repr(adjoint.costs),
            "within": adjoint.memory_held <= adjoint.plan.memory,
        }


def advancing(expected):
    """Return what a gradient is like whose timesteps are run in short rings where nobody needs their data."""
    with CheckpointedAdjoint(build, arguments=CASE.arguments, n_checkpoints=2, window=9) as adjoint:
        adjoint._made.advancing = short_rings(adjoint)
        with advances() as run:
            equal = [np.array_equal(shot(adjoint), expected) for _ in range(2)]
        gain = measure_gain(
            adjoint._made.advancing["forward"], adjoint._made.forward, adjoint.checkpoint, N, team=Team(COMM)
        )
        return {"equal": equal, "run": run, "gain": gain}


def missing(folder):
    """Return what an object raises whose directory for snapshots one process cannot find."""
    place = os.path.join(folder, "missing") if COMM.rank == 1 else folder
    try:
        CheckpointedAdjoint(
            build, arguments=CASE.arguments, memory=9 * SLICE, disk=200 * SLICE, disk_dir=place
        )
    except Exception as error:
        return [type(error).__name__, getattr(error, "rank", None)]
    return None


def wrong(folder):
    """Return what is raised where one process gives an argument that nobody takes, or other ones than others.

    After each of them, a shot of the same object is right.
    """
    mine = COMM.rank == 1
    found = {}

    def caught(what, work):
        try:
            work()
        except Exception as error:
            found[what] = [type(error).__name__, getattr(error, "rank", None)]

    def make(**options):
        return CheckpointedAdjoint(build, arguments=CASE.arguments, **options)

    caught("memory", lambda: make(memory="banana" if mine else 8 * SLICE))
    caught("window", lambda: make(n_checkpoints=2, window=1000 if mine else 1000.5))
    caught("initial", lambda: make(n_checkpoints=2, window=4, initial="ones" if mine else "zeros"))
    caught("adjoint", lambda: make(n_checkpoints=2, window=4, adjoint="keep" if mine else "zeros"))
    caught("snapshots", lambda: make(n_checkpoints=3 if mine else 2, window=4))
    caught("disk", lambda: make(memory=30 * SLICE, disk=None if mine else "1 MB"))
    with make(n_checkpoints=2, window=4) as adjoint:
        expected = shot(adjoint)
        caught("forward", lambda: adjoint.forward(**({"nonsense": 3} if mine else {})))
        right = np.array_equal(shot(adjoint), expected)
        caught("timesteps", lambda: adjoint.forward(time_M=N - 2 * mine))
        adjoint.forward()
        caught("reverse", lambda: adjoint.reverse(**({"nonsense": 3} if mine else {})))
        found["right"] = right and np.array_equal(shot(adjoint), expected)
    return found


def main(folder):
    expected = shot(Stored())
    disk = os.path.join(folder, "disk")
    os.makedirs(disk, exist_ok=True)
    dear = Costs(forward_step=1.0, reverse_step=1.0, save=(1e-3, 1e-3), load=(1e-3, 1e-3))
    found = {
        "measured": checkpointed(expected, memory=8 * SLICE),
        "disk": checkpointed(expected, memory=9 * SLICE, disk=200 * SLICE, disk_dir=disk, costs=dear),
        "compression": checkpointed(
            expected,
            memory=30 * SLICE,
            compression="zstd",
            costs=Costs(forward_step=1.0, reverse_step=1.0, save=1e-3, load=1e-3),
        ),
        "advancing": advancing(expected),
        "missing": missing(folder),
        "wrong": wrong(folder),
        "left": os.listdir(disk),
    }
    (gradient,) = CASE.results
    np.asarray(gradient.data)[:] = expected
    whole = gradient.data_gather(rank=0)
    returned = COMM.gather(found)
    if COMM.rank == 0:
        np.save(os.path.join(folder, "gradient.npy"), np.asarray(whole))
        print(json.dumps(returned), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
