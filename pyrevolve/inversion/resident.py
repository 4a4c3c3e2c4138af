"""The memory that a process has in RAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["peak_resident_memory", "resident_memory"]

#: Linux's account of this process; see proc(5).
_STATUS = Path("/proc/self/status")


def resident_memory() -> int:
    """Return the memory that this process has in RAM now [bytes]."""
    return _status("VmRSS") if _STATUS.exists() else int(_info().rss)


def peak_resident_memory() -> int:
    """Return the most memory that this process has had in RAM [bytes]."""
    if _STATUS.exists():
        # Unlike getrusage's, this peak is not that of the process that started this one.
        return _status("VmHWM")
    info = _info()
    if hasattr(info, "peak_wset"):  # Windows
        return int(info.peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def _status(name: str) -> int:
    """Return one of Linux's numbers [bytes]."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_STATUS} does not tell {name}")


def _info() -> Any:
    """Return psutil's numbers."""
    try:
        import psutil
    except ImportError as error:
        raise ImportError("memory on this system is told by psutil: pip install 'pyrevolve[cli]'") from error
    return psutil.Process().memory_info()
