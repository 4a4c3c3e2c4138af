"""Colours: each is written down once, and means one thing in the pictures of a run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyrevolve
from pyrevolve import colours

PACKAGE = Path(pyrevolve.__file__).parent
CHECKOUT = Path(__file__).resolve().parent.parent


def test_what_a_run_is_made_of_is_told_apart():
    parts = [colours.FORWARD, colours.REVERSE, colours.SAVE, colours.LOAD, *colours.TIERS]
    assert len(set(parts)) == len(parts)


def test_on_dark_paper_too():
    parts = [colours.FORWARD, colours.REVERSE, *colours.TIERS]
    assert len({colours.ON_DARK.get(colour, colour) for colour in parts}) == len(parts)


def test_no_other_file_writes_one_down():
    named = {value.lower() for value in vars(colours).values() if isinstance(value, str) and value[:1] == "#"}
    assert len(named) == 7
    folders = [PACKAGE, *(CHECKOUT / name for name in ("examples", "docs", "benchmarks"))]
    files = itertools.chain.from_iterable(folder.glob("**/*") for folder in folders if folder.is_dir())
    for path in files:
        built = "_build" in path.parts or "_figures" in path.parts
        if path.suffix not in (".py", ".js", ".css", ".html") or built or path == PACKAGE / "colours.py":
            continue
        text = path.read_text(encoding="utf-8").lower()
        assert [colour for colour in named - {colours.BLACK} if colour in text] == [], path
