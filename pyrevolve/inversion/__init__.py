"""From the gradient of one shot to an inversion over many.

`ShotRunner`
    sums of misfits and gradients over shots, in this process or with Dask
`AcousticShots`, `Survey`, `Gather`
    a problem for it: the acoustic wave equation in two or three dimensions (needs Devito)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .runner import ShotRunner, Worker

if TYPE_CHECKING:
    from .shots import AcousticShots, Gather, Survey

__all__ = ["AcousticShots", "Gather", "ShotRunner", "Survey", "Worker"]


def __getattr__(name: str) -> Any:
    """Import what needs Devito where it is asked for."""
    if name in ("AcousticShots", "Gather", "Survey"):
        from . import shots

        return getattr(shots, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
