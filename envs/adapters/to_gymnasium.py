"""One task of an environment as a `gymnasium.Env`. Needs the extra `gymnasium`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Box, Discrete, Env, EnvState, Key, Step, Task
from jaxmeta.errors import ConfigError

try:
    import gymnasium
except ImportError as error:
    raise ConfigError(
        "gymnasium: is not installed; `pip install 'jaxmeta[gymnasium]'` installs it"
    ) from error


class TaskEnv(gymnasium.Env[np.ndarray, Any]):
    """See `to_gymnasium`.

    Attributes:
      env: the family.
      task: the current task.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's own)

    def __init__(self, env: Env, task: Task):
        self.env, self.task = env, task
        self.observation_space = space_of(env.obs_space)
        self.action_space = space_of(env.action_space)
        self._reset = jax.jit(env.reset)
        self._step = jax.jit(self._draw_and_step)
        self._state: EnvState = None  # None: a reset is needed
        self._t = 0

    def _draw_and_step(
        self, key: Key, t: Array, state: EnvState, action: Array, task: Task
    ) -> tuple[EnvState, Step]:
        noise = self.env.draw(jax.random.fold_in(key, t))
        state, step = self.env.step(noise, state, action, task)
        return state, step._replace(met=self.env.goal_met(step.met, step.env_reward))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; return its first observation [O] and {}.

        `options={"task": task}` changes the task from here on, without recompiling.

        Raises:
          ConfigError: an unknown option.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := options.keys() - {"task"}:
            raise ConfigError(f"options = {', '.join(sorted(unknown))}: must be none but task")
        self.task = options.get("task", self.task)
        key_reset, self._key = jax.random.split(jax.random.key(self.np_random.integers(2**32)))
        self._state, obs = self._reset(key_reset, self.task)
        self._t = 0
        return np.asarray(obs), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take a step; return obs [O], reward, terminated, truncated and info.

        info holds "bad", "met" where the environment has goals, and its `Step.metrics`.

        Raises:
          ConfigError: an action that is not in the space; for vectors, of another shape.
          gymnasium.error.ResetNeeded: no episode is running.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("reset comes before an episode's first step")
        given = self._checked(action)
        self._state, step = self._step(self._key, self._t, self._state, given, self.task)
        self._t += 1
        over, bad = bool(step.over), bool(step.bad)
        terminated = over and not bad and float(step.discount) == 0
        truncated = not terminated and (over or self._t >= self.env.horizon)
        if terminated or truncated:
            self._state = None
        info = {name: float(value) for name, value in (step.metrics or {}).items()}
        info |= {"bad": bad} | ({"met": bool(step.met)} if self.env.has_goals else {})
        return np.asarray(step.next_obs), float(step.reward), terminated, truncated, info

    def _checked(self, action: Any) -> np.ndarray:
        space = self.action_space
        given = np.asarray(action, space.dtype)
        vector = isinstance(space, gymnasium.spaces.Box)
        if given.shape != space.shape or not (vector or given in space):
            raise ConfigError(f"action = {action!r}: must be in {space}")
        return given.astype(np.float32 if vector else np.int32)


def space_of(space: Box | Discrete) -> gymnasium.Space:
    """Return gymnasium's form of a space."""
    if isinstance(space, Discrete):
        return gymnasium.spaces.Discrete(space.n)
    return gymnasium.spaces.Box(space.low, space.high, space.shape, np.dtype(space.dtype).type)


def to_gymnasium(env: Env, task: Task) -> TaskEnv:
    """Return one task of an environment as a `gymnasium.Env`, compiled once.

    Episodes are truncated after `env.horizon` steps, and where a simulation diverges
    (`info["bad"]`); neither terminates the MDP. A trial (`jaxmeta.make_env(run)`) becomes one
    episode, terminated at its end. Randomness comes from `reset(seed=...)` alone.

    Spaces are the environment's own. Robots' actions are unbounded, as their tasks define them:
    MuJoCo clamps controls, but the control cost is of the unclamped action, so that bounds
    would be another task. `gymnasium.wrappers.ClipAction` and its like need a bounded space.
    Nothing is rendered (`render_mode` is None); `jaxmeta video` records robots.

    Args:
      env: the family, or a trial of it.
      task: one task, such as `jax.tree.map(lambda x: x[0], env.eval_tasks("test"))`.
    """
    return TaskEnv(env, jax.tree.map(jnp.asarray, task))
