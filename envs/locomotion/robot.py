"""What all robots' tasks have in common: a robot, its noise at resets, its horizon."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.env import Array, Box, Env, Key, Real, Step, Task

from .physics import Physics, State, physics
from .robot_models import xml

FRAME_SKIP = 5
RESET_NOISE = 0.1  # positions at a reset: uniform, +-; velocities: normal, std
MARKER_DISTANCE = 3.0  # metres: of a video's marker of a direction


class RobotTransition(NamedTuple):
    """A robot before and after a step, and the raw action."""

    before: State
    after: State
    action: Array  # [nu]


class Robot(Env):
    """A family of tasks for one robot; state: `State`, actions: real numbers, unclipped.

    An action of 1 is an actuator's maximum control. MuJoCo clamps controls to their range;
    control costs and encoders see the unclamped action. An episode terminates early where the
    simulation diverges, and in the states that `is_terminal` names.
    """

    reward = Real()
    horizon = 200
    splits = ("train", "test")
    simulated = True
    robot: str  # see robot_models.py
    forces = False  # whether states have contact forces

    def __init__(self, backend: str = "auto"):
        self.physics: Physics = physics(xml(self.robot), FRAME_SKIP, backend, self.forces)
        model = self.physics.model
        self.dt = self.physics.dt
        self.qpos0 = jnp.asarray(model.qpos0, jnp.float32)
        self.nv = model.nv
        self.ctrl_max = jnp.asarray(model.actuator_ctrlrange[:, 1], jnp.float32)
        self.action_space = Box((model.nu,))
        self.obs_space = Box((len(self.obs_names),))

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        raise NotImplementedError

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [O] of a state after controls [nu], which are zero at a reset."""
        raise NotImplementedError

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return the reward of a step, []."""
        raise NotImplementedError

    def is_terminal(self, state: State) -> Array:
        """Return whether the state terminates the episode, []."""
        return jnp.zeros((), bool)

    def model_overrides(self, task: Task) -> Mapping[str, Array]:
        """Return the arrays of the robot's model that differ by task, by MuJoCo's names."""
        return {}

    def marker_position(self, task: Any, seconds: float) -> tuple[float, float]:
        """Return the point (x, y) on the floor that marks the task in a video, at a time."""
        raise NotImplementedError

    def reset(self, key: Key, task: Task) -> tuple[State, Array]:
        """Put the robot near its rest position, with noise on all positions and velocities."""
        return self.reset_with(self.draw_reset(key), task)

    def reset_with(self, noise: tuple[Array, Array], task: Task) -> tuple[State, Array]:
        """Put the robot near its rest position, with noise on positions and velocities."""
        noise_qpos, qvel = noise
        state = self.physics.begin(self.qpos0 + noise_qpos, qvel)
        return state, self.observe(state, jnp.zeros_like(self.ctrl_max))

    def draw_reset(self, key: Key) -> tuple[Array, Array]:
        """Return noise on positions [nq], uniform, and velocities [nv], normal."""
        key_qpos, key_qvel = jax.random.split(key)
        noise = jax.random.uniform(
            key_qpos, self.qpos0.shape, minval=-RESET_NOISE, maxval=RESET_NOISE
        )
        return noise, RESET_NOISE * jax.random.normal(key_qvel, (self.nv,))

    def uniform_noise(self, key: Key, size: float) -> tuple[Array, Array]:
        """Return noise on positions [nq] and velocities [nv], all uniform, +- size."""
        positions = len(self.qpos0)
        noise = size * jax.random.uniform(key, (positions + self.nv,), minval=-1.0)
        return noise[:positions], noise[positions:]

    def step(self, noise: Any, state: State, action: Array, task: Task) -> tuple[State, Step]:
        """Move for one step of `dt` seconds."""
        ctrl = self.ctrl_max * action
        after = self.physics.step(state, ctrl, self.model_overrides(task))
        transition = RobotTransition(state, after, action)
        reward = jnp.where(after.bad, 0.0, self.compute_reward(transition, task))
        terminated = after.bad | self.is_terminal(after)
        # The controls of a step that was not taken may be anything, and had no effect.
        obs = self.observe(after, jnp.where(after.bad, 0.0, ctrl))
        discount = jnp.where(terminated, 0.0, 1.0)
        return after, Step(obs, reward, obs, terminated, discount, terminated, reward, after.bad)


def control_cost(weight: float, x: Array) -> Array:
    """Return weight * sum of squares, of an action or of contact forces, []."""
    return weight * (x**2).sum()


def unit_vector(angle: Array) -> Array:
    """Return the unit vector [2] at an angle, radians."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def direction_marker(angle: float) -> tuple[float, float]:
    """Return the point that marks a direction."""
    return MARKER_DISTANCE * math.cos(angle), MARKER_DISTANCE * math.sin(angle)


def bin_centres(low: float, high: float, count: int) -> list[float]:
    """Return the centres of `count` equal bins of a range."""
    return [round(low + (high - low) * (i + 0.5) / count, 6) for i in range(count)]


def sample_mixture(key: Key, p: float, first: Any, second: Any) -> Array:
    """Sample a mixture: first(u) with probability p, else second(u), for u uniform in [0, 1).

    `first` and `second` are inverse CDFs.
    """
    which, u = jax.random.uniform(key, (2,))
    return jnp.where(which < p, first(u), second(u))


def sample_one(key: Key, tasks: Task) -> Task:
    """Draw one of a batch of tasks uniformly."""
    chosen = jax.random.randint(key, (), 0, len(jax.tree.leaves(tasks)[0]))
    return jax.tree.map(lambda x: x[chosen], tasks)
