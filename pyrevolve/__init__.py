"""Checkpointing for adjoint computations: the gradient of a long time loop inside a memory budget.

A forward run of n timesteps is reversed with only a few of its states in memory; the others are computed
again. The parts, from the user's side:

`Checkpoint`, `Operator`
    what a state is, and what runs forward and in reverse: to be subclassed
`Revolver`
    the driver: ``apply_forward()``, ``apply_reverse()``, ``reset()``
`plan`, `plan_curve`, `Plan`, `Costs`, `measure_costs`
    from budgets of memory and disk to the fastest schedule
`Revolve`, `Multistage`, `TwoLevel`, `AsyncTwoTier`, `Periodic`, `Mixed`, `CAMS`, `StoreAll`, `ForwardOnly`
    schedules, as sequences of `Instruction`
`Online`
    the same where the number of timesteps is not known in advance
`HRevolve`, `DiskRevolve`, `PeriodicDiskRevolve`
    schedules that weigh the costs of several tiers
`MemoryStorage`, `DiskStorage`
    where snapshots are kept
`Timeline`, `Profiler`, `Report`, `ProgressState`
    what a run does, and what it took beside what was predicted
`pyrevolve.devito`
    the layer for Devito users; it is imported by its name only
`pyrevolve.compat`
    the names and signatures of version 2.2.8
"""

from typing import TYPE_CHECKING

from .budget import available_memory
from .checkpoint import Checkpoint, Operator
from .compression import Compression
from .costs import CompressionCosts, Costs
from .crevolve import Action, Content, CRevolve, Instruction, Kind, adjust, expense, maxrange, numforw
from .disk_speed import DiskSpeed, measure_disk
from .errors import BudgetError, JournalError, PeerError, ScheduleError, StorageError, StorageFullError
from .measuring import measure_compression, measure_costs
from .planning import plan, plan_curve
from .plans import Plan
from .profiling import Profiler
from .progress import ProgressState
from .reports import Report
from .revolver import Revolver
from .schedules import (
    CAMS,
    AsyncTwoTier,
    DiskRevolve,
    ForwardOnly,
    HRevolve,
    Layout,
    Mixed,
    Multistage,
    Online,
    Periodic,
    PeriodicDiskRevolve,
    Revolve,
    Schedule,
    StoreAll,
    TwoLevel,
)
from .storage import DiskStorage, MemoryStorage, Storage
from .timeline import Timeline

__version__ = "3.0.0"

__all__ = [
    "Checkpoint",
    "Operator",
    "Revolver",
    "Profiler",
    "Timeline",
    "Report",
    "ProgressState",
    "plan",
    "plan_curve",
    "Plan",
    "Costs",
    "CompressionCosts",
    "measure_costs",
    "measure_compression",
    "measure_disk",
    "DiskSpeed",
    "available_memory",
    "Schedule",
    "Revolve",
    "Multistage",
    "TwoLevel",
    "Periodic",
    "AsyncTwoTier",
    "HRevolve",
    "DiskRevolve",
    "PeriodicDiskRevolve",
    "StoreAll",
    "Mixed",
    "CAMS",
    "ForwardOnly",
    "Layout",
    "Online",
    "Instruction",
    "Kind",
    "Content",
    "MemoryStorage",
    "DiskStorage",
    "Storage",
    "Compression",
    "CRevolve",
    "Action",
    "adjust",
    "expense",
    "maxrange",
    "numforw",
    "ScheduleError",
    "StorageError",
    "StorageFullError",
    "BudgetError",
    "JournalError",
    "PeerError",
    "__version__",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Find what version 2.2.8 had under a name that is not here."""
        from .renamed import lookup

        return lookup(__name__, name)
