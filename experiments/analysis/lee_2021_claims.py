"""Claims of Lee & Chung (2021) on the gridworlds, tested on our runs.

A claim that one method is better than another is tested by an exact permutation test over seeds
(two-sided p < 0.05: possible with 4 seeds against 4, not with 3 against 3); one about a number by
Student's 95 % interval over seeds. There is no correction for multiple testing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.analysis.comparisons import LEVEL, compare
from experiments.analysis.run_record import Results, is_oracle
from experiments.analysis.summary import by_seed, threshold
from jaxmeta.config.run import Run
from jaxmeta.statistics import evaluations, final_mean, mean_interval, trend

HOLDS, FAILS = "holds", "does not hold"
INCONCLUSIVE, ABSENT = "inconclusive with this number of seeds", "not run"
REACHED = 19  # test goals of LDM (5.1)
# What may differ from the paper's settings: budgets, evaluation, and what a figure varies.
FREE = ("frames", "seeds", "log_every", "train_split", "evaluation.")
VARIED = {"gridworld-extrapolation": ["imagination.beta"]}


class Verdict(NamedTuple):
    """The outcome of a claim's test on our runs."""

    word: str
    ours: str  # our numbers


class Claim(NamedTuple):
    """A statement of the paper, and its test."""

    statement: str
    section: str
    test: Callable[["Found"], Verdict]


Found = dict[str, list[Results]]  # runs with the paper's settings by "method" or "method oracle"


def by_method(results: list[Results]) -> Found:
    """Return the runs that have the paper's settings; budgets and evaluation may differ."""
    found: Found = {}
    for result in results:
        run = result.run
        if run.uses_foreign_code:  # no claim is about them, and a folder names no code to execute
            continue
        free = [name for name in run.fields() if name.startswith(FREE)]
        free += VARIED.get(run.env, [])
        settings, paper = (
            {name: value for name, value in r.fields().items() if name not in free}
            for r in (run, Run(env=run.env, method=run.method))
        )
        if settings == paper:
            oracle = " oracle" if is_oracle(run) else ""
            found.setdefault(run.method + oracle, []).append(result)
    return found


def longest_run(found: Found, name: str) -> Results | None:
    """Return the longest run of a method, None without one."""
    return max(found.get(name, []), key=lambda result: result.frames, default=None)


def combine(verdicts: list[Verdict]) -> Verdict:
    """Return the verdict on a claim of several parts: it holds if all of them do."""
    words = [verdict.word for verdict in verdicts]
    ours = "; ".join(verdict.ours for verdict in verdicts)
    worst = next((word for word in (FAILS, ABSENT, INCONCLUSIVE) if word in words), HOLDS)
    return Verdict(worst, ours)


def better_than(x: str, y: str, split: str, measure: str) -> Callable[[Found], Verdict]:
    """Return the test of: x is better than y."""

    def test(found: Found) -> Verdict:
        a, b = longest_run(found, x), longest_run(found, y)
        if a is None or b is None:
            return Verdict(ABSENT, f"needs {x} and {y}")
        difference = compare(a, b, split, "greedy", measure)
        means = [by_seed(r, split, "greedy", measure).mean() for r in (a, b)]
        ours = f"{a.label} {means[0]:.1f}, {b.label} {means[1]:.1f}, p = {difference.p:.2g}"
        if not difference.significant:
            return Verdict(INCONCLUSIVE, ours)
        return Verdict(HOLDS if difference.means > 0 else FAILS, ours)

    return test


def above_bound(values: np.ndarray, bound: float, what: str) -> Verdict:
    """Return the verdict on: the mean over seeds is above the bound."""
    low, high = mean_interval(values)
    ours = f"{what} {values.mean():.1f}"
    if math.isnan(low):
        return Verdict(INCONCLUSIVE, f"{ours} (one seed)")
    ours += f" [{low:.1f}, {high:.1f}]"
    return Verdict(HOLDS if low > bound else FAILS if high <= bound else INCONCLUSIVE, ours)


def opposite(verdict: Verdict) -> Verdict:
    """Return the verdict on the opposite claim."""
    return verdict._replace(word={HOLDS: FAILS, FAILS: HOLDS}.get(verdict.word, verdict.word))


def reaches_optimum(name: str) -> Callable[[Found], Verdict]:
    """Return the test of: this method reaches the optimal return on training tasks."""

    def test(found: Found) -> Verdict:
        result = longest_run(found, name)
        solved = None if result is None else threshold(result)
        if result is None or solved is None:
            return Verdict(ABSENT, f"needs {name}")
        values = by_seed(result, result.splits[0], "greedy", "return")
        return above_bound(values, solved, result.label)

    return test


def reaches_goals(name: str, bound: float) -> Callable[[Found], Verdict]:
    """Return the test of: this method reaches at least so many test goals."""

    def test(found: Found) -> Verdict:
        result = longest_run(found, name)
        if result is None:
            return Verdict(ABSENT, f"needs {name}")
        return above_bound(by_seed(result, "test", "greedy", "goals"), bound, result.label)

    return test


def decays(found: Found) -> Verdict:
    """Test: RL2's test return is high early and then falls."""
    result = longest_run(found, "rl2")
    if result is None:
        return Verdict(ABSENT, "needs rl2")
    values = evaluations(result.table("greedy", "test"), "return").values
    fifth = values.shape[-1] // 5
    if not fifth:
        return Verdict(INCONCLUSIVE, "fewer than five evaluations")
    early = values[:, fifth : 2 * fifth].mean(-1)
    fall = early - final_mean(values)
    what = f"{early.mean():.1f} in the second fifth of training; fall to the last"
    return above_bound(fall, 0.0, what)


def all_hold(*tests: Callable[[Found], Verdict]) -> Callable[[Found], Verdict]:
    """Return the test of a conjunction of claims."""
    return lambda found: combine([test(found) for test in tests])


def negate(test: Callable[[Found], Verdict]) -> Callable[[Found], Verdict]:
    """Return the test of the opposite claim."""
    return lambda found: opposite(test(found))


def with_beta(found: Found) -> list[Results]:
    """Return all LDM runs; in the extrapolation study they differ in beta."""
    return found.get("ldm", [])


def interpolates(found: Found) -> Verdict:
    """Test: with beta of 1 and 1.5, goals between the training goals get the higher return."""
    chosen = [r for r in with_beta(found) if r.run.imagination.beta in (1.0, 1.5)]
    if not chosen:
        return Verdict(ABSENT, "needs ldm at beta 1 or 1.5")
    return combine(
        [
            above_bound(
                by_seed(r, "test1", "greedy", "return") - by_seed(r, "test2", "greedy", "return"),
                0.0,
                f"β = {r.run.imagination.beta:g}: test1 minus test2",
            )
            for r in chosen
        ]
    )


def trends(split: str, sign: int) -> Callable[[Found], Verdict]:
    """Return the test of: with beta, this split's return rises (sign 1) or falls (-1)."""

    def test(found: Found) -> Verdict:
        chosen = with_beta(found)
        if len({r.run.imagination.beta for r in chosen}) < 3:
            return Verdict(ABSENT, "needs ldm at three values of beta")
        values = [by_seed(r, split, "greedy", "return") for r in chosen]
        betas = [
            np.full(len(v), r.run.imagination.beta) for v, r in zip(values, chosen, strict=True)
        ]
        tau, p = trend(np.concatenate(betas), np.concatenate(values))
        ours = f"Kendall's τ of {split} return with β {tau:.2f}, p = {p:.2g}"
        if not p < LEVEL:
            return Verdict(INCONCLUSIVE, ours)
        return Verdict(HOLDS if sign * tau > 0 else FAILS, ours)

    return test


METHODS = ("ldm", "mixreg", "rl2", "varibad")
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "gridworld": (
        Claim(
            "LDM, Mixreg, RL² and variBAD reach the same, optimal training return.",
            "5.1, Figure 3",
            all_hold(*(reaches_optimum(name) for name in METHODS)),
        ),
        Claim(
            "On test tasks LDM has the highest return of all methods that are no oracles.",
            "5.1, Figure 3",
            all_hold(*(better_than("ldm", name, "test", "return") for name in METHODS[1:])),
        ),
        Claim(
            "LDM misses fewer test goals than all methods that are no oracles.",
            "5.1, Figure 3",
            all_hold(*(better_than("ldm", name, "test", "goals") for name in METHODS[1:])),
        ),
        Claim(
            f"LDM reaches {REACHED} of the 27 test goals on average.",
            "5.1",
            reaches_goals("ldm", REACHED - 0.5),  # as the paper rounds
        ),
        Claim(
            "Mixreg generalises better than RL², LDM better than Mixreg.",
            "5.1, Figure 3",
            all_hold(
                better_than("mixreg", "rl2", "test", "return"),
                better_than("ldm", "mixreg", "test", "return"),
            ),
        ),
        Claim(
            "RL²'s test return is high early in training and falls as it overfits.",
            "5.1, Figure 3",
            decays,
        ),
        Claim(
            "variBAD fails in most of the test tasks.",
            "5.1",
            negate(reaches_goals("varibad", 13.5)),
        ),
        Claim(
            "LDM narrows the gap between RL² and the oracle that trains on the test tasks too.",
            "5.1",
            all_hold(
                better_than("rl2 oracle", "rl2", "test", "return"),
                better_than("ldm", "rl2", "test", "return"),
            ),
        ),
        Claim(
            "ProMP and E-MAML do not reach the optimal training return.",
            "5.1, Figure 3",
            lambda found: Verdict(ABSENT, "neither is in the library yet"),
        ),
    ),
    "gridworld-extrapolation": (
        Claim(
            "With β of 1 and 1.5, LDM does better between the training goals (test1) than beyond"
            " them (test2).",
            "5.1.2, Figure 6",
            interpolates,
        ),
        Claim(
            "As β rises, the return between the training goals falls.",
            "5.1.2, Figure 6",
            trends("test1", -1),
        ),
        Claim(
            "As β rises, the return beyond the training goals rises.",
            "5.1.2, Figure 6",
            trends("test2", 1),
        ),
    ),
}


def verdicts(results: list[Results]) -> list[tuple[Claim, Verdict]]:
    """Return the claims on the runs' environment, each with our verdict."""
    found = by_method(results)
    return [(claim, claim.test(found)) for claim in CLAIMS.get(results[0].run.env, ())]
