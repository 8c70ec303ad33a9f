"""Runs: defaults, dotted names, and errors that name field, value and what is allowed."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta import paper_settings
from jaxmeta.config import registry, resolve
from jaxmeta.config.option_fields import legacy_values
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.sweeps import sweep_grid

FULL = json.loads(json.dumps(Run(method="ldm").fields()))
# Values that runs had before these fields were added.
ADDED = resolve.registered_legacy_values() | legacy_values(Run)
RESULTS = sorted(Path(__file__).parents[3].glob("experiments/results/**/config.json"))

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
    "frames": ([0, "1e3.5", 1.5, -5], "frames"),
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
        with pytest.raises(ConfigError, match=r"no such field|selects the defaults"):
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


@pytest.mark.parametrize("env", registry.specs("environments"))
@pytest.mark.parametrize("method", registry.specs("methods"))
@pytest.mark.parametrize("preset", paper_settings.PRESETS)
def test_json_keeps_every_run(env, method, preset):
    run = Run(env=env, method=method, preset=preset)
    assert Run.from_json(run.to_json()) == run


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: p.parent.name)
def test_published_configurations_stay_readable(path):
    published, read = json.loads(path.read_text()), Run.from_json(path.read_text()).fields()
    published.pop("format", None)  # of the file, not a field; there is one since 0.2
    legacy = {name: value for name, value in read.items() if name not in published}
    assert legacy == {name: ADDED[name] for name in legacy}
    assert json.loads(json.dumps(read)) == legacy | published


def test_a_field_added_later_renames_no_run_of_a_sweep():
    fields = Run(method="ldm").fields()
    before = {name: value for name, value in fields.items() if name not in ADDED}
    assert sweep_grid.digest(Run(method="ldm")) == sweep_grid.short_hash(before)
    change = {"imagination.pay": "nothing"}
    assert sweep_grid.digest(Run(method="ldm").replace(change)) == sweep_grid.short_hash(
        before | change
    )


def refusal(text):
    """Return the error that a config.json gets: one short line without control characters."""
    with pytest.raises(ConfigError) as error:
        Run.from_json(text)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 1500
    return message


# field: untrusted values, each to be refused by the field's name and what is allowed
HOSTILE = {
    "env": [None, 3, [], {}, "", "x" * 10**5, "\x1b[2J.py", "os:system", "a\nb.py", "\ud800.py"],
    "method": [True, ["ldm"], {"ldm": 1}, "__class__", "jaxmeta.algorithms.ldm:ldm"],
    "preset": [None, 1e308, "__dict__", "\u202epaper"],
    "frames": [None, True, "many", {}, [1], "", 10**16, "9" * 10**5, -(10**90)],
    "seeds": [10**9, False, math.nan, "1e400", [[[]]]],
    "workers": [10**15, -math.inf, "\x00", {"workers": 16}],
    "train_split": [None, [], 0, "train\n"],
    "networks.hidden": [10**12, 0.5, "\u0661\u0662x"],
    "networks.policy_layers": [None, [10**12], [[32]], [None], [math.nan], {}, [1] * 10**5, "1,,x"],
    "networks.policy_sees_obs": [None, 1, 0.0, [], {}, [True], "", 10**99],
    "a2c.gamma": [None, True, math.inf, [], {}, "0.9.9", 10**99],
    "vae.capacity": [10**12, None, [100_000]],
    "vae.decoder_inputs": [None, [[]], [{}], ["obs", None], ["obs"] * 10**5, {"obs": 1}, 3],
    "imagination.weights": [None, ["per_worker"], {}, 10**99],
    "evaluation.every": [10**18, "\x1b]0;title\x07"],
}


@pytest.mark.parametrize("field", HOSTILE)
def test_a_hostile_value_is_refused_by_its_field(field):
    for value in HOSTILE[field]:
        message = refusal(json.dumps(FULL | {field: value}))
        assert message.startswith(f"{field} = ")
        assert "must be" in message


UNKNOWN = (
    "", ".", "replace", "evaluation", "frames.real", "replace.frames", "__class__",
    "__class__.frames", "a2c.__dict__", "trial.trial.episodes", ".frames", "frames ", "vae.",
    "\x1b[31mred", "two\nlines", "\ud800", "x" * 10**5,
)  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN, ids=lambda name: ascii(name[:20]))
def test_a_hostile_name_is_an_unknown_field(name):
    message = refusal(json.dumps(FULL | {name: 1}))
    assert message.startswith((f"{name}: ", ascii(name[:20])[:-1]))
    assert "no such field" in message
    with pytest.raises(ConfigError, match="no such field"):
        Run(method="ldm").replace({name: 1})


@pytest.mark.parametrize("field", [name for name in FULL if name not in ADDED])
def test_every_field_must_be_there(field):
    message = refusal(json.dumps({k: v for k, v in FULL.items() if k != field}))
    assert message == f"{field}: missing; config.json holds every field"


@pytest.mark.parametrize("found", [2, 0, -1, 1.0, True, "1", [1]])
def test_a_later_format_is_refused(found):
    message = refusal(json.dumps({"format": found} | FULL))
    assert message.startswith("format = ") and "must be 1 to 1 in config.json" in message


def test_the_format_is_on_record_and_may_be_absent():
    run = Run(method="ldm")
    assert json.loads(run.to_json()) == {"format": 1} | json.loads(json.dumps(run.fields()))
    assert Run.from_json(json.dumps(run.fields())) == run  # from before 0.2


def test_missing_fields_are_counted():
    few = {k: FULL[k] for k in ("env", "method", "preset", "frames")}
    more = len(FULL.keys() - ADDED.keys()) - len(few) - 3
    message = refusal(json.dumps(few))
    assert message.startswith(f"seeds, workers, train_split and {more} more: missing")
    assert refusal("{}").startswith("env, method, preset: missing")


# what is no configuration at all, and what the error must hold
TEXTS = {
    "": "config.json: not JSON",
    "{": "config.json: not JSON",
    "\ufeff{}": "config.json: not JSON",
    "\x80\x04\x95K\x01.": "config.json: not JSON",
    "[]": "config.json: must be an object of dotted names, not []",
    "3": "not 3",
    "NaN": "not nan",
    '"' + "x" * 10**5 + '"': "xxx...",
    "[" * 10**5: "config.json: must not be nested that deeply",
    '{"a":' * 10**5: "config.json: must not be nested that deeply",
    "[" * 500 + "]" * 500: "config.json: must be an object",
    "9" * 10**6: "not '999",
    " " * 10**6 + "{}": "config.json: must have at most 1,000,000 characters",
    '{"seeds": 1, "seeds": 2}': "seeds: is in config.json twice",
    '{"\\u001b[2J": 1, "\\u001b[2J": 2}': "'\\x1b[2J': is in config.json twice",
    '{"seeds": {"a": 1, "a": 2}}': "a: is in config.json twice",
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_a_hostile_file_is_refused(text):
    assert TEXTS[text] in refusal(text)


@pytest.mark.parametrize("digits", [4000, 5000, 900_000])
def test_numbers_of_many_digits_take_no_time(digits):
    start = time.process_time()
    text = json.dumps(FULL | {"seeds": "HERE"}).replace('"HERE"', "9" * digits)
    assert refusal(text).startswith("seeds = '999")
    assert time.process_time() - start < 1


MARKUP = st.text(st.characters(exclude_categories=()), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | MARKUP
JSON = st.recursive(SCALARS, lambda of: st.lists(of) | st.dictionaries(MARKUP, of), max_leaves=9)


@given(st.sampled_from(sorted(FULL)), JSON)
def test_any_value_in_any_field_makes_a_run_or_an_error_naming_the_field(field, value):
    text = json.dumps(FULL | {field: value})
    try:
        run = Run.from_json(text)
    except ConfigError as error:
        assert str(error).isprintable()
        assert field.split(".")[-1] in str(error)
    else:
        assert Run.from_json(run.to_json()) == run


LOOP: list = []
LOOP.append(LOOP)
ONLY_PYTHON = (object(), 10**5000, [10**5000], LOOP, b"3x", {3: {4: 5}}, Run)


@pytest.mark.parametrize("place", range(len(ONLY_PYTHON)))
def test_what_only_python_can_pass_is_refused_likewise(place):
    value = ONLY_PYTHON[place]
    for field in FULL:
        if field not in ("env", "method", "preset"):
            with pytest.raises(ConfigError, match=field.split(".")[-1]) as error:
                Run(method="ldm").replace({field: value})
            assert str(error.value).isprintable()


def test_updates_can_be_counted():
    with pytest.raises(ConfigError, match="frames = 10000000000000: must be at most"):
        Run(method="rl2", frames=10**13).require_update()


def test_frames_are_held_against_the_named_environment_only_where_that_is_trained_on():
    """16 workers x 4 episodes x 30 steps: gridworld's update, which another one may not have."""
    few = Run(env="gridworld", method="rl2", frames=240)
    assert Run.from_json(few.to_json()) == few  # so that the other one's folder can be read
    with pytest.raises(ConfigError, match="frames = 240: must be at least one update, 1920 frames"):
        few.require_update()
    few.replace({"workers": 2}).require_update()
    with pytest.raises(ConfigError, match="frames = 239: must be at least one update, 240 frames"):
        few.replace({"workers": 2, "frames": 239}).require_update()
    own = Run(env="own.py", method="rl2", frames=1, sections=few.sections)
    own.require_update()  # its code will tell


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


def test_papers_short_names_are_aliases():
    run = Run(env="cheetah-vel", method="moss")
    assert run.env == "half-cheetah-velocity-uniform"
    assert run == Run(env="half-cheetah-velocity-uniform", method="moss")
    assert Run.from_json(run.to_json()) == run


def test_off_policy_methods_have_workers_and_frames_of_their_own():
    run = Run(env="cheetah-vel", method="moss")
    assert (run.workers, run.frames, run.trial.episodes, run.rl) == (30, 3_000_000, 1, "sac")
    assert Run(env="cheetah-vel", method="moss", workers=4, frames=10**6).workers == 4
    assert Run(env="cheetah-vel", method="rl2").workers == 16
    with pytest.raises(ConfigError, match="workers = None: must be a whole number"):
        run.replace({"workers": None})


def test_an_off_policy_run_must_be_complete():
    fields = Run(env="cheetah-vel", method="moss").fields()
    del fields["inference.window"]
    with pytest.raises(ConfigError, match=r"inference\.window: missing"):
        Run.from_json(json.dumps(fields))


def test_methods_have_only_their_sections():
    rl2, ldm = Run(method="rl2"), Run(method="ldm")
    assert rl2.get("imagination") is None
    with pytest.raises(AttributeError, match="imagination: the run has no such section"):
        _ = rl2.imagination
    with pytest.raises(ConfigError, match="no such"):
        rl2.replace({"vae.latent": 3})
    with pytest.raises(ConfigError, match="vae: rl2 with a2c has no such section"):
        Run(method="rl2", sections=(*rl2.sections, ("vae", ldm.vae)))
    with pytest.raises(ConfigError, match=r"^networks = .*: must be a Networks$"):
        Run(method="rl2", sections=ldm.sections[:2])


def test_unknown_names_list_what_there_is():
    with pytest.raises(ConfigError, match=r"gridworld-extrapolation.*did you mean gridworld"):
        Run(env="gridwrld")
    with pytest.raises(ConfigError, match=r"ldm, mixreg, moss, rl2, varibad"):
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
