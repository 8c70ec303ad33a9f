"""Families near the LDM paper's: their rewards in NumPy, their distributions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from envs import RELATIVES
from envs.locomotion.ant import ant_direction_2, ant_goal_uniform
from envs.locomotion.half_cheetah import (
    half_cheetah_direction,
    half_cheetah_velocity_hard,
    half_cheetah_velocity_medium,
)
from jaxmeta.config.run import Run
from tests.envs.locomotion.test_tasks import Recorded, radius_law

SPLITS = ("train", "test", "oracle")


@functools.cache
def made(maker):
    return maker("c")


def draw(maker, split, count=2000):
    """Return many tasks of a split."""
    keys = jax.random.split(jax.random.key(2), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: made(maker).sample_task(key, split)))(keys))


@pytest.mark.parametrize("direction", [-1, 1])
def test_the_cheetah_is_rewarded_by_its_velocity_in_the_direction(direction):
    env = made(half_cheetah_direction)
    seen = Recorded(env, jnp.float32(direction), size=2.0)
    velocity = np.diff(seen.qpos[:, 0]) / 0.05
    expected = direction * velocity - 0.05 * (seen.action**2).sum(1)
    np.testing.assert_allclose(seen.reward, expected, atol=1e-4)
    assert np.abs(velocity).max() > 0.1
    assert env.obs_space.shape == (20,)
    assert env.marker_position(direction, 2.0) == (6.0 * direction, 0.0)


@pytest.mark.parametrize("degrees", [0, 180])
def test_the_ant_is_rewarded_by_its_velocity_forward_or_backward(degrees):
    env = made(ant_direction_2)
    task = env.eval_tasks("train")[degrees // 180]
    seen = Recorded(env, task)
    velocity = np.diff(seen.torso[:, 0]) / 0.05 * (1 if degrees == 0 else -1)
    expected = velocity - 0.5 * (seen.action**2).sum(1) + 1.0
    np.testing.assert_allclose(seen.reward, expected, atol=2e-4)


@pytest.mark.parametrize("split", SPLITS)
def test_two_directions_are_in_every_split(split):
    for maker, both in ((half_cheetah_direction, [-1, 1]), (ant_direction_2, [0, np.pi])):
        drawn, times = np.unique(draw(maker, split), return_counts=True)
        np.testing.assert_allclose(drawn, both, rtol=1e-6)
        assert np.abs(times - 1000).max() < 4.5 * np.sqrt(500)
        if split != "oracle":
            np.testing.assert_array_equal(made(maker).eval_tasks(split), drawn)


@pytest.mark.parametrize("split", SPLITS)
def test_goals_are_uniform_over_the_whole_disc_in_every_split(split):
    goals = draw(ant_goal_uniform, split)
    radius, angle = np.linalg.norm(goals, axis=1), np.arctan2(goals[:, 1], goals[:, 0])
    assert kstest(radius, lambda r: radius_law(r, (0, 3))).pvalue > 1e-3
    assert kstest(angle, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3


def test_evaluation_goals_cover_the_disc():
    env = made(ant_goal_uniform)
    for split, count in (("train", 6), ("test", 30)):
        goals = np.asarray(env.eval_tasks(split))
        assert goals.shape == (count, 2)
        radius = np.linalg.norm(goals, axis=1)
        assert kstest(radius, lambda r: radius_law(r, (0, 3))).statistic < 0.6 / count
        apart = np.linalg.norm(goals[:, None] - goals, axis=-1) + 9 * np.eye(count)
        assert apart.min() > 3 / np.sqrt(count)  # a square of the same area per goal: 5.3


@pytest.mark.parametrize(
    ("maker", "fastest"), [(half_cheetah_velocity_medium, 2.5), (half_cheetah_velocity_hard, 1.5)]
)
def test_test_velocities_lie_beyond_the_training_ones(maker, fastest):
    ranges = {"train": (0, fastest), "test": (2.5, 3), "oracle": (0, 3)}
    for split, (low, high) in ranges.items():
        drawn = draw(maker, split)
        assert kstest(drawn, "uniform", args=(low, high - low)).pvalue > 1e-3
        if split != "oracle":
            evaluated = np.asarray(made(maker).eval_tasks(split))
            assert len(evaluated) == {"train": 6, "test": 10}[split]
            assert low < evaluated.min() and evaluated.max() < high
    assert draw(maker, "train").max() <= fastest <= 2.5 <= draw(maker, "test").min()


def test_relatives_are_set_as_the_environment_that_they_are_near():
    for near, relatives in RELATIVES.items():
        for name in relatives:
            plain, own = (Run(env=env, method="ldm").fields() for env in (near, name))
            assert {k for k in plain if plain[k] != own[k]} == {"env"}
