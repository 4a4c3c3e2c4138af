"""Full waveform inversion inside a memory budget; ``python examples/fwi/fwi.py --help``."""

from .fwi import main

__all__ = ["main"]
