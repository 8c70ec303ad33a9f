"""The humanoid against MuJoCo in C and plain formulas, both in float64."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy.stats import kstest

from envs.locomotion.humanoid import humanoid_direction, humanoid_direction_contact
from envs.locomotion.physics import physics
from envs.locomotion.robot import RobotTransition
from envs.locomotion.robot_models import HUMANOID, xml
from tests.envs.locomotion.test_physics import (
    MEDIAN,
    SKIP,
    WORST,
    hasty_euler,
    mj_steps,
    situations,
    state_of,
)
from tests.envs.locomotion.test_tasks import Recorded

ANGLE = 2.0  # radians


@functools.cache
def made(maker=humanoid_direction):
    return maker("c")


@functools.cache
def recorded():
    """Return a short episode of actions that are often out of range."""
    return Recorded(made(), jnp.float32(ANGLE))


@functools.cache
def program(maker=humanoid_direction):
    return jax.jit(made(maker).step)


def stepped(state, action, maker=humanoid_direction):
    """Return what a step returns, all actions alike."""
    noise, task = jax.random.key(0), jnp.float32(ANGLE)
    return program(maker)(noise, state, jnp.full(17, action, jnp.float32), task)


def in_c(qpos, qvel, ctrl=0.0):
    """Return MuJoCo's data of a state in float64."""
    data = mujoco.MjData(made().physics.model)
    data.qpos, data.qvel, data.ctrl = qpos, qvel, ctrl
    mujoco.mj_forward(made().physics.model, data)
    return data


def centre(data):
    """Return the centre of mass from all bodies' own, [3]."""
    mass = made().physics.model.body_mass[:, None]
    return (mass * data.xipos).sum(0) / mass.sum()


def test_inertias_velocities_and_the_mass_centre_are_mujocos():
    rng, model = np.random.default_rng(0), made().physics.model
    qpos = model.qpos0 + rng.uniform(-1.5, 1.5, (32, model.nq))
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    qvel = 5 * rng.normal(size=(32, model.nv))
    given = [x.astype(np.float32) for x in (qpos, qvel)]
    got = jax.jit(jax.vmap(made().bodies))(*given)
    for i, data in enumerate(map(in_c, *given)):
        want = centre(data), data.cinert[1:], data.cvel[1:]
        for ours, theirs in zip(got, want, strict=True):
            np.testing.assert_allclose(ours[i], theirs, atol=1e-6 * np.abs(theirs).max())


def test_the_humanoid_sees_its_bodies_and_its_motors():
    env, seen = made(), recorded()
    ctrl = np.concatenate([np.zeros((1, 17)), 0.4 * seen.action])
    want = []
    for given in zip(seen.qpos, seen.qvel, ctrl, strict=True):
        data = in_c(*given)
        assert not data.cinert[0].any() and not data.cvel[0].any()  # what is left out
        assert not data.qfrc_actuator[:6].any()
        bodies = data.cinert[1:].ravel(), data.cvel[1:].ravel()
        want.append(np.concatenate([given[0][2:], given[1], *bodies, data.qfrc_actuator[6:]]))
    np.testing.assert_allclose(seen.obs, want, rtol=1e-5, atol=2e-5)
    assert np.abs(seen.obs[1:, -17:]).max() == pytest.approx(0.4 * 300)
    assert not seen.obs[0, -17:].any() and np.abs(seen.action).max() > 1
    assert env.obs_space.shape == (270,) and len(set(env.obs_names)) == 270


def test_the_humanoid_is_rewarded_by_its_mass_centres_velocity_and_for_standing():
    seen = recorded()
    pairs = zip(seen.qpos, seen.qvel, strict=True)
    centres = np.array([centre(in_c(*pair))[:2] for pair in pairs])
    for i, action in enumerate(seen.action):
        way = centres[i + 1] - centres[i]
        towards = way[0] * np.cos(ANGLE) + way[1] * np.sin(ANGLE)
        cost = 0.1 * sum((0.4 * a) ** 2 for a in action)
        assert seen.reward[i] == pytest.approx(0.25 * towards / 0.003 - cost + 5, abs=2e-4)
    assert made().dt == pytest.approx(0.015)


def test_contacts_are_seen_and_cost():
    """Of a humanoid that stands a little in the floor."""
    env = made(humanoid_direction_contact)
    qpos, qvel = env.qpos0.at[2].add(-0.11), jnp.zeros(23)
    _, plain = stepped(made().physics.begin(qpos, qvel), 1.0)
    state = env.physics.begin(qpos, qvel)
    after, contact = stepped(state, 1.0, humanoid_direction_contact)
    np.testing.assert_array_equal(contact.obs, jnp.concatenate([plain.obs, after.forces[6:]]))
    cost = 5e-7 * (np.asarray(after.forces, float) ** 2).sum()
    assert 0.1 < cost < 10 and float(plain.reward - contact.reward) == pytest.approx(cost, 1e-4)
    assert env.obs_space.shape == (348,) and len(set(env.obs_names)) == 348

    hit = state._replace(forces=jnp.full_like(state.forces, 1e4))
    rewards = [
        env.compute_reward(RobotTransition(state, x, jnp.zeros(17)), jnp.zeros(()))
        for x in (state, hit)
    ]
    assert [float(x) for x in rewards] == [5, 5 - 10]


@pytest.mark.parametrize(
    ("height", "fell"), [(0.99, True), (1.01, False), (1.99, False), (2.01, True)]
)
def test_a_torso_too_low_or_too_high_is_a_fall(height, fell):
    state = recorded().states[0]
    assert bool(made().is_terminal(state._replace(qpos=state.qpos.at[2].set(height)))) == fell


def test_a_step_that_is_not_taken_shows_where_it_began_without_torques():
    _, step = stepped(recorded().states[5], jnp.nan)
    assert bool(step.bad) and bool(step.last) and float(step.reward) == 0
    assert np.isfinite(np.asarray(step.obs)).all() and not step.obs[-17:].any()


def test_resets_are_nearly_still_and_touch_nothing():
    """So that contact forces are known to be zero there."""
    env = made()
    reset = jax.jit(jax.vmap(lambda key: env.reset(key, jnp.zeros(()))[0]))
    states = reset(jax.random.split(jax.random.key(0), 500))
    noise = np.asarray(states.qpos) - np.asarray(env.qpos0)
    for x in (noise[:, :3], noise[:, 7:], np.asarray(states.qvel)):
        assert kstest(x.ravel(), "uniform", args=(-0.01, 0.02)).pvalue > 1e-3
    assert 0.005 < np.abs(noise[:, 4:7]).max() < 0.011
    assert not any(in_c(*given).ncon for given in zip(states.qpos[:100], states.qvel, strict=False))


@pytest.mark.parametrize("split", ["train", "test", "oracle"])
def test_directions_are_uniform_in_every_split(split):
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.jit(jax.vmap(lambda key: made().sample_task(key, split)))(keys)
    assert kstest(np.asarray(drawn), "uniform", args=(0, 2 * np.pi)).pvalue > 1e-3
    assert made().marker_position(np.pi / 2, 1.0) == pytest.approx((0, 3))
    if split != "oracle":
        count = {"train": 6, "test": 30}[split]
        evenly = (np.arange(count) + 0.5) * 2 * np.pi / count
        np.testing.assert_allclose(made().eval_tasks(split), evenly, rtol=1e-5)


@pytest.mark.slow
def test_a_step_of_mjx_is_mj_steps():
    given = situations(HUMANOID)
    body = physics(xml(HUMANOID).replace(' integrator="RK4"', ""), SKIP, "mjx")
    ctrl = jnp.asarray(given[3], jnp.float32)
    after = jax.jit(jax.vmap(body.step))(state_of(body, given), ctrl)
    model = hasty_euler(HUMANOID)
    for got, known, median, worst in zip(
        after, mj_steps(model, given), MEDIAN, WORST, strict=False
    ):
        error = np.abs(got - known).max(1)
        assert np.median(error) < median and error.max() < worst
    assert not after.bad.any()
