"""How a policy learns from rollouts: A2C's one gradient step, or PPO's several."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmeta.agent import Params, Transition
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.nn.cache_blocks import average
from jaxmeta.nn.running_statistics import Statistics, merge, merge_returns, no_samples, scale_down
from jaxmeta.rl.a2c import a2c_loss, by_group, descend, encoder_optimiser, policy_optimiser, targets
from jaxmeta.rl.actor_critic import Recurrent, Sequences, sequences
from jaxmeta.rl.ppo import Batch, adam, normalised, orders, ppo_loss
from jaxmeta.rollout import Rollout

GROUPS = ("encoder", "policy")  # the parameters that RL trains


class Learned(NamedTuple):
    """What learning remembers beside the parameters."""

    opt: optax.OptState
    returns: Statistics  # of discounted returns, in the environment's reward


class PolicyLearner(NamedTuple):
    """A way to learn; `params` may hold other groups, which stay as they are.

    Attributes:
      init: (params, hp) -> Learned.
      learn: (params, learned, rollout [T, W], key, hp) -> (params, learned, metrics).
    """

    init: Callable[[Params, Hyper], Learned]
    learn: Callable[..., tuple[Params, Learned, Metrics]]


Loss = Callable[[Params, Rollout, Key, Hyper], tuple[Array, Metrics]]
Mix = Callable[[Sequences, Batch, Key, Hyper], tuple[Sequences, Batch]]


def policy_learner(env: Env, run: Run, net: Recurrent) -> PolicyLearner:
    """Return what the run asks for."""
    return a2c_learner(net) if run.rl == "a2c" else ppo_learner(env, run, net)


def rewarded(tr: Transition, hp: Hyper) -> Transition:
    """Return transitions with the rewards that returns are made of (`imagination.returns`)."""
    real = hp.imagination is not None and hp.imagination.returns == "real"
    return tr._replace(reward=tr.env_reward) if real else tr


def some(batch: Batch, which: Array) -> Batch:
    """Return some of a flat batch's samples."""
    return jax.tree.map(lambda x: x[which], batch)


def part(params: Params, groups: tuple[str, ...]) -> Params:
    """Return some of the parameter groups."""
    return {name: params[name] for name in groups}


def a2c_learner(net: Recurrent, loss: Loss | None = None) -> PolicyLearner:
    """Return one step of gradient descent per rollout, by default on the A2C loss.

    A loss given in its place may have workers meet, and sees all of them at once.
    """

    def plain(params: Params, rollout: Rollout, key: Key, hp: Hyper) -> tuple[Array, Metrics]:
        return a2c_loss(net.evaluate(params, rollout), rewarded(rollout.transitions, hp), hp.a2c)

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


def ppo_learner(
    env: Env,
    run: Run,
    net: Recurrent,
    mix: Mix | None = None,
    groups: tuple[str, ...] = GROUPS,
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
        returns = merge_returns(learned.returns, tr.env_reward, tr.over, hp.ppo.gamma)
        paid = rewarded(tr, hp)
        if sections.normalise_rewards:
            paid = paid._replace(reward=scale_down(returns, paid.reward))
        old = lax.stop_gradient(net.evaluate(params, rollout))
        advantage, towards = targets(old, paid, hp.ppo)
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
