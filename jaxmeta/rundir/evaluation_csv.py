"""evaluation.csv: its columns, and how it is read."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from jaxmeta.rundir.layout import EVALUATION
from jaxmeta.rundir.reading import untrusted_read

COLUMNS = (
    "frames", "seed", "policy", "split", "task", "episode", "rollouts", "return", "reached",
)  # fmt: skip
POLICIES = ("greedy", "sampled")  # how an agent is evaluated
Table = dict[str, np.ndarray]  # columns of equal length


def read_evaluation(path: Path) -> Table:
    """Return a directory's evaluation.csv as columns; `reached` is nan where success is undefined.

    A line cut short by a crash is left out.

    Raises:
      ConfigError: it cannot be read.
    """
    kinds: dict[str, Any] = {"policy": str, "split": str, "return": float, "reached": float}
    with untrusted_read(path / EVALUATION):
        whole = (path / EVALUATION).read_text(encoding="utf-8").rpartition("\n")[0]
        rows = list(csv.DictReader(whole.splitlines()))
        return {
            name: np.array([kinds.get(name, int)(row[name] or "nan") for row in rows])
            for name in COLUMNS
        }
