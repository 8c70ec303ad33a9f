"""Statistics against numbers worked out by hand."""

import subprocess
import sys

import numpy as np
import pytest

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
    kept = statistics.rows(TWO_SEEDS, seed=1, task=0)
    assert kept["return"].tolist() == [5.0, 0.0]


def test_rows_of_some_seeds():
    kept = statistics.of_seeds(TWO_SEEDS, {1, 7})
    assert kept["return"].tolist() == [5.0, 7.0, 0.0, -2.0]
    assert set(kept["seed"]) == {1}
    assert len(statistics.of_seeds(TWO_SEEDS, [])["seed"]) == 0


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


def test_tasks_are_averaged_over_seeds_and_the_last_fifth():
    # Two evaluations: the last fifth is the second one.
    assert statistics.by_task(TWO_SEEDS, "return") == {0: 1.0, 1: 1.0}


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


def test_it_imports_no_jax():
    code = "import sys, jaxmeta.statistics; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
