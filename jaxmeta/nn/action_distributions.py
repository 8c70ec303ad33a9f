"""Action distributions: the only module that imports distrax.

A distribution is described by the policy's outputs: (logits,) for discrete actions, (mean,
log-std) for continuous ones. Noise is drawn ahead of a rollout; zero noise gives the mode.
"""

import distrax
import jax
import jax.numpy as jnp

from jaxmeta.env import Array, Box, Discrete, Key


def draw(key: Key, space: Discrete | Box) -> Array:
    """Return the noise of one action: Gumbel [A] or normal [A]."""
    if isinstance(space, Discrete):
        return jax.random.gumbel(key, (space.n,))
    return jax.random.normal(key, space.shape)


def sample(outputs: tuple[Array, ...], noise: Array, space: Discrete | Box) -> Array:
    """Return an action from the policy's outputs; the mode if the noise is zero."""
    if isinstance(space, Discrete):
        (logits,) = outputs
        return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
    mean, log_std = outputs
    return mean + jnp.maximum(jnp.exp(log_std), 1e-6) * noise


def distribution(outputs: tuple[Array, ...], space: Discrete | Box) -> distrax.Distribution:
    """Return the action distribution, batched over the outputs' leading axes."""
    if isinstance(space, Discrete):
        (logits,) = outputs
        return distrax.Categorical(logits=logits)
    mean, log_std = outputs
    return distrax.MultivariateNormalDiag(mean, jnp.maximum(jnp.exp(log_std), 1e-6))
