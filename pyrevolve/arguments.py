"""What arguments of many functions must be."""

from __future__ import annotations

import operator

__all__ = ["at_least", "check_initial_state", "flag", "index", "resolve_lag"]


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


def check_initial_state(given: object) -> None:
    """Raise ValueError where `given` is neither "stored" nor "free"."""
    if given not in ("stored", "free"):
        raise ValueError(f'initial_state must be "stored" or "free", got {given!r}')


def resolve_lag(lookback: int, lag: int | None) -> int:
    """Return the lag that is meant: as given, or the default that goes with `lookback`.

    Parameters
    ----------
    lookback : int
        Timesteps whose step data a loaded state carries, >= 0.
    lag : {0, 1} or None
        None: 1 where lookback is 0, otherwise 0.

    Returns
    -------
    int
        0 or 1.

    Raises
    ------
    TypeError
        `lag` is no integer.
    ValueError
        `lag` is neither 0 nor 1, or is 0 with lookback 0.
    """
    if lag is None:
        return 0 if lookback else 1
    lag = index("lag", lag)
    if lag not in (0, 1):
        raise ValueError(f"lag must be 0 or 1, got {lag}")
    if lag == 0 and lookback == 0:
        raise ValueError(
            "lag 0 needs lookback >= 1: a state that carries its own timestep's data carries at least one"
        )
    return lag
