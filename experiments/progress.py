"""Training with a progress display: frames/s, time left and the last returns."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn

from jaxmeta.config import Run
from jaxmeta.training import Result, Status, build, divisor, train

QUIET_S = 15.0  # seconds between lines where there is no terminal


def train_with_progress(run: Run, out: Path) -> Result:
    """Train a run and show how it goes."""
    console = Console()
    env, _ = build(run)
    per_update = run.frames_per_update(env.env.horizon)
    total = run.updates(env.env.horizon) * per_update
    console.print(
        f"{run.method} on {run.env}: {total:,} frames per seed"
        f" ({run.frames:,} asked, in updates of {per_update:,}), seeds 0 to {run.seeds - 1}",
        soft_wrap=True,
    )
    cores = os.cpu_count() or 1
    if (used := divisor(run.seeds, cores)) < cores:
        console.print(
            f"{used} of {cores} cores in use: a multiple of {cores} seeds would fill them"
        )
    if console.is_terminal:
        with bar(console) as progress:
            return train(run, out, watch=bar_watch(progress, run.method))
    return train(run, out, watch=line_watch(console))


def bar(console: Console) -> Progress:
    """Return an empty progress display."""
    columns = ("{task.description}", BarColumn(), "{task.percentage:3.0f} %", TimeElapsedColumn())
    return Progress(*columns, "{task.fields[news]}", console=console)


def bar_watch(progress: Progress, name: str) -> Callable[[Status], None]:
    """Return a listener that moves a bar."""
    task = progress.add_task(name, total=None, news="compiling")
    left = time_left()

    def watch(status: Status) -> None:
        words = f"{left(status)}, {news(status)}" if status.frames else "first evaluation"
        progress.update(task, completed=status.frames, total=status.total, news=words)

    return watch


def line_watch(console: Console) -> Callable[[Status], None]:
    """Return a listener that prints a line now and then."""
    last = time.time()
    left = time_left()

    def watch(status: Status) -> None:
        nonlocal last
        words = left(status)
        if status.frames and (time.time() - last >= QUIET_S or status.frames == status.total):
            last = time.time()
            line = f"{status.frames:,} frames, {words}, {news(status)}"
            console.print(line, soft_wrap=True, highlight=False)

    return watch


def time_left() -> Callable[[Status], str]:
    """Return a function of every status that says how long the rest will take."""
    start = time.time()

    def left(status: Status) -> str:
        nonlocal start
        if status.frames == 0:
            start = time.time()  # what came before was compilation
            return ""
        seconds = (time.time() - start) * (status.total / status.frames - 1)
        return f"{timedelta(seconds=round(seconds))} left"

    return left


def news(status: Status) -> str:
    """Return the speed and the last returns in words."""
    parts = [f"{status.frames_per_s:,.0f} frames/s"] if status.frames_per_s else []
    for key, name in (("return_train", "return"), ("return_imagined", "imagined")):
        if key in status.metrics:
            parts.append(f"{name} {status.metrics[key]:.1f}")
    return ", ".join(parts)
