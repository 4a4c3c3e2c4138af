"""The error that the Devito layer raises beside the package's own."""

from __future__ import annotations

__all__ = ["UnsupportedOperatorError"]


class UnsupportedOperatorError(ValueError):
    """The operators cannot be checkpointed as they are: the gradient would be wrong without a sign of it.

    The message says which operator and function it is about, why, and what to do instead.
    """
