"""Measure what the steps, calls and copies of a problem cost on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import statistics
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Operator
from ..compression import Compression
from ..costs import CompressionCosts, Costs
from ..measuring import measure_with_disk, sample_compression, slots_for, time_operators
from ..storage import MemoryStorage
from ..team import Team, together
from .advancing import Advancing
from .checkpoint import TimeFunctionCheckpoint
from .operator import DevitoOperator

__all__ = ["measure_compression", "measure_costs", "measure_gain", "preserved"]

#: Timesteps that are run with and without recording their step data, how often, and for how long [s].
_GAIN_STEPS, _GAIN_ROUNDS, _GAIN_SECONDS = 20, 9, 1.0

_LOG = logging.getLogger("pyrevolve.devito")


def measure_costs(
    runner: Operator,
    forward: DevitoOperator,
    reverse: DevitoOperator,
    checkpoint: TimeFunctionCheckpoint,
    n_timesteps: int,
    *,
    threads: int | None = None,
    directory: str | os.PathLike[str] | None = None,
    cache: str | None = None,
    team: Team | None = None,
) -> Costs:
    """Measure the costs on prepared operators, with a wavefield that is not zero.

    Parameters
    ----------
    runner : Operator
        What runs forward, by way of `forward`.
    forward, reverse : DevitoOperator
        Prepared for the whole range.
    checkpoint : TimeFunctionCheckpoint
        The forward fields.
    n_timesteps : int
        Timesteps of the whole range, >= 1.
    threads, directory, cache
        As for `pyrevolve.measure_costs`.
    team : Team, optional
        The processes among which the grid is divided.

    Returns
    -------
    Costs
        As from `pyrevolve.measure_costs` [s].

    Notes
    -----
    Takes about a second, longer where few timesteps do; with a disk, two seconds more, and everything twice.
    All arrays that the operators write are put back as they were, x_0 too; what else the rings hold is lost.
    """

    def prepare(stack: contextlib.ExitStack) -> MemoryStorage:
        stack.enter_context(preserved([forward, reverse], checkpoint))
        stack.enter_context(_lent(checkpoint))
        slots = slots_for(checkpoint.state_bytes)
        storage = stack.enter_context(MemoryStorage(slots, checkpoint.get_data(0), threads=threads))
        _fill(checkpoint)
        for slot in range(slots):
            storage.save(slot, checkpoint.get_data(0), 0)
        return storage

    def measure() -> Costs:
        with contextlib.ExitStack() as stack:
            storage = (prepare if team is None else team.guarded(prepare))(stack)
            return time_operators(
                checkpoint, runner, reverse, storage, n_timesteps, disposable=True, team=team
            )

    if team is not None and cache is not None:
        raise ValueError("cache= is not for several processes: leave it out")
    costs = measure_with_disk(
        measure, checkpoint, runner, checkpoint.state_bytes, directory, threads, cache, team=team
    )
    return costs if team is None else team.first(costs)


def measure_gain(
    advancing: Advancing,
    forward: DevitoOperator,
    checkpoint: TimeFunctionCheckpoint,
    n_timesteps: int,
    *,
    team: Team | None = None,
) -> float:
    """Measure how much faster timesteps are whose step data is not recorded.

    Parameters
    ----------
    advancing : Advancing
        What runs timesteps in both ways, by way of `forward`.
    forward : DevitoOperator
        Prepared for the whole range.
    checkpoint : TimeFunctionCheckpoint
        The forward fields.
    n_timesteps : int
        Timesteps of the whole range, >= 1.
    team : Team, optional
        The processes among which the grid is divided; the first one says what all return.

    Returns
    -------
    float
        The part of the time that is saved in calls of about twenty timesteps; below 0 where it takes longer.

    Notes
    -----
    Takes about a second at most, longer where few timesteps do. All arrays that the operator writes are put
    back as they were, x_0 too; what else the rings hold is lost.
    """

    def prepare(stack: contextlib.ExitStack) -> None:
        stack.enter_context(preserved([forward], checkpoint))
        stack.enter_context(_lent(checkpoint))
        _fill(checkpoint)

    steps = min(n_timesteps, _GAIN_STEPS)
    ratios: list[float] = []
    with contextlib.ExitStack() as stack:
        together(team, prepare)(stack)
        began = perf_counter()
        go_on = True
        while go_on:
            times = [perf_counter()]
            for run in (advancing.apply, advancing.apply_unrecorded):
                checkpoint.give_up()
                run(t_start=0, t_end=steps)
                times.append(perf_counter())
            ratios.append((times[2] - times[1]) / (times[1] - times[0]))
            go_on = len(ratios) < _GAIN_ROUNDS and times[2] - began < _GAIN_SECONDS
            go_on = go_on if team is None else team.first(go_on)
    gain = 1.0 - statistics.median(ratios)
    return gain if team is None else team.first(gain)


def measure_compression(
    forward: DevitoOperator,
    checkpoint: TimeFunctionCheckpoint,
    n_timesteps: int,
    compression: Compression,
    *,
    threads: int | None = None,
    team: Team | None = None,
) -> CompressionCosts:
    """Measure what compression makes of the forward fields, in one sweep from the state that they hold.

    Parameters
    ----------
    forward : DevitoOperator
        Prepared for the whole range.
    checkpoint : TimeFunctionCheckpoint
        The forward fields.
    n_timesteps : int
        Timesteps of the whole range, >= 1.
    compression, threads
        As for `pyrevolve.measure_compression`.
    team : Team, optional
        The processes among which the grid is divided.

    Returns
    -------
    CompressionCosts
        As from `pyrevolve.measure_compression`.

    Notes
    -----
    All arrays that the operator writes are put back as they were, x_0 too; what else the rings hold is lost.
    Where the wavefield stays zero, because the sources are not known yet, noise is measured
    instead, which hardly gets smaller.
    """
    with preserved([forward], checkpoint), _lent(checkpoint):
        found = sample_compression(checkpoint, forward, n_timesteps, compression, threads=threads, team=team)
        silent = not any(np.any(array) for array in checkpoint.get_data(n_timesteps))
        if team is not None:
            (silent,) = (bool(value) for value in team.least([silent]))
        if silent:
            _LOG.warning("the forward operator leaves the wavefield zero: compression is measured on noise")
            _fill(checkpoint)
            found = sample_compression(
                checkpoint, forward, 1, compression, samples=1, threads=threads, team=team
            )
        return found


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
        # The part of this process, which Devito would otherwise take for a part of the whole.
        data = np.asarray(field.function.data)
        noise = generator.uniform(-1e-3, 1e-3, size=data.shape[1:])
        if not np.issubdtype(data.dtype, np.inexact):
            continue
        for index in range(data.shape[0]):
            data[index] = noise


@contextlib.contextmanager
def _lent(checkpoint: TimeFunctionCheckpoint) -> Iterator[None]:
    """Put x_0 back into the forward fields in the end, and into all other slices a copy of one of its own.

    So points that no timestep writes hold in every slice what they held before.
    """
    checkpoint.give_up()
    state = checkpoint.get_data(0)
    kept = [array.copy() for array in state]
    rings = [checkpoint.ring(field.name) for field in checkpoint.fields]
    firsts = [ring[0].copy() for ring in rings]
    try:
        yield
    finally:
        checkpoint.give_up()
        for ring, copy in zip(rings, firsts, strict=True):
            for array in ring:
                array[...] = copy
        for array, copy in zip(state, kept, strict=True):
            array[...] = copy
