"""The doctor finds what is there, says how to get what is not, and notices what does not work."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import pyrevolve
from pyrevolve.cli import check_speed, checks, main
from pyrevolve.cli.check_devito import check_compiler, check_devito, check_openmp
from pyrevolve.cli.checks import Check


@pytest.fixture(autouse=True)
def no_locks(monkeypatch, tmp_path_factory):
    """Look for what killed processes have left in a directory of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


def looked_at(capsys, *arguments):
    status = main(["doctor", "--json", *arguments])
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == pyrevolve.__version__
    assert found["ok"] is (status == 0)
    assert all(check["status"] == "ok" or check["remedy"] for check in found["checks"])
    return status, {check["name"]: check for check in found["checks"]}


def test_the_core_and_the_machine_are_told(capsys):
    status, found = looked_at(capsys, "python", "core", "memory", "threads")
    assert status == 0
    assert list(found) == ["python", "core", "memory", "threads"]
    assert found["python"]["values"]["numpy"] == np.__version__
    memory = found["memory"]["values"]
    assert 0 < memory["default_budget_bytes"] <= memory["available_bytes"]
    if hasattr(os, "sched_getaffinity"):
        assert found["threads"]["values"]["processors"] == len(os.sched_getaffinity(0))


def test_a_budget_that_is_set_is_told(capsys, monkeypatch):
    monkeypatch.setenv("PYREVOLVE_MEMORY", "123 MB")
    _, found = looked_at(capsys, "memory")
    assert found["memory"]["values"]["default_budget_bytes"] == 123_000_000
    monkeypatch.setenv("PYREVOLVE_MEMORY", "much")
    status, found = looked_at(capsys, "memory")
    assert (status, found["memory"]["status"]) == (1, "broken")


def test_people_are_shown_the_command_that_installs_what_is_missing(capsys, monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert main(["doctor", "plot", "core"]) == 1
    printed = capsys.readouterr().out
    assert "matplotlib is not installed" in printed
    assert '→ pip install "pyrevolve[plot]"' in printed
    assert "1 missing" in printed


def test_packages_that_are_too_old_will_not_do(capsys, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "3.6.99rc1")
    status, found = looked_at(capsys, "plot")
    assert (status, found["plot"]["status"]) == (1, "missing")
    assert "older than 3.7" in found["plot"]["detail"]
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "3.10")
    assert looked_at(capsys, "plot")[0] == 0


def test_the_extras_are_those_of_the_package():
    provided = set(importlib.metadata.metadata("pyrevolve").get_all("Provides-Extra") or ())
    assert set(checks.EXTRAS) <= provided
    # What is left: Devito, which is looked at by itself, and what users do not ask for.
    assert provided - set(checks.EXTRAS) == {
        "devito",
        "demo",
        "docs",
        "test",
        "hardening",
        "dev",
        "all",
    }


@pytest.mark.processes
@pytest.mark.parametrize("installed", [True, False])
def test_it_works_with_numpy_alone(tmp_path, installed):
    """With the standard library, NumPy and this package on the path, and nothing else."""
    packages = Path(np.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (packages / name).exists():
            (tmp_path / name).symlink_to(packages / name)
    (tmp_path / "pyrevolve").symlink_to(Path(pyrevolve.__file__).parent)
    if installed:
        metadata = tmp_path / "pyrevolve-3.0.0.dist-info"
        metadata.mkdir()
        text = importlib.metadata.distribution("pyrevolve").read_text("METADATA")
        assert text is not None
        (metadata / "METADATA").write_text(text)
    environment = {"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)}

    def run(*names):
        command = [sys.executable, "-S", "-m", "pyrevolve", "doctor", "--fast", "--json", *names]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
        )
        assert done.stderr == ""
        return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    status, found = run()
    assert status == 0
    works = {"python", "core", "memory", "threads"}
    assert {name: check["status"] for name, check in found.items()} == {
        name: "ok" if name in works else "missing" for name in found
    }
    assert set(found) > works | {"devito", "compiler", "openmp", "plot", "mpirun"}
    assert found["devito"]["remedy"] == 'pip install "pyrevolve[devito]"'
    assert found["plot"]["remedy"] == 'pip install "pyrevolve[plot]"'
    assert run("core")[0] == 0
    assert run("core", "plot")[0] == 1


# --- Devito, compilers --------------------------------------------------------------------------------------


def test_a_compiler_that_is_not_there_is_missed():
    found = check_compiler({"compiler": "no-such-compiler -O3"})
    assert found.status == "missing"
    assert "no-such-compiler" in found.detail
    assert found.remedy == checks.system_install("compiler")


def test_a_compiler_that_cannot_do_openmp_is_noticed(tmp_path):
    false = shutil.which("false")
    if false is None:
        pytest.skip("needs the command false")
    found = check_openmp(Check("compiler", "ok", "", values={"compiler": "cc", "path": false}))
    assert found.status == "missing"
    assert found.remedy


def test_openmp_runs_as_many_threads_as_it_is_told(monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    compiler = check_compiler({})
    if compiler.status != "ok":
        pytest.skip(f"needs a C compiler: {compiler.remedy}")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = check_openmp(compiler)
    assert found.status == "ok"
    assert found.values["threads"] == 3


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, "missing"),
        ({"error": "it does not compile"}, "broken"),
        ({"version": "4", "language": "C", "compiler": "gcc", "right": False}, "broken"),
        ({"version": "4", "language": "C", "compiler": "gcc", "right": True}, "ok"),
    ],
)
def test_operators_that_fail_or_are_wrong_are_broken(found, status):
    assert check_devito(found).status == status


@pytest.mark.devito
@pytest.mark.processes
def test_a_devito_operator_is_compiled_and_run(capsys, monkeypatch):
    pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
    status, found = looked_at(capsys, "devito", "compiler")
    assert status == 0
    assert found["devito"]["values"]["right"] is True
    assert found["compiler"]["values"]["compiler"] == found["devito"]["values"]["compiler"]
    # With a compiler that is there but compiles nothing, it is not.
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("DEVITO_ARCH", "custom")
    status, found = looked_at(capsys, "devito")
    assert status == 1
    assert found["devito"]["status"] == "broken"


# --- speeds -------------------------------------------------------------------------------------------------


def test_the_speed_of_copies_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(check_speed, "_COPIED", 1 << 20)
    _, found = looked_at(capsys, "copy-speed")
    assert found["copy-speed"]["values"]["save_bytes_per_second"] > 0
    assert found["copy-speed"]["values"]["memcpy_bytes_per_second"] > 0


@pytest.mark.slow
def test_the_speed_of_a_disk_is_measured_and_nothing_is_left_there(capsys, tmp_path):
    status, found = looked_at(capsys, "disk-speed", "--disk-dir", str(tmp_path))
    assert status == 0
    values = found["disk-speed"]["values"]
    assert values["directory"] == str(tmp_path)
    assert values["write_bytes_per_second"] > 0
    assert values["read_bytes_per_second"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_not_there_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "disk-speed", "--disk-dir", str(tmp_path / "nowhere")])
    assert ended.value.code == 2
    assert "there is no directory" in capsys.readouterr().err


def test_a_disk_that_cannot_be_measured_is_broken(capsys, tmp_path, monkeypatch):
    def full(*_):
        raise pyrevolve.StorageError("no room", "disk")

    monkeypatch.setattr("pyrevolve.cli.check_speed.measure_disk", full)
    status, found = looked_at(capsys, "disk-speed", "--disk-dir", str(tmp_path))
    assert status == 1
    assert "no room" in found["disk-speed"]["detail"]


def test_fast_leaves_out_what_is_measured(capsys):
    _, found = looked_at(capsys, "--fast")
    assert "copy-speed" not in found
    assert "disk-speed" not in found
    assert "right" not in found["devito"]["values"]


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/sdb1 /tmp/big\\040disk xfs rw 0 0\n"
        "proc /proc proc rw 0 0\n"
    )
    assert check_speed.file_system("/home/me", mounts) == "ext4"
    assert check_speed.file_system("/tmp/other", mounts) == "tmpfs"
    assert check_speed.file_system("/tmp/big disk/x", mounts) == "xfs"
    assert check_speed.file_system("/tmpfs", mounts) == "ext4"
    assert check_speed.file_system("/tmp", tmp_path / "none") == ""


@pytest.mark.skipif(os.name != "posix", reason="makes programs as POSIX does")
@pytest.mark.parametrize(
    ("compiler", "status", "said"),
    [
        (None, "missing", "no mpicc"),
        ("#!/bin/sh\nexit 1\n", "missing", "finds no mpi.h"),
        ("#!/bin/sh\ncat >/dev/null\n", "ok", "mpicc"),
        ("\x7fno program", "broken", "does not work"),
    ],
)
def test_mpi_is_more_than_mpirun(compiler, status, said, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + "/bin")
    programs = {"mpirun": "#!/bin/sh\n", "mpicc": compiler}
    for name, text in programs.items():
        if text is not None:
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
    which = shutil.which
    monkeypatch.setattr(checks.shutil, "which", lambda name: which(name, path=str(tmp_path)))
    found = checks.check_mpirun()
    assert (found.name, found.status) == ("mpirun", status)
    assert said in found.detail


def test_locks_that_killed_compilations_have_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = {"version": "4", "language": "C", "right": True}
    uid = os.getuid() if hasattr(os, "getuid") else ""
    old, new = (tmp_path / f"devito-codepy-uid{uid}" / name / "lock" for name in ("a b", "c"))
    for lock in (old, new):
        lock.parent.mkdir(parents=True)
        lock.touch()
    assert check_devito(found).status == "ok"
    long_ago = time.time() - 1000.0
    os.utime(old, (long_ago, long_ago))
    check = check_devito(found)
    assert check.status == "broken"
    assert "have left locks" in check.detail
    assert check.remedy == f"rm '{old}'"
