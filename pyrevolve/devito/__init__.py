"""The layer for Devito users: the gradient of a Devito simulation inside a memory budget.

`CheckpointedAdjoint`
    one object from a factory of fields and operators to gradients, shot after shot
`Problem`
    what the factory returns
`verify`, `taylor_test`
    checks on the user's own operators: checkpointed against store-all, and the gradient against the misfit
`TimeFunctionCheckpoint`, `DevitoOperator`
    the parts underneath, for use with a `pyrevolve.Revolver` of one's own
`UnsupportedOperatorError`
    raised for operators that checkpointing would turn into a wrong gradient

``import pyrevolve`` does not import this package, and Devito is imported only here.
"""

try:
    import devito as _devito  # noqa: F401  (only to say what is missing)
except ImportError as _error:
    raise ImportError(
        "pyrevolve.devito needs Devito, which is not installed: pip install 'pyrevolve[devito]'"
    ) from _error

from .access import Access, OperatorAccess, read_operator
from .adjoint import CheckpointedAdjoint
from .checkpoint import TimeFunctionCheckpoint
from .errors import UnsupportedOperatorError
from .operator import DevitoOperator, TimeRange
from .problem import Problem
from .retention import FieldState, Retention, retention
from .verification import TaylorTest, Verification, taylor_test, verify

__all__ = [
    "CheckpointedAdjoint",
    "Problem",
    "verify",
    "Verification",
    "taylor_test",
    "TaylorTest",
    "TimeFunctionCheckpoint",
    "DevitoOperator",
    "TimeRange",
    "Access",
    "OperatorAccess",
    "read_operator",
    "FieldState",
    "Retention",
    "retention",
    "UnsupportedOperatorError",
]
