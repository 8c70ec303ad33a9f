"""The command line's parser; errors are one line."""

import argparse
import difflib
import importlib
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any, NoReturn

from jaxmeta import __version__
from jaxmeta.config.missing_options import KEPT, SEED
from jaxmeta.config.option_fields import field_names
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError

# Help by name. The module of that name in this package adds its `options` and has a `run`, which
# returns the exit code; only the requested one is imported.
COMMANDS = {
    "list": "list studies, environments and methods",
    "train": "meta-train a method on an environment",
    "resume": "resume a stopped run, with bitwise identical results",
    "sweep": "train every configuration of a grid, or resume it",
    "evaluate": "evaluate a run's agents again",
    "report": "print the table and draw the figures of runs",
    "watch": "follow a run from another terminal",
    "study": "train all runs of a study that are not finished, and report",
    "video": "show how a robot's agent moves through one trial",
    "bench": "measure speed: of training, of physics, or against our targets",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse bad input.

        Raises:
          ConfigError: always.
        """
        raise ConfigError(message)


def versions() -> str:
    """Return the versions that results depend on; JAX is not imported for its own."""
    python = platform.python_version()
    return f"jaxmeta {__version__} (Python {python}, JAX {metadata.version('jax')})"


def command(name: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f"experiments.cli.{name}")


def read_command(argv: list[str]) -> argparse.Namespace:
    """Return the parsed command line.

    Raises:
      ConfigError: unknown options (with the nearest known one) or missing values.
    """
    top = Parser("jaxmeta", description="Meta-reinforcement learning in JAX.")
    top.add_argument("--version", action="version", version=versions())
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parsers = {
        name: commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        for name, about in COMMANDS.items()
    }
    if name := next((word for word in argv if word in COMMANDS), None):
        command(name).options(parsers[name], argv[argv.index(name) + 1 :])
    args, unknown = top.parse_known_args(argv)
    if unknown:
        known = parsers[args.command]._option_string_actions
        advice = hint(args.command, unknown[0].partition("=")[0], known)
        raise ConfigError(f"{unknown[0]}: {args.command} has no such option; {advice}")
    return args


def hint(name: str, option: str, known: Iterable[str]) -> str:
    """Return what to do about an option that a command does not have."""
    near = difflib.get_close_matches(option, known, n=1)
    if option == "--seed" and "--seeds" in known:
        return SEED
    of_run = option.removeprefix("--").replace("-", "_") in field_names(Run) or "." in option
    if name == "resume" and of_run:
        return KEPT
    return f"did you mean {near[0]}?" if near else f"see jaxmeta {name} --help"
