"""Sampled memories, and the optional fields of a step."""

from collections import Counter

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxmeta import Binary, Box, Discrete, Env, Real, adaptation, collect, greedy, mdp_step
from jaxmeta.agent import Agent
from jaxmeta.replay.off_policy_rows import row_like, to_rows
from jaxmeta.rl.actor_critic import Evaluated
from jaxmeta.rl.gae import advantages_and_returns
from jaxmeta.rl.options import A2C
from jaxmeta.rollout import MEMORY_ROLE
from jaxmeta.trial import trial
from tests.probes import Stop

EPISODES, LENGTH = 2, 3


class Goals(Env):
    """Three steps; action 1 reaches the goal in the second one only; shaped rewards differ."""

    obs_space, action_space, reward = Box((1,), 0, 3), Discrete(2), Real()
    horizon, fixed_length, goals = LENGTH, True, True

    def sample_task(self, key, split):
        return jnp.zeros(())

    def eval_tasks(self, split):
        return jnp.zeros(1)

    def reset(self, key, task):
        return jnp.zeros(()), jnp.zeros(1)

    def step(self, noise, state, action, task):
        met = (state == 1) & (action == 1)
        fields = {"met": met, "shaped": 10.0 + state, "metrics": {"place": 2.0 * state}}
        return state + 1, mdp_step(state[None] + 1, -state, **fields)


class Quiet(Goals):
    """The same without the optional fields."""

    goals = False

    def step(self, noise, state, action, task):
        return state + 1, mdp_step(state[None] + 1, -state)


def holding_a_latent(quiet=None):
    """Return an agent whose memory begins with a draw and adds one at each step.

    It acts by the sign of its noise; memory has a noise of its own.
    """

    def draw(key):
        key_action, key_latent = jax.random.split(key)
        return jax.random.normal(key_action), jax.random.normal(key_latent)

    def act(params, memory, obs, noise):
        return (noise[0] > 0).astype(jnp.int32), (noise, memory)

    agent = Agent(
        draw=draw,
        begin=lambda params, noise: noise[1],
        act=act,
        observe=lambda params, memory, tr, noise: memory + noise[1],
    )
    return agent._replace(quiet=quiet) if quiet else agent


def played(agent, env, key=0):
    one = lambda key: adaptation(agent, trial(env, EPISODES), {}, jnp.zeros(()), key)
    return jax.device_get(jax.jit(one)(jax.random.key(key)))


def test_a_memory_gets_the_noise_of_its_step():
    rollout = played(holding_a_latent(), Goals()).rollout
    (actions, latents), memories = rollout.records
    np.testing.assert_allclose(memories, memories[0] + np.cumsum(latents) - latents, atol=1e-5)
    np.testing.assert_allclose(rollout.memory, memories[-1] + latents[-1], atol=1e-5)
    assert memories[0] not in latents  # it begins with a draw of its own
    np.testing.assert_array_equal(rollout.transitions.action, actions > 0)


@chex.variants(with_jit=True, without_jit=True)
class Starts(chex.TestCase):
    """Memories at the start of trials."""

    def test_each_worker_begins_with_a_draw_of_its_own(self):
        agent, env = holding_a_latent(), trial(Goals(), EPISODES)
        start = lambda: collect(agent, env, {}, jnp.zeros(64), jax.random.key(0), "train").records
        memories = self.variant(start)()[1][0]
        chex.assert_shape(memories, (64,))
        assert len(np.unique(memories)) == 64
        assert abs(np.mean(memories)) < 0.5 and 0.7 < np.std(memories) < 1.3


def test_a_worker_gets_a_new_task_and_memory_where_its_trial_ends_early():
    """As docs/tutorial/method.md says: a rollout may hold several trials, of different tasks."""
    count_steps = Agent(
        draw=lambda key: jnp.zeros(()),
        begin=lambda params, noise: jnp.zeros((), jnp.int32),
        act=lambda params, memory, obs, noise: (jnp.ones((), jnp.int32), memory),
        observe=lambda params, memory, tr, noise: memory + 1,
    )
    env, tasks = trial(Stop(), EPISODES), jnp.ones(32)  # every episode is one step
    rollout = jax.jit(lambda key: collect(count_steps, env, {}, tasks, key, "train"))(
        jax.random.key(0)
    )
    tr = rollout.transitions
    reward = np.asarray(tr.reward).reshape(-1, EPISODES, 32)  # the task, at every step
    over = np.asarray(tr.over).reshape(-1, EPISODES, 32)
    assert len(reward) == 5
    assert over[:, -1].all() and not over[:, :-1].any()
    assert (reward == reward[:, :1]).all()  # of one trial, one task
    assert (reward[0] == 1).all()  # the tasks that were asked for
    assert 0.3 < (reward[1:] == 1).mean() < 0.7
    assert (np.asarray(rollout.records).reshape(over.shape) == np.arange(EPISODES)[:, None]).all()


def test_the_key_of_initial_memories_is_none_that_a_reset_splits_off():
    """`fold_in(key, i)` is the i-th of `split(key, n)`: a small number would be such a key."""
    key = jax.random.key(0)
    bits = lambda keys: np.asarray(jax.random.key_data(keys)).reshape(-1, 2)
    own = bits(jax.random.fold_in(key, MEMORY_ROLE))
    assert (bits(jax.random.fold_in(key, 1)) == bits(jax.random.split(key, 4))[1]).all()
    assert not (own == bits(jax.random.split(key, 10_000))).all(1).any()


def test_greedy_silences_actions_and_leaves_memory_sampled():
    quiet = lambda noise: (jnp.zeros_like(noise[0]), noise[1])
    sampled = played(holding_a_latent(quiet), Goals()).rollout
    mode = played(greedy(holding_a_latent(quiet)), Goals()).rollout
    np.testing.assert_array_equal(mode.records[1], sampled.records[1])
    assert (mode.transitions.action == 0).all() and sampled.transitions.action.any()
    silent = played(greedy(holding_a_latent()), Goals()).rollout  # by default all of it
    assert (silent.records[1] == 0).all()


def always(action):
    """Return an agent without memory that repeats an action."""
    return Agent(
        draw=lambda key: jnp.zeros(()),
        begin=lambda params, noise: (),
        act=lambda params, memory, obs, noise: (jnp.int32(action), ()),
        observe=lambda params, memory, tr, noise: (),
    )


@pytest.mark.parametrize("action", [0, 1])
def test_reached_is_whether_any_step_of_an_episode_met_the_goal(action):
    found = played(always(action), Goals())
    assert found.reached.tolist() == [bool(action)] * EPISODES
    assert found.rollout.transitions.met.tolist() == [False, bool(action), False] * EPISODES


def test_without_goals_nothing_is_met():
    assert not trial(Quiet(), EPISODES).goals
    assert not played(always(1), Quiet()).reached.any()


def test_a_binary_reward_implies_that_the_goal_was_met():
    class Paying(Quiet):
        reward = Binary(low=-1.0, high=0.0)  # the first step's reward is 0, later ones' are not

    assert trial(Paying(), EPISODES).goals
    found = played(always(0), Paying())
    assert found.rollout.transitions.met.tolist() == [True, False, False] * EPISODES
    assert found.reached.all()


def test_no_score_reads_a_shaped_reward_and_advantages_do():
    shaped, plain = (played(always(1), env()) for env in (Goals, Quiet))
    np.testing.assert_array_equal(shaped.returns, plain.returns)
    assert shaped.returns.tolist() == [-3.0] * EPISODES
    assert plain.rollout.transitions.shaped is None
    hp = A2C(gamma=1.0, gae_lambda=1.0)
    zero = jnp.zeros((EPISODES * LENGTH, 1))
    evaluated = Evaluated(zero, zero, zero, jnp.zeros(1))
    by_worker = lambda rollout: jax.tree.map(lambda x: x[:, None], rollout.transitions)
    of = lambda found: np.asarray(
        advantages_and_returns(evaluated, by_worker(found.rollout), hp)[1][0, 0]
    )
    assert (of(shaped), of(plain)) == (2 * (10 + 11 + 12), -6.0)


def test_the_replay_stores_shaped_rewards_where_there_are_some():
    for env, shape in ((Goals(), (EPISODES * LENGTH,)), (Quiet(), None)):
        env = trial(env, EPISODES)
        like = row_like(env)
        assert (like.shaped if shape is None else like.shaped.shape) == shape
        rollout = collect(always(0), env, {}, jnp.zeros(2), jax.random.key(0), "train")
        rows = to_rows(rollout.transitions, jnp.arange(2))
        chex.assert_trees_all_equal_structs(rows, like)
        if shape:
            np.testing.assert_array_equal(rows.shaped, [[10, 11, 12] * EPISODES] * 2)
            np.testing.assert_array_equal(rows.reward, [[0, -1, -2] * EPISODES] * 2)


def test_scalars_of_the_environments_own_arrive_in_the_transitions():
    transitions = played(always(0), Goals()).rollout.transitions
    assert transitions.metrics["place"].tolist() == [0.0, 2.0, 4.0] * EPISODES


def random_draws(jaxpr):
    """Return how often random bits are drawn in the loops of a jaxpr, by the loop's length."""
    drawn = Counter()

    def visit(jaxpr, length):
        for eqn in jaxpr.eqns:
            drawn[length] += eqn.primitive.name == "random_bits"
            inner = eqn.params.get("length", length) if eqn.primitive.name == "scan" else length
            for sub in jaxprs_in_params(eqn.params):
                visit(sub, inner)

    visit(jaxpr, 0)
    return drawn


class Shaken(Stop):
    """Its resets draw a number, before the rollout; its tasks none."""

    def sample_task(self, key, split):
        return jnp.float32(1.0)

    def reset(self, key, task):
        return self.reset_with(self.draw_reset(key), task)

    def draw_reset(self, key):
        return jax.random.uniform(key)

    def reset_with(self, noise, task):
        state, obs = super().reset(jax.random.key(0), task)
        return state, jnp.full_like(obs, noise)


def test_resets_draw_no_numbers_inside_a_rollout():
    env = trial(Shaken(), 2)
    tasks = jnp.zeros(3)
    play = lambda key: collect(holding_a_latent(), env, (), tasks, key, "train")
    drawn = random_draws(jax.make_jaxpr(play)(jax.random.key(0)).jaxpr)
    assert drawn[0] > 0
    assert drawn[env.horizon] == 0
