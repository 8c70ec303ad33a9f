"""The run directory is never overwritten, and held by one process."""

import errno
import json
import os

import pytest

from jaxmeta.errors import ConfigError
from jaxmeta.rundir import layout, lock
from jaxmeta.sweeps.plan import require_sweep
from tests.written import WRITTEN, write_with_writer


def test_new_and_empty_folders_may_be_used(tmp_path):
    assert lock.look(WRITTEN, tmp_path) is None
    assert lock.look(WRITTEN, tmp_path / "new" / "deeper") is None
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_recognised(tmp_path):
    write_with_writer(tmp_path / "a", "finished")
    assert lock.look(WRITTEN, tmp_path / "a") == "finished"


@pytest.mark.parametrize("status", ["running", "failed", "preempted"])
def test_an_unfinished_run_can_go_on(status, tmp_path):
    write_with_writer(tmp_path / "a", status)
    assert lock.look(WRITTEN, tmp_path / "a") == status


def test_a_run_without_a_manifest_was_stopped_at_its_very_beginning(tmp_path):
    (tmp_path / layout.CONFIG).write_text(WRITTEN.to_json())
    assert lock.look(WRITTEN, tmp_path) == "running"


def test_what_a_process_leaves_before_config_json_is_no_content(tmp_path):
    with lock.locked(tmp_path / "a"):
        pass
    for name in (".config.json.tmp", "..holder.tmp"):
        (tmp_path / "a" / name).write_text("{")
    assert lock.look(WRITTEN, tmp_path / "a") is None


def test_a_lock_is_held_by_one_at_a_time_and_names_its_holder(tmp_path):
    assert lock.holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    with lock.locked(tmp_path):
        assert f"process {os.getpid()} on " in lock.holder(tmp_path)
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on"):
            lock.require_free(tmp_path)
        with (
            pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on"),
            lock.locked(tmp_path),
        ):
            pass
    assert lock.holder(tmp_path) is None
    with lock.locked(tmp_path):  # and again
        pass


def test_a_lock_that_can_only_be_read_says_who_holds_it(tmp_path, monkeypatch):
    """A disk that is read-only here, and written by a process elsewhere; or by another user."""

    def refuse(*args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    with lock.locked(tmp_path), monkeypatch.context() as patched:
        patched.setattr(lock.FileLock, "acquire", refuse)
        assert lock.holder(tmp_path).startswith(f"process {os.getpid()} on ")
    with monkeypatch.context() as patched:
        patched.setattr(lock.FileLock, "acquire", refuse)
        assert lock.holder(tmp_path) is None


@pytest.mark.parametrize("folder", ["b\udcff", "b\udcc3\udca4"])
def test_a_name_that_is_not_utf_8_is_refused_at_once(folder, tmp_path):
    """Checkpoints could not be written there, hours later."""
    with pytest.raises(ConfigError, match=r"udc.*must be UTF-8"):
        lock.look(WRITTEN, tmp_path / folder)
    with pytest.raises(ConfigError, match="must be UTF-8"):
        require_sweep(tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


def test_a_locale_that_has_another_name_for_a_folder_is_refused(tmp_path, monkeypatch):
    """In latin-1 "ä" is one byte to Python, but two to what writes checkpoints."""
    assert lock.look(WRITTEN, tmp_path / "ä") is None
    monkeypatch.setattr(layout.os, "fsencode", lambda path: str(path).encode("latin-1"))
    with pytest.raises(ConfigError, match="must be UTF-8"):
        lock.look(WRITTEN, tmp_path / "ä")


def test_another_run_is_refused_with_the_differing_keys(tmp_path):
    write_with_writer(tmp_path / "a", "finished")
    other = WRITTEN.replace({"a2c.gamma": 0.9, "seeds": 2})
    with pytest.raises(ConfigError, match=r"a2c\.gamma \(0\.95 there, 0\.9 here\), seeds"):
        lock.look(other, tmp_path / "a")


def test_other_content_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="holds files"):
        lock.look(WRITTEN, tmp_path)
    with pytest.raises(ConfigError, match="not a file"):
        lock.look(WRITTEN, tmp_path / "thesis.tex")


def test_under_the_lock_it_is_looked_again(tmp_path):
    """Another process may have written the directory since the first look."""
    other = WRITTEN.replace({"seeds": 2})
    assert lock.look(other, tmp_path / "a") is None
    write_with_writer(tmp_path / "a", "preempted")
    with pytest.raises(ConfigError, match="holds another run"), lock.hold(other, tmp_path / "a"):
        raise AssertionError("it was held")
    with lock.hold(WRITTEN, tmp_path / "a") as status:
        assert status == "preempted"
        assert lock.holder(tmp_path / "a").startswith(f"process {os.getpid()}")


def test_a_look_says_who_writes_there(tmp_path):
    write_with_writer(tmp_path / "a", "running")
    with lock.locked(tmp_path / "a"), pytest.raises(ConfigError, match="in use by process"):
        lock.look(WRITTEN, tmp_path / "a")
    write_with_writer(tmp_path / "b", "finished")
    with lock.locked(tmp_path / "b"):  # what is finished may be read
        assert lock.look(WRITTEN, tmp_path / "b") == "finished"


def test_a_sweeps_run_may_lack_the_manifest_that_names_its_program(tmp_path):
    """A kill between the first file and the manifest must not lock a program out of its run."""
    path = tmp_path / "runs" / "a"
    path.mkdir(parents=True)
    (path / layout.CONFIG).write_text(WRITTEN.to_json())
    assert lock.look(WRITTEN, path, "program") == "running"
    (path / layout.MANIFEST).write_text(json.dumps({"status": "running", "program": "program"}))
    assert lock.look(WRITTEN, path, "program") == "running"
    with pytest.raises(ConfigError, match=r"belongs to a sweep; resume it by .*programs/program"):
        lock.look(WRITTEN, path)
    (path / layout.MANIFEST).write_text(json.dumps({"status": "running"}))
    with pytest.raises(ConfigError, match="is a run of its own, not of the program program"):
        lock.look(WRITTEN, path, "program")
