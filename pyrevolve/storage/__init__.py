"""Tiers: places where snapshots are kept."""

from typing import TYPE_CHECKING

from .base import Storage
from .disk import DiskStorage
from .memory import MemoryStorage

__all__ = ["DiskStorage", "MemoryStorage", "Storage"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Find what version 2.2.8 had under a name that is not here."""
        from ..renamed import lookup

        return lookup(__name__, name)
