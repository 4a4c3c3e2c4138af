"""Figures of Matplotlib's, without a display and without its global state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["new_figure", "save_figure"]


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of so many inches.

    Raises
    ------
    ImportError
        Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a picture needs Matplotlib: pip install "pyrevolve[plot]"') from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix of `path`.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    figure.savefig(path, dpi=150)
