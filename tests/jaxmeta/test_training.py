"""Laws that every method obeys, and the host loop around them."""

import dataclasses
import json
import math
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxmeta
from envs.gridworld import gridworld
from jaxmeta import rundir
from jaxmeta.algorithms.rl2 import rl2
from jaxmeta.buffers import replayed
from jaxmeta.config import Run
from jaxmeta.errors import ConfigError, NonFiniteError
from jaxmeta.training import (
    build,
    divisor,
    initial_states,
    over_seeds,
    refuse_non_finite,
    run_updates,
    seed_mesh,
)
from tests.tiny import METHODS, advance, program, tiny_run


@pytest.mark.parametrize("method", METHODS)
def test_a_step_closes_over_its_state(method):
    made = program(method)
    one = jax.tree.map(lambda x: x[0], made.start)
    after, metrics = jax.eval_shape(made.algorithm.step, one)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, one)
    for value in metrics.values():
        chex.assert_shape(value, ())


@pytest.mark.parametrize("method", METHODS)
def test_chunk_length_does_not_matter(method):
    """And the program was traced once, also for states that were on the host in between."""
    made = program(method)
    whole = advance(made, made.start, 0, 4)
    part = advance(made, made.start, 0, 1)
    copied = jax.device_put(jax.device_get(part), jax.tree.map(lambda x: x.sharding, part))
    chex.assert_trees_all_equal(
        made.algorithm.params(advance(made, copied, 1, 3)), made.algorithm.params(whole)
    )


@pytest.mark.parametrize("method", METHODS)
def test_metrics_stay_finite_and_seeds_differ(method):
    made = program(method)
    _, progress = made.updates(made.start, jnp.int32(0), jnp.int32(4))
    for name, total in progress.total.items():
        assert np.isfinite(total).all(), name
        assert (progress.first_bad[name] == -1).all()
    assert progress.total["policy_loss"][0] != progress.total["policy_loss"][1]


@pytest.mark.parametrize("method", METHODS)
def test_vmapped_seeds_give_what_a_loop_gives(method):
    made = program(method)
    looped = made.algorithm.params(advance(made, made.start, 0, 1))
    vmapped = made.algorithm.params(jax.jit(jax.vmap(made.algorithm.step))(made.start)[0])
    chex.assert_trees_all_close(vmapped, looped, rtol=1e-5, atol=1e-5)


def test_seeds_beside_each_other_on_one_device_change_nothing():
    """A device with several seeds loops over them; bits are those of a seed alone."""
    made = program("rl2")
    one_device = jax.make_mesh((1,), ("seeds",), (AxisType.Auto,), devices=jax.devices()[:1])
    together = jax.jit(over_seeds(one_device, run_updates(made.algorithm.step)))
    start = jax.device_put(made.start, NamedSharding(one_device, PartitionSpec("seeds")))
    got, _ = together(start, jnp.int32(0), jnp.int32(2))
    expected = advance(made, made.start, 0, 2)
    chex.assert_trees_all_equal(got.params, expected.params)


# Each field on which paper and public code disagree, with its other value.
FIDELITY = {
    "imagination.weights": "per_dimension",
    "imagination.latents": "means",
    "imagination.dropout": "off",
    "imagination.roles": "redrawn",
    "vae.reduction": "mean",
    "vae.pairs": "all",
}


def first_update(overrides):
    """Return what the first update learns from: its rollout, and the ELBO's gradient."""
    run = tiny_run("ldm", overrides | {"seeds": 1})
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(run, algorithm))
    rollout, _ = jax.jit(algorithm.collect)(state)
    merged = jax.tree.map(lambda x: x[:, 0], rollout.transitions)
    elbo = jax.jit(
        lambda params, batch, key: algorithm.belief.elbo(params, batch, key, state.hp.vae)[0]
    )
    return merged.reward, elbo(state.params, replayed(merged), jax.random.key(0))


@pytest.fixture(scope="module")
def paper_update():
    return first_update({})


@pytest.mark.parametrize("field", FIDELITY)
def test_each_fidelity_field_changes_the_first_update(field, paper_update):
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(first_update({field: FIDELITY[field]}), paper_update)


@pytest.mark.slow
def test_a_frozen_replay_changes_the_first_update_behind_its_capacity():
    """It can't matter before: 3 normal workers fill 4 slots in the second update."""
    after = {}
    for replay in ("ring", "frozen"):
        run = tiny_run("ldm", {"vae.capacity": 4, "vae.replay": replay, "seeds": 1})
        _, algorithm = build(run)
        updates = jax.jit(run_updates(algorithm.step))
        state = jax.tree.map(lambda x: x[0], initial_states(run, algorithm))
        after[replay] = [updates(state, 0, n)[0].params["decoder"] for n in (1, 2)]
    chex.assert_trees_all_equal(after["ring"][0], after["frozen"][0])
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(after["ring"][1], after["frozen"][1])


def test_varibads_encoder_receives_the_rl_gradient():
    """The entropy bonus can reach the shared encoder through the RL loss only."""
    run = tiny_run("varibad", {"seeds": 1, "a2c.max_grad_norm": 1e9})
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(run, algorithm))
    moved = {}
    for coefficient in (0.1, 5.0):
        a2c = dataclasses.replace(state.hp.a2c, entropy_coef=jnp.float32(coefficient))
        hp = state.hp._replace(a2c=a2c)
        moved[coefficient] = jax.jit(algorithm.step)(state._replace(hp=hp))[0].params["encoder"]
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(moved[0.1], moved[5.0])


def test_mixture_trajectories_never_reach_the_replay():
    """Real rewards of the gridworld are -0.1 or 1; imagined ones lie in between."""
    made = program("ldm")
    states = advance(made, made.start, 0, 5)
    stored = np.asarray(states.replay.data.reward)[0, :15]
    assert (np.asarray(states.replay.seen) == 15).all()
    assert np.isin(stored, np.float32([-0.1, 1.0])).all()
    rollout, imagined = made.algorithm.collect(jax.tree.map(lambda x: x[0], states))
    paid = np.asarray(rollout.transitions.reward)[:, 0]  # the first group, [T, W]
    real = np.isin(paid, np.float32([-0.1, 1.0])).all(0)
    np.testing.assert_array_equal(real, ~np.asarray(imagined)[0])


def test_every_group_has_mixture_workers_of_its_own():
    run = tiny_run("ldm", {"workers": 8, "seeds": 1})
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(run, algorithm))
    rollout, imagined = jax.jit(algorithm.collect)(state)
    chex.assert_shape(rollout.transitions.reward, (60, 2, 4))
    np.testing.assert_array_equal(imagined, [[False] * 3 + [True]] * 2)
    real = np.isin(rollout.transitions.reward, np.float32([-0.1, 1.0])).all(0)
    np.testing.assert_array_equal(real, ~np.asarray(imagined))


def test_divisor():
    assert [divisor(n, 4) for n in (1, 2, 3, 4, 5, 6, 8)] == [1, 2, 3, 4, 1, 3, 4]


def test_the_first_quantity_that_is_not_finite_is_named():
    bad = {"value_loss": np.array([-1, 7]), "kl": np.array([9, -1])}
    with pytest.raises(NonFiniteError, match="update 7, seed 1: value_loss"):
        refuse_non_finite(bad)
    refuse_non_finite({"kl": np.array([-1, -1])})


def test_run_updates_notes_the_first_bad_update():
    def step(n):
        return n + 1, {"loss": jnp.where(n >= 3, jnp.nan, 1.0)}

    _, progress = jax.jit(run_updates(step))(jnp.int32(0), jnp.int32(0), jnp.int32(6))
    assert progress.first_bad["loss"] == 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short LDM run, from the Python interface."""
    out = tmp_path_factory.mktemp("runs") / "a"
    run = tiny_run("ldm").replace({"frames": 2000, "log_every": 480, "evaluation.every": 960})
    seen = []
    return SimpleNamespace(
        run=run, out=out, seen=seen, result=jaxmeta.train(run, out, watch=seen.append)
    )


def test_train_writes_the_contract(trained):
    manifest = json.loads((trained.out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["frames_per_seed"] == 2160  # 2000 rounded up to 9 updates of 240
    assert rundir.read_run(trained.out) == trained.run
    rows = rundir.read_metrics(trained.out)
    assert [r["frames"] for r in rows if r["seed"] == 0] == [480, 960, 1440, 1920, 2160]
    assert {r["seed"] for r in rows} == {0, 1}
    for key in (
        "update", "wall_s", "frames_per_s", "return_train", "return_imagined", "policy_loss",
        "value_loss", "entropy", "grad_norm", "elbo", "reconstruction", "kl",
    ):  # fmt: skip
        assert all(math.isfinite(row[key]) for row in rows), key


def test_evaluation_covers_all_goals_episodes_and_policies(trained):
    table = rundir.read_evaluation(trained.out)
    assert sorted(set(table["frames"])) == [0, 960, 1920, 2160]
    assert len(table["frames"]) == 4 * 2 * 2 * 45 * 2  # times, seeds, policies, goals, episodes
    assert (table["rollouts"][table["policy"] == "sampled"] == 4).all()
    tasks = rundir.read_tasks(trained.out)
    assert [t["split"] for t in tasks].count("train") == 18
    # Where a greedy episode never met its goal, it earned exactly -3.
    missed = (table["policy"] == "greedy") & (table["reached"] == 0)
    np.testing.assert_allclose(table["return"][missed], -3.0, atol=1e-4)
    assert (table["return"][(table["policy"] == "greedy") & (table["reached"] == 1)] > -3).all()


def test_the_progress_listener_hears_of_every_chunk(trained):
    assert [s.frames for s in trained.seen] == [0, 480, 960, 1440, 1920, 2160]
    assert trained.seen[-1].frames_per_s > 0


def test_a_finished_run_is_read_back_not_repeated(trained):
    before = (trained.out / "metrics.jsonl").stat().st_mtime_ns
    again = jaxmeta.train(trained.run, trained.out)
    assert (trained.out / "metrics.jsonl").stat().st_mtime_ns == before
    chex.assert_trees_all_equal(again.params, trained.result.params)


def test_a_loaded_agent_acts_as_it_was_evaluated(trained):
    agent, params = jaxmeta.load(trained.out, seed=1)
    env = jaxmeta.make_env(trained.run)
    task = env.eval_tasks("test")[4]
    played = jaxmeta.adaptation(jaxmeta.greedy(agent), env, params, task, jax.random.key(5))
    table = rundir.read_evaluation(trained.out)
    index = [t["split"] for t in rundir.read_tasks(trained.out)].index("test") + 4
    rows = (table["task"] == index) & (table["seed"] == 1) & (table["policy"] == "greedy")
    expected = table["return"][rows & (table["frames"] == 2160)]
    np.testing.assert_allclose(played.returns, expected, atol=1e-4)


def test_load_refuses_what_is_not_there(trained, tmp_path):
    with pytest.raises(ConfigError, match="must be 0 to 1"):
        jaxmeta.load(trained.out, seed=2)
    with pytest.raises(ConfigError, match="holds no run"):
        jaxmeta.load(tmp_path)


def test_a_diverging_run_stops_and_says_where(tmp_path):
    run = tiny_run("rl2", {"a2c.value_coef": 1e38, "frames": 2000, "a2c.max_grad_norm": 1e38})
    with pytest.raises(NonFiniteError, match=r"update \d+, seed \d: \w+ is not finite"):
        jaxmeta.train(run, tmp_path / "a")
    assert rundir.status(tmp_path / "a") == "failed"
    assert any(row.get("finite") is False for row in rundir.read_metrics(tmp_path / "a"))
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        jaxmeta.load(tmp_path / "a")
    assert not (tmp_path / "a" / "checkpoints").exists()  # reading makes no folder


@pytest.mark.parametrize("boundary", ["start"])
def test_the_other_boundary_trains_too(tmp_path, boundary):
    run = tiny_run("ldm", {"trial.boundary": boundary, "frames": 480, "seeds": 1})
    assert all(math.isfinite(r["elbo"]) for r in jaxmeta.train(run, tmp_path / "a").metrics)


def test_a_run_needs_at_least_one_update():
    with pytest.raises(ConfigError, match="at least one update, 1920 frames"):
        Run(method="rl2", frames=1919)


def test_the_mesh_takes_as_many_devices_as_divide_the_seeds():
    assert seed_mesh(4).size == 2
    assert seed_mesh(3).size == 1


def test_a_run_of_code_from_files_is_loaded_with_that_code_only(tmp_path):
    """Its folder names files, which are never executed for that."""
    env_file, method_file = tmp_path / "env.py", tmp_path / "method.py"
    env_file.write_text("from envs.gridworld import gridworld as make\n")
    method_file.write_text("from jaxmeta.algorithms.rl2 import rl2 as make\n")
    run = Run(env=str(env_file), method=str(method_file), frames=960, workers=8)
    run = run.replace({"networks.hidden": 8, "vae.capacity": 5})
    jaxmeta.train(run, tmp_path / "a")
    env_file.write_text("raise SystemExit")
    method_file.unlink()
    for given in ({}, {"env": gridworld()}, {"method": rl2}):
        with pytest.raises(ConfigError, match=r"pass (env|method)=\.\.\."):
            jaxmeta.load(tmp_path / "a", **given)
    agent, params = jaxmeta.load(tmp_path / "a", env=gridworld(), method=rl2)
    assert agent.begin(params).shape == (8,)


def test_a_file_that_makes_no_environment_is_named(tmp_path):
    (tmp_path / "env.py").write_text("def make():\n    return 3\n")
    run = Run(env=str(tmp_path / "env.py"), method="rl2", frames=1920)
    with pytest.raises(ConfigError, match=r"must make a jaxmeta\.Env, not int"):
        jaxmeta.make_env(run)
