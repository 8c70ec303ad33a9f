"""The numbers of a report, by run and seed, and over seeds; the rows of summary.csv."""

import csv
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.analysis.run_record import Results
from jaxmeta import statistics
from jaxmeta.rundir.evaluation_csv import POLICIES
from jaxmeta.statistics import area_under_curve, evaluations, final_share, first_at

# The return that counts as solved: a round number where one is in use, else 97 % of the best.
THRESHOLDS = {"gridworld": 22.5}
NEAR_BEST = 0.97

Row = dict[str, Any]  # of summary.csv; nan: undefined or not reached


class Quantity(NamedTuple):
    """A column of summary.csv."""

    key: str
    split: str
    policy: str
    measure: str  # "return"; "goals" reached; "area" under the return's learning curve
    episode: int


class Estimate(NamedTuple):
    """A quantity over seeds: of returns, the IQM is over seeds and tasks."""

    mean: float
    deviation: float  # standard deviation
    iqm: float
    low: float
    high: float


def quantities(result: Results) -> list[Quantity]:
    """Return the reported quantities of a run; the training split comes first."""
    train, *tests = result.splits
    n = result.episodes
    found = [Quantity(f"{train}_return_episode_1", train, "greedy", "return", 1)] if n > 1 else []
    found += [
        Quantity(f"{train}_return_episode_{n}", train, "greedy", "return", n),
        Quantity(f"{train}_return_sampled", train, "sampled", "return", n),
    ]
    for split in tests:
        if n > 1:
            found.append(Quantity(f"{split}_return_episode_1", split, "greedy", "return", 1))
        for policy in POLICIES:
            found += [
                Quantity(f"{split}_{measure}_{policy}", split, policy, measure, n)
                for measure in ("return", "goals")
            ]
    return found + [
        Quantity(f"{split}_area_{policy}", split, policy, "area", n)
        for split in result.splits
        for policy in POLICIES
    ]


def find(result: Results, split: str, policy: str, measure: str) -> Quantity:
    """Return a quantity of the N-th episode."""
    n = result.episodes
    return next(q for q in quantities(result) if q[1:] == (split, policy, measure, n))


def scores(result: Results, quantity: Quantity) -> np.ndarray:
    """Return a quantity by seed and task [S, T]; goals and areas are one number per seed."""
    table = result.table(quantity.policy, quantity.split, quantity.episode)
    if quantity.measure == "area":
        frames, _, values = evaluations(table, "return")
        return area_under_curve(frames, values)[:, None]
    if quantity.measure == "goals":
        return statistics.scores(table, "reached").sum(-1, keepdims=True)
    return statistics.scores(table, "return")


def by_seed(result: Results, split: str, policy: str, measure: str) -> np.ndarray:
    """Return one number per seed [S] of the N-th episode."""
    return scores(result, find(result, split, policy, measure)).mean(-1)


def estimate(values: np.ndarray) -> Estimate:
    """Return the statistics of scores [S, T] over seeds."""
    mean, deviation = statistics.seed_band(values.mean(-1))
    iqm = statistics.iqm(values.reshape(-1))
    return Estimate(float(mean), float(deviation), float(iqm), *statistics.interval(values))


def speed(result: Results) -> float:
    """Return frames/s of the whole run, all seeds together; nan before the first log line."""
    by_update = {line["frames"]: line["frames_per_s"] for line in result.metrics}
    if not by_update:
        return math.nan
    done = np.array(sorted(by_update))
    chunks = np.diff(done, prepend=0)
    return float(chunks.sum() / (chunks / [by_update[f] for f in done]).sum())


def threshold(result: Results) -> float | None:
    """Return the mean train return that counts as solved, None where no optimum is known."""
    best = result.best(result.splits[0])
    if best is None:
        return None
    return THRESHOLDS.get(result.run.env, best - (1 - NEAR_BEST) * abs(best))


def seed_rows(result: Results) -> list[Row]:
    """Return one row per seed: everything that summary.csv holds."""
    greedy = evaluations(result.table("greedy", result.splits[0]), "return")
    solved = threshold(result)
    found: list[Row] = []
    for seed, values in zip(greedy.seeds, greedy.values, strict=True):
        reached = None if solved is None else first_at(greedy.frames, values, solved)
        row = {
            "method": result.label,
            "seed": int(seed),
            "frames": result.frames,
            "frames_per_s": speed(result),
            "threshold": math.nan if solved is None else solved,
            "frames_at_threshold": math.nan if reached is None else reached,
            "share_at_threshold": math.nan if solved is None else final_share(values, solved),
        }
        found.append(row)
    for quantity in quantities(result):
        for row, value in zip(found, scores(result, quantity).mean(-1), strict=True):
            row[quantity.key] = float(value)
    return found


def summary(results: list[Results]) -> list[Row]:
    """Return the rows of all runs.

    Where a run has several seeds, "mean" and "std" follow, then "iqm" and its interval's
    "low" and "high".
    """
    found = []
    for result in results:
        by_seed = seed_rows(result)
        found += by_seed
        if len(by_seed) > 1:
            found += aggregate_seeds(result, by_seed)
    return found


def aggregate_seeds(result: Results, by_seed: list[Row]) -> list[Row]:
    """Return the rows that sum up a run's seeds."""
    numbers = [key for key in by_seed[0] if key not in ("method", "seed")]
    values = np.array([[row[key] for key in numbers] for row in by_seed], float)
    lines = dict(zip(("mean", "std"), statistics.seed_band(values), strict=True))
    found = [
        {"method": result.label, "seed": name} | dict(zip(numbers, line.tolist(), strict=True))
        for name, line in lines.items()
    ]
    known = {q.key: estimate(scores(result, q)) for q in quantities(result)}
    for name in ("iqm", "low", "high"):
        line = {key: getattr(value, name) for key, value in known.items()}
        found.append({"method": result.label, "seed": name} | line)
    return found


def write_summary(rows: list[Row], folder: Path) -> list[Path]:
    """Write summary.csv; what is undefined or was not reached stays empty."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.csv"
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows({k: "" if undefined(v) else v for k, v in row.items()} for row in rows)
    return [path]


def undefined(value: Any) -> bool:
    """Whether a row's value is nan."""
    return isinstance(value, float) and math.isnan(value)
