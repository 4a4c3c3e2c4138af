"""What the doctor measures: how fast snapshots are copied and disks are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from ..budget import available_memory
from ..crevolve import Arena, SnapshotCopier
from ..disk_speed import measure_disk
from ..errors import StorageError
from ..quantities import bandwidth_text
from .checks import Check

__all__ = ["check_copy", "check_disk", "file_system"]

#: So much is copied at once, more than caches hold where there is the memory for it [bytes], and so often.
_COPIED, _LEAST_COPIED, _ROUNDS = 256 << 20, 1 << 20, 7
#: What is written and read at once [bytes].
_STATE = 16 << 20


def check_copy() -> Check:
    """Measure the copy of a snapshot beside a plain one."""
    # A power of two, so that nothing is added to make a slot aligned.
    nbytes = max(_LEAST_COPIED, min(_COPIED, 1 << (available_memory() // 16).bit_length()))
    source, plain = np.ones(nbytes, dtype=np.uint8), np.ones(nbytes, dtype=np.uint8)
    slot = Arena(nbytes)
    copier = SnapshotCopier()
    copier.prefault(slot)
    ours, theirs = [], []
    for _ in range(_ROUNDS):
        began = perf_counter()
        copier.save(slot, 0, [source])
        middle = perf_counter()
        np.copyto(plain, source)
        theirs.append(perf_counter() - middle)
        ours.append(middle - began)
    values = {"save_bytes_per_second": nbytes / min(ours), "memcpy_bytes_per_second": nbytes / min(theirs)}
    return Check(
        "copy-speed",
        "ok",
        f"a snapshot is stored at {bandwidth_text(values['save_bytes_per_second'])} "
        f"({copier.threads} threads); plain memcpy: {bandwidth_text(values['memcpy_bytes_per_second'])}",
        values=values,
    )


def check_disk(directory: Path | None) -> Check:
    """Measure the disk of a directory, by default that of temporary files."""
    where = str(directory if directory is not None else tempfile.gettempdir())
    try:
        speed = measure_disk(_STATE, where)
    except StorageError as error:
        return Check("disk-speed", "broken", str(error), "give another one: --disk-dir DIR")
    kind = file_system(where)
    values = {
        "directory": where,
        "file_system": kind,
        "direct": speed.direct,
        "write_bytes_per_second": speed.write_bandwidth,
        "read_bytes_per_second": speed.read_bandwidth,
    }
    how = "past the page cache" if speed.direct else "no direct I/O here"
    if kind in ("tmpfs", "ramfs"):
        how = "this is RAM, no disk: --disk-dir DIR names one"
    return Check(
        "disk-speed",
        "ok",
        f"{where} ({kind or 'file system unknown'}): written at {bandwidth_text(speed.write_bandwidth)}, "
        f"read at {bandwidth_text(speed.read_bandwidth)}; {how}",
        values=values,
    )


def file_system(directory: str, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the kind of file system that a directory lies on, as Linux tells it; empty elsewhere."""
    if not mounts.is_file():
        return ""
    target = os.path.realpath(directory)
    best = ("", "")
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, kind = line.split()[:3]
        point = point.encode().decode("unicode_escape")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        # Of two mounts at one point, the later one is seen.
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]
