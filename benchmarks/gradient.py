"""The benchmark that matters: one FWI gradient on Marmousi, by time and by slices held.

    python benchmarks/gradient.py --model PATH/vp_marmousi_bi

Compares, with the same Devito operators, one process after the other and nothing else running: this package,
pyrevolve 2.2.8 with Devito's own adapter (in an environment of its own, `.venv-reference`), and store-all
with its memory touched for the first time (cold) and again (warm), also in huge pages, in which this package
puts its rings. One round of all configurations follows another, and every time is that of the fastest shot
after the first one of a process, as is the efficiency, for which costs are measured after each shot: a
machine that is shared has minutes in which everything takes half as long again. The medians are in the CSV
file.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from pathlib import Path

from common import ROOT, add_shape, facts, print_facts, reference_python, threads_of, worker

WORKER = Path(__file__).with_name("gradient_worker.py")
#: Slices held: for pyrevolve 2.2.8 a plain field of 3 slices and 2 for every checkpoint.
SLICES = (23, 43, 103, 203)
WANTED = {23: 1.5, 43: 1.6, 103: 1.8, 203: 2.05}
#: Slices held beside a disk, and what is wanted there: times store-all, and times the speed of 2.2.8 with the
#: slices named.
WITH_DISK, MOST_TIMES_STORE_ALL, FASTER_THAN = 26, 1.45, (23, 2.5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, help="raw float32 P velocity, km/s; by default one is generated"
    )
    add_shape(parser)
    parser.add_argument("--spacing", type=float, default=7.5, help="grid spacing [m]")
    parser.add_argument("--tn", type=float, default=3000.0, help="recording time [ms]")
    parser.add_argument("--slices", type=int, nargs="+", default=SLICES)
    parser.add_argument("--rounds", type=int, default=2, help="processes per configuration")
    parser.add_argument("--shots", type=int, default=3, help="shots per process, the first one not counted")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--disk", default="8 GiB", help="budget on disk, for the row with a disk")
    parser.add_argument("--disk-dir", type=Path, help="where; by default benchmarks/results")
    parser.add_argument("--reference-python", type=Path, help="interpreter with pyrevolve 2.2.8 and Devito")
    parser.add_argument("--csv", type=Path, default=ROOT / "benchmarks" / "results" / "gradient.csv")
    options = parser.parse_args()

    options.csv.parent.mkdir(parents=True, exist_ok=True)
    disk = {"disk": options.disk, "disk_dir": str((options.disk_dir or options.csv.parent).resolve())}
    machine = facts("pyrevolve", "devito", "numpy", "xxhash")
    print_facts(machine)
    reference = reference_python(options.reference_python)
    problem = {
        "model": None if options.model is None else str(options.model.resolve()),
        "shape": list(options.shape),
        "spacing": options.spacing,
        "tn": options.tn,
        "shots": options.shots,
    }
    environment = threads_of(options.threads)
    runs: dict[tuple[str, int], list[dict]] = {}
    for turn in range(options.rounds):
        for name, python, slices in [
            ("store-all", sys.executable, 0),
            ("store-all, huge", sys.executable, 0),
            *(("pyrevolve", sys.executable, m) for m in options.slices),
            ("pyrevolve, disk", sys.executable, WITH_DISK),
            *(("pyrevolve 2.2.8", reference, m) for m in options.slices),
        ]:
            print(f"round {turn + 1}: {name} {slices or ''} ...", file=sys.stderr, flush=True)
            arguments = {**problem, "what": name.partition(",")[0], "slices": slices}
            arguments.update(disk if name.endswith("disk") else {})
            arguments.update({"huge_pages": True} if name.endswith("huge") else {})
            result = worker(python, WORKER, arguments, **environment)
            runs.setdefault((name, slices), []).append(result)

    rows = []
    for (name, slices), results in runs.items():
        warm = [t for result in results for t in result["seconds"][1:]]
        predicted = [
            pair
            for result in results
            for pair in list(zip(result["seconds"], result.get("efficiency", []), strict=False))[1:]
        ]
        row = {
            "what": name,
            "slices": slices or results[0]["slices_held"],
            "seconds": min(warm),
            "median": statistics.median(warm),
            "cold": statistics.median(result["seconds"][0] for result in results),
            "forward_steps": results[0]["forward_steps"],
            "timesteps": results[0]["timesteps"],
            "held_MiB": results[0]["held"] / 2**20,
            "peak_MiB": max(result["peak"] for result in results) / 2**20,
            "window": results[0].get("window", ""),
            "snapshots": results[0].get("snapshots", ""),
            "on_disk": results[0].get("on_disk", ""),
            "disk_MiB": results[0].get("held_on_disk", 0) / 2**20,
            "direct": results[0].get("direct"),
            "planned_steps": results[0].get("planned_steps", ""),
            "waited": max((w for r in results for w in r.get("waited", [])[1:]), default=0.0),
            "hidden": max((h for r in results for h in r.get("hidden", [])[1:]), default=0.0),
            "efficiency": min(predicted)[1] if predicted else "",
            "median_efficiency": statistics.median(e for _, e in predicted) if predicted else "",
            "gradient": results[0]["gradient"],
        }
        rows.append(row)
    by = {(row["what"], row["slices"]): row for row in rows}
    stored = next(row for row in rows if row["what"] == "store-all")

    print(
        f"\n{stored['timesteps']} timesteps, {results[0]['cells']} grid points, "
        f"one slice {results[0]['slice'] / 2**20:.2f} MiB"
    )
    print(
        f"{'':21}{'slices':>7}{'held':>10}{'peak RSS':>10}{'forward':>9}{'factor':>8}{'time':>9}"
        f"{'x 2.2.8':>9}{'x store':>9}{'effic.':>8}  K, S"
    )
    print(f"{'':28}{'MiB':>10}{'MiB':>10}{'steps':>9}{'':>8}{'s':>9}")
    for row in rows:
        old = by.get(("pyrevolve 2.2.8", row["slices"]))
        speed = f"{old['seconds'] / row['seconds']:.2f}" if old and row is not old else ""
        effic = f"{row['efficiency']:.3f}" if row["efficiency"] != "" else ""
        what = "store-all warm" if row is stored else row["what"]
        print(
            f"{what:21}{row['slices']:>7}{row['held_MiB']:>10.1f}{row['peak_MiB']:>10.1f}{row['forward_steps']:>9}"
            f"{row['forward_steps'] / row['timesteps']:>8.3f}{row['seconds']:>9.2f}{speed:>9}"
            f"{row['seconds'] / stored['seconds']:>9.2f}{effic:>8}  {row['window']} {row['snapshots']}"
        )
    for name in ("store-all", "store-all, huge"):
        row = by[name, stored["slices"]]
        print(
            f"{name + ' cold':21}{row['slices']:>7}{row['held_MiB']:>10.1f}{row['peak_MiB']:>10.1f}"
            f"{row['forward_steps']:>9}{1:>8.3f}{row['cold']:>9.2f}"
        )
    same = {row["gradient"] for row in rows}
    print("\ngradients: " + ("all equal bit for bit" if len(same) == 1 else f"DIFFERENT: {sorted(same)}"))
    for slices, wanted in WANTED.items():
        new, old = by.get(("pyrevolve", slices)), by.get(("pyrevolve 2.2.8", slices))
        if new and old:
            ratio = old["seconds"] / new["seconds"]
            print(f"at {slices} slices: {ratio:.2f} x the speed of 2.2.8 (wanted {wanted})")
    disk_row, reference_row = by["pyrevolve, disk", WITH_DISK], by.get(("pyrevolve 2.2.8", FASTER_THAN[0]))
    how = "direct I/O, past the page cache" if disk_row["direct"] else "the page cache"
    print(
        f"with a disk, {WITH_DISK} slices in RAM: {disk_row['on_disk']} snapshots, "
        f"{disk_row['disk_MiB']:.0f} MiB on disk by {how}; {disk_row['planned_steps']} steps planned, "
        f"{disk_row['forward_steps']} run; waited {disk_row['waited']:.3f} s at most, "
        f"{disk_row['waited'] / disk_row['seconds']:.1%} of the run, "
        f"{disk_row['hidden']:.2f} s of transfers hidden"
    )
    print(
        f"{disk_row['seconds'] / stored['seconds']:.2f} x store-all (wanted <= {MOST_TIMES_STORE_ALL})"
        + (
            f"; {reference_row['seconds'] / disk_row['seconds']:.2f} x the speed of 2.2.8 at "
            f"{FASTER_THAN[0]} slices (wanted {FASTER_THAN[1]})"
            if reference_row
            else ""
        )
    )
    with options.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {options.csv}")


if __name__ == "__main__":
    main()
