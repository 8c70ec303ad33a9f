"""A two-armed bandit whose good arm is the task: an environment in one file.

Nothing but the reward tells the arms apart, so one pull is all that an agent must remember.
"""

import jax
import jax.numpy as jnp

from jaxmeta import Binary, Box, Discrete, Env, count, mdp_step, section


@section("env")
class Options:
    """The bandit's own options."""

    pulls: int = count(4, "pulls of an episode")


class Bandit(Env):
    """A task is the good arm, 0 or 1; the observation is always zero."""

    obs_space = Box((1,), 0, 1)
    action_space = Discrete(2)
    reward = Binary(low=0.0, high=1.0)
    fixed_length = True  # no episode ends before the horizon

    def __init__(self, options):
        self.options, self.horizon = options, options.pulls

    def sample_task(self, key, split):
        """Return a task drawn from a split; this family has only one, "train"."""
        return jax.random.randint(key, (), 0, 2)

    def eval_tasks(self, split):
        """Return the tasks that agents are evaluated on, batched on axis 0."""
        return jnp.arange(2)

    def reset(self, key, task):
        """Return the first state of an episode, and what the agent sees of it."""
        obs = jnp.zeros(1)
        return obs, obs

    def step(self, noise, state, action, task):
        """Pull an arm: return the next state and its Step."""
        reward = jnp.where(action == task, self.reward.high, self.reward.low)
        return state, mdp_step(state, reward)

    def best_return(self, task):
        """Return what an episode pays when the task is known (optional; for reports)."""
        return jnp.float32(self.horizon)


def make(options=None) -> Env:
    """Return the environment: what `bandit.py:make` names."""
    return Bandit(options or Options())


make.options = Options
