"""Processes that carry out the same schedule in step, each on its part of the wavefield."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .errors import PeerError, StorageFullError
from .storage import Storage

__all__ = ["Team", "together"]

_T = TypeVar("_T")

#: How an instruction went, the worst last.
_DONE, _FULL, _FAILED = range(3)


class Team:
    """The processes of an MPI communicator.

    Operators exchange data with the neighbours, so that all processes have to run the same instructions. What
    each decides by itself, from its own memory or its own errors, is agreed upon here.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The processes.

    Raises
    ------
    TypeError
        `comm` is no communicator of mpi4py.
    RuntimeError
        MPI was not initialised, or is finalised.
    """

    def __init__(self, comm: Any) -> None:
        try:
            from mpi4py import MPI
        except ImportError:
            raise ImportError('comm= needs the package mpi4py: pip install "pyrevolve[mpi]"') from None
        if not isinstance(comm, MPI.Comm):
            raise TypeError(f"comm must be an mpi4py.MPI.Comm, got {type(comm).__name__}")
        if not MPI.Is_initialized() or MPI.Is_finalized():  # else the first call would end the process
            raise RuntimeError(
                "MPI is not initialised, or finalised already; Devito keeps mpi4py from doing so on import: "
                "import mpi4py.MPI before devito, or call mpi4py.MPI.Init()"
            )
        self.comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self._min, self._max = MPI.MIN, MPI.MAX

    def least(self, values: Sequence[int]) -> list[int]:
        """Return the least of each value over all processes."""
        return self._reduced(values, self._min)

    def greatest(self, values: Sequence[int]) -> list[int]:
        """Return the greatest of each value over all processes."""
        return self._reduced(values, self._max)

    def _reduced(self, values: Sequence[int], operation: Any) -> list[int]:
        given = np.array(values, np.int64)
        found = np.empty_like(given)
        self.comm.Allreduce(given, found, operation)
        return [int(value) for value in found]

    def first(self, value: _T) -> _T:
        """Return the value of the first process, in all of them."""
        result: _T = self.comm.bcast(value)
        return result

    def agree(self, **values: object) -> None:
        """Raise in all processes unless each value is the same in all of them, as it is printed.

        Parameters
        ----------
        **values
            What everything depends on that all processes do alike, by what errors call it.

        Raises
        ------
        ValueError
            A value is not.
        """
        everyone = self.comm.allgather({name: str(value) for name, value in values.items()})
        for name in values:
            for rank, each in enumerate(everyone):
                if each[name] != everyone[0][name]:
                    raise ValueError(
                        f"{name} must be the same in all processes, but is {everyone[0][name]} in process 0 "
                        f"and {each[name]} in process {rank}"
                    )

    def guarded(self, work: Callable[..., _T]) -> Callable[..., _T]:
        """Return a function that raises in all processes where it raises in one."""

        def guarded(*arguments: Any, **options: Any) -> _T:
            try:
                result = work(*arguments, **options)
            except BaseException as error:
                self._report(_FAILED, error)
                raise
            self._report(_DONE, None)
            return result

        return guarded

    def guarded_save(self, storage: Storage) -> Callable[..., int]:
        """Return `storage.save`, which stores in all processes or in none."""

        def save(slot: int, *arguments: Any) -> int:
            try:
                saved = storage.save(slot, *arguments)
            except StorageFullError as error:
                self._report(_FULL, error)
                raise
            except BaseException as error:
                self._report(_FAILED, error)
                raise
            if self._report(_DONE, None) == _FULL:
                storage.free(slot)
                raise StorageFullError(
                    "the snapshot does not fit in another process", storage.tier_name, slot, arguments[1]
                )
            return saved

        return save

    def _report(self, status: int, error: BaseException | None) -> int:
        """Tell the others how it went; raise where it failed for one of them and not here."""
        (worst,) = self.greatest([status])
        if worst == _FAILED:
            told = None if status != _FAILED else (self.rank, f"{type(error).__name__}: {error}")
            failures = [failure for failure in self.comm.allgather(told) if failure is not None]
            if status != _FAILED:
                rank, message = failures[0]
                raise PeerError(f"process {rank} of {self.size} failed: {message}", rank) from error
        return worst


def together(team: Team | None, work: Callable[..., _T]) -> Callable[..., _T]:
    """Return a function that raises in all processes where it raises in one; None: there is one process."""
    return work if team is None else team.guarded(work)
