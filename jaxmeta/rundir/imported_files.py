"""The content of a user's file, with the files beside it that it imports."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def source_sha256(path: Path) -> str:
    """Return the sha256 of a file, and of the files in its folder that it imports, if any.

    These, and those that they import, count by their place in the folder, not by the folder's own.
    """
    own = path.read_bytes()
    beside = {p: p.read_bytes() for p in files_beside(path)}
    if not beside:
        return hashlib.sha256(own).hexdigest()
    found = hashlib.sha256(own)
    for file, content in sorted(beside.items()):
        found.update(b"\0" + file.relative_to(path.parent).as_posix().encode())
        found.update(b"\0" + hashlib.sha256(content).digest())
    return found.hexdigest()


def files_beside(path: Path) -> list[Path]:
    """Return the files in a file's folder that it imports, directly or through one another."""
    found: list[Path] = []
    waiting = [path]
    while waiting:
        for file in imports(waiting.pop(), path.parent):
            if file not in found and file != path:
                found.append(file)
                waiting.append(file)
    return found


def imports(file: Path, folder: Path) -> Iterator[Path]:
    """Yield the files in a folder that a file imports, anywhere in it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # said where it is executed
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from module_files(folder, alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = file.parents[node.level - 1] if node.level else folder
            if not start.is_relative_to(folder):
                continue
            module = node.module or ""
            yield from module_files(start, module)
            for alias in node.names:
                yield from module_files(start, f"{module}.{alias.name}".strip("."))


def module_files(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files in a folder that are executed for a module's dotted name."""
    place = folder
    for part in name.split(".") if name else ():
        place = place / part
        for file in (place.with_name(f"{part}.py"), place / "__init__.py"):
            if file.is_file():
                yield file
