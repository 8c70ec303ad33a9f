"""A humanoid that walks in a hidden direction (Rakelly et al. 2019; Wang et al. 2023)."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.env import Array, Key, Task

from .physics import State
from .robot import (
    Robot,
    RobotTransition,
    bin_centres,
    control_cost,
    direction_marker,
    unit_vector,
)
from .robot_models import HUMANOID

MIN_HEIGHT, MAX_HEIGHT = 1.0, 2.0  # metres of the torso; outside, it has fallen
RESET_NOISE = 0.01  # positions and velocities at a reset: uniform, +-
CIRCLE = 2 * math.pi
EVAL_COUNTS = {"train": 6, "test": 30}  # directions, evenly spread
MAX_CONTACT_COST = 10.0
NUM_ROOT_DOFS = 6  # not actuated


class HumanoidDirection(Robot):
    """A task is an angle, float32 [], radians; a step lasts 0.015 s. A fall ends the episode.

    The observation is qpos without x and y (22), qvel (23); of each body its inertia (130) and
    velocity (78) about the robot's centre of mass, MuJoCo's `cinert` and `cvel`; and the torques
    of 17 motors, zero at a reset. The public code reads inertias and velocities as mj_step
    leaves them, of the last Runge-Kutta stage; here they are of the state itself. What is always
    zero there (the world's rows, the root's torques, contact forces) is left out.
    """

    robot = HUMANOID

    def __init__(self, backend: str = "auto"):
        super().__init__(backend)
        from .mjx_physics import body_map  # takes seconds, see `Physics`

        model = self.physics.model
        self.bodies = body_map(model)
        # Motors by the velocities that they drive, which come in another order than actions.
        self.motors = np.argsort(model.jnt_dofadr[model.actuator_trnid[:, 0]])
        self.gear = jnp.asarray(model.actuator_gear[:, 0], jnp.float32)

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        model = self.physics.model
        bodies = range(1, model.nbody)
        return [
            *(f"qpos {i}" for i in range(2, model.nq)),
            *(f"qvel {i}" for i in range(model.nv)),
            *(f"inertia {i} of body {body}" for body in bodies for i in range(10)),
            *(f"velocity {i} of body {body}" for body in bodies for i in range(6)),
            *(f"torque {i}" for i in range(NUM_ROOT_DOFS, model.nv)),
        ]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [270]."""
        bodies = self.bodies(state.qpos, state.qvel)
        features = jnp.concatenate([bodies.cinert.ravel(), bodies.cvel.ravel()])
        return jnp.concatenate([state.qpos[2:], state.qvel, features, self.torques(ctrl)])

    def torques(self, ctrl: Array) -> Array:
        """Return the joint torques of controls, N m, [17]."""
        return (self.gear * jnp.clip(ctrl, -self.ctrl_max, self.ctrl_max))[self.motors]

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return `0.25 velocity - 0.1 |ctrl|^2 + 5`; contact forces count as zero.

        The velocity is the centre of mass's in the direction, five times too high: the public
        code divides a step's displacement by the time of one of its five substeps. ctrl is 0.4 a.
        """
        before, after = (self.bodies(s.qpos, s.qvel).centre for s in transition[:2])
        velocity = (after - before)[:2] / self.physics.model.opt.timestep
        forward = (velocity * unit_vector(task)).sum()
        return 0.25 * forward - control_cost(0.1, self.ctrl_max * transition.action) + 5.0

    def is_terminal(self, state: State) -> Array:
        """Return whether the torso is too low or too high."""
        return (state.qpos[2] <= MIN_HEIGHT) | (state.qpos[2] >= MAX_HEIGHT)

    def marker_position(self, task: float, seconds: float) -> tuple[float, float]:
        """Return a point in the direction."""
        return direction_marker(task)

    def draw_reset(self, key: Key) -> tuple[Array, Array]:
        """Return little noise on positions [nq] and velocities [nv], all uniform."""
        return self.uniform_noise(key, RESET_NOISE)

    def sample_task(self, key: Key, split: str) -> Task:
        """Draw a direction, any of them in every split."""
        return jax.random.uniform(key, maxval=CIRCLE)

    def eval_tasks(self, split: str) -> Task:
        """Return directions spread evenly over the circle."""
        return jnp.array(bin_centres(0.0, CIRCLE, EVAL_COUNTS[split]))


class HumanoidDirectionContact(HumanoidDirection):
    """Humanoid-direction with observed contact forces and a contact cost.

    The observation ends with torque and force on each of 13 bodies (78), not clipped.
    """

    forces = True

    @property
    def obs_names(self) -> list[str]:
        """Return the name of each entry of an observation."""
        bodies = range(1, self.physics.model.nbody)
        return super().obs_names + [
            f"force {i} on body {body}" for body in bodies for i in range(6)
        ]

    def observe(self, state: State, ctrl: Array) -> Array:
        """Return the observation [348]."""
        assert state.forces is not None
        return jnp.concatenate([super().observe(state, ctrl), state.forces[6:]])

    def compute_reward(self, transition: RobotTransition, task: Task) -> Array:
        """Return Humanoid-direction's reward minus `min(5e-7 |f|^2, 10)` for contact forces f."""
        assert transition.after.forces is not None
        cost = jnp.minimum(control_cost(5e-7, transition.after.forces), MAX_CONTACT_COST)
        return super().compute_reward(transition, task) - cost


def humanoid_direction(backend: str = "auto") -> HumanoidDirection:
    """Train and test on all directions; 30 test tasks."""
    return HumanoidDirection(backend)


def humanoid_direction_contact(backend: str = "auto") -> HumanoidDirectionContact:
    """Return Humanoid-direction with observed contact forces and a contact cost."""
    return HumanoidDirectionContact(backend)
