"""Training with a progress display: frames/s, time left and the last returns."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn

from experiments.terminal.progress_text import QUIET_S, news, remaining
from jaxmeta.config import mesh_shape
from jaxmeta.config.run import Run
from jaxmeta.devices import hosts
from jaxmeta.devices.cpu import cores
from jaxmeta.devices.seed_axis import device_mesh
from jaxmeta.sweeps.train_program import run_program
from jaxmeta.training.build import build
from jaxmeta.training.debug_nans import find_nan
from jaxmeta.training.loop import Status
from jaxmeta.training.result import Result
from jaxmeta.training.train_run import train


def train_with_progress(
    run: Run, out: Path, checkpoint_every: str = "120s", mesh: str | None = None
) -> Result:
    """Train a run, or go on with it, and show how it goes, if this is the first process."""
    if not hosts.is_first():
        return train(run, out, checkpoint_every=checkpoint_every, mesh=mesh)
    console = Console()
    wanted = None if mesh is None else mesh_shape.shape(mesh)
    devices = device_mesh(run, wanted)  # before an environment uses JAX
    env, _ = build(run)
    per_update = run.frames_per_update(env.env.horizon)
    total = run.updates(env.env.horizon) * per_update
    console.print(
        f"{run.method} on {run.env}: {total:,} frames per seed"
        f" ({run.frames:,} asked, in updates of {per_update:,}), seeds 0 to {run.seeds - 1}",
        soft_wrap=True,
    )
    on_cpu, used = devices.devices.flat[0].platform == "cpu", devices.size
    if on_cpu and used < cores():
        console.print(
            f"{used} of {cores()} cores in use: a multiple of {cores()} seeds would fill them"
        )
    with shown(console, run.method) as watch:
        return train(run, out, watch=watch, checkpoint_every=checkpoint_every, mesh=mesh)


def train_program_with_progress(path: Path, checkpoint_every: str) -> None:
    """Train a sweep's program, or go on with it, and show how it goes."""
    with shown(Console(), path.name) as watch:
        run_program(path, checkpoint_every, watch)


@contextlib.contextmanager
def shown(console: Console, name: str) -> Iterator[Callable[[Status], None]]:
    """Yield a listener for a training's progress: a bar in a terminal, else lines."""
    if console.is_terminal:
        with bar(console) as progress:
            yield bar_watch(progress, name)
    else:
        yield line_watch(console)


def find_nan_with_progress(run: Run, out: Path) -> str | None:
    """Look for the first NaN and show how far that is."""
    console = Console(stderr=True)
    with bar(console) as progress:
        task = progress.add_task("checking", total=None, news="compiling")
        watch = lambda at, of: progress.update(task, completed=at, total=of, news=f"update {at}")
        return find_nan(run, out, watch=watch)


def bar(console: Console) -> Progress:
    """Return an empty progress display."""
    columns = ("{task.description}", BarColumn(), "{task.percentage:3.0f} %", TimeElapsedColumn())
    return Progress(*columns, "{task.fields[news]}", console=console)


def bar_watch(progress: Progress, name: str) -> Callable[[Status], None]:
    """Return a listener that moves a bar."""
    task = progress.add_task(name, total=None, news="compiling")
    left = time_left()

    def watch(status: Status) -> None:
        told = news(status.frames_per_s, status.metrics)
        words = f"{left(status)}, {told}" if status.frames_per_s else "starting"
        progress.update(task, completed=status.frames, total=status.total, news=words)

    return watch


def line_watch(console: Console) -> Callable[[Status], None]:
    """Return a listener that prints a line now and then."""
    last = time.time()
    left = time_left()

    def watch(status: Status) -> None:
        nonlocal last
        words = left(status)
        if status.frames_per_s and (time.time() - last >= QUIET_S or status.frames == status.total):
            last = time.time()
            told = news(status.frames_per_s, status.metrics)
            line = f"{status.frames:,} frames, {words}, {told}"
            console.print(line, soft_wrap=True, highlight=False)

    return watch


def time_left() -> Callable[[Status], str]:
    """Return a function of every status that says how long the rest will take."""
    start, before = time.time(), 0

    def left(status: Status) -> str:
        nonlocal start, before
        if status.frames_per_s == 0:  # so far it was compilation, or another session's work
            start, before = time.time(), status.frames
            return ""
        by_frame = (time.time() - start) / (status.frames - before)
        return remaining(by_frame * (status.total - status.frames))

    return left
