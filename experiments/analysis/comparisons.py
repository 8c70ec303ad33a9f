"""Pairwise comparisons of runs, with their tests."""

from typing import NamedTuple

from experiments.analysis.run_record import Results
from experiments.analysis.summary import find, scores
from jaxmeta.statistics import (
    CONFIDENCE,
    Interval,
    improvement_interval,
    permutation_p,
    probability_of_improvement,
)

LEVEL = 1 - CONFIDENCE  # below this p, a difference is significant


class Difference(NamedTuple):
    """One quantity of two runs, x minus y."""

    means: float  # difference of the seeds' means
    p: float  # of the permutation test over seeds
    improvement: float  # probability that a seed of x beats a seed of y on a task
    interval: Interval  # of that probability

    @property
    def significant(self) -> bool:
        """Whether the difference is significant."""
        return self.p < LEVEL


def compare(x: Results, y: Results, split: str, policy: str, measure: str) -> Difference:
    """Compare two runs on one quantity of the N-th episode."""
    a, b = (scores(r, find(r, split, policy, measure)) for r in (x, y))
    return Difference(
        float(a.mean() - b.mean()),
        permutation_p(a.mean(-1), b.mean(-1)),
        probability_of_improvement(a, b),
        improvement_interval(a, b),
    )
