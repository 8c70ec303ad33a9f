"""Small files are written whole, or not at all."""

import os
from pathlib import Path

import pytest

from jaxmeta.errors import ConfigError
from jaxmeta.rundir import layout


def test_small_files_are_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    layout.write_atomically(path, "old")

    def crash(number):
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="power cut"):
        layout.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_home_is_a_folder_of_its_own_name_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert layout.user_path("~/r") == tmp_path / "r"
    assert layout.user_path("a/~") == Path("a/~")
    with pytest.raises(ConfigError, match=r"~nobody-here/r: "):
        layout.user_path("~nobody-here/r")
