"""The parts of a reward decoder's training: dropout, random bits, strata, errors."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit
from scipy.stats import chisquare

from jaxmeta.beliefs.reward_decoders import dropout, prediction_error, random_bytes, stratified
from jaxmeta.env import Binary, Real

BINARY = SimpleNamespace(reward=Binary(low=-0.1, high=1.0))
REAL = SimpleNamespace(reward=Real())


@pytest.mark.parametrize("draws, count", [(7, 5), (3, 11), (32, 121), (4, 4)])
def test_stratified_indices_are_unbiased_and_stay_in_their_strata(draws, count):
    keys = jax.random.split(jax.random.key(0), 20_000)
    index = np.asarray(jax.vmap(lambda key: stratified(key, draws, jnp.array(count)))(keys))
    assert index.shape == (len(keys), draws)
    j = np.arange(draws)
    assert (index >= j * count // draws).all() and (index < np.ceil((j + 1) * count / draws)).all()
    hits = (index[..., None] == np.arange(count)).sum(1)  # how often each was drawn, by key
    error = hits.std(0) / np.sqrt(len(keys))
    assert (np.abs(hits.mean(0) - draws / count) <= 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("rate, kept", [(0.7, 77), (0.5, 128), (0.0, 256), (0.999, 1)])
def test_dropout_keeps_the_mean_at_the_rounded_rate(rate, kept):
    # All 256 values of the random bits, so this is exact.
    bits = jnp.arange(256, dtype=jnp.uint8)[:, None]
    x = jnp.broadcast_to(jnp.array([3.0, -1.5]), (256, 2))
    out = np.asarray(jax.jit(dropout)(x, jnp.broadcast_to(bits, x.shape), rate))
    assert ((out != 0).sum(0) == kept).all()
    np.testing.assert_allclose(out.mean(0), [3.0, -1.5], rtol=1e-5)
    np.testing.assert_allclose(out[out[:, 0] != 0], np.array([[3.0, -1.5]] * kept) * 256 / kept)


def test_without_dropout_nothing_changes():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 4)), jnp.float32)
    bits = random_bytes(jax.random.key(0), x.shape)
    np.testing.assert_array_equal(dropout(x, bits, 0.0), x)


def test_dropout_masks_are_per_entry():
    bits = random_bytes(jax.random.key(0), (200, 5))
    kept = np.asarray(dropout(jnp.ones((200, 5)), bits, 0.5)) > 0
    assert np.abs(np.corrcoef(kept.T) - np.eye(5)).max() < 4.5 / np.sqrt(200)


def test_random_bytes_are_uniform():
    bits = random_bytes(jax.random.key(3), (41, 7, 89))
    assert bits.shape == (41, 7, 89) and bits.dtype == jnp.uint8
    assert chisquare(np.bincount(np.ravel(bits), minlength=256)).pvalue > 1e-3


def test_the_error_of_a_binary_reward_is_its_cross_entropy():
    logit = jnp.array([-50.0, -2.0, 0.0, 3.0, 50.0])
    for reward in (1.0, -0.1):
        got = prediction_error(BINARY, logit, jnp.full(5, reward))
        expected = -log_expit(np.asarray(logit, float) * (1 if reward == 1.0 else -1))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    got = prediction_error(REAL, logit, jnp.full(5, 0.5))
    np.testing.assert_allclose(got, (np.asarray(logit) - 0.5) ** 2)
