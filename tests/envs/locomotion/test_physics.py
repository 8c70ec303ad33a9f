"""Both engines against `mujoco.mj_step`, one robot at a time in float64."""

import copy
import functools
import importlib.util
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.locomotion import c_physics
from envs.locomotion.physics import Physics, State, physics
from envs.locomotion.robot_models import ANT, HALF_CHEETAH, HUMANOID, xml
from jaxmeta.errors import ConfigError
from tests.processes import ENVIRONMENT

ROBOTS = (ANT, HALF_CHEETAH)
BATCH = (2, 4)
SKIP = 5  # substeps of a step


@functools.cache
def compiled(robot: str, backend: str):
    """Return a robot's physics, and its step for [2, 4] of them; MJX compiles for long."""
    body = physics(xml(robot), SKIP, backend)
    return body, jax.jit(jax.vmap(jax.vmap(body.step)))


def rounded(data: mujoco.MjData) -> None:
    """Round a simulation's state to float32, so that all engines start from the same."""
    for x in (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl):
        x[:] = x.astype(np.float32)


def upright_contacts(model: mujoco.MjModel, data: mujoco.MjData) -> int:
    """Return how many capsules that touch the floor are within 30 degrees of the vertical."""
    geoms = [c.geom[1] for c in data.contact if model.geom_type[c.geom[1]] == 3]
    return sum(abs(data.geom_xmat[g, 8]) > np.cos(np.pi / 6) for g in geoms)


@functools.cache
def situations(robot: str, count: int = 8):
    """Return states and controls [count, ...] from short random rollouts, all in contact.

    Every second one of the Ant has a shin upright on the floor: where MJX differs from C.
    """
    model = mujoco.MjModel.from_xml_string(xml(robot))
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    found = []
    while len(found) < count:
        mujoco.mj_resetData(model, data)
        data.qpos += rng.uniform(-0.1, 0.1, model.nq)
        data.qvel += 0.1 * rng.normal(size=model.nv)
        for _ in range(rng.integers(2, 10)):
            data.ctrl = rng.uniform(-1, 1, model.nu)
            mujoco.mj_step(model, data, 4 * SKIP)
        upright = robot == ANT and len(found) % 2 == 1
        if data.ncon and not (upright and not upright_contacts(model, data)):
            data.ctrl = rng.uniform(-1.5, 1.5, model.nu)  # some beyond their range
            rounded(data)
            parts = (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl)
            found.append([x.copy() for x in parts])
    return tuple(np.stack(x) for x in zip(*found, strict=True))


def mj_steps(model, given):
    """Return (qpos, qvel, warmstart, torso) [B, ...] after one step of each, by mj_step."""
    after = []
    for qpos, qvel, warmstart, ctrl in zip(*given, strict=True):
        data = mujoco.MjData(model)
        data.qpos, data.qvel, data.qacc_warmstart, data.ctrl = qpos, qvel, warmstart, ctrl
        mujoco.mj_step(model, data, SKIP)
        after.append([data.qpos, data.qvel, data.qacc_warmstart, data.xpos[1].copy()])
    return tuple(np.stack(x) for x in zip(*after, strict=True))


def state_of(body: Physics, given) -> State:
    qpos, qvel, warmstart = (jnp.asarray(x, jnp.float32) for x in given[:3])
    # As given: quaternions would be rounded once more where they become units.
    return jax.vmap(body.begin)(qpos, qvel)._replace(qpos=qpos, warmstart=warmstart)


def step_of(robot: str, backend: str, given):
    """Return the states [8] after one step of [2, 4] robots, and those before."""
    body, step = compiled(robot, backend)
    fold = lambda x: jnp.reshape(x, (*BATCH, *x.shape[1:]))
    flat = lambda x: np.reshape(x, (8, *x.shape[2:]))
    before = state_of(body, given)
    ctrl = fold(jnp.asarray(given[3], jnp.float32))
    return jax.tree.map(flat, step(jax.tree.map(fold, before), ctrl)), before


@pytest.mark.parametrize("robot", [*ROBOTS, HUMANOID])
def test_a_step_of_c_is_mj_steps_to_the_bit(robot):
    given = situations(robot)
    after, _ = step_of(robot, "c", given)
    model = mujoco.MjModel.from_xml_string(xml(robot))
    for got, want in zip(after, mj_steps(model, given), strict=False):
        np.testing.assert_array_equal(got, want.astype(np.float32))
    assert not after.bad.any()


def test_the_solver_of_contacts_starts_from_the_warmstart():
    """With one iteration only, it matters where it starts."""
    text = xml(ANT).replace("<option ", '<option iterations="1" ')
    body, given = physics(text, SKIP, "c"), situations(ANT)
    after = jax.jit(jax.vmap(body.step))(state_of(body, given), jnp.asarray(given[3], jnp.float32))
    cold = (*given[:2], np.zeros_like(given[2]), given[3])
    want, other = (mj_steps(body.model, x)[1].astype(np.float32) for x in (given, cold))
    np.testing.assert_array_equal(after.qvel, want)
    assert (other != want).any()


# After a step of 5 substeps, at speeds of 10 (metres or radians per second): measured over 64
# states with contacts, in absolute terms (qpos, qvel, warmstart, torso). Rounding float32 in C
# alone costs 6e-8 in qpos. MJX's own frames for capsules miss the Ant's median qvel by 0.1.
MEDIAN = (1e-6, 1e-4, 1e-2, 1e-6)
WORST = (1e-4, 1e-2, 1.0, 1e-5)


@pytest.mark.parametrize("robot", [pytest.param(ANT, marks=pytest.mark.slow), HALF_CHEETAH])
def test_a_step_of_mjx_is_mj_steps_with_the_same_iterations(robot):
    """The Ant's Runge-Kutta compiles for a minute; a step of Euler's is in test_contacts.py."""
    given = situations(robot)
    after, _ = step_of(robot, "mjx", given)
    for got, want, median, worst in zip(
        after, mj_steps(hasty(robot), given), MEDIAN, WORST, strict=False
    ):
        error = np.abs(got - want).max(1)
        assert np.median(error) < median and error.max() < worst
    assert not after.bad.any()


def hasty(robot):
    """Return the model with MJX's number of iterations."""
    from envs.locomotion.mjx_physics import ITERATIONS, LS_ITERATIONS

    model = mujoco.MjModel.from_xml_string(xml(robot))
    model.opt.iterations, model.opt.ls_iterations = ITERATIONS, LS_ITERATIONS
    return model


def hasty_euler(robot):
    """Return that model with the integrator that MJX compiles in seconds."""
    model = hasty(robot)
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
    return model


@pytest.mark.parametrize("robot, worst", [(ANT, 0.05), (HALF_CHEETAH, 1e-9), (HUMANOID, 0.01)])
def test_mjxs_iterations_are_enough(robot, worst):
    """Velocities err by 0.1 % of the speed at most in nine of ten cases, in C and float64."""
    given = situations(robot, 60)
    model = mujoco.MjModel.from_xml_string(xml(robot))
    want, got = mj_steps(model, given)[1], mj_steps(hasty(robot), given)[1]
    error = np.abs(got - want).max(1) / np.abs(want).max(1)
    assert np.quantile(error, 0.9) < 1e-3 and error.max() < worst


@pytest.mark.parametrize(
    "robot, backend",
    [
        (ANT, "c"),
        (HALF_CHEETAH, "c"),
        (HALF_CHEETAH, "mjx"),
        pytest.param(ANT, "mjx", marks=pytest.mark.slow),  # its Runge-Kutta compiles long
    ],
)
def test_a_diverged_robot_stays_where_it_was_and_says_so(robot, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo notes divergences in MUJOCO_LOG.TXT
    good = situations(robot)
    given = [x.copy() for x in good]
    given[1][2] = 1e9  # velocities
    given[3][5, 0] = np.nan  # a control
    given[3][6, 0] = -np.inf
    after, before = step_of(robot, backend, given)
    healthy, _ = step_of(robot, backend, good)
    assert after.bad.tolist() == [i in (2, 5, 6) for i in range(8)]
    for got, was, well in zip(after[:4], before, healthy, strict=False):
        np.testing.assert_array_equal(got[after.bad], np.asarray(was)[after.bad])
        np.testing.assert_array_equal(got[~after.bad], well[~after.bad])
        assert np.isfinite(got).all()


@pytest.mark.parametrize("robot, backend", [(ANT, "c"), (HALF_CHEETAH, "c"), (HALF_CHEETAH, "mjx")])
def test_the_same_step_twice_gives_the_same_bits(robot, backend):
    given = situations(robot)
    chex.assert_trees_all_equal(*(step_of(robot, backend, given)[0] for _ in range(2)))


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_bits_in_c_depend_neither_on_threads_nor_on_neighbours(robot, threads, monkeypatch):
    monkeypatch.setattr(c_physics, "cores", lambda: threads)
    given = situations(robot)
    together, before = step_of(robot, "c", given)
    body = physics(xml(robot), SKIP, "c")
    step, ctrl = jax.jit(jax.vmap(body.step)), jnp.asarray(given[3], jnp.float32)
    for few in (slice(0, 1), slice(1, 4), slice(0, 8)):
        of = lambda x, few=few: x[few]
        chex.assert_trees_all_equal(
            jax.device_get(step(jax.tree.map(of, before), ctrl[few])), jax.tree.map(of, together)
        )
    alone = jax.jit(body.step)(jax.tree.map(lambda x: x[3], before), ctrl[3])
    chex.assert_trees_all_equal(jax.device_get(alone), jax.tree.map(lambda x: x[3], together))


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_robot_begins_with_unit_quaternions_and_its_torso_in_place(robot):
    body = physics(xml(robot), SKIP, "c")
    data = mujoco.MjData(body.model)
    rng = np.random.default_rng(0)
    qpos = body.model.qpos0 + rng.uniform(-0.3, 0.3, (8, body.model.nq))
    state = jax.vmap(body.begin)(jnp.asarray(qpos, jnp.float32), jnp.zeros((8, body.model.nv)))
    for i in range(8):
        mujoco.mj_normalizeQuat(body.model, qpos[i])
        data.qpos = qpos[i]
        mujoco.mj_forward(body.model, data)
        np.testing.assert_allclose(state.qpos[i], qpos[i], atol=1e-6)
        np.testing.assert_allclose(state.torso[i], data.xpos[1], atol=1e-6)
    assert not state.bad.any() and not state.warmstart.any()
    assert body.dt == pytest.approx(0.05)


def test_the_torso_must_not_swing():
    swinging = xml(HALF_CHEETAH).replace('name="root_y"', 'name="root_y" pos="0 0 1"')
    with pytest.raises(ConfigError, match="first body must slide and turn about its own origin"):
        physics(swinging, SKIP, "c")


LONG = """
import jax
jax.config.update("jax_num_cpu_devices", 2)
import threading
import jax.numpy as jnp
import numpy as np
from envs.locomotion.physics import physics
from envs.locomotion.robot_models import HALF_CHEETAH, xml

robot = physics(xml(HALF_CHEETAH), 5)  # before JAX's first use: it arranges for callbacks

def rollout(key):
    noise = jax.random.uniform(key, (200, 9), minval=-1, maxval=1)
    step = lambda state, u: (robot.step(state, u[:6]), None)
    return jax.lax.scan(step, robot.begin(0.1 * noise[0], noise[1]), noise)[0]

keys = jax.random.split(jax.random.key(0), (2, 16))
rollouts = jax.jit(jax.vmap(jax.vmap(rollout)))
alone = jax.device_get(rollouts(keys))
assert robot.backend == "c" and not alone.bad.any() and np.isfinite(alone.qpos).all()

spec = jax.sharding.PartitionSpec("seeds")
mesh = jax.make_mesh((2,), ("seeds",), (jax.sharding.AxisType.Auto,))
spread = jax.jit(jax.shard_map(
    jax.vmap(jax.vmap(rollout)), mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
))
results = [jax.device_get(spread(keys))]
on = lambda device: results.append(jax.device_get(rollouts(jax.device_put(keys, device))))
threads = [threading.Thread(target=on, args=(device,)) for device in jax.devices()]
for act in ("start", "join"):
    for thread in threads:
        getattr(thread, act)()
assert len(results) == 3
for result in results:
    assert all(np.array_equal(a, b) for a, b in zip(alone, result, strict=True))
"""


def test_long_rollouts_in_c_end_also_on_two_devices_and_in_two_threads_at_once():
    """Callbacks that wait for each other would hang; the same robots give the same bits."""
    subprocess.run([sys.executable, "-c", LONG], env=ENVIRONMENT, check=True, timeout=240)


def test_a_physics_may_be_first_used_while_something_is_traced():
    """MJX's arrays are made then; a second program must not meet the first one's tracers."""
    body = physics(xml(HALF_CHEETAH), SKIP, "mjx")
    zeros = jnp.zeros(9)
    one = lambda ctrl: body.step(body.begin(zeros, zeros), ctrl).qpos
    shapes = [jax.eval_shape(jax.vmap(one), jnp.zeros((n, 6))) for n in (2, 3)]
    assert [x.shape for x in shapes] == [(2, 9), (3, 9)]


def test_the_backend_is_checked_and_follows_the_device(monkeypatch):
    with pytest.raises(ConfigError, match="physics = 'bullet': must be one of auto, c, mjx, warp"):
        physics(xml(ANT), SKIP, "bullet")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="warp-lang, which is not installed"):
        physics(xml(ANT), SKIP, "warp")
    assert physics(xml(ANT), SKIP).backend == "c"
    assert physics(xml(ANT), SKIP, "mjx").backend == "mjx"
    on_gpu = physics(xml(ANT), SKIP)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert on_gpu.backend == "mjx"


def test_c_is_refused_where_callbacks_could_hang(monkeypatch):
    jax.devices()  # too late for another kind of dispatch
    name = "jax_cpu_enable_async_dispatch"
    jax.config.update(name, True)
    try:
        for backend in ("c", "auto"):
            with pytest.raises(ConfigError, match="before anything else uses JAX"):
                physics(xml(ANT), SKIP, backend)
        physics(xml(ANT), SKIP, "mjx")
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        physics(xml(ANT), SKIP, "auto")
    finally:
        jax.config.update(name, False)


CAPSULES = """
<mujoco>
  <default><geom size="0.1 0.3" margin="50" conaffinity="0"/></default>
  <worldbody>
    <geom type="plane" size="9 9 9" conaffinity="1"/>
    <geom type="plane" size="9 9 9" conaffinity="1" euler="20 10 0"/>
    {}
  </worldbody>
</mujoco>
"""
CAPSULE = '<body pos="0 0 3"><freejoint/><geom type="capsule" euler="{} {} 40"/></body>'
TILTS = [(0, 0), (3, 0), (-10, 5), (0, 29), (25, 25), (40, 0), (0, 60), (90, 0), (170, 10)]


def contact_frames():
    """Return the frames of capsules on planes in C and in MJX, both [contacts, 3, 3]."""
    from mujoco import mjx

    model = mujoco.MjModel.from_xml_string(
        CAPSULES.format("".join(CAPSULE.format(*tilt) for tilt in TILTS))
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    on_device, nothing = mjx.put_model(model, impl="jax"), mjx.make_data(model, impl="jax")
    collide = lambda qpos: mjx.collision(
        on_device, mjx.kinematics(on_device, nothing.replace(qpos=qpos))
    )
    contact = jax.jit(collide)(jnp.asarray(model.qpos0, jnp.float32))._impl.contact
    order = lambda geom: np.lexsort(np.transpose(geom)[::-1])
    in_c = data.contact.frame.reshape(-1, 3, 3)[order(data.contact.geom)]
    return in_c, np.asarray(contact.frame)[order(contact.geom)]


def test_capsules_touch_planes_in_the_same_frames_as_in_c():
    from envs.locomotion.mjx_physics import patched_collisions

    with patched_collisions():
        in_c, in_mjx = contact_frames()
    assert len(in_c) == 2 * 2 * len(TILTS)
    np.testing.assert_allclose(in_mjx, in_c, atol=1e-5)


def test_mjx_still_needs_correcting():
    """Where this fails, mujoco-mjx has been corrected and `patched_collisions` can go."""
    in_c, in_mjx = contact_frames()
    off = np.abs(in_mjx - in_c).max((1, 2)) > 0.1
    assert off.any() and not off.all()


NUMERICS = """
<custom>
  <numeric name="init_qpos" data="0 0 0"/>
  <numeric name="max_contact_points" data="8"/>
</custom>
"""


def test_numerics_take_no_contacts_away():
    """mujoco-mjx 3.17 reads the first numbers of all: here 0 for the most contacts."""
    from mujoco.mjx._src.collision_driver import make_condim

    text = xml(ANT).replace("<worldbody>", NUMERICS + "<worldbody>")
    assert len(make_condim(mujoco.MjModel.from_xml_string(text))) == 0  # else it was corrected
    body = physics(text, SKIP, "mjx")
    assert body.model.nnumeric == 0
    assert len(make_condim(body.model)) == len(make_condim(copy.copy(compiled(ANT, "c")[0].model)))


@pytest.mark.slow
@pytest.mark.parametrize("robot", ROBOTS)
def test_mjx_follows_c_until_chaos_takes_over(robot):
    """The median distance of 32 robots over ten steps; the Ant's grows fast, as it does in C."""
    bodies = [physics(xml(robot), SKIP, backend) for backend in ("c", "mjx")]
    rng = np.random.default_rng(1)
    model = bodies[0].model
    qpos = jnp.asarray(model.qpos0 + rng.uniform(-0.1, 0.1, (32, model.nq)), jnp.float32)
    qvel = jnp.asarray(0.1 * rng.normal(size=(32, model.nv)), jnp.float32)
    ctrls = jnp.asarray(rng.uniform(-1, 1, (32, 10, model.nu)), jnp.float32)

    def rollout(body, qpos, qvel, ctrls):
        step = lambda state, ctrl: (body.step(state, ctrl),) * 2
        return jax.lax.scan(step, body.begin(qpos, qvel), ctrls)[1].qpos

    c, mjx = (jax.jit(jax.vmap(functools.partial(rollout, b)))(qpos, qvel, ctrls) for b in bodies)
    apart = np.median(np.abs(np.asarray(c) - np.asarray(mjx)).max(-1), axis=0)
    assert apart[0] < 1e-6 and apart[4] < 1e-4 and apart[9] < 1e-2
