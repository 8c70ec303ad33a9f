"""RL2 whose entropy bonus fades: c / (1 + update / half_life)."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta import (
    Algorithm,
    Hyper,
    Networks,
    a2c_loss,
    by_group,
    collect,
    descend,
    encoder_optimiser,
    policy_optimiser,
    recurrent,
    sample_tasks,
    section,
    setting,
    true_return,
    update_key,
)


@section("fading")
class Fading:
    """How the entropy bonus fades."""

    half_life: float = setting(100.0, "updates until half of the bonus is left", low=1.0)


class State(NamedTuple):
    """All that the next step reads: arrays only."""

    params: Any  # groups "encoder" and "policy"
    opt: Any
    key: jax.Array
    update: jax.Array  # []
    hp: Hyper


def make(env, run) -> Algorithm:
    """Return the method for one environment (already in trials) and one run."""
    net = recurrent(env, run, run.networks.head)

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        return by_group({"encoder": encoder_optimiser(hp.a2c), "policy": policy_optimiser(hp.a2c)})

    def init(key, hp: Hyper) -> State:
        params = net.init(jax.random.fold_in(key, 0))
        opt = optimiser(hp).init(params)
        return State(params, opt, jax.random.fold_in(key, 1), jnp.zeros((), jnp.int32), hp)

    def collect_trials(state: State):
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        return collect(net.agent, env, state.params, tasks, key_rollout, run.train_split)

    def step(state: State):
        rollout = collect_trials(state)
        fading = state.hp.a2c.entropy_coef / (1 + state.update / state.hp.fading.half_life)
        hp = replace(state.hp.a2c, entropy_coef=fading)

        def loss(params):
            return a2c_loss(net.evaluate(params, rollout), rollout.transitions, hp)

        grads, metrics = jax.grad(loss, has_aux=True)(state.params)
        params, opt = descend(optimiser(state.hp), grads, state.opt, state.params)
        metrics |= {"return_train": true_return(rollout.transitions), "entropy_coef": fading}
        return state._replace(params=params, opt=opt, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params)


make.sections = Networks, Fading
make.rl = ("a2c",)
