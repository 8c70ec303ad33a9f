"""The shape of a device mesh, over seeds and over one seed's workers: `seeds=2,groups=4`.

This module imports no jax: a bad mesh is refused at once.
"""

import re
from typing import NamedTuple

from jaxmeta.config import registry
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

AXES = ("seeds", "groups")


class MeshShape(NamedTuple):
    """Devices over which seeds are sharded, times devices over which each one's workers are."""

    seeds: int = 1
    groups: int = 1

    def __str__(self) -> str:
        return ",".join(f"{name}={n}" for name, n in zip(AXES, self, strict=True))

    @property
    def size(self) -> int:
        """Return the number of devices."""
        return self.seeds * self.groups


def parse_mesh(text: str) -> MeshShape:
    """Return "seeds=2,groups=4" as a MeshShape; an axis left out is 1.

    Raises:
      ConfigError: anything else.
    """
    parts = [re.fullmatch(r"(\w+)=([1-9]\d{0,5})", part) for part in str(text).split(",")]
    found = {part[1]: int(part[2]) for part in parts if part}
    if len(found) < len(parts) or not found.keys() <= set(AXES):
        raise ConfigError(
            f"mesh = {safe_repr(text)}: must be numbers of devices such as seeds=2,groups=4"
        )
    return MeshShape(**found)


def check(run: Run, mesh: MeshShape, processes: int = 1) -> None:
    """Refuse a mesh that does not divide the run, or not among its processes.

    Raises:
      ConfigError: names the numbers that do not divide.
    """
    units = num_shardable_units(run)
    if run.seeds % mesh.seeds:
        raise ConfigError(f"mesh = {mesh}: seeds must divide seeds = {run.seeds}")
    if run.off_policy and mesh.groups > 1:
        raise ConfigError(
            f"mesh = {mesh}: groups must be 1; {run.rl.upper()} learns on a device per seed"
        )
    if units % mesh.groups:
        of = f" // {run.group} (a group)" if run.group > 1 else ""
        raise ConfigError(f"mesh = {mesh}: groups must divide workers = {run.workers}{of}")
    if mesh.size % processes:
        raise ConfigError(
            f"mesh = {mesh}: its {mesh.size} devices must be a multiple of the {processes}"
            " processes, which get equal shares"
        )


def check_physics(run: Run, mesh: MeshShape, platform: str) -> None:
    """Refuse to divide a seed's workers where their physics does not allow it: all but MJX.

    Callbacks into C get all workers of a seed together, on one device, and so may Warp.

    Raises:
      ConfigError: names the engine that allows it.
    """
    c_here = run.physics == "auto" and platform == "cpu"
    divisible = run.physics in ("auto", "mjx") and not c_here
    if mesh.groups > 1 and registry.recorded_env_spec(run.env).simulated and not divisible:
        raise ConfigError(
            f"mesh = {mesh}: groups must be 1 with physics = {run.physics}"
            f"{', C MuJoCo on a CPU' if c_here else ''}; physics = mjx can be divided"
        )


def largest_mesh(run: Run, devices: int, processes: int = 1) -> MeshShape:
    """Return the mesh of the most devices up to `devices` that divides a run among processes.

    One process shards seeds only; several also workers where that uses more devices.

    Raises:
      ConfigError: there is none.
    """
    groups = divisors(num_shardable_units(run), devices) if processes > 1 else [1]
    fitting = [
        MeshShape(s, g)
        for s in divisors(run.seeds, devices)
        for g in groups
        if s * g <= devices and s * g % processes == 0
    ]
    if not fitting:
        raise ConfigError(
            f"num_processes = {processes}: must divide seeds = {run.seeds}, or workers ="
            f" {run.workers} in groups of {run.group}, or a product of divisors of both"
        )
    return max(fitting, key=lambda s: (s.size, s.seeds))


def num_shardable_units(run: Run) -> int:
    """Return into how many shards a seed's workers can be divided: groups, or single workers.

    Off-policy methods are not sharded over workers.
    """
    return 1 if run.off_policy else run.workers // run.group


def divisors(n: int, most: int) -> list[int]:
    """Return n's divisors up to `most`."""
    return [d for d in range(1, min(n, most) + 1) if n % d == 0]
