"""The command line: `jaxmeta COMMAND`, also `python -m experiments COMMAND`.

Input is checked before jax is imported. Exit codes: 0 done, 2 bad input, 1 anything else.
"""

import argparse
import difflib
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from jaxmeta import registry
from jaxmeta.config import SECTIONS, Run
from jaxmeta.errors import ConfigError, NonFiniteError
from jaxmeta.settings import field_names


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Refuse bad input.

        Raises:
          ConfigError: always.
        """
        raise ConfigError(message)


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser("jaxmeta", description="Meta-reinforcement learning in JAX.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=about, allow_abbrev=False)

    command("list", "list environments and methods")

    train = command("train", "meta-train a method on an environment")
    train.add_argument("env", metavar="ENV", help=about_field(Run, "env"))
    train.add_argument("--method", default="ldm", help=about_field(Run, "method"))
    train.add_argument("--preset", default="paper", help=about_field(Run, "preset"))
    train.add_argument("--out", type=Path, help="run directory (default: runs/ENV-METHOD)")
    for name in field_names(Run):
        if name not in ("env", "method", "preset", *SECTIONS):
            flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
            train.add_argument(*flags, dest=name, metavar="V", help=about_field(Run, name))
    for section, owner in SECTIONS.items():
        group = train.add_argument_group(f"{section}: {(owner.__doc__ or '').splitlines()[0]}")
        for name in field_names(owner):
            about = about_field(owner, name)
            group.add_argument(f"--{section}.{name}", metavar="V", help=about)

    evaluate = command("evaluate", "evaluate a finished run's agents again")
    evaluate.add_argument("dir", metavar="DIR", type=Path)
    evaluate.add_argument("--split", help="one split only (default: all)")
    evaluate.add_argument("--rollouts", type=int, default=4, help="trials of the sampling policy")

    report = command("report", "print the table and draw the figures of runs")
    report.add_argument("dirs", metavar="DIR", type=Path, nargs="+")
    report.add_argument("--out", type=Path, help="where figures/ goes (default: beside the runs)")

    study = command("study", "train all runs of a study that are not finished, and report")
    study.add_argument("name", metavar="NAME", help="see jaxmeta list")
    study.add_argument("--out", type=Path, help="folder of the runs (default: runs/NAME)")
    study.add_argument("--seeds", metavar="V", help=about_field(Run, "seeds"))
    study.add_argument("--frames", metavar="V", help=about_field(Run, "frames"))

    bench = command("bench", "measure frames/s and the share of the matmul peak")
    bench.add_argument("--out", type=Path, default=Path("runs/bench.jsonl"))
    bench.add_argument("--workers", type=int, nargs="+", default=[16, 128, 1024])
    bench.add_argument("--methods", nargs="+", default=["rl2", "varibad", "ldm"])
    return top


def about_field(owner: type[Any], name: str) -> str:
    """Return a field's meaning and default, for --help."""
    found = next(f for f in fields(owner) if f.name == name)
    return f"{found.metadata['doc']} (general default: {found.default})".replace("%", "%%")


def read_command(argv: list[str]) -> argparse.Namespace:
    """Return the parsed command line.

    Raises:
      ConfigError: unknown options (with the nearest known one) or missing values.
    """
    top = parser()
    args, unknown = top.parse_known_args(argv)
    if unknown:
        command = next(a for a in top._actions if isinstance(a, argparse._SubParsersAction))
        known = command.choices[args.command]._option_string_actions
        near = difflib.get_close_matches(unknown[0].split("=")[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; see jaxmeta {args.command} --help"
        raise ConfigError(f"{unknown[0]}: {args.command} has no such option{hint}")
    return args


def run_of(args: argparse.Namespace) -> Run:
    """Return the Run that a `train` command line describes."""
    own = {"command", "env", "method", "preset", "out"}
    given = {k: v for k, v in vars(args).items() if k not in own and v is not None}
    registry.require_file("env", args.env)
    registry.require_file("method", args.method)
    return Run(env=args.env, method=args.method, preset=args.preset).replace(given)


def list_all() -> None:
    """Print studies, environments and methods."""
    from experiments.study import STUDIES

    print("studies:")
    for name, runs in STUDIES.items():
        print(f"  {name:26s}{', '.join(runs())}")
    for kind in ("environments", "methods"):
        print(f"{kind}:")
        for name, spec in sorted(registry.specs(kind).items()):
            print(f"  {name:26s}{spec.about}")


def train_command(args: argparse.Namespace) -> None:
    """Check everything that can be checked, then train and say where the results are."""
    from jaxmeta import rundir

    run = run_of(args)
    stems = [
        Path(n.split(":")[0]).stem if registry.is_file(n) else n for n in (run.env, run.method)
    ]
    out = args.out or Path("runs") / "-".join(stems)
    if rundir.check(run, out):
        print(f"{out}: this run is finished already")
        return

    from experiments.progress import train_with_progress

    train_with_progress(run, out)
    print(f"{out}: finished; `jaxmeta report {out}` draws it")


def evaluate_command(args: argparse.Namespace) -> None:
    """Evaluate a run's agents and print the N-th episode's results."""
    from jaxmeta import rundir

    run = rundir.read_run(args.dir)
    splits = {task["split"] for task in rundir.read_tasks(args.dir)}
    if args.split is not None and args.split not in splits:
        raise ConfigError(f"split = {args.split!r}: must be one of {', '.join(sorted(splits))}")
    if args.rollouts < 1:
        raise ConfigError(f"rollouts = {args.rollouts}: must be a whole number >= 1")

    from experiments.meta_test import print_meta_test

    print_meta_test(run, args.dir, [args.split] if args.split else sorted(splits), args.rollouts)


def report_command(args: argparse.Namespace) -> None:
    """Print the table and draw the figures."""
    from experiments.report import report

    report(args.dirs, args.out)


def study_command(args: argparse.Namespace) -> None:
    """Run a study."""
    from experiments.study import run_study

    given = {k: v for k in ("seeds", "frames") if (v := getattr(args, k)) is not None}
    run_study(args.name, args.out or Path("runs") / args.name, given)


def bench_command(args: argparse.Namespace) -> None:
    """Measure speed on one core."""
    if hasattr(os, "sched_setaffinity"):  # before jax makes its threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    from experiments.bench import bench

    bench(args.out, args.methods, args.workers)


COMMANDS: dict[str, Any] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "report": report_command,
    "study": study_command,
    "bench": bench_command,
    "list": lambda args: list_all(),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        args = read_command(sys.argv[1:] if argv is None else argv)
        COMMANDS[args.command](args)
    except ConfigError as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 2
    except NonFiniteError as error:
        print(f"jaxmeta: stopped at {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jaxmeta: interrupted", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
