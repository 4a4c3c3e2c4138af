"""Command-line parsers whose errors are one line, in the words of the command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["TRACEBACK_VARIABLE", "Parser", "WrongError"]

#: Where this is set, an error is shown with its traceback instead of in one line.
TRACEBACK_VARIABLE = "PYREVOLVE_TRACEBACK"

#: What the library calls otherwise than the command line does.
_RENAMED = {
    "n_timesteps": "N",
    "n_snapshots": "--snapshots",
    "n_on_disk": "--on-disk",
    "n_units": "--units",
    "capacities": "--slots",
}


class WrongError(ValueError):
    """What was given to a command is wrong.

    Parameters
    ----------
    message : str
        What, in the words of the command line.
    prog : str
        The command.
    """

    def __init__(self, message: str, prog: str) -> None:
        super().__init__(message)
        self.prog = prog


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as all errors of the commands are, and exits with 2."""

    def __init__(self, **options: Any) -> None:
        # A shortened name may mean another option tomorrow.
        super().__init__(**{"allow_abbrev": False, **options})
        # No option begins with a digit: what does is a value, also after a minus, and its reader says more.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and where help is."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Let what the library finds wrong name the options, and not the parameters that they become.

        Raises
        ------
        WrongError
            In place of a ValueError.
        """
        try:
            yield
        except ValueError as error:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            raise WrongError(self._in_options(str(error)), self.prog) from error

    def _in_options(self, message: str) -> str:
        flags = {action.dest: action.option_strings[-1] for action in self._actions if action.option_strings}
        for name in re.findall(r"(?<![-\w/'])[a-z]\w*", message):
            option = _RENAMED.get(name, flags.get(name))
            if name == "n_timesteps" or option in flags.values():
                # Some parameters are words too: "window must be" is the parameter, "a window of" is not.
                follows = r"\b" if "_" in name else r"(?= must be\b| and \w+ are\b| are \d)"
                message = re.sub(rf"(?<![-\w/']){name}{follows}", str(option), message)
        return message
