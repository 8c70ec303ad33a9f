"""Ants that walk in a hidden direction, or to a hidden goal (Lee & Chung 2021, 5.2)."""

import itertools
import math
from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Key, Task

from ..switching import Switching, switching
from .physics import State
from .robot import (
    Robot,
    RobotTransition,
    control_cost,
    direction_marker,
    sample_mixture,
    unit_vector,
)
from .robot_models import ANT

MIN_HEIGHT, MAX_HEIGHT = 0.2, 1.0  # metres of the torso; outside, Ant-direction terminates
AXES, DIAGONALS = (0, 90, 180, 270), (45, 135, 225, 315)  # degrees
# Goals are uniform over the area of a disc and of a ring, metres: radii for training tasks.
INNER, OUTER, EDGE = 1.0, 2.5, 3.0
EVAL_RADII = {"train": (0.5, 2.75), "test": (1.75,)}  # each in the four AXES
EVAL_COUNTS = {"train": 6, "test": 30}  # goals, where all of the disc is trained on
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # radians


class AntDirection(Robot):
    """A task is an angle, float32 [], radians; a step lasts 0.05 s.

    The observation is qpos without x and y (13) and qvel (14). A fall ends the episode.
    """

    robot = ANT
    finite = True
    degrees: Mapping[str, tuple[int, ...]] = MappingProxyType({"train": AXES, "test": DIAGONALS})

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        model = self.physics.model
        return [f"qpos {i}" for i in range(2, model.nq)] + [f"qvel {i}" for i in range(model.nv)]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [27]."""
        return jnp.concatenate([state.qpos[2:], state.qvel])

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return `velocity in the direction - 0.5 |a|^2 + 1`; contact forces count as zero."""
        velocity = (transition.after.torso - transition.before.torso)[:2] / self.dt
        return (velocity * unit_vector(task)).sum() - control_cost(0.5, transition.action) + 1.0

    def is_terminal(self, state: State) -> Array:
        """Return whether the torso is too low or too high."""
        return (state.qpos[2] < MIN_HEIGHT) | (state.qpos[2] > MAX_HEIGHT)

    def marker_position(self, task: float, seconds: float) -> tuple[float, float]:
        """Return a point in the direction."""
        return direction_marker(task)

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw one of the split's directions."""
        angles = self.angles(split)
        return angles[jax.random.randint(key, (), 0, len(angles))]

    def eval_tasks(self, split: str) -> Task:
        """Return all directions of the split."""
        return self.angles(split)

    def angles(self, split: str) -> Array:
        """Return a split's directions, radians."""
        union = tuple(dict.fromkeys(itertools.chain(*self.degrees.values())))
        degrees = union if split == "oracle" else self.degrees[split]
        return jnp.asarray(np.deg2rad(degrees), jnp.float32)


class AntDirection2(AntDirection):
    """The same with two directions, both training and test tasks: 0 and pi."""

    degrees = MappingProxyType({"train": (0, 180), "test": (0, 180)})


class Ant(Robot):
    """An Ant that observes its position; a step lasts 0.05 s. Falls are ignored.

    The observation is qpos (15) and qvel (14).
    """

    robot = ANT

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        model = self.physics.model
        return [f"qpos {i}" for i in range(model.nq)] + [f"qvel {i}" for i in range(model.nv)]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [29]."""
        return jnp.concatenate([state.qpos, state.qvel])


class AntGoal(Ant):
    """A task is a goal (x, y), float32 [2], metres.

    The public code appends 84 contact forces to observations, which its version of MuJoCo leaves
    at zero; here they are left out (but see AntGoalContact).
    """

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return `-|x - goal_x| - |y - goal_y| - 0.1 |a|^2`; contact forces count as zero."""
        distance = jnp.abs(transition.after.torso[:2] - task).sum()
        return -distance - control_cost(0.1, transition.action)

    def marker_position(self, task: list[float], seconds: float) -> tuple[float, float]:
        """Return the goal."""
        return task[0], task[1]

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw a goal, uniform over the split's area: a disc and a ring, or what is between."""
        key_angle, key_radius = jax.random.split(key)
        radius_quantile = lambda a, b: lambda u: jnp.sqrt(a**2 + (b**2 - a**2) * u)
        disc, ring = radius_quantile(0.0, INNER), radius_quantile(OUTER, EDGE)
        if split == "train":
            area = INNER**2 + EDGE**2 - OUTER**2
            radius = sample_mixture(key_radius, INNER**2 / area, disc, ring)
        else:
            low, high = (INNER, OUTER) if split == "test" else (0.0, EDGE)
            radius = radius_quantile(low, high)(jax.random.uniform(key_radius))
        angle = jax.random.uniform(key_angle, maxval=2 * jnp.pi)
        return radius * unit_vector(angle)

    def eval_tasks(self, split: str) -> Task:
        """Return goals in the four directions of the axes, radius by radius."""
        angles = np.deg2rad(AXES)
        directions = np.stack([np.cos(angles), np.sin(angles)], 1)
        goals = np.concatenate([radius * directions for radius in EVAL_RADII[split]])
        return jnp.asarray(np.round(goals, 12), jnp.float32)


class AntGoalUniform(AntGoal):
    """The same with goals from all of the disc, training and test tasks alike."""

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw a goal, uniform over the disc's area."""
        return super().sample_task(key, "oracle")

    def eval_tasks(self, split: str) -> Task:
        """Return goals spread evenly over the area (sunflower arrangement), innermost first."""
        index = np.arange(EVAL_COUNTS[split])
        radius, angle = EDGE * np.sqrt((index + 0.5) / len(index)), GOLDEN_ANGLE * index
        goals = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        return jnp.asarray(goals, jnp.float32)


class AntDirectionContact(AntDirection):
    """Ant-direction with a contact cost; contact forces are not observed."""

    forces = True

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return Ant-direction's reward minus the contact cost."""
        return super().compute_reward(transition, task) - contact_cost(transition.after)


class AntGoalContact(AntGoal):
    """Ant-goal with observed contact forces and a contact cost.

    The observation is qpos (15), qvel (14), and the contact forces in [-1, 1]: torque and force
    for the world (zero) and each of 13 bodies (84), as in the public code with MuJoCo 1.5.
    """

    forces = True

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        bodies = range(self.physics.model.nbody)
        return super().obs_names + [
            f"force {i} on body {body}" for body in bodies for i in range(6)
        ]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [113]."""
        return jnp.concatenate([super().observe(state, ctrl), clipped_forces(state)])

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return Ant-goal's reward minus the contact cost."""
        return super().compute_reward(transition, task) - contact_cost(transition.after)


def clipped_forces(state: State) -> Array:
    """Return a state's contact forces in [-1, 1], [84]."""
    assert state.forces is not None
    return jnp.clip(state.forces, -1.0, 1.0)


def contact_cost(state: State) -> Array:
    """Return `0.0005 |f|^2` for the contact forces f in [-1, 1]."""
    return control_cost(0.0005, clipped_forces(state))


def ant_direction(backend: str = "auto") -> AntDirection:
    """Train on the axes' four directions, test on the diagonals."""
    return AntDirection(backend)


def ant_goal(backend: str = "auto") -> AntGoal:
    """Train within 1 m and beyond 2.5 m (up to 3), test between."""
    return AntGoal(backend)


def ant_direction_2(backend: str = "auto") -> AntDirection2:
    """Train and test on 0 and 180 degrees (Rakelly et al. 2019)."""
    return AntDirection2(backend)


def ant_direction_2_switching(backend: str = "auto") -> Switching:
    """Walk at 0 or 180 degrees, which may change every 100 steps."""
    return switching(ant_direction_2(backend))


def ant_goal_uniform(backend: str = "auto") -> AntGoalUniform:
    """Train and test within 3 m (Rakelly et al. 2019)."""
    return AntGoalUniform(backend)


def ant_direction_contact(backend: str = "auto") -> AntDirectionContact:
    """Return Ant-direction with a contact cost."""
    return AntDirectionContact(backend)


def ant_goal_contact(backend: str = "auto") -> AntGoalContact:
    """Return Ant-goal with observed contact forces and a contact cost."""
    return AntGoalContact(backend)
