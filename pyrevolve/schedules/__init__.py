"""Checkpointing schedules: immutable objects that iterate over instructions."""

from .base import INSTRUCTION_DTYPE, Schedule
from .offline import Revolve, StoreAll

__all__ = ["INSTRUCTION_DTYPE", "Revolve", "Schedule", "StoreAll"]
