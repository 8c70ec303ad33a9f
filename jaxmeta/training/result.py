"""What a run brought: its tables, its agents and their parameters."""

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxmeta.agent import Agent, Params
from jaxmeta.config import registry
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.devices import hosts
from jaxmeta.env import Env
from jaxmeta.errors import CheckpointError, ConfigError
from jaxmeta.rundir import checkpoint, evaluation_csv, handed_over, layout, reading
from jaxmeta.rundir.reading import as_json
from jaxmeta.training.build import Built, Method, build_together
from jaxmeta.training.saved_items import AGENT, Best, Trained, start_of

log = logging.getLogger(__name__)


class Result(NamedTuple):
    """A run's results, in memory."""

    metrics: list[dict[str, Any]]  # the lines of metrics.jsonl
    evaluation: evaluation_csv.Table  # the columns of evaluation.csv
    params: Params  # leading axis: seeds
    agent: Agent
    best: Best
    dead: dict[int, layout.Death]  # the seeds that became non-finite


def result_of(path: Path, agent: Agent, trained: Trained) -> Result:
    """Return the result of parameters at hand, with the tables of the run's directory.

    Raises:
      ConfigError: they cannot be read.
    """
    metrics, evaluation = reading.read_metrics(path), evaluation_csv.read_evaluation(path)
    dead = reading.dead_seeds(path)
    return Result(metrics, evaluation, trained.last, agent, trained.best, dead)


def result_for_all(path: Path, agent: Agent, trained: Trained) -> Result:
    """Do what `result_of` does in every process of a run, with the tables that process 0 reads.

    Raises:
      ConfigError: they cannot be read.
    """
    if hosts.process_count() == 1:
        return result_of(path, agent, trained)

    def read() -> dict[str, Any]:
        table = evaluation_csv.read_evaluation(path)
        return {
            "metrics": reading.read_metrics(path),
            "evaluation": {name: column.tolist() for name, column in table.items()},
            "dead": as_json(reading.dead_seeds(path)),
        }

    tables = hosts.run_on_process_0(read)
    return Result(
        tables["metrics"],
        {name: np.array(column) for name, column in tables["evaluation"].items()},
        trained.last,
        agent,
        trained.best,
        {int(seed): layout.Death(**death) for seed, death in tables["dead"].items()},
    )


def stored_result_for_all(path: Path, built: Built) -> Result:
    """Return the result of a run's newest checkpoint, as process 0 reads it, in every process.

    Raises: what `read_trained` does.
    """
    _, trained = hosts.broadcast(lambda: ({}, read_trained(path, built)), built.trained)
    return result_for_all(path, built.algorithm.agent, trained)


def stored_result(path: Path, built: Built) -> Result:
    """Return the result of a run's newest checkpoint, in this process alone.

    Raises: what `read_trained` does.
    """
    return result_of(path, built.algorithm.agent, read_trained(path, built))


def read_trained(path: Path, built: Built) -> Trained:
    """Return the parameters in a run's newest checkpoint; nothing is changed.

    Raises:
      ConfigError: there is no checkpoint yet.
      CheckpointError: all checkpoints are damaged, or a finished run's last one.
    """
    folder = path / layout.CHECKPOINTS
    start = start_of(built.algorithm, built.members)
    restored = checkpoint.newest_valid(folder, {AGENT: built.trained}, start=start)
    if restored is None:
        raise ConfigError(f"{folder}: holds no checkpoint")
    manifest = reading.read_manifest(path)
    saved = manifest.get("saved", restored.update)
    if manifest.get("status") == "finished" and restored.update != saved:
        raise CheckpointError(
            f"{folder}: the last checkpoint, of update {safe_repr(saved)}, cannot be used;"
            f" `jaxmeta resume {path}` trains from update {restored.update} on"
        )
    version = registry.env_version(built.run.env)
    if version is not None and manifest.get("env_version", version) != version:
        log.warning(
            "%s: made on version %s of its environment, not %s",
            path, safe_repr(manifest["env_version"]), version,
        )  # fmt: skip
    return restored.items[AGENT]


def load(
    path: str | os.PathLike,
    *,
    seed: int = 0,
    which: str = "last",
    env: Env | None = None,
    method: Method | None = None,
) -> tuple[Agent, Params]:
    """Return a trained agent and one seed's parameters, for a loop of one's own.

    `which` is "last", or "best": those at the seed's best evaluation on training tasks.
    A run with an environment or a method from a file needs them in `env` and `method`: a
    directory never names code to execute.

    Raises:
      ConfigError: no run, no checkpoint, no such seed, a dead seed's last parameters, or a
        missing `env` or `method`.
      CheckpointError: all checkpoints are damaged.
    """
    folder = layout.user_path(path)
    run = reading.read_run(folder)
    reading.refuse_named_code(run, env, method)
    if not 0 <= seed < run.seeds:
        raise ConfigError(f"seed = {seed}: must be 0 to {run.seeds - 1}")
    if which not in ("last", "best"):
        raise ConfigError(f"which = {which!r}: must be one of last, best")
    built = build_together([run.with_code(env, method)], env, method)
    recorded = handed_over.recorded_code(folder)
    for field, said in handed_over.changes(recorded, built.code).items():
        log.warning("%s: %s = %r %s", path, field, getattr(run, field), said)
    result = stored_result(folder, built)
    if which == "last" and seed in result.dead:
        raise ConfigError(
            f"seed = {seed}: its last parameters are not finite (since update"
            f" {result.dead[seed].update}); which='best' are"
        )
    params = result.params if which == "last" else result.best.params
    return result.agent, jax.tree.map(lambda x: x[seed], params)
