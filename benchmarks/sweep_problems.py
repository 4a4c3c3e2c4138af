"""What memory_sweep.py measures: problems of several sizes, and how much memory they get."""

from __future__ import annotations

import dataclasses
import math

#: Slices of a plain field of second order in time, and of a snapshot of it.
RING, STATE = 3, 2


@dataclasses.dataclass(frozen=True)
class Problem:
    """The acoustic FWI gradient of one shot, in two or three dimensions.

    Attributes
    ----------
    name : str
        What it is called in tables.
    shape : tuple of int
        Grid points, those of the absorbing layers not included.
    steps : int
        Timesteps n.
    layers : int
        Grid points of the absorbing layer on each side.
    spacing : float
        Grid spacing [m].
    """

    name: str
    shape: tuple[int, ...]
    steps: int
    layers: int = 20
    spacing: float = 10.0

    @property
    def grid(self) -> tuple[int, ...]:
        """Grid points, absorbing layers included."""
        return tuple(points + 2 * self.layers for points in self.shape)

    def arguments(self) -> dict[str, object]:
        """Return what a worker makes it of."""
        return {
            "model": None,
            "shape": list(self.shape),
            "spacing": self.spacing,
            "layers": self.layers,
            "tn": 100.0,
            "steps": self.steps,
        }


@dataclasses.dataclass(frozen=True)
class Set:
    """Problems that are measured together.

    Attributes
    ----------
    problems : tuple of Problem
        The costs of the last one, which is three-dimensional, are scaled to the large configuration.
    points : int
        Memory limits between the smallest that works for all methods and store-all.
    most_seconds : float
        Gradients that are expected to take longer are left out, and said to be [s].
    """

    problems: tuple[Problem, ...]
    points: int
    most_seconds: float


#: With the halo, every grid has a multiple of 8 points. A slot's size is rounded up to 64 bytes, and so takes
#: no more than its slices: limits in slices are the same for all packages.
SETS = {
    "tiny": Set(
        (
            Problem("2D, 40 x 40", (30, 30), 24, layers=5),
            Problem("3D, 28 x 28 x 28", (22,) * 3, 16, layers=3),
        ),
        points=3,
        most_seconds=10.0,
    ),
    "small": Set(
        (
            Problem("2D, 240 x 240", (200, 200), 300),
            Problem("2D, 480 x 480", (440, 440), 400),
            Problem("3D, 80 x 80 x 80", (60, 60, 60), 250, layers=10),
        ),
        points=5,
        most_seconds=20.0,
    ),
    "medium": Set(
        (
            Problem("2D, 520 x 520", (440, 440), 1000, layers=40),
            Problem("2D, 1680 x 480", (1600, 400), 2000, layers=40),
            Problem("3D, 104 x 104 x 104", (84, 84, 84), 500, layers=10),
            Problem("3D, 140 x 140 x 140", (120, 120, 120), 700, layers=10),
        ),
        points=8,
        most_seconds=120.0,
    ),
}

#: Too large for the machines at hand: written down here, and predicted from measured costs. The Overthrust
#: model as in Kukreja and others (2019): 25 m, 4 s, absorbing layers of 40 points included.
LARGE = Problem("Overthrust, 287 x 881 x 881", (207, 801, 801), 2500, layers=40, spacing=25.0)


def limits(steps: int, points: int) -> list[int]:
    """Return memory limits in slices, log-spaced from the smallest that works for all methods to store-all.

    A ring and one snapshot are the least for all of them. Limits are odd, so that a ring of 3 and snapshots
    of 2 slices use them up; the last one is every slice of the run.
    """
    if points < 2:
        raise ValueError(f"points must be >= 2, got {points}")
    first, last = RING + STATE, steps + 2
    ratio = math.log(last / first) / (points - 1)
    between = (first * math.exp(ratio * point) for point in range(points - 1))
    odd = (2 * round((value - 1) / 2) + 1 for value in between)
    return list(dict.fromkeys([*odd, last]))
