"""Training a run in its directory: start it, or resume it."""

import contextlib
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxmeta.config import mesh_shape, registry, user_code
from jaxmeta.config.mesh_shape import MeshShape
from jaxmeta.config.missing_options import KEPT
from jaxmeta.config.run import Run
from jaxmeta.config.save_interval import Interval, parse_interval
from jaxmeta.config.untrusted_text import one_line
from jaxmeta.devices import hosts
from jaxmeta.devices.compilation_cache import enable_compilation_cache
from jaxmeta.devices.memory_budget import require_memory
from jaxmeta.devices.seed_axis import device_mesh, device_names, request_mesh_devices
from jaxmeta.env import Env
from jaxmeta.errors import CheckpointError, ConfigError, Preempted
from jaxmeta.rundir import checkpoint, handed_over, layout, lock, manifest, reading
from jaxmeta.rundir.null_writers import NullCheckpointWriter, NullWriter
from jaxmeta.rundir.run_writer import RunWriter, Writer
from jaxmeta.training.build import Built, Method, build_together
from jaxmeta.training.compiled_functions import (
    CompiledFunctions,
    compile_functions,
    train_state_shapes,
)
from jaxmeta.training.evaluation import evaluation_tasks
from jaxmeta.training.loop import RunProgress, Session, Status, Watch
from jaxmeta.training.restore import restore_for_all, resumption
from jaxmeta.training.result import Result, result_for_all, stored_result_for_all
from jaxmeta.training.saved_items import AGENT, COURSE, Best, Trained, no_best, start_of
from jaxmeta.training.stop_signals import stop_requests

log = logging.getLogger(__name__)


class TrainOptions(NamedTuple):
    """How a run is trained; no result depends on it, but for changed code that is accepted."""

    watch: Watch
    interval: Interval  # between checkpoints
    mesh: MeshShape | None  # devices that share the work, if not as many as divide the seeds evenly
    accept_changed_code: bool = False  # of a run that was trained by other code until now


def train(
    run: Run,
    out: str | os.PathLike,
    *,
    env: Env | None = None,
    method: Method | None = None,
    watch: Watch = lambda status: None,
    checkpoint_every: str = "120s",
    mesh: str | None = None,
    accept_changed_code: bool = False,
) -> Result:
    """Train all seeds of a run together and write its directory.

    A finished run of the same configuration is read back instead; an unfinished one resumes
    from its newest checkpoint, bitwise identical to one that never stopped.

    Of several processes (`join_hosts`) all call it alike. Process 0 alone reads and writes the
    directory; all return the result.

    Args:
      run: what to train.
      out: the run's directory.
      env: replaces the environment that the run names.
      method: replaces the method that the run names.
      watch: the progress callback, called with a `Status`: before compiling, before the first
        chunk of updates, and after each.
      checkpoint_every: "120s" or "50u" (updates); no result depends on it.
      mesh: the devices that share the work, as "seeds=2,groups=4": 2 spread the seeds, and for
        each of these 4 its workers. By default as many as divide the seeds evenly.
      accept_changed_code: read back, or resume, what was trained with another `env` or `method`
        than is given or named in a file now, or with another content of that file.

    Raises:
      ConfigError: bad input, or `out` was trained by other code; nothing was written.
      NonFiniteError: all seeds became infinite or NaN. One that does is left out while the
        others continue: see `Result.dead`, the warning, and nan_report.json.
      Preempted: SIGINT, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2 came, to any process; the same
        call resumes.
      KeyboardInterrupt: SIGINT or SIGTERM came while it saved: at once.
      Exception: what `watch` raises, after a checkpoint.
      PeerLost: another process is gone; the same call, in all of them, resumes.
      CheckpointError: a checkpoint could not be written, or all that are there are damaged.
    """
    shape = None if mesh is None else mesh_shape.parse_mesh(mesh)
    if shape is not None:
        mesh_shape.check(run, shape, hosts.process_count())
    options = TrainOptions(watch, parse_interval(checkpoint_every), shape, accept_changed_code)
    path = layout.user_path(out)
    return train_with(options, run, path, lambda: lock.look(run, path), env, method)


def train_with(
    options: TrainOptions,
    run: Run,
    path: Path,
    look: Callable[[], str | None],
    env: Env | None = None,
    method: Method | None = None,
) -> Result:
    """Do what `train` does, with options that were checked; `look` is that at the directory."""
    enable_compilation_cache()
    request_mesh_devices(run, options.mesh)  # before anything uses JAX
    with hosts.detect_peer_loss():
        status = hosts.run_on_process_0(look)
        built = build_together([run.with_code(env, method)], env, method)
        if status == "finished":
            require_same_code(path, built, options)
            try:
                return stored_result_for_all(path, built)
            except CheckpointError as error:  # the last updates can be repeated
                log.warning("%s", error)
        mesh = device_mesh(run, options.mesh)
        with contextlib.ExitStack() as stack:
            hold = lambda: stack.enter_context(lock.hold(run, path))
            held = hosts.run_on_process_0(hold)
            if held == "finished" and status != "finished":  # by another process, meanwhile
                require_same_code(path, built, options)
                return stored_result_for_all(path, built)
            stop_asked = stack.enter_context(stop_requests())
            open_writer = lambda *args: RunWriter(built.run, path, *args)
            trained = train_built(built, [path], path, mesh, open_writer, options, stop_asked)
        return result_for_all(path, built.algorithm.agent, trained)


def train_built(
    built: Built,
    folders: Sequence[Path],
    path: Path,
    mesh: jax.sharding.Mesh,
    open_writer: Callable[..., Writer],
    options: TrainOptions,
    stop_asked: Callable[[], str | None],
    on_trained: Callable[[int, Trained], None] = lambda update, trained: None,
) -> Trained:
    """Train all members, from wherever they are, and return the agents' parameters.

    `folders` are the runs' directories. `path` is the directory of their checkpoints and
    manifest, held by the caller; `open_writer` takes a writer's arguments from `tasks` on;
    `on_trained` gets the last update and the parameters, before the status is "finished".

    Raises: what `train` does.
    """
    run, env, algorithm, members, trained_shapes, _ = built
    tasks, described = evaluation_tasks(env)
    facts = facts_of(built, mesh)
    shapes = train_state_shapes(members, algorithm)
    replay = getattr(shapes.state, "replay", None)
    hosts.run_on_process_0(  # one verdict for all
        lambda: require_memory(shapes, replay, run.seeds, run.replay_bound, mesh)
    )
    require_same_code(path, built, options)
    like = {COURSE: shapes, AGENT: trained_shapes}
    restored = restore_for_all(path, folders, like, facts, start_of(algorithm, members))

    def open_here() -> Writer:
        before = reading.read_manifest(path)
        sizes = restored.notes["sizes"] if restored else None
        resumed = resumption(before, restored, facts) if before or restored else None
        return open_writer(described, facts, resumed, sizes)

    writer = hosts.only_on_process_0(open_here, NullWriter(path))
    with closing(writer), hosts.detect_peer_loss():
        options.watch(status_before(built, restored, facts["devices"]))
        functions = compile_functions(members, run, env, algorithm, mesh, tasks, shapes)
        progress = initial_progress(functions, trained_shapes.best, restored)
        open_checkpoints = lambda: checkpoint.CheckpointWriter(
            path / layout.CHECKPOINTS, progress.pinned
        )
        elsewhere = NullCheckpointWriter(restored.update if restored else None)
        with hosts.only_on_process_0(open_checkpoints, elsewhere) as checkpoints:
            session = Session(
                run, env, algorithm, functions, described, progress, writer, checkpoints,
                options.interval, facts["devices"], options.watch,
            )  # fmt: skip
            session.train(stop_asked)
        trained = jax.device_get(session.trained())
        on_trained(progress.update, trained)
    return trained


def require_same_code(path: Path, built: Built, options: TrainOptions) -> None:
    """Refuse a directory that was trained by other code, unless that is accepted.

    Raises:
      ConfigError: says what differs.
    """
    accept = options.accept_changed_code
    hosts.run_on_process_0(
        lambda: handed_over.require_same_code(built.run, path, built.code, accept)
    )


def facts_of(built: Built, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Return what the manifest says of this process."""
    run = built.run
    flags = {name: str(jax.config.values[name]) for name in manifest.JAX_FLAGS}
    files = [
        user_code.source_path(name) for name in (run.env, run.method) if user_code.is_file(name)
    ]
    own_code = [path for path in files if path.is_file()]  # else it was passed in
    facts = manifest.describe(device_names(mesh), flags, own_code)
    facts |= {"mesh": dict(mesh.shape), "processes": hosts.process_count()}
    return facts | {"env_version": registry.env_version(run.env), "code": built.code}


def status_before(built: Built, restored: checkpoint.Restored | None, devices: list[str]) -> Status:
    """Return what the progress callback gets before anything is compiled."""
    horizon = built.env.env.horizon
    per_update = built.run.frames_per_update(horizon)
    frames = restored.update * per_update if restored else 0
    total = built.run.updates(horizon) * per_update
    return Status(frames, total, 0.0, {}, per_update, devices)


def resume(
    path: str | os.PathLike,
    *,
    env: Env | None = None,
    method: Method | None = None,
    **options: Any,
) -> Result:
    """Resume the run in a directory, as `train` does; `options` are as there.

    Raises:
      ConfigError: no run there, one with code from a file that was not passed in, or an option
        that `train` has not.
      Exception: what `train` raises.
    """
    run = reading.read_run(layout.user_path(path))
    taken = [name for name in inspect.signature(train).parameters if name not in ("run", "out")]
    for name in options:
        if name not in taken:
            raise ConfigError(
                f"{name}: resume takes {', '.join(taken)} beside the directory; {KEPT}"
            )
    run = reading.read_run(Path(path))
    reading.refuse_named_code(run, env, method)
    return train(run, path, env=env, method=method, **options)


def initial_progress(
    functions: CompiledFunctions, best: Best, restored: checkpoint.Restored | None
) -> RunProgress:
    """Return the progress of a run that begins, or resumes; `best` is shapes."""
    if restored is None:
        return RunProgress(functions.init(), no_best(best))
    train_state = functions.to_devices(restored.items[COURSE])
    best = restored.items[AGENT].best
    return RunProgress.from_notes(train_state, best, restored.update, restored.notes["journey"])


@contextlib.contextmanager
def closing(writer: Writer) -> Iterator[None]:
    """Give the run its last status, whatever happens."""
    try:
        yield
    except BaseException as error:
        asked = isinstance(error, (Preempted, KeyboardInterrupt))
        state = "preempted" if asked else "failed"
        saved = layout.checkpoint_updates(writer.path / layout.CHECKPOINTS)[-1:]
        newest = {"saved": saved[0] if saved else None}
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
            writer.close(state, error=one_line(f"{type(error).__name__}: {error}"), **newest)
        raise
    writer.close("finished")
