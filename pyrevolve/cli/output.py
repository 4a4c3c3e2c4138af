"""What commands print and write."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["discard_output", "tell", "tell_written", "whole_file"]


def tell(text: object) -> None:
    """Print a line of what goes on at once; where nobody reads any more, the work goes on all the same."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def tell_written(path: Path) -> None:
    """Say where a file is; on standard error, because standard output may be JSON."""
    print(f"written: {path}", file=sys.stderr)


def discard_output() -> None:
    """Send what is left to print nowhere: the interpreter flushes standard output when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to, whose file takes the place of `path` once it is whole.

    Where the block is left by an exception, nothing is left of it, and `path` is as it was. What is no file,
    such as a device, is written to itself, and so is a file in a directory where no other can be made.
    """
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        if target.exists() and not target.is_file():
            raise FileExistsError(path)
        partial.touch(exist_ok=False)
    except OSError:  # Nothing can be put beside it.
        yield path
        return
    try:
        if target.exists():
            shutil.copymode(target, partial)
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
