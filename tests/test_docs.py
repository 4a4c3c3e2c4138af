"""The documentation is true: every Python block runs, every output shown is what comes out."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import pathlib
import re
import shlex
import subprocess
import sys
import sysconfig

import pytest

pytest.importorskip("sybil", reason='needs Sybil: pip install "pyrevolve[test]"')

from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

pytestmark = pytest.mark.processes

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted(CHECKOUT.glob("docs/**/*.md"))
if not PAGES:
    pytest.skip("docs/ is not beside tests/; run them in a checkout", allow_module_level=True)
PAGES.append(CHECKOUT / "README.md")

#: What a block needs that is not installed with the package: a pattern of its text, a module, how to get it.
NEEDS = (
    (r"\bdevito\b", "devito", "devito"),
    (r"\bmpi4py\b", "mpi4py", "mpi"),
    (r"compression=\"|lossless\(", "numcodecs", "compression"),
    (r"\bzfp\(", "zfpy", "zfp"),
    (r"\bdistributed\b|ShotRunner", "distributed", "dask"),
)

#: Commands of ours, which are run as they are shown; those that take long only with ``-m slow``.
OURS = re.compile(r"(python -m )?pyrevolve\b|python examples/|python docs/")
SLOW = re.compile(r"demo|fwi|examples/")


def missing(text):
    """Return how to install what a block needs and is not there, or None."""
    for pattern, module, extra in NEEDS:
        if re.search(pattern, text) and importlib.util.find_spec(module) is None:
            return f'pip install "pyrevolve[{extra}]"'
    return None


def same(wanted, found):
    """Return whether a text is what is shown, where "..." stands for anything."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(wanted.strip() + "\n", found.strip() + "\n", options)


def name_of(path):
    """Return what a page is called in the names of tests."""
    return path.relative_to(CHECKOUT).as_posix()


def run(words, folder):
    """Run a command in a folder, with this interpreter's packages and programs."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path]),
        "PYREVOLVE_CACHE": str(folder / "cache"),
        "DEVITO_LOGGING": "ERROR",
        "COLUMNS": "100",
    }
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


# --- Python -----------------------------------------------------------------------------------------------


class Blocks:
    """Runs the Python blocks of one page in one namespace; ``text`` blocks are what the last one printed."""

    def __init__(self):
        self.run = PythonEvaluator()
        self.printed = None
        self.skipped = []

    def python(self, example):
        """Run one block."""
        self.printed = None
        # A page is a program, whose classes Dask sends to its workers as such.
        example.namespace["__name__"] = "__main__"
        how = missing(example.parsed)
        if how is None and self.skipped:
            how = "goes on from a block that was skipped"
        if how is not None:
            self.skipped.append(f"line {example.line}: {how}")
            return
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.run(example)
        self.printed = printed.getvalue()

    def text(self, example):
        """Compare one output with what the block before it has printed."""
        if self.printed is None and not self.skipped:
            return "nothing was printed by a block before; mark what is no output as `none`"
        if self.printed is not None and not same(example.parsed, self.printed):
            return f"shown is\n{example.parsed}\nprinted was\n{self.printed}"
        return None


def run_page(path):
    """Run the blocks of a page in this process; print what was skipped."""
    blocks = Blocks()
    parsers = [CodeBlockParser("python", blocks.python), CodeBlockParser("text", blocks.text)]
    for example in Sybil(parsers=parsers).parse(pathlib.Path(path)).examples():
        example.evaluate()
    print("; ".join(blocks.skipped))


WITH_BLOCKS = [path for path in PAGES if "```python" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_BLOCKS, ids=name_of)
def test_the_python_blocks_of_a_page_run(path, tmp_path):
    """In a process of its own: what one page imports, Devito or MPI, stays in a process for good."""
    code = f"import sys, test_docs; test_docs.run_page({str(path)!r})"
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr
    if done.stdout.strip():
        pytest.skip(done.stdout.strip())


# --- commands ---------------------------------------------------------------------------------------------


def commands():
    """Yield every command of ours that a page shows: page, line, command, and the output shown."""
    for path in PAGES:
        for example in Sybil(parsers=[CodeBlockParser("console", lambda _: None)]).parse(path).examples():
            for shown in re.split(r"^\$ ", str(example.parsed), flags=re.MULTILINE)[1:]:
                command, output = re.match(r"((?:.*\\\n)*.*)\n?((?:.*\n?)*)", shown).groups()
                command = command.replace("\\\n", " ")
                if OURS.match(command):
                    where = f"{name_of(path)}:{example.line}"
                    marks = [pytest.mark.slow] if SLOW.search(command) else []
                    yield pytest.param(command, output, marks=marks, id=f"{where} {command}")


@pytest.mark.parametrize(("command", "output"), list(commands()))
def test_a_command_prints_what_is_shown(command, output, tmp_path):
    how = missing(command)
    if how is not None:
        pytest.skip(how)
    for name in ("examples", "docs"):
        (tmp_path / name).symlink_to(CHECKOUT / name)
    words = shlex.split(command, comments=True)
    if words[0] == "python":
        words[0] = sys.executable
    done = run(words, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not output.strip() or same(output, done.stdout), done.stdout


# --- links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_between_files_lead_somewhere(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
        if not target.startswith("_figures/"):
            assert (path.parent / target).exists(), target
