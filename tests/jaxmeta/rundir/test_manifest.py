"""The manifest's facts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxmeta.rundir import manifest

REPO = Path(__file__).parents[3]


def test_a_checkout_without_git_has_no_commit_but_a_code_hash(tmp_path):
    """Installed from an archive: in a process of its own, whose code lies elsewhere."""
    for name in ("jaxmeta", "envs"):
        shutil.copytree(REPO / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from jaxmeta.rundir import manifest as m; f = m.describe([], {}); print(m.__file__); "
    code += "print(f['commit'], f['dirty'], f['lock_sha256'], f['code_sha256'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, facts = done.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert facts.split() == ["None", "None", "None", manifest.code_sha256()]
    (tmp_path / "jaxmeta" / "rl" / "a2c.py").write_text("changed = True\n")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] != manifest.code_sha256()


def test_a_checkout_has_its_commit():
    if not (REPO / ".git").exists():
        pytest.skip("no checkout")
    head = subprocess.run(["git", "-C", REPO, "rev-parse", "HEAD"], capture_output=True, text=True)
    assert manifest.describe([], {})["commit"] == head.stdout.strip()


def test_a_machine_without_git_has_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    facts = manifest.describe([], {})
    assert (facts["commit"], facts["dirty"]) == (None, None)


def test_what_bits_depend_on_is_compared():
    before, after = {"devices": ["cpu"], "started": 1}, {"devices": ["gpu"], "started": 2}
    assert manifest.differing(before, after) == {"devices": [["cpu"], ["gpu"]]}


def test_a_users_own_file_is_part_of_what_bits_depend_on(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("x = 1")
    before = manifest.describe([], {}, [file])
    file.write_text("x = 2")
    assert list(manifest.differing(before, manifest.describe([], {}, [file]))) == [
        "own_code_sha256"
    ]


def test_the_threads_are_those_that_may_be_used(monkeypatch):
    before = manifest.describe([], {})
    monkeypatch.setenv("NPROC", "3")
    assert list(manifest.differing(before, manifest.describe([], {}))) == ["threads"]


def test_a_resumed_runs_manifest_is_the_first_sessions_but_for_its_format():
    first = {"commit": "a", "status": "preempted", "ended": "then", "error": "why"}
    found = manifest.continued(first, {"commit": "b", "format": 1}, {"update": 3}, True)
    assert found == {
        "commit": "a",
        "status": "preempted",
        "format": 1,
        "resumed_from": [{"update": 3}],
    }
    again = manifest.continued(found | {"format": 0}, {"commit": "c"}, {"update": 7}, True)
    assert (again["format"], again["resumed_from"]) == (1, [{"update": 3}, {"update": 7}])


def test_where_no_rows_are_kept_the_manifest_is_of_this_session():
    assert manifest.continued({}, {"commit": "b"}, None, False)["resumed_from"] == []
    found = manifest.continued({"commit": "a", "frames": 1}, {"commit": "b"}, {"update": 0}, False)
    assert (found["commit"], found["frames"]) == ("b", 1)


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("mesh", {"seeds": 2}, {"seeds": 1, "groups": 2}),
        ("processes", 1, 2),
        ("python", "3.11.7", "3.12.1"),
        ("versions", {"jax": "0.10.2"}, {"jax": "0.11.0"}),
    ],
)
def test_how_a_run_is_divided_and_what_it_runs_under_are_compared(name, then, now):
    assert manifest.differing({name: then}, {name: now}) == {name: [then, now]}
    assert manifest.differing({}, {name: now}) == {}  # a manifest from before it was recorded
