"""Soft actor-critic (Haarnoja et al. 2018) for policies that see the observation and a belief.

Clipped double-Q: the minimum of two critics; an actor whose Gaussian is squashed by tanh; a
temperature that is fixed, or learned. Every transition has a weight.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax

from jaxmeta.agent import Params
from jaxmeta.algorithm import Metrics
from jaxmeta.env import Array, Box, Env, Key
from jaxmeta.errors import ConfigError
from jaxmeta.nn.networks import Linear, apply, example_action, example_obs
from jaxmeta.nn.optimisers import by_group, descend, select_groups
from jaxmeta.rl.options import SAC

LOG_STD = (-20.0, 2.0)  # range of the actor's log standard deviation
GROUPS = ("actor", "critics")


class Batch(NamedTuple):
    """Transitions [n], with the beliefs before and after them."""

    obs: Array  # [n, O]
    belief: Array  # [n, F]
    action: Array  # [n, A] in units of the action space's bounds
    reward: Array  # [n]
    next_obs: Array  # [n, O]
    next_belief: Array  # [n, F]
    discount: Array  # [n] 0 where no value may be bootstrapped
    weight: Array  # [n] of its errors


class SACState(NamedTuple):
    """Target critics, temperature and optimiser states."""

    targets: Params  # of the critics, an exponential moving average
    log_temperature: Array  # []
    opt: optax.OptState
    temperature_opt: optax.OptState


class Squashed(NamedTuple):
    """Actions and their log-probabilities."""

    action: Array  # [..., A]
    log_prob: Array  # [...] of the density over actions in [-1, 1]


class SoftActorCritic(NamedTuple):
    """SAC's functions; `params` has the groups "actor" and "critics".

    Attributes:
      init: (key, belief entries) -> params.
      act: (params, obs, belief, noise) -> action, for any leading axes; zero noise: the mode.
      init_state: (params, hp) -> SACState.
      learn: (params, learned, Batch, key, hp) -> (params, learned, metrics), a gradient step.
    """

    init: Callable[[Key, int], Params]
    act: Callable[[Params, Array, Array, Array], Array]
    init_state: Callable[[Params, SAC], SACState]
    learn: Callable[..., tuple[Params, SACState, Metrics]]


class Stack(nn.Module):
    """An MLP on [embedded] observations, beliefs and further inputs."""

    sizes: SAC
    outputs: int

    @nn.compact
    def __call__(self, obs: Array, belief: Array, *more: Array) -> Array:
        """Return [..., outputs]."""
        parts = []
        for x, width in ((obs, self.sizes.obs_embedding), (belief, self.sizes.belief_embedding)):
            parts.append(nn.relu(Linear(width)(x)) if width else x)
        x = jnp.concatenate([*parts, *more], axis=-1)
        for width in self.sizes.layers:
            x = nn.relu(Linear(width)(x))
        return Linear(self.outputs)(x)


def squash(outputs: Array, noise: Array) -> Squashed:
    """Return tanh of a Gaussian's sample, from its mean and log standard deviation [..., 2 A].

    log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)) does not vanish in rounding.
    """
    mean, log_std = jnp.split(outputs, 2, axis=-1)
    log_std = jnp.clip(log_std, *LOG_STD)
    u = mean + jnp.exp(log_std) * noise
    normal = -0.5 * (noise**2 + jnp.log(2 * jnp.pi)) - log_std
    log_det = 2 * (jnp.log(2.0) - u - nn.softplus(-2 * u))
    return Squashed(jnp.tanh(u), (normal - log_det).sum(-1))


def continuous_actions(env: Env) -> Box:
    """Return the environment's action space.

    Raises:
      ConfigError: actions are discrete.
    """
    if not isinstance(env.action_space, Box):
        raise ConfigError(
            "rl = 'sac': needs an environment with continuous actions; these are discrete"
        )
    return env.action_space


def soft_actor_critic(env: Env, options: SAC) -> SoftActorCritic:
    """Return SAC for an environment with continuous actions.

    Actions fill [-1, 1], the units of the action space's bounds.

    Raises:
      ConfigError: actions are discrete.
    """
    (actions,) = continuous_actions(env).shape
    actor, critic = Stack(options, 2 * actions), Stack(options, 1)

    def optimiser(hp: SAC) -> optax.GradientTransformation:
        clipped = optax.chain(
            optax.clip_by_global_norm(hp.max_grad_norm), optax.adam(hp.learning_rate)
        )
        return by_group(dict.fromkeys(GROUPS, clipped))

    def init(key: Key, width: int) -> Params:
        obs, belief, action = example_obs(env), jnp.zeros(width), example_action(env)
        key_actor, *keys = jax.random.split(key, 3)
        return {
            "actor": actor.init(key_actor, obs, belief),
            "critics": [critic.init(key, obs, belief, action) for key in keys],
        }

    def act(params: Params, obs: Array, belief: Array, noise: Array) -> Array:
        outputs = apply(actor, params["actor"], obs, belief)
        return squash(outputs, noise).action

    def q_values(critics: Params, obs: Array, belief: Array, action: Array) -> list[Array]:
        """Return both critics' values [n] of actions in [-1, 1]."""
        return [apply(critic, p, obs, belief, action)[..., 0] for p in critics]

    def init_state(params: Params, hp: SAC) -> SACState:
        trainable = select_groups(params, GROUPS)
        log_temperature = jnp.log(hp.temperature)
        temperature_opt = optax.adam(hp.learning_rate).init(log_temperature)
        targets = jax.tree.map(jnp.copy, params["critics"])  # an array is donated once only
        return SACState(targets, log_temperature, optimiser(hp).init(trainable), temperature_opt)

    def learn(
        params: Params, learned: SACState, batch: Batch, key: Key, hp: SAC
    ) -> tuple[Params, SACState, Metrics]:
        temperature = jnp.exp(learned.log_temperature)
        noise, next_noise = jax.random.normal(key, (2, *batch.action.shape))
        outputs = apply(actor, params["actor"], batch.next_obs, batch.next_belief)
        after = squash(outputs, next_noise)
        next_q = q_values(learned.targets, batch.next_obs, batch.next_belief, after.action)
        next_v = jnp.minimum(*next_q) - temperature * after.log_prob
        target_q = hp.reward_scale * batch.reward + hp.gamma * batch.discount * next_v
        target_q = lax.stop_gradient(target_q)

        def losses(trainable: Params) -> tuple[Array, Metrics]:
            q_pred = q_values(trainable["critics"], batch.obs, batch.belief, batch.action)
            critic_loss = jnp.stack(
                [(batch.weight * (q - target_q) ** 2).mean() for q in q_pred]
            ).sum()
            now = squash(apply(actor, trainable["actor"], batch.obs, batch.belief), noise)
            fixed = lax.stop_gradient(trainable["critics"])
            min_q = jnp.minimum(*q_values(fixed, batch.obs, batch.belief, now.action))
            actor_loss = (batch.weight * (temperature * now.log_prob - min_q)).mean()
            return critic_loss + actor_loss, {
                "policy_loss": actor_loss,
                "value_loss": critic_loss,
                "value": jnp.minimum(*q_pred).mean(),
                "entropy": -now.log_prob.mean(),
            }

        trainable = select_groups(params, GROUPS)
        grads, metrics = jax.grad(losses, has_aux=True)(trainable)
        trainable, opt = descend(optimiser(hp), grads, learned.opt, trainable)
        targets = optax.incremental_update(trainable["critics"], learned.targets, hp.polyak)
        log_temperature, temperature_opt = learned.log_temperature, learned.temperature_opt
        if options.entropy == "learned":  # the target entropy is -1 per action dimension
            temperature_grad = metrics["entropy"] + actions
            log_temperature, temperature_opt = descend(
                optax.adam(hp.learning_rate), temperature_grad, temperature_opt, log_temperature
            )
        metrics |= {"grad_norm": optax.tree.norm(grads), "temperature": temperature}
        learned = SACState(targets, log_temperature, opt, temperature_opt)
        return params | trainable, learned, metrics

    return SoftActorCritic(init, act, init_state, learn)
