"""What meets an unknown task: an agent whose memory is all it knows of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.env import Array, Key

Memory = Any
Params = Any


class Transition(NamedTuple):
    """One step as an agent lived it, for one worker."""

    obs: Array  # [O] what it saw
    action: Array  # [] or [A]
    reward: Array  # [] what it was paid; memories see this one
    next_obs: Array  # [O] where the action led
    seen: Array  # [O] what it sees next; next_obs unless a new episode's start is shown
    last: Array  # [] an episode ended
    over: Array  # [] the trial ended
    discount: Array  # [] 0 where no value may be bootstrapped
    env_reward: Array  # [] the true reward, also where `reward` is imagined
    bad: Array | bool = False  # [] the world broke down in this step
    limit: Array | bool = False  # [] the time limit alone ended the episode


class Agent(NamedTuple):
    """Functions of one worker; parameters and memory are arguments.

    Attributes:
      draw: key -> noise, the randomness of one action. Zero noise means the mode.
      begin: params -> memory, before the first step of a trial.
      act: (params, memory, obs, noise) -> (action, record); a record is whatever the
        update wants to know of this moment.
      observe: (params, memory, transition) -> memory.
    """

    draw: Callable[[Key], Any]
    begin: Callable[[Params], Memory]
    act: Callable[[Params, Memory, Array, Any], tuple[Array, Any]]
    observe: Callable[[Params, Memory, Transition], Memory]


def greedy(agent: Agent) -> Agent:
    """Return the agent that takes the mode instead of a sample."""
    return agent._replace(draw=lambda key: jax.tree.map(jnp.zeros_like, agent.draw(key)))


class Gaussian(NamedTuple):
    """Diagonal Gaussians, [..., L] each."""

    mean: Array
    logvar: Array


class Belief(NamedTuple):
    """A belief's functions, for one worker; `params` holds its encoder and its decoder.

    Attributes:
      init: key -> {"<encoder>": ..., "decoder": ...}.
      begin: params -> memory [H].
      update: (params, memory, action, seen, reward) -> memory.
      posterior: (params, memory) -> Gaussian [L].
      draw: key -> the noise of one `imagine`: a latent's normals [L] and dropout bits.
      imagine: (params, z, obs, action, next_obs, bits, hp) -> the reward paid for a step
        in the task z, []; bits None switches dropout off.
      elbo: (params, replayed [B, T], key, hp) -> loss [] and metrics.
    """

    init: Callable[[Key], Params]
    begin: Callable[[Params], Array]
    update: Callable[..., Array]
    posterior: Callable[[Params, Array], Gaussian]
    draw: Callable[[Key], tuple[Array, Array]]
    imagine: Callable[..., Array]
    elbo: Callable[..., tuple[Array, dict[str, Array]]]
