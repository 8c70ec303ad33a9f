"""What a run resumes from: its newest checkpoint, if everything still fits together."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxmeta.config.untrusted_text import safe_name, safe_repr
from jaxmeta.devices import hosts
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir import checkpoint, handed_over, layout, manifest, reading

log = logging.getLogger(__name__)


def restore_for_all(
    path: Path,
    folders: Sequence[Path],
    like: dict[str, Any],
    facts: dict[str, Any],
    start: checkpoint.Start,
) -> checkpoint.Restored | None:
    """Return what `restore` finds for process 0, in every process.

    Raises: what `restore` does.
    """

    def find() -> tuple[Any, Any]:
        found = restore(path, folders, like, facts, start)
        return (
            (None, None)
            if found is None
            else ((found.update, found.notes, found.refused), found.items)
        )

    known, items = hosts.broadcast(find, like)
    if known is None:
        return None
    update, notes, refused = known
    return checkpoint.Restored(update, items, notes, refused)


def restore(
    path: Path,
    folders: Sequence[Path],
    like: dict[str, Any],
    facts: dict[str, Any],
    start: checkpoint.Start,
) -> checkpoint.Restored | None:
    """Return what members resume from; None if they have to begin, which is logged.

    `folders` are their runs' directories, whose rows must reach as far as the checkpoint; `start`
    fills leaves that the checkpoint is too old to have.

    Raises:
      ConfigError: the environment is another version now.
      CheckpointError: there were checkpoints, but none can be used.
    """

    def require_rows(notes: checkpoint.Notes) -> None:
        for folder, sizes in zip(folders, notes["sizes"], strict=True):
            for name, size in sizes.items():
                reading.require_file_size(folder / name, size)

    before = reading.read_manifest(path)
    version = facts["env_version"]  # None: from a file, or of a name that is not registered here
    if before and version is not None and before.get("env_version") != version:
        raise ConfigError(
            f"{path}: began with version {safe_repr(before.get('env_version'))} of its environment,"
            f" which is version {facts['env_version']} now: its results would not be comparable"
        )
    found = checkpoint.restore(path / layout.CHECKPOINTS, like, require_rows, start)
    saved = before.get("saved")
    if found is None and saved is not None:
        raise CheckpointError(
            f"{path / layout.CHECKPOINTS}: holds no checkpoint, but that of update"
            f" {safe_repr(saved)} was written; nothing was changed"
        )
    if found is None and before:
        log.warning("%s: stopped before its first checkpoint; it starts from the beginning", path)
    if found is not None:
        log.info("%s: resumes after update %d", path, found.update)
        if not before:
            log.warning("%s: has no %s: what it was made with is unknown", path, layout.MANIFEST)
        if saved is not None and found.update < saved:
            log.warning("%s: the checkpoint of update %s cannot be used", path, safe_repr(saved))
        for name, (then, now) in manifest.differing(before, facts).items() if before else ():
            was = safe_name(then)
            log.warning("%s: %s was %s and is %s: results may differ", path, name, was, now)
    return found


def resumption(
    before: dict[str, Any], restored: checkpoint.Restored | None, facts: dict[str, Any]
) -> dict[str, Any]:
    """Return an entry of the manifest's `resumed_from`."""
    if restored is None:
        return {"update": 0, "at": manifest.now()}
    changed: dict[str, Any] = manifest.differing(before, facts)
    then = handed_over.latest_code(before)
    if handed_over.changes(then, facts["code"]):
        changed["code"] = [then, facts["code"]]
    return {
        "update": restored.update,
        "at": manifest.now(),
        "changed": changed,
        "refused": {str(update): why for update, why in restored.refused.items()},
    }
