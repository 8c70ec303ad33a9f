"""What all robots' tasks have in common: a robot, its noise at resets, its lengths."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.locomotion.physics import Physics, State, physics
from envs.locomotion.robot_models import xml
from jaxmeta.env import Array, Box, Env, Key, Real, Step, Task

FRAME_SKIP = 5
NOISE = 0.1  # positions at a reset: uniform, +-; velocities: normal, deviation
AHEAD = 3.0  # metres to where a video marks a direction


class Moved(NamedTuple):
    """A robot before and after a step, and the raw action."""

    before: State
    after: State
    action: Array  # [nu]


class Robot(Env):
    """A family of tasks for one robot; state: `State`, actions: real numbers, unclipped.

    An action of 1 asks for an actuator's strongest control. MuJoCo clamps controls to their
    range, while what an action costs, and what encoders read of it, is not clamped. An episode
    ends early where the simulation breaks down, and where `fallen` says so.
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
        self.velocities = model.nv
        self.strongest = jnp.asarray(model.actuator_ctrlrange[:, 1], jnp.float32)
        self.action_space = Box((model.nu,))
        self.obs_space = Box((len(self.observed),))

    @property
    def observed(self) -> list[str]:
        """Return what each entry of an observation is."""
        raise NotImplementedError

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [O] of a state that controls [nu] led to: zero at a start."""
        raise NotImplementedError

    def paid(self, moved: Moved, task: Task) -> Array:
        """Return the reward of a step, []."""
        raise NotImplementedError

    def fallen(self, state: State) -> Array:
        """Return whether the state ends the episode, []."""
        return jnp.zeros((), bool)

    def changed(self, task: Task) -> Mapping[str, Array]:
        """Return numbers of the robot's model that differ by task, by MuJoCo's names."""
        return {}

    def mark(self, task: Any, seconds: float) -> tuple[float, float]:
        """Return where on the floor (x, y) a video shows the task, so long into an episode."""
        raise NotImplementedError

    def reset(self, key: Key, task: Task) -> tuple[State, Array]:
        """Put the robot near its rest position, with noise on all positions and velocities."""
        state = self.start(key)
        return state, self.observe(state, jnp.zeros_like(self.strongest))

    def start(self, key: Key) -> State:
        """Return the robot near its rest position: velocities have normal noise."""
        key_qpos, key_qvel = jax.random.split(key)
        noise = jax.random.uniform(key_qpos, self.qpos0.shape, minval=-NOISE, maxval=NOISE)
        qvel = NOISE * jax.random.normal(key_qvel, (self.velocities,))
        return self.physics.begin(self.qpos0 + noise, qvel)

    def stirred(self, key: Key, size: float) -> State:
        """Return the robot near its rest position: all noise is uniform, +- size."""
        positions = len(self.qpos0)
        noise = size * jax.random.uniform(key, (positions + self.velocities,), minval=-1.0)
        return self.physics.begin(self.qpos0 + noise[:positions], noise[positions:])

    def step(self, noise: Any, state: State, action: Array, task: Task) -> tuple[State, Step]:
        """Move for one step of `dt` seconds."""
        ctrl = self.strongest * action
        after = self.physics.step(state, ctrl, self.changed(task))
        reward = jnp.where(after.bad, 0.0, self.paid(Moved(state, after, action), task))
        ended = after.bad | self.fallen(after)
        # The controls of a step that was not taken may be anything, and led nowhere.
        obs = self.observe(after, jnp.where(after.bad, 0.0, ctrl))
        going_on = jnp.where(ended, 0.0, 1.0)
        return after, Step(obs, reward, obs, ended, going_on, ended, reward, after.bad)


def effort(weight: float, action: Array) -> Array:
    """Return what an action costs: weight * sum of squares."""
    return weight * (action**2).sum()


def heading(angle: Array) -> Array:
    """Return the unit vector [2] in the direction of an angle, radians."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def ahead(angle: float) -> tuple[float, float]:
    """Return the point that marks a direction."""
    return AHEAD * math.cos(angle), AHEAD * math.sin(angle)


def spread(low: float, high: float, count: int) -> list[float]:
    """Return the middles of so many equal parts of a range."""
    return [round(low + (high - low) * (i + 0.5) / count, 6) for i in range(count)]


def either(key: Key, share: float, first: Any, second: Any) -> Array:
    """Return first(u) with a probability of `share`, else second(u); u is uniform in [0, 1)."""
    which, u = jax.random.uniform(key, (2,))
    return jnp.where(which < share, first(u), second(u))


def one_of(key: Key, tasks: Task) -> Task:
    """Draw one of a batch of tasks."""
    chosen = jax.random.randint(key, (), 0, len(jax.tree.leaves(tasks)[0]))
    return jax.tree.map(lambda x: x[chosen], tasks)
