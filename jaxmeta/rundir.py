"""The run directory: what a run writes, and the refusal to overwrite anything.

`config.json`, `tasks.json`, `manifest.json`, `metrics.jsonl`, `evaluation.csv`,
`checkpoints/`. This module imports no jax, so that `--out` is checked at once.
"""

import csv
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jaxmeta.config import Run
from jaxmeta.errors import ConfigError

CONFIG, TASKS, MANIFEST = "config.json", "tasks.json", "manifest.json"
METRICS, EVALUATION, CHECKPOINTS = "metrics.jsonl", "evaluation.csv", "checkpoints"
EVALUATION_FIELDS = (
    "frames", "seed", "policy", "split", "task", "episode", "rollouts", "return", "reached",
)  # fmt: skip
PACKAGES = ("jax", "jaxlib", "flax", "optax", "distrax", "orbax-checkpoint", "numpy")

Table = dict[str, np.ndarray]  # columns of equal length


def status(path: Path) -> str | None:
    """Return "running", "finished", "failed", or None where there is no manifest."""
    manifest = path / MANIFEST
    return json.loads(manifest.read_text())["status"] if manifest.is_file() else None


def check(run: Run, path: Path) -> bool:
    """Return whether this very run is finished in `path`; False if it may start there.

    Raises:
      ConfigError: anything else is there, or the folder cannot be written.
    """
    config = path / CONFIG
    if config.is_file():
        theirs, ours = Run.from_json(config.read_text()).fields(), run.fields()
        differing = sorted(k for k in theirs.keys() | ours.keys() if theirs.get(k) != ours.get(k))
        if differing:
            rows = ", ".join(
                f"{k} ({theirs.get(k)!r} there, {ours.get(k)!r} here)" for k in differing
            )
            raise ConfigError(f"out = {path}: holds another run; differing: {rows}")
        if status(path) == "finished":
            return True
        raise ConfigError(
            f"out = {path}: holds this run, {status(path)} but not finished; it cannot be resumed"
            " yet: choose another folder, or move this one away"
        )
    if path.exists() and not path.is_dir():
        raise ConfigError(f"out = {path}: must be a folder, not a file")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"out = {path}: must be empty, new, or a run's folder; it holds files")
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ConfigError(
            f"out = {path}: must be writable; {existing} is not ({error.strerror})"
        ) from None
    return False


class RunWriter:
    """Writes one run's directory, opened first and closed last."""

    def __init__(self, run: Run, path: Path, tasks: list[dict], devices: list[str]):
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.manifest = manifest(devices)
        self.metrics_file = (path / METRICS).open("a")
        self.evaluation_file = (path / EVALUATION).open("a", newline="")
        self.evaluation_csv = csv.writer(self.evaluation_file)
        self.evaluation_csv.writerow(EVALUATION_FIELDS)
        (path / CONFIG).write_text(run.to_json() + "\n")
        (path / TASKS).write_text(json.dumps(tasks) + "\n")
        self.close_manifest("running")

    def metrics(self, row: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl; what is not finite becomes null."""
        self.metrics_file.write(json.dumps(finite(row)) + "\n")
        self.metrics_file.flush()

    def evaluation(self, rows: list[tuple]) -> None:
        """Append rows of EVALUATION_FIELDS to evaluation.csv."""
        self.evaluation_csv.writerows(rows)
        self.evaluation_file.flush()

    def close_manifest(self, state: str, **extra: Any) -> None:
        """Write the manifest with a new status."""
        self.manifest |= {"status": state, **extra}
        temporary = self.path / (MANIFEST + ".tmp")
        temporary.write_text(json.dumps(self.manifest, indent=1) + "\n")
        temporary.replace(self.path / MANIFEST)

    def close(self, state: str, **extra: Any) -> None:
        """Write the last status and close all files."""
        self.metrics_file.close()
        self.evaluation_file.close()
        self.close_manifest(state, ended=now(), **extra)


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with None for what is not finite, and "finite": false if there was any."""
    bad = [k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)]
    return row | dict.fromkeys(bad) | ({"finite": False} if bad else {})


def now() -> str:
    """Return the time, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def manifest(devices: list[str]) -> dict[str, Any]:
    """Return what a reader needs to trust or repeat a run."""
    root = Path(__file__).parent.parent
    lock = root / "requirements.lock"
    return {
        "status": "running",
        "started": now(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": git(root, "rev-parse", "HEAD"),
        "dirty": bool(git(root, "status", "--porcelain", "--untracked-files=no")),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "devices": devices,
        "cores": os.cpu_count(),
        "processor": processor(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def git(root: Path, *command: str) -> str | None:
    """Return a git command's output, or None where there is no checkout."""
    if not (root / ".git").exists():
        return None
    done = subprocess.run(["git", "-C", root, *command], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def read_run(path: Path) -> Run:
    """Return a directory's Run.

    Raises:
      ConfigError: it holds no run.
    """
    if not (path / CONFIG).is_file():
        raise ConfigError(f"{path}: holds no run (no {CONFIG})")
    return Run.from_json((path / CONFIG).read_text())


def read_tasks(path: Path) -> list[dict]:
    """Return the evaluation tasks: {"split", "task", "best_return"} in the tables' order."""
    return json.loads((path / TASKS).read_text())


def read_metrics(path: Path) -> list[dict]:
    """Return the lines of metrics.jsonl; a line cut short by a crash is left out."""
    lines = (path / METRICS).read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def read_evaluation(path: Path) -> Table:
    """Return evaluation.csv as columns; `reached` is nan where success is undefined.

    A line cut short by a crash is left out.
    """
    whole = (path / EVALUATION).read_text().rpartition("\n")[0]
    rows = list(csv.DictReader(whole.splitlines()))
    kinds: dict[str, Any] = {"policy": str, "split": str, "return": float, "reached": float}
    return {
        name: np.array([kinds.get(name, int)(row[name] or "nan") for row in rows])
        for name in EVALUATION_FIELDS
    }
