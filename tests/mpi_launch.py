"""Processes that MPI starts, for the tests that need several."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

#: Nothing takes as long, unless it hangs [s].
PATIENCE = 120


@pytest.fixture(scope="module")
def launch():
    """Return a function that starts so many processes of a script, and what they need of the environment."""
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        pytest.skip("needs mpirun: apt-get install openmpi-bin")
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip('needs mpi4py: pip install "pyrevolve[mpi]"')
    # Processes that are killed leave what they share in memory; it is put where it can be removed.
    shared = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    version = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=True).stdout
    options = ["--oversubscribe"] if "Open MPI" in version else []
    environment = {
        # What an earlier MPI_Init of this process has left would be taken for that of the new processes.
        **{name: os.environ[name] for name in os.environ if not name.startswith(("OMPI_", "PMIX_", "PMI_"))},
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "DEVITO_MPI": "1",
        "DEVITO_LANGUAGE": "C",
        "DEVITO_LOGGING": "ERROR",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
        "OMPI_MCA_btl_vader_backing_directory": shared,
        "OMPI_MCA_orte_tmpdir_base": shared,
    }

    def start(size, script, *arguments, **variables):
        return subprocess.Popen(
            [mpirun, *options, "-n", str(size), sys.executable, "-m", "mpi4py", script, *arguments],
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    yield start
    shutil.rmtree(shared, ignore_errors=True)


@pytest.fixture(scope="module")
def launch_devito(launch):
    """Return what `launch` does, where Devito can compile for several processes."""
    pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
    compiler = shutil.which("mpicc")
    asked = [compiler, "-E", "-x", "c", "-"]
    if (
        compiler is None
        or subprocess.run(asked, input="#include <mpi.h>", capture_output=True, text=True).returncode
    ):
        pytest.skip("needs mpicc and mpi.h: apt-get install libopenmpi-dev")
    return launch


def finish(processes):
    """Wait for processes; return their exit status, and what they have written."""
    try:
        written, errors = processes.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        processes.terminate()  # which ends all of them
        written, errors = processes.communicate(timeout=PATIENCE)
        raise AssertionError(f"it hangs after\n{written}\n{errors}") from None
    return processes.returncode, written, errors
