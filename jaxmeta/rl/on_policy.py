"""Collect trials, learn from them: the loop of RL2, Mixreg and variBAD."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Belief, Params
from jaxmeta.algorithm import (
    Algorithm,
    Hyper,
    Metrics,
    count_breakdowns,
    sample_tasks,
    true_return,
    update_key,
)
from jaxmeta.axes import shard_workers
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.elbo_trials import elbo_trial_like, elbo_trials
from jaxmeta.rl.a2c import a2c_learner
from jaxmeta.rl.actor_critic import Recurrent
from jaxmeta.rl.policy_learner import PolicyLearner, PolicyLearnerState, Relabel, unchanged
from jaxmeta.rl.ppo import ppo_learner
from jaxmeta.rl.update_schedule import FoldPast, update_schedule
from jaxmeta.rollout import Rollout, Worker, advance_workers, start_workers
from jaxmeta.trial import Trial


def policy_learner(
    env: Trial, run: Run, net: Recurrent, relabel: Relabel = unchanged
) -> PolicyLearner:
    """Return the run's learner; `relabel` gives the rewards that returns are computed from."""
    if run.rl == "a2c":
        return a2c_learner(net, relabel=relabel)
    return ppo_learner(env, run, net, relabel=relabel)


class OnPolicyState(NamedTuple):
    """All that the next step reads."""

    params: Params
    learned: Any  # the learner's state
    replay: ring_buffer.Trajectories | None  # None if the method has no replay
    key: Key
    update: Array  # []
    hp: Hyper


class Carry(NamedTuple):
    """What the phases of a step hand on."""

    params: Params
    learned: Any
    replay: ring_buffer.Trajectories | None
    workers: Worker  # [W]
    trial_transitions: Any  # of the trial so far


class Learner(NamedTuple):
    """Updates the parameters from a rollout, and from a replay if there is one.

    Attributes:
      init: (params, hp) -> learned, its state.
      learn: (params, learned, rollout, fold_past, replay, key, hp) -> (params, learned, metrics);
        see `PolicyLearner`.
    """

    init: Callable[[Params, Hyper], Any]
    learn: Callable[..., tuple[Params, Any, Metrics]]


def policy_only(policy: PolicyLearner) -> Learner:
    """Return the learner of methods that train only a policy."""

    def learn(
        params: Params,
        learned: PolicyLearnerState,
        rollout: Rollout,
        fold_past: FoldPast,
        replay: None,
        key: Key,
        hp: Hyper,
    ) -> tuple[Params, PolicyLearnerState, Metrics]:
        return policy.learn(params, learned, rollout, fold_past, key, hp)

    return Learner(policy.init, learn)


def on_policy(
    env: Trial,
    run: Run,
    net: Recurrent,
    init_params: Callable[[Key], Params],
    learner: Learner,
    belief: Belief | None = None,
    replay_spec: ring_buffer.ReplaySpec | None = None,
) -> Algorithm:
    """Return the method that learns from its workers' trials, and from a replay if specified."""
    schedule = update_schedule(env, run, net.agent)

    def init(key: Key, hp: Hyper) -> OnPolicyState:
        params = init_params(jax.random.fold_in(key, 0))
        replay = replay_spec and ring_buffer.empty(elbo_trial_like(env), replay_spec.capacity)
        key = jax.random.fold_in(key, 1)
        zero = jnp.zeros((), jnp.int32)
        return OnPolicyState(params, learner.init(params, hp), replay, key, zero, hp)

    def start_trials(state: OnPolicyState) -> tuple[Worker, Array]:
        """Return the workers at the start of their trials, and their keys, [W] each."""
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        tasks, keys = shard_workers((tasks, jax.random.split(key_rollout, run.workers)))
        return start_workers(net.agent, env, state.params, tasks, keys), keys

    def advance(
        params: Params, workers: Worker, keys: Array, length: int
    ) -> tuple[Worker, Rollout]:
        return advance_workers(net.agent, env, params, workers, keys, run.train_split, length)

    def collect_trials(state: OnPolicyState) -> Rollout:
        return advance(state.params, *start_trials(state), env.horizon)[1]

    def step(state: OnPolicyState) -> tuple[OnPolicyState, Metrics]:
        workers, keys = start_trials(state)
        key_learn, hp = update_key(state, 1), state.hp

        def advance_phase(params: Params, workers: Worker, k: Array) -> tuple[Worker, Rollout]:
            phase_keys = jax.vmap(schedule.key, in_axes=(0, None))(keys, k)
            return advance(params, workers, phase_keys, schedule.length)

        def phase(carry: Carry, k: Array) -> tuple[Carry, Metrics]:
            params, learned, replay, workers, trial_transitions = carry
            workers = schedule.recompute_memories(params, workers, trial_transitions, k)
            past = trial_transitions
            fold_past = lambda observe, start: schedule.fold_past(observe, start, past, k)
            workers, rollout = advance_phase(params, workers, k)
            trial_transitions = schedule.write(trial_transitions, rollout.transitions, k)
            if replay_spec:
                replay = schedule.add_to_replay(
                    replay, elbo_trials(trial_transitions), replay_spec.mode, k
                )
            params, learned, metrics = learner.learn(
                params, learned, rollout, fold_past, replay, schedule.key(key_learn, k), hp
            )
            metrics |= {"return_train": true_return(rollout.transitions)}
            return Carry(params, learned, replay, workers, trial_transitions), metrics

        k = jnp.zeros((), jnp.int32)
        empty = schedule.empty_trial(advance_phase, state.params, workers, k)
        carry = Carry(state.params, state.learned, state.replay, workers, empty)
        carry, metrics = schedule.run_phases(phase, carry)
        metrics |= count_breakdowns(env, carry.trial_transitions)
        kept = {name: getattr(carry, name) for name in ("params", "learned", "replay")}
        return state._replace(**kept, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params, belief)
