"""Settings of Sphinx: ``make docs``, or ``sphinx-build -W -n docs docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(_HERE))

import figures  # noqa: E402
from docutils import nodes  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402

import pyrevolve  # noqa: E402

project = "pyrevolve"
author = "pyrevolve developers"
copyright = "pyrevolve developers"
version = release = pyrevolve.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_templates"]

# --- pages ------------------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"pyrevolve {release}"
html_static_path = ["_static"]
html_css_files = ["pyrevolve.css"]
html_show_copyright = False
# Formulas are MathML: the pages fetch nothing.
html_math_renderer = "mathml"

# --- reference --------------------------------------------------------------------------------------------

autosummary_generate = True
templates_path = ["_templates"]
autodoc_member_order = "bysource"
# Docstrings tell the types, with units and ranges.
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = True
napoleon_use_ivar = True
# In docstrings, single backticks name parameters, and whatever can be linked.
default_role = "py:obj"
# Attributes in lists of several, such as "saves, loads", are looked for everywhere.
suppress_warnings = ["ref.python"]
# Words for types, and what others document: their inventories would have to be fetched.
nitpick_ignore_regex = [
    ("py:class", r"\(?(None|[a-z][a-z _-]*)\)?"),
    ("py:.*", r"(abc|devito|distributed|enum|matplotlib|mpi4py|numpy)\..*"),
]


def keep_sentences(_app: Any, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Keep napoleon from reading "A sentence: with a colon" of an attribute as its type."""
    if what in ("attribute", "property", "data"):
        lines[:0] = ["..", ""]  # an empty comment comes first


def look_further(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Look for names of Python objects in all modules; leave what single backticks name otherwise."""
    if node.get("refdomain") != "py":
        return None
    node["refspecific"] = True
    domain, kind = env.get_domain("py"), node["reftype"]
    found = domain.resolve_xref(env, node["refdoc"], app.builder, kind, node["reftarget"], node, content)
    return content if found is None and kind == "obj" else found


def formula_inline(self: Any, node: Any) -> None:
    """Write a formula within a line."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def formula_block(self: Any, node: Any) -> None:
    """Write a formula of its own."""
    self.body.append(tex2mathml(node.astext(), as_block=True))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Draw the figures before the pages are read, and see to what docstrings mean."""
    app.add_html_math_renderer("mathml", (formula_inline, None), (formula_block, None))
    app.connect("builder-inited", lambda _: figures.draw_all(_HERE / "_figures"))
    app.connect("autodoc-process-docstring", keep_sentences, priority=400)
    app.connect("missing-reference", look_further)
