"""The end of a with block."""

from __future__ import annotations

import logging
from collections.abc import Callable

__all__ = ["closed"]

_LOG = logging.getLogger("pyrevolve")


def closed(close: Callable[[], object], error: BaseException | None) -> None:
    """Close something at the end of a with block.

    Parameters
    ----------
    close : callable
        Closes it.
    error : BaseException or None
        The exception that leaves the block; None where there is none.

    Raises
    ------
    Exception
        What `close` raises. Where an exception leaves the block already, that one is what the user wants to
        see: the other is logged instead.
    """
    try:
        close()
    except Exception:
        if error is None:
            raise
        _LOG.warning("closing failed after %r", error, exc_info=True)
