"""The axes of a computation: time, workers of a group, and what devices share.

Loops over time are cut as the device in use likes them.
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
STEPS_AT_ONCE = {"cpu": 1}
OTHERWISE = 4

WORKERS = "workers"  # the axis over which workers of a group may see each other
SEEDS, GROUPS = AXES  # of the mesh; the second only where a seed's workers are divided


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], start: Any, inputs: Any, reverse: bool = False
) -> tuple[Any, Any]:
    """Do what `lax.scan` does, with as many steps per iteration as suit the device."""
    length = jax.tree.leaves(inputs)[0].shape[0]
    most = STEPS_AT_ONCE.get(jax.default_backend(), OTHERWISE)
    at_once = next(n for n in range(most, 0, -1) if length % n == 0)
    return lax.scan(step, start, inputs, reverse=reverse, unroll=at_once)


def divided() -> bool:
    """Whether what is traced here runs on several devices per seed."""
    return GROUPS in jax.sharding.get_abstract_mesh().axis_names


def spread(tree: Any) -> Any:
    """Return arrays [W, ...] (or [G, W, ...]) divided among the devices that share one seed.

    What is computed from them worker by worker is then divided, too, and sums over workers are
    sums over devices; XLA sees to both. Where a seed has one device, nothing is done.
    """
    if not divided():
        return tree
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, P(GROUPS)), tree)
