"""The effect of a setting: runs of one method that differ in one number."""

from collections import Counter
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from experiments.analysis.run_record import Results
from experiments.analysis.summary import by_seed
from experiments.figures.style import STYLE, figure
from jaxmeta.rundir.evaluation_csv import POLICIES
from jaxmeta.statistics import iqm

COLOURS = ("#222222", "#009E73")  # of the policies


class Varied(NamedTuple):
    """Runs of one method that differ in a number."""

    field: str
    runs: list[Results]  # by its value, rising
    others: list[Results]

    def value(self, result: Results) -> float:
        """Return the varied number."""
        return result.run.fields()[self.field]


def varied(results: list[Results]) -> Varied | None:
    """Return the number in which three runs or more of one method differ, None without one.

    Where several numbers change together (14 + 2 workers, 12 + 4 workers), it is the last.
    """
    largest = Counter((r.run.method, r.run.train_split) for r in results).most_common(1)[0][0]
    same = [r for r in results if (r.run.method, r.run.train_split) == largest]
    fields = [r.run.fields() for r in same]
    differing = [name for name in fields[0] if len({str(f[name]) for f in fields}) > 1]
    numbers = [n for n in differing if not isinstance(fields[0][n], (bool, str, tuple))]
    if len(same) < 3 or not differing or numbers != differing:
        return None
    field = numbers[-1]
    if len({f[field] for f in fields}) < len(same):
        return None
    ordered = sorted(same, key=lambda r: r.run.fields()[field])
    return Varied(field, ordered, [r for r in results if r not in same])


def draw_varied(found: Varied) -> Figure:
    """Draw test goals (or returns) against the varied number: dots are seeds, lines the IQM."""
    first = found.runs[0]
    measure = "goals" if first.has_goals() else "return"
    tests = first.splits[1:] or first.splits
    with matplotlib.rc_context(STYLE):
        drawn = figure(3.6 * len(tests) + 1.6, 3.4)
        grid: Any = drawn.subplots(1, len(tests), squeeze=False)[0]
        for axes, split in zip(grid, tests, strict=True):
            for policy, colour in zip(POLICIES, COLOURS, strict=True):
                for k, result in enumerate(found.runs):
                    values = by_seed(result, split, policy, measure)
                    axes.plot([k] * len(values), values, "o", color=colour, alpha=0.5, markersize=4)
                middle = [iqm(by_seed(r, split, policy, measure)) for r in found.runs]
                axes.plot(range(len(middle)), middle, color=colour, label=policy)
                for other in found.others:
                    level = iqm(by_seed(other, split, policy, measure))
                    label = f"{other.label}, {policy}"
                    axes.axhline(level, color=colour, linestyle="--", linewidth=1, label=label)
            axes.set_xticks(range(len(found.runs)), [f"{found.value(r):g}" for r in found.runs])
            axes.set_xlabel(found.field)
            of = f" of {len(first.of_split(split))}" if measure == "goals" else ""
            axes.set_ylabel(f"{split} {measure}{of}, episode {first.episodes}")
            axes.grid(color="0.92", linewidth=0.6)
            axes.set_axisbelow(True)
        drawn.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
        note = "Dots: seeds, means over the last fifth of the evaluations; lines: IQM over seeds."
        drawn.supxlabel(note, fontsize=8, color="0.35")
    return drawn
