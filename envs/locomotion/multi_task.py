"""Robots whose tasks differ in kind: to run, to reach a place, to stand up, to jump.

The base tasks of Wang et al. 2023, with the ranges and rewards of the public code that theirs
descends from. A sub-family is a row of a table: what is measured, and which targets it has.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.locomotion.ant import Ant
from envs.locomotion.half_cheetah import HalfCheetah
from envs.locomotion.physics import State
from envs.locomotion.robot import Moved, Robot, effort, one_of
from jaxmeta.env import Array, Key, Task

VELOCITY, PLACE, JUMP, PITCH = range(4)  # rows of `measures`
SPECS = 15  # tasks of a sub-family; every third one, from the second on, is a test task


class FamilyTask(NamedTuple):
    """A task: its sub-family, and the target there."""

    family: Array  # [] int32, the row of the table
    target: Array  # [] or [3], float32


class Family(NamedTuple):
    """A sub-family: tasks that differ in their target only.

    Attributes:
      name: what it is called.
      measure: what should reach the target, a row of `measures`.
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
    Family("goal forward", PLACE, 5.0, 25.0),
    Family("goal backward", PLACE, -5.0, -25.0),
    Family("stand front", PITCH, math.pi / 6, math.pi / 2),
    Family("stand back", PITCH, -math.pi / 6, -math.pi / 2),
    Family("jump", JUMP, 1.5, 3.0),
)
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}
ANT_FAMILIES = (
    *(
        Family(f"velocity {way}", VELOCITY, (x, y, 0), (3 * x, 3 * y, 0), True)
        for way, (x, y) in WAYS.items()
    ),
    *(
        Family(f"goal {way}", PLACE, (5 * x, 5 * y, 0), (15 * x, 15 * y, 0), True)
        for way, (x, y) in WAYS.items()
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
        """Return all that targets may be set for, [4, ...] or as many as the table asks for."""
        raise NotImplementedError

    def paid(self, moved: Moved, task: Task) -> Array:
        """Return `-|measure - target| / |target| - 0.05 |a|^2`, the quotient maybe squared."""
        row = jnp.array([family.measure for family in self.table])[task.family]
        squared = jnp.array([family.squared for family in self.table])[task.family]
        missed = self.measures(moved.after)[row] - task.target
        off = length(missed) / length(task.target)
        return -jnp.where(squared, off**2, off) - effort(0.05, moved.action)

    def mark(self, task: dict, seconds: float) -> tuple[float, float]:
        """Return the goal, or where one is who runs at the velocity; of other tasks the start."""
        x, y = np.append(task["target"], 0.0)[:2].tolist()
        factor = {VELOCITY: seconds, PLACE: 1.0}.get(self.table[task["family"]].measure, 0.0)
        return factor * x, factor * y

    def family(self, task: Task) -> Array:
        """Return the task's sub-family."""
        return task.family

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw one of the split's tasks."""
        return one_of(key, self.eval_tasks(split))

    def eval_tasks(self, split: str) -> Task:
        """Return all tasks of the split, sub-family by sub-family."""
        place = np.arange(SPECS)
        test = place % 3 == 1
        chosen = {"train": place[~test], "test": place[test], "oracle": place}[split]
        targets = [np.linspace(f.first, f.last, SPECS)[chosen] for f in self.table]
        return FamilyTask(
            family=jnp.repeat(jnp.arange(len(self.table), dtype=jnp.int32), len(chosen)),
            target=jnp.asarray(np.concatenate(targets), jnp.float32),
        )


class HalfCheetahMultiTask(MultiTask, HalfCheetah):
    """Targets are velocities or places along x, heights' rates (jump), or the torso's pitch.

    They are float32 [], in m/s, m, and radians, positive where the head points down.
    """

    table = CHEETAH_FAMILIES

    def measures(self, state: State) -> Array:
        """Return velocity and place along x, speed along z, pitch: [4]."""
        return jnp.stack([state.qvel[0], state.qpos[0], jnp.abs(state.qvel[1]), state.qpos[2]])


class AntMultiTask(MultiTask, Ant):
    """Targets are velocities (x, y, 0), places (x, y, 0), or speeds (0, 0, z): float32 [3]."""

    table = ANT_FAMILIES

    def measures(self, state: State) -> Array:
        """Return velocity and place in the plane, speed along z: [3, 3]."""
        plane, upright = jnp.array([1.0, 1.0, 0.0]), jnp.array([0.0, 0.0, 1.0])
        velocity = state.qvel[:3]
        return jnp.stack([velocity * plane, state.qpos[:3] * plane, jnp.abs(velocity) * upright])


def length(x: Array) -> Array:
    """Return the length of a vector, or the size of a number."""
    return jnp.linalg.norm(jnp.ravel(x))


def half_cheetah_multi_task(backend: str = "auto") -> HalfCheetahMultiTask:
    """Return seven sub-families: 70 training and 35 test tasks."""
    return HalfCheetahMultiTask(backend)


def ant_multi_task(backend: str = "auto") -> AntMultiTask:
    """Return nine sub-families: 90 training and 45 test tasks."""
    return AntMultiTask(backend)
