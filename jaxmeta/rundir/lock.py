"""Who may write a run directory: what is there already, and the lock. Nothing is overwritten.

This module imports no jax, so that `--out` is checked at once.
"""

import contextlib
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_name, safe_repr
from jaxmeta.errors import ConfigError
from jaxmeta.rundir.layout import (
    CONFIG,
    HOLDER,
    LOCK,
    MANIFEST,
    PROGRAM_KEY,
    UNKNOWN,
    is_utf_8,
    write_atomically,
)
from jaxmeta.rundir.manifest import now
from jaxmeta.rundir.reading import read_manifest, read_run, refuse_links, status


def look(run: Run, path: Path, program: str | None = None) -> str | None:
    """Return the status of this very run in `path`; None if it may start there.

    Nothing is written. A run of a sweep is trained by its program only, named `program`.

    Raises:
      ConfigError: anything else is there, another process writes to it, or nobody can.
    """
    found = status_of(run, path, program)
    if found != "finished":
        require_free(path)
    return found


@contextlib.contextmanager
def hold(run: Run, path: Path) -> Iterator[str | None]:
    """Lock a run's directory, look again and yield the status: now nobody else can change it.

    Raises:
      ConfigError: as `look` does.
    """
    with locked(path):
        yield status_of(run, path)


def status_of(run: Run, path: Path, program: str | None = None) -> str | None:
    """Return what `look` does, whether or not another process holds the lock."""
    refuse_links(path)
    found = status(path)
    if found is not None:
        there, ours = run.legacy_values() | read_run(path).fields(), run.fields()
        differing = sorted(k for k in there.keys() | ours.keys() if there.get(k) != ours.get(k))
        if differing:
            rows = ", ".join(
                f"{k} ({safe_repr(there.get(k))} there, {safe_repr(ours.get(k))} here)"
                for k in differing
            )
            raise ConfigError(f"out = {path}: holds another run; differing: {rows}")
        if found == "finished":
            return found
        require_program(path, program)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"out = {path}: must be a folder, not a file")
    if found is None and path.is_dir() and any(not is_leftover(p) for p in path.iterdir()):
        raise ConfigError(f"out = {path}: must be empty, new, or a run's folder; it holds files")
    require_writable(path)
    return found


def require_program(path: Path, program: str | None) -> None:
    """Refuse a run that another program trains, or that is of no sweep.

    Without a manifest, whoever wrote the directory was stopped before it said so.

    Raises:
      ConfigError: names the program.
    """
    manifest = read_manifest(path)
    theirs = manifest.get(PROGRAM_KEY)
    if theirs == program or not (path / MANIFEST).is_file():
        return
    if theirs is None:
        raise ConfigError(f"out = {path}: is a run of its own, not of the program {program}")
    raise ConfigError(
        f"out = {path}: belongs to a sweep; resume it by `jaxmeta sweep` or `jaxmeta resume"
        f" {path.parent.parent / 'programs' / safe_name(theirs)}`"
    )


def is_leftover(path: Path) -> bool:
    """Whether a file is what a process leaves that ended before it wrote config.json."""
    return path.name in (LOCK, HOLDER, f".{HOLDER}.tmp", f".{CONFIG}.tmp")


def require_writable(path: Path) -> None:
    """Refuse a folder that cannot be written, or made.

    Checkpoints are written to its name in UTF-8, all other files to that of the locale.

    Raises:
      ConfigError: says why.
    """
    if not is_utf_8(path.absolute()):
        raise ConfigError(
            f"out = {safe_name(str(path.absolute()))}: must be UTF-8, where this locale has"
            f" {sys.getfilesystemencoding()}; rename it, or set PYTHONUTF8=1"
        )
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ConfigError(
            f"out = {path}: must be writable; {existing} is not ({error.strerror})"
        ) from None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a directory, made if need be, against other processes, until this process ends.

    Raises:
      ConfigError: another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        raise ConfigError(f"out = {path}: in use by {holder(path)}") from None
    except OSError as error:
        raise ConfigError(f"out = {path}: cannot be locked ({error})") from None
    try:
        write_atomically(
            path / HOLDER, f"process {os.getpid()} on {socket.gethostname()} since {now()}"
        )
        yield
    finally:
        (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def require_free(path: Path) -> None:
    """Refuse a directory that another process writes to.

    Raises:
      ConfigError: says which.
    """
    if who := holder(path):
        raise ConfigError(f"out = {path}: in use by {who}")


def holder(path: Path) -> str | None:
    """Return which running process writes to a directory; None if none does, UNKNOWN if that
    cannot be tried."""
    if not (path / LOCK).is_file():
        return None
    try:
        if not is_held(path / LOCK):
            return None
    except OSError:  # not ours to read
        return UNKNOWN
    who = path / HOLDER
    return safe_name(who.read_text(encoding="utf-8")) if who.is_file() else "another process"


def is_held(file: Path) -> bool:
    """Whether a process holds a lock, be it one that only others may write.

    Raises:
      OSError: it can neither be written nor read.
    """
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
        lock.release()
    except Timeout:
        return True
    except OSError:  # a disk that is read-only here, another user's file
        with file.open("rb") as shared:
            try:
                fcntl.flock(shared, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False
