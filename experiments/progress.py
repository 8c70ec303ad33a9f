"""Training with a progress display: frames/s, time left and the last returns."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[news]}"),
        console=console,
    )


def bar_watch(progress: Progress, name: str) -> Callable[[Status], None]:
    """Return a listener that moves a bar."""
    task = progress.add_task(name, total=None, news="compiling")
    return lambda status: progress.update(
        task, completed=status.frames, total=status.total, news=news(status)
    )


def line_watch(console: Console) -> Callable[[Status], None]:
    """Return a listener that prints a line now and then."""
    start = last = time.time()

    def watch(status: Status) -> None:
        nonlocal start, last
        now = time.time()
        if status.frames == 0:
            start = now  # what came before was compilation
        elif now - last >= QUIET_S or status.frames == status.total:
            last = now
            left = (now - start) * (status.total / status.frames - 1)
            line = f"{status.frames:,} frames, {left:.0f} s left, {news(status)}"
            console.print(line, soft_wrap=True, highlight=False)

    return watch


def news(status: Status) -> str:
    """Return the speed and the last returns in words."""
    parts = [f"{status.frames_per_s:,.0f} frames/s"] if status.frames_per_s else []
    for key, name in (("return_train", "return"), ("return_imagined", "imagined")):
        if key in status.metrics:
            parts.append(f"{name} {status.metrics[key]:.1f}")
    return ", ".join(parts)
