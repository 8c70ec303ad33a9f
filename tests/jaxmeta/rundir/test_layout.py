"""Small files are written whole, or not at all."""

import os

import pytest

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
