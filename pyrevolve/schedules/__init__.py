"""Checkpointing schedules: immutable objects that iterate over instructions."""

from .base import INSTRUCTION_DTYPE, Schedule
from .layout import Layout
from .multistage import Multistage
from .offline import Revolve, StoreAll
from .periodic import AsyncTwoTier, ForwardOnly, Overlap, Periodic, TwoLevel

__all__ = [
    "INSTRUCTION_DTYPE",
    "AsyncTwoTier",
    "ForwardOnly",
    "Layout",
    "Multistage",
    "Overlap",
    "Periodic",
    "Revolve",
    "Schedule",
    "StoreAll",
    "TwoLevel",
]
