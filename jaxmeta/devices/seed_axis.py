"""Seeds and groups side by side: which devices share them, and how."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from jax._src.xla_bridge import backends_are_initialized  # there is no public name for it
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmeta.axes import GROUPS, SEEDS
from jaxmeta.config.mesh_shape import MeshShape, check_physics, divisors, largest_mesh
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import one_line
from jaxmeta.devices import hosts
from jaxmeta.devices.cpu import cores
from jaxmeta.errors import ConfigError


def request_cpu_devices(count: int) -> None:
    """Ask JAX for so many devices on the CPU; no effect once it has been used.

    And for programs that run where they are called: an environment's callbacks can hang in
    those dispatched asynchronously. Nobody waits longer, since training waits for every chunk.
    """
    if not backends_are_initialized():
        jax.config.update("jax_num_cpu_devices", count)
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def request_all_cpu_devices() -> None:
    """Ask JAX for a device per core, before code is executed that may use it.

    `train` asks again, for as many as it uses, which counts if JAX was not used yet.
    """
    request_cpu_devices(max(cores(), jax.config.values["jax_num_cpu_devices"]))


@contextlib.contextmanager
def platform_named() -> Iterator[None]:
    """Say in one line, where JAX is first used, that JAX_PLATFORMS names what is not there.

    Raises:
      ConfigError: JAX, in an assertion or at length, found no device.
    """
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if backends_are_initialized():
            raise
        named = jax.config.values["jax_platforms"]
        why = f" ({one_line(str(error))})" if str(error) else ""
        raise ConfigError(
            f"JAX_PLATFORMS = {named!r}: JAX finds no such device here{why}; cpu is always there"
        ) from error


def seed_mesh(seeds: int) -> Mesh:
    """Return the devices that share the seeds: the most that divide them evenly.

    On CPU, JAX is asked for one device per core, which must happen before its first use.
    """
    request_cpu_devices(divisor(seeds, cores()))
    return mesh_of(MeshShape(divisor(seeds, len(jax.devices()))))


def request_mesh_devices(run: Run, wanted: MeshShape | None) -> None:
    """Ask JAX for the devices of `device_mesh` on the CPU; no effect once it has been used."""
    if wanted is None:
        request_cpu_devices(divisor(run.seeds, cores()))
    else:
        request_cpu_devices(wanted.size // hosts.process_count())


def device_mesh(run: Run, wanted: MeshShape | None = None) -> Mesh:
    """Return the devices that share a run: `wanted`, which divide it, or as many as can share it.

    One process alone spreads seeds only, as `seed_mesh` does. Several have equal shares.

    Raises:
      ConfigError: there are not so many.
    """
    if wanted is None:
        wanted = largest_mesh(run, len(jax.devices()), hosts.process_count())
    check_physics(run, wanted, jax.default_backend())
    return mesh_of(wanted)


def mesh_of(shape: MeshShape) -> Mesh:
    """Return each process's first devices as a mesh; it has an axis of groups only if need be.

    Raises:
      ConfigError: there are not so many devices.
    """
    devices, count = jax.devices(), hosts.process_count()
    if jax.process_count() != count:
        raise ConfigError(
            f"num_processes = {count}: but JAX has {jax.process_count()}; call"
            " jaxmeta.join_hosts instead of jax.distributed.initialize"
        )
    share = shape.size // count
    chosen = [d for p in range(count) for d in jax.local_devices(process_index=p)[:share]]
    if len(chosen) < shape.size:
        raise ConfigError(
            f"mesh = {shape}: needs {shape.size} devices, but {len(devices)} are there"
            f" ({devices[0].platform})"
        )
    axes = {SEEDS: shape.seeds} | ({GROUPS: shape.groups} if shape.groups > 1 else {})
    grid = np.array(chosen).reshape(tuple(axes.values()))
    return Mesh(grid, tuple(axes), axis_types=(AxisType.Auto,) * len(axes))


def divisor(n: int, most: int) -> int:
    """Return n's largest divisor up to `most`."""
    return divisors(n, most)[-1]


def device_names(mesh: Mesh) -> list[str]:
    """Return the kind of each device in use."""
    return [f"{d.platform} {d.device_kind}" for d in mesh.devices.flat]


def map_over_seeds(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
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
        return jax.shard_map(
            share,
            mesh=mesh,
            axis_names={SEEDS},
            in_specs=specs,
            out_specs=P(SEEDS),
            check_vma=False,
        )(first, *others)

    return mapped


def gather(mesh: Mesh) -> Callable[[Any], Any]:
    """Return a function that makes arrays of the mesh readable here, by copies where need be.

    All processes must call it for the same arrays.
    """
    if not mesh.is_multi_process:
        return lambda tree: tree
    replicate = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, P()))
    return lambda tree: jax.tree.map(lambda x: x.addressable_data(0), replicate(tree))
