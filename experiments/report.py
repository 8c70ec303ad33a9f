"""The report on one or several runs: a table in the terminal, a summary and figures on disk."""

import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from experiments.alike import alike, describe, differences, folder_name, mixed
from experiments.figures import common_folder, expand, learning_curves, read, save
from experiments.record import Results
from jaxmeta import statistics
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir import POLICIES
from jaxmeta.statistics import evaluations, final_mean, final_share, first_at

# The return that counts as solved: a round number where one is in use, else 97 % of the best.
THRESHOLDS = {"gridworld": 22.5}
NEAR_BEST = 0.97
# What the rules of an environment imply. The gridworld's: no route through its 18 training
# goals, taken without being shown the goal, has a higher mean.
FACTS = {
    "gridworld": "17.17 is the highest mean first-episode train return possible without being"
    " shown the goal."
}
APART = "WARNING: these runs cannot be compared; tables apart (--mix: one for all):"
MIXED = "WARNING: these runs are mixed in one table, but cannot be compared:"

Row = dict[str, Any]  # of summary.csv; nan: undefined or not reached


class Report(NamedTuple):
    """What a report found and wrote."""

    rows: list[Row]
    files: list[Path]


class Column(NamedTuple):
    """A number of the table: its key in summary.csv, its heading, its format."""

    key: str
    heading: str
    form: str


def report(paths: list[Path], out: Path | None = None, mix: bool = False) -> Report:
    """Print the table of runs (or folders of runs) and draw their figures.

    Figures go to OUT/figures; by default OUT is the run's folder, or the runs' common parent.
    Runs on different versions of the environment, or made under different locks, get tables
    and folders of their own, unless they are to be mixed.

    Raises:
      ConfigError: no run there, or runs on different environments.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    given = expand(paths)
    every = read(given)
    results = [r for r in every if len(r.evaluation["frames"])]
    for result in every:
        for note in notes(result):
            console.print(note)
    groups = alike(results, given)
    if len(groups) > 1:
        console.print(MIXED if mix else APART, *differences(groups), sep="\n")
        groups = [results] if mix else groups
    base = out or common_folder([r.path for r in every])
    found = Report([], [])
    for place, group in enumerate(groups):
        if len(groups) > 1:
            console.print("", ", ".join(describe(group[0].origin)), sep="\n")
        folder = base / ("figures" if place == 0 else folder_name(group[0].origin))
        part = report_group(group, folder, console)
        found = Report(found.rows + part.rows, found.files + part.files)
    return found


def report_group(results: list[Results], folder: Path, console: Console) -> Report:
    """Print one table and draw its figures."""
    rows = summary(results)
    files = [*write_summary(rows, folder), *save(learning_curves(results), folder, "curves")]
    lines: list[str] = []
    if results[0].run.env in ("gridworld", "gridworld-extrapolation"):
        map_files, lines = draw_maps(results, folder)
        files += map_files
    drawn = table(results, rows)
    needed = console.measure(drawn, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, needed)  # a number is never cut short
    console.print(drawn, soft_wrap=False)
    console.print(*lines, f"{len(files)} files in {folder}", sep="\n")
    return Report(rows, files)


def notes(result: Results) -> list[str]:
    """Return what a reader should know of a run that did not end well."""
    found = []
    if result.status != "finished":
        found.append(f"{result.status}, {result.frames:,} of {result.run.frames:,} frames")
    found += [f"{death}: left out" for death in result.deaths()]
    if not result.living:
        found.append("all seeds died, no rows")
    elif not len(result.evaluation["frames"]):
        found.append("no evaluation yet, left out")
    return [f"{result.path}: {note}" for note in found]


def speed(result: Results) -> float:
    """Return frames/s of the whole run, all seeds together; nan before the first log line."""
    by_update = {line["frames"]: line["frames_per_s"] for line in result.metrics}
    if not by_update:
        return math.nan
    done = np.array(sorted(by_update))
    chunks = np.diff(done, prepend=0)
    return float(chunks.sum() / (chunks / [by_update[f] for f in done]).sum())


def threshold(result: Results) -> float | None:
    """Return the mean train return that counts as solved, None where no optimum is known."""
    best = result.best(result.splits[0])
    if best is None:
        return None
    return THRESHOLDS.get(result.run.env, best - (1 - NEAR_BEST) * abs(best))


def seed_rows(result: Results) -> list[Row]:
    """Return one row per seed: everything that summary.csv holds."""
    train, *tests = result.splits
    n = result.run.trial.episodes
    greedy = evaluations(result.table("greedy", train), "return")
    first = evaluations(result.table("greedy", train, episode=1), "return")
    solved = threshold(result)
    found = []
    for i, seed in enumerate(greedy.seeds):
        values = greedy.values[i]
        reached = None if solved is None else first_at(greedy.frames, values, solved)
        row: Row = {
            "method": result.label,
            "seed": int(seed),
            "frames": result.frames,
            "frames_per_s": speed(result),
            "threshold": math.nan if solved is None else solved,
            "frames_at_threshold": math.nan if reached is None else reached,
            f"{train}_return_episode_1": final_mean(first.values[i]),
            f"{train}_return_episode_{n}": final_mean(values),
            "share_at_threshold": math.nan if solved is None else final_share(values, solved),
        }
        for split in tests:
            for policy in POLICIES:
                chosen = result.table(policy, split)
                returns = evaluations(chosen, "return").values[i]
                goals = len(result.of_split(split)) * evaluations(chosen, "reached").values[i]
                row[f"{split}_return_{policy}"] = final_mean(returns)
                row[f"{split}_goals_{policy}"] = final_mean(goals)
        found.append(row)
    return found


def summary(results: list[Results]) -> list[Row]:
    """Return the rows of all runs; where a run has several seeds, "mean" and "std" follow."""
    found = []
    for result in results:
        by_seed = seed_rows(result)
        found += by_seed
        if len(by_seed) > 1:
            numbers = [key for key in by_seed[0] if key not in ("method", "seed")]
            values = np.array([[row[key] for key in numbers] for row in by_seed], float)
            for name, line in zip(("mean", "std"), statistics.seed_band(values), strict=True):
                row = dict(zip(numbers, line.tolist(), strict=True))
                found.append({"method": result.label, "seed": name} | row)
    return found


def write_summary(rows: list[Row], folder: Path) -> list[Path]:
    """Write summary.csv; what is undefined or was not reached stays empty."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows({k: "" if undefined(v) else v for k, v in row.items()} for row in rows)
    return [path]


def undefined(value: Any) -> bool:
    """Whether a row's value is nan."""
    return isinstance(value, float) and math.isnan(value)


def columns(result: Results) -> list[Column]:
    """Return the table's columns, without those that the environment leaves undefined."""
    train, *tests = result.splits
    n, solved = result.run.trial.episodes, threshold(result)
    found = [Column("frames", "frames", ",.0f"), Column("frames_per_s", "frames\nper s", ",.0f")]
    if solved is not None:
        found.append(Column("frames_at_threshold", f"frames at\n{train}\n≥ {solved:.4g}", ",.0f"))
    found.append(Column(f"{train}_return_episode_{n}", f"{train}\nreturn", ".2f"))
    if solved is not None:
        found.append(Column("share_at_threshold", f"share\n≥ {solved:.4g}", ".0%"))
    if n > 1:
        found.append(Column(f"{train}_return_episode_1", f"{train}\nep. 1", ".2f"))
    for split in tests:
        for policy in POLICIES:
            found.append(Column(f"{split}_return_{policy}", f"{split}\nreturn\n{policy}", ".2f"))
        for policy in POLICIES if result.has_goals() else ():
            of = len(result.of_split(split))
            found.append(Column(f"{split}_goals_{policy}", f"{split}\ngoals/{of}\n{policy}", ".1f"))
    return found


def table(results: list[Results], rows: list[Row]) -> Table:
    """Return the terminal's table; a method's mean row carries ± its standard deviation."""
    shown = columns(results[0])
    drawn = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, caption=caption(results), caption_justify="left"
    )
    drawn.add_column("method", no_wrap=True)
    drawn.add_column("seed", no_wrap=True)
    for column in shown:
        drawn.add_column(column.heading, justify="right", no_wrap=True)
    for i, row in enumerate(rows):
        if row["seed"] == "std":
            continue
        last = i + 1 == len(rows) or rows[i + 1]["method"] != row["method"]
        if row["seed"] == "mean":
            cells = [mean_cell(c, row, rows[i + 1]) for c in shown]
            drawn.add_row(row["method"], "mean", *cells, style="bold", end_section=True)
        else:
            drawn.add_row(
                row["method"], str(row["seed"]), *(cell(c, row) for c in shown), end_section=last
            )
    best = optimum(results[0])
    if best:
        cells = [format(best[c.key], c.form) if c.key in best else "" for c in shown]
        drawn.add_row("optimum", "", *cells)
    return drawn


def cell(column: Column, row: Row, missed: str = "not reached") -> str:
    """Return a number as the table shows it."""
    value = row.get(column.key, math.nan)
    if undefined(value):
        return missed if column.key == "frames_at_threshold" else "–"
    return format(value, column.form)


def mean_cell(column: Column, mean: Row, deviation: Row) -> str:
    """Return a mean and, below it, the standard deviation over seeds where there is any."""
    spread = deviation.get(column.key, math.nan)
    below = "" if undefined(spread) or spread == 0 else f"\n±{spread:{column.form}}"
    return cell(column, mean, "not by all") + below


def optimum(result: Results) -> Row:
    """Return the known best values: means over a split's tasks, each task known."""
    found: Row = {}
    n = result.run.trial.episodes
    for place, split in enumerate(result.splits):
        best, count = result.best(split), len(result.of_split(split))
        if best is not None and place == 0:
            found[f"{split}_return_episode_{n}"] = best
        elif best is not None:
            for policy in POLICIES:
                found |= {f"{split}_return_{policy}": best, f"{split}_goals_{policy}": count}
    return found


def caption(results: list[Results]) -> str:
    """Return what the table's columns mean."""
    result = results[0]
    run, train, solved = result.run, result.splits[0], threshold(result)
    said = [
        f"Returns and goals: episode {run.trial.episodes}, mean over the last fifth of the"
        f" evaluations. Greedy: 1 rollout per task; sampled: mean of {run.evaluation.rollouts}."
    ]
    if solved is not None:
        said.append(
            f"Frames at {train} ≥ {solved:.4g}: at the first greedy evaluation whose mean {train}"
            " return is that high; share: how many of the last fifth are."
        )
    said.append("±: sample standard deviation over seeds. Frames are per seed, over all workers;")
    said.append("frames per s over all seeds of a run.")
    return " ".join([*said, FACTS.get(run.env, ""), mixed(results)])


def draw_maps(results: list[Results], folder: Path) -> tuple[list[Path], list[str]]:
    """Draw the gridworld's maps, as far as there are checkpoints; return files and remarks."""
    from experiments import maps  # imports jax, which curves and table do without

    files = save(maps.draw_returns(results), folder, "cells")
    remarks, counted = [], {}
    imagined, played = [], []
    for result in results:
        try:
            loaded = maps.load_final(result)
        except (CheckpointError, ConfigError) as error:
            remarks.append(f"{result.label}: no maps of its agent: {error}")
            continue
        played.append((result, maps.play(loaded)))
        if result.run.imagination is not None and loaded.algorithm.belief is not None:
            imagined.append((result, maps.imagine(loaded)))
            counted[result.label] = maps.imagined_shares(*imagined[-1])
            remarks += share_lines(result.label, counted[result.label])
    drawings: dict[str, Figure] = {}
    if played:
        drawings["trials"] = maps.draw_trials(played)
    if imagined:
        drawings["imagined"] = maps.draw_imagined(imagined)
        (folder / "maps.json").write_text(json.dumps(counted, indent=1) + "\n")
        files.append(folder / "maps.json")
    for stem, drawn in drawings.items():
        files += save(drawn, folder, stem)
    return files, remarks


def share_lines(label: str, counted: dict[str, Any]) -> list[str]:
    """Return in words how often imagined rewards lie on test cells."""
    return [
        f"{label}, dropout {state}: {share['paid']:.0%} of {counted['mixtures']} imagined maps pay"
        f" some {split} cell (p > 0.5); {share['peak']:.0%} pay one most."
        for state, by_split in counted["dropout"].items()
        for split, share in by_split.items()
    ]
