"""The bench of physics: both loops step the same inputs."""

import json

import jax
import mujoco
import numpy as np
import pytest

from envs.locomotion.robot_models import xml
from experiments.bench import physics_speed


@pytest.mark.parametrize("robot", physics_speed.ROBOTS)
def test_the_bare_loop_ends_where_the_engine_ends(monkeypatch, robot):
    """What is timed is the same work: the last positions agree."""
    ends = {}

    def once(call):
        ends["end"] = call()
        return 1.0

    monkeypatch.setattr(physics_speed, "STEPS", 3)
    monkeypatch.setattr(physics_speed, "fastest", once)
    assert physics_speed.engine_steps_per_s(robot, "c", 2) == 3 * 2
    state = jax.device_get(ends["end"])
    assert physics_speed.c_loop_steps_per_s(robot, 2) == 3 * 2
    states, _ = ends["end"]
    nq = mujoco.MjModel.from_xml_string(xml(physics_speed.ROBOTS[robot])).nq
    np.testing.assert_allclose(states[:, -1, 1 : 1 + nq], state.qpos, atol=1e-3)


def test_a_row_says_what_was_measured_where(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(physics_speed, "STEPS", 1)
    monkeypatch.setattr(physics_speed, "SECONDS", 0.01)
    out = tmp_path / "bench.jsonl"
    physics_speed.bench_physics(out, [1], ["c"])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["robot"] for row in rows] == list(physics_speed.ROBOTS)
    for row in rows:
        assert row["of_bare"] == pytest.approx(row["steps_per_s"] / row["bare_steps_per_s"])
        assert row["device"].startswith("cpu") and row["mujoco"] == mujoco.__version__
    assert "bare C loop" in capsys.readouterr().out
