"""What off-policy methods remember: rows of steps with task numbers, and windows of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Transition
from jaxmeta.env import Array, Env, Key, Step
from jaxmeta.nn.networks import example_action, example_obs
from jaxmeta.replay.elbo_trials import Replayed


class Recorded(NamedTuple):
    """A worker's steps [T], each observation once; in the replay each is a row.

    It holds several trials of one task where some ended early.
    """

    obs: Array  # [T + 1, O] what it saw before each step, and behind the last
    action: Array  # [T, A]
    reward: Array  # [T]
    discount: Array  # [T] 0 where no value may be bootstrapped; a time limit is no such place
    last: Array  # [T] bool: an episode ended
    cut: Array  # [T] bool: what was seen next does not follow from this step
    task: Array  # [] the task's number
    shaped: Array | None = None  # [T] what policies learn from, if not from `reward`


class Window(NamedTuple):
    """The steps [S] before some moment of a row."""

    obs: Array  # [S + 1, O]
    action: Array  # [S, A]
    reward: Array  # [S]
    last: Array  # [S] bool
    keep: Array  # [S] 0 where memory is emptied behind a step: before the row, at a trial's end
    real: Array  # [S] bool: not before the row's start
    task: Array  # []


def recorded(tr: Transition, tasks: Array) -> Recorded:
    """Return what is remembered of transitions [T, W] of tasks numbered [W], a row per worker."""
    rows = Recorded(
        obs=jnp.concatenate([tr.obs, tr.seen[-1:]]),
        action=tr.action,
        reward=tr.reward,
        discount=jnp.where(tr.limit, 1.0, tr.discount),
        last=tr.last,
        cut=tr.over & ~tr.limit,
        task=tasks[None],
        shaped=tr.shaped,
    )
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), rows)._replace(task=tasks)


def replayed(rows: Recorded) -> Replayed:
    """Return rows [n] as the trials that variBAD's ELBO reads; of each row the first trial."""
    after = rows.obs[:, 1:]
    valid = jnp.cumsum(rows.cut, axis=1) - rows.cut == 0
    return Replayed(rows.obs[:, :-1], rows.action, rows.reward, after, after, valid)


def recorded_like(env: Env) -> Recorded:
    """Return arrays of the shapes and dtypes that one row has."""
    steps = env.horizon
    several = lambda x, n: jnp.zeros((n, *x.shape), x.dtype)
    number, no = jnp.zeros(steps), jnp.zeros(steps, bool)
    obs = several(example_obs(env), steps + 1)
    action = several(example_action(env), steps)
    shaped = None if step_like(env).shaped is None else number
    return Recorded(obs, action, number, number, no, no, jnp.zeros((), jnp.int32), shaped)


def step_like(env: Env) -> Step:
    """Return the shapes of what a step of an environment returns."""

    def first_step(key: Key) -> Step:
        task = env.sample_task(key, env.splits[0])
        state, _ = env.reset(key, task)
        return env.step(env.draw(key), state, example_action(env), task)[1]

    return jax.eval_shape(first_step, jax.random.key(0))


def window(row: Recorded, end: Array | int, length: int) -> Window:
    """Return the `length` steps of a row before step `end` (up to T); it may begin before it."""
    t = end - length + jnp.arange(length + 1)
    real = t[:-1] >= 0
    seen = jnp.maximum(t, 0)
    at = seen[:-1]
    keep = (real & ~row.cut[at]).astype(jnp.float32)
    return Window(row.obs[seen], row.action[at], row.reward[at], row.last[at], keep, real, row.task)


def windows(rows: Recorded, ends: Array, length: int) -> Window:
    """Return a window of each of the rows [n], before steps `ends` [n]: [S, n], tasks [n]."""
    axes = Window._make((1, 1, 1, 1, 1, 1, 0))
    return jax.vmap(window, in_axes=(0, 0, None), out_axes=axes)(rows, ends, length)


def rows_that_fit(example: Any, mebibytes: int, most: int) -> int:
    """Return how many items like `example` so many MiB hold, but no more than `most`."""
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(example))
    return min(mebibytes * 2**20 // size, most)
