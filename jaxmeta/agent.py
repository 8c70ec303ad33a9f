"""The agent interface: all that an agent knows of its task is its memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.env import Array, Key

Memory = Any
Params = Any


class Transition(NamedTuple):
    """One environment step from the agent's view, for one worker."""

    obs: Array  # [O] before the step
    action: Array  # [] or [A]
    reward: Array  # [] the reward received; memories see this one
    next_obs: Array  # [O] where the action led
    seen: Array  # [O] what it sees next; next_obs unless a new episode's start is shown
    last: Array  # [] an episode ended
    over: Array  # [] the trial ended
    discount: Array  # [] 0 where no value may be bootstrapped
    env_reward: Array  # [] the true reward, also where `reward` is imagined
    bad: Array | bool = False  # [] the simulation diverged in this step
    limit: Array | bool = False  # [] the time limit alone ended the episode
    met: Array | bool = False  # [] the goal was reached in this step
    shaped: Array | None = None  # [] what policies learn from, if not from `reward`
    metrics: dict[str, Array] | None = None  # scalars [] of the environment's own


def learning_reward(tr: Transition) -> Array:
    """Return the reward that policies learn from: the environment's shaped one, if it has one."""
    return tr.reward if tr.shaped is None else tr.shaped


def zero_noise(noise: Any) -> Any:
    """Return zeros in the place of noise."""
    return jax.tree.map(jnp.zeros_like, noise)


class Agent(NamedTuple):
    """Functions of one worker; parameters and memory are arguments.

    Attributes:
      draw: key -> noise, all randomness of one step.
      begin: (params, noise) -> memory, before the first step of a trial; with noise of its own.
      act: (params, memory, obs, noise) -> (action, record); a record holds what the update
        needs of this step, such as the hidden state.
      observe: (params, memory, transition, noise) -> memory, with the noise of `act`. A memory
        that is sampled (a latent held for an episode) has its part in `draw`.
      quiet: noise -> the noise with which `act` takes the mode, while memory is sampled as
        before. By default all of it is zero.
    """

    draw: Callable[[Key], Any]
    begin: Callable[[Params, Any], Memory]
    act: Callable[[Params, Memory, Array, Any], tuple[Array, Any]]
    observe: Callable[[Params, Memory, Transition, Any], Memory]
    quiet: Callable[[Any], Any] = zero_noise


def greedy(agent: Agent) -> Agent:
    """Return the agent that takes the mode instead of a sample: its noise is `quiet`."""
    return agent._replace(draw=lambda key: agent.quiet(agent.draw(key)))


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
      draw: key -> the noise of one `imagine`: a latent's normals [L] and the dropout's bytes.
      imagine: (params, z, obs, action, next_obs, bits, hp) -> the decoded reward of a step
        under the latent z, []; bits None switches dropout off.
      elbo: (params, trials [B, T], key, hp) -> loss [] and metrics.
    """

    init: Callable[[Key], Params]
    begin: Callable[[Params], Array]
    update: Callable[..., Array]
    posterior: Callable[[Params, Array], Gaussian]
    draw: Callable[[Key], tuple[Array, Array]]
    imagine: Callable[..., Array]
    elbo: Callable[..., tuple[Array, dict[str, Array]]]
