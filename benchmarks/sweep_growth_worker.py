"""One measurement of growth.py without Devito, in a process of its own; prints one JSON object."""

from __future__ import annotations

import json
import statistics
import sys
import time
import tracemalloc

import numpy as np
from common import load

import pyrevolve

peak_resident_memory = load("resident").peak_resident_memory

#: One slice of the problem that is planned for [bytes].
SLICE = 1 << 20


def main() -> None:
    given = json.loads(sys.argv[1])
    print(json.dumps({"planning": planning, "driver": driver}[given["part"]](given)))


def planning(given):
    """Plan for n timesteps: median time, and what the first plan of a process takes in memory."""

    def plan():
        return pyrevolve.plan(
            given["n"],
            state_bytes=2 * SLICE,
            window_slice_bytes=SLICE,
            memory=given["slices"] * SLICE,
            disk=given["disk"] or None,
            lookback=2,
            initial_state="free",
        )

    before = peak_resident_memory()
    seconds = []
    for _ in range(given["repeats"]):
        began = time.perf_counter()
        chosen = plan()
        seconds.append(time.perf_counter() - began)
    grown = peak_resident_memory() - before
    tracemalloc.start()
    plan()
    _, traced = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "seconds": statistics.median(seconds),
        "seconds_first": seconds[0],
        "traced_bytes": traced,
        "grown_bytes": grown,
        "family": chosen.family,
        "window": chosen.window,
        "snapshots": chosen.n_snapshots,
        "snapshots_on_disk": chosen.n_on_disk,
        "recompute_factor": chosen.recompute_factor,
    }


def driver(given):
    """Run a schedule over operators that do nothing: what is left is the driver, and copies of 8 bytes."""
    x = np.zeros(1)

    class State(pyrevolve.Checkpoint):
        dtype, size = x.dtype, x.size
        window, window_bytes = given["window"], 0

        def get_data(self, t):
            return [x]

        def get_data_location(self, t):
            return [x]

    class Nothing(pyrevolve.Operator):
        def apply(self, t_start, t_end):
            pass

    schedule = pyrevolve.Revolve(given["n"], given["snapshots"], window=given["window"])
    began = time.perf_counter()
    actions = sum(1 for _ in schedule)
    iterating = time.perf_counter() - began
    before = peak_resident_memory()
    seconds = []
    with pyrevolve.Revolver(State(), Nothing(), Nothing(), schedule=schedule, progress=False) as revolver:
        for _ in range(given["repeats"]):
            began = time.perf_counter()
            revolver.apply_forward()
            revolver.apply_reverse()
            seconds.append(time.perf_counter() - began)
            steps = revolver.profiler[pyrevolve.Kind.FORWARD].steps
            revolver.reset()
    return {
        "actions": actions,
        "forward_steps": steps,
        "seconds": statistics.median(seconds),
        "overhead_per_action": statistics.median(seconds) / actions,
        "iterating_per_action": iterating / actions,
        "grown_bytes": peak_resident_memory() - before,
    }


if __name__ == "__main__":
    main()
