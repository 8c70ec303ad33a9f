"""What a run directory is made of, and how its small files are written."""

import os
from pathlib import Path
from typing import NamedTuple

from jaxmeta.config.untrusted_text import safe_name
from jaxmeta.errors import ConfigError

CONFIG, TASKS, MANIFEST = "config.json", "tasks.json", "manifest.json"
METRICS, EVALUATION, CHECKPOINTS = "metrics.jsonl", "evaluation.csv", "checkpoints"
NAN_REPORT = "nan_report.json"
LOCK, HOLDER = ".lock", ".holder"  # which process writes here
PROGRAM_KEY = "program"  # the manifest's entry in a run that is part of a sweep
UNKNOWN = "an unknown process, if any (its lock cannot be tried)"


def user_path(path: str | os.PathLike) -> Path:
    """Return a path as a user means it: a shell leaves the ~ of --out=~/r, and Python every one.

    Raises:
      ConfigError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{safe_name(str(path))}: {error}") from None


def is_utf_8(path: Path) -> bool:
    """Whether a path has the same bytes in UTF-8 as in the locale, as orbax takes for granted."""
    try:
        return os.fsencode(path) == str(path).encode()
    except UnicodeError:
        return False


class Death(NamedTuple):
    """The first update and quantity of a seed that were not finite."""

    update: int
    quantity: str


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a crash or a power cut leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def checkpoint_updates(folder: Path) -> list[int]:
    """Return the updates that a folder has checkpoints of, oldest first, by a fresh look."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir())
