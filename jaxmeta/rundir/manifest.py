"""What a reader needs to trust or repeat a run: code, lock, versions, devices."""

import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxmeta.config.data_format import FORMAT, KEY
from jaxmeta.devices.cpu import processor, threads

PHYSICS = ("mujoco", "mujoco-mjx")  # what simulated environments' numbers come from, beside
PACKAGES = ("jax", "jaxlib", "flax", "optax", "distrax", "orbax-checkpoint", "numpy", *PHYSICS)
ROOT = Path(__file__).parents[2]
CODE = ("jaxmeta", "envs")  # what the numbers come from
# What bitwise results depend on; a change between two sessions of a run is logged.
REPRODUCIBILITY_KEYS = (
    "code_sha256", "own_code_sha256", "lock_sha256", "python", "versions", "devices", "threads",
    "processor", "xla_flags", "jax_flags", "mesh", "processes",
)  # fmt: skip
JAX_FLAGS = (
    "jax_default_matmul_precision", "jax_enable_x64", "jax_disable_most_optimizations",
    "jax_default_prng_impl", "jax_threefry_partitionable",
)  # fmt: skip


def now() -> str:
    """Return the time, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def describe(
    devices: list[str], jax_flags: dict[str, Any], own_code: Sequence[Path] = ()
) -> dict[str, Any]:
    """Return the facts about this process; `commit` is None where there is no checkout.

    Args:
      devices: their kinds.
      jax_flags: the values of JAX_FLAGS.
      own_code: the user's files with environment and method.
    """
    lock = ROOT / "requirements.lock"
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {
        KEY: FORMAT,
        "started": now(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "code_sha256": code_sha256(),
        "own_code_sha256": [hashlib.sha256(path.read_bytes()).hexdigest() for path in own_code],
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "devices": devices,
        "cores": os.cpu_count(),
        "threads": threads(),
        "processor": processor(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_flags": jax_flags,
    }


def continued(
    before: Mapping[str, Any],
    facts: Mapping[str, Any],
    resumed: Mapping[str, Any] | None,
    keeps_rows: bool,
) -> dict[str, Any]:
    """Return the manifest of a session, the one before it having written `before`.

    Args:
      before: {} for a new run.
      facts: `describe`'s, of this process.
      resumed: an entry of `resumed_from`, None for a new run.
      keeps_rows: whether rows of earlier sessions stay; else results depend on this one alone.
    """
    merged = {**facts, **before} if keeps_rows else {**before, **facts}
    kept = {k: v for k, v in merged.items() if k not in ("ended", "error")}
    history = [*before.get("resumed_from", []), *([resumed] if resumed else [])]
    return kept | {KEY: FORMAT, "resumed_from": history}


def code_sha256() -> str:
    """Return a hash of the library and the environments: it tells versions apart without git."""
    digest = hashlib.sha256()
    for path in sorted(path for name in CODE for path in (ROOT / name).rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def git(*command: str) -> str | None:
    """Return a git command's output, or None where there is no checkout or no git."""
    if not (ROOT / ".git").exists():
        return None
    try:
        words = ["git", "-C", str(ROOT), *command]
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace")
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """Return {name: [before, after]} for what bitwise results depend on and was not the same.

    What only one of both names, because it is of another version, is not among them.
    """
    return {
        k: [before.get(k), after.get(k)]
        for k in REPRODUCIBILITY_KEYS
        if k in before and k in after and before[k] != after[k]
    }
