"""Collect trials, take one gradient step: what RL2 and its regularised kin have in common."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta.a2c import by_group, descend, encoder_optimiser, policy_optimiser
from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm, Hyper, Metrics, sample_tasks, true_return, update_key
from jaxmeta.config import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.recurrent import Recurrent
from jaxmeta.rollout import Rollout, collect
from jaxmeta.sections import A2C

Loss = Callable[[Params, Rollout, Key, Hyper], tuple[Array, Metrics]]


class LearnerState(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder" and "policy"
    opt: optax.OptState
    key: Key
    update: Array  # []
    hp: Hyper


def optimiser(hp: A2C) -> optax.GradientTransformation:
    """Return one optimiser for the policy and one for its encoder."""
    return by_group({"encoder": encoder_optimiser(hp), "policy": policy_optimiser(hp)})


def learner(env: Env, run: Run, net: Recurrent, loss: Loss) -> Algorithm:
    """Return the method that descends on `loss` (params, rollout [T, W], key, hp)."""

    def init(key: Key, hp: Hyper) -> LearnerState:
        params = net.init(jax.random.fold_in(key, 0))
        opt = optimiser(hp.a2c).init(params)
        return LearnerState(params, opt, jax.random.fold_in(key, 1), jnp.zeros((), jnp.int32), hp)

    def collect_trials(state: LearnerState) -> Rollout:
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        return collect(net.agent, env, state.params, tasks, key_rollout, run.train_split)

    def step(state: LearnerState) -> tuple[LearnerState, Metrics]:
        rollout = collect_trials(state)
        descent = jax.grad(loss, has_aux=True)
        grads, metrics = descent(state.params, rollout, update_key(state, 1), state.hp)
        params, opt = descend(optimiser(state.hp.a2c), grads, state.opt, state.params)
        metrics |= {
            "return_train": true_return(rollout.transitions),
            "grad_norm": optax.tree.norm(grads),
        }
        return state._replace(params=params, opt=opt, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params)
