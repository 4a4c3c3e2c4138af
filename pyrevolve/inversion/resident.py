"""The memory that a process has in RAM."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["peak_resident_memory", "resident_memory"]


def resident_memory() -> int:
    """Return the memory that this process has in RAM now [bytes]."""
    if sys.platform == "linux":
        return _status("VmRSS")
    return int(_process().memory_info().rss)


def peak_resident_memory() -> int:
    """Return the most memory that this process has had in RAM [bytes]."""
    if sys.platform == "linux":
        return _status("VmHWM")
    if sys.platform == "win32":
        return int(_process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _status(name: str) -> int:
    """Return a line of Linux's account of this process [bytes]; see proc(5)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status does not tell {name}")


def _process() -> psutil.Process:
    try:
        import psutil
    except ImportError as error:
        raise ImportError(
            "measuring memory on this system needs psutil: pip install 'pyrevolve[cli]'"
        ) from error
    return psutil.Process()
