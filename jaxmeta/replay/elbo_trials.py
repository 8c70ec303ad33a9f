"""Whole trials as the replay stores them for a belief's training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Transition
from jaxmeta.env import Array, Env
from jaxmeta.nn.networks import example_action, example_obs


class ElboTrial(NamedTuple):
    """A trial that the ELBO reads, [T] for one worker; the replay is trajectory-major."""

    obs: Array  # [T, O]
    action: Array  # [T]
    reward: Array  # [T]
    next_obs: Array  # [T, O]
    seen: Array  # [T, O]
    valid: Array  # [T] False after the end of a trial that ended early


def elbo_trials(tr: Transition) -> ElboTrial:
    """Return transitions [T, W] as trials, trajectory-major: [W, T].

    Only the first trial of each worker counts; the rest is marked invalid.
    """
    valid = jnp.cumsum(tr.over, axis=0) - tr.over == 0
    trials = ElboTrial(tr.obs, tr.action, tr.reward, tr.next_obs, tr.seen, valid)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), trials)


def elbo_trial_like(env: Env) -> ElboTrial:
    """Return arrays of the shapes and dtypes of one worker's trial."""
    obs, action = example_obs(env), example_action(env)
    step = ElboTrial(obs, action, jnp.zeros(()), obs, obs, jnp.zeros((), bool))
    return jax.tree.map(lambda x: jnp.zeros((env.horizon, *x.shape), x.dtype), step)
