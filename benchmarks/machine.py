"""Speed of the schedules and of the snapshot copy.

    python benchmarks/machine.py

Schedules: `CRevolve.revolve()`, iteration over `Revolve` and `to_numpy()`, beside pyrevolve 2.2.8 in an
environment of its own. Copies: one state (two slices of the Marmousi grid) to slots and back, beside the best
parallel copy that this machine's C compiler makes of the same blocks, in a process where Devito's OpenMP
runs, whose timesteps are measured with and without copies between them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import add_shape, facts, load, print_facts, reference_python, worker

HERE = Path(__file__).resolve().parent
CHAIN = (100_000, 20)


def actions(n: int, snapshots: int) -> float:
    """Nanoseconds per action of CRevolve, of whichever pyrevolve is installed; the best of five runs."""
    from pyrevolve.crevolve import CRevolve

    best = float("inf")
    for _ in range(5):
        machine = CRevolve(snapshots, n, None)
        count = 0
        began = time.perf_counter_ns()
        while count < 300_000:
            machine.revolve()
            count += 1
        best = min(best, (time.perf_counter_ns() - began) / count)
    return best


def best_of(runs: int, work) -> float:
    """Least seconds of several runs."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def schedules(reference: Path) -> None:
    """Time the state machine and the iterator."""
    from pyrevolve import Revolve

    n, snapshots = CHAIN
    old = worker(reference, HERE / "machine.py", {"n": n, "snapshots": snapshots})["ns"]
    schedule = Revolve(n, snapshots)
    length = len(schedule.to_numpy())

    def iterate() -> None:
        for _ in schedule:
            pass

    new = actions(n, snapshots)
    each = best_of(5, iterate) / length * 1e9
    rate = length / best_of(5, schedule.to_numpy)
    print(f"\n{n} timesteps, {snapshots} snapshots, {length} instructions")
    print(f"  pyrevolve 2.2.8 CRevolve.revolve()  {old:8.1f} ns per action")
    print(f"  CRevolve.revolve()                  {new:8.1f} ns per action        {old / new:6.1f} x")
    print(f"  for instruction in Revolve(...)     {each:8.1f} ns per instruction   {old / each:6.1f} x")
    print(f"  Revolve(...).to_numpy()             {rate / 1e6:8.1f} million instructions a second")


def compile_reference(folder: str) -> ctypes.CDLL:
    """Build the reference copies for this machine."""
    target = Path(folder) / "copy_reference.so"
    flags = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run(
        [os.environ.get("CC", "gcc"), *flags, str(HERE / "copy_reference.c"), "-o", str(target)], check=True
    )
    return ctypes.CDLL(str(target))


def copies(shape: tuple[int, int], slots: int) -> None:
    """Time copies, and Devito's timesteps beside them."""
    from devito import configuration

    from pyrevolve.crevolve import Arena, SnapshotCopier, packed_nbytes

    configuration["log-level"] = "ERROR"
    acoustic = load("acoustic")
    model = acoustic.Acoustic(np.full(shape, 2.0, np.float32), 7.5)
    shot = acoustic.Shot(model, 300.0)
    u = model.wavefield()
    forward = model.forward(u, shot)
    forward.apply(**{**shot.arguments(), "time_M": 10})
    arguments = forward._prepare_arguments(**{**shot.arguments(), "time_M": 20})
    values = [arguments[p.name] for p in forward.parameters]
    kernel = forward.cfunction

    source = [np.asarray(u.data_with_halo[i]) for i in range(2)]
    size = packed_nbytes(source)
    moved = sum(array.nbytes for array in source)
    copier = SnapshotCopier()
    arena = Arena(size * slots)
    copier.prefault(arena)
    memory = np.frombuffer(arena, np.uint8)
    # The state's own block of memory, as the reference sees it: the same bytes, the same pages.
    whole = np.asarray(u.data_with_halo)[:2].reshape(-1).view(np.uint8)
    offset = -whole.ctypes.data % 64
    size_copied = (whole.nbytes - offset) // 64 * 64
    block = whole[offset : offset + size_copied]

    def clocked(work) -> list[float]:
        times = []
        for turn in range(5):
            for slot in range(slots):
                began = time.perf_counter()
                work(slot)
                if turn:
                    times.append(time.perf_counter() - began)
        return times

    def pointer(array: np.ndarray, offset: int = 0) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data + offset)

    steps_alone = clocked(lambda slot: kernel(*values))
    with tempfile.TemporaryDirectory() as folder:
        library = compile_reference(folder)
        bytes_ = ctypes.c_size_t(size_copied)
        found = {}
        for name in ("copy_memcpy", "copy_stream"):
            copy = getattr(library, name)
            found[name, "save"] = clocked(
                lambda slot, c=copy: c(pointer(memory, slot * size), pointer(block), bytes_)
            )
            found[name, "load"] = clocked(
                lambda slot, c=copy: c(pointer(block), pointer(memory, slot * size), bytes_)
            )
        found["pyrevolve", "save"] = clocked(lambda slot: copier.save(arena, slot * size, source))
        found["pyrevolve", "load"] = clocked(lambda slot: copier.load(arena, slot * size, source))

        def numpy_save(slot: int) -> None:
            memory[slot * size : slot * size + size_copied] = block

        found["numpy", "save"] = clocked(numpy_save)

        # A timestep in between, as in a real run: copies find the state where the timesteps left it.
        between: dict[str, list[float]] = {"steps": [], "save": [], "load": []}
        for turn in range(3):
            for slot in range(slots):
                for name, work in (
                    ("steps", lambda: kernel(*values)),
                    ("save", lambda s=slot: copier.save(arena, s * size, source)),
                    ("load", lambda s=slot: copier.load(arena, s * size, source)),
                ):
                    began = time.perf_counter()
                    work()
                    if turn:
                        between[name].append(time.perf_counter() - began)

    grid = " x ".join(map(str, model.grid.shape))
    print(f"\none state: 2 slices of {grid}, {moved / 1e6:.2f} MB; {slots} slots")
    best = {
        way: min(statistics.median(found[name, way]) for name in ("copy_memcpy", "copy_stream"))
        for way in ("save", "load")
    }
    for (name, way), times in found.items():
        middle = statistics.median(times)
        print(
            f"  {name:12} {way:5} {middle * 1e3:8.3f} ms {moved / middle / 1e9:7.2f} GB/s"
            f"{best[way] / middle:8.2f} of the best parallel copy"
        )
    for way in ("save", "load"):
        print(f"  between timesteps: {way} {statistics.median(between[way]) * 1e3:.3f} ms")
    alone, beside = statistics.median(steps_alone) / 20, statistics.median(between["steps"]) / 20
    print(f"  Devito's timestep: {alone * 1e3:.3f} ms alone, {beside * 1e3:.3f} ms with copies in between")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference-python", type=Path, help="interpreter with pyrevolve 2.2.8")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add_shape(parser)
    parser.add_argument("--slots", type=int, default=60)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("DEVITO_LANGUAGE", "openmp")
    print_facts(facts("pyrevolve", "devito", "numpy"))
    schedules(reference_python(options.reference_python))
    copies(options.shape, options.slots)


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        given = json.loads(sys.argv[1])
        print(json.dumps({"ns": actions(given["n"], given["snapshots"])}))
    else:
        main()
