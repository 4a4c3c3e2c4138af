"""One measurement of memory_sweep.py or growth.py in a process of its own; prints one JSON object.

It runs with whichever pyrevolve its interpreter has: this one, or 2.2.8.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from common import load
from devito import Grid, TimeFunction, configuration
from gradient_worker import old_package, store_all, this_package
from physics import Isotropic
from sweep_problems import RING, STATE

configuration["log-level"] = "ERROR"
resident = load("resident")


def main() -> None:
    given = json.loads(sys.argv[1])
    problem = Isotropic(given)
    (v,) = problem.adjoint
    result = {"timesteps": problem.steps, "cells": problem.cells, "slice": problem.slice_bytes}
    # Whatever else a gradient takes is touched before, so that what is added is the forward wavefield's.
    for array in (v.data_with_halo, problem.gradient.data_with_halo):
        array[:] = 0
    result["resident_before"] = resident.resident_memory()
    if given["method"] == "costs":
        result.update(costs(given, problem))
        print(json.dumps(result))
        return
    run = RUNS[given["method"]]
    sweep, after = run(given, problem.model, problem.shot, v, problem.gradient, result)

    result["seconds"] = []
    for _ in range(given["shots"]):
        problem.gradient.data[:] = 0
        began = time.perf_counter()
        sweep()
        result["seconds"].append(time.perf_counter() - began)
        # The first shot's: afterwards costs are measured anew, which takes memory of its own.
        result.setdefault("peak", resident.peak_resident_memory())
        after()
    if "gradient_file" in given:
        compare(given, np.ascontiguousarray(problem.gradient.data), result)
    print(json.dumps(result))


def compare(given, gradient, result):
    """Keep the gradient of store-all; compare others with it, bit for bit."""
    path = Path(given["gradient_file"])
    result["gradient"] = hashlib.sha256(gradient.tobytes()).hexdigest()[:12]
    if given["method"] == "store-all":
        temporary = path.with_suffix(".part.npy")
        np.save(temporary, gradient)
        temporary.replace(path)
    reference = np.load(path)
    result["same_gradient"] = gradient.tobytes() == reference.tobytes()
    scale = float(np.abs(reference).max())
    result["gradient_difference"] = float(np.abs(gradient - reference).max()) / scale


def checkpoint_schedules(given, model, shot, v, gradient, result):
    """Drive Devito's operators with the actions of checkpoint-schedules, as its documentation has them.

    The operators are called as Devito's own checkpointing calls them, with arguments prepared once. What is
    stored is copied into memory that was touched before.
    """
    from checkpoint_schedules import MultistageCheckpointSchedule
    from devito.checkpointing import CheckpointOperator, DevitoCheckpoint

    u = model.wavefield()
    forward = model.forward(u, shot)
    reverse = model.gradient(u, v, shot, gradient)
    wrapped_forward = CheckpointOperator(forward, u=u, dt=shot.dt)
    wrapped_reverse = CheckpointOperator(reverse, u=u, dt=shot.dt)
    snapshots = (given["slices"] - RING) // STATE
    began = time.perf_counter()
    schedule = MultistageCheckpointSchedule(shot.steps, snapshots, 0, trajectory="revolve")
    actions = until_the_end(schedule)
    result["planning_seconds"] = time.perf_counter() - began
    driver = Driver(DevitoCheckpoint([u]), wrapped_forward, wrapped_reverse, snapshots)
    held = (RING + STATE * snapshots) * result["slice"]
    result.update(slices_held=given["slices"], held=held, snapshots=snapshots)

    def sweep():
        u.data_with_halo[:] = 0
        v.data_with_halo[:] = 0
        driver.run(actions)

    def after():
        result["forward_steps"] = driver.forward_steps

    return sweep, after


def until_the_end(schedule) -> list:
    """Return the actions of one adjoint calculation."""
    from checkpoint_schedules import EndReverse

    actions = []
    for action in schedule:
        actions.append(action)
        if isinstance(action, EndReverse):
            return actions
    raise ValueError(f"{schedule!r} has no end")


class Driver:
    """Carry out actions of checkpoint-schedules that store restart data in memory."""

    def __init__(self, checkpoint, forward, reverse, snapshots):
        self.checkpoint, self.forward, self.reverse = checkpoint, forward, reverse
        shape = [(snapshots, *array.shape) for array in checkpoint.get_data(0)]
        self.memory = [np.full(each, 0, checkpoint.dtype) for each in shape]
        self.snapshots = snapshots
        self.free: list[int] = []
        self.stored: dict[int, int] = {}
        self.forward_steps = 0

    def run(self, actions: Iterable) -> None:
        """Run forward and in reverse."""
        from checkpoint_schedules import Copy, EndForward, EndReverse, Forward, Move, Reverse, StorageType

        self.forward_steps = 0
        self.free = list(range(self.snapshots))
        self.stored.clear()
        for action in actions:
            if isinstance(action, Forward):
                if action.write_ics:
                    if action.storage != StorageType.RAM:
                        raise ValueError(f"only memory is driven here, got {action}")
                    self.save(action.n0)
                if action.write_adj_deps and action.storage != StorageType.WORK:
                    raise ValueError(f"data of single timesteps is not stored here, got {action}")
                self.forward.apply(action.n0, action.n1)
                self.forward_steps += action.n1 - action.n0
            elif isinstance(action, Reverse):
                self.reverse.apply(action.n0, action.n1)
            elif isinstance(action, (Copy, Move)):
                if (action.from_storage, action.to_storage) != (StorageType.RAM, StorageType.WORK):
                    raise ValueError(f"only memory is driven here, got {action}")
                self.load(action.n, keep=isinstance(action, Copy))
            elif not isinstance(action, (EndForward, EndReverse)):
                raise TypeError(f"unknown action {action}")

    def save(self, n: int) -> None:
        self.stored[n] = slot = self.free.pop()
        for memory, array in zip(self.memory, self.checkpoint.get_data(n), strict=True):
            np.copyto(memory[slot], array)

    def load(self, n: int, *, keep: bool) -> None:
        slot = self.stored[n]
        for memory, array in zip(self.memory, self.checkpoint.get_data_location(n), strict=True):
            np.copyto(array, memory[slot])
        if not keep:
            self.free.append(self.stored.pop(n))


def costs(given, problem):
    """Measure what steps, calls, copies and the disk cost, and how Devito lays out a larger grid."""
    from pyrevolve.devito import CheckpointedAdjoint, Problem

    model, shot = problem.model, problem.shot

    def build(save):
        u = model.wavefield(save)
        reverse = model.gradient(u, *problem.adjoint, shot, problem.gradient)
        return Problem(forward=model.forward(u, shot), reverse=reverse)

    memory = given["slices"] * problem.slice_bytes
    with CheckpointedAdjoint(build, memory=memory, arguments=shot.arguments()) as adjoint:
        found = adjoint.measure_costs(directory=given["disk_dir"])
    # Devito allocates nothing until somebody looks at the data.
    grid = Grid(shape=tuple(given["large_grid"]), dtype=np.float32)
    large = TimeFunction(name="large", grid=grid, time_order=2, space_order=model.space_order)
    return {
        "costs": asdict(found),
        "large_cells": math.prod(grid.shape),
        "large_slice": math.prod(large.shape_allocated[1:]) * np.dtype(large.dtype).itemsize,
    }


RUNS = {
    "store-all": store_all,
    "RAM": this_package,
    "RAM + disk": this_package,
    "compressed": this_package,
    "pyrevolve 2.2.8": old_package,
    "checkpoint-schedules": checkpoint_schedules,
}


if __name__ == "__main__":
    main()
