"""First episodes side by side: of runs whose trials differ in length, and against what is given."""

import numpy as np
import pytest

from experiments.analysis import first_episode
from experiments.analysis.run_record import read_results
from experiments.report.compose import report
from jaxmeta.config.run import Run
from jaxmeta.rundir.evaluation_csv import COLUMNS
from tests.written import two_episodes, write_run

CHEETAH = "half-cheetah-velocity-uniform"


def with_curve(result, returns, env=CHEETAH):
    """Return results of two seeds whose first test episode goes through these returns [2, E]."""
    rows = [
        (100_000 * k, seed, "greedy", "test", 0, episode, 1, value / episode, "")
        for k, values in enumerate(np.transpose(returns))
        for seed, value in enumerate(values)
        for episode in (1, 2)
    ]
    table = {name: np.array(x) for name, x in zip(COLUMNS, zip(*rows, strict=True), strict=True)}
    tasks = [{"split": split, "task": 1.0, "best_return": None} for split in ("train", "test")]
    run = Run(env=env, method="rl2", seeds=2)
    return result._replace(run=run, evaluation=table, tasks=tasks, label="RL²")


@pytest.fixture
def written(tmp_path):
    return read_results(write_run(tmp_path / "a", two_episodes(), [[9]], [[5]]))


def test_frames_until_what_is_given_are_of_the_first_episode(written):
    curve = with_curve(written, [[-300, -200, -149, -120], [-300] * 4])
    (said,) = first_episode.lines([curve])
    assert "frames until -150: 200,000, not reached" in said
    assert "after 300,000 frames -120, -300" in said
    assert "+29, +0" in said  # of the last two


def test_without_a_threshold_there_are_no_lines(written):
    assert first_episode.lines([written]) == []


def test_runs_of_equal_trials_stay_as_they_are(written):
    assert first_episode.common_episodes([written, written]) == ([written, written], [])


def test_runs_of_unequal_trials_are_compared_in_the_first_episode(tmp_path, capsys):
    twice = write_run(tmp_path / "twice", two_episodes(), [[9]], [[5]])  # its first has 1 less
    once = two_episodes().replace({"trial.episodes": 1})
    once = write_run(tmp_path / "once", once, [[9]], [[5]])
    found = report([twice, once], tmp_path / "report")
    assert "trials have 1 or 2 episodes: compared is the first episode" in capsys.readouterr().out
    means = [row for row in found.rows if row["seed"] == 0]
    assert [row["train_return_episode_1"] for row in means] == [8, 9]
    assert [row["test_return_greedy"] for row in means] == [4, 5]
    assert not any("train_return_episode_2" in row for row in means)
