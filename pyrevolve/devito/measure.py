"""Measure what the steps, calls and copies of a problem cost on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ..costs import Costs
from ..storage import MemoryStorage
from .checkpoint import TimeFunctionCheckpoint
from .operator import DevitoOperator

__all__ = ["measure_costs", "preserved"]

#: A call that is timed lasts about this long [s], so that its own overhead and the clock's do not matter.
_CALL_SECONDS = 0.02
#: All of the measurement takes about this long [s]; never fewer than three rounds.
_TOTAL_SECONDS = 1.0
_ROUNDS = (3, 15)
#: States up to this size are copied through several slots, so that they do not stay in the cache [bytes].
_SMALL_STATE = 64 << 20


def measure_costs(
    forward: DevitoOperator,
    reverse: DevitoOperator,
    checkpoint: TimeFunctionCheckpoint,
    n_timesteps: int,
    *,
    threads: int | None = None,
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
    threads : int, optional
        Threads of a copy, as for `pyrevolve.MemoryStorage`.

    Returns
    -------
    Costs
        Lower quartiles over several rounds [s]: other work on the machine makes single rounds much slower,
        never faster. Each round loads a state, runs forward, saves, and reverses, so that every part finds
        the caches as it does in a real run.

    Notes
    -----
    Takes about a second, longer where few timesteps do. All arrays that the operators write are put back as
    they were; the forward fields are zero afterwards.
    """
    window = max(1, min(checkpoint.window, n_timesteps))
    slots = 4 if checkpoint.state_bytes <= _SMALL_STATE else 1
    rounds: dict[str, list[float]] = {"one": [], "many": [], "last": [], "back": [], "save": [], "load": []}
    with (
        preserved([forward, reverse], checkpoint),
        contextlib.ExitStack() as stack,
        MemoryStorage(slots, checkpoint.get_data(0), threads=threads) as storage,
    ):
        stack.callback(checkpoint.clear)
        _fill(checkpoint)
        forward.apply(t_start=0, t_end=1)
        step = _time(forward.apply, t_start=0, t_end=1)
        steps = int(min(max(2, _CALL_SECONDS / max(step, 1e-7)), n_timesteps, 1000))
        back = min(window, steps)
        for slot in range(slots):
            storage.save(slot, checkpoint.get_data(0), 0)
        reverse.apply(t_start=0, t_end=1)
        began, turn = perf_counter(), 0
        while turn < _ROUNDS[0] or (turn < _ROUNDS[1] and perf_counter() - began < _TOTAL_SECONDS):
            start = turn * steps % max(1, n_timesteps - steps + 1)
            slot = turn % slots
            state = checkpoint.get_data(start)
            rounds["load"].append(_time(storage.load, slot, state, 0))
            rounds["one"].append(_time(forward.apply, t_start=start, t_end=start + 1))
            rounds["many"].append(_time(forward.apply, t_start=start, t_end=start + steps))
            storage.free(slot)
            rounds["save"].append(_time(storage.save, slot, state, 0))
            rounds["last"].append(_time(reverse.apply, t_start=start, t_end=start + 1))
            rounds["back"].append(_time(reverse.apply, t_start=start, t_end=start + back))
            turn += 1
    typical = {name: _quartile(times) for name, times in rounds.items()}
    forward_step, forward_call = _split(typical["one"], typical["many"], steps)
    reverse_step, reverse_call = _split(typical["last"], typical["back"], back)
    return Costs(
        forward_step=forward_step,
        reverse_step=reverse_step,
        forward_call=forward_call,
        reverse_call=reverse_call,
        save=typical["save"],
        load=typical["load"],
    )


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


def _time(work: Callable[..., object], *arguments: Any, **options: Any) -> float:
    """Return how long a call takes [s]."""
    began = perf_counter()
    work(*arguments, **options)
    return perf_counter() - began


def _quartile(times: list[float]) -> float:
    """Return the lower quartile."""
    return sorted(times)[len(times) // 4]


def _split(one: float, many: float, steps: int) -> tuple[float, float]:
    """Return the cost of a step and what a call costs besides, from calls of 1 and of `steps` steps."""
    if steps < 2:
        return one, 0.0
    step = max(0.0, (many - one) / (steps - 1))
    step = min(step, many / steps)
    return step, max(0.0, one - step)
