"""Evaluation on fixed tasks: the meta-test, greedy and sampled, episode by episode."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.agent import Agent, Params, greedy
from jaxmeta.env import Array, Key, Task, is_key
from jaxmeta.rollout import adaptation
from jaxmeta.rundir import evaluation_csv
from jaxmeta.trial import Trial

EVAL_KEY = 20210524  # the same rollouts for every run and seed


def evaluation_tasks(env: Trial) -> tuple[Task, list[dict[str, Any]]]:
    """Return all splits' tasks in one batch, and a description of each for tasks.json."""
    batches = {split: env.eval_tasks(split) for split in env.splits}
    tasks = jax.tree.map(lambda *xs: jnp.concatenate(xs), *batches.values())
    best = np.asarray(jax.vmap(env.best_return)(tasks), float)
    splits = [s for s, batch in batches.items() for _ in range(len(jax.tree.leaves(batch)[0]))]
    described = [
        {
            "split": split,
            "task": plain(jax.tree.map(lambda x, i=i: as_numbers(x[i]).tolist(), tasks)),
            "best_return": None if np.isnan(best[i]) else round(float(best[i]), 6),
        }
        for i, split in enumerate(splits)
    ]
    return tasks, described


def as_numbers(x: Array) -> np.ndarray:
    """Return an array in NumPy; typed random keys become the numbers they are made of."""
    return np.asarray(jax.random.key_data(x) if is_key(x) else x)


def plain(task: Any) -> Any:
    """Return a task of Python numbers as JSON has it; what has names for its parts: an object."""
    named = task._asdict() if hasattr(task, "_asdict") else task  # JSON takes it for a plain tuple
    return json.loads(json.dumps(named, default=dataclasses.asdict))


def evaluation_key(task: Array | int, rollout: Array | int) -> Key:
    """Return the key of one rollout of one of the evaluation tasks, by their indices."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(EVAL_KEY), task), rollout)


def evaluate(
    agent: Agent, env: Trial, params: Params, tasks: Task, rollouts: int
) -> dict[str, tuple[Array, Array]]:
    """Return {policy: (returns, reached)} of one seed's agent, each [tasks, N].

    "greedy" plays one trial per task, "sampled" the mean of `rollouts` trials. Keys depend
    on task and rollout only.
    """
    count = len(jax.tree.leaves(tasks)[0])

    def play(agent: Agent, task: Task, key: Key) -> tuple[Array, Array]:
        played = adaptation(agent, env, params, task, key)
        return played.returns, played.reached.astype(jnp.float32)

    index = jnp.arange(count)
    by_rollouts = jax.vmap(evaluation_key, in_axes=(None, 0))
    grid = jax.vmap(by_rollouts, in_axes=(0, None))(index, jnp.arange(rollouts))
    first = jax.vmap(evaluation_key, in_axes=(0, None))(index, jnp.array(0))
    by_task = jax.vmap(lambda task, key: play(greedy(agent), task, key))
    by_rollout = jax.vmap(lambda task, keys: jax.vmap(lambda key: play(agent, task, key))(keys))
    mean = lambda x: x.mean(1)
    return {
        "greedy": by_task(tasks, first),
        "sampled": jax.tree.map(mean, by_rollout(tasks, grid)),
    }


def evaluation_rows(
    result: dict[str, tuple[np.ndarray, np.ndarray]],
    frames: int,
    described: list[dict[str, Any]],
    rollouts: int,
    env: Trial,
) -> list[tuple]:
    """Return rows of `evaluation_csv.COLUMNS` from results with a leading seed axis."""
    rows = []
    for policy in evaluation_csv.POLICIES:
        returns, reached = result[policy]
        count = 1 if policy == "greedy" else rollouts
        for (seed, task, episode), value in np.ndenumerate(returns):
            success = round(float(reached[seed, task, episode]), 6) if env.goals else ""
            split = described[task]["split"]
            score = round(float(value), 6)
            rows.append((frames, seed, policy, split, task, episode + 1, count, score, success))
    return rows
