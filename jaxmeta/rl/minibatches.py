"""What a gradient step of PPO learns from: whole trials of some workers, or steps of all.

A recurrent policy reads a trial from its beginning. Minibatches of workers encode the trials that
they learn from; minibatches of steps encode all trials, each time.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key
from jaxmeta.errors import ConfigError
from jaxmeta.rl.actor_critic import Evaluated, NetworkInputs
from jaxmeta.rl.options import PPO
from jaxmeta.rollout import Rollout, select_workers


class Batch(NamedTuple):
    """What is fixed during an update's epochs, [T, W], or [n] or [T, n] of it."""

    log_prob: Array  # of the actions taken, by the policy that took them
    value: Array
    advantage: Array  # normalised
    returns: Array


class Samples(NamedTuple):
    """A minibatch, evaluated, [n] or [T, n]."""

    log_prob: Array
    value: Array
    entropy: Array
    batch: Batch


def require_minibatches(run: Run, steps: int) -> None:
    """Check that every minibatch has a sample, and that advantages have a deviation.

    `steps` are those of a worker that PPO learns from at a time.

    Raises:
      ConfigError: an update has too few steps or workers.
    """
    count, workers = run.ppo.minibatches, run.workers
    if workers * steps == 1:
        raise ConfigError(
            f"workers = {workers}: must be at least 2, where PPO learns from one step of each"
        )
    if run.ppo.minibatch_of == "workers" and workers % count:
        raise ConfigError(
            f"ppo.minibatches = {count}: must divide workers = {workers} into equal parts; with"
            " ppo.minibatch_of = steps, minibatches are of steps, not of workers"
        )
    if count > workers * steps:
        raise ConfigError(
            f"ppo.minibatches = {count}: must be at most {workers * steps}, the steps that PPO"
            " learns from at a time"
        )


def minibatch_indices(key: Key, rollout: Rollout, hp: PPO) -> Array:
    """Return the workers or steps of each gradient step, [epochs * minibatches, n].

    Every epoch reads all of them once, in a random order; what minibatches of steps leave over
    differs by epoch.
    """
    steps, workers = rollout.transitions.reward.shape
    count = workers if hp.minibatch_of == "workers" else steps * workers
    shuffled = jax.vmap(lambda key: jax.random.permutation(key, count))
    size = count // hp.minibatches
    order = shuffled(jax.random.split(key, hp.epochs))
    return order[:, : size * hp.minibatches].reshape(hp.epochs * hp.minibatches, size)


def take_minibatch(
    evaluate: Callable[[Rollout, NetworkInputs], Evaluated],
    rollout: Rollout,
    inputs: NetworkInputs,
    batch: Batch,
    which: Array,
    hp: PPO,
) -> Samples:
    """Return the workers or steps `which` [n] of a rollout [T, W], evaluated.

    `evaluate` takes a rollout [T, n] of any number of workers, and its networks' inputs.
    """
    if hp.minibatch_of == "workers":
        rollout = select_workers(rollout, which)
        inputs, batch = jax.tree.map(lambda x: x[:, which], (inputs, batch))
        return samples(evaluate(rollout, inputs), batch)
    every = samples(evaluate(rollout, inputs), batch)
    return jax.tree.map(lambda x: x.reshape(-1)[which], every)


def samples(evaluated: Evaluated, batch: Batch) -> Samples:
    """Return what the loss reads of an evaluated rollout, beside its batch."""
    return Samples(evaluated.log_prob, evaluated.value, evaluated.entropy, batch)
