"""Learning curves of one or several runs, and what all figures share: labels, colours, files."""

import textwrap
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.analysis.comparable_runs import mixed_warning
from experiments.analysis.run_record import Results, is_oracle
from experiments.figures.style import CHARACTERS, STYLE, figure
from jaxmeta.rundir.evaluation_csv import POLICIES
from jaxmeta.statistics import (
    WINDOW,
    evaluations,
    interval,
    mean,
    moving_average,
    scores,
    seed_band,
)

matplotlib.rcdefaults()  # a matplotlibrc in the current folder may set anything
FEWEST = 10  # windows of a moving average per curve: it looks back, and a short curve would lag
CURVES = (
    f"a moving average over {WINDOW} evaluations (1 in {FEWEST} at most); bands: ±1 standard"
    " deviation over seeds; faint: the raw means"
)
ADAPTATION = "the last fifth of the evaluations; bands: 95 % bootstrap intervals over seeds"


class Panel(NamedTuple):
    """One quantity of the learning curves."""

    split: str
    column: str  # of evaluation.csv
    title: str
    unit: str


def panels(result: Results, n: int) -> list[Panel]:
    """Return a panel per split's return, and one per test split's missed goals, in episode n."""
    found = [Panel(s, "return", f"{s} return", f"return, episode {n}") for s in result.splits]
    for split in result.splits[1:] if result.has_goals() else ():
        count = len(result.of_split(split))
        found.append(
            Panel(split, "reached", f"{split} goals not reached", f"goals of {count}, episode {n}")
        )
    return found


def learning_curves(results: list[Results], episode: int | None = None) -> Figure:
    """Draw an episode, by default the N-th, against frames: a row per policy.

    Lines are means over seeds of a moving average, bands one standard deviation; the raw
    means are faint.
    """
    shown = panels(results[0], episode or results[0].episodes)
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.3 * len(shown) + 0.4, 5.6)
        grid: Any = drawn.subplots(
            len(POLICIES), len(shown), squeeze=False, sharex=True, sharey="col"
        )
        for axes_row, policy in zip(grid, POLICIES, strict=True):
            for axes, panel in zip(axes_row, shown, strict=True):
                draw_panel(axes, panel, policy, results, episode)
        for axes in grid[-1]:
            axes.set_xlabel("frames (millions)")
        add_legend(drawn, results, CURVES)
    return drawn


def draw_panel(
    axes: Axes, panel: Panel, policy: str, results: list[Results], episode: int | None
) -> None:
    """Draw one quantity of one policy, all runs."""
    for result in results:
        if panel.split not in result.splits:  # mixed runs
            continue
        frames, _, values = evaluations(result.table(policy, panel.split, episode), panel.column)
        if panel.column == "reached":
            values = len(result.of_split(panel.split)) * (1 - values)
        draw_curve(axes, frames / 1e6, values, result)
    best = results[0].best(panel.split)
    if panel.column == "return" and best is not None:
        axes.axhline(best, color="black", linestyle=":", linewidth=1)
    if panel.column == "reached":
        axes.set_ylim(-0.5, len(results[0].of_split(panel.split)) + 0.5)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"{panel.title}, {policy}")
    axes.set_ylabel(panel.unit)
    axes.margins(x=0.02)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def draw_curve(axes: Axes, millions: np.ndarray, values: np.ndarray, result: Results) -> None:
    """Draw one run's line, band and raw means; values [S, E]."""
    window = min(WINDOW, max(1, values.shape[-1] // FEWEST))
    mean, deviation = seed_band(moving_average(values, window))
    axes.plot(millions, values.mean(0), color=result.colour, alpha=0.25, linewidth=0.8)
    axes.fill_between(
        millions, mean - deviation, mean + deviation, color=result.colour, alpha=0.2, linewidth=0
    )
    style = "--" if is_oracle(result.run) else "-"
    axes.plot(millions, mean, style, color=result.colour, linewidth=1.6, label=result.label)


def adaptation_curves(results: list[Results]) -> Figure:
    """Draw the return of each episode of a trial: a row per policy, a column per split.

    Lines are means over tasks and seeds and the last fifth of the evaluations, bands their
    bootstrap intervals.
    """
    splits, episodes = results[0].splits, range(1, results[0].episodes + 1)
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.3 * len(splits) + 0.4, 5.6)
        grid: Any = drawn.subplots(
            len(POLICIES), len(splits), squeeze=False, sharex=True, sharey="col"
        )
        for axes_row, policy in zip(grid, POLICIES, strict=True):
            for axes, split in zip(axes_row, splits, strict=True):
                for result in results:
                    if split in result.splits:  # mixed runs
                        draw_adaptation(axes, result, policy, split)
                best = results[0].best(split)
                if best is not None:
                    axes.axhline(best, color="black", linestyle=":", linewidth=1)
                axes.set_title(f"{split} return, {policy}")
                axes.set_ylabel("return")
                axes.set_xticks(episodes)
                axes.grid(color="0.92", linewidth=0.6)
                axes.set_axisbelow(True)
        for axes in grid[-1]:
            axes.set_xlabel("episode of the trial")
        add_legend(drawn, results, ADAPTATION)
    return drawn


def draw_adaptation(axes: Axes, result: Results, policy: str, split: str) -> None:
    """Draw one run's returns by episode, with 95 % intervals."""
    episodes = range(1, result.episodes + 1)
    by_episode = [scores(result.table(policy, split, k), "return") for k in episodes]
    low, high = np.transpose([interval(values, mean) for values in by_episode])
    axes.fill_between(episodes, low, high, color=result.colour, alpha=0.2, linewidth=0)
    style = "o--" if is_oracle(result.run) else "o-"
    means = [values.mean() for values in by_episode]
    axes.plot(episodes, means, style, color=result.colour, linewidth=1.6, markersize=3)


def add_legend(drawn: Figure, results: list[Results], of: str) -> None:
    """Name lines, bands and faint lines once, above all panels."""
    handles = [
        Line2D([], [], color=r.colour, linestyle="--" if is_oracle(r.run) else "-", label=r.label)
        for r in results
    ]
    if any(r.best(split) is not None for r in results for split in r.splits):
        handles.append(
            Line2D([], [], color="black", linestyle=":", label="optimum, task known (mean)")
        )
    drawn.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    seeds = ", ".join(f"{r.label}: {len(r.finite_seeds)}" for r in results)
    note = textwrap.fill(
        f"Lines: mean over seeds ({seeds}) of {of}.", int(CHARACTERS * drawn.get_figwidth())
    )
    drawn.supxlabel(f"{note}\n{mixed_warning(results)}".rstrip(), fontsize=8, color="0.35")
