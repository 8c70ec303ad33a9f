"""`jaxmeta train` and `jaxmeta resume`: alone, or as one of several processes.

What can be checked is checked before jax is imported.
"""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmeta.config import mesh_shape
from jaxmeta.config.process_group import Cluster, cluster
from jaxmeta.config.run import Run
from jaxmeta.config.save_period import period
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import claim

HOW = (
    "checkpoint_every", "mesh", "coordinator", "num_processes", "process_id", "debug_nans",
)  # fmt: skip  # what `how_options` adds


def how_options(command: argparse.ArgumentParser) -> None:
    """Add what decides how a run is trained, but not what it gives."""
    command.add_argument(
        "--checkpoint-every", metavar="PERIOD", default="120s",
        help="seconds (120s, the default) or updates (50u) between checkpoints",
    )  # fmt: skip
    command.add_argument(
        "--mesh", metavar="seeds=S,groups=G",
        help="devices: S for the seeds, times G for each one's workers (default: for seeds only)",
    )  # fmt: skip
    command.add_argument(
        "--coordinator", metavar="HOST:PORT",
        help="where process 0 of several listens (with SLURM's srun, all three are found)",
    )  # fmt: skip
    command.add_argument("--num-processes", metavar="N", help="how many train this run together")
    command.add_argument("--process-id", metavar="I", help="which of them this is, from 0")
    command.add_argument(
        "--debug-nans", action="store_true",
        help="write nothing, but name the operation that makes the first NaN (slow)",
    )  # fmt: skip


def train_in(run: Run, out: Path, args: argparse.Namespace) -> int:
    """Train a run in its folder, from wherever it is; return the exit code."""
    period(args.checkpoint_every)
    who = cluster(args.coordinator, args.num_processes, args.process_id)
    if args.mesh is not None:
        mesh_shape.check(run, mesh_shape.shape(args.mesh), who.processes)
    if who.processes > 1:
        return train_with_others(run, out, args, who)
    if args.debug_nans:
        claim.check(run, out)
        return debug_nans(run, out)
    complete = claim.check(run, out) == "finished" and claim.has_last_checkpoint(out)
    if complete and args.command == "train":
        print(f"{out}: this run is finished already")
    else:
        claim.require_free(out)

        from experiments.terminal.training_display import train_with_progress

        train_with_progress(run, out, args.checkpoint_every, args.mesh)
        print(f"{out}: finished; `jaxmeta report {out}` draws it")
    return tell_of_dead(out, claim.dead_seeds(out))


def train_with_others(run: Run, out: Path, args: argparse.Namespace, who: Cluster) -> int:
    """Train a run as one of several processes, of which the first speaks; return the exit code."""
    if args.debug_nans:
        raise ConfigError("num_processes: must be 1 with --debug-nans")

    from jaxmeta.devices import hosts

    hosts.join(who)

    from experiments.terminal.training_display import train_with_progress

    if who.process:
        logging.getLogger("jaxmeta").setLevel(logging.ERROR)
    result = train_with_progress(run, out, args.checkpoint_every, args.mesh)
    if who.process:
        return 1 if result.dead else 0
    print(f"{out}: finished; `jaxmeta report {out}` draws it")
    return tell_of_dead(out, result.dead)


def tell_of_dead(out: Path, dead: Mapping[int, Any]) -> int:
    """Say which seeds died of what; return the exit code."""
    for seed, death in dead.items():
        print(
            f"{out}: seed {seed} died: {death.quantity} was not finite at update"
            f" {death.update}; see {out / claim.NAN_REPORT}",
            file=sys.stderr,
        )
    return 1 if dead else 0


def debug_nans(run: Run, out: Path) -> int:
    """Say where the first NaN comes from; return the exit code, 1 if there is one."""
    from experiments.terminal.training_display import find_nan_with_progress

    found = find_nan_with_progress(run, out)
    print(found or "no infinity or NaN")
    return 1 if found else 0
