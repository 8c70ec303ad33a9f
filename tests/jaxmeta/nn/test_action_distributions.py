"""Action distributions against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import chisquare, entropy, kstest, multivariate_normal

from jaxmeta.agent import Agent, greedy
from jaxmeta.env import Box, Discrete
from jaxmeta.nn.action_distributions import distribution, draw, sample

DISCRETE, REAL = Discrete(4), Box((3,))
LOGITS = np.array([[0.3, -1.0, 2.0, 0.0], [5.0, 5.0, -3.0, 1.0]], np.float32)
MEAN = np.array([[0.5, -1.0, 3.0], [0.0, 2.0, -0.1]], np.float32)
LOG_STD = np.array([[0.0, -1.5, 0.7], [0.2, 1.0, -0.3]], np.float32)


def test_discrete_log_prob_and_entropy_equal_scipys():
    pi = distribution((jnp.asarray(LOGITS),), DISCRETE)
    expected = log_softmax(LOGITS.astype(float), axis=1)
    for action in range(4):
        got = pi.log_prob(jnp.full(2, action))
        np.testing.assert_allclose(got, expected[:, action], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pi.entropy(), entropy(np.exp(expected), axis=1), rtol=1e-5)


def test_real_log_prob_and_entropy_equal_scipys():
    pi = distribution((jnp.asarray(MEAN), jnp.asarray(LOG_STD)), REAL)
    action = MEAN + np.array([[1.0, -0.3, 0.2], [0.0, 2.0, 0.4]], np.float32)
    for i in range(2):
        reference = multivariate_normal(MEAN[i], np.diag(np.exp(2.0 * LOG_STD[i])))
        assert float(pi.log_prob(jnp.asarray(action))[i]) == pytest.approx(
            reference.logpdf(action[i]), rel=1e-5
        )
        assert float(pi.entropy()[i]) == pytest.approx(reference.entropy(), rel=1e-5)


def test_zero_noise_is_the_mode():
    agent = Agent(lambda key: draw(key, DISCRETE), None, None, None)
    noise = greedy(agent).draw(jax.random.key(0))
    assert noise.shape == (4,) and (noise == 0).all()
    assert [int(sample((jnp.asarray(x),), noise, DISCRETE)) for x in LOGITS] == [2, 0]
    outputs = (jnp.asarray(MEAN), jnp.asarray(LOG_STD))
    np.testing.assert_array_equal(sample(outputs, jnp.zeros((2, 3)), REAL), MEAN)


def test_discrete_actions_are_as_frequent_as_their_probabilities():
    keys = jax.random.split(jax.random.key(1), 20_000)
    outputs = (jnp.asarray(LOGITS[0]),)
    one = lambda key: sample(outputs, draw(key, DISCRETE), DISCRETE)
    actions = jax.jit(jax.vmap(one))(keys)
    assert actions.dtype == jnp.int32
    expected = len(keys) * softmax(LOGITS[0].astype(float))
    assert chisquare(np.bincount(actions, minlength=4), expected).pvalue > 1e-3


def test_real_actions_are_normal():
    keys = jax.random.split(jax.random.key(2), 5000)
    outputs = (jnp.asarray(MEAN[0]), jnp.asarray(LOG_STD[0]))
    one = lambda key: sample(outputs, draw(key, REAL), REAL)
    actions = np.asarray(jax.jit(jax.vmap(one))(keys))
    for i in range(3):
        assert kstest(actions[:, i], "norm", args=(MEAN[0, i], np.exp(LOG_STD[0, i]))).pvalue > 1e-3
    correlation = np.corrcoef(actions.T) - np.eye(3)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(keys))


def test_the_standard_deviation_has_a_floor():
    outputs = (jnp.zeros(3), jnp.full(3, -40.0))
    action = sample(outputs, jnp.array([1.0, -2.0, 0.5]), REAL)
    np.testing.assert_allclose(action, [1e-6, -2e-6, 5e-7], rtol=1e-5)
    pi = distribution(outputs, REAL)
    expected = multivariate_normal(np.zeros(3), 1e-12).logpdf(np.zeros(3))
    assert float(pi.log_prob(jnp.zeros(3))) == pytest.approx(expected, rel=1e-5)
