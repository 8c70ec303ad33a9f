"""The report on one or several runs: a table in the terminal; a page, a summary and figures."""

import math
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.analysis import first_episode
from experiments.analysis.comparable_runs import (
    describe,
    differences,
    folder_name,
    group_comparable,
    mixed_warning,
    python_note,
)
from experiments.analysis.run_record import Results, common_folder, expand, read_readable
from experiments.analysis.summary import Row, summary, threshold, undefined, write_summary
from experiments.figures.ablation_figures import draw_varied, varied
from experiments.figures.learning_curves import adaptation_curves, learning_curves
from experiments.figures.style import save
from experiments.report.agent_figures import draw_agents
from experiments.report.page import Section, write_page
from experiments.terminal.consoles import new_console
from experiments.terminal.wide_tables import print_whole
from jaxmeta.rundir.evaluation_csv import POLICIES

# Bounds that follow from an environment's rules. The gridworld's: no route through its 18 training
# goals, for an agent that is not given the goal, has a higher mean.
FACTS = {
    "gridworld": "17.17 is the highest mean first-episode train return of an agent that is not"
    " given the goal."
}
APART = "WARNING: these runs cannot be compared; tables apart (--mix: one for all):"
MIXED = "WARNING: these runs are mixed in one table, but cannot be compared:"


class Report(NamedTuple):
    """A report's rows and files."""

    rows: list[Row]
    files: list[Path]


class Column(NamedTuple):
    """A number of the table: its key in summary.csv, its heading, its format."""

    key: str
    heading: str
    form: str


def report(
    paths: list[Path], out: Path | None = None, mix: bool = False, base: str = "", note: str = ""
) -> Report:
    """Print the table of runs (or folders of runs), draw their figures, write a page.

    OUT/report.html and OUT/report.md hold everything, OUT/figures the figures and summary.csv;
    by default OUT is the run's folder, or the runs' common parent. Runs on different versions
    of the environment, of the user's code, or of a package that numbers come from, get tables and
    folders of their own, unless they are to be mixed. A run that cannot be read is left out, with
    a warning. The page compares with the run in the folder `base`, and
    begins with the note.

    Raises:
      ConfigError: no run there that can be read, or runs on different environments.
    """
    console = new_console(soft_wrap=True)
    given = expand(paths)
    every, remarks = read_readable(given)
    results = [r for r in every if len(r.evaluation["frames"])]
    remarks += [note for result in every for note in notes(result)]
    results, shortened = first_episode.common_episodes(results)
    remarks += shortened
    groups = group_comparable(results, given)
    warnings: list[str] = []
    if len(groups) > 1:
        warnings = [MIXED if mix else APART, *differences(groups)]
        groups = [results] if mix else groups
    remarks += [note for group in groups for note in python_note(group)]
    for line in remarks + warnings:
        console.print(line)
    home = out or common_folder(given)
    found, sections = Report([], []), []
    for place, group in enumerate(groups):
        if len(groups) > 1:
            console.print("", ", ".join(describe(group[0].origin)), sep="\n")
        folder = home / ("figures" if place == 0 else folder_name(group[0].origin))
        part, more = report_group(group, folder, console)
        found = Report(found.rows + part.rows, found.files + part.files)
        sections.append(Section(group, more if place else remarks + more, part.files))
    if sections:
        page = write_page(home, sections, [*([note] if note else []), *warnings], base)
        console.print(f"{page[1]}: the whole report")
        found = Report(found.rows, found.files + page)
    return found


def report_group(
    results: list[Results], folder: Path, console: Console
) -> tuple[Report, list[str]]:
    """Print one table and draw its figures; return the report and its remarks."""
    rows = summary(results)
    files = [*write_summary(rows, folder), *save(learning_curves(results), folder, "curves")]
    if results[0].episodes > 1:
        files += save(learning_curves(results, episode=1), folder, "first_episode")
        files += save(adaptation_curves(results), folder, "adaptation")
    if setting := varied(results):
        files += save(draw_varied(setting), folder, "varied")
    lines = first_episode.lines(results)
    drawings, remarks = draw_agents(results, folder)
    files, lines = files + drawings, lines + remarks
    drawn = table(results, rows)
    print_whole(console, drawn)
    console.print(*lines, f"{len(files)} files in {folder}", sep="\n")
    return Report(rows, files), lines


def notes(result: Results) -> list[str]:
    """Return remarks on a run that is unfinished, or has dead seeds."""
    found = []
    if result.status != "finished":
        evaluated = max(result.evaluation["frames"], default=result.frames)
        last = f", last evaluated after {evaluated:,}" if evaluated < result.frames else ""
        found.append(f"{result.status}, {result.frames:,} of {result.run.frames:,} frames{last}")
    found += [f"{message}: left out" for message in result.nonfinite_messages()]
    if not result.finite_seeds:
        found.append("all seeds became non-finite, no rows")
    elif not len(result.evaluation["frames"]):
        found.append("no evaluation yet, left out")
    return [f"{result.path}: {note}" for note in found]


def columns(result: Results) -> list[Column]:
    """Return the table's columns, without those that the environment leaves undefined."""
    train, *tests = result.splits
    n, solved = result.episodes, threshold(result)
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
        last = i + 1 == len(rows) or rows[i + 1]["method"] != row["method"]
        if row["seed"] == "mean":
            cells = [mean_cell(c, row, rows[i + 1]) for c in shown]
            drawn.add_row(row["method"], "mean", *cells, style="bold")
        elif row["seed"] == "iqm":
            cells = [iqm_cell(c, row, *rows[i + 1 : i + 3]) for c in shown]
            drawn.add_row(row["method"], "IQM", *cells, end_section=True)
        elif row["seed"] not in ("std", "low", "high"):
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


def iqm_cell(column: Column, iqm: Row, low: Row, high: Row) -> str:
    """Return an interquartile mean and, below it, its interval; nothing where it has none."""
    if undefined(iqm.get(column.key, math.nan)):
        return ""
    ends = (row[column.key] for row in (low, high))
    return f"{cell(column, iqm)}\n{' '.join(format(end, column.form) for end in ends)}"


def optimum(result: Results) -> Row:
    """Return the known best values: means over a split's tasks, each task known."""
    found: Row = {}
    n = result.episodes
    for place, split in enumerate(result.splits):
        best, count = result.best(split), len(result.of_split(split))
        if best is not None and place == 0:
            found[f"{split}_return_episode_{n}"] = best
        elif best is not None:
            for policy in POLICIES:
                found |= {f"{split}_return_{policy}": best, f"{split}_goals_{policy}": count}
    return found


def caption(results: list[Results]) -> str:
    """Return the meaning of the table's columns."""
    result = results[0]
    run, train, solved = result.run, result.splits[0], threshold(result)
    sentences = [
        f"Returns and goals: episode {result.episodes}, mean over the last fifth of the"
        f" evaluations. Greedy: 1 rollout per task; sampled: mean of {run.evaluation.rollouts}."
    ]
    if solved is not None:
        sentences.append(
            f"Frames at {train} ≥ {solved:.4g}: at the first greedy evaluation whose mean {train}"
            " return is that high; share: how many of the last fifth are."
        )
    sentences.append(
        "±: sample standard deviation over seeds. IQM: over seeds and tasks (goals: over seeds),"
        " below it the ends of its 95 % bootstrap interval. Frames are per seed, over all workers;"
    )
    sentences.append("frames per s over all seeds of a run.")
    return " ".join([*sentences, FACTS.get(run.env, ""), mixed_warning(results)])
