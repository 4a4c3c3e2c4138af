"""Compression of snapshots: what encodes their arrays, and what that does to them.

Any codec with the interface of numcodecs does (``encode(array)`` and ``decode(buffer, out=array)``); the
functions here make the ones that suit wavefields. Arrays are encoded in pieces, so that a codec never needs
more scratch memory than a few pieces have.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .arguments import index

__all__ = [
    "Codec",
    "Compressed",
    "Compression",
    "CompressionLoss",
    "Encoder",
    "as_compression",
    "lossless",
    "pieces_of",
    "rounded",
    "zfp",
]

#: Arrays are encoded in pieces of at most so many bytes, unless a single row along the last axis has more.
PIECE_BYTES = 8 << 20

#: Errors are computed for so many values at once.
_COMPARED = 1 << 16

#: How many pieces a codec takes besides the array: what it returns, and for lossy ones also an intermediate
#: result, the decoded piece and its difference.
_LOSSLESS_PIECES, _LOSSY_PIECES = 2, 5

#: Identifiers of numcodecs' codecs that give back what they were given, bit for bit.
_KNOWN_LOSSLESS = frozenset({"blosc", "zstd", "lz4", "zlib", "gzip", "bz2", "lzma", "pcodec", "shuffle"})

_INSTALL = 'pip install "pyrevolve[compression]"'


class Codec(Protocol):
    """What encodes an array and decodes it again; numcodecs' codecs do."""

    def encode(self, buf: Any) -> Any:
        """Return the encoded bytes of a contiguous array, as any object with a buffer."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode into `out`, a contiguous array like the one that was encoded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compression:
    """How snapshots of a tier are compressed.

    Made by `lossless`, `zfp` and `rounded`, or from a codec of your own.

    Parameters
    ----------
    codec : Codec
        Encodes contiguous arrays.
    lossless : bool
        Whether what comes back is what was given, bit for bit. False: its error is measured.
    tolerance : float, optional
        Largest absolute error that a lossy codec may make, where it is measured: a piece that comes back with
        a larger one is stored as it is.
    dtypes : frozenset of str, optional
        Dtypes that `codec` takes, such as ``{"float32", "float64"}``, in the byte order of this machine;
        arrays of others go through `other`. None: all that are real or complex floating-point numbers in
        that order and, where it is lossless, all others too, as integers of the same size.
    other : Codec, optional
        A lossless codec for the other dtypes. None: these arrays are stored as they are.
    measure_error : bool
        Whether every array that a lossy codec encodes is decoded at once and compared, which takes about as
        long again. False: no error is reported.
    name : str
        What it is called where it is printed.

    Raises
    ------
    TypeError
        A codec has no methods ``encode`` and ``decode``.

    Notes
    -----
    A piece of an array with NaN or infinities goes to no lossy codec, but is stored as it is.
    """

    codec: Codec
    lossless: bool
    tolerance: float | None = None
    dtypes: frozenset[str] | None = None
    other: Codec | None = None
    measure_error: bool = True
    name: str = "codec"

    def __post_init__(self) -> None:
        for codec in (self.codec, *(() if self.other is None else (self.other,))):
            if (
                isinstance(codec, type)
                or not callable(getattr(codec, "encode", None))
                or not callable(getattr(codec, "decode", None))
            ):
                raise TypeError(f"a codec has methods encode and decode, got {type(codec).__name__}")

    def scratch_bytes(self, arrays: Sequence[npt.NDArray[Any]]) -> int:
        """Return how many bytes encoding and decoding take at most beside the arrays [bytes]."""
        most = max((piece.nbytes for array in arrays for piece in pieces_of(array)), default=0)
        copies = not all(array.flags.c_contiguous for array in arrays)
        return most * ((_LOSSLESS_PIECES if self.lossless else _LOSSY_PIECES) + copies)

    def __str__(self) -> str:
        return self.name


#: What may be given as ``compression=``: the name of a lossless codec, a codec, or a `Compression`.
CompressionLike: TypeAlias = "str | Codec | Compression"


def lossless(name: Literal["lz4", "zstd", "pcodec"] = "zstd", level: int | None = None) -> Compression:
    """Return compression that changes nothing.

    Parameters
    ----------
    name : {"lz4", "zstd", "pcodec"}
        ``"lz4"``: Blosc's LZ4 after a shuffle of bytes, the fastest. ``"zstd"``: Blosc's Zstandard after a
        shuffle of bits, smaller. ``"pcodec"``: pcodec, smallest for smooth fields and slowest.
    level : int, optional
        Effort, 0 to 9 for Blosc, 0 to 12 for pcodec. None: 1, and 4 for pcodec.

    Raises
    ------
    ImportError
        numcodecs (or pcodec) is not installed.
    ValueError
        There is no codec of this name, or no such level.
    """
    if name not in ("lz4", "zstd", "pcodec"):
        raise ValueError(
            f'compression must be "lz4", "zstd" or "pcodec", a codec, or what pyrevolve.compression makes, '
            f"got {name!r}"
        )
    most = 12 if name == "pcodec" else 9
    if level is not None and not 0 <= index("level", level) <= most:
        raise ValueError(f"level must be between 0 and {most} for {name}, got {level}")
    if name == "pcodec":
        return Compression(
            codec=_pcodec(4 if level is None else level),
            lossless=True,
            dtypes=frozenset(
                f"{kind}{bits}"
                for kind, sizes in (
                    ("float", (16, 32, 64)),
                    ("int", (16, 32, 64)),
                    ("uint", (16, 32, 64)),
                )
                for bits in sizes
            ),
            other=_blosc("lz4", 1),
            name=name,
        )
    return Compression(codec=_blosc(name, 1 if level is None else level), lossless=True, name=name)


def zfp(
    *, tolerance: float | None = None, precision: int | None = None, measure_error: bool = True
) -> Compression:
    """Return lossy compression by ZFP; arrays that are not float32 or float64 are kept exactly.

    Parameters
    ----------
    tolerance : float, optional
        Largest absolute error, in the units of the field, > 0. Where ZFP cannot keep it, because it lies
        below the precision of the largest numbers of a block, the piece of the array is stored as it is,
        provided that errors are measured.
    precision : int, optional
        Bits that are kept of every block of 4 values along each dimension, 1 to 64: an error relative to the
        largest of the block. Give one of the two.
    measure_error : bool
        See `Compression`.

    Raises
    ------
    ImportError
        numcodecs or zfpy is not installed.
    ValueError
        Not exactly one of `tolerance` and `precision` is given, or it is out of its range.

    References
    ----------
    P. Lindstrom (2014), Fixed-rate compressed floating-point arrays, IEEE Transactions on Visualization and
    Computer Graphics 20(12), 2674-2683, doi:10.1109/TVCG.2014.2346458.
    """
    if (tolerance is None) == (precision is None):
        raise ValueError("give either tolerance= or precision=")
    if tolerance is not None and not (tolerance > 0 and math.isfinite(tolerance)):
        raise ValueError(f"tolerance must be finite and > 0, got {tolerance}")
    if precision is not None and not 1 <= index("precision", precision) <= 64:
        raise ValueError(f"precision must be between 1 and 64 bits, got {precision}")
    blosc = _blosc("lz4", 1)
    try:
        with _affinity_kept():
            import zfpy
            from numcodecs.zfpy import ZFPY
    except ImportError:
        raise ImportError('zfp needs the package zfpy: pip install "pyrevolve[zfp]"') from None
    if tolerance is not None:
        codec, name = ZFPY(mode=zfpy.mode_fixed_accuracy, tolerance=tolerance), f"zfp({tolerance=:g})"
    else:
        codec, name = ZFPY(mode=zfpy.mode_fixed_precision, precision=precision), f"zfp({precision=})"
    return Compression(
        codec=codec,
        lossless=False,
        tolerance=tolerance,
        dtypes=frozenset({"float32", "float64"}),
        other=blosc,
        measure_error=measure_error,
        name=name,
    )


def rounded(bits: int, *, measure_error: bool = True) -> Compression:
    """Return lossy compression that rounds the mantissas of floating-point numbers, then packs them.

    Parameters
    ----------
    bits : int
        Bits of the mantissa that are kept, 1 to 52: a relative error of at most ``2**-(bits + 1)`` for every
        single value, or as much of the smallest normal number where a value is smaller than that.
    measure_error : bool
        See `Compression`.

    Raises
    ------
    ImportError
        numcodecs is not installed.
    ValueError
        `bits` is out of its range.

    References
    ----------
    M. Kloewer and others (2021), Compressing atmospheric data into its real information content, Nature
    Computational Science 1, 713-724, doi:10.1038/s43588-021-00156-2.
    """
    if not 1 <= index("bits", bits) <= 52:
        raise ValueError(f"bits must be between 1 and 52, got {bits}")
    return Compression(
        codec=_Rounded(bits),
        lossless=False,
        dtypes=frozenset({"float16", "float32", "float64"}),
        other=_blosc("lz4", 1),
        measure_error=measure_error,
        name=f"rounded({bits})",
    )


def as_compression(given: CompressionLike) -> Compression:
    """Return what was given as ``compression=`` as a `Compression`.

    Raises
    ------
    TypeError
        It is no codec.
    ImportError, ValueError
        See `lossless`.
    """
    if isinstance(given, Compression):
        return given
    if isinstance(given, str):
        return lossless(given)  # type: ignore[arg-type]  # it checks the name
    codec_id = getattr(given, "codec_id", None)
    name = codec_id if isinstance(codec_id, str) else type(given).__name__
    return Compression(codec=given, lossless=name in _KNOWN_LOSSLESS, name=name)


@dataclasses.dataclass(frozen=True)
class CompressionLoss:
    """The largest errors of a lossy codec so far.

    Attributes
    ----------
    absolute : float
        Largest absolute difference of a single value.
    relative : float
        Largest absolute difference within an array, relative to the largest absolute value of that array.
    measured : bool
        Whether anything was measured; False for lossless codecs.
    """

    absolute: float = 0.0
    relative: float = 0.0
    measured: bool = False

    def with_those_of(self, other: CompressionLoss) -> CompressionLoss:
        """Return the largest errors of two."""
        return CompressionLoss(
            max(self.absolute, other.absolute),
            max(self.relative, other.relative),
            self.measured or other.measured,
        )

    def __str__(self) -> str:
        if not self.measured:
            return "no error was measured"
        return f"largest error {self.absolute:.3g} absolute, {self.relative:.3g} of the largest value"


@dataclasses.dataclass(frozen=True)
class Compressed:
    """What compression has made of snapshots.

    Attributes
    ----------
    given_bytes, encoded_bytes : int
        Bytes that went in, and that came out.
    error : CompressionLoss
        The largest errors.
    """

    given_bytes: int = 0
    encoded_bytes: int = 0
    error: CompressionLoss = dataclasses.field(default_factory=CompressionLoss)

    @property
    def ratio(self) -> float:
        """How many times smaller the snapshots became; 1.0 where there were none."""
        return self.given_bytes / self.encoded_bytes if self.encoded_bytes else 1.0

    def __add__(self, other: Compressed) -> Compressed:
        """Return what it has made of both."""
        return Compressed(
            self.given_bytes + other.given_bytes,
            self.encoded_bytes + other.encoded_bytes,
            self.error.with_those_of(other.error),
        )


class Encoder:
    """Encodes arrays piece by piece, and keeps account of sizes and errors.

    Attributes
    ----------
    compressed : Compressed
        What became of the snapshots that were kept, see `keep`.
    """

    def __init__(self, compression: Compression) -> None:
        self.compression = compression
        self.compressed = self._pending = Compressed()

    def begin(self) -> None:
        """Take notice that what is encoded from now on is another snapshot."""
        self._pending = Compressed()

    def keep(self) -> None:
        """Take notice that the snapshot that was encoded last is stored."""
        self.compressed, self._pending = self.compressed + self._pending, Compressed()

    def encode(self, array: npt.NDArray[Any]) -> Iterator[tuple[bool, memoryview]]:
        """Yield the pieces of an array: whether it is the bare bytes, and the bytes.

        Each piece is valid until the next one is asked for. A piece that a codec does not make smaller is
        given as it is, and so is one that a lossy codec would change too much.
        """
        compression = self.compression
        codec = self._codec_for(array.dtype)
        lossy = codec is compression.codec and not compression.lossless
        measure = lossy and compression.measure_error
        allowed = math.inf if compression.tolerance is None else compression.tolerance
        largest, worst = 0.0, 0.0
        given_bytes = encoded_bytes = 0
        for piece in pieces_of(array):
            plain = _plain(np.ascontiguousarray(piece))
            bare = plain.reshape(-1).view(np.uint8).data
            encoded = bare
            if codec is not None and not (lossy and not math.isfinite(_extreme(plain))):
                encoded = memoryview(codec.encode(plain)).cast("B")
            small = len(encoded) < len(bare)
            if measure:
                if small:
                    decoded = np.empty_like(plain)
                    assert codec is not None
                    _decode(codec, encoded, decoded)
                    error = _difference(plain, decoded)
                    del decoded
                    small = error <= allowed and math.isfinite(error)
                    worst = max(worst, error) if small else worst
                largest = max(largest, _magnitude(plain))
            given_bytes += len(bare)
            encoded_bytes += len(encoded) if small else len(bare)
            yield not small, encoded if small else bare
        relative = 0.0 if not worst else worst / largest if largest else math.inf
        self._pending += Compressed(given_bytes, encoded_bytes, CompressionLoss(worst, relative, measure))

    def decode(self, pieces: Iterator[tuple[bool, memoryview]], array: npt.NDArray[Any]) -> None:
        """Fill an array from as many of the pieces as it takes."""
        codec = self._codec_for(array.dtype)
        for target in pieces_of(array):
            bare, data = next(pieces)
            out = target if target.flags.c_contiguous else np.empty(target.shape, target.dtype)
            plain = _plain(out)
            if bare:
                plain.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)
            else:
                assert codec is not None
                _decode(codec, data, plain)
            if out is not target:
                target[...] = out

    def _codec_for(self, dtype: np.dtype[Any]) -> Codec | None:
        """Return what encodes arrays of a dtype; None: nothing does.

        A lossy codec needs to know what the numbers are; to a lossless one, they may be any bits.
        """
        compression = self.compression
        if compression.dtypes is not None:
            fits = dtype.isnative and dtype.name in compression.dtypes
        else:
            fits = compression.lossless or (dtype.isnative and dtype.kind in "fc")
        return compression.codec if fits else compression.other


class _Rounded:
    """Rounds mantissas, then packs the bits."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._pack = _blosc("zstd", 1)

    def encode(self, buf: npt.NDArray[Any]) -> Any:
        from numcodecs import BitRound

        bits = min(self._bits, np.finfo(buf.dtype).nmant)
        rounded = BitRound(bits).encode(buf)
        if not math.isfinite(_extreme(np.asarray(rounded).view(buf.dtype))):
            rounded = buf  # rounded up, the largest numbers would be infinite
        return self._pack.encode(rounded)

    def decode(self, buf: Any, out: Any = None) -> Any:
        return self._pack.decode(buf, out=out)


@contextlib.contextmanager
def _affinity_kept() -> Iterator[None]:
    """Leave this thread on the processors that it may use now.

    numcodecs imports zfpy where that is installed, and zfpy's own copy of the OpenMP runtime binds the thread
    that loads it to one processor where ``OMP_PROC_BIND`` is set. Another runtime that is loaded later, such
    as that of Devito's operators, would find one processor for all of its threads.
    """
    kept = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        yield
    finally:
        if kept is not None:
            os.sched_setaffinity(0, kept)


def _blosc(name: str, level: int) -> Any:
    try:
        with _affinity_kept():
            from numcodecs import Blosc
    except ImportError:
        raise ImportError(f"compression needs the package numcodecs: {_INSTALL}") from None
    return Blosc(cname=name, clevel=level, shuffle=Blosc.SHUFFLE if name == "lz4" else Blosc.BITSHUFFLE)


def _pcodec(level: int) -> Any:
    try:
        with _affinity_kept():
            from numcodecs.pcodec import PCodec
    except ImportError:
        raise ImportError(f"pcodec needs the packages numcodecs and pcodec: {_INSTALL}") from None
    return PCodec(level=level)


def pieces_of(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield views that together are the array, in C order, each of `PIECE_BYTES` at most where rows allow."""
    array = np.asarray(array)
    if array.nbytes == 0:
        return
    if array.nbytes <= PIECE_BYTES or array.ndim == 0 or (array.ndim == 1 and array.itemsize > PIECE_BYTES):
        yield array
        return
    row_bytes = array.nbytes // len(array)
    if row_bytes > PIECE_BYTES:
        for row in array:
            yield from pieces_of(row)
        return
    step = max(1, PIECE_BYTES // row_bytes)
    for first in range(0, len(array), step):
        yield array[first : first + step]


def _plain(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a contiguous array as one that every codec takes: 1 to 4 axes, of plain native numbers."""
    shape = array.shape
    if not 1 <= len(shape) <= 4:
        array = array.reshape(-1, *shape[-3:]) if shape else array.reshape(1)
    dtype = array.dtype
    if dtype.kind in "iuf" and dtype.isnative:
        return array
    if dtype.kind == "c" and dtype.isnative:
        return array.reshape(-1).view(f"f{dtype.itemsize // 2}")
    # What the numbers are does not matter to a lossless codec, only how many bytes each of them has.
    return array.reshape(-1).view(f"u{dtype.itemsize}" if dtype.itemsize in (1, 2, 4, 8) else "u1")


def _decode(codec: Codec, data: memoryview, out: npt.NDArray[Any]) -> None:
    """Decode into an array; refuse a codec that returns the result instead."""
    returned = codec.decode(data, out=out)
    if returned is not None and returned is not out and not np.may_share_memory(returned, out):
        raise TypeError(f"decode(buffer, out=array) of the codec {type(codec).__name__} must fill `out`")


def _difference(given: npt.NDArray[Any], decoded: npt.NDArray[Any]) -> float:
    """Return the largest absolute difference from finite values; infinite where one came back as another."""
    dtype = np.result_type(given.dtype, np.float64)
    given, decoded = given.reshape(-1), decoded.reshape(-1)
    worst = 0.0
    with np.errstate(all="ignore"):
        for first in range(0, len(given), _COMPARED):
            some = slice(first, first + _COMPARED)
            here = float(np.abs(np.subtract(given[some], decoded[some], dtype=dtype)).max())
            if not math.isfinite(here):
                return math.inf
            worst = max(worst, here)
    return worst


def _extreme(array: npt.NDArray[Any]) -> float:
    """Return the largest absolute value; infinite or NaN where any value is."""
    with np.errstate(all="ignore"):
        return max(abs(float(array.max())), abs(float(array.min())))


def _magnitude(array: npt.NDArray[Any]) -> float:
    """Return the largest absolute value that is finite."""
    largest = _extreme(array)
    if math.isfinite(largest):
        return largest
    finite = array[np.isfinite(array)]
    return float(np.abs(finite).max()) if finite.size else 0.0


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Find what version 2.2.8 had under a name that is not here."""
        from .renamed import lookup

        return lookup(__name__, name)
