"""Training a run in its directory: begin it, or go on with it."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmeta import checkpoint, manifest, meshes, registry, rundir
from jaxmeta.algorithm import Algorithm
from jaxmeta.config import Run
from jaxmeta.env import Env
from jaxmeta.errors import CheckpointError, ConfigError, Preempted
from jaxmeta.evaluation import evaluation_tasks
from jaxmeta.loading import (
    AGENT,
    Best,
    Method,
    Result,
    Trained,
    build,
    read_result,
    trained_like,
)
from jaxmeta.periods import Period, period
from jaxmeta.programs import Course, Programs, compile_programs, course_like, members
from jaxmeta.runwriter import RunWriter
from jaxmeta.seeds import device_mesh, device_names, seed_mesh
from jaxmeta.session import COURSE, Journey, Session, Status
from jaxmeta.settings import one_line
from jaxmeta.signals import stop_requests
from jaxmeta.sweepwriter import SweepWriter
from jaxmeta.trial import Trial

log = logging.getLogger(__name__)


def train(
    run: Run,
    out: str | os.PathLike,
    *,
    env: Env | None = None,
    method: Method | None = None,
    watch: Callable[[Status], None] = lambda status: None,
    checkpoint_every: str = "120s",
    mesh: str | None = None,
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
      mesh: the devices that share the work, as "seeds=2,groups=4": 2 spread the seeds, and for
        each of these 4 its workers. By default as many as divide the seeds evenly.

    Raises:
      ConfigError: bad input; nothing was written.
      NonFiniteError: all seeds became infinite or NaN. One that does so alone is left
        behind: see `Result.dead`, the warning, and nan_report.json.
      Preempted: SIGINT or SIGTERM came; the same call goes on.
      CheckpointError: a checkpoint could not be written, or all that are there are damaged.
    """
    path, how = Path(out), How(watch, period(checkpoint_every))
    wanted = meshes.shape(mesh) if mesh is not None else None
    if rundir.check(run, path) == "finished":
        try:
            return read_result(path, env, method)
        except CheckpointError as error:  # the last updates can be repeated
            log.warning("%s", error)
    rundir.require_free(path)
    devices = device_mesh(run, wanted)  # before anything else uses JAX
    world, algorithm = build(run, env, method)
    with rundir.locked(path), stop_requests() as stop_asked:
        rundir.check(run, path)  # once more, now that nobody else can write
        open_writer = lambda *told: RunWriter(run, path, *told)
        train_members({path: run}, path, devices, world, algorithm, open_writer, how, stop_asked)
    return read_result(path, env, method)


class How(NamedTuple):
    """How members are trained, which decides nothing of what they give."""

    watch: Callable[[Status], None]
    every: Period  # between checkpoints


def train_members(
    folders: Mapping[Path, Run],
    path: Path,
    mesh: jax.sharding.Mesh,
    world: Trial,
    algorithm: Algorithm,
    open_writer: Callable[..., RunWriter | SweepWriter],
    how: How,
    stop_asked: Callable[[], str | None],
    deliver: Callable[[int, Trained], None] = lambda update, trained: None,
) -> None:
    """Train all seeds of runs of equal structure together, from wherever they are.

    `folders` are the runs by their directories. `path` is the directory of their checkpoints
    and manifest, held by the caller; `open_writer` takes a writer's arguments from `tasks` on;
    `deliver` gets the last update and what was trained, before the status is "finished".

    Raises: what `train` does.
    """
    who = members(*folders.values())
    together = dataclasses.replace(next(iter(folders.values())), seeds=len(who.seed))
    tasks, described = evaluation_tasks(world)
    facts = facts_of(together, mesh)
    trained = trained_like(who, algorithm)
    like = {COURSE: course_like(who, algorithm), AGENT: trained}
    before = rundir.read_manifest(path)
    restored = restore(path, list(folders), like, facts)
    sizes = restored.notes["sizes"] if restored else None
    resumed = resumption(before, restored, facts) if before or restored else None
    writer = open_writer(described, facts, resumed, sizes)
    with closing(writer):
        programs = compile_programs(who, together, world, algorithm, mesh, tasks)
        journey = depart(programs, trained.best, restored)
        with checkpoint.Writer(path / rundir.CHECKPOINTS, journey.pinned) as checkpoints:
            session = Session(
                together, world, algorithm, programs, described, journey, writer, checkpoints,
                how.every, how.watch,
            )  # fmt: skip
            session.go(stop_asked)
        deliver(journey.update, jax.device_get(session.trained()))


def train_together(
    path: Path,
    folders: Mapping[Path, Run],
    checkpoint_every: str,
    watch: Callable[[Status], None],
) -> None:
    """Train a sweep's program in its directory; each run gets its own rows and parameters.

    Raises: what `train` does.
    """
    (seeds,) = {run.seeds for run in folders.values()}
    mesh = seed_mesh(seeds * len(folders))  # before anything else uses JAX
    world, algorithm = build(next(iter(folders.values())))

    def deliver(update: int, trained: Trained) -> None:
        for i, folder in enumerate(folders):
            own = jax.tree.map(lambda x, i=i: x[i * seeds : (i + 1) * seeds], trained)
            with checkpoint.Writer(folder / rundir.CHECKPOINTS, []) as checkpoints:
                if checkpoints.newest() != update:  # else it was stopped right here
                    checkpoints.save(update, {AGENT: own}, {})
                checkpoints.confirm()

    how = How(watch, period(checkpoint_every))
    with rundir.locked(path), stop_requests() as stop_asked:
        open_writer = lambda *told: SweepWriter(path, folders, *told)
        train_members(folders, path, mesh, world, algorithm, open_writer, how, stop_asked, deliver)


def facts_of(run: Run, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Return what the manifest tells of this process."""
    flags = {name: str(jax.config.values[name]) for name in manifest.JAX_FLAGS}
    files = [registry.file_of(name) for name in (run.env, run.method) if registry.is_file(name)]
    own_code = [path for path in files if path.is_file()]  # else it was handed over
    facts = manifest.describe(device_names(mesh), flags, own_code)
    facts["mesh"] = dict(mesh.shape)
    return facts | {"env_version": registry.env_version(run.env)}


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


def restore(
    path: Path, folders: Sequence[Path], like: dict[str, Any], facts: dict[str, Any]
) -> checkpoint.Restored | None:
    """Return what members go on from; None if they have to begin, which is said aloud.

    `folders` are their runs' directories, whose rows must reach as far as the checkpoint.

    Raises:
      ConfigError: the environment is another version now.
      CheckpointError: there were checkpoints, but none can be used.
    """

    def rows_are_there(notes: checkpoint.Notes) -> None:
        for folder, sizes in zip(folders, notes["sizes"], strict=True):
            for name, size in sizes.items():
                rundir.require_size(folder / name, size)

    before = rundir.read_manifest(path)
    if before and before.get("env_version") != facts["env_version"]:
        raise ConfigError(
            f"{path}: began with version {before.get('env_version')} of its environment, which is"
            f" version {facts['env_version']} now: its numbers would not fit together"
        )
    found = checkpoint.restore(path / rundir.CHECKPOINTS, like, rows_are_there)
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
        if not before:
            log.warning("%s: has no %s: what it was made with is unknown", path, rundir.MANIFEST)
        if saved is not None and found.update < saved:
            log.warning("%s: the checkpoint of update %d cannot be used", path, saved)
        for name, (then, now) in manifest.differing(before, facts).items() if before else ():
            log.warning("%s: %s was %s and is %s: bits may differ", path, name, then, now)
    return found


def resumption(
    before: dict[str, Any], restored: checkpoint.Restored | None, facts: dict[str, Any]
) -> dict[str, Any]:
    """Return an entry of the manifest's `resumed_from`."""
    if restored is None:
        return {"update": 0, "at": manifest.now()}
    return {
        "update": restored.update,
        "at": manifest.now(),
        "changed": manifest.differing(before, facts),
        "refused": {str(update): why for update, why in restored.refused.items()},
    }


def depart(programs: Programs, best: Best, restored: checkpoint.Restored | None) -> Journey:
    """Return where training starts: at the beginning, or where it was; `best` is shapes."""
    if restored is None:
        nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), best)
        return Journey(programs.start(), nothing._replace(score=nothing.score - np.inf))
    course: Course = programs.place(restored.items[COURSE])
    best = restored.items[AGENT].best
    return Journey.going_on(course, best, restored.update, restored.notes["journey"])


@contextlib.contextmanager
def closing(writer: RunWriter | SweepWriter) -> Iterator[None]:
    """Give the run its last status, whatever happens."""
    try:
        yield
    except BaseException as error:
        state = "preempted" if isinstance(error, Preempted) else "failed"
        saved = rundir.steps(writer.path / rundir.CHECKPOINTS)[-1:]
        told = {"saved": saved[0] if saved else None}
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
            writer.close(state, error=one_line(f"{type(error).__name__}: {error}"), **told)
        raise
    writer.close("finished")
