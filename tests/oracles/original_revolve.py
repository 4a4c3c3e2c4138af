"""ACM Algorithm 799 itself, as Debian's libadolc2 ships it, through ctypes; no source was read.

Found by experiment with libadolc2 2.7.2: ``check = -1, capo = 0, fine = n`` starts a fresh chain, whatever
was left unfinished before; ``info`` above 0 on entry makes it print, and `numforw` and `maxrange` print
always; an error leaves its number in ``info`` (11: no snapshots; 14: more than 1000; 15: more than 1000
repetitions). Products beyond 32 bits are not caught and can kill the process, so `is_legal` must hold for
every pair that is tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ADVANCE, TAKESHOT, RESTORE, FIRSTURN, YOUTURN, TERMINATE, ERROR = range(7)

_INT32_MAX = 2**31 - 1
_LIMIT = 1000  # of both snapshots and repetitions


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libadolc.so.2")
        pointer = ctypes.POINTER(ctypes.c_int)
        library.revolve.argtypes = [pointer, pointer, pointer, ctypes.c_int, pointer]
        library.numforw.argtypes = library.maxrange.argtypes = [ctypes.c_int] * 2
        library.expense.argtypes = [ctypes.c_int] * 2
        library.adjust.argtypes = [ctypes.c_int]
    except (OSError, AttributeError):
        return None
    library.expense.restype = ctypes.c_double
    return library


def is_available() -> bool:
    return _library() is not None


def is_legal(n: int, snapshots: int) -> bool:
    """Tell whether the original's own limits and its 32-bit arithmetic hold for this pair."""
    if not (1 <= n <= _INT32_MAX and 1 <= snapshots <= _LIMIT):
        return False
    capacity, repetition = 1, 0
    while capacity < n:
        repetition += 1
        product = capacity * (repetition + snapshots)
        if product > _INT32_MAX or repetition > _LIMIT:
            return False
        capacity = product // repetition
    return True


def actions(n: int, snapshots: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (action, capo, fine, check) after each call, up to and including terminate."""
    library = _library()
    assert library is not None
    assert is_legal(n, snapshots)
    check, capo, fine, info = ctypes.c_int(-1), ctypes.c_int(0), ctypes.c_int(n), ctypes.c_int(0)
    step = functools.partial(library.revolve, check, capo, fine, snapshots, info)
    while True:
        action = step()
        yield action, capo.value, fine.value, check.value
        if action in (TERMINATE, ERROR):
            return


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what C code prints to nowhere, its buffer included."""
    libc = ctypes.CDLL(None)
    libc.fflush(None)
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
        libc.fflush(None)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _counts(name: str, arguments: list[tuple[int, ...]]) -> list[float]:
    library = _library()
    assert library is not None
    with _silence():
        return [getattr(library, name)(*pair) for pair in arguments]


def numforw(pairs: list[tuple[int, int]]) -> list[float]:
    return _counts("numforw", list(pairs))


def expense(pairs: list[tuple[int, int]]) -> list[float]:
    return _counts("expense", list(pairs))


def maxrange(pairs: list[tuple[int, int]]) -> list[float]:
    """Return maxrange(snapshots, repetitions) of each pair; 2**31 - 1 stands for everything above it."""
    return _counts("maxrange", list(pairs))


def adjust(sizes: list[int]) -> list[float]:
    return _counts("adjust", [(n,) for n in sizes])
