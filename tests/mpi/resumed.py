"""A shot with a journal on a divided grid: `python -m mpi4py resumed.py FOLDER KILL_AT RANK`.

The process of this rank is killed in its call of this number, counted from 1; 0: never. What each process has
found is written by process 0 as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np
from acoustic import CASE, COMM, SLICE, Stored, build, shot

from pyrevolve import Costs
from pyrevolve.devito import CheckpointedAdjoint, DevitoOperator

COSTS = Costs(forward_step=1.0, reverse_step=1.0, save=(1e-3, 1e-3), load=(1e-3, 1e-3))


def main(folder, kill_at, rank):
    expected = shot(Stored())
    original, calls = DevitoOperator.apply, []

    def apply(self, t_start, t_end):
        calls.append(1)
        if COMM.rank == rank and len(calls) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, t_start, t_end)

    with CheckpointedAdjoint(
        build,
        arguments=CASE.arguments,
        memory=9 * SLICE,
        disk=200 * SLICE,
        disk_dir=folder,
        costs=COSTS,
        resume=os.path.join(folder, "journal"),
        resume_interval=0.0,
    ) as adjoint:
        DevitoOperator.apply = apply
        right = np.array_equal(shot(adjoint), expected)
        resumed = adjoint.revolver.resumed
    returned = COMM.gather({"right": right, "resumed": resumed, "calls": len(calls)})
    if COMM.rank == 0:
        print(json.dumps(returned), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
