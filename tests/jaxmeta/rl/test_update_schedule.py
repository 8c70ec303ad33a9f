"""Updates after each episode: recomputed memories, what learns when, what is stored."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rl import update_schedule
from jaxmeta.rl.actor_critic import network_inputs, recurrent
from jaxmeta.rollout import advance_workers, start_workers
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import initial_states, make_members
from tests.probes import Stop
from tests.tiny import tiny_run

WORKERS, EPISODES = 5, 3


@functools.cache
def stepped(method, steps=1, **fields):
    """Return the states before and after some steps of one seed, and the last metrics."""
    chosen = {"seeds": 1, "ppo.update": "episode"}
    run = tiny_run(method, chosen | {k.replace("__", "."): v for k, v in fields.items()}, rl="ppo")
    _, algorithm = build(run)
    before = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    step, after, metrics = jax.jit(algorithm.step), before, {}
    for _ in range(steps):
        after, metrics = step(after)
    return run, before, after, metrics


def counts(opt):
    """Return how many steps each optimiser in a state has taken."""
    leaves = jax.tree_util.tree_leaves_with_path(opt)
    return {int(x) for path, x in leaves if "count" in str(path[-1])}


@pytest.fixture(scope="module")
def partial_trial():
    """Return an agent, its env, two sets of parameters, and two episodes of a trial."""
    run = tiny_run("rl2", {"trial.episodes": EPISODES}, rl="ppo")
    env, algorithm = build(run, Stop())
    states = initial_states(make_members(run), algorithm)  # of two seeds
    params, others = (jax.tree.map(lambda x, i=i: x[i], algorithm.params(states)) for i in (0, 1))
    keys = jax.random.split(jax.random.key(0), WORKERS)
    tasks = jnp.where(jnp.arange(WORKERS) % 2 == 0, 1.0, -1.0)
    agent, length = algorithm.agent, 2 * env.env.horizon
    workers = start_workers(agent, env, params, tasks, keys)
    workers, rollout = advance_workers(agent, env, params, workers, keys, "train", length)
    assert rollout.transitions.over.any()  # some trials ended early, and others began
    assert not rollout.transitions.over.all(0).any()
    junk = lambda x: jnp.concatenate([x, jnp.ones_like(x[: env.env.horizon])])
    trial_transitions = jax.tree.map(junk, rollout.transitions)
    return agent, env, params, others, workers, rollout, trial_transitions


def test_a_gradient_step_encodes_from_where_the_phase_began(partial_trial):
    agent, env, params, _, workers, _, _ = partial_trial
    run = tiny_run("rl2", {"trial.episodes": EPISODES}, rl="ppo")
    net = recurrent(env, run, run.networks.head)
    keys = jax.random.split(jax.random.key(1), WORKERS)
    _, rollout = advance_workers(agent, env, params, workers, keys, "train", env.env.horizon)
    actions = rollout.transitions.action
    unrolled = jax.jit(net.unroll)(params, network_inputs(env, rollout), actions)
    evaluated = jax.jit(net.evaluate)(params, rollout)
    chex.assert_trees_all_close(unrolled, evaluated, rtol=1e-4, atol=1e-5)


def test_with_the_same_parameters_memories_are_what_they_were(partial_trial):
    agent, env, params, _, workers, rollout, trial_transitions = partial_trial
    schedule = update_schedule.per_episode(env, agent, "kept")
    recompute = jax.jit(
        lambda k: schedule.recompute_memories(params, workers, trial_transitions, k).memory
    )
    np.testing.assert_allclose(recompute(2), workers.memory, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(recompute(1), rollout.records[env.env.horizon], rtol=1e-5, atol=1e-6)
    start = np.broadcast_to(agent.begin(params, None), workers.memory.shape)
    np.testing.assert_array_equal(recompute(0), start)


def test_other_parameters_recompute_memories_step_by_step(partial_trial):
    agent, env, _, others, workers, _, trial_transitions = partial_trial
    schedule = update_schedule.per_episode(env, agent, "kept")
    recomputed = schedule.recompute_memories(others, workers, trial_transitions, jnp.int32(2))
    for w in range(WORKERS):
        memory = agent.begin(others, None)
        for t in range(2 * env.env.horizon):
            tr = jax.tree.map(lambda x, t=t, w=w: x[t, w], trial_transitions)
            memory = (
                agent.begin(others, None) if tr.over else agent.observe(others, memory, tr, None)
            )
        np.testing.assert_allclose(recomputed.memory[w], memory, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(recomputed._replace(memory=None), workers._replace(memory=None))


def test_cleared_memories_are_empty(partial_trial):
    agent, env, params, _, workers, _, trial_transitions = partial_trial
    schedule = update_schedule.per_episode(env, agent, "cleared")
    empty = schedule.recompute_memories(params, workers, trial_transitions, jnp.int32(2))
    assert (np.asarray(empty.memory) == 0).all() and (np.asarray(workers.memory) != 0).any()
    chex.assert_trees_all_equal(empty._replace(memory=None), workers._replace(memory=None))


@pytest.mark.parametrize("method", ["rl2", "varibad", "ldm"])
def test_policy_and_belief_learn_after_every_episode(method):
    run, before, after, metrics = stepped(method)
    chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
    assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))
    steps = {2 * run.ppo.epochs * run.ppo.minibatches}
    learned = after.learned[0] if method == "varibad" else after.learned
    assert counts(learned.opt) == steps
    if method == "rl2":
        return
    belief_opt = after.learned[1] if method == "varibad" else after.vae_opt
    # Before the first whole trial there is nothing to learn a belief from.
    assert counts(belief_opt) == {run.vae.updates}
    assert int(after.replay.seen) == run.workers - (1 if method == "ldm" else 0)  # whole trials


def test_a_belief_learns_twice_per_trial_from_the_second_one_on():
    run, _, after, _ = stepped("ldm", steps=6)
    assert counts(after.vae_opt) == {11 * run.vae.updates}


PUBLISHED = {
    "ppo__last_return": "zeroed",
    "vae__reduction": "mean",
    "vae__pairs": "all",
    "vae__decoder": "single",
}
TWO_GROUPS = {"imagination__normal": 2, "imagination__mixture": 0}  # whose trials are all stored


@pytest.mark.parametrize(
    ("method", "fields"),
    [pytest.param("varibad", {}, marks=pytest.mark.slow), ("ldm", TWO_GROUPS)],
)
def test_a_belief_waits_for_the_first_whole_trial(method, fields):
    """The mean over the steps of a blank row would be one of nothing: not a number."""
    _, _, after, metrics = stepped(method, **PUBLISHED, **fields)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.params, metrics)))
    assert metrics["elbo"] < 0


def test_what_a_trial_accumulates_is_folded_up_to_the_phase(partial_trial):
    """As the discounted return is, over trials that end early."""
    agent, env, _, _, _, rollout, trial_transitions = partial_trial
    schedule = update_schedule.per_episode(env, agent, "kept")
    reward, over = map(np.asarray, (rollout.transitions.reward, rollout.transitions.over))
    discounted = lambda g, tr: 0.9 * g + tr.reward
    for k in range(EPISODES):
        expected = np.zeros(WORKERS)
        for t in range(k * env.env.horizon):
            expected = np.where(over[t], 0.0, 0.9 * expected + reward[t])
        found = schedule.fold_past(discounted, jnp.zeros(()), trial_transitions, jnp.int32(k))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "fields"),
    [("varibad", {}), ("varibad", PUBLISHED), ("ldm", PUBLISHED | TWO_GROUPS)],
)
def test_discounted_returns_run_until_the_trial_ends(method, fields):
    """Updates in its middle do not set them back; the replay has its true rewards."""
    run, _, after, _ = stepped(method, **fields)
    learned = after.learned[0] if method == "varibad" else after.learned
    reward = np.asarray(after.replay.data.reward[: run.workers], float)
    assert int(after.replay.seen) == run.workers and reward.shape[1] == 60
    returns, g = [], np.zeros(run.workers)
    for r in reward.T:
        returns.append(g := 0.97 * g + r)
    if run.ppo.last_return == "zeroed":
        returns[-1] = np.zeros(run.workers)
    assert float(learned.returns.mean) == pytest.approx(np.mean(returns), rel=1e-3)
    assert float(learned.returns.var) == pytest.approx(np.var(returns), rel=1e-3)
    assert float(learned.returns.weight) == pytest.approx(np.size(returns), rel=1e-3)


def test_the_second_episode_is_played_with_updated_parameters():
    still = {"ppo__learning_rate": 0.0, "vae__learning_rate": 0.0}
    _, _, after, _ = stepped("varibad")
    _, _, same, _ = stepped("varibad", **still)
    of = lambda state, half: jax.tree.map(lambda x: x[:4, half], state.replay.data)
    first, second = slice(30), slice(30, 60)
    chex.assert_trees_all_equal(of(after, first), of(same, first))
    assert (of(after, second).action != of(same, second).action).any()


def test_whether_memories_are_kept_matters_in_the_second_episode():
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
    assert run.ppo.last_return == "zeroed"
    if run.get("vae"):
        assert (run.vae.reduction, run.vae.pairs, run.vae.replay) == ("mean", "all", "frozen")
        assert run.vae.kl_weight == pytest.approx(50 / 401)
    paper = Run(env="half-cheetah-velocity", method=method)
    assert (paper.ppo.update, paper.ppo.credit, paper.ppo.memory) == ("trial", "trial", "kept")
    assert paper.ppo.last_return == "counted"


def test_memories_can_be_cleared_between_updates_only():
    with pytest.raises(
        ConfigError, match=r"ppo\.memory = 'cleared': must be kept with ppo\.update"
    ):
        tiny_run("rl2", {"ppo.memory": "cleared"}, rl="ppo")
