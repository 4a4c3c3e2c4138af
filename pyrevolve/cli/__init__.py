"""The command line: ``pyrevolve COMMAND ...``, also as ``python -m pyrevolve COMMAND ...``.

Exit status, of every command: 0, it is done; 1, it failed (something is not installed, cannot be written,
does not work); 2, what was given is wrong; 130, it was interrupted. Errors are one line on standard error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from .. import __version__
from .parsing import Parser

__all__ = ["main"]

#: Where this is set, an error is shown with its traceback instead of in one line.
TRACEBACK_VARIABLE = "PYREVOLVE_TRACEBACK"


class Command(NamedTuple):
    """What the main help says of a command, and what runs it with the arguments that follow its name."""

    summary: str
    run: Callable[[list[str]], int]


def _plan(arguments: list[str]) -> int:
    from .plan import main as run

    return run(arguments)


def _show(arguments: list[str]) -> int:
    from .show import main as run

    return run(arguments)


def _doctor(arguments: list[str]) -> int:
    from .doctor import main as run

    return run(arguments)


def _demo(arguments: list[str]) -> int:
    from ..demo.__main__ import main as run

    return run(arguments)


def _fwi(arguments: list[str]) -> int:
    run = importlib.import_module("pyrevolve.fwi").main
    return cast("int", run(arguments))


COMMANDS = {
    "plan": Command("the fastest schedule for a memory budget, and what it will take", _plan),
    "show": Command("a schedule as text, as a picture, or as an interactive page", _show),
    "demo": Command("the gradient of one seismic shot inside a memory budget", _demo),
    "fwi": Command("a full waveform inversion over many shots", _fwi),
    "doctor": Command("what works on this machine, how fast, and how to install what is missing", _doctor),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of what comes before the command's own arguments."""
    names = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{names}}  {command.summary}" for name, command in COMMANDS.items())
    result = Parser(
        prog="pyrevolve",
        usage="pyrevolve [-h] [--version] COMMAND ...",
        description="Checkpointing for adjoint computations: the gradient of a long time loop inside a "
        "memory budget.",
        epilog=f"commands:\n{commands}\n\n"
        "examples:\n"
        '  pyrevolve plan 3647 --shape 1681x481 --memory "150 MB"\n'
        "  pyrevolve show revolve 100 --snapshots 5 -o revolve.html\n"
        "  pyrevolve doctor\n\n"
        "'pyrevolve COMMAND --help' tells the rest. Exit status: 0 done, 1 failed, 2 what was given is "
        f"wrong, 130 interrupted.\nErrors are one line; {TRACEBACK_VARIABLE}=1 shows where they come from.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("--version", action="version", version=f"pyrevolve {__version__}")
    result.add_argument("command", metavar="COMMAND", choices=tuple(COMMANDS), help="one of those below")
    result.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The command and its arguments. None: those of this process.

    Returns
    -------
    int
        The exit status: 0, 1 or 2, or 130 after an interrupt from the keyboard.

    Raises
    ------
    SystemExit
        With 0 for ``--help`` and ``--version``, with 2 for arguments that are wrong.
    """
    _tolerate_narrow_encodings()
    given = sys.argv[1:] if argv is None else list(argv)
    if not given:
        parser().print_help(sys.stderr)
        return 2
    try:
        try:
            options = parser().parse_args(given)
            return _run(options.command, options.arguments)
        finally:
            # Here, where a closed pipe can be dealt with, and not when the interpreter ends.
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(command: str, arguments: list[str]) -> int:
    """Run a command; what it raises because something is wrong becomes a line and a status."""
    try:
        return COMMANDS[command].run(arguments)
    except BrokenPipeError:
        raise
    except (ValueError, OverflowError) as error:
        return _failed(command, error, 2)
    except (ImportError, MemoryError, OSError, RuntimeError) as error:  # StorageError, PeerError too
        return _failed(command, error, 1)


def _failed(command: str, error: Exception, status: int) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        raise error
    said = " ".join(str(error).split()) or type(error).__name__
    print(f"pyrevolve {command}: error: {said}", file=sys.stderr)
    return status


def _tolerate_narrow_encodings() -> None:
    """Print ``?`` for what the encoding of standard output lacks, instead of failing."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _discard_output() -> None:
    """Send what is left to print nowhere: who read it has closed the pipe, which is no failure."""
    # The interpreter flushes standard output once more when it ends.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
