"""A trained agent's belief: its states through a trial, mixtures of the workers' latents."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from experiments.analysis.run_record import Results
from jaxmeta.agent import Belief, Params, Transition
from jaxmeta.algorithm import Algorithm, sample_tasks
from jaxmeta.beliefs.gaussians import sample
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key, Task
from jaxmeta.errors import ConfigError
from jaxmeta.imagination.latent_mixture import mixture_weights
from jaxmeta.imagination.options import Imagination
from jaxmeta.rollout import collect
from jaxmeta.rundir import layout
from jaxmeta.training.build import build
from jaxmeta.training.result import load
from jaxmeta.trial import Trial


class LoadedAgent(NamedTuple):
    """A run's final agent, one of its seeds."""

    run: Run
    trial_env: Trial
    algorithm: Algorithm
    params: Params


def load_final(result: Results, seed: int | None = None) -> LoadedAgent:
    """Return the final agent of one of a run's seeds, by default the first finite one.

    Raises:
      ConfigError: there is no checkpoint, or it needs code from a file.
    """
    folder = result.path / layout.CHECKPOINTS
    if not (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{result.path} holds no checkpoint")
    _, params = load(result.path, seed=result.finite_seeds[0] if seed is None else seed)
    return LoadedAgent(result.run, *build(result.run), params)


def belief_states(belief: Belief, params: Params, tr: Transition) -> Array:
    """Return the belief's state before and after every step of one worker: [T] -> [T + 1, H]."""

    def update(memory: Array, tr: Transition) -> tuple[Array, Array]:
        memory = belief.update(params, memory, tr.action, tr.seen, tr.reward)
        return memory, memory

    first = belief.begin(params)
    return jnp.concatenate([first[None], lax.scan(update, first, tr)[1]])


class GroupMixtures(NamedTuple):
    """The mixtures of one group's M mixture workers."""

    z: Array  # [M, L]
    weights: Array  # [M, W, L] of the workers' latents
    tasks: Task  # [W] each worker's task


def mix(loaded: LoadedAgent, imagination: Imagination, key: Key) -> GroupMixtures:
    """Mix the latents that workers hold at the end of a training trial, as LDM does."""
    run, trial_env, algorithm, params = loaded
    belief = algorithm.belief
    assert belief is not None
    key_tasks, key_rollout, key_z, key_mixture = jax.random.split(key, 4)
    tasks = sample_tasks(trial_env, key_tasks, run.train_split, run.group)
    played = collect(algorithm.agent, trial_env, params, tasks, key_rollout, run.train_split)
    by_worker = jax.vmap(lambda tr: belief_states(belief, params, tr), in_axes=1, out_axes=1)
    q = belief.posterior(params, by_worker(played.transitions)[-1])  # [W, L]
    noise = jax.random.normal(key_z, q.mean.shape)
    z = sample(q, noise) if imagination.latents == "samples" else q.mean
    weights, imagined = mixture_weights(key_mixture, imagination, run.vae.latent)
    mixing = jnp.argsort(imagined, stable=True)[imagination.normal :]
    weights = weights[mixing]
    return GroupMixtures(jnp.einsum("mwl,wl->ml", weights, z), weights, tasks)  # (Eq. 1)
