"""Training with a progress display: frames/s, time left and the last returns."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from experiments.terminal.consoles import new_console
from experiments.terminal.progress_text import QUIET_S, news, remaining
from jaxmeta.config.mesh_shape import MeshShape
from jaxmeta.config.run import Run
from jaxmeta.config.save_interval import Interval, parse_interval
from jaxmeta.devices import hosts
from jaxmeta.devices.cpu import cores
from jaxmeta.rundir import lock
from jaxmeta.sweeps.train_program import run_program
from jaxmeta.training.debug_nans import find_nan
from jaxmeta.training.loop import Status, Watch
from jaxmeta.training.result import Result
from jaxmeta.training.train_run import TrainOptions, train_with

EVERY_SO_OFTEN = parse_interval("120s")


def train_with_progress(
    run: Run,
    out: Path,
    interval: Interval = EVERY_SO_OFTEN,
    mesh: MeshShape | None = None,
    look: Callable[[], str | None] | None = None,
    accept_changed_code: bool = False,
) -> Result:
    """Train a run, or resume it, and show its progress, if this is the first process.

    `mesh` divides the run; `look` is that at the directory, where it was made already;
    `accept_changed_code` is that of `train`.
    """
    look = look or (lambda: lock.look(run, out))
    if not hosts.is_process_0():
        silent = TrainOptions(lambda status: None, interval, mesh, accept_changed_code)
        return train_with(silent, run, out, look)
    console = new_console()
    with progress_listener(console, run.method) as show:
        watch = after_header(console, run, show)
        options = TrainOptions(watch, interval, mesh, accept_changed_code)
        return train_with(options, run, out, look)


def train_program_with_progress(path: Path, checkpoint_every: str) -> None:
    """Train a sweep's program, or resume it, and show its progress."""
    with progress_listener(new_console(), path.name) as watch:
        run_program(path, checkpoint_every, watch)


def after_header(console: Console, run: Run, show: Watch) -> Watch:
    """Return a listener that says at first what is trained, on what."""
    began = False

    def watch(status: Status) -> None:
        nonlocal began
        if not began:
            began = True
            print_header(console, run, status)
        show(status)

    return watch


def print_header(console: Console, run: Run, status: Status) -> None:
    """Say what is trained, and whether cores stay idle."""
    console.print(
        f"{run.method} on {run.env}: {status.total:,} frames per seed"
        f" ({run.frames:,} asked, in updates of {status.per_update:,}),"
        f" seeds 0 to {run.seeds - 1}",
        soft_wrap=True,
    )
    used, there = len(status.devices), cores()
    if status.devices[0].startswith("cpu") and used < there:
        console.print(
            f"{used} of {there} cores in use: a multiple of {there} seeds would fill them"
        )


@contextlib.contextmanager
def progress_listener(console: Console, name: str) -> Iterator[Watch]:
    """Yield a listener for a training's progress: a bar in a terminal, else lines."""
    if console.is_terminal:
        with bar(console) as progress:
            yield bar_watch(progress, name)
    else:
        yield line_watch(console)


def find_nan_with_progress(run: Run, out: Path) -> str | None:
    """Look for the first NaN and show how far that is."""
    console = new_console(stderr=True)
    with bar(console) as progress:
        task = progress.add_task("checking", total=None, news="compiling")
        watch = lambda at, of: progress.update(task, completed=at, total=of, news=f"update {at}")
        return find_nan(run, out, watch=watch)


def bar(console: Console) -> Progress:
    """Return an empty progress display."""
    name, share, news = (
        TextColumn(text, markup=False)  # a program's name may hold brackets
        for text in ("{task.description}", "{task.percentage:3.0f} %", "{task.fields[news]}")
    )
    return Progress(name, BarColumn(), share, TimeElapsedColumn(), news, console=console)


def bar_watch(progress: Progress, name: str) -> Watch:
    """Return a listener that moves a bar, which is there from the first status on."""
    bars: list[TaskID] = []
    waiting = ["starting", "compiling"]  # for the first chunk
    left = time_left()

    def watch(status: Status) -> None:
        if not bars:
            bars.append(progress.add_task(name, total=status.total, news="compiling"))
        words = left(status)
        if words:
            text = f"{words}, {news(status.frames_per_s, status.metrics)}"
        else:
            text = waiting.pop() if len(waiting) > 1 else waiting[0]
        progress.update(bars[0], completed=status.frames, total=status.total, news=text)

    return watch


def line_watch(console: Console) -> Watch:
    """Return a listener that prints a line now and then."""
    last = time.time()
    left = time_left()

    def watch(status: Status) -> None:
        nonlocal last
        words = left(status)
        if words and (time.time() - last >= QUIET_S or status.frames == status.total):
            last = time.time()
            last_news = news(status.frames_per_s, status.metrics)
            line = f"{status.frames:,} frames, {words}, {last_news}"
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
