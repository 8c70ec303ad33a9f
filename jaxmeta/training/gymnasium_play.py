"""A trained agent in an environment of gymnasium: trials of several episodes, remembered.

gymnasium itself is not imported: any object with its `reset` and `step` will do.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.action_units import to_env_action
from jaxmeta.agent import Agent, Params, Transition
from jaxmeta.env import Discrete, Key
from jaxmeta.errors import ConfigError
from jaxmeta.rollout import MEMORY_ROLE
from jaxmeta.trial import Trial


class Played(NamedTuple):
    """One trial."""

    returns: np.ndarray  # [N] of each episode
    transitions: Transition  # [T] NumPy; as many steps as there were


def play(
    agent: Agent, params: Params, trial_env: Trial, env: Any, key: Key, seed: int | None = None
) -> Played:
    """Play one trial in an environment of gymnasium: episodes with one memory.

    The agent sees and remembers what it would in `trial_env`: observations with the end flag,
    and at an episode's end what its `boundary` shows; after the last one nothing is reset. With
    the same key it samples the same actions as `adaptation`. `greedy(agent)` samples none.

    Args:
      agent: such as `jaxmeta.load` returns.
      params: its parameters.
      trial_env: what it was trained in, `jaxmeta.make_env(run)`: it says how many episodes a trial
        has, and after how many steps one ends at the latest.
      env: of gymnasium; its spaces must be those of `trial_env.env`. Vectors get the units
        of the latter's bounds, and are clipped to those of both; the agent remembers the action
        before that.
      key: for the agent's actions.
      seed: for the environment's first reset; None leaves its randomness as it is.

    Raises:
      ConfigError: other spaces.
    """
    require_spaces(trial_env, env)
    draw, act, observe = jax.jit(agent.draw), jax.jit(agent.act), jax.jit(agent.observe)
    key_reset, keys = action_keys(trial_env, key)
    first_noise = draw(jax.random.fold_in(key_reset, MEMORY_ROLE))
    memory = jax.jit(agent.begin)(params, first_noise)
    first, _ = env.reset(seed=seed)
    obs = with_end_flag(trial_env, first, False)
    returns = np.zeros(trial_env.episodes)
    transitions: list[Transition] = []
    episode = t = 0
    while episode < trial_env.episodes:
        noise = draw(keys[len(transitions)])
        action, _ = act(params, memory, obs, noise)
        raw_obs, reward, terminated, truncated, info = env.step(
            for_gymnasium(trial_env, action, env)
        )
        t += 1
        last = terminated or truncated or t == trial_env.env.horizon
        over = last and episode + 1 == trial_env.episodes
        next_obs = seen = with_end_flag(trial_env, raw_obs, last)
        if last and not over:
            start, _ = env.reset()
            if trial_env.boundary == "start":
                seen = with_end_flag(trial_env, start, True)
        fields: dict[str, Any] = {
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
            "met": trial_env.goal_met(info.get("met", False), jnp.float32(reward)),
        }
        transition = jax.tree.map(np.asarray, Transition(**fields))
        memory, obs = observe(params, memory, transition, noise), seen
        transitions.append(transition)
        returns[episode] += reward
        if last:
            episode, t = episode + 1, 0
    return Played(returns, jax.tree.map(lambda *xs: np.stack(xs), *transitions))


def require_spaces(trial_env: Trial, env: Any) -> None:
    """Refuse an environment of gymnasium whose spaces are not those of `trial_env`.

    Raises:
      ConfigError: names the space and what it must be.
    """
    wanted, given = trial_env.env.obs_space.shape, env.observation_space.shape
    if given != wanted:
        raise ConfigError(f"observation_space: must have shape {wanted}, not {given}")
    space, theirs = trial_env.action_space, env.action_space
    if isinstance(space, Discrete):
        fits = getattr(theirs, "n", None) == space.n and getattr(theirs, "start", 0) == 0
    else:
        fits = hasattr(theirs, "low") and theirs.shape == space.shape
    if not fits:
        raise ConfigError(f"action_space = {theirs}: must be like {space}")


def action_keys(trial_env: Trial, key: Key) -> tuple[Key, Key]:
    """Return the keys of a trial's reset and of its actions [T], the same as `adaptation` makes."""
    key_reset, key_actions, *_ = jax.random.split(key, 4)
    return key_reset, jax.random.split(key_actions, trial_env.horizon)


def with_end_flag(trial_env: Trial, obs: Any, last: bool) -> np.ndarray:
    """Return an observation [O] as the agent sees it, [O + 1]."""
    return np.append(obs, last).astype(trial_env.obs_space.dtype)


def for_gymnasium(trial_env: Trial, action: Any, env: Any) -> Any:
    """Return an agent's action as an environment of gymnasium takes it."""
    if not hasattr(env.action_space, "low"):
        return int(action)
    action, space = to_env_action(trial_env.env.action_space, action), env.action_space
    return np.clip(np.asarray(action, space.dtype), space.low, space.high)
