"""Contact forces against `mj_rnePostConstraint` in float64, and what they cost."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.locomotion.ant import AntDirection, AntDirectionContact, AntGoal, AntGoalContact
from envs.locomotion.physics import physics
from envs.locomotion.robot_models import ANT, xml
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from tests.envs.locomotion.test_physics import MEDIAN, SKIP, hasty_euler, mj_steps, situations

COUNT = 32  # situations
EULER = xml(ANT).replace('integrator="RK4"', "")  # a quarter of the passes that MJX compiles
PAIRS = [(AntDirection, AntDirectionContact), (AntGoal, AntGoalContact)]


@functools.cache
def made(family):
    return family("c")


@functools.cache
def stepped(backend: str, forces: bool):
    """Return the states [32] after a step from recorded situations, and what it began from."""
    text = xml(ANT) if backend == "c" else EULER
    body = physics(text, SKIP, backend, forces)
    qpos, qvel, warmstart, ctrl = (jnp.asarray(x, jnp.float32) for x in situations(ANT, COUNT))
    before = jax.vmap(body.begin)(qpos, qvel)._replace(warmstart=warmstart)
    return jax.jit(jax.vmap(body.step))(before, ctrl), given(before, ctrl)


def given(states, ctrl):
    """Return (qpos, qvel, warmstart, ctrl) as MuJoCo takes them."""
    parts = (states.qpos, states.qvel, states.warmstart, ctrl)
    return [np.asarray(x, float) for x in parts]


def forces_in(model, qpos, qvel, warmstart, ctrl):
    """Return cfrc_ext [84] of a state under controls."""
    data = mujoco.MjData(model)
    data.qpos, data.qvel, data.qacc_warmstart, data.ctrl = qpos, qvel, warmstart, ctrl
    mujoco.mj_forward(model, data)
    mujoco.mj_rnePostConstraint(model, data)
    return data.cfrc_ext.ravel()


def test_cs_forces_are_those_of_mujocos_own_loop_to_the_bit():
    after, begun = stepped("c", True)
    model = mujoco.MjModel.from_xml_string(xml(ANT))
    for i, (qpos, qvel, warmstart, ctrl) in enumerate(zip(*begun, strict=True)):
        data = mujoco.MjData(model)
        data.qpos, data.qvel, data.qacc_warmstart, data.ctrl = qpos, qvel, warmstart, ctrl
        mujoco.mj_step(model, data, SKIP)
        reached = data.qpos, data.qvel, data.qacc_warmstart, data.ctrl
        want = forces_in(model, *(x.copy() for x in reached))
        np.testing.assert_array_equal(after.forces[i], want.astype(np.float32))
    felt = np.abs(after.forces).max(1)
    assert (felt > 1).sum() >= 8  # a good part touches the floor, and hard


@pytest.mark.slow
def test_mjxs_forces_are_cs_in_the_same_state():
    """Relative errors of forces; MJX's contact frames, uncorrected, miss by tenths."""
    after, (_, _, _, ctrl) = stepped("mjx", True)
    reached = zip(*given(after, ctrl), strict=True)
    want = np.stack([forces_in(hasty_euler(ANT), *state) for state in reached])
    size = np.abs(want).max(1)
    touching = size > 0
    error = np.abs(after.forces - want).max(1)[touching] / size[touching]
    assert np.median(error) < 1e-5 and error.max() < 1e-3
    assert not after.forces[~touching].any() and touching.sum() >= 8


def test_what_moves_is_the_same_with_and_without():
    after, _ = stepped("c", True)
    plain, _ = stepped("c", False)
    assert plain.forces is None
    for name in ("qpos", "qvel", "warmstart", "torso", "bad"):
        np.testing.assert_array_equal(getattr(after, name), getattr(plain, name))
    in_mjx, _ = stepped("mjx", True)
    want = mj_steps(hasty_euler(ANT), situations(ANT, COUNT))
    for got, known, median in zip(in_mjx, want, MEDIAN, strict=False):
        assert np.median(np.abs(got - known).max(1)) < median


def test_a_diverged_robot_keeps_the_forces_from_before():
    body = physics(xml(ANT), SKIP, "c", True)
    state = body.begin(jnp.asarray(body.model.qpos0, jnp.float32), jnp.zeros(14))
    state = state._replace(forces=jnp.arange(84.0))
    after = jax.jit(body.step)(state, jnp.full(8, jnp.nan))
    assert bool(after.bad)
    np.testing.assert_array_equal(after.forces, state.forces)


def test_nothing_touches_the_floor_at_a_reset():
    """So that the forces are known to be zero there."""
    env = made(AntGoalContact)
    keys = jax.random.split(jax.random.key(0), 500)
    states, obs = jax.jit(jax.vmap(lambda key: env.reset(key, jnp.zeros(2))))(keys)
    model, data = env.physics.model, mujoco.MjData(env.physics.model)
    for qpos in np.asarray(states.qpos):
        data.qpos = qpos
        mujoco.mj_forward(model, data)
        assert data.ncon == 0
    assert not states.forces.any() and not obs[:, 29:].any()


def played(family, task, steps=20):
    """Return states, steps of a random episode that falls to the floor, by time."""
    env = made(family)
    state, _ = env.reset(jax.random.key(3), task)
    step = jax.jit(env.step)
    found = []
    for action in np.random.default_rng(0).normal(size=(steps, 8)).astype(np.float32):
        state, taken = step(None, state, action, task)
        found.append((state, taken))
    return jax.tree.map(lambda *xs: np.stack(xs), *found)


@pytest.mark.parametrize(("plain", "contact"), PAIRS)
def test_contacts_cost_and_goals_are_walked_to_with_them_in_sight(plain, contact):
    task = made(plain).eval_tasks("train")[1]
    states, steps = played(contact, task)
    _, free = played(plain, task)
    forces = np.clip(states.forces.astype(float), -1, 1)
    cost = 0.0005 * (forces**2).sum(1)
    np.testing.assert_allclose(free.reward - steps.reward, cost, atol=2e-6)
    assert cost.max() > 1e-3
    seen = [free.obs, forces] if contact is AntGoalContact else [free.obs]
    np.testing.assert_allclose(steps.obs, np.concatenate(seen, 1), rtol=1e-6)
    assert made(contact).obs_space.shape == steps.obs.shape[1:]
    assert len(made(contact).obs_names) == steps.obs.shape[1]


def test_warp_has_no_contact_forces():
    with pytest.raises(ConfigError, match="physics = 'warp': has no contact forces"):
        physics(xml(ANT), SKIP, "warp", True)


@pytest.mark.parametrize("name", ["ant-direction", "ant-goal", "humanoid-direction"])
def test_contact_tasks_have_the_same_settings(name):
    plain, contact = (Run(env=n, method="ldm").fields() for n in (name, f"{name}-contact"))
    assert {k for k in plain if plain[k] != contact[k]} == {"env"}
