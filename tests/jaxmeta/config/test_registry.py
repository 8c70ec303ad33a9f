"""Names that one process registered and another one reads; the names of one file."""

import json
import shutil

import chex
import pytest

import jaxmeta
from envs.gridworld import gridworld
from experiments.__main__ import main
from jaxmeta.config import registry, user_code
from jaxmeta.config.registry import EnvSpec, MethodSpec
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import layout, lock, reading
from jaxmeta.sweeps import executors, sweep_grid
from jaxmeta.sweeps.plan import plan, sweep
from tests.written import run_on_record, two_episodes, write_run

NAMES = {"env": "mine/maze-v0", "method": "own-rl2"}


@pytest.fixture
def registered(monkeypatch):
    """What this process registers from here on, and no longer than the test."""
    names = {"environments": {}, "methods": {}}
    monkeypatch.setattr(registry, "_registered", names)
    return names


def test_a_name_that_is_not_known_here_is_read_but_not_made():
    run = run_on_record(two_episodes(), **NAMES, **{"env.size": 7, "own.rate": 0.5})
    assert (run.env, run.method, run.get("env").size) == (*NAMES.values(), 7)
    assert Run.from_json(run.to_json()) == run
    assert run.replace({"seeds": 3}).fields() == run.fields() | {"seeds": 3}
    for field, name in NAMES.items():
        with pytest.raises(ConfigError, match=f"{field} = '{name}': must be one of"):
            Run(**{field: name})
    for field in NAMES:  # where it is known it is checked, whatever the other is
        with pytest.raises(ConfigError, match=r"no such field"):
            run_on_record(two_episodes(), **{field: NAMES[field], "a2c.more": 1})


@pytest.mark.parametrize("field", NAMES)
def test_its_tables_need_no_name_and_its_code_does(field, tmp_path, capsys):
    run = run_on_record(two_episodes(), **{field: NAMES[field]})
    versions = {"versions": {"jax": "0.10.2"}}
    out = write_run(tmp_path / "a", run, [[1.0]], [[1.0]], status="finished", **versions)
    for command in ("report", "watch"):
        assert main([command, str(out)]) == 0
    capsys.readouterr()
    for command in ("resume", "evaluate"):
        assert main([command, str(out)]) == 2
        said = f"{field} = '{NAMES[field]}': is not registered here; pass {field}=... in Python"
        assert said in capsys.readouterr().err
    with pytest.raises(ConfigError, match="is not registered here"):
        jaxmeta.load(out)
    words = ["train", "gridworld", "--method", "rl2", "--out", str(tmp_path / "b")]
    named = [NAMES["env"] if w == "gridworld" and field == "env" else w for w in words]
    named = [NAMES["method"] if w == "rl2" and field == "method" else w for w in named]
    assert main(named) == 2
    assert "must be one of" in capsys.readouterr().err


def test_it_is_loaded_and_resumed_with_its_code(trained, tmp_path):
    """As if it had been trained under a name that its process registered."""
    out = shutil.copytree(trained.out, tmp_path / "copy")
    config = json.loads((out / layout.CONFIG).read_text()) | {"env": "mine"}
    (out / layout.CONFIG).write_text(json.dumps(config))
    manifest = reading.read_manifest(out)
    manifest["code"]["env"]["from"] = "registered"
    (out / layout.MANIFEST).write_text(json.dumps(manifest))
    _, params = jaxmeta.load(out, seed=1, env=gridworld())
    _, same = jaxmeta.load(trained.out, seed=1)
    chex.assert_trees_all_equal(params, same)
    chex.assert_trees_all_equal(jaxmeta.resume(out, env=gridworld()).params, trained.result.params)


@pytest.mark.parametrize("executor", [name for name in executors.EXECUTORS if name != "here"])
@pytest.mark.parametrize("field", NAMES)
def test_other_processes_are_given_no_name_that_they_cannot_find(
    registered, field, executor, tmp_path
):
    registry.register_env("mine/maze-v0", EnvSpec("envs.gridworld:gridworld", "mine"))
    registry.register_method(MethodSpec("own-rl2", "jaxmeta.algorithms.rl2:rl2", "mine"))
    run = Run(**{"method": "rl2", field: NAMES[field]})
    said = rf"{field} = '{NAMES[field]}': is registered in this process only.*FILE\.py:FUNCTION"
    with pytest.raises(ConfigError, match=said):
        sweep(run, {"a2c.gamma": [0.9, 0.95]}, out=tmp_path / "s", executor=executor)
    assert not (tmp_path / "s").exists()


def test_this_process_finds_what_it_registered(registered, tmp_path, monkeypatch):
    registry.register_env("mine", EnvSpec("envs.gridworld:gridworld", "mine"))
    given = []
    monkeypatch.setitem(
        executors.EXECUTORS, "here", lambda programs, options: given.extend(programs)
    )
    sweep(Run(env="mine", method="rl2"), {"a2c.gamma": [0.9]}, out=tmp_path / "s")
    assert len(given) == 1


SPELLINGS = ("own.py", "./own.py", "own.py:make", "./own.py:make", ".//own.py:make")


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("from envs.gridworld import gridworld as make\nother = make\n")
    (tmp_path / "way.py").write_text("from jaxmeta.algorithms.rl2 import rl2 as make\n")


def test_a_file_has_one_name(own):
    runs = [Run(env=name, method=name.replace("own", "way")) for name in SPELLINGS]
    assert {(run.env, run.method) for run in runs} == {("own.py:make", "way.py:make")}
    assert len(set(runs)) == 1 and len({sweep_grid.digest(run) for run in runs}) == 1
    for name in ("own.py:other", "../own.py:make", "/own.py:make", "gridworld"):
        assert user_code.file_name(name) == name


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_run_from_before_is_this_run(own, name, tmp_path):
    """Its config.json holds the name as it was given."""
    run = Run(env="own.py", method="rl2")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / layout.CONFIG).write_text(json.dumps(run.fields() | {"env": name}))
    assert lock.look(run, tmp_path / "a") == "running"
    assert lock.look(run.replace({"seeds": 1}), tmp_path / "a") == "running"


def test_a_sweeps_folders_from_before_keep_their_names(own, tmp_path):
    """They are the hash of the configuration, in which own.py was another name than own.py:make."""
    run = Run(env="own.py", method="way.py")
    before = sweep_grid.short_hash(
        {"env": "own.py", "method": "way.py"}
        | {
            k: v
            for k, v in run.fields().items()
            if k not in ("env", "method", "rl", "physics") and v != run.legacy_values().get(k)
        }
    )
    (new,) = plan(run, out=tmp_path / "s").runs
    assert new.name != before
    (tmp_path / "s" / "runs" / before).mkdir(parents=True)
    (old,) = plan(run, out=tmp_path / "s").runs
    assert old.name == before
