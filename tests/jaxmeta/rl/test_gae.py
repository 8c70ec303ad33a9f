"""Generalised advantages against a float64 loop, rlax and an identity."""

import jax
import numpy as np
import pytest
import rlax

from jaxmeta.rl.gae import gae

T, W = 13, 5
by_worker = jax.jit(jax.vmap(gae, in_axes=(1, 1, 1, 1, 0, None, None), out_axes=1))


def batch(seed):
    """Return rewards, values, discounts, no cuts [T, W] and bootstraps [W]."""
    rng = np.random.default_rng(seed)
    reward, value = rng.normal(size=(2, T, W)).astype(np.float32)
    discount = (rng.random((T, W)) < 0.7).astype(np.float32)
    discount[-1] = [1, 0, 1, 0, 1]  # some trials end with the last step, some continue
    return reward, value, discount, np.zeros((T, W), bool), rng.normal(size=W).astype(np.float32)


@pytest.mark.parametrize("gamma, lam", [(0.95, 0.95), (1.0, 0.5), (0.9, 0.0)])
def test_advantages_are_the_discounted_sum_of_errors(gamma, lam):
    reward, value, discount, cut, bootstrap = batch(0)
    expected = np.zeros((T, W))
    for w in range(W):
        following = np.append(value[1:, w], bootstrap[w]).astype(np.float64)
        for t in range(T):
            weight = 1.0
            for s in range(t, T):  # forwards, term by term: Eq. 16 as it is printed
                delta = reward[s, w] + gamma * discount[s, w] * following[s] - value[s, w]
                expected[t, w] += weight * delta
                weight *= gamma * lam * discount[s, w]
    got = by_worker(reward, value, discount, cut, bootstrap, gamma, lam)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_advantages_equal_rlax():
    reward, value, discount, cut, bootstrap = batch(1)
    got = by_worker(reward, value, discount, cut, bootstrap, 0.97, 0.9)
    for w in range(W):
        values = np.append(value[:, w], bootstrap[w])
        expected = rlax.truncated_generalized_advantage_estimation(
            reward[:, w], 0.97 * discount[:, w], 0.9, values
        )
        np.testing.assert_allclose(got[:, w], expected, rtol=1e-5, atol=1e-5)


def test_with_lambda_1_an_advantage_is_the_discounted_return_minus_the_value():
    reward, value, discount, cut, bootstrap = batch(2)
    returns, following = np.zeros((T, W)), bootstrap.astype(np.float64)
    for t in reversed(range(T)):
        following = returns[t] = reward[t] + 0.9 * discount[t] * following
    got = by_worker(reward, value, discount, cut, bootstrap, 0.9, 1.0)
    np.testing.assert_allclose(got, returns - value, rtol=1e-5, atol=1e-5)


def test_one_worker_without_jit_is_the_same():
    args = batch(3)
    one = gae(*(x[..., 2] for x in args), 0.95, 0.9)
    np.testing.assert_allclose(one, by_worker(*args, 0.95, 0.9)[:, 2], rtol=1e-6, atol=1e-6)


def test_the_recursion_is_cut():
    """What public code does at time limits: A of that step is zero, for those before it too."""
    reward, value, discount, cut, bootstrap = batch(4)
    cut[[4, T - 1]] = True
    expected = np.zeros((T, W))
    for w in range(W):
        following, advantage = float(bootstrap[w]), 0.0
        for t in reversed(range(T)):
            delta = reward[t, w] + 0.9 * discount[t, w] * following - value[t, w]
            advantage = delta + 0.9 * 0.8 * discount[t, w] * advantage
            advantage = 0.0 if t in (4, T - 1) else advantage
            expected[t, w], following = advantage, float(value[t, w])
    got = by_worker(reward, value, discount, cut, bootstrap, 0.9, 0.8)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    later = reward.copy()
    later[5:] += 1.0  # rewards after the cut do not matter before it
    got = by_worker(later, value, discount, cut, bootstrap, 0.9, 0.8)
    np.testing.assert_allclose(got[:5], expected[:5], rtol=1e-5, atol=1e-5)
