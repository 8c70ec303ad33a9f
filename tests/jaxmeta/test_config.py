"""Runs: bases, dotted names, and errors that name field, value and what is allowed."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.config import Run
from jaxmeta.errors import ConfigError

# field: values that must be refused, and a word that the error must hold
REFUSED = {
    "imagination.beta": ([-1, "nan", "inf", "x", None], ">= 0"),
    "imagination.mixture": ([-1, 16, 1.5], "imagination.mixture"),
    "imagination.weights": (["per-worker", 3], "per_worker, per_dimension"),
    "vae.dropout": ([-0.1, 1.0, 1, "1.0"], "< 1"),
    "vae.decoder_inputs": (["obs,reward", (), "obs,obs"], "obs, action, next_obs"),
    "vae.capacity": ([13, 0], "vae.capacity"),
    "a2c.gamma": ([1.01, -0.5, True], "<= 1"),
    "networks.policy_layers": (["64,x", (0,), "-3"], ">= 1"),
    "networks.policy_sees_obs": (["yes", 2, None], "true or false"),
    "workers": ([0, 17, 2.5], "workers"),
    "seeds": ([0, -1, "two"], ">= 1"),
    "frames": ([0, 1919, "1e3", -5], "frames"),
    "trial.boundary": (["reset"], "terminal, start"),
    "train_split": (["test"], "train, oracle"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_bad_values_name_the_field_the_value_and_what_is_allowed(field):
    values, word = REFUSED[field]
    for value in values:
        with pytest.raises(ConfigError, match=field.split(".")[-1]) as error:
            Run(method="ldm").replace({field: value})
        assert word in str(error.value)
        assert "\n" not in str(error.value)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz._", min_size=1, max_size=30))
def test_unknown_fields_are_refused(name):
    run = Run(method="ldm")
    if name not in run.fields():
        with pytest.raises(ConfigError, match=r"no such field|decides the base"):
            run.replace({name: 1})


def test_a_typing_error_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"did you mean imagination\.beta\?"):
        Run(method="ldm").replace({"imagination.bta": 1})


@given(
    beta=st.floats(0, 10, allow_nan=False),
    dropout=st.floats(0, 0.99),
    frames=st.integers(1920, 10**9),
    layers=st.lists(st.integers(1, 512), max_size=3),
)
def test_json_keeps_every_value(beta, dropout, frames, layers):
    run = Run(method="ldm", frames=frames).replace(
        {"imagination.beta": beta, "vae.dropout": dropout, "networks.policy_layers": layers}
    )
    assert Run.from_json(run.to_json()) == run


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"env": "gridworld", "no": 1}', '{"seeds": []}', '{"env": []}']
)
def test_a_hostile_config_file_is_a_config_error(text):
    with pytest.raises(ConfigError):
        Run.from_json(text)


def test_numbers_are_read_as_people_write_them():
    run = Run(method="ldm", frames="1e6").replace({"frames": "200_000", "vae.dropout": "0.5"})
    assert (run.frames, run.vae.dropout) == (200_000, 0.5)


def test_gridworld_follows_the_paper():
    """Numbers of the paper's gridworld (reference sheet 2.1 to 3.6)."""
    ldm, rl2, varibad = (Run(method=m) for m in ("ldm", "rl2", "varibad"))
    assert (ldm.imagination.normal, ldm.imagination.mixture, ldm.imagination.beta) == (14, 2, 1.0)
    assert (ldm.vae.latent, ldm.vae.dropout, ldm.vae.batch, ldm.vae.updates) == (32, 0.7, 25, 2)
    assert ldm.vae.decoder_inputs == ("next_obs",)
    assert (rl2.networks.head, rl2.networks.policy_layers) == (32, (32,))
    assert not rl2.networks.policy_sees_obs
    assert rl2.networks.action_embedding == 0
    assert (varibad.networks.policy_layers, varibad.vae.decoder) == ((32, 32), "multi")
    assert varibad.vae.reduction == "sum"
    assert (rl2.a2c.gamma, rl2.a2c.entropy_coef, rl2.a2c.rmsprop_eps) == (0.95, 0.1, 1e-5)
    assert rl2.frames == 100_000_000


def test_presets_differ_in_the_documented_fields_only():
    paper = Run(method="ldm").fields()
    reference = Run(method="ldm", preset="reference").fields()
    differing = {k: reference[k] for k in paper if paper[k] != reference[k]}
    assert differing == {
        "preset": "reference",
        "imagination.weights": "per_dimension",
        "imagination.roles": "redrawn",
        "vae.reduction": "mean",
        "vae.replay": "frozen",
        "vae.pairs": "all",
    }


def test_methods_have_only_their_sections():
    assert Run(method="rl2").imagination is None
    with pytest.raises(ConfigError, match="no such"):
        Run(method="rl2").replace({"vae.latent": 3})
    with pytest.raises(ConfigError, match="no such section"):
        Run(method="rl2", vae=Run(method="ldm").vae)


def test_unknown_names_list_what_there_is():
    with pytest.raises(ConfigError, match=r"gridworld-extrapolation.*did you mean gridworld"):
        Run(env="gridwrld")
    with pytest.raises(ConfigError, match=r"ldm, rl2, varibad"):
        Run(method="sac")
    with pytest.raises(ConfigError, match="paper, reference"):
        Run(preset="both")


def test_an_update_is_one_trial_of_every_worker():
    run = Run(method="rl2", frames=2000)
    assert run.frames_per_update(30) == 16 * 4 * 30
    assert run.updates(30) == 2  # rounded up


def test_configuration_imports_no_jax():
    code = "import sys, jaxmeta; jaxmeta.Run(); print(json.dumps('jax' in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", "import json; " + code], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) is False
