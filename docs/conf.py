"""How Sphinx makes the site: Markdown pages, and an API reference out of the docstrings.

`make docs` builds it. The hooks below write the reference's pages, one for each room of the tree,
and put into it what the code says beside its fields: the comments there, and what a configuration
field means and may be.
"""

import ast
import dataclasses
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any

import jaxmeta
from jaxmeta.config.option_fields import allowed
from jaxmeta.config.untrusted_text import safe_repr

ROOMS = ("jaxmeta", "envs", "experiments")

project = "jaxmeta"
author = "the jaxmeta authors"
version = release = jaxmeta.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"jaxmeta {version}"
html_show_copyright = False
highlight_language = "none"  # a block without a language is a command or a formula
myst_heading_anchors = 3
default_role = "literal"  # docstrings write `code` as Markdown does
smartquotes_action = "D"  # dashes; quotes stay as they are typed

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # types stand in the signature
napoleon_custom_sections = [("Returns", "params_style")]  # several values, each by its name
napoleon_use_rtype = False


def skip(app: Any, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what stands elsewhere: public names on the first page, fields with their class."""
    public = what == "module" and getattr(jaxmeta, name, None) is obj
    return True if public or type(obj).__name__ == "_tuplegetter" else None


def add_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Append a class's fields to its docstring, unless it lists them itself."""
    ours = what == "class" and obj.__module__.split(".")[0] in ROOMS
    if not ours or "Attributes:" in lines:
        return
    told = settings(obj) if dataclasses.is_dataclass(obj) else {}
    told = told or comments(obj)
    if told:
        lines[:] = [*lines, "", "Attributes:", *(f"  {n}: {text}" for n, text in told.items()), ""]


def settings(owner: type) -> dict[str, str]:
    """Return what a section of a Run says of its fields."""
    return {
        f.name: f"{f.metadata['doc']}. Default {safe_repr(f.default)}; {allowed(f)}."
        for f in dataclasses.fields(owner)
        if "doc" in f.metadata
    }


def comments(owner: type) -> dict[str, str]:
    """Return the comments behind a class's annotated fields."""
    source = textwrap.dedent(inspect.getsource(owner))
    (tree,) = ast.parse(source).body
    found = {}
    for node in tree.body if isinstance(tree, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            _, mark, comment = source.splitlines()[node.lineno - 1].partition("  # ")
            if mark:
                found[node.target.id] = comment
    return found


def setup(app: Any) -> None:
    """Connect the hooks; the docstrings are Google's style until napoleon reads them."""
    sys.path.insert(0, str(app.confdir))
    from reference import write_pages

    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir)))
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", add_fields, priority=400)
