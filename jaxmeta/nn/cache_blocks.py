"""What is done for many workers, trials or windows, a cache's worth of them at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.axes import divided
from jaxmeta.rollout import WORKERS_AXIS, Rollout

# By backend. What an update's backward pass reads again of 16 workers' trials fits a CPU
# core's cache; of more, memory's speed decides. Accelerators want all workers at once.
WORKERS_AT_ONCE = {"cpu": 16}
TRIALS_AT_ONCE = {"cpu": 5}  # likewise, of those that a decoder explains
WINDOWS_AT_ONCE = {"cpu": 32}  # likewise, of those that task inference reads


def average(function: Callable[[Rollout], Any], rollout: Rollout) -> Any:
    """Return `function(rollout)`, which must be a mean over workers, from equal blocks of them.

    Args:
      function: from a rollout [T, B] of any number of workers to a pytree of means over them,
        such as a gradient.
      rollout: [T, W].
    """
    workers = rollout.transitions.reward.shape[1]
    size = block_size(WORKERS_AT_ONCE, workers)
    if size == workers or divided():  # several devices have a part each, which is their block
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


def by_trial(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `vmap(function)(*inputs)`, of a few trials [B, ...] at a time.

    A backward pass then computes each block anew, instead of reading all of it from memory.
    """
    trials = jax.tree.leaves(inputs)[0].shape[0]
    size = block_size(TRIALS_AT_ONCE, trials)
    if size == trials:
        return jax.vmap(function)(*inputs)
    blocks = jax.tree.map(lambda x: x.reshape(trials // size, size, *x.shape[1:]), inputs)
    found = lax.map(lambda block: jax.checkpoint(jax.vmap(function))(*block), blocks)
    return jax.tree.map(lambda x: x.reshape(trials, *x.shape[2:]), found)


def by_window(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `function(*inputs)`, of a few windows at a time.

    Args:
      function: from inputs [B, ...] of any number of windows to a pytree of arrays [S, B, ...].
      inputs: pytrees of arrays [B, ...].
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    size = block_size(WINDOWS_AT_ONCE, count)
    if size == count:
        return function(*inputs)
    blocks = jax.tree.map(lambda x: x.reshape(count // size, size, *x.shape[1:]), inputs)
    found = lax.map(lambda block: function(*block), blocks)
    return jax.tree.map(
        lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], count, *x.shape[3:]), found
    )


def block_size(at_once: dict[str, int], count: int) -> int:
    """Return the largest divisor of `count` up to what suits the device in use."""
    most = min(at_once.get(jax.default_backend(), count), count)
    return next(n for n in range(most, 0, -1) if count % n == 0)
