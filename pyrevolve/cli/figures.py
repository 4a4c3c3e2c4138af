"""Figures of Matplotlib's, without a display and without its global state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .output import whole_file

__all__ = ["PICTURES", "new_figure", "path_ending_in", "save_figure"]

#: What pictures may be, by their suffix.
PICTURES = (".png", ".svg", ".pdf")


def path_ending_in(*suffixes: str) -> Callable[[str], Path]:
    """Return a reader of paths to write to.

    Those that do not end in one of `suffixes`, and those in no directory that exists, are a ValueError.
    """

    def parse(text: str) -> Path:
        path = Path(text)
        if path.suffix.lower() not in suffixes:
            raise ValueError(f"must end in one of {', '.join(suffixes)}, got {text!r}")
        if not path.parent.is_dir():
            raise ValueError(f"{path}: there is no directory {path.parent}")
        return path

    return parse


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


def save_figure(figure: Any, path: Path, dpi: int = 150) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix of `path`; PNG with so many points an inch.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with whole_file(path) as whole:
        figure.savefig(whole, dpi=dpi)
