"""``pyrevolve doctor``: what works on this machine, how fast, and how to install what is missing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from .. import __version__
from .checks import (
    EXTRAS,
    Check,
    check_core,
    check_extra,
    check_memory,
    check_mpirun,
    check_python,
    check_threads,
)
from .parsing import Parser
from .quantities import argument, parse_directory

__all__ = ["main", "parser"]

_EPILOG = """\
examples:
  pyrevolve doctor
  pyrevolve doctor --fast
  pyrevolve doctor devito openmp disk-speed --disk-dir /scratch

Exit status: without names 0 unless something that is installed does not work; with names 0 only where all of
these are there and work.

with --json, one object:
  version, ok (as the exit status), checks [{name, status ("ok", "missing" or "broken"), detail, remedy (a
  command, or empty), values {...}}]; values of memory: available_bytes, control_group_bytes,
  default_budget_bytes; of threads: processors, copy_threads, omp_num_threads; of compiler: compiler, path,
  version; of openmp: threads, openmp; of devito: version, language, compiler, right; of copy-speed:
  save_bytes_per_second, memcpy_bytes_per_second; of disk-speed: directory, file_system, direct,
  write_bytes_per_second, read_bytes_per_second; of an extra: versions {package: version or null}
"""

#: What is measured, and left out by --fast.
_MEASURED = ("copy-speed", "disk-speed")


class _Checks:
    """All checks by name; what several of them need is found out once."""

    def __init__(self, directory: Path | None, *, fast: bool) -> None:
        self._directory = directory
        self._fast = fast
        self._by_name: dict[str, Callable[[], Check]] = {
            "python": check_python,
            "core": check_core,
            "memory": check_memory,
            "threads": check_threads,
            "copy-speed": self._copy,
            "disk-speed": self._disk,
            "compiler": lambda: self._compiler,
            "openmp": self._openmp,
            "devito": self._devito,
            **{extra: partial(check_extra, extra) for extra in EXTRAS},
            "mpirun": check_mpirun,
        }

    def run(self, names: list[str]) -> Iterator[Check]:
        """Yield the checks that are asked for, by default all that `fast` leaves."""
        for name, check in self._by_name.items():
            if name in names or (not names and not (self._fast and name in _MEASURED)):
                yield check()

    @property
    def names(self) -> list[str]:
        """What may be asked for."""
        return list(self._by_name)

    @cached_property
    def _probe(self) -> dict[str, Any]:
        from .check_devito import probe

        return probe(run=not self._fast)

    @cached_property
    def _compiler(self) -> Check:
        from .check_devito import check_compiler

        return check_compiler(self._probe)

    def _openmp(self) -> Check:
        from .check_devito import check_openmp

        return check_openmp(self._compiler)

    def _devito(self) -> Check:
        from .check_devito import check_devito

        return check_devito(self._probe)

    def _copy(self) -> Check:
        from .check_speed import check_copy

        return check_copy()

    def _disk(self) -> Check:
        from .check_speed import check_disk

        return check_disk(self._directory)


def parser() -> Parser:
    """Return the command's parser."""
    names = _Checks(None, fast=False).names
    result = Parser(
        prog="pyrevolve doctor",
        description="Look at what pyrevolve and Devito need on this machine, measure copies and a disk, and\n"
        "say how to install what is missing. Takes about ten seconds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        type=partial(_one_of, names),
        help=f"look at these only: {', '.join(names)}",
    )
    result.add_argument(
        "--fast", action="store_true", help="measure nothing and compile no Devito operator (two seconds)"
    )
    result.add_argument(
        "--disk-dir",
        type=argument(parse_directory),
        metavar="DIR",
        help="whose disk to measure, default as for temporary files",
    )
    result.add_argument("--json", action="store_true", help="one JSON object, described below")
    return result


def _one_of(names: list[str], text: str) -> str:
    if text not in names:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, got {text!r}")
    return text


def main(argv: list[str] | None = None) -> int:
    """Look, and print what is found; returns the exit status."""
    options = parser().parse_args(argv)
    checks = []
    for check in _Checks(options.disk_dir, fast=options.fast).run(options.names):
        checks.append(check)
        if not options.json:
            print(f"{check.status:8} {check.name:12} {check.detail}", flush=True)
            if check.remedy:
                print(f"{'':8} {'':12} → {check.remedy}", flush=True)
    good = ("ok",) if options.names else ("ok", "missing")
    healthy = all(check.status in good for check in checks)
    if options.json:
        found = {
            "version": __version__,
            "ok": healthy,
            "checks": [
                {
                    "name": check.name,
                    "status": check.status,
                    "detail": check.detail,
                    "remedy": check.remedy,
                    "values": check.values,
                }
                for check in checks
            ],
        }
        print(json.dumps(found, indent=1))
    else:
        missing = sum(check.status == "missing" for check in checks)
        broken = [check.name for check in checks if check.status == "broken"]
        print()
        print(f"{'broken: ' + ', '.join(broken) if broken else 'nothing is broken'}; {missing} missing")
    return 0 if healthy else 1
