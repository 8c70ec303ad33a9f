"""Which processes train one run together, from options or from SLURM.

This module imports no jax: bad options are refused at once.
"""

import os
import re
from typing import NamedTuple

from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError

MOST_PROCESSES = 100_000


class Cluster(NamedTuple):
    """Processes that work together, and which of them this one is."""

    coordinator: str | None  # HOST:PORT of process 0; None: what JAX makes of SLURM's variables
    processes: int = 1
    process: int = 0


ALONE = Cluster(None)


def cluster(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Cluster:
    """Return the processes that the options name; without any, SLURM's tasks or ALONE.

    SLURM counts where `srun` started several tasks in this very step: a job of one task, such
    as a sweep's, and a batch script itself are alone. `num_processes=1` alone says so, too.

    Raises:
      ConfigError: options missing, or out of range.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    if all(value is None for value in given.values()):
        return of_slurm()
    if num_processes == 1 and coordinator is None and process_id in (None, 0):
        return ALONE
    for name, value in given.items():
        if value is None:
            raise ConfigError(f"{name}: missing; {', '.join(given)} belong together")
    found = re.fullmatch(r"(.+):(\d{1,5})", str(coordinator))
    if found is None or not 0 < int(found[2]) < 2**16:
        raise ConfigError(
            f"coordinator = {safe_repr(coordinator)}: must be HOST:PORT, where process 0 can be"
            " reached"
        )
    processes, process = (whole(name, given[name]) for name in ("num_processes", "process_id"))
    if not 1 <= processes <= MOST_PROCESSES:
        raise ConfigError(f"num_processes = {processes}: must be 1 to {MOST_PROCESSES}")
    if not 0 <= process < processes:
        raise ConfigError(f"process_id = {process}: must be 0 to num_processes - 1")
    return Cluster(str(coordinator), processes, process)


def of_slurm() -> Cluster:
    """Return the tasks of the SLURM step that this process is one of, ALONE if there are none."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    process = os.environ.get("SLURM_PROCID", "0")
    if not (tasks.isdecimal() and process.isdecimal() and int(tasks) > 1):
        return ALONE
    return Cluster(None, int(tasks), int(process))


def whole(name: str, value: object) -> int:
    """Return an option as a whole number.

    Raises:
      ConfigError: it is none.
    """
    if not re.fullmatch(r"-?\d{1,9}", str(value)):
        raise ConfigError(f"{name} = {safe_repr(value)}: must be a whole number")
    return int(str(value))
