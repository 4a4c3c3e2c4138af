"""Schedules: time and memory to plan and to go through every instruction, beside other packages.

    python benchmarks/schedules.py
    python benchmarks/schedules.py --fast

Every figure comes from a process of its own that runs one case: the median of several, and one run of what
takes seconds, which --fast leaves out. Beside this package: checkpoint-schedules and pyrevolve 2.2.8, in
environments of their own that are made on the first use. A schedule's cost is its forward timesteps, that
run which a reversal needs included, and its copies, each by its tier: `costs(0, 5)` is nothing for RAM and
five forward timesteps for the disk, to and fro; cases without costs are counted by the same.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from common import CHECKPOINT_SCHEDULES, facts, print_facts, reference_python, worker

WORKER = Path(__file__).with_name("schedules_worker.py")


@dataclass(frozen=True)
class Reference:
    """The same problem in another package."""

    call: str
    what: str = "checkpoint_schedules"
    slow: bool = False
    note: str = ""
    #: How many times faster this package wants to be.
    wanted: float | None = None
    options: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One problem of n timesteps."""

    n: int
    call: str
    references: tuple[Reference, ...] = ()
    #: How many seconds it wants to take at most.
    limit: float | None = None


def mixed(n: int, snapshots: int) -> Case:
    call = f"MixedCheckpointSchedule({n}, {snapshots}, storage=StorageType.RAM)"
    return Case(
        n,
        f"Mixed({n}, {snapshots})",
        (
            Reference(call, slow=True, wanted=500),
            Reference(call, slow=True, note="Numba", options={"numba": True}),
            Reference(call, note="Numba, compiled", options={"numba": True, "warm": True}),
        ),
    )


CASES = (
    Case(3000, "Revolve(3000, 30)", (Reference("Revolve(3000, 30)", slow=True, wanted=500),)),
    Case(
        1000,
        "HRevolve(1000, (10, 100), costs=costs(0, 5))",
        (
            Reference("HRevolve(1000, 10, 100, wd=5, rd=5)", slow=True, wanted=500),
            Reference(
                "HRevolve(999, 999, architecture=...)",
                what="pyrevolve 2.2.8",
                slow=True,
                wanted=500,
                options={"slots": [10, 100]},
            ),
        ),
    ),
    mixed(1000, 20),
    mixed(1500, 20),
    Case(
        1000,
        "DiskRevolve(1000, 10, one_read=True, costs=costs(0, 5))",
        (Reference("DiskRevolve(1000, 10, wd=5, rd=5)", slow=True),),
    ),
    Case(
        1000,
        "PeriodicDiskRevolve(1000, 10, one_read=True, costs=costs(0, 5))",
        (Reference("PeriodicDiskRevolve(1000, 10, wd=5, rd=5)"),),
    ),
    Case(
        3000,
        "Multistage(3000, 10, 20, costs=costs(0, 5))",
        (Reference("MultistageCheckpointSchedule(3000, 10, 20)"),),
    ),
    Case(
        10_000,
        "TwoLevel(10_000, 100, 10)",
        (Reference("TwoLevelCheckpointSchedule(100, 10, binomial_storage=StorageType.RAM)"),),
    ),
    Case(10_000, "HRevolve(10_000, (50, 500), costs=costs(0, 5))", limit=10),
    Case(10_000, "HRevolve(10_000, (50, 500), costs=costs(0.5, 5))", limit=10),
    Case(10_000, "HRevolve(10_000, (50, 500), costs=costs(0.1, 0.2))", limit=10),
    Case(100_000, "HRevolve(100_000, (10, 100, 1000), window=50, costs=costs(0, 2, 10))", limit=1),
    Case(100_000, "HRevolve(100_000, (10, 100, 1000), window=50, costs=costs(0.1, 2, 10))", limit=1),
)

SIZES = "state_bytes=7_000_000, window_slice_bytes=3_500_000, lookback=2"
PLANS = (
    f'plan(10_000, {SIZES}, memory="350 MB", disk="20 GB")',
    f'plan(10_000, {SIZES}, memory="350 MB", disk="20 GB", overlap=False)',
    f'plan_curve(10_000, {SIZES}, disk="20 GB")',
)
N_BUDGETS = 300


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", action="store_true", help="leave out references that take seconds")
    parser.add_argument("--runs", type=int, default=5, help="processes for what does not take seconds")
    parser.add_argument("--reference-python", type=Path, help="interpreter with pyrevolve 2.2.8")
    parser.add_argument(
        "--checkpoint-schedules-python", type=Path, help="interpreter with checkpoint-schedules and Numba"
    )
    options = parser.parse_args()
    print_facts(facts("pyrevolve", "numpy"))
    pythons = {
        "pyrevolve": sys.executable,
        "checkpoint_schedules": reference_python(options.checkpoint_schedules_python, *CHECKPOINT_SCHEDULES),
    }
    if not options.fast:
        pythons["pyrevolve 2.2.8"] = reference_python(options.reference_python)

    verdicts = beside(pythons, options)
    planning(options.runs)
    print("\n" + "\n".join(verdicts))
    if any("MORE" in verdict for verdict in verdicts):
        raise SystemExit(1)


def measure(runs: int, python: Path | str, **arguments: object) -> dict:
    """Return one result of several runs, with their median times and the most memory."""
    results = [worker(python, WORKER, arguments) for _ in range(runs)]
    medians = {
        key: statistics.median(result[key] for result in results)
        for key in ("seconds", "iterating")
        if key in results[0]
    }
    return {**results[0], **medians, **{key: max(r[key] for r in results) for key in ("peak", "grown")}}


def beside(pythons: dict[str, Path | str], options: argparse.Namespace) -> list[str]:
    """Measure all cases, print them as they come, and return what is to be said of them."""
    row(
        "package",
        "schedule",
        "time [ms]",
        "x ours",
        "peak [MiB]",
        "over imports",
        "instructions",
        "forward steps",
        "cost",
    )
    row("---", "---", *["---:"] * 7)
    verdicts = []
    for case in CASES:
        ours = measure(options.runs, pythons["pyrevolve"], what="pyrevolve", call=case.call)
        print_measured(f"pyrevolve {ours['version']}", case.call, ours, ours)
        if case.limit:
            verdicts.append(f"{case.call}: {ours['seconds']:.2f} s (wanted {case.limit:g})")
        for other in case.references:
            if other.slow and options.fast:
                continue
            theirs = measure(
                1 if other.slow else options.runs,
                pythons[other.what],
                what=other.what,
                call=other.call,
                n=case.n,
                **other.options,
            )
            name = other.what.split()[0].replace("_", "-") + f" {theirs['version']}"
            name += f" ({other.note})" if other.note else ""
            print_measured(name, other.call, theirs, ours)
            verdicts.append(verdict(case.call, name, ours, theirs, other.wanted))
    return verdicts


def print_measured(name: str, call: str, result: dict, ours: dict) -> None:
    row(
        name,
        f"`{call}`",
        f"{result['seconds'] * 1e3:.2f}",
        "" if result is ours else f"{result['seconds'] / ours['seconds']:.0f}",
        f"{result['peak']:.1f}",
        f"{result['grown']:.1f}",
        str(result["length"]),
        str(result["forward_steps"]),
        f"{result['cost']:.10g}",
    )


def verdict(call: str, name: str, ours: dict, theirs: dict, wanted: float | None) -> str:
    """Compare cost and time in words."""
    ratio = theirs["seconds"] / ours["seconds"]
    if ours["cost"] == theirs["cost"]:
        cost = f"costs {ours['cost']:.10g} as there"
    else:
        less = ours["cost"] < theirs["cost"]
        cost = f"costs {ours['cost']:.10g}, {'less' if less else 'MORE'} than {theirs['cost']:.10g} there"
    hoped = f" (wanted {wanted:g})" if wanted else ""
    return f"{call}: {cost}; {ratio:.0f} x the speed of {name}{hoped}"


def planning(runs: int) -> None:
    """Measure plans across memory and disk."""
    print()
    row("plan", "time [ms]", "iterating [ms]", "instructions", "peak [MiB]", "over imports")
    row("---", *["---:"] * 5)
    for call in PLANS:
        result = measure(runs, sys.executable, what="plan", call=call)
        row(
            f"`{call}`",
            f"{result['seconds'] * 1e3:.1f}",
            f"{result['iterating'] * 1e3:.1f}",
            str(result["length"]),
            f"{result['peak']:.1f}",
            f"{result['grown']:.1f}",
        )
    n = 10_000
    result = worker(sys.executable, WORKER, {"what": "budgets", "n": n, "plans": N_BUDGETS, "seed": 7})
    found = sorted(result["plans"])
    milliseconds = [seconds * 1e3 for seconds, _, _ in found]
    families = [family for _, family, _ in found]
    chosen = ", ".join(f"{families.count(family)} {family}" for family in sorted(set(families)))
    print(
        f"\nplan({n}, memory=, disk=) for {N_BUDGETS} random budgets, costs and operators: median "
        f"{statistics.median(milliseconds):.1f} ms, worst {milliseconds[-1]:.1f} ms (wanted 100), "
        f"peak {result['peak']:.1f} MiB; chosen: {chosen}\nworst: {found[-1][2]}"
    )


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
