"""Whole trials as replay keeps them for a belief's training."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Transition
from jaxmeta.env import Array, Env
from jaxmeta.nn.networks import example_action, example_obs


class Replayed(NamedTuple):
    """What the belief is trained on: trials, [T] for one worker, trajectory-major in replay."""

    obs: Array  # [T, O]
    action: Array  # [T]
    reward: Array  # [T]
    next_obs: Array  # [T, O]
    seen: Array  # [T, O]
    valid: Array  # [T] False behind the end of a trial that ended early


def replayed(tr: Transition) -> Replayed:
    """Return what replay keeps of transitions [T, W], trajectory-major: [W, T].

    Only the first trial of each worker counts; the rest is marked invalid.
    """
    valid = jnp.cumsum(tr.over, axis=0) - tr.over == 0
    kept = Replayed(tr.obs, tr.action, tr.reward, tr.next_obs, tr.seen, valid)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), kept)


def replayed_like(env: Env) -> Replayed:
    """Return arrays of the shapes and dtypes that one worker's trial has in replay."""
    obs, action = example_obs(env), example_action(env)
    step = Replayed(obs, action, jnp.zeros(()), obs, obs, jnp.zeros((), bool))
    return jax.tree.map(lambda x: jnp.zeros((env.horizon, *x.shape), x.dtype), step)
