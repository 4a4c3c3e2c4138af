"""Command-line parsers whose errors are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as all errors of the commands are, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")
