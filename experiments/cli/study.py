"""`jaxmeta study`."""

import argparse
from pathlib import Path

from jaxmeta.config.option_fields import help_of
from jaxmeta.config.run import Run
from jaxmeta.rundir.layout import user_path


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("name", metavar="NAME", help="see jaxmeta list")
    command.add_argument("--out", type=user_path, help="folder of the runs (default: runs/NAME)")
    command.add_argument("--only", metavar="RUN", nargs="+", help="some of its runs (default: all)")
    command.add_argument("--seeds", metavar="V", help=help_of(Run, "seeds"))
    command.add_argument("--frames", metavar="V", help=help_of(Run, "frames"))


def run(args: argparse.Namespace) -> int:
    """Run a study; return the exit code."""
    from experiments.studies.run_study import run_study

    overrides = {k: v for k in ("seeds", "frames") if (v := getattr(args, k)) is not None}
    return run_study(args.name, args.out or Path("runs") / args.name, overrides, args.only)
