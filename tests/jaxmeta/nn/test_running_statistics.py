"""Running statistics against NumPy on all samples at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.nn import running_statistics

RNG = np.random.default_rng(0)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.floats(0.1, 50))
def test_merged_statistics_are_those_of_all_samples(sizes, scale):
    batches = [scale * RNG.normal(3.0, 2.0, size=(n, 4)) for n in sizes]
    found = running_statistics.init_statistics((4,))
    for batch in batches:
        found = running_statistics.update_statistics(found, jnp.asarray(batch, jnp.float32))
    every = np.concatenate(batches)
    assert float(found.weight) == pytest.approx(sum(sizes), rel=1e-3)
    # The first guess, mean 0 and variance 1, weighs 1e-4 samples.
    np.testing.assert_allclose(found.mean, every.mean(0), rtol=1e-3, atol=1e-3 * scale)
    spread = every.var(0) + 1e-4 / len(every) * (every.mean(0) ** 2 + 1)
    np.testing.assert_allclose(found.var, spread, rtol=2e-3, atol=1e-3 * scale**2)


def test_time_and_workers_are_samples_alike():
    samples = jnp.asarray(RNG.normal(size=(7, 5, 3)), jnp.float32)
    one = running_statistics.update_statistics(running_statistics.init_statistics((3,)), samples)
    other = running_statistics.update_statistics(
        running_statistics.init_statistics((3,)), samples.reshape(35, 3)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)  # samples are of order 1


def test_what_is_seen_is_standardised_and_clipped():
    statistics = running_statistics.Statistics(
        jnp.array([1.0, -2.0]), jnp.array([4.0, 0.25]), jnp.ones(())
    )
    seen = running_statistics.standardise(statistics, jnp.array([[3.0, -2.5], [1.0, 9.0]]))
    np.testing.assert_allclose(seen, [[1.0, -1.0], [0.0, 10.0]], rtol=1e-6)


def test_rewards_keep_their_sign_and_mean():
    statistics = running_statistics.Statistics(jnp.array(100.0), jnp.array(4.0), jnp.ones(()))
    scaled = running_statistics.scale_by_return_std(statistics, jnp.array([3.0, -1.0, 1000.0]))
    np.testing.assert_allclose(scaled, [1.5, -0.5, 10.0], rtol=1e-6)


def test_running_returns_restart_with_every_trial():
    reward, over = RNG.normal(size=9), np.zeros(9, bool)
    over[3] = True
    expected, g = [], 0.0
    for r, ended in zip(reward, over, strict=True):
        g = 0.9 * g + r
        expected.append(g)
        g = 0.0 if ended else g
    found = jax.jit(running_statistics.running_returns)(jnp.asarray(reward), jnp.asarray(over), 0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_return_statistics_are_over_steps_and_workers():
    reward = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
    over = jnp.zeros((6, 4), bool).at[-1].set(True)
    found = running_statistics.update_return_statistics(
        running_statistics.init_statistics(()), reward, over, 0.5
    )
    g = np.zeros((6, 4))
    for t in range(6):
        g[t] = (0.5 * g[t - 1] if t else 0.0) + np.asarray(reward[t])
    assert float(found.var) == pytest.approx(g.var(), rel=1e-3)
    assert float(found.weight) == pytest.approx(24, rel=1e-4)
