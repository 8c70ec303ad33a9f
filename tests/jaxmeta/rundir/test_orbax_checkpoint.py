"""What orbax would make of folders' names and of Python's root logger."""

import subprocess
import sys

import chex
import jax
import numpy as np
import pytest

from jaxmeta.rundir import checkpoint
from jaxmeta.rundir.orbax_checkpoint import literal_path

ITEMS = {"agent": {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3)}}


@pytest.mark.parametrize(
    "name",
    ["a[lr=0.1]", "s*r", "q?", "**", "{a}", "a b", "back\\slash", "gs:", "-x", "%", "\udcff"],
)
def test_checkpoints_are_read_back_whatever_the_folder_is_called(name, tmp_path):
    folder = tmp_path / name / "checkpoints"
    with checkpoint.CheckpointWriter(folder, []) as writer:
        for update in (1, 2, 3):
            writer.save(update, ITEMS, {})
        writer.wait_until_saved()
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing went elsewhere
    found = checkpoint.restore(folder, jax.eval_shape(lambda: ITEMS))
    assert found.update == 3
    chex.assert_trees_all_equal(found.items, ITEMS)


def test_a_plain_name_needs_no_link_and_none_is_left(tmp_path):
    with literal_path(tmp_path / "a") as path:
        assert path == tmp_path / "a"
    with literal_path(tmp_path) as path, literal_path(tmp_path / "[a]") as link:
        assert path == tmp_path
        assert link.is_symlink()
    assert not link.parent.exists()


ONCE = """
import logging, sys
import jaxmeta.rundir.checkpoint
if "own" in sys.argv:
    logging.getLogger("jaxmeta").addHandler(logging.StreamHandler())
logging.getLogger("jaxmeta.training").warning("said")
logging.getLogger("another").warning("said by another")
"""


@pytest.mark.parametrize("handler", ["own", "none"])
def test_a_message_is_shown_once_although_orbax_configures_the_root_logger(handler):
    command = [sys.executable, "-c", ONCE, handler]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.rpartition(":")[2] for line in done.stderr.splitlines()] == [
        "said",
        "said by another",
    ]
