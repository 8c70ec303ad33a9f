"""Collect trials, learn from them: what RL2 and its regularised kin have in common."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Params
from jaxmeta.algorithm import (
    Algorithm,
    Hyper,
    Metrics,
    breakdowns,
    sample_tasks,
    true_return,
    update_key,
)
from jaxmeta.config import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.policy import Learned, PolicyLearner
from jaxmeta.recurrent import Recurrent
from jaxmeta.rollout import Rollout, collect


class LearnerState(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder" and "policy"
    learned: Learned
    key: Key
    update: Array  # []
    hp: Hyper


def learner(env: Env, run: Run, net: Recurrent, policy: PolicyLearner) -> Algorithm:
    """Return the method that learns from its workers' trials alone."""

    def init(key: Key, hp: Hyper) -> LearnerState:
        params = net.init(jax.random.fold_in(key, 0))
        learned = policy.init(params, hp)
        key = jax.random.fold_in(key, 1)
        return LearnerState(params, learned, key, jnp.zeros((), jnp.int32), hp)

    def collect_trials(state: LearnerState) -> Rollout:
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        return collect(net.agent, env, state.params, tasks, key_rollout, run.train_split)

    def step(state: LearnerState) -> tuple[LearnerState, Metrics]:
        rollout = collect_trials(state)
        params, learned, metrics = policy.learn(
            state.params, state.learned, rollout, update_key(state, 1), state.hp
        )
        metrics |= {"return_train": true_return(rollout.transitions)}
        metrics |= breakdowns(env, rollout.transitions)
        return state._replace(params=params, learned=learned, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params)
