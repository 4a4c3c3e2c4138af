"""The options that say what is to be checkpointed: timesteps, bytes, what a state carries."""

from __future__ import annotations

import argparse
import dataclasses
import math
from typing import Any, Literal

import numpy as np

from ..budget import format_bytes
from .quantities import argument, parse_count, parse_shape, parse_size

__all__ = ["Problem", "add_problem_options", "add_workspace_options", "given_problem"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """What `pyrevolve.plan` has to know of a run, besides budgets and costs.

    Attributes
    ----------
    n_timesteps, state_bytes, window_slice_bytes, fixed_bytes, lookback, lag, initial_state, min_window
        Arguments of `pyrevolve.plan`.
    assumed : tuple of str
        What was not given, in words.
    """

    n_timesteps: int
    state_bytes: int
    window_slice_bytes: int
    fixed_bytes: int
    lookback: int
    lag: int | None
    initial_state: Literal["stored", "free"]
    min_window: int
    assumed: tuple[str, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `pyrevolve.plan` by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "assumed"
        }


def add_workspace_options(parser: argparse._ActionsContainer, *, window: bool = True) -> None:
    """Add the options that say what the workspace retains and what a state carries."""
    count = argument(parse_count)
    if window:
        parser.add_argument(
            "--window",
            type=count,
            default=1,
            metavar="K",
            help="timesteps whose step data the workspace retains at once, default 1",
        )
    parser.add_argument(
        "--lookback",
        type=count,
        metavar="D",
        help="timesteps whose step data a loaded state carries by itself"
        + (", default 0" if window else "; default 0, with --shape the time order"),
    )
    parser.add_argument(
        "--lag",
        type=int,
        choices=(0, 1),
        help="1: step data exists only after its timestep was run; 0: the state carries it; "
        "default 1 without lookback, else 0",
    )
    parser.add_argument(
        "--initial-state",
        choices=("stored", "free"),
        help='"free": x_0 is re-created at no cost (a zero wavefield) and takes no slot; default stored'
        + ("" if window else ", with --shape free"),
    )


def add_problem_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    count, size = argument(parse_count), argument(parse_size)
    parser.add_argument(
        "n_timesteps", type=count, metavar="N", help="timesteps of the forward run, such as 3647"
    )
    grid = parser.add_argument_group("size of a state, from the grid")
    grid.add_argument(
        "--shape",
        type=argument(parse_shape),
        metavar="NXxNYxNZ",
        help="points of the grid, absorbing layers included, such as 401x401x201",
    )
    grid.add_argument("--dtype", metavar="TYPE", help="of a field, default float32")
    grid.add_argument("--time-order", type=count, metavar="N", help="slices of a field in a state, default 2")
    grid.add_argument(
        "--space-order", type=count, metavar="N", help="halo points on each side, as of Devito, default 8"
    )
    grid.add_argument("--fields", type=count, metavar="N", help="forward fields that make a state, default 1")
    grid.add_argument(
        "--fields-read",
        type=count,
        metavar="N",
        help="of these, what the reverse operator reads, default all",
    )
    sizes = parser.add_argument_group("or in bytes")
    sizes.add_argument("--state-bytes", type=size, metavar="SIZE", help="one snapshot")
    sizes.add_argument(
        "--window-slice-bytes",
        type=size,
        metavar="SIZE",
        help="by how much the workspace grows with one more timestep in its window",
    )
    sizes.add_argument(
        "--fixed-bytes",
        type=size,
        metavar="SIZE",
        help="what the workspace takes besides, default 0 or as of the grid",
    )
    workspace = parser.add_argument_group("what a state carries")
    add_workspace_options(workspace, window=False)
    workspace.add_argument(
        "--min-window", type=count, metavar="K", help="the smallest window that the operators allow"
    )


#: In a slot every slice starts at a multiple of so many bytes.
_ALIGNMENT = 64

_GRID = ("dtype", "time_order", "space_order", "fields", "fields_read")


def given_problem(options: argparse.Namespace) -> Problem:
    """Return the problem that the options say.

    Raises
    ------
    ValueError
        Neither the grid nor the bytes are given, or both, or a value is out of its range.
    """
    common = {
        "n_timesteps": options.n_timesteps,
        "lag": options.lag,
    }
    if options.shape is not None:
        if options.state_bytes is not None or options.window_slice_bytes is not None:
            raise ValueError(
                "--shape says how large a state is; leave out --state-bytes, --window-slice-bytes"
            )
        return _from_grid(options, common)
    grid = [f"--{name.replace('_', '-')}" for name in _GRID if getattr(options, name) is not None]
    if grid:
        raise ValueError(f"{', '.join(grid)} given without --shape")
    if options.state_bytes is None or options.window_slice_bytes is None:
        raise ValueError(
            "how large is a state? Give --shape, such as --shape 401x401x201, or --state-bytes and "
            "--window-slice-bytes"
        )
    assumed = []
    if options.lookback is None:
        assumed.append("lookback 0: a state carries no timestep's data by itself")
    return Problem(
        state_bytes=options.state_bytes,
        window_slice_bytes=options.window_slice_bytes,
        fixed_bytes=options.fixed_bytes or 0,
        lookback=options.lookback or 0,
        initial_state=options.initial_state or "stored",
        min_window=1 if options.min_window is None else options.min_window,
        assumed=tuple(assumed),
        **common,
    )


def _from_grid(options: argparse.Namespace, common: dict[str, Any]) -> Problem:
    """Return the problem of Devito fields on a grid, which hold a ring of slices with a halo around each."""
    assumed = []

    def value(name: str, default: Any, said: str) -> Any:
        given = getattr(options, name)
        if given is None:
            assumed.append(said)
            return default
        return given

    try:
        dtype = np.dtype(value("dtype", "float32", "float32"))
    except TypeError:
        dtype = np.dtype("V")
    if dtype.kind not in "fciub":
        raise ValueError(f"--dtype must be a number type of NumPy's such as float32, got {options.dtype!r}")
    order = value("time_order", 2, "time order 2")
    halo = value("space_order", 8, "space order 8")
    fields = value("fields", 1, "one field")
    read = fields if options.fields_read is None else options.fields_read
    if order < 1:
        raise ValueError(f"--time-order must be >= 1, got {order}")
    if not 1 <= read <= fields:
        raise ValueError(f"--fields must be >= 1 and --fields-read between 1 and {fields}, got {read}")
    lookback = value(
        "lookback", order, f"lookback {order}: the reverse operator reads the field at [time] alone"
    )
    initial = value("initial_state", "free", "initial state free: the wavefield is zero")
    slice_bytes = math.prod(points + 2 * halo for points in options.shape) * dtype.itemsize
    if lookback > order:
        raise ValueError(f"--lookback must be <= --time-order = {order}, got {lookback}")
    # A ring of W slices retains W - (order - lookback) timesteps, and must have one slice more than a state.
    # Fields that the reverse operator does not read keep the shortest ring.
    gap = order - lookback
    ring = read * gap + (fields - read) * (order + 1)
    return Problem(
        state_bytes=fields * order * -(-slice_bytes // _ALIGNMENT) * _ALIGNMENT,
        window_slice_bytes=read * slice_bytes,
        fixed_bytes=ring * slice_bytes if options.fixed_bytes is None else options.fixed_bytes,
        lookback=lookback,
        initial_state=initial,
        min_window=order + 1 - gap if options.min_window is None else options.min_window,
        assumed=(f"{', '.join(assumed)}; one slice of a field takes {format_bytes(slice_bytes)}",)
        if assumed
        else (),
        **common,
    )
