"""Gradient steps: by parameter group, once or a traced number of times."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmeta.agent import Params
from jaxmeta.algorithm import Metrics
from jaxmeta.env import Array, Key


def by_group(groups: dict[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """Return one optimiser per top-level parameter group, each with norms of its own."""
    return optax.partition(groups, {name: name for name in groups})


def descend(
    optimiser: optax.GradientTransformation, grads: Params, state: optax.OptState, params: Params
) -> tuple[Params, optax.OptState]:
    """Return parameters and optimiser state after one step."""
    updates, state = optimiser.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def select_groups(params: Params, groups: tuple[str, ...]) -> Params:
    """Return these parameter groups."""
    return {name: params[name] for name in groups}


def repeat_steps(
    count: Array, step: Callable[[Any, Key], tuple[Any, Metrics]], carry: Any, key: Key
) -> tuple[Any, Metrics]:
    """Take `count` steps, each with a key of its own; return their metrics' means, or 0."""
    like = jax.eval_shape(step, carry, key)[1]
    zero_metrics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

    def body(i: Array, state: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
        carry, total = state
        carry, metrics = step(carry, jax.random.fold_in(key, i))
        return carry, jax.tree.map(jnp.add, total, metrics)

    carry, total = lax.fori_loop(0, count, body, (carry, zero_metrics))
    return carry, jax.tree.map(lambda x: x / jnp.maximum(count, 1), total)


def gradient_steps(
    count: Array,
    loss: Callable[[Params, Key], tuple[Array, Metrics]],
    optimiser: optax.GradientTransformation,
    trainable: Params,
    opt: optax.OptState,
    key: Key,
) -> tuple[tuple[Params, optax.OptState], Metrics]:
    """Take `count` gradient steps on a loss of `trainable`; metrics are those of `repeat_steps`."""

    def train_step(carry: tuple[Params, optax.OptState], key: Key) -> tuple[Any, Metrics]:
        trainable, opt = carry
        grads, metrics = jax.grad(loss, has_aux=True)(trainable, key)
        return descend(optimiser, grads, opt, trainable), metrics

    return repeat_steps(count, train_step, (trainable, opt), key)
