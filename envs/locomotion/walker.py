"""Walker-random-params (Rakelly et al. 2019): run forward with a body that is not known.

Tasks differ in what the robot's model weighs, how it slides and how it is damped, not in what
they pay.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from envs.locomotion.physics import State
from envs.locomotion.robot import Moved, Robot, effort, one_of
from envs.locomotion.robot_models import WALKER
from jaxmeta.env import Array, Key, Task
from jaxmeta.errors import ConfigError

LOWEST, HIGHEST, TILTED = 0.8, 2.0, 1.0  # metres of the torso, radians: outside, it has fallen
FASTEST = 10.0  # metres or radians per second: observations are clipped there
STIR = 0.005  # positions and velocities at a reset: uniform, +-
# Multipliers are base^u, u uniform, +-.
BASES = {"body_mass": 1.5, "body_inertia": 1.5, "geom_friction": 1.5, "dof_damping": 1.3}
EXPONENT = 3.0
COUNTS = {"train": 40, "test": 10}


class Multipliers(NamedTuple):
    """A task: factors of numbers in the robot's model, by MuJoCo's names; float32."""

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
    def observed(self) -> list[str]:
        """Return what each entry of an observation is."""
        model = self.physics.model
        return [f"qpos {i}" for i in range(1, model.nq)] + [f"qvel {i}" for i in range(model.nv)]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [17]."""
        return jnp.concatenate([state.qpos[1:], jnp.clip(state.qvel, -FASTEST, FASTEST)])

    def paid(self, moved: Moved, task: Task) -> Array:
        """Return `velocity - 0.001 |a|^2 + 1`; velocity: of the step, from x."""
        velocity = (moved.after.qpos[0] - moved.before.qpos[0]) / self.dt
        return velocity - effort(0.001, moved.action) + 1.0

    def fallen(self, state: State) -> Array:
        """Return whether the torso is too low, too high, or tilted too far."""
        height, tilt = state.qpos[1], state.qpos[2]
        return (height <= LOWEST) | (height >= HIGHEST) | (jnp.abs(tilt) >= TILTED)

    def changed(self, task: Task) -> Mapping[str, Array]:
        """Return the numbers of the task's body."""
        number = lambda name: jnp.asarray(getattr(self.physics.model, name), jnp.float32)
        return {name: number(name) * factor for name, factor in task._asdict().items()}

    def mark(self, task: Any, seconds: float) -> tuple[float, float]:
        """Return the start: a body is nowhere."""
        return 0.0, 0.0

    def start(self, key: Key) -> State:
        """Return the robot near its rest position, with little noise."""
        return self.stirred(key, STIR)

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw one of the split's bodies."""
        return one_of(key, self.eval_tasks(split))

    def eval_tasks(self, split: str) -> Task:
        """Return all bodies of the split."""
        first = COUNTS["train"]
        part = {"train": slice(first), "test": slice(first, None), "oracle": slice(None)}[split]
        return Multipliers(**{name: jnp.asarray(x[part]) for name, x in self.bodies.items()})


def walker_random_params(backend: str = "auto") -> WalkerRandomParams:
    """Return 40 bodies to train on, 10 to test."""
    return WalkerRandomParams(backend)
