"""The user's side of a checkpointed adjoint: what a state is, and what runs forward and in reverse."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Checkpoint", "Operator", "check_problem", "described", "first_arrays", "unrecorded_of"]


_NO_STEP_DATA = (
    "{0} does not define get_step_data(t), by which the step data of a timestep is saved and loaded; define "
    "it, or use a schedule that keeps whole states only"
)


class Operator(abc.ABC):
    """Something that runs a range of timesteps on the workspace.

    Attributes
    ----------
    apply_unrecorded : callable or None, default None
        A forward operator may have a second method, ``apply_unrecorded(t_start, t_end)``, for timesteps whose
        step data nobody needs, because they only lead to a state from which others start. Most of the first
        sweep is such, and most of what is run again. It must leave x_t_end where `Checkpoint.get_data` says,
        and *everything that `apply` writes besides step data*, such as receivers. Nothing that the workspace
        retained before, and of this call nothing but x_t_end, is asked of it afterwards. None: `apply` runs
        all timesteps.
    """

    apply_unrecorded: Callable[..., object] | None = None

    @abc.abstractmethod
    def apply(self, t_start: int, t_end: int) -> object:
        """Run the timesteps of the half-open range ``[t_start, t_end)``.

        Parameters
        ----------
        t_start, t_end : int
            0 <= t_start < t_end <= n_timesteps; always given as keywords.

        Notes
        -----
        The forward operator takes the workspace from x_t_start to x_t_end. The reverse operator runs the
        adjoints of the timesteps t_end - 1, t_end - 2, ..., t_start in this order, in one call; a range is
        never longer than the window. What is returned is ignored; an exception passes through the driver
        unchanged.
        """


class Checkpoint(abc.ABC):
    """What a state of the forward run is, and where it lives.

    A subclass tells where the arrays of a state are; the driver copies them straight to a slot and back, with
    no copy in between. It may also tell what the workspace retains of the forward run, as attributes of the
    class or of the object that are read once, when a Revolver is made.

    Attributes
    ----------
    window : int, default 1
        Timesteps whose step data the workspace retains at once, >= 1. One call of the reverse operator covers
        at most this many.
    lookback : int, default 0
        Timesteps whose step data a loaded state carries by itself, 0 <= lookback <= window.
    lag : {0, 1} or None, default None
        1: the step data of timestep t exists only after it was run. 0: x_t carries it (needs lookback >= 1).
        None: 1 where lookback is 0, otherwise 0.
    window_bytes : int, default 0
        Bytes of the workspace itself, which a budget given as ``memory=`` is to cover beside the snapshots.

    Notes
    -----
    At x_p, reached by running forward from x_a (where the workspace was last loaded or started), the
    workspace must retain the step data of every timestep tau with

        max(a - lookback - lag, p - window - lag) < tau <= p - lag.

    Declare no more than that: a window that is too large gives wrong gradients.
    """

    window: int = 1
    lookback: int = 0
    lag: int | None = None
    window_bytes: int = 0

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """The dtype of the state; any of them where there are several.

        Kept for code that was written for version 2.2.8. The driver does not use it: the arrays that
        `get_data` returns tell their dtypes.
        """

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of elements in all arrays of one state.

        Kept for code that was written for version 2.2.8. The driver does not use it: the arrays that
        `get_data` returns tell their shapes.
        """

    @abc.abstractmethod
    def get_data(self, t: int) -> Sequence[npt.NDArray[Any]]:
        """Return the live arrays that hold the state x_t, which is about to be saved.

        Parameters
        ----------
        t : int
            0 <= t < n_timesteps, and n_timesteps too where there is a journal. Called with 0 beforehand, to
            learn number, shapes and dtypes of the arrays.

        Returns
        -------
        sequence of numpy.ndarray
            Views of the workspace; any number, none included, of any shapes and dtypes, but the same for
            every t.
        """

    @abc.abstractmethod
    def get_data_location(self, t: int) -> Sequence[npt.NDArray[Any]]:
        """Return the live arrays into which the state x_t is to be loaded.

        Parameters
        ----------
        t : int
            0 <= t < n_timesteps, and n_timesteps too where there is a journal.

        Returns
        -------
        sequence of numpy.ndarray
            Writable views of the workspace; number, shapes and dtypes as of `get_data`.
        """

    def get_step_data(self, t: int) -> Sequence[npt.NDArray[Any]]:
        """Return the live arrays that hold the step data of timestep t, which is about to be saved.

        Needed for the schedules that keep step data beside states, `Mixed` and `CAMS`; the others do not call
        it. The step data of timestep t is all that the reverse operator reads of the forward run when it
        reverses the range ``[t, t + 1)``.

        Parameters
        ----------
        t : int
            0 <= t < n_timesteps; timestep t was the last one to be run. Called with 0 beforehand, to learn
            number, shapes and dtypes of the arrays.

        Returns
        -------
        sequence of numpy.ndarray
            Views of the workspace; any number, of any shapes and dtypes, which need not be those of a state,
            but the same for every t.

        Raises
        ------
        NotImplementedError
            Always; a subclass whose step data can be saved overrides this.

        Notes
        -----
        Once they are loaded, only the reverse operator is called before a state is loaded; what the rest of
        the workspace holds does not matter. There is one exception: a stiffly accurate `CAMS` goes on forward
        from x_{t+1}, which is the last of the stages, after it has loaded the step data of timestep t. For
        that schedule the arrays must put the workspace at x_{t+1} too.

        A slot holds a state or step data, whichever comes. The storage that the Revolver makes has as many
        bytes as the schedule needs at most at once, each state and each timestep's step data counted with its
        own size.
        """
        raise NotImplementedError(_NO_STEP_DATA.format(type(self).__name__))

    def get_step_data_location(self, t: int) -> Sequence[npt.NDArray[Any]]:
        """Return the live arrays into which the step data of timestep t is to be loaded.

        Parameters
        ----------
        t : int
            0 <= t < n_timesteps.

        Returns
        -------
        sequence of numpy.ndarray
            Writable views of the workspace; number, shapes and dtypes as of `get_step_data`, which is what is
            returned where a subclass does not override this.
        """
        return self.get_step_data(t)

    def set_initial(self) -> None:
        """Put x_0 into the workspace without loading it, for instance by filling it with zeros.

        Needed for ``initial_state="free"``; called at the start of every forward sweep and whenever x_0 is
        needed again.

        Raises
        ------
        NotImplementedError
            Always; a subclass whose initial state is free overrides this.
        """
        raise NotImplementedError(
            f'{type(self).__name__} does not define set_initial(); initial_state="free" needs it to put x_0 '
            'into the workspace. Define it, or use initial_state="stored"'
        )


def check_problem(checkpoint: object, fwd_operator: object, rev_operator: object) -> None:
    """Raise TypeError unless these are a checkpoint and two operators, as objects and not as classes."""
    if not isinstance(checkpoint, Checkpoint):
        raise TypeError(f"checkpoint must be a pyrevolve.Checkpoint, got {described(checkpoint)}")
    for name, value in (("fwd_operator", fwd_operator), ("rev_operator", rev_operator)):
        if isinstance(value, type) or not callable(getattr(value, "apply", None)):
            raise TypeError(f"{name} must be a pyrevolve.Operator, got {described(value)}")
    unrecorded = unrecorded_of(fwd_operator)
    if unrecorded is not None and not callable(unrecorded):
        raise TypeError(f"apply_unrecorded of fwd_operator must be a method or None, got {unrecorded!r}")


def unrecorded_of(operator: object) -> Callable[..., object] | None:
    """Return what runs timesteps without recording them; None where an operator has no such method."""
    return getattr(operator, "apply_unrecorded", None)


def described(value: object) -> str:
    """Return what an error calls an argument of the wrong type: its type, or that it is a class itself."""
    if isinstance(value, type):
        return f"the class {value.__name__}; give an instance"
    return type(value).__name__


def first_arrays(
    checkpoint: Checkpoint, method: Literal["get_data", "get_step_data"]
) -> tuple[npt.NDArray[Any], ...]:
    """Return the arrays of timestep 0, from which storages learn number, shapes and dtypes.

    Parameters
    ----------
    checkpoint : Checkpoint
        What a state is.
    method : {"get_data", "get_step_data"}
        The method of `checkpoint` that is called.

    Returns
    -------
    tuple of numpy.ndarray
        As returned by the method. Whether each can be stored is for the storage to check.

    Raises
    ------
    TypeError
        The method returns no sequence, or a single array instead of a list of arrays.
    """
    given: object = getattr(checkpoint, method)(0)
    where = f"{type(checkpoint).__name__}.{method}(0) must return a list of arrays"
    if isinstance(given, np.ndarray) and given.ndim < 2 and not given.dtype.hasobject:
        raise TypeError(f"{where}, got one array of {given.dtype}; return [x], a list of arrays")
    try:
        return tuple(given)  # type: ignore[arg-type]
    except TypeError:
        what = "None" if given is None else type(given).__name__
        raise TypeError(f"{where}, got {what}") from None
