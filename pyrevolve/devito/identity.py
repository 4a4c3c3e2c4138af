"""What tells one simulation from another: its code, its numbers, and the arrays that it reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np
import numpy.typing as npt
from devito.ir.iet import FindNodes, Iteration
from devito.types.parallel import NThreadsBase

from ..journal import digest_of
from .access import OperatorAccess
from .operator import DevitoOperator

__all__ = ["code_of", "digest_of_code", "identity_of", "numbers_of"]


def code_of(operator: Any) -> str:
    """Return the generated code of an operator, the same for rings of every length.

    Parameters
    ----------
    operator : devito.Operator
        The operator.

    Notes
    -----
    A ring's index is a remainder such as ``t1 = (time + 4)%(5)``. What it stands for, ``time - 1``, is put in
    its place, so that a run may be gone on with in another window.
    """
    source = str(operator.ccode)
    roots = [operator, *(call.root for call in operator._func_table.values() if call.root is not None)]
    for loop in (loop for root in roots for loop in FindNodes(Iteration).visit(root)):
        for index in loop.uindices:
            source = re.sub(rf", {index.name} = \([^()]*\)%\(\d+\)", "", source)
            source = re.sub(rf"\b{index.name}\b", f"({index.offset})", source)
    return source


def numbers_of(operator: DevitoOperator) -> dict[str, str]:
    """Return the numbers that a prepared operator computes with: spacings, constants, bounds in space.

    The bounds in time are not among them, nor what changes no result: threads and sizes of blocks.
    """
    left_out = {operator.time.min_name, operator.time.max_name}
    left_out.update(d.step.name for d in operator.operator.dimensions if getattr(d, "is_Block", False))
    left_out.update(p.name for p in operator.operator.parameters if isinstance(p, NThreadsBase))
    return {
        name: repr(np.asarray(value).item())
        for name, value in operator.values().items()
        if name not in left_out and isinstance(value, Number | np.generic)
    }


def identity_of(
    name: str,
    operator: DevitoOperator,
    access: OperatorAccess,
    changing: Callable[[npt.NDArray[Any]], bool],
) -> dict[str, Any]:
    """Return what a prepared operator computes with, in terms that JSON knows.

    Parameters
    ----------
    name : str
        What it is called: forward, reverse, ...
    operator : DevitoOperator
        The operator.
    access : OperatorAccess
        What it reads and writes.
    changing : callable
        Tells whether an array changes while the operators run although this one does not write it.

    Returns
    -------
    dict of str to object
        The numbers, and a digest of every array that is read and not written, by what they are of. They are
        the same in another process where the results are.
    """
    found: dict[str, Any] = {f"set of numbers of the {name} operator": numbers_of(operator)}
    for array_name, array in sorted(operator.arrays().items()):
        if not access[array_name].writes and not changing(array):
            found[f"{array_name} of the {name} operator"] = digest_of([array])
    return found


def digest_of_code(operator: Any) -> str:
    """Return what tells the code of one operator from that of another."""
    return hashlib.blake2b(code_of(operator).encode(), digest_size=16).hexdigest()
