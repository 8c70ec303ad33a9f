"""The report's table against a run directory with known answers."""

import csv
import json
import math
import subprocess
import sys

import pytest

from experiments.report import report
from jaxmeta import rundir
from jaxmeta.config import Run
from jaxmeta.errors import ConfigError

TRAIN, TEST = [[0, 2], [6, 6]], [[3, 0], [3, 1], [3, 2]]


def write_run(path, run, train, test, *, tests=("test",), reached="1.0", best=25.0):
    """Write an unfinished run: train[s][e] and test[s][e] are the last episode's returns.

    First episodes return 1 less. The last test task of every split is never reached.
    """
    path.mkdir(parents=True)
    tasks = [("train", task) for task in TRAIN] + [(s, task) for s in tests for task in TEST]
    described = [{"split": s, "task": task, "best_return": best} for s, task in tasks]
    (path / rundir.CONFIG).write_text(run.to_json())
    (path / rundir.TASKS).write_text(json.dumps(described))
    (path / rundir.MANIFEST).write_text('{"status": "running"}')
    # 1,000 frames at 100 frames/s, then 3,000 at 50: 4,000 frames in 70 s.
    lines = [{"seed": 0, "frames": 1000, "frames_per_s": 100.0}]
    lines += [{"seed": 0, "frames": 4000, "frames_per_s": 50.0}]
    (path / rundir.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with (path / rundir.EVALUATION).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rundir.EVALUATION_FIELDS)
        for seed, values in enumerate(zip(train, test, strict=True)):
            for e, (train_return, test_return) in enumerate(zip(*values, strict=True)):
                for policy, bonus in (("greedy", 0.0), ("sampled", 0.25)):
                    for i, (split, task) in enumerate(tasks):
                        value = (train_return if split == "train" else test_return) + bonus
                        hit = reached if task != TEST[-1] or not reached else "0.0"
                        for episode, less in ((1, 1), (2, 0)):
                            row = (1000 * e, seed, policy, split, i, episode, 1, value - less, hit)
                            writer.writerow(row)
    return path


def two_episodes(**fields):
    return Run(method="rl2", **fields).replace({"trial.episodes": 2})


@pytest.fixture
def rl2(tmp_path):
    # Seed 0 reaches 22.5 in its third evaluation; seed 1 never does.
    train = [[0, 10, 22.5, 20, 24], [0, 1, 2, 3, 22]]
    test = [[0, 0, 0, 0, 12], [0, 0, 0, 0, 14]]
    return write_run(tmp_path / "rl2", two_episodes(seeds=2), train, test)


def test_rows_hold_what_was_computed_by_hand(rl2):
    rows = report([rl2]).rows
    assert [row["seed"] for row in rows] == [0, 1, "mean", "std"]
    first, second, mean, deviation = rows
    assert first["method"] == "RL²"
    assert first["frames"] == 4000
    assert first["frames_per_s"] == pytest.approx(4000 / 70)
    assert first["threshold"] == 22.5
    assert first["frames_at_threshold"] == 2000
    assert math.isnan(second["frames_at_threshold"])
    assert math.isnan(mean["frames_at_threshold"])
    assert (first["share_at_threshold"], second["share_at_threshold"]) == (1, 0)
    assert (first["train_return_episode_1"], first["train_return_episode_2"]) == (23, 24)
    assert (mean["train_return_episode_2"], mean["test_return_greedy"]) == (23, 13)
    assert deviation["test_return_greedy"] == pytest.approx(math.sqrt(2))
    assert mean["test_return_sampled"] == 13.25
    assert first["test_goals_greedy"] == pytest.approx(2)


def test_the_terminal_says_what_was_not_reached(rl2, capsys):
    report([rl2])
    text = " ".join(capsys.readouterr().out.split())
    assert "not reached" in text
    assert "…" not in text  # nothing is cut short, however narrow the terminal
    assert "running, 4,000 of 100,000,000 frames" in text
    assert "frames at" in text
    assert "≥ 22.5" in text
    assert "last fifth" in text
    assert "17.17 is the highest" in text
    assert "holds no checkpoint" in text
    assert "optimum 25.00" in text


def test_files_lie_beside_the_run(rl2):
    found = report([rl2])
    folder = rl2 / "figures"
    names = {"summary.csv", "curves.png", "curves.svg", "cells.png", "cells.svg"}
    assert {file.name for file in found.files} == names
    assert {file.name for file in folder.iterdir()} == names
    with (folder / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["frames_at_threshold"], rows[1]["frames_at_threshold"]) == ("2000", "")
    assert float(rows[2]["test_return_greedy"]) == 13


def test_several_runs_share_their_parents_figures(rl2, tmp_path):
    oracle = two_episodes(train_split="oracle")
    write_run(tmp_path / "oracle", oracle, [[25.0]], [[25.0]])
    found = report([tmp_path])
    assert [row["method"] for row in found.rows] == ["RL²"] * 4 + ["RL² oracle"]
    assert (tmp_path / "figures" / "curves.png").is_file()
    elsewhere = report([tmp_path], tmp_path / "out")
    assert all(file.is_relative_to(tmp_path / "out" / "figures") for file in elsewhere.files)


def test_two_test_splits_have_columns_each(tmp_path, capsys):
    run = two_episodes(env="gridworld-extrapolation")
    path = write_run(tmp_path / "a", run, [[24.3]], [[1.0]], tests=("test1", "test2"))
    (row,) = report([path]).rows
    assert {f"{s}_return_greedy" for s in ("test1", "test2")} <= row.keys()
    assert row["threshold"] == pytest.approx(0.97 * 25)
    assert row["share_at_threshold"] == 1
    assert "17.17" not in capsys.readouterr().out


def test_an_environment_without_goals_has_curves_and_a_table(tmp_path, capsys):
    env = tmp_path / "env.py"
    env.write_text("raise RuntimeError('a report runs no code that a run names')")
    run = two_episodes(env=f"{env}:make")
    path = write_run(tmp_path / "a", run, [[2.0]], [[1.0]], reached="", best=None)
    found = report([path])
    assert {file.name for file in found.files} == {"summary.csv", "curves.png", "curves.svg"}
    assert math.isnan(found.rows[0]["test_goals_greedy"])
    text = capsys.readouterr().out
    assert "optimum" not in text
    assert "goals/" not in text
    assert "≥" not in text


def test_a_run_without_evaluations_is_named_and_left_out(tmp_path, capsys):
    path = write_run(tmp_path / "a", two_episodes(), [[]], [[]])
    assert report([path]) == ([], [])
    assert "no evaluation yet" in " ".join(capsys.readouterr().out.split())


def test_no_run_is_bad_input(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        report([tmp_path])


def test_reports_import_jax_only_for_maps():
    code = "import sys, experiments.report; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
