"""variBAD (Zintgraf et al. 2020) as in LDM's gridworld: one encoder for policy and belief.

The policy acts on the belief's mean and logvar. The RL loss and the ELBO go through the
shared encoder in one backward pass.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta import buffers
from jaxmeta.a2c import a2c_loss, by_group, descend, policy_optimiser
from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm, Hyper, Metrics, sample_tasks, true_return, update_key
from jaxmeta.belief import variational_belief
from jaxmeta.config import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.recurrent import recurrent
from jaxmeta.rollout import Rollout, collect


class VariBADState(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder", "policy" and "decoder"
    opt: optax.OptState
    replay: buffers.Trajectories
    key: Key
    update: Array  # []
    hp: Hyper


def optimiser(hp: Hyper) -> optax.GradientTransformation:
    """Return RMSprop for the policy, Adam for encoder and decoder.

    The encoder's gradient, of both losses together, is clipped; the decoder's is not.
    """
    adam = optax.adam(hp.vae.learning_rate)
    return by_group(
        {
            "encoder": optax.chain(optax.clip_by_global_norm(hp.a2c.max_grad_norm), adam),
            "policy": policy_optimiser(hp.a2c),
            "decoder": adam,
        }
    )


def varibad(env: Env, run: Run) -> Algorithm:
    """Return variBAD with A2C and a shared encoder."""
    net = recurrent(env, run, run.vae.latent)
    belief = variational_belief(env, run, net.encoder, "encoder")

    def init(key: Key, hp: Hyper) -> VariBADState:
        key_net, key_belief = jax.random.split(jax.random.fold_in(key, 0))
        params = belief.init(key_belief) | net.init(key_net)
        opt = optimiser(hp).init(params)
        replay = buffers.empty(buffers.replayed_like(env), run.vae.capacity)
        key = jax.random.fold_in(key, 1)
        return VariBADState(params, opt, replay, key, jnp.zeros((), jnp.int32), hp)

    def collect_trials(state: VariBADState) -> Rollout:
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        return collect(net.agent, env, state.params, tasks, key_rollout, run.train_split)

    def step(state: VariBADState) -> tuple[VariBADState, Metrics]:
        rollout = collect_trials(state)
        key_batch, key_elbo = jax.random.split(update_key(state, 1))
        replay = buffers.add(state.replay, buffers.replayed(rollout.transitions), run.vae.replay)
        batch = buffers.sample(replay, key_batch, run.vae.batch)

        def loss(params: Params) -> tuple[Array, Metrics]:
            rl_loss, metrics = a2c_loss(
                net.evaluate(params, rollout), rollout.transitions, state.hp.a2c
            )
            elbo_loss, elbo_metrics = belief.elbo(params, batch, key_elbo, state.hp.vae)
            return rl_loss + elbo_loss, metrics | elbo_metrics

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        params, opt = descend(optimiser(state.hp), grads, state.opt, state.params)
        metrics |= {
            "return_train": true_return(rollout.transitions),
            "grad_norm": optax.tree.norm(grads),
        }
        state = state._replace(params=params, opt=opt, replay=replay, update=state.update + 1)
        return state, metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params, belief)
