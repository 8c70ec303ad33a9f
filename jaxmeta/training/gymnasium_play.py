"""A trained agent in an environment of gymnasium: trials of several episodes, remembered.

gymnasium itself is not imported: any object with its `reset` and `step` will do.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.agent import Agent, Params, Transition
from jaxmeta.env import Discrete, Key
from jaxmeta.errors import ConfigError
from jaxmeta.rollout import MEMORY
from jaxmeta.trial import Trial


class Played(NamedTuple):
    """One trial."""

    returns: np.ndarray  # [N] of each episode
    transitions: Transition  # [T] NumPy; as many steps as there were


def play(
    agent: Agent, params: Params, world: Trial, env: Any, key: Key, seed: int | None = None
) -> Played:
    """Play one trial in an environment of gymnasium: episodes with one memory.

    The agent sees and remembers what it would in `world`: observations with the end flag,
    and at an episode's end what its `boundary` shows; behind the last one nothing begins. With
    the same key it draws the same actions as `adaptation`. `greedy(agent)` draws none.

    Args:
      agent: such as `jaxmeta.load` returns.
      params: its parameters.
      world: what it was trained in, `jaxmeta.make_env(run)`: it says how many episodes a trial
        has, and after how many steps one ends at the latest.
      env: of gymnasium; its spaces must be those of the world's environment. Vectors are clipped
        to its bounds, while the agent remembers what it meant to do.
      key: for the agent's actions.
      seed: for the environment's first reset; None leaves its randomness as it is.

    Raises:
      ConfigError: other spaces.
    """
    require_spaces(world, env)
    draw, act, observe = jax.jit(agent.draw), jax.jit(agent.act), jax.jit(agent.observe)
    key_reset, keys = action_keys(world, key)
    first_noise = draw(jax.random.fold_in(key_reset, MEMORY))
    memory = jax.jit(agent.begin)(params, first_noise)
    first, _ = env.reset(seed=seed)
    obs = shown(world, first, False)
    returns = np.zeros(world.episodes)
    lived: list[Transition] = []
    episode = t = 0
    while episode < world.episodes:
        noise = draw(keys[len(lived)])
        action, _ = act(params, memory, obs, noise)
        arrived, reward, terminated, late, info = env.step(for_gymnasium(action, env))
        t += 1
        last = terminated or late or t == world.env.horizon
        over = last and episode + 1 == world.episodes
        next_obs = seen = shown(world, arrived, last)
        if last and not over:
            start, _ = env.reset()
            if world.boundary == "start":
                seen = shown(world, start, True)
        told: dict[str, Any] = {
            "obs": obs,
            "action": action,
            "reward": np.float32(reward),
            "next_obs": next_obs,
            "seen": seen,
            "last": last,
            "over": over,
            "discount": np.float32(not over),
            "env_reward": np.float32(reward),
            "bad": False,
            "limit": last and not terminated,
            "met": world.goal_met(info.get("met", False), jnp.float32(reward)),
        }
        transition = jax.tree.map(np.asarray, Transition(**told))
        memory, obs = observe(params, memory, transition, noise), seen
        lived.append(transition)
        returns[episode] += reward
        if last:
            episode, t = episode + 1, 0
    return Played(returns, jax.tree.map(lambda *xs: np.stack(xs), *lived))


def require_spaces(world: Trial, env: Any) -> None:
    """Refuse an environment of gymnasium whose spaces are not those of the world's.

    Raises:
      ConfigError: names the space and what it must be.
    """
    wanted, given = world.env.obs_space.shape, env.observation_space.shape
    if given != wanted:
        raise ConfigError(f"observation_space: must have shape {wanted}, not {given}")
    space, theirs = world.action_space, env.action_space
    if isinstance(space, Discrete):
        fits = getattr(theirs, "n", None) == space.n and getattr(theirs, "start", 0) == 0
    else:
        fits = hasattr(theirs, "low") and theirs.shape == space.shape
    if not fits:
        raise ConfigError(f"action_space = {theirs}: must be like {space}")


def action_keys(world: Trial, key: Key) -> tuple[Key, Key]:
    """Return the keys of a trial's reset and of its actions [T], the same as `adaptation` makes."""
    key_reset, key_actions, *_ = jax.random.split(key, 4)
    return key_reset, jax.random.split(key_actions, world.horizon)


def shown(world: Trial, obs: Any, last: bool) -> np.ndarray:
    """Return an observation [O] as the agent sees it, [O + 1]."""
    return np.append(obs, last).astype(world.obs_space.dtype)


def for_gymnasium(action: Any, env: Any) -> Any:
    """Return an action as an environment of gymnasium takes it."""
    if not hasattr(env.action_space, "low"):
        return int(action)
    space = env.action_space
    return np.clip(np.asarray(action, space.dtype), space.low, space.high)
