"""A small survey that test_inversion and the processes that it starts share."""

from __future__ import annotations

import numpy as np
from devito import configuration

from pyrevolve.inversion import AcousticShots, Gather, Survey
from pyrevolve.inversion.models import generated_model, smooth

configuration["log-level"] = "ERROR"
# One thread: results agree bit for bit.
configuration["language"] = "C"

TRUE = generated_model(41).astype(np.float64)
START = smooth(TRUE.astype(np.float32), 9).astype(np.float64)
SURVEY = Survey(TRUE.shape, 20.0, 600.0, 8.0, vmax=4.2, layers=16)
RECEIVERS = np.stack([np.linspace(26.0, 774.0, 12), np.full(12, 46.0)], axis=1)
SOURCES = [np.array([x, 46.0]) for x in (126.0, 402.0, 690.0)]
#: Directions, larger at the edges, whose values go on through the absorbing layers.
DIRECTIONS = np.random.default_rng(3).standard_normal((2, *TRUE.shape))
DIRECTIONS[:, 0] *= 3
DIRECTIONS[:, :, -1] *= 3


def make(memory, **options):
    """Make the problem."""
    return AcousticShots(SURVEY, Gather(SOURCES[0], RECEIVERS), memory=memory, **options)
