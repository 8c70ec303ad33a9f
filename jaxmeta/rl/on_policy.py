"""Live trials, learn from them: what RL2, its regularised kin and variBAD have in common."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Belief, Params
from jaxmeta.algorithm import (
    Algorithm,
    Hyper,
    Metrics,
    breakdowns,
    sample_tasks,
    true_return,
    update_key,
)
from jaxmeta.axes import spread
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.replay import elbo_trials, ring_buffer
from jaxmeta.rl.a2c import a2c_learner
from jaxmeta.rl.actor_critic import Recurrent
from jaxmeta.rl.policy_learner import Learned, PolicyLearner, Relabel, unchanged
from jaxmeta.rl.ppo import ppo_learner
from jaxmeta.rl.update_phases import phases
from jaxmeta.rollout import Rollout, Worker, begin_all, live_all
from jaxmeta.trial import Trial


def policy_learner(
    env: Env, run: Run, net: Recurrent, relabel: Relabel = unchanged
) -> PolicyLearner:
    """Return what the run asks for; `relabel` gives the rewards that returns are made of."""
    if run.rl == "a2c":
        return a2c_learner(net, relabel=relabel)
    return ppo_learner(env, run, net, relabel=relabel)


class LearnerState(NamedTuple):
    """All that the next step reads."""

    params: Params
    learned: Any  # what the way to learn remembers
    replay: ring_buffer.Trajectories | None  # None without room for one
    key: Key
    update: Array  # []
    hp: Hyper


class Carry(NamedTuple):
    """What goes from phase to phase of a step."""

    params: Params
    learned: Any
    replay: ring_buffer.Trajectories | None
    workers: Worker  # [W]
    so_far: Any  # the trial's transitions


class Way(NamedTuple):
    """How parameters learn.

    Attributes:
      init: (params, hp) -> learned.
      learn: (params, learned, rollout, replay, key, hp) -> (params, learned, metrics).
    """

    init: Callable[[Params, Hyper], Any]
    learn: Callable[..., tuple[Params, Any, Metrics]]


def by_policy(policy: PolicyLearner) -> Way:
    """Return the way of methods whose policy is all that learns."""

    def learn(
        params: Params, learned: Learned, rollout: Rollout, replay: None, key: Key, hp: Hyper
    ) -> tuple[Params, Learned, Metrics]:
        return policy.learn(params, learned, rollout, key, hp)

    return Way(policy.init, learn)


def learner(
    env: Trial,
    run: Run,
    net: Recurrent,
    init_params: Callable[[Key], Params],
    way: Way,
    belief: Belief | None = None,
    room: ring_buffer.Room | None = None,
) -> Algorithm:
    """Return the method that learns from its workers' trials, and with room from a replay."""
    phased = phases(env, run, net.agent)

    def init(key: Key, hp: Hyper) -> LearnerState:
        params = init_params(jax.random.fold_in(key, 0))
        replay = room and ring_buffer.empty(elbo_trials.replayed_like(env), room.trials)
        key = jax.random.fold_in(key, 1)
        zero = jnp.zeros((), jnp.int32)
        return LearnerState(params, way.init(params, hp), replay, key, zero, hp)

    def begin(state: LearnerState) -> tuple[Worker, Array]:
        """Return the workers at the start of their trials, and their keys, [W] each."""
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        tasks, keys = spread((tasks, jax.random.split(key_rollout, run.workers)))
        return begin_all(net.agent, env, state.params, tasks, keys), keys

    def go_on(params: Params, workers: Worker, keys: Array, length: int) -> tuple[Worker, Rollout]:
        return live_all(net.agent, env, params, workers, keys, run.train_split, length)

    def collect_trials(state: LearnerState) -> Rollout:
        return go_on(state.params, *begin(state), env.horizon)[1]

    def step(state: LearnerState) -> tuple[LearnerState, Metrics]:
        workers, keys = begin(state)
        key_learn, hp = update_key(state, 1), state.hp

        def live(params: Params, workers: Worker, k: Array) -> tuple[Worker, Rollout]:
            own = jax.vmap(phased.key, in_axes=(0, None))(keys, k)
            return go_on(params, workers, own, phased.length)

        def phase(carry: Carry, k: Array) -> tuple[Carry, Metrics]:
            params, learned, replay, workers, so_far = carry
            workers = phased.remember(params, workers, so_far, k)
            workers, rollout = live(params, workers, k)
            so_far = phased.put(so_far, rollout.transitions, k)
            if room:
                replay = phased.store(replay, elbo_trials.replayed(so_far), room.mode, k)
            params, learned, metrics = way.learn(
                params, learned, rollout, replay, phased.key(key_learn, k), hp
            )
            metrics |= {"return_train": true_return(rollout.transitions)}
            return Carry(params, learned, replay, workers, so_far), metrics

        nothing = phased.nothing(live, state.params, workers, jnp.zeros((), jnp.int32))
        start = Carry(state.params, state.learned, state.replay, workers, nothing)
        end, metrics = phased.repeat(phase, start)
        metrics |= breakdowns(env, end.so_far)
        kept = {name: getattr(end, name) for name in ("params", "learned", "replay")}
        return state._replace(**kept, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params, belief)
