"""What a run gave: its rows, its agents and their parameters, in memory or from its directory."""

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.agent import Agent, Params
from jaxmeta.algorithm import Algorithm
from jaxmeta.config import registry
from jaxmeta.config.run import Run
from jaxmeta.devices import hosts
from jaxmeta.env import Array, Env
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir import checkpoint, layout, reading
from jaxmeta.rundir.reading import as_json
from jaxmeta.training.build import Method, build
from jaxmeta.training.compiled_programs import Members, initial_states, members

AGENT = "agent"  # the checkpoint's item to act with
log = logging.getLogger(__name__)


class Best(NamedTuple):
    """Each seed's parameters at its best evaluation on training tasks; [seeds, ...]."""

    params: Params
    score: Array  # mean return of the greedy policy's N-th episode
    update: Array


class Trained(NamedTuple):
    """The checkpoint's item `agent`."""

    last: Params
    best: Best


class Result(NamedTuple):
    """A finished run, in memory."""

    metrics: list[dict[str, Any]]  # the lines of metrics.jsonl
    evaluation: layout.Table  # the columns of evaluation.csv
    params: Params  # leading axis: seeds
    agent: Agent
    best: Best
    dead: dict[int, layout.Death]  # the seeds that became non-finite


def trained_like(who: Members, algorithm: Algorithm) -> Trained:
    """Return the shapes of the members' `Trained`."""

    def start() -> Trained:
        params = algorithm.params(initial_states(who, algorithm))
        zero = jnp.zeros(len(who.seed))
        return Trained(params, Best(params, zero, zero.astype(jnp.int32)))

    return jax.eval_shape(start)


def read_result(path: Path, env: Env | None = None, method: Method | None = None) -> Result:
    """Return what a run has brought so far, from its directory; nothing there is changed.

    Raises:
      ConfigError: it holds no run, or no checkpoint yet.
      CheckpointError: all its checkpoints are damaged.
    """
    run = reading.read_run(path).with_code(env, method)
    _, algorithm = build(run, env, method)
    folder = path / layout.CHECKPOINTS
    found = checkpoint.newest_whole(folder, {AGENT: trained_like(members(run), algorithm)})
    if found is None:
        raise ConfigError(f"{folder}: holds no checkpoint")
    told = reading.read_manifest(path)
    if told.get("status") == "finished" and found.update != told.get("saved", found.update):
        raise CheckpointError(
            f"{folder}: the last checkpoint, of update {told['saved']}, cannot be used;"
            f" `jaxmeta resume {path}` trains from update {found.update} on"
        )
    version = registry.env_version(run.env)
    if told.get("env_version", version) != version:
        log.warning(
            "%s: made on version %s of its environment, not %s", path, told["env_version"], version
        )
    trained = found.items[AGENT]
    return Result(
        reading.read_metrics(path),
        reading.read_evaluation(path),
        trained.last,
        algorithm.agent,
        trained.best,
        reading.dead_seeds(path),
    )


def load(
    path: str | os.PathLike,
    *,
    seed: int = 0,
    which: str = "last",
    env: Env | None = None,
    method: Method | None = None,
) -> tuple[Agent, Params]:
    """Return a trained agent and one seed's parameters, to act in a loop of one's own.

    `which` is "last", or "best": those at the seed's best evaluation on training tasks.
    A run with an environment or a method from a file needs them in `env` and `method`: a
    directory never names code to execute.

    Raises:
      ConfigError: no run, no checkpoint, no such seed, a dead seed's last parameters, or a
        missing `env` or `method`.
      CheckpointError: all checkpoints are damaged.
    """
    run = reading.read_run(Path(path))
    reading.refuse_named_code(run, env, method)
    if not 0 <= seed < run.seeds:
        raise ConfigError(f"seed = {seed}: must be 0 to {run.seeds - 1}")
    if which not in ("last", "best"):
        raise ConfigError(f"which = {which!r}: must be one of last, best")
    result = read_result(Path(path), env, method)
    if which == "last" and seed in result.dead:
        raise ConfigError(
            f"seed = {seed}: its last parameters are not finite (since update"
            f" {result.dead[seed].update}); which='best' are"
        )
    params = result.params if which == "last" else result.best.params
    return result.agent, jax.tree.map(lambda x: x[seed], params)


def result_for_all(path: Path, run: Run, env: Env | None, method: Method | None) -> Result:
    """Return a run's result in every process, as process 0 reads it.

    Raises: what `read_result` does.
    """

    def read() -> tuple[dict[str, Any], Trained]:
        found = read_result(path, env, method)
        facts = {
            "metrics": found.metrics,
            "evaluation": {name: column.tolist() for name, column in found.evaluation.items()},
            "dead": as_json(found.dead),
        }
        return facts, Trained(found.params, found.best)

    if hosts.count() == 1:
        return read_result(path, env, method)
    run = run.with_code(env, method)
    _, algorithm = build(run, env, method)
    facts, trained = hosts.shared(read, trained_like(members(run), algorithm))
    return Result(
        facts["metrics"],
        {name: np.array(column) for name, column in facts["evaluation"].items()},
        trained.last,
        algorithm.agent,
        trained.best,
        {int(seed): layout.Death(**death) for seed, death in facts["dead"].items()},
    )
