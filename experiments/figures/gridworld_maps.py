"""Figures of the gridworld: returns by goal, imagined rewards, trials, and errors of beliefs.

Maps are [SIZE, SIZE], indexed by x and y.
"""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from envs.gridworld import SIZE, Gridworld
from experiments.analysis.reward_maps import CELLS, MASKS, REWARD, Imagined, PlottedTrial, goals
from experiments.analysis.run_record import Results
from experiments.figures.style import STYLE, figure
from jaxmeta.statistics import scores

SHOWN = 6  # mixtures drawn
COLOUR_MAP = matplotlib.colormaps["viridis"]
SPLITS = ("#222222", "#009E73", "#CC79A7")  # colours
RED, YELLOW = "#D40000", "#F0E442"


def seed_note(results: list[Results]) -> str:
    """Return in words the seeds whose agents a figure shows."""
    if len({result.finite_seeds[0] for result in results}) == 1:
        return f"Seed {results[0].finite_seeds[0]}"
    return ", ".join(f"{result.label}: seed {result.finite_seeds[0]}" for result in results)


def draw_map(axes: Axes, values: np.ndarray, scale: Normalize, result: Results) -> None:
    """Draw a map (nan: blank) with the training goals outlined and goalless cells hatched."""
    axes.imshow(values.T, origin="lower", cmap=COLOUR_MAP, norm=scale)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    possible = {tuple(task["task"]) for task in result.tasks}
    style: dict[str, Any] = {"edgecolor": "0.6", "hatch": "//////", "linewidth": 0}
    for x, y, _ in CELLS:
        if (x, y) not in possible:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, **style))
    style = {"edgecolor": "black", "path_effects": halo(2)}
    for x, y in goals(result, result.splits[0]):
        axes.add_patch(Rectangle((x - 0.42, y - 0.42), 0.84, 0.84, fill=False, **style))


def halo(width: float, colour: str = "white") -> list[withStroke]:
    """Return an outline (points) that sets a marker off any background."""
    return [withStroke(linewidth=width, foreground=colour)]


def add_colour_bar_and_note(
    drawn: Figure, grid: Any, scale: Normalize, quantity: str, note: str
) -> None:
    """Add the colour bar that all maps share, and a note."""
    bar = drawn.colorbar(ScalarMappable(scale, COLOUR_MAP), ax=grid, shrink=0.8)
    bar.set_label(quantity)
    drawn.supxlabel(note, fontsize=8, color="0.35")


def write_numbers(axes: Axes, numbers: np.ndarray, form: str, shade: np.ndarray) -> None:
    """Write a map's numbers (nan: none) in black or white, depending on the shade 0..1."""
    for (x, y), number in np.ndenumerate(numbers):
        if not np.isnan(number):
            ink = "black" if shade[x, y] > 0.6 else "white"
            axes.text(x, y, form % number, ha="center", va="center", fontsize=6, color=ink)


def cell_returns(result: Results) -> np.ndarray:
    """Return the greedy N-th episode's return by goal cell, over the last fifth and all seeds."""
    values = np.full((SIZE, SIZE), np.nan)
    for split in result.splits:
        by_task = scores(result.table("greedy", split), "return").mean(0)
        for goal, value in zip(goals(result, split), by_task, strict=True):
            values[tuple(goal)] = value
    return values


def draw_returns(results: list[Results]) -> Figure:
    """Draw the mean return by goal cell, a map per run (LDM's Figure 1c)."""
    first = results[0]
    low = REWARD.low * Gridworld.horizon
    scale = Normalize(low, max(task["best_return"] for task in first.tasks))
    with matplotlib.rc_context(STYLE):
        drawn = figure(2.6 * len(results) + 1.3, 3.4)
        grid: Any = drawn.subplots(1, len(results), squeeze=False)[0]
        for axes, result in zip(grid, results, strict=True):
            values = cell_returns(result)
            draw_map(axes, values, scale, result)
            write_numbers(axes, values, "%.1f", np.asarray(scale(values)))
            axes.set_title(result.label)
        note = (
            f"Goal cells by return ({low:.1f}: never on the goal); start at the lower left.\n"
            "Outlined: training goals. Hatched: never a goal."
        )
        quantity = f"mean return, episode {first.episodes}"
        add_colour_bar_and_note(drawn, list(grid), scale, quantity, note)
    return drawn


def draw_imagined(found: list[tuple[Results, Imagined]]) -> Figure:
    """Draw imagined rewards (LDM's Figure 4): two rows per run, dropout on and off."""
    scale = Normalize(REWARD.low, REWARD.high)
    shown = min(SHOWN, *(len(imagined.weights) for _, imagined in found))
    with matplotlib.rc_context(STYLE):
        drawn = figure(1.75 * shown + 1.4, 3.8 * len(found) + 0.5)
        grid: Any = drawn.subplots(2 * len(found), shown, squeeze=False)
        states = [
            (r, i.weights, s, m)
            for r, i in found
            for s, m in zip(("on", "off"), i[:2], strict=True)
        ]
        for axes_row, (result, weights, state, maps) in zip(grid, states, strict=True):
            for k, axes in enumerate(axes_row):
                draw_mixture(axes, maps[k], weights[k], scale, result)
            axes_row[0].set_ylabel(f"{result.label}\ndropout {state}")
        note = (
            "Mixtures of latents from the end of training trials. Numbers: weights of their goals"
            " in percent, the largest three above.\nCross: highest reward. Outlined: training"
            f" goals. Hatched: never a goal. Dropout on: mean of {MASKS} masks."
            f" {seed_note([result for result, _ in found])}."
        )
        add_colour_bar_and_note(drawn, grid, scale, "imagined reward", note)
    return drawn


def draw_mixture(
    axes: Axes, rewards: np.ndarray, weights: np.ndarray, scale: Normalize, result: Results
) -> None:
    """Draw one imagined map, its goals' weights and a cross on its maximum."""
    draw_map(axes, rewards, scale, result)
    numbers = np.where(np.abs(weights) >= 0.005, np.round(100 * weights), np.nan)
    write_numbers(axes, numbers, "%.0f", np.asarray(scale(rewards)))
    x, y = np.unravel_index(rewards.argmax(), rewards.shape)
    axes.plot(x, y, "x", color=RED, markersize=8, markeredgewidth=1.8, path_effects=halo(4))
    top = np.argsort(weights, axis=None)[::-1][:3]
    cells = [np.unravel_index(i, weights.shape) for i in top]
    title = "  ".join(f"{weights[x, y]:.2f} ({x},{y})" for x, y in cells)
    axes.set_title(title, fontsize=6)


def draw_trials(found: list[tuple[Results, PlottedTrial]]) -> Figure:
    """Draw a trial over time, a row per run (LDM's Figure 8a and Appendix F)."""
    scale = Normalize(REWARD.low, REWARD.high)
    columns = len(found[0][1].times)
    with matplotlib.rc_context(STYLE):
        drawn = figure(1.45 * columns + 1.8, 1.55 * len(found) + 0.9)
        grid: Any = drawn.subplots(len(found), columns, squeeze=False)
        for axes_row, (result, played) in zip(grid, found, strict=True):
            for k, axes in enumerate(axes_row):
                blank = np.full((SIZE, SIZE), np.nan)
                draw_map(axes, blank if played.maps is None else played.maps[k], scale, result)
                draw_path(axes, played, played.times[k])
            outcome = "reached" if played.reached else "not reached"
            x, y = played.goal
            axes_row[0].set_ylabel(f"{result.label}\ngoal ({x}, {y})\n{outcome}", fontsize=8)
        for axes, t in zip(grid[0], found[0][1].times, strict=True):
            axes.set_title(f"t = {t}\nepisode {running_episode(t) + 1}", fontsize=8)
        note = (
            "Line: the running episode's path up to step t, from the lower left; dot: the agent;"
            " star: the goal.\nBelow it: the decoder's reward at the belief's mean, averaged"
            f" over {MASKS} dropout masks (blank: no belief)."
            f" {seed_note([result for result, _ in found])}, greedy."
        )
        add_colour_bar_and_note(drawn, grid, scale, "decoded reward", note)
    return drawn


def running_episode(t: int) -> int:
    """Return the episode, from 0, that the t-th step belongs to."""
    return max(t - 1, 0) // Gridworld.horizon


def draw_path(axes: Axes, played: PlottedTrial, t: int) -> None:
    """Draw the running episode's path up to step t; every episode starts in the corner."""
    begin = running_episode(t) * Gridworld.horizon
    x, y = np.concatenate([np.zeros((1, 2), int), played.path[begin:t]]).T
    axes.plot(x, y, color="white", linewidth=1.8, path_effects=halo(3.2, "black"))
    axes.plot(*played.goal, "*", color=YELLOW, markeredgecolor="black", markersize=13)
    axes.plot(x[-1], y[-1], "o", color=RED, markeredgecolor="white", markersize=5)


def draw_map_errors(found: list[tuple[Results, list[dict[str, float]]]]) -> Figure:
    """Draw the maps' errors by run and split; dots are seeds (after LDM's Appendix B)."""
    with matplotlib.rc_context(STYLE):
        drawn = figure(1.1 * len(found) + 3.2, 3.4)
        axes = drawn.subplots()
        splits = found[0][0].splits
        for place, split in enumerate(splits):
            at = np.arange(len(found)) + 0.2 * (place - (len(splits) - 1) / 2)
            by_run = [[errors[split] for errors in by_seed] for _, by_seed in found]
            for x, values in zip(at, by_run, strict=True):
                axes.plot([x] * len(values), values, "o", color=SPLITS[place], markersize=4)
            known = [[v for v in values if not np.isnan(v)] or [np.nan] for values in by_run]
            means = [np.mean(values) for values in known]
            axes.plot(at, means, "_", color=SPLITS[place], markersize=14, label=f"{split} goals")
        axes.axhline(1, color="black", linestyle=":", linewidth=1, label="all-zero map")
        axes.set_xticks(range(len(found)), [result.label for result, _ in found], fontsize=7)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("reward-map error (cells)")
        drawn.legend(loc="outside right upper", frameon=False)
        note = (
            "Σ over cells |p(goal) − truth| of the decoder's map at the belief's mean, dropout off,"
            "\nafter the agent's greedy trial; mean over goals that it reached. Dots: seeds."
        )
        drawn.supxlabel(note, fontsize=8, color="0.35")
    return drawn
