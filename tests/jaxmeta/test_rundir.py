"""The run directory: never overwritten, readable while it grows."""

import json

import numpy as np
import pytest

from jaxmeta import rundir
from jaxmeta.config import Run
from jaxmeta.errors import ConfigError

RUN = Run(method="rl2", frames=1920)


def written(path, status):
    writer = rundir.RunWriter(RUN, path, [{"split": "train", "task": [0, 2]}], ["cpu"])
    writer.metrics({"seed": 0, "loss": float("nan"), "frames": 1920})
    writer.evaluation([(0, 0, "greedy", "train", 0, 1, 1, 1.5, "")])
    writer.close(status)


def test_new_and_empty_folders_may_be_used(tmp_path):
    assert not rundir.check(RUN, tmp_path)
    assert not rundir.check(RUN, tmp_path / "new" / "deeper")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_recognised(tmp_path):
    written(tmp_path / "a", "finished")
    assert rundir.check(RUN, tmp_path / "a")


def test_an_unfinished_run_is_not_overwritten(tmp_path):
    written(tmp_path / "a", "failed")
    with pytest.raises(ConfigError, match="failed but not finished"):
        rundir.check(RUN, tmp_path / "a")


def test_another_run_is_refused_with_the_differing_keys(tmp_path):
    written(tmp_path / "a", "finished")
    other = RUN.replace({"a2c.gamma": 0.9, "seeds": 2})
    with pytest.raises(ConfigError, match=r"a2c\.gamma \(0\.95 there, 0\.9 here\), seeds"):
        rundir.check(other, tmp_path / "a")


def test_other_content_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="holds files"):
        rundir.check(RUN, tmp_path)
    with pytest.raises(ConfigError, match="not a file"):
        rundir.check(RUN, tmp_path / "thesis.tex")


def test_what_is_not_finite_becomes_null(tmp_path):
    written(tmp_path / "a", "finished")
    (row,) = rundir.read_metrics(tmp_path / "a")
    assert row == {"seed": 0, "loss": None, "frames": 1920, "finite": False}


def test_a_line_cut_short_is_left_out(tmp_path):
    written(tmp_path / "a", "failed")
    with (tmp_path / "a" / rundir.METRICS).open("a") as file:
        file.write('{"seed": 0, "lo')
    with (tmp_path / "a" / rundir.EVALUATION).open("a") as file:
        file.write("0,0,greedy,tr")
    assert len(rundir.read_metrics(tmp_path / "a")) == 1
    assert len(rundir.read_evaluation(tmp_path / "a")["seed"]) == 1


def test_undefined_success_reads_as_nan(tmp_path):
    written(tmp_path / "a", "finished")
    table = rundir.read_evaluation(tmp_path / "a")
    assert table["return"].tolist() == [1.5]
    assert np.isnan(table["reached"]).all()


def test_the_manifest_says_what_ran(tmp_path):
    written(tmp_path / "a", "finished")
    manifest = json.loads((tmp_path / "a" / rundir.MANIFEST).read_text())
    assert manifest["status"] == "finished"
    for key in ("started", "ended", "command", "versions", "devices", "lock_sha256", "xla_flags"):
        assert key in manifest


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        rundir.read_run(tmp_path)
