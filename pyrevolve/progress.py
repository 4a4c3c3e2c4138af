"""Progress of a run: a bar in a terminal or a notebook, or a function of the user's."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from .budget import format_bytes
from .checkpoint import described
from .costs import Costs
from .course import Course, Standing
from .observers import Observer, Outcome, Sweep, names_of
from .schedules import Online, Schedule
from .storage import Storage

__all__ = ["Progress", "ProgressLike", "ProgressState", "make_progress"]

#: Runs that take no longer show no bar, unless they are told to [s].
_DELAY = 3.0
#: What is shown is brought up to date so often [ns].
_INTERVAL = 100_000_000

_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_FORMAT_WITHOUT_TOTAL = "{desc}: {elapsed}{postfix}"


class ProgressState(NamedTuple):
    """How far a run is.

    Attributes
    ----------
    sweep : {"forward", "reverse"}
        The sweep that is under way.
    done : float
        Work done, of both sweeps, in `unit`.
    total : float or None
        All work of both sweeps, what is run again included; None: not known, the run is online. Where the run
        was planned anew or resumed, what is left is estimated from the timesteps that are left.
    unit : {"s", "timesteps"}
        Seconds that the costs predict; where they are not known, timesteps run forward or reversed.
    timesteps : int
        In the forward sweep the t of the last x_t, in the reverse sweep the timesteps reversed.
    n_timesteps : int or None
        Timesteps n; None: not known yet.
    tiers : tuple of str
        What the tiers are called.
    snapshots, nbytes : tuple of int
        Snapshots that each tier holds, and bytes that they take there.
    """

    sweep: Sweep
    done: float
    total: float | None
    unit: Literal["s", "timesteps"]
    timesteps: int
    n_timesteps: int | None
    tiers: tuple[str, ...]
    snapshots: tuple[int, ...]
    nbytes: tuple[int, ...]

    @property
    def fraction(self) -> float | None:
        """Part of the work that is done, 0 <= fraction <= 1; None where the total is not known."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total > 0 else 1.0

    def __str__(self) -> str:
        of = "" if self.n_timesteps is None else f" of {self.n_timesteps}"
        held = [
            f"{count} snapshots in {name} ({format_bytes(nbytes)})"
            for name, count, nbytes in zip(self.tiers, self.snapshots, self.nbytes, strict=True)
            if count
        ]
        return ", ".join([f"{self.timesteps}{of} timesteps", *held])


#: What ``Revolver(progress=...)`` takes.
ProgressLike: TypeAlias = bool | Callable[[ProgressState], object]


class _Display(Protocol):
    """Where progress is shown, while a sweep is under way."""

    def open(self, state: ProgressState) -> None: ...

    def show(self, state: ProgressState) -> None: ...

    def close(self) -> None: ...


class _Bar:
    """A bar of tqdm. It exists only while a sweep is under way, so that nothing of it is left behind."""

    def __init__(self, tqdm: Any, delay: float) -> None:
        self._tqdm = tqdm
        self._delay = delay
        self._bar: Any = None

    def open(self, state: ProgressState) -> None:
        """Start the clock; the bar appears after the delay."""
        self._bar = self._tqdm(
            desc=state.sweep,
            total=state.total,
            initial=state.done,
            delay=self._delay,
            leave=False,
            miniters=0,
            mininterval=0.0,
            smoothing=0.1,
            dynamic_ncols=True,
            bar_format=_FORMAT_WITHOUT_TOTAL if state.total is None else _FORMAT,
        )

    def show(self, state: ProgressState) -> None:
        """Bring the bar up to date."""
        self._bar.total = state.total
        self._bar.set_postfix_str(str(state), refresh=False)
        self._bar.update(state.done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


class _Function:
    """A function that is called with every state."""

    def __init__(self, function: Callable[[ProgressState], object]) -> None:
        self._function = function

    def open(self, state: ProgressState) -> None:
        """Call it."""
        self._function(state)

    def show(self, state: ProgressState) -> None:
        """Call it."""
        self._function(state)

    def close(self) -> None:
        """Leave it alone."""


def make_progress(progress: ProgressLike | None, costs: Costs | None, *, first: bool) -> Progress | None:
    """Return what shows the progress of a run; None: nothing does.

    Parameters
    ----------
    progress : bool or callable, optional
        Whether there is a bar; a function is called instead. None: see `Revolver`.
    costs : Costs, optional
        By tier [s]; None: they are not known.
    first : bool
        Whether this is the process that shows it, of those that run in step.

    Raises
    ------
    ImportError
        A bar is asked for, and tqdm is not installed.
    TypeError
        `progress` is something else.
    """
    display: _Display
    if progress is False:
        return None
    if progress is None:
        if not first or not _is_watched() or importlib.util.find_spec("tqdm") is None:
            return None
        display = _Bar(_tqdm(), _DELAY)
    elif progress is True:
        display = _Bar(_tqdm(), 0.0)
    elif callable(progress):
        display = _Function(progress)
    else:
        raise TypeError(f"progress must be True, False, None or a function, got {described(progress)}")
    return Progress(display, costs) if first else None


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError(
            'progress=True needs the package tqdm: pip install "pyrevolve[progress]"; or give a function'
        ) from None
    return tqdm


def _is_watched() -> bool:
    """Return whether somebody watches: in a terminal, or in a notebook; not in a process of a pool."""
    import multiprocessing

    if multiprocessing.parent_process() is not None:
        return False
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is not None:
        return True
    return sys.stderr is not None and sys.stderr.isatty()


class Progress(Observer):
    """Adds up what is done of a run, and shows it now and then.

    Parameters
    ----------
    display : object
        Where; it has ``open(state)``, ``show(state)`` and ``close()``, and is open while a sweep is under
        way.
    costs : Costs, optional
        By tier [s], by which work is weighed. None, or where all are zero: every timestep counts 1, run
        forward or reversed.
    """

    def __init__(self, display: _Display, costs: Costs | None) -> None:
        self._display = display
        self._costs = costs
        self._open = False
        self._storages: Sequence[Storage] = ()
        self.reset()

    def reset(self) -> None:
        """Begin anew with the next shot."""
        self._close()
        self._sweep: Sweep = "forward"
        self._unit: Literal["s", "timesteps"] = "timesteps"
        self._rates = _STEPS
        self._known = False
        self._done = 0.0
        self._total: float | None = None
        #: What the schedule foretold for the whole run.
        self._foretold = 0.0
        self._n: int | None = None
        self._run = self._reversed = 0
        self._held: list[int] = []
        self._course: Course | None = None
        self._plans = 0
        self._next = 0

    # --- what the driver tells ------------------------------------------------------------------------------

    def begin(self, sweep: Sweep, storages: Sequence[Storage]) -> None:
        """Open the display, once it is known what there is to do."""
        self._sweep, self._storages = sweep, storages
        self._names = names_of(storages)
        if not self._held:
            self._held = [0] * len(storages)
        if self._known:
            self._show()

    def follow(self, schedule: Schedule | Online, course: Course | None) -> None:
        """Find out how much there is to do."""
        self._course = course
        if isinstance(schedule, Online):
            self._rates, self._unit = _rates(self._costs, self._storages)
        elif schedule.layout is not None:  # the rest of a run that was online
            self._n = schedule.n_timesteps
            self._total = self._done + _work(schedule, self._rates)
        else:
            self._n = schedule.n_timesteps
            self._rates, self._unit = _rates(self._costs, self._storages)
            self._total = self._foretold = _work(schedule, self._rates)
            if course is not None:
                self._resume(course)
        self._known = True
        self._show()

    def ran_forward(self, start: int, stop: int, began: int, ended: int) -> None:
        """Add a call up."""
        self._done += self._rates.forward_call + self._rates.forward_step * (stop - start)
        if self._sweep == "forward":
            self._run = stop
        if ended >= self._next:
            self._show()

    def ran_reverse(self, start: int, stop: int, began: int, ended: int) -> None:
        """Add a call up."""
        self._done += self._rates.reverse_call + self._rates.reversal * (stop - start)
        self._reversed += stop - start
        if ended >= self._next:
            self._show()

    def saved(self, t: int, tier: int, slot: int, nbytes: int, began: int, ended: int) -> None:
        """Add a copy up."""
        self._held[tier] += 1
        self._done += self._rates.save_at(tier)
        if ended >= self._next:
            self._show()

    def loaded(self, t: int, tier: int, slot: int, keep: bool, nbytes: int, began: int, ended: int) -> None:
        """Add a copy up."""
        if slot >= 0 and not keep:
            self._held[tier] -= 1
        self._done += self._rates.load_at(tier)
        if ended >= self._next:
            self._show()

    def freed(self, tier: int, slot: int) -> None:
        """Count a snapshot less."""
        self._held[tier] -= 1

    def end(self, outcome: Outcome) -> None:
        """Close the display, unless another part of the sweep follows."""
        if outcome == "paused":
            return
        try:
            if outcome == "done" and self._open:
                if self._sweep == "reverse":
                    self._total = self._done
                self._show()
        finally:
            self._close()
            self._storages = ()

    # --- inside ---------------------------------------------------------------------------------------------

    def _show(self) -> None:
        course = self._course
        if course is not None and course.replanned != self._plans:
            self._plans = course.replanned
            self._total = self._done + self._left(course.standing)
        state = ProgressState(
            self._sweep,
            self._done,
            self._total,
            self._unit,
            self._run if self._sweep == "forward" else self._reversed,
            self._n,
            self._names,
            tuple(self._held),
            tuple(_bytes_held(*each) for each in zip(self._storages, self._held, strict=True)),
        )
        if not self._open:
            self._open = True
            self._display.open(state)
        else:
            self._display.show(state)
        self._next = perf_counter_ns() + _INTERVAL

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._display.close()

    def _resume(self, course: Course) -> None:
        """Take over where a run that was interrupted stands."""
        stored, position, _, remaining = course.standing
        for place in stored:
            self._held[place.tier] += 1
        if position == 0 and remaining is None:
            return
        assert self._n is not None
        self._run = position if remaining is None else self._n
        self._reversed = 0 if remaining is None else self._n - remaining
        self._plans = course.replanned
        self._total = self._foretold
        self._done = self._foretold - self._left(course.standing)

    def _left(self, standing: Standing) -> float:
        """Return what is left to do, in proportion to the timesteps that are left."""
        assert self._n is not None
        first_sweep = self._rates.forward_step * self._n
        rest = max(0.0, self._foretold - first_sweep)
        if standing.remaining is None:
            return self._rates.forward_step * (self._n - standing.position) + rest
        return rest * standing.remaining / max(1, self._n)


#: Where costs are not known: every timestep counts 1.
_STEPS = Costs(forward_step=1.0, reverse_step=1.0)


def _rates(costs: Costs | None, storages: Sequence[Storage]) -> tuple[Costs, Literal["s", "timesteps"]]:
    """Return what everything counts, by tier, and in which unit."""
    nothing = (0.0,) * len(storages)
    if costs is None or not costs.forward_step + costs.reverse_step:
        return dataclasses.replace(_STEPS, save=nothing, load=nothing), "timesteps"
    # A tier that transfers behind the run takes a copy in RAM. Elastic tiers may be used that no cost is for.
    tiers = [0 if storage.ahead else min(tier, costs.tiers - 1) for tier, storage in enumerate(storages)]
    save, load = tuple(map(costs.save_at, tiers)), tuple(map(costs.load_at, tiers))
    return dataclasses.replace(costs, save=save, load=load), "s"


def _work(schedule: Schedule, rates: Costs) -> float:
    """Return what a schedule counts."""
    counts = schedule.counts
    return rates.total(
        forward_steps=counts.forward_steps,
        reverse_steps=schedule.reverse_steps,
        forward_calls=counts.forward_calls,
        reverse_calls=counts.reverse_calls,
        saves=[tier.saves for tier in counts.tiers],
        loads=[tier.loads for tier in counts.tiers],
    )


def _bytes_held(storage: Storage, snapshots: int) -> int:
    """Return what the snapshots of a tier take there."""
    left = storage.bytes_left
    return snapshots * storage.state_nbytes if left is None else storage.nbytes - left
