"""First episodes side by side: of runs whose trials differ in length, and against what is given."""

import numpy as np

import jaxmeta
from experiments import first_episode
from experiments.record import read_results
from experiments.report import report
from jaxmeta.config import Run
from jaxmeta.rundir import EVALUATION_FIELDS
from tests.tiny import tiny_run

CHEETAH = "half-cheetah-velocity-uniform"


def with_curve(result, returns, env=CHEETAH):
    """Return results of two seeds whose first test episode goes through these returns [2, E]."""
    rows = [
        (100_000 * k, seed, "greedy", "test", 0, episode, 1, value / episode, "")
        for k, values in enumerate(np.transpose(returns))
        for seed, value in enumerate(values)
        for episode in (1, 2)
    ]
    table = {
        name: np.array(x)
        for name, x in zip(EVALUATION_FIELDS, zip(*rows, strict=True), strict=True)
    }
    tasks = [{"split": split, "task": 1.0, "best_return": None} for split in ("train", "test")]
    run = Run(env=env, method="rl2", seeds=2)
    return result._replace(run=run, evaluation=table, tasks=tasks, label="RL²")


def test_frames_until_what_is_given_are_of_the_first_episode(trained):
    curve = with_curve(read_results(trained.out), [[-300, -200, -149, -120], [-300] * 4])
    (said,) = first_episode.lines([curve])
    assert "frames until -150: 200,000, not reached" in said
    assert "after 300,000 frames -120, -300" in said
    assert "+29, +0" in said  # of the last two


def test_without_a_given_return_nothing_is_said(trained):
    result = read_results(trained.out)
    assert first_episode.lines([result]) == []


def test_runs_of_equal_trials_stay_as_they_are(trained):
    result = read_results(trained.out)
    assert first_episode.common([result, result]) == ([result, result], [])


def test_runs_of_unequal_trials_are_compared_in_the_first_episode(trained, tmp_path, capsys):
    once = tmp_path / "once"
    small = {"trial.episodes": 1, "frames": 960, "log_every": 480, "evaluation.every": 480}
    jaxmeta.train(tiny_run("ldm", small), once)
    found = report([trained.out, once], tmp_path / "report")
    assert "trials have 1 or 2 episodes: compared is the first episode" in capsys.readouterr().out
    by_label = {row["method"]: row for row in found.rows}
    assert len(by_label) == 2
    for row in by_label.values():
        assert "train_return_episode_1" in row
        assert "train_return_episode_2" not in row
