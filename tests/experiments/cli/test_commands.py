"""The command line, end to end in a temporary folder, and what it refuses."""

import json
import subprocess
import sys
from importlib import metadata

import jax
import pytest

from experiments.__main__ import main
from experiments.cli.commands import read_command
from experiments.studies.run_study import STUDIES
from tests.tiny import tiny_run

TINY = [
    word
    for name, value in tiny_run("ldm").fields().items()
    if name not in ("env", "method", "preset", "frames")
    for word in (
        f"--{name}",
        ",".join(map(str, value)) if isinstance(value, tuple) else str(value),
    )
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run made by `jaxmeta train`."""
    out = tmp_path_factory.mktemp("cli") / "run"
    command = ["train", "gridworld", "--method", "ldm", "--frames", "1_000", "--out", str(out)]
    assert main(command + TINY) == 0
    return out, command


@pytest.mark.parametrize(
    "words",
    [
        ["train", "gridworld", "--out=~/r"],
        ["study", "quickstart", "--out=~/r"],
        ["sweep", "a.toml", "--out=~/r"],
        ["bench", "training", "--out=~/r"],
        ["report", "a", "--out=~/r"],
        ["video", "a", "--out=~/r"],
        *(["resume", "~/r"], ["evaluate", "~/r"], ["watch", "~/r"], ["video", "~/r"]),
    ],
)
def test_a_home_that_the_shell_left_is_found(words, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    args = read_command(words)
    assert tmp_path / "r" in vars(args).values()


def test_train_prints_the_rounded_frames_and_writes_the_run(trained, capsys):
    out, command = trained
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["status"], manifest["frames_per_seed"]) == ("finished", 1200)
    assert main(command + TINY) == 0
    assert "finished already" in capsys.readouterr().out


def test_report_draws_the_figures(trained, tmp_path, capsys):
    out, _ = trained
    assert main(["report", str(out), "--out", str(tmp_path)]) == 0
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    for stem in ("curves", "cells", "imagined", "trials"):
        assert {f"{stem}.png", f"{stem}.svg"} <= names
    assert "LDM" in capsys.readouterr().out


def test_evaluate_reads_the_checkpoint(trained, capsys):
    out, _ = trained
    assert main(["evaluate", str(out), "--split", "test", "--rollouts", "2"]) == 0
    assert "of 27" in capsys.readouterr().out
    assert main(["evaluate", str(out), "--split", "tset"]) == 2
    assert "must be one of test, train" in capsys.readouterr().err


def test_list_names_everything(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for name in ("gridworld-extrapolation", "varibad", "ldm", "rl2", *STUDIES):
        assert name in shown


def test_help_shows_every_field(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for name in tiny_run("ldm").fields():
        assert f"--{name}" in shown or name in ("env",)


# command line after `train`, and what the one line must say
BAD = {
    "gridwrld": "env = 'gridwrld': must be one of",
    "./nowhere.py:make": "env = './nowhere.py:make': there is no file ./nowhere.py",
    "gridworld --method rl3": "method = 'rl3': must be one of ldm, mixreg, moss, rl2",
    "gridworld --preset x": "preset = 'x': must be one of paper, reference",
    "gridworld --frames 100": "frames = 100: must be at least one update, 1920 frames",
    "gridworld --frames many": "frames = 'many': must be a whole number >= 1",
    "gridworld --seeds 0": "seeds = '0': must be a whole number >= 1",
    "gridworld --imagination.mixture 16": "imagination.mixture = 16: must be less than workers",
    "gridworld --workers 20": "workers = 20: must be a multiple of the group of 16",
    "gridworld --imagination.beta -1": "imagination.beta = '-1': must be a number >= 0",
    "gridworld --vae.dropout 1": "vae.dropout = '1': must be a number >= 0 and < 1",
    "gridworld --imagination.bta 1": "did you mean imagination.beta?",
    "gridworld --method rl2 --vae.latent 3": "vae.latent: rl2 on gridworld has no such field",
    "gridworld --out /proc/nowhere": "out = /proc/nowhere: must be writable",
    "gridworld --seed 7": "--seed: train has no such option; seeds = N trains the seeds 0 to N - 1",
    "gridworld --seed=7": "--seed=7: train has no such option; seeds = N trains the seeds 0 to",
    "gridworld --ppo.gamma 0.9": "ppo belongs to rl = ppo, and here it is a2c: add --rl ppo",
    "ant-goal --a2c.gamma 0.9": "a2c belongs to rl = a2c, and here it is ppo: add --rl a2c",
    "gridworld --sac.clip 1": "sac belongs to rl = sac, of the methods moss or varibad-off-policy",
    "gridworld --method rl2 --imagination.beta 1": "imagination belongs to --method ldm",
    "gridworld --env.size 3": "env has an environment's own options, and gridworld has none",
    "gridworld --a2.gama 1": "did you mean a2c.gamma?",
    "gridworld --policy.gamma 1": "sections are trial, a2c, networks, vae, imagination, evaluation",
    "": "ENV",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_and_exit_code_2(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *line.split()]) == 2
    error = capsys.readouterr().err
    assert BAD[line] in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


DAMAGED = {
    "unknown": ({"a2c.gama": 0.9}, "a2c.gama: ldm on gridworld has no such field; did you mean"),
    "missing": ({"a2c.gamma": None}, "a2c.gamma: missing; config.json holds every field"),
    "mistyped": ({"a2c.gamma": [0.9]}, "a2c.gamma = [0.9]: must be a number >= 0 and <= 1"),
    "hostile": ({"a2c.gamma": "\x1b[2J" + "9" * 5000}, "a2c.gamma = '\\x1b[2J999"),
}


@pytest.mark.fault("config.json with unknown, missing, mistyped or hostile fields")
@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("command", ["resume", "evaluate", "report"])
def test_a_bad_configuration_in_a_directory_is_one_line(damage, command, trained, tmp_path, capsys):
    changed, said = DAMAGED[damage]
    config = json.loads((trained[0] / "config.json").read_text()) | changed
    written = {k: v for k, v in config.items() if v is not None}
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert main([command, str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert len(error) < 500


def test_resume_says_that_a_run_keeps_its_options(trained, capsys):
    for words in (["--frames", "2_000"], ["--log-every=5"], ["--ppo.clip", "0.2"]):
        assert main(["resume", str(trained[0]), *words]) == 2
        assert f"{words[0]}: resume has no such option; a run keeps" in capsys.readouterr().err


def test_the_version_is_that_of_the_installed_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(
        f"jaxmeta {metadata.version('jaxmeta')} (Python {sys.version.split()[0]}"
    )
    assert f"JAX {jax.__version__})" in said


def test_bad_input_is_refused_before_jax_is_imported():
    code = (
        "import sys; from experiments.__main__ import main;"
        "print(main(['train', 'gridworld', '--frames', '1']), 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def test_another_configuration_in_the_same_folder_is_refused(trained, capsys):
    _, command = trained
    assert main([*command, *TINY, "--imagination.beta", "1.5"]) == 2
    assert "imagination.beta (1.0 there, 1.5 here)" in capsys.readouterr().err


def test_studies_are_runs_and_check_their_input(tmp_path, capsys):
    for name in ("quickstart", "gridworld"):
        assert {"rl2", "varibad", "ldm"} <= STUDIES[name].runs().keys(), name
    paper = STUDIES["gridworld"].runs()
    assert all((run.seeds, run.frames) == (8, 100_000_000) for run in paper.values())
    assert paper["rl2-oracle"].train_split == "oracle"
    maps = STUDIES["reward-maps"].runs(frames=10_000_000)
    assert [run.vae.dropout for run in maps.values()] == [0.0, 0.5, 0.7, 0.9]
    assert {(run.seeds, run.frames) for run in maps.values()} == {(4, 10_000_000)}
    betas = STUDIES["gridworld-extrapolation"].runs(seeds=2)
    assert [betas[f"beta-{b}"].imagination.beta for b in ("1", "1.5", "2", "2.5")] == [
        1,
        1.5,
        2,
        2.5,
    ]
    assert {(run.env, run.seeds) for run in betas.values()} == {("gridworld-extrapolation", 2)}
    ratios = [run.imagination for run in STUDIES["worker-ratio-ablation"].runs().values()]
    assert [(r.normal, r.mixture) for r in ratios] == [(15, 1), (14, 2), (12, 4), (8, 8)]
    assert main(["study", "gridworld", "--out", str(tmp_path), "--seeds", "0"]) == 2
    assert "seeds = '0'" in capsys.readouterr().err
    assert main(["study", "gridworld", "--only", "rl2", "pearl"]) == 2
    assert "only = 'pearl': must be some of ldm, rl2, mixreg" in capsys.readouterr().err
    assert main(["study", "nothing"]) == 2
    assert "must be one of quickstart, gridworld, reward-maps" in capsys.readouterr().err
