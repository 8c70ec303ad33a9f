"""Mixtures of Gaussians against NumPy, Monte Carlo, and the plain VAE's parts."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from jaxmeta.agent import Gaussian
from jaxmeta.algorithm import as_pytree
from jaxmeta.beliefs.gaussian_belief import chained_kl
from jaxmeta.beliefs.mixture_elbo import (
    Mixture,
    categorical_kl,
    info_nce,
    mixture_elbo,
    most_likely,
    priors,
    two_random_steps,
)
from jaxmeta.beliefs.options import Inference

KEY = jax.random.key(0)
S, B, K, L = 4, 3, 2, 3
HP = as_pytree(Inference(kl_weight=0.3, class_weight=0.7))


def some_mixture(k=K, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    return Mixture(draw(S + 1, B, k), Gaussian(draw(S + 1, B, k, L), 0.3 * draw(S + 1, B, k, L)))


def bound(q, p, errors):
    """Return the bound where each latent decodes the step that it has read."""
    ones = jnp.ones((S + 1, B))
    return mixture_elbo(q, p, jax.nn.softmax(q.logits)[1:], errors, ones[1:], ones, HP)


@pytest.mark.parametrize("prior", ["previous", "standard"])
def test_the_bound_is_that_of_explicit_enumeration(prior):
    q = some_mixture()
    errors = np.abs(np.random.default_rng(1).normal(size=(S, B, K)))
    loss, parts = bound(q, priors(q, prior), jnp.asarray(errors, jnp.float32))
    logits, (mean, logvar) = jax.tree.map(lambda x: np.asarray(x, np.float64), q)
    reconstruction = of_latent = of_class = 0.0
    for b in range(B):
        for t in range(S + 1):
            share = softmax(logits[t, b])
            first = prior == "standard" or t == 0
            before = np.zeros(K) if first else logits[t - 1, b]
            for k in range(K):
                m, v = mean[t, b, k], np.exp(logvar[t, b, k])
                m0 = np.zeros(L) if first else mean[t - 1, b, k]
                v0 = np.ones(L) if first else np.exp(logvar[t - 1, b, k])
                divergence = 0.5 * (np.log(v0 / v) - 1 + v / v0 + (m - m0) ** 2 / v0).sum()
                of_latent += share[k] * divergence
                of_class += share[k] * (log_softmax(logits[t, b])[k] - log_softmax(before)[k])
                if t:
                    reconstruction += share[k] * errors[t - 1, b, k]
    reconstruction /= S * B
    of_latent /= (S + 1) * B
    of_class /= (S + 1) * B
    assert parts["reconstruction"] == pytest.approx(reconstruction, rel=1e-5)
    assert parts["kl"] == pytest.approx(of_latent, rel=1e-5)
    assert parts["class_kl"] == pytest.approx(of_class, rel=1e-4)
    assert loss == pytest.approx(reconstruction + 0.3 * of_latent + 0.7 * of_class, rel=1e-5)


def test_the_divergences_are_those_of_samples():
    """KL of q(y) q(z | y) to p(y) p(z | y) by Monte Carlo, weights 1."""
    q = some_mixture()
    p = priors(q, "previous")
    _, parts = bound(q, p, jnp.zeros((S, B, K)))
    rng, draws = np.random.default_rng(2), 20_000
    q, p = (jax.tree.map(lambda x: np.asarray(x, np.float64), m) for m in (q, p))

    def log_density(m, t, b, y, z):
        mean, logvar = m.of.mean[t, b][y], m.of.logvar[t, b][y]
        normal = -0.5 * ((z - mean) ** 2 / np.exp(logvar) + logvar + np.log(2 * np.pi))
        return log_softmax(m.logits[t, b])[y] + normal.sum(-1)

    total = 0.0
    for t, b in itertools.product(range(S + 1), range(B)):
        y = rng.choice(K, size=draws, p=softmax(q.logits[t, b]))
        noise = rng.normal(size=(draws, L))
        z = q.of.mean[t, b][y] + np.exp(0.5 * q.of.logvar[t, b][y]) * noise
        total += (log_density(q, t, b, y, z) - log_density(p, t, b, y, z)).mean()
    assert parts["kl"] + parts["class_kl"] == pytest.approx(total / ((S + 1) * B), rel=0.02)


def test_one_component_is_the_plain_vae():
    q = some_mixture(k=1)
    _, parts = bound(q, priors(q, "previous"), jnp.ones((S, B, 1)))
    plain = jax.vmap(chained_kl, in_axes=(1, None))(
        Gaussian(q.of.mean[:, :, 0], q.of.logvar[:, :, 0]), jnp.ones(S, bool)
    )
    total = float(plain.sum())
    assert parts["kl"] == pytest.approx(total / ((S + 1) * B), rel=1e-5)
    assert parts["class_kl"] == 0
    assert parts["reconstruction"] == 1


def test_the_chained_prior_has_gradients_on_both_sides():
    q = some_mixture()
    loss = lambda q: bound(q, priors(q, "previous"), jnp.zeros((S, B, K)))[0]
    whole = jax.grad(loss)(q).of.mean
    stopped = jax.grad(
        lambda q: bound(q, jax.lax.stop_gradient(priors(q, "previous")), jnp.zeros((S, B, K)))[0]
    )(q).of.mean
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(whole, stopped, rtol=1e-2)


def test_the_most_likely_component_is_selected():
    q = some_mixture()
    found = most_likely(q)
    for t, b in itertools.product(range(S + 1), range(B)):
        k = int(np.argmax(q.logits[t, b]))
        np.testing.assert_array_equal(found.mean[t, b], q.of.mean[t, b, k])
        np.testing.assert_array_equal(found.logvar[t, b], q.of.logvar[t, b, k])


def test_class_kl_against_a_uniform_prior_is_the_missing_entropy():
    logits = jnp.array([0.3, -1.0, 2.0])
    share = softmax(np.asarray(logits, np.float64))
    expected = np.log(3) + (share * np.log(share)).sum()
    assert categorical_kl(logits, jnp.zeros(3)) == pytest.approx(expected, rel=1e-5)


def test_the_contrast_is_that_of_a_loop():
    rng = np.random.default_rng(4)
    queries, keys = rng.normal(size=(2, 6, L))
    tasks, counts = np.array([0, 1, 0, 2, 2, 3]), np.array([1, 1, 1, 0, 1, 1])
    total = 0.0
    for i in range(6):
        near = lambda j, i=i: np.exp(-((queries[i] - keys[j]) ** 2).sum() / 0.5)
        others = sum(near(j) for j in range(6) if tasks[j] != tasks[i])
        total -= counts[i] * np.log(near(i) / (near(i) + others))
    arrays = (jnp.asarray(x, jnp.float32) for x in (queries, keys))
    found = info_nce(*arrays, jnp.asarray(tasks), jnp.asarray(counts), 0.5)
    assert found == pytest.approx(total / counts.sum(), rel=1e-5)


def test_the_contrasts_minimum_and_its_value_where_tasks_are_indistinguishable():
    tasks, all_count = jnp.arange(4), jnp.ones(4)
    far = 100.0 * jnp.eye(4)
    assert info_nce(far, far, tasks, all_count, 1.0) == 0
    same = jnp.ones((4, 3))
    assert info_nce(same, same, tasks, all_count, 1.0) == pytest.approx(np.log(4))
    assert info_nce(same, same, jnp.zeros(4), all_count, 1.0) == 0  # no other task, no negatives


def test_two_random_steps_are_different_and_valid():
    valid = jnp.array([False, False, True, True, True])
    first, second = jax.vmap(lambda key: two_random_steps(key, valid))(jax.random.split(KEY, 300))
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    assert pairs == set(itertools.permutations([3, 4, 5], 2))
