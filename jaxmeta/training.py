"""The host loop: jitted chunks of updates; logs and evaluations in between."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxmeta import checkpoint, registry, rundir
from jaxmeta.agent import Agent, Params
from jaxmeta.algorithm import Algorithm, Metrics, State, hyper
from jaxmeta.config import Run
from jaxmeta.env import Array, Env
from jaxmeta.errors import ConfigError, NonFiniteError
from jaxmeta.evaluation import evaluate, evaluation_rows, evaluation_tasks
from jaxmeta.trial import Trial, trial

SEEDS = "seeds"  # the mesh axis over which seeds are spread


class Status(NamedTuple):
    """What a progress display is told after every chunk."""

    frames: int
    total: int
    frames_per_s: float  # over all seeds; 0 before the first chunk
    metrics: dict[str, float]  # mean over seeds


class Result(NamedTuple):
    """A finished run, in memory."""

    metrics: list[dict[str, Any]]  # the lines of metrics.jsonl
    evaluation: rundir.Table  # the columns of evaluation.csv
    params: Params  # leading axis: seeds
    agent: Agent


def make_env(run: Run, env: Env | None = None) -> Trial:
    """Return the run's environment as trials; `env` replaces the one that its name finds.

    Raises:
      ConfigError: the environment cannot serve this run.
    """
    if env is None:
        registry.require_file("env", run.env)
    base = env if env is not None else registry.load(registry.env_spec(run.env).make)()
    if not isinstance(base, Env):
        raise ConfigError(f"env = {run.env!r}: must make a jaxmeta.Env, not {type(base).__name__}")
    if run.vae and run.vae.decoder == "multi" and base.cells is None:
        raise ConfigError(
            f"vae.decoder = 'multi': must be 'single'; {run.env} has no finite set of cells"
        )
    run.updates(base.horizon)
    return trial(base, run.trial.episodes, run.trial.boundary)


Method = Callable[[Trial, Run], Algorithm]


def build(
    run: Run, env: Env | None = None, method: Method | None = None
) -> tuple[Trial, Algorithm]:
    """Return the run's environment and its method; what is given replaces what names find."""
    world = make_env(run, env)
    if method is None:
        registry.require_file("method", run.method)
        method = registry.load(registry.method_spec(run.method).make)
    return world, method(world, run)


def train(
    run: Run,
    out: str | os.PathLike,
    *,
    env: Env | None = None,
    method: Method | None = None,
    watch: Callable[[Status], None] = lambda status: None,
) -> Result:
    """Train all seeds of a run together and write its directory.

    A finished run of the same configuration is read back instead.

    Raises:
      ConfigError: bad input; nothing was written.
      NonFiniteError: a loss became infinite or NaN; the directory's status is "failed".
    """
    path = Path(out)
    if rundir.check(run, path):
        return read_result(path, env, method)
    mesh = seed_mesh(run.seeds)
    world, algorithm = build(run, env, method)
    tasks, described = evaluation_tasks(world)
    writer = rundir.RunWriter(run, path, described, device_names(mesh))
    try:
        programs = compile_programs(run, world, algorithm, mesh, tasks)
        states = _loop(run, world, algorithm, programs, described, writer, watch)
    except BaseException as error:
        writer.close("failed", error=f"{type(error).__name__}: {error}")
        raise
    params = jax.device_get(algorithm.params(states))
    return Result(rundir.read_metrics(path), rundir.read_evaluation(path), params, algorithm.agent)


def read_result(path: Path, env: Env | None = None, method: Method | None = None) -> Result:
    """Return a finished run from its directory."""
    run = rundir.read_run(path)
    _, algorithm = build(run, env, method)
    like = jax.eval_shape(lambda: algorithm.params(initial_states(run, algorithm)))
    params = checkpoint.load_params(path / rundir.CHECKPOINTS, like)
    return Result(rundir.read_metrics(path), rundir.read_evaluation(path), params, algorithm.agent)


def load(
    path: str | os.PathLike,
    *,
    seed: int = 0,
    env: Env | None = None,
    method: Method | None = None,
) -> tuple[Agent, Params]:
    """Return a trained agent and one seed's parameters, to act in a loop of one's own.

    A run with an environment or a method from a file needs them in `env` and `method`: a
    directory never names code to execute.

    Raises:
      ConfigError: no run, no checkpoint, no such seed, or a missing `env` or `method`.
    """
    run = rundir.read_run(Path(path))
    refuse_named_code(run, env, method)
    if not 0 <= seed < run.seeds:
        raise ConfigError(f"seed = {seed}: must be 0 to {run.seeds - 1}")
    result = read_result(Path(path), env, method)
    return result.agent, jax.tree.map(lambda x: x[seed], result.params)


def refuse_named_code(run: Run, env: Env | None = None, method: Method | None = None) -> None:
    """Refuse to execute files because a run's folder names them.

    Raises:
      ConfigError: the environment or the method is from a file, and was not handed over.
    """
    for field, name, given in (("env", run.env, env), ("method", run.method, method)):
        if registry.is_file(name) and given is None:
            raise ConfigError(
                f"{field} = {name!r}: a run's folder names no code to execute; pass {field}=..."
                " to jaxmeta.load"
            )


def initial_states(run: Run, algorithm: Algorithm) -> State:
    """Return all seeds' states, [seeds, ...]; seed s starts from `jax.random.key(s)`."""
    hp = hyper(run)
    return jax.vmap(lambda seed: algorithm.init(jax.random.key(seed), hp))(jnp.arange(run.seeds))


def seed_mesh(seeds: int) -> jax.sharding.Mesh:
    """Return the devices that share the seeds: the most that divide them evenly.

    On CPU, JAX is asked for one device per core, which must happen before its first use.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(RuntimeError):  # JAX is in use already, with what it has
        jax.config.update("jax_num_cpu_devices", divisor(seeds, cores or 1))
    count = divisor(seeds, len(jax.devices()))
    return jax.make_mesh((count,), (SEEDS,), (AxisType.Auto,), devices=jax.devices()[:count])


def divisor(n: int, most: int) -> int:
    """Return n's largest divisor up to `most`."""
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def device_names(mesh: jax.sharding.Mesh) -> list[str]:
    """Return the kind of each device in use."""
    return [f"{d.platform} {d.device_kind}" for d in mesh.devices.flat]


def over_seeds(mesh: jax.sharding.Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` (first argument per seed, others shared) for [seeds, ...].

    Each device takes its share of the seeds: at once on an accelerator, one after the
    other on a CPU core, whose caches hold one seed's work but not several.
    """

    def share(first: Any, *others: Any) -> Any:
        one = lambda x: function(x, *others)
        if jax.tree.leaves(first)[0].shape[0] == 1:
            alone = one(jax.tree.map(lambda x: x[0], first))
            return jax.tree.map(lambda x: x[None], alone)
        if mesh.devices.flat[0].platform == "cpu":
            return lax.map(one, first)
        return jax.vmap(one)(first)

    def mapped(first: Any, *others: Any) -> Any:
        specs = (P(SEEDS), *(P() for _ in others))
        return jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=P(SEEDS), check_vma=False)(
            first, *others
        )

    return mapped


class Progress(NamedTuple):
    """Metrics of a chunk, for one seed."""

    total: Metrics  # sums over updates
    first_bad: dict[str, Array]  # the first update whose metric is not finite, or -1


def run_updates(step: Callable[[State], tuple[State, Metrics]]) -> Callable[..., Any]:
    """Return (state, first, count) -> (state, Progress): `count` updates as one program.

    The count is traced: one compilation serves every length.
    """

    def updates(state: State, first: Array, count: Array) -> tuple[State, Progress]:
        shapes = jax.eval_shape(step, state)[1]
        total = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        bad = jax.tree.map(lambda x: jnp.full((), -1, jnp.int32), shapes)

        def body(i: Array, carry: tuple[State, Progress]) -> tuple[State, Progress]:
            state, progress = carry
            state, metrics = step(state)
            note = lambda at, x: jnp.where((at < 0) & ~jnp.isfinite(x), first + i, at)
            return state, Progress(
                jax.tree.map(jnp.add, progress.total, metrics),
                jax.tree.map(note, progress.first_bad, metrics),
            )

        return lax.fori_loop(0, count, body, (state, Progress(total, bad)))

    return updates


class Programs(NamedTuple):
    """What runs on the devices, for all seeds at once."""

    states: State  # [seeds, ...] before the first update
    chunk: Callable[..., tuple[State, Progress]]  # (states, first, count), compiled
    test: Callable[[Params], Any]  # params [seeds, ...] -> `evaluate`'s result, [seeds, ...]


def compile_programs(
    run: Run, env: Trial, algorithm: Algorithm, mesh: jax.sharding.Mesh, tasks: Any
) -> Programs:
    """Return the initial states and the compiled programs."""
    spread = NamedSharding(mesh, P(SEEDS))
    states = jax.jit(lambda: initial_states(run, algorithm), out_shardings=spread)()
    chunk = jax.jit(over_seeds(mesh, run_updates(algorithm.step)), donate_argnums=0)

    def test(params: Params) -> Any:
        return evaluate(algorithm.agent, env, params, tasks, run.evaluation.rollouts)

    compiled = chunk.lower(states, jnp.int32(0), jnp.int32(1)).compile()
    return Programs(states, compiled, jax.jit(over_seeds(mesh, test)))


def _loop(
    run: Run,
    env: Trial,
    algorithm: Algorithm,
    programs: Programs,
    described: list[dict[str, Any]],
    writer: rundir.RunWriter,
    watch: Callable[[Status], None],
) -> State:
    """Train to the end, logging and evaluating between chunks; return the final states."""
    per_update = run.frames_per_update(env.env.horizon)
    updates = run.updates(env.env.horizon)
    log_every, eval_every = (-(-n // per_update) for n in (run.log_every, run.evaluation.every))
    states, done, training_s = programs.states, 0, 0.0

    def write_evaluation() -> None:
        result = jax.device_get(programs.test(algorithm.params(states)))
        rollouts = run.evaluation.rollouts
        writer.evaluation(evaluation_rows(result, done * per_update, described, rollouts, env))

    watch(Status(0, updates * per_update, 0.0, {}))
    write_evaluation()
    start = time.time()
    while done < updates:
        stop = min(updates, *(done - done % every + every for every in (log_every, eval_every)))
        count, began = stop - done, time.time()
        states, progress = programs.chunk(states, jnp.int32(done), jnp.int32(count))
        progress = jax.device_get(progress)
        seconds = time.time() - began
        done, training_s = stop, training_s + seconds

        means = jax.tree.map(lambda x, n=count: x / n, progress.total)
        rate = run.seeds * count * per_update / seconds
        clock = {"wall_s": round(time.time() - start, 3), "frames_per_s": round(rate, 1)}
        for seed in range(run.seeds):
            row = {"seed": seed, "frames": done * per_update, "update": done} | clock
            writer.metrics(row | {k: float(v[seed]) for k, v in means.items()})
        refuse_non_finite(progress.first_bad)
        if done % eval_every == 0 or done == updates:
            write_evaluation()
        mean = {k: float(v.mean()) for k, v in means.items()}
        watch(Status(done * per_update, updates * per_update, rate, mean))

    params = jax.device_get(algorithm.params(states))
    checkpoint.save_params(writer.path / rundir.CHECKPOINTS, done, params)
    frames = updates * per_update
    speed = round(run.seeds * frames / training_s, 1)
    writer.close("finished", frames_per_seed=frames, frames_per_s=speed)
    return states


def refuse_non_finite(first_bad: dict[str, np.ndarray]) -> None:
    """Stop at the first quantity that is not finite.

    Raises:
      NonFiniteError: names the update, the seed and the quantity.
    """
    found = [
        (int(update), seed, name)
        for name, by_seed in first_bad.items()
        for seed, update in enumerate(by_seed)
        if update >= 0
    ]
    if found:
        update, seed, name = min(found)
        raise NonFiniteError(f"update {update}, seed {seed}: {name} is not finite")
