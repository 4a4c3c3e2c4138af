"""Checkpointing schedules: immutable objects that iterate over instructions."""

from .base import INSTRUCTION_DTYPE, Schedule
from .hierarchical import DiskRevolve, HRevolve, PeriodicDiskRevolve
from .layout import Layout
from .mixed import CAMS, Mixed
from .multistage import Multistage
from .offline import Revolve, StoreAll
from .online import Online
from .periodic import AsyncTwoTier, ForwardOnly, Overlap, Periodic, TwoLevel

__all__ = [
    "CAMS",
    "INSTRUCTION_DTYPE",
    "AsyncTwoTier",
    "DiskRevolve",
    "ForwardOnly",
    "HRevolve",
    "Layout",
    "Mixed",
    "Multistage",
    "Online",
    "Overlap",
    "Periodic",
    "PeriodicDiskRevolve",
    "Revolve",
    "Schedule",
    "StoreAll",
    "TwoLevel",
]
