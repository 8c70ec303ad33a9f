"""Pages that are made from the code when the site is built: of every room, and of every paper."""

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxmeta.config import registry
from jaxmeta.paper_settings import PAPERS
from jaxmeta.paper_settings.settings_row import ANY, Row

ROOT = Path(__file__).parent.parent
FOLDER = "api"  # of the pages, beside this file; git ignores it
ENTRIES = (
    "jaxmeta/__init__.py", "jaxmeta/__main__.py", "jaxmeta/worker.py", "experiments/__main__.py",
)  # fmt: skip


def about(path: Path) -> str:
    """Return the first paragraph of a file's docstring."""
    code = ast.parse(path.read_text(encoding="utf-8"))
    return (ast.get_docstring(code) or "").partition("\n\n")[0]


def rooms() -> dict[str, list[Path]]:
    """Return the files of every room: folders with code, and the vocabulary at the top level."""
    found: dict[str, list[Path]] = {}
    for package in ("jaxmeta", "envs", "experiments"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if str(path.relative_to(ROOT)) not in ENTRIES:
                found.setdefault(".".join(path.parent.relative_to(ROOT).parts), []).append(path)
    return found


def pages() -> dict[str, str]:
    """Return the pages' Markdown by their names: of rooms, of papers, and the lists of both."""
    of_rooms = {room: page(room, files) for room, files in rooms().items()}
    of_papers = {"papers-environments": environments_page()}
    of_papers |= {f"papers-{name_of(paper)}": paper_page(paper) for paper in PAPERS}
    return {
        "index": f"# All modules\n\nEvery file, by its folder.\n\n{contents(of_rooms)}",
        "papers": f"# Published settings\n\nA page for each paper.\n\n{contents(of_papers)}",
        **of_rooms,
        **of_papers,
    }


def contents(names: Any) -> str:
    """Return a table of contents."""
    return "```{toctree}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"


def name_of(paper: ModuleType) -> str:
    """Return a paper's short name."""
    return paper.__name__.rpartition(".")[2]


def paper_page(paper: ModuleType) -> str:
    """Return a paper's settings, row by row, each with its source."""
    title, _, about = (inspect.getdoc(paper) or "").partition("\n\n")
    defaults = [paper.DEFAULTS] if hasattr(paper, "DEFAULTS") else []
    parts = [f"# `{name_of(paper)}`", title, about]
    parts += [row_text(row, "first of all, for ") for row in defaults]
    parts += [row_text(row, "") for row in paper.ROWS]
    return "\n\n".join(part for part in parts if part) + "\n"


def row_text(row: Row, when: str) -> str:
    """Return a row: for whom, what, and where it stands."""
    methods = "all methods" if ANY in row.methods else ", ".join(row.methods)
    envs = "every environment" if ANY in row.envs else ", ".join(row.envs)
    title = f"## {when}{methods}, preset {row.preset}"
    return "\n\n".join([title, f"On {envs}. Source: {row.source}.", table(row.fields)])


def table(fields: Mapping[str, Any]) -> str:
    """Return fields and values as a table."""
    lines = [f"| `{name}` | {shown(value)} |" for name, value in fields.items()]
    return "\n".join(["| field | value |", "|---|---|", *lines])


def shown(value: Any) -> str:
    """Return a value as a command line takes it."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if type(value) is int else str(value)


def environments_page() -> str:
    """Return what environments say for any method, which stands before the rows of papers."""
    by_fields: dict[str, list[str]] = {}
    for name, spec in registry.specs("environments").items():
        if "*" in spec.defaults:
            by_fields.setdefault(table(spec.defaults["*"]), []).append(name)
    parts = [
        "# `environments`",
        "What environments say for any method; what papers say counts more.",
    ]
    for fields, names in by_fields.items():
        parts += [f"## {names[0]}", f"On {', '.join(names)}.", fields]
    return "\n\n".join(parts) + "\n"


def page(room: str, files: list[Path]) -> str:
    """Return a room's page: what it is for, then file by file."""
    parts = [f"# `{room}`"]
    for path in files:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name == "__init__.py":
            parts.insert(1, about(path))
            name = room
            if not ast.parse(path.read_text(encoding="utf-8")).body[1:]:
                continue
        parts.append(f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```")
    return "\n\n".join(parts) + "\n"


def write_pages(docs: Path) -> None:
    """Write the pages; files that did not change keep their date, and rooms that are gone go."""
    folder, wanted = docs / FOLDER, pages()
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.md"):
        if path.stem not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text)
