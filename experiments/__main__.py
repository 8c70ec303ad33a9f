"""The command line: `jaxmeta COMMAND`, also `python -m experiments COMMAND`.

Input is checked before jax is imported. Exit codes: 0 done, 2 bad input, 75 stopped by a signal
and resumable, 1 anything else.
"""

import argparse
import difflib
import logging
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from experiments.cli.train import HOW, how_options, train_in
from jaxmeta.config import registry
from jaxmeta.config.fields import field_names
from jaxmeta.config.options import SECTIONS
from jaxmeta.config.run import BASE, Run
from jaxmeta.errors import CheckpointError, ConfigError, NonFiniteError, PeerLost, Preempted
from jaxmeta.training import stop_signals


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
    how_options(train)
    for name in field_names(Run):
        if name not in ("env", "method", "preset", *SECTIONS):
            flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
            train.add_argument(*flags, dest=name, metavar="V", help=about_field(Run, name))
    for section, owner in SECTIONS.items():
        group = train.add_argument_group(f"{section}: {(owner.__doc__ or '').splitlines()[0]}")
        for name in field_names(owner):
            about = about_field(owner, name)
            group.add_argument(f"--{section}.{name}", metavar="V", help=about)

    resume = command("resume", "go on with a run that was stopped, to the same bits")
    resume.add_argument("dir", metavar="DIR", type=Path)
    how_options(resume)

    sweep = command("sweep", "train every configuration of a grid, or go on with it")
    sweep.add_argument("file", metavar="FILE.toml", type=Path, help="see docs/sweeps.md")
    sweep.add_argument("--out", type=Path, help="the sweep's folder (default: the file's `out`)")
    sweep.add_argument("--dry-run", action="store_true", help="runs, programs and hours only")
    sweep.add_argument("--executor", help="here, processes, slurm or print (default: the file's)")
    sweep.add_argument("--workers", type=int, help="processes at a time")
    sweep.add_argument("--checkpoint-every", metavar="PERIOD", help="as for train")

    evaluate = command("evaluate", "evaluate a run's agents again")
    evaluate.add_argument("dir", metavar="DIR", type=Path)
    evaluate.add_argument(
        "--which", choices=("last", "best"), default="last",
        help="the last parameters, or each seed's best on training tasks (default: last)",
    )  # fmt: skip
    evaluate.add_argument("--split", help="one split only (default: all)")
    evaluate.add_argument("--rollouts", type=int, default=4, help="trials of the sampling policy")

    report = command("report", "print the table and draw the figures of runs")
    report.add_argument("dirs", metavar="DIR", type=Path, nargs="+")
    report.add_argument("--out", type=Path, help="where figures/ goes (default: beside the runs)")
    mix = "one table for all, whatever versions they were made with"
    report.add_argument("--mix", action="store_true", help=mix)

    watch = command("watch", "follow a run from another terminal")
    watch.add_argument("dir", metavar="DIR", type=Path)
    watch.add_argument("--every", metavar="SECONDS", type=float, default=2.0, help="default: 2")

    study = command("study", "train all runs of a study that are not finished, and report")
    study.add_argument("name", metavar="NAME", help="see jaxmeta list")
    study.add_argument("--out", type=Path, help="folder of the runs (default: runs/NAME)")
    study.add_argument("--only", metavar="RUN", nargs="+", help="some of its runs (default: all)")
    study.add_argument("--seeds", metavar="V", help=about_field(Run, "seeds"))
    study.add_argument("--frames", metavar="V", help=about_field(Run, "frames"))

    video = command("video", "show how a robot's agent moves through one trial")
    video.add_argument("dir", metavar="DIR", type=Path)
    video.add_argument(
        "--task", type=int, metavar="N", help="see tasks.json (default: the first test task)"
    )
    video.add_argument("--seed", type=int, default=0, help="default: 0")
    video.add_argument("--which", choices=("last", "best"), default="last")
    video.add_argument("--policy", choices=("greedy", "sampled"), default="greedy")
    video.add_argument(
        "--out", type=Path, metavar="FILE", help=".gif or .mp4 (default: DIR/figures/task-N.gif)"
    )

    bench = command("bench", "measure speed: of training, of physics, or against our targets")
    bench.add_argument("what", nargs="?", choices=("training", "gpu", "physics", "targets"),
                       default="training")  # fmt: skip
    bench.add_argument("--out", type=Path, default=Path("runs/bench.jsonl"))
    bench.add_argument("--workers", type=int, nargs="+", default=[16, 128, 1024])
    bench.add_argument("--methods", nargs="+", default=["rl2", "mixreg", "varibad", "ldm"])
    bench.add_argument("--seeds", type=int, nargs="+", default=[1], help="trained side by side")
    bench.add_argument("--engines", nargs="+", choices=("c", "mjx"), default=["c", "mjx"])
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
    own = {"command", *BASE, "out", *HOW}
    given = {k: v for k, v in vars(args).items() if k not in own and v is not None}
    registry.require_file("env", args.env)
    registry.require_file("method", args.method)
    return Run(**{name: getattr(args, name) for name in BASE}).replace(given)


def list_all() -> None:
    """Print studies, environments and methods."""
    from experiments.studies.run_study import STUDIES

    print("studies:")
    for name, study in STUDIES.items():
        print(f"  {name:34s}{', '.join(study.runs())}")
    for kind in ("environments", "methods"):
        print(f"{kind}:")
        for name, spec in sorted(registry.specs(kind).items()):
            also = ", ".join(getattr(spec, "aliases", ()))
            print(f"  {name:34s}{spec.about}" + (f" (also {also})" if also else ""))


def train_command(args: argparse.Namespace) -> int:
    """Check everything that can be checked, then train and say where the results are."""
    run = run_of(args)
    stems = [
        Path(n.split(":")[0]).stem if registry.is_file(n) else n for n in (run.env, run.method)
    ]
    return train_in(run, args.out or Path("runs") / "-".join(stems), args)


def resume_command(args: argparse.Namespace) -> int:
    """Go on with a run, or with a sweep's program; a folder may name no code to execute."""
    from jaxmeta.rundir import claim
    from jaxmeta.sweeps.plan import PROGRAM

    if (args.dir / PROGRAM).is_file():
        if args.mesh or args.num_processes:
            raise ConfigError(f"mesh, num_processes: not for a part of a sweep, as {args.dir} is")
        from experiments.terminal.training_display import train_program_with_progress

        train_program_with_progress(args.dir, args.checkpoint_every)
        print(f"{args.dir}: finished")
        return 0
    run = claim.read_run(args.dir)
    claim.refuse_named_code(run)
    return train_in(run, args.dir, args)


def sweep_command(args: argparse.Namespace) -> int:
    """Run what a file describes; return the exit code."""
    from experiments.cli.sweep import read_sweep, run_sweep

    chosen = ("out", "executor", "workers", "checkpoint_every")
    given = {k: v for k in chosen if (v := getattr(args, k)) is not None}
    return run_sweep(read_sweep(args.file) | given, args.dry_run)


def evaluate_command(args: argparse.Namespace) -> None:
    """Evaluate a run's agents and print the N-th episode's results."""
    from jaxmeta.rundir import claim

    run = claim.read_run(args.dir)
    splits = {task["split"] for task in claim.read_tasks(args.dir)}
    if args.split is not None and args.split not in splits:
        raise ConfigError(f"split = {args.split!r}: must be one of {', '.join(sorted(splits))}")
    if args.rollouts < 1:
        raise ConfigError(f"rollouts = {args.rollouts}: must be a whole number >= 1")

    from experiments.cli.evaluate import print_meta_test

    chosen = [args.split] if args.split else sorted(splits)
    print_meta_test(run, args.dir, chosen, args.rollouts, args.which)


def report_command(args: argparse.Namespace) -> None:
    """Print the table and draw the figures."""
    from experiments.report.compose import report

    report(args.dirs, args.out, args.mix)


def video_command(args: argparse.Namespace) -> None:
    """Film one trial."""
    from experiments.figures.offscreen import choose_library
    from jaxmeta.rundir import claim

    claim.refuse_named_code(claim.read_run(args.dir))
    choose_library()

    from experiments.figures.trial_video import check, film

    out = args.out or args.dir / "figures" / "video.gif"
    task = check(args.dir, args.task, out if args.out else args.dir / out.name)
    if not args.out:
        out = out.with_name(f"task-{task}.gif")
        out.parent.mkdir(exist_ok=True)
    motion = film(args.dir, out, task, args.seed, args.which, args.policy)
    returns = [motion.reward[motion.episode == e].sum() for e in range(motion.episode[-1] + 1)]
    print(f"{out}: return by episode {', '.join(f'{r:.1f}' for r in returns)}")


def watch_command(args: argparse.Namespace) -> None:
    """Follow a run until it ends."""
    from experiments.cli.watch import watch

    watch(args.dir, args.every)


def study_command(args: argparse.Namespace) -> int:
    """Run a study; return the exit code."""
    from experiments.studies.run_study import run_study

    given = {k: v for k in ("seeds", "frames") if (v := getattr(args, k)) is not None}
    return run_study(args.name, args.out or Path("runs") / args.name, given, args.only)


def bench_command(args: argparse.Namespace) -> None:
    """Measure speed: of training and of the targets on one core of a CPU, of physics on all."""
    if args.what == "physics":
        from experiments.bench.physics_speed import bench_physics

        bench_physics(args.out, args.workers, args.engines)
        return
    if args.what == "targets":
        from experiments.bench.speed_targets import bench_targets

        bench_targets(args.out)
        return
    if args.what == "training" and hasattr(os, "sched_setaffinity"):  # before jax has threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    from experiments.bench.training_speed import bench

    bench(args.out, args.methods, args.workers, args.seeds, accelerated=args.what == "gpu")


COMMANDS: dict[str, Any] = {
    "train": train_command,
    "resume": resume_command,
    "evaluate": evaluate_command,
    "sweep": sweep_command,
    "report": report_command,
    "watch": watch_command,
    "video": video_command,
    "study": study_command,
    "bench": bench_command,
    "list": lambda args: list_all(),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logger = logging.getLogger("jaxmeta")
    logger.setLevel(logging.INFO)
    logger.handlers = [Spoken()]
    try:
        args = read_command(sys.argv[1:] if argv is None else argv)
        return COMMANDS[args.command](args) or 0
    except ConfigError as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 2
    except PeerLost as error:
        print(f"jaxmeta: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(stop_signals.EXIT_CODE)  # JAX would wait for those who are gone
    except Preempted as error:
        print(f"jaxmeta: {error}; the same command goes on", file=sys.stderr)
        return stop_signals.EXIT_CODE
    except NonFiniteError as error:
        print(f"jaxmeta: no seed is left: {error}", file=sys.stderr)
        return 1
    except (CheckpointError, OSError) as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jaxmeta: interrupted", file=sys.stderr)
        return 1


class Spoken(logging.Handler):
    """Prints the library's messages to stderr, whichever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        print(f"jaxmeta: {level}{record.getMessage()}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
