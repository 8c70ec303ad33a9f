"""Mixtures of Gaussians as beliefs: which component, how far from the prior, told apart or not.

The parts of MoSS's task inference (Wang et al. 2023) that know neither networks nor trials.
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


def chosen(q: Mixture) -> Gaussian:
    """Return the likeliest component's Gaussian, [..., L]."""
    k = jnp.argmax(q.logits, axis=-1)[..., None, None]
    return jax.tree.map(lambda x: jnp.take_along_axis(x, k, axis=-2)[..., 0, :], q.of)


def class_kl(q: Array, p: Array) -> Array:
    """Return KL(q || p) of categoricals given by logits, [..., K] -> [...]."""
    log_q, log_p = jax.nn.log_softmax(q), jax.nn.log_softmax(p)
    return (jnp.exp(log_q) * (log_q - log_p)).sum(-1)


def priors(q: Mixture, prior: str) -> Mixture:
    """Return each step's prior for posteriors q [S + 1, ...]: see `inference.prior`.

    The standard one has identical components; only data can tell them apart.
    """
    standard = jax.tree.map(jnp.zeros_like, q)
    if prior == "standard":
        return standard
    return jax.tree.map(lambda s, x: jnp.concatenate([s[:1], x[:-1]]), standard, q)


def mixture_elbo(
    q: Mixture,
    p: Mixture,
    share: Array,
    errors: Array,
    counts: Array,
    chained: Array,
    hp: Inference,
) -> tuple[Array, Metrics]:
    """Return the negative bound (Eq. 1; with the last step's posterior as p, Eq. 5), [].

    sum_k q(y = k) [error_k + alpha KL(q_k || p_k)] + beta KL(q(y) || p(y)), over steps. It is
    a mean over the steps that count.

    Args:
      q, p: posteriors and priors, [S + 1, B] steps.
      share: q(y = k) of the latents that the errors are of, [S, B, K].
      errors: -log p(x | z_k) up to a constant, [S, B, K].
      counts: which errors count, [S, B].
      chained: which divergences do, [S + 1, B].
      hp: weights.
    """
    mean = lambda x, where: (x * where).sum() / jnp.maximum(where.sum(), 1)
    reconstruction = mean((share * errors).sum(-1), counts)
    of_latent = mean((jax.nn.softmax(q.logits) * kl(q.of, p.of)).sum(-1), chained)
    of_class = mean(class_kl(q.logits, p.logits), chained)
    loss = reconstruction + hp.kl_weight * of_latent + hp.class_weight * of_class
    parts = {"elbo": -loss, "reconstruction": reconstruction, "kl": of_latent, "class_kl": of_class}
    return loss, parts


def contrast(
    queries: Array, keys: Array, tasks: Array, counts: Array, scale: Array | float
) -> Array:
    """Return InfoNCE (Eq. 2) of embeddings [B, L], by squared distances over `scale`, [].

    A query's positive is the key of its own trajectory, its negatives those of other tasks.
    `counts` [B] tells which queries have one; `tasks` [B] are numbers.
    """
    distance = ((queries[:, None] - keys[None]) ** 2).sum(-1) / scale
    own = jnp.eye(len(tasks), dtype=bool)
    negative = tasks[:, None] != tasks[None]
    logits = jnp.where(own | negative, -distance, -jnp.inf)
    lost = jax.nn.logsumexp(logits, axis=1) - jnp.diag(logits)
    return (lost * counts).sum() / jnp.maximum(counts.sum(), 1)


def two_moments(key: Key, real: Array) -> tuple[Array, Array]:
    """Return two different indices in 1 ... S of steps [S] that are real, the last ones."""
    count = real.sum()
    u, v = jax.random.uniform(key, (2,))
    first = jnp.minimum((u * count).astype(jnp.int32), count - 1)
    apart = 1 + jnp.minimum((v * (count - 1)).astype(jnp.int32), jnp.maximum(count - 2, 0))
    behind = lambda i: len(real) - i % jnp.maximum(count, 1)
    return behind(first), behind(first + apart)
