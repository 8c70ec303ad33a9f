"""The trial wrapper, step by step against a BAMDP in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.agent import Agent
from jaxmeta.env import Box, Discrete, Env, Real, mdp_step
from jaxmeta.rollout import collect
from jaxmeta.trial import TrialNoise, trial

HORIZON, EPISODES, WALKS = 5, 3, 64


class Restless(Env):
    """Episodes start somewhere by key and end early by a rule that looks random."""

    obs_space = Box((3,), -2, 100, "int32")
    action_space = Discrete(4)
    reward = Real()
    horizon = HORIZON

    def sample_task(self, key, split):
        return jax.random.randint(key, (), 0, 1000)

    def eval_tasks(self, split):
        return jnp.arange(3)

    def reset(self, key, task):
        value = (jax.random.key_data(key)[1] % 50).astype(jnp.int32)
        return (value, jnp.array(0)), jnp.stack([value, jnp.array(0), task])

    def draw(self, key):
        return jax.random.randint(key, (), 0, 10)

    def step(self, noise, state, action, task):
        value, t = state
        value, t = (7 * value + 3 * action + task + noise) % 101, t + 1
        obs = jnp.stack([value, t, task])
        return (value, t), mdp_step(obs, value / 10 - t, value % 6 == 0)


def bamdp(task, first_key, actions, noises, reset_keys, boundary):
    """Play one trial in plain Python; yield what each step should return."""
    value, t, episode = int(first_key) % 50, 0, 0
    for action, noise, reset_key in zip(actions, noises, reset_keys, strict=True):
        value, t = int(7 * value + 3 * action + task + noise) % 101, t + 1
        terminated, reward = value % 6 == 0, value / 10 - t
        last = terminated or t == HORIZON
        arrived, t_arrived = [value, t, task, int(last)], t
        if last:
            episode, value, t = episode + 1, int(reset_key) % 50, 0
        seen = [value, t, task, int(last)] if boundary == "start" else arrived
        over = episode == EPISODES
        yield {
            "obs": seen,
            "reward": reward,
            "next_obs": arrived,
            "last": last,
            "discount": 0.0 if over else 1.0,
            "over": over,
            "env_reward": reward,
            "limit": t_arrived == HORIZON and not terminated,
        }
        if over:
            return


@pytest.fixture(scope="module", params=["terminal", "start"])
def walks(request):
    """Return random walks: their inputs, the first obs and the wrapper's steps [walk, t]."""
    env = trial(Restless(), EPISODES, request.param)
    steps = env.horizon
    rng = np.random.default_rng(0)
    first = jax.random.split(jax.random.key(1), WALKS)
    keys = jax.random.split(jax.random.key(2), (WALKS, steps))
    actions = rng.integers(0, 4, (WALKS, steps))
    tasks = rng.integers(0, 1000, WALKS)

    @jax.jit
    @jax.vmap
    def play(task, first, actions, keys):
        noises = jax.vmap(env.draw)(keys)

        def step(state, inputs):
            noise, action = inputs
            return env.step(noise, state, action, task)

        state, obs = env.reset(first, task)
        return obs, noises, jax.lax.scan(step, state, (noises, actions))[1]

    obs, noises, out = play(jnp.asarray(tasks), first, jnp.asarray(actions), keys)
    assert isinstance(noises, TrialNoise)
    reset_keys = np.asarray(jax.random.key_data(noises.reset))[..., 1]
    first = np.asarray(jax.random.key_data(first))[:, 1]
    inputs = [tasks, first, actions, np.asarray(noises.step), reset_keys]
    expected = [list(bamdp(*args, request.param)) for args in zip(*inputs, strict=True)]
    return first, tasks, np.asarray(obs), jax.device_get(out), expected


@pytest.mark.parametrize(
    "field", ["obs", "reward", "next_obs", "last", "discount", "over", "env_reward", "limit"]
)
def test_every_field_follows_the_bamdp(walks, field):
    _, _, _, out, expected = walks
    for walk, steps in enumerate(expected):
        got = getattr(out, field)[walk, : len(steps)]
        np.testing.assert_allclose(got, [s[field] for s in steps], rtol=1e-6, atol=1e-6)


def test_the_walks_end_early_in_many_ways(walks):
    _, _, _, _, expected = walks
    lengths = [len(steps) for steps in expected]
    assert len(set(lengths)) > 5 and min(lengths) < EPISODES * HORIZON
    assert all(sum(s["last"] for s in steps) == EPISODES for steps in expected)
    # Both ways to end an episode occur: the environment's and the time limit's.
    final = [s["next_obs"] for steps in expected for s in steps if s["last"]]
    assert any(o[1] == HORIZON and o[0] % 6 for o in final) and any(o[1] < HORIZON for o in final)


def test_a_trial_starts_with_the_environments_start_and_flag_0(walks):
    first, tasks, obs, _, _ = walks
    zero = np.zeros(WALKS, int)
    np.testing.assert_array_equal(obs, np.stack([first % 50, zero, tasks, zero], 1))


def test_an_environments_own_limit_is_a_limit():
    class Limited(Restless):
        def step(self, noise, state, action, task):
            state, step = super().step(noise, state, action, task)
            return state, step._replace(last=True, limit=action == 0)

    env = trial(Limited(), EPISODES)
    state, _ = env.reset(jax.random.key(0), 3)
    for action in (0, 1):
        _, step = env.step(env.draw(jax.random.key(1)), state, jnp.int32(action), 3)
        assert bool(step.last) and bool(step.limit) == (action == 0)


def test_horizon_and_spaces_are_those_of_a_trial():
    env = trial(Restless(), EPISODES)
    assert env.horizon == EPISODES * HORIZON
    assert env.obs_space == Box((4,), -2, 100, "int32")
    narrow = Restless()
    narrow.obs_space = Box((3,), 0.25, 0.5)  # the flag's 0 and 1 are observations, too
    assert trial(narrow, 2).obs_space == Box((4,), 0.0, 1.0)
    assert (env.action_space, env.reward) == (Discrete(4), Real())


def test_the_task_never_changes_inside_a_trial_and_does_after_it():
    env = trial(Restless(), EPISODES)
    nothing = jnp.zeros(())
    agent = Agent(
        draw=lambda key: jax.random.randint(key, (), 0, 4),
        begin=lambda params, noise: nothing,
        act=lambda params, memory, obs, noise: (noise, nothing),
        observe=lambda params, memory, transition, noise: memory,
    )
    tasks = jnp.arange(32)
    tr = jax.device_get(collect(agent, env, {}, tasks, jax.random.key(0), "train").transitions)
    trials = np.cumsum(tr.over, 0) - tr.over
    renewed = []
    for worker in range(32):
        task = tr.obs[:, worker, 2]
        for i in range(trials[-1, worker] + 1):
            inside = trials[:, worker] == i
            assert len(np.unique(task[inside])) == 1
            assert (tr.next_obs[inside, worker, 2] == task[inside]).all()
            # It begins at a start state (t = 0) with flag 0, also after a trial that ended with 1.
            begin = np.argmax(inside)
            assert tr.obs[begin, worker, 1] == 0 and tr.obs[begin, worker, 3] == 0
            renewed += [task[begin]] if i else []
        assert task[0] == worker
    assert len(renewed) > 16 and len(set(renewed)) > len(renewed) // 2


class Grades(Restless):
    """Tasks are the split's number: 0 for the first, whatever it is called."""

    splits = ("easy", "hard")

    def sample_task(self, key, split):
        return jnp.int32({"easy": 0, "hard": 1, "oracle": 2}[split])

    def eval_tasks(self, split):
        return jnp.full(3, {"easy": 0, "hard": 1, "oracle": 2}[split])

    def next_task(self, key, split, task):
        return task + 10 * jnp.int32({"easy": 1, "hard": 2, "oracle": 3}[split])


@pytest.mark.parametrize(
    ("split", "place"), [("train", 0), ("easy", 0), ("hard", 1), ("oracle", 2)]
)
def test_train_is_the_first_split_by_whatever_name(split, place):
    env, key = trial(Grades(), 2), jax.random.key(0)
    assert env.sample_task(key, split) == place
    assert (env.eval_tasks(split) == place).all()
    assert env.next_task(key, split, jnp.int32(5)) == 5 + 10 * (place + 1)
