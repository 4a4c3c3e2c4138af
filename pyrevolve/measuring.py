"""Measure what timesteps, calls, copies and disk transfers cost on this machine."""

from __future__ import annotations

import dataclasses
import operator
import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

from .checkpoint import Checkpoint, Operator, check_problem, first_arrays
from .cost_cache import remembered
from .costs import Costs
from .disk_speed import measure_disk
from .schedules.offline import resolve_lag
from .storage import MemoryStorage
from .storage.memory import slot_nbytes

__all__ = ["measure_costs", "measure_with_disk", "slots_for", "time_operators"]

#: A call that is timed lasts about this long [s], so that its own overhead and the clock's do not matter.
_CALL_SECONDS = 0.02
_MOST_STEPS = 1000
_TRIES = 5
#: All rounds together take about this long [s], or this long where there would be too few.
_TOTAL_SECONDS, _LONGEST_SECONDS = 1.0, 10.0
_ROUNDS = (3, 15)
#: States up to this size are copied through several slots, so that they do not stay in the cache [bytes].
_SMALL_STATE = 64 << 20


def measure_costs(
    checkpoint: Checkpoint,
    fwd_operator: Operator,
    rev_operator: Operator,
    *,
    n_timesteps: int,
    steps: int | None = None,
    directory: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    cache: str | None = None,
) -> Costs:
    """Measure the costs of a problem by running a few of its timesteps, forward and in reverse.

    Call it before the first shot, with x_0 in the workspace. The state is put back as it was; *whatever else
    the operators write is not*: gradients, receivers, adjoint fields, and slices of a ring that are not in
    x_0. Reset these afterwards.

    Parameters
    ----------
    checkpoint : Checkpoint
        What a state is and where it lives, and what the workspace retains.
    fwd_operator, rev_operator : Operator
        The forward operator and its adjoint. They are called as a schedule calls them, on timesteps 0 to
        `steps`, again and again from x_0.
    n_timesteps : int
        Timesteps of the whole run, >= 2.
    steps : int, optional
        Timesteps in the longer one of the two calls that tell a timestep from a call, 1 <= steps <
        n_timesteps; with 1, all is counted as the timestep's. None: as many as take about 20 ms, at most
        1000.
    directory : path, optional
        A directory on a disk that is to be the second tier: what `measure_disk` finds there is added to
        `save` and `load`. None: RAM only.
    threads : int, optional
        Threads for a copy, as for `MemoryStorage`.
    cache : str, optional
        A name for the problem (operators, grid, physics): costs that were measured under this name on this
        machine within 30 days are returned without running anything; otherwise they are measured and kept.
        They also have to be for the same size of a state, window, numbers of threads and cores, variables
        ``OMP_*`` and ``DEVITO_*``, disk and version of this package. None: measured, and not kept. The
        environment variable ``PYREVOLVE_CACHE`` names the directory, by default ``pyrevolve`` among the
        user's caches. *Name a changed problem anew.*

    Returns
    -------
    Costs
        Seconds: lower quartiles over several rounds, because other work on the machine makes single rounds
        much slower, never faster; medians for the disk.

    Raises
    ------
    TypeError
        An argument is not what is stated above.
    ValueError
        A number out of range, or an empty name.
    StorageError
        The disk cannot be measured, or the state cannot be stored.
    MemoryError
        The system does not give the memory for four small states, or two large ones (beyond 64 MiB).
    Exception
        Whatever an operator or the checkpoint raises, unchanged; the state is put back.

    Notes
    -----
    Takes about a second, and two for the disk; where few timesteps take longer than that, ten seconds or one
    round of about eight calls. First calls are not counted: they may compile, or touch memory. Each round
    loads a state, runs forward, saves, and reverses, so that every part finds the caches as it does in a
    real run. With a window of 1 every reverse call has one timestep, and what the call costs is counted as
    the timestep's.

    Operators that allocate large temporaries change speed during a process, because the threshold from which
    the allocator asks the system for every array anew moves; use ``out=`` arrays.

    Examples
    --------
    >>> import numpy as np
    >>> x, step_data = np.array([0.5]), np.zeros(1)
    >>> class State(Checkpoint):
    ...     dtype, size = x.dtype, x.size
    ...     def get_data(self, t):
    ...         return [x]
    ...     get_data_location = get_data
    >>> class Forward(Operator):
    ...     def apply(self, t_start, t_end):
    ...         for _ in range(t_start, t_end):
    ...             step_data[:] = x
    ...             x[:] = np.sin(x)
    >>> class Reverse(Operator):
    ...     def apply(self, t_start, t_end):
    ...         np.cos(step_data)
    >>> costs = measure_costs(State(), Forward(), Reverse(), n_timesteps=100)
    >>> costs.forward_step > 0, x
    (True, array([0.5]))
    """
    check_problem(checkpoint, fwd_operator, rev_operator)
    n = operator.index(n_timesteps)
    if n < 2:
        raise ValueError(f"n_timesteps must be >= 2, got {n}; so short a run needs no plan")
    if steps is not None:
        steps = operator.index(steps)
        if not 1 <= steps < n:
            raise ValueError(f"steps must be >= 1 and < n_timesteps = {n}, got {steps}")
    state_bytes = slot_nbytes(first_arrays(checkpoint, "get_data"))

    def measure() -> Costs:
        slots = max(2, slots_for(state_bytes))
        with MemoryStorage(slots, checkpoint.get_data(0), threads=threads) as storage:
            storage.save(0, checkpoint.get_data(0), 0)
            try:
                return time_operators(checkpoint, fwd_operator, rev_operator, storage, n, steps=steps)
            finally:
                storage.load(0, checkpoint.get_data_location(0), 0)

    return measure_with_disk(measure, checkpoint, state_bytes, directory, threads, cache)


def measure_with_disk(
    measure: Callable[[], Costs],
    checkpoint: Checkpoint,
    state_bytes: int,
    directory: str | os.PathLike[str] | None,
    threads: int | None,
    cache: str | None,
) -> Costs:
    """Add the disk, where one is named, to what `measure` finds; keep all of it where a name is given.

    Parameters
    ----------
    measure : callable
        Measures the costs with RAM alone.
    checkpoint : Checkpoint
        Its window is part of what identifies kept costs.
    state_bytes, directory, threads, cache
        As for `measure_costs`.

    Returns
    -------
    Costs
        For one tier, or with a directory for two.

    Raises
    ------
    StorageError
        The disk cannot be measured; nothing else was.
    TypeError, ValueError, OSError
        See `remembered`.
    """

    def measure_all() -> Costs:
        if directory is None:
            return measure()
        disk = measure_disk(state_bytes, directory)
        costs = measure()
        return dataclasses.replace(
            costs, save=(costs.save_at(0), disk.write), load=(costs.load_at(0), disk.read)
        )

    if cache is None:
        return measure_all()
    return remembered(
        cache,
        measure_all,
        state_bytes=state_bytes,
        window=checkpoint.window,
        threads=threads,
        directory=directory,
    )


def slots_for(state_bytes: int) -> int:
    """Return how many slots copies are to go through: one is enough for a state that no cache holds."""
    return 4 if state_bytes <= _SMALL_STATE else 1


def time_operators(
    checkpoint: Checkpoint,
    forward: Operator,
    reverse: Operator,
    storage: MemoryStorage,
    n_timesteps: int,
    *,
    steps: int | None = None,
    disposable: bool = False,
) -> Costs:
    """Time calls and copies over several rounds of load, forward, save and reverse.

    Parameters
    ----------
    checkpoint, forward, reverse
        The problem.
    storage : MemoryStorage
        Two slots or more, the first of which holds x_0 (saved as timestep 0) and goes on to do so. With
        `disposable`: any number of slots, all full of states saved as timestep 0.
    n_timesteps : int
        Timesteps of the whole run, >= 1; >= 2 unless `disposable`.
    steps : int, optional
        See `measure_costs`.
    disposable : bool
        True: the operators do not care which state they find at which timestep, nor what becomes of it.
        Rounds then start all over the run, and the slots are overwritten.

    Returns
    -------
    Costs
        Lower quartiles [s], for RAM alone.
    """
    if steps is None:
        steps = _steps_of_a_call(checkpoint, forward, storage)
    steps = max(1, min(steps, n_timesteps - 1))
    # What x_(start + steps) retains: with lag 0, it carries the data of its own timestep too.
    reach = min(steps + 1 - resolve_lag(checkpoint.lookback, checkpoint.lag), n_timesteps)
    back = min(checkpoint.window, reach)

    def run(turn: int) -> dict[str, float]:
        if disposable:
            start = turn * steps % max(1, n_timesteps - steps)
            source = target = turn % storage.n_slots
        else:
            start, source, target = 0, 0, 1 + turn % (storage.n_slots - 1)
        end, stop = start + steps, start + reach
        spent = {"load": _time(storage.load, source, checkpoint.get_data_location(start), 0)}
        spent["one"] = _time(forward.apply, t_start=start, t_end=start + 1)
        storage.load(source, checkpoint.get_data_location(start), 0)
        spent["many"] = _time(forward.apply, t_start=start, t_end=end)
        if storage.timesteps[target] is not None:
            storage.free(target)
        spent["save"] = _time(storage.save, target, checkpoint.get_data(min(end, n_timesteps - 1)), 0)
        spent["last"] = spent["back"] = _time(reverse.apply, t_start=stop - 1, t_end=stop)
        if back > 1:
            # A timestep is reversed once only after it was run.
            storage.load(source, checkpoint.get_data_location(start), 0)
            forward.apply(t_start=start, t_end=end)
            spent["back"] = _time(reverse.apply, t_start=stop - back, t_end=stop)
        return spent

    run(0)
    rounds: list[dict[str, float]] = []
    began = perf_counter()
    while not rounds or (
        len(rounds) < _ROUNDS[1]
        and perf_counter() - began < (_LONGEST_SECONDS if len(rounds) < _ROUNDS[0] else _TOTAL_SECONDS)
    ):
        rounds.append(run(len(rounds) + 1))
    typical = {name: _quartile([spent[name] for spent in rounds]) for name in rounds[0]}
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


def _steps_of_a_call(checkpoint: Checkpoint, forward: Operator, storage: MemoryStorage) -> int:
    """Return how many timesteps make a call that lasts long enough.

    The first call does not count, and of the next the fastest does: one that was disturbed would make all
    later calls too short to tell a timestep from a call.
    """
    times: list[float] = []
    while len(times) < 2 or (len(times) < _TRIES and times[-1] < _TOTAL_SECONDS / _TRIES):
        storage.load(0, checkpoint.get_data_location(0), 0)
        times.append(_time(forward.apply, t_start=0, t_end=1))
    return int(min(max(2.0, _CALL_SECONDS / max(min(times[1:]), 1e-7)), _MOST_STEPS))


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
