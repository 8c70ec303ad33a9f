"""Functions of many workers, trials or windows, in blocks that fit the CPU's cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.axes import workers_are_sharded
from jaxmeta.rollout import WORKERS_AXIS, Rollout

# By backend. What an update's backward pass re-reads of 16 workers' trials fits a CPU core's
# cache; with more, it is bound by memory bandwidth. Accelerators want all workers at once.
WORKERS_PER_BLOCK = {"cpu": 16}
TRIALS_PER_BLOCK = {"cpu": 5}  # likewise, of those that a decoder decodes
WINDOWS_PER_BLOCK = {"cpu": 32}  # likewise, of those that task inference reads


def blockwise_mean(function: Callable[[Rollout], Any], rollout: Rollout) -> Any:
    """Return `function(rollout)`, which must be a mean over workers, from equal blocks of them.

    Args:
      function: from a rollout [T, B] of any number of workers to a pytree of means over them,
        such as a gradient.
      rollout: [T, W].
    """
    workers = rollout.transitions.reward.shape[1]
    size = block_size(WORKERS_PER_BLOCK, workers)
    if size == workers or workers_are_sharded():  # each device's shard is its block
        return function(rollout)

    def block(i: jax.Array) -> Rollout:
        cut = lambda axis: lambda x: lax.dynamic_slice_in_dim(x, i * size, size, axis)
        return Rollout(
            *(jax.tree.map(cut(axis), x) for axis, x in zip(WORKERS_AXIS, rollout, strict=True))
        )

    def add(total: Any, i: jax.Array) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(block(i))), None

    like = jax.eval_shape(lambda: function(block(jnp.zeros((), jnp.int32))))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    total, _ = lax.scan(add, zero, jnp.arange(workers // size))
    return jax.tree.map(lambda x: x / (workers // size), total)


def map_trials(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `vmap(function)(*inputs)`, in blocks of trials [B, ...].

    The backward pass recomputes each block instead of reading it all from memory.
    """
    trials = jax.tree.leaves(inputs)[0].shape[0]
    size = block_size(TRIALS_PER_BLOCK, trials)
    if size == trials:
        return jax.vmap(function)(*inputs)
    blocks = jax.tree.map(lambda x: x.reshape(trials // size, size, *x.shape[1:]), inputs)
    outputs = lax.map(lambda block: jax.checkpoint(jax.vmap(function))(*block), blocks)
    return jax.tree.map(lambda x: x.reshape(trials, *x.shape[2:]), outputs)


def map_windows(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return `function(*inputs)`, in blocks of windows.

    Args:
      function: from inputs [B, ...] of any number of windows to a pytree of arrays [S, B, ...].
      inputs: pytrees of arrays [B, ...].
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    size = block_size(WINDOWS_PER_BLOCK, count)
    if size == count:
        return function(*inputs)
    blocks = jax.tree.map(lambda x: x.reshape(count // size, size, *x.shape[1:]), inputs)
    outputs = lax.map(lambda block: function(*block), blocks)
    return jax.tree.map(
        lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], count, *x.shape[3:]), outputs
    )


def block_size(per_block: dict[str, int], count: int) -> int:
    """Return the largest divisor of `count` up to what suits the device in use."""
    limit = min(per_block.get(jax.default_backend(), count), count)
    return next(n for n in range(limit, 0, -1) if count % n == 0)
