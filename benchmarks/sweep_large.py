"""The large configuration: what it would take, predicted from costs that were measured on a smaller grid.

Timesteps are scaled by grid points, copies and transfers by bytes; calls cost what they cost. Nothing of it
was run.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import sweep_optimum
from sweep_problems import LARGE, RING, STATE

from pyrevolve import Costs, Revolve, plan_curve

#: Memory limits, in slices, between those of limits() and with as many points as a curve wants.
POINTS = 25
DISK = "4 TiB"


def scaled(costs: Costs, cells: float, nbytes: float) -> Costs:
    """Return costs on a grid that has so many times the points, whose states have so many times the bytes."""
    copies = {
        name: tuple(value * nbytes for value in given) if isinstance(given, tuple) else given * nbytes
        for name, given in (("save", costs.save), ("load", costs.load))
    }
    return dataclasses.replace(
        costs, forward_step=costs.forward_step * cells, reverse_step=costs.reverse_step * cells, **copies
    )


def predict(row: Mapping[str, str]) -> list[dict[str, object]]:
    """Return predictions of time for memory limits from the least to store-all.

    Parameters
    ----------
    row : mapping of str to str
        The row of measured costs.

    Returns
    -------
    list of dict
        One for each method and memory limit.
    """
    given = json.loads(row["costs"])
    given.update(save=tuple(given["save"]), load=tuple(given["load"]))
    cells = int(row["large_cells"]) / int(row["cells"])
    slice_bytes = int(row["large_slice_bytes"])
    with_disk = scaled(Costs(**given), cells, slice_bytes / int(row["slice_bytes"]))
    in_memory = dataclasses.replace(with_disk, save=with_disk.save_at(0), load=with_disk.load_at(0))
    n = LARGE.steps
    stored = n * (in_memory.forward_step + in_memory.reverse_step)
    everything = (n + 2) * slice_bytes
    ratio = (n + 2) / (RING + 2 * STATE)
    slices = [round((RING + 2 * STATE) * ratio ** (point / (POINTS - 1))) for point in range(POINTS)]
    memory = [number * slice_bytes for number in dict.fromkeys(slices)]

    def made(method: str, limit: int, held: int, on_disk: int, steps: int, seconds: float, **more: object):
        return {
            "label": "predicted",
            "configuration": LARGE.name,
            "timesteps": n,
            "method": method,
            "limit_bytes": limit,
            "planned_bytes": held,
            "disk_bytes": on_disk,
            "store_all_bytes": everything,
            "fraction": held / everything,
            "forward_steps": steps,
            "least_steps": sweep_optimum.least(n, limit // slice_bytes),
            "seconds": seconds,
            "times_store_all": seconds / stored,
            "from_problem": row["problem"],
            "costs": json.dumps(dataclasses.asdict(with_disk)),
            **more,
        }

    found = []
    for method, disk, costs in (("RAM", None, in_memory), ("RAM + disk", DISK, with_disk)):
        curve = plan_curve(
            n,
            state_bytes=STATE * slice_bytes,
            window_slice_bytes=slice_bytes,
            memory=memory,
            min_window=RING,
            lookback=sweep_optimum.LOOKBACK,
            initial_state="free",
            costs=costs,
            disk=disk,
        )
        found += [
            made(
                method,
                plan.memory,
                plan.planned_bytes,
                plan.planned_disk_bytes,
                plan.forward_steps,
                plan.predicted_seconds,
                family=plan.family,
                window=plan.window,
                snapshots=plan.n_snapshots,
                snapshots_on_disk=plan.n_on_disk,
            )
            for plan in curve
        ]
    for limit in memory:
        snapshots = (limit // slice_bytes - RING) // STATE
        schedule = Revolve(n, snapshots)
        steps = sweep_optimum.classic(n, snapshots)
        assert steps == schedule.forward_steps
        held = (RING + STATE * snapshots) * slice_bytes
        found.append(
            made("classic Revolve", limit, held, 0, steps, schedule.makespan(in_memory), snapshots=snapshots)
        )
    found.append(made("store-all", everything, everything, 0, n, stored))
    return found


def write_predictions(path: Path, predicted: Sequence[Mapping[str, object]]) -> None:
    """Write a CSV file, the whole of it or nothing."""
    temporary = path.with_suffix(".part")
    with temporary.open("w", newline="") as file:
        names = list(dict.fromkeys(name for row in predicted for name in row))
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(predicted)
    os.replace(temporary, path)
