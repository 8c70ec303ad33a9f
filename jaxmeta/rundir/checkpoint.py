"""Checkpoints, through orbax, and the checks that orbax leaves out.

A checkpoint is a folder named by its update. It holds items, each a pytree, and an index:
every leaf's dtype, shape and sha256, and the caller's notes. Leaves are stored
flat, as NumPy arrays under their dotted names.
"""

import contextlib
import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.config.data_format import FORMAT
from jaxmeta.config.untrusted_text import one_line
from jaxmeta.env import is_key
from jaxmeta.errors import CheckpointError
from jaxmeta.rundir.layout import checkpoint_updates
from jaxmeta.rundir.orbax_checkpoint import literal_path, ocp

MAX_TO_KEEP = 2  # the newest checkpoints that stay
INDEX = "index"
DAMAGED = "damaged"  # beside the checkpoints: where unreadable ones are moved
TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES)  # errors of the machine
SPARE_BYTES = 2**20  # for what orbax writes beside the data
# Of several processes only the first is here, which orbax would wait for the others to join.
FIRST_PROCESS = ocp.options.MultiprocessingOptions(
    primary_host=0, active_processes={0}, barrier_sync_key_prefix="jaxmeta"
)

log = logging.getLogger(__name__)
Tree = Any
Notes = dict[str, Any]
Start = Callable[[str], Any]  # by item and leaf: the number or array that fills it, or None


class Restored(NamedTuple):
    """A checkpoint that passed all checks."""

    update: int
    items: dict[str, Tree]  # NumPy arrays and typed keys
    notes: Notes
    refused: dict[int, str]  # newer ones, and what is wrong with them


def flatten_with_names(tree: Tree) -> dict[str, Any]:
    """Return a pytree's leaves by their dotted names."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


def no_start(leaf: str) -> None:
    """Return nothing that could fill a leaf: all must be there."""


class Leaf(NamedTuple):
    """A leaf on the host; typed keys have data of another dtype and shape than their own."""

    dtype: str
    shape: list[int]
    data: np.ndarray


def to_host(x: Any) -> Leaf:
    """Return a leaf on the host, copied, as JAX may donate it; NumPy arrays stay as they are."""
    data = np.asarray(jax.device_get(jax.random.key_data(x) if is_key(x) else x))
    return Leaf(str(x.dtype), list(x.shape), data if data.flags.owndata else data.copy())


def sha256(data: np.ndarray) -> str:
    """Return the hash of an array's content, whatever its dtype."""
    return hashlib.sha256(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data).hexdigest()


def seal(index: dict[str, Any]) -> str:
    """Return the index's own hash."""
    content = {k: v for k, v in index.items() if k != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class CheckpointWriter:
    """Writes checkpoints in a thread; a context manager that waits for the last.

    Raises, from every method:
      CheckpointError: the checkpoint before could not be written, or this one cannot.
    """

    def __init__(self, folder: Path, pinned: list[int]):
        """Open a folder, under its run's lock; `pinned` updates are never deleted."""
        self.folder, self.pinned = folder, pinned
        for stale in folder.glob("*orbax-checkpoint-tmp*"):
            shutil.rmtree(stale)
        folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            create=False, max_to_keep=None, enable_async_checkpointing=False,
            multiprocessing_options=FIRST_PROCESS,
        )  # fmt: skip
        self.links = contextlib.ExitStack()
        place = self.links.enter_context(literal_path(folder))
        self.manager = ocp.CheckpointManager(place, options=options)
        self.thread = ThreadPoolExecutor(1)
        self.writing: Future[None] | None = None
        self.pending: int | None = None  # the update being written

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type | None, *error: Any) -> None:
        self.thread.shutdown()
        hidden = (Exception,) if kind else ()  # so as not to mask the error being raised
        with self.links, contextlib.suppress(*hidden):
            self.manager.close()

    def save(self, update: int, items: Mapping[str, Tree], notes: Mapping[str, Any]) -> int | None:
        """Copy everything, then write it in the thread; return what `wait_until_saved` did."""
        before = self.wait_until_saved()
        leaves = {
            item: {name: to_host(x) for name, x in flatten_with_names(tree).items()}
            for item, tree in items.items()
        }
        self.require_space(sum(x.data.nbytes for of in leaves.values() for x in of.values()))
        self.writing = self.thread.submit(self.write, update, leaves, notes)
        self.pending = update
        return before

    def write(
        self, update: int, leaves: Mapping[str, Mapping[str, Leaf]], notes: Mapping[str, Any]
    ) -> None:
        """Write a checkpoint.

        Raises:
          RuntimeError: orbax did not.
          Exception: any error of orbax or tensorstore.
        """
        entries = {
            item: {
                name: {"dtype": x.dtype, "shape": x.shape, "sha256": sha256(x.data)}
                for name, x in of.items()
            }
            for item, of in leaves.items()
        }
        index = {"format": FORMAT, "update": update, "notes": notes, "leaves": entries}
        index["seal"] = seal(index)
        saves = {
            item: ocp.args.StandardSave({name: x.data for name, x in of.items()})
            for item, of in leaves.items()
        }
        saves[INDEX] = ocp.args.JsonSave(index)
        if not self.manager.save(update, args=ocp.args.Composite(**saves)):
            raise RuntimeError("orbax did not save it")

    def wait_until_saved(self) -> int | None:
        """Wait for the checkpoint being written and return the newest one's update.

        Only then are older ones deleted.
        """
        try:
            if self.writing is not None:
                self.writing.result()
        except Exception as error:
            raise CheckpointError(
                f"{self.folder}: the checkpoint of update {self.pending} could not be written: "
                f"{reason(error)}; older ones are intact"
            ) from error
        self.writing = None
        there = checkpoint_updates(self.folder)
        if self.pending is not None and self.pending not in there:
            raise CheckpointError(f"{self.folder}: the checkpoint of {self.pending} is not there")
        self.pending = None
        for old in there[:-MAX_TO_KEEP]:
            if old not in self.pinned:
                self.manager.delete(old)
        return there[-1] if there else None

    def newest(self) -> int | None:
        """Return the newest checkpoint's update, be it still in writing; None: there is none."""
        there = checkpoint_updates(self.folder)
        return self.pending if self.pending is not None else there[-1] if there else None

    def require_space(self, needed: int) -> None:
        """Refuse to begin what the disk has no room for."""
        free = shutil.disk_usage(self.folder).free
        if free < needed + SPARE_BYTES:
            raise CheckpointError(
                f"{self.folder}: a checkpoint needs {needed / 1e6:,.1f} MB, but only"
                f" {free / 1e6:,.1f} MB are free; older ones are intact"
            )


def newest_valid(
    folder: Path,
    like: Mapping[str, Tree],
    accept: Callable[[Notes], None] = lambda notes: None,
    start: Start = no_start,
    before: int | None = None,
) -> Restored | None:
    """Return the newest checkpoint that passes all checks, None if there is none at all.

    `like` holds the wanted items as pytrees of shapes; `accept` raises where the notes are of
    no use; `start` fills leaves that the code has had since then; those after the update
    `before` do not count. Newer ones that cannot be used are warned of; nothing is changed.

    Raises:
      CheckpointError: there are checkpoints, but none can be used.
      MemoryError, OSError: the machine, not the checkpoint, is in trouble.
    """
    refused: dict[int, str] = {}
    for update in reversed(
        [x for x in checkpoint_updates(folder) if before is None or x <= before]
    ):
        try:
            items, notes = read_checkpoint(folder, update, like, start)
            accept(notes)
        except Exception as error:  # what damage makes orbax raise is unforeseeable
            if isinstance(error, MemoryError) or getattr(error, "errno", None) in TRANSIENT:
                raise
            refused[update] = reason(error)
            continue
        for bad, why in refused.items():
            said = "%s: checkpoint %d cannot be used (%s); %d is used"
            log.warning(said, folder, bad, why, update)
        return Restored(update, items, notes, refused)
    if refused:
        reasons = "; ".join(f"{update} ({why})" for update, why in refused.items())
        raise CheckpointError(
            f"{folder}: no checkpoint can be used, nothing was changed: {reasons}"
        )
    return None


def restore(
    folder: Path,
    like: Mapping[str, Tree],
    accept: Callable[[Notes], None] = lambda notes: None,
    start: Start = no_start,
) -> Restored | None:
    """Do what `newest_valid` does, and move what cannot be used to `damaged/` beside the folder.

    Raises:
      CheckpointError: there are checkpoints, but none can be used; nothing was moved.
      MemoryError, OSError: the machine, not the checkpoint, is in trouble.
    """
    found = newest_valid(folder, like, accept, start)
    for update in found.refused if found else ():
        log.warning("%s: checkpoint %d moved to %s", folder, update, move_aside(folder, update))
    return found


def read_checkpoint(
    folder: Path, update: int, like: Mapping[str, Tree], start: Start = no_start
) -> tuple[dict[str, Tree], dict[str, Any]]:
    """Return one checkpoint's items, as `like` has them, and its notes; writes nothing.

    Raises:
      CheckpointError: it is of a later format, or a leaf is not what it was or should be.
      Exception: whatever orbax makes of damaged files.
    """
    options = ocp.CheckpointManagerOptions(create=False, multiprocessing_options=FIRST_PROCESS)
    with (
        literal_path(folder) as place,
        ocp.CheckpointManager(place, options=options) as manager,
    ):
        index_only = ocp.args.Composite(**{INDEX: ocp.args.JsonRestore()})
        index = manager.restore(update, args=index_only)[INDEX]
        check_index(index, update, like, start)
        wanted = {item: ocp.args.StandardRestore() for item in like}
        stored = manager.restore(update, args=ocp.args.Composite(**wanted))
    leaves = index["leaves"]
    return {
        item: verified(item, stored[item], leaves[item], like[item], start) for item in like
    }, index["notes"]


def format_of(index: dict[str, Any]) -> int:
    """Return an index's format, which was called version before 0.2."""
    return index["format"] if "format" in index else index["version"]


def check_index(index: dict[str, Any], update: int, like: Mapping[str, Tree], start: Start) -> None:
    """Check that an index is whole, and of leaves such as `like`'s, or older ones.

    Raises:
      CheckpointError: names the first leaf that is not.
    """
    if index["seal"] != seal(index) or index["update"] != update:
        raise CheckpointError("its index is damaged")
    if not 1 <= (number := format_of(index)) <= FORMAT:
        raise CheckpointError(f"format {number}, but this code reads up to {FORMAT}")
    for item, tree in like.items():
        expected, found = flatten_with_names(tree), index["leaves"].get(item, {})
        missing = expected.keys() - found.keys()
        younger = {name for name in missing if start(f"{item}.{name}") is not None}
        for name in sorted((expected.keys() ^ found.keys()) - younger):
            raise CheckpointError(
                f"leaf {item}.{name} is {'missing' if name in expected else 'not known here'}"
            )
        for name, x in expected.items():
            if name in younger:
                continue
            for what, ours in (("dtype", str(x.dtype)), ("shape", list(x.shape))):
                if found[name][what] != ours:
                    raise CheckpointError(
                        f"leaf {item}.{name} has {what} {found[name][what]}, expected {ours}"
                    )


def verified(
    item: str, stored: dict[str, Any], leaves: dict[str, Any], like: Tree, start: Start
) -> Tree:
    """Return stored arrays in the structure of `like`, each checked against its hash.

    What the checkpoint is too old to have begins as `start` says.

    Raises:
      CheckpointError: names the first leaf that is damaged.
    """

    def leaf(path: Any, x: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name not in leaves:
            value = start(f"{item}.{name}")
            log.info("%s.%s: is younger than this checkpoint; begins with %s", item, name, value)
            return np.broadcast_to(np.asarray(value, x.dtype), x.shape).copy()
        data = np.asarray(stored[name])
        if sha256(data) != leaves[name]["sha256"]:
            raise CheckpointError(f"leaf {item}.{name} is damaged (its sha256 differs)")
        found = jax.random.wrap_key_data(jnp.asarray(data)) if is_key(x) else data
        if (found.dtype, found.shape) != (x.dtype, x.shape):
            raise CheckpointError(f"leaf {item}.{name} is stored as {found.dtype}{found.shape}")
        return found

    return jax.tree_util.tree_map_with_path(leaf, like)


def move_aside(folder: Path, update: int) -> Path:
    """Move a checkpoint to a name of its own in `damaged/` beside the folder."""
    aside = folder.parent / DAMAGED
    aside.mkdir(exist_ok=True)
    names = (str(update), *(f"{update}-{n}" for n in range(1, 1000)))
    target = next(path for name in names if not (path := aside / name).exists())
    return (folder / str(update)).rename(target)


def reason(error: Exception) -> str:
    """Return what an exception says, or its kind, in one line."""
    return one_line(str(error)) or type(error).__name__
