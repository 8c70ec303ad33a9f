"""Ant and HalfCheetah tasks against plain formulas on recorded states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from envs.locomotion.ant import AntDirection, AntGoal
from envs.locomotion.half_cheetah import HalfCheetahVelocity
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.trial import trial

FAMILIES = (HalfCheetahVelocity, AntDirection, AntGoal)
STEPS = 12


@functools.cache
def made(family):
    """Return a family on C MuJoCo."""
    return family("c")


class Recorded:
    """A short episode of random actions, in NumPy float64: states before and after each step."""

    def __init__(self, env, task, size=1.0):
        rng = np.random.default_rng(0)
        self.action = size * rng.normal(size=(STEPS, *env.action_space.shape))
        state, self.first = env.reset(jax.random.key(1), task)
        step = jax.jit(env.step)
        self.states, self.steps = [state], []
        for a in self.action:
            state, taken = step(
                env.draw(jax.random.key(0)), state, jnp.asarray(a, jnp.float32), task
            )
            self.states.append(state)
            self.steps.append(taken)
        pick = lambda name: np.array([getattr(s, name) for s in self.states], float)
        self.qpos, self.qvel, self.torso = pick("qpos"), pick("qvel"), pick("torso")
        self.reward = np.array([s.reward for s in self.steps], float)
        self.obs = np.array([self.first, *(s.obs for s in self.steps)], float)


@pytest.mark.parametrize("target", [0.25, 3.25])
def test_the_cheetah_is_rewarded_by_its_velocity(target):
    env = made(HalfCheetahVelocity)
    seen = Recorded(env, jnp.float32(target), size=2.0)  # raw actions beyond 1 cost, too
    velocity = np.diff(seen.qpos[:, 0]) / 0.05
    expected = -np.abs(velocity - target) - 0.05 * (seen.action**2).sum(1)
    np.testing.assert_allclose(seen.reward, expected, atol=1e-4)
    assert np.abs(velocity).max() > 0.1
    assert np.abs(seen.action).max() > 1


def test_the_cheetah_sees_positions_velocities_and_its_torso():
    env = made(HalfCheetahVelocity)
    seen = Recorded(env, jnp.float32(1.0))
    expected = np.concatenate([seen.qpos[:, 1:], seen.qvel, seen.torso], axis=1)
    np.testing.assert_array_equal(seen.obs, expected)
    assert env.obs_space.shape == (20,)
    # The torso is where the state before the last of five substeps was.
    lag = seen.qpos[1:, 0] - seen.torso[1:, 0]
    assert 0 < np.abs(lag).max() < np.abs(np.diff(seen.qpos[:, 0])).max()


@pytest.mark.parametrize("degrees", [0, 90, 135])
def test_the_ant_is_rewarded_by_its_velocity_in_the_direction(degrees):
    env = made(AntDirection)
    angle = np.deg2rad(degrees)
    seen = Recorded(env, jnp.float32(angle))
    velocity = np.diff(seen.torso[:, :2], axis=0) / 0.05
    towards = velocity @ np.array([np.cos(angle), np.sin(angle)])
    expected = towards - 0.5 * (seen.action**2).sum(1) + 1.0
    np.testing.assert_allclose(seen.reward, expected, atol=2e-4)
    np.testing.assert_array_equal(seen.obs, np.concatenate([seen.qpos[:, 2:], seen.qvel], axis=1))
    assert env.obs_space.shape == (27,)


def test_the_ant_is_rewarded_by_its_distance_to_the_goal():
    env = made(AntGoal)
    goal = np.array([-1.5, 0.75])
    seen = Recorded(env, jnp.asarray(goal, jnp.float32))
    distance = np.abs(seen.torso[1:, :2] - goal).sum(1)
    expected = -distance - 0.1 * (seen.action**2).sum(1)
    np.testing.assert_allclose(seen.reward, expected, atol=1e-4)
    np.testing.assert_array_equal(seen.obs, np.concatenate([seen.qpos, seen.qvel], axis=1))
    assert env.obs_space.shape == (29,)


@pytest.mark.parametrize("height", [1.3, 0.5])
@pytest.mark.parametrize("family", [AntDirection, AntGoal])
def test_only_an_ant_on_its_way_falls(family, height):
    env = made(family)
    state, _ = env.reset(jax.random.key(0), env.eval_tasks("train")[0])
    state = env.physics.begin(state.qpos.at[2].set(height), jnp.zeros_like(state.qvel))
    _, step = env.step(None, state, jnp.zeros(8), env.eval_tasks("train")[0])
    fell = family is AntDirection and height != 0.5
    assert bool(step.last) == bool(step.over) == fell
    assert float(step.discount) == 1.0 - fell


def test_a_torso_too_low_or_too_high_is_a_fall():
    env = made(AntDirection)
    state, _ = env.reset(jax.random.key(0), env.eval_tasks("train")[0])
    at = lambda height: bool(env.is_terminal(state._replace(qpos=state.qpos.at[2].set(height))))
    assert [at(height) for height in (0.19, 0.21, 0.99, 1.01)] == [True, False, False, True]


def test_a_fall_counts_as_an_episode_of_the_trial():
    env = trial(made(AntDirection), 2)
    task = env.eval_tasks("train")[0]
    state, _ = env.reset(jax.random.key(0), task)
    high = env.env.physics.begin(state.inner.qpos.at[2].set(1.3), jnp.zeros(14))
    noise = env.draw(jax.random.key(0))
    after, step = env.step(noise, state._replace(inner=high), jnp.zeros(8), task)
    assert bool(step.last) and not bool(step.over)
    assert (int(after.episode), int(after.t)) == (1, 0)
    assert float(step.obs[-1]) == 1  # the flag, on the fallen Ant's observation
    assert 0.5 < float(after.inner.qpos[2]) < 1  # after it the next episode has begun
    assert float(step.discount) == 1  # and credit crosses the fall


def test_where_the_simulation_diverges_the_episode_ends_with_reward_0():
    env = made(HalfCheetahVelocity)
    state, _ = env.reset(jax.random.key(0), jnp.float32(1.0))
    _, step = env.step(None, state, jnp.full(6, jnp.nan), jnp.float32(1.0))
    assert bool(step.bad) and bool(step.last)
    assert float(step.reward) == 0
    assert np.isfinite(np.asarray(step.obs)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_resets_are_noisy_around_the_rest_position(family):
    env = made(family)
    task = env.eval_tasks("train")[0]
    states, _ = jax.jit(jax.vmap(lambda key: env.reset(key, task)))(
        jax.random.split(jax.random.key(0), 2000)
    )
    hinges = slice(7, None) if env.robot == "ant" else slice(None)  # quaternions become units
    noise = (np.asarray(states.qpos) - np.asarray(env.qpos0))[:, hinges].ravel()
    assert kstest(noise, "uniform", args=(-0.1, 0.2)).pvalue > 1e-3
    assert kstest(np.asarray(states.qvel).ravel() / 0.1, "norm").pvalue > 1e-3
    if env.robot == "ant":
        np.testing.assert_allclose(np.linalg.norm(states.qpos[:, 3:7], axis=1), 1, rtol=1e-5)


# --- Tasks


def draw(family, split, count=4000):
    """Return many tasks of a split."""
    keys = jax.random.split(jax.random.key(2), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: made(family).sample_task(key, split)))(keys))


def test_training_velocities_are_slow_or_fast_and_test_ones_between():
    train = draw(HalfCheetahVelocity, "train")
    slow = train < 1
    assert abs(slow.mean() - 0.5) < 4.5 * 0.5 / np.sqrt(len(train))
    assert kstest(train[slow], "uniform", args=(0, 0.5)).pvalue > 1e-3
    assert kstest(train[~slow], "uniform", args=(3, 0.5)).pvalue > 1e-3
    assert kstest(draw(HalfCheetahVelocity, "test"), "uniform", args=(0.5, 2.5)).pvalue > 1e-3
    assert kstest(draw(HalfCheetahVelocity, "oracle"), "uniform", args=(0, 3.5)).pvalue > 1e-3


def radius_law(r, *rings):
    """Return the distribution function of a radius that is uniform over the rings' area."""
    area = lambda a, b: np.clip(r, a, b) ** 2 - a**2
    return sum(area(a, b) for a, b in rings) / sum(b**2 - a**2 for a, b in rings)


@pytest.mark.parametrize(
    ("split", "rings"),
    [("train", [(0, 1), (2.5, 3)]), ("test", [(1, 2.5)]), ("oracle", [(0, 3)])],
)
def test_goals_are_uniform_over_the_area(split, rings):
    goals = draw(AntGoal, split)
    radius = np.linalg.norm(goals, axis=1)
    assert kstest(radius, lambda r: radius_law(r, *rings)).pvalue > 1e-3
    assert all(any(a <= r <= b for a, b in rings) for r in radius)
    angle = np.arctan2(goals[:, 1], goals[:, 0])
    assert kstest(angle, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3
    assert abs(np.corrcoef(radius, np.cos(angle))[0, 1]) < 4.5 / np.sqrt(len(goals))


@pytest.mark.parametrize(
    ("split", "degrees"),
    [("train", (0, 90, 180, 270)), ("test", (45, 135, 225, 315))],
)
def test_directions_are_drawn_evenly(split, degrees):
    drawn, times = np.unique(np.round(np.rad2deg(draw(AntDirection, split))), return_counts=True)
    assert tuple(drawn) == degrees
    assert np.abs(times - 1000).max() < 4.5 * np.sqrt(1000)
    both = set(np.round(np.rad2deg(draw(AntDirection, "oracle"))))
    assert both == {0, 45, 90, 135, 180, 225, 270, 315}


def test_evaluation_tasks_are_the_papers():
    near = functools.partial(np.testing.assert_allclose, atol=1e-6)
    near(made(HalfCheetahVelocity).eval_tasks("train"), [0.25, 3.25])
    near(made(HalfCheetahVelocity).eval_tasks("test"), [0.75, 1.25, 1.75, 2.25, 2.75])
    near(np.rad2deg(made(AntDirection).eval_tasks("test")), [45, 135, 225, 315], rtol=1e-5)
    near(made(AntGoal).eval_tasks("test"), [(1.75, 0), (0, 1.75), (-1.75, 0), (0, -1.75)])
    near(np.abs(made(AntGoal).eval_tasks("train")).sum(1), [0.5] * 4 + [2.75] * 4)


# --- Settings (the public code's, by task and method)

CHEETAH, DIRECTION, GOAL = "half-cheetah-velocity", "ant-direction", "ant-goal"
SETTINGS = {
    (CHEETAH, "rl2"): {"ppo.clip": 0.1, "ppo.minibatches": 4, "networks.policy_layers": (128,)},
    (CHEETAH, "ldm"): {
        "frames": 50_000_000,
        "imagination.normal": 12,
        "imagination.mixture": 4,
        "imagination.beta": 1.0,
        "vae.latent": 5,
        "vae.updates": 1,
        "vae.dropout": 0.5,
        "vae.batch": 10,
        "networks.policy_sees_obs": False,
    },
    (CHEETAH, "varibad"): {
        "networks.policy_layers": (128, 128),
        "networks.policy_sees_obs": True,
        "vae.dropout": 0.0,
        "vae.decoder": "single",
    },
    (DIRECTION, "rl2"): {"ppo.clip": 0.05, "networks.policy_sees_obs": True},
    (DIRECTION, "ldm"): {"frames": 200_000_000, "imagination.normal": 14, "vae.updates": 2},
    (GOAL, "rl2"): {"ppo.clip": 0.05, "ppo.minibatches": 1, "networks.policy_sees_obs": False},
    (GOAL, "ldm"): {"imagination.beta": 2.0, "imagination.mixture": 2, "vae.latent": 10},
    (GOAL, "varibad"): {"ppo.minibatches": 4, "vae.latent": 10, "vae.updates": 1},
}
SHARED = {
    "rl": "ppo",
    "workers": 16,
    "trial.episodes": 2,
    "ppo.learning_rate": 7e-4,
    "ppo.gamma": 0.97,
    "ppo.gae_lambda": 0.9,
    "ppo.epochs": 2,
    "ppo.entropy_coef": 0.01,
}


@pytest.mark.parametrize(("env", "method"), SETTINGS)
def test_runs_have_the_public_codes_settings(env, method):
    fields = Run(env=env, method=method).fields()
    expected = SHARED | SETTINGS[env, method]
    assert {name: fields[name] for name in expected} == expected


def test_the_engine_is_chosen_for_robots_only():
    assert Run(env=CHEETAH, method="rl2").replace({"physics": "mjx"}).physics == "mjx"
    with pytest.raises(ConfigError, match="physics = 'c': must be auto; gridworld simulates no"):
        Run(env="gridworld", method="rl2").replace({"physics": "c"})
    with pytest.raises(ConfigError, match="must be one of auto, c, mjx, warp"):
        Run(env=CHEETAH, method="rl2").replace({"physics": "bullet"})
