"""Reading a run directory while it grows, or when it is damaged."""

import json

import numpy as np
import pytest

from jaxmeta.errors import ConfigError
from jaxmeta.rundir import evaluation_csv, layout, lock, reading
from tests.written import WRITTEN, write_with_writer


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": 3}', "[" * 100_000, "\xff"])
def test_a_bad_manifest_is_named(text, tmp_path):
    write_with_writer(tmp_path / "a", "finished")
    (tmp_path / "a" / layout.MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        lock.look(WRITTEN, tmp_path / "a")


def test_what_is_not_finite_becomes_null(tmp_path):
    write_with_writer(tmp_path / "a", "finished")
    (row,) = reading.read_metrics(tmp_path / "a")
    assert row == {"seed": 0, "loss": None, "frames": 1920, "finite": False}


def test_a_line_cut_short_is_left_out(tmp_path):
    write_with_writer(tmp_path / "a", "failed")
    with (tmp_path / "a" / layout.METRICS).open("a") as file:
        file.write('{"seed": 0, "lo')
    with (tmp_path / "a" / layout.EVALUATION).open("a") as file:
        file.write("0,0,greedy,tr")
    assert len(reading.read_metrics(tmp_path / "a")) == 1
    assert len(evaluation_csv.read_evaluation(tmp_path / "a")["seed"]) == 1


def test_undefined_success_reads_as_nan(tmp_path):
    write_with_writer(tmp_path / "a", "finished")
    table = evaluation_csv.read_evaluation(tmp_path / "a")
    assert table["return"].tolist() == [1.5]
    assert np.isnan(table["reached"]).all()


def test_the_manifest_says_what_ran(tmp_path):
    write_with_writer(tmp_path / "a", "finished")
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
