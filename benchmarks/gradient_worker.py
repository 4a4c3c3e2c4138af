"""One configuration of gradient.py in a process of its own; prints one JSON object."""

from __future__ import annotations

import hashlib
import json
import sys
import time

import numpy as np
from common import load, predicted_seconds
from devito import Buffer, configuration
from physics import Isotropic

configuration["log-level"] = "ERROR"


def main() -> None:
    given = json.loads(sys.argv[1])
    problem = Isotropic(given)
    (v,) = problem.adjoint
    gradient = problem.gradient
    result = {"timesteps": problem.steps, "cells": problem.cells, "slice": problem.slice_bytes}
    what = {"store-all": store_all, "pyrevolve": this_package, "pyrevolve 2.2.8": old_package}[given["what"]]
    sweep, after = what(given, problem.model, problem.shot, v, gradient, result)

    result["seconds"] = []
    for _ in range(given["shots"]):
        gradient.data[:] = 0
        began = time.perf_counter()
        sweep()
        result["seconds"].append(time.perf_counter() - began)
        after()
    result["gradient"] = hashlib.sha256(np.ascontiguousarray(gradient.data).tobytes()).hexdigest()[:12]
    result["peak"] = load("resident").peak_resident_memory()
    print(json.dumps(result))


def store_all(given, model, shot, v, gradient, result):
    slices = shot.steps + 2
    u = model.wavefield(Buffer(slices))
    if given.get("huge_pages"):
        from pyrevolve.devito.memory import in_huge_pages

        in_huge_pages(u)
    forward = model.forward(u, shot)
    reverse = model.gradient(u, v, shot, gradient)
    forward.cfunction, reverse.cfunction  # noqa: B018  (compiles; the field's memory stays untouched)
    result.update(forward_steps=shot.steps, slices_held=slices, held=slices * result["slice"])

    def sweep():
        u.data_with_halo[:2] = 0
        v.data_with_halo[:] = 0
        forward.apply(**shot.arguments())
        reverse.apply(**shot.arguments())

    return sweep, lambda: None


def this_package(given, model, shot, v, gradient, result):
    from pyrevolve import DiskStorage, Kind
    from pyrevolve.devito import CheckpointedAdjoint, Problem

    def build(save):
        u = model.wavefield(save)
        return Problem(forward=model.forward(u, shot), reverse=model.gradient(u, v, shot, gradient))

    memory = given["slices"] * result["slice"]
    adjoint = CheckpointedAdjoint(
        build,
        memory=memory,
        arguments=shot.arguments(),
        disk=given.get("disk"),
        disk_dir=given.get("disk_dir"),
        compression=given.get("compression"),
    )
    plan = adjoint.plan
    result.update(
        planned_steps=plan.forward_steps,
        slices_held=given["slices"],
        held=plan.planned_bytes,
        held_on_disk=plan.planned_disk_bytes,
        family=plan.family,
        compressed=plan.compressed,
        window=plan.window,
        snapshots=plan.n_snapshots,
        on_disk=plan.n_on_disk,
        predicted=plan.predicted_seconds,
        plan=str(plan),
        table=plan.table(),
        efficiency=[],
        waited=[],
        hidden=[],
    )

    def sweep():
        adjoint.forward()
        adjoint.reverse()

    def after():
        """Compare the predicted time, with costs measured here and now, with the shot's."""
        profiler = adjoint.profiler
        result["forward_steps"] = profiler[Kind.FORWARD].steps
        result["waited"].append(profiler.waited_seconds)
        result["hidden"].append(sum(tier.transfers.hidden_seconds for tier in profiler.tiers))
        assert adjoint.revolver is not None
        result["direct"] = next(
            (s.direct for s in adjoint.revolver.storages if isinstance(s, DiskStorage) and s.nbytes), None
        )
        result["profile"] = str(profiler)
        costs = adjoint.measure_costs(directory=given.get("disk_dir") if plan.n_on_disk else None)
        seconds = result["seconds"][-1]
        if plan.compressed:
            return
        result["efficiency"].append(predicted_seconds(plan, costs) / seconds)

    return sweep, after


def old_package(given, model, shot, v, gradient, result):
    """As Devito's own tests and tutorials use it: a new Revolver for every gradient."""
    from devito.checkpointing import CheckpointOperator, DevitoCheckpoint

    from pyrevolve import Revolver

    u = model.wavefield()
    forward = model.forward(u, shot)
    reverse = model.gradient(u, v, shot, gradient)
    n_checkpoints = (given["slices"] - 3) // 2
    steps = [0]

    class Counting(CheckpointOperator):
        def apply(self, t_start, t_end):
            steps[0] += t_end - t_start
            super().apply(t_start, t_end)

    wrapped_forward = Counting(forward, u=u, dt=shot.dt)
    wrapped_reverse = CheckpointOperator(reverse, u=u, dt=shot.dt)
    held = (3 + 2 * n_checkpoints) * result["slice"]
    result.update(slices_held=given["slices"], held=held, snapshots=n_checkpoints)

    def sweep():
        u.data_with_halo[:] = 0
        v.data_with_halo[:] = 0
        steps[0] = 0
        revolver = Revolver(
            DevitoCheckpoint([u]), wrapped_forward, wrapped_reverse, n_checkpoints, shot.steps
        )
        revolver.apply_forward()
        revolver.apply_reverse()

    def after():
        result["forward_steps"] = steps[0]

    return sweep, after


if __name__ == "__main__":
    main()
