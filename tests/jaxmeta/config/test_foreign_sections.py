"""Options that a user's files declare: found everywhere, checked, swept, kept without the files."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import jaxmeta
from experiments.__main__ import main
from jaxmeta.algorithm import hyper
from jaxmeta.config import recorded_options, resolve, user_code
from jaxmeta.config.recorded_options import RecordedSection
from jaxmeta.config.run import Run
from jaxmeta.devices.cpu import cores
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import lock
from jaxmeta.rundir.checkpoint import flatten_with_names
from jaxmeta.sweeps import sweep_grid
from jaxmeta.training.build import make_env

FOREIGN = Path(__file__).parents[2] / "foreign"
METHOD = (FOREIGN / "fading_rl2.py").read_text()
ENV = (FOREIGN / "bandit.py").read_text()
CHANCE = "    chance: float = setting(1.0, 'of being paid', low=0.0, high=1.0)\n"
ENV = ENV.replace("mdp_step, section", "mdp_step, section, setting")
ENV = ENV.replace("    pulls: int", CHANCE + "    pulls: int")
NAMES = {"env": "bandit.py:make", "method": "fading.py:make"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to be in, with a method and an environment that have options of their own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fading.py").write_text(METHOD)
    (tmp_path / "bandit.py").write_text(ENV)
    return tmp_path


def write(here, name, body):
    """Write a file of a method whose maker does nothing; return its name."""
    text = "from jaxmeta import *\n\ndef make(env, run):\n    ...\n\n"
    (here / name).write_text(text + body)
    return f"{name}:make"


def test_help_shows_them_and_no_others(here, capsys):
    with pytest.raises(SystemExit):
        main(["train", "bandit.py", "--frames", "5", "--method", "fading.py", "--help"])
    shown = capsys.readouterr().out
    for option in ("--fading.half_life", "--env.pulls", "--networks.hidden", "--a2c.gamma"):
        assert option in shown
    assert "--vae.latent" not in shown
    assert "until half of the bonus is left (default: 100.0)" in " ".join(shown.split())
    assert "How the entropy bonus fades." in shown


def test_config_json_holds_them_and_is_read_without_the_files(here):
    run = Run(**NAMES).replace({"fading.half_life": 20, "env.pulls": "3"})
    text = run.to_json()
    assert json.loads(text)["fading.half_life"] == 20.0
    for name in ("fading.py", "bandit.py"):
        (here / name).write_text("raise RuntimeError('executed')")
    read = Run.from_json(text)
    assert read.fields() == run.fields()
    assert (read.fading.half_life, read.env, read.get("env").pulls) == (20.0, NAMES["env"], 3)
    assert sweep_grid.digest(read) == sweep_grid.digest(run)
    assert Run.from_json(read.to_json()) == read
    assert lock.look(read, here / "new") is None


def test_code_resolves_recorded_sections(here):
    run = Run(**NAMES).replace({"fading.half_life": 20})
    read = Run.from_json(run.to_json())
    assert isinstance(read.fading, RecordedSection) and read != run
    assert read.with_code() == run
    assert run.with_code() == run
    bad = read.replace({"fading.half_life": 0.5})  # without the class it is not checked
    with pytest.raises(ConfigError, match=r"fading\.half_life = 0\.5: must be a number >= 1"):
        bad.with_code()


def test_floats_are_leaves_with_and_without_their_class(here):
    run = Run(**NAMES)
    hp = hyper(run)
    assert hp.fading.half_life.dtype == jnp.float32
    assert "fading.half_life" in flatten_with_names(hp) and "env.chance" not in flatten_with_names(
        hp
    )
    assert sweep_grid.structure(run) != sweep_grid.structure(run.replace({"env.chance": 0.5}))
    read = Run.from_json(run.to_json())
    assert flatten_with_names(hyper(read)).keys() == flatten_with_names(hp).keys()


def test_a_sweep_has_a_program_for_all_floats_and_one_per_option_of_the_environment(here):
    run = Run(**NAMES)
    points = sweep_grid.product({"fading.half_life": [20.0, 50.0], "env.pulls": [2, 4]})
    groups = sweep_grid.programs(sweep_grid.runs([run], points, None))
    values = [[(r.get("env").pulls, r.fading.half_life) for r in group] for group in groups]
    assert values == [[(2, 20), (2, 50)], [(4, 20), (4, 50)]]

    @jax.jit
    def bonus(hp):
        calls.append(hp)
        return hp.a2c.entropy_coef / hp.fading.half_life

    calls = []
    for point in points[:3:2]:
        bonus(hyper(run.replace(point)))
    assert len(calls) == 1


def test_a_file_is_executed_once_until_it_changes(here):
    (here / "count.py").write_text(
        METHOD + "\nfrom pathlib import Path\n"
        "Path('n').write_text(Path('n').read_text() + 'x' if Path('n').exists() else 'x')\n"
    )
    for _ in range(3):
        Run(env="bandit.py", method="count.py").with_code()
    assert (here / "n").read_text() == "x"
    (here / "count.py").write_text((here / "count.py").read_text().replace("100.0", "70.0"))
    assert Run(env="bandit.py", method="count.py").fading.half_life == 70
    assert (here / "n").read_text() == "xx"


def test_devices_are_asked_for_before_a_file_can_use_jax(here):
    (here / "constant.py").write_text("import jax.numpy as jnp\nX = jnp.zeros(3)\n" + ENV)
    code = (
        "import jaxmeta, jax; jaxmeta.Run(env='constant.py', method='rl2');"
        "print(len(jax.devices()), jax.config.values['jax_cpu_enable_async_dispatch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(cores()), "False"]


def test_a_missing_file_is_named_and_nothing_executed(here):
    (here / "bandit.py").write_text("raise RuntimeError('executed')")
    with pytest.raises(
        ConfigError, match=r"method = 'nowhere\.py:make': there is no file nowhere\.py"
    ):
        Run(env="bandit.py", method="nowhere.py")


def test_a_section_checks_itself(here):
    body = (
        "@section('pair')\nclass Pair:\n    '''Two.'''\n    a: int = count(1, 'one')\n"
        "    b: int = count(2, 'two')\n    def check(self, run):\n"
        "        if self.a > run.workers:\n"
        "            raise ConfigError(f'pair.a = {self.a}: must be at most workers')\n"
        "make.sections = (Pair,)\n"
    )
    run = Run(env="bandit.py", method=write(here, "pair.py", body))
    assert run.get("networks") is None
    with pytest.raises(ConfigError, match=r"pair\.a = 17: must be at most workers"):
        run.replace({"pair.a": 17})
    with pytest.raises(ConfigError, match=r"pair\.c: .* no such field; did you mean pair\.[ab]"):
        run.replace({"pair.c": 1})


def test_a_method_in_a_file_may_support_some_rl_algorithms_only(here):
    name = write(here, "some.py", "make.rl = ('ppo',)\n")
    assert Run(env="bandit.py", method=name).rl == "ppo"
    with pytest.raises(ConfigError, match=r"rl = 'a2c': some\.py:make supports ppo"):
        Run(env="bandit.py", method=name, rl="a2c")


# The text of a file, and the error that it raises.
BAD = {
    "make.sections = (3,)": r"3: must be a class made by @section",
    "make.sections = ('jaxmeta.nn.options:Nets',)": "has no function Nets",
    "@section('a b')\nclass A: ...\nmake.sections = (A,)": r"section 'a b': must be a name such as",
    "@section('workers')\nclass A: ...\nmake.sections = (A,)": "workers: is a reserved name",
    "@section('env')\nclass A: ...\nmake.sections = (A,)": "section env: an environment's",
    "@section('networks')\nclass A: ...\nmake.sections = (Networks, A)": "networks: is there twice",
    "@section('trial')\nclass A: ...\nmake.sections = (A,)": "section trial: is there twice",
    "@section('a')\nclass A:\n    x: int = 3": r"a\.x: must be a setting",
    "@section('a')\nclass A:\n    _x: int = count(1, '')": r"a\._x: must have a name of up to 49",
    f"@section('a')\nclass A:\n    {'x' * 50}: int = count(1, '')": "must have a name of up to 49",
    "@section('a')\nclass A:\n    x: list = setting(3, '')": r"a\.x: must be a setting",
    "@section('a')\nclass A:\n    x: int = count(0, '')": r"a\.x = 0: must be a whole number >= 1",
    "@section('a')\nclass A:\n    x: tuple[str, ...] = setting(('b',), '')": "must have choices",
}  # fmt: skip


@pytest.mark.parametrize("body", BAD)
def test_bad_declarations_are_refused(here, body):
    with pytest.raises(ConfigError, match=BAD[body]):
        Run(env="bandit.py", method=write(here, "bad.py", body))


def test_annotations_may_be_text(here):
    name = "later.py"
    text = METHOD.replace(
        "from dataclasses", "from __future__ import annotations\nfrom dataclasses", 1
    )
    (here / name).write_text(text)
    run = Run(env="bandit.py", method=name).replace({"fading.half_life": "30"})
    assert run.fading.half_life == 30.0 and "fading.half_life" in run.traced()


def test_a_field_added_later_has_a_legacy_value(here):
    run = Run(**NAMES)
    older = run.to_json()
    folder = here / "runs"
    folder.mkdir()
    (folder / "config.json").write_text(older)
    added = "\n    floor: float = setting(0.2, 'least share', low=0.0{})\n\n\nclass State"
    add = lambda more: METHOD.replace("\n\nclass State", added.format(more), 1)
    (here / "fading.py").write_text(add(""))
    with pytest.raises(ConfigError, match=r"fading\.floor: missing; Fading has this field"):
        Run.from_json(older).with_code()
    (here / "fading.py").write_text(
        METHOD.replace("\n\nclass State", added.format(", before=0.0"), 1)
    )
    assert Run.from_json(older).with_code().fading.floor == 0.0
    same = Run(**NAMES).replace({"fading.floor": 0})
    assert lock.look(same, folder) == "running"
    with pytest.raises(ConfigError, match=r"differing: fading\.floor \(0\.0 there, 0\.2 here\)"):
        lock.look(Run(**NAMES), folder)


def test_an_environment_that_is_passed_must_have_the_runs_options(here, monkeypatch):
    monkeypatch.syspath_prepend(here)
    from bandit import Bandit, Options, make  # another class than the executed file's

    run = Run(env="bandit.py", method="rl2").replace({"env.pulls": 3})
    assert make_env(run).horizon == 12 and make_env(run).options == run.get("env")
    assert make_env(run, make(Options(pulls=3))).horizon == 12
    with pytest.raises(ConfigError, match=r"env\.pulls = 3: .* made with 4 \(Env\.options\)"):
        make_env(run, make())
    silent = Bandit(Options())
    silent.options = None
    with pytest.raises(ConfigError, match=r"env\.chance = 1\.0: .* made with None"):
        make_env(run, silent)
    with pytest.raises(ConfigError, match=r"env\.chance = None: .* made with 1\.0"):
        make_env(Run(method="rl2"), make())
    sys.modules.pop("bandit")


def test_a_method_that_is_passed_must_find_its_sections(here, tmp_path):
    make = user_code.load("fading.py:make")
    with pytest.raises(
        ConfigError, match="fading: the code of rl2 on gridworld reads this section"
    ):
        jaxmeta.train(Run(method="rl2", frames=1920), tmp_path / "a", method=make)


def everything():
    """Return what the configuration of a method in a file held when it had every section."""
    named_classes = resolve.registered_sections()
    run = Run(method="rl2", env="gridworld")
    old = run.fields() | {"method": "mine.py:make"}
    for name in ("vae", "imagination", "mixing", "replay", "inference"):
        old |= {f"{name}.{k}": v for k, v in resolve.section_items(named_classes[name]()).items()}
    return old


def test_old_runs_of_methods_in_files_keep_fields_name_and_leaves():
    old = everything()
    run = Run.from_json(json.dumps(old))
    assert run.fields() == old
    legacy = resolve.registered_legacy_values()
    assert sweep_grid.digest(run) == sweep_grid.short_hash(
        {k: v for k, v in old.items() if k not in ("rl", "physics") and old[k] != legacy.get(k)}
    )
    assert len(flatten_with_names(hyper(run))) == 21  # vae.weight is younger
    earlier = {k: v for k, v in old.items() if k.partition(".")[0] not in ("replay", "inference")}
    assert Run.from_json(json.dumps(earlier)).fields() == earlier


HOSTILE = (
    None, {}, [[]], [{}], "\x1b[2J", "x" * 2000, float("nan"), float("inf"), [1] * 200,
    [None], "9" * 10**5,
)  # fmt: skip


UNKNOWN = (
    "mine", "__class__.x", "mine.__class__", "mine.x.y", "m ine.x", "mine.", ".x", "é.x",
    "m" * 200 + ".x", "env.pulls",
)  # fmt: skip


def test_any_option_that_can_be_declared_can_be_recorded(here):
    """With any name, and with large numbers."""
    names = ("items", "replace", "values", "check", "section", "split", "x" * 49)
    body = "@section('mine')\nclass Mine:\n    '''Names.'''\n" + "".join(
        f"    {name}: int = setting(10**{i}, 'a number')\n" for i, name in enumerate(names, 40)
    )
    run = Run(env="bandit.py", method=write(here, "names.py", body + "make.sections = (Mine,)\n"))
    read = Run.from_json(run.to_json())
    assert read.fields() == run.fields() and read.get("mine") != run.mine
    assert read.with_code() == run


def test_recorded_options_are_few():
    many = {f"mine.x{i}": i for i in range(1001)}
    with pytest.raises(ConfigError, match="at most 1000 options of files"):
        Run.from_json(json.dumps(everything() | many))


def test_recorded_options_are_bounded_like_any_untrusted_value():
    old = everything()
    for value in HOSTILE:
        with pytest.raises(ConfigError) as refused:
            Run.from_json(json.dumps(old | {"mine.x": value}))
        assert str(refused.value).startswith("mine.x = ") and len(str(refused.value)) < 300
        assert str(refused.value).isprintable()
    for name in UNKNOWN:
        with pytest.raises(ConfigError, match="no such field"):
            Run.from_json(json.dumps(old | {name: 1}))
    with pytest.raises(ConfigError, match="no such field"):
        Run.from_json(json.dumps(Run(method="rl2").fields() | {"mine.x": 1}))
    assert recorded_options.split_name("mine.x") == ("mine", "x")


def test_a_run_directory_names_no_code(here):
    """However it is read: the files are data."""
    run = Run(**NAMES)
    (here / "fading.py").write_text("open('marker', 'w')")
    read = Run.from_json(run.to_json())
    hyper(read), read.fields(), read.to_json(), read.replace({"seeds": 2}), read.traced()
    assert not Path("marker").exists()
