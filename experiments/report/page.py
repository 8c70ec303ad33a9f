"""report.md and report.html: a report in words, tables and figures.

The page is written once, in Markdown; the HTML is rendered from it, with figures inline, and
makes no network requests.
"""

import html
import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from markdown_it import MarkdownIt

from experiments.analysis import lee_2021_claims
from experiments.analysis.comparisons import compare
from experiments.analysis.run_record import Results
from experiments.analysis.summary import Estimate, estimate, find, scores
from jaxmeta import statistics
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import reading
from jaxmeta.rundir.evaluation_csv import POLICIES

HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }}
th, td {{ padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top }}
th {{ text-align: left }}
td {{ font-variant-numeric: tabular-nums }}
td a {{ color: inherit; text-decoration: underline dotted #999 }}
svg {{ max-width: 100%; height: auto }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
SPACE = "\N{NO-BREAK SPACE}"
# The browser refuses all network requests of the page, and logs them as errors.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
CAPTIONS = {
    "curves": "Learning curves: the last episode of a trial.",
    "first_episode": "Learning curves: the first episode of a trial, before the task is known.",
    "adaptation": "Adaptation: the return of each episode of a trial, over the last fifth of the"
    " evaluations.",
    "varied": "The effect of the varied setting: dots are seeds, lines their interquartile mean.",
    "cells": "Return by goal cell.",
    "imagined": "Imagined reward maps of mixture workers.",
    "map_errors": "Errors of the belief's reward maps, on training goals and on held-out ones.",
    "trials": "A trial on a test task.",
    "train_trials": "A trial on a training task.",
}


class Section(NamedTuple):
    """One group of comparable runs, with its remarks and figures."""

    results: list[Results]
    notes: list[str]
    files: list[Path]


def write_page(
    folder: Path, sections: list[Section], opening: list[str], base: str = ""
) -> list[Path]:
    """Write report.md and report.html.

    `opening` holds paragraphs; `base` is the folder of the run to compare with.
    """
    env = sections[0].results[0].run.env
    title = f"Report: {env}"
    text = "\n\n".join(
        [f"# {plain(title)}", *(plain(paragraph) for paragraph in opening)]
        + [block for section in sections for block in blocks(section, folder, base)]
    )
    text = f"{text}\n"
    markdown, page = folder / "report.md", folder / "report.html"
    # What a folder's name has that is no UTF-8 is escaped.
    markdown.write_text(text, encoding="utf-8", errors="backslashreplace")
    body = render(text, folder)
    html_text = HTML.format(title=html.escape(title), policy=POLICY, body=body)
    page.write_text(html_text, encoding="utf-8", errors="backslashreplace")
    return [markdown, page]


def blocks(section: Section, folder: Path, base: str) -> list[str]:
    """Return one group's part of the page."""
    results = section.results
    found = ["## Results", *result_tables(results, folder)]
    if tested := lee_2021_claims.verdicts(results):
        found += ["## The paper's claims, tested on these runs", claim_table(tested)]
        found.append(
            plain((lee_2021_claims.__doc__ or "").partition("\n\n")[2].replace("\n", " ").strip())
        )
    if len(results) > 1:
        found += ["## Comparisons", *comparison_table(results, chosen_base(results, base), folder)]
    if results[0].episodes > 1:
        found += ["## Adaptation", *adaptation_table(results, folder)]
    found += ["## Figures", *figures(section.files, folder)]
    if section.notes:
        found += ["## Notes", "\n".join(f"- {plain(note)}" for note in section.notes)]
    return [*found, "## Runs", run_table(results, folder)]


def plain(text: str) -> str:
    """Return a text escaped for Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def link(text: str, result: Results, folder: Path) -> str:
    """Return a link to a run's directory, relative to the page."""
    path = os.path.relpath(result.path.resolve(), folder.resolve())
    return f"[{text}]({quote(path)}/)"


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float, form: str = ".1f") -> str:
    """Return a number as the page shows it."""
    return "–" if math.isnan(value) else format(value, form)


def with_interval(found: Estimate) -> str:
    """Return an interquartile mean and its interval."""
    interval = "" if math.isnan(found.low) else f"{SPACE}[{found.low:.1f},{SPACE}{found.high:.1f}]"
    return number(found.iqm) + interval


def with_deviation(found: Estimate) -> str:
    """Return a mean and the standard deviation over seeds."""
    spread = "" if math.isnan(found.low) else f"{SPACE}±{SPACE}{found.deviation:.1f}"
    return number(found.mean) + spread


def result_tables(results: list[Results], folder: Path) -> list[str]:
    """Return the interquartile means with their intervals, then means and areas."""
    splits, measures = (
        results[0].splits,
        ("return", "goals") if results[0].has_goals() else ("return",),
    )
    shown = [(splits[0], "return", policy) for policy in POLICIES]
    shown += [(s, m, policy) for s in splits[1:] for m in measures for policy in POLICIES]
    areas = [(split, "area", policy) for split in splits for policy in POLICIES]
    parts = [
        f"Episode {results[0].episodes}, mean over the last fifth of the evaluations."
        " Greedy: one rollout per task; sampled: the mean of several.",
        "**Interquartile mean** over seeds and tasks (of goals: over seeds) with its 95 % interval,"
        " a percentile bootstrap in which every seed keeps all its tasks; with less than about ten"
        " seeds it is too narrow:",
    ]
    parts.append(quantity_table(results, shown, with_interval, folder))
    parts.append("**Mean** over seeds ± sample standard deviation:")
    parts.append(quantity_table(results, shown, with_deviation, folder))
    parts.append("**Area** under the learning curve of the return, divided by its length:")
    return [*parts, quantity_table(results, areas, with_deviation, folder)]


def quantity_table(
    results: list[Results], shown: list[tuple[str, str, str]], form: Any, folder: Path
) -> str:
    """Return one row per run and one column per (split, measure, policy)."""
    heads = ["method", "seeds", "frames"]
    for split, measure, policy in shown:
        of = f" of {len(results[0].of_split(split))}" if measure == "goals" else ""
        heads.append(f"{split} {measure}{of}, {policy}")
    rows = []
    for result in results:
        cells = [plain(result.label), str(len(result.finite_seeds)), f"{result.frames:,}"]
        for split, measure, policy in shown:
            if split not in result.splits:  # mixed runs
                cells.append("–")
                continue
            found = estimate(scores(result, find(result, split, policy, measure)))
            cells.append(link(form(found), result, folder))
        rows.append(cells)
    if shown[0][1] != "area":
        rows += optimum_row(results[0], shown, form)
    return table(heads, rows)


def optimum_row(result: Results, shown: list[tuple[str, str, str]], form: Any) -> list[list[str]]:
    """Return the same statistic of the known optima, or nothing where they are unknown."""
    if any(result.best(split) is None for split, _, _ in shown):
        return []
    cells = ["optimum, task known", "", ""]
    for split, measure, _ in shown:
        tasks = result.of_split(split)
        best = [[len(tasks)]] if measure == "goals" else [[t["best_return"] for t in tasks]]
        cells.append(form(estimate(np.array(best, float))))
    return [cells]


def claim_table(tested: list[tuple[lee_2021_claims.Claim, lee_2021_claims.Verdict]]) -> str:
    """Return the paper's claims with our verdicts."""
    rows = [
        [plain(claim.statement), claim.section, f"**{verdict.word}**", plain(verdict.ours)]
        for claim, verdict in tested
    ]
    return table(["Lee & Chung 2021", "where", "here", "our numbers (greedy)"], rows)


def chosen_base(results: list[Results], base: str) -> Results:
    """Return the run that the others are compared with: the named one, else RL2, else any."""
    named = [r for r in results if r.path.resolve().name == base]
    known = [r for r in results if r.run.method == "rl2" and r.run.train_split != "oracle"]
    return (named + known + results)[0]


def comparison_table(results: list[Results], base: Results, folder: Path) -> list[str]:
    """Return the differences of all others from one run."""
    others = [r for r in results if r is not base and r.splits == base.splits]
    measure = "goals" if base.has_goals() else "return"
    heads, rows = ["run"], []
    for split in base.splits[1:]:
        for policy in POLICIES:
            heads += [f"{split} {measure}, {policy}", "p"]
        heads += [f"P(better on a {split} task), {policy}" for policy in POLICIES]
    for result in others:
        cells = [plain(result.label)]
        for split in base.splits[1:]:
            found = [compare(result, base, split, policy, measure) for policy in POLICIES]
            for d in found:
                cells += [link(f"{d.means:+.1f}", result, folder), f"{d.p:.2g}"]
            for policy in POLICIES:
                d = compare(result, base, split, policy, "return")
                low, high = d.interval
                interval = "" if math.isnan(low) else f" [{low:.0%}, {high:.0%}]"
                cells.append(f"{d.improvement:.0%}{interval}")
        rows.append(cells)
    text = (
        f"Against {plain(base.label)}: difference of the means over seeds, with the p of a"
        " permutation test over seeds (two-sided), and the probability that a seed has a higher"
        " return on a test task than a seed of"
        f" {plain(base.label)} (ties count half), with its bootstrap interval."
    )
    insignificant = [
        plain(result.label)
        for result in others
        if not any(
            compare(result, base, split, policy, measure).significant
            for split in base.splits[1:]
            for policy in POLICIES
        )
    ]
    note = f"Not significant with this number of seeds: {', '.join(insignificant)}."
    return [text, table(heads, rows), *([note] if insignificant else [])]


def adaptation_table(results: list[Results], folder: Path) -> list[str]:
    """Return the mean return of each episode of a trial."""
    episodes = range(1, results[0].episodes + 1)
    rows = []
    for result in results:
        for split in result.splits:
            for policy in POLICIES:
                cells = [plain(result.label), split, policy]
                for episode in episodes:
                    values = statistics.scores(result.table(policy, split, episode), "return")
                    cells.append(link(with_deviation(estimate(values)), result, folder))
                rows.append(cells)
    heads = ["method", "split", "policy", *(f"episode {k}" for k in episodes)]
    return ["Mean return over tasks and seeds ± standard deviation over seeds.", table(heads, rows)]


def figures(files: list[Path], folder: Path) -> list[str]:
    """Return the figures with their captions."""
    found = []
    for file in files:
        if file.suffix == ".png":
            path = quote(os.path.relpath(file.resolve(), folder.resolve()))
            caption = CAPTIONS.get(file.stem, file.stem)
            found += [caption, f"![{plain(caption)}]({path})"]
    return found


def run_table(results: list[Results], folder: Path) -> str:
    """Return each run's folder, code version and hardware."""
    rows = []
    for result in results:
        try:
            manifest = reading.read_manifest(result.path)
        except ConfigError:
            manifest = {}
        commit = str(manifest.get("commit") or "–")[:12]
        devices = manifest.get("devices") or ["–"]
        hardware = f"{len(devices)} x {devices[0]}, {manifest.get('processor', '–')}"
        made = f"{commit}{' and changes' if manifest.get('dirty') else ''}"
        rows.append(
            [
                link(plain(result.label), result, folder),
                plain(result.status),
                f"{result.frames:,} of {result.run.frames:,}",
                str(len(result.finite_seeds)),
                plain(made),
                plain(hardware),
            ]
        )
    return table(["run", "status", "frames", "seeds", "commit", "hardware"], rows)


def render(text: str, folder: Path) -> str:
    """Return Markdown as HTML, every figure inline as SVG."""
    parser: Any = MarkdownIt("commonmark", {"html": False}).enable("table")

    def image(self: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
        file = folder / Path(unquote(tokens[place].attrs["src"])).with_suffix(".svg")
        drawn = file.read_text(encoding="utf-8")
        label = html.escape(tokens[place].content)
        return f'<span role="img" aria-label="{label}">{drawn[drawn.index("<svg") :]}</span>'

    parser.add_render_rule("image", image)
    return parser.render(text)
