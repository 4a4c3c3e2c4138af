"""Measure what the steps, calls and copies of a problem cost on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..costs import Costs
from ..measuring import measure_with_disk, slots_for, time_operators
from ..storage import MemoryStorage
from .checkpoint import TimeFunctionCheckpoint
from .operator import DevitoOperator

__all__ = ["measure_costs", "preserved"]


def measure_costs(
    forward: DevitoOperator,
    reverse: DevitoOperator,
    checkpoint: TimeFunctionCheckpoint,
    n_timesteps: int,
    *,
    threads: int | None = None,
    directory: str | os.PathLike[str] | None = None,
    cache: str | None = None,
) -> Costs:
    """Measure the costs on prepared operators, with a wavefield that is not zero.

    Parameters
    ----------
    forward, reverse : DevitoOperator
        Prepared for the whole range.
    checkpoint : TimeFunctionCheckpoint
        The forward fields.
    n_timesteps : int
        Timesteps of the whole range, >= 1.
    threads, directory, cache
        As for `pyrevolve.measure_costs`.

    Returns
    -------
    Costs
        As from `pyrevolve.measure_costs` [s].

    Notes
    -----
    Takes about a second, longer where few timesteps do, and two more with a disk. All arrays that the
    operators write are put back as they were; the forward fields are zero afterwards.
    """

    def measure() -> Costs:
        slots = slots_for(checkpoint.state_bytes)
        with (
            preserved([forward, reverse], checkpoint),
            contextlib.ExitStack() as stack,
            MemoryStorage(slots, checkpoint.get_data(0), threads=threads) as storage,
        ):
            stack.callback(checkpoint.clear)
            _fill(checkpoint)
            for slot in range(slots):
                storage.save(slot, checkpoint.get_data(0), 0)
            return time_operators(checkpoint, forward, reverse, storage, n_timesteps, disposable=True)

    return measure_with_disk(measure, checkpoint, checkpoint.state_bytes, directory, threads, cache)


@contextlib.contextmanager
def preserved(operators: Iterable[DevitoOperator], checkpoint: TimeFunctionCheckpoint) -> Iterator[None]:
    """Keep what prepared operators write as it is, except for the forward fields.

    Parameters
    ----------
    operators : iterable of DevitoOperator
        Prepared operators.
    checkpoint : TimeFunctionCheckpoint
        The forward fields.
    """
    kept: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
    slices = [array for field in checkpoint.fields for array in checkpoint.ring(field.name)[:1]]
    for operator in operators:
        written = {function.name for function in operator.operator.writes}
        for name, array in operator.arrays().items():
            if name in written and not any(np.may_share_memory(array, ring) for ring in slices):
                kept.append((array, array.copy()))
    try:
        yield
    finally:
        for array, copy in kept:
            array[...] = copy


def _fill(checkpoint: TimeFunctionCheckpoint) -> None:
    """Fill the domain of every slice with noise of a small amplitude; halos stay as they are."""
    generator = np.random.default_rng(0)
    for field in checkpoint.fields:
        data = field.function.data
        noise = generator.uniform(-1e-3, 1e-3, size=data.shape[1:])
        if not np.issubdtype(data.dtype, np.inexact):
            continue
        for index in range(data.shape[0]):
            data[index] = noise
