"""The rows of off-policy methods' replay: steps with their task's id; windows of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Transition
from jaxmeta.env import Array, Env, Key, Step
from jaxmeta.nn.networks import example_action, example_obs
from jaxmeta.replay.elbo_trials import ElboTrial


class OffPolicyRow(NamedTuple):
    """A worker's steps [T], each observation once: a row of the replay.

    It holds several trials of one task where some ended early.
    """

    obs: Array  # [T + 1, O] before each step, and after the last
    action: Array  # [T, A]
    reward: Array  # [T]
    discount: Array  # [T] 0 where no value may be bootstrapped; 1 at a time limit
    last: Array  # [T] bool: an episode ended
    cut: Array  # [T] bool: the next observation is not this step's successor
    task: Array  # [] the task's id
    shaped: Array | None = None  # [T] what policies learn from, if not from `reward`


class Window(NamedTuple):
    """The steps [S] before a time step of a row."""

    obs: Array  # [S + 1, O]
    action: Array  # [S, A]
    reward: Array  # [S]
    last: Array  # [S] bool
    keep: Array  # [S] 0 where memory is reset after a step: before the row, at a trial's end
    valid: Array  # [S] bool: not before the row's start
    task: Array  # []


def to_rows(tr: Transition, tasks: Array) -> OffPolicyRow:
    """Return transitions [T, W] as rows, one per worker; `tasks` [W] are the tasks' ids."""
    rows = OffPolicyRow(
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


def rows_to_trials(rows: OffPolicyRow) -> ElboTrial:
    """Return rows [n] as trials for variBAD's ELBO; of each row the first trial."""
    after = rows.obs[:, 1:]
    valid = jnp.cumsum(rows.cut, axis=1) - rows.cut == 0
    return ElboTrial(rows.obs[:, :-1], rows.action, rows.reward, after, after, valid)


def row_like(env: Env) -> OffPolicyRow:
    """Return arrays of the shapes and dtypes of one row."""
    steps = env.horizon
    stack = lambda x, n: jnp.zeros((n, *x.shape), x.dtype)
    number, false = jnp.zeros(steps), jnp.zeros(steps, bool)
    obs = stack(example_obs(env), steps + 1)
    action = stack(example_action(env), steps)
    shaped = None if step_like(env).shaped is None else number
    return OffPolicyRow(obs, action, number, number, false, false, jnp.zeros((), jnp.int32), shaped)


def step_like(env: Env) -> Step:
    """Return the shapes of an environment's Step."""

    def first_step(key: Key) -> Step:
        task = env.sample_task(key, env.splits[0])
        state, _ = env.reset(key, task)
        return env.step(env.draw(key), state, example_action(env), task)[1]

    return jax.eval_shape(first_step, jax.random.key(0))


def window(row: OffPolicyRow, end: Array | int, length: int) -> Window:
    """Return the `length` steps of a row before step `end` (up to T)."""
    t = end - length + jnp.arange(length + 1)
    valid = t[:-1] >= 0
    t = jnp.maximum(t, 0)
    at = t[:-1]
    keep = (valid & ~row.cut[at]).astype(jnp.float32)
    return Window(row.obs[t], row.action[at], row.reward[at], row.last[at], keep, valid, row.task)


def windows(rows: OffPolicyRow, ends: Array, length: int) -> Window:
    """Return a window of each of the rows [n], before steps `ends` [n]: [S, n], tasks [n]."""
    axes = Window._make((1, 1, 1, 1, 1, 1, 0))
    return jax.vmap(window, in_axes=(0, 0, None), out_axes=axes)(rows, ends, length)


def rows_that_fit(example: Any, mebibytes: int, most: int) -> int:
    """Return how many items like `example` so many MiB hold, but no more than `most`."""
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(example))
    return min(mebibytes * 2**20 // size, most)
