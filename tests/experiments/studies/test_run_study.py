"""Studies: what is trained, skipped and reported; the fidelity study's second stage."""

import pytest

from experiments.analysis.run_record import read
from experiments.studies import ldm_fidelity, run_study
from jaxmeta.config.run import Run
from tests.written import write_run


def write_screen(folder, reached):
    """Write runs whose seeds reach so many of the 3 test goals, the last one never."""
    for name, goals in reached.items():
        run = Run(method="ldm", seeds=2).replace(ldm_fidelity.FACTORS.get(name, {}))
        share = str(goals / 2)  # of the first two goals
        write_run(folder / name, run, [[1.0]] * 2, [[1.0]] * 2, reached=share)
    return read([folder])


def test_each_factor_changes_the_paper_in_one_field():
    runs = ldm_fidelity.screen()
    base = runs.pop("paper")
    assert (base.seeds, base.frames, base.preset) == (2, 20_000_000, "paper")
    for name, run in runs.items():
        changed = {k: v for k, v in run.fields().items() if v != base.fields()[k]}
        assert changed == ldm_fidelity.FACTORS[name]
        assert len(changed) == 1


def test_the_two_largest_effects_go_into_the_second_stage(tmp_path):
    reached = {"paper": 1, "one-worker": 0, "dropout-off": 1.9, "replay-frozen": 1.2}
    results = write_screen(tmp_path, reached)
    effects = ldm_fidelity.effects(results)
    assert list(effects) == ["one-worker", "dropout-off", "replay-frozen"]
    assert effects["one-worker"] == pytest.approx(-1)
    found = ldm_fidelity.finals(results)
    assert list(found) == ["paper", "one-worker", "dropout-off"]
    assert {(run.seeds, run.frames) for run in found.values()} == {(4, 50_000_000)}
    assert found["dropout-off"].imagination.dropout == "off"
    smaller = ldm_fidelity.finals(results, seeds=3, frames="1e6")
    assert {(run.seeds, run.frames) for run in smaller.values()} == {(6, 2_500_000)}


def test_without_the_base_there_is_no_second_stage(tmp_path):
    assert ldm_fidelity.finals(write_screen(tmp_path, {"one-worker": 1})) == {}


@pytest.fixture
def calls(monkeypatch):
    """Record what is trained and reported, in the place of doing it."""
    found = {"trained": [], "measured": [], "reports": []}

    def train(run, out):
        found["trained"].append(out)
        write_run(out, run, [[1.0]] * run.seeds, [[1.0]] * run.seeds, status="finished")

    def announce(runs):
        found["measured"].append(list(runs))

    def report(paths, out, base, note):
        found["reports"].append((out, base, note))

    monkeypatch.setattr("experiments.terminal.training_display.train_with_progress", train)
    monkeypatch.setattr("experiments.report.compose.report", report)
    monkeypatch.setattr("experiments.studies.run_study.announce", announce)
    monkeypatch.setattr("jaxmeta.rundir.reading.has_last_checkpoint", lambda out: True)
    return found


def test_finished_runs_are_neither_measured_nor_trained(tmp_path, calls):
    runs = {"a": Run(method="ldm"), "b": Run(method="rl2")}
    two = run_study.Study(lambda: runs, "a", "a note")
    write_run(tmp_path / "a", runs["a"], [[1.0]], [[1.0]], status="finished")
    assert run_study.run_stage(two, runs, tmp_path, measured=True) == 0
    assert calls["measured"] == [["b"]]
    assert calls["trained"] == [tmp_path / "b"]
    assert run_study.run_stage(two, runs, tmp_path, measured=True) == 0
    assert (len(calls["measured"]), len(calls["trained"])) == (1, 1)
    assert calls["reports"] == [(tmp_path, "a", "a note")] * 2


def test_a_study_with_two_stages_runs_both(tmp_path, calls):
    assert run_study.run_study("fidelity", tmp_path, {"seeds": 1}) == 0
    screen = [tmp_path / name for name in ldm_fidelity.screen()]
    assert calls["trained"][: len(screen)] == screen
    later = calls["trained"][len(screen) :]
    assert later[0] == tmp_path / "final" / "paper"
    assert len(later) == 3
    assert [out for out, *_ in calls["reports"]] == [tmp_path, tmp_path / "final"]


def test_only_some_runs_have_no_second_stage(tmp_path, calls):
    assert run_study.run_study("fidelity", tmp_path, {}, only=["paper", "one-worker"]) == 0
    assert calls["trained"] == [tmp_path / "paper", tmp_path / "one-worker"]
