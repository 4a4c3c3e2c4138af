"""Print times, numbers and bandwidths for people to read."""

from __future__ import annotations

from .budget import format_bytes

__all__ = ["bandwidth_text", "cost_text", "number_text", "time_text"]


def time_text(seconds: float) -> str:
    """Return a time for people to read.

    Examples
    --------
    >>> time_text(0.0008), time_text(10.337), time_text(5400)
    ('800 µs', '10.34 s', '90 min')
    """
    if seconds >= 7200:
        return f"{seconds / 3600:.4g} h"
    if seconds >= 120:
        return f"{seconds / 60:.4g} min"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns" if seconds else "0 s"


def number_text(value: float) -> str:
    """Return a number for people to read, with four significant digits; without an exponent below 10**7.

    Examples
    --------
    >>> number_text(12345.6), number_text(0.51239)
    ('12346', '0.5124')
    """
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def cost_text(value: float, measured: bool) -> str:
    """Return a cost for people to read: a time, or forward timesteps where nothing was measured.

    Examples
    --------
    >>> cost_text(10.337, True), cost_text(16720.4, False)
    ('10.34 s', '16720 forward timesteps')
    """
    return time_text(value) if measured else f"{number_text(value)} forward timesteps"


def bandwidth_text(bytes_per_second: float) -> str:
    """Return a bandwidth for people to read, such as ``"1.2 GiB/s"``."""
    return f"{format_bytes(int(bytes_per_second))}/s"
