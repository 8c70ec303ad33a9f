"""The processes that train one run together, from options or from SLURM.

This module imports no jax: bad options are refused at once.
"""

import os
import re
from typing import NamedTuple

from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

MAX_PROCESSES = 100_000


class Cluster(NamedTuple):
    """A group of processes, and the rank of this one."""

    coordinator: str | None  # HOST:PORT of process 0; None: JAX reads SLURM's variables
    processes: int = 1
    process: int = 0


SINGLE_PROCESS = Cluster(None)


def cluster(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Cluster:
    """Return the processes that the options name; without any, SLURM's tasks or SINGLE_PROCESS.

    SLURM counts where `srun` started several tasks in this very step: a job of one task, such
    as a sweep's, and a batch script itself are single processes, as `num_processes=1` is.

    Raises:
      ConfigError: options missing, or out of range.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    if all(value is None for value in given.values()):
        return from_slurm()
    if (str(num_processes), coordinator) == ("1", None) and str(process_id) in ("None", "0"):
        return SINGLE_PROCESS
    for name, value in given.items():
        if value is None:
            raise ConfigError(f"{name}: missing; {', '.join(given)} belong together")
    found = re.fullmatch(r"(.+):(\d{1,5})", str(coordinator))
    if found is None or not 0 < int(found[2]) < 2**16:
        raise ConfigError(
            f"coordinator = {safe_repr(coordinator)}: must be HOST:PORT, where process 0 can be"
            " reached"
        )
    processes, process = (parse_int(name, given[name]) for name in ("num_processes", "process_id"))
    if not 1 <= processes <= MAX_PROCESSES:
        raise ConfigError(f"num_processes = {processes}: must be 1 to {MAX_PROCESSES}")
    if not 0 <= process < processes:
        raise ConfigError(f"process_id = {process}: must be 0 to num_processes - 1")
    return Cluster(str(coordinator), processes, process)


def from_slurm() -> Cluster:
    """Return the tasks of the SLURM step that this process belongs to, else SINGLE_PROCESS."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    process = os.environ.get("SLURM_PROCID", "0")
    if not (tasks.isdecimal() and process.isdecimal() and int(tasks) > 1):
        return SINGLE_PROCESS
    return Cluster(None, int(tasks), int(process))


def parse_int(name: str, value: object) -> int:
    """Return an option as a whole number.

    Raises:
      ConfigError: it is none.
    """
    if not re.fullmatch(r"-?\d{1,9}", str(value)):
        raise ConfigError(f"{name} = {safe_repr(value)}: must be a whole number")
    return int(str(value))
