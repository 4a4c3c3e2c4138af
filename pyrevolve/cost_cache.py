"""Measured costs, kept on the machine that they were measured on."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import logging
import os
import pathlib
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping

from .costs import Costs

__all__ = ["AGE_LIMIT", "CACHE_VARIABLE", "cache_directory", "remembered"]

_LOG = logging.getLogger("pyrevolve.measuring")

#: Environment variable that names the directory for measured costs.
CACHE_VARIABLE = "PYREVOLVE_CACHE"

#: Environment variables that begin like this decide how fast operators and copies are.
_VARIABLES = ("OMP_", "DEVITO_")

#: Costs that are older than this are measured anew.
AGE_LIMIT = datetime.timedelta(days=30)


def remembered(
    problem: str,
    measure: Callable[[], Costs],
    *,
    state_bytes: int,
    window: int,
    threads: int | None,
    directory: str | os.PathLike[str] | None,
    unrecorded: bool,
) -> Costs:
    """Return costs that were measured before on this machine for the same problem, or measure them.

    Parameters
    ----------
    problem : str
        The user's name for the operators and the grid, not empty: nobody else knows what a timestep does.
    measure : callable
        Measures.
    state_bytes, window, threads, directory, unrecorded
        What was, or is to be, measured; of the directory, its device counts.

    Returns
    -------
    Costs
        From ``costs-*.json`` in `cache_directory` where that is for the same problem, host, number of cores,
        environment variables ``OMP_*`` and ``DEVITO_*``, version of this package and the arguments above, and
        not older than `AGE_LIMIT`.

    Raises
    ------
    TypeError
        `problem` is no string.
    ValueError
        `problem` is empty.
    OSError
        `directory` does not exist.

    Notes
    -----
    A file that is damaged, or that cannot be written, is logged as a warning: the costs are measured then.
    There is one file for each set of costs, replaced as a whole, so processes may share the directory, and
    any file may be deleted at any time.
    """
    if not isinstance(problem, str):
        raise TypeError(f'cache must be a name for the problem, such as "marmousi", got {problem!r}')
    if not problem:
        raise ValueError('cache must be a name for the problem, such as "marmousi", got an empty string')
    from . import __version__

    facts: dict[str, object] = {
        "problem": problem,
        "host": platform.node(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "environment": {name: os.environ[name] for name in os.environ if name.startswith(_VARIABLES)},
        "pyrevolve": __version__,
        "state_bytes": state_bytes,
        "window": window,
        "threads": threads,
        "unrecorded": unrecorded,
        "device": None if directory is None else os.stat(directory).st_dev,
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_directory() / f"costs-{name}.json"
    costs = _read(path, facts)
    if costs is None:
        costs = measure()
        _write(path, facts, costs)
    return costs


def cache_directory() -> pathlib.Path:
    """Return where measured costs are kept.

    Returns
    -------
    pathlib.Path
        ``PYREVOLVE_CACHE`` where that is set, else the folder ``pyrevolve`` in the place that the system has
        for caches: ``XDG_CACHE_HOME`` or ``~/.cache``, ``~/Library/Caches`` (macOS), ``LOCALAPPDATA``
        (Windows). It need not exist.

    Raises
    ------
    RuntimeError
        There is no home directory.
    """
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return pathlib.Path(given)
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_CACHE_HOME")
    base = os.environ.get(variable)
    if base:
        return pathlib.Path(base) / "pyrevolve"
    try:
        home = pathlib.Path.home()
    except RuntimeError as error:
        raise RuntimeError(f"there is no home directory to keep costs in; set {CACHE_VARIABLE}") from error
    inside = {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")
    return home / inside / "pyrevolve"


def _read(path: pathlib.Path, facts: Mapping[str, object]) -> Costs | None:
    """Return the costs in a file; None where it is missing, too old, damaged or about something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["facts"] != facts:
            raise ValueError("it is about something else")
        age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(
            found["measured"]
        )
        if set(found["costs"]) != {field.name for field in dataclasses.fields(Costs)}:
            raise ValueError("its costs are not the ones that this version has")
        costs = Costs(**found["costs"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        _LOG.warning("%s cannot be used (%s: %s); measuring anew", path, type(error).__name__, error)
        return None
    # A date in the future says that a clock was wrong.
    if not datetime.timedelta(0) <= age <= AGE_LIMIT:
        _LOG.info("%s is %s old; measuring anew", path, age)
        return None
    _LOG.info("costs from %s: %s", path, costs)
    return costs


def _write(path: pathlib.Path, facts: Mapping[str, object], costs: Costs) -> None:
    """Put costs into a file, which other processes see whole or not at all."""
    now = datetime.datetime.now(datetime.timezone.utc)
    text = json.dumps(
        {"facts": facts, "measured": now.isoformat(), "costs": dataclasses.asdict(costs)}, indent=1
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        _LOG.warning("the measured costs cannot be kept in %s: %s", path, error)
