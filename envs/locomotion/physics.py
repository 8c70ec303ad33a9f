"""One robot's physics as a pure function: step(state, ctrl) -> state; `vmap` makes the batch.

There are two engines. C MuJoCo is the faster one on a CPU (8 times at equal physics) and
calculates in float64; MJX runs where JAX runs. Both solve the same model, return the same
state, and never reset by themselves.
"""

import functools
import importlib.util
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax._src.xla_bridge import backends_are_initialized  # there is no public name for it

from jaxmeta.env import Array, where
from jaxmeta.errors import ConfigError

from .physics_interface import NO_FIELDS, Advance, Fields

BACKENDS = ("auto", "c", "mjx", "warp")
MAX_VALUE = mujoco.mjMAXVAL  # 1e10: beyond it, MuJoCo itself calls a simulation diverged


class State(NamedTuple):
    """One robot between two steps."""

    qpos: Array  # [nq] positions: metres, radians, unit quaternions
    qvel: Array  # [nv] velocities
    warmstart: Array  # [nv] accelerations that the contact solver starts from
    # [3] the first body's position: `xpos` as mj_step leaves it, of the state before the
    # last substep (Euler) or of its last Runge-Kutta stage. `qpos` has no such lag.
    torso: Array
    bad: Array  # [] bool: the last step diverged and was not taken
    # [6 bodies] if enabled: MuJoCo's `cfrc_ext`, a torque (N m) and a force (N) for each body
    # and the world, from what touches it in this state, under the last controls.
    forces: Array | None = None


class Physics:
    """A robot's physics; see `physics`.

    Attributes:
      model: the compiled model, float64.
      frame_skip: substeps of a step.
      dt: seconds of a step.
      forces: whether states have contact forces.
    """

    def __init__(self, model: mujoco.MjModel, frame_skip: int, backend: str, forces: bool):
        self.model, self.frame_skip, self.forces = model, frame_skip, forces
        self.dt = frame_skip * model.opt.timestep
        self._asked = backend
        self._origin, self._slope = torso_map(model)
        self._quaternions = quaternions(model)

    @functools.cached_property
    def backend(self) -> str:
        """The engine: "c", "mjx" or "warp". With "auto" the first access uses JAX."""
        if self._asked == "auto":
            return "c" if jax.default_backend() == "cpu" else "mjx"
        return self._asked

    @functools.cached_property
    def _advance(self) -> Advance:
        # Engines are imported lazily: MJX alone takes seconds.
        if self.backend == "c":
            from .c_physics import c_advance

            return c_advance(self.model, self.frame_skip, self.forces)
        from .mjx_physics import mjx_advance

        return mjx_advance(self.model, self.frame_skip, self.backend, self.forces)

    def begin(self, qpos: Array, qvel: Array) -> State:
        """Return a robot at positions [nq] and velocities [nv]; quaternions become units.

        Its forces are zero, as they are where nothing touches the floor yet.
        """
        for at in self._quaternions:
            unit = qpos[at : at + 4] / jnp.linalg.norm(qpos[at : at + 4])
            qpos = qpos.at[at : at + 4].set(unit)
        # A sum, not a product of matrices, which accelerators round.
        torso = jnp.asarray(self._origin + (qpos[:, None] * self._slope).sum(0), qpos.dtype)
        forces = jnp.zeros(6 * self.model.nbody, qpos.dtype) if self.forces else None
        return State(qpos, qvel, jnp.zeros_like(qvel), torso, jnp.zeros((), bool), forces)

    def step(self, state: State, ctrl: Array, fields: Fields = NO_FIELDS) -> State:
        """Return the robot `frame_skip` substeps later; MuJoCo clamps ctrl [nu] to its range.

        `fields` replace numbers of the model, for example its "body_mass" [nbody]; constants
        derived from them are unchanged. Where anything is not finite or beyond 1e10, `bad` is
        set, and the state is the one before.
        """
        before = state._replace(bad=jnp.ones((), bool))
        valid = is_valid(ctrl)
        ctrl = jnp.where(valid, ctrl, 0.0).astype(state.qpos.dtype)
        after = self._advance(state.qpos, state.qvel, state.warmstart, ctrl, fields)
        for x in after:
            valid &= is_valid(x)
        qpos, qvel, warmstart, torso, *forces = after
        moved = State(qpos, qvel, warmstart, torso, jnp.zeros((), bool), *forces)
        return where(valid, moved, before)


def physics(xml: str, frame_skip: int, backend: str = "auto", forces: bool = False) -> Physics:
    """Return the physics of the model in `xml` (MJCF).

    Args:
      xml: one robot, the world's first body, which slides and turns about its own origin.
        `<numeric>` is left out: MJX would take some for limits on its contacts, which C has
        not (and reads them from wrong places, see `mjx_physics`).
      frame_skip: substeps of a step, each of the model's timestep.
      backend: "c" (C MuJoCo on the CPU), "mjx", "warp" (MJX's other engine, for NVIDIA GPUs) or
        "auto": C where JAX's default device is a CPU, MJX elsewhere.
      forces: whether states have contact forces, which cost one more forward pass per step; MJX's
        other engine has none.

    Raises:
      ConfigError: an unknown or unavailable backend; JAX was used too early for C; another kind
        of robot.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"physics = {backend!r}: must be one of {', '.join(BACKENDS)}")
    if backend == "warp" and forces:
        raise ConfigError("physics = 'warp': has no contact forces; must be auto, c or mjx")
    if backend == "warp" and importlib.util.find_spec("warp") is None:
        raise ConfigError(
            "physics = 'warp': needs the package warp-lang, which is not installed;"
            " 'mjx' runs on the same devices without it"
        )
    if backend in ("auto", "c"):
        require_sync_dispatch(backend)
    spec = mujoco.MjSpec.from_string(xml)
    for numeric in list(spec.numerics):
        spec.delete(numeric)
    if forces:  # C MuJoCo calculates them for a sensor only
        of = {"objtype": mujoco.mjtObj.mjOBJ_BODY, "objname": spec.worldbody.bodies[0].name}
        spec.add_sensor(name="forces", type=mujoco.mjtSensor.mjSENS_FRAMELINACC, **of)
    return Physics(spec.compile(), frame_skip, backend, forces)


def require_sync_dispatch(backend: str) -> None:
    """Switch JAX's asynchronous dispatch on CPUs off: callbacks into C can hang in it.

    See jax issues 24255 and 25861. It has no effect after JAX's first use.

    Raises:
      ConfigError: too late.
    """
    if not backends_are_initialized():
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    elif jax.config.values["jax_cpu_enable_async_dispatch"] and (
        backend == "c" or jax.default_backend() == "cpu"
    ):
        raise ConfigError(
            f"physics = {backend!r}: JAX has been used already and dispatches CPU programs"
            " asynchronously, in which callbacks into C MuJoCo can hang; make the environment"
            " before anything else uses JAX, or start with"
            " jax.config.update('jax_cpu_enable_async_dispatch', False)"
        )


def is_valid(x: Array) -> Array:
    """Return whether all of x is finite and at most MAX_VALUE in size, []."""
    return (jnp.abs(x) <= MAX_VALUE).all()


def quaternions(model: mujoco.MjModel) -> list[int]:
    """Return the indices in qpos at which quaternions begin."""
    free, ball = (
        model.jnt_qposadr[model.jnt_type == kind]
        for kind in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL)
    )
    return [*(free + 3).tolist(), *ball.tolist()]


def torso_map(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Return origin [3] and slope [nq, 3] with torso = origin + qpos @ slope.

    Raises:
      ConfigError: the first body's position is not affine in qpos.
    """
    data = mujoco.MjData(model)

    def torso(qpos: np.ndarray) -> np.ndarray:
        data.qpos = qpos
        mujoco.mj_kinematics(model, data)
        return data.xpos[1].copy()

    origin = torso(np.zeros(model.nq))
    slope = np.stack([torso(unit) - origin for unit in np.eye(model.nq)])
    somewhere = np.linspace(-2.0, 3.0, model.nq)
    if not np.allclose(torso(somewhere), origin + somewhere @ slope, atol=1e-9):
        raise ConfigError("physics: the first body must slide and turn about its own origin")
    return origin, slope
