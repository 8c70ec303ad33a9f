"""The bench of training: what is printed is what was compiled and counted."""

import json

import pytest

from experiments.bench import speed_targets, training_speed
from experiments.bench.speed_targets import Target
from jaxmeta.errors import ConfigError
from tests.tiny import tiny_run


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_speed, "SECONDS", {"cpu": 0.01})
        patch.setattr(training_speed, "REPEATS", 1)
        prepared = training_speed.prepare(tiny_run("rl2"))
        return prepared, training_speed.measure(prepared, parts=False)


def test_a_step_is_traced_once_and_timed(measured):
    prepared, result = measured
    assert result["traces"] == 1
    frames = 2 * prepared.run.frames_per_update(30)  # of both seeds
    assert result["frames_per_s"] == pytest.approx(1e3 * frames / result["update_ms"])


def test_the_peak_holds_at_least_the_arguments(measured):
    prepared, result = measured
    arguments = prepared.updates.memory_analysis().argument_size_in_bytes
    assert 2**20 * result["peak_mib"] >= arguments > 0


def test_flops_grow_with_workers_and_seeds_alone(measured):
    prepared, result = measured
    one = training_speed.update_gflop(prepared.run, prepared.env)
    twice = training_speed.update_gflop(prepared.run.replace({"workers": 8}), prepared.env)
    assert result["gflop"] == pytest.approx(2 * one)
    assert twice == pytest.approx(2 * one)


def test_nothing_compiles_while_a_processor_is_measured(measured, monkeypatch, tmp_path):
    prepared, result = measured
    done = []
    shares = dict.fromkeys(training_speed.PARTS, 0.5)
    monkeypatch.setattr(training_speed, "prepare", lambda run: done.append("prepared") or prepared)
    monkeypatch.setattr(
        training_speed,
        "measure",
        lambda prepared, parts: done.append("measured") or result | shares,
    )
    training_speed.bench(tmp_path / "bench.jsonl", ["rl2", "ldm"], [16], [1])
    assert done == ["prepared", "measured"] * 2
    rows = [json.loads(line) for line in (tmp_path / "bench.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and rows[0]["of_peak"] == result["of_peak"]


def test_a_gpus_table_needs_a_gpu(tmp_path):
    with pytest.raises(ConfigError, match="bench gpu: JAX's default device is cpu"):
        training_speed.bench(tmp_path / "bench.jsonl", ["rl2"], [16], [1], accelerated=True)
    assert not (tmp_path / "bench.jsonl").exists()


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(2.0, False, True), (1.9, False, False), (1.9, True, True)]
)
def test_a_target_is_met_on_its_side_of_the_goal(value, at_most, met):
    row = Target("x", value, 2.0, {"from": 1}, at_most).row()
    assert row["met"] is met
    assert {"target", "value", "goal", "met", "baseline"} <= row.keys()


def test_targets_overwrite_the_file_one_line_each(monkeypatch, tmp_path):
    given = [Target("a", 1.0, 2.0, {}), Target("b", 3.0, 2.0, {})]
    monkeypatch.setattr(speed_targets, "ALL", (lambda: given,))
    monkeypatch.setattr(speed_targets, "ALLOWED", set())
    monkeypatch.setattr(speed_targets, "machine", lambda: {"processor": "some"})
    for _ in range(2):
        speed_targets.bench_targets(tmp_path / "bench.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "bench.jsonl").read_text().splitlines()]
    assert [(row["target"], row["met"]) for row in rows] == [("a", False), ("b", True)]
