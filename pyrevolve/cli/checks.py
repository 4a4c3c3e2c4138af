"""What the doctor looks at without Devito: the core, this machine, optional packages."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from .. import __version__
from ..budget import MEMORY_VARIABLE, available_memory, cgroup_memory, default_budget, format_bytes
from ..crevolve import Kind, SnapshotCopier, numforw
from ..schedules import Revolve
from ..storage import MemoryStorage

__all__ = [
    "EXTRAS",
    "Check",
    "check_core",
    "check_extra",
    "check_memory",
    "check_mpirun",
    "check_python",
    "check_threads",
    "system_install",
]


@dataclasses.dataclass(frozen=True)
class Check:
    """What was found.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "missing", "broken"}
        Missing: it is optional and not installed.
    detail : str
        What was found, in a line.
    remedy : str
        The command that mends it, or what to do.
    values : dict
        The same as numbers and names.
    """

    name: str
    status: Literal["ok", "missing", "broken"]
    detail: str
    remedy: str = ""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


def check_python() -> Check:
    """Tell what runs this."""
    values = {
        "pyrevolve": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    return Check(
        "python",
        "ok",
        f"Python {values['python']}, NumPy {values['numpy']}, {values['system']}",
        values=values,
    )


def check_core() -> Check:
    """Make a schedule and copy a snapshot there and back."""
    schedule = Revolve(100, 5)
    rows = schedule.to_numpy()
    forward = rows[rows["kind"] == Kind.FORWARD]
    listed = int((forward["stop"] - forward["start"]).sum())
    state = np.arange(100_003, dtype=np.float64)
    expected = state.copy()
    with MemoryStorage(1, [state]) as storage:
        storage.save(0, [state], 0)
        state[:] = 0.0
        storage.load(0, [state], 0)
    # The closed form counts what leads to every timestep, without the timestep itself.
    right = schedule.forward_steps == listed == numforw(100, 5) + 100
    works = right and np.array_equal(state, expected)
    if not works:
        return Check(
            "core",
            "broken",
            "the extension module gives wrong schedules or copies",
            "pip install --force-reinstall --no-cache-dir pyrevolve",
        )
    return Check("core", "ok", f"pyrevolve {__version__}: schedules and snapshot copies are right")


def check_memory() -> Check:
    """Tell how much memory this process may take."""
    try:
        free, budget = available_memory(), default_budget()
    except (OSError, ValueError) as error:
        return Check("memory", "broken", str(error), f'export {MEMORY_VARIABLE}="8 GiB"')
    values: dict[str, Any] = {"available_bytes": free, "default_budget_bytes": budget}
    detail = f"{format_bytes(free)} free for this process"
    groups = list(cgroup_memory(pathlib.Path("/")))
    values["control_group_bytes"] = min(groups, default=None)
    if groups and min(groups) <= free:
        detail += ", which is what its control group (container, batch system) leaves"
    setting = os.environ.get(MEMORY_VARIABLE, "").strip()
    why = f"{MEMORY_VARIABLE}={setting}" if setting else "half of it"
    return Check(
        "memory", "ok", f"{detail}; a budget by default: {format_bytes(budget)} ({why})", values=values
    )


def check_threads() -> Check:
    """Tell how many processors there are, and threads that will be used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = SnapshotCopier().threads
    openmp = os.environ.get("OMP_NUM_THREADS", "")
    detail = f"{cores} processors for this process; {threads} threads copy a snapshot"
    detail += f"; OMP_NUM_THREADS={openmp}" if openmp else ""
    return Check(
        "threads",
        "ok",
        detail,
        values={"processors": cores, "copy_threads": threads, "omp_num_threads": openmp or None},
    )


def check_mpirun() -> Check:
    """Look for the program that starts processes under MPI, and for the compiler that Devito wants there."""
    found = shutil.which("mpirun") or shutil.which("mpiexec")
    remedy = system_install("mpirun")
    if found is None:
        return Check("mpirun", "missing", "no mpirun on the PATH", remedy)
    compiler = shutil.which("mpicc")
    if compiler is None:
        return Check("mpirun", "missing", f"{found}, but no mpicc, with which Devito compiles", remedy)
    try:
        tried = subprocess.run(
            [compiler, "-E", "-x", "c", "-"],
            input="#include <mpi.h>\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("mpirun", "broken", f"{found}, but {compiler} does not work: {error}", remedy)
    if tried.returncode:
        return Check("mpirun", "missing", f"{found}, but {compiler} finds no mpi.h", remedy)
    return Check("mpirun", "ok", f"{found}, {compiler}", values={"path": found, "compiler": compiler})


# --- optional packages --------------------------------------------------------------------------------------

#: What the extras of this package are for, and which of its parts each serves.
EXTRAS = {
    "plot": "pictures",
    "progress": "progress bars",
    "cli": "memory over time in the demo",
    "disk": "fast checksums of snapshots on disk",
    "compression": "lz4, zstd, pcodec",
    "zfp": "lossy compression of floating-point fields",
    "mpi": "one shot over several processes",
    "dask": "many shots on many machines",
    "segy": "SEG-Y models",
    "fwi": "the inversion",
}

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?\s*([^;]*);.*extra\s*==\s*['\"]([^'\"]+)['\"]")


def check_extra(extra: str) -> Check:
    """Tell whether the packages of one extra are installed, in versions that will do."""
    remedy = f'pip install "pyrevolve[{extra}]"'
    try:
        required = list(_requirements(extra))
    except importlib.metadata.PackageNotFoundError:
        required = []
    if not required:
        return Check(extra, "missing", "not known: this copy of pyrevolve was not installed by pip", remedy)
    found: list[str] = []
    wanting: list[str] = []
    versions: dict[str, str | None] = {}
    for package, bounds in required:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = None
        versions[package] = version
        least = re.search(r">=\s*([0-9.]+)", bounds)
        if version is None:
            wanting.append(f"{package} is not installed")
        elif least is not None and _release(version) < _release(least[1]):
            wanting.append(f"{package} {version} is older than {least[1]}")
        else:
            found.append(f"{package} {version}")
    status: Literal["ok", "missing"] = "missing" if wanting else "ok"
    detail = f"{', '.join(wanting or found)} ({EXTRAS[extra]})"
    return Check(extra, status, detail, remedy if wanting else "", {"versions": versions})


def _requirements(extra: str) -> Iterator[tuple[str, str]]:
    """Yield names and version bounds of what an extra asks for, extras of this package followed."""
    for line in importlib.metadata.requires("pyrevolve") or ():
        match = _REQUIREMENT.match(line)
        if match is None or match[4] != extra:
            continue
        if match[1] == "pyrevolve":
            for other in match[2].strip("[]").split(","):
                yield from _requirements(other.strip())
        else:
            yield match[1], match[3]


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers with which a version begins."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, leading[0].split("."))) if leading else ()


# --- what the system has to have ----------------------------------------------------------------------------

_PACKAGES = {
    "compiler": {"apt-get": "gcc", "dnf": "gcc", "zypper": "gcc", "pacman": "gcc", "apk": "gcc musl-dev"},
    "mpirun": {
        "apt-get": "openmpi-bin libopenmpi-dev",
        "dnf": "openmpi-devel",
        "zypper": "openmpi-devel",
        "pacman": "openmpi",
        "apk": "openmpi-dev",
    },
}
_INSTALL = {
    "apt-get": "apt-get install",
    "dnf": "dnf install",
    "zypper": "zypper install",
    "pacman": "pacman -S",
    "apk": "apk add",
}


def system_install(what: str) -> str:
    """Return the command that installs a compiler or mpirun on this system."""
    if sys.platform == "darwin":
        return {"compiler": "xcode-select --install", "mpirun": "brew install open-mpi"}[what]
    for manager, install in _INSTALL.items():
        if shutil.which(manager):
            return f"{install} {_PACKAGES[what][manager]}"
    return f"install {_PACKAGES[what]['dnf']} with the package manager of this system"
