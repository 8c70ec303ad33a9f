"""The interface between a method and the training loop: pure functions over one state."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Agent, Belief, Memory, Params, Transition
from jaxmeta.config.option_fields import field_names, float_names
from jaxmeta.config.recorded_options import RecordedSection
from jaxmeta.config.resolve import STATIC_SECTIONS
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key, Task

State = Any
Metrics = dict[str, Array]

_registered: set[Any] = set()  # section classes that JAX knows


@jax.tree_util.register_pytree_with_keys_class
class Hyper:
    """A run's sections with their floats as arrays: the leaves that a sweep may vary.

    `hp.vae.dropout` is an array [], other fields are as in the run.
    """

    def __init__(self, sections: Iterable[tuple[str, Any]]):
        self.sections = tuple(sections)

    def __getattr__(self, name: str) -> Any:
        """Return a section."""
        for section_name, section in self.__dict__.get("sections", ()):
            if section_name == name:
                return section
        raise AttributeError(f"{name}: the run has no such section")

    def replace(self, **sections: Any) -> "Hyper":
        """Return the same with some sections changed."""
        return Hyper((name, sections.get(name, section)) for name, section in self.sections)

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        """Return the sections by their names, for JAX."""
        keyed = [(jax.tree_util.GetAttrKey(name), section) for name, section in self.sections]
        return keyed, tuple(name for name, _ in self.sections)

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], sections: Iterable[Any]) -> "Hyper":
        """Return what was flattened."""
        return cls(zip(names, sections, strict=True))


def hyper(run: Run) -> Hyper:
    """Return the run's hyper-parameters as a pytree of float32 scalars."""
    traced = ((name, as_pytree(s)) for name, s in run.sections if name not in STATIC_SECTIONS)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), Hyper(traced))


def as_pytree(section: Any) -> Any:
    """Return a section as a pytree whose leaves are its floats."""
    if isinstance(section, RecordedSection):
        return {name: value for name, value in section.fields().items() if isinstance(value, float)}
    register_pytree(type(section))
    return section


def register_pytree(cls: Any) -> None:
    """Register a section's class with JAX, which allows it once: floats are leaves."""
    if cls in _registered:
        return
    _registered.add(cls)
    floats = float_names(cls)
    others = [name for name in field_names(cls) if name not in floats]
    jax.tree_util.register_dataclass(cls, data_fields=floats, meta_fields=others)


class Algorithm(NamedTuple):
    """A meta-RL method for one seed; everything is pure, jit-able and vmap-able.

    Attributes:
      agent: what is evaluated; reads `params(state)`.
      init: (key, hp) -> state. The state holds all that the next step reads: parameters,
        optimiser states, replay, the key and `hp`.
      collect: state -> the workers' rollouts, the first part of a step.
      step: state -> (state, metrics), one meta-iteration.
      params: state -> parameters.
      belief: the task belief, if the method has one; reads the same parameters.
      latent: (params, memory) -> [L], the task latent inferred from memory, if there is one.
      real_frames: of an update's frames, how many are steps of an environment; None: all of them.
      added: leaves of the state that checkpoints of earlier versions lack, by dotted name (or its
        beginning), each with the number that fills them.
    """

    agent: Agent
    init: Callable[[Key, Hyper], State]
    collect: Callable[[State], Any]
    step: Callable[[State], tuple[State, Metrics]]
    params: Callable[[State], Params]
    belief: Belief | None = None
    latent: Callable[[Params, Memory], Array] | None = None
    real_frames: int | None = None
    added: Mapping[str, float] = MappingProxyType({})


def sample_tasks(env: Env, key: Key, split: str, workers: int) -> Task:
    """Return one task per worker, batched."""
    return jax.vmap(lambda key: env.sample_task(key, split))(jax.random.split(key, workers))


def update_key(state: State, role: int) -> Key:
    """Return the key of one role (0: collecting, 1: learning) in the state's next update."""
    return jax.random.fold_in(jax.random.fold_in(state.key, state.update), role)


def count_breakdowns(env: Env, tr: Transition) -> Metrics:
    """Return the number of steps at which the simulation diverged, where there is one."""
    return {"breakdowns": jnp.asarray(tr.bad, jnp.float32).sum()} if env.simulated else {}


def true_return(tr: Transition) -> Array:
    """Return the mean return of an episode in the environment's own reward, [T, W] -> []."""
    return tr.env_reward.sum() / jnp.maximum(tr.last.sum(), 1)
