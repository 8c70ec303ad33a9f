"""Advantage actor-critic: the loss, its optimisers, and one gradient step per rollout."""

import jax
import optax

from jaxmeta.agent import Params, Transition
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.env import Array, Key
from jaxmeta.nn.cache_blocks import blockwise_mean
from jaxmeta.nn.optimisers import by_group, descend, select_groups
from jaxmeta.nn.running_statistics import init_statistics
from jaxmeta.rl.actor_critic import Evaluated, Recurrent
from jaxmeta.rl.gae import advantages_and_returns
from jaxmeta.rl.options import A2C
from jaxmeta.rl.policy_learner import (
    GROUPS,
    Loss,
    PolicyLearner,
    PolicyLearnerState,
    Relabel,
    unchanged,
)
from jaxmeta.rl.update_schedule import FoldPast
from jaxmeta.rollout import Rollout


def a2c_loss(evaluated: Evaluated, tr: Transition, hp: A2C) -> tuple[Array, dict[str, Array]]:
    """Return the loss over [T, W] and its parts (`ldm.md` of the docs, A2C).

    0.5 mean (R - V)^2 - mean A log pi - c mean H, with generalised advantages A from the
    same values, not normalised, and R = A + V.
    """
    advantage, returns = advantages_and_returns(evaluated, tr, hp)
    return loss_from_returns(evaluated, advantage, returns, hp)


def loss_from_returns(
    evaluated: Evaluated, advantage: Array, returns: Array, hp: A2C
) -> tuple[Array, dict[str, Array]]:
    """Return the loss for given advantages and returns [T, W], and its parts."""
    policy_loss = -(advantage * evaluated.log_prob).mean()
    value_loss = ((returns - evaluated.value) ** 2).mean()
    entropy = evaluated.entropy.mean()
    loss = policy_loss + hp.value_coef * value_loss - hp.entropy_coef * entropy
    return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}


def policy_optimiser(hp: A2C) -> optax.GradientTransformation:
    """Return RMSprop as in PyTorch: eps outside the square root, clipped by the group's norm."""
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


def a2c_learner(
    net: Recurrent, loss: Loss | None = None, relabel: Relabel = unchanged
) -> PolicyLearner:
    """Return one step of gradient descent per rollout, by default on the A2C loss.

    Another loss may mix workers, so it gets the whole batch.
    """

    def default_loss(
        params: Params, rollout: Rollout, key: Key, hp: Hyper
    ) -> tuple[Array, Metrics]:
        return a2c_loss(net.evaluate(params, rollout), relabel(rollout.transitions), hp.a2c)

    loss_fn = loss or default_loss

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        return by_group({"encoder": encoder_optimiser(hp.a2c), "policy": policy_optimiser(hp.a2c)})

    def init(params: Params, hp: Hyper) -> PolicyLearnerState:
        return PolicyLearnerState(
            optimiser(hp).init(select_groups(params, GROUPS)), init_statistics(())
        )

    def learn(
        params: Params,
        learned: PolicyLearnerState,
        rollout: Rollout,
        fold_past: FoldPast,
        key: Key,
        hp: Hyper,
    ) -> tuple[Params, PolicyLearnerState, Metrics]:
        trainable = select_groups(params, GROUPS)

        def gradient(rollout: Rollout) -> tuple[Params, Metrics]:
            loss_of = lambda trainable: loss_fn(params | trainable, rollout, key, hp)
            return jax.grad(loss_of, has_aux=True)(trainable)

        grads, metrics = gradient(rollout) if loss else blockwise_mean(gradient, rollout)
        trainable, opt = descend(optimiser(hp), grads, learned.opt, trainable)
        metrics |= {"grad_norm": optax.tree.norm(grads)}
        return params | trainable, learned._replace(opt=opt), metrics

    return PolicyLearner(init, learn)
