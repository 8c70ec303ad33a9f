"""A directory that other code was trained by is neither read back nor resumed."""

import json
import logging

import pytest

from experiments.__main__ import main
from jaxmeta.config import registry
from jaxmeta.config.registry import EnvSpec
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import handed_over, layout
from jaxmeta.sweeps.plan import plan, require_same_code, sweep
from tests.written import two_episodes, write_run

FILE, OTHER = ({"from": "file", "source": c * 64} for c in "ab")
MADE, REMADE = ({"from": "object", "object": c * 64} for c in "cd")
UNKNOWN = {"from": "object", "unknown": "env.pay is a function whose source text is in no file"}
BUILT_IN = {"from": "built-in", "object": "e" * 64}
REGISTERED = {"from": "registered", "object": "c" * 64}
SAME = (
    (FILE, FILE),
    (FILE | {"object": "c" * 64}, FILE | {"object": "d" * 64}),  # a file is its content
    (FILE | {"unknown": "?"}, FILE | {"unknown": "?"}),
    (FILE | {"object": "c" * 64}, MADE),  # by the command line, then in Python
    (MADE, MADE),
    (REGISTERED, MADE),
    (REGISTERED, {"from": "registered"}),  # by its name alone
    (BUILT_IN, BUILT_IN | {"object": "f" * 64}),  # a changed library is announced only
    ({"from": "installed", "object": "c" * 64}, {"from": "installed", "object": "d" * 64}),
    (BUILT_IN, MADE | {"object": "e" * 64}),
)
DIFFERENT = (
    (FILE, OTHER, "is other code than it was trained with"),
    (MADE, REMADE, "is other code than it was trained with"),
    (BUILT_IN, MADE, "is other code than it was trained with"),
    (MADE, BUILT_IN, "is other code than it was trained with"),
    (REGISTERED, REGISTERED | {"object": "d" * 64}, "is other code than it was trained with"),
    (UNKNOWN, UNKNOWN, "cannot be compared with what it is here: env.pay is a function whose"),
    (MADE, UNKNOWN, "cannot be compared with what it is here: env.pay is a function whose"),
    (UNKNOWN, MADE, "cannot be compared with what it was: env.pay is a function whose"),
    (MADE, FILE, "was an object passed in Python, and is a file"),
)


@pytest.mark.parametrize(("then", "now"), SAME)
def test_what_is_the_same(then, now):
    assert handed_over.change(then, now) is None


@pytest.mark.parametrize(("then", "now", "said"), DIFFERENT)
def test_what_is_not_known_to_be_the_same(then, now, said):
    assert handed_over.change(then, now).startswith(said)


def written(path, run, status="finished", **manifest):
    """Write a run with a checkpoint's folder."""
    write_run(path, run, [[1.0]], [[1.0]], status=status, **manifest)
    (path / layout.CHECKPOINTS / "4").mkdir(parents=True)
    return path


def test_manifests_from_before_know_no_code(tmp_path):
    path = written(tmp_path / "a", two_episodes())
    assert handed_over.recorded_code(path) == {}
    handed_over.require_same_code(two_episodes(), path, {"env": MADE}, False)


def test_the_code_that_was_accepted_last_counts(tmp_path):
    changed = {"update": 3, "changed": {"code": [{"env": FILE}, {"env": OTHER}]}}
    resumed = [changed, {"update": 5}, {"update": 6, "changed": {"threads": [1, 2]}}]
    path = written(tmp_path / "a", two_episodes(), code={"env": FILE}, resumed_from=resumed)
    assert handed_over.recorded_code(path) == {"env": OTHER}


BAD = [
    3,
    {"env": 3},
    {"env": {"source": "a"}},
    {"env": {"from": 3}},
    {"env": {"from": "file\x1b[2J"}},
    [["env"]],
]


@pytest.mark.parametrize("code", BAD, ids=str)
def test_a_manifest_may_hold_anything(tmp_path, code):
    path = written(tmp_path / "a", two_episodes(), code=code)
    with pytest.raises(ConfigError, match=r"manifest\.json: cannot be read"):
        handed_over.require_same_code(two_episodes(), path, {"env": FILE, "method": FILE}, False)


@pytest.mark.parametrize("status", ["finished", "preempted", "failed"])
def test_changed_code_is_refused_or_accepted(tmp_path, caplog, status):
    path = written(tmp_path / "a", two_episodes(), status, code={"env": MADE, "method": BUILT_IN})
    now = {"env": REMADE, "method": BUILT_IN}
    said = r"out = .*a: env = 'gridworld' is other code .*; choose another out, or accept .*--acc"
    with pytest.raises(ConfigError, match=said):
        handed_over.require_same_code(two_episodes(), path, now, False)
    with caplog.at_level(logging.WARNING):
        handed_over.require_same_code(two_episodes(), path, now, True)
    assert "env = 'gridworld' is other code than it was trained with; accepted" in caplog.text


def test_a_run_without_a_checkpoint_begins_anew(tmp_path):
    """Who mends an error of the first update need not choose another folder."""
    path = written(tmp_path / "a", two_episodes(), "failed", code={"env": MADE})
    (path / layout.CHECKPOINTS / "4").rmdir()
    handed_over.require_same_code(two_episodes(), path, {"env": REMADE}, False)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file with an environment, and one that it imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "maze.py").write_text("WALLS = 3\n")
    (tmp_path / "own.py").write_text("import maze\nfrom envs.gridworld import gridworld as make\n")
    return tmp_path / "own.py"


def edits(own):
    """Yield what changes a file's code, one after the other."""
    own.write_text(own.read_text() + "\nX = 2\n")
    yield "own.py"
    own.write_text(own.read_text().removesuffix("\nX = 2\n"))
    (own.parent / "maze.py").write_text("WALLS = 4\n")
    yield "maze.py"


def test_the_command_line_reads_no_finished_run_of_an_edited_file(own, tmp_path, capsys):
    run = Run(env="own.py", method="rl2").replace({"trial.episodes": 2})
    code = handed_over.code_by_name(run)
    out = written(tmp_path / "a", run, code=code, saved=4)
    words = ["train", "own.py", "--method", "rl2", "--trial.episodes", "2", "--frames", "10M"]
    words = [*words[:-2], "--out", str(out)]
    assert main(words) == 0
    assert "finished already" in capsys.readouterr().out
    for _ in edits(own):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "is other code than it was trained with" in said and len(said.splitlines()) == 1
        assert main([*words, "--accept-changed-code"]) == 0
        assert "finished already" in capsys.readouterr().out


def test_a_sweep_of_an_edited_file_is_refused_before_it_starts(own, tmp_path, capsys):
    """Runs that are done, and programs that are not."""
    run = Run(env="own.py", method="rl2").replace({"trial.episodes": 2})
    points = [{"networks.hidden": 8}, {"networks.hidden": 12}]
    sweep(run, points=points, out=tmp_path / "s", executor="print")
    planned = plan(run, points=points, out=tmp_path / "s")
    code = handed_over.code_by_name(run)
    (done, wanted), *_ = planned.runs.items()
    (program, *_) = (p for p, runs in planned.programs.items() if done not in runs)
    for path, status in ((done, "finished"), (program, "preempted")):
        if path == done:
            written(path, wanted, code=code)
        (path / layout.MANIFEST).write_text(json.dumps({"status": status, "code": code}))
        (path / layout.CHECKPOINTS / "4").mkdir(parents=True, exist_ok=True)
    file = tmp_path / "s.toml"
    file.write_text(
        'out = "s"\nexecutor = "print"\n[base]\nenv = "own.py"\nmethod = "rl2"\n'
        '"trial.episodes" = 2\n' + "".join(f"[[points]]\nnetworks.hidden = {n}\n" for n in (8, 12))
    )
    require_same_code(plan(run, points=points, out=tmp_path / "s"), False)
    assert main(["sweep", str(file)]) == 0
    for _ in edits(own):
        for place in (done, program):
            hidden = {p: (p / layout.MANIFEST).read_text() for p in {done, program} - {place}}
            for path in hidden:  # this one alone is of other code
                (path / layout.MANIFEST).write_text(json.dumps({"status": "finished"}))
            assert main(["sweep", str(file)]) == 2
            assert f"out = {place.relative_to(tmp_path)}: env = 'own.py" in capsys.readouterr().err
            for path, text in hidden.items():
                (path / layout.MANIFEST).write_text(text)
        assert main(["sweep", str(file), "--accept-changed-code"]) == 0
        assert "--accept-changed-code" in capsys.readouterr().out  # in the workers' commands


def test_names_say_where_code_is_from(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {"environments": {}, "methods": {}})
    registry.register_env("mine", EnvSpec("__main__:make", "mine"))
    found = {name: registry.origin("environments", name) for name in ("gridworld", "mine", "x")}
    assert found == {"gridworld": "built-in", "mine": "registered", "x": "unknown"}
    assert registry.origin("methods", "own.py:make") == "file"
