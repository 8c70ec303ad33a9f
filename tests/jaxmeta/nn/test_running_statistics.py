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


class PublishedNormaliser:
    """The public code's VecNormalize, for rewards: one step of all workers after the other."""

    def __init__(self, workers, gamma):
        self.gamma, self.ret = gamma, np.zeros(workers)
        self.mean, self.var, self.count = 0.0, 1.0, 1e-4

    def step(self, reward, over):
        """Return a step's normalised rewards [W]."""
        self.ret = self.ret * self.gamma + reward
        self.ret[over] = 0.0
        n, delta = len(self.ret), self.ret.mean() - self.mean
        total = self.count + n
        squares = self.var * self.count + self.ret.var() * n
        self.var = (squares + delta**2 * self.count * n / total) / total
        self.mean += delta * n / total
        self.count = total
        return self.scaled(reward)

    def scaled(self, reward):
        return np.clip(reward / np.sqrt(self.var + 1e-8), -10.0, 10.0)


STEPS, GAMMA = 20, 0.97


@pytest.fixture(scope="module")
def rewards():
    """Return rewards [2 STEPS, 4], and where trials end: in the middle, in turn, and with all."""
    over = np.zeros((2 * STEPS, 4), bool)
    over[[7, 19, 20, 33], [0, 1, 2, 0]] = True
    over[-1] = True
    reward = RNG.normal(-4.0, 1.0, size=over.shape)
    reward[3] = 900.0  # divided, it leaves the clip's range
    return reward, over


def statistics_of(reward, over, length, last_return):
    """Return the statistics after updates of `length` steps each; trials straddle them."""
    found, g = running_statistics.init_statistics(()), np.zeros(reward.shape[1])
    for first in range(0, len(reward), length):
        part = reward[first : first + length], over[first : first + length]
        found = running_statistics.update_return_statistics(
            found, *map(jnp.asarray, part), GAMMA, jnp.asarray(g, jnp.float32), last_return
        )
        for r, ended in zip(*part, strict=True):
            g = np.where(ended, 0.0, GAMMA * g + r)
    return found


@pytest.mark.parametrize("length", [STEPS, 2 * STEPS])
def test_zeroed_last_returns_are_the_public_codes(rewards, length):
    reward, over = rewards
    published = PublishedNormaliser(reward.shape[1], GAMMA)
    scaled = [published.step(*step) for step in zip(reward, over, strict=True)]
    found = statistics_of(reward, over, length, "zeroed")
    assert float(found.mean) == pytest.approx(published.mean, rel=1e-4)
    assert float(found.var) == pytest.approx(published.var, rel=1e-4)
    assert float(found.weight) == pytest.approx(published.count, rel=1e-4)
    # Ours are frozen during a rollout: with the last step's statistics both scale alike.
    last = running_statistics.scale_by_return_std(found, jnp.asarray(reward[-1]))
    np.testing.assert_allclose(last, scaled[-1], rtol=1e-4)
    far = np.array([5e3, -5e3, 1.0, 0.0])
    np.testing.assert_allclose(
        running_statistics.scale_by_return_std(found, jnp.asarray(far)),
        published.scaled(far),
        rtol=1e-4,
    )
    counted = statistics_of(reward, over, length, "counted")
    assert abs(float(counted.mean) - published.mean) > 0.1  # it matters here


def test_counted_last_returns_are_returns_like_others(rewards):
    reward, over = rewards
    g, every = np.zeros(reward.shape[1]), []
    for r, ended in zip(reward, over, strict=True):
        every.append(GAMMA * g + r)
        g = np.where(ended, 0.0, every[-1])
    for length in (STEPS, 2 * STEPS):
        found = statistics_of(reward, over, length, "counted")
        assert float(found.mean) == pytest.approx(np.mean(every), rel=1e-4)
        assert float(found.var) == pytest.approx(np.var(every), rel=1e-3)


def test_running_returns_go_on_within_a_trial_and_restart_with_the_next():
    reward, over = RNG.normal(size=9), np.zeros(9, bool)
    over[3] = True
    expected, g = [], 2.5
    for r, ended in zip(reward, over, strict=True):
        g = 0.9 * g + r
        expected.append(g)
        g = 0.0 if ended else g
    found = jax.jit(running_statistics.running_returns)(
        jnp.asarray(reward), jnp.asarray(over), 0.9, jnp.float32(2.5)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
