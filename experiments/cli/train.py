"""`jaxmeta train`, and what `jaxmeta resume` shares with it: alone, or one of several processes.

What can be checked is checked before jax is imported.
"""

import argparse
import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxmeta.config import mesh_shape, resolve, user_code
from jaxmeta.config.mesh_shape import MeshShape
from jaxmeta.config.option_fields import field_names, help_of
from jaxmeta.config.process_group import Cluster, cluster
from jaxmeta.config.run import BASE_FIELDS, Run
from jaxmeta.config.save_interval import Interval, parse_interval
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import handed_over, layout, lock, reading
from jaxmeta.rundir.layout import user_path

log = logging.getLogger(f"jaxmeta.{__name__}")  # which the command line shows

HELP = {"-h", "--help"}
USAGE = (
    "jaxmeta train ENV [--method M] [--frames F] [--seeds S] [--out DIR] [--preset P]"
    " [--OPTION V ...]"
)
FIRST = ("frames", "seeds")  # of a Run's fields, those that --help begins with
EXECUTION = (
    "checkpoint_every", "mesh", "coordinator", "num_processes", "process_id", "debug_nans",
    "accept_changed_code",
)  # fmt: skip  # what `execution_options` adds


class Execution(NamedTuple):
    """How a run is trained; no result depends on it, but for changed code that is accepted."""

    interval: Interval  # between checkpoints
    mesh: MeshShape | None
    processes: Cluster
    debug_nans: bool
    accept_changed_code: bool


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options: a Run's fields, and how it is trained.

    Fields of sections are options as they are written, since a Run refuses what it has not. What
    --help lists of them is of the environment and the method that `argv` names, or of all.
    """
    command.usage = USAGE
    plain_options(command)
    if HELP & set(argv):
        for name, section in help_sections(argv).items():
            group = command.add_argument_group(
                f"{name}: {(section.__doc__ or name).splitlines()[0]}"
            )
            for field in field_names(section):
                group.add_argument(f"--{name}.{field}", metavar="V", help=help_of(section, field))
    else:
        add_dotted(command, argv)


def plain_options(command: argparse.ArgumentParser, **env: Any) -> None:
    """Add the options that every run has; `env` is how its name is given."""
    command.add_argument(
        "env", metavar="ENV", help="an environment's name, or FILE.py:FUNCTION", **env
    )
    run = command.add_argument_group("the run")
    run.add_argument("--method", default="ldm", help=help_of(Run, "method"))
    others = [name for name in field_names(Run) if name not in ("env", "method", "preset", *FIRST)]
    for name in (*FIRST, "out", "preset", *others):
        if name == "out":
            run.add_argument(
                "--out", type=user_path, help="run directory (default: runs/ENV-METHOD)"
            )
        elif name == "preset":
            run.add_argument("--preset", default="paper", help=help_of(Run, "preset"))
        else:
            flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
            run.add_argument(*flags, dest=name, metavar="V", help=help_of(Run, name))
    execution_options(command)


def execution_options(command: argparse.ArgumentParser) -> None:
    """Add what decides how a run is trained, but not what it gives."""
    group = command.add_argument_group("how it is trained (no result depends on it)")
    group.add_argument(
        "--checkpoint-every", metavar="INTERVAL", default="120s",
        help="seconds (120s, the default) or updates (50u) between checkpoints",
    )  # fmt: skip
    group.add_argument(
        "--mesh", metavar="seeds=S,groups=G",
        help="devices: S for the seeds, times G for each one's workers (default: for seeds only)",
    )  # fmt: skip
    group.add_argument(
        "--coordinator", metavar="HOST:PORT",
        help="where process 0 of several listens (with SLURM's srun, all three are found)",
    )  # fmt: skip
    group.add_argument("--num-processes", metavar="N", help="how many train this run together")
    group.add_argument("--process-id", metavar="I", help="which of them this is, from 0")
    group.add_argument(
        "--debug-nans", action="store_true",
        help="write nothing, but name the operation that makes the first NaN (slow)",
    )  # fmt: skip
    accept_option(group)


def accept_option(command: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add what lets changed code go on with the results of other code."""
    command.add_argument(
        "--accept-changed-code", action="store_true",
        help="read back, or resume, what another content of your files was trained by",
    )  # fmt: skip


def add_dotted(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add every option of the form --section.field that is on the command line."""
    found = (re.fullmatch(r"(--\w+\.\w+)(=.*)?", word, re.DOTALL) for word in argv)
    for option in dict.fromkeys(match[1] for match in found if match):
        command.add_argument(option, metavar="V")


def help_sections(argv: list[str]) -> Mapping[str, Any]:
    """Return the sections of the run that `argv` names, and without one all registered classes.

    Raises:
      ConfigError: an unknown name, or a file that is missing.
    """
    asked = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    plain_options(asked, nargs="?")
    named = [word for word in argv if word not in HELP]
    add_dotted(asked, named)
    args, _ = asked.parse_known_args(named)
    if args.env is None:
        return resolve.registered_sections()
    return dict(Run(**{name: getattr(args, name) for name in BASE_FIELDS}).sections)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked, then train and say where the results are."""
    execution = read_execution(args)
    if any(map(user_code.is_file, (args.env, args.method))):
        prepare_for_user_code(args, execution)
    chosen = run_of(args)
    stems = [
        Path(name.split(":")[0]).stem if user_code.is_file(name) else name
        for name in (chosen.env, chosen.method)
    ]
    out = args.out or Path("runs") / "-".join(stems)
    return train_in(chosen, out, execution, frames_given=args.frames is not None)


def announce_default_frames(run: Run) -> None:
    """Say how long a run will be, where the user does not."""
    log.info("frames = %s, the default of %s: none are given", f"{run.frames:,}", run.env)


def read_execution(args: argparse.Namespace) -> Execution:
    """Return how a command line has a run trained.

    Raises:
      ConfigError: options that cannot be.
    """
    return Execution(
        parse_interval(args.checkpoint_every),
        None if args.mesh is None else mesh_shape.parse_mesh(args.mesh),
        cluster(args.coordinator, args.num_processes, args.process_id),
        args.debug_nans,
        args.accept_changed_code,
    )


def prepare_for_user_code(args: argparse.Namespace, execution: Execution) -> None:
    """Let processes join and ask for devices, before a user's file can use JAX.

    Raises:
      ConfigError: there is no such file.
    """
    for name in ("env", "method"):
        user_code.require_file(name, getattr(args, name))

    from jaxmeta.devices import hosts, seed_axis

    hosts.join(execution.processes)
    if execution.mesh is not None:
        share = execution.mesh.size // execution.processes.processes
        seed_axis.request_cpu_devices(max(1, share))


def run_of(args: argparse.Namespace) -> Run:
    """Return the Run that a `train` command line describes; files that it names are executed.

    Raises:
      ConfigError: a bad field, or too few frames.
    """
    own = {"command", *BASE_FIELDS, "out", *EXECUTION}
    given = {k: v for k, v in vars(args).items() if k not in own and v is not None}
    chosen = Run(**{name: getattr(args, name) for name in BASE_FIELDS}).replace(given)
    chosen.require_update()
    return chosen


def train_in(
    run: Run, out: Path, execution: Execution, resuming: bool = False, frames_given: bool = True
) -> int:
    """Train a run in its directory, from wherever it is; return the exit code."""
    if execution.mesh is not None:
        mesh_shape.check(run, execution.mesh, execution.processes.processes)
    if execution.processes.processes > 1:
        return train_distributed(run, out, execution)
    if execution.debug_nans:
        lock.status_of(run, out)
        return debug_nans(run, out)
    status = lock.look(run, out)
    accept = execution.accept_changed_code
    if status == "finished" and not resuming and reading.has_last_checkpoint(out):
        handed_over.require_same_code(run, out, handed_over.code_by_name(run), accept)
        print(f"{out}: this run is finished already")
        return report_dead_seeds(out, reading.dead_seeds(out))
    if not frames_given:
        announce_default_frames(run)

    from experiments.terminal.training_display import train_with_progress

    look = lambda: status
    result = train_with_progress(run, out, execution.interval, execution.mesh, look, accept)
    print(f"{out}: finished; `jaxmeta report {out}` draws it")
    return report_dead_seeds(out, result.dead)


def train_distributed(run: Run, out: Path, execution: Execution) -> int:
    """Train a run as one of several processes, of which the first prints; return the exit code."""
    if execution.debug_nans:
        raise ConfigError("num_processes: must be 1 with --debug-nans")

    from jaxmeta.devices import hosts

    if hosts.process_count() == 1:  # else they joined before a file was executed
        hosts.join(execution.processes)

    from experiments.terminal.training_display import train_with_progress

    if execution.processes.process:
        logging.getLogger("jaxmeta").setLevel(logging.ERROR)
    accept = execution.accept_changed_code
    result = train_with_progress(run, out, execution.interval, execution.mesh, None, accept)
    if execution.processes.process:
        return 1 if result.dead else 0
    print(f"{out}: finished; `jaxmeta report {out}` draws it")
    return report_dead_seeds(out, result.dead)


def report_dead_seeds(out: Path, dead: Mapping[int, Any]) -> int:
    """Say which seeds became non-finite; return the exit code."""
    for seed, death in dead.items():
        print(
            f"{out}: seed {seed} died: {death.quantity} was not finite at update"
            f" {death.update}; see {out / layout.NAN_REPORT}",
            file=sys.stderr,
        )
    return 1 if dead else 0


def debug_nans(run: Run, out: Path) -> int:
    """Say where the first NaN comes from; return the exit code, 1 if there is one."""
    from experiments.terminal.training_display import find_nan_with_progress

    found = find_nan_with_progress(run, out)
    print(found or "no infinity or NaN")
    return 1 if found else 0
