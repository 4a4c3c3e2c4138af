"""Many shots: one problem a process, made once, and sums that do not depend on who computed what."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..budget import Bytes, default_budget, format_bytes, parse_bytes
from ..closing import closed
from .resident import peak_resident_memory, resident_memory

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Holder", "ShotRunner", "Worker"]


@dataclass(frozen=True)
class Worker:
    """A process that computes shots.

    Attributes
    ----------
    name : str
        Its address; ``"this process"`` without Dask.
    budget : int
        What its problem was made with [bytes].
    resident : int
        Resident memory when its problem was made [bytes].
    peak_resident : int
        The most resident memory that the process has had so far [bytes].
    shots : int
        Shots computed so far.
    problem : str
        ``str()`` of its problem.
    """

    name: str
    budget: int
    resident: int
    peak_resident: int
    shots: int
    problem: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.shots} shots, budget {format_bytes(self.budget)}, resident "
            f"{format_bytes(self.resident)} before and {format_bytes(self.peak_resident)} at the peak\n"
            f"    {self.problem}"
        )


class ShotRunner:
    """Sums over shots: misfits, gradients, products with a Hessian.

    A *problem* knows how to compute one shot. Each process makes one and keeps it for all the shots that it
    gets: operators are compiled once, and the memory of snapshots is used again. Without `client`, the shots
    are computed one after the other in this process; with a Dask client, by its workers.

    Parameters
    ----------
    make : callable
        ``make(memory)`` returns the problem of a process, with a budget in bytes for its snapshots and
        forward wavefields, such as ``CheckpointedAdjoint(memory=...)`` takes. With Dask it is pickled, and so
        is what it refers to.
    shots : sequence
        What each shot is: anything that the problem's methods understand, and that can be pickled. It is sent
        with every call, so let data that is large be read by the problem.
    memory : int, float or str, optional
        The budget of each process. None: in this process half of the memory that is free
        (``PYREVOLVE_MEMORY`` names another); on a Dask worker 60% of its memory limit less what the process
        has resident before its problem is made. What else a problem holds (models, adjoint fields, gradients)
        has the rest.
    client : distributed.Client, optional
        Dask's workers, of a ``LocalCluster`` or any other. A worker that dies has the shots that it had not
        finished run again by others, as often as Dask's ``allowed-failures`` says; where none is left for a
        minute, a call raises TimeoutError, and where Dask gives shots up (a restart), RuntimeError. Give
        workers one thread each: with more, they take turns at their one problem.
    on_shot : callable, optional
        ``on_shot(done, total)`` is called when a shot has been computed, in this process.

    Raises
    ------
    TypeError
        `make` is no function, or `client` no client.
    ValueError
        There are no shots.

    Notes
    -----
    What a method returns is copied at once, so that it may be an array which the problem uses again. Results
    are added in the order of the shots and in float64, whoever computed them and whenever they came.
    Where a shot's own result does not depend on the number of threads, sums agree bit for bit for any number
    of workers. Results that come before their turn are kept until then.

    Close it, or use it in a ``with`` statement: that closes the problems (those that have a ``close()``), and
    with them files of snapshots on disk.

    Examples
    --------
    >>> class Problem:
    ...     def misfit_and_gradient(self, model, shot):
    ...         return 0.5 * (model - shot) ** 2, model - shot
    >>> with ShotRunner(lambda memory: Problem(), [1.0, 2.0, 6.0], memory="1 GB") as runner:
    ...     runner.sum("misfit_and_gradient", 2.0)
    ...     runner.sum("misfit_and_gradient", 2.0, shots=[1.0, 2.0])
    (8.5, -3.0)
    (0.5, 1.0)
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        shots: Sequence[Any],
        *,
        memory: Bytes | None = None,
        client: Any = None,
        on_shot: Callable[[int, int], object] | None = None,
    ) -> None:
        if not callable(make):
            raise TypeError(f"make must be a function make(memory), got {type(make).__name__}")
        self._shots = _checked(shots)
        budget = None if memory is None else parse_bytes(memory)
        self._on_shot = on_shot
        self._backend: _Backend
        if client is None:
            self._backend = _InProcess(make, budget)
        else:
            from .workers import DaskWorkers

            self._backend = DaskWorkers(client, make, budget)
        self._closed = False

    @property
    def shots(self) -> tuple[Any, ...]:
        """The shots, in their order."""
        return tuple(self._shots)

    def map(self, method: str, *arguments: Any, shots: Sequence[Any] | None = None) -> list[Any]:
        """Return what a method of the problem returns for every shot.

        Parameters
        ----------
        method : str
            Its name. It is called as ``method(*arguments, shot)`` and returns anything that can be copied.
        *arguments
            The same for every shot, such as a model. Do not change arrays before this returns.
        shots : sequence, optional
            Other shots than those of the runner, such as some of them. None: all.

        Returns
        -------
        list
            In the order of the shots.

        Raises
        ------
        TypeError
            The method returns what cannot be copied.
        ValueError
            The runner is closed, or there are no shots.
        Exception
            Whatever a problem raises, with a note that names the shot (Python 3.11 and newer); the others are
            given up.
        """
        chosen = self._shots if shots is None else _checked(shots)
        results: list[Any] = [None] * len(chosen)
        for index, result in self._results(method, arguments, chosen, shots):
            results[index] = result
        return results

    def sum(self, method: str, *arguments: Any, shots: Sequence[Any] | None = None) -> Any:
        """Return the sum over all shots of what a method of the problem returns.

        Parameters
        ----------
        method : str
            Its name. It is called as ``method(*arguments, shot)`` and returns a number, an array, or a tuple
            of these.
        *arguments
            The same for every shot, such as a model. Do not change arrays before this returns.
        shots : sequence, optional
            Other shots than those of the runner, such as some of them. None: all.

        Returns
        -------
        float, numpy.ndarray or tuple
            As returned by the method; numbers and arrays in float64 (complex ones in complex128).

        Raises
        ------
        TypeError
            The method returns something else.
        ValueError
            The runner is closed, there are no shots, or what they return differs in shape.
        Exception
            Whatever a problem raises, with a note that names the shot (Python 3.11 and newer); the others are
            given up.
        """
        total: Any = None
        early: dict[int, Any] = {}
        turn = 0
        chosen = self._shots if shots is None else _checked(shots)
        for index, result in self._results(method, arguments, chosen, shots):
            early[index] = result
            while turn in early:
                total = _add(total, early.pop(turn), f"{method}() of {_name(turn, shots)}")
                turn += 1
        return total

    def workers(self) -> list[Worker]:
        """Return the processes that have made a problem, and what they have needed."""
        self._check_open()
        return self._backend.workers()

    def close(self) -> None:
        """Close the problems, in whatever process they are; may be called again."""
        if not self._closed:
            self._closed = True
            self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        closed(self.close, error)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this ShotRunner is closed; make a new one")

    def _results(
        self, method: str, arguments: Sequence[Any], chosen: Sequence[Any], given: Sequence[Any] | None
    ) -> Iterator[tuple[int, Any]]:
        """Yield every shot's number and result, in the order in which they come."""
        self._check_open()
        names = [_name(index, given) for index in range(len(chosen))]
        results = self._backend.run(method, arguments, chosen, names)
        with contextlib.closing(results):
            for done, (index, result) in enumerate(results, start=1):
                if self._on_shot is not None:
                    self._on_shot(done, len(chosen))
                yield index, result


class _Backend(Protocol):
    """Who computes shots."""

    def run(
        self, method: str, arguments: Sequence[Any], shots: Sequence[Any], names: Sequence[str]
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield numbers and results; closing the generator gives up what is not done."""

    def workers(self) -> list[Worker]:
        """Return what the processes have needed."""

    def close(self) -> None:
        """Close the problems."""


class Holder:
    """The one problem of a process.

    Parameters
    ----------
    make : callable
        ``make(memory)``.
    budget : callable
        Returns the budget [bytes], when the problem is made.
    name : str
        Of the process.
    """

    def __init__(self, make: Callable[[int], Any], budget: Callable[[], int], name: str) -> None:
        self._make = make
        self._budget = budget
        self._name = name
        self._lock = threading.Lock()
        self._made: tuple[Any, int, int] | None = None
        self._closed = False
        self._shots = 0

    def call(self, method: str, arguments: Sequence[Any], shot: Any, name: str) -> Any:
        """Compute one shot; what it returns belongs to nobody else."""
        with self._lock:
            try:
                if self._closed:
                    raise ValueError("the ShotRunner was closed meanwhile")
                if self._made is None:
                    budget, resident = self._budget(), resident_memory()
                    self._made = self._make(budget), budget, resident
                # Copied while nobody else computes: it may be an array that the next shot overwrites.
                result = _copied(getattr(self._made[0], method)(*arguments, shot), f"{method}() of {name}")
            except StopIteration as error:  # which would mean something else to those who pass it on
                raise RuntimeError(f"{method}() of {name}, in {self._name}, raised {error!r}") from error
            except Exception as error:
                if hasattr(error, "add_note"):  # Python 3.11 and newer.
                    error.add_note(f"{method}() of {name}, in {self._name}")
                raise
            self._shots += 1
            return result

    def worker(self) -> Worker | None:
        """Return what this process has needed; None where it has made nothing."""
        # Without the lock, which is held while a shot is computed.
        made = self._made
        if made is None:
            return None
        problem, budget, resident = made
        return Worker(self._name, budget, resident, peak_resident_memory(), self._shots, str(problem))

    def close(self) -> None:
        """Close the problem."""
        with self._lock:
            self._closed = True
            made, self._made = self._made, None
            if made is not None and hasattr(made[0], "close"):
                made[0].close()


class _InProcess:
    """The shots one after the other, here."""

    def __init__(self, make: Callable[[int], Any], budget: int | None) -> None:
        self._holder = Holder(make, default_budget if budget is None else lambda: budget, "this process")

    def run(
        self, method: str, arguments: Sequence[Any], shots: Sequence[Any], names: Sequence[str]
    ) -> Generator[tuple[int, Any], None, None]:
        for index, (shot, name) in enumerate(zip(shots, names, strict=True)):
            yield index, self._holder.call(method, arguments, shot, name)

    def workers(self) -> list[Worker]:
        worker = self._holder.worker()
        return [] if worker is None else [worker]

    def close(self) -> None:
        self._holder.close()


def _checked(shots: Sequence[Any]) -> list[Any]:
    """Return shots, of which there must be one."""
    found = list(shots)
    if not found:
        raise ValueError("shots must have at least one element")
    return found


def _name(index: int, given: Sequence[Any] | None) -> str:
    """Return what a shot is called in errors; `given` are the shots that were asked for, None: all."""
    return f"shot {index}" if given is None else f"shot {index} of those given"


def _copied(result: Any, name: str) -> Any:
    """Return a copy of what a shot has come to."""
    if isinstance(result, np.ma.MaskedArray):
        return result.copy()
    if isinstance(result, np.ndarray):  # a field's data, which is more than an array, becomes one
        return np.array(result)
    if isinstance(result, (tuple, list)):
        parts = [_copied(part, name) for part in result]
        if isinstance(result, list):
            return parts
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    if type(result) is dict:
        return {key: _copied(part, name) for key, part in result.items()}
    try:
        return copy.deepcopy(result)
    except Exception as error:
        raise TypeError(
            f"{name} returned a {type(result).__name__} that cannot be copied ({error}); return numbers, "
            "arrays, or tuples, lists and dictionaries of these"
        ) from error


def _add(total: Any, result: Any, name: str) -> Any:
    """Return a sum with one more result in it; `total` is None before the first, and may be changed."""
    if isinstance(result, tuple):
        parts = (None,) * len(result) if total is None else total
        if not isinstance(parts, tuple) or len(parts) != len(result):
            what = f"{len(parts)} parts" if isinstance(parts, tuple) else "no parts"
            raise ValueError(f"the result of {name} has {len(result)} parts, those before {what}")
        return tuple(_add(one, other, name) for one, other in zip(parts, result, strict=True))
    values = np.asarray(result)
    if values.dtype.kind not in "biufc" or isinstance(result, np.ma.MaskedArray) or isinstance(total, tuple):
        raise TypeError(
            f"{name} must return a number, an array of numbers, or always a tuple of these, to be added; got "
            f"{type(result).__name__}"
        )
    values = values.astype(np.result_type(values, np.float64), copy=total is None)
    if total is None:
        return values if values.ndim else values[()].item()
    if np.shape(total) != values.shape:
        raise ValueError(f"the result of {name} has the shape {values.shape}, those before {np.shape(total)}")
    total += values if values.ndim else values[()].item()
    return total
