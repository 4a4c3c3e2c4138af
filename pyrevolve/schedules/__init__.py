"""Checkpointing schedules: immutable objects that iterate over instructions."""

from .base import INSTRUCTION_DTYPE, Schedule
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
    "ForwardOnly",
    "Layout",
    "Mixed",
    "Multistage",
    "Online",
    "Overlap",
    "Periodic",
    "Revolve",
    "Schedule",
    "StoreAll",
    "TwoLevel",
]
