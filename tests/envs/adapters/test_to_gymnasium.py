"""Single tasks as environments of gymnasium, against gymnasium's own checks and our Env."""

import subprocess
import sys
import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.adapters.to_gymnasium import to_gymnasium
from envs.gridworld import gridworld
from envs.locomotion.half_cheetah import half_cheetah_velocity
from jaxmeta.env import Box, Env, Real, mdp_step
from jaxmeta.errors import ConfigError
from jaxmeta.trial import trial

GOAL = np.array([2, 0], np.int8)


class Counter(Env):
    """Counts its steps and dies at `task`; a nan breaks it; -1 is where its own limit is."""

    obs_space = Box((2,), 0, 1e9)
    action_space = Box((1,))
    reward = Real()
    horizon = 5
    traced = 0

    def sample_task(self, key, split):
        return 3

    def eval_tasks(self, split):
        return jnp.array([3])

    def reset(self, key, task):
        start = jnp.stack([jnp.zeros(()), jax.random.uniform(key)])
        return start, start

    def step(self, noise, state, action, task):
        Counter.traced += 1
        after = jnp.stack([state[0] + 1, jax.random.uniform(noise)])
        bad = jnp.isnan(action[0])
        died, late = (after[0] == task) | bad, (action[0] == -1) & (after[0] < task)
        step = mdp_step(after, after.sum(), died)._replace(bad=bad)
        return after, step._replace(last=died | late, over=died | late, limit=late)


@pytest.mark.parametrize("make", [gridworld, lambda: half_cheetah_velocity("c")])
def test_gymnasiums_checks_pass(make):
    env = make()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(to_gymnasium(env, jax.tree.map(lambda x: x[0], env.eval_tasks("test"))))
    unbounded = ("infinity", "symmetric and normalized", "spec")  # robots' spaces are
    assert [str(w.message) for w in said if not any(u in str(w.message) for u in unbounded)] == []


def test_spaces_are_the_environments_own():
    env = to_gymnasium(gridworld(), GOAL)
    assert env.action_space == gymnasium.spaces.Discrete(5)
    assert env.observation_space == gymnasium.spaces.Box(0, 6, (2,), np.int8)
    robot = to_gymnasium(half_cheetah_velocity("c"), 1.0)
    assert robot.action_space == gymnasium.spaces.Box(-np.inf, np.inf, (6,), np.float32)
    assert trial(gridworld(), 2).obs_space.shape == (3,)


def test_an_episode_is_the_environments():
    """Right, right: the goal is reached at the second step and rewarded from then on."""
    env = to_gymnasium(gridworld(), GOAL)
    obs, info = env.reset(seed=3)
    assert (obs.tolist(), obs.dtype, info) == ([0, 0], np.int8, {})
    taken = [env.step(2 if t < 2 else 0) for t in range(30)]
    np.testing.assert_allclose([step[1] for step in taken], [-0.1] + [1.0] * 29, rtol=1e-6)
    assert [step[0].tolist() for step in taken[:3]] == [[1, 0], [2, 0], [2, 0]]
    assert [(step[2], step[3]) for step in taken] == [(False, False)] * 29 + [(False, True)]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def ends(task, *actions):
    """Return (terminated, truncated, bad) of the last step."""
    env = to_gymnasium(Counter(), task)
    env.reset(seed=0)
    for action in actions:
        _, _, terminated, truncated, info = env.step(np.array([action], np.float32))
    return terminated, truncated, info["bad"]


def test_only_the_mdps_own_end_is_terminal():
    assert ends(3, 0, 0) == (False, False, False)
    assert ends(3, 0, 0, 0) == (True, False, False)
    assert ends(9, *[0] * 5) == (False, True, False)  # the horizon
    assert ends(5, *[0] * 5) == (True, False, False)  # both at once
    assert ends(9, 0, -1) == (False, True, False)  # a limit of its own
    assert ends(9, 0, np.nan) == (False, True, True)  # a simulation that diverged


def test_randomness_comes_from_the_seed_and_continues():
    env = to_gymnasium(Counter(), 3)

    def episode(seed):
        obs, _ = env.reset(seed=seed)
        return [obs[1], *(env.step([0.0])[0][1] for _ in range(3))]

    first, second = episode(1), episode(None)
    assert episode(1) == first and episode(None) == second
    assert len({*first, *second, *episode(2)}) == 12  # no number is drawn twice


def test_another_task_is_played_without_recompiling():
    env = to_gymnasium(Counter(), 3)
    Counter.traced = 0
    for task in (1, 2):
        env.reset(options={"task": task})
        assert [env.step([0.0])[2] for _ in range(task)][-1] is True
    assert Counter.traced == 1
    with pytest.raises(ConfigError, match="options = goal: must be none but task"):
        env.reset(options={"goal": 3})


@pytest.mark.parametrize(("env", "action"), [(gridworld, 5), (gridworld, [1]), (Counter, [1, 2])])
def test_an_action_outside_the_space_is_refused(env, action):
    env = to_gymnasium(env(), GOAL)
    env.reset()
    with pytest.raises(ConfigError, match="action = "):
        env.step(action)


def test_a_trial_is_one_episode_that_terminates():
    env = to_gymnasium(trial(gridworld(), 2), GOAL)
    obs, _ = env.reset(seed=0)
    taken = [env.step(0) for _ in range(60)]
    assert obs.tolist() == [0, 0, 0]
    assert [t for t, step in enumerate(taken) if step[0][2]] == [29, 59]
    assert [t for t, step in enumerate(taken) if step[2] or step[3]] == [59]
    assert taken[59][2] is True


WITHOUT = """import sys
sys.modules["gymnasium"] = sys.modules["gymnax"] = None
import jaxmeta, jaxmeta.training.gymnasium_play, envs.gridworld, envs.adapters.from_gymnax

def refused(what):
    try:
        what()
    except jaxmeta.ConfigError as error:
        print(error)

refused(lambda: __import__("envs.adapters.to_gymnasium"))
refused(envs.adapters.from_gymnax.gymnax_spaces)"""


def test_a_missing_package_is_named():
    """jaxmeta itself works without it."""
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "pip install 'jaxmeta[gymnasium]'" in first
    assert "pip install 'jaxmeta[gymnax]'" in second


def test_info_says_whether_the_goal_was_met_and_what_the_environment_measures():
    """By the binary reward of the gridworld; a Counter has no goals."""
    env = to_gymnasium(gridworld(), GOAL)
    env.reset(seed=0)
    assert [env.step(2)[-1]["met"] for _ in range(3)] == [False, True, False]  # 2: right

    class Measured(Counter):
        def step(self, noise, state, action, task):
            state, step = super().step(noise, state, action, task)
            return state, step._replace(metrics={"height": jnp.float32(0.5)})

    env = to_gymnasium(Measured(), 3)
    env.reset(seed=0)
    assert env.step(np.array([1.0], np.float32))[-1] == {"height": 0.5, "bad": False}
