"""Updates behind each episode: what agents recall, what learns when, what the replay takes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rl import update_phases
from jaxmeta.rl.actor_critic import recurrent, sequences
from jaxmeta.rollout import begin_all, live_all
from jaxmeta.training.build import build
from jaxmeta.training.compiled_programs import initial_states, members
from tests.probes import Stop
from tests.tiny import tiny_run

WORKERS, EPISODES = 5, 3


@functools.cache
def stepped(method, steps=1, **fields):
    """Return the states before and after some steps of one seed, and the last metrics."""
    chosen = {"seeds": 1, "ppo.update": "episode"}
    run = tiny_run(method, chosen | {k.replace("__", "."): v for k, v in fields.items()}, rl="ppo")
    _, algorithm = build(run)
    before = jax.tree.map(lambda x: x[0], initial_states(members(run), algorithm))
    step, after, metrics = jax.jit(algorithm.step), before, {}
    for _ in range(steps):
        after, metrics = step(after)
    return run, before, after, metrics


def counts(opt):
    """Return how many steps each optimiser in a state has taken."""
    leaves = jax.tree_util.tree_leaves_with_path(opt)
    return {int(x) for path, x in leaves if "count" in str(path[-1])}


@pytest.fixture(scope="module")
def lived():
    """Return an agent, its world, two sets of parameters, and what it lived of a trial."""
    run = tiny_run("rl2", {"trial.episodes": EPISODES}, rl="ppo")
    world, algorithm = build(run, Stop())
    states = initial_states(members(run), algorithm)  # of two seeds
    params, others = (jax.tree.map(lambda x, i=i: x[i], algorithm.params(states)) for i in (0, 1))
    keys = jax.random.split(jax.random.key(0), WORKERS)
    tasks = jnp.where(jnp.arange(WORKERS) % 2 == 0, 1.0, -1.0)
    agent, length = algorithm.agent, 2 * world.env.horizon
    workers = begin_all(agent, world, params, tasks, keys)
    workers, rollout = live_all(agent, world, params, workers, keys, "train", length)
    assert rollout.transitions.over.any()  # some trials ended early, and others began
    assert not rollout.transitions.over.all(0).any()
    junk = lambda x: jnp.concatenate([x, jnp.ones_like(x[: world.env.horizon])])
    so_far = jax.tree.map(junk, rollout.transitions)
    return agent, world, params, others, workers, rollout, so_far


def test_a_gradient_step_encodes_from_where_the_phase_began(lived):
    agent, world, params, _, workers, _, _ = lived
    run = tiny_run("rl2", {"trial.episodes": EPISODES}, rl="ppo")
    net = recurrent(world, run, run.networks.head)
    keys = jax.random.split(jax.random.key(1), WORKERS)
    _, rollout = live_all(agent, world, params, workers, keys, "train", world.env.horizon)
    actions = rollout.transitions.action
    again = jax.jit(net.unroll)(params, sequences(world, rollout), actions)
    known = jax.jit(net.evaluate)(params, rollout)
    chex.assert_trees_all_close(again, known, rtol=1e-4, atol=1e-5)


def test_with_the_same_parameters_memories_are_what_they_were(lived):
    agent, world, params, _, workers, rollout, so_far = lived
    phased = update_phases.of_episodes(world, agent, "kept")
    remember = jax.jit(lambda k: phased.remember(params, workers, so_far, k).memory)
    np.testing.assert_allclose(remember(2), workers.memory, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        remember(1), rollout.records[world.env.horizon], rtol=1e-5, atol=1e-6
    )
    start = np.broadcast_to(agent.begin(params, None), workers.memory.shape)
    np.testing.assert_array_equal(remember(0), start)


def test_other_parameters_recall_step_by_step(lived):
    agent, world, _, others, workers, _, so_far = lived
    phased = update_phases.of_episodes(world, agent, "kept")
    again = phased.remember(others, workers, so_far, jnp.int32(2))
    for w in range(WORKERS):
        memory = agent.begin(others, None)
        for t in range(2 * world.env.horizon):
            tr = jax.tree.map(lambda x, t=t, w=w: x[t, w], so_far)
            memory = (
                agent.begin(others, None) if tr.over else agent.observe(others, memory, tr, None)
            )
        np.testing.assert_allclose(again.memory[w], memory, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(again._replace(memory=None), workers._replace(memory=None))


def test_cleared_memories_are_empty(lived):
    agent, world, params, _, workers, _, so_far = lived
    phased = update_phases.of_episodes(world, agent, "cleared")
    empty = phased.remember(params, workers, so_far, jnp.int32(2))
    assert (np.asarray(empty.memory) == 0).all() and (np.asarray(workers.memory) != 0).any()
    chex.assert_trees_all_equal(empty._replace(memory=None), workers._replace(memory=None))


@pytest.mark.parametrize("method", ["rl2", "varibad", "ldm"])
def test_policy_and_belief_learn_behind_every_episode(method):
    run, before, after, metrics = stepped(method)
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))
    steps = {2 * run.ppo.epochs * run.ppo.minibatches}
    learned = after.learned[0] if method == "varibad" else after.learned
    assert counts(learned.opt) == steps
    if method == "rl2":
        return
    of_belief = after.learned[1] if method == "varibad" else after.vae_opt
    assert counts(of_belief) == {2 * run.vae.updates}
    assert int(after.replay.seen) == run.workers - (1 if method == "ldm" else 0)  # whole trials


def test_the_second_episode_is_played_with_what_the_first_taught():
    still = {"ppo__learning_rate": 0.0, "vae__learning_rate": 0.0}
    _, _, after, _ = stepped("varibad")
    _, _, same, _ = stepped("varibad", **still)
    of = lambda state, half: jax.tree.map(lambda x: x[:4, half], state.replay.data)
    first, second = slice(30), slice(30, 60)
    chex.assert_trees_all_equal(of(after, first), of(same, first))
    assert (of(after, second).action != of(same, second).action).any()


def test_what_is_remembered_matters_in_the_second_episode():
    kept, cleared = (stepped("rl2", ppo__memory=memory)[2] for memory in ("kept", "cleared"))
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(kept.params, cleared.params)


def test_redrawn_roles_change_between_the_episodes():
    """As in the public code: a trial is stored if its worker is a normal one in the end."""

    def real(state):
        """Return for each stored trial and episode whether all its rewards are real, [n, 2]."""
        reward = np.asarray(state.replay.data.reward[: int(state.replay.seen)])
        return np.isin(reward, np.float32([-0.1, 1.0])).reshape(len(reward), 2, 30).all(-1)

    assert real(stepped("ldm", steps=6)[2]).all()
    halves = real(stepped("ldm", steps=6, imagination__roles="redrawn")[2])
    assert halves[:, 1].all()
    assert 0 < (~halves[:, 0]).sum() < len(halves) // 2


@pytest.mark.parametrize("method", ["rl2", "mixreg", "varibad", "ldm"])
def test_the_preset_reference_is_the_public_codes_update(method):
    run = Run(env="half-cheetah-velocity", method=method, preset="reference")
    memory = "cleared" if method == "rl2" else "kept"
    assert (run.ppo.update, run.ppo.credit, run.ppo.memory) == ("episode", "episode", memory)
    if run.get("vae"):
        assert (run.vae.reduction, run.vae.pairs, run.vae.replay) == ("mean", "all", "frozen")
        assert run.vae.kl_weight == pytest.approx(50 / 401)
    paper = Run(env="half-cheetah-velocity", method=method)
    assert (paper.ppo.update, paper.ppo.credit, paper.ppo.memory) == ("trial", "trial", "kept")


def test_memories_can_be_cleared_between_updates_only():
    with pytest.raises(
        ConfigError, match=r"ppo\.memory = 'cleared': must be kept with ppo\.update"
    ):
        tiny_run("rl2", {"ppo.memory": "cleared"}, rl="ppo")
