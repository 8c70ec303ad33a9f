"""Programs are trained here, in processes, as SLURM jobs, or printed."""

import shlex
import time

import pytest

import jaxmeta
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError, Preempted
from jaxmeta.rundir import reading
from jaxmeta.sweeps import executors, sweep_folder, train_program
from tests.processes import ENVIRONMENT
from tests.tiny import tiny_run

FRAMES = {"frames": 2000, "log_every": 480, "evaluation.every": 960}


RL2 = tiny_run("rl2", FRAMES)


def stop_at(frames, error):
    def watch(status):
        if status.frames >= frames:
            raise error

    return watch


def test_an_error_ends_its_own_program_only(tmp_path, monkeypatch, caplog):
    run_program = train_program.run_program

    def failing(path, *args):
        if next(iter(sweep_folder.read_program(path).values())).networks.hidden == 12:
            raise RuntimeError("out of memory")
        run_program(path, *args)

    monkeypatch.setattr(train_program, "run_program", failing)
    points = [{"networks.hidden": 12}, {"a2c.gamma": 0.9}]
    table = jaxmeta.sweep(RL2, points=points, out=tmp_path / "a")
    assert table["status"].tolist() == ["not begun"] * 2 + ["finished"] * 2
    assert "out of memory" in caplog.text


def test_commands_are_printed_for_other_schedulers(tmp_path, capsys):
    jaxmeta.sweep(RL2, {"networks.hidden": [12, 14]}, out=tmp_path / "a", executor="print")
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    programs = {str(path) for path in (tmp_path / "a" / "programs").iterdir()}
    assert {words[4] for words in lines} == programs
    assert all(words[1:4] == ["-P", "-m", "jaxmeta.worker"] for words in lines)


@pytest.fixture
def environment(monkeypatch):
    """Give other processes this repository's code, and the tests' compilation cache."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.slow
def test_worker_processes_share_the_cores(tmp_path, environment):
    table = jaxmeta.sweep(
        RL2, {"networks.hidden": [12, 14]}, out=tmp_path / "a", executor="processes", workers=2
    )
    assert set(table["status"]) == {"finished"}
    for program in (tmp_path / "a" / "programs").iterdir():
        assert reading.read_manifest(program)["threads"].startswith("1 cores")


# submitit leaves its processes to themselves.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_slurm_jobs_are_submitted_once(tmp_path, caplog, environment):
    """Through submitit's local executor."""
    arguments = {"out": tmp_path / "a", "executor": "slurm", "slurm": {"cluster": "local"}}
    caplog.set_level("INFO")
    jaxmeta.sweep(RL2, {"a2c.gamma": [0.9]}, **arguments)
    jaxmeta.sweep(RL2, {"a2c.gamma": [0.9]}, **arguments)
    assert "has a job already" in caplog.text
    (program,) = (tmp_path / "a" / "programs").iterdir()
    end = time.monotonic() + 120
    while executors.has_job(program):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert set(jaxmeta.sweep(RL2, {"a2c.gamma": [0.9]}, **arguments)["status"]) == {"finished"}


def test_code_from_files_is_executed_for_who_named_it_only(tmp_path):
    file = tmp_path / "env.py"
    file.write_text("from envs.gridworld import gridworld as make\n")
    run = Run(env=str(file), method="rl2", frames=1920).replace({"networks.hidden": 8})
    with pytest.raises(Preempted):
        jaxmeta.sweep(run, out=tmp_path / "a", watch=stop_at(0, Preempted("now")))
    (program,) = (tmp_path / "a" / "programs").iterdir()
    with pytest.raises(ConfigError, match="names no code to execute"):
        train_program.run_program(program)
    assert jaxmeta.sweep(run, out=tmp_path / "a")["status"].tolist() == ["finished"]
