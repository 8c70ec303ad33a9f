"""A belief's separate training: gradient steps on the ELBO of replayed trials."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxmeta.agent import Belief, Params
from jaxmeta.algorithm import Metrics
from jaxmeta.beliefs.options import VAE
from jaxmeta.config.run import Run
from jaxmeta.env import Key
from jaxmeta.nn.optimisers import descend, select_groups
from jaxmeta.replay import ring_buffer

Carry = tuple[Params, optax.OptState]


class BeliefLearner(NamedTuple):
    """Trains the belief; other groups of `params` are unchanged.

    Attributes:
      init: (params, hp) -> optimiser state.
      learn: (params, opt, replay, key, hp) -> (params, opt, metrics); `vae.updates` steps,
        each on a fresh batch; none while the replay is empty, then metrics are 0.
    """

    init: Callable[[Params, VAE], optax.OptState]
    learn: Callable[..., tuple[Params, optax.OptState, Metrics]]


def belief_learner(belief: Belief, run: Run, groups: tuple[str, ...]) -> BeliefLearner:
    """Return one Adam for encoder and decoder together, no clipping."""

    def optimiser(hp: VAE) -> optax.GradientTransformation:
        return optax.adam(hp.learning_rate)

    def init(params: Params, hp: VAE) -> optax.OptState:
        return optimiser(hp).init(select_groups(params, groups))

    def learn(
        params: Params, opt: optax.OptState, replay: ring_buffer.Trajectories, key: Key, hp: VAE
    ) -> tuple[Params, optax.OptState, Metrics]:
        def train_step(carry: Carry, key: Key) -> tuple[Carry, Metrics]:
            trainable, opt = carry
            key_batch, key_elbo = jax.random.split(key)
            batch = ring_buffer.sample(replay, key_batch, run.vae.batch)
            grads, metrics = jax.grad(belief.elbo, has_aux=True)(trainable, batch, key_elbo, hp)
            return descend(optimiser(hp), grads, opt, trainable), metrics

        def train(start: Carry) -> tuple[Carry, Metrics]:
            after, metrics = lax.scan(train_step, start, jax.random.split(key, run.vae.updates))
            return after, jax.tree.map(jnp.mean, metrics)

        def wait(start: Carry) -> tuple[Carry, Metrics]:
            like = jax.eval_shape(train, start)[1]
            return start, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

        # The first phase of the first update precedes the first whole trial (`ppo.update`).
        start = select_groups(params, groups), opt
        (trainable, opt), metrics = lax.cond(replay.seen > 0, train, wait, start)
        return params | trainable, opt, metrics

    return BeliefLearner(init, learn)
