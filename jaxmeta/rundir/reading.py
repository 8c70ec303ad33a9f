"""Reading a run directory as untrusted input: nothing in it is executed."""

import contextlib
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxmeta.config import registry, user_code
from jaxmeta.config.data_format import KEY, require_known
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import parse_json_object, safe_name, safe_repr
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir.layout import (
    CHECKPOINTS,
    CONFIG,
    MANIFEST,
    METRICS,
    TASKS,
    Death,
    checkpoint_updates,
)


@contextlib.contextmanager
def untrusted_read(path: Path) -> Iterator[None]:
    """Turn whatever damaged or hostile content makes a reader raise into one line.

    Raises:
      ConfigError: names the file.
    """
    try:
        yield
    except ConfigError as error:
        said = str(error)
        if str(path) in said:
            raise
        raise ConfigError(f"{path}: {said.removeprefix(f'{path.name}: ')}") from None
    except (
        ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError,
        ValueError, csv.Error,
    ) as error:  # fmt: skip
        raise ConfigError(f"{path}: cannot be read ({safe_repr(str(error))})") from None


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a run directory's manifest; {} if it was stopped before it had one.

    Raises:
      ConfigError: it cannot be read.
    """
    file = path / MANIFEST
    if not file.is_file():
        return {}
    with untrusted_read(file):
        found = parse_json_object(file.read_text(encoding="utf-8"), str(file))
        require_known(found.get(KEY), str(file))
        printable(found.get("status", ""))
        return {"status": "running"} | found


def status(path: Path) -> str | None:
    """Return "running", "finished", "failed", "preempted"; None where there is no run."""
    return read_manifest(path).get("status", "running") if (path / CONFIG).is_file() else None


def has_last_checkpoint(path: Path) -> bool:
    """Whether the checkpoint that the manifest names as the last is there (not: whole)."""
    return read_manifest(path).get("saved") in checkpoint_updates(path / CHECKPOINTS)


def require_file_size(path: Path, size: int) -> None:
    """Refuse to continue rows that are not there any more.

    Raises:
      CheckpointError: says how many bytes are missing.
    """
    there = path.stat().st_size if path.is_file() else 0
    if there < size:
        raise CheckpointError(
            f"{path}: holds {there} bytes, but held {size} when the checkpoint was written; its"
            " rows cannot be continued"
        )


def dead_seeds(path: Path) -> dict[int, Death]:
    """Return the seeds whose training became non-finite.

    Raises:
      ConfigError: the manifest cannot be read.
    """
    with untrusted_read(path / MANIFEST):
        return {
            int(seed): Death(int(entry["update"]), printable(entry["quantity"]))
            for seed, entry in read_manifest(path).get("dead_seeds", {}).items()
        }


def printable(text: str) -> str:
    """Return a text that cannot steer the terminal.

    Raises:
      ValueError: it could.
    """
    if not text.isprintable():
        raise ValueError(f"{safe_repr(text)}: not printable")
    return text


def refuse_links(path: Path) -> None:
    """Refuse a run directory with a symbolic link, a pipe or the like, which lead elsewhere.

    Raises:
      ConfigError: names the first.
    """
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            found = Path(folder) / name
            if found.is_symlink() or not (found.is_dir() or found.is_file() or not found.exists()):
                raise ConfigError(
                    f"{safe_name(str(found))}: must not be a symbolic link, nor anything but a"
                    " file or a folder, inside a run's folder"
                )


def read_run(path: Path) -> Run:
    """Return a directory's Run.

    Raises:
      ConfigError: it holds no run, a bad one, or symbolic links.
    """
    refuse_links(path)
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path}: holds no run (no {CONFIG})")
    with untrusted_read(path / CONFIG):
        return Run.from_json((path / CONFIG).read_text(encoding="utf-8"))


def refuse_named_code(run: Run, env: Any = None, method: Any = None) -> None:
    """Refuse to execute files because a run's folder names them, and names not known here.

    Raises:
      ConfigError: the environment or the method is not registered, and was not passed in.
    """
    for field, name, given in (("env", run.env, env), ("method", run.method, method)):
        kind = {"env": "environments", "method": "methods"}[field]
        if registry.is_registered_elsewhere(kind, name) and given is None:
            raise ConfigError(
                f"{field} = {name!r}: is not registered here; pass {field}=... in Python, or"
                " import what registers it"
            )
        if user_code.is_file(name) and given is None:
            raise ConfigError(
                f"{field} = {name!r}: a run's folder names no code to execute; pass {field}=..."
                " in Python, or name the file in `jaxmeta train`"
            )


def read_tasks(path: Path) -> list[dict]:
    """Return the evaluation tasks: {"split", "task", "best_return"} in the tables' order.

    Raises:
      ConfigError: they cannot be read.
    """
    with untrusted_read(path / TASKS):
        tasks = json.loads((path / TASKS).read_text(encoding="utf-8"))
        return [task | {"split": printable(task["split"])} for task in tasks]


def read_metrics(path: Path) -> list[dict]:
    """Return the lines of metrics.jsonl; a line cut short by a crash is left out.

    Raises:
      ConfigError: they cannot be read.
    """
    with untrusted_read(path / METRICS):
        lines = (path / METRICS).read_text(encoding="utf-8").split("\n")
        found = [parse_json_object(line, METRICS) for line in lines[:-1]]
        return [row | {k: int(row[k]) for k in ("seed", "frames")} for row in found]


def as_json(dead: dict[int, Death]) -> dict[str, dict[str, Any]]:
    """Return the dead seeds as JSON has them."""
    return {str(seed): death._asdict() for seed, death in dead.items()}
