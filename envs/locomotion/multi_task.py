"""Robots whose tasks differ in kind: to run, to reach a position, to stand up, to jump.

The base tasks of Wang et al. 2023, with the ranges and rewards of the public code that theirs
descends from. A sub-family is a row of a table: its measured quantity and its targets.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Key, Task

from .ant import Ant
from .half_cheetah import HalfCheetah
from .physics import State
from .robot import Robot, RobotTransition, control_cost, sample_one

VELOCITY, POSITION, JUMP, PITCH = range(4)  # rows of `measures`
TASKS_PER_FAMILY = 15  # every third one, from the second on, is a test task


class FamilyTask(NamedTuple):
    """A task: its sub-family, and the target there."""

    family: Array  # [] int32, the row of the table
    target: Array  # [] or [3], float32


class Family(NamedTuple):
    """A sub-family: tasks that differ in their target only.

    Attributes:
      name: of the sub-family.
      measure: the quantity that should reach the target, a row of `measures`.
      first, last: the range of targets, in the measure's unit.
      squared: whether relative errors are squared.
    """

    name: str
    measure: int
    first: float | tuple[float, ...]
    last: float | tuple[float, ...]
    squared: bool = False


CHEETAH_FAMILIES = (
    Family("velocity forward", VELOCITY, 1.0, 5.0),
    Family("velocity backward", VELOCITY, -1.0, -5.0),
    Family("goal forward", POSITION, 5.0, 25.0),
    Family("goal backward", POSITION, -5.0, -25.0),
    Family("stand front", PITCH, math.pi / 6, math.pi / 2),
    Family("stand back", PITCH, -math.pi / 6, -math.pi / 2),
    Family("jump", JUMP, 1.5, 3.0),
)
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
ANT_FAMILIES = (
    *(
        Family(f"velocity {direction}", VELOCITY, (x, y, 0), (3 * x, 3 * y, 0), True)
        for direction, (x, y) in DIRECTIONS.items()
    ),
    *(
        Family(f"goal {direction}", POSITION, (5 * x, 5 * y, 0), (15 * x, 15 * y, 0), True)
        for direction, (x, y) in DIRECTIONS.items()
    ),
    Family("jump", JUMP, (0, 0, 0.5), (0, 0, 2.0)),
)


class MultiTask(Robot):
    """Several sub-families of tasks for one robot; no episode ends early.

    A task is a `FamilyTask`. Each sub-family has 15 targets, evenly spaced over its range: 5 test
    tasks, and on both sides of each a training task, 10 in all.
    """

    table: tuple[Family, ...]
    finite = True

    def __init__(self, backend: str = "auto"):
        super().__init__(backend)
        self.families = tuple(family.name for family in self.table)

    def measures(self, state: State) -> Array:
        """Return the quantities that targets are set for, a row each, [3 or 4, ...]."""
        raise NotImplementedError

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return `-|measure - target| / |target| - 0.05 |a|^2`, for some families with a square."""
        row = jnp.array([family.measure for family in self.table])[task.family]
        squared = jnp.array([family.squared for family in self.table])[task.family]
        error = self.measures(transition.after)[row] - task.target
        relative = norm(error) / norm(task.target)
        return -jnp.where(squared, relative**2, relative) - control_cost(0.05, transition.action)

    def marker_position(self, task: dict, seconds: float) -> tuple[float, float]:
        """Return the goal, or a runner's position at the target velocity; else the start."""
        x, y = np.append(task["target"], 0.0)[:2].tolist()
        factor = {VELOCITY: seconds, POSITION: 1.0}.get(self.table[task["family"]].measure, 0.0)
        return factor * x, factor * y

    def family(self, task: Task) -> Array:
        """Return the task's sub-family."""
        return task.family

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw one of the split's tasks."""
        return sample_one(key, self.eval_tasks(split))

    def eval_tasks(self, split: str) -> Task:
        """Return all tasks of the split, sub-family by sub-family."""
        index = np.arange(TASKS_PER_FAMILY)
        test = index % 3 == 1
        chosen = {"train": index[~test], "test": index[test], "oracle": index}[split]
        targets = [np.linspace(f.first, f.last, TASKS_PER_FAMILY)[chosen] for f in self.table]
        return FamilyTask(
            family=jnp.repeat(jnp.arange(len(self.table), dtype=jnp.int32), len(chosen)),
            target=jnp.asarray(np.concatenate(targets), jnp.float32),
        )


class HalfCheetahMultiTask(MultiTask, HalfCheetah):
    """Targets are velocities or positions along x, vertical speeds (jump), or the torso's pitch.

    They are float32 [], in m/s, m, and radians; pitch is positive where the head points down.
    """

    table = CHEETAH_FAMILIES

    def measures(self, state: State) -> Array:
        """Return velocity and position along x, speed along z, pitch: [4]."""
        return jnp.stack([state.qvel[0], state.qpos[0], jnp.abs(state.qvel[1]), state.qpos[2]])


class AntMultiTask(MultiTask, Ant):
    """Targets are velocities (x, y, 0), positions (x, y, 0), or speeds (0, 0, z): float32 [3]."""

    table = ANT_FAMILIES

    def measures(self, state: State) -> Array:
        """Return velocity and position in the plane, speed along z: [3, 3]."""
        plane, upright = jnp.array([1.0, 1.0, 0.0]), jnp.array([0.0, 0.0, 1.0])
        velocity = state.qvel[:3]
        return jnp.stack([velocity * plane, state.qpos[:3] * plane, jnp.abs(velocity) * upright])


def norm(x: Array) -> Array:
    """Return the Euclidean norm of a vector or a number, []."""
    return jnp.linalg.norm(jnp.ravel(x))


def half_cheetah_multi_task(backend: str = "auto") -> HalfCheetahMultiTask:
    """Return seven sub-families: 70 training and 35 test tasks."""
    return HalfCheetahMultiTask(backend)


def ant_multi_task(backend: str = "auto") -> AntMultiTask:
    """Return nine sub-families: 90 training and 45 test tasks."""
    return AntMultiTask(backend)
