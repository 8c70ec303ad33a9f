"""The API reference's pages, made from the tree when the site is built: a page for each room."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = "api"  # of the pages, beside this file; git ignores it
ENTRIES = ("jaxmeta/__init__.py", "jaxmeta/worker.py", "experiments/__main__.py")


def about(path: Path) -> str:
    """Return the first paragraph of a file's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]


def rooms() -> dict[str, list[Path]]:
    """Return the files of every room: folders with code, and the vocabulary at the top level."""
    found: dict[str, list[Path]] = {}
    for package in ("jaxmeta", "envs", "experiments"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if str(path.relative_to(ROOT)) not in ENTRIES:
                found.setdefault(".".join(path.parent.relative_to(ROOT).parts), []).append(path)
    return found


def pages() -> dict[str, str]:
    """Return the pages' Markdown by their names: each room's, and the list of all."""
    found = {room: page(room, files) for room, files in rooms().items()}
    listed = "\n".join(found)
    contents = f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    return {"index": f"# All rooms\n\nEvery file, by its folder.\n\n{contents}"} | found


def page(room: str, files: list[Path]) -> str:
    """Return a room's page: what it is for, then file by file."""
    parts = [f"# `{room}`"]
    for path in files:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name == "__init__.py":
            parts.insert(1, about(path))
            name = room
            if not ast.parse(path.read_text()).body[1:]:
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
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
