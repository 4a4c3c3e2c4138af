"""Read the quantities of the command line: counts, bytes, durations, bandwidths, shapes."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from ..budget import parse_bytes

__all__ = [
    "Transfer",
    "argument",
    "listed",
    "parse_count",
    "parse_directory",
    "parse_duration",
    "parse_file",
    "parse_positive",
    "parse_shape",
    "parse_size",
    "parse_transfer",
]

T = TypeVar("T")

_DURATION = re.compile(r"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*([a-zµμ]*)\s*", re.IGNORECASE)
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "": 1.0,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
}


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What it takes to copy a state: a time, or bytes per second; the other one is None."""

    seconds: float | None = None
    bytes_per_second: float | None = None

    def of(self, state_bytes: int | None) -> float:
        """Return the seconds that a state of so many bytes takes.

        Raises
        ------
        ValueError
            It is a bandwidth, and how large a state is is not known.
        """
        if self.seconds is not None:
            return self.seconds
        assert self.bytes_per_second is not None
        if state_bytes is None:
            raise ValueError(
                "a bandwidth needs the size of a state, which no schedule knows; give a time such as 8ms"
            )
        return state_bytes / self.bytes_per_second


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return `parse` such that argparse shows the message of its ValueError."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def listed(parse: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """Return a reader of several values with commas between them, each read by `parse`."""
    return lambda text: tuple(parse(part) for part in text.split(","))


def parse_count(text: str, most: int = 10**30) -> int:
    """Read a whole number >= 0 and <= `most`, such as ``3647``, ``10_000`` or ``1e6``.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    # 10**30 is far beyond what 64 bits count; without a bound int() of "1e999999999" would not come back.
    if not number.is_finite() or not 0 <= number <= most or number != number.to_integral_value():
        bounds = ">= 0 such as 3647 or 1e6" if most == 10**30 else f"from 0 to {most}"
        raise ValueError(f"must be a whole number {bounds}, got {text!r}")
    return int(number)


def parse_positive(text: str) -> float:
    """Read a number > 0, such as ``7.5``.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ValueError(f"must be a number > 0, got {text!r}")
    return value


def parse_file(text: str) -> Path:
    """Read the path of a file that exists.

    Raises
    ------
    ValueError
        There is none.
    """
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"there is no file {text}")
    return path


def parse_directory(text: str) -> Path:
    """Read the path of a directory that exists.

    Raises
    ------
    ValueError
        There is none.
    """
    path = Path(text)
    if not path.is_dir():
        raise ValueError(f"there is no directory {text}")
    return path


def parse_size(text: str) -> int:
    """Read a number of bytes, such as ``"8 GiB"`` or ``500MB``.

    Raises
    ------
    ValueError
        It is none.
    """
    return parse_bytes(text, "a size")


def parse_duration(text: str) -> float:
    """Read a time in seconds, such as ``0.8ms``, ``250us``, ``1.2e-3`` or ``2 min``.

    Raises
    ------
    ValueError
        It is none, or beyond what a run may take: sums of times are to stay numbers.
    """
    match = _DURATION.fullmatch(text)
    unit = _SECONDS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"must be a time such as 0.8ms, 250us or 1.2e-3 (seconds), got {text!r}")
    seconds = float(match[1]) * unit
    if seconds and not 1e-15 <= seconds <= 1e12:
        raise ValueError(f"must be 0 or between 1e-15 and 1e12 seconds, got {text!r}")
    return seconds


def parse_transfer(text: str) -> Transfer:
    """Read what copying a state takes: a time such as ``8ms``, or a bandwidth such as ``"1.2 GB/s"``.

    Raises
    ------
    ValueError
        It is neither, or a bandwidth of 0.
    """
    if re.search(r"[KMGTP]i?b\s*/\s*s", text):
        raise ValueError(f"must be bytes, and a small b means bits: 1 Gb/s is 125MB/s, got {text!r}")
    amount, per, unit = text.rpartition("/")
    if not per:
        try:
            return Transfer(seconds=parse_duration(text))
        except ValueError:
            raise ValueError(
                f"must be a time such as 8ms or a bandwidth such as 1.2GB/s, got {text!r}"
            ) from None
    rate = parse_bytes(amount, "a bandwidth") if unit.strip() == "s" else 0
    if not rate:
        raise ValueError(f"must be a time such as 8ms or a bandwidth > 0 such as 1.2GB/s, got {text!r}")
    return Transfer(bytes_per_second=float(rate))


def parse_shape(text: str) -> tuple[int, ...]:
    """Read the points of a grid in every dimension, such as ``401x401x201``.

    Raises
    ------
    ValueError
        It is none, or has a dimension without points.
    """
    parts = re.split(r"\s*[x×,]\s*", text.strip().lower())
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"must be numbers of points such as 401x401x201, got {text!r}")
    return tuple(int(part) for part in parts)
