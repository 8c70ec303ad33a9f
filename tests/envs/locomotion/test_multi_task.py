"""Tasks that differ in kind: their targets, and their rewards in NumPy."""

import functools
import json

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.locomotion.multi_task import ant_multi_task, half_cheetah_multi_task
from envs.locomotion.robot import RobotTransition
from experiments.figures.trial_video import words
from jaxmeta.config.run import Run
from jaxmeta.training.evaluation import evaluation_tasks
from jaxmeta.trial import trial
from tests.envs.locomotion.test_tasks import Recorded

MAKERS = (half_cheetah_multi_task, ant_multi_task)


@functools.cache
def made(maker):
    return maker("c")


CHEETAH = {
    "velocity forward": (1, 5),
    "velocity backward": (-1, -5),
    "goal forward": (5, 25),
    "goal backward": (-5, -25),
    "stand front": (np.pi / 6, np.pi / 2),
    "stand back": (-np.pi / 6, -np.pi / 2),
    "jump": (1.5, 3),
}
ANT = {
    f"{kind} {way}": (low * np.array([*to, 0]), high * np.array([*to, 0]))
    for kind, low, high in (("velocity", 1, 3), ("goal", 5, 15))
    for way, to in (("left", (-1, 0)), ("right", (1, 0)), ("up", (0, 1)), ("down", (0, -1)))
} | {"jump": (np.array([0, 0, 0.5]), np.array([0, 0, 2.0]))}

TRAINED = [0, 2, 3, 5, 6, 8, 9, 11, 12, 14]


@pytest.mark.parametrize(("maker", "ranges"), [*zip(MAKERS, (CHEETAH, ANT), strict=True)])
def test_test_targets_lie_between_training_targets_of_their_sub_family(maker, ranges):
    env = made(maker)
    assert env.families == trial(env, 2).families == tuple(ranges)
    for split, count in (("train", 10), ("test", 5), ("oracle", 15)):
        tasks = env.eval_tasks(split)
        assert tasks.family.dtype == jnp.int32
        np.testing.assert_array_equal(tasks.family, np.repeat(np.arange(len(ranges)), count))
        np.testing.assert_array_equal(jax.vmap(env.family)(tasks), tasks.family)
        np.testing.assert_array_equal(jax.vmap(trial(env, 2).family)(tasks), tasks.family)
    for i, (first, last) in enumerate(ranges.values()):
        for split, places in (("train", TRAINED), ("test", [1, 4, 7, 10, 13])):
            tasks = env.eval_tasks(split)
            targets = np.asarray(tasks.target)[tasks.family == i]
            np.testing.assert_allclose(
                share(targets, first, last), np.array(places) / 14, atol=1e-6
            )


def share(targets, first, last):
    """Return where targets lie on the way from the first to the last; nowhere else."""
    way = np.atleast_1d(last - first)
    at = (targets.reshape(len(targets), -1) - first) @ way / (way @ way)
    np.testing.assert_allclose(targets.reshape(len(at), -1), first + at[:, None] * way, atol=1e-6)
    return at


@pytest.mark.parametrize("maker", MAKERS)
def test_tasks_are_drawn_evenly_from_their_split_alone(maker):
    env = made(maker)
    for split, each in (("train", 10), ("test", 5), ("oracle", 15)):
        known = env.eval_tasks(split)
        count = each * len(env.families)
        keys = jax.random.split(jax.random.key(3), 100 * count)
        drawn = jax.jit(jax.vmap(lambda key, split=split: env.sample_task(key, split)))(keys)
        flat = lambda t: np.column_stack([t.family, np.reshape(t.target, (len(t.family), -1))])
        rows, times = np.unique(flat(drawn), axis=0, return_counts=True)
        np.testing.assert_array_equal(rows, np.unique(flat(known), axis=0))
        assert len(rows) == count
        assert np.abs(times - 100).max() < 5 * np.sqrt(100)


def cheetah_error(seen, name, target):
    """Return the relative distance of each state but the first to the target."""
    measured = {
        "velocity": seen.qvel[1:, 0],
        "goal": seen.qpos[1:, 0],
        "stand": seen.qpos[1:, 2],
        "jump": np.abs(seen.qvel[1:, 1]),
    }[name.split()[0]]
    return np.abs(measured - target) / np.abs(target)


def ant_error(seen, name, target):
    """Return the same for the Ant."""
    if name == "jump":
        return np.abs(np.abs(seen.qvel[1:, 2]) - target[2]) / target[2]
    measured = (seen.qvel if name.startswith("velocity") else seen.qpos)[1:, :2]
    return ((measured - target[:2]) ** 2).sum(1) / (target**2).sum()


@pytest.mark.parametrize(
    ("maker", "error"), [*zip(MAKERS, (cheetah_error, ant_error), strict=True)]
)
def test_a_step_is_rewarded_by_the_relative_distance_to_the_target(maker, error):
    env = made(maker)
    tasks = env.eval_tasks("train")
    seen = Recorded(env, jax.tree.map(lambda x: x[0], tasks), size=2.0)
    stack = lambda states: jax.tree.map(lambda *xs: jnp.stack(xs), *states)
    before, after = stack(seen.states[:-1]), stack(seen.states[1:])
    transition = (before, after, jnp.asarray(seen.action, jnp.float32))
    pay = jax.jit(
        jax.vmap(
            lambda transition, task: env.compute_reward(RobotTransition(*transition), task),
            in_axes=(0, None),
        )
    )
    for k in range(0, len(tasks.family), 5):  # two targets of each sub-family
        task = jax.tree.map(lambda x, k=k: x[k], tasks)
        off = error(seen, env.families[int(task.family)], np.asarray(task.target, float))
        expected = -off - 0.05 * (seen.action**2).sum(1)
        np.testing.assert_allclose(pay(transition, task), expected, rtol=1e-4, atol=1e-5)
        if k == 0:
            np.testing.assert_allclose(seen.reward, expected, rtol=1e-4, atol=1e-5)


def test_a_positive_pitch_is_head_down():
    env = made(half_cheetah_multi_task)
    data = mujoco.MjData(env.physics.model)
    data.qpos[2] = np.pi / 2
    mujoco.mj_kinematics(env.physics.model, data)
    assert data.geom("head").xpos[2] < data.body("torso").xpos[2] - 0.5


def test_ants_see_where_they_are_and_never_fall():
    env = made(ant_multi_task)
    task = jax.tree.map(lambda x: x[0], env.eval_tasks("train"))
    seen = Recorded(env, task)
    np.testing.assert_array_equal(seen.obs, np.concatenate([seen.qpos, seen.qvel], axis=1))
    high = env.physics.begin(jnp.asarray(seen.qpos[0], jnp.float32).at[2].set(3.0), jnp.zeros(14))
    assert not env.step(None, high, jnp.zeros(8), task)[1].last
    assert env.obs_space.shape == (29,) and len(env.obs_names) == 29
    assert made(half_cheetah_multi_task).obs_space.shape == (20,)


def test_tables_and_videos_tell_the_sub_family_and_the_target():
    env = made(ant_multi_task)
    _, described = evaluation_tasks(trial(env, 1))
    assert len(described) == 135
    task = json.loads(json.dumps(described[0]["task"]))
    assert task == {"family": 0, "target": [-1.0, 0.0, 0.0]}
    assert words(task) == "family 0, target [-1.  0.  0.]" and words(0.5) == "0.5"
    assert env.marker_position(task, 2.0) == (-2.0, 0.0)
    assert env.marker_position({"family": 6, "target": [0.0, 5.0, 0.0]}, 2.0) == (0.0, 5.0)
    cheetah = made(half_cheetah_multi_task)
    assert cheetah.marker_position({"family": 1, "target": -4.0}, 0.5) == (-2.0, 0.0)
    assert cheetah.marker_position({"family": 3, "target": -5.0}, 0.5) == (-5.0, 0.0)
    assert cheetah.marker_position({"family": 6, "target": 2.0}, 0.5) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("env", "tasks", "components"), [("half-cheetah-multi-task", 70, 4), ("ant-multi-task", 90, 3)]
)
def test_moss_has_a_worker_for_each_training_task(env, tasks, components):
    fields = Run(env=env, method="moss").fields()
    assert fields["workers"] == fields["replay.tasks"] == tasks
    assert (fields["inference.components"], fields["inference.latent"]) == (components, 8)
    assert fields["frames"] == 42_000_000 and fields["trial.episodes"] == 1
