"""What code a run was handed, and whether it is the same now: `code` in its manifest.

Code is handed over by a file that `env` or `method` names, by an object that is passed in Python,
or by a name that was registered in the process. Each of `env` and `method` has an entry:

    from    "file", "object", "registered"; "installed" or "built-in", which are the library's
    source  of a file: the sha256 of its content, with the files beside it that it imports
    object  the fingerprint of the environment, or of the method's maker
    unknown why that cannot be told, in the place of `object`

This module imports no jax.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxmeta.config import registry, user_code
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir.code_fingerprint import Untellable, fingerprint
from jaxmeta.rundir.imported_files import source_sha256
from jaxmeta.rundir.layout import CHECKPOINTS, MANIFEST, checkpoint_updates
from jaxmeta.rundir.reading import printable, read_manifest, untrusted_read

log = logging.getLogger(__name__)

Entry = dict[str, str]
Code = dict[str, Entry]  # by field: "env", "method"
KINDS = {"env": "environments", "method": "methods"}
NAME_IT = "in a file, as FILE.py:FUNCTION, it could"
LIBRARY = ("built-in", "installed")  # whose changes are announced, not refused


def code_by_name(run: Run) -> Code:
    """Return the code of a run as far as its names tell."""
    found = {}
    for field, kind in KINDS.items():
        name = getattr(run, field)
        found[field] = {"from": registry.origin(kind, name)}
        if user_code.is_file(name) and user_code.source_path(name).is_file():
            found[field]["source"] = source_sha256(user_code.source_path(name))
    return found


def code_of(run: Run, made: Mapping[str, Any], given: Mapping[str, Any]) -> Code:
    """Return the code of a run.

    Args:
      run: which names it.
      made: the environment and the method's maker.
      given: what was passed in the place of what the names find; None: nothing.
    """
    found = code_by_name(run)
    for field in KINDS:
        if given[field] is not None:
            found[field] = {"from": "object"}
        try:
            found[field]["object"] = fingerprint(made[field], field)
        except Untellable as error:
            found[field]["unknown"] = str(error)
    return found


def recorded_code(path: Path) -> Code:
    """Return the code that a run was last trained with; {} where its manifest is older than that.

    Raises:
      ConfigError: the manifest cannot be read.
    """
    with untrusted_read(path / MANIFEST):
        return latest_code(read_manifest(path))


def latest_code(manifest: Mapping[str, Any]) -> Code:
    """Return what `recorded_code` does, of a manifest's content."""
    changes = [entry.get("changed", {}) for entry in manifest.get("resumed_from", [])]
    accepted = [changed["code"][1] for changed in changes if "code" in changed]
    code = accepted[-1] if accepted else manifest.get("code", {})
    return {
        field: {printable(key): printable(entry[key]) for key in ("from", *entry)}
        for field, entry in code.items()
        if field in KINDS
    }


def changes(then: Code, now: Code) -> dict[str, str]:
    """Return in words, by field, what of the code handed over is not known to be the same."""
    found = {}
    for field in KINDS:
        if field in then and (said := change(then[field], now[field])):
            found[field] = said
    return found


def change(then: Entry, now: Entry) -> str | None:
    """Return in words why two entries are not known to be the same code, None if they are."""
    origins = {then["from"], now["from"]}
    if origins <= set(LIBRARY) or (origins == {"registered"} and "object" not in now):
        return None
    keys = [key for key in ("source", "object") if key in then and key in now]
    if keys:
        return None if then[keys[0]] == now[keys[0]] else "is other code than it was trained with"
    for entry, when in ((now, "is here"), (then, "was")):
        if "unknown" in entry:
            return f"cannot be compared with what it {when}: {entry['unknown']}; {NAME_IT}"
    return f"was {words(then['from'])}, and is {words(now['from'])}"


def words(origin: str) -> str:
    """Return in words where code is from."""
    known = {"file": "a file", "object": "an object passed in Python"}
    return known.get(origin, "a registered name")


def require_same_code(run: Run, path: Path, now: Code, accept: bool) -> None:
    """Refuse to go on with a directory's results, if there are any, by other code.

    Raises:
      ConfigError: says what differs, and what to do; a warning if `accept` is given.
    """
    if not checkpoint_updates(path / CHECKPOINTS):
        return  # it begins anew
    for field, said in changes(recorded_code(path), now).items():
        name = getattr(run, field)
        if accept:
            log.warning("%s: %s = %r %s; accepted", path, field, name, said)
            continue
        raise ConfigError(
            f"out = {path}: {field} = {name!r} {said}; choose another out, or accept the change"
            " (accept_changed_code=True, --accept-changed-code)"
        )
