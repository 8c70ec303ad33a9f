"""`jaxmeta report`."""

import argparse

from jaxmeta.rundir.layout import user_path


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("dirs", metavar="DIR", type=user_path, nargs="+")
    command.add_argument(
        "--out", type=user_path, help="where figures/ goes (default: next to the runs)"
    )
    mix = "one table for all runs, also of different versions"
    command.add_argument("--mix", action="store_true", help=mix)


def run(args: argparse.Namespace) -> None:
    """Print the table and draw the figures."""
    from experiments.report.compose import report

    report(args.dirs, args.out, args.mix)
