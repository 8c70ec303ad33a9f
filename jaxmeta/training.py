"""Training a run in its directory: begin it, or go on with it."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxmeta import checkpoint, manifest, registry, rundir
from jaxmeta.config import Run
from jaxmeta.env import Env
from jaxmeta.errors import CheckpointError, ConfigError, Preempted
from jaxmeta.evaluation import evaluation_tasks
from jaxmeta.loading import (
    AGENT,
    Best,
    Method,
    Result,
    build,
    read_result,
    trained_like,
)
from jaxmeta.periods import period
from jaxmeta.programs import Course, Programs, compile_programs, initial
from jaxmeta.runwriter import RunWriter
from jaxmeta.seeds import device_names, seed_mesh
from jaxmeta.session import CHUNK_S, COURSE, Journey, Session, Status
from jaxmeta.signals import stop_requests

log = logging.getLogger(__name__)


def train(
    run: Run,
    out: str | os.PathLike,
    *,
    env: Env | None = None,
    method: Method | None = None,
    watch: Callable[[Status], None] = lambda status: None,
    checkpoint_every: str = "120s",
    debug_nans: bool = False,
) -> Result:
    """Train all seeds of a run together and write its directory.

    A finished run of the same configuration is read back instead; an unfinished one goes on
    from its newest checkpoint, to the same bits as if it had never stopped.

    Args:
      run: what to train.
      out: the run's directory.
      env: replaces the environment that the run names.
      method: replaces the method that the run names.
      watch: is told how it goes, after every chunk.
      checkpoint_every: "120s" or "50u" (updates); decides when, never what the bits are.
      debug_nans: name the primitive that makes a NaN; slower, update by update.

    Raises:
      ConfigError: bad input; nothing was written.
      NonFiniteError: all seeds became infinite or NaN. One that does so alone is left
        behind: see `Result.dead`, the warning, and nan_report.json.
      Preempted: SIGINT or SIGTERM came; the same call goes on.
      CheckpointError: a checkpoint could not be written, or all that are there are damaged.
    """
    path, every = Path(out), period(checkpoint_every)
    if rundir.check(run, path) == "finished":
        return read_result(path, env, method)
    rundir.require_free(path)
    mesh = seed_mesh(run.seeds)
    world, algorithm = build(run, env, method)
    tasks, described = evaluation_tasks(world)
    precision = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    facts = manifest.describe(device_names(mesh), precision)
    version = None if registry.is_file(run.env) else registry.env_spec(run.env).version
    facts |= {"env_version": version, "debug_nans": debug_nans}
    like = {
        COURSE: jax.eval_shape(lambda: initial(run, algorithm)),
        AGENT: trained_like(run, algorithm),
    }
    with rundir.locked(path), stop_requests() as stop_asked:
        if rundir.check(run, path) == "finished":  # by the time that the lock was ours
            return read_result(path, env, method)
        restored = restore(path, like, facts)
        writer = open_writer(run, path, described, facts, restored)
        with closing(writer):
            programs = compile_programs(run, world, algorithm, mesh, tasks, debug_nans)
            journey = depart(programs, like[AGENT].best, restored)
            with checkpoint.Writer(path / rundir.CHECKPOINTS, journey.pinned) as checkpoints:
                Session(
                    run, world, algorithm, programs, described, journey, writer, checkpoints,
                    every, watch, 0.0 if debug_nans else CHUNK_S,
                ).go(stop_asked)  # fmt: skip
    return read_result(path, env, method)


def resume(
    path: str | os.PathLike, *, env: Env | None = None, method: Method | None = None, **how: Any
) -> Result:
    """Go on with the run in a directory, as `train` does; `how` is as there.

    Raises:
      ConfigError: no run there, or one with code from a file that was not handed over.
      Exception: what `train` raises.
    """
    run = rundir.read_run(Path(path))
    rundir.refuse_named_code(run, env, method)
    return train(run, path, env=env, method=method, **how)


def restore(path: Path, like: dict[str, Any], facts: dict[str, Any]) -> checkpoint.Restored | None:
    """Return what a run goes on from; None if it has to begin, which is said aloud.

    Raises:
      ConfigError: the environment is another version now.
      CheckpointError: there were checkpoints, but none can be used.
    """
    before = rundir.read_manifest(path)
    if before and before.get("env_version") != facts["env_version"]:
        raise ConfigError(
            f"{path}: began with version {before.get('env_version')} of its environment, which is"
            f" version {facts['env_version']} now: its numbers would not fit together"
        )
    found = checkpoint.restore(path / rundir.CHECKPOINTS, like)
    saved = before.get("saved")
    if found is None and saved is not None:
        raise CheckpointError(
            f"{path / rundir.CHECKPOINTS}: holds no checkpoint, but one of update {saved} was"
            " written; nothing was changed"
        )
    if found is None and before:
        log.warning("%s: stopped before its first checkpoint; it starts from the beginning", path)
    if found is not None:
        log.info("%s: resumes after update %d", path, found.update)
        if saved is not None and found.update < saved:
            log.warning("%s: the checkpoint of update %d cannot be used", path, saved)
        for name, (then, now) in manifest.differing(before, facts).items():
            log.warning("%s: %s was %s and is %s: bits may differ", path, name, then, now)
    return found


def open_writer(
    run: Run,
    path: Path,
    described: list[dict[str, Any]],
    facts: dict[str, Any],
    restored: checkpoint.Restored | None,
) -> RunWriter:
    """Return the writer of a new run, or of one that goes on."""
    before = rundir.read_manifest(path)
    if not before:
        return RunWriter(run, path, described, facts)
    if restored is None:
        return RunWriter(run, path, described, facts, {"update": 0, "at": manifest.now()})
    resumed = {
        "update": restored.update,
        "at": manifest.now(),
        "changed": manifest.differing(before, facts),
        "damaged": {str(update): reason for update, reason in restored.damaged.items()},
    }
    return RunWriter(run, path, described, facts, resumed, restored.notes["sizes"])


def depart(programs: Programs, best: Best, restored: checkpoint.Restored | None) -> Journey:
    """Return where training starts: at the beginning, or where it was; `best` is shapes."""
    if restored is None:
        nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), best)
        return Journey(programs.start(), nothing._replace(score=nothing.score - np.inf))
    course: Course = programs.place(restored.items[COURSE])
    best = restored.items[AGENT].best
    return Journey.going_on(course, best, restored.update, restored.notes["journey"])


@contextlib.contextmanager
def closing(writer: RunWriter) -> Iterator[None]:
    """Give the run its last status, whatever happens."""
    try:
        yield
    except BaseException as error:
        state = "preempted" if isinstance(error, Preempted) else "failed"
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
            writer.close(state, error=f"{type(error).__name__}: {error}")
        raise
    writer.close("finished")
