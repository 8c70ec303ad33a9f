"""An environment of gymnax as a family of tasks. Needs the extra `gymnax`."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Binary, Box, Discrete, Env, EnvState, Key, Real, Step, Task
from jaxmeta.errors import ConfigError

if TYPE_CHECKING:
    from gymnax.environments import spaces
    from gymnax.environments.environment import Environment

Params = Any  # of an environment of gymnax: a pytree of numbers


class Gymnax(Env):
    """See `from_gymnax`. A task is the environment's params, every leaf an array."""

    def __init__(
        self,
        original: "Environment",
        sample_params: Callable[[Key, str], Params],
        eval_params: Mapping[str, Sequence[Params]],
    ):
        self.original, self.sample_params = original, sample_params
        self.splits = tuple(eval_params)
        all_params = [params for split in self.splits for params in eval_params[split]]
        if not all_params or not all(eval_params.values()):
            raise ConfigError(f"eval_params = {dict(eval_params)}: every split must have a task")
        drawn = jax.eval_shape(lambda key: sample_params(key, self.splits[0]), jax.random.key(0))
        self._dtypes = common_dtypes([*all_params, drawn])
        self._tasks = {
            split: jax.tree.map(lambda *xs: jnp.stack(xs), *map(self._arrays, eval_params[split]))
            for split in self.splits
        }
        self.limits = [int(params.max_steps_in_episode) for params in all_params]
        self.horizon = max(self.limits)
        observed = original.observation_space(all_params[0])
        self._one_hot = isinstance(observed, gymnax_spaces().Discrete)
        self.obs_space = obs_space(observed)
        self.action_space = action_space(original.action_space(all_params[0]))

    def _arrays(self, params: Params) -> Task:
        return jax.tree.map(jnp.asarray, params, self._dtypes)

    def sample_task(self, key: Key, split: str) -> Task:
        """Return what `sample_params` draws."""
        return self._arrays(self.sample_params(key, split))

    def eval_tasks(self, split: str) -> Task:
        """Return the split's `eval_params`."""
        return self._tasks[split]

    def reset(self, key: Key, task: Task) -> tuple[EnvState, Array]:
        """Begin an episode."""
        with jax.numpy_rank_promotion("allow"):  # regardless of the global setting
            obs, state = self.original.reset_env(key, task)
        return jax.tree.map(strongly_typed, state), self._vector(obs)

    def step(self, noise: Key, state: EnvState, action: Array, task: Task) -> tuple[EnvState, Step]:
        """Take one step of gymnax, without its reset; vectors are clipped to the task's space."""
        with jax.numpy_rank_promotion("allow"):
            if isinstance(self.action_space, Box):
                space = self.original.action_space(task)
                action = jnp.clip(action, space.low, space.high)
            obs, state, reward, terminated, _ = self.original.step_env(noise, state, action, task)
            truncated = self.original.is_truncated(state, task)
        terminated, truncated = (jnp.asarray(x, bool).reshape(()) for x in (terminated, truncated))
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        step = Step(
            obs=self._vector(obs),
            reward=reward,
            next_obs=self._vector(obs),
            last=terminated | truncated,
            discount=jnp.where(terminated, 0.0, 1.0),
            over=terminated | truncated,
            env_reward=reward,
            limit=truncated & ~terminated,
        )
        return jax.tree.map(strongly_typed, state), step

    def _vector(self, obs: Array) -> Array:
        if self._one_hot:
            return jax.nn.one_hot(obs, *self.obs_space.shape).reshape(-1)
        return jnp.ravel(obs).astype(self.obs_space.dtype)


def from_gymnax(
    env: "Environment",
    sample_params: Callable[[Key, str], Params],
    eval_params: Mapping[str, Sequence[Params]],
    *,
    horizon: int | None = None,
    reward: Binary | Real | None = None,
    fixed_length: bool = False,
) -> Gymnax:
    """Return an environment of gymnax as a family of tasks: its params are the task.

    Observations become vectors, one-hot where they are discrete. The time limit of gymnax
    truncates an episode and does not terminate it; there is no auto-reset.

    Args:
      env: such as `gymnax.make("CartPole-v1")[0]`.
      sample_params: (key, split) -> params, traceable. Besides the splits of `eval_params` it gets
        "oracle", their union, if a run trains on that.
      eval_params: the tasks to evaluate on, by split; the first split is trained on.
      horizon: steps of an episode, at most; by default the evaluation tasks' longest
        `max_steps_in_episode`.
      reward: `Binary(low, high)` where there are no other values; by default `Real()`.
      fixed_length: a promise that no episode ends before the horizon; rollouts are then faster.

    Raises:
      ConfigError: no gymnax; a split without tasks, params that differ in more than numbers, a
        horizon beyond gymnax's own limit, or spaces that are neither vectors nor discrete.
    """
    made = Gymnax(env, sample_params, eval_params)
    # No task's own limit may cut off an episode of fixed length.
    longest = (min if fixed_length else max)(made.limits)
    made.horizon = made.horizon if horizon is None else horizon
    if not 1 <= made.horizon <= longest:
        raise ConfigError(
            f"horizon = {made.horizon}: must be 1 to {longest} (gymnax's max_steps_in_episode)"
        )
    made.reward, made.fixed_length = reward or Real(), fixed_length
    return made


def common_dtypes(all_params: Sequence[Params]) -> Any:
    """Return a dtype for every leaf, to which it promotes over all params.

    Raises:
      ConfigError: they differ in structure or in shapes.
    """
    forms = {
        (jax.tree.structure(p), tuple(jnp.shape(x) for x in jax.tree.leaves(p))) for p in all_params
    }
    if len(forms) > 1:
        raise ConfigError(f"params: must differ in numbers only, not in form: {forms}")
    return jax.tree.map(lambda *xs: jnp.result_type(*map(jnp.result_type, xs)), *all_params)


def strongly_typed(x: Any) -> Array:
    """Return x as an array that is not weakly typed, as a loop's carry must be."""
    return jnp.asarray(x, jnp.result_type(x))


def gymnax_spaces() -> Any:
    """Return gymnax's module of spaces.

    Raises:
      ConfigError: gymnax is not installed.
    """
    try:
        from gymnax.environments import spaces
    except ImportError as error:
        raise ConfigError(
            "gymnax: is not installed; `pip install 'jaxmeta[gymnax]'` installs it"
        ) from error
    return spaces


def obs_space(space: "spaces.Space") -> Box:
    """Return the space of the vectors that represent a space's observations.

    Raises:
      ConfigError: a space of several parts.
    """
    if isinstance(space, gymnax_spaces().Discrete):
        return Box((space.n,), 0.0, 1.0)
    if not isinstance(space, gymnax_spaces().Box):
        raise ConfigError(f"env: its observations must be one array or one number, not {space}")
    return box(space)


def action_space(space: "spaces.Space") -> Box | Discrete:
    """Return an action space as one of jaxmeta's.

    Raises:
      ConfigError: neither discrete nor of vectors.
    """
    if isinstance(space, gymnax_spaces().Discrete):
        return Discrete(space.n)
    if not isinstance(space, gymnax_spaces().Box) or len(space.shape) != 1:
        raise ConfigError(f"env: its actions must be numbers or vectors, not {space}")
    return box(space)


def box(space: "spaces.Box") -> Box:
    """Return the space of a space's arrays, flattened; its bounds hold for every entry."""
    size = int(np.prod(space.shape, dtype=int))
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return Box((size,), low, high, np.dtype(space.dtype).name)
