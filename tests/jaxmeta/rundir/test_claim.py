"""The run directory: never overwritten, readable while it grows."""

import json
import os

import numpy as np
import pytest

from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import claim, layout, manifest, reading
from jaxmeta.rundir.run_writer import RunWriter

RUN = Run(method="rl2", frames=1920)


def written(path, status):
    path.mkdir()
    writer = RunWriter(
        RUN, path, [{"split": "train", "task": [0, 2]}], manifest.describe(["cpu"], {})
    )
    writer.metrics({"seed": 0, "loss": float("nan"), "frames": 1920})
    writer.evaluation([(0, 0, "greedy", "train", 0, 1, 1, 1.5, "")])
    writer.close(status)


def test_new_and_empty_folders_may_be_used(tmp_path):
    assert claim.check(RUN, tmp_path) is None
    assert claim.check(RUN, tmp_path / "new" / "deeper") is None
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_recognised(tmp_path):
    written(tmp_path / "a", "finished")
    assert claim.check(RUN, tmp_path / "a") == "finished"


@pytest.mark.parametrize("status", ["running", "failed", "preempted"])
def test_an_unfinished_run_can_go_on(status, tmp_path):
    written(tmp_path / "a", status)
    assert claim.check(RUN, tmp_path / "a") == status


def test_a_run_without_a_manifest_was_stopped_at_its_very_beginning(tmp_path):
    (tmp_path / layout.CONFIG).write_text(RUN.to_json())
    assert claim.check(RUN, tmp_path) == "running"


def test_what_a_process_leaves_before_config_json_is_no_content(tmp_path):
    with claim.locked(tmp_path / "a"):
        pass
    for name in (".config.json.tmp", "..holder.tmp"):
        (tmp_path / "a" / name).write_text("{")
    assert claim.check(RUN, tmp_path / "a") is None


def test_a_lock_is_held_by_one_at_a_time_and_names_its_holder(tmp_path):
    assert claim.holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    with claim.locked(tmp_path):
        assert f"process {os.getpid()} on " in claim.holder(tmp_path)
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on"):
            claim.require_free(tmp_path)
        with (
            pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on"),
            claim.locked(tmp_path),
        ):
            pass
    assert claim.holder(tmp_path) is None
    with claim.locked(tmp_path):  # and again
        pass


def test_small_files_are_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    layout.write_atomically(path, "old")

    def crash(number):
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="power cut"):
        layout.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": 3}', "[" * 100_000, "\xff"])
def test_a_bad_manifest_is_named(text, tmp_path):
    written(tmp_path / "a", "finished")
    (tmp_path / "a" / layout.MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        claim.check(RUN, tmp_path / "a")


def test_another_run_is_refused_with_the_differing_keys(tmp_path):
    written(tmp_path / "a", "finished")
    other = RUN.replace({"a2c.gamma": 0.9, "seeds": 2})
    with pytest.raises(ConfigError, match=r"a2c\.gamma \(0\.95 there, 0\.9 here\), seeds"):
        claim.check(other, tmp_path / "a")


def test_other_content_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="holds files"):
        claim.check(RUN, tmp_path)
    with pytest.raises(ConfigError, match="not a file"):
        claim.check(RUN, tmp_path / "thesis.tex")


def test_what_is_not_finite_becomes_null(tmp_path):
    written(tmp_path / "a", "finished")
    (row,) = reading.read_metrics(tmp_path / "a")
    assert row == {"seed": 0, "loss": None, "frames": 1920, "finite": False}


def test_a_line_cut_short_is_left_out(tmp_path):
    written(tmp_path / "a", "failed")
    with (tmp_path / "a" / layout.METRICS).open("a") as file:
        file.write('{"seed": 0, "lo')
    with (tmp_path / "a" / layout.EVALUATION).open("a") as file:
        file.write("0,0,greedy,tr")
    assert len(reading.read_metrics(tmp_path / "a")) == 1
    assert len(reading.read_evaluation(tmp_path / "a")["seed"]) == 1


def test_undefined_success_reads_as_nan(tmp_path):
    written(tmp_path / "a", "finished")
    table = reading.read_evaluation(tmp_path / "a")
    assert table["return"].tolist() == [1.5]
    assert np.isnan(table["reached"]).all()


def test_the_manifest_says_what_ran(tmp_path):
    written(tmp_path / "a", "finished")
    found = json.loads((tmp_path / "a" / layout.MANIFEST).read_text())
    assert found["status"] == "finished"
    for key in (
        "started", "ended", "command", "commit", "dirty", "code_sha256", "lock_sha256", "versions",
        "devices", "cores", "threads", "processor", "xla_flags", "jax_flags", "own_code_sha256",
        "resumed_from",
    ):  # fmt: skip
        assert key in found


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        reading.read_run(tmp_path)
