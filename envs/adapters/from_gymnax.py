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
        every = [params for split in self.splits for params in eval_params[split]]
        if not every or not all(eval_params.values()):
            raise ConfigError(f"eval_params = {dict(eval_params)}: every split must have a task")
        drawn = jax.eval_shape(lambda key: sample_params(key, self.splits[0]), jax.random.key(0))
        self._dtypes = common_dtypes([*every, drawn])
        self._tasks = {
            split: jax.tree.map(lambda *xs: jnp.stack(xs), *map(self._arrays, eval_params[split]))
            for split in self.splits
        }
        self.limits = [int(params.max_steps_in_episode) for params in every]
        self.horizon = max(self.limits)
        seen = original.observation_space(every[0])
        self._one_hot = isinstance(seen, kinds().Discrete)
        self.obs_space = obs_space(seen)
        self.action_space = action_space(original.action_space(every[0]))

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
        with jax.numpy_rank_promotion("allow"):  # whatever is allowed elsewhere
            obs, state = self.original.reset_env(key, task)
        return jax.tree.map(strong, state), self._vector(obs)

    def step(self, noise: Key, state: EnvState, action: Array, task: Task) -> tuple[EnvState, Step]:
        """Take one step of gymnax, without its reset; vectors are clipped to the task's space."""
        with jax.numpy_rank_promotion("allow"):
            if isinstance(self.action_space, Box):
                space = self.original.action_space(task)
                action = jnp.clip(action, space.low, space.high)
            obs, state, reward, ended, _ = self.original.step_env(noise, state, action, task)
            late = self.original.is_truncated(state, task)
        ended, late = (jnp.asarray(x, bool).reshape(()) for x in (ended, late))
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        step = Step(
            obs=self._vector(obs),
            reward=reward,
            next_obs=self._vector(obs),
            last=ended | late,
            discount=jnp.where(ended, 0.0, 1.0),
            over=ended | late,
            env_reward=reward,
            limit=late & ~ended,
        )
        return jax.tree.map(strong, state), step

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

    Observations become vectors, one-hot where they are a number of a finite set. The time limit
    of gymnax ends an episode without counting as the MDP's end, and nothing is reset by itself.

    Args:
      env: such as `gymnax.make("CartPole-v1")[0]`.
      sample_params: (key, split) -> params, traceable. Beside the splits of `eval_params` it gets
        "oracle", their union, if a run asks for that.
      eval_params: the tasks to evaluate on, by split; the first split is trained on.
      horizon: steps of an episode, at most; by default the evaluation tasks' longest
        `max_steps_in_episode`.
      reward: `Binary(low, high)` where there are no other values; by default `Real()`.
      fixed_length: a promise that no episode ends before the horizon; rollouts are then faster.

    Raises:
      ConfigError: no gymnax; a split without tasks, params that differ in more than numbers, a
        horizon beyond gymnax's own limit, or spaces that are neither vectors nor finite sets.
    """
    made = Gymnax(env, sample_params, eval_params)
    # What is promised to be long must not be cut off by any task's own limit.
    longest = (min if fixed_length else max)(made.limits)
    made.horizon = made.horizon if horizon is None else horizon
    if not 1 <= made.horizon <= longest:
        raise ConfigError(
            f"horizon = {made.horizon}: must be 1 to {longest} (gymnax's max_steps_in_episode)"
        )
    made.reward, made.fixed_length = reward or Real(), fixed_length
    return made


def common_dtypes(every: Sequence[Params]) -> Any:
    """Return a dtype for every leaf, one that holds it in all params.

    Raises:
      ConfigError: they differ in structure or in shapes.
    """
    forms = {
        (jax.tree.structure(p), tuple(jnp.shape(x) for x in jax.tree.leaves(p))) for p in every
    }
    if len(forms) > 1:
        raise ConfigError(f"params: must differ in numbers only, not in form: {forms}")
    return jax.tree.map(lambda *xs: jnp.result_type(*map(jnp.result_type, xs)), *every)


def strong(x: Any) -> Array:
    """Return x as an array whose dtype is its own, as a loop's state needs it."""
    return jnp.asarray(x, jnp.result_type(x))


def kinds() -> Any:
    """Return gymnax's module of spaces.

    Raises:
      ConfigError: gymnax is not installed.
    """
    try:
        from gymnax.environments import spaces
    except ImportError as error:
        raise ConfigError(
            "gymnax: is not installed; `pip install 'jaxmeta[gymnax]'` brings it"
        ) from error
    return spaces


def obs_space(space: "spaces.Space") -> Box:
    """Return the space of the vectors that stand for a space's observations.

    Raises:
      ConfigError: a space of several parts.
    """
    if isinstance(space, kinds().Discrete):
        return Box((space.n,), 0.0, 1.0)
    if not isinstance(space, kinds().Box):
        raise ConfigError(f"env: its observations must be one array or one number, not {space}")
    return box(space)


def action_space(space: "spaces.Space") -> Box | Discrete:
    """Return an action space as jaxmeta knows it.

    Raises:
      ConfigError: neither numbers of a finite set nor vectors.
    """
    if isinstance(space, kinds().Discrete):
        return Discrete(space.n)
    if not isinstance(space, kinds().Box) or len(space.shape) != 1:
        raise ConfigError(f"env: its actions must be numbers or vectors, not {space}")
    return box(space)


def box(space: "spaces.Box") -> Box:
    """Return the space of a space's arrays, flattened; its bounds hold for every entry."""
    size = int(np.prod(space.shape, dtype=int))
    low, high = float(np.min(space.low)), float(np.max(space.high))
    return Box((size,), low, high, np.dtype(space.dtype).name)
