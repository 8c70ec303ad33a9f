"""The axes of a computation: time, workers of a group, and what devices share.

Loops over time are unrolled by a factor that suits the device.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxmeta.config.mesh_shape import AXES

# By backend. An accelerator starts a kernel per operation, and a loop's own (counter, slices,
# stores) are as many as a step's: four steps per iteration save a third of an update's
# kernels. On a CPU a longer body costs compile time and gains nothing.
SCAN_UNROLL = {"cpu": 1}
DEFAULT_SCAN_UNROLL = 4

WORKERS = "workers"  # the axis over which workers of a group exchange arrays (all_gather)
SEEDS, GROUPS = AXES  # of the mesh; the second only where a seed's workers are sharded


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], start: Any, inputs: Any, reverse: bool = False
) -> tuple[Any, Any]:
    """Do what `lax.scan` does, unrolled by what suits the device and divides the length."""
    length = jax.tree.leaves(inputs)[0].shape[0]
    limit = SCAN_UNROLL.get(jax.default_backend(), DEFAULT_SCAN_UNROLL)
    unroll = next(n for n in range(limit, 0, -1) if length % n == 0)
    return lax.scan(step, start, inputs, reverse=reverse, unroll=unroll)


def workers_are_sharded() -> bool:
    """Whether what is traced here runs on several devices per seed."""
    return GROUPS in jax.sharding.get_abstract_mesh().axis_names


def shard_workers(tree: Any) -> Any:
    """Return arrays [W, ...] (or [G, W, ...]) sharded over the devices of one seed.

    XLA then shards what is computed from them worker by worker, and sums over workers become
    sums over devices. Where a seed has one device, nothing is done.
    """
    if not workers_are_sharded():
        return tree
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, P(GROUPS)), tree)
