"""`jaxmeta resume`."""

import argparse

from experiments.cli.train import EXECUTION, execution_options, read_execution, train_in
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import reading
from jaxmeta.rundir.layout import user_path
from jaxmeta.sweeps.sweep_folder import PROGRAM


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("dir", metavar="DIR", type=user_path)
    execution_options(command)


def run(args: argparse.Namespace) -> int:
    """Resume a run, or a sweep's program; a folder may name no code to execute."""
    execution = read_execution(args)
    if (args.dir / PROGRAM).is_file():
        for name in EXECUTION:
            if name != "checkpoint_every" and getattr(args, name):
                raise ConfigError(f"{name}: not for a part of a sweep, as {args.dir} is")
        from experiments.terminal.training_display import train_program_with_progress

        train_program_with_progress(args.dir, args.checkpoint_every)
        print(f"{args.dir}: finished")
        return 0
    found = reading.read_run(args.dir)
    reading.refuse_named_code(found)
    return train_in(found, args.dir, execution, resuming=True)
