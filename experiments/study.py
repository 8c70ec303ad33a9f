"""A study: several runs on one environment, one after the other, and one report."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from experiments.progress import train_with_progress
from experiments.report import report
from jaxmeta import rundir
from jaxmeta.config import Run
from jaxmeta.errors import ConfigError

Runs = dict[str, Run]  # by the name of their folder


def run_study(runs: Runs, out: Path) -> None:
    """Train what is not finished yet, then draw the report of all.

    Raises:
      ConfigError: some run's folder cannot be used; nothing was started.
    """
    console = Console()
    finished = {name: rundir.check(run, out / name) for name, run in runs.items()}
    for name, run in runs.items():
        if finished[name]:
            console.print(f"{out / name}: finished already")
        else:
            console.rule(name)
            train_with_progress(run, out / name)
    report([out / name for name in runs], out)


def announce(runs: Runs, out: Path, frames_per_s: Callable[[Run], float]) -> None:
    """Print how long a study's unfinished runs will take here, by a short measurement."""
    console = Console()
    console.print("measuring this machine, to say how long it will take ...")
    total = 0.0
    for name, run in runs.items():
        if rundir.status(out / name) == "finished":
            continue
        hours = run.frames * run.seeds / frames_per_s(run) / 3600
        total += hours
        console.print(f"  {name}: {run.seeds} seeds x {run.frames:,} frames: {hours:.1f} hours")
    ready = time.strftime("%A %H:%M", time.localtime(time.time() + 3600 * total))
    console.print(f"  together {total:.1f} hours, until {ready}; finished runs are skipped later")


def study_arguments(about: str) -> argparse.ArgumentParser:
    """Return the parser that studies share."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    return parser


def positive(value: str) -> int:
    """Read a positive whole number.

    Raises:
      ConfigError: it is none.
    """
    try:
        number = int(float(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigError(f"{value!r}: must be a whole number >= 1")
    return number
