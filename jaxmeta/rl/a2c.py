"""Advantage actor-critic: the loss, and the optimiser of the gridworld methods."""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmeta.agent import Params, Transition
from jaxmeta.config.options import A2C, PPO
from jaxmeta.env import Array
from jaxmeta.rl.actor_critic import Evaluated
from jaxmeta.rl.returns import gae


def a2c_loss(evaluated: Evaluated, tr: Transition, hp: A2C) -> tuple[Array, dict[str, Array]]:
    """Return the loss over [T, W] and its parts (`ldm.md` of the docs, A2C).

    0.5 mean (R - V)^2 - mean A log pi - c mean H, with generalised advantages A from the
    same values, not normalised, and R = A + V.
    """
    advantage, returns = targets(evaluated, tr, hp)
    return loss_towards(evaluated, advantage, returns, hp)


def targets(evaluated: Evaluated, tr: Transition, hp: A2C | PPO) -> tuple[Array, Array]:
    """Return generalised advantages A and returns R = A + V, [T, W], without gradients."""
    value, bootstrap = lax.stop_gradient((evaluated.value, evaluated.bootstrap))
    cut = jnp.broadcast_to(tr.limit if hp.credit == "episode" else False, tr.reward.shape)
    by_worker = jax.vmap(gae, in_axes=(1, 1, 1, 1, 0, None, None), out_axes=1)
    advantage = by_worker(tr.reward, value, tr.discount, cut, bootstrap, hp.gamma, hp.gae_lambda)
    return advantage, advantage + value


def loss_towards(
    evaluated: Evaluated, advantage: Array, returns: Array, hp: A2C
) -> tuple[Array, dict[str, Array]]:
    """Return the loss for given advantages and returns [T, W], and its parts."""
    policy_loss = -(advantage * evaluated.log_prob).mean()
    value_loss = ((returns - evaluated.value) ** 2).mean()
    entropy = evaluated.entropy.mean()
    loss = policy_loss + hp.value_coef * value_loss - hp.entropy_coef * entropy
    return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}


def policy_optimiser(hp: A2C) -> optax.GradientTransformation:
    """Return RMSprop as in PyTorch: eps beside the root, clipped by the group's norm."""
    return optax.chain(
        optax.clip_by_global_norm(hp.max_grad_norm),
        optax.rmsprop(
            hp.learning_rate,
            decay=hp.rmsprop_decay,
            eps=hp.rmsprop_eps,
            eps_in_sqrt=False,
            bias_correction=False,
        ),
    )


def encoder_optimiser(hp: A2C) -> optax.GradientTransformation:
    """Return the Adam of an encoder that RL alone trains, clipped by the group's norm."""
    return optax.chain(
        optax.clip_by_global_norm(hp.max_grad_norm), optax.adam(hp.encoder_learning_rate)
    )


def by_group(groups: dict[str, optax.GradientTransformation]) -> optax.GradientTransformation:
    """Return one optimiser per top-level parameter group, each with norms of its own."""
    return optax.partition(groups, {name: name for name in groups})


def descend(
    optimiser: optax.GradientTransformation, grads: Params, state: optax.OptState, params: Params
) -> tuple[Params, optax.OptState]:
    """Return parameters and optimiser state after one step."""
    updates, state = optimiser.update(grads, state, params)
    return optax.apply_updates(params, updates), state
