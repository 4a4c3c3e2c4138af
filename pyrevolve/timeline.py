"""What a run spent its time with, instruction by instruction."""

from __future__ import annotations

import array
import json
import os
from collections.abc import Iterator, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .arguments import index
from .checkpoint import described
from .course import Course
from .crevolve import Kind
from .observers import Observer, Outcome, Sweep, names_of
from .schedules import Online, Schedule
from .storage import DiskStorage, Storage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["EVENT_DTYPE", "TRANSFER_DTYPE", "Timeline", "as_timeline"]

#: One row per instruction: its kind (a `Kind`), when it began and ended [ns since the first sweep began], the
#: timesteps [start, stop) of an operator, or the timestep and the slot of a copy, and whether a load kept it.
#: What does not apply is -1 (keep: False). FREE takes no time. TURN and END are not among them.
EVENT_DTYPE = np.dtype(
    [
        ("kind", np.uint8),
        ("tier", np.int8),
        ("keep", np.bool_),
        ("began", np.int64),
        ("ended", np.int64),
        ("start", np.int64),
        ("stop", np.int64),
        ("t", np.int64),
        ("slot", np.int64),
    ]
)

#: One row per transfer that ran beside the timesteps, and per wait for one: what it was (an index into
#: `Timeline.WHATS`), the tier, when it began and ended [ns since the first sweep began], slot and timestep of
#: the snapshot (-1 for a wait).
TRANSFER_DTYPE = np.dtype(
    [
        ("what", np.uint8),
        ("tier", np.int8),
        ("began", np.int64),
        ("ended", np.int64),
        ("t", np.int64),
        ("slot", np.int64),
    ]
)

#: Words of eight bytes that a row takes in memory: began, ended, two numbers, and what it is.
_WORDS = 5
#: In the last word: bits of the kind, of whether a load keeps, and of the tier.
_KEEP, _TIER = 1 << 3, 4

_COPIES = (Kind.SAVE, Kind.LOAD, Kind.FREE)


class _Rows:
    """Rows of five numbers, up to so many; more are counted only. Threads may add rows at once."""

    def __init__(self, most: int) -> None:
        self._words = array.array("q")
        self._most = most * _WORDS
        self.dropped = 0

    def add(self, began: int, ended: int, first: int, second: int, what: int) -> None:
        """Add a row."""
        if len(self._words) < self._most:
            self._words.extend((began, ended, first, second, what))
        else:
            self.dropped += 1

    def columns(self) -> npt.NDArray[np.int64]:
        """Return a copy, shape (5, rows)."""
        # A copy first: while NumPy looks at the words, a thread could not add any.
        return np.array(self._words[:], dtype=np.int64).reshape(-1, _WORDS).T

    @property
    def nbytes(self) -> int:
        return len(self._words) * self._words.itemsize


class _Listener:
    """Takes the transfers of one tier down; it knows rows only, so that it keeps no storage alive."""

    def __init__(self, rows: _Rows, tier: int) -> None:
        self._rows = rows
        self._tier = tier << _TIER

    def __call__(self, what: str, slot: int, t: int, began: int, ended: int) -> None:
        self._rows.add(began, ended, t, slot, Timeline.WHATS.index(what) | self._tier)


class Timeline(Observer):
    """When every instruction of a shot was carried out, where it waited, and what ran beside it.

    ``Revolver(..., timeline=True)`` makes one, ``revolver.timeline`` is it; or hand one over. ``reset()`` of
    the Revolver empties it, so look at it before the next shot.

    Parameters
    ----------
    most : int, default 5_000_000
        Instructions that are taken down, >= 1, and as many transfers; what comes later is only counted.

    Raises
    ------
    TypeError
        `most` is no integer.
    ValueError
        `most` < 1.

    Attributes
    ----------
    tiers : tuple of str
        What the tiers are called, the fastest first.
    n_timesteps : int
        Timesteps n of the run, or those run so far where it is online and not finished.

    Notes
    -----
    It takes 40 bytes for an instruction, and for a transfer; while it grows, twice that for a moment.

    Examples
    --------
    >>> revolver = Revolver(checkpoint, forward, reverse, 20, 1000, timeline=True)   # doctest: +SKIP
    >>> revolver.apply_forward()                                                      # doctest: +SKIP
    >>> revolver.apply_reverse()                                                      # doctest: +SKIP
    >>> figure = revolver.timeline.plot("timeline.png")                               # doctest: +SKIP
    >>> revolver.timeline.to_chrome_trace("timeline.json")                            # doctest: +SKIP
    """

    #: What the transfers are, by their number.
    WHATS = ("write", "read", "wait")

    def __init__(self, most: int = 5_000_000) -> None:
        self._most = index("most", most)
        if self._most < 1:
            raise ValueError(f"most must be >= 1 instruction, got {most}")
        self.tiers: tuple[str, ...] = ()
        self._watched: Sequence[Storage] = ()
        self.reset()

    def __repr__(self) -> str:
        return f"<Timeline: {len(self)} instructions of {self.n_timesteps} timesteps, {self.nbytes} bytes>"

    def __len__(self) -> int:
        return self._events.nbytes // (8 * _WORDS)

    # --- what it is -----------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take."""
        return self._events.nbytes + self._transfers.nbytes

    @property
    def dropped(self) -> int:
        """Instructions and transfers that were only counted, because there were too many."""
        return self._events.dropped + self._transfers.dropped

    @property
    def origin(self) -> int:
        """When the first sweep began, as of `time.perf_counter_ns` [ns]; all times count from there."""
        return self._origin

    @property
    def sweeps(self) -> dict[Sweep, tuple[int, int]]:
        """When each sweep began, and when it or its last part ended [ns]."""
        return {
            sweep: (began - self._origin, ended - self._origin)
            for sweep, (began, ended) in self._sweeps.items()
        }

    @property
    def events(self) -> npt.NDArray[np.void]:
        """The instructions in their order, a copy of shape (instructions,), dtype `EVENT_DTYPE`."""
        began, ended, first, second, what = self._events.columns()
        rows: npt.NDArray[np.void] = np.zeros(len(began), EVENT_DTYPE)
        rows["kind"] = what & (_KEEP - 1)
        rows["keep"] = (what & _KEEP) != 0
        rows["tier"] = what >> _TIER
        rows["began"], rows["ended"] = began - self._origin, ended - self._origin
        copies = np.isin(rows["kind"], _COPIES)
        rows["tier"][~copies] = -1
        rows["start"], rows["stop"] = np.where(copies, -1, first), np.where(copies, -1, second)
        rows["t"], rows["slot"] = np.where(copies, first, -1), np.where(copies, second, -1)
        return rows

    @property
    def transfers(self) -> npt.NDArray[np.void]:
        """Transfers and waits in the order in which they ended, a copy, dtype `TRANSFER_DTYPE`."""
        began, ended, t, slot, what = self._transfers.columns()
        rows: npt.NDArray[np.void] = np.zeros(len(began), TRANSFER_DTYPE)
        rows["what"], rows["tier"] = what & (_KEEP - 1), what >> _TIER
        rows["began"], rows["ended"] = began - self._origin, ended - self._origin
        rows["t"], rows["slot"] = t, slot
        return rows

    @property
    def held_at_start(self) -> tuple[int, ...]:
        """Snapshots that each tier held when the first sweep began: those of a run that was resumed."""
        return tuple(self._held_at_start) if self._held_at_start else (0,) * len(self.tiers)

    # --- what the driver tells ------------------------------------------------------------------------------

    def reset(self) -> None:
        """Begin anew with the next shot."""
        self._listen(())
        self._events, self._transfers = _Rows(self._most), _Rows(self._most)
        self._origin = 0
        self._sweeps: dict[Sweep, tuple[int, int]] = {}
        self._sweep: Sweep = "forward"
        self._running = False
        self._held_at_start: list[int] = []
        self.n_timesteps = 0

    def begin(self, sweep: Sweep, storages: Sequence[Storage]) -> None:
        """Let the storages tell of their transfers from now on."""
        now = perf_counter_ns()
        if not self._sweeps:
            self._origin = now
            self.tiers = names_of(storages)
            self._listen(storages)
        self._sweep, self._running = sweep, True
        began, _ = self._sweeps.get(sweep, (now, now))
        self._sweeps[sweep] = began, now

    def follow(self, schedule: Schedule | Online, course: Course | None) -> None:
        """Find out how long the run is, and what is stored already."""
        if isinstance(schedule, Schedule):
            self.n_timesteps = schedule.n_timesteps
        if course is not None and not len(self):
            self._held_at_start = [0] * len(self.tiers)
            for place in course.standing.stored:
                self._held_at_start[place.tier] += 1

    def ran_forward(self, start: int, stop: int, began: int, ended: int) -> None:
        """Take a call down."""
        self._events.add(began, ended, start, stop, _FORWARD)
        self.n_timesteps = max(self.n_timesteps, stop)

    def ran_reverse(self, start: int, stop: int, began: int, ended: int) -> None:
        """Take a call down."""
        self._events.add(began, ended, start, stop, _REVERSE)

    def saved(self, t: int, tier: int, slot: int, nbytes: int, began: int, ended: int) -> None:
        """Take a copy down."""
        self._events.add(began, ended, t, slot, _SAVE | tier << _TIER)

    def loaded(self, t: int, tier: int, slot: int, keep: bool, nbytes: int, began: int, ended: int) -> None:
        """Take a copy down."""
        kept = _KEEP if keep or slot < 0 else 0
        self._events.add(began, ended, t, slot, _LOAD | kept | tier << _TIER)

    def freed(self, tier: int, slot: int) -> None:
        """Take down that a slot was made empty."""
        now = perf_counter_ns()
        self._events.add(now, now, -1, slot, _FREE | tier << _TIER)

    def end(self, outcome: Outcome) -> None:
        """Take down when a sweep, or a part of it, was left; after the last one, listen no longer."""
        if self._running:
            self._running = False
            began, _ = self._sweeps[self._sweep]
            self._sweeps[self._sweep] = began, perf_counter_ns()
        if outcome == "failed" or (outcome == "done" and self._sweep == "reverse"):
            self._listen(())

    def _listen(self, storages: Sequence[Storage]) -> None:
        """Let these storages tell of their transfers, and those before no longer."""
        for storage in self._watched:
            if isinstance(storage, DiskStorage):
                storage.tell(None)
        self._watched = storages
        for tier, storage in enumerate(storages):
            if isinstance(storage, DiskStorage):
                storage.tell(_Listener(self._transfers, tier))

    # --- what it gives --------------------------------------------------------------------------------------

    def held(self, tier: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return how many snapshots a tier holds from when on.

        Parameters
        ----------
        tier : int
            0 <= tier < number of tiers.

        Returns
        -------
        times : numpy.ndarray
            Shape (changes + 1,), ascending, the first one 0 [ns].
        counts : numpy.ndarray
            Same shape: snapshots held from that time on.

        Raises
        ------
        ValueError
            There is no such tier.
        """
        if not 0 <= tier < len(self.tiers):
            raise ValueError(f"tier must be >= 0 and < {len(self.tiers)}, got {tier}")
        events = self.events
        here = events["tier"] == tier
        more = here & (events["kind"] == Kind.SAVE)
        less = here & ((events["kind"] == Kind.FREE) | ((events["kind"] == Kind.LOAD) & ~events["keep"]))
        changes = more | less
        times = np.concatenate([[0], events["ended"][changes]])
        steps = more[changes].astype(np.int64) - less[changes]
        return times, self.held_at_start[tier] + np.concatenate([[0], np.cumsum(steps)])

    def to_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write a file that chrome://tracing and https://ui.perfetto.dev open.

        Parameters
        ----------
        path : path-like
            The file, JSON of the Trace Event Format; one that is there is replaced. By convention ``.json``.

        Raises
        ------
        OSError
            It cannot be written.

        Notes
        -----
        One track for the sweeps, one for the operators, and for each tier one for the copies and, where it
        transfers behind the run, one for the waits and one for its thread; a counter shows the snapshots that
        each tier holds. Times are in µs from the beginning of the first sweep, exact to the ns. The file
        takes about 150 bytes for an instruction.
        """
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"displayTimeUnit": "ms",\n')
            told = {"n_timesteps": self.n_timesteps, "tiers": self.tiers, "dropped": self.dropped}
            file.write(f'"otherData": {json.dumps(told)},\n"traceEvents": [\n')
            separator = ""
            for event in self._trace():
                file.write(separator + json.dumps(event))
                separator = ",\n"
            file.write("\n]}\n")

    def plot(self, target: str | os.PathLike[str] | Axes | None = None) -> Figure:
        """Draw the run: timesteps over time, what took the time, and the snapshots held.

        Parameters
        ----------
        target : path-like or matplotlib.axes.Axes, optional
            A file to write, PNG, SVG or PDF by its suffix; or axes, into which only the timesteps over time
            are drawn. None: the figure is only returned.

        Returns
        -------
        matplotlib.figure.Figure
            The figure, that of the axes where they are given.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        OSError, ValueError
            The file cannot be written, or its suffix is not known.
        """
        from .timeline_figure import draw, draw_timesteps

        if target is None or isinstance(target, str | os.PathLike):
            return draw(self, target)
        return draw_timesteps(self, target)

    def _trace(self) -> Iterator[dict[str, Any]]:
        """Yield the events of a trace."""
        events, transfers = self.events, self.transfers
        tiers = self.tiers
        yield _metadata("process_name", 0, name="pyrevolve")
        tracks = {_SWEEPS: "sweeps", _OPERATORS: "operators"}
        for tier, name in enumerate(tiers):
            tracks[_track(_COPYING, tier)] = f"copies, {name}"
            if np.any(transfers["tier"] == tier):
                tracks[_track(_WAITING, tier)] = f"waits, {name}"
                tracks[_track(_TRANSFERRING, tier)] = f"background thread, {name}"
        for track, name in tracks.items():
            yield _metadata("thread_name", track, name=name)
            yield _metadata("thread_sort_index", track, sort_index=track)
        for sweep, (began, ended) in self.sweeps.items():
            yield _span(f"{sweep} sweep", _SWEEPS, began, ended)
        held = list(self.held_at_start)
        for kind, tier, keep, began, ended, start, stop, t, slot in events.tolist():
            if kind in (_FORWARD, _REVERSE):
                name = "forward" if kind == _FORWARD else "reverse"
                yield _span(name, _OPERATORS, began, ended, start=start, stop=stop)
                continue
            if kind != _FREE:
                name = "save" if kind == _SAVE else "load"
                yield _span(name, _track(_COPYING, tier), began, ended, t=t, slot=slot)
            if kind == _SAVE or not keep:
                held[tier] += 1 if kind == _SAVE else -1
                yield {
                    "name": f"snapshots, {tiers[tier]}",
                    "ph": "C",
                    "pid": 1,
                    "ts": ended / 1000,
                    "args": {"held": held[tier]},
                }
        for what, tier, began, ended, t, slot in transfers.tolist():
            if what == _WAIT:
                yield _span("wait", _track(_WAITING, tier), began, ended)
            else:
                yield _span(self.WHATS[what], _track(_TRANSFERRING, tier), began, ended, t=t, slot=slot)


_FORWARD, _REVERSE, _FREE = int(Kind.FORWARD), int(Kind.REVERSE), int(Kind.FREE)
_SAVE, _LOAD = int(Kind.SAVE), int(Kind.LOAD)
_WAIT = Timeline.WHATS.index("wait")

#: Tracks of a trace, by their numbers: those of the tiers are in steps of ten.
_SWEEPS, _OPERATORS, _COPYING, _WAITING, _TRANSFERRING = 0, 1, 2, 3, 4


def _track(what: int, tier: int) -> int:
    return 10 * (tier + 1) + what


def _span(name: str, track: int, began: int, ended: int, **arguments: Any) -> dict[str, Any]:
    """Return a complete event, whose times are in µs."""
    times = {"ts": began / 1000, "dur": (ended - began) / 1000}
    return {"name": name, "ph": "X", "pid": 1, "tid": track, **times, "args": arguments}


def _metadata(name: str, track: int, /, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": 1, "tid": track, "args": arguments}


def as_timeline(timeline: Timeline | bool | None) -> Timeline | None:
    """Return the timeline that is asked for; None: there is none.

    Raises
    ------
    TypeError
        It is something else.
    """
    if timeline is None or timeline is False:
        return None
    if timeline is True:
        return Timeline()
    if not isinstance(timeline, Timeline):
        raise TypeError(f"timeline must be True, False or a pyrevolve.Timeline, got {described(timeline)}")
    return timeline
