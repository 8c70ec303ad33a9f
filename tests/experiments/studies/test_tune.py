"""Tuning by ask and tell."""

import pytest

from jaxmeta.rundir import reading
from tests.tiny import tiny_run

tune = pytest.importorskip("experiments.studies.tune")
SPACE = {"a2c.gamma": (0.8, 0.99), "a2c.learning_rate": (1e-4, 1e-2)}


@pytest.mark.slow
def test_a_second_call_repeats_the_study_without_training(tmp_path):
    base = tiny_run("rl2", {"frames": 960})
    first = tune.tune(base, SPACE, tmp_path / "a", rounds=2, batch=2)
    assert len(first.trials) == len(list((tmp_path / "a" / "runs").iterdir())) == 4
    assert len(list((tmp_path / "a" / "programs").iterdir())) == 2
    assert first.best_value == max(trial.value for trial in first.trials)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*") if p.is_file()}
    again = tune.tune(base, SPACE, tmp_path / "a", rounds=2, batch=2)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*") if p.is_file()} == before
    assert [t.params for t in again.trials] == [t.params for t in first.trials]
    for path in (tmp_path / "a" / "runs").iterdir():
        assert reading.status(path) == "finished"
