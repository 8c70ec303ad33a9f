"""Tiny task families that isolate one ability each, with optima known by arithmetic.

Runs name them as files, FILE.py:FUNCTION, so they get the general defaults.
"""

import jax
import jax.numpy as jnp

from jaxmeta import Binary, Box, Discrete, Env, Real, mdp_step


class Sign(Env):
    """Four arms, one pull; the observation names the good arm.

    Its reward is 1. Were it hidden, no agent could have more than 1/4 on average.
    """

    obs_space = Box((4,), 0, 1)
    action_space = Discrete(4)
    reward = Binary(low=0.0, high=1.0)
    horizon = 1
    fixed_length = True

    def sample_task(self, key, split):
        return jax.random.randint(key, (), 0, 4)

    def eval_tasks(self, split):
        return jnp.arange(4)

    def reset(self, key, task):
        obs = jax.nn.one_hot(task, 4)
        return obs, obs

    def step(self, noise, state, action, task):
        return state, mdp_step(state, jnp.where(action == task, 1.0, 0.0))


class Oracle(Env):
    """Two steps: only the second one's action has reward 1, if it is the task (0 or 1).

    Action 2 in the first step costs 0.1 and shows the task in the next observation. Asking
    brings 0.9; without it no agent can have more than 1/2 on average.
    """

    obs_space = Box((2,), 0, 1)
    action_space = Discrete(3)
    reward = Real()
    horizon = 2
    fixed_length = True

    def sample_task(self, key, split):
        return jax.random.randint(key, (), 0, 2)

    def eval_tasks(self, split):
        return jnp.arange(2)

    def reset(self, key, task):
        return jnp.zeros((), jnp.int32), jnp.zeros(2)

    def step(self, noise, state, action, task):
        asked = action == 2
        obs = jnp.where(asked, jax.nn.one_hot(task, 2), 0.0)
        correct = (state == 1) & (action == task)
        return state + 1, mdp_step(obs, jnp.where(correct, 1.0, 0.0) - jnp.where(asked, 0.1, 0.0))


class Corridor(Env):
    """Cells -2 to 2, start in the middle, four steps left or right; the goal is one end.

    Being at the goal has reward 1 per step, so the optimal return of an episode is 3 where the
    goal is known: reach it in the second step, stay. Where it is not, it is 3 or 0, because the
    way from end to end takes four steps: 3/2 on average in any episode. Only the clock is seen,
    or the last observation of episode 1 would reveal where it ended, and with it the goal.
    """

    obs_space = Box((1,), 0, 1)
    action_space = Discrete(2)
    reward = Binary(low=0.0, high=1.0)
    horizon = 4
    fixed_length = True

    def sample_task(self, key, split):
        return self.eval_tasks(split)[jax.random.randint(key, (), 0, 2)]

    def eval_tasks(self, split):
        return jnp.array([-2, 2])

    def reset(self, key, task):
        start = jnp.zeros((), jnp.int32)
        return (start, start), jnp.zeros(1)

    def step(self, noise, state, action, task):
        cell, t = state
        cell, t = jnp.clip(cell + 2 * action - 1, -2, 2), t + 1
        clock = t[None] / self.horizon
        return (cell, t), mdp_step(clock, jnp.where(cell == task, 1.0, 0.0))


class Linear(Env):
    """The reward is w . x at a random x in [-1, 1]^2 per step, for any action; w is the task.

    w is uniform in [-2, 2]^2, so the mean reward at any x is 0: the error of a decoder without
    information on w is at least the reward's mean square, 8/9.
    """

    obs_space = Box((2,), -1, 1)
    action_space = Discrete(2)
    reward = Real()
    horizon = 8
    fixed_length = True

    def sample_task(self, key, split):
        return jax.random.uniform(key, (2,), minval=-2.0, maxval=2.0)

    def eval_tasks(self, split):
        return jnp.array([[2.0, 0.1], [-0.4, 1.5], [-1.5, -1.5]])

    def reset(self, key, task):
        return (), jnp.zeros(2)

    def draw(self, key):
        return jax.random.uniform(key, (2,), minval=-1.0)

    def step(self, noise, state, action, task):
        return state, mdp_step(noise, noise @ task)


class Stop(Env):
    """Action 1 ends the episode with the task, +1 or -1, as reward; action 0 has reward 0."""

    obs_space = Box((1,), 0, 1)
    action_space = Discrete(2)
    reward = Real()
    horizon = 5

    def sample_task(self, key, split):
        return self.eval_tasks(split)[jax.random.randint(key, (), 0, 2)]

    def eval_tasks(self, split):
        return jnp.array([-1.0, 1.0])

    def reset(self, key, task):
        return jnp.zeros(1), jnp.zeros(1)

    def step(self, noise, state, action, task):
        obs = state + 1 / self.horizon
        stopped = action == 1
        return obs, mdp_step(obs, jnp.where(stopped, task, 0.0), stopped)


class Steer(Env):
    """A continuous action a per step, reward s a - a^2 / 2 for a hidden sign s: the best a is s.

    The reward of any first action but 0 reveals s; then every step's reward can be 1/2. Without
    it no action has a mean above 0.
    """

    obs_space = Box((1,), 0, 1)
    action_space = Box((1,), -1, 1)
    reward = Real()
    horizon = 4
    fixed_length = True

    def sample_task(self, key, split):
        return jax.random.randint(key, (), 0, 2)

    def eval_tasks(self, split):
        return jnp.arange(2)

    def reset(self, key, task):
        return jnp.zeros(1), jnp.zeros(1)

    def step(self, noise, state, action, task):
        a = action[0]
        return state, mdp_step(state, jnp.where(task == 1, a, -a) - a**2 / 2)


class Push(Steer):
    """The same without bounds, which would end what a too large action costs."""

    action_space = Box((1,))
