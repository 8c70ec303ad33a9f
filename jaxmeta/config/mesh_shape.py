"""How many devices share the seeds, and how many one seed's workers: `seeds=2,groups=4`.

This module imports no jax: a bad mesh is refused at once.
"""

import re
from typing import NamedTuple

from jaxmeta.config import registry
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

AXES = ("seeds", "groups")


class Shape(NamedTuple):
    """Devices over which seeds are spread, times devices over which each one's workers are."""

    seeds: int = 1
    groups: int = 1

    def __str__(self) -> str:
        return ",".join(f"{name}={n}" for name, n in zip(AXES, self, strict=True))

    @property
    def size(self) -> int:
        """Return the number of devices."""
        return self.seeds * self.groups


def shape(text: str) -> Shape:
    """Return "seeds=2,groups=4" as a Shape; an axis left out is 1.

    Raises:
      ConfigError: anything else.
    """
    parts = [re.fullmatch(r"(\w+)=([1-9]\d{0,5})", part) for part in str(text).split(",")]
    found = {part[1]: int(part[2]) for part in parts if part}
    if len(found) < len(parts) or not found.keys() <= set(AXES):
        raise ConfigError(
            f"mesh = {safe_repr(text)}: must be numbers of devices such as seeds=2,groups=4"
        )
    return Shape(**found)


def check(run: Run, wanted: Shape, processes: int = 1) -> None:
    """Refuse a mesh that does not divide the run, or not among its processes.

    Raises:
      ConfigError: says what does not divide what.
    """
    units = worker_units(run)
    if run.seeds % wanted.seeds:
        raise ConfigError(f"mesh = {wanted}: seeds must divide seeds = {run.seeds}")
    if run.off_policy and wanted.groups > 1:
        raise ConfigError(
            f"mesh = {wanted}: groups must be 1; {run.rl.upper()} learns on a device per seed"
        )
    if units % wanted.groups:
        of = f" // {run.group} (a group)" if run.group > 1 else ""
        raise ConfigError(f"mesh = {wanted}: groups must divide workers = {run.workers}{of}")
    if wanted.size % processes:
        raise ConfigError(
            f"mesh = {wanted}: its {wanted.size} devices must be a multiple of the {processes}"
            " processes, which take equal shares"
        )


def check_physics(run: Run, wanted: Shape, platform: str) -> None:
    """Refuse to divide a seed's workers where their physics cannot be: all but MJX.

    Callbacks into C get every worker of a seed at once, on one device, and so may Warp.

    Raises:
      ConfigError: names what can be divided.
    """
    c_here = run.physics == "auto" and platform == "cpu"
    divisible = run.physics in ("auto", "mjx") and not c_here
    if wanted.groups > 1 and registry.env_spec(run.env).simulated and not divisible:
        raise ConfigError(
            f"mesh = {wanted}: groups must be 1 with physics = {run.physics}"
            f"{', C MuJoCo on a CPU' if c_here else ''}; physics = mjx can be divided"
        )


def largest(run: Run, devices: int, processes: int = 1) -> Shape:
    """Return the mesh of the most devices up to `devices` that divides a run among processes.

    One process spreads seeds only; several also workers where that employs more devices.

    Raises:
      ConfigError: there is none.
    """
    groups = divisors(worker_units(run), devices) if processes > 1 else [1]
    fitting = [
        Shape(s, g)
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


def worker_units(run: Run) -> int:
    """Return how many parts of a seed's workers can live apart: groups, or single workers.

    Where learning reads a replay, and not them, it is not worth it.
    """
    return 1 if run.off_policy else run.workers // run.group


def divisors(n: int, most: int) -> list[int]:
    """Return n's divisors up to `most`."""
    return [d for d in range(1, min(n, most) + 1) if n % d == 0]
