"""The command line: ``pyrevolve COMMAND ...``, also as ``python -m pyrevolve COMMAND ...``.

Exit status, of every command: 0, it is done; 1, it failed (something is not installed, cannot be written,
does not work); 2, what was given is wrong; 130, it was interrupted (143: by SIGTERM). Errors are one line on
standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NamedTuple, cast

from .. import __version__
from .output import discard_output
from .parsing import TRACEBACK_VARIABLE, Parser, WrongError

__all__ = ["main", "reported"]


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


def parser() -> Parser:
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
        "wrong,\n130 interrupted, 143 terminated. Errors are one line; "
        f"{TRACEBACK_VARIABLE}=1 shows where they come from.",
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
        The exit status: 0, 1 or 2, 130 after an interrupt from the keyboard, 143 after SIGTERM.

    Raises
    ------
    SystemExit
        With 0 for ``--help`` and ``--version``, with 2 for arguments that are wrong.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    if not given:
        parser().print_help(sys.stderr)
        return 2

    def run() -> int:
        options = parser().parse_args(given)
        return COMMANDS[options.command].run(options.arguments)

    return reported(f"pyrevolve {given[0]}", run)


def reported(prog: str, run: Callable[[], int]) -> int:
    """Run a command; what it raises because something is wrong becomes a line and a status.

    Parameters
    ----------
    prog : str
        How the line begins.
    run : callable
        The command; returns its exit status.

    Returns
    -------
    int
        The exit status, see `main`.

    Raises
    ------
    SystemExit
        As from `run`.
    """
    _tolerate_narrow_encodings()
    try:
        status = _outcome(prog, run)
    except SystemExit as ended:
        if ended.code or not _printed(prog):
            raise SystemExit(ended.code or 1) from None
        raise
    # What went wrong before is what has to be known.
    return status if _printed(prog if status == 0 else None) or status else 1


def _outcome(prog: str, run: Callable[[], int]) -> int:
    try:
        with _heeding_sigterm():
            return run()
    except BrokenPipeError:
        discard_output()
        return 0
    except _Terminated:
        print("terminated", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except (ValueError, OverflowError) as error:
        return _failed(prog, error, 2)
    except (ImportError, MemoryError, OSError, RuntimeError) as error:  # StorageError, PeerError too
        return _failed(prog, error, 1)


class _Terminated(KeyboardInterrupt):
    """Ctrl-C in all but name: what is running cleans up and ends."""


@contextlib.contextmanager
def _heeding_sigterm() -> Iterator[None]:
    """Let SIGTERM, which would end the process on the spot, interrupt it instead."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    # Another thread may not choose; a handler that somebody has chosen stays.
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _failed(prog: str, error: Exception, status: int) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        raise error
    said = " ".join(str(error).split()) or type(error).__name__
    print(f"{error.prog if isinstance(error, WrongError) else prog}: error: {said}", file=sys.stderr)
    return status


def _tolerate_narrow_encodings() -> None:
    """Print ``?`` for what the encoding of standard output lacks, instead of failing."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _printed(prog: str | None) -> bool:
    """Write what was printed now, when an error can be told, and not when the interpreter ends.

    Return False where it cannot be written, after saying so unless `prog` is None. A reader that has closed
    the pipe has read enough.
    """
    if sys.stdout is None:  # where the process was started without one
        return True
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        if prog is not None:
            print(f"{prog}: error: cannot write to standard output: {error.strerror}", file=sys.stderr)
        return False
    return True
