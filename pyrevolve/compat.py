"""The names of version 2.2.8, with the signatures that they had there, over the parts that replace them.

A script that was written for 2.2.8 imports from here what it imported from ``pyrevolve`` and
``pyrevolve.storage``. Names that mean nothing else now are found there too (see `pyrevolve.renamed`).
Whatever is deprecated says what to type instead (DeprecationWarning). Arguments and attributes that have no
meaning any more are refused, with what replaces them (TypeError, AttributeError).
"""

from __future__ import annotations

import abc
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from .arguments import at_least, index
from .arrangement import asked, peaks_of
from .checkpoint import Checkpoint, Operator, check_problem, described, first_arrays
from .compression import Compression, lossless, zfp
from .costs import Costs
from .crevolve import Action, CRevolve, adjust, expense, maxrange, numforw
from .errors import ArrayShapeError, StorageError
from .profiling import Profiler
from .revolver import Revolver as _Revolver
from .schedules import HRevolve, Schedule
from .storage import DiskStorage as _DiskStorage
from .storage import MemoryStorage, Storage

__all__ = [
    "Revolver",
    "MemoryRevolver",
    "DiskRevolver",
    "SingleLevelRevolver",
    "MultiLevelRevolver",
    "NumpyStorage",
    "DiskStorage",
    "BytesStorage",
    "init_compression",
    "Checkpoint",
    "Operator",
    "Profiler",
    "CRevolve",
    "Action",
    "adjust",
    "expense",
    "maxrange",
    "numforw",
]

_Arrays: TypeAlias = Sequence[npt.NDArray[Any]]
_Opened: TypeAlias = "MemoryStorage | _DiskStorage"

#: What 2.2.8 compressed with where nothing else was said.
_ZFP_TOLERANCE = 1e-7

#: What each scheme took. Those that only split the work or share it among threads are not needed any more.
_COMPRESSION_PARAMETERS = {
    None: frozenset[str](),
    "blosc": frozenset({"chunk_size"}),
    "zfp": frozenset({"tolerance", "precision", "parallel"}),
}

# --- compression --------------------------------------------------------------------------------------------


def init_compression(params: Mapping[str, Any]) -> Compression | None:
    """Return what ``compression_params={...}`` of 2.2.8 asks for.

    Parameters
    ----------
    params : mapping
        ``"scheme"``: None, ``"blosc"`` or ``"zfp"``; no scheme is None. With ``"zfp"``, ``"tolerance"`` (the
        largest absolute error, > 0, default 1e-7) or ``"precision"`` (bits, 1 to 64). ``"chunk_size"`` of
        Blosc and ``"parallel"`` of ZFP are accepted and not used: they are no matter of results.

    Returns
    -------
    Compression or None
        None: nothing is compressed.

    Raises
    ------
    TypeError
        `params` is no mapping.
    ValueError
        There is no such scheme, or it takes no such parameter.
    ImportError
        The package that it needs is not installed.
    """
    _deprecated("init_compression", 'pyrevolve.compression.lossless("zstd") or .zfp(tolerance=...)')
    return _compression_of(params)


def _compression_of(params: Mapping[str, Any] | None) -> Compression | None:
    if params is None:
        return None
    if not isinstance(params, Mapping):
        raise TypeError(
            f'compression_params must be a dict such as {{"scheme": "zfp", "tolerance": 1e-6}}, '
            f"got {described(params)}"
        )
    given = dict(params)
    scheme = given.pop("scheme", None)
    if scheme not in _COMPRESSION_PARAMETERS:
        raise ValueError(f'the scheme of compression_params must be None, "blosc" or "zfp", got {scheme!r}')
    taken = _COMPRESSION_PARAMETERS[scheme]
    for name in given:
        if name not in taken:
            allowed = f"takes {', '.join(sorted(taken))}" if taken else "takes no parameters"
            raise ValueError(f"compression_params with the scheme {scheme!r} {allowed}, got {name!r}")
    if scheme is None:
        return None
    if scheme == "blosc":
        return lossless("zstd")
    if "precision" in given:
        return zfp(tolerance=given.get("tolerance"), precision=given["precision"])
    return zfp(tolerance=given.get("tolerance", _ZFP_TOLERANCE))


# --- storages -----------------------------------------------------------------------------------------------


class _Gone:
    """Names the replacement where an attribute of 2.2.8 is asked for that is gone."""

    #: What to type instead, by attribute.
    _instead: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # a type checker is to find attributes that never were

        def __getattr__(self, name: str) -> Any:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in self._instead:
                message += f", which it had in pyrevolve 2.2.8; use {self._instead[name]}"
            raise AttributeError(message)


class _SizedStorage(_Gone, abc.ABC):
    """Slots for checkpoints of a size that is given as a number of elements.

    Parameters
    ----------
    size_ckp : int
        Elements of one checkpoint, >= 0; the arrays that are saved may have fewer.
    n_ckp : int
        Number of slots, >= 0.
    dtype : dtype-like
        With `size_ckp`, the bytes of one checkpoint. Nothing is converted to it.
    wd, rd : float
        Costs of writing and reading one checkpoint, in the units of ``uf`` and ``ub`` of
        `MultiLevelRevolver`, finite and >= 0.
    name : str
        What it is called in messages.
    """

    _instead: ClassVar[Mapping[str, str]] = {
        "nckp": "n_ckp",
        "size": "n_ckp, or pyrevolve.MemoryStorage and its `full`",
        "isFull": "save() or push(), which raise StorageError where there is no slot left",
        "isEmpty": "load() or pop(), which raise StorageError where there is nothing",
        "maxsize": "size_ckp * n_ckp",
        "maxsize_in_bytes": "size_ckp * n_ckp * dtype.itemsize",
        "profiler": "revolver.profiler, whose `tiers` have the copies of each storage",
        "storage": "pyrevolve.MemoryStorage or pyrevolve.DiskStorage, which are Storages themselves",
        "removeDatdir": "close()",
    }

    def __init__(
        self, size_ckp: int, n_ckp: int, dtype: npt.DTypeLike, profiler: None, wd: float, rd: float, name: str
    ) -> None:
        _refuse(profiler=profiler)
        self.size_ckp = at_least("size_ckp", size_ckp, 0)
        self.n_ckp = at_least("n_ckp", n_ckp, 0)
        self.dtype = np.dtype(dtype)
        self.wd = wd
        self.rd = rd
        self.name = name
        self._opened: _Opened | None = None
        self._pushed = 0

    def open(self, arrays: _Arrays) -> _Opened:
        """Return a new storage of `n_ckp` slots for arrays like these.

        Parameters
        ----------
        arrays : sequence of numpy.ndarray
            The arrays of one state; only shapes and dtypes are looked at.

        Raises
        ------
        ArrayShapeError
            They have more bytes than `size_ckp` elements of `dtype`. A StorageError and a ValueError.
        """
        arrays = tuple(arrays)
        given, allowed = sum(array.nbytes for array in arrays), self.size_ckp * self.dtype.itemsize
        if given > allowed:
            raise ArrayShapeError(
                f"the arrays of a checkpoint have {given} bytes, but size_ckp={self.size_ckp} elements of "
                f"{self.dtype} are {allowed}; give the size and the dtype that they have",
                self.name,
            )
        return self._open(arrays)

    @abc.abstractmethod
    def _open(self, arrays: _Arrays) -> _Opened:
        """Return a new storage of `n_ckp` slots."""

    def save(self, key: int, data_pointers: _Arrays) -> None:
        """Copy arrays to slot `key`, in the place of what it holds.

        Raises
        ------
        StorageError
            There is no such slot, or the arrays are not those of the first call.
        """
        if self._opened is None:
            self._opened = self.open(data_pointers)
        if key in self._opened.full:
            self._opened.free(key)
        self._opened.save(key, data_pointers, key)

    def load(self, key: int, locations: _Arrays) -> None:
        """Copy slot `key` back.

        Raises
        ------
        StorageError
            It is empty, or the arrays are not those that were saved.
        """
        if self._opened is None:
            raise StorageError("nothing was saved", self.name, key)
        self._opened.load(key, locations, key)

    def push(self, data_pointers: _Arrays) -> None:
        """Copy arrays to the next slot.

        Raises
        ------
        StorageError
            All `n_ckp` slots are full; nothing was changed.
        """
        self.save(self._pushed, data_pointers)
        self._pushed += 1

    def peek(self, locations: _Arrays) -> None:
        """Copy back what was pushed last.

        Raises
        ------
        StorageError
            There is nothing.
        """
        if self._pushed == 0:
            raise StorageError("there is nothing to peek or pop; push() first", self.name)
        self.load(self._pushed - 1, locations)

    def pop(self, locations: _Arrays) -> None:
        """Copy back what was pushed last, and free its slot.

        Raises
        ------
        StorageError
            There is nothing.
        """
        self.peek(locations)
        assert self._opened is not None
        self._pushed -= 1
        self._opened.free(self._pushed)

    def close(self) -> None:
        """Give the memory, or the file, back."""
        if self._opened is not None:
            self._opened.close()


class NumpyStorage(_SizedStorage):
    """Slots in RAM. Deprecated: `pyrevolve.MemoryStorage`.

    Parameters
    ----------
    size_ckp, n_ckp, dtype, wd, rd, name
        Elements of one checkpoint, number of slots, dtype, costs of writing and reading, name.
    profiler : None
        Not taken any more: read ``revolver.profiler``.

    Notes
    -----
    In the list for `MultiLevelRevolver` it only describes: every Revolver has slots of its own, so that the
    same list may be given to several.
    """

    def __init__(
        self,
        size_ckp: int,
        n_ckp: int,
        dtype: npt.DTypeLike,
        profiler: None = None,
        wd: float = 0,
        rd: float = 0,
        name: str = "MemoryStorage",
    ) -> None:
        _deprecated(
            "NumpyStorage",
            "pyrevolve.MemoryStorage(n_slots, arrays); the old signature of DiskStorage is that of "
            "pyrevolve.compat.DiskStorage",
        )
        super().__init__(size_ckp, n_ckp, dtype, profiler, wd, rd, name)

    def _open(self, arrays: _Arrays) -> MemoryStorage:
        return MemoryStorage(self.n_ckp, arrays)


class BytesStorage(_SizedStorage):
    """Compressed slots in RAM. Deprecated: `pyrevolve.MemoryStorage` with ``compression=``.

    Parameters
    ----------
    size_ckp, n_ckp, dtype, wd, rd, name
        As of `NumpyStorage`.
    compression : Compression or None
        What `init_compression` returns.
    auto_pickle : bool
        Not used: arrays of any shapes and dtypes are stored as they are.
    profiler : None
        Not taken any more: read ``revolver.profiler``.
    """

    def __init__(
        self,
        size_ckp: int,
        n_ckp: int,
        dtype: npt.DTypeLike,
        compression: Compression | None,
        auto_pickle: bool = False,
        profiler: None = None,
        wd: float = 0,
        rd: float = 0,
        name: str = "ByteStorage",
    ) -> None:
        _deprecated("BytesStorage", 'pyrevolve.MemoryStorage(n_slots, arrays, compression="zstd")')
        super().__init__(size_ckp, n_ckp, dtype, profiler, wd, rd, name)
        if compression is not None and not isinstance(compression, Compression):
            raise TypeError(
                "compression must be what init_compression() or pyrevolve.compression makes, or None, got "
                f"{described(compression)}; for a pair of functions, write a codec with encode and decode"
            )
        self.compression = compression

    def _open(self, arrays: _Arrays) -> MemoryStorage:
        return MemoryStorage(self.n_ckp, arrays, compression=self.compression)


class DiskStorage(_SizedStorage):
    """Slots in a file. Deprecated: `pyrevolve.DiskStorage`, which has another signature.

    Parameters
    ----------
    size_ckp, n_ckp, dtype, wd, rd, name
        As of `NumpyStorage`.
    profiler : None
        Not taken any more: read ``revolver.profiler``.
    filedir : path-like
        Where the file is put; made where it does not exist, and left there.
    singlefile : bool
        Not used: it is always one file.
    keepfiles : bool
        Whether the file stays when the storage is closed.
    """

    def __init__(
        self,
        size_ckp: int,
        n_ckp: int,
        dtype: npt.DTypeLike,
        profiler: None = None,
        filedir: str | os.PathLike[str] = "./",
        singlefile: bool = True,
        wd: float = 0,
        rd: float = 0,
        name: str = "DiskStorage",
        keepfiles: bool = False,
    ) -> None:
        _deprecated("DiskStorage(size_ckp, ...)", "pyrevolve.DiskStorage(n_slots, arrays, directory=...)")
        super().__init__(size_ckp, n_ckp, dtype, profiler, wd, rd, name)
        self.filedir = os.fspath(filedir)
        self.keepfiles = keepfiles

    def _open(self, arrays: _Arrays) -> _DiskStorage:
        os.makedirs(self.filedir, exist_ok=True)
        return _DiskStorage(self.n_ckp, arrays, directory=self.filedir, keep=self.keepfiles)


# --- Revolvers ----------------------------------------------------------------------------------------------


class _OldRevolver(_Gone, _Revolver):
    """A Revolver that is told its storages by what makes them, and closes them."""

    _instead: ClassVar[Mapping[str, str]] = {
        "ratio": "revolver.schedule.recompute_factor",
        "makespan": "revolver.schedule.makespan(costs)",
        "scheduler": "revolver.schedule",
        "storage_list": "revolver.storages",
        "storage_ckps": "the SAVE instructions of revolver.schedule: those with kind, t, tier and slot",
        "timings": "revolver.profiler",
        "addStorage": "pyrevolve.Revolver(..., storage=[...])",
        "addNumpyStorage": "pyrevolve.Revolver(..., storage=[...])",
        "addByteStorage": "pyrevolve.Revolver(..., storage=[...])",
        "addDiskStorage": "pyrevolve.Revolver(..., storage=[...])",
        "removeStorage": "pyrevolve.Revolver(..., storage=[...])",
        "resetStorageList": "pyrevolve.Revolver(..., storage=[...])",
        "reload_scheduler": "a new Revolver for a new schedule",
        "save_checkpoint": "revolver.storages[tier].save(slot, arrays, t)",
        "load_checkpoint": "revolver.storages[tier].load(slot, arrays, t)",
        "remove_checkpoint": "revolver.storages[tier].free(slot)",
    }

    def _begin(
        self,
        checkpoint: Checkpoint,
        fwd_operator: Operator,
        rev_operator: Operator,
        schedule: Schedule,
        openers: Sequence[Callable[[_Arrays], Storage]],
    ) -> None:
        """Open one storage for each tier of the schedule, and become the Revolver that uses them."""
        arrays = first_arrays(checkpoint, "get_data")
        with ExitStack() as opened:
            storages = [opened.enter_context(make(arrays)) for make in openers]
            _Revolver.__init__(
                self, checkpoint, fwd_operator, rev_operator, schedule=schedule, storage=storages
            )
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Give the memory of the snapshots back, and remove their file; may be called again."""
        super().close()
        self._opened.close()


class SingleLevelRevolver(_OldRevolver):
    """Classic Revolve in RAM or on disk. Deprecated: `pyrevolve.Revolver`.

    Parameters
    ----------
    checkpoint, fwd_operator, rev_operator
        As of `pyrevolve.Revolver`.
    n_checkpoints : int or None
        Snapshots to hold, >= 1. None: as `pyrevolve.Revolver` does it in RAM, and ``adjust(n_timesteps)`` of
        them where they are compressed or on disk.
    n_timesteps : int
        Timesteps, >= 0.
    timings, profiler : None
        Not taken any more: read ``revolver.profiler``.
    compression_params : mapping, optional
        As of `init_compression`.
    diskstorage : bool
        Whether the snapshots are on disk, compressed or not.
    filedir : path-like
        Where their file is put; made where it does not exist.
    singlefile : bool
        Not used: it is always one file.

    Notes
    -----
    Compressed snapshots take less of the memory that is reserved for `n_checkpoints` of them. To have more of
    them in the same memory, use ``pyrevolve.Revolver(..., memory=..., compression=...)``.

    There is no second shot without ``reset()``, and none without x_0 in the workspace.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        fwd_operator: Operator,
        rev_operator: Operator,
        n_checkpoints: int | None,
        n_timesteps: int,
        timings: None = None,
        profiler: None = None,
        compression_params: Mapping[str, Any] | None = None,
        diskstorage: bool = False,
        filedir: str | os.PathLike[str] = "./",
        singlefile: bool = True,
    ) -> None:
        _deprecated("SingleLevelRevolver", "pyrevolve.Revolver")
        _refuse(timings=timings, profiler=profiler)
        self._begin_single(
            (checkpoint, fwd_operator, rev_operator),
            n_checkpoints,
            n_timesteps,
            _compression_of(compression_params),
            filedir if diskstorage else None,
        )

    def _begin_single(
        self,
        problem: tuple[Checkpoint, Operator, Operator],
        n_checkpoints: int | None,
        n_timesteps: int,
        compression: Compression | None,
        filedir: str | os.PathLike[str] | None,
    ) -> None:
        check_problem(*problem)
        if compression is None and filedir is None:
            self._opened = ExitStack()
            _Revolver.__init__(self, *problem, n_checkpoints, n_timesteps)
            return
        if n_checkpoints is None:
            n_checkpoints = adjust(max(1, index("n_timesteps", n_timesteps)))
        schedule = asked(problem[0], n_checkpoints, n_timesteps, None, None, None, "stored", None, None)
        assert isinstance(schedule, Schedule)  # of so many snapshots
        (slots,) = peaks_of(schedule)

        def make(arrays: _Arrays) -> Storage:
            if filedir is None:
                return MemoryStorage(slots, arrays, compression=compression)
            os.makedirs(filedir, exist_ok=True)
            return _DiskStorage(slots, arrays, directory=filedir, compression=compression)

        self._begin(*problem, schedule, [make])


class MemoryRevolver(SingleLevelRevolver):
    """Classic Revolve in RAM. Deprecated: `pyrevolve.Revolver`.

    Parameters
    ----------
    checkpoint, fwd_operator, rev_operator, n_checkpoints, n_timesteps, timings, profiler, compression_params
        As of `SingleLevelRevolver`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        fwd_operator: Operator,
        rev_operator: Operator,
        n_checkpoints: int | None,
        n_timesteps: int,
        timings: None = None,
        profiler: None = None,
        compression_params: Mapping[str, Any] | None = None,
    ) -> None:
        _deprecated(
            "MemoryRevolver",
            "pyrevolve.Revolver"
            + ("" if compression_params is None else '(..., memory="2 GiB", compression="zstd")'),
        )
        _refuse(timings=timings, profiler=profiler)
        problem = checkpoint, fwd_operator, rev_operator
        self._begin_single(problem, n_checkpoints, n_timesteps, _compression_of(compression_params), None)


#: As in 2.2.8, whose Revolver took the same arguments.
Revolver = MemoryRevolver


class DiskRevolver(SingleLevelRevolver):
    """Classic Revolve on disk. Deprecated: `pyrevolve.Revolver` with ``disk=``, or a storage of your own.

    Parameters
    ----------
    checkpoint, fwd_operator, rev_operator, n_checkpoints, n_timesteps, timings, profiler, filedir, singlefile
        As of `SingleLevelRevolver`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        fwd_operator: Operator,
        rev_operator: Operator,
        n_checkpoints: int | None,
        n_timesteps: int,
        timings: None = None,
        profiler: None = None,
        filedir: str | os.PathLike[str] = "./",
        singlefile: bool = True,
    ) -> None:
        _deprecated(
            "DiskRevolver",
            'pyrevolve.Revolver(..., memory="2 GiB", disk="50 GiB", disk_dir="..."), or storage='
            "pyrevolve.DiskStorage(n_checkpoints, arrays, directory=...) to have all snapshots on disk",
        )
        _refuse(timings=timings, profiler=profiler)
        self._begin_single(
            (checkpoint, fwd_operator, rev_operator), n_checkpoints, n_timesteps, None, filedir
        )


class MultiLevelRevolver(_OldRevolver):
    """H-Revolve over several storages. Deprecated: `pyrevolve.Revolver` with ``schedule=HRevolve(...)``.

    Parameters
    ----------
    checkpoint, fwd_operator, rev_operator
        As of `pyrevolve.Revolver`.
    n_timesteps : int
        Timesteps, >= 0.
    storage_list : sequence of NumpyStorage, BytesStorage and DiskStorage
        The tiers, the fastest first, with their costs ``wd`` and ``rd``. Those of `pyrevolve.compat`.
    timings, profiler : None
        Not taken any more: read ``revolver.profiler``.
    uf, ub : float
        Costs of one forward and of one reverse timestep, finite and >= 0.
    up : float
        Not used: it is the same for every schedule.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        fwd_operator: Operator,
        rev_operator: Operator,
        n_timesteps: int,
        storage_list: Sequence[_SizedStorage],
        timings: None = None,
        profiler: None = None,
        uf: float = 1,
        ub: float = 1,
        up: float = 1,
    ) -> None:
        _deprecated(
            "MultiLevelRevolver",
            "pyrevolve.Revolver(..., schedule=pyrevolve.HRevolve(n, capacities, costs=...), storage=[...]), "
            'or memory="2 GiB", disk="50 GiB", from which a plan is made',
        )
        _refuse(timings=timings, profiler=profiler)
        check_problem(checkpoint, fwd_operator, rev_operator)
        if not storage_list:
            raise ValueError("storage_list must have at least one storage, got none")
        for given in storage_list:
            if not isinstance(given, _SizedStorage):
                raise TypeError(
                    "storage_list takes NumpyStorage, BytesStorage and DiskStorage of pyrevolve.compat, got "
                    f"{described(given)}; give others to pyrevolve.Revolver(..., schedule=HRevolve(...), "
                    "storage=[...])"
                )
        schedule = HRevolve(
            n_timesteps,
            tuple(tier.n_ckp for tier in storage_list),
            costs=Costs(
                forward_step=uf,
                reverse_step=ub,
                save=tuple(tier.wd for tier in storage_list),
                load=tuple(tier.rd for tier in storage_list),
            ),
            window=checkpoint.window,
            lookback=checkpoint.lookback,
            lag=checkpoint.lag,
        )
        self._begin(checkpoint, fwd_operator, rev_operator, schedule, [tier.open for tier in storage_list])


def _deprecated(name: str, instead: str) -> None:
    """Warn whoever called the function or the constructor that calls this."""
    warnings.warn(
        f"{name} is kept for code that was written for pyrevolve 2.2.8; use {instead}",
        DeprecationWarning,
        stacklevel=3,
    )


def _refuse(**given: object) -> None:
    """Raise TypeError where an argument has a value that means nothing any more."""
    for name, value in given.items():
        if value is not None:
            raise TypeError(
                f"{name}= is not taken any more, got {type(value).__name__}; leave it out, and read "
                "revolver.profiler after the run"
            )
