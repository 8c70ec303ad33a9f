"""Trials in environments of gymnasium, against our own meta-test."""

import gymnasium
import jax
import numpy as np
import pytest

from envs.adapters.to_gymnasium import to_gymnasium
from envs.gridworld import gridworld
from jaxmeta import adaptation, greedy, play
from jaxmeta.agent import Agent
from jaxmeta.algorithm import hyper
from jaxmeta.env import Box
from jaxmeta.errors import ConfigError
from jaxmeta.training.build import build
from jaxmeta.trial import trial
from tests.tiny import tiny_run

GOAL = np.array([2, 0], np.int8)
LIVED = ("obs", "action", "reward", "next_obs", "seen", "last", "over", "discount", "limit")


@pytest.mark.parametrize("boundary", ["terminal", "start"])
@pytest.mark.parametrize("policy", [greedy, lambda agent: agent])
def test_a_trial_is_step_by_step_that_of_the_meta_test(policy, boundary):
    run = tiny_run("rl2", {"trial.boundary": boundary})
    world, algorithm = build(run)
    start = algorithm.params(algorithm.init(jax.random.key(1), hyper(run)))
    params = jax.tree.map(lambda x: 4 * x, start)  # so that memories decide what is done
    agent, key = policy(algorithm.agent), jax.random.key(2)
    expected = jax.jit(lambda: adaptation(agent, world, params, GOAL, key))()
    played = play(agent, params, world, to_gymnasium(world.env, GOAL), key)
    np.testing.assert_allclose(played.returns, expected.returns, rtol=1e-5)
    for name in LIVED:
        ours = getattr(expected.rollout.transitions, name)
        steps = 59 if name == "seen" else 60  # behind the trial, the other one begins anew
        mine = getattr(played.transitions, name)
        np.testing.assert_allclose(mine[:steps], ours[:steps], err_msg=name)
    assert len(set(played.transitions.action.tolist())) > 1 or policy is greedy


class Corridor(gymnasium.Env):
    """Ends at its third step, or earlier by its own limit; it has no seed."""

    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-0.5, 0.5, (2,), np.float64)

    def __init__(self, terminates=True, truncates=99):
        self.terminates, self.truncates, self.begun, self.given = terminates, truncates, 0, []

    def reset(self, *, seed=None, options=None):
        self.begun, self.t = self.begun + 1, 0
        return np.array([-self.begun, 0.0]), {}

    def step(self, action):
        self.t += 1
        self.given.append(action)
        obs = np.array([self.begun, self.t], float)
        return obs, 2.0 * self.t, self.terminates and self.t == 3, self.t == self.truncates, {}


def robot_world(boundary="terminal"):
    """Return a world of two episodes of at most four steps with Corridor's spaces."""
    env = gridworld()
    env.obs_space, env.action_space, env.horizon = Box((2,), -9, 9), Box((2,)), 4
    return trial(env, 2, boundary)


CONSTANT = Agent(
    draw=lambda key: jax.numpy.zeros(()),
    begin=lambda params, noise: jax.numpy.zeros(()),
    act=lambda params, memory, obs, noise: (params, memory),
    observe=lambda params, memory, tr, noise: memory + tr.reward + tr.action[0],
)


def lived(env, boundary="terminal"):
    action = np.array([2.0, -0.25], np.float32)
    return play(CONSTANT, action, robot_world(boundary), env, jax.random.key(0))


def test_one_memory_lasts_through_all_episodes():
    counting = CONSTANT._replace(
        act=lambda params, memory, obs, noise: (params * memory, memory),
        observe=lambda params, memory, tr, noise: memory + 1,
    )
    one = np.ones(2, np.float32)
    played = play(counting, one, robot_world(), Corridor(), jax.random.key(0))
    assert played.transitions.action[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("env", "length", "limit"),
    [(Corridor(), 3, False), (Corridor(truncates=2), 2, True), (Corridor(False), 4, True)],
)
def test_episodes_end_as_the_environment_says_or_at_the_horizon(env, length, limit):
    played = lived(env)
    tr = played.transitions
    assert np.flatnonzero(tr.last).tolist() == [length - 1, 2 * length - 1]
    assert np.flatnonzero(tr.limit).tolist() == (np.flatnonzero(tr.last).tolist() if limit else [])
    assert tr.over.tolist() == [False] * (2 * length - 1) + [True]
    assert played.returns.tolist() == [length * (length + 1)] * 2
    assert env.begun == 2  # no reset behind the last episode


def test_the_boundary_is_the_worlds():
    ended = lived(Corridor()).transitions
    assert ended.seen[2].tolist() == ended.obs[3].tolist() == [1, 3, 1]
    begun = lived(Corridor(), "start").transitions
    assert begun.seen[2].tolist() == begun.obs[3].tolist() == [-2, 0, 1]
    assert begun.next_obs[2].tolist() == [1, 3, 1]


def test_actions_are_clipped_for_the_environment_only():
    env = Corridor()
    played = lived(env)
    assert env.given[0].tolist() == [0.5, -0.25]
    assert env.given[0].dtype == np.float64
    assert played.transitions.action[0].tolist() == [2, -0.25]


@pytest.mark.parametrize(
    ("name", "space", "said"),
    [
        ("observation_space", gymnasium.spaces.Box(0, 1, (3,)), r"must have shape \(2,\)"),
        ("observation_space", gymnasium.spaces.Discrete(3), "observation_space"),
        ("action_space", gymnasium.spaces.Discrete(2), "action_space"),
        ("action_space", gymnasium.spaces.Box(0, 1, (3,)), "action_space"),
    ],
)
def test_other_spaces_are_refused(name, space, said):
    env = Corridor()
    setattr(env, name, space)
    with pytest.raises(ConfigError, match=said):
        lived(env)


@pytest.mark.parametrize(
    "space", [gymnasium.spaces.Discrete(4), gymnasium.spaces.Discrete(5, start=1)]
)
def test_other_actions_than_the_gridworlds_are_refused(space):
    world, algorithm = build(tiny_run("rl2"))
    env = to_gymnasium(gridworld(), GOAL)
    env.action_space = space
    with pytest.raises(ConfigError, match="must be like Discrete"):
        play(algorithm.agent, {}, world, env, jax.random.key(0))
