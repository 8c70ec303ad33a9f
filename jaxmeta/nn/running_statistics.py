"""Running mean and variance, of observations and of discounted returns.

Statistics are frozen while a rollout is collected, and updated with all of it afterwards: what
the policy saw in a step does not depend on the order of workers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.env import Array

LIMIT = 10.0  # normalised numbers are clipped to +-LIMIT
EPS = 1e-8  # added to variances


class Statistics(NamedTuple):
    """Of all samples so far, [D] or []."""

    mean: Array
    var: Array  # of the population
    weight: Array  # [] samples so far


def init_statistics(shape: tuple[int, ...]) -> Statistics:
    """Return mean 0 and variance 1, with next to no weight."""
    return Statistics(jnp.zeros(shape), jnp.ones(shape), jnp.float32(1e-4))


def update_statistics(statistics: Statistics, samples: Array) -> Statistics:
    """Return the statistics updated with samples [..., D], as if all had come at once.

    Source: Chan et al. 1979, the parallel algorithm.
    """
    axes = tuple(range(samples.ndim - statistics.mean.ndim))
    count = jnp.float32(samples.size // max(statistics.mean.size, 1))
    mean, var = samples.mean(axes), samples.var(axes)
    total = statistics.weight + count
    delta = mean - statistics.mean
    squares = (
        statistics.var * statistics.weight
        + var * count
        + delta**2 * (statistics.weight * count / total)
    )
    return Statistics(statistics.mean + delta * (count / total), squares / total, total)


def standardise(statistics: Statistics, x: Array) -> Array:
    """Return (x - mean) / standard deviation, clipped, [..., D]."""
    scale = lax.rsqrt(statistics.var + EPS)
    shape = (1,) * (x.ndim - statistics.mean.ndim) + statistics.mean.shape
    centred = x - statistics.mean.reshape(shape)
    return jnp.clip(centred * scale.reshape(shape), -LIMIT, LIMIT)


def scale_by_return_std(statistics: Statistics, reward: Array) -> Array:
    """Return rewards divided by the standard deviation of returns, clipped, not centred."""
    return jnp.clip(reward * lax.rsqrt(statistics.var + EPS), -LIMIT, LIMIT)


def running_returns(reward: Array, over: Array, gamma: Array | float, start: Array) -> Array:
    """Return G_t = gamma G_{t-1} + r_t of one worker [T], from 0 at a trial's start.

    `start` is G before the first step, [].
    """

    def step(g: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, over = inputs
        g = gamma * g + reward
        return jnp.where(over, 0.0, g), g

    return lax.scan(step, start, (reward, over))[1]


def update_return_statistics(
    statistics: Statistics,
    reward: Array,
    over: Array,
    gamma: Array | float,
    start: Array,
    last_return: str,
) -> Statistics:
    """Return the statistics updated with the running returns of a rollout [T, W].

    `start` [W] is their returns before it; `last_return` is `ppo.last_return`.
    """
    by_worker = jax.vmap(running_returns, in_axes=(1, 1, None, 0))
    returns = by_worker(reward, over, gamma, start)  # [W, T]
    if last_return == "zeroed":
        returns = jnp.where(over.T, 0.0, returns)
    return update_statistics(statistics, returns)
