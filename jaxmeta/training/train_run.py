"""Training a run in its directory: begin it, or go on with it."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmeta.algorithm import Algorithm
from jaxmeta.config import mesh_shape, registry, user_code
from jaxmeta.config.run import Run
from jaxmeta.config.save_period import Period, period
from jaxmeta.config.untrusted_text import one_line
from jaxmeta.devices import hosts
from jaxmeta.devices.compilation_cache import keep_programs
from jaxmeta.devices.memory_budget import require_room
from jaxmeta.devices.seed_axis import ask_for_mesh, device_mesh, device_names
from jaxmeta.env import Env
from jaxmeta.errors import CheckpointError, Preempted
from jaxmeta.rundir import checkpoint, layout, lock, manifest, reading
from jaxmeta.rundir.non_writing_process import NoCheckpoints, NoWriter
from jaxmeta.rundir.run_writer import RunWriter, Writer
from jaxmeta.training.build import Method, build
from jaxmeta.training.compiled_programs import (
    Course,
    Programs,
    compile_programs,
    course_like,
    members,
)
from jaxmeta.training.evaluation import evaluation_tasks
from jaxmeta.training.loop import COURSE, Journey, Session, Status
from jaxmeta.training.restore import restore_for_all, resumption
from jaxmeta.training.result import (
    AGENT,
    Best,
    Result,
    Trained,
    result_for_all,
    trained_like,
)
from jaxmeta.training.stop_signals import stop_requests
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

    Of several processes (`join_hosts`) all call it alike. Process 0 alone reads and writes the
    directory; all return the result.

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
      Preempted: SIGINT or SIGTERM came, to any process; the same call goes on.
      PeerLost: another process is gone; the same call, in all of them, goes on.
      CheckpointError: a checkpoint could not be written, or all that are there are damaged.
    """
    path, how = Path(out), How(watch, period(checkpoint_every))
    keep_programs()
    wanted = mesh_shape.shape(mesh) if mesh is not None else None
    ask_for_mesh(run, wanted)  # before anything uses JAX
    with hosts.together():
        if hosts.told(lambda: lock.check(run, path)) == "finished":
            try:
                return result_for_all(path, run, env, method)
            except CheckpointError as error:  # the last updates can be repeated
                log.warning("%s", error)
        devices = device_mesh(run, wanted)
        coded = run.with_code(env, method)
        world, algorithm = build(coded, env, method)
        with contextlib.ExitStack() as stack:
            hosts.by_first(lambda: stack.enter_context(lock.locked(path)), None)
            asked = stack.enter_context(stop_requests())
            hosts.told(lambda: lock.check(run, path))  # once more: now nobody else can write
            open_writer = lambda *told: RunWriter(coded, path, *told)
            train_members({path: coded}, path, devices, world, algorithm, open_writer, how, asked)
        return result_for_all(path, run, env, method)


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
    open_writer: Callable[..., Writer],
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
    course = course_like(who, algorithm)
    replay = getattr(course.state, "replay", None)
    room = lambda: require_room(course, replay, together.seeds, together.replay_bound, mesh)
    hosts.told(room)  # one verdict for all
    like = {COURSE: course, AGENT: trained}
    restored = restore_for_all(path, list(folders), like, facts)

    def open_here() -> Writer:
        before = reading.read_manifest(path)
        sizes = restored.notes["sizes"] if restored else None
        resumed = resumption(before, restored, facts) if before or restored else None
        return open_writer(described, facts, resumed, sizes)

    writer = hosts.by_first(open_here, NoWriter(path))
    with closing(writer), hosts.together():
        programs = compile_programs(who, together, world, algorithm, mesh, tasks, course)
        journey = depart(programs, trained.best, restored)
        open_checkpoints = lambda: checkpoint.Writer(path / layout.CHECKPOINTS, journey.pinned)
        none = NoCheckpoints(restored.update if restored else None)
        with hosts.by_first(open_checkpoints, none) as checkpoints:
            session = Session(
                together, world, algorithm, programs, described, journey, writer, checkpoints,
                how.every, how.watch,
            )  # fmt: skip
            session.go(stop_asked)
        deliver(journey.update, jax.device_get(session.trained()))


def facts_of(run: Run, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Return what the manifest tells of this process."""
    flags = {name: str(jax.config.values[name]) for name in manifest.JAX_FLAGS}
    files = [user_code.file_of(name) for name in (run.env, run.method) if user_code.is_file(name)]
    own_code = [path for path in files if path.is_file()]  # else it was handed over
    facts = manifest.describe(device_names(mesh), flags, own_code)
    facts |= {"mesh": dict(mesh.shape), "processes": hosts.count()}
    return facts | {"env_version": registry.env_version(run.env)}


def resume(
    path: str | os.PathLike, *, env: Env | None = None, method: Method | None = None, **how: Any
) -> Result:
    """Go on with the run in a directory, as `train` does; `how` is as there.

    Raises:
      ConfigError: no run there, or one with code from a file that was not handed over.
      Exception: what `train` raises.
    """
    run = reading.read_run(Path(path))
    reading.refuse_named_code(run, env, method)
    return train(run, path, env=env, method=method, **how)


def depart(programs: Programs, best: Best, restored: checkpoint.Restored | None) -> Journey:
    """Return where training starts: at the beginning, or where it was; `best` is shapes."""
    if restored is None:
        nothing = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), best)
        return Journey(programs.start(), nothing._replace(score=nothing.score - np.inf))
    course: Course = programs.place(restored.items[COURSE])
    best = restored.items[AGENT].best
    return Journey.going_on(course, best, restored.update, restored.notes["journey"])


@contextlib.contextmanager
def closing(writer: Writer) -> Iterator[None]:
    """Give the run its last status, whatever happens."""
    try:
        yield
    except BaseException as error:
        state = "preempted" if isinstance(error, Preempted) else "failed"
        saved = layout.steps(writer.path / layout.CHECKPOINTS)[-1:]
        told = {"saved": saved[0] if saved else None}
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
            writer.close(state, error=one_line(f"{type(error).__name__}: {error}"), **told)
        raise
    writer.close("finished")
