"""Statistics of evaluations: what a run reached, when, and how much its seeds differ.

Values are [S, E]: seeds, then evaluations in the order of their frames. NumPy only.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.rundir import Table

LAST = 5  # results are means over the last 1/5 of the evaluations
WINDOW = 5  # evaluations in a moving average (Lee & Chung 2021, 5)


class Evaluations(NamedTuple):
    """One number per seed and evaluation."""

    frames: np.ndarray  # [E]
    seeds: np.ndarray  # [S]
    values: np.ndarray  # [S, E]


def rows(table: Table, **equal: Any) -> Table:
    """Return the rows whose columns have these values: `rows(table, split="test")`."""
    keep = np.ones(len(table["frames"]), bool)
    for name, value in equal.items():
        keep &= table[name] == value
    return {name: column[keep] for name, column in table.items()}


def of_seeds(table: Table, seeds: Iterable[int]) -> Table:
    """Return the rows of some seeds."""
    keep = np.isin(table["seed"], list(seeds))
    return {name: column[keep] for name, column in table.items()}


def whole_evaluations(table: Table, size: int) -> Table:
    """Return the table without evaluations that were cut short: all have `size` rows."""
    _, which, counts = np.unique(table["frames"], return_inverse=True, return_counts=True)
    keep = counts[which] == size
    return {name: column[keep] for name, column in table.items()}


def evaluations(table: Table, column: str) -> Evaluations:
    """Return a column's mean over the rows of each seed and evaluation."""
    frames, at_frames = np.unique(table["frames"], return_inverse=True)
    seeds, at_seed = np.unique(table["seed"], return_inverse=True)
    total, count = np.zeros((2, len(seeds), len(frames)))
    np.add.at(total, (at_seed, at_frames), table[column])
    np.add.at(count, (at_seed, at_frames), 1)
    return Evaluations(frames, seeds, total / count)


def by_task(table: Table, column: str) -> dict[int, float]:
    """Return a column's mean over the seeds and the last fifth of the evaluations, by task."""
    recent = np.isin(table["frames"], last_fifth(np.unique(table["frames"])))
    tasks = np.unique(table["task"])
    return {int(t): float(table[column][recent & (table["task"] == t)].mean()) for t in tasks}


def last_fifth(values: np.ndarray) -> np.ndarray:
    """Return the last fifth of the evaluations [..., E], rounded up to whole ones."""
    return values[..., values.shape[-1] - -(-values.shape[-1] // LAST) :]


def final_mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last fifth of the evaluations, [..., E] -> [...]."""
    return last_fifth(values).mean(-1)


def final_share(values: np.ndarray, threshold: float) -> np.ndarray:
    """Return the share of the last fifth of the evaluations that is at or above a threshold."""
    return (last_fifth(values) >= threshold).mean(-1)


def first_at(frames: np.ndarray, values: np.ndarray, threshold: float) -> int | None:
    """Return the frames of the first evaluation [E] at or above a threshold, None without one."""
    reached = np.flatnonzero(values >= threshold)
    return int(frames[reached[0]]) if len(reached) else None


def seed_band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sample standard deviation over the seeds, [S, ...] -> two of [...].

    One seed alone has a band of zero width.
    """
    mean = values.mean(0)
    return mean, values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(mean)


def moving_average(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Return each evaluation's mean with up to `window - 1` before it, [..., E] -> [..., E]."""
    places = range(values.shape[-1])
    means = [values[..., max(0, i + 1 - window) : i + 1].mean(-1) for i in places]
    return np.stack(means, -1) if means else values
