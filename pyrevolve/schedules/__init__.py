"""Checkpointing schedules: immutable objects that iterate over instructions."""

from .base import INSTRUCTION_DTYPE, Schedule
from .layout import Layout
from .offline import Revolve, StoreAll

__all__ = ["INSTRUCTION_DTYPE", "Layout", "Revolve", "Schedule", "StoreAll"]
