"""A run's memory against what is free, checked before anything is compiled."""

from pathlib import Path
from typing import Any

import jax

from jaxmeta.axes import SEEDS
from jaxmeta.config.run import ReplayBound
from jaxmeta.errors import ConfigError

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")


def require_memory(
    like: Any, replay: Any, seeds: int, bound: ReplayBound | None, mesh: jax.sharding.Mesh
) -> None:
    """Refuse a run whose state, replay included, does not fit the devices.

    What an update needs beside it is not counted: only a compiled program tells (`make bench`
    prints it).

    Args:
      like: the state's shapes, all seeds together.
      replay: that part of it which is replay, None without one.
      seeds: how many there are.
      bound: what decides the replay's size.
      mesh: the devices that share the seeds.

    Raises:
      ConfigError: says what is needed, what is free, and what would fit.
    """
    device = mesh.local_devices[0]
    free = available(device)
    if free is None:
        return
    # Of all state a device holds its seeds' share. A CPU's devices have one memory, in which
    # there is also the copy that a checkpoint is written from.
    holders = 1 / mesh.shape[SEEDS]
    if device.platform == "cpu":
        holders = len(mesh.local_devices) * holders + 1
    needed = size(like) * holders
    if needed <= free:
        return
    stored = size(replay) * holders
    available_for_replay = free - (needed - stored)
    said = f"the state of {seeds} seeds needs {gib(needed)}, and {gib(free)} are free"
    if bound and stored and available_for_replay > 0:
        share = available_for_replay / stored
        of_seed = size(replay) / seeds
        fits = int(share * (of_seed / bound.unit if bound.unit else bound.value))
        raise ConfigError(f"{bound.field} = {bound.value}: {said}; {fits} would fit")
    raise ConfigError(f"seeds = {seeds}: {said}; {int(seeds * free / needed)} seeds would fit")


def available(device: jax.Device) -> int | None:
    """Return the bytes that are free where a device keeps its arrays; None if unknown."""
    if device.platform != "cpu":
        known = device.memory_stats() or {}
        return known["bytes_limit"] - known["bytes_in_use"] if "bytes_limit" in known else None
    free = [x for x in (of_machine(), of_container()) if x is not None]
    return min(free, default=None)


def of_machine() -> int | None:
    """Return the bytes that the machine has left for new work."""
    lines = MEMINFO.read_text(encoding="utf-8").splitlines() if MEMINFO.is_file() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def of_container() -> int | None:
    """Return the bytes that a container's limit leaves."""
    most, now = CGROUP / "memory.max", CGROUP / "memory.current"
    if not (most.is_file() and now.is_file()) or most.read_text(encoding="utf-8").strip() == "max":
        return None
    return int(most.read_text(encoding="utf-8")) - int(now.read_text(encoding="utf-8"))


def size(tree: Any) -> int:
    """Return the bytes of all arrays, or of shapes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def gib(count: float) -> str:
    """Return bytes in words."""
    return f"{count / 2**30:,.1f} GiB"
