"""Figures: artists carry the numbers they should, worked out by hand; files are written."""

import json

import numpy as np
import pytest

from experiments.analysis import run_record
from experiments.figures import learning_curves, style
from jaxmeta.config.run import Run
from jaxmeta.rundir import layout
from tests.written import RETURN_TASKS, write_returns


def test_short_curves_are_not_smoothed(ldm):
    raw, line, _ = learning_curves.learning_curves([ldm]).axes[1].lines
    assert list(raw.get_ydata()) == list(line.get_ydata()) == [1, 6, 10]


def test_curves_are_smoothed_means_with_bands(ldm, monkeypatch):
    monkeypatch.setattr(learning_curves, "FEWEST", 1)
    drawn = learning_curves.learning_curves([ldm])
    train, test, missed = drawn.axes[:3]
    raw, line, optimum = (x.get_ydata() for x in test.lines)
    # The test task has index 2, so its returns are [-1, 3], [5, 7], [8, 12].
    assert list(raw) == [1, 6, 10]
    # By seed, moving averages are -1, 2, 4 and 3, 5, 22 / 3.
    assert list(line) == pytest.approx([1, 3.5, 17 / 3])
    assert list(optimum) == [26.7, 26.7]
    assert list(train.lines[2].get_ydata()) == pytest.approx([23.4, 23.4])
    edges = test.collections[0].get_paths()[0].vertices
    assert edges[:, 1].max() == pytest.approx(17 / 3 + (10 / 3) / np.sqrt(2))
    assert list(test.lines[1].get_xdata()) == [0, 1, 2]
    assert list(missed.lines[0].get_ydata()) == [0.5, 0, 0]  # only seed 0 missed, at first


def test_a_figure_is_two_files(ldm, tmp_path):
    files = style.save(learning_curves.learning_curves([ldm]), tmp_path / "figures", "curves")
    assert [f.name for f in files] == ["curves.png", "curves.svg"]
    assert all(f.stat().st_size > 1000 for f in files)


def test_dead_seeds_are_in_no_curve(tmp_path):
    path = write_returns(tmp_path / "a", Run(method="rl2", seeds=3), [[1, 90, 5], [3, 90, 7]])
    text = (path / layout.EVALUATION).read_text().splitlines(keepends=True)
    kept = [line for line in text if not line.startswith("1000000,1,")]  # one evaluation only
    (path / layout.EVALUATION).write_text("".join(kept))
    dead = {"1": {"update": 37, "quantity": "kl"}}
    (path / layout.MANIFEST).write_text(json.dumps({"status": "finished", "dead_seeds": dead}))
    drawn = learning_curves.learning_curves(run_record.read([path]))
    assert list(drawn.axes[1].lines[0].get_ydata()) == [5, 7]  # the test task has index 2
    assert "RL²: 2)" in drawn.get_supxlabel()


def test_mixed_runs_are_said_to_be_mixed(tmp_path):
    for name, version in {"a": 1, "b": 2}.items():
        path = write_returns(tmp_path / name, Run(method="rl2"), [[1]])
        manifest = {"status": "finished", "env_version": version}
        (path / layout.MANIFEST).write_text(json.dumps(manifest))
    a, b = run_record.read([tmp_path])
    assert "Mixed" in learning_curves.learning_curves([a, b]).get_supxlabel()
    assert "Mixed" not in learning_curves.learning_curves([a]).get_supxlabel()


def test_every_test_split_has_its_panels(tmp_path):
    tasks = [
        dict(RETURN_TASKS[0]),
        dict(RETURN_TASKS[1], split="test1"),
        dict(RETURN_TASKS[2], split="test2"),
    ]
    run = Run(env="gridworld-extrapolation", method="rl2")
    result = run_record.read([write_returns(tmp_path / "a", run, [[1]], tasks)])[0]
    titles = [axes.get_title() for axes in learning_curves.learning_curves([result]).axes[:5]]
    names = ["train return", "test1 return", "test2 return"]
    names += ["test1 goals not reached", "test2 goals not reached"]
    assert titles == [f"{name}, greedy" for name in names]


def test_adaptation_is_drawn_by_episode(ldm):
    test = learning_curves.adaptation_curves([ldm]).axes[1]
    line, optimum = test.lines
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    # The last of three evaluations: 8 and 12 on the test task in episode 4.
    assert list(line.get_ydata()) == [-99, -99, -99, 10]
    assert list(optimum.get_ydata()) == [26.7, 26.7]
    edges = test.collections[0].get_paths()[0].vertices[:, 1]
    assert (edges.min(), edges.max()) == (-99, 12)


def test_first_episodes_have_curves_of_their_own(ldm):
    axes = learning_curves.learning_curves([ldm], episode=1).axes[1]
    assert list(axes.lines[0].get_ydata()) == [-99, -99, -99]
    assert axes.get_ylabel() == "return, episode 1"
