"""Measure what timesteps, calls, copies and disk transfers cost on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from .arguments import index, resolve_lag
from .checkpoint import Checkpoint, Operator, check_problem, first_arrays, unrecorded_of
from .compression import Compression, CompressionLike, as_compression
from .cost_cache import remembered
from .costs import CompressionCosts, Costs
from .disk_speed import Transfers, measure_disk
from .storage import MemoryStorage
from .storage.slots import slot_nbytes
from .team import Team, together

__all__ = [
    "measure_compression",
    "measure_costs",
    "measure_with_disk",
    "sample_compression",
    "slots_for",
    "time_operators",
]

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
        `steps`, again and again from x_0; `Operator.apply_unrecorded` too, where there is one, which tells
        `Costs.recording`.
    n_timesteps : int
        Timesteps of the whole run, >= 2.
    steps : int, optional
        Timesteps in the longer one of the two calls that tell a timestep from a call, 1 <= steps <
        n_timesteps; with 1, all is counted as the timestep's. None: as many as take about 20 ms, at most
        1000.
    directory : path, optional
        A directory on a disk that is to be the second tier: what `measure_disk` finds there is added to
        `save` and `load`, and `interference` is measured too. None: RAM only.
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
    OSError
        With `cache`: there is no such `directory`.
    RuntimeError
        With `cache`: the user has no home directory, and ``PYREVOLVE_CACHE`` names none.
    MemoryError
        The system does not give the memory for four small states, or two large ones (beyond 64 MiB).
    Exception
        Whatever an operator or the checkpoint raises, unchanged; the state is put back.

    Notes
    -----
    Takes about a second; where few timesteps take longer than that, ten seconds or one round of about eight
    calls. With a disk, two seconds for that, and everything a second time, while a thread transfers beside
    it. First calls are not counted: they may compile, or touch memory. Each round loads a state, runs
    forward, saves, and reverses, so that every part finds the caches as it does in a real run. With a window
    of 1 every reverse call has one timestep, and what the call costs is counted as the timestep's.

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
    n = index("n_timesteps", n_timesteps)
    if n < 2:
        raise ValueError(f"n_timesteps must be >= 2, got {n}; so short a run needs no plan")
    if steps is not None:
        steps = index("steps", steps)
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

    return measure_with_disk(measure, checkpoint, fwd_operator, state_bytes, directory, threads, cache)


def measure_compression(
    checkpoint: Checkpoint,
    fwd_operator: Operator,
    *,
    n_timesteps: int,
    compression: CompressionLike,
    samples: int = 8,
    threads: int | None = None,
) -> CompressionCosts:
    """Measure what compression makes of the states of a run, in one forward sweep.

    Call it before the first shot, with x_0 in the workspace. The state is put back as it was; *whatever else
    the operator writes is not*.

    Parameters
    ----------
    checkpoint : Checkpoint
        What a state is and where it lives.
    fwd_operator : Operator
        The forward operator; it runs all timesteps once.
    n_timesteps : int
        Timesteps of the whole run, >= 1.
    compression : str, codec or Compression
        See `MemoryStorage`.
    samples : int
        States that are compressed, evenly spread over the run, >= 1.
    threads : int, optional
        Threads for a copy, as for `MemoryStorage`.

    Returns
    -------
    CompressionCosts
        The ratio of all samples together, and medians of the seconds that encoding and decoding take.

    Raises
    ------
    TypeError
        An argument is not what is stated above.
    ValueError
        A number out of range.
    ImportError
        A package that `compression` needs is not installed.
    MemoryError
        The system does not give the memory for three states.
    Exception
        Whatever the operator or the checkpoint raises, unchanged; the state is put back.

    Notes
    -----
    Wavefields start at zero, so that early states are far smaller than late ones; a Revolver plans the rest
    of a run anew where its snapshots turn out to be smaller or larger than planned.
    """
    check_problem(checkpoint, fwd_operator, fwd_operator)
    n, count = index("n_timesteps", n_timesteps), index("samples", samples)
    for name, number in (("n_timesteps", n), ("samples", count)):
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}")
    with MemoryStorage(1, checkpoint.get_data(0), threads=threads) as initial:
        initial.save(0, checkpoint.get_data(0), 0)
        try:
            return sample_compression(
                checkpoint, fwd_operator, n, as_compression(compression), samples=count, threads=threads
            )
        finally:
            initial.load(0, checkpoint.get_data_location(0), 0)


#: A state that is zero all over tells nothing about later ones, so that no ratio is taken to be larger.
_LARGEST_RATIO = 50.0


def sample_compression(
    checkpoint: Checkpoint,
    forward: Operator,
    n_timesteps: int,
    compression: Compression,
    *,
    samples: int = 8,
    threads: int | None = None,
    team: Team | None = None,
) -> CompressionCosts:
    """Run forward from x_0, which is in the workspace, and compress some states on the way.

    Parameters
    ----------
    checkpoint, forward, n_timesteps, samples, threads
        As of `measure_compression`.
    compression : Compression
        What to measure.
    team : Team, optional
        The processes that run in step; all return the same.

    Returns
    -------
    CompressionCosts
        As from `measure_compression`.
    """
    arrays = checkpoint.get_data(0)
    state_bytes = slot_nbytes(arrays)
    # Pieces that do not get smaller take their own bytes, rounded up.
    room = 2 * state_bytes + (1 << 16)
    stored, saves, loads = 0, [], []
    with MemoryStorage(None, arrays, room=room, threads=threads, compression=compression) as storage:
        position = 0
        times = sorted({(2 * sample + 1) * n_timesteps // (2 * samples) for sample in range(samples)})
        for t in times:
            if t > position:
                forward.apply(t_start=position, t_end=t)
                position = t
            state = checkpoint.get_data(t)
            saves.append(_time(storage.save, t, state, t))
            stored += storage.stored_nbytes(t)
            loads.append(_time(storage.load, t, [np.empty_like(array) for array in state], t))
            storage.free(t)
    ratio = min(_LARGEST_RATIO, state_bytes * len(times) / max(1, stored))
    found = CompressionCosts(
        ratio=ratio,
        save=statistics.median(saves),
        load=statistics.median(loads),
        scratch_bytes=compression.scratch_bytes(arrays),
    )
    if team is None:
        return found
    least, scratch = team.least([int(ratio * 1e6)])[0] * 1e-6, team.greatest([found.scratch_bytes])[0]
    return dataclasses.replace(team.first(found), ratio=max(least, 1e-3), scratch_bytes=scratch)


def measure_with_disk(
    measure: Callable[[], Costs],
    checkpoint: Checkpoint,
    forward: Operator,
    state_bytes: int,
    directory: str | os.PathLike[str] | None,
    threads: int | None,
    cache: str | None,
    team: Team | None = None,
) -> Costs:
    """Add the disk, where one is named, to what `measure` finds; keep all of it where a name is given.

    Parameters
    ----------
    measure : callable
        Measures the costs with RAM alone.
    checkpoint : Checkpoint
        Its window is part of what identifies kept costs.
    forward : Operator
        The forward operator; so is whether it can run timesteps without recording them.
    state_bytes, directory, threads, cache
        As for `measure_costs`.
    team : Team, optional
        The processes that run in step: where the disk of one cannot be measured, all raise.

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
        disk = together(team, measure_disk)(state_bytes, directory)
        costs = measure()
        # Once more, with transfers beside it all of the time.
        transfers = together(team, Transfers)(state_bytes, directory)
        with contextlib.ExitStack() as stack:
            together(team, stack.enter_context)(transfers)
            beside = measure()
        moved = together(team, transfers.seconds_per_state)()
        alone, slower = (each.forward_step + each.reversal for each in (costs, beside))
        lost = max(0.0, 1.0 - alone / slower) * moved if slower else 0.0  # with each state
        return dataclasses.replace(
            costs,
            save=(costs.save_at(0), disk.write),
            load=(costs.load_at(0), disk.read),
            # One processor's work cannot cost more than to wait for it: the rest is of other programs.
            interference=min(1.0, lost / (0.5 * (disk.write + disk.read))),
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
        unrecorded=unrecorded_of(forward) is not None,
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
    team: Team | None = None,
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
    team : Team, optional
        The processes that run in step: the first one says how long, and what it measured is what all return.

    Returns
    -------
    Costs
        Lower quartiles [s], for RAM alone.
    """
    if steps is None:
        steps = _steps_of_a_call(checkpoint, forward, storage, team)
    steps = max(1, min(steps, n_timesteps - 1))
    # What x_(start + steps) retains: with lag 0, it carries the data of its own timestep too.
    reach = min(steps + 1 - resolve_lag(checkpoint.lookback, checkpoint.lag), n_timesteps)
    back = min(checkpoint.window, reach)

    unrecorded = unrecorded_of(forward)

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
        if unrecorded is not None:
            spent["bare"] = _time(unrecorded, t_start=start, t_end=end)
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
    while not rounds or _agreed(
        team,
        len(rounds) < _ROUNDS[1]
        and perf_counter() - began < (_LONGEST_SECONDS if len(rounds) < _ROUNDS[0] else _TOTAL_SECONDS),
    ):
        rounds.append(run(len(rounds) + 1))
    typical = {name: _quartile([spent[name] for spent in rounds]) for name in rounds[0]}
    forward_step, forward_call = _split(typical["one"], typical["many"], steps)
    reverse_step, reverse_call = _split(typical["last"], typical["back"], back)
    recording = 0.0
    if unrecorded is not None:
        # Of the same calls, so that no call's cost is taken for that of timesteps.
        recording = min(forward_step, max(0.0, (typical["many"] - typical["bare"]) / steps))
    costs = Costs(
        forward_step=forward_step - recording,
        reverse_step=reverse_step,
        forward_call=forward_call,
        reverse_call=reverse_call,
        save=typical["save"],
        load=typical["load"],
        recording=recording,
    )
    return costs if team is None else team.first(costs)


def _agreed(team: Team | None, go_on: bool) -> bool:
    """Return whether to go on, which the first of the processes decides."""
    return go_on if team is None else team.first(go_on)


def _steps_of_a_call(
    checkpoint: Checkpoint, forward: Operator, storage: MemoryStorage, team: Team | None
) -> int:
    """Return how many timesteps make a call that lasts long enough.

    The first call does not count, and of the next the fastest does: one that was disturbed would make all
    later calls too short to tell a timestep from a call.
    """
    times: list[float] = []
    while len(times) < 2 or _agreed(team, len(times) < _TRIES and times[-1] < _TOTAL_SECONDS / _TRIES):
        storage.load(0, checkpoint.get_data_location(0), 0)
        times.append(_time(forward.apply, t_start=0, t_end=1))
    steps = int(min(max(2.0, _CALL_SECONDS / max(min(times[1:]), 1e-7)), _MOST_STEPS))
    return steps if team is None else team.first(steps)


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
