"""The run directory: what a run writes, and the refusal to overwrite anything.

`config.json`, `tasks.json`, `manifest.json`, `metrics.jsonl`, `evaluation.csv`,
`checkpoints/`. This module imports no jax, so that `--out` is checked at once.
"""

import contextlib
import csv
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from jaxmeta.config import registry
from jaxmeta.config.fields import read_object, shown, shown_name
from jaxmeta.config.run import Run
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir.manifest import now

CONFIG, TASKS, MANIFEST = "config.json", "tasks.json", "manifest.json"
METRICS, EVALUATION, CHECKPOINTS = "metrics.jsonl", "evaluation.csv", "checkpoints"
NAN_REPORT = "nan_report.json"
LOCK, HOLDER = ".lock", ".holder"  # which process writes here
OWNER = "program"  # the manifest's entry in a run that is part of a sweep
UNKNOWN = "an unknown process, if any (its lock cannot be tried)"
EVALUATION_FIELDS = (
    "frames", "seed", "policy", "split", "task", "episode", "rollouts", "return", "reached",
)  # fmt: skip
POLICIES = ("greedy", "sampled")  # how an agent is evaluated

Table = dict[str, np.ndarray]  # columns of equal length


class Death(NamedTuple):
    """Where a seed's training stopped being finite."""

    update: int
    quantity: str


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a crash or a power cut leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w") as file:
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


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever damaged or hostile content makes a reader raise into one line.

    Raises:
      ConfigError: names the file.
    """
    try:
        yield
    except ConfigError:
        raise
    except (
        ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError,
        ValueError, csv.Error,
    ) as error:  # fmt: skip
        raise ConfigError(f"{path}: cannot be read ({shown(str(error))})") from None


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a run directory's manifest; {} if it was stopped before it had one.

    Raises:
      ConfigError: it cannot be read.
    """
    file = path / MANIFEST
    if not file.is_file():
        return {}
    with reading(file):
        found = read_object(file.read_text(), str(file))
        printable(found.get("status", ""))
        return {"status": "running"} | found


def status(path: Path) -> str | None:
    """Return "running", "finished", "failed", "preempted"; None where there is no run."""
    return read_manifest(path).get("status", "running") if (path / CONFIG).is_file() else None


def steps(folder: Path) -> list[int]:
    """Return the updates that a folder has checkpoints of, oldest first, by a fresh look."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir())


def has_last_checkpoint(path: Path) -> bool:
    """Whether the checkpoint that the manifest names as the last is there (not: whole)."""
    return read_manifest(path).get("saved") in steps(path / CHECKPOINTS)


def require_size(path: Path, size: int) -> None:
    """Refuse to go on behind rows that are not there any more.

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
    with reading(path / MANIFEST):
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
        raise ValueError(f"{shown(text)}: not printable")
    return text


def check(run: Run, path: Path, owner: str | None = None) -> str | None:
    """Return the status of this very run in `path`; None if it may start there.

    A run of a sweep is trained by its program only, whose name is `owner`.

    Raises:
      ConfigError: anything else is there, or the folder cannot be written.
    """
    refuse_links(path)
    found = status(path)
    if found is not None:
        there, ours = read_run(path).fields(), run.fields()
        differing = sorted(k for k in there.keys() | ours.keys() if there.get(k) != ours.get(k))
        if differing:
            rows = ", ".join(
                f"{k} ({shown(there.get(k))} there, {shown(ours.get(k))} here)" for k in differing
            )
            raise ConfigError(f"out = {path}: holds another run; differing: {rows}")
        if found == "finished":
            return found
        if (theirs := read_manifest(path).get(OWNER)) != owner:
            raise ConfigError(
                f"out = {path}: belongs to a sweep; `jaxmeta sweep` or `jaxmeta resume"
                f" {path.parent.parent / 'programs' / shown_name(theirs)}` goes on with it"
            )
    if path.exists() and not path.is_dir():
        raise ConfigError(f"out = {path}: must be a folder, not a file")
    if found is None and path.is_dir() and any(not ours_unfinished(p) for p in path.iterdir()):
        raise ConfigError(f"out = {path}: must be empty, new, or a run's folder; it holds files")
    require_writable(path)
    return found


def ours_unfinished(path: Path) -> bool:
    """Whether a file is what a process leaves that died before it wrote config.json."""
    return path.name in (LOCK, HOLDER, f".{HOLDER}.tmp", f".{CONFIG}.tmp")


def require_writable(path: Path) -> None:
    """Refuse a folder that cannot be written, or made.

    Raises:
      ConfigError: says why.
    """
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ConfigError(
            f"out = {path}: must be writable; {existing} is not ({error.strerror})"
        ) from None


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
                    f"{shown_name(str(found))}: must not be a symbolic link, nor anything but a"
                    " file or a folder, inside a run's folder"
                )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run directory, made if need be, against other processes; death lets go of it.

    Raises:
      ConfigError: another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        raise ConfigError(f"out = {path}: in use by {holder(path)}") from None
    except OSError as error:
        raise ConfigError(f"out = {path}: cannot be locked ({error})") from None
    try:
        write_atomically(
            path / HOLDER, f"process {os.getpid()} on {socket.gethostname()} since {now()}"
        )
        yield
    finally:
        (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def require_free(path: Path) -> None:
    """Refuse a run directory that another process writes to.

    Raises:
      ConfigError: says which.
    """
    if who := holder(path):
        raise ConfigError(f"out = {path}: in use by {who}")


def holder(path: Path) -> str | None:
    """Return which living process writes to a run directory; None if none does, UNKNOWN if
    that cannot be tried."""
    if not (path / LOCK).is_file():
        return None
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = path / HOLDER
        return shown_name(who.read_text()) if who.is_file() else "another process"
    except OSError:  # not ours to lock
        return UNKNOWN
    lock.release()
    return None


def read_run(path: Path) -> Run:
    """Return a directory's Run.

    Raises:
      ConfigError: it holds no run, a bad one, or symbolic links.
    """
    refuse_links(path)
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path}: holds no run (no {CONFIG})")
    with reading(path / CONFIG):
        return Run.from_json((path / CONFIG).read_text())


def refuse_named_code(run: Run, env: Any = None, method: Any = None) -> None:
    """Refuse to execute files because a run's folder names them.

    Raises:
      ConfigError: the environment or the method is from a file, and was not handed over.
    """
    for field, name, given in (("env", run.env, env), ("method", run.method, method)):
        if registry.is_file(name) and given is None:
            raise ConfigError(
                f"{field} = {name!r}: a run's folder names no code to execute; pass {field}=..."
                " in Python, or name the file in `jaxmeta train`"
            )


def read_tasks(path: Path) -> list[dict]:
    """Return the evaluation tasks: {"split", "task", "best_return"} in the tables' order.

    Raises:
      ConfigError: they cannot be read.
    """
    with reading(path / TASKS):
        tasks = json.loads((path / TASKS).read_text())
        return [task | {"split": printable(task["split"])} for task in tasks]


def read_metrics(path: Path) -> list[dict]:
    """Return the lines of metrics.jsonl; a line cut short by a crash is left out.

    Raises:
      ConfigError: they cannot be read.
    """
    with reading(path / METRICS):
        lines = (path / METRICS).read_text().split("\n")
        found = [read_object(line, METRICS) for line in lines[:-1]]
        return [row | {k: int(row[k]) for k in ("seed", "frames")} for row in found]


def read_evaluation(path: Path) -> Table:
    """Return evaluation.csv as columns; `reached` is nan where success is undefined.

    A line cut short by a crash is left out.

    Raises:
      ConfigError: it cannot be read.
    """
    kinds: dict[str, Any] = {"policy": str, "split": str, "return": float, "reached": float}
    with reading(path / EVALUATION):
        whole = (path / EVALUATION).read_text().rpartition("\n")[0]
        rows = list(csv.DictReader(whole.splitlines()))
        return {
            name: np.array([kinds.get(name, int)(row[name] or "nan") for row in rows])
            for name in EVALUATION_FIELDS
        }
