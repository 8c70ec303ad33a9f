"""RL2 (Duan et al. 2016): a recurrent policy, trained by RL over whole trials."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta.a2c import a2c_loss, by_group, descend, encoder_optimiser, policy_optimiser
from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm, Hyper, Metrics, sample_tasks, true_return, update_key
from jaxmeta.config import A2C, Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.recurrent import recurrent
from jaxmeta.rollout import Rollout, collect


class RL2State(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder" and "policy"
    opt: optax.OptState
    key: Key
    update: Array  # []
    hp: Hyper


def optimiser(hp: A2C) -> optax.GradientTransformation:
    """Return one optimiser for the policy and one for its encoder."""
    return by_group({"encoder": encoder_optimiser(hp), "policy": policy_optimiser(hp)})


def rl2(env: Env, run: Run) -> Algorithm:
    """Return RL2 with A2C."""
    net = recurrent(env, run, run.networks.head)

    def init(key: Key, hp: Hyper) -> RL2State:
        params = net.init(jax.random.fold_in(key, 0))
        opt = optimiser(hp.a2c).init(params)
        return RL2State(params, opt, jax.random.fold_in(key, 1), jnp.zeros((), jnp.int32), hp)

    def collect_trials(state: RL2State) -> Rollout:
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        return collect(net.agent, env, state.params, tasks, key_rollout, run.train_split)

    def step(state: RL2State) -> tuple[RL2State, Metrics]:
        rollout = collect_trials(state)

        def loss(params: Params) -> tuple[Array, Metrics]:
            return a2c_loss(net.evaluate(params, rollout), rollout.transitions, state.hp.a2c)

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        params, opt = descend(optimiser(state.hp.a2c), grads, state.opt, state.params)
        metrics |= {
            "return_train": true_return(rollout.transitions),
            "grad_norm": optax.tree.norm(grads),
        }
        return state._replace(params=params, opt=opt, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params)
