"""Training a run in its directory: what it writes, and going on with it."""

import json
import math
import os
import shutil
import signal

import chex
import jax
import numpy as np
import pytest

import jaxmeta
from envs.gridworld import Gridworld, gridworld
from experiments.__main__ import main
from jaxmeta.algorithms.ldm import ldm
from jaxmeta.algorithms.rl2 import rl2
from jaxmeta.config.process_group import Cluster
from jaxmeta.config.run import Run
from jaxmeta.env import Binary
from jaxmeta.errors import CheckpointError, ConfigError, NonFiniteError
from jaxmeta.rundir import checkpoint, evaluation_csv, layout, lock, reading
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import make_members, train_state_shapes
from jaxmeta.training.loop import COURSE, Session
from tests.processes import assert_same, newest, resumed_from, rows_logged
from tests.tiny import tiny_run


def test_train_writes_the_contract(trained):
    manifest = json.loads((trained.out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["frames_per_seed"] == 2160  # 2000 rounded up to 9 updates of 240
    assert reading.read_run(trained.out) == trained.run
    rows = reading.read_metrics(trained.out)
    assert [r["frames"] for r in rows if r["seed"] == 0] == [480, 960, 1440, 1920, 2160]
    assert {r["seed"] for r in rows} == {0, 1}
    for key in (
        "update", "wall_s", "frames_per_s", "return_train", "return_imagined", "policy_loss",
        "value_loss", "entropy", "grad_norm", "elbo", "reconstruction", "kl",
    ):  # fmt: skip
        assert all(math.isfinite(row[key]) for row in rows), key


def test_evaluation_covers_all_goals_episodes_and_policies(trained):
    table = evaluation_csv.read_evaluation(trained.out)
    assert sorted(set(table["frames"])) == [0, 960, 1920, 2160]
    assert len(table["frames"]) == 4 * 2 * 2 * 45 * 2  # times, seeds, policies, goals, episodes
    assert (table["rollouts"][table["policy"] == "sampled"] == 4).all()
    tasks = reading.read_tasks(trained.out)
    assert [t["split"] for t in tasks].count("train") == 18
    # Where a greedy episode never met its goal, it earned exactly -3.
    missed = (table["policy"] == "greedy") & (table["reached"] == 0)
    np.testing.assert_allclose(table["return"][missed], -3.0, atol=1e-4)
    assert (table["return"][(table["policy"] == "greedy") & (table["reached"] == 1)] > -3).all()


def test_the_progress_listener_hears_of_every_chunk(trained):
    heard = [s.frames for s in trained.seen]
    # Before compiling, before the first chunk, and after one update: to see how long it takes.
    assert heard[:3] == [0, 0, 240]
    assert heard == sorted(heard)
    assert {480, 960, 1440, 1920, 2160} <= set(heard)
    assert trained.seen[-1].frames_per_s > 0


def test_a_finished_run_is_read_back_not_repeated(trained):
    before = (trained.out / "metrics.jsonl").stat().st_mtime_ns
    again = jaxmeta.train(trained.run, trained.out)
    assert (trained.out / "metrics.jsonl").stat().st_mtime_ns == before
    chex.assert_trees_all_equal(again.params, trained.result.params)


class Stopped(Exception):
    pass


def crash_at(frames):
    """Return a method of Session that ends training from within, as a crash would."""

    def report(session, status):
        if status.frames >= frames:
            raise Stopped

    return report


def copied(trained, tmp_path):
    """Return a copy of the trained run's directory that says it is not finished."""
    out = shutil.copytree(trained.out, tmp_path / "copy")
    manifest = reading.read_manifest(out) | {"status": "running"}
    (out / layout.MANIFEST).write_text(json.dumps(manifest))
    return out


def test_a_crashed_run_goes_on_to_the_same_bits(trained, tmp_path, monkeypatch):
    """Checkpoints between log lines: sums over updates are restored, too."""
    out = tmp_path / "a"
    with pytest.raises(Stopped), monkeypatch.context() as patched:
        patched.setattr(Session, "report", crash_at(1200))
        jaxmeta.train(trained.run, out, checkpoint_every="3u")
    assert reading.status(out) == "failed"
    assert reading.read_manifest(out)["error"] == "Stopped:"
    assert newest(out) == 3
    with pytest.raises(jaxmeta.ConfigError, match=r"frames: resume takes env, .*a run keeps the"):
        jaxmeta.resume(out, frames=4000)
    result = jaxmeta.resume(out, checkpoint_every="4u")
    assert resumed_from(out) == [3]
    assert "error" not in reading.read_manifest(out)
    assert_same(out, trained.out)
    chex.assert_trees_all_equal(result.params, trained.result.params)
    chex.assert_trees_all_equal(result.best, trained.result.best)


def test_a_run_that_was_stopped_behind_its_last_update_is_only_closed(trained, tmp_path):
    out = copied(trained, tmp_path)
    jaxmeta.train(trained.run, out)
    assert resumed_from(out) == [9]
    assert_same(out, trained.out)


def test_the_best_parameters_are_those_of_the_best_evaluation(trained):
    table = evaluation_csv.read_evaluation(trained.out)
    best = trained.result.best
    for seed in range(2):
        rows = (table["seed"] == seed) & (table["policy"] == "greedy") & (table["episode"] == 2)
        rows &= table["split"] == "train"
        scores = {
            f: table["return"][rows & (table["frames"] == f)].mean() for f in (0, 960, 1920, 2160)
        }
        frames = max(scores, key=scores.get)
        np.testing.assert_allclose(best.score[seed], scores[frames], atol=1e-5)
        assert best.update[seed] == frames // 240
    agent, params = jaxmeta.load(trained.out, seed=1, which="best")
    chex.assert_trees_all_equal(params, jax.tree.map(lambda x: x[1], best.params))
    assert agent.begin(params, None).shape[-1] > 0
    with pytest.raises(ConfigError, match="which = 'worst': must be one of last, best"):
        jaxmeta.load(trained.out, which="worst")


def test_what_bits_depend_on_is_compared_on_resuming(trained, tmp_path, caplog):
    out = copied(trained, tmp_path)
    manifest = reading.read_manifest(out)
    assert manifest["mesh"] == {"seeds": 2}
    other = {"processor": "abacus", "mesh": {"seeds": 1}, "processes": 2, "python": "3.12.1"}
    (out / layout.MANIFEST).write_text(json.dumps(manifest | other))
    jaxmeta.train(trained.run, out)
    assert "processor was abacus and is" in caplog.text
    assert "mesh was {'seeds': 1} and is {'seeds': 2}: results may differ" in caplog.text
    assert "processes was 2 and is 1: results may differ" in caplog.text
    assert "python was 3.12.1 and is 3." in caplog.text
    (entry,) = reading.read_manifest(out)["resumed_from"]
    assert entry["changed"]["processor"][0] == "abacus"
    assert entry["changed"].keys() == other.keys()


def test_another_version_of_the_environment_is_refused(trained, tmp_path):
    out = copied(trained, tmp_path)
    manifest = reading.read_manifest(out)
    (out / layout.MANIFEST).write_text(json.dumps(manifest | {"env_version": 7}))
    with pytest.raises(ConfigError, match="version 7 of its environment, which is version 1 now"):
        jaxmeta.train(trained.run, out)


def test_missing_checkpoints_are_not_replaced_by_a_new_beginning(trained, tmp_path):
    out = copied(trained, tmp_path)
    shutil.rmtree(out / layout.CHECKPOINTS)
    metrics = (out / layout.METRICS).read_bytes()
    with pytest.raises(CheckpointError, match="that of update 9 was written; nothing was changed"):
        jaxmeta.train(trained.run, out)
    assert (out / layout.METRICS).read_bytes() == metrics


def test_missing_rows_are_not_passed_over(trained, tmp_path):
    out = copied(trained, tmp_path)
    with (out / layout.METRICS).open("a") as file:
        file.truncate(100)
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl: holds 100 bytes, but held"):
        jaxmeta.train(trained.run, out)


def test_rows_that_end_early_are_continued_by_an_older_checkpoint(trained, tmp_path, caplog):
    out = copied(trained, tmp_path)
    with (out / layout.METRICS).open("r+") as file:
        file.truncate((out / layout.METRICS).stat().st_size - 10)
    jaxmeta.train(trained.run, out)
    assert "metrics.jsonl: holds" in caplog.text
    assert resumed_from(out) == [8]
    assert_same(out, trained.out)


def test_a_lost_manifest_costs_no_rows(trained, tmp_path, caplog):
    out = copied(trained, tmp_path)
    (out / layout.MANIFEST).unlink()
    jaxmeta.train(trained.run, out)
    assert "what it was made with is unknown" in caplog.text
    assert resumed_from(out) == [9]
    assert_same(out, trained.out)


@pytest.mark.fault("a progress callback that raises")
@pytest.mark.parametrize("error", [Stopped, pytest.param(SystemExit, marks=pytest.mark.slow)])
def test_a_callback_that_raises_ends_a_run_behind_a_checkpoint(error, trained, tmp_path):
    """At an update at which rows and an evaluation are due, which the resumed run has once."""
    out = tmp_path / "a"

    def watch(status):
        if status.frames >= 960:
            raise error("mine")

    with pytest.raises(error, match="mine"):
        jaxmeta.train(trained.run, out, watch=watch, checkpoint_every="1000000u")
    manifest = reading.read_manifest(out)
    assert manifest["status"] == "failed"
    assert manifest["error"] == f"{error.__name__}: mine"
    assert manifest["saved"] == newest(out) == 4
    jaxmeta.train(trained.run, out)
    assert_same(out, trained.out)


def test_a_second_interrupt_leaves_a_run_that_can_go_on(trained, tmp_path):
    """In Python it is an exception; what was saved before stays."""
    out = tmp_path / "a"

    def watch(status):
        if status.frames >= 960:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        jaxmeta.train(trained.run, out, watch=watch, checkpoint_every="3u")
    assert reading.status(out) == "preempted"
    jaxmeta.train(trained.run, out)
    assert_same(out, trained.out)


def test_an_error_of_many_lines_is_no_obstacle(trained, tmp_path):
    def fail(status):
        raise RuntimeError("RESOURCE_EXHAUSTED:\x1b[2J out\nof memory\n" + 1000 * "x")

    with pytest.raises(RuntimeError):
        jaxmeta.train(trained.run, tmp_path / "a", watch=fail)
    said = reading.read_manifest(tmp_path / "a")["error"]
    assert said.startswith("RuntimeError: RESOURCE_EXHAUSTED:")
    assert said.isprintable()
    assert lock.look(trained.run, tmp_path / "a") == "failed"


def test_a_finished_run_with_a_damaged_end_trains_it_again(trained, tmp_path, caplog):
    out = shutil.copytree(trained.out, tmp_path / "copy")
    for file in (out / layout.CHECKPOINTS / "9" / "agent").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="of update 9, cannot be used; `jaxmeta resume"):
        jaxmeta.load(out)
    result = jaxmeta.resume(out)
    chex.assert_trees_all_equal(result.params, trained.result.params)
    assert_same(out, trained.out)


def test_other_evaluation_tasks_are_refused(trained, tmp_path):
    out = copied(trained, tmp_path)
    (out / layout.TASKS).write_text("[]")
    with pytest.raises(ConfigError, match="not the evaluation tasks"):
        jaxmeta.train(trained.run, out)


def test_a_period_is_checked_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="checkpoint_every = '5 minutes': must be seconds"):
        jaxmeta.train(tiny_run("rl2"), tmp_path / "a", checkpoint_every="5 minutes")
    assert list(tmp_path.iterdir()) == []


def test_a_diverging_run_stops_and_says_where(tmp_path):
    run = tiny_run("rl2", {"a2c.value_coef": 1e38, "frames": 2000, "a2c.max_grad_norm": 1e38})
    with pytest.raises(NonFiniteError, match=r"update \d+, seed \d: \w+ is not finite"):
        jaxmeta.train(run, tmp_path / "a")
    assert reading.status(tmp_path / "a") == "failed"
    assert reading.read_metrics(tmp_path / "a")[-1]["finite"] is False
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        jaxmeta.load(tmp_path / "a")


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["start"])
def test_the_other_boundary_trains_too(tmp_path, boundary):
    run = tiny_run("ldm", {"trial.boundary": boundary, "frames": 480, "seeds": 1})
    assert all(math.isfinite(r["elbo"]) for r in jaxmeta.train(run, tmp_path / "a").metrics)


def test_a_run_needs_at_least_one_update():
    with pytest.raises(ConfigError, match="at least one update, 1920 frames"):
        Run(method="rl2", frames=1919).require_update()


POISONED = """
import jax
import jax.numpy as jnp
from jaxmeta.algorithms.rl2 import rl2

KEY = jax.random.key_data(jax.random.fold_in(jax.random.key(SEED), 1))

def make(env, run):
    algorithm = rl2(env, run)
    def step(state):
        state, metrics = algorithm.step(state)
        hit = (state.update == 8) & (jax.random.key_data(state.key) == KEY).all()
        poison = lambda x: jnp.where(hit, jnp.nan, x)
        return state._replace(params=jax.tree.map(poison, state.params)), metrics
    return algorithm._replace(step=step)
"""
SIZES = {"workers": 4, "seeds": 4, "frames": 4800, "log_every": 960, "trial.episodes": 2}
SIZES |= {"evaluation.every": 960, "networks.hidden": 16, "checkpoint-every": "5u"}


def train_state(out):
    """Return all that the newest checkpoint would go on from."""
    _, algorithm = build(reading.read_run(out), gridworld(), rl2)
    like = {COURSE: train_state_shapes(make_members(reading.read_run(out)), algorithm)}
    return checkpoint.newest_valid(out / layout.CHECKPOINTS, like).items[COURSE]


def rows_of(out, seeds):
    """Return the log lines and evaluations of some seeds."""
    evaluation = (out / layout.EVALUATION).read_text().splitlines()[1:]
    return (
        [row for row in rows_logged(out) if row["seed"] in seeds],
        [row for row in evaluation if int(row.split(",")[1]) in seeds],
    )


@pytest.mark.fault("NaN in one seed of four")
def test_when_a_seed_dies_the_others_continue(tmp_path, capsys):
    """Through the command line; seed 2's parameters become NaN in update 7."""
    sizes = [str(word) for key, value in SIZES.items() for word in (f"--{key}", value)]
    codes, said = {}, {}
    for name, seed in (("clean", 99), ("poisoned", 2), ("poisoned again", 2)):
        out = tmp_path / name.split()[0]
        method = out.with_suffix(".py")
        method.write_text(POISONED.replace("SEED", str(seed)))
        words = ["train", "gridworld", "--method", str(method), "--out", str(out), *sizes]
        codes[name], said[name] = main(words), capsys.readouterr().err
    assert codes == {"clean": 0, "poisoned": 1, "poisoned again": 1}
    clean, poisoned = tmp_path / "clean", tmp_path / "poisoned"
    death = {"update": 7, "quantity": "params"}
    for name in ("poisoned", "poisoned again"):
        assert "seed 2 died: params was not finite at update 7; see" in said[name]

    three = np.array([0, 1, 3])
    of_three = lambda out: jax.tree.map(lambda x: x[three], train_state(out))
    chex.assert_trees_all_equal(of_three(poisoned), of_three(clean))
    assert rows_of(poisoned, three) == rows_of(clean, three)
    lines, evaluations = rows_of(poisoned, [2])
    assert [line["update"] for line in lines] == [4, 8]
    assert {row.split(",")[0] for row in evaluations} == {"0", "960"}

    assert reading.status(poisoned) == "finished"
    shutil.rmtree(poisoned / layout.CHECKPOINTS / "20")  # as if it had been stopped before
    manifest = reading.read_manifest(poisoned) | {"status": "running", "saved": 15}
    (poisoned / layout.MANIFEST).write_text(json.dumps(manifest))
    assert main(words) == 1
    assert resumed_from(poisoned) == [15]
    chex.assert_trees_all_equal(of_three(poisoned), of_three(clean))
    assert rows_of(poisoned, three) == rows_of(clean, three)
    assert rows_of(poisoned, [2]) == (lines, evaluations)
    assert reading.dead_seeds(poisoned) == {2: tuple(death.values())}
    assert layout.checkpoint_updates(poisoned / layout.CHECKPOINTS) == [5, 15, 20]  # 5 was good
    report = json.loads((poisoned / layout.NAN_REPORT).read_text())["2"]
    assert report.items() >= (death | {"last_good_checkpoint": 5}).items()
    assert all(x > 0 for k, x in report["norms_before"].items() if "kernel" in k)
    assert set(report["norms_after"].values()) == {None}
    assert report["config"]["networks.hidden"] == 16
    given = {"env": gridworld(), "method": rl2, "seed": 2}
    with pytest.raises(ConfigError, match="seed = 2: its last parameters are not finite"):
        jaxmeta.load(poisoned, **given)
    _, best = jaxmeta.load(poisoned, which="best", **given)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(best))


def test_a_run_that_another_process_finished_meanwhile_is_read_back(trained, monkeypatch):
    """It was not finished at the first look, but is when this process holds the lock."""
    before = {p: p.read_bytes() for p in trained.out.glob("*.*") if p.is_file()}
    monkeypatch.setattr("jaxmeta.rundir.lock.look", lambda run, path: "preempted")
    again = jaxmeta.train(trained.run, trained.out)
    assert {p: p.read_bytes() for p in trained.out.glob("*.*") if p.is_file()} == before
    chex.assert_trees_all_equal(again.params, trained.result.params)


def test_a_result_is_read_by_one_process_alone(trained, monkeypatch):
    """Of several that train together, any may load what they trained: nothing is broadcast."""

    def refuse(own):
        raise AssertionError("it waits for other processes")

    monkeypatch.setattr("jaxmeta.devices.hosts._here", Cluster("a:1", 2, 0))
    monkeypatch.setattr("jaxmeta.devices.hosts.broadcast_bytes", refuse)
    _, params = jaxmeta.load(trained.out, seed=1)
    chex.assert_trees_all_equal(params, jax.tree.map(lambda x: x[1], trained.result.params))


def test_a_finished_run_is_read_back_where_its_devices_are_not(trained, monkeypatch):
    def refuse(run, wanted):
        raise ConfigError("mesh: needs more devices")

    monkeypatch.setattr("jaxmeta.training.train_run.device_mesh", refuse)
    again = jaxmeta.train(trained.run, trained.out, mesh="seeds=2")
    chex.assert_trees_all_equal(again.params, trained.result.params)


@pytest.mark.parametrize("option", [("a2c.gamma", 0.95), ("vae.dropout", 0.7)])
def test_a_checkpoint_from_before_an_option_is_resumed(option, trained, tmp_path, monkeypatch):
    """As if the field had been added since: its leaf is taken out of the index and the arrays."""
    name, value = option
    out = copied(trained, tmp_path)
    leaf = f"state.hp.{name}"
    read = checkpoint.check_index

    def without(index, update, like, start):
        index["leaves"]["course"].pop(leaf, None)
        index["seal"] = checkpoint.seal(index)
        read(index, update, like, start)

    monkeypatch.setattr(checkpoint, "check_index", without)
    assert trained.run.fields()[name] == value
    newest_update = newest(out)
    shutil.rmtree(out / layout.CHECKPOINTS / str(newest_update))
    manifest = reading.read_manifest(out) | {"saved": newest(out)}
    (out / layout.MANIFEST).write_text(json.dumps(manifest))
    result = jaxmeta.resume(out)
    chex.assert_trees_all_equal(result.params, trained.result.params)


class Charged(Gridworld):
    """Its steps cost ten times as much."""

    reward = Binary(low=-1.0, high=1.0)


def other_ldm(env, run):
    """Return LDM, by another function than the built-in one."""
    return ldm(env, run)


def test_another_environments_result_is_not_given(trained, tmp_path, caplog):
    """By an object or a maker in the place of what the run was trained with, built-in ones."""
    changed = {"env": Charged({"train": (2, 6), "test": (3, 4, 5)}), "method": other_ldm}
    for out in (trained.out, copied(trained, tmp_path)):  # finished, and stopped
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for field, given in changed.items():
            with pytest.raises(ConfigError, match=rf"out = .*: {field} = '\w+' is other code"):
                jaxmeta.train(trained.run, out, **{field: given})
        assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    jaxmeta.load(trained.out, env=gridworld(), method=ldm)  # these are the same
    assert "other code" not in caplog.text
    jaxmeta.load(trained.out, **changed)
    assert "env = 'gridworld' is other code than it was trained with" in caplog.text

    jaxmeta.resume(out, accept_changed_code=True, method=other_ldm)
    (entry,) = reading.read_manifest(out)["resumed_from"]
    then, now = entry["changed"]["code"]
    assert [then["method"]["from"], now["method"]["from"]] == ["built-in", "object"]
    with pytest.raises(ConfigError, match="method = 'ldm' is other code"):
        jaxmeta.train(trained.run, out)  # from here on it is theirs
