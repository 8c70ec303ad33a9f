"""The progress display: what it says, in a terminal and in a log."""

import io

from rich.console import Console

from experiments.terminal.training_display import after_header, bar, bar_watch, line_watch
from jaxmeta.config.run import Run
from jaxmeta.training.loop import Status

STATUSES = (
    Status(0, 400, 0.0, {}, 100, ["cpu cpu"]),
    Status(
        100,
        400,
        2500.0,
        {"return_train": -1.26, "return_imagined": 0.5, "kl": 3.0},
        100,
        ["cpu cpu"],
    ),
    Status(400, 400, 2500.0, {"return_train": 20.0}, 100, ["cpu cpu"]),
)


def test_a_log_gets_lines_with_speed_time_left_and_returns(monkeypatch):
    clock = iter([0.0, 0.0, 10.0] + [30.0] * 3 + [130.0] * 3)
    monkeypatch.setattr("experiments.terminal.training_display.time.time", lambda: next(clock))
    out = io.StringIO()
    watch = line_watch(Console(file=out))
    for status in STATUSES:
        watch(status)
    first, last = out.getvalue().splitlines()
    assert first == "100 frames, 0:01:00 left, 2,500 frames/s, return -1.3, imagined 0.5"
    assert last == "400 frames, 0:00:00 left, 2,500 frames/s, return 20.0"


def test_the_first_status_brings_the_header(monkeypatch):
    monkeypatch.setattr("experiments.terminal.training_display.cores", lambda: 2)
    out, seen = io.StringIO(), []
    watch = after_header(Console(file=out), Run(method="rl2", frames=1920, seeds=3), seen.append)
    for status in STATUSES:
        watch(status)
    assert out.getvalue().splitlines() == [
        "rl2 on gridworld: 400 frames per seed (1,920 asked, in updates of 100), seeds 0 to 2",
        "1 of 2 cores in use: a multiple of 2 seeds would fill them",
    ]
    assert tuple(seen) == STATUSES


def test_a_terminal_gets_a_bar():
    out = io.StringIO()
    with bar(Console(file=out, force_terminal=True, width=120)) as progress:
        watch = bar_watch(progress, "ldm")
        for status in STATUSES:
            watch(status)
    shown = out.getvalue()
    for word in ("ldm", "100 %", "left", "2,500 frames/s", "return 20.0"):
        assert word in shown
