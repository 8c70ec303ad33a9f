"""Published settings: every row is of something that is there, and no two contradict each other."""

import itertools
from collections import Counter

import pytest

from jaxmeta import paper_settings
from jaxmeta.config import registry
from jaxmeta.config.run import Run
from jaxmeta.paper_settings.settings_row import ANY

DEFAULTS = [paper.DEFAULTS for paper in paper_settings.PAPERS if hasattr(paper, "DEFAULTS")]
ROWS = [*DEFAULTS, *(row for paper in paper_settings.PAPERS for row in paper.ROWS)]
ENVS, METHODS = registry.specs("environments"), registry.specs("methods")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.methods[0]}-{row.envs[0]}")
def test_a_row_names_what_is_there_and_holds(row):
    """A field of a row is one of a run that it is about, unless it is for another RL algorithm."""
    assert row.preset in paper_settings.PRESETS and row.source
    for env, method in itertools.product(row.envs, row.methods):
        env, method = ("ant-goal" if env == ANY else env), ("ldm" if method == ANY else method)
        known = {
            name
            for rl in METHODS[method].rl
            for name in Run(env=env, method=method, preset=row.preset, rl=rl).fields()
        }
        assert row.fields.keys() <= known
        if row not in DEFAULTS:
            rl = "ppo" if "ppo" in METHODS[method].rl else METHODS[method].rl[0]
            fields = Run(env=env, method=method, preset=row.preset, rl=rl).fields()
            later = paper_settings.rows(row.preset, [ENVS[env].like, env], method)
            later = later[later.index(row.fields) + 1 :]
            counting = row.fields.keys() - {name for other in later for name in other}
            assert {k: fields[k] for k in counting & fields.keys()} == {
                k: row.fields[k] for k in counting & fields.keys()
            }


def test_no_two_papers_claim_a_pair():
    claims = Counter(
        (row.preset, env, method)
        for paper in paper_settings.PAPERS
        for row in {(r.preset, r.envs, r.methods): r for r in paper.ROWS}.values()
        for env, method in itertools.product(row.envs, row.methods)
    )
    twice = {claim for claim, count in claims.items() if count > 1}
    assert twice == {
        ("paper", env, "moss") for env in paper_settings.wang_2023_moss.SWITCHING
    }  # one paper


def test_rows_of_reference_override_those_of_paper():
    rows = paper_settings.rows("reference", ["half-cheetah-velocity"], "ldm")
    assert [row.get("vae.reduction") for row in rows] == [None, None, "mean", None, "mean"]
    assert paper_settings.rows("paper", ["half-cheetah-velocity"], "ldm") == rows[:1]


def test_an_environments_rows_hold_for_its_relatives_and_its_own_count_more():
    multi = Run(env="half-cheetah-multi-task", method="moss")
    assert (multi.trial.episodes, multi.frames, multi.inference.components) == (1, 42_000_000, 4)
    assert Run(env="gridworld-extrapolation", method="varibad").vae.decoder == "multi"
    assert Run(env="gridworld-extrapolation", method="ldm").vae.dropout == 0.5
