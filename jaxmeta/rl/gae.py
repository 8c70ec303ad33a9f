"""Returns and advantages of one worker; `vmap` with `in_axes=1` for many."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.agent import Transition, learning_reward
from jaxmeta.axes import scan
from jaxmeta.env import Array
from jaxmeta.rl.actor_critic import Evaluated
from jaxmeta.rl.options import A2C, PPO


def gae(
    reward: Array,
    value: Array,
    discount: Array,
    cut: Array,
    bootstrap: Array,
    gamma: Array | float,
    lam: Array | float,
) -> Array:
    """Return generalised advantages [T] (Schulman et al. 2016, Eq. 16).

    Args:
      reward, value, discount: [T]; discount is 0 where nothing follows, else 1.
      cut: [T] bool, steps whose advantage is 0, which cuts the recursion there.
      bootstrap: [] the value after the last step.
      gamma, lam: [] discount per step and decay of the multi-step mixture.
    """

    def step(carry: tuple[Array, Array], inputs: tuple[Array, ...]) -> tuple[tuple, Array]:
        advantage, next_value = carry
        reward, value, discount, cut = inputs
        delta = reward + gamma * discount * next_value - value
        advantage = jnp.where(cut, 0.0, delta + gamma * lam * discount * advantage)
        return (advantage, value), advantage

    start = (bootstrap * 0, bootstrap)
    _, advantages = scan(step, start, (reward, value, discount, cut), reverse=True)
    return advantages


def advantages_and_returns(
    evaluated: Evaluated, tr: Transition, hp: A2C | PPO
) -> tuple[Array, Array]:
    """Return generalised advantages A and returns R = A + V, [T, W], without gradients."""
    value, bootstrap = lax.stop_gradient((evaluated.value, evaluated.bootstrap))
    reward = learning_reward(tr)
    cut = jnp.broadcast_to(tr.limit if hp.credit == "episode" else False, reward.shape)
    by_worker = jax.vmap(gae, in_axes=(1, 1, 1, 1, 0, None, None), out_axes=1)
    advantage = by_worker(reward, value, tr.discount, cut, bootstrap, hp.gamma, hp.gae_lambda)
    return advantage, advantage + value
