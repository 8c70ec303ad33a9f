"""A study: several runs on one environment, one after the other, and one report.

`python -m experiments.study NAME --out DIR`, where NAME is one of `STUDIES`.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from experiments import gridworld, quickstart
from jaxmeta import rundir
from jaxmeta.config import Run
from jaxmeta.errors import ConfigError, NonFiniteError

Runs = dict[str, Run]  # by the name of their folder

# Each takes {"seeds": ..., "frames": ...}, as far as the user gave them.
STUDIES: dict[str, Callable[..., Runs]] = {
    "quickstart": quickstart.runs,
    "gridworld": gridworld.runs,
}


def run_study(runs: Runs, out: Path) -> None:
    """Train what is not finished yet, then draw the report of all.

    Raises:
      ConfigError: some run's folder cannot be used; nothing was started.
    """
    finished = {name: rundir.check(run, out / name) for name, run in runs.items()}

    from experiments.progress import train_with_progress
    from experiments.report import report

    for name, run in runs.items():
        if finished[name]:
            print(f"{out / name}: finished already")
        else:
            train_with_progress(run, out / name)
    report([out / name for name in runs], out)


def announce(runs: Runs, out: Path) -> None:
    """Print how long a study's unfinished runs will take here, by a short measurement."""
    from experiments.speed import frames_per_s

    print("measuring this machine, to say how long the study will take ...", flush=True)
    total = 0.0
    for name, run in runs.items():
        if rundir.status(out / name) != "finished":
            hours = run.frames * run.seeds / frames_per_s(run) / 3600
            total += hours
            print(f"  {name}: {run.seeds} seeds x {run.frames:,} frames, {hours:.1f} hours")
    ready = time.strftime("%A %H:%M", time.localtime(time.time() + 3600 * total))
    print(f"  together {total:.1f} hours, until {ready}; what is finished is skipped next time")


def main(argv: list[str] | None = None) -> int:
    """Run a study and return the exit code (2: bad input)."""
    parser = argparse.ArgumentParser("python -m experiments.study", description=__doc__)
    parser.add_argument("name", choices=sorted(STUDIES))
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", help="how many seeds")
    parser.add_argument("--frames", help="frames per seed")
    args = parser.parse_args(argv)
    given = {k: getattr(args, k) for k in ("seeds", "frames") if getattr(args, k) is not None}
    try:
        runs = STUDIES[args.name](**given)
        if args.name != "quickstart":
            announce(runs, args.out)
        run_study(runs, args.out)
    except ConfigError as error:
        print(f"jaxmeta: {error}", file=sys.stderr)
        return 2
    except NonFiniteError as error:
        print(f"jaxmeta: stopped at {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
