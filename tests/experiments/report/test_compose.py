"""The report's table against a run directory with known answers."""

import csv
import math
import os
import re
import subprocess
import sys

import pytest

from experiments.__main__ import main
from experiments.report.compose import report
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir import layout
from tests.written import cut_short, run_on_record, two_episodes, write_run


def both(*stems):
    """Return the names of figures."""
    return {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}


PAGE = {"report.md", "report.html"}
DRAWN = {"summary.csv", *both("curves", "first_episode", "adaptation")}
JAX = {number: {"jax": f"0.{number}.0", "numpy": "2.4.6"} for number in (10, 11)}


@pytest.fixture(autouse=True)
def blank_figures(monkeypatch):
    """Leave every picture empty: drawing them is most of a report's time, see test_figures."""
    blank = lambda figure, path, **how: path.write_text("<svg/>")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", blank)


@pytest.fixture
def rl2(tmp_path):
    # Seed 0 reaches 22.5 in its third evaluation; seed 1 never does.
    train = [[0, 10, 22.5, 20, 24], [0, 1, 2, 3, 22]]
    test = [[0, 0, 0, 0, 12], [0, 0, 0, 0, 14]]
    return write_run(tmp_path / "rl2", two_episodes(seeds=2), train, test)


REPORT = "from experiments.__main__ import main; import sys; sys.exit(main())"


def test_a_report_in_a_notebook_of_another_locale(rl2, tmp_path):
    """The notebook's matplotlib is not ours, its ASCII has no "²", and a name is no formula."""
    named = rl2.rename(tmp_path / "$\\bad{$ [red]")
    other = write_run(tmp_path / "b", two_episodes(seeds=2), [[0, 1]] * 2, [[0, 1]] * 2)
    environment = os.environ | {
        "MPLBACKEND": "module://not_here.backend",
        "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", REPORT, "report", named, other],
        env=environment, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"RL\\xb2 ({named.name})" in done.stdout
    assert f"RL² ({named.name})" in (tmp_path / "figures" / "summary.csv").read_text("utf-8")
    assert "RL²" in (tmp_path / "report.md").read_text("utf-8")


def test_rows_hold_what_was_computed_by_hand(rl2):
    rows = report([rl2]).rows
    assert [row["seed"] for row in rows] == [0, 1, "mean", "std", "iqm", "low", "high"]
    first, second, mean, deviation, iqm, low, high = rows
    assert first["method"] == "RL²"
    assert first["frames"] == 4000
    assert first["frames_per_s"] == pytest.approx(4000 / 70)
    assert first["threshold"] == 22.5
    assert first["frames_at_threshold"] == 2000
    assert math.isnan(second["frames_at_threshold"])
    assert math.isnan(mean["frames_at_threshold"])
    assert (first["share_at_threshold"], second["share_at_threshold"]) == (1, 0)
    assert (first["train_return_episode_1"], first["train_return_episode_2"]) == (23, 24)
    assert (mean["train_return_episode_2"], mean["test_return_greedy"]) == (23, 13)
    assert deviation["test_return_greedy"] == pytest.approx(math.sqrt(2))
    assert mean["test_return_sampled"] == 13.25
    assert first["test_goals_greedy"] == pytest.approx(2)
    # 12 and 14 on three test tasks each: of six values, the middle four.
    keys = ("test_return_greedy", "test_goals_sampled", "train_return_sampled")
    assert [iqm[key] for key in keys] == [13, 2, 23.25]
    assert [low["test_return_greedy"], high["test_return_greedy"]] == [12, 14]
    # Five evaluations at 0 to 4,000 frames: (0 + 0 + 0 + 0 + 12 / 2) / 4.
    assert first["test_area_greedy"] == pytest.approx(1.5)
    assert "frames" not in iqm


def test_the_terminal_says_what_was_not_reached(rl2, capsys):
    report([rl2])
    text = " ".join(capsys.readouterr().out.split())
    assert "not reached" in text
    assert "…" not in text  # nothing is cut short, however narrow the terminal
    assert "running, 4,000 of 100,000,000 frames" in text
    assert "frames at" in text
    assert "≥ 22.5" in text
    assert "last fifth" in text
    assert "17.17 is the highest" in text
    assert "holds no checkpoint" in text
    assert "optimum 25.00" in text


def test_files_lie_next_to_the_run(rl2):
    found = report([rl2])
    folder = rl2 / "figures"
    names = {"summary.csv", *both("curves", "first_episode", "adaptation", "cells")}
    assert {file.name for file in found.files} == names | PAGE
    assert {file.name for file in folder.iterdir()} == names
    assert {file.name for file in rl2.iterdir()} > PAGE
    with (folder / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[0]["frames_at_threshold"], rows[1]["frames_at_threshold"]) == ("2000", "")
    assert float(rows[2]["test_return_greedy"]) == 13


def test_several_runs_share_their_parents_figures(rl2, tmp_path):
    oracle = two_episodes(train_split="oracle")
    write_run(tmp_path / "oracle", oracle, [[25.0]], [[25.0]])
    found = report([tmp_path])
    assert [row["method"] for row in found.rows] == ["RL²"] * 7 + ["RL² oracle"]
    assert (tmp_path / "figures" / "curves.png").is_file()
    elsewhere = report([tmp_path], tmp_path / "out")
    assert {file.parent for file in elsewhere.files} == {tmp_path / "out", tmp_path / "out/figures"}


def test_two_test_splits_have_columns_each(tmp_path, capsys):
    run = two_episodes(env="gridworld-extrapolation")
    path = write_run(tmp_path / "a", run, [[24.3]], [[1.0]], tests=("test1", "test2"))
    (row,) = report([path]).rows
    assert {f"{s}_return_greedy" for s in ("test1", "test2")} <= row.keys()
    assert row["threshold"] == pytest.approx(0.97 * 25)
    assert row["share_at_threshold"] == 1
    assert "17.17" not in capsys.readouterr().out


def test_an_environment_without_goals_has_curves_and_a_table(tmp_path, capsys):
    env = tmp_path / "env.py"
    env.write_text("raise RuntimeError('a report runs no code that a run names')")
    run = run_on_record(two_episodes(), env=f"{env}:make")
    path = write_run(tmp_path / "a", run, [[2.0]], [[1.0]], reached="", best=None)
    found = report([path])
    assert {file.name for file in found.files} == DRAWN | PAGE
    assert math.isnan(found.rows[0]["test_goals_greedy"])
    text = capsys.readouterr().out
    assert "optimum" not in text
    assert "goals/" not in text
    assert "≥" not in text


def test_a_run_without_evaluations_is_named_and_left_out(tmp_path, capsys):
    path = write_run(tmp_path / "a", two_episodes(), [[]], [[]])
    assert report([path]) == ([], [])
    assert "no evaluation yet" in " ".join(capsys.readouterr().out.split())


def words(capsys):
    """Return what was printed, without line breaks."""
    return " ".join(capsys.readouterr().out.split())


def one_seed(path, value=1.0, *, seeds=1, learn="train", train=None, test=None, **manifest):
    """Write a run without maps, which are slow: its environment is a file, which is not there."""
    run = two_episodes(seeds=seeds, train_split=learn, frames=10_000_000)
    run = run_on_record(run, env="nowhere.py:make")
    train = [[value]] if train is None else train
    test = [[value]] if test is None else test
    return write_run(path, run, train, test, **manifest)


def summary_of(folder):
    """Return summary.csv's test returns by method."""
    with (folder / "summary.csv").open(newline="") as file:
        return {row["method"]: float(row["test_return_greedy"]) for row in csv.DictReader(file)}


def test_runs_on_two_versions_of_an_environment_have_tables_apart(tmp_path, capsys):
    for place, (name, version) in enumerate({"a": 2, "b": 1, "c": 1}.items()):
        one_seed(tmp_path / name, place, env_version=version, versions=JAX[10])
    found = report([tmp_path])
    assert summary_of(tmp_path / "figures") == {"RL² (b)": 1, "RL² (c)": 2}  # the largest group
    (other,) = tmp_path.glob("figures-env-2-versions-????????????")
    assert summary_of(other) == {"RL² (a)": 0}
    for folder in (tmp_path / "figures", other):
        assert {file.name for file in folder.iterdir()} == DRAWN
    assert len(set(found.files)) == 2 * len(DRAWN) + len(PAGE)
    assert [row["method"] for row in found.rows] == ["RL² (b)", "RL² (c)", "RL² (a)"]
    text = words(capsys)
    assert "WARNING: these runs cannot be compared" in text
    assert (
        f"{tmp_path}/b, {tmp_path}/c: environment version 1, jax 0.10.0, numpy 2.4.6"
        f" {tmp_path}/a: environment version 2 "
    ) in text
    assert text.count("Greedy: 1 rollout per task") == 2  # two tables


def test_of_equal_groups_the_first_given_comes_first(tmp_path, capsys):
    a = one_seed(tmp_path / "a", 1, versions=JAX[10], learn="oracle")
    b = one_seed(tmp_path / "b", 2, versions=JAX[11])
    for given in ([a, b], [b, a]):
        report(given, tmp_path / "out")
        value = {a: 1, b: 2}[given[0]]
        assert list(summary_of(tmp_path / "out" / "figures").values()) == [value]
        assert f"{given[1]}: jax 0.{ ({a: 10, b: 11}[given[1]]) }.0 environment" in words(capsys)
    folders = {folder.name for folder in (tmp_path / "out").iterdir()} - PAGE - {"figures"}
    assert len(folders) == 2  # one for each, whichever came second
    assert all(re.fullmatch("figures-env-none-versions-[0-9a-f]{12}", name) for name in folders)


def test_a_package_that_only_one_names_is_reported(tmp_path, capsys):
    one_seed(tmp_path / "a", 1, versions=JAX[10])
    one_seed(tmp_path / "b", 2, versions={"jax": "0.10.0"})
    report([tmp_path])
    assert f"{tmp_path}/b: without numpy 2.4.6 " in words(capsys)


def test_a_manifest_without_versions_is_a_group_of_its_own(tmp_path, capsys):
    one_seed(tmp_path / "a", 1, versions=JAX[10])
    one_seed(tmp_path / "b", 2, versions={"jax": "../../somewhere"})
    (one_seed(tmp_path / "c", 3) / layout.MANIFEST).write_text('{"status": "finis')
    (one_seed(tmp_path / "d", 4) / layout.MANIFEST).unlink()
    report([tmp_path])
    assert sorted(summary_of(tmp_path / "figures").values()) == [2, 3, 4]
    text = words(capsys)
    assert "d: no readable manifest" in text
    assert "c: with an unreadable manifest, 4,000 of" in text
    assert "d: without a manifest, 4,000 of" in text
    report([tmp_path / "a", tmp_path / "c"])
    assert summary_of(tmp_path / "figures-unknown") == {"RL² (c)": 3}


def test_two_versions_of_a_file_have_tables_apart(tmp_path, capsys):
    for name, digest in {"a": "a" * 64, "b": "b" * 64, "c": "b" * 64}.items():
        code = {"env": {"from": "file", "source": digest}, "method": {"from": "built-in"}}
        one_seed(tmp_path / name, versions=JAX[10], code=code)
    report([tmp_path])
    assert list(summary_of(tmp_path / "figures")) == ["RL² (b)", "RL² (c)"]
    text = words(capsys)
    assert "WARNING: these runs cannot be compared" in text
    assert f"{tmp_path}/a: environment's code aaaaaaaaaaaa " in text


def test_results_of_several_pythons_in_one_table_are_announced(tmp_path, capsys):
    for name, python in {"a": "3.11.7", "b": "3.12.1", "c": "3.11.7"}.items():
        one_seed(tmp_path / name, versions=JAX[10], python=python)
    report([tmp_path])
    said = "made under several versions of Python, which may give other bits: 3.11.7:"
    said = f"{said} {tmp_path}/a, {tmp_path}/c; 3.12.1: {tmp_path}/b"
    assert said in words(capsys)
    assert "made under several versions of Python" in (tmp_path / "report.md").read_text()
    report([tmp_path / "a", tmp_path / "c"])
    assert "several versions of Python" not in words(capsys)


DAMAGES = {  # a file of a run, its content, and what is said of it
    layout.CONFIG: ('{"env": "gridworld"', "not JSON"),
    layout.TASKS: ("[3]", "cannot be read"),
    layout.METRICS: ("[]\n", "must be an object"),
    layout.EVALUATION: ("frames,seed\n1,2\n", ""),
}


@pytest.mark.parametrize("file", DAMAGES)
def test_a_run_that_cannot_be_read_costs_only_itself(file, tmp_path, capsys):
    content, reason = DAMAGES[file]
    for name in "ab":
        one_seed(tmp_path / name, versions=JAX[10])
    (tmp_path / "a" / file).write_text(content)
    assert main(["report", str(tmp_path)]) == 0
    text = words(capsys)
    assert f"WARNING: a run is left out: {tmp_path / 'a' / file}: {reason}" in text
    assert list(summary_of(tmp_path / "figures")) == ["RL²"]
    assert "a run is left out" in (tmp_path / "report.md").read_text()
    (tmp_path / "b" / file).write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    assert str(tmp_path / "a" / file) in capsys.readouterr().err


@pytest.mark.parametrize("command", ["watch", "resume", "evaluate"])
def test_a_bad_configuration_is_named(command, tmp_path, capsys):
    path = one_seed(tmp_path / "a") / layout.CONFIG
    path.write_text(path.read_text().replace('"seeds": 1', '"seeds": 0'))
    assert main([command, str(path.parent)]) == 2
    assert f"{path}: seeds = 0: must be" in capsys.readouterr().err


def test_mixed_runs_share_a_table_that_says_so(tmp_path, capsys):
    one_seed(tmp_path / "a", 1, env_version=1)
    one_seed(tmp_path / "b", 2, env_version=2, tests=("test1", "test2"))
    found = report([tmp_path], mix=True)
    assert [row["method"] for row in found.rows] == ["RL² (a)", "RL² (b)"]
    assert {file.name for file in tmp_path.iterdir()} == {"a", "b", "figures"} | PAGE
    text = words(capsys)
    assert "WARNING: these runs are mixed" in text
    assert "Mixed: these runs differ" in text
    assert f"{tmp_path}/b: environment version 2 " in text
    assert text.count("Greedy: 1 rollout per task") == 1


def test_the_command_line_mixes_on_demand(tmp_path, capsys):
    one_seed(tmp_path / "a", 1, env_version=1)
    one_seed(tmp_path / "b", 2, env_version=2)
    for option, said in (("--mix", "are mixed"), ("--mi", "no such option"), (None, "apart")):
        code = main(["report", str(tmp_path), *([option] if option else [])])
        assert code == (2 if option == "--mi" else 0)
        assert said in "".join(capsys.readouterr())


def test_runs_that_differ_in_nothing_are_compared_without_a_warning(tmp_path, capsys):
    # The older one's manifest is from before environments had versions.
    for name, manifest in {"old": {}, "new": {"env_version": 1}}.items():
        run = two_episodes(env="gridworld-extrapolation", seeds=1)
        tests = ("test1", "test2")
        of = {"versions": JAX[10]}
        write_run(tmp_path / name, run, [[1]], [[1]], tests=tests, **manifest, **of)
    assert len(report([tmp_path]).rows) == 2
    text = words(capsys)
    assert "WARNING" not in text
    assert "Mixed" not in text


DEAD = {"1": {"update": 37, "quantity": "value_loss"}}


def test_dead_seeds_are_left_out_and_named(tmp_path, capsys):
    lists = [[1, 2, 3], [50], [3, 4, 5]]  # seed 1 became non-finite after its first evaluation
    path = one_seed(tmp_path / "a", seeds=3, train=lists, test=lists, dead_seeds=DEAD)
    rows = report([path]).rows
    assert [row["seed"] for row in rows] == [0, 2, "mean", "std", "iqm", "low", "high"]
    assert [row["test_return_greedy"] for row in rows[:3]] == [3, 5, 4]
    assert f"{path}: seed 1 became non-finite at update 37 (value_loss): left out" in words(capsys)


def test_where_all_seeds_are_dead_there_are_no_rows(tmp_path, capsys):
    dead = {"0": {"update": 5, "quantity": "kl"}} | DEAD
    lists = [[1], [2]]
    path = one_seed(tmp_path / "a", seeds=2, train=lists, test=lists, dead_seeds=dead)
    alive = one_seed(tmp_path / "b", 1)
    assert [row["method"] for row in report([tmp_path]).rows] == ["RL² (b)"]
    assert report([path]) == ([], [])
    text = words(capsys)
    assert f"{path}: seed 0 became non-finite at update 5 (kl): left out" in text
    assert f"{path}: all seeds became non-finite, no rows" in text
    assert "no evaluation yet" not in text
    assert f"{alive}: seed" not in text


@pytest.mark.parametrize("status", ["running", "preempted", "failed"])
def test_a_row_that_a_crash_cut_short_takes_its_evaluation_with_it(status, tmp_path, capsys):
    lists = [[1, 2, 30], [3, 4, 50]]
    path = one_seed(tmp_path / "a", seeds=2, train=lists, test=lists, status=status)
    cut_short(path / layout.EVALUATION)
    cut_short(path / layout.METRICS)
    rows = report([path]).rows
    assert [row["test_return_greedy"] for row in rows[:3]] == [2, 4, 3]
    assert f"{path}: {status}, 1,000 of 10,000,000 frames" in words(capsys)


def test_frames_after_the_last_evaluation_are_named(tmp_path, capsys):
    """All returns of the table are of that evaluation."""
    path = write_run(tmp_path / "a", two_episodes(), [[1]], [[1]])
    report([path])
    assert "4,000 of 100,000,000 frames, last evaluated after 0 " in words(capsys) + " "


def test_a_first_evaluation_that_was_cut_short_is_none(tmp_path, capsys):
    path = one_seed(tmp_path / "a", 1)
    text = (path / layout.EVALUATION).read_text()
    (path / layout.EVALUATION).write_text(text[: len(text) // 2])
    assert report([path]) == ([], [])
    assert "no evaluation yet" in words(capsys)


@pytest.mark.parametrize("missing", [layout.TASKS, layout.METRICS, layout.EVALUATION])
def test_a_run_that_has_only_begun_is_named(missing, tmp_path, capsys):
    path = one_seed(tmp_path / "a", 1)
    (path / layout.MANIFEST).unlink()
    (path / missing).unlink()
    assert report([path]) == ([], [])
    text = words(capsys)
    assert f"{path}: without a manifest, 0 of 10,000,000 frames" in text
    assert f"{path}: no evaluation yet, left out" in text


def test_damaged_checkpoints_cost_only_the_maps(rl2, monkeypatch, capsys):
    def damaged(result, seed):
        raise CheckpointError("all are damaged")

    monkeypatch.setattr("experiments.analysis.trained_beliefs.load_final", damaged)
    assert len(report([rl2]).rows) == 7
    assert "no maps of its agent: all are damaged" in words(capsys)


def test_a_folders_name_is_no_markup(tmp_path, capsys):
    path = one_seed(tmp_path / "[red]a", 1)
    report([path])
    assert f"{path}: running" in words(capsys)


def test_no_run_is_bad_input(tmp_path):
    with pytest.raises(ConfigError, match="holds no run"):
        report([tmp_path])


def test_reports_import_jax_only_for_maps():
    code = "import sys, experiments.report.compose; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
