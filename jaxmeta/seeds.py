"""Seeds side by side: which devices share them, and how."""

import os
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax._src.xla_bridge import backends_are_initialized  # there is no public name for it
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

SEEDS = "seeds"  # the mesh axis over which seeds are spread


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ask_for_devices(count: int) -> None:
    """Ask JAX for so many devices on the CPU; in vain once it has been used.

    And for programs that run where they are called: an environment's callbacks can hang in
    those dispatched asynchronously. Nobody waits longer, since training waits for every chunk.
    """
    if not backends_are_initialized():
        jax.config.update("jax_num_cpu_devices", count)
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def seed_mesh(seeds: int) -> jax.sharding.Mesh:
    """Return the devices that share the seeds: the most that divide them evenly.

    On CPU, JAX is asked for one device per core, which must happen before its first use.
    """
    ask_for_devices(divisor(seeds, cores()))
    count = divisor(seeds, len(jax.devices()))
    return jax.make_mesh((count,), (SEEDS,), (AxisType.Auto,), devices=jax.devices()[:count])


def divisor(n: int, most: int) -> int:
    """Return n's largest divisor up to `most`."""
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def device_names(mesh: jax.sharding.Mesh) -> list[str]:
    """Return the kind of each device in use."""
    return [f"{d.platform} {d.device_kind}" for d in mesh.devices.flat]


def over_seeds(mesh: jax.sharding.Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` (first argument per seed, others shared) for [seeds, ...].

    Each device takes its share of the seeds: at once on an accelerator, one after the
    other on a CPU core, whose caches hold one seed's work but not several.
    """

    def share(first: Any, *others: Any) -> Any:
        one = lambda x: function(x, *others)
        if jax.tree.leaves(first)[0].shape[0] == 1:
            alone = one(jax.tree.map(lambda x: x[0], first))
            return jax.tree.map(lambda x: x[None], alone)
        if mesh.devices.flat[0].platform == "cpu":
            return lax.map(one, first)
        return jax.vmap(one)(first)

    def mapped(first: Any, *others: Any) -> Any:
        specs = (P(SEEDS), *(P() for _ in others))
        return jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=P(SEEDS), check_vma=False)(
            first, *others
        )

    return mapped
