"""Statistics against numbers worked out by hand."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from scipy import integrate, stats

from jaxmeta import statistics


def table(rows):
    """Return columns from (frames, seed, task, return)."""
    frames, seed, task, value = zip(*rows, strict=True)
    columns = {"frames": frames, "seed": seed, "task": task, "return": value}
    return {name: np.array(column) for name, column in columns.items()}


TWO_SEEDS = table(
    [
        (100, 0, 0, 1.0),
        (100, 0, 1, 3.0),
        (100, 1, 0, 5.0),
        (100, 1, 1, 7.0),
        (200, 0, 0, 2.0),
        (200, 0, 1, 4.0),
        (200, 1, 0, 0.0),
        (200, 1, 1, -2.0),
    ]
)


def test_evaluations_are_means_over_tasks_by_seed_and_frames():
    frames, seeds, values = statistics.evaluations(TWO_SEEDS, "return")
    assert frames.tolist() == [100, 200]
    assert seeds.tolist() == [0, 1]
    assert values.tolist() == [[2.0, 3.0], [6.0, -1.0]]


def test_rows_keep_what_is_asked_for():
    kept = statistics.select_rows(TWO_SEEDS, seed=1, task=0)
    assert kept["return"].tolist() == [5.0, 0.0]


def test_rows_of_some_seeds():
    kept = statistics.select_seeds(TWO_SEEDS, {1, 7})
    assert kept["return"].tolist() == [5.0, 7.0, 0.0, -2.0]
    assert set(kept["seed"]) == {1}
    assert len(statistics.select_seeds(TWO_SEEDS, [])["seed"]) == 0


def test_an_evaluation_that_was_cut_short_is_left_out():
    cut = {name: column[:-1] for name, column in TWO_SEEDS.items()}
    assert statistics.whole_evaluations(cut, 4)["frames"].tolist() == [100] * 4
    whole = statistics.whole_evaluations(TWO_SEEDS, 4)
    assert whole["frames"].tolist() == [100] * 4 + [200] * 4


def test_even_the_only_evaluation_may_be_cut_short():
    cut = {name: column[:3] for name, column in TWO_SEEDS.items()}
    assert len(statistics.whole_evaluations(cut, 4)["frames"]) == 0


def test_an_empty_table_stays_empty():
    empty = {name: column[:0] for name, column in TWO_SEEDS.items()}
    assert len(statistics.whole_evaluations(empty, 4)["frames"]) == 0


def test_scores_are_means_over_the_last_fifth_by_seed_and_task():
    # Two evaluations: the last fifth is the second one.
    assert statistics.scores(TWO_SEEDS, "return").tolist() == [[2.0, 4.0], [0.0, -2.0]]
    ten = table([(f, 0, 0, float(f)) for f in range(10)])
    assert statistics.scores(ten, "return").tolist() == [[8.5]]


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (5, 1), (6, 2), (10, 2), (11, 3), (100, 20)])
def test_the_last_fifth_is_rounded_up(count, kept):
    assert statistics.last_fifth(np.arange(count)).tolist() == list(range(count - kept, count))


def test_final_mean_and_share_read_the_last_fifth_only():
    values = np.array([[100.0] * 8 + [20.0, 24.0], [0.0] * 8 + [23.0, 22.5]])
    assert statistics.final_mean(values).tolist() == [22.0, 22.75]
    assert statistics.final_share(values, 22.5).tolist() == [0.5, 1.0]


def test_first_at_finds_the_first_evaluation_at_or_above():
    frames = np.array([0, 10, 20, 30])
    assert statistics.first_at(frames, np.array([1.0, 22.5, 3.0, 24.0]), 22.5) == 10
    assert statistics.first_at(frames, np.array([1.0, 22.4, 3.0, 4.0]), 22.5) is None


def test_the_band_is_the_sample_standard_deviation():
    mean, deviation = statistics.seed_band(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]))
    assert mean.tolist() == [2.0, 5.0]
    assert deviation.tolist() == [1.0, 0.0]


def test_one_seed_has_no_band():
    mean, deviation = statistics.seed_band(np.array([[1.0, 5.0]]))
    assert mean.tolist() == [1.0, 5.0]
    assert deviation.tolist() == [0.0, 0.0]


def test_the_moving_average_looks_back_only():
    smooth = statistics.moving_average(np.array([[0.0, 2.0, 4.0, 12.0]]), window=3)
    assert smooth.tolist() == [[0.0, 1.0, 2.0, 6.0]]


RNG = np.random.default_rng(5)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 108])
def test_the_iqm_is_scipys_trimmed_mean(n):
    values = RNG.normal(size=(3, n)) ** 3
    expected = [stats.trim_mean(v, 0.25) for v in values]
    np.testing.assert_allclose(statistics.iqm(values), expected, rtol=1e-12)


@pytest.mark.parametrize("statistic", [statistics.iqm, statistics.mean])
def test_the_interval_is_scipys_bootstrap_over_whole_seeds(statistic):
    scores = RNG.normal(size=(8, 5)) + RNG.normal(size=(8, 1))
    found = stats.bootstrap(
        (np.arange(8),), lambda seeds: statistic(scores[seeds].reshape(-1)), method="percentile",
        vectorized=False, n_resamples=4000, rng=1,
    )  # fmt: skip
    tolerance = 4 * found.standard_error / np.sqrt(2000 * 0.025)  # of a 2.5 % quantile, roughly
    interval = statistics.interval(scores, statistic)
    np.testing.assert_allclose(interval, found.confidence_interval, atol=tolerance)
    assert interval == statistics.interval(scores, statistic)  # the same numbers every time


def test_the_interval_covers_the_truth_although_an_agents_tasks_are_correlated():
    """Resampling the seeds of each task apart, which must not be done, covers a third."""
    covered, apart = [], []
    for _ in range(200):
        scores = RNG.normal(size=(10, 1)) + 0.1 * RNG.normal(size=(10, 27))  # the true mean is 0
        low, high = statistics.interval(scores, statistics.mean)
        covered.append(low < 0 < high)
        picked = RNG.integers(10, size=(400, 10, 27))
        means = np.take_along_axis(scores[None], picked, 1).mean((1, 2))
        apart.append(np.quantile(means, 0.025) < 0 < np.quantile(means, 0.975))
    assert np.mean(covered) > 0.83  # 0.90 expected of 10 seeds, +-0.04 of 200 trials
    assert np.mean(apart) < 0.6


def test_every_task_is_in_every_resample():
    tasks = np.tile(np.arange(5.0) ** 3, (4, 1))  # seeds agree, tasks differ
    assert statistics.interval(tasks, statistics.mean) == (20.0, 20.0)


def test_one_seed_has_no_interval():
    one = np.ones((1, 4))
    found = (
        statistics.interval(one),
        statistics.improvement_interval(one, np.ones((3, 4))),
        statistics.mean_interval(one[:, 0]),
    )
    assert np.isnan(found).all()


def test_the_probability_of_improvement_is_scipys_u():
    x = RNG.integers(0, 4, size=(5, 6)).astype(float)  # with ties
    y = RNG.integers(0, 4, size=(3, 6)).astype(float)
    u = [stats.mannwhitneyu(x[:, t], y[:, t]).statistic / 15 for t in range(6)]
    assert statistics.probability_of_improvement(x, y) == pytest.approx(np.mean(u))
    assert statistics.probability_of_improvement(y, x) == pytest.approx(1 - np.mean(u))
    low, high = statistics.improvement_interval(x, y)
    assert 0 <= low < np.mean(u) < high <= 1


def test_the_improvement_interval_is_scipys_bootstrap():
    x, y = RNG.normal(0.5, size=(6, 4)), RNG.normal(size=(7, 4))

    def improvement(rows, columns):
        u = [stats.mannwhitneyu(x[rows, t], y[columns, t]).statistic for t in range(4)]
        return np.mean(u) / 42

    found = stats.bootstrap(
        (np.arange(6), np.arange(7)), improvement, method="percentile", vectorized=False,
        n_resamples=1000, rng=1,
    )  # fmt: skip
    tolerance = 4 * found.standard_error / np.sqrt(1000 * 0.025)
    interval = statistics.improvement_interval(x, y)
    np.testing.assert_allclose(interval, found.confidence_interval, atol=tolerance)


def test_certain_improvement_is_certain():
    better, worse = np.full((4, 3), 2.0), np.zeros((4, 3))
    assert statistics.probability_of_improvement(better, worse) == 1
    assert statistics.improvement_interval(better, worse) == (1, 1)


def test_the_permutation_test_counts_the_ways_to_split_the_seeds():
    # All of 4 above all of 4: 1 of 70 splits, twice for both sides.
    x, y = np.array([5.0, 6, 7, 8]), np.array([1.0, 2, 3, 4])
    assert statistics.permutation_p(x, y) == pytest.approx(2 / 70)
    assert statistics.permutation_p(y, x) == pytest.approx(2 / 70)
    assert statistics.permutation_p(x[:3], y[:3]) == pytest.approx(2 / 20)
    for one, other in ((x, x), (x[:1], y[:1]), (np.full(4, 23.28), np.full(4, 23.28 + 1e-13))):
        assert statistics.permutation_p(one, other) == 1
    splits = [
        sum(pick) / 4 - sum(np.r_[x, y]) / 8 for pick in combinations([5, 1, 7, 8, 2, 6, 3, 4], 4)
    ]
    mixed = np.array([5.0, 1, 7, 8])
    sure = np.mean(np.array(splits) >= mixed.mean() - 4.5 - 1e-9)
    assert statistics.permutation_p(mixed, np.array([2.0, 6, 3, 4])) == pytest.approx(2 * sure)


def test_the_mean_interval_is_scipys_t():
    values = RNG.normal(size=5)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(statistics.mean_interval(values), expected)


def test_a_trend_is_kendalls_tau():
    x, y = np.array([1.0, 1.5, 2, 2.5, 3]), np.array([5.0, 4, 3, 2, 1])
    tau, p = statistics.trend(x, y)
    assert (tau, p) == pytest.approx((-1, 2 / 120))  # one order of 120, and its reverse


def test_the_area_is_a_mean_over_training():
    frames, values = np.array([0, 1, 3]), np.array([[0.0, 2, 2], [4, 4, 4]])
    np.testing.assert_allclose(statistics.area_under_curve(frames, values), [5 / 3, 4])
    uneven, curve = np.sort(RNG.random(9)), RNG.normal(size=(2, 9))
    expected = integrate.trapezoid(curve, uneven) / (uneven[-1] - uneven[0])
    np.testing.assert_allclose(statistics.area_under_curve(uneven, curve), expected)
    assert statistics.area_under_curve(frames[:1], values[:, :1]).tolist() == [0, 4]


def test_it_imports_no_jax():
    code = "import sys, jaxmeta.statistics; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
