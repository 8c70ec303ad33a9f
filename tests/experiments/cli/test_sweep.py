"""Sweeps from a TOML file, through the command line."""

import pytest

from experiments.__main__ import main
from experiments.cli.sweep import read_sweep
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import reading
from tests.tiny import tiny_run

RUN = tiny_run("rl2", {"frames": 960})
BASE = "".join(
    f'"{name}" = {str(list(value) if isinstance(value, tuple) else value).lower()}\n'
    for name, value in RUN.fields().items()
    if isinstance(value, (int, float, tuple)) and not isinstance(value, bool)
)
GRID = """
[grid]
a2c.gamma = [0.9, 0.95]
"""


@pytest.fixture
def file(tmp_path):
    """A sweep of two discounts."""
    path = tmp_path / "discounts.toml"
    path.write_text(f'out = "{tmp_path}/out"\n[base]\nmethod = "rl2"\n{BASE}{GRID}')
    return path


def test_a_file_holds_the_arguments_of_sweep(file, tmp_path):
    parsed = read_sweep(file)
    assert parsed["base"] == [RUN]
    assert parsed["grid"] == {"a2c.gamma": [0.9, 0.95]}
    assert parsed["out"] == tmp_path / "out"


def test_names_may_be_grouped_or_dotted_and_bases_several(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(
        '[[base]]\nmethod = "rl2"\n[base.a2c]\ngamma = 0.8\n[[base]]\nmethod = "ldm"\n'
        '[[points]]\n"a2c.learning_rate" = 1e-3\n'
    )
    parsed = read_sweep(path)
    assert [run.method for run in parsed["base"]] == ["rl2", "ldm"]
    assert parsed["base"][0].a2c.gamma == 0.8
    assert parsed["points"] == [{"a2c.learning_rate": 1e-3}]
    assert str(parsed["out"]) == "runs/two"


@pytest.mark.parametrize("text", ["", "[base]\nframes = 5000", "[grid]\nframes = [5000, 9000]"])
def test_default_frames_are_announced_where_none_are_given(text, tmp_path, caplog):
    path = tmp_path / "file.toml"
    path.write_text(text)
    with caplog.at_level("INFO", "jaxmeta"):
        read_sweep(path)
    said = "" if text else "frames = 100,000,000, the default of gridworld: none are given"
    assert "".join(caplog.messages) == said


BAD = {
    "grdi = 1": "grdi: must be one of base, grid",
    "seeds = true": "seeds = True: of the wrong kind",
    "grid = 3": "grid = 3: of the wrong kind",
    "[base]\nmethod = 'rl3'": "method = 'rl3': must be one of",
    "[base]\na2c.gamma = 2.0": "a2c.gamma = 2.0: must be a number",
    "[base": "cannot be read",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_files_are_refused(text, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=BAD[text]):
        read_sweep(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sweep(tmp_path / "missing.toml")


def test_the_command_line_trains_once_and_says_so(file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "experiments.terminal.speed_forecast.frames_per_s", lambda run: 1000.0 * run.seeds
    )
    assert main(["sweep", str(file), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 runs, 0 finished; to do: 2 in 1 programs" in said
    assert "2 runs x 2 seeds x 960 frames, 0.00 hours" in said
    assert not (tmp_path / "out").exists()
    assert main(["sweep", str(file)]) == 0
    said = capsys.readouterr().out
    assert "finished" in said
    assert "0.95" in said
    assert main(["sweep", str(file)]) == 0
    assert "nothing to do: everything is finished already" in capsys.readouterr().out
    (program,) = (tmp_path / "out" / "programs").iterdir()
    assert reading.status(next((tmp_path / "out" / "runs").iterdir())) == "finished"
    assert main(["resume", str(program)]) == 0


def test_a_report_compares_a_sweeps_runs(file, tmp_path, capsys):
    main(["sweep", str(file)])
    assert main(["report", str(tmp_path / "out" / "runs"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "figures" / "summary.csv").is_file()
