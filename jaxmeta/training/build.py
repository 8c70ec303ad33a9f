"""From a Run, or from a run's directory, to environment, method and trained agent."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Agent, Params
from jaxmeta.algorithm import Algorithm
from jaxmeta.config import registry
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir import checkpoint, claim
from jaxmeta.training.compiled import Members, initial_states, members
from jaxmeta.trial import Trial, trial

AGENT = "agent"  # the checkpoint's item to act with
log = logging.getLogger(__name__)
Method = Callable[[Trial, Run], Algorithm]


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
    evaluation: claim.Table  # the columns of evaluation.csv
    params: Params  # leading axis: seeds
    agent: Agent
    best: Best
    dead: dict[int, claim.Death]  # the seeds that became non-finite


def make_base(run: Run) -> Any:
    """Return what the environment's maker returns."""
    spec = registry.env_spec(run.env)
    make = registry.load(spec.make)
    return make(run.physics) if spec.simulated else make()


def make_env(run: Run, env: Env | None = None) -> Trial:
    """Return the run's environment as trials; `env` replaces the one that its name finds.

    Raises:
      ConfigError: the environment cannot serve this run.
    """
    if env is None:
        registry.require_file("env", run.env)
    base = make_base(run) if env is None else env
    if not isinstance(base, Env):
        raise ConfigError(f"env = {run.env!r}: must make a jaxmeta.Env, not {type(base).__name__}")
    if run.vae and run.vae.decoder == "multi" and base.cells is None:
        raise ConfigError(
            f"vae.decoder = 'multi': must be 'single'; {run.env} has no finite set of cells"
        )
    run.updates(base.horizon)
    return trial(base, run.trial.episodes, run.trial.boundary)


def build(
    run: Run, env: Env | None = None, method: Method | None = None
) -> tuple[Trial, Algorithm]:
    """Return the run's environment and its method; what is given replaces what names find."""
    world = make_env(run, env)
    if method is None:
        registry.require_file("method", run.method)
        method = registry.load(registry.method_spec(run.method).make)
    return world, method(world, run)


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
    run = claim.read_run(path)
    _, algorithm = build(run, env, method)
    folder = path / claim.CHECKPOINTS
    found = checkpoint.newest_whole(folder, {AGENT: trained_like(members(run), algorithm)})
    if found is None:
        raise ConfigError(f"{folder}: holds no checkpoint")
    told = claim.read_manifest(path)
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
        claim.read_metrics(path),
        claim.read_evaluation(path),
        trained.last,
        algorithm.agent,
        trained.best,
        claim.dead_seeds(path),
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
    run = claim.read_run(Path(path))
    claim.refuse_named_code(run, env, method)
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
