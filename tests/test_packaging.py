"""What distributions hold, what they say of themselves, and how the extension is built."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import pyrevolve

ROOT = Path(__file__).resolve().parent.parent
DATA = ["py.typed", "crevolve.pyi", "crevolve.pxd", "cli/page.html", "cli/page.css", "cli/page.js"]
EXAMPLE = ["fwi/__init__.py", "fwi/fwi.py"]  # of examples/fwi


def checkout(*needed):
    """Where the package can be built; the test is skipped where it, or what builds it, is not."""
    if not (ROOT / "setup.py").is_file():
        pytest.skip("needs the checkout or the source distribution around tests/")
    for name in needed:
        pytest.importorskip(name, reason=f"builds the package: pip install {name}")
    return ROOT


def extras():
    return set(importlib.metadata.metadata("pyrevolve").get_all("Provides-Extra"))


def required(extra):
    """Names of extras of the package that `extra` takes in, itself included."""
    wanted, found = {extra}, set()
    while wanted:
        found |= wanted
        taken = [
            match[1]
            for requirement in importlib.metadata.requires("pyrevolve")
            for name in wanted
            if re.search(rf"""extra == ["']{name}["']""", requirement)
            and (match := re.match(r"pyrevolve\[([\w, -]+)\]", requirement))
        ]
        wanted = {name.strip() for names in taken for name in names.split(",")} - found
    return found


def test_version_has_one_source():
    assert importlib.metadata.version("pyrevolve") == pyrevolve.__version__


def test_numpy_is_all_that_is_required():
    always = [text for text in importlib.metadata.requires("pyrevolve") if "extra ==" not in text]
    assert [re.match(r"[\w-]+", text)[0] for text in always] == ["numpy"]


def test_all_takes_in_every_extra():
    assert required("all") == extras() - {"hardening"}  # whose wheels are for Linux alone


def test_messages_name_extras_that_exist():
    """An error that says `pip install "pyrevolve[plot]"` is of no use where there is no such extra."""
    named = {
        name.strip(): path
        for path in Path(pyrevolve.__file__).parent.rglob("*.py")
        for names in re.findall(r"pyrevolve\[([a-z, ]+)\]", path.read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    assert {"plot", "progress"} <= set(named)
    assert {name: path for name, path in named.items() if name not in extras()} == {}


def test_wheel_holds_modules_and_data_and_nothing_else():
    files = {str(path).replace(os.sep, "/") for path in importlib.metadata.files("pyrevolve")}
    if "pyrevolve/__init__.py" not in files:
        pytest.skip("an editable install has no files of its own; `make test` installs the package")
    assert {f"pyrevolve/{name}" for name in [*DATA, *EXAMPLE]} <= files
    kinds = {
        Path(name).suffix for name in files if name.startswith("pyrevolve/") and "__pycache__" not in name
    }
    assert kinds <= {".py", ".pyi", ".pxd", ".typed", ".html", ".css", ".js", ".so", ".pyd"}
    assert len([name for name in files if re.fullmatch(r"pyrevolve/crevolve\.[^/]*(so|pyd)", name)]) == 1
    # Nothing lands beside the package, such as a top-level `tests` or `src`.
    tops = {name.partition("/")[0] for name in files if not name.startswith("..")}
    assert {top for top in tops if not top.endswith(".dist-info")} <= {"pyrevolve", "__pycache__"}


@pytest.mark.parametrize("name", DATA)
def test_data_is_found_as_resource(name):
    assert importlib.resources.files("pyrevolve").joinpath(name).is_file()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what a process has loaded from /proc")
def test_extension_brings_no_openmp_runtime():
    """A second OpenMP runtime beside Devito's makes every timestep several times slower."""
    code = """
import re
from pathlib import Path
import numpy

def loaded():
    return re.findall(r"lib(?:g|i)?omp[^/\\s]*", Path("/proc/self/maps").read_text())

before = loaded()
from pyrevolve.crevolve import Arena, SnapshotCopier
SnapshotCopier(2).save(Arena(1 << 23), 0, [numpy.ones(1 << 20)])
assert "crevolve" in Path("/proc/self/maps").read_text()
print(*sorted(set(loaded()) - set(before)))
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == []


@pytest.mark.parametrize("value", ["yes", "2", ""])
def test_stable_abi_is_asked_for_by_0_or_1(value):
    root = checkout("setuptools", "Cython")
    built = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=root, env={**os.environ, "PYREVOLVE_STABLE_ABI": value}, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode != 0
    assert f"PYREVOLVE_STABLE_ABI must be 0 or 1, got {value!r}" in built.stderr


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python has a stable ABI that is wide enough")
def test_stable_abi_is_refused_where_it_is_too_narrow():
    root = checkout("setuptools", "Cython")
    built = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=root, env={**os.environ, "PYREVOLVE_STABLE_ABI": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode != 0
    assert "needs CPython >= 3.12" in built.stderr


def tracked(root):
    """Files that git knows, as they are in the working tree."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("compares with what git tracks: needs git and a clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    return sorted(name for name in listed.decode().split("\0") if name and (root / name).is_file())


@pytest.mark.slow
def test_source_distribution_is_what_git_tracks_and_builds_alone(tmp_path):
    root = checkout("setuptools", "Cython", "wheel")
    names = tracked(root)
    copy, unpacked = tmp_path / "copy", tmp_path / "unpacked"
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, copy / name)
    # What a working tree collects, and what must stay at home.
    for litter in [
        "docs/_build/index.html",
        "pyrevolve/crevolve.cpp",
        "pyrevolve/crevolve.abi3.so",
        "tests/a.pyc",
    ]:
        (copy / litter).parent.mkdir(parents=True, exist_ok=True)
        (copy / litter).write_bytes(b"")

    def build(what, folder):
        code = f"from setuptools import build_meta; print(build_meta.build_{what}({str(tmp_path)!r}))"
        printed = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        return tmp_path / printed.split()[-1]

    with tarfile.open(build("sdist", copy)) as archive:
        members = [m.name.split("/", 1)[1] for m in archive.getmembers() if m.isfile()]
        archive.extractall(unpacked)
    made = {
        name
        for name in members
        if name.startswith("pyrevolve.egg-info/") or name in ("PKG-INFO", "setup.cfg")
    }
    outside = {name for name in names if name == ".gitignore" or name.startswith(".github/")}
    assert sorted(set(members) - made) == sorted(set(names) - outside)

    (top,) = unpacked.iterdir()
    wheel = build("wheel", top)
    installed = tmp_path / "installed"
    shutil.unpack_archive(wheel, installed, "zip")
    code = "import pyrevolve; print(pyrevolve.__file__, pyrevolve.Revolve(10, 3).forward_steps)"
    printed = subprocess.run(
        [sys.executable, "-P", "-c", code] if sys.version_info >= (3, 11) else [sys.executable, "-c", code],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)},
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert Path(printed[0]).is_relative_to(installed)
    assert int(printed[1]) == pyrevolve.Revolve(10, 3).forward_steps
