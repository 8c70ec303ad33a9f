"""What a method is to the training loop: pure functions, and the state they share."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Agent, Belief, Memory, Params, Transition
from jaxmeta.config.options import (
    A2C,
    PPO,
    SAC,
    SECTIONS,
    TRACED,
    VAE,
    Imagination,
    Inference,
    Mixing,
)
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key, Task

State = Any
Metrics = dict[str, Array]


class Hyper(NamedTuple):
    """A Run's sections with their floats as arrays: the leaves that a sweep may vary."""

    a2c: A2C
    ppo: PPO
    vae: VAE
    imagination: Imagination
    mixing: Mixing
    sac: SAC
    inference: Inference


for _section in (SECTIONS[name] for name in TRACED):
    _floats = [f.name for f in fields(_section) if f.type is float]
    _others = [f.name for f in fields(_section) if f.type is not float]
    jax.tree_util.register_dataclass(_section, data_fields=_floats, meta_fields=_others)


def hyper(run: Run) -> Hyper:
    """Return the run's hyper-parameters as a pytree of float32 scalars."""
    sections = Hyper(*(getattr(run, name) for name in Hyper._fields))
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), sections)


class Algorithm(NamedTuple):
    """A meta-RL method for one seed; everything is pure, jit-able and vmap-able.

    Attributes:
      agent: what is evaluated; reads `params(state)`.
      init: (key, hp) -> state. The state holds all that the next step reads: parameters,
        optimisers, replay, the key and `hp`.
      collect: state -> what the workers bring back, the first part of a step.
      step: state -> (state, metrics), one meta-iteration.
      params: state -> parameters.
      belief: the task belief, if the method has one; reads the same parameters.
      latent: (params, memory) -> [L], where the agent's memory lies among tasks, if anywhere.
    """

    agent: Agent
    init: Callable[[Key, Hyper], State]
    collect: Callable[[State], Any]
    step: Callable[[State], tuple[State, Metrics]]
    params: Callable[[State], Params]
    belief: Belief | None = None
    latent: Callable[[Params, Memory], Array] | None = None


def sample_tasks(env: Env, key: Key, split: str, workers: int) -> Task:
    """Return one task per worker, batched."""
    return jax.vmap(lambda key: env.sample_task(key, split))(jax.random.split(key, workers))


def update_key(state: State, role: int) -> Key:
    """Return the key of one role (0: collecting, 1: learning) in the state's next update."""
    return jax.random.fold_in(jax.random.fold_in(state.key, state.update), role)


def breakdowns(env: Env, tr: Transition) -> Metrics:
    """Return how many steps of an update broke the simulation down, where there is one."""
    return {"breakdowns": jnp.asarray(tr.bad, jnp.float32).sum()} if env.simulated else {}


def true_return(tr: Transition) -> Array:
    """Return the mean return of an episode in the environment's own reward, [T, W] -> []."""
    return tr.env_reward.sum() / jnp.maximum(tr.last.sum(), 1)
