"""A shot that processes share: every one writes what it has found as a line of JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from inversion_survey import DIRECTIONS, RECEIVERS, SOURCES, START, TRUE, make
from mpi4py import MPI

from pyrevolve.inversion import Gather

problem = make("700 kB", second_order=True)
shot = Gather(SOURCES[1], RECEIVERS)
shot = Gather(SOURCES[1], RECEIVERS, problem.simulate(TRUE, shot))
misfit, gradient = problem.misfit_and_gradient(START, shot)
taylor = [
    abs(
        problem.misfit(START + step * DIRECTIONS[0], shot)
        - misfit
        - step * float(np.sum(gradient * DIRECTIONS[0]))
    )
    for step in (0.08, 0.04, 0.02, 0.01)
]
plan = problem._adjoints["gradient"].plan
told = {
    "rank": MPI.COMM_WORLD.rank,
    "misfit": misfit,
    "gradient": gradient.tolist(),
    "taylor": taylor,
    "product": problem.gauss_newton_product(START, DIRECTIONS[0], shot).tolist(),
    "plan": [plan.window, plan.n_snapshots, plan.forward_steps],
}
problem.close()
for line in MPI.COMM_WORLD.gather(json.dumps(told), root=0) or []:
    print(line)
