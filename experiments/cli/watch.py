"""`jaxmeta watch`: follows a run from another terminal; it only reads the run's directory."""

import argparse
import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from experiments.analysis.run_record import Results, read_results
from experiments.terminal.consoles import new_console
from experiments.terminal.progress_text import QUIET_S, news, remaining
from jaxmeta.config import registry
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import layout, lock, reading
from jaxmeta.rundir.layout import user_path
from jaxmeta.statistics import evaluations

ENDED = ("finished", "failed", "preempted")
RECENT = 10  # log points that the time left is estimated from
BAR = 60  # columns


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("dir", metavar="DIR", type=user_path)
    command.add_argument("--every", metavar="SECONDS", type=float, default=2.0, help="default: 2")


def run(args: argparse.Namespace) -> None:
    """Follow a run until it ends."""
    watch(args.dir, args.every)


def watch(path: Path, every: float = 2.0, console: Console | None = None) -> None:
    """Show a run's progress, until it ends or Ctrl-C is pressed.

    Raises:
      ConfigError: there is no run, or `every` (seconds) is no length of time.
    """
    if not 0 < every < math.inf:
        raise ConfigError(f"every = {every:g}: must be a number of seconds > 0")
    reading.read_run(path)
    console = console or new_console()
    with contextlib.suppress(KeyboardInterrupt):
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                end = follow(path, every, lambda r: live.update(progress_table(r), refresh=True))
        else:
            end = follow(path, every, line_show(console))
        console.print(end, soft_wrap=True)


def follow(path: Path, every: float, show: Callable[[Results], None]) -> str:
    """Show a run repeatedly until it ends; return its final status in words."""
    while True:
        # Read first: a process writes its final status before it releases the lock.
        lock_holder = lock.holder(path)
        result = read_results(path)
        show(result)
        if result.status in ENDED and lock_holder in (None, layout.UNKNOWN):  # else being resumed
            hint = f"; `jaxmeta resume {path}` resumes it" if result.status == "preempted" else ""
            return f"{path}: {result.status}{hint}"
        if lock_holder is None:
            return f"{path}: its process has exited; `jaxmeta resume {path}` resumes it"
        time.sleep(every)


def line_show(console: Console) -> Callable[[Results], None]:
    """Return a listener that prints a line every QUIET_S seconds, and at the end."""
    last = -math.inf

    def show(result: Results) -> None:
        nonlocal last
        if time.monotonic() - last >= QUIET_S or result.status in ENDED:
            last = time.monotonic()
            console.print("; ".join(lines(result)), soft_wrap=True)

    return show


def progress_table(result: Results) -> Table:
    """Return the progress display of a terminal."""
    head, *more = lines(result)
    planned = total(result.run)
    drawn = Table.grid()
    drawn.add_row(head)
    drawn.add_row(ProgressBar(planned, min(result.frames, planned), width=BAR))
    for line in more:
        drawn.add_row(line)
    return drawn


def lines(result: Results) -> list[str]:
    """Return the run's state in words: progress, last returns, last evaluation, dead seeds."""
    planned = total(result.run)
    share = f"{result.frames:,} of {planned:,} frames ({result.frames / planned:.0%})"
    found = [f"{result.label} on {result.run.env}, {result.status}: {share}"]
    if result.metrics:
        text = news(result.metrics[-1]["frames_per_s"], last_returns(result))
        pace = 0.0 if result.status in ENDED else speed(result)
        left = f"{remaining((planned - result.frames) / pace)}, " if pace else ""
        found.append(left + text)
    return [*found, *evaluation_lines(result), *result.nonfinite_messages()]


def total(run: Run) -> int:
    """Return a run's frames per seed: the requested ones, rounded up to updates."""
    per_update = run.frames_per_update(registry.recorded_env_spec(run.env).horizon)
    # Unknown where only the environment's code has the horizon, which is not executed here; too
    # large where another environment was trained on than the named one.
    if not 0 < per_update <= run.frames:
        return run.frames
    return -(-run.frames // per_update) * per_update


def speed(result: Results) -> float:
    """Return the recent frames/s per seed by the wall clock, evaluations included; 0: unknown."""
    logged = {(int(row["frames"]), float(row["wall_s"])) for row in result.metrics}
    points = sorted({(0, 0.0)} | logged)[-RECENT:]
    (frames, seconds), (last_frames, last_seconds) = points[0], points[-1]
    return (last_frames - frames) / (last_seconds - seconds) if last_seconds > seconds else 0.0


def last_returns(result: Results) -> dict[str, float]:
    """Return the last returns, mean over finite seeds."""
    last = {row["seed"]: row for row in result.metrics if row["seed"] in result.finite_seeds}
    found = {}
    for key in ("return_train", "return_imagined"):
        values = [row[key] for row in last.values() if row.get(key) is not None]
        if values:
            found[key] = sum(values) / len(values)
    return found


def evaluation_lines(result: Results) -> list[str]:
    """Return the last evaluation in words: the N-th episode, greedy, mean over finite seeds."""
    if not len(result.evaluation["frames"]):
        return ["no evaluation yet"]
    parts = []
    for split in result.splits:
        table, count = result.table("greedy", split), len(result.of_split(split))
        returns, reached = (evaluations(table, c).values[:, -1] for c in ("return", "reached"))
        goals = f" ({count * reached.mean():.1f} of {count} goals)" if result.has_goals() else ""
        parts.append(f"{split} {returns.mean():.2f}{goals}")
    frames, episode = result.evaluation["frames"].max(), result.episodes
    return [f"at {frames:,} frames, greedy, episode {episode}: {', '.join(parts)}"]
