"""Diagonal Gaussians: samples and divergences."""

import jax.numpy as jnp

from jaxmeta.agent import Gaussian
from jaxmeta.env import Array


def kl(q: Gaussian, p: Gaussian) -> Array:
    """Return KL(q || p) of diagonal Gaussians, summed over the last axis."""
    terms = (
        p.logvar
        - q.logvar
        - 1
        + jnp.exp(q.logvar - p.logvar)
        + (q.mean - p.mean) ** 2 * jnp.exp(-p.logvar)
    )
    return 0.5 * terms.sum(-1)


def sample(q: Gaussian, noise: Array) -> Array:
    """Return mean + std * noise."""
    return q.mean + jnp.exp(0.5 * q.logvar) * noise
