"""A trained agent's latents: one point per evaluation task, at its trial's end."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.agent import Params, greedy
from jaxmeta.rollout import adaptation
from jaxmeta.rundir import reading
from jaxmeta.training.build import build_together
from jaxmeta.training.evaluation import evaluation_key, evaluation_tasks
from jaxmeta.training.result import stored_result

PERPLEXITY = 15  # of t-SNE, less where there are few points


class Latents(NamedTuple):
    """The latents of one seed's agent, by task."""

    points: np.ndarray  # [tasks, L]
    splits: np.ndarray  # [tasks] of str
    families: np.ndarray  # [tasks] indices into names
    names: tuple[str, ...]  # of sub-families
    targets: np.ndarray | None  # [tasks] where a task is one number


def latents_of(path: Path, seeds: list[int]) -> dict[int, Latents]:
    """Return a run's latents by seed, of the last greedy agents: {} if it acts on none.

    Raises:
      ConfigError: no checkpoint, or code from a file is needed.
      CheckpointError: all checkpoints are damaged.
    """
    run = reading.read_run(path)
    reading.refuse_named_code(run)
    built = build_together([run.with_code()])
    env, algorithm = built.env, built.algorithm
    latent = algorithm.latent
    if latent is None:
        return {}
    params = jax.tree.map(lambda x: x[np.array(seeds)], stored_result(path, built).params)
    tasks, described = evaluation_tasks(env)
    agent = greedy(algorithm.agent)

    def play(params: Params, i: Any) -> jax.Array:
        task = jax.tree.map(lambda x: x[i], tasks)
        extra = lambda worker: latent(params, worker.memory)
        rollout = adaptation(agent, env, params, task, evaluation_key(i, 0), extra).rollout
        # After a trial's last step memory is reset, so the one before it is used.
        return rollout.extras[jnp.argmax(rollout.transitions.over)]

    batched = jax.vmap(jax.vmap(play, in_axes=(None, 0)), in_axes=(0, None))
    points = np.asarray(jax.jit(batched)(params, jnp.arange(len(described))))
    plain = [task["task"] for task in described]
    numbers = all(isinstance(task, int | float) for task in plain)
    return {
        seed: Latents(
            points=points[k],
            splits=np.array([task["split"] for task in described]),
            families=np.asarray(jax.vmap(env.env.family)(tasks)),
            names=env.families,
            targets=np.array(plain, float) if numbers else None,
        )
        for k, seed in enumerate(seeds)
    }


def clusters(points: np.ndarray, count: int) -> np.ndarray:
    """Return the cluster of each point by k-means (the best of 20 starts)."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # threads of a busy machine wait for each other for seconds
        return KMeans(count, n_init=20, random_state=0).fit_predict(points)


def tsne_2d(points: np.ndarray) -> np.ndarray:
    """Return the t-SNE embedding [n, 2] of points [n, L]."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    few = min(PERPLEXITY, (len(points) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(2, perplexity=few, random_state=0, init="pca").fit_transform(points)


def purity(clusters: np.ndarray, families: np.ndarray) -> float:
    """Return the share of points that are of their cluster's most frequent family."""
    largest = [
        np.unique(families[clusters == k], return_counts=True)[1].max() for k in set(clusters)
    ]
    return float(sum(largest) / len(families))


def purities(points: np.ndarray, families: np.ndarray) -> tuple[float, float]:
    """Return the purity of as many clusters as there are families, and that by chance.

    Chance: the mean over 20 shuffles of the families.
    """
    found = clusters(points, len(np.unique(families)))
    rng = np.random.default_rng(0)
    shuffled = [purity(found, rng.permutation(families)) for _ in range(20)]
    return purity(found, families), float(np.mean(shuffled))


def first_principal_component(points: np.ndarray) -> np.ndarray:
    """Return the coordinates [n] of points [n, L] along their first principal component."""
    centred = points - points.mean(0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][0]


def linearity(x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of y's variance that a straight line over x explains."""
    return float(np.corrcoef(x, y)[0, 1] ** 2)
