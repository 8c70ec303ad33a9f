"""Users' packages called `envs` and `experiments`: neither hides ours, nor ours theirs."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from experiments.__main__ import main
from jaxmeta.config import own_packages, registry, user_code
from jaxmeta.config.run import Run

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from pathlib import Path
if sys.argv[1] == "theirs first":
    import envs
import jaxmeta
from jaxmeta.config import registry, user_code
assert jaxmeta.Run(env="ant-goal", method="rl2").frames == 200_000_000
ours = user_code.load(registry.env_spec("half-cheetah-velocity").make)
assert Path(sys.modules[ours.__module__].__file__) == Path(sys.argv[2])
import envs
assert not hasattr(envs, "ENVIRONMENTS") and "jaxmeta" not in str(envs.__path__)
import envs.mine
jaxmeta.register_env("mine", jaxmeta.EnvSpec("envs.mine:make", "theirs"))
assert user_code.load(registry.env_spec("mine").make)() == "theirs"
"""


def in_the_way(folder):
    """Write packages of our names, which end whoever executes the wrong one."""
    for name, file in (("envs", "mine"), ("experiments", "report")):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{file}.py").write_text("def make():\n    return 'theirs'\n")
    (folder / "envs" / "__init__.py").write_text("")
    (folder / "experiments" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    return folder


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
def test_a_script_beside_a_package_envs_has_both(order, tmp_path):
    script = in_the_way(tmp_path) / "script.py"
    script.write_text(SCRIPT)
    ours = ROOT / "envs" / "locomotion" / "half_cheetah.py"
    command = [sys.executable, script, order, ours]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", [True, False])
def test_the_command_line_is_ours_whatever_comes_first(script, tmp_path):
    folder = in_the_way(tmp_path)
    start = [Path(sys.executable).with_name("jaxmeta")]
    command = start if script else [sys.executable, "-m", "jaxmeta"]
    done = subprocess.run(
        [*command, "report", "nowhere"],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nowhere: holds no run" in done.stderr


@pytest.fixture
def taken(monkeypatch):
    """Return a function that gives one of our names to a package of the user's."""

    def take(name, file):
        for known in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, known)
        theirs = ModuleType(name)
        if file:
            theirs.__file__ = file
        monkeypatch.setitem(sys.modules, name, theirs)
        registry.entry_point_specs.cache_clear()
        return theirs

    finders = list(sys.meta_path)
    sys.meta_path[:] = [f for f in finders if f is not own_packages.FIND_BESIDE]
    yield take
    sys.meta_path[:] = finders
    for known in [m for m in sys.modules if m.partition(".")[0] == own_packages.ALIAS]:
        del sys.modules[known]
    registry.entry_point_specs.cache_clear()


@pytest.mark.parametrize("file", ["envs.py", None])  # None: a folder without __init__.py
def test_runs_are_made_while_another_module_has_the_name(file, taken):
    theirs = taken("envs", file)
    run = Run(env="gridworld", method="rl2")
    found = user_code.load(registry.env_spec(run.env).make)
    assert found.__module__ == "jaxmeta_own.envs.gridworld"
    assert sys.modules["envs"] is theirs
    assert not [m for m in sys.modules if m.startswith("envs.")]


def test_the_command_line_within_such_a_program_says_which_file_hides_ours(taken, capsys):
    taken("envs", "/home/me/envs.py")
    assert main(["list"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("jaxmeta: envs = /home/me/envs.py: hides jaxmeta's package")


def test_a_file_that_wants_its_own_envs_is_told_whose_the_name_is(tmp_path, capsys):
    (tmp_path / "own.py").write_text("from envs.mine import make\n")
    assert main(["train", str(tmp_path / "own.py")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"envs is jaxmeta's package here ({ROOT / 'envs' / '__init__.py'})" in said
    (tmp_path / "other.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        main(["train", str(tmp_path / "other.py")])


def test_names_are_those_of_the_packages_beside():
    beside = {p.parent.name for p in own_packages.FOLDER.glob("*/__init__.py")}
    assert beside - {"jaxmeta", "tests"} == set(own_packages.NAMES)
