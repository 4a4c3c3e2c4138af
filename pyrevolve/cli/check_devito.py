"""What the doctor looks at for Devito: its compiler, OpenMP, and whether it compiles what is right."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .checks import Check, system_install

__all__ = ["check_compiler", "check_devito", "check_openmp", "probe", "stale_locks"]

#: No step takes longer than this [s].
_TIMEOUT = 120

#: Locks that are older than this are nobody's [s].
_LONGEST_COMPILATION = 300.0

#: Prints what the configuration of an installed Devito is, and with "run" also whether an operator gives what
#: it should: five timesteps of u += 1.
_PROBE = """
import json, sys
import devito
found = {"version": devito.__version__, "language": str(devito.configuration["language"])}
found["compiler"] = str(devito.configuration["compiler"].CC)
if "run" in sys.argv:
    grid = devito.Grid(shape=(9, 11))
    u = devito.TimeFunction(name="u", grid=grid, space_order=2)
    devito.Operator(devito.Eq(u.forward, u + 1)).apply(time_m=0, time_M=4)
    found["right"] = bool((u.data[5 % 2] == 5).all())
print("\\n" + json.dumps(found))
"""

_OPENMP = """
#include <omp.h>
#include <stdio.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel reduction(+ : threads)
    threads += 1;
    printf("%d %d\\n", threads, _OPENMP);
    return 0;
}
"""


def probe(*, run: bool) -> dict[str, Any]:
    """Ask an installed Devito, in a process of its own and with an empty cache of compiled operators.

    Parameters
    ----------
    run : bool
        Whether an operator is compiled and run too.

    Returns
    -------
    dict
        ``version``, ``language``, ``compiler`` and, where it is run, ``right``; ``error`` where that failed;
        empty where Devito is not installed.
    """
    if importlib.util.find_spec("devito") is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="pyrevolve-doctor-") as scratch:
        environment = {**os.environ, "TMPDIR": scratch, "DEVITO_LOGGING": "ERROR"}
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROBE, *["run"] * run],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                env=environment,
                cwd=scratch,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {_TIMEOUT} s"}
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return {"error": said[-1] if said else f"it ended with status {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def check_devito(found: dict[str, Any]) -> Check:
    """Tell whether Devito is installed, and whether the operator of the probe was right."""
    if not found:
        return Check("devito", "missing", "Devito is not installed", 'pip install "pyrevolve[devito]"')
    if "error" in found:
        return Check(
            "devito",
            "broken",
            f"an operator does not compile and run: {found['error']}",
            f'{system_install("compiler")}; pip install --upgrade "pyrevolve[devito]"',
            found,
        )
    named = f"Devito {found['version']}, language {found['language']}"
    locks = stale_locks()
    if locks:
        return Check(
            "devito",
            "broken",
            f"{named}: processes that were killed while they compiled have left locks, for which others wait "
            "for ever",
            f"rm {' '.join(map(shlex.quote, locks))}",
            found,
        )
    if "right" not in found:
        return Check("devito", "ok", named, values=found)
    if not found["right"]:
        return Check(
            "devito",
            "broken",
            f"{named}: an operator gives wrong numbers",
            'pip install --upgrade "pyrevolve[devito]"',
            found,
        )
    return Check("devito", "ok", f"{named}; an operator compiles and is right", values=found)


def stale_locks() -> list[str]:
    """Return the locks of Devito's cache of compiled operators that nobody holds any more."""
    uid = os.getuid() if hasattr(os, "getuid") else ""
    cache = Path(tempfile.gettempdir()) / f"devito-codepy-uid{uid}"
    found = []
    for lock in sorted(cache.glob("*/lock")):
        with contextlib.suppress(OSError):  # given back meanwhile
            if time.time() - lock.stat().st_mtime > _LONGEST_COMPILATION:
                found.append(str(lock))
    return found


def check_compiler(found: dict[str, Any]) -> Check:
    """Look for the C compiler that Devito uses, or would use."""
    name = str(found.get("compiler") or os.environ.get("CC") or "gcc")
    path = shutil.which(name.split()[0])
    if path is None:
        return Check(
            "compiler",
            "missing",
            f"{name}, with which Devito compiles, is not on the PATH",
            system_install("compiler"),
            {"compiler": name},
        )
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_TIMEOUT)
    version = (done.stdout or done.stderr).partition("\n")[0].strip()
    if done.returncode:
        return Check(
            "compiler", "broken", f"{path}: {version}", system_install("compiler"), {"compiler": name}
        )
    return Check(
        "compiler", "ok", f"{path}: {version}", values={"compiler": name, "path": path, "version": version}
    )


def check_openmp(compiler: Check) -> Check:
    """Compile and run a loop with OpenMP."""
    if compiler.status != "ok":
        return Check("openmp", "missing", "there is no compiler to try it with", compiler.remedy)
    with tempfile.TemporaryDirectory(prefix="pyrevolve-doctor-") as scratch:
        source, program = Path(scratch) / "openmp.c", Path(scratch) / "openmp"
        source.write_text(_OPENMP)
        for command in ([compiler.values["path"], "-fopenmp", source, "-o", program], [program]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, cwd=scratch)
            if done.returncode:
                said = next((line for line in done.stderr.splitlines() if line.strip()), "it fails")
                return Check(
                    "openmp",
                    "missing",
                    f"{compiler.values['compiler']} -fopenmp: {said.strip()}",
                    f"{system_install('compiler')}, then export CC=gcc",
                )
    threads, version = done.stdout.split()
    return Check(
        "openmp",
        "ok",
        f"works with {compiler.values['compiler']} -fopenmp; {threads} threads. "
        "export DEVITO_LANGUAGE=openmp to let Devito use it",
        values={"threads": int(threads), "openmp": int(version)},
    )
