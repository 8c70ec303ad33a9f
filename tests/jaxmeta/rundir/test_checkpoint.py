"""Checkpoints: exact, checked, and never trusted when they are damaged."""

import hashlib
import json
import random
import re
import shutil
from collections import namedtuple
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.errors import CheckpointError
from jaxmeta.rundir import checkpoint

# What is left of a failed read in orbax's event loop complains at some later time.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
NOTES = {"sizes": {"metrics.jsonl": 12}, "wall_s": 0.1}


class State(NamedTuple):
    params: dict
    key: jax.Array
    update: jax.Array


def state(update, width=64):
    rng = np.random.default_rng(update)
    return State(
        {
            "kernel": jnp.asarray(rng.normal(size=(2, width, 8)), jnp.float32),
            "half": jnp.asarray(rng.normal(size=(2, 3)), jnp.bfloat16),
            "obs": jnp.asarray(rng.integers(-9, 9, (2, 40)), jnp.int8),
            "mask": jnp.asarray(rng.integers(0, 2, 5), bool),
        },
        jax.random.split(jax.random.key(update)),
        jnp.int32(update),
    )


def like(example=None):
    items = {"course": example or state(0), "agent": {"w": jnp.zeros(3)}}
    return jax.eval_shape(lambda: items)


def save(folder, *updates, pinned=(), **changed):
    with checkpoint.CheckpointWriter(folder, list(pinned)) as writer:
        for update in updates:
            items = {"course": state(update), "agent": {"w": jnp.arange(3.0)}} | changed
            writer.save(update, items, NOTES)
        writer.wait_until_saved()


def assert_restored(found, update):
    assert found.update == update
    chex.assert_trees_all_equal(found.items["course"], state(update))
    chex.assert_trees_all_equal_dtypes(found.items["course"], state(update))
    assert found.notes == NOTES


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with the checkpoints 10 and 20, to be copied."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    save(folder, 10, 20)
    return folder


@pytest.fixture
def folder(two, tmp_path):
    return shutil.copytree(two, tmp_path / "run" / "checkpoints")


def test_every_bit_dtype_and_key_comes_back(folder):
    assert_restored(checkpoint.restore(folder, like()), 20)


def test_an_empty_folder_holds_none(tmp_path):
    assert checkpoint.restore(tmp_path / "nowhere", like()) is None
    assert not (tmp_path / "nowhere").exists()


def test_what_is_saved_is_a_copy():
    """While a view of an array lives, jax would copy instead of reusing its memory."""
    numbers = jnp.arange(1_000_000.0)
    leaf = checkpoint.to_host(numbers)
    overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    assert (overwrite(numbers) == -1).all()
    assert numbers.is_deleted()
    np.testing.assert_array_equal(leaf.data, np.arange(1_000_000.0))


def test_the_newest_two_and_the_pinned_ones_stay(tmp_path):
    save(tmp_path / "c", 1, 2, 3, 4, 5, pinned=[2])
    assert checkpoint.checkpoint_updates(tmp_path / "c") == [2, 4, 5]


def test_an_update_is_never_saved_twice(tmp_path):
    with pytest.raises(CheckpointError, match="update 3"):
        save(tmp_path / "c", 3, 3)


def test_stale_temporary_folders_are_removed(folder):
    (folder / "30.orbax-checkpoint-tmp").mkdir()
    save(folder, 40)
    assert sorted(p.name for p in folder.iterdir()) == ["20", "40"]


def test_a_failed_background_write_is_noticed(folder):
    with checkpoint.CheckpointWriter(folder, []) as writer:
        writer.save(30, {"course": state(30)}, {})
        writer.writing.result()
        shutil.rmtree(folder / "30")
        with pytest.raises(CheckpointError, match="30 is not there"):
            writer.wait_until_saved()


def test_an_error_in_the_background_is_raised_with_the_update(folder, monkeypatch):
    with checkpoint.CheckpointWriter(folder, []) as writer:

        def fail(update, args):
            raise ValueError("RESOURCE_EXHAUSTED: no space\nand more")

        with monkeypatch.context() as patch:
            patch.setattr(writer.manager, "save", fail)
            writer.save(30, {"course": state(30)}, {})
            with pytest.raises(
                CheckpointError, match=r"update 30 could .*no space and more; older"
            ):
                writer.wait_until_saved()


@pytest.mark.fault("disk full, a quota stub")
def test_too_little_space_is_an_error_before_anything_is_written(folder, monkeypatch):
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch, checkpoint.CheckpointWriter(folder, []) as writer:
        patch.setattr(shutil, "disk_usage", lambda path: usage(2**20 + 2000))
        with pytest.raises(CheckpointError, match=r"needs 0\.0 MB, but only 1\.1 MB are free"):
            writer.save(30, {"course": state(30)}, NOTES)
    assert checkpoint.checkpoint_updates(folder) == [10, 20]
    assert_restored(checkpoint.restore(folder, like()), 20)


def data_file(step):
    """The largest file of the item `course`."""
    return max(
        (p for p in (step / "course").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )


def truncated(step):
    file = data_file(step)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(step):
    for file in step.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


def hollow(step):
    shutil.rmtree(step)
    step.mkdir()


def bit_in_data(step):
    flip(data_file(step), data_file(step).stat().st_size // 2)


def bit_in_metadata(step):
    index = step / "index" / "metadata"
    flip(index, index.read_bytes().index(b"sha256") + 12)


def flip(file, place, bit=0):
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


DAMAGES = (truncated, emptied, hollow, bit_in_data, bit_in_metadata)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.fault("newest checkpoint truncated, emptied, gone, or a bit of it flipped")
def test_the_one_before_replaces_a_damaged_one(damage, folder, caplog):
    damage(folder / "20")
    assert_restored(checkpoint.restore(folder, like()), 10)
    assert "checkpoint 20 cannot be used" in caplog.text
    assert "10 is used" in caplog.text
    assert checkpoint.checkpoint_updates(folder) == [10]
    assert [p.name for p in (folder.parent / "damaged").iterdir()] == ["20"]
    save(folder, 20)  # it can be written again, and be damaged again
    damage(folder / "20")
    assert_restored(checkpoint.restore(folder, like()), 10)
    assert {p.name for p in (folder.parent / "damaged").iterdir()} == {"20", "20-1"}


@pytest.mark.fault("a random bit flipped in every file of the newest checkpoint")
def test_no_flipped_bit_reaches_the_state(two, tmp_path, record_property):
    """Whatever file it is in: the state is exact, or the one before is used."""
    chance, used, tried = random.Random(0), {10: 0, 20: 0}, 0
    for file in sorted(p.relative_to(two) for p in (two / "20").rglob("*") if p.is_file()):
        if not (two / file).stat().st_size:
            continue
        for _ in range(3):
            tried += 1
            copy = shutil.copytree(two, tmp_path / str(tried) / "checkpoints")
            flip(copy / file, chance.randrange((copy / file).stat().st_size), chance.randrange(8))
            found = checkpoint.restore(copy, like())
            assert_restored(found, found.update)
            used[found.update] += 1
    record_property("tried", tried)
    assert used[10] >= 10  # what orbax does not read again may be damaged unnoticed


@pytest.mark.fault("newest checkpoint of another dtype, shape or tree")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: s._replace(update=np.float32(3.0)),
            r"course\.update has dtype float32, expected",
        ),
        (lambda s: state(3, width=65), r"course\.params\.kernel has shape \[2, 65, 8\], expected"),
        (lambda s: s._replace(params=s.params | {"w": s.update}), r"params\.w is not known here"),
        (lambda s: s._replace(params={}), r"course\.params\.half is missing"),
    ],
)
def test_another_kind_of_leaf_is_named(change, said, folder, caplog):
    save(folder, 30, course=change(state(3)))
    assert_restored(checkpoint.restore(folder, like()), 20)
    assert caplog.records
    assert re.search(said, caplog.text)


def test_a_later_format_is_refused(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 0)
    with pytest.raises(CheckpointError, match="format 1, but this code reads up to 0"):
        checkpoint.restore(folder, like())
    assert checkpoint.format_of({"version": 1}) == 1  # its name before 0.2


def test_a_leaf_that_is_younger_than_a_checkpoint_begins_as_declared(folder, caplog):
    grown = state(0)._replace(params=state(0).params | {"more": jnp.zeros((2, 4), jnp.int8)})
    wanted = like(grown)
    with pytest.raises(CheckpointError, match=r"leaf course\.params\.more is missing"):
        checkpoint.newest_valid(folder, wanted)
    caplog.set_level("INFO", logger="jaxmeta")
    start = {"course.params.more": -3.0}.get
    items = checkpoint.restore(folder, wanted, start=start).items
    chex.assert_trees_all_equal_shapes_and_dtypes(items, wanted)
    assert (items["course"].params.pop("more") == -3).all()
    chex.assert_trees_all_equal(items["course"], state(20))
    assert "course.params.more: is younger than this checkpoint; begins with -3.0" in caplog.text


@pytest.mark.fault("all checkpoints damaged")
def test_when_all_are_damaged_nothing_is_touched(folder):
    for step in (10, 20):
        truncated(folder / str(step))
    before = {p: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file()}
    with pytest.raises(CheckpointError, match=r"no checkpoint can be used.* 20 \(.*; 10 \("):
        checkpoint.restore(folder, like())
    assert {p: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("error", [MemoryError(), OSError(24, "Too many open files")])
def test_trouble_of_the_machine_is_not_taken_for_damage(error, folder, monkeypatch):
    def fail(*args):
        raise error

    monkeypatch.setattr(checkpoint, "read_checkpoint", fail)
    with pytest.raises(type(error)):
        checkpoint.restore(folder, like())
    assert checkpoint.checkpoint_updates(folder) == [10, 20]


def test_one_from_before_an_update_can_be_asked_for(folder):
    assert_restored(checkpoint.newest_valid(folder, like(), before=19), 10)
    assert checkpoint.newest_valid(folder, like(), before=9) is None


def test_reading_changes_nothing(folder):
    truncated(folder / "20")
    before = {p: p.stat().st_mtime_ns for p in folder.parent.rglob("*")}
    assert_restored(checkpoint.newest_valid(folder, like()), 10)
    assert {p: p.stat().st_mtime_ns for p in folder.parent.rglob("*")} == before


def test_the_index_is_plain_json_with_a_hash_for_every_leaf(folder):
    index = json.loads((folder / "20" / "index" / "metadata").read_text())
    assert index["leaves"]["course"].keys() == checkpoint.flatten_with_names(state(0)).keys()
    kernel = np.asarray(state(20).params["kernel"])
    stored = index["leaves"]["course"]["params.kernel"]
    assert (stored["dtype"], stored["shape"]) == ("float32", list(kernel.shape))
    sha256 = hashlib.sha256(kernel.tobytes()).hexdigest()
    assert stored["sha256"] == sha256
