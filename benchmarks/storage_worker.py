"""One configuration of storage.py in a process of its own; prints one JSON object."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time

import numpy as np
from common import load, predicted_seconds
from devito import Buffer, configuration
from physics import PROBLEMS

from pyrevolve import DiskStorage, Kind, compression, plan
from pyrevolve.devito import CheckpointedAdjoint, Problem, planner

configuration["log-level"] = "ERROR"


class Chooser:
    """Takes the best plan that compresses, or the best that does not, whichever is wanted; None: the best."""

    def __init__(self, wanted):
        self.wanted = wanted
        self.best = None

    def __call__(self, *arguments, **options):
        self.best = plan(*arguments, **options)
        plans = [self.best, *self.best.runners_up]
        if self.wanted is not None:
            plans = [each for each in plans if each.compressed is self.wanted] or [self.best]
        return min(plans, key=lambda each: each.predicted_seconds)


def codec(name):
    """Return what a name such as ``lz4`` or ``rounded:10`` stands for."""
    kind, _, value = name.partition(":")
    if kind == "rounded":
        return compression.rounded(int(value), measure_error=False)
    if kind == "zfp":
        return compression.zfp(precision=int(value), measure_error=False)
    return name


def main() -> None:
    given = json.loads(sys.argv[1])
    problem = PROBLEMS[given["physics"]](given)
    result = {
        "steps": problem.steps,
        "cells": problem.cells,
        "slice_bytes": problem.slice_bytes,
        "seconds": [],
    }
    sweep, after = (store_all if given["slices"] == 0 else checkpointed)(given, problem, result)
    for _ in range(given["shots"]):
        problem.gradient.data[:] = 0
        began = time.perf_counter()
        sweep()
        result["seconds"].append(time.perf_counter() - began)
        after()
    gradient = np.ascontiguousarray(problem.gradient.data)
    result["gradient"] = hashlib.sha256(gradient.tobytes()).hexdigest()[:12]
    if given.get("keep_gradient"):
        np.save(given["keep_gradient"], gradient)
    result["peak"] = load("resident").peak_resident_memory()
    print(json.dumps(result))


def store_all(given, problem, result):
    fields = problem.fields(Buffer(problem.steps + 2))
    forward, reverse = problem.operators(fields)
    forward.cfunction, reverse.cfunction  # noqa: B018  (compiles; the memory stays untouched)
    result.update(
        forward_steps=problem.steps, held=(problem.steps + 2) * problem.slice_bytes, what="store-all"
    )

    def sweep():
        problem.clear(fields)
        forward.apply(**problem.arguments)
        reverse.apply(**problem.arguments)

    return sweep, lambda: None


def checkpointed(given, problem, result):
    def build(save):
        forward, reverse = problem.operators(problem.fields(save))
        return Problem(forward=forward, reverse=reverse)

    planner.plan = chooser = Chooser(given.get("compressed"))
    name = given.get("compression")
    adjoint = CheckpointedAdjoint(
        build,
        memory=given["slices"] * problem.slice_bytes,
        disk=given.get("disk"),
        disk_dir=given["disk_dir"] if given.get("disk") else None,
        compression=None if name is None else codec(name),
        arguments=problem.arguments,
    )
    chosen = adjoint.plan
    result.update(
        what=name or "uncompressed",
        planned_steps=chosen.forward_steps,
        held=chosen.planned_bytes,
        on_disk_bytes=chosen.planned_disk_bytes,
        family=chosen.family,
        compressed=chosen.compressed,
        plan_compresses=chooser.best.compressed,
        window=chosen.window,
        snapshots=chosen.n_snapshots,
        on_disk=chosen.n_on_disk,
        period=chosen.period,
        predicted=chosen.predicted_seconds,
        table=chosen.table(),
        waited=[],
        hidden=[],
        efficiency=[],
    )

    def sweep():
        adjoint.forward()
        adjoint.reverse()

    def after():
        profiler, revolver = adjoint.profiler, adjoint.revolver
        assert revolver is not None
        result["forward_steps"] = profiler[Kind.FORWARD].steps
        result["waited"].append(profiler.waited_seconds)
        result["hidden"].append(sum(tier.transfers.hidden_seconds for tier in profiler.tiers))
        result["held_now"] = adjoint.memory_held
        result["ratio"] = max(getattr(storage, "compression_ratio", 1.0) for storage in revolver.storages)
        result["direct"] = [s.direct for s in revolver.storages if isinstance(s, DiskStorage) and s.nbytes]
        result["profile"] = str(profiler)
        if chosen.compressed:
            return
        costs = adjoint.measure_costs(directory=given.get("disk_dir") if chosen.n_on_disk else None)
        result["efficiency"].append(predicted_seconds(chosen, costs) / result["seconds"][-1])

    return sweep, after


if __name__ == "__main__":
    os.environ.setdefault("OMP_PROC_BIND", "true")
    main()
