"""Gradients by scripts as they were written for version 2.2.8; run with 2.2.8 and with this package.

    python version_2.py PACKAGE

imports everything from PACKAGE, which is ``pyrevolve`` or ``pyrevolve.compat``, and prints one JSON object:
by case and kind of fields the gradients (as hexadecimal numbers), the number of forward timesteps that were
run, and the timesteps that were reversed, in their order. The tests use `Problem` and the cases too.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys

import numpy as np

#: Timesteps, and snapshots.
N, S = 30, 5

SHAPES = ((4,), (2, 3), (5,))


def start(n_fields, dtype):
    """Return x_0: fields of different shapes."""
    return [
        np.linspace(0.1, 0.9, int(np.prod(shape)), dtype=dtype).reshape(shape) for shape in SHAPES[:n_fields]
    ]


def forward_step(fields, t):
    for field in fields:
        field[:] = np.sin(field) + field.dtype.type(0.001 * t)


def reverse_step(befores, bars, gradients, t):
    """Multiply by the transposed derivative; sum up what depends on state, adjoint and timestep alike."""
    for before, bar, gradient in zip(befores, bars, gradients, strict=True):
        bar *= np.cos(before)
        gradient += bar * before * before.dtype.type(t + 1)


def store_all(n_fields, dtype, n=N):
    """Return the gradients by keeping every state: the truth, which needs no checkpointing."""
    fields = start(n_fields, dtype)
    states = []
    for t in range(n):
        states.append([field.copy() for field in fields])
        forward_step(fields, t)
    bars = [np.ones_like(field) for field in fields]
    gradients = [np.zeros_like(field) for field in fields]
    for t in reversed(range(n)):
        reverse_step(states[t], bars, gradients, t)
    return gradients


class Problem:
    """Checkpoint and operators in the style of 2.2.8, with a record of what was called."""

    def __init__(self, package, n_fields, dtype):
        self.fields = fields = start(n_fields, dtype)
        self.befores = befores = [np.empty_like(field) for field in fields]
        self.bars = bars = [np.ones_like(field) for field in fields]
        self.gradients = gradients = [np.zeros_like(field) for field in fields]
        self.forward_steps = 0
        self.reversed = []
        outer = self

        class State(package.Checkpoint):
            @property
            def dtype(self):
                return fields[0].dtype

            @property
            def size(self):
                return sum(field.size for field in fields)

            def get_data(self, timestep):
                return fields

            def get_data_location(self, timestep):
                return fields

        class Forward(package.Operator):
            def apply(self, **kwargs):
                for t in range(kwargs["t_start"], kwargs["t_end"]):
                    for before, field in zip(befores, fields, strict=True):
                        before[:] = field
                    forward_step(fields, t)
                    outer.forward_steps += 1

        class Reverse(package.Operator):
            def apply(self, **kwargs):
                for t in reversed(range(kwargs["t_start"], kwargs["t_end"])):
                    reverse_step(befores, bars, gradients, t)
                    outer.reversed.append(t)

        self.checkpoint, self.forward, self.reverse = State(), Forward(), Reverse()

    @property
    def arguments(self):
        return self.checkpoint, self.forward, self.reverse

    def again(self):
        """Put everything back to the start of a shot, except the record of calls."""
        for field, first in zip(self.fields, start(len(self.fields), self.fields[0].dtype), strict=True):
            field[:] = first
        for bar, gradient in zip(self.bars, self.gradients, strict=True):
            bar[:], gradient[:] = 1, 0


def tier(kind, p, slots, *more, **options):
    """Return a storage for the states of a problem."""
    return kind(p.checkpoint.size, slots, p.checkpoint.dtype, *more, **options)


#: By name: a function of package and problem that makes a Revolver as a script for 2.2.8 does.
CASES = {
    "Revolver": lambda v, p: v.Revolver(*p.arguments, S, N),
    "Revolver, default": lambda v, p: v.Revolver(*p.arguments, None, N),
    "Revolver, one snapshot": lambda v, p: v.Revolver(*p.arguments, 1, N),
    "Revolver, all snapshots": lambda v, p: v.Revolver(*p.arguments, 2 * N, N),
    "MemoryRevolver": lambda v, p: v.MemoryRevolver(*p.arguments, S, N),
    "MemoryRevolver, no compression": lambda v, p: v.MemoryRevolver(
        *p.arguments, S, N, compression_params={"scheme": None}
    ),
    "SingleLevelRevolver": lambda v, p: v.SingleLevelRevolver(*p.arguments, S, N),
    "SingleLevelRevolver, disk": lambda v, p: v.SingleLevelRevolver(
        *p.arguments, S, N, diskstorage=True, filedir="./single"
    ),
    "DiskRevolver": lambda v, p: v.DiskRevolver(*p.arguments, S, N, filedir="./disk"),
    "DiskRevolver, default": lambda v, p: v.DiskRevolver(*p.arguments, None, N, filedir="./default"),
    "DiskRevolver, files": lambda v, p: v.DiskRevolver(*p.arguments, S, N, filedir="./f", singlefile=False),
    "MultiLevelRevolver, RAM": lambda v, p: v.MultiLevelRevolver(
        *p.arguments, N, [tier(v.NumpyStorage, p, S)]
    ),
}

#: Those with a DiskStorage, whose old signature is that of `pyrevolve.compat.DiskStorage`.
DISK_STORAGE_CASES = {
    "MultiLevelRevolver, RAM and disk": lambda v, p: v.MultiLevelRevolver(
        *p.arguments,
        N,
        [tier(v.NumpyStorage, p, 3), tier(v.DiskStorage, p, 10, filedir="./levels", wd=2, rd=2)],
    ),
}


def run(package, make, n_fields, dtype):
    """Return the record of one shot."""
    problem = Problem(package, n_fields, dtype)
    revolver = make(package, problem)
    revolver.apply_forward()
    revolver.apply_reverse()
    return {
        "gradients": [[float(x).hex() for x in gradient.flat] for gradient in problem.gradients],
        "forward_steps": problem.forward_steps,
        "reversed": problem.reversed,
    }


def main(package):
    version_2 = importlib.import_module(package)
    cases = dict(CASES)
    if "filedir" in inspect.signature(version_2.DiskStorage).parameters:
        cases.update(DISK_STORAGE_CASES)
    records = {
        name: {
            f"{n_fields} of {dtype}": run(version_2, make, n_fields, dtype)
            for n_fields in (1, 3)
            for dtype in ("float32", "float64")
        }
        for name, make in cases.items()
    }
    print(json.dumps(records))


if __name__ == "__main__":
    main(sys.argv[1])
