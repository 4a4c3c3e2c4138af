"""One case of schedules.py in a process of its own; prints one JSON object.

Imports are not timed. What other packages give is kept until it is counted, after the clock has stopped; it
takes less than a hundredth of their time.
"""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
import sys
import time
import warnings
from importlib.metadata import version

from common import load

#: What every copy to and from RAM and disk costs in forward timesteps where a case does not say otherwise.
COPIES = (0, 5)


def main() -> None:
    given = json.loads(sys.argv[1])
    if not given.get("numba"):
        sys.modules["numba"] = None  # checkpoint-schedules uses it where it is installed
        warnings.filterwarnings("ignore", message="Numba not available")
    run = {
        "pyrevolve": this_package,
        "plan": plans,
        "budgets": budgets,
        "checkpoint_schedules": checkpoint_schedules,
        "pyrevolve 2.2.8": old_package,
    }[given["what"]]
    print(json.dumps(run(given), default=int))  # counts may be NumPy's


def peak() -> float:
    """Most memory that this process has held [MiB]."""
    return load("resident").peak_resident_memory() / 2**20


def this_package(given):
    import pyrevolve
    from pyrevolve import Costs, Kind

    def costs(*copies: float) -> Costs:
        """Return costs without reverse steps, which are as many in every schedule."""
        return Costs(forward_step=1, reverse_step=0, save=copies, load=copies)

    names = {**vars(pyrevolve), "costs": costs}
    before = peak()
    began = time.perf_counter()
    schedule = eval(given["call"], names)
    length = sum(1 for _ in schedule)
    seconds = time.perf_counter() - began
    result = {"seconds": seconds, "peak": peak(), "grown": peak() - before, "length": length}

    prices = getattr(schedule, "costs", costs(*COPIES))
    cost = forward_steps = 0
    for i in schedule:
        if i.kind is Kind.FORWARD:
            forward_steps += i.stop - i.start
        elif i.kind is Kind.SAVE:
            cost += prices.save_at(i.tier)
        elif i.kind is Kind.LOAD:
            cost += prices.load_at(i.tier)
    cost += forward_steps
    optimal = getattr(schedule, "optimal_cost", cost)
    assert abs(cost - optimal) <= 1e-9 * cost, f"the schedule costs {cost}, its plan said {optimal}"
    return {**result, "version": pyrevolve.__version__, "forward_steps": forward_steps, "cost": cost}


def checkpoint_schedules(given):
    import checkpoint_schedules as package
    from checkpoint_schedules import Copy, EndReverse, Forward, Move, StorageType

    n = given["n"]

    def actions():
        schedule = eval(given["call"], vars(package))
        for action in schedule:
            yield action
            if isinstance(action, EndReverse):
                return
            # A schedule for any number of timesteps is told the number when it is reached.
            if schedule.max_n is None and isinstance(action, Forward) and action.n1 >= n:
                schedule.finalize(n)

    if given.get("warm"):
        for _ in actions():
            pass
    before = peak()
    began = time.perf_counter()
    kept = list(actions())
    seconds = time.perf_counter() - began
    result = {"seconds": seconds, "peak": peak(), "grown": peak() - before, "length": len(kept)}

    forward_steps = copies = 0
    for action in kept:
        if isinstance(action, Forward):
            forward_steps += min(action.n1, n) - action.n0
            stored = action.write_ics or action.write_adj_deps
            copies += stored and action.storage == StorageType.DISK
        elif isinstance(action, (Copy, Move)):
            copies += action.from_storage == StorageType.DISK
    cost = forward_steps + COPIES[1] * copies
    return {
        **result,
        "version": version("checkpoint-schedules"),
        "forward_steps": forward_steps,
        "cost": cost,
    }


def old_package(given):
    """H-Revolve of pyrevolve 2.2.8, which reverses one timestep more than it is told."""
    import numpy as np

    from pyrevolve import NumpyStorage
    from pyrevolve.schedulers import Action, Architecture, HRevolve

    last = given["n"] - 1
    tiers = [
        NumpyStorage(1, slots, np.float32, wd=price, rd=price)
        for slots, price in zip(given["slots"], COPIES, strict=True)
    ]
    before = peak()
    began = time.perf_counter()
    schedule = HRevolve(last, last, architecture=Architecture(tiers))
    kept = []
    while not kept or kept[-1].type != Action.TERMINATE:
        kept.append(schedule.next())
    seconds = time.perf_counter() - began
    result = {"seconds": seconds, "peak": peak(), "grown": peak() - before, "length": len(kept)}

    reversed_steps = cost = forward_steps = 0
    for action in kept:
        if action.type == Action.ADVANCE:
            forward_steps += action.capo - action.old_capo
        elif action.type == Action.REVERSE:
            reversed_steps += 1
        elif action.type in (Action.TAKESHOT, Action.RESTORE):
            cost += COPIES[action.storageIndex()]
    # Every timestep runs forward once more to be reversed, which is no action of its own there.
    assert reversed_steps == given["n"]
    forward_steps += reversed_steps
    cost += forward_steps
    return {**result, "version": version("pyrevolve"), "forward_steps": forward_steps, "cost": cost}


def plans(given):
    """A plan, or a curve of plans: the time to make it, and to go through its schedules."""
    import pyrevolve

    before = peak()
    began = time.perf_counter()
    made = eval(given["call"], vars(pyrevolve))
    seconds = time.perf_counter() - began
    result = {"seconds": seconds, "peak": peak(), "grown": peak() - before}
    began = time.perf_counter()
    length = sum(1 for plan in (made if isinstance(made, list) else [made]) for _ in plan.schedule)
    return {**result, "iterating": time.perf_counter() - began, "length": length}


def budgets(given):
    """Plans for one n and random budgets of memory and disk, costs and operators."""
    from pyrevolve import BudgetError, plan
    from pyrevolve.costs import RELATIVE_COSTS_WITH_DISK

    rng = random.Random(given["seed"])
    found = []
    while len(found) < given["plans"]:
        window_slice = rng.randint(1, 10)
        state = window_slice * rng.randint(1, 3)
        everything = given["n"] * window_slice
        save, load = ((rng.uniform(0.1, 1), 10 ** rng.uniform(0, 2)) for _ in range(2))
        options = {
            "state_bytes": state,
            "window_slice_bytes": window_slice,
            "memory": round(10 ** rng.uniform(1, 5) / 1e5 * everything),
            "disk": round(10 ** rng.uniform(1, 5) / 1e5 * everything),
            "lookback": rng.randint(0, state // window_slice),
            "initial_state": rng.choice(["stored", "free"]),
            "overlap": rng.random() < 0.5,
            "costs": dataclasses.replace(RELATIVE_COSTS_WITH_DISK, save=save, load=load),
        }
        times = []
        try:
            for _ in range(3):
                began = time.perf_counter()
                chosen = plan(given["n"], **options)
                times.append(time.perf_counter() - began)
        except BudgetError:
            continue
        found.append((statistics.median(times), chosen.family, repr(options)))
    return {"plans": found, "peak": peak()}


if __name__ == "__main__":
    main()
