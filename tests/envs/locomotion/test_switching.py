"""Tasks that change within an episode are stationary ones, one after another."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from envs.gridworld import gridworld
from envs.locomotion.ant import ant_direction_2, ant_direction_2_switching
from envs.locomotion.half_cheetah import (
    half_cheetah_direction_switching,
    half_cheetah_velocity_hard,
    half_cheetah_velocity_switching,
    half_cheetah_velocity_uniform,
)
from envs.locomotion.multi_task import half_cheetah_multi_task
from envs.switching import fixed_order, switching
from experiments.analysis.robot_motion import robot_of, robot_state_of
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.training.evaluation import evaluation_tasks
from jaxmeta.trial import trial

MAKERS = (
    half_cheetah_velocity_switching,
    half_cheetah_direction_switching,
    ant_direction_2_switching,
)


@functools.cache
def made(maker):
    return maker("c")


def rollout(env, state, task, actions):
    """Return the state after some steps, and the Steps, by one compiled loop."""

    def step(state, action):
        return env.step(env.draw(jax.random.key(0)), state, action, task)

    return jax.jit(lambda state: jax.lax.scan(step, state, actions))(state)


@pytest.mark.parametrize("maker", [half_cheetah_velocity_uniform, ant_direction_2])
def test_a_change_is_two_stationary_rollouts_in_a_row_to_the_bit(maker):
    inner = made(maker)
    env = switching(inner, every=6, segments=2)
    first, second = inner.eval_tasks("train")[:2]
    task = jnp.stack([first, second])
    actions = 0.5 * jax.random.normal(jax.random.key(1), (12, *env.action_space.shape))
    state, obs = env.reset(jax.random.key(2), task)
    after, steps = rollout(env, state, task, actions)
    alone, begun = inner.reset(jax.random.key(2), first)
    np.testing.assert_array_equal(obs, begun)
    alone, before_change = rollout(inner, alone, first, actions[:6])
    alone, after_change = rollout(inner, alone, second, actions[6:])
    glued = jax.tree.map(lambda *xs: np.concatenate(xs), before_change, after_change)
    jax.tree.map(np.testing.assert_array_equal, steps, glued)
    jax.tree.map(np.testing.assert_array_equal, after.inner, alone)
    assert int(after.t) == env.horizon == 12
    kept = rollout(inner, state.inner, first, actions)[1]
    assert (kept.reward[6:] != steps.reward[6:]).all()


@pytest.mark.parametrize("maker", MAKERS)
def test_episodes_are_six_segments_of_a_hundred_steps(maker):
    env = made(maker)
    assert (env.horizon, env.every, env.segments, env.probability) == (600, 100, 6, 0.5)
    task = env.sample_task(jax.random.key(0), "train")
    assert task.shape == (6,)
    for t, segment in ((0, 0), (99, 0), (100, 1), (250, 2), (599, 5)):
        assert env.current_task(task, t) == task[segment]


def test_tasks_change_at_half_of_the_boundaries_within_their_split():
    env = switching(made(half_cheetah_velocity_hard))
    keys = jax.random.split(jax.random.key(0), 2000)
    for split, (low, high) in {"train": (0, 1.5), "test": (2.5, 3), "oracle": (0, 3)}.items():
        drawn = np.asarray(jax.jit(jax.vmap(lambda k, s=split: env.sample_task(k, s)))(keys))
        changed = np.diff(drawn) != 0
        assert np.abs(changed.mean(0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(2000)
        assert abs(np.corrcoef(changed[:, 0], changed[:, 1])[0, 1]) < 4.5 / np.sqrt(2000)
        for found in (drawn[:, 0], drawn[:, 5], drawn[:, 1:][changed]):
            assert kstest(found, "uniform", args=(low, high - low)).pvalue > 1e-3
        before_change, after = drawn[:, :-1][changed], drawn[:, 1:][changed]
        assert abs(np.corrcoef(before_change, after)[0, 1]) < 4.5 / np.sqrt(changed.sum())


@pytest.mark.parametrize(("probability", "kinds"), [(0.0, 1), (1.0, 6)])
def test_the_probability_is_obeyed(probability, kinds):
    env = switching(made(half_cheetah_velocity_uniform), probability=probability)
    assert len(np.unique(env.sample_task(jax.random.key(0), "train"))) == kinds


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_each_inner_evaluation_task_begins_a_fixed_episode(maker, split):
    env = made(maker)
    tasks, inner = np.asarray(env.eval_tasks(split)), np.asarray(env.env.eval_tasks(split))
    np.testing.assert_array_equal(tasks, env.eval_tasks(split))
    np.testing.assert_array_equal(tasks[:, 0], inner)
    assert tasks.shape == (len(inner), 6) and set(tasks.ravel()) == set(inner)
    changes = (np.diff(tasks) != 0).sum(1)
    assert set(changes) == {2, 3} and changes.mean() == 2.5


def test_a_single_evaluation_task_stays():
    assert not fixed_order(1, 6).any()


def test_a_fall_ends_the_episode_and_the_next_one_begins_in_the_first_task():
    env = trial(made(ant_direction_2_switching), 2)
    task = env.eval_tasks("train")[0]
    state, _ = env.reset(jax.random.key(0), task)
    high = env.env.env.physics.begin(robot_state_of(state).qpos.at[2].set(1.3), jnp.zeros(14))
    falling = state._replace(inner=state.inner._replace(inner=high, t=jnp.int32(250)))
    after, step = env.step(env.draw(jax.random.key(0)), falling, jnp.zeros(8), task)
    assert bool(step.last) and not bool(step.over)
    assert int(after.inner.t) == int(after.t) == 0 and int(after.episode) == 1


def test_families_follow_and_tables_tell_every_segment():
    env = switching(made(half_cheetah_multi_task))
    tasks = env.eval_tasks("test")
    np.testing.assert_array_equal(jax.vmap(env.family)(tasks), tasks.family[:, 0])
    assert env.families == env.env.families
    task = evaluation_tasks(trial(env, 1))[1][0]["task"]
    assert len(task["family"]) == len(task["target"]) == 6


def test_videos_mark_the_task_of_the_moment():
    env = made(half_cheetah_direction_switching)
    assert robot_of(trial(env, 1)) is env.env
    for seconds, x in ((0, 0), (4.95, 14.85), (5.0, 15), (7.0, 9), (11.0, -3), (30.0, 0)):
        assert env.marker_position([1.0, -1.0, -1.0, 1.0, -1.0, 1.0], seconds) == pytest.approx(
            (x, 0)
        )
    ant = made(ant_direction_2_switching)
    marks = [
        ant.marker_position([0.0, np.pi, 0.0, 0.0, 0.0, 0.0], seconds)[0]
        for seconds in (4.9, 5.0, 10.0)
    ]
    assert marks == [3.0, -3.0, 3.0]
    several = switching(made(half_cheetah_multi_task), every=100, segments=2)
    task = {"family": [2, 0], "target": [5.0, 1.0]}
    assert several.marker_position(task, 4.0) == (5.0, 0.0)
    assert several.marker_position(task | {"family": [0, 2]}, 6.0) == (1.0, 0.0)


def test_any_environment_can_change_its_tasks():
    env = switching(gridworld(), every=5, segments=2)
    task = env.sample_task(jax.random.key(0), "train")
    state, _ = env.reset(jax.random.key(1), task)
    env.step(env.draw(jax.random.key(2)), state, jnp.int32(0), task)
    assert np.isnan(env.best_return(task))
    for given, said in (
        ({"every": 0}, "every = 0: must be >= 1"),
        ({"segments": 0}, "segments = 0: must be >= 1"),
        ({"probability": 1.5}, r"probability = 1.5: must be in \[0, 1\]"),
    ):
        with pytest.raises(ConfigError, match=said):
            switching(env.env, **given)


@pytest.mark.parametrize(
    "env",
    ["half-cheetah-velocity-switching", "half-cheetah-direction-switching",
     "ant-direction-2-switching"],
)  # fmt: skip
def test_runs_have_one_long_episode_per_trial_and_no_contrast(env):
    fields = Run(env=env, method="moss").fields()
    assert fields["inference.contrast_weight"] == 0 and fields["evaluation.every"] == 180_000
    for method in ("moss", "rl2", "ldm", "varibad"):
        run = Run(env=env, method=method)
        assert run.trial.episodes == 1
        assert run.frames_per_update(600) == run.workers * 600
