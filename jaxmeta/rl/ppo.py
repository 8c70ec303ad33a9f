"""Proximal policy optimisation (Schulman et al. 2017) with the details of variBAD and LDM."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta.config.options import PPO
from jaxmeta.env import Array

SMALL = 1e-5  # added to the advantages' deviation


class Batch(NamedTuple):
    """What does not change during an update's epochs, [n] samples each."""

    log_prob: Array  # of the actions taken, by the policy that took them
    value: Array
    advantage: Array  # normalised
    returns: Array


def normalised(advantage: Array) -> Array:
    """Return advantages with mean 0 and sample deviation 1 over the whole batch."""
    return (advantage - advantage.mean()) / (advantage.std(ddof=1) + SMALL)


def ppo_loss(
    log_prob: Array, value: Array, entropy: Array, batch: Batch, hp: PPO
) -> tuple[Array, dict[str, Array]]:
    """Return the loss over [n] samples, and its parts.

    policy: -mean min(rho A, clip(rho, 1 - c, 1 + c) A); value: half the mean of the larger of
    two Huber losses, of V and of V kept within c of its old value; c_v value - c_e entropy.
    """
    ratio = jnp.exp(log_prob - batch.log_prob)
    clipped = jnp.clip(ratio, 1.0 - hp.clip, 1.0 + hp.clip)
    policy_loss = -jnp.minimum(ratio * batch.advantage, clipped * batch.advantage).mean()
    near = batch.value + jnp.clip(value - batch.value, -hp.clip, hp.clip)
    far, kept = (optax.losses.huber_loss(v, batch.returns) for v in (value, near))
    value_loss = 0.5 * jnp.maximum(far, kept).mean()
    entropy = entropy.mean()
    loss = policy_loss + hp.value_coef * value_loss - hp.entropy_coef * entropy
    parts = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
    return loss, parts | {"clipped": (jnp.abs(ratio - 1.0) > hp.clip).mean()}


def orders(key: jax.Array, samples: int, hp: PPO) -> Array:
    """Return which samples each gradient step reads, [epochs * minibatches, n]."""
    shuffled = jax.vmap(lambda key: jax.random.permutation(key, samples))
    size = samples // hp.minibatches
    order = shuffled(jax.random.split(key, hp.epochs))
    return order[:, : size * hp.minibatches].reshape(hp.epochs * hp.minibatches, size)


def adam(learning_rate: Array | float, hp: PPO) -> optax.GradientTransformation:
    """Return Adam, clipped by the group's norm."""
    return optax.chain(
        optax.clip_by_global_norm(hp.max_grad_norm), optax.adam(learning_rate, eps=1e-8)
    )
