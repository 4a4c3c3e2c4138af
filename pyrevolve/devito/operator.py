"""A Devito operator, prepared once and called for any part of its time range in a few microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from codepy import CompileError
from devito import configuration
from devito.exceptions import ExecutionError, InvalidArgument
from devito.mpi.routines import MPIMsg

from ..checkpoint import Operator
from ..errors import ScheduleError
from .errors import UnsupportedOperatorError

__all__ = ["DevitoOperator", "TimeRange"]


class TimeRange(NamedTuple):
    """The iterations of an operator's time loop, both ends included, as ``time_m`` and ``time_M`` are."""

    first: int
    last: int

    @property
    def n_timesteps(self) -> int:
        """How many iterations there are, >= 0."""
        return max(0, self.last - self.first + 1)


class DevitoOperator(Operator):
    """A `devito.Operator` as a `pyrevolve.Operator`.

    `prepare` processes the arguments as ``devito.Operator.apply`` does, for the whole time range, and so
    checks the range against what the operator may access. `apply` then runs part of it; `finish` does what
    is left to do after the last call, such as gathering receivers that are spread over processes.

    Parameters
    ----------
    operator : devito.Operator
        The operator; it is compiled now, unless it was before.
    time : devito.Dimension
        The dimension of its time loop.

    Raises
    ------
    UnsupportedOperatorError
        The operator has no ``time_m`` and ``time_M``.
    RuntimeError
        The compiler that Devito calls fails.

    Notes
    -----
    One call costs about 5 microseconds besides what the generated code does; ``devito.Operator.apply``
    takes some milliseconds. Compare with `devito.Operator.apply` when in doubt: the generated function and
    its arguments are the same.
    """

    def __init__(self, operator: Any, time: Any) -> None:
        self.operator = operator
        self.time = time
        try:
            self._function = operator.cfunction
        except CompileError as error:
            raise RuntimeError(
                f"Devito could not compile operator {operator.name}; its compiler has said why, and "
                "'pyrevolve doctor' tells what is missing"
            ) from error
        self._names = [parameter.name for parameter in operator.parameters]
        self._minimum, self._maximum = time.min_name, time.max_name
        for name in (self._minimum, self._maximum):
            if name not in self._names:
                raise UnsupportedOperatorError(
                    f"operator {operator.name} has no parameter {name}: its time range is fixed, so it "
                    "cannot be run in parts"
                )
        self._first = self._names.index(self._minimum)
        self._last = self._names.index(self._maximum)
        self._values: list[Any] = []
        self._arguments: Any = None
        self._given: dict[str, Any] = {}
        self._range: TimeRange | None = None

    @property
    def time_range(self) -> TimeRange:
        """The iterations that the arguments stand for.

        Raises
        ------
        ScheduleError
            `prepare` was not called.
        """
        if self._range is None:
            raise ScheduleError(f"operator {self.operator.name} was not prepared; call prepare() first")
        return self._range

    @property
    def known(self) -> frozenset[str]:
        """The names of the arguments that the operator takes."""
        return frozenset(self.operator._known_arguments)

    def check_parameters(self, other: DevitoOperator) -> None:
        """Raise where this operator has parameters that another one, of the same equations, does not have.

        Raises
        ------
        UnsupportedOperatorError
            It has.
        """
        unknown = set(self._names) - set(other._names)
        if unknown:
            raise UnsupportedOperatorError(
                f"build(save) makes an operator {self.operator.name} whose parameters "
                f"{', '.join(sorted(unknown))} differ from call to call; give what it makes fixed names"
            )

    def adopt(self, other: DevitoOperator) -> None:
        """Become another way to run the prepared operator `other`, of the same equations, unless it is that.

        Parameters
        ----------
        other : DevitoOperator
            Prepared; it knows all parameters of this one.
        """
        if self._arguments is other._arguments:
            return
        self._range, self._arguments, self._given = other.time_range, other._arguments, other._given
        self._values = [self._arguments[name] for name in self._names]

    def values(self) -> dict[str, Any]:
        """Return the processed value of every parameter, by name: numbers and pointers.

        Raises
        ------
        ScheduleError
            `prepare` was not called.
        """
        _ = self.time_range
        return {name: self._arguments[name] for name in self._names}

    def check_names(self, arguments: Mapping[str, Any]) -> None:
        """Raise where there are arguments that the operator does not take.

        `prepare` would find that out too, but with a grid that is divided among processes it may only be
        called by all of them.

        Raises
        ------
        devito.exceptions.InvalidArgument
            An argument is unknown.
        """
        if configuration["ignore-unknowns"]:
            return
        for name in arguments:
            if name not in self.known and name != "autotune":
                raise InvalidArgument(
                    f"Unrecognized argument {name}: the operator {self.operator.name} takes "
                    f"{', '.join(sorted(self.known))}"
                )

    def prepare(self, arguments: Mapping[str, Any]) -> TimeRange:
        """Process the arguments of a sweep.

        Parameters
        ----------
        arguments : mapping of str to object
            As of ``devito.Operator.apply``, for the whole time range.

        Returns
        -------
        TimeRange
            What the operator would run with these arguments.

        Raises
        ------
        devito.exceptions.InvalidArgument
            An argument is missing, unknown or illegal; the range goes beyond what the operator may access.
        """
        given = dict(arguments)
        # Autotuning would run the operator on the live fields.
        given["autotune"] = "off"
        self._free_messages()
        processed = self.operator.arguments(**given)
        del given["autotune"]
        self._given = given
        self._arguments = processed
        self._values = [processed[name] for name in self._names]
        self._range = TimeRange(int(processed[self._minimum]), int(processed[self._maximum]))
        return self._range

    def apply(self, t_start: int, t_end: int) -> None:
        """Run the timesteps ``[t_start, t_end)``, counted from the beginning of the prepared range.

        Raises
        ------
        ScheduleError
            `prepare` was not called.
        devito.exceptions.ExecutionError
            The generated code reports an error.
        """
        values = self._values
        if self._range is None:
            raise ScheduleError(f"operator {self.operator.name} was not prepared; call prepare() first")
        offset = self._range[0]
        values[self._first] = t_start + offset
        values[self._last] = t_end - 1 + offset
        code = self._function(*values)
        if code:
            self._fail(code)

    def finish(self) -> None:
        """Do what is left after the last call of a sweep: gather what is spread over processes."""
        for parameter in self.operator.parameters:
            # The buffers of messages are needed as long as the operator may be called.
            if not isinstance(parameter, MPIMsg):
                parameter._arg_apply(self._arguments[parameter.name], alias=self._given.get(parameter.name))

    def _free_messages(self) -> None:
        """Free the buffers through which processes exchange halos, which `prepare` allocates."""
        for parameter in self.operator.parameters:
            if isinstance(parameter, MPIMsg):
                parameter._C_memfree()

    def release(self) -> None:
        """Forget the arguments, and with them every array that they keep alive."""
        self._free_messages()
        self._values = []
        self._arguments = None
        self._given = {}
        self._range = None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that the prepared operator works on, by the names of its functions.

        Returns
        -------
        dict of str to numpy.ndarray
            Halo and padding included; with MPI, the part of this process.

        Raises
        ------
        ScheduleError
            `prepare` was not called.
        """
        _ = self.time_range
        found = {}
        for parameter in self.operator.input:
            if parameter.is_DiscreteFunction:
                found[parameter.name] = np.asarray(self._arguments[parameter.name]._obj.underlying_array)
        return found

    def _fail(self, code: int) -> None:
        """Raise what Devito raises for this return code."""
        self.operator._postprocess_errors(code, comm=self._arguments.comm)
        raise ExecutionError(f"operator {self.operator.name} returned the error code {code}")

    def __repr__(self) -> str:
        state = "not prepared" if self._range is None else f"time {self._range.first} ... {self._range.last}"
        return f"<DevitoOperator {self.operator.name}: {state}>"
