"""MuJoCo in JAX, with a bug of mujoco-mjx 3.17.0 patched."""

import contextlib
import copy
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from jax import lax

from jaxmeta.env import Array

from .physics_interface import Advance, Fields

with contextlib.redirect_stdout(io.StringIO()):  # it prints that Warp is not installed
    from mujoco import mjx
from mujoco.mjx._src import collision_driver

# A vmapped loop runs until its slowest batch element has converged, in float32 rarely before the
# last iteration. With these, the HalfCheetah moves as with MuJoCo's 100 and 50; of the Ant's steps
# with contacts nine in ten err by less than 1e-3 of the speed, the worst by 3 %.
ITERATIONS, LS_ITERATIONS = 4, 8

# Warp keeps the contacts of all robots in one array of fixed length; see `all_contacts_kept`.
WARP_CONTACTS = 1 << 16

PLANE_CAPSULE = (mjx.GeomType.PLANE, mjx.GeomType.CAPSULE)
_patch_lock = threading.RLock()


def mjx_advance(model: mujoco.MjModel, frame_skip: int, backend: str, forces: bool) -> Advance:
    """Return one step of MJX ("mjx", with contact forces or without) or of MJX-Warp ("warp").

    It calculates in float32.

    Between substeps only what a step depends on is carried, not all of MJX's data.
    """
    model = copy.copy(model)
    model.opt.iterations, model.opt.ls_iterations = ITERATIONS, LS_ITERATIONS
    if forces:  # the sensor is for C; here it would cost a pass over all bodies in every substep
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
    warp = backend == "warp"
    impl, data_kwargs = ("warp", {"naconmax": WARP_CONTACTS}) if warp else ("jax", {})
    with jax.ensure_compile_time_eval():  # it may be made while something is traced
        on_device = mjx.put_model(model, impl=impl)
        template = mjx.make_data(model, impl=impl, **data_kwargs)

    def advance(
        qpos: Array, qvel: Array, warmstart: Array, ctrl: Array, fields: Fields
    ) -> tuple[Array, ...]:
        task_model = on_device.replace(**fields)

        def substep(_: Any, carry: tuple) -> tuple:
            qpos, qvel, warmstart, _ = carry
            data = template.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=ctrl)
            data = mjx.step(task_model, data)
            qpos = data.qpos
            if warp:  # a robot that lacks contacts counts as diverged
                qpos = jnp.where(all_contacts_kept(data), qpos, jnp.nan)
            return qpos, data.qvel, data.qacc_warmstart, data.xpos[1]

        torso = jnp.zeros(3, qpos.dtype)
        # Tensor cores would round the factors of float32 products to 10 bits; and MJX promotes
        # ranks, regardless of the global setting.
        with (
            patched_collisions(),
            jax.default_matmul_precision("highest"),
            jax.numpy_rank_promotion("allow"),
        ):
            after = lax.fori_loop(0, frame_skip, substep, (qpos, qvel, warmstart, torso))
            if not forces:
                return after
            return *after, contact_forces(task_model, after[0], after[1], after[2], ctrl)

    def contact_forces(
        task_model: mjx.Model, qpos: Array, qvel: Array, warmstart: Array, ctrl: Array
    ) -> Array:
        """Return the contact forces in a state, [6 bodies]."""
        data = template.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart, ctrl=ctrl)
        data = mjx.rne_postconstraint(task_model, mjx.forward(task_model, data))
        return data._impl.cfrc_ext.reshape(-1)

    return advance


class Bodies(NamedTuple):
    """Quantities that MuJoCo derives from a state, for all bodies but the world, by its names.

    Inertias and velocities are about the robot's centre of mass, in the world frame.
    """

    centre: Array  # [3] the robot's centre of mass, metres
    cinert: Array  # [bodies, 10] xx yy zz xy xz yz of an inertia; mass times offset; mass
    cvel: Array  # [bodies, 6] velocities: three angular, three linear


def body_map(model: mujoco.MjModel) -> Callable[[Array, Array], Bodies]:
    """Return (qpos [nq], qvel [nv]) -> `Bodies` for a robot, in float32, for any engine."""
    with jax.ensure_compile_time_eval():  # see `mjx_advance`
        on_device = mjx.put_model(model, impl="jax")
        template = mjx.make_data(model, impl="jax")

    @jax.jit  # traced once, wherever a program has it
    def bodies(qpos: Array, qvel: Array) -> Bodies:
        with jax.default_matmul_precision("highest"), jax.numpy_rank_promotion("allow"):
            data = mjx.kinematics(on_device, template.replace(qpos=qpos, qvel=qvel))
            data = mjx.com_vel(on_device, mjx.com_pos(on_device, data))
        return Bodies(data.subtree_com[1], data._impl.cinert[1:], data.cvel[1:])

    return bodies


def all_contacts_kept(data: mjx.Data) -> Array:
    """Return whether no contact of a robot overflowed Warp's buffers, []; it drops the others."""
    from mujoco.mjx.third_party.mujoco_warp import OverflowType as Kind

    dropped = Kind.BROADPHASE | Kind.NARROWPHASE | Kind.NEFC | Kind.NJMAX_NNZ
    return (data._impl.overflow & dropped).sum() == 0


@contextlib.contextmanager
def patched_collisions() -> Iterator[None]:
    """Have MJX collide planes and capsules as C does, in all that is traced inside.

    In mujoco-mjx 3.17.0 a contact's first tangent is the capsule's axis, projected onto the
    plane, but the world's y where the axis is within 30 degrees of the normal. C has no such
    exception, and with pyramidal friction cones tangents matter: on some states of the Ant,
    accelerations are off by 45 %. Two tests, of contacts and of the Ant, fail without this;
    `test_mjx_still_needs_correcting` fails where it is needed no more.
    """
    table = collision_driver._COLLISION_FUNC
    with _patch_lock:
        original = table[PLANE_CAPSULE]

        def collide(model: Any, data: Any, key: Any, geoms: Array) -> tuple[Array, Array, Array]:
            dist, pos, _ = original(model, data, key, geoms)
            plane, capsule = (data.geom_xmat[geoms[:, i], :, 2] for i in (0, 1))
            frames = jax.vmap(contact_frame)(plane, capsule)
            return dist, pos, jnp.repeat(frames, 2, axis=0)  # both ends of a capsule

        collide.ncon = original.ncon  # type: ignore[attr-defined]
        table[PLANE_CAPSULE] = collide
        try:
            yield
        finally:
            table[PLANE_CAPSULE] = original


def contact_frame(normal: Array, axis: Array) -> Array:
    """Return normal, tangent and tangent [3, 3] of a capsule on a plane, as `mju_makeFrame`."""
    along = axis - normal * jnp.dot(normal, axis)
    size = jnp.linalg.norm(along)
    upright = size < mujoco.mjMINVAL
    tangent = jnp.where(upright, jnp.eye(3)[0], along / jnp.where(upright, 1.0, size))
    return jnp.stack([normal, tangent, jnp.cross(normal, tangent)])
