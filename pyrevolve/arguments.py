"""What arguments of many functions must be."""

from __future__ import annotations

import operator

__all__ = ["at_least", "flag", "index"]


def index(name: str, value: object) -> int:
    """Return an integer argument; a float or a bool is a TypeError that names it."""
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def at_least(name: str, value: object, least: int, unit: str = "", most: int | None = None) -> int:
    """Return an integer argument >= `least`.

    What is smaller is a ValueError that names it, what is larger than `most` an OverflowError.
    """
    number = index(name, value)
    if number < least:
        raise ValueError(f"{name} must be >= {least}{unit}, got {number}")
    if most is not None and number > most:
        raise OverflowError(f"{name} must be <= {most}{unit}, got {number}")
    return number


def flag(name: str, value: object) -> bool:
    """Return an argument that is True or False; what is neither is a TypeError that names it."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value
