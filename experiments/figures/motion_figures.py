"""Figures of robots: velocities over time, and paths on the floor."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from envs.locomotion.ant import EDGE
from experiments.analysis.robot_motion import Motion
from experiments.analysis.run_record import Results
from experiments.figures.style import STYLE, figure
from jaxmeta.statistics import moving_average

COLOURS = matplotlib.colormaps["viridis"]
RESPONSES = 3  # episodes shown where tasks change within them
SMOOTHED_S = 1.0  # seconds over which velocities are averaged
By = list[tuple[Results, dict[int, list[Motion]]]]  # each method's motions by seed


def last_episode(motion: Motion) -> np.ndarray:
    """Return which steps belong to the last episode, [T] bool."""
    return motion.episode == motion.episode[-1]


def achieved(motion: Motion) -> float:
    """Return the mean velocity of the last episode, m/s."""
    return float(np.nanmean(motion.velocity()[last_episode(motion)]))


def tracking(motions: list[Motion], split: str) -> float:
    """Return Spearman's correlation of achieved and target velocities over a split's tasks."""
    chosen = [m for m in motions if m.task["split"] == split]
    return float(spearmanr([m.task["task"] for m in chosen], [achieved(m) for m in chosen])[0])


def tracking_lines(by: By) -> list[str]:
    """Return in words how achieved velocities follow targets on the tasks not trained on."""
    found = []
    for result, seeds in by:
        for split in result.splits[1:]:
            each = [tracking(motions, split) for motions in seeds.values()]
            numbers = ", ".join(f"{x:.2f}" for x in each)
            found.append(
                f"{result.label}: Spearman's correlation of achieved and target velocities, {split}"
                f" tasks, last episode, by seed: {numbers}"
            )
    return found


def draw_velocities(by: By) -> Figure:
    """Draw each method's velocities in the last episode over time, a colour per target."""
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.4 * len(by) + 0.8, 3.4)
        grid: Any = drawn.subplots(1, len(by), squeeze=False, sharey=True)[0]
        for axes, (result, seeds) in zip(grid, by, strict=True):
            targets = [m.task["task"] for m in next(iter(seeds.values()))]
            shades = dict(zip(targets, COLOURS(np.array(targets) / max(targets)), strict=True))
            for motions in seeds.values():
                for motion in motions:
                    velocity = motion.velocity()[last_episode(motion)][:-1]
                    window = max(1, round(SMOOTHED_S / motion.dt))
                    seconds = motion.dt * np.arange(len(velocity))
                    smooth = moving_average(velocity, window)
                    axes.plot(seconds, smooth, color=shades[motion.task["task"]], linewidth=1)
            for motion in next(iter(seeds.values())):
                target, trained = motion.task["task"], motion.task["split"] == result.splits[0]
                style = {"linestyle": "-" if trained else "--", "linewidth": 0.8, "alpha": 0.8}
                axes.axhline(target, color=shades[target], **style)
            axes.set_title(result.label)
            axes.set_xlabel("seconds")
        grid[0].set_ylabel("velocity, m/s")
        drawn.supxlabel(
            f"Curves: greedy, last episode, all seeds, averaged over {SMOOTHED_S:g} s.\n"
            "Lines: targets, dashed where not trained on.",
            fontsize=8,
            color="0.35",
        )
    return drawn


def target_velocities(motion: Motion) -> np.ndarray:
    """Return the current target velocity where tasks change within an episode, m/s, [T]."""
    segments = motion.task["task"]
    return np.repeat(segments, -(-len(motion.qpos) // len(segments)))[: len(motion.qpos)]


def response_lines(by: By) -> list[str]:
    """Return in words the error of velocities to the current target after the transient."""
    found = []
    for result, seeds in by:
        each = []
        for motions in seeds.values():
            tests = [m for m in motions if m.task["split"] != result.splits[0]]
            each.append(np.mean([settled_error(motion) for motion in tests]))
        numbers = ", ".join(f"{x:.2f}" for x in each)
        found.append(
            f"{result.label}: mean distance of velocity and target in the later half of every"
            f" segment, test tasks, m/s, by seed: {numbers}"
        )
    return found


def settled_error(motion: Motion) -> float:
    """Return the mean `|velocity - target|` over the later halves of an episode's segments, m/s."""
    every = -(-len(motion.qpos) // len(motion.task["task"]))
    late = np.arange(len(motion.qpos)) % every >= every // 2
    return float(np.nanmean(np.abs(motion.velocity() - target_velocities(motion))[late]))


def draw_response(by: By) -> Figure:
    """Draw velocities and the changing target over time: a row per task, the first seeds'."""
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.6 * len(by) + 0.8, 1.6 * RESPONSES + 0.9)
        grid: Any = drawn.subplots(RESPONSES, len(by), squeeze=False, sharex=True, sharey=True)
        for column, (result, seeds) in zip(grid.T, by, strict=True):
            tests = [m for m in next(iter(seeds.values())) if m.task["split"] != result.splits[0]]
            shown = np.linspace(0, len(tests) - 1, RESPONSES).round().astype(int)
            for axes, motion in zip(column, [tests[i] for i in shown], strict=True):
                seconds = motion.dt * np.arange(len(motion.qpos))
                axes.plot(seconds, motion.velocity(), color=result.colour, linewidth=0.8)
                target = target_velocities(motion)
                axes.plot(seconds, target, color="black", linewidth=1.4, drawstyle="steps-post")
            column[0].set_title(result.label)
            column[-1].set_xlabel("seconds")
        grid[RESPONSES // 2, 0].set_ylabel("velocity, m/s")
        drawn.supxlabel("Greedy, first seed, test tasks; black: target.", fontsize=8, color="0.35")
    return drawn


def draw_paths(by: By) -> Figure:
    """Draw each method's paths over the floor, a colour per task; the first finite seed's."""
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.4 * len(by) + 0.8, 3.9)
        grid: Any = drawn.subplots(1, len(by), squeeze=False)[0]
        for axes, (result, seeds) in zip(grid, by, strict=True):
            motions = next(iter(seeds.values()))
            shades = COLOURS(np.linspace(0.0, 0.95, len(motions)))
            for motion, shade in zip(motions, shades, strict=True):
                trained = motion.task["split"] == result.splits[0]
                draw_path(axes, motion, shade, "-" if trained else "--")
            axes.set_aspect("equal", adjustable="datalim")
            axes.set_title(result.label)
            axes.set_xlabel("x, m")
        grid[0].set_ylabel("y, m")
        drawn.supxlabel(
            "Paths: greedy, last episode, first seed. Marks: goals, or directions.\n"
            "Dashed: not trained on.",
            fontsize=8,
            color="0.35",
        )
    return drawn


def draw_path(axes: Axes, motion: Motion, shade: Any, style: str) -> None:
    """Draw one path and its task: a cross at a place, a ray in a direction."""
    x, y = motion.qpos[last_episode(motion), :2].T
    axes.plot(x, y, style, color=shade, linewidth=1.2)
    task = motion.task["task"]
    if isinstance(task, list):
        axes.plot(*task, "x", color=shade, markersize=8, markeredgewidth=2)
    else:
        ray = EDGE * np.array([[0.0, np.cos(task)], [0.0, np.sin(task)]])
        axes.plot(*ray, ":", color=shade, linewidth=1)
