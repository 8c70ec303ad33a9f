"""Wrong environments: each is refused in one line that names what is wrong with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import Binary, Box, ConfigError, Discrete, Env, Real, Run, make_env, mdp_step
from jaxmeta.env import Cells, Step
from jaxmeta.training.env_contract import require_contract

RUN = Run(env="gridworld", method="rl2")


class Good(Env):
    """Two numbers are seen; action 1 moves the first, which pays."""

    obs_space = Box((2,), 0.0, 10.0)
    action_space = Discrete(2)
    reward = Binary(0.0, 1.0)
    horizon = 6
    splits = ("easy", "hard")
    fixed_length = True

    def sample_task(self, key, split):
        return {"goal": jax.random.uniform(key, (2,))}

    def eval_tasks(self, split):
        return {"goal": jnp.ones((3, 2))}

    def reset(self, key, task):
        return jnp.zeros(2), jnp.zeros(2)

    def step(self, noise, state, action, task):
        state = state.at[0].add(action)
        return state, mdp_step(state, action == 1)


def step_with(**fields):
    """Return a step function whose Step has other fields."""

    def step(self, noise, state, action, task):
        state, step = Good.step(self, noise, state, action, task)
        return state, step._replace(**fields)

    return step


def raises(self, *args):
    raise KeyError("easy")


def branches(self, key, task):
    return (jnp.zeros(2), jnp.zeros(2)) if task["goal"][0] > 0 else None


def ends(self, noise, state, action, task):
    state, step = Good.step(self, noise, state, action, task)
    return state, mdp_step(state, step.reward, state[0] >= 2)


def counts(self, noise, state, action, task):
    return state + 0.5, mdp_step(state.astype(jnp.float32), 1.0)


ATTRIBUTES = {
    "obs_space: is missing": {"obs_space": None},
    "horizon: is missing": {"horizon": None},
    "obs_space = Discrete(n=4)": {"obs_space": Discrete(4)},
    "obs_space = {'x'": {"obs_space": {"x": Box((2,))}},
    "flatten images": {"obs_space": Box((8, 8, 3))},
    "obs_space = Box(shape=2": {"obs_space": Box(2)},
    "two numbers, low <= high": {"obs_space": Box((2,), np.zeros(2), np.ones(2))},
    "obs_space = Box(shape=(2,), low=3": {"obs_space": Box((2,), 3, 1)},
    'dtype such as "float32"': {"obs_space": Box((2,), dtype="float23")},
    "action_space = Discrete(n=0)": {"action_space": Discrete(0)},
    "action_space = Discrete(n=2.0)": {"action_space": Discrete(2.0)},
    "action_space = 4": {"action_space": 4},
    "of real numbers": {"action_space": Box((1,), 0, 3, "int32")},
    "with low < high": {"action_space": Box((1,), 1.0, 1.0)},
    "reward = <class": {"reward": Real},
    "finite low < high": {"reward": Binary(1.0, 1.0)},
    "horizon = 0": {"horizon": 0},
    "horizon = 4.0": {"horizon": 4.0},
    "horizon = True": {"horizon": True},
    "splits = 'train': must be a tuple of names, with a comma: (\"train\",)": {"splits": "train"},
    "splits = ()": {"splits": ()},
    "splits = ('a', 'a')": {"splits": ("a", "a")},
    "train first": {"splits": ("test", "train")},
    "without oracle": {"splits": ("train", "oracle")},
    "families = 'walk'": {"families": "walk"},
    "fixed_length = 1": {"fixed_length": 1},
    "cells = 7": {"cells": 7},
    "eval_tasks = 3: must be a function": {"eval_tasks": 3},
    "draw_reset = 3: must be a function": {"draw_reset": 3},
}
FUNCTIONS = {
    "sample_task(key, 'easy'): KeyError: 'easy' (test_env_contract.py, line": {
        "sample_task": raises
    },
    "at least one array": {"sample_task": lambda self, key, split: ()},
    "reset: TracerBoolConversionError": {"reset": branches},
    "reset: must return (state, obs)": {"reset": lambda self, key, task: jnp.zeros(2)},
    "obs of reset is float32[3]": {"reset": lambda self, key, task: (jnp.zeros(2), jnp.zeros(3))},
    "reset_with: is (float32[], float32[2]), but reset is": {
        "reset_with": lambda self, noise, task: (jnp.zeros(()), jnp.zeros(2))
    },
    "dtype='int8'): but obs of reset is float32[2]": {"obs_space": Box((2,), 0, 1, "int8")},
    "eval_tasks('easy'): must be one batch of tasks": {
        "eval_tasks": lambda self, split: [{"goal": jnp.ones(2)}] * 3
    },
    "{'goal': float32[2]} each, not float32[3,2]": {
        "eval_tasks": lambda self, split: jnp.ones((3, 2))
    },
    "a task of eval_tasks('easy'): is {'goal': float32[1]}": {
        "eval_tasks": lambda self, split: {"goal": jnp.ones((3, 1))}
    },
    "a task of eval_tasks('easy'): is {'goal': int32[2]}": {
        "eval_tasks": lambda self, split: {"goal": jnp.ones((3, 2), int)}
    },
    "tasks on axis 0": {"eval_tasks": lambda self, split: {"goal": jnp.ones((0, 2))}},
    "next_task: is float32[2]": {"next_task": lambda self, key, split, task: task["goal"]},
    "step: must return (state, Step)": {"step": lambda self, noise, state, a, task: (state, 0.0)},
    "last of step: must be true or false (bool) of shape (), not float32[]": {
        "step": step_with(last=jnp.zeros(()))
    },
    "reward of step: must be a number of shape (), not float32[1]": {
        "step": step_with(reward=jnp.zeros(1))
    },
    "reward of step: must be a number of shape (), not complex64[]": {
        "step": step_with(reward=jnp.complex64(1))
    },
    "obs of step is int32[2]": {"step": step_with(obs=jnp.zeros(2, int))},
    "metrics['speed'] of step": {"step": step_with(metrics={"speed": jnp.zeros(2)})},
    "state of step: is float32[2], but state of reset is int32[2]": {
        "reset": lambda self, key, task: (jnp.zeros(2, int), jnp.zeros(2)),
        "step": counts,
    },
    "family: must be a whole number": {"family": lambda self, task: jnp.float32(0)},
    "family: must be 0 to 1": {
        "families": ("walk", "run"),
        "family": lambda self, task: jnp.int32(2),
    },
    "best_return: must be a number of shape ()": {"best_return": lambda self, task: jnp.zeros(2)},
}
VALUES = {
    "reward of step = 0.0: must be one of Binary(low=-1.0, high=1.0), or": {
        "reward": Binary(-1.0, 1.0)
    },
    "fixed_length = True: must be False: an episode ended after": {"step": ends},
    "cells.index = 2: must be 0 to 1": {
        "cells": Cells(2, lambda obs: jnp.int32(obs[0])),
    },
}


@pytest.mark.parametrize(
    ("words", "wrong"), [*ATTRIBUTES.items(), *FUNCTIONS.items(), *VALUES.items()]
)
def test_a_wrong_environment_is_refused_in_one_line(words, wrong):
    missing = [name for name, value in wrong.items() if value is None]
    made = type("Wrong", (Env if missing else Good,), {**vars(Good), **wrong})
    for name in missing:
        delattr(made, name)
    with pytest.raises(ConfigError) as refused:
        make_env(RUN, made())
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_good_environment_is_accepted_and_what_it_saw_out_of_bounds_is_said(caplog):
    assert make_env(RUN, Good()).splits == ("easy", "hard")
    assert not caplog.messages
    make_env(RUN, type("Far", (Good,), {"obs_space": Box((2,), 0.0, 0.5)})())
    assert len(caplog.messages) == 1
    assert "obs_space" in caplog.text


def test_oracle_tasks_are_asked_for_where_a_run_trains_on_them():
    class Two(Good):
        def sample_task(self, key, split):
            return {"easy": super().sample_task(key, split)}[split]

    run = Run(env="gridworld", method="rl2", train_split="oracle")
    assert make_env(RUN, Two())
    with pytest.raises(ConfigError, match=r"Two: sample_task\(key, 'oracle'\): KeyError"):
        make_env(run, Two())


@pytest.mark.parametrize("name", ["gridworld", "gridworld-extrapolation"])
def test_our_own_gridworlds_keep_to_it(name):
    require_contract(make_env(Run(env=name, method="rl2")).env, name)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "bool"])
def test_rewards_of_any_kind_become_float32(dtype):
    class Paid(Good):
        def step(self, noise, state, action, task):
            return state, mdp_step(state, jnp.asarray(action == 1, dtype))

    env = make_env(RUN, Paid())
    state, _ = env.reset(jax.random.key(0), {"goal": jnp.zeros(2)})
    step = env.step(env.draw(jax.random.key(1)), state, jnp.int32(1), {"goal": jnp.zeros(2)})[1]
    for reward in (step.reward, step.env_reward):
        assert reward.dtype == jnp.float32
        assert reward == 1.0


def test_a_reward_may_be_a_plain_number():
    step = mdp_step(jnp.zeros(2), -1.0)
    assert isinstance(step, Step)
    assert step.reward == step.env_reward == -1.0
