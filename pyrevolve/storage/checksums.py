"""Checksums by which a snapshot that was damaged is told from one that was not."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

__all__ = ["CHECKSUMS", "Checksum", "choose_checksum"]


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...

    def digest(self) -> bytes: ...


#: Computes a checksum over buffers that follow one another.
Checksum: TypeAlias = Callable[[Iterable[memoryview]], bytes]

#: The checksums that may be asked for by name, the preferred one first.
CHECKSUMS = ("xxh3", "crc32")


def choose_checksum(given: bool | str) -> tuple[str | None, Checksum | None]:
    """Return the name of a checksum and what computes it; (None, None) where none is wanted.

    Parameters
    ----------
    given : bool or {"xxh3", "crc32"}
        ``"xxh3"``: the 128 bits of XXH3, from the package xxhash, at the speed of memory. ``"crc32"``: the 32
        bits of zlib's CRC-32, from the standard library, about ten times slower. True: the first of these
        that is installed. False: none.

    Raises
    ------
    ImportError
        ``"xxh3"`` is asked for, and xxhash is not installed.
    ValueError
        There is no checksum of this name.
    """
    if given is False:
        return None, None
    if given is not True and given not in CHECKSUMS:
        names: Sequence[str] = [repr(name) for name in CHECKSUMS]
        raise ValueError(f"checksum must be True, False, {' or '.join(names)}, got {given!r}")
    if given != "crc32":
        try:
            import xxhash
        except ImportError:
            if given == "xxh3":
                raise ImportError(
                    'checksum="xxh3" needs the package xxhash: pip install "pyrevolve[disk]", '
                    'or use checksum="crc32"'
                ) from None
        else:
            return "xxh3", lambda buffers: _hash(xxhash.xxh3_128(), buffers)
    return "crc32", _crc32


def _hash(state: _Hash, buffers: Iterable[memoryview]) -> bytes:
    for buffer in buffers:
        state.update(buffer)
    return state.digest()


def _crc32(buffers: Iterable[memoryview]) -> bytes:
    value = 0
    for buffer in buffers:
        value = zlib.crc32(buffer, value)
    return value.to_bytes(4, "big")
