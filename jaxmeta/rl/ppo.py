"""Proximal policy optimisation (Schulman et al. 2017) with the details of variBAD and LDM."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmeta.agent import Params, learning_reward
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.nn.optimisers import by_group, descend, part
from jaxmeta.nn.running_statistics import merge, merge_returns, no_samples, scale_down
from jaxmeta.rl.actor_critic import Recurrent, Sequences, sequences
from jaxmeta.rl.gae import targets
from jaxmeta.rl.options import PPO
from jaxmeta.rl.policy_learner import GROUPS, Learned, PolicyLearner, Relabel, unchanged
from jaxmeta.rollout import Rollout

SMALL = 1e-5  # added to the advantages' deviation


class Batch(NamedTuple):
    """What does not change during an update's epochs, [n] samples each."""

    log_prob: Array  # of the actions taken, by the policy that took them
    value: Array
    advantage: Array  # normalised
    returns: Array


Mix = Callable[[Sequences, Batch, Key, Hyper], tuple[Sequences, Batch]]


def normalised(advantage: Array) -> Array:
    """Return advantages with mean 0 and sample deviation 1 over the whole batch."""
    return (advantage - advantage.mean()) / (advantage.std(ddof=1) + SMALL)


def ppo_loss(
    log_prob: Array, value: Array, entropy: Array, batch: Batch, hp: PPO
) -> tuple[Array, dict[str, Array]]:
    """Return the loss over [n] samples, and its parts.

    policy: -mean min(rho A, clip(rho, 1 - c, 1 + c) A); value: half the mean of the larger of
    two Huber losses, of V and of V kept within c of its old value; c_v value - c_e entropy.
    """
    ratio = jnp.exp(log_prob - batch.log_prob)
    clipped = jnp.clip(ratio, 1.0 - hp.clip, 1.0 + hp.clip)
    policy_loss = -jnp.minimum(ratio * batch.advantage, clipped * batch.advantage).mean()
    near = batch.value + jnp.clip(value - batch.value, -hp.clip, hp.clip)
    far, kept = (optax.losses.huber_loss(v, batch.returns) for v in (value, near))
    value_loss = 0.5 * jnp.maximum(far, kept).mean()
    entropy = entropy.mean()
    loss = policy_loss + hp.value_coef * value_loss - hp.entropy_coef * entropy
    parts = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
    return loss, parts | {"clipped": (jnp.abs(ratio - 1.0) > hp.clip).mean()}


def orders(key: jax.Array, samples: int, hp: PPO) -> Array:
    """Return which samples each gradient step reads, [epochs * minibatches, n]."""
    shuffled = jax.vmap(lambda key: jax.random.permutation(key, samples))
    size = samples // hp.minibatches
    order = shuffled(jax.random.split(key, hp.epochs))
    return order[:, : size * hp.minibatches].reshape(hp.epochs * hp.minibatches, size)


def adam(learning_rate: Array | float, hp: PPO) -> optax.GradientTransformation:
    """Return Adam, clipped by the group's norm."""
    return optax.chain(
        optax.clip_by_global_norm(hp.max_grad_norm), optax.adam(learning_rate, eps=1e-8)
    )


def some(batch: Batch, which: Array) -> Batch:
    """Return some of a flat batch's samples."""
    return jax.tree.map(lambda x: x[which], batch)


def ppo_learner(
    env: Env,
    run: Run,
    net: Recurrent,
    mix: Mix | None = None,
    groups: tuple[str, ...] = GROUPS,
    relabel: Relabel = unchanged,
) -> PolicyLearner:
    """Return PPO: several steps per rollout, each on a part of it.

    Every gradient step encodes whole trials anew and reads some of their steps; where the
    encoder is not among the groups that are trained, the rollout's memories stay as they
    are. Old log-probabilities and values, advantages and returns stay. `mix` may change
    what is learned from, before advantages are normalised.
    """
    sections = run.ppo

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        rates = {"encoder": hp.ppo.encoder_learning_rate, "policy": hp.ppo.learning_rate}
        return by_group({name: adam(rates[name], hp.ppo) for name in groups})

    def init(params: Params, hp: Hyper) -> Learned:
        return Learned(optimiser(hp).init(part(params, groups)), no_samples(()))

    def learn(
        params: Params, learned: Learned, rollout: Rollout, key: Key, hp: Hyper
    ) -> tuple[Params, Learned, Metrics]:
        tr = rollout.transitions
        true = tr.env_reward if tr.shaped is None else tr.shaped
        returns = merge_returns(learned.returns, true, tr.over, hp.ppo.gamma)
        reward = learning_reward(relabel(tr))
        if sections.normalise_rewards:
            reward = scale_down(returns, reward)
        old = lax.stop_gradient(net.evaluate(params, rollout))
        advantage, towards = targets(old, tr._replace(reward=reward, shaped=None), hp.ppo)
        read, batch = sequences(env, rollout), Batch(old.log_prob, old.value, advantage, towards)
        key_mix, key_order = jax.random.split(key)
        if mix:
            read, batch = mix(read, batch, key_mix, hp)
        batch = batch._replace(advantage=normalised(batch.advantage))
        flat = jax.tree.map(lambda x: x.reshape(-1), batch)

        def loss(own: Params, which: Array) -> tuple[Array, Metrics]:
            if "encoder" in groups:
                now = net.unroll(params | own, read, tr.action)
            else:
                now = net.evaluate(params | own, rollout)
            log_prob, value, entropy = (
                x.reshape(-1)[which] for x in (now.log_prob, now.value, now.entropy)
            )
            return ppo_loss(log_prob, value, entropy, some(flat, which), hp.ppo)

        def descend_once(carry: Any, which: Array) -> tuple[Any, Metrics]:
            own, opt = carry
            grads, metrics = jax.grad(loss, has_aux=True)(own, which)
            own, opt = descend(optimiser(hp), grads, opt, own)
            return (own, opt), metrics | {"grad_norm": optax.tree.norm(grads)}

        samples = flat.advantage.size
        steps = orders(key_order, samples, sections)
        (own, opt), metrics = lax.scan(descend_once, (part(params, groups), learned.opt), steps)
        params = params | own
        if "obs_statistics" in params:
            seen = merge(params["obs_statistics"], tr.obs.astype(jnp.float32))
            params |= {"obs_statistics": seen}
        return params, Learned(opt, returns), jax.tree.map(jnp.mean, metrics)

    return PolicyLearner(init, learn)
