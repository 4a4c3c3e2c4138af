"""Measure what lossy compression of snapshots does to a gradient.

    python examples/shallow_water/lossy_snapshots.py

The problem is that of shallow_water.py, and the gradient that of its first guess. The schedule is the same in
every row, so that nothing but the snapshots differs. It needs ``pip install "pyrevolve[zfp]"``.
"""

from __future__ import annotations

import numpy as np
import shallow_water

import pyrevolve
from pyrevolve.compression import Compression, lossless, rounded, zfp

N_TIMESTEPS, N_SNAPSHOTS = 600, 20

COMPRESSIONS: tuple[Compression | None, ...] = (
    None,
    lossless("zstd"),
    lossless("pcodec"),
    zfp(tolerance=1e-8),
    zfp(tolerance=1e-6),
    zfp(tolerance=1e-4),
    zfp(tolerance=1e-2),
    zfp(precision=32),
    zfp(precision=16),
    rounded(23),
    rounded(10),
)


def main() -> None:
    """Print one row for each codec."""
    ocean = shallow_water.Ocean()
    problem = shallow_water.Problem.twin(ocean, N_TIMESTEPS)
    x_0 = ocean.hump(2.0, 0.4, 0.5)
    stored = problem.stored(x_0)
    schedule = pyrevolve.Revolve(N_TIMESTEPS, N_SNAPSHOTS, lookback=1)
    titles = "error of a state", "error of the gradient", "angle [rad]"
    print(f"{'snapshots':22}{'ratio':>6}{titles[0]:>18}{titles[1]:>23}{titles[2]:>13}")
    for compression in COMPRESSIONS:
        with pyrevolve.MemoryStorage(N_SNAPSHOTS, [x_0], compression=compression) as storage:
            states = shallow_water.States(x_0)
            gradient, _ = problem.checkpointed(states, schedule=schedule, storage=storage)
            ratio, error = storage.compression_ratio, storage.compression_error
        difference = np.abs(gradient - stored).max() / np.abs(stored).max()
        angle = np.linalg.norm(gradient / np.linalg.norm(gradient) - stored / np.linalg.norm(stored))
        name = "bare" if compression is None else str(compression)
        print(
            f"{name:22}{ratio:>6.2f}{error.relative if error.measured else 0.0:>18.1e}"
            f"{difference:>23.1e}{angle:>13.1e}"
        )


if __name__ == "__main__":
    main()
