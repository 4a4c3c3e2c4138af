"""Files that one holder at a time has, as long as they are open."""

from __future__ import annotations

import sys

__all__ = ["lock"]


def lock(fd: int) -> bool:
    """Lock an open file until it is closed; return False where somebody has it, be it this process.

    Parameters
    ----------
    fd : int
        A file descriptor, open for writing.

    Raises
    ------
    OSError
        Files cannot be locked here, as on some network file systems.

    Notes
    -----
    On POSIX the lock is that of ``flock``: a fork shares it, and it lasts until the last copy of the
    descriptor is closed. On Windows the first byte is locked, which nobody else can then read or write.
    """
    if sys.platform == "win32":
        import errno
        import msvcrt

        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
    else:
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
