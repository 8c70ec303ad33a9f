"""Mixtures of Gaussians as beliefs: most likely component, KL terms, contrastive loss.

The parts of MoSS's task inference (Wang et al. 2023) that are independent of networks and trials.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Gaussian
from jaxmeta.algorithm import Metrics
from jaxmeta.beliefs.gaussians import kl
from jaxmeta.beliefs.options import Inference
from jaxmeta.env import Array, Key


class Mixture(NamedTuple):
    """K Gaussians and a categorical over them."""

    logits: Array  # [..., K]
    of: Gaussian  # [..., K, L]


def most_likely(q: Mixture) -> Gaussian:
    """Return the most likely component's Gaussian, [..., L]."""
    k = jnp.argmax(q.logits, axis=-1)[..., None, None]
    return jax.tree.map(lambda x: jnp.take_along_axis(x, k, axis=-2)[..., 0, :], q.of)


def categorical_kl(q: Array, p: Array) -> Array:
    """Return KL(q || p) of categoricals given by logits, [..., K] -> [...]."""
    log_q, log_p = jax.nn.log_softmax(q), jax.nn.log_softmax(p)
    return (jnp.exp(log_q) * (log_q - log_p)).sum(-1)


def priors(q: Mixture, prior: str) -> Mixture:
    """Return each step's prior for posteriors q [S + 1, ...]: see `inference.prior`.

    The standard one has identical components; only data can distinguish them.
    """
    standard = jax.tree.map(jnp.zeros_like, q)
    if prior == "standard":
        return standard
    return jax.tree.map(lambda s, x: jnp.concatenate([s[:1], x[:-1]]), standard, q)


def mixture_elbo(
    q: Mixture,
    p: Mixture,
    responsibilities: Array,
    errors: Array,
    error_mask: Array,
    kl_mask: Array,
    hp: Inference,
) -> tuple[Array, Metrics]:
    """Return the negative bound (Eq. 1; with the last step's posterior as p, Eq. 5), [].

    sum_k q(y = k) [error_k + alpha KL(q_k || p_k)] + beta KL(q(y) || p(y)), over steps. It is
    a mean over the unmasked steps.

    Args:
      q, p: posteriors and priors, [S + 1, B] steps.
      responsibilities: q(y = k) of the latents that the errors are of, [S, B, K].
      errors: -log p(x | z_k) up to a constant, [S, B, K].
      error_mask: 1 where an error counts, [S, B].
      kl_mask: 1 where a divergence counts, [S + 1, B].
      hp: weights.
    """
    mean = lambda x, where: (x * where).sum() / jnp.maximum(where.sum(), 1)
    reconstruction = mean((responsibilities * errors).sum(-1), error_mask)
    of_latent = mean((jax.nn.softmax(q.logits) * kl(q.of, p.of)).sum(-1), kl_mask)
    of_class = mean(categorical_kl(q.logits, p.logits), kl_mask)
    loss = reconstruction + hp.kl_weight * of_latent + hp.class_weight * of_class
    parts = {"elbo": -loss, "reconstruction": reconstruction, "kl": of_latent, "class_kl": of_class}
    return loss, parts


def info_nce(
    queries: Array, keys: Array, tasks: Array, counts: Array, scale: Array | float
) -> Array:
    """Return InfoNCE (Eq. 2) of embeddings [B, L], by squared distances over `scale`, [].

    A query's positive is the key of its own trajectory, its negatives those of other tasks.
    `counts` [B] is 1 for queries that have a positive; `tasks` [B] are ids.
    """
    distance = ((queries[:, None] - keys[None]) ** 2).sum(-1) / scale
    is_positive = jnp.eye(len(tasks), dtype=bool)
    negative = tasks[:, None] != tasks[None]
    logits = jnp.where(is_positive | negative, -distance, -jnp.inf)
    nll = jax.nn.logsumexp(logits, axis=1) - jnp.diag(logits)
    return (nll * counts).sum() / jnp.maximum(counts.sum(), 1)


def two_random_steps(key: Key, valid: Array) -> tuple[Array, Array]:
    """Return two different indices in 1 ... S of valid steps [S], which are the last ones."""
    count = valid.sum()
    u, v = jax.random.uniform(key, (2,))
    first = jnp.minimum((u * count).astype(jnp.int32), count - 1)
    distance = 1 + jnp.minimum((v * (count - 1)).astype(jnp.int32), jnp.maximum(count - 2, 0))
    from_end = lambda i: len(valid) - i % jnp.maximum(count, 1)
    return from_end(first), from_end(first + distance)
