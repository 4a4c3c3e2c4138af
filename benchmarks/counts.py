"""Regression guard: deterministic counts, compared with the reviewed ones in counts.csv. `make guard`.

    python benchmarks/counts.py            # compare; exit status 1 where a count differs
    python benchmarks/counts.py --update   # write what is counted to counts.csv, to be reviewed and committed

Three kinds of counts, none of which depends on how busy the machine is:

- forward steps, calls, copies and instructions of schedules, counted from their instructions; what plans
  choose; bytes that a run copies and holds. They must be the same.
- calls of functions, Python's and C's, that one more instruction takes in the driver. They may not grow, or
  by no more than a sixth with another version of Python than counts.csv names.
- instructions that the C++ core executes per unit of its work, under callgrind (Debian: apt-get install
  valgrind). With the compiler that counts.csv names they must agree to 3 %; with any other they may not
  exceed one and a half times of it: compilers differ by less, and worse growth by more. So it is for copies
  with any compiler, because the C library copies in the way that suits the processor.

Seconds are printed beside them and decide nothing.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import pyrevolve
from pyrevolve import Kind

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "counts.csv"
TOLERANCE = 0.03
CEILING = 1.5

#: What counts of the second and the third kind depend on, and the case that names it.
TOOLS = {"Python": "driver", "compiler": "core"}

#: (case, count): value. Values of the first kind are integers, of the others numbers with two decimals.
Counts = dict[tuple[str, str], str]

COSTS = pyrevolve.Costs(
    forward_step=0.8e-3,
    reverse_step=1.2e-3,
    forward_call=1e-5,
    reverse_call=1e-5,
    save=(0.4e-3, 8e-3),
    load=(0.4e-3, 5e-3),
)
IN_RAM = pyrevolve.Costs(forward_step=0.8e-3, reverse_step=1.2e-3, save=0.4e-3, load=0.4e-3)
WAVE = {"window": 20, "lookback": 2}


# --- schedules and plans ------------------------------------------------------------------------------------

SCHEDULES: dict[str, Callable[[], pyrevolve.Schedule]] = {
    "Revolve(100000, 50)": lambda: pyrevolve.Revolve(100_000, 50),
    "Revolve(3622, 22), window 59": lambda: pyrevolve.Revolve(3622, 22, window=59, lookback=2),
    "Multistage(10000, 8, 40)": lambda: pyrevolve.Multistage(10_000, 8, 40, **WAVE),
    "AsyncTwoTier(10000, 100, 5)": lambda: pyrevolve.AsyncTwoTier(10_000, 100, 5, **WAVE),
    "TwoLevel(10000, 100, 5)": lambda: pyrevolve.TwoLevel(10_000, 100, 5, **WAVE),
    "HRevolve(2000, (5, 20))": lambda: pyrevolve.HRevolve(2000, (5, 20), costs=COSTS, **WAVE),
    "DiskRevolve(2000, 5)": lambda: pyrevolve.DiskRevolve(2000, 5, costs=COSTS, **WAVE),
    "PeriodicDiskRevolve(10000, 5)": lambda: pyrevolve.PeriodicDiskRevolve(10_000, 5, costs=COSTS, **WAVE),
    "Mixed(1000, 30)": lambda: pyrevolve.Mixed(1000, 30),
    "CAMS(1000, 60)": lambda: pyrevolve.CAMS(1000, 60, stages=3, stiffly_accurate=True),
}


def of_schedule(schedule: pyrevolve.Schedule) -> Iterator[tuple[str, int]]:
    """Count what a schedule does, from its instructions."""
    rows = schedule.to_numpy()
    kind = rows["kind"]
    forward = rows[kind == Kind.FORWARD]
    yield "instructions", len(rows)
    yield "forward steps", int((forward["stop"] - forward["start"]).sum())
    yield "forward calls", len(forward)
    yield "reverse calls", int((kind == Kind.REVERSE).sum())
    for tier in range(len(schedule.counts.tiers)):
        there = rows["tier"] == tier
        yield f"saves, tier {tier}", int((there & (kind == Kind.SAVE)).sum())
        yield f"loads, tier {tier}", int((there & (kind == Kind.LOAD)).sum())


def of_machine(n: int, snapshots: int) -> Iterator[tuple[str, int]]:
    """Count the actions of the classic state machine."""
    machine = pyrevolve.CRevolve(snapshots, n)
    counts = dict.fromkeys(pyrevolve.Action, 0)
    action = None
    while action is not pyrevolve.Action.terminate:
        action = machine.revolve()
        counts[action] += 1
    for action in (pyrevolve.Action.advance, pyrevolve.Action.takeshot, pyrevolve.Action.restore):
        yield action.name, counts[action]
    yield "timesteps advanced", machine.advances


def of_online(rule: str) -> Iterator[tuple[str, int]]:
    """Count what an online rule stores over 5000 timesteps, and what the reversal takes."""
    online = pyrevolve.Online(20, rule)
    saves = sum(instruction.kind is Kind.SAVE for instruction in online.advance_to(5000, last=True))
    yield "saves", saves
    yield "forward steps", 5000 + online.finish().forward_steps


def of_plan(plan: pyrevolve.Plan) -> Iterator[tuple[str, int]]:
    """Tell what a plan chooses."""
    yield "window", plan.window
    yield "snapshots in RAM", plan.n_snapshots
    yield "snapshots on disk", plan.n_on_disk
    yield "forward steps", plan.forward_steps
    yield "bytes in RAM", plan.planned_bytes
    yield "bytes on disk", plan.planned_disk_bytes


def plan(**budgets: object) -> pyrevolve.Plan:
    """Plan for a wave equation of time order 2: slices of 3.4 MB, 3622 timesteps."""
    return pyrevolve.plan(
        3622,
        state_bytes=6_800_000,
        window_slice_bytes=3_400_000,
        lookback=2,
        initial_state="free",
        **budgets,  # type: ignore[arg-type]
    )


# --- a run --------------------------------------------------------------------------------------------------


class State(pyrevolve.Checkpoint):
    """Two slices and the number of the timestep: 2 * 3000 float32, and an int64."""

    dtype, size = np.dtype(np.float32), 6001

    def __init__(self) -> None:
        self.arrays = [np.zeros((2, 3000), np.float32), np.zeros(1, np.int64)]

    def get_data(self, t: int) -> list[np.ndarray]:
        return self.arrays

    get_data_location = get_data


class Nothing(pyrevolve.Operator):
    """An operator whose timesteps take no time: what is counted is all the driver's."""

    def apply(self, t_start: int, t_end: int) -> None:
        pass


def revolver(n: int, folder: str | None = None) -> pyrevolve.Revolver:
    """Return a driver over RAM or, given a folder, RAM and disk."""
    schedule = pyrevolve.Revolve(n, 10) if folder is None else pyrevolve.Multistage(n, 4, 6)
    return pyrevolve.Revolver(State(), Nothing(), Nothing(), schedule=schedule, disk_dir=folder, threads=1)


def of_run() -> Iterator[tuple[str, int]]:
    """Count the bytes that a run over RAM and disk copies and holds."""
    with tempfile.TemporaryDirectory() as folder, revolver(1000, folder) as driver:
        driver.apply_forward()
        driver.apply_reverse()
        yield "bytes saved", driver.profiler[Kind.SAVE].bytes
        yield "bytes loaded", driver.profiler[Kind.LOAD].bytes
        for tier, storage in enumerate(driver.storages):
            yield f"bytes held, tier {tier}", storage.nbytes


def calls(n: int) -> tuple[int, int]:
    """Return the calls of functions that a run of n timesteps makes, and its instructions."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    with revolver(n) as driver:
        sys.setprofile(count)
        try:
            driver.apply_forward()
            driver.apply_reverse()
        finally:
            sys.setprofile(None)
        return counted, len(driver.schedule.to_numpy())


def calls_per_instruction() -> float:
    """Return the calls that one more instruction takes in the driver."""
    (few, of_few), (many, of_many) = calls(300), calls(1300)
    return (many - few) / (of_many - of_few)


# --- the core under callgrind -------------------------------------------------------------------------------

#: Of counts_core.cpp: what the unit is, and two sizes.
CORE = {
    "classic": ("action", 10_000, 40_000),
    "windowed": ("instruction", 10_000, 40_000),
    "single_step": ("instruction", 10_000, 40_000),
    "online": ("instruction", 5_000, 20_000),
    "hierarchical": ("table entry", 500, 1_000),
    "mixed": ("table entry", 500, 1_000),
    "plans": ("plan", 2, 10),
    "plans_with_disk": ("plan", 1, 2),
    "copies": ("copy of 64 kB", 50, 200),
}


def compiler() -> str:
    """Return what the core is compiled with, and for."""
    line = subprocess.check_output([os.environ.get("CXX", "g++"), "--version"], text=True).splitlines()[0]
    return f"{line} {platform.machine()}"


def build_core(folder: str) -> str:
    """Compile the core, with flags that do not change with those of the wheel."""
    target = os.path.join(folder, "counts_core")
    core = HERE.parent / "src" / "revolve_cpp"
    flags = ["-std=c++17", "-O2", "-g0", "-pthread", f"-I{core / 'include'}"]
    sources = [str(HERE / "counts_core.cpp"), *map(str, sorted(core.glob("*.cpp")))]
    subprocess.run([os.environ.get("CXX", "g++"), *flags, *sources, "-o", target, "-ldl"], check=True)
    return target


def executed(program: str, case: str, size: int) -> tuple[int, int]:
    """Return the instructions that a case executes, and its units of work."""
    with tempfile.TemporaryDirectory() as folder:
        profile = os.path.join(folder, "profile")
        command = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        units = subprocess.check_output([*command, program, case, str(size)], text=True)
        (total,) = [line for line in Path(profile).read_text().splitlines() if line.startswith("summary:")]
    return int(total.split()[1]), int(units)


def instructions_per_unit(program: str, case: str) -> float:
    """Return the instructions that one more unit of a case's work takes."""
    _, small, large = CORE[case]
    (few, units_of_few), (many, units_of_many) = (
        executed(program, case, small),
        executed(program, case, large),
    )
    return (many - few) / (units_of_many - units_of_few)


# --- comparison ---------------------------------------------------------------------------------------------


def count_all() -> tuple[Counts, dict[str, float]]:
    """Return all counts, and the seconds that each case took."""
    if shutil.which("valgrind") is None:
        sys.exit("valgrind, which counts instructions, was not found: apt-get install valgrind")
    counts: Counts = {}
    seconds: dict[str, float] = {}

    def take(case: str, found: Callable[[], Iterator[tuple[str, int]]]) -> None:
        began = time.perf_counter()
        counts.update({(case, name): str(value) for name, value in found()})
        seconds[case] = time.perf_counter() - began

    for name, make in SCHEDULES.items():
        take(name, lambda make=make: of_schedule(make()))
    take("CRevolve(50, 100000)", lambda: of_machine(100_000, 50))
    for rule in pyrevolve.crevolve.ONLINE_RULES:
        take(f"Online(20, {rule})", lambda rule=rule: of_online(rule))
    take("plan, 350 MB", lambda: of_plan(plan(memory="350 MB", costs=IN_RAM)))
    take("plan, 150 MB and 2 GB", lambda: of_plan(plan(memory="150 MB", disk="2 GB", costs=COSTS)))
    take("run", of_run)
    counts["driver", "Python"] = ".".join(map(str, sys.version_info[:2]))
    began = time.perf_counter()
    counts["driver", "calls per instruction"] = f"{calls_per_instruction():.2f}"
    seconds["driver"] = time.perf_counter() - began
    counts["core", "compiler"] = compiler()
    with tempfile.TemporaryDirectory() as folder:
        program = build_core(folder)
        for case, (unit, *_) in CORE.items():
            began = time.perf_counter()
            name = f"instructions per {unit}"
            counts[f"core, {case}", name] = f"{instructions_per_unit(program, case):.2f}"
            seconds[f"core, {case}"] = time.perf_counter() - began
    return counts, seconds


def difference(key: tuple[str, str], expected: Counts, found: Counts) -> str:
    """Say what is wrong with a count; an empty string where nothing is."""
    if key not in expected:
        return "is not in counts.csv"
    if key not in found:
        return "is in counts.csv, and nothing counts it"
    case, name = key
    if name in TOOLS:
        return ""
    if not case.startswith(("core, ", "driver")):
        return "" if found[key] == expected[key] else "differs"
    tool = next(tool for tool in TOOLS if case.startswith(TOOLS[tool]))
    same_tool = expected.get((TOOLS[tool], tool)) == found.get((TOOLS[tool], tool))
    ratio = float(found[key]) / float(expected[key])
    if case == "driver":
        highest, lowest = (1.0, 0.0) if same_tool else (7 / 6, 0.0)
    elif same_tool and case != "core, copies":
        highest, lowest = 1 + TOLERANCE, 1 - TOLERANCE
    else:
        highest, lowest = CEILING, 0.0
    return "" if lowest <= ratio <= highest else f"is {ratio:.3f} times as much"


def compare(expected: Counts, found: Counts) -> list[str]:
    """Return a line for every count that is not as it should be."""
    lines = []
    for key in dict.fromkeys([*expected, *found]):
        wrong = difference(key, expected, found)
        if wrong:
            lines.append(f"{', '.join(key)}: expected {expected.get(key)}, got {found.get(key)}: {wrong}")
    return lines


def read() -> Counts:
    """Return the reviewed counts."""
    with EXPECTED.open(newline="") as file:
        return {(row["case"], row["count"]): row["value"] for row in csv.DictReader(file)}


def write(counts: Counts) -> None:
    """Make these counts the reviewed ones."""
    with EXPECTED.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["case", "count", "value"])
        rows.writerows([*key, value] for key, value in counts.items())


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare deterministic counts with those in counts.csv.")
    parser.add_argument("--update", action="store_true", help="write counts.csv instead, to be reviewed")
    options = parser.parse_args()
    found, seconds = count_all()
    for (case, name), value in found.items():
        print(f"{case:32} {name:34} {value:>16}")
    print()
    for case, taken in seconds.items():
        print(f"{case:32} {taken:8.3f} s")
    if options.update:
        write(found)
        return 0
    expected = read()
    wrong = compare(expected, found)
    recorded = expected["core", "compiler"]
    if recorded != found["core", "compiler"]:
        print(
            f"\nthe compiler is another than {recorded}: only ceilings of what the core executes are checked"
        )
    for line in wrong:
        print(f"\n{line}", file=sys.stderr)
    if wrong:
        print("\nwhere that is meant: benchmarks/counts.py --update, and say why", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
