"""Which runs a sweep consists of, and which share a program."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.sweeps import sweep_grid

LDM = Run(method="ldm")


def test_a_product_holds_every_combination_and_the_last_name_varies_fastest():
    assert sweep_grid.product({"a": [1, 2], "b": (3, 4)}) == [
        {"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4},
    ]  # fmt: skip
    assert sweep_grid.product({}) == [{}]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"imagination.beta": 1.0}, r"grid: imagination\.beta = 1\.0: must be a list"),
        ({"imagination.beta": "1,2"}, r"grid: imagination\.beta = '1,2': must be a list"),
        ({"imagination.beta": []}, "must hold at least one value"),
    ],
)
def test_a_field_needs_a_list_of_values(bad, said):
    with pytest.raises(ConfigError, match=said):
        sweep_grid.product(bad)


def test_each_configuration_is_there_once():
    points = sweep_grid.product({"imagination.beta": [1.0, 2.0, "1"]})
    found = sweep_grid.runs([LDM, LDM], points, 3)
    assert [(run.imagination.beta, run.seeds) for run in found] == [(1.0, 3), (2.0, 3)]


def test_fields_that_a_base_does_not_have_are_refused():
    with pytest.raises(ConfigError, match=r"vae\.latent: rl2 on gridworld has no such field"):
        sweep_grid.runs([Run(method="rl2")], [{"vae.latent": 3}], None)


def test_seeds_are_a_number_or_a_range():
    assert [sweep_grid.seed_count(x) for x in (None, 3, range(3), [0, 1, 2])] == [None, 3, 3, 3]
    with pytest.raises(ConfigError, match="must be a number n, or range"):
        sweep_grid.seed_count([4, 5])


FLOATS = {
    "a2c.learning_rate": 1e-3,
    "vae.dropout": 0.1,
    "imagination.beta": 2.0,
    "vae.kl_weight": 0.5,
}
OTHERS = {"frames": 10**6, "workers": 32, "vae.latent": 3, "vae.pairs": "all", "seeds": 3}


@given(st.sets(st.sampled_from([*FLOATS, *OTHERS]), min_size=1))
def test_floats_share_a_program_and_other_fields_do_not(names):
    changed = LDM.replace({name: (FLOATS | OTHERS)[name] for name in names})
    groups = sweep_grid.programs([LDM, changed])
    assert len(groups) == (1 if names <= FLOATS.keys() else 2)
    assert [run for group in groups for run in group] == [LDM, changed]


def test_programs_can_be_kept_small():
    runs = sweep_grid.runs(
        [LDM], sweep_grid.product({"imagination.beta": [1.0, 1.2, 1.4, 1.6, 1.8]}), 4
    )
    assert [len(group) for group in sweep_grid.programs(runs, most=8)] == [2, 2, 1]
    assert [len(group) for group in sweep_grid.programs(runs, most=3)] == [1] * 5


def test_a_digest_names_a_configuration():
    assert sweep_grid.digest(LDM) == sweep_grid.digest(Run.from_json(LDM.to_json()))
    assert sweep_grid.digest(LDM) != sweep_grid.digest(LDM.replace({"imagination.beta": 1.5}))
    assert len(sweep_grid.digest(LDM)) == 12


def test_plans_need_no_jax():
    code = "import sys, jaxmeta.sweeps.plan, experiments.cli.sweep; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
