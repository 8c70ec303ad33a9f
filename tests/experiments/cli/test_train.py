"""The way of one `jaxmeta train`, and what its --help shows first."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.__main__ import main

FOREIGN = Path(__file__).parents[2] / "foreign"
TRACED = (  # in the module where they are called from
    "jaxmeta.rundir.lock.status_of",
    "jaxmeta.training.build.make_members",
    "jaxmeta.training.build.trained_shapes",
    "jaxmeta.training.train_run.evaluation_tasks",
    "jaxmeta.training.train_run.train_state_shapes",
    "jaxmeta.training.train_run.require_memory",
    "jaxmeta.rundir.checkpoint.newest_valid",
    "jaxmeta.training.train_run.compile_functions",
    "jaxmeta.training.train_run.result_for_all",
)
WAY = (
    "bandit.py executed", "fading_rl2.py executed",
    "status_of",  # a look that writes nothing
    "environment made", "method made", "make_members", "trained_shapes",
    "status_of",  # again, under the lock
    "evaluation_tasks", "train_state_shapes", "require_memory", "newest_valid",
    "compile_functions", "result_for_all",
)  # fmt: skip


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What was called since, in its order, and how to train on files that tell of themselves."""
    told = tmp_path / "calls.txt"

    def note(name):
        return f"with open({str(told)!r}, 'a') as file: file.write({name + chr(10)!r})"

    for name, made in (("bandit", "environment"), ("fading_rl2", "method")):
        text = (FOREIGN / f"{name}.py").read_text()
        text += f"\n{note(f'{name}.py executed')}\n_make = make\n\n\ndef make(*args):\n"
        text += f"    {note(f'{made} made')}\n    return _make(*args)\n\n\n"
        text += "make.__dict__.update(_make.__dict__)\n"
        (tmp_path / f"{name}.py").write_text(text)

    def noted(name, function):
        def call(*args, **kwargs):
            exec(note(name))
            return function(*args, **kwargs)

        return call

    for place in TRACED:
        module, _, name = place.rpartition(".")
        function = getattr(importlib.import_module(module), name)
        monkeypatch.setattr(place, noted(name, function))
    files = [str(tmp_path / "bandit.py"), "--method", str(tmp_path / "fading_rl2.py")]
    command = ["train", *files, "--frames", "16", "--workers", "2", "--trial.episodes", "2"]
    sizes = ["--networks.hidden", "4", "--networks.head", "2", "--networks.policy_layers", "4"]
    out = tmp_path / "out"

    def train():
        told.write_text("")
        assert main([*command, *sizes, "--out", str(out)]) == 0
        return tuple(told.read_text().splitlines())

    return train, out


def test_a_call_executes_builds_checks_and_restores_once(calls):
    train, out = calls
    assert train() == WAY
    # In the same process the files are known; what is finished is said without JAX.
    assert train() == ("status_of",)
    (out / "checkpoints").rename(out / "gone")
    (out / "gone").rename(out / "checkpoints")
    manifest = out / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"finished"', '"preempted"'))
    assert train() == WAY[2:]


def test_a_default_number_of_frames_is_said_before_training(calls, tmp_path, capsys, monkeypatch):
    trained = SimpleNamespace(dead={})
    display = "experiments.terminal.training_display.train_with_progress"
    monkeypatch.setattr(display, lambda *args: trained)
    own = str(tmp_path / "bandit.py")
    for words, said in ((["--frames", "1e7"], ""), ([], "frames = 10,000,000, the default of")):
        out = str(tmp_path / f"run-{len(words)}")
        assert main(["train", own, "--method", "rl2", "--out", out, *words]) == 0
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == bool(said)


def test_help_opens_with_what_matters(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    usage = lines[: lines.index("")]
    assert usage[0].startswith("usage: jaxmeta train ENV [--method M] [--frames F]")
    assert len(usage) <= 10
    options = [line.split()[0] for line in lines if line.startswith("  --")]
    assert options[:5] == ["--method", "--frames", "--seeds", "--out", "--preset"]
    assert "--vae.latent" in options  # without an environment: all that there are
