"""Manifests and run directories, whatever state they are in."""

import subprocess
import sys

import pytest

from experiments.record import Death, Manifest, Origin, read_manifest, read_results
from jaxmeta import rundir
from tests.written import two_episodes, write_manifest, write_run

LOCK = "0123456789abcdef" * 4


def read(path, env="gridworld", **manifest):
    write_manifest(path, **manifest)
    return read_manifest(path, env)


def test_a_manifest_is_read(tmp_path):
    dead = {"3": {"update": 37, "quantity": "value_loss", "more": 1}}
    found = read(tmp_path, status="failed", env_version=2, lock_sha256=LOCK, dead_seeds=dead)
    assert found == Manifest("failed", Origin(2, LOCK), {3: Death(37, "value_loss")})


def test_older_manifests_are_of_the_first_version(tmp_path):
    assert read(tmp_path).origin == Origin(1, None)
    assert read(tmp_path, env="env.py:make").origin == Origin(None, None)
    assert read(tmp_path, env_version=None).origin == Origin(None, None)


def test_a_run_resumed_under_another_lock_is_like_no_run_under_one(tmp_path):
    changed = {"resumed_from": [{"update": 3, "changed": {"lock_sha256": [LOCK, LOCK[::-1]]}}]}
    one, both = read(tmp_path, lock_sha256=LOCK), read(tmp_path, lock_sha256=LOCK, **changed)
    assert one.origin != both.origin
    assert both.origin.env_version == 1
    assert read(tmp_path, lock_sha256=LOCK, resumed_from=[{"update": 3}]).origin == one.origin


BAD = [
    {"resumed_from": 3},
    {"resumed_from": [{"changed": {"lock_sha256": 3}}]},
    {"status": 3},
    {"status": "finished\x1b[2J"},
    {"env_version": "../2"},
    {"env_version": 1.5},
    {"lock_sha256": "../.."},
    {"lock_sha256": LOCK + "\n"},
    {"lock_sha256": 3},
    {"dead_seeds": [1]},
    {"dead_seeds": None},
    {"dead_seeds": {"one": {"update": 1, "quantity": "kl"}}},
    {"dead_seeds": {"1": {"update": 1}}},
    {"dead_seeds": {"1": {"update": float("inf"), "quantity": "kl"}}},
    {"dead_seeds": {"1": {"update": 1, "quantity": "\x1b[2J"}}},
]


@pytest.mark.parametrize("manifest", BAD, ids=str)
def test_a_bad_manifest_has_no_origin(manifest, tmp_path):
    assert read(tmp_path, **manifest) == Manifest("with an unreadable manifest", None, {})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_manifest_that_is_none_has_no_origin(text, tmp_path):
    (tmp_path / rundir.MANIFEST).write_text(text)
    assert read_manifest(tmp_path, "gridworld").origin is None


def test_dead_seeds_have_no_part_in_the_evaluation(tmp_path):
    dead = {"0": {"update": 1, "quantity": "kl"}}
    lists = [[1], [2, 3, 4], [5, 6, 7]]
    found = read_results(write_run(tmp_path / "a", two_episodes(seeds=3), lists, lists))
    assert set(found.evaluation["frames"]) == {0}  # the others are not whole
    write_manifest(tmp_path / "a", dead_seeds=dead)
    found = read_results(tmp_path / "a")
    assert found.living == [1, 2]
    assert set(found.evaluation["seed"]) == {1, 2}
    assert set(found.evaluation["frames"]) == {0, 1000, 2000}
    assert found.deaths() == ["seed 0 died at update 1 (kl)"]


def test_it_imports_no_jax():
    code = "import sys, experiments.record; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
