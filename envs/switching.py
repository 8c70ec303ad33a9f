"""Tasks that change within an episode (Wang et al. 2023, the non-stationary suite)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxmeta.env import Array, Env, EnvState, Key, Step, Task, Wrapper
from jaxmeta.errors import ConfigError


class SwitchingState(NamedTuple):
    """The state of an episode."""

    inner: EnvState
    t: Array  # [] steps taken


class Switching(Wrapper):
    """See `switching`."""

    def __init__(self, env: Env, every: int, probability: float, segments: int):
        super().__init__(env)
        for name, value in (("every", every), ("segments", segments)):
            if value < 1:
                raise ConfigError(f"{name} = {value}: must be >= 1")
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability = {probability}: must be in [0, 1]")
        self.every, self.probability, self.segments = every, probability, segments
        self.horizon = segments * every
        self.finite = False  # there are more sequences of tasks than tasks

    def current_task(self, task: Task, t: Array | int) -> Task:
        """Return the inner task that step t of an episode is taken in."""
        return jax.tree.map(lambda x: x[t // self.every], task)

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw an inner task for each segment, [segments, ...]: a new one, or the one before."""
        key_draws, key_changes = jax.random.split(key)
        keys = jax.random.split(key_draws, self.segments)
        drawn = jax.vmap(lambda key: self.env.sample_task(key, split))(keys)
        changed = jax.random.bernoulli(key_changes, self.probability, (self.segments,))
        latest = lax.cummax(jnp.where(changed, jnp.arange(self.segments), 0))
        return jax.tree.map(lambda x: x[latest], drawn)

    def eval_tasks(self, split: str) -> Task:
        """Return fixed episodes [N, segments, ...], one beginning with each of the inner N tasks.

        They change at every second of all boundaries, at random places, to another of the N.
        """
        tasks = self.env.eval_tasks(split)
        count = len(jax.tree.leaves(tasks)[0])
        which = jnp.asarray(fixed_order(count, self.segments))
        return jax.tree.map(lambda x: x[which], tasks)

    def best_return(self, task: Task) -> Array:
        """Return nan: the optimum depends on the state at each switch."""
        return Env.best_return(self, task)

    def family(self, task: Task) -> Array:
        """Return the sub-family of the first segment's task."""
        return self.env.family(self.current_task(task, 0))

    def marker_position(self, task: Any, seconds: float) -> tuple[float, float]:
        """Return the point that marks the current task in a robot's video.

        Markers that move, such as a runner at a target velocity, continue from their last position.
        """
        robot: Any = self.env
        length = self.every * robot.dt  # seconds of a segment
        current = min(round(seconds / robot.dt) // self.every, self.segments - 1)
        tasks = [segment(task, i) for i in range(current + 1)]
        point = robot.marker_position(tasks[current], 0.0)
        if robot.marker_position(tasks[current], 1.0) == point:
            return point
        displacements = [
            robot.marker_position(one, min(length, seconds - length * i))
            for i, one in enumerate(tasks)
        ]
        return sum(x for x, _ in displacements), sum(y for _, y in displacements)

    def draw(self, key: Key) -> Any:
        """Return the inner step's noise."""
        return self.env.draw(key)

    def reset(self, key: Key, task: Task) -> tuple[SwitchingState, Array]:
        """Start an episode in its first task."""
        return self.reset_with(self.draw_reset(key), task)

    def draw_reset(self, key: Key) -> Any:
        """Return the inner reset's noise."""
        return self.env.draw_reset(key)

    def reset_with(self, noise: Any, task: Task) -> tuple[SwitchingState, Array]:
        """Start an episode in its first task, with drawn noise."""
        inner, obs = self.env.reset_with(noise, self.current_task(task, 0))
        return SwitchingState(inner, jnp.zeros((), jnp.int32)), obs

    def step(
        self, noise: Any, state: SwitchingState, action: Array, task: Task
    ) -> tuple[SwitchingState, Step]:
        """Step in the current task."""
        current = self.current_task(task, state.t)
        inner, step = self.env.step(noise, state.inner, action, current)
        return SwitchingState(inner, state.t + 1), step


def segment(task: Any, i: int) -> Any:
    """Return the inner task of a segment, of a task as in tasks.json."""
    if isinstance(task, dict):
        return {name: part[i] for name, part in task.items()}
    return task[i]


def fixed_order(count: int, segments: int) -> np.ndarray:
    """Return indices of tasks [count, segments]: row i begins with i and switches at some."""
    rng, order = np.random.default_rng(0), np.zeros((count, segments), int)
    boundaries = np.arange(1, segments)
    for i in range(count):
        changes = rng.permutation(boundaries)[: (len(boundaries) + i % 2) // 2]
        order[i, 0] = i
        for at in boundaries:
            other = (order[i, at - 1] + rng.integers(1, max(count, 2))) % count
            order[i, at] = other if at in changes else order[i, at - 1]
    return order


def switching(env: Env, every: int = 100, probability: float = 0.5, segments: int = 6) -> Switching:
    """Return the environment whose tasks change within an episode.

    After each `every` steps the task is, with this probability, redrawn from the same split.
    A task is the batch [segments, ...] of an episode's inner tasks, drawn in advance; so the
    horizon is `segments` times `every`, and a trial's episodes change at the same times.

    Raises:
      ConfigError: a number is out of its range.
    """
    return Switching(env, every, probability, segments)
