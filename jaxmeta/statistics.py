"""Statistics of evaluations: what a run reached, when, how much seeds differ, who is better.

Values are [S, E]: seeds, then evaluations in the order of their frames. Scores are [S, T]:
seeds, then tasks, one number each. An agent's scores on different tasks are correlated, so
resampling and permutation act on whole seeds; tasks are strata, never left out.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.rundir.evaluation_csv import Table

LAST = 5  # results are means over the last 1/5 of the evaluations
WINDOW = 5  # evaluations in a moving average (Lee & Chung 2021, 5)
RESAMPLES = 2000  # of a bootstrap
CONFIDENCE = 0.95


class Evaluations(NamedTuple):
    """One number per seed and evaluation."""

    frames: np.ndarray  # [E]
    seeds: np.ndarray  # [S]
    values: np.ndarray  # [S, E]


def select_rows(table: Table, **equal: Any) -> Table:
    """Return the rows whose columns have these values: `select_rows(table, split="test")`."""
    keep = np.ones(len(table["frames"]), bool)
    for name, value in equal.items():
        keep &= table[name] == value
    return {name: column[keep] for name, column in table.items()}


def select_seeds(table: Table, seeds: Iterable[int]) -> Table:
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


def scores(table: Table, column: str) -> np.ndarray:
    """Return a column's mean over the last fifth of the evaluations, by seed and task, [S, T]."""
    recent = np.isin(table["frames"], last_fifth(np.unique(table["frames"])))
    seeds, at_seed = np.unique(table["seed"][recent], return_inverse=True)
    tasks, at_task = np.unique(table["task"][recent], return_inverse=True)
    total, count = np.zeros((2, len(seeds), len(tasks)))
    np.add.at(total, (at_seed, at_task), table[column][recent])
    np.add.at(count, (at_seed, at_task), 1)
    return total / count


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

    For a single seed the band has zero width.
    """
    mean = values.mean(0)
    return mean, values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(mean)


def moving_average(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Return each evaluation's mean with up to `window - 1` before it, [..., E] -> [..., E]."""
    places = range(values.shape[-1])
    means = [values[..., max(0, i + 1 - window) : i + 1].mean(-1) for i in places]
    return np.stack(means, -1) if means else values


def area_under_curve(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the area under learning curves [..., E] divided by their length, [...].

    That is the mean over all of training, in the values' unit, by the trapezoid rule. One
    evaluation alone is its own mean.
    """
    if len(frames) < 2:
        return values.mean(-1)
    return np.trapezoid(values, frames, axis=-1) / (frames[-1] - frames[0])


def iqm(values: np.ndarray) -> np.ndarray:
    """Return the interquartile mean, [..., n] -> [...] (Agarwal et al. 2021).

    A quarter of the values, rounded down, is cut at each end.
    """
    cut = values.shape[-1] // 4
    return np.sort(values, -1)[..., cut : values.shape[-1] - cut].mean(-1)


def mean(values: np.ndarray) -> np.ndarray:
    """Return the mean, [..., n] -> [...]."""
    return values.mean(-1)


class Interval(NamedTuple):
    """A 95 % interval; nan for a single seed."""

    low: float
    high: float


NO_INTERVAL = Interval(np.nan, np.nan)


def interval(scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = iqm) -> Interval:
    """Return the percentile bootstrap interval of a statistic of scores [S, T].

    Resampling seeds for every task, as is usual where each task has training runs of its
    own, would count one agent's 27 test goals as 27 independent observations.
    """
    if len(scores) < 2:
        return NO_INTERVAL
    picked = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, len(scores)))
    drawn = scores[picked]  # [R, S, T]
    return percentiles(statistic(drawn.reshape(RESAMPLES, -1)))


def percentiles(values: np.ndarray) -> Interval:
    """Return the interval that holds 95 % of bootstrap values [R]."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))


def win_rate(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return for each pair of seeds the share of tasks with X > Y, ties half, [S, S'].

    Scores are [S, T] and [S', T], on the same tasks.
    """
    return (np.sign(x[:, None] - y[None]).mean(-1) + 1) / 2


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> float:
    """Return P(X > Y) + P(X = Y) / 2, mean over tasks (Agarwal et al. 2021), [S, T], [S', T]."""
    return float(win_rate(x, y).mean())


def improvement_interval(x: np.ndarray, y: np.ndarray) -> Interval:
    """Return the bootstrap interval of `probability_of_improvement`; seeds are resampled."""
    if min(len(x), len(y)) < 2:
        return NO_INTERVAL
    rng = np.random.default_rng(0)
    rows, columns = (rng.integers(len(of), size=(RESAMPLES, len(of))) for of in (x, y))
    drawn = win_rate(x, y)[rows[:, :, None], columns[:, None, :]]
    return percentiles(drawn.mean((1, 2)))


def permutation_p(x: np.ndarray, y: np.ndarray) -> float:
    """Return the two-sided p of a permutation test on the difference of means, seeds [S], [S'].

    It assumes nothing of the distribution. It is exact up to 10,000 permutations, beyond
    which they are sampled. 3 seeds against 3 cannot get below 0.1, 4 against 4 not below 0.03.
    """
    if min(len(x), len(y)) < 2:
        return 1.0
    from scipy import stats  # half a second, which readers of a run do without

    rounded = np.round(np.concatenate([x, y]), 9)  # equal up to rounding is equal
    difference = lambda x, y, axis: x.mean(axis) - y.mean(axis)
    test = stats.permutation_test(
        np.split(rounded, [len(x)]), difference, n_resamples=9999, vectorized=True, rng=0
    )
    return float(test.pvalue)


def mean_interval(values: np.ndarray) -> Interval:
    """Return Student's interval of the mean over seeds [S]."""
    if len(values) < 2:
        return NO_INTERVAL
    from scipy import stats

    error = values.std(ddof=1) / np.sqrt(len(values))
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error)
    return Interval(float(values.mean()) - half_width, float(values.mean()) + half_width)


def trend(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return Kendall's tau between a setting x [n] and an outcome y [n], and its p-value."""
    from scipy import stats

    test = stats.kendalltau(x, y)
    return float(test.statistic), float(test.pvalue)
