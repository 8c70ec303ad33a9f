"""Manifests and run directories, whatever state they are in."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.analysis.comparable_runs import (
    differences,
    folder_name,
    group_comparable,
    mixed_warning,
)
from experiments.analysis.run_record import Death, Manifest, Origin, read_manifest, read_results
from jaxmeta.rundir import layout
from tests.written import run_on_record, two_episodes, write_manifest, write_run

VERSIONS = {"jax": "0.10.2", "numpy": "2.4.6"}
ROBOT = "ant-goal"


def read(path, env="gridworld", **manifest):
    write_manifest(path, **manifest)
    return read_manifest(path, run_on_record(two_episodes(), env=env, rl="a2c"))


def test_a_manifest_is_read(tmp_path):
    dead = {"3": {"update": 37, "quantity": "value_loss", "more": 1}}
    found = read(tmp_path, status="failed", env_version=2, versions=VERSIONS, dead_seeds=dead)
    assert found == Manifest(
        "failed", Origin(2, ("jax 0.10.2", "numpy 2.4.6")), {3: Death(37, "value_loss")}
    )


def test_older_manifests_are_of_the_first_version(tmp_path):
    assert read(tmp_path).origin == Origin(1, ())
    assert read(tmp_path, env="env.py:make").origin == Origin(None, ())
    assert read(tmp_path, env_version=None).origin == Origin(None, ())


def test_other_locks_with_the_same_packages_make_no_difference(tmp_path):
    one, other = (read(tmp_path, versions=VERSIONS, lock_sha256=c * 64) for c in "ab")
    assert one.origin == other.origin


def test_physics_counts_where_there_is_any(tmp_path):
    mujoco = lambda number: VERSIONS | {"mujoco": number, "mujoco-mjx": number}
    made = lambda env, versions: read(tmp_path, env=env, versions=versions).origin
    assert made("gridworld", VERSIONS) == made("gridworld", mujoco("3.18.0"))
    assert made("env.py:make", VERSIONS) == made("env.py:make", mujoco("3.18.0"))
    assert made(ROBOT, mujoco("3.17.0")) != made(ROBOT, mujoco("3.18.0"))
    # Manifests that are older than this were all written beside MuJoCo 3.17.0.
    assert made(ROBOT, VERSIONS) == made(ROBOT, mujoco("3.17.0"))
    assert "mujoco-mjx 3.17.0" in made(ROBOT, VERSIONS).versions


def test_options_of_the_environment_count(tmp_path):
    write_manifest(tmp_path, versions=VERSIONS)
    run = run_on_record(two_episodes(), env="env.py:make")
    radii = [run_on_record(run, **{"env.radius": radius}) for radius in (0.3, 0.5, 0.3)]
    a, b, c = (read_manifest(tmp_path, run).origin for run in radii)
    assert a == c != b
    assert a.options == ("env.radius = 0.3",)
    results = [
        SimpleNamespace(origin=origin, path=Path(name)) for origin, name in ((a, "a"), (b, "b"))
    ]
    assert differences([[result] for result in results])[1] == "  b: env.radius = 0.5"
    assert folder_name(a) != folder_name(b)


def test_a_run_resumed_under_other_versions_is_like_no_run_under_one(tmp_path):
    later = VERSIONS | {"jax": "0.11.0"}
    resumed = lambda *changed: [{"update": 3, "changed": c} for c in changed]
    made = lambda *changed, versions=VERSIONS: (
        read(tmp_path, versions=versions, resumed_from=resumed(*changed)).origin
    )
    both = made({"versions": [VERSIONS, later]})
    assert both == Origin(1, ("jax 0.10.2 then 0.11.0", "numpy 2.4.6"))
    assert both == made({"versions": [VERSIONS, later]}, {"devices": [[], ["cpu"]]})
    assert both not in (made(), made(versions=later))
    assert made({"lock_sha256": ["a" * 64, "b" * 64]}) == made()
    physics = VERSIONS | {"mujoco": "3.17.0", "mujoco-mjx": "3.17.0"}
    assert made({"versions": [VERSIONS, physics]}) == made()
    assert read(tmp_path, versions=VERSIONS, resumed_from=[{"update": 3}]).origin == made()


BAD = [
    {"resumed_from": 3},
    {"resumed_from": [{"changed": {"versions": 3}}]},
    {"status": 3},
    {"status": "finished\x1b[2J"},
    {"env_version": "../2"},
    {"env_version": 1.5},
    {"versions": {"jax": "../.."}},
    {"versions": {"jax": "0.10.2\n"}},
    {"versions": {"jax": 3}},
    {"versions": {"\x1b[2J": "1"}},
    {"versions": ["jax"]},
    {"code": 3},
    {"code": {"env": {"source": "\x1b[2J"}}},
    {"code": {"method": {"object": 3}}},
    {"code": {}, "resumed_from": [{"changed": {"code": [{}]}}]},
    {"python": "\x1b[2J"},
    {"python": "3.11", "resumed_from": [{"changed": {"python": ["3.11", 3]}}]},
    {"resumed_from": [{"changed": {"versions": [{}, {"jax": "\x1b[2J"}]}}]},
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
    (tmp_path / layout.MANIFEST).write_text(text)
    assert read_manifest(tmp_path, two_episodes()).origin is None


def test_dead_seeds_are_excluded_from_the_evaluation(tmp_path):
    dead = {"0": {"update": 1, "quantity": "kl"}}
    lists = [[1], [2, 3, 4], [5, 6, 7]]
    found = read_results(write_run(tmp_path / "a", two_episodes(seeds=3), lists, lists))
    assert set(found.evaluation["frames"]) == {0}  # the others are not whole
    write_manifest(tmp_path / "a", dead_seeds=dead)
    found = read_results(tmp_path / "a")
    assert found.finite_seeds == [1, 2]
    assert set(found.evaluation["seed"]) == {1, 2}
    assert set(found.evaluation["frames"]) == {0, 1000, 2000}
    assert found.nonfinite_messages() == ["seed 0 became non-finite at update 1 (kl)"]


def test_it_imports_no_jax():
    code = "import sys, experiments.analysis.run_record; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_published_study_is_one_group():
    """Its runs need not share a lock."""
    study = Path(__file__).parents[3] / "experiments" / "results" / "gridworld"
    paths = sorted(manifest.parent for manifest in study.glob("*/manifest.json"))
    origins = {read_results(path).origin for path in paths}
    assert len(paths) >= 5
    assert len(origins) == 1 and None not in origins


FILE = {"from": "file", "source": "a" * 64, "object": "b" * 64}
MADE = {"from": "object", "object": "c" * 64}
LIBRARY = {"from": "built-in", "object": "d" * 64}
A, C = "a" * 12, "c" * 12
CODES = {  # manifest, and the codes of environment and method
    "library": ({"code": {"env": LIBRARY, "method": LIBRARY}}, "", ""),
    "installed": ({"code": {"env": LIBRARY | {"from": "installed"}}}, "", ""),
    "file": ({"code": {"env": FILE, "method": LIBRARY}}, A, ""),
    "object": ({"code": {"env": LIBRARY, "method": MADE}}, "", C),
    "accepted": (
        {
            "code": {"env": FILE, "method": LIBRARY},
            "resumed_from": [{"changed": {"code": [{}, {"env": MADE, "method": LIBRARY}]}}],
        },
        f"{A} then {C}",
        "",
    ),
    "unknown": ({"code": {"env": {"from": "object", "unknown": "?"}}}, "unknown (a)", ""),
    "of 0.2": ({"own_code_sha256": ["a" * 64, "c" * 64]}, A, C),
    "of 0.2, passed in": ({"own_code_sha256": []}, "", ""),
}


@pytest.mark.parametrize("name", CODES)
def test_code_that_was_handed_over_counts(tmp_path, name):
    recorded, env, method = CODES[name]
    (tmp_path / "a").mkdir()
    write_manifest(tmp_path / "a", **recorded)
    run = run_on_record(two_episodes(), env="own.py:make", method="mine.py:make")
    made = read_manifest(tmp_path / "a", run).origin
    assert (made.env_code, made.method_code) == (env, method)


def test_python_is_read_with_what_it_was_resumed_under(tmp_path):
    resumed = [{"changed": {"python": ["3.11.7", "3.12.1"]}}, {"changed": {}}]
    assert read(tmp_path, python="3.11.7").python == "3.11.7"
    assert read(tmp_path, python="3.11.7", resumed_from=resumed).python == "3.11.7 then 3.12.1"
    assert read(tmp_path).python == ""


def test_two_versions_of_a_methods_code_are_apart_and_other_methods_with_the_first(tmp_path):
    def made(name, method, code):
        origin = Origin(1, ("jax 0.10.2",), method_code=code)
        return SimpleNamespace(path=Path(name), run=SimpleNamespace(method=method), origin=origin)

    rl2, b = made("a", "rl2", ""), made("b", "own.py:make", A)
    c, d, e = made("c", "own.py:make", C), made("d", "own.py:make", A), made("e", "other.py", C)
    given = [run.path for run in (rl2, b, c, d, e)]
    assert group_comparable([rl2, b, c, d, e], given) == [[rl2, b, d, e], [c]]
    assert group_comparable([rl2, b, c, d, e], given[::-1]) == [[rl2, b, d, e], [c]]
    assert group_comparable([b, c], [c.path, b.path]) == [[c], [b]]
    assert mixed_warning([rl2, b, d, e]) == "" != mixed_warning([b, c])
    assert differences([[rl2, b], [c]])[1] == f"  c: method's code {C}"
    assert folder_name(b.origin) != folder_name(c.origin)
