"""Sweeps: one program per structure, idempotent, restartable, and true to single runs."""

import json

import chex
import jax
import numpy as np
import pytest

import jaxmeta
from jaxmeta.errors import ConfigError, Preempted
from jaxmeta.rundir import evaluation_csv, layout, reading
from jaxmeta.sweeps import plan, sweep_grid
from jaxmeta.training import train_run
from tests.processes import CLOCK, resumed_from, rows_logged
from tests.tiny import tiny_run

FRAMES = {"frames": 2000, "log_every": 480, "evaluation.every": 960}


RL2 = tiny_run("rl2", FRAMES)


LDM = tiny_run("ldm", FRAMES)


GRID = {"a2c.gamma": [0.9, 0.95], "a2c.learning_rate": [1e-3, 1e-2]}


class Counted:
    """Counts the programs that are compiled."""

    def __init__(self, monkeypatch):
        self.count, compile_functions = 0, train_run.compile_functions

        def counting(*args):
            self.count += 1
            return compile_functions(*args)

        monkeypatch.setattr(train_run, "compile_functions", counting)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Return a finished sweep of 2 discounts x 2 learning rates x 2 seeds, and its table."""
    out = tmp_path_factory.mktemp("sweep") / "a"
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)
        table = jaxmeta.sweep(RL2, GRID, seeds=range(2), out=out)
    assert counted.count == 1
    return out, table


def folder(out, run, **changed):
    """Return the directory of a run with some fields changed."""
    fields = {name.replace("__", "."): value for name, value in changed.items()}
    return out / "runs" / sweep_grid.digest(run.replace(fields))


def rows(path):
    """Return a run's log lines without the clock's keys, and its evaluations."""
    return rows_logged(path), (path / layout.EVALUATION).read_text()


def test_the_table_has_a_row_per_run_and_seed(swept):
    out, table = swept
    assert table["a2c.gamma"].tolist() == [0.9] * 4 + [0.95] * 4
    assert table["a2c.learning_rate"].tolist() == [1e-3, 1e-3, 1e-2, 1e-2] * 2
    assert table["seed"].tolist() == [0, 1] * 4
    assert set(table["status"]) == {"finished"}
    assert {"train_return_greedy", "test_reached_sampled"} <= table.keys()
    path = folder(out, RL2, a2c__gamma=0.95, a2c__learning_rate=1e-2)
    evaluation = evaluation_csv.read_evaluation(path)
    last = (evaluation["frames"] == 2160) & (evaluation["seed"] == 1) & (evaluation["episode"] == 2)
    last &= (evaluation["policy"] == "greedy") & (evaluation["split"] == "test")
    assert table["test_return_greedy"][-1] == pytest.approx(evaluation["return"][last].mean())


def assert_as_alone(run, path, tmp_path):
    """Assert that a sweep's finished run in `path` is what a run of its own gives."""
    alone, together = jaxmeta.train(run, tmp_path / "alone"), jaxmeta.train(run, path)
    for name, value in alone.metrics[-1].items():
        if name not in CLOCK:
            assert together.metrics[-1][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    chex.assert_trees_all_close(together.params, alone.params, atol=1e-5)
    chex.assert_trees_all_close(together.best.params, alone.best.params, atol=1e-5)
    return alone


def test_a_row_is_what_a_run_of_its_own_gives(swept, tmp_path):
    changed = {"a2c.gamma": 0.95, "a2c.learning_rate": 1e-3}
    path = folder(swept[0], RL2, a2c__gamma=0.95, a2c__learning_rate=1e-3)
    alone = assert_as_alone(RL2.replace(changed), path, tmp_path)
    agent, params = jaxmeta.load(path, seed=1)
    assert agent.begin(params, None).shape[-1] > 0
    other = jaxmeta.load(folder(swept[0], RL2, a2c__gamma=0.9, a2c__learning_rate=1e-3), seed=1)[1]
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], alone.params), other, atol=1e-5)


@pytest.mark.slow
def test_beta_and_dropout_are_numbers_in_one_program(tmp_path, monkeypatch):
    """2 betas x 2 dropout rates x 2 seeds of LDM."""
    counted, out = Counted(monkeypatch), tmp_path / "a"
    points = {"imagination.beta": [1.0, 2.0], "vae.dropout": [0.5, 0.7]}
    table = jaxmeta.sweep(LDM, points, seeds=2, out=out)
    assert counted.count == 1
    assert set(table["status"]) == {"finished"}
    path = folder(out, LDM, imagination__beta=2.0, vae__dropout=0.5)
    changed = {"imagination.beta": 2.0, "vae.dropout": 0.5}
    assert_as_alone(LDM.replace(changed), path, tmp_path)


def test_a_second_call_does_nothing(swept, monkeypatch):
    out, table = swept
    counted = Counted(monkeypatch)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    again = jaxmeta.sweep(RL2, GRID, seeds=2, out=out)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before
    assert counted.count == 0
    for name in table:
        np.testing.assert_array_equal(again[name], table[name])


def test_a_new_value_makes_a_program_for_the_new_rows_only(swept):
    out, _ = swept
    todo = plan.plan(RL2, GRID | {"a2c.gamma": [0.9, 0.93, 0.95]}, out=out)
    assert len(todo.runs) == 6
    (program,) = todo.programs.values()
    assert [run.a2c.gamma for run in program.values()] == [0.93, 0.93]


def test_other_structures_are_other_programs(tmp_path):
    points = [{"a2c.gamma": 0.9}, {"a2c.gamma": 0.8}, {"networks.hidden": 12}]
    todo = plan.plan([RL2, LDM], points=points, out=tmp_path / "a")
    assert sorted(len(runs) for runs in todo.programs.values()) == [1, 1, 2, 2]
    assert not (tmp_path / "a").exists()


def stop_at(frames, error):
    def watch(status):
        if status.frames >= frames:
            raise error

    return watch


def test_a_stopped_sweep_goes_on_to_the_same_bits(swept, tmp_path, caplog):
    out, every = tmp_path / "a", {"checkpoint_every": "3u"}
    arguments = (RL2, GRID)
    with pytest.raises(Preempted):
        jaxmeta.sweep(*arguments, out=out, watch=stop_at(1200, Preempted("now")), **every)
    (program,) = (out / "programs").iterdir()
    assert reading.status(next((out / "runs").iterdir())) == "preempted"
    with pytest.raises(ConfigError, match=f"belongs to a sweep.*programs/{program.name}"):
        jaxmeta.resume(next((out / "runs").iterdir()))
    table = jaxmeta.sweep(*arguments, out=out, **every)
    assert set(table["status"]) == {"finished"}
    assert resumed_from(program) == [6]  # saved, as the callback raised
    for path in (out / "runs").iterdir():
        assert rows(path) == rows(swept[0] / "runs" / path.name)
        theirs = jaxmeta.train(reading.read_run(path), swept[0] / "runs" / path.name)
        chex.assert_trees_all_equal(
            jaxmeta.train(reading.read_run(path), path).params, theirs.params
        )


def test_a_configuration_that_diverges_dies_alone(swept, tmp_path):
    out = tmp_path / "a"
    good = {"a2c.gamma": 0.9, "a2c.learning_rate": 1e-3}
    points = [good, {"a2c.value_coef": 1e38, "a2c.max_grad_norm": 1e38}]
    table = jaxmeta.sweep(RL2, points=points, out=out)
    assert table["status"].tolist() == ["finished"] * 2 + ["failed"] * 2
    good, bad = (out / "runs" / sweep_grid.digest(RL2.replace(point)) for point in points)
    assert rows(good) == rows(swept[0] / "runs" / good.name)
    assert set(reading.dead_seeds(bad)) == {0, 1}
    assert reading.dead_seeds(good) == {}
    report = json.loads((bad / layout.NAN_REPORT).read_text())["0"]
    assert report["config"]["a2c.value_coef"] == 1e38
    assert np.isnan(table["train_return_greedy"]).tolist() == [False] * 2 + [True] * 2
    assert plan.plan(RL2, points=points, out=out).programs == {}  # there is nothing to repeat


def test_bad_sweeps_are_refused_before_anything_is_written(tmp_path):
    out = tmp_path / "a"
    with pytest.raises(ConfigError, match="executor = 'cloud': must be one of here, processes"):
        jaxmeta.sweep(RL2, out=out, executor="cloud")
    with pytest.raises(ConfigError, match="give one of them, not both"):
        jaxmeta.sweep(RL2, {}, points=[], out=out)
    with pytest.raises(ConfigError, match="max_members = 0"):
        jaxmeta.sweep(RL2, out=out, max_members=0)
    with pytest.raises(ConfigError, match="checkpoint_every = 'often'"):
        jaxmeta.sweep(RL2, out=out, checkpoint_every="often")
    assert not out.exists()
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="it holds files"):
        jaxmeta.sweep(RL2, out=tmp_path)
