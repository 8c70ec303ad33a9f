"""`jaxmeta train`, and what `jaxmeta resume` shares with it: alone, or one of several processes.

What can be checked is checked before jax is imported.
"""

import argparse
import logging
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmeta.config import mesh_shape, resolve, user_code
from jaxmeta.config.fields import field_names, help_of
from jaxmeta.config.process_group import Cluster, cluster
from jaxmeta.config.run import BASE, Run
from jaxmeta.config.save_period import period
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import layout, lock, reading

HELP = {"-h", "--help"}
HOW = (
    "checkpoint_every", "mesh", "coordinator", "num_processes", "process_id", "debug_nans",
)  # fmt: skip  # what `how_options` adds


def options(command: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the command's options: a Run's fields, and how it is trained.

    Fields of sections are options as they are written, since a Run refuses what it has not. What
    --help lists of them is of the environment and the method that `words` name, or of all.
    """
    plain_options(command)
    if HELP & set(words):
        for name, section in shown_sections(words).items():
            group = command.add_argument_group(
                f"{name}: {(section.__doc__ or name).splitlines()[0]}"
            )
            for leaf in field_names(section):
                group.add_argument(f"--{name}.{leaf}", metavar="V", help=help_of(section, leaf))
    else:
        add_dotted(command, words)


def plain_options(command: argparse.ArgumentParser, **env: Any) -> None:
    """Add the options that every run has; `env` is how its name is given."""
    command.add_argument("env", metavar="ENV", help=help_of(Run, "env"), **env)
    command.add_argument("--method", default="ldm", help=help_of(Run, "method"))
    command.add_argument("--preset", default="paper", help=help_of(Run, "preset"))
    command.add_argument("--out", type=Path, help="run directory (default: runs/ENV-METHOD)")
    how_options(command)
    for name in field_names(Run):
        if name not in ("env", "method", "preset"):
            flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
            command.add_argument(*flags, dest=name, metavar="V", help=help_of(Run, name))


def add_dotted(command: argparse.ArgumentParser, words: list[str]) -> None:
    """Add every option of the form --section.field that is among the words."""
    found = (re.fullmatch(r"(--\w+\.\w+)(=.*)?", word, re.DOTALL) for word in words)
    for option in dict.fromkeys(match[1] for match in found if match):
        command.add_argument(option, metavar="V")


def shown_sections(words: list[str]) -> Mapping[str, Any]:
    """Return the sections of the run that the words name, and without one all registered classes.

    Raises:
      ConfigError: an unknown name, or a file that is missing.
    """
    asked = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    plain_options(asked, nargs="?")
    named = [word for word in words if word not in HELP]
    add_dotted(asked, named)
    args, _ = asked.parse_known_args(named)
    if args.env is None:
        return resolve.registered_sections()
    return dict(Run(**{name: getattr(args, name) for name in BASE}).sections)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked, then train and say where the results are."""
    if any(map(user_code.is_file, (args.env, args.method))):
        prepare_for_code(args)
    chosen = run_of(args)
    stems = [
        Path(n.split(":")[0]).stem if user_code.is_file(n) else n
        for n in (chosen.env, chosen.method)
    ]
    return train_in(chosen, args.out or Path("runs") / "-".join(stems), args)


def prepare_for_code(args: argparse.Namespace) -> None:
    """Let processes join and ask for devices, before a user's file can use JAX.

    Raises:
      ConfigError: bad input, as far as it is known without the file.
    """
    for name in ("env", "method"):
        user_code.require_file(name, getattr(args, name))
    period(args.checkpoint_every)
    who = cluster(args.coordinator, args.num_processes, args.process_id)
    wanted = None if args.mesh is None else mesh_shape.shape(args.mesh)

    from jaxmeta.devices import hosts, seed_axis

    if who.processes > 1:
        hosts.join(who)
    if wanted is not None:
        seed_axis.ask_for_devices(max(1, wanted.size // who.processes))


def run_of(args: argparse.Namespace) -> Run:
    """Return the Run that a `train` command line describes; files that it names are executed."""
    own = {"command", *BASE, "out", *HOW}
    given = {k: v for k, v in vars(args).items() if k not in own and v is not None}
    return Run(**{name: getattr(args, name) for name in BASE}).replace(given)


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
        lock.check(run, out)
        return debug_nans(run, out)
    complete = lock.check(run, out) == "finished" and reading.has_last_checkpoint(out)
    if complete and args.command == "train":
        print(f"{out}: this run is finished already")
    else:
        lock.require_free(out)

        from experiments.terminal.training_display import train_with_progress

        train_with_progress(run, out, args.checkpoint_every, args.mesh)
        print(f"{out}: finished; `jaxmeta report {out}` draws it")
    return tell_of_dead(out, reading.dead_seeds(out))


def train_with_others(run: Run, out: Path, args: argparse.Namespace, who: Cluster) -> int:
    """Train a run as one of several processes, of which the first speaks; return the exit code."""
    if args.debug_nans:
        raise ConfigError("num_processes: must be 1 with --debug-nans")

    from jaxmeta.devices import hosts

    if hosts.count() == 1:  # else they joined before a file was executed
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
