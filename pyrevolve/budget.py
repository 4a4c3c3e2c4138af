"""Memory budgets: reading them, printing them, and what is free on this machine.

The default budget is a share of the memory that is free *for this process*: the limits of the control groups
that contain it (containers, batch systems) and of the process itself count as well as the machine's own
memory.
"""

from __future__ import annotations

import logging
import math
import numbers
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import TypeAlias

__all__ = [
    "DEFAULT_SHARE",
    "MEMORY_VARIABLE",
    "Bytes",
    "available_memory",
    "cgroup_memory",
    "default_budget",
    "exact_bytes",
    "format_bytes",
    "parse_bytes",
]

#: A number of bytes: an integer, a real number, or a string such as ``"8 GiB"``.
Bytes: TypeAlias = int | float | str

#: Share of the free memory that is used where neither an argument nor the environment names a budget.
DEFAULT_SHARE = 0.5

#: Environment variable that overrides the default budget: a size such as ``8 GiB``, or a share such as
#: ``25%``.
MEMORY_VARIABLE = "PYREVOLVE_MEMORY"

_LOG = logging.getLogger("pyrevolve.budget")

_UNITS = {"": 1, "b": 1, "byte": 1, "bytes": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _UNITS[f"{_letter}b"] = 1000**_power
    _UNITS[f"{_letter}ib"] = 1024**_power

_SIZE = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*")
_SHARE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*%\s*")


def parse_bytes(value: Bytes, name: str = "memory") -> int:
    """Read a number of bytes.

    Parameters
    ----------
    value : int, float or str
        Bytes >= 0, or a string of a number and a unit: ``B``, ``kB MB GB TB PB EB`` (powers of 1000) or
        ``KiB MiB GiB TiB PiB EiB`` (powers of 1024); upper or lower case. Fractions of a byte are cut off.
    name : str
        What errors call the value.

    Returns
    -------
    int
        Bytes >= 0.

    Raises
    ------
    TypeError
        `value` is neither a real number nor a string.
    ValueError
        `value` is negative, not finite, or a string that is not a size.

    Examples
    --------
    >>> parse_bytes("8 GiB")
    8589934592
    >>> parse_bytes("1.5MB")
    1500000
    """
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise ValueError(
                f'{name} must be a number of bytes or a string such as "8 GiB" or "500 MB", got {value!r}'
            )
        amount = Decimal(match[1].replace("_", ""))
        # 10**30 bytes is far beyond any machine; without the bound int() of "1e999999999" would not come
        # back.
        if not 0 <= amount <= 10**30:
            raise ValueError(f"{name} must be between 0 and 1e30 bytes, got {value!r}")
        return int(amount * unit)
    given: object = value
    if isinstance(given, bool) or not isinstance(given, numbers.Real):
        raise TypeError(
            f'{name} must be a number of bytes or a string such as "8 GiB", got {type(value).__name__}'
        )
    try:
        size = math.floor(value)
    except (OverflowError, ValueError):
        raise ValueError(f"{name} must be a finite number of bytes, got {value!r}") from None
    if size < 0:
        raise ValueError(f"{name} must be >= 0 bytes, got {value!r}")
    return size


def format_bytes(size: int) -> str:
    """Return a number of bytes for people to read.

    Parameters
    ----------
    size : int
        Bytes >= 0.

    Returns
    -------
    str
        Four significant digits and a binary unit, such as ``"1.5 GiB"``; exact below 10 KiB.

    Examples
    --------
    >>> format_bytes(8 * 1024**3)
    '8 GiB'
    >>> format_bytes(1000)
    '1000 B'
    """
    if size < 10 * 1024:
        return f"{size} B"
    units = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = min((size.bit_length() - 1) // 10, len(units))
    return f"{size / 1024**power:.4g} {units[power - 1]}"


def exact_bytes(size: int) -> str:
    """Return a number of bytes to the last one, and for people to read where it is large."""
    text = format_bytes(size)
    return f"{size} bytes" if text == f"{size} B" else f"{size} bytes ({text})"


def default_budget() -> int:
    """Return the budget that is used where none is given.

    The environment variable ``PYREVOLVE_MEMORY`` decides where it is set and not empty: a size such as ``8
    GiB`` or a share of the free memory such as ``25%``. Otherwise it is half of the free memory
    (`DEFAULT_SHARE`).

    Returns
    -------
    int
        Bytes >= 0.

    Raises
    ------
    ValueError
        ``PYREVOLVE_MEMORY`` is neither a size nor a share between 0% and 100%.
    OSError
        The free memory is asked for and cannot be found out.

    Notes
    -----
    Every process counts for itself. Where several run on one machine at once (MPI ranks, workers), divide:
    set ``PYREVOLVE_MEMORY`` or give ``memory=``.
    """
    setting = os.environ.get(MEMORY_VARIABLE, "").strip()
    share = DEFAULT_SHARE
    if setting:
        match = _SHARE.fullmatch(setting)
        if match is None:
            try:
                return parse_bytes(setting, MEMORY_VARIABLE)
            except ValueError:
                raise ValueError(
                    f"the environment variable {MEMORY_VARIABLE} must be a size such as 8GiB or a share "
                    f"of the free memory such as 25%, got {setting!r}"
                ) from None
        share = float(match[1]) / 100.0
        if not 0.0 <= share <= 1.0:
            raise ValueError(
                f"the environment variable {MEMORY_VARIABLE} must be between 0% and 100%, got {setting!r}"
            )
    budget = int(available_memory() * share)
    _LOG.debug("default budget: %s", format_bytes(budget))
    return budget


def available_memory() -> int:
    """Return how much memory this process may still take without swapping or being killed.

    Returns
    -------
    int
        Bytes >= 0.

    Raises
    ------
    OSError
        The system offers none of the sources below.

    Notes
    -----
    Linux: the least of ``MemAvailable``, of what every control group that contains the process leaves
    (version 1 and version 2, every level up to the root: limit minus usage, file pages that can be dropped
    not counted as used) and of the limit on the address space (``ulimit -v``). macOS: free, speculative and
    inactive pages as ``vm_stat`` tells them. Windows: ``GlobalMemoryStatusEx``. Elsewhere: the free pages
    that ``sysconf`` tells.
    """
    system: str = sys.platform
    if system.startswith("linux"):
        return _linux_memory()
    if system == "darwin":
        output = subprocess.run(["/usr/bin/vm_stat"], capture_output=True, check=True, text=True).stdout
        return _vm_stat_memory(output)
    if system == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):
        raise OSError(
            f"the free memory of {system} is unknown; give memory= or set {MEMORY_VARIABLE}"
        ) from None


# --- Linux --------------------------------------------------------------------------------------------------


def _linux_memory(root: pathlib.Path = pathlib.Path("/")) -> int:
    """Return the free memory of a Linux system whose ``/proc`` and ``/sys`` lie under `root` [bytes]."""
    found = [*_meminfo_memory(root), *cgroup_memory(root), *_address_space(root)]
    if not found:
        raise OSError(
            f"neither /proc/meminfo nor a control group tells the free memory; "
            f"give memory= or set {MEMORY_VARIABLE}"
        )
    return max(0, min(found))


def _meminfo_memory(root: pathlib.Path) -> Iterator[int]:
    """Yield MemAvailable; before Linux 3.14, which lacks it, what is free or easily dropped."""
    values = {}
    for line in _read(root / "proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            values[key] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    if "MemAvailable" in values:
        yield values["MemAvailable"]
    elif "MemFree" in values:
        yield values["MemFree"] + values.get("Inactive(file)", 0)


def cgroup_memory(root: pathlib.Path) -> Iterator[int]:
    """Yield what the control groups of this process leave it.

    Parameters
    ----------
    root : pathlib.Path
        Where ``proc`` is, normally ``/``.

    Yields
    ------
    int
        Limit minus usage [bytes] of each group with a limit that contains this process.
    """
    groups = {}  # "memory" (version 1) or "" (version 2) -> path of this process's group
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            groups["memory" if controllers else ""] = path
    # man proc: ID, parent, device, root, mount point, options, optional fields, "-", file system, source,
    # super options.
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, filesystem = before.split(), after.split()
        if len(fields) < 5 or len(filesystem) < 3:
            continue
        if filesystem[0] == "cgroup2" and "" in groups:
            path, names = groups[""], ("memory.max", "memory.high", "memory.current", "inactive_file")
        elif filesystem[0] == "cgroup" and "memory" in filesystem[2].split(",") and "memory" in groups:
            path = groups["memory"]
            names = ("memory.limit_in_bytes", "", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        mount_root, mount_point = (_unescape(field) for field in fields[3:5])
        top = root / mount_point.lstrip("/")
        for folder in _group_folders(top, mount_root, path):
            yield from _group_memory(folder, *names)


def _group_folders(top: pathlib.Path, mount_root: str, path: str) -> Iterator[pathlib.Path]:
    """Yield the folder of the group and of every group that contains it, as far up as the mount shows."""
    # Inside a container the group's path may be told from the host's root, of which only `mount_root` is
    # mounted, or lie outside the mount altogether; the mount's own top is then the closest group that can be
    # seen.
    try:
        inner = pathlib.PurePosixPath(path).relative_to(mount_root)
    except ValueError:
        inner = pathlib.PurePosixPath()
    if ".." in inner.parts:
        inner = pathlib.PurePosixPath()
    folder = top / inner
    while True:
        yield folder
        if folder == top:
            return
        folder = folder.parent


def _group_memory(folder: pathlib.Path, maximum: str, high: str, usage: str, droppable: str) -> Iterator[int]:
    """Yield what the limit of one control group leaves [bytes]; nothing where it has no limit."""
    limits = [
        int(text)
        for name in (maximum, high)
        if name
        for text in [_read(folder / name).strip()]
        if text.isdigit()
    ]
    used = _read(folder / usage).strip()
    # Version 1 writes "no limit" as the largest multiple of the page size below 2**63.
    if not limits or min(limits) >= 1 << 60 or not used.isdigit():
        return
    cached = 0
    for line in _read(folder / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == droppable and value.strip().isdigit():
            cached = int(value)
    yield max(0, min(limits) - max(0, int(used) - cached))


def _address_space(root: pathlib.Path) -> Iterator[int]:
    """Yield what ``ulimit -v`` leaves [bytes]; nothing where the address space is not limited."""
    limit = None
    for line in _read(root / "proc/self/limits").splitlines():
        if line.startswith("Max address space"):
            limit = line.split()[3]
    if limit is None or not limit.isdigit():
        return
    for line in _read(root / "proc/self/status").splitlines():
        if line.startswith("VmSize:"):
            yield max(0, int(limit) - int(line.split()[1]) * 1024)


def _read(path: pathlib.Path) -> str:
    """Return the text of a file of the kernel's, empty where it does not exist or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _unescape(field: str) -> str:
    """Undo the octal escapes of /proc/self/mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


# --- other systems ------------------------------------------------------------------------------------------


def _vm_stat_memory(output: str) -> int:
    """Return free + speculative + inactive memory [bytes] from the output of macOS's ``vm_stat``."""
    size = re.search(r"page size of (\d+) bytes", output)
    pages = dict(re.findall(r"^Pages (free|speculative|inactive):\s+(\d+)\.", output, flags=re.MULTILINE))
    if size is None or "free" not in pages:
        raise OSError(f"vm_stat does not tell the free memory; give memory= or set {MEMORY_VARIABLE}")
    return int(size[1]) * sum(int(count) for count in pages.values())


def _windows_memory() -> int:
    """Return the available physical memory [bytes] that Windows tells."""
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in (
                    "total_physical",
                    "available_physical",
                    "total_page",
                    "available_page",
                    "total_virtual",
                    "available_virtual",
                    "available_extended",
                )
            ),
        )

    status = MemoryStatus()
    status.length = ctypes.sizeof(status)
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 (exists on Windows only)
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError(f"GlobalMemoryStatusEx failed; give memory= or set {MEMORY_VARIABLE}")
    return int(status.available_physical)
