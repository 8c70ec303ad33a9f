"""Sums over many workers, a cache's worth of them at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.rollout import WORKERS_AXIS, Rollout

# By backend. What an update's backward pass reads again of 16 workers' trials fits a CPU
# core's cache; of more, memory's speed decides. Accelerators want all workers at once.
WORKERS_AT_ONCE = {"cpu": 16}


def average(function: Callable[[Rollout], Any], rollout: Rollout) -> Any:
    """Return `function(rollout)`, which must be a mean over workers, from equal blocks of them.

    Args:
      function: from a rollout [T, B] of any number of workers to a pytree of means over them,
        such as a gradient.
      rollout: [T, W].
    """
    workers = rollout.transitions.reward.shape[1]
    at_once = min(WORKERS_AT_ONCE.get(jax.default_backend(), workers), workers)
    size = next(n for n in range(at_once, 0, -1) if workers % n == 0)
    if size == workers:
        return function(rollout)

    def block(i: jax.Array) -> Rollout:
        cut = lambda axis: lambda x: lax.dynamic_slice_in_dim(x, i * size, size, axis)
        return Rollout(
            *(jax.tree.map(cut(axis), x) for axis, x in zip(WORKERS_AXIS, rollout, strict=True))
        )

    def add(total: Any, i: jax.Array) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(block(i))), None

    like = jax.eval_shape(lambda: function(block(jnp.zeros((), jnp.int32))))
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    total, _ = lax.scan(add, nothing, jnp.arange(workers // size))
    return jax.tree.map(lambda x: x / (workers // size), total)
