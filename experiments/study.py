"""A study: several runs on one environment, one after the other, and one report."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import ablations, gridworld, quickstart
from jaxmeta import rundir
from jaxmeta.config import Run
from jaxmeta.errors import ConfigError, NonFiniteError, Preempted
from jaxmeta.signals import stop_requests

Runs = dict[str, Run]  # by the name of their folder

# Each takes {"seeds": ..., "frames": ...}, as far as the user gave them.
STUDIES: dict[str, Callable[..., Runs]] = {
    "quickstart": quickstart.runs,
    "gridworld": gridworld.runs,
    **ablations.STUDIES,
}


def run_study(name: str, out: Path, given: dict[str, Any]) -> int:
    """Train what is not finished yet of a study, then draw the report of all.

    Returns the exit code: 1 if any seed's training became non-finite.

    `given` holds the fields of Run that replace the study's own, such as "seeds".

    Raises:
      ConfigError: no such study, a bad field, or a run's folder cannot be used; nothing
        was started.
    """
    if name not in STUDIES:
        raise ConfigError(f"study = {name!r}: must be one of {', '.join(STUDIES)}")
    runs = STUDIES[name](**given)
    finished = {}
    for folder, run in runs.items():
        complete = rundir.check(run, out / folder) == "finished"
        finished[folder] = complete and rundir.has_last_checkpoint(out / folder)
        if not finished[folder]:
            rundir.require_free(out / folder)

    if name != "quickstart":  # minutes long: measuring would be a good part of it
        announce(runs, out)

    from experiments.progress import train_with_progress
    from experiments.report import report

    with stop_requests() as stop_asked:
        for name, run in runs.items():
            if finished[name]:
                print(f"{out / name}: finished already")
                continue
            try:
                train_with_progress(run, out / name)
            except NonFiniteError as error:  # the report tells of it; the others can go on
                print(f"{out / name}: no seed is left: {error}")
            if signal := stop_asked():
                raise Preempted(f"{signal}: stopped after {out / name}")
    report([out / name for name in runs], out)
    return 1 if any(rundir.dead_seeds(out / name) for name in runs) else 0


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
