"""What importing the package does, and what it leaves alone."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import pyrevolve


def python(code, *options):
    """Run code in a new interpreter; return what it prints."""
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_import_needs_numpy_only():
    code = """
import sys
before = {name.partition(".")[0] for name in sys.modules}
import pyrevolve
after = {name.partition(".")[0] for name in sys.modules}
print(*sorted(after - before - sys.stdlib_module_names))
"""
    # Names with an underscore are helpers of numpy and of Cython, such as _cython_3_0_0.
    assert [name for name in python(code) if not name.startswith(("_", "cython"))] == ["numpy", "pyrevolve"]


def test_import_does_no_work():
    code = """
import logging, os, threading
before = len(logging.root.handlers), set(os.environ)
import pyrevolve
assert (len(logging.root.handlers), set(os.environ)) == before
assert threading.active_count() == 1
logger = logging.getLogger("pyrevolve")
assert not logger.handlers and logger.level == logging.NOTSET
"""
    assert python(code, "-W", "error") == []


@pytest.mark.devito
def test_devito_is_not_imported_and_finds_its_adapter():
    pytest.importorskip("devito", reason="tested with Devito: pip install devito")
    code = """
import sys
import pyrevolve
assert "devito" not in sys.modules
import devito
print(devito.Revolver is pyrevolve.Revolver, issubclass(devito.DevitoCheckpoint, pyrevolve.Checkpoint),
      issubclass(devito.CheckpointOperator, pyrevolve.Operator))
"""
    assert python(code) == ["True", "True", "True"]


def test_public_names():
    assert pyrevolve.__version__ == "3.0.0"
    assert len(set(pyrevolve.__all__)) == len(pyrevolve.__all__)
    for name in pyrevolve.__all__:
        assert getattr(pyrevolve, name) is not None
        assert name == "__version__" or getattr(pyrevolve, name).__doc__, name


def test_classic_signature():
    parameters = list(inspect.signature(pyrevolve.Revolver).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["checkpoint", "fwd_operator", "rev_operator", "n_checkpoints", "n_timesteps"]
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} >= {"memory", "schedule"}
