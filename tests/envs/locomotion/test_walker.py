"""Bodies that differ by task: on both engines what `mj_step` makes of a model of that body."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy.stats import kstest

from envs.locomotion.physics import physics
from envs.locomotion.robot_models import WALKER, xml
from envs.locomotion.walker import Multipliers, walker_random_params
from jaxmeta.errors import ConfigError
from tests.envs.locomotion.test_physics import (
    MEDIAN,
    SKIP,
    WORST,
    hasty_euler,
    situations,
    state_of,
)
from tests.envs.locomotion.test_tasks import Recorded


@functools.cache
def made():
    return walker_random_params("c")


def body_fields(count=8):
    """Return numbers [8, ...] of the model, one row for each of the first test bodies."""
    tasks = jax.tree.map(lambda x: x[:count], made().eval_tasks("test"))
    return jax.vmap(made().model_overrides)(tasks)


def steps_by_body(model, given, fields):
    """Return (qpos, qvel, warmstart, torso) [8, ...] after a step by mj_step of each body."""
    after = []
    for i, (qpos, qvel, warmstart, ctrl) in enumerate(zip(*given, strict=True)):
        for name, values in fields.items():
            getattr(model, name)[:] = np.asarray(values[i])
        data = mujoco.MjData(model)
        data.qpos, data.qvel, data.qacc_warmstart, data.ctrl = qpos, qvel, warmstart, ctrl
        mujoco.mj_step(model, data, SKIP)
        after.append([data.qpos, data.qvel, data.qacc_warmstart, data.xpos[1].copy()])
    return tuple(np.stack(x) for x in zip(*after, strict=True))


def stepped(backend, given, fields, text):
    body = physics(text, SKIP, backend)
    ctrl = jnp.asarray(given[3], jnp.float32)
    return jax.jit(jax.vmap(body.step))(state_of(body, given), ctrl, fields)


def test_a_step_of_c_is_mj_steps_with_that_body_to_the_bit():
    given, fields = situations(WALKER), body_fields()
    after = stepped("c", given, fields, xml(WALKER))
    want = steps_by_body(mujoco.MjModel.from_xml_string(xml(WALKER)), given, fields)
    for got, known in zip(after, want, strict=False):
        np.testing.assert_array_equal(got, known.astype(np.float32))
    assert not after.bad.any()


def test_bodies_do_not_outlive_their_step():
    """The same engine steps robots with bodies of their own, and then the published one."""
    given, body = situations(WALKER), physics(xml(WALKER), SKIP, "c")
    state, ctrl = state_of(body, given), jnp.asarray(given[3], jnp.float32)
    plain, other = jax.jit(jax.vmap(body.step)), jax.jit(jax.vmap(body.step))
    want = plain(state, ctrl)
    changed = other(state, ctrl, body_fields())
    assert (np.asarray(changed.qvel) != want.qvel).any(1).all()
    jax.tree.map(np.testing.assert_array_equal, plain(state, ctrl), want)


def test_a_step_of_mjx_is_mj_steps_with_that_body():
    given, fields = situations(WALKER), body_fields()
    after = stepped("mjx", given, fields, xml(WALKER).replace('integrator="RK4"', ""))
    model = hasty_euler(WALKER)
    want = steps_by_body(model, given, fields)
    for got, known, median, worst in zip(after, want, MEDIAN, WORST, strict=False):
        error = np.abs(got - known).max(1)
        assert np.median(error) < median and error.max() < worst
    assert not after.bad.any()


def test_every_number_has_a_multiplier_of_its_own():
    env = made()
    model, tasks = env.physics.model, env.eval_tasks("oracle")
    for name, base in Multipliers(1.5, 1.5, 1.5, 1.3)._asdict().items():
        factors = np.asarray(getattr(tasks, name))
        assert factors.shape == (50, *getattr(model, name).shape) and factors.dtype == np.float32
        assert kstest(np.log(factors.ravel()) / np.log(base), "uniform", args=(-3, 6)).pvalue > 1e-3
        assert len(np.unique(factors)) > 0.999 * factors.size
        task = jax.tree.map(lambda x: x[7], tasks)
        want = getattr(model, name) * np.asarray(getattr(task, name))
        np.testing.assert_allclose(env.model_overrides(task)[name], want, rtol=1e-6)


def test_bodies_are_fixed_and_those_for_tests_are_others():
    env, again = made(), walker_random_params("c")
    mass = {split: np.asarray(env.eval_tasks(split).body_mass) for split in ("train", "test")}
    assert {split: len(x) for split, x in mass.items()} == {"train": 40, "test": 10}
    assert not set(mass["train"][:, 1]) & set(mass["test"][:, 1])
    for split in mass:
        np.testing.assert_array_equal(mass[split], again.eval_tasks(split).body_mass)
        keys = jax.random.split(jax.random.key(0), 800)
        drawn = jax.jit(jax.vmap(lambda key, s=split: env.sample_task(key, s).body_mass))(keys)
        assert {tuple(row) for row in np.asarray(drawn)} == {tuple(row) for row in mass[split]}


def test_the_walker_is_rewarded_by_its_velocity_and_for_standing():
    env = made()
    seen = Recorded(env, jax.tree.map(lambda x: x[0], env.eval_tasks("train")), size=2.0)
    expected = np.diff(seen.qpos[:, 0]) / 0.01 + 1 - 1e-3 * (seen.action**2).sum(1)
    np.testing.assert_allclose(seen.reward, expected, atol=1e-4)
    clipped = np.clip(seen.qvel, -10, 10)
    np.testing.assert_array_equal(seen.obs, np.concatenate([seen.qpos[:, 1:], clipped], axis=1))
    assert np.abs(seen.qvel).max() > 10 and env.dt == pytest.approx(0.01)
    assert env.obs_space.shape == (17,) and len(env.obs_names) == 17
    other = Recorded(env, jax.tree.map(lambda x: x[1], env.eval_tasks("train")), size=2.0)
    np.testing.assert_array_equal(other.qpos[0], seen.qpos[0])
    assert (other.qpos[1] != seen.qpos[1]).any()


@pytest.mark.parametrize(
    ("height", "tilt", "fell"),
    [(0.79, 0, True), (0.81, 0, False), (1.99, 0, False), (2.01, 0, True),
     (1.2, 1.01, True), (1.2, -1.01, True), (1.2, 0.99, False)],
)  # fmt: skip
def test_a_torso_too_low_too_high_or_tilted_is_a_fall(height, tilt, fell):
    env = made()
    state, _ = env.reset(jax.random.key(0), None)
    at = state.qpos.at[1].set(height).at[2].set(tilt)
    assert bool(env.is_terminal(state._replace(qpos=at))) == fell


def test_resets_are_nearly_still():
    env = made()
    keys = jax.random.split(jax.random.key(0), 500)
    states, _ = jax.jit(jax.vmap(lambda key: env.reset(key, None)))(keys)
    for noise in (np.asarray(states.qpos) - np.asarray(env.qpos0), np.asarray(states.qvel)):
        assert kstest(noise.ravel(), "uniform", args=(-0.005, 0.01)).pvalue > 1e-3


def test_warp_has_one_body_for_all_tasks():
    with pytest.raises(ConfigError, match="physics = 'warp'"):
        walker_random_params("warp")
