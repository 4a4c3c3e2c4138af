"""Where version 2.2.8 had its schedules; says where each of them is now."""

from typing import TYPE_CHECKING

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Find what version 2.2.8 had under a name that is not here."""
        from .renamed import lookup

        return lookup(__name__, name)
