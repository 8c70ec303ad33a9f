"""Walker-random-params (Rakelly et al. 2019): run forward with an unknown body.

Tasks differ in dynamics (masses, friction, damping), not in reward.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Key, Task
from jaxmeta.errors import ConfigError

from .physics import State
from .robot import Robot, RobotTransition, control_cost, sample_one
from .robot_models import WALKER

MIN_HEIGHT, MAX_HEIGHT, MAX_TILT = 0.8, 2.0, 1.0  # of the torso, metres and radians
MAX_SPEED = 10.0  # metres or radians per second: observations are clipped there
RESET_NOISE = 0.005  # positions and velocities at a reset: uniform, +-
# Multipliers are base^u, u uniform, +-.
BASES = {"body_mass": 1.5, "body_inertia": 1.5, "geom_friction": 1.5, "dof_damping": 1.3}
EXPONENT = 3.0
COUNTS = {"train": 40, "test": 10}


class Multipliers(NamedTuple):
    """A task: factors on arrays of the robot's model, by MuJoCo's names; float32."""

    body_mass: Array  # [8]
    body_inertia: Array  # [8, 3]
    geom_friction: Array  # [8, 3]
    dof_damping: Array  # [9]


class WalkerRandomParams(Robot):
    """A task is a body (`Multipliers`); a step lasts 0.01 s. A fall ends the episode.

    The observation is qpos without x (8), and qvel (9) in [-10, 10]. All bodies are drawn in
    advance, 40 for training and 10 for tests. Constants that MuJoCo derives from masses when a
    model is compiled, which soften contacts and limits, stay those of the published body.
    """

    robot = WALKER
    finite = True

    def __init__(self, backend: str = "auto"):
        super().__init__(backend)
        if backend == "warp":
            raise ConfigError(
                "physics = 'warp': has one body for all tasks; must be auto, c or mjx"
            )
        rng, model = np.random.default_rng(0), self.physics.model

        def drawn(name: str) -> np.ndarray:
            shape = (sum(COUNTS.values()), *getattr(model, name).shape)
            return (BASES[name] ** rng.uniform(-EXPONENT, EXPONENT, shape)).astype(np.float32)

        self.bodies = {name: drawn(name) for name in Multipliers._fields}

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        model = self.physics.model
        return [f"qpos {i}" for i in range(1, model.nq)] + [f"qvel {i}" for i in range(model.nv)]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [17]."""
        return jnp.concatenate([state.qpos[1:], jnp.clip(state.qvel, -MAX_SPEED, MAX_SPEED)])

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return `velocity - 0.001 |a|^2 + 1`; velocity: of the step, from x."""
        velocity = (transition.after.qpos[0] - transition.before.qpos[0]) / self.dt
        return velocity - control_cost(0.001, transition.action) + 1.0

    def is_terminal(self, state: State) -> Array:
        """Return whether the torso is too low, too high, or tilted too far."""
        height, tilt = state.qpos[1], state.qpos[2]
        return (height <= MIN_HEIGHT) | (height >= MAX_HEIGHT) | (jnp.abs(tilt) >= MAX_TILT)

    def model_overrides(self, task: Task) -> Mapping[str, Array]:
        """Return the arrays of the task's body."""
        original = lambda name: jnp.asarray(getattr(self.physics.model, name), jnp.float32)
        return {name: original(name) * factor for name, factor in task._asdict().items()}

    def marker_position(self, task: Any, seconds: float) -> tuple[float, float]:
        """Return the start: the task has no place."""
        return 0.0, 0.0

    def draw_reset(self, key: Key) -> tuple[Array, Array]:
        """Return little noise on positions [nq] and velocities [nv], all uniform."""
        return self.uniform_noise(key, RESET_NOISE)

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw one of the split's bodies."""
        return sample_one(key, self.eval_tasks(split))

    def eval_tasks(self, split: str) -> Task:
        """Return all bodies of the split."""
        first = COUNTS["train"]
        part = {"train": slice(first), "test": slice(first, None), "oracle": slice(None)}[split]
        return Multipliers(**{name: jnp.asarray(x[part]) for name, x in self.bodies.items()})


def walker_random_params(backend: str = "auto") -> WalkerRandomParams:
    """Return 40 bodies to train on, 10 to test."""
    return WalkerRandomParams(backend)
