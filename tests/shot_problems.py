"""Problems for ShotRunner that need NumPy only; a module of their own, so that Dask's workers find them."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import numpy as np


class Numbers:
    """Shots are numbers."""

    def __init__(self, memory):
        self.memory = memory

    def number(self, model, shot):
        return shot

    def slow_number(self, model, shot):
        time.sleep(0.05)
        return shot

    def both(self, model, shot):
        return shot, shot * model

    def first_is_slow(self, model, shot):
        time.sleep(0.5 if shot == 1e16 else 0.0)
        return self.both(model, shot)

    def fails_at(self, value, shot):
        return 1 / (shot - value)


class Recorder:
    """Gives the results that it was made with, and counts how often it was closed."""

    def __init__(self, results):
        self.results = results
        self.closed = 0

    def give(self, shot):
        return self.results[shot]

    def close(self):
        self.closed += 1


class Reusing:
    """Returns arrays that the next shot overwrites, as the data of a field are."""

    def __init__(self, memory):
        self.gradient = np.zeros(100_000)

    def both(self, shot):
        self.gradient[:] = shot
        return shot, self.gradient


class Panic(BaseException):
    """What a library raises that is no Exception."""


class Odd:
    """Raises and returns what nobody expects."""

    def __init__(self, memory):
        self.memory = memory

    def panics(self, shot):
        raise Panic(shot)

    def stops(self, shot):
        raise StopIteration(shot)

    def same(self, result, shot):
        return result

    def pair_or_number(self, first, shot):
        return (shot, shot) if shot == first else shot


class Leaving:
    """Leaves a file until it is closed, as snapshots on disk do."""

    def __init__(self, folder, memory):
        self.path = Path(folder) / uuid.uuid4().hex
        self.path.touch()

    def slowly(self, shot):
        time.sleep(0.05)

    def close(self):
        self.path.unlink()


class Logged:
    """Notes every shot in a file."""

    def __init__(self, path, memory):
        self.path = path

    def slowly(self, shot):
        time.sleep(0.1)
        with open(self.path, "a") as log:
            log.write(f"{shot}\n")
            log.flush()
            os.fsync(log.fileno())
        return shot
