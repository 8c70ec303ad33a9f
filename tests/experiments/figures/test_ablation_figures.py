"""A number that differs between runs is found, and drawn."""

import pytest

from experiments.analysis import run_record
from experiments.figures import ablation_figures
from jaxmeta.config.run import Run
from tests.written import write_returns


def vary(folder, *overrides):
    """Write an LDM run per setting; seed 1 reaches every goal, seed 0 with settings after 1."""
    for place, chosen in enumerate(overrides):
        run = Run(method="ldm", seeds=2).replace(chosen)
        write_returns(folder / f"run-{place}", run, [[place - 0.5, 1]])
    return run_record.read([folder])


def test_a_varied_number_is_found_and_drawn(tmp_path):
    write_returns(tmp_path / "runs" / "rl2", Run(method="rl2", seeds=2), [[5, 5]])
    results = vary(tmp_path / "runs", *({"vae.dropout": rate} for rate in (0.9, 0.0, 0.5)))
    found = ablation_figures.varied(results)
    assert found.field == "vae.dropout"
    assert [found.value(result) for result in found.runs] == [0.0, 0.5, 0.9]
    assert [result.label for result in found.others] == ["RL²"]
    axes = ablation_figures.draw_varied(found).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "0.5", "0.9"]
    dots, lines = axes.lines[:3], axes.lines[3:5]
    assert [list(dot.get_ydata()) for dot in dots] == [[1, 1], [1, 1], [0, 1]]
    assert [list(line.get_ydata()) for line in lines] == [[1, 1, 0.5], [1, 1]]


def test_numbers_that_change_together_are_named_by_the_last(tmp_path):
    settings = [{"imagination.normal": n, "imagination.mixture": 16 - n} for n in (15, 14, 8)]
    results = vary(tmp_path, *settings)
    assert ablation_figures.varied(results).field == "imagination.mixture"


PAY = [{"imagination.pay": pay} for pay in ("mixture", "worker", "nothing")]


RATES = [{"vae.dropout": rate} for rate in (0.1, 0.2, 0.3)]


@pytest.mark.parametrize(
    "settings", [RATES[:2], PAY, [{**a, **b} for a, b in zip(PAY, RATES, strict=True)]]
)
def test_too_few_runs_or_words_are_no_varied_number(tmp_path, settings):
    assert ablation_figures.varied(vary(tmp_path, *settings)) is None
