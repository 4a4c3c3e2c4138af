"""What the benchmarks share: facts about the machine, environments of other packages, workers."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / ".venv-reference"
REFERENCE_PACKAGES = ["pyrevolve==2.2.8", "devito==4.8.23", "psutil"]
CHECKPOINT_SCHEDULES = (
    ROOT / ".venv-checkpoint-schedules",
    ["checkpoint-schedules==1.0.4", "numba"],
)


def facts(*packages: str) -> dict[str, object]:
    """Describe the machine and the packages."""
    model = platform.processor()
    try:
        with open("/proc/cpuinfo") as file:
            model = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    known = {name: installed_version(name) for name in packages}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_GiB": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        **known,
    }


def installed_version(package: str) -> str:
    """Return a package's version, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def print_facts(given: dict[str, object]) -> None:
    """Print what `facts` found."""
    print("command    " + " ".join(["python", *sys.argv]))
    print("machine    " + ", ".join(f"{name} {value}" for name, value in given.items()))
    if float(str(given["load_average"])) > 0.5:
        print("WARNING    something else is running on this machine; times are not to be trusted")


def reference_python(
    given: Path | None, folder: Path = REFERENCE, packages: Sequence[str] = REFERENCE_PACKAGES
) -> Path:
    """Return the interpreter of an environment with other packages, made on the first use."""
    if given is not None:
        return given
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder.name} with {', '.join(packages)} ...", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def worker(
    python: Path | str, script: Path, arguments: dict[str, object], **environment: str
) -> dict[str, object]:
    """Run a worker script in a process of its own and return the JSON object of its last line."""
    # Whatever this process imports pyrevolve from, another interpreter has its own.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if str(python) == sys.executable:
        inherited = dict(os.environ)
    done = subprocess.run(
        [str(python), str(script), json.dumps(arguments)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=script.parent,
        env={**inherited, **environment},
    )
    if done.returncode != 0:
        raise SystemExit(f"{script.name} {arguments} failed with status {done.returncode}")
    result: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def threads_of(threads: int) -> dict[str, str]:
    """Return the environment of a worker that runs Devito with so many threads, each on a core of its own."""
    return {
        "DEVITO_LANGUAGE": "openmp",
        "DEVITO_LOGGING": "ERROR",
        "OMP_NUM_THREADS": str(threads),
        "OMP_PROC_BIND": "true",
    }


def predicted_seconds(plan, costs) -> float:
    """Return what a plan's schedule takes by its formula, with costs that were measured in the same run."""
    if not plan.overlapped:
        return plan.schedule.makespan(costs)
    time_of = plan.schedule.overlap(costs)
    return time_of.seconds + costs.interference * time_of.hidden


def load(module: str) -> ModuleType:
    """Import a module of pyrevolve/inversion by its path: ``acoustic`` or ``resident``.

    They need nothing of this package, so that an interpreter with another pyrevolve, or with none, has them.
    """
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            module, ROOT / "pyrevolve" / "inversion" / f"{module}.py"
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    return sys.modules[module]


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Add ``--shape``, read as the package's commands read it, for a grid of two dimensions."""
    from pyrevolve.cli.quantities import argument, parse_shape  # which 2.2.8 does not have

    def parse_section(text: str) -> tuple[int, ...]:
        shape = parse_shape(text)
        if len(shape) != 2:
            raise ValueError(f"must be numbers of points in two dimensions such as 1601x401, got {text!r}")
        return shape

    parser.add_argument(
        "--shape",
        type=argument(parse_section),
        default=(1601, 401),
        metavar="NXxNZ",
        help="grid points, z fastest in a file",
    )
