"""Runs read together: labels, colours, folders."""

import pytest

from experiments.analysis import run_record
from experiments.figures import learning_curves
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from tests.written import write_returns


def test_runs_have_labels_and_colours_of_their_own(tmp_path):
    runs = {
        "a": Run(method="ldm"),
        "b": Run(method="ldm").replace({"imagination.beta": 1.5}),
        "c": Run(method="rl2", train_split="oracle"),
        "d": Run(method="rl2"),
    }
    for folder, run in runs.items():
        write_returns(tmp_path / folder, run, [[1]])
    results = run_record.read([tmp_path])
    assert [r.label for r in results] == ["RL²", "RL² oracle", "LDM (a)", "LDM (b)"]
    assert results[0].colour == results[1].colour  # told apart by dashes
    assert len({r.colour for r in results}) == 3
    line = learning_curves.learning_curves(results).axes[0].lines[3]
    assert (line.get_label(), line.get_linestyle()) == ("RL² oracle", "--")


def test_a_folder_is_replaced_by_its_runs(tmp_path):
    a, b = (write_returns(tmp_path / "many" / x, Run(method="rl2"), [[1]]) for x in "ab")
    assert run_record.expand([tmp_path / "many", a]) == [a, b]
    with pytest.raises(ConfigError, match="holds no run"):
        run_record.expand([tmp_path / "nothing"])


def test_runs_on_two_environments_are_refused(tmp_path):
    write_returns(tmp_path / "a", Run(method="rl2"), [[1]])
    write_returns(tmp_path / "b", Run(env="gridworld-extrapolation", method="rl2"), [[1]])
    with pytest.raises(ConfigError, match="share one environment"):
        run_record.read([tmp_path])
