"""What is written of the evaluation tasks."""

import json

import jax
import numpy as np

from jaxmeta.rl.off_policy import task_ids
from jaxmeta.training.evaluation import evaluation_tasks
from jaxmeta.trial import trial
from tests.probes import Sign


class Keyed(Sign):
    """A task is an arm and a typed random key."""

    def sample_task(self, key, split):
        return super().sample_task(key, split), key

    def eval_tasks(self, split):
        return super().eval_tasks(split), jax.random.split(jax.random.key(7), 4)


def test_a_task_may_hold_a_typed_random_key():
    env = trial(Keyed(), 1)
    _, described = evaluation_tasks(env)
    numbers = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(7), 4)))
    assert [d["task"] for d in described] == [[i, numbers[i].tolist()] for i in range(4)]
    assert json.loads(json.dumps(described)) == described


def test_tasks_with_equal_keys_are_equal():
    first, other = jax.random.split(jax.random.key(0))
    keys = jax.numpy.stack([first, other, first])
    np.testing.assert_array_equal(task_ids({"key": keys}), [0, 1, 0])
