"""Rows of a replay, and windows of them, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.agent import Transition
from jaxmeta.replay.off_policy_rows import (
    OffPolicyRow,
    row_like,
    rows_that_fit,
    rows_to_trials,
    to_rows,
    window,
)
from jaxmeta.trial import trial
from tests.probes import Steer

T = 7
cut_out = jax.jit(window, static_argnums=2)


def row(cuts, task=3):
    """Return a row whose entries identify their step: obs t, action 10 + t, reward 20 + t."""
    t = jnp.arange(T + 1, dtype=jnp.float32)
    cut = jnp.asarray(cuts)
    return OffPolicyRow(
        obs=t[:, None],
        action=10 + t[:-1, None],
        reward=20 + t[:-1],
        discount=1.0 - cut,
        last=cut,
        cut=cut,
        task=jnp.int32(task),
    )


@settings(max_examples=60, derandomize=True)
@given(
    cuts=st.lists(st.booleans(), min_size=T, max_size=T),
    end=st.integers(1, T),
    length=st.sampled_from([1, 3, T, T + 2]),
)
def test_a_window_never_crosses_a_trial(cuts, end, length):
    """A memory that is reset where `keep` is 0 has read the current trial's steps only."""
    seen = jax.device_get(cut_out(row(cuts), end, length))
    read = []
    for i in range(length):
        read.append((seen.obs[i, 0], seen.action[i, 0], seen.reward[i], seen.obs[i + 1, 0]))
        if not seen.keep[i]:
            read = []
    expected = []
    for t in range(max(end - length, 0), end):
        expected.append((t, 10 + t, 20 + t, t + 1))
        if cuts[t]:
            expected = []
    assert read == expected
    np.testing.assert_array_equal(seen.valid, np.arange(end - length, end) >= 0)
    assert seen.task == 3


def transitions(over, limit):
    """Return transitions [T, 2] with recognisable numbers."""
    t = jnp.arange(T, dtype=jnp.float32)[:, None] + jnp.array([[0.0, 100.0]])
    over, limit = (jnp.broadcast_to(jnp.asarray(x)[:, None], (T, 2)) for x in (over, limit))
    ends = jnp.where(over, 0.0, 1.0)
    seen = t[..., None] + 1
    return Transition(t[..., None], t[..., None], t, seen, seen, over, over, ends, t, False, limit)


def test_a_time_limit_neither_stops_bootstrapping_nor_cuts():
    over = np.array([0, 0, 1, 0, 0, 0, 1], bool)
    limit = np.array([0, 0, 0, 0, 0, 0, 1], bool)
    rows = to_rows(transitions(over, limit), jnp.array([5, 6]))
    for i in range(2):
        np.testing.assert_array_equal(rows.discount[i], [1, 1, 0, 1, 1, 1, 1])
        np.testing.assert_array_equal(rows.cut[i], [0, 0, 1, 0, 0, 0, 0])
        np.testing.assert_array_equal(rows.obs[i, :, 0], 100 * i + np.arange(T + 1))
    np.testing.assert_array_equal(rows.task, [5, 6])


def test_variBAD_reads_a_rows_first_trial():
    over = np.array([0, 0, 1, 0, 0, 0, 1], bool)
    rows = to_rows(transitions(over, np.zeros(T, bool)), jnp.array([5, 6]))
    trials = rows_to_trials(rows)
    np.testing.assert_array_equal(trials.valid, [[1, 1, 1, 0, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(trials.next_obs, trials.obs + 1)
    np.testing.assert_array_equal(trials.seen, trials.next_obs)


def test_a_row_has_the_size_of_its_arrays():
    env = trial(Steer(), 2)
    like = row_like(env)
    steps = env.horizon
    assert like.obs.shape == (steps + 1, 2)  # the flag is seen, too
    numbers = 4 * (2 * (steps + 1) + 3 * steps + 1)
    size = numbers + 2 * steps
    assert rows_that_fit(like, 1, 10**9) == 2**20 // size
    assert rows_that_fit(like, 1, 12) == 12
