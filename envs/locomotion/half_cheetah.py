"""Half-cheetahs that run at a hidden velocity (Lee & Chung 2021, 5.2), or in a hidden direction."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxmeta.env import Array, Key, Task

from ..switching import Switching, switching
from .physics import State
from .robot import Robot, RobotTransition, bin_centres, control_cost, sample_mixture
from .robot_models import HALF_CHEETAH

SLOW, FAST = (0.0, 0.5), (3.0, 3.5)  # training velocities, m/s; between them lie the test tasks
EVAL_VELOCITIES = {"train": (0.25, 3.25), "test": (0.75, 1.25, 1.75, 2.25, 2.75)}


class HalfCheetah(Robot):
    """A robot in the vertical plane of x and z; a step lasts 0.05 s.

    The observation is qpos without x (8), qvel (9), and the torso's position (3), which
    includes x.
    """

    robot = HALF_CHEETAH

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        model = self.physics.model
        positions = [f"qpos {i}" for i in range(1, model.nq)]
        return [*positions, *(f"qvel {i}" for i in range(model.nv)), *"xyz"]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [20]."""
        return jnp.concatenate([state.qpos[1:], state.qvel, state.torso])

    def velocity(self, transition: RobotTransition) -> Array:
        """Return the mean velocity of a step along x, m/s, []."""
        return (transition.after.qpos[0] - transition.before.qpos[0]) / self.dt


class HalfCheetahVelocity(HalfCheetah):
    """A task is a velocity along x, float32 [], m/s."""

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return `-|velocity - target| - 0.05 |a|^2`; velocity: of the step, from x."""
        return -jnp.abs(self.velocity(transition) - task) - control_cost(0.05, transition.action)

    def marker_position(self, task: float, seconds: float) -> tuple[float, float]:
        """Return the position of a runner at the target velocity."""
        return task * seconds, 0.0

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw a velocity: train is half slow, half fast; test lies between; oracle is all."""
        quantile = lambda low, high: lambda u: low + (high - low) * u
        if split == "train":
            return sample_mixture(key, 0.5, quantile(*SLOW), quantile(*FAST))
        low, high = (SLOW[1], FAST[0]) if split == "test" else (SLOW[0], FAST[1])
        return jax.random.uniform(key, minval=low, maxval=high)

    def eval_tasks(self, split: str) -> Task:
        """Return the paper's evaluation velocities."""
        return jnp.array(EVAL_VELOCITIES[split])


class VelocityRange(HalfCheetahVelocity):
    """The same with one range of velocities per split.

    `ranges` and `eval_velocities` hold the ranges and the evaluation tasks by split, m/s. The
    oracle draws from the smallest range around all.
    """

    def __init__(
        self,
        backend: str,
        ranges: Mapping[str, tuple[float, float]],
        eval_velocities: Mapping[str, Sequence[float]],
    ):
        super().__init__(backend)
        lows, highs = zip(*ranges.values(), strict=True)
        self.ranges = {**ranges, "oracle": (min(lows), max(highs))}
        self.eval_velocities = eval_velocities

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw a velocity, uniformly."""
        low, high = self.ranges[split]
        return jax.random.uniform(key, minval=low, maxval=high)

    def eval_tasks(self, split: str) -> Task:
        """Return the split's evaluation velocities."""
        return jnp.array(self.eval_velocities[split])


class HalfCheetahDirection(HalfCheetah):
    """A task is a direction along x, float32 []: 1 forward, -1 backward (Rakelly et al. 2019).

    Both directions are training and test tasks.
    """

    finite = True

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return `velocity in the direction - 0.05 |a|^2`; velocity: of the step, from x."""
        return task * self.velocity(transition) - control_cost(0.05, transition.action)

    def marker_position(self, task: float, seconds: float) -> tuple[float, float]:
        """Return the position of a runner in the direction at 3 m/s."""
        return task * FAST[0] * seconds, 0.0

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw one of the two directions."""
        return jax.random.rademacher(key, dtype=jnp.float32)

    def eval_tasks(self, split: str) -> Task:
        """Return both directions, [2]."""
        return jnp.array([-1.0, 1.0])


def half_cheetah_velocity_uniform(backend: str = "auto") -> VelocityRange:
    """Train and test on [0, 3) m/s (Rakelly et al. 2019); 30 test tasks."""
    everywhere = (0.0, 3.0)
    velocities = {"train": bin_centres(*everywhere, 6), "test": bin_centres(*everywhere, 30)}
    return VelocityRange(backend, {"train": everywhere, "test": everywhere}, velocities)


def half_cheetah_velocity_medium(backend: str = "auto") -> VelocityRange:
    """Train on [0, 2.5) m/s, test just beyond, on [2.5, 3) (Mendonca et al. 2020)."""
    return extrapolation_split(backend, 2.5)


def half_cheetah_velocity_hard(backend: str = "auto") -> VelocityRange:
    """Train on [0, 1.5) m/s, test far beyond, on [2.5, 3) (Mendonca et al. 2020)."""
    return extrapolation_split(backend, 1.5)


def extrapolation_split(backend: str, fastest: float) -> VelocityRange:
    """Train on velocities up to the fastest one, m/s, test on [2.5, 3); 10 test tasks."""
    ranges = {"train": (0.0, fastest), "test": (2.5, 3.0)}
    counts = {"train": 6, "test": 10}
    velocities = {split: bin_centres(*ranges[split], n) for split, n in counts.items()}
    return VelocityRange(backend, ranges, velocities)


def half_cheetah_direction(backend: str = "auto") -> HalfCheetahDirection:
    """Train and test on both directions."""
    return HalfCheetahDirection(backend)


def half_cheetah_velocity(backend: str = "auto") -> HalfCheetahVelocity:
    """Train on [0, 0.5) and [3, 3.5) m/s, test between."""
    return HalfCheetahVelocity(backend)


def half_cheetah_velocity_switching(backend: str = "auto") -> Switching:
    """Run at a velocity of [0, 3) m/s that may change every 100 steps."""
    return switching(half_cheetah_velocity_uniform(backend))


def half_cheetah_direction_switching(backend: str = "auto") -> Switching:
    """Run in a direction that may change every 100 steps."""
    return switching(half_cheetah_direction(backend))
