"""Tiers: places where snapshots are kept."""

from .base import Storage
from .disk import DiskStorage
from .memory import MemoryStorage

__all__ = ["DiskStorage", "MemoryStorage", "Storage"]
