"""Advantage actor-critic: the loss, its optimisers, and one gradient step per rollout."""

import jax
import optax

from jaxmeta.agent import Params, Transition
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.env import Array, Key
from jaxmeta.nn.cache_blocks import average
from jaxmeta.nn.optimisers import by_group, descend, part
from jaxmeta.nn.running_statistics import no_samples
from jaxmeta.rl.actor_critic import Evaluated, Recurrent
from jaxmeta.rl.gae import targets
from jaxmeta.rl.options import A2C
from jaxmeta.rl.policy_learner import GROUPS, Learned, Loss, PolicyLearner, Relabel, unchanged
from jaxmeta.rollout import Rollout


def a2c_loss(evaluated: Evaluated, tr: Transition, hp: A2C) -> tuple[Array, dict[str, Array]]:
    """Return the loss over [T, W] and its parts (`ldm.md` of the docs, A2C).

    0.5 mean (R - V)^2 - mean A log pi - c mean H, with generalised advantages A from the
    same values, not normalised, and R = A + V.
    """
    advantage, returns = targets(evaluated, tr, hp)
    return loss_towards(evaluated, advantage, returns, hp)


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


def a2c_learner(
    net: Recurrent, loss: Loss | None = None, relabel: Relabel = unchanged
) -> PolicyLearner:
    """Return one step of gradient descent per rollout, by default on the A2C loss.

    A loss given in its place may have workers meet, and sees all of them at once.
    """

    def plain(params: Params, rollout: Rollout, key: Key, hp: Hyper) -> tuple[Array, Metrics]:
        return a2c_loss(net.evaluate(params, rollout), relabel(rollout.transitions), hp.a2c)

    chosen = loss or plain

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        return by_group({"encoder": encoder_optimiser(hp.a2c), "policy": policy_optimiser(hp.a2c)})

    def init(params: Params, hp: Hyper) -> Learned:
        return Learned(optimiser(hp).init(part(params, GROUPS)), no_samples(()))

    def learn(
        params: Params, learned: Learned, rollout: Rollout, key: Key, hp: Hyper
    ) -> tuple[Params, Learned, Metrics]:
        own = part(params, GROUPS)

        def gradient(rollout: Rollout) -> tuple[Params, Metrics]:
            of = lambda own: chosen(params | own, rollout, key, hp)
            return jax.grad(of, has_aux=True)(own)

        grads, metrics = gradient(rollout) if loss else average(gradient, rollout)
        own, opt = descend(optimiser(hp), grads, learned.opt, own)
        metrics |= {"grad_norm": optax.tree.norm(grads)}
        return params | own, learned._replace(opt=opt), metrics

    return PolicyLearner(init, learn)
