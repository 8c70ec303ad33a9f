"""Writing a run's directory: rows as they come, small files atomically."""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir.evaluation_csv import COLUMNS
from jaxmeta.rundir.layout import (
    CONFIG,
    EVALUATION,
    MANIFEST,
    METRICS,
    NAN_REPORT,
    TASKS,
    write_atomically,
)
from jaxmeta.rundir.manifest import continued, now
from jaxmeta.rundir.reading import read_manifest, read_tasks


class Writer(Protocol):
    """Where training writes its members' rows: a run's directory, those of a sweep, or none."""

    path: Path

    def metrics(self, row: dict[str, Any]) -> None:
        """Append a member's line of metrics."""

    def evaluation(self, rows: list[tuple]) -> None:
        """Append rows of an evaluation."""

    def sizes(self) -> list[dict[str, int]]:
        """Bring all rows to the disk and return the files' bytes, run by run."""

    def update_manifest(self, **facts: Any) -> None:
        """Write the manifest with some entries changed."""

    def nan_report(self, seed: int, report: Mapping[str, Any]) -> None:
        """Write what is known of a member that became non-finite."""

    def close(self, state: str, **facts: Any) -> None:
        """Write the last status."""


class RunWriter:
    """Writes one run's directory, opened first and closed last.

    Args:
      run: what is trained.
      path: the directory, held by `locked`.
      tasks: the evaluation tasks' description.
      facts: `manifest.describe`'s, of this process.
      resumed: None for a new run; else {"update": ..., ...}, an entry of `resumed_from`.
      sizes: what `sizes` returned when the checkpoint was written, on resuming.

    Raises:
      ConfigError: the evaluation tasks are not those that the directory's rows are about.
    """

    def __init__(
        self,
        run: Run,
        path: Path,
        tasks: list[dict],
        facts: Mapping[str, Any],
        resumed: Mapping[str, Any] | None = None,
        sizes: Sequence[Mapping[str, int]] | None = None,
    ):
        self.run, self.path = run, path
        (kept,) = sizes or [{METRICS: 0, EVALUATION: 0}]
        if kept[EVALUATION] and read_tasks(path) != json.loads(json.dumps(tasks)):
            raise ConfigError(f"{path / TASKS}: not the evaluation tasks that the environment has")
        before = read_manifest(path)
        write_atomically(path / CONFIG, run.to_json() + "\n")
        write_atomically(path / TASKS, json.dumps(tasks) + "\n")
        is_resumed = kept[EVALUATION] > 0
        self.manifest = continued(before, facts, resumed, is_resumed)
        self.metrics_file = reopen(path / METRICS, kept[METRICS])
        self.evaluation_file = reopen(path / EVALUATION, kept[EVALUATION])
        self.evaluation_csv = csv.writer(self.evaluation_file)
        if not is_resumed:
            self.evaluation_csv.writerow(COLUMNS)
        self.update_manifest(status="running")

    def metrics(self, row: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl; what is not finite becomes null."""
        self.metrics_file.write(json.dumps(null_nonfinite(row)) + "\n")
        self.metrics_file.flush()

    def evaluation(self, rows: list[tuple]) -> None:
        """Append rows of COLUMNS to evaluation.csv."""
        self.evaluation_csv.writerows(rows)
        self.evaluation_file.flush()

    def sizes(self) -> list[dict[str, int]]:
        """Bring all rows to the disk and return the files' bytes, for a checkpoint."""
        found = {}
        for name, file in ((METRICS, self.metrics_file), (EVALUATION, self.evaluation_file)):
            file.flush()
            os.fsync(file.fileno())
            found[name] = file.tell()
        return [found]

    def update_manifest(self, **facts: Any) -> None:
        """Write the manifest with some entries changed."""
        self.manifest |= facts
        write_atomically(self.path / MANIFEST, json.dumps(self.manifest, indent=1) + "\n")

    def nan_report(self, seed: int, report: Mapping[str, Any]) -> None:
        """Add what is known of a seed that became non-finite to nan_report.json."""
        path = self.path / NAN_REPORT
        reports = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        content = {**report, "config": self.run.fields()}
        write_atomically(path, json.dumps(reports | {str(seed): content}, indent=1) + "\n")

    def close(self, state: str, **facts: Any) -> None:
        """Write the last status and close all files."""
        self.metrics_file.close()
        self.evaluation_file.close()
        self.update_manifest(status=state, ended=now(), **facts)


def reopen(path: Path, size: int) -> Any:
    """Return a text file cut back to its first `size` bytes, open for appending."""
    file = path.open("a", encoding="utf-8", newline="")
    file.truncate(size)
    file.seek(size)
    return file


def null_nonfinite(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with None for what is not finite, and "finite": false if there was any."""
    bad = [k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)]
    return row | dict.fromkeys(bad) | ({"finite": False} if bad else {})
