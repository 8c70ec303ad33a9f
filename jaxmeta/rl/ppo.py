"""Proximal policy optimisation (Schulman et al. 2017) with the details of variBAD and LDM."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmeta.agent import Params, Transition, learning_reward
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key
from jaxmeta.nn.optimisers import by_group, descend, select_groups
from jaxmeta.nn.running_statistics import (
    init_statistics,
    scale_by_return_std,
    update_return_statistics,
    update_statistics,
)
from jaxmeta.rl.actor_critic import Evaluated, NetworkInputs, Recurrent, network_inputs
from jaxmeta.rl.gae import advantages_and_returns
from jaxmeta.rl.minibatches import (
    Batch,
    Samples,
    minibatch_indices,
    require_minibatches,
    take_minibatch,
)
from jaxmeta.rl.options import PPO
from jaxmeta.rl.policy_learner import GROUPS, PolicyLearner, PolicyLearnerState, Relabel, unchanged
from jaxmeta.rl.update_schedule import FoldPast, update_schedule
from jaxmeta.rollout import Rollout
from jaxmeta.trial import Trial

EPS = 1e-5  # added to the advantages' standard deviation


Mix = Callable[[NetworkInputs, Batch, Key, Hyper], tuple[NetworkInputs, Batch]]


def normalised(advantage: Array) -> Array:
    """Return advantages with mean 0 and sample standard deviation 1 over the whole batch."""
    return (advantage - advantage.mean()) / (advantage.std(ddof=1) + EPS)


def ppo_loss(samples: Samples, hp: PPO) -> tuple[Array, dict[str, Array]]:
    """Return the loss over a minibatch, and its parts.

    policy: -mean min(rho A, clip(rho, 1 - c, 1 + c) A); value: half the mean of the larger of
    two Huber losses, of V and of V clipped to within c of its old value; c_v value - c_e entropy.
    """
    log_prob, value, entropy, batch = samples
    ratio = jnp.exp(log_prob - batch.log_prob)
    clipped_ratio = jnp.clip(ratio, 1.0 - hp.clip, 1.0 + hp.clip)
    policy_loss = -jnp.minimum(ratio * batch.advantage, clipped_ratio * batch.advantage).mean()
    clipped_value = batch.value + jnp.clip(value - batch.value, -hp.clip, hp.clip)
    unclipped, clipped = (optax.losses.huber_loss(v, batch.returns) for v in (value, clipped_value))
    value_loss = 0.5 * jnp.maximum(unclipped, clipped).mean()
    entropy = entropy.mean()
    loss = policy_loss + hp.value_coef * value_loss - hp.entropy_coef * entropy
    parts = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
    return loss, parts | {"clipped": (jnp.abs(ratio - 1.0) > hp.clip).mean()}


def adam(learning_rate: Array | float, hp: PPO) -> optax.GradientTransformation:
    """Return Adam, clipped by the group's norm."""
    return optax.chain(
        optax.clip_by_global_norm(hp.max_grad_norm), optax.adam(learning_rate, eps=1e-8)
    )


def true_reward(tr: Transition) -> Array:
    """Return the reward that statistics are of: the environment's, or its shaped one."""
    return tr.env_reward if tr.shaped is None else tr.shaped


def ppo_learner(
    env: Trial,
    run: Run,
    net: Recurrent,
    mix: Mix | None = None,
    groups: tuple[str, ...] = GROUPS,
    relabel: Relabel = unchanged,
) -> PolicyLearner:
    """Return PPO: several minibatch steps per rollout.

    Every gradient step encodes its minibatch again; where the encoder is not among the trained
    groups, the rollout's hidden states are used. Old log-probabilities and values, advantages and
    returns are fixed. `mix` may change inputs and batch before advantages are normalised.

    Raises:
      ConfigError: an update has too few steps or workers.
    """
    options = run.ppo
    require_minibatches(run, update_schedule(env, run, net.agent).length)

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        rates = {"encoder": hp.ppo.encoder_learning_rate, "policy": hp.ppo.learning_rate}
        return by_group({name: adam(rates[name], hp.ppo) for name in groups})

    def evaluate(params: Params, rollout: Rollout, inputs: NetworkInputs) -> Evaluated:
        if "encoder" in groups:
            return net.unroll(params, inputs, rollout.transitions.action)
        return net.evaluate(params, rollout)

    def init(params: Params, hp: Hyper) -> PolicyLearnerState:
        return PolicyLearnerState(
            optimiser(hp).init(select_groups(params, groups)), init_statistics(())
        )

    def learn(
        params: Params,
        learned: PolicyLearnerState,
        rollout: Rollout,
        fold_past: FoldPast,
        key: Key,
        hp: Hyper,
    ) -> tuple[Params, PolicyLearnerState, Metrics]:
        tr, gamma = rollout.transitions, hp.ppo.gamma
        start = fold_past(lambda g, step: gamma * g + true_reward(step), jnp.zeros(()))
        return_statistics = update_return_statistics(
            learned.returns,
            true_reward(tr),
            tr.over,
            gamma,
            jnp.broadcast_to(start, tr.over.shape[1:]),
            options.last_return,
        )
        reward = learning_reward(relabel(tr))
        if options.normalise_rewards:
            reward = scale_by_return_std(return_statistics, reward)
        old = lax.stop_gradient(net.evaluate(params, rollout))
        advantage, returns = advantages_and_returns(
            old, tr._replace(reward=reward, shaped=None), hp.ppo
        )
        inputs = network_inputs(env, rollout)
        batch = Batch(old.log_prob, old.value, advantage, returns)
        key_mix, key_order = jax.random.split(key)
        if mix:
            inputs, batch = mix(inputs, batch, key_mix, hp)
        batch = batch._replace(advantage=normalised(batch.advantage))

        def loss(trainable: Params, which: Array) -> tuple[Array, Metrics]:
            at = lambda rollout, inputs: evaluate(params | trainable, rollout, inputs)
            return ppo_loss(take_minibatch(at, rollout, inputs, batch, which, options), hp.ppo)

        def train_step(carry: Any, which: Array) -> tuple[Any, Metrics]:
            trainable, opt = carry
            grads, metrics = jax.grad(loss, has_aux=True)(trainable, which)
            trainable, opt = descend(optimiser(hp), grads, opt, trainable)
            return (trainable, opt), metrics | {"grad_norm": optax.tree.norm(grads)}

        order = minibatch_indices(key_order, rollout, options)
        (trainable, opt), metrics = lax.scan(
            train_step, (select_groups(params, groups), learned.opt), order
        )
        params = params | trainable
        if "obs_statistics" in params:
            updated = update_statistics(params["obs_statistics"], tr.obs.astype(jnp.float32))
            params |= {"obs_statistics": updated}
        return params, PolicyLearnerState(opt, return_statistics), jax.tree.map(jnp.mean, metrics)

    return PolicyLearner(init, learn)
