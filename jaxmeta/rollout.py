"""Rollouts of one worker and of many, and adaptation at meta-test."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.agent import Agent, Memory, Params, Transition
from jaxmeta.axes import WORKERS, scan
from jaxmeta.env import Array, Env, EnvState, Key, Task, where
from jaxmeta.trial import Trial


class Worker(NamedTuple):
    """An agent in the middle of a trial."""

    task: Task
    state: EnvState
    obs: Array  # [O]
    memory: Memory


class Rollout(NamedTuple):
    """One worker's rollout; `collect` adds an axis after time."""

    transitions: Transition  # [T]
    records: Any  # [T]
    memory: Memory  # after the last step
    extras: Any = ()  # [T] `extra` of the worker before each step


WORKERS_AXIS = Rollout._make((1, 1, 0, 1))  # where `collect` puts the workers: after time
Extra = Callable[[Worker], Any]
NO_EXTRA: Extra = lambda worker: ()
# The role of the key of `Agent.begin`'s noise. `fold_in(key, i)` is `split(key, n)[i]`, so it must
# exceed the number of keys that environments split off the same key at a reset.
MEMORY_ROLE = 2**31 - 1


def start_worker(agent: Agent, env: Env, params: Params, task: Task, key: Key) -> Worker:
    """Return a worker at the start of a trial."""
    return start_with(agent, env, params, task, draw_start(agent, env, key))


def draw_start(agent: Agent, env: Env, key: Key) -> tuple[Any, Any]:
    """Return the noise of a trial's start: of the environment's reset, and of `Agent.begin`."""
    return env.draw_reset(key), agent.draw(jax.random.fold_in(key, MEMORY_ROLE))


def start_with(
    agent: Agent, env: Env, params: Params, task: Task, noise: tuple[Any, Any]
) -> Worker:
    """Return a worker at the start of a trial, with what `draw_start` made."""
    noise_reset, noise_begin = noise
    state, obs = env.reset_with(noise_reset, task)
    return Worker(task, state, obs, agent.begin(params, noise_begin))


def step_worker(
    agent: Agent, env: Env, params: Params, worker: Worker, noise: tuple[Any, Any]
) -> tuple[Worker, Transition, Any]:
    """Take one step: act, step the environment, update the memory."""
    noise_act, noise_env = noise
    action, record = agent.act(params, worker.memory, worker.obs, noise_act)
    state, step = env.step(noise_env, worker.state, action, worker.task)
    transition = Transition(
        obs=worker.obs,
        action=action,
        reward=step.reward,
        next_obs=step.next_obs,
        seen=step.obs,
        last=step.last,
        over=step.over,
        discount=step.discount,
        env_reward=step.env_reward,
        bad=jnp.asarray(step.bad),
        limit=jnp.asarray(step.limit),
        met=jnp.asarray(step.met),
        shaped=step.shaped,
        metrics=step.metrics,
    )
    memory = agent.observe(params, worker.memory, transition, noise_act)
    return Worker(worker.task, state, step.obs, memory), transition, record


def advance(
    agent: Agent,
    env: Env,
    params: Params,
    worker: Worker,
    keys: Sequence[Key],
    split: str,
    length: int,
    extra: Extra = NO_EXTRA,
) -> tuple[Worker, Rollout]:
    """Advance one worker by `length` steps.

    Where trials can end early, a new one starts with a task from `split` and an empty memory;
    where they cannot, no reset is computed. `keys` [3] are for actions, environment steps and
    resets. `extra` returns what else to keep of the worker before each step, such as the
    environment's state.
    """
    key_act, key_env, key_resets = keys
    noise_act = jax.vmap(agent.draw)(jax.random.split(key_act, length))
    noise_env = jax.vmap(env.draw)(jax.random.split(key_env, length))

    def draw_next_trial(key: Key) -> tuple[Key, tuple[Any, Any]]:
        key_task, key_reset = jax.random.split(key)
        return key_task, draw_start(agent, env, key_reset)

    def reset_if_over(worker: Worker, over: Array, noise: tuple[Key, tuple[Any, Any]]) -> Worker:
        key_task, noise_start = noise
        task = env.next_task(key_task, split, worker.task)
        return where(over, start_with(agent, env, params, task, noise_start), worker)

    def step(worker: Worker, noise: Any) -> tuple[Worker, tuple[Transition, Any, Any]]:
        kept = extra(worker)
        worker, transition, record = step_worker(agent, env, params, worker, noise)
        return worker, (transition, record, kept)

    def step_with_reset(worker: Worker, xs: Any) -> tuple[Worker, tuple[Transition, Any, Any]]:
        noise, noise_next = xs
        worker, outputs = step(worker, noise)
        return reset_if_over(worker, outputs[0].over, noise_next), outputs

    noise = (noise_act, noise_env)
    if env.fixed_length:
        worker, (transitions, records, extras) = scan(step, worker, noise)
    else:
        next_trials = jax.vmap(draw_next_trial)(jax.random.split(key_resets, length))
        worker, (transitions, records, extras) = scan(step_with_reset, worker, (noise, next_trials))
    return worker, Rollout(transitions, records, worker.memory, extras)


def unroll(
    agent: Agent,
    env: Env,
    params: Params,
    task: Task,
    key: Key,
    split: str,
    extra: Extra = NO_EXTRA,
) -> Rollout:
    """Roll out one worker for `env.horizon` steps from the start of a trial.

    `split` and `extra` are as for `advance`.
    """
    key_reset, *keys = jax.random.split(key, 4)
    worker = start_worker(agent, env, params, task, key_reset)
    return advance(agent, env, params, worker, keys, split, env.horizon, extra)[1]


def start_workers(agent: Agent, env: Env, params: Params, tasks: Task, keys: Array) -> Worker:
    """Return workers [W] at the start of their trials, where `collect` starts them."""
    start = lambda task, key: start_worker(agent, env, params, task, jax.random.split(key, 4)[0])
    return jax.vmap(start, axis_name=WORKERS)(tasks, keys)


def advance_workers(
    agent: Agent, env: Env, params: Params, workers: Worker, keys: Array, split: str, length: int
) -> tuple[Worker, Rollout]:
    """Advance workers [W]: transitions and records [length, W], memories [W]."""

    def one(worker: Worker, key: Key) -> tuple[Worker, Rollout]:
        _, *keys = jax.random.split(key, 4)
        return advance(agent, env, params, worker, keys, split, length)

    return jax.vmap(one, out_axes=(0, WORKERS_AXIS), axis_name=WORKERS)(workers, keys)


def select_workers(rollout: Rollout, which: Array) -> Rollout:
    """Return the rollouts of the workers `which` [n], of [W]."""
    take = lambda axis: lambda x: jnp.take(x, which, axis)
    parts = zip(WORKERS_AXIS, rollout, strict=True)
    return Rollout(*(jax.tree.map(take(axis), x) for axis, x in parts))


def collect(agent: Agent, env: Env, params: Params, tasks: Task, key: Key, split: str) -> Rollout:
    """Roll out one worker per task [W]: transitions and records [T, W], memories [W]."""
    keys = jax.random.split(key, jax.tree.leaves(tasks)[0].shape[0])
    workers = start_workers(agent, env, params, tasks, keys)
    return advance_workers(agent, env, params, workers, keys, split, env.horizon)[1]


class Adaptation(NamedTuple):
    """An agent's results on one task, per episode."""

    returns: Array  # [N]
    reached: Array  # [N] bool: the goal was reached in some step (see `Env.goals`)
    rollout: Rollout


def adaptation(
    agent: Agent,
    env: Trial,
    params: Params,
    task: Task,
    key: Key,
    extra: Extra = NO_EXTRA,
) -> Adaptation:
    """Play one trial of a task without any update of parameters (meta-test).

    `extra` is as for `unroll`.
    """
    rollout = unroll(agent, env, params, task, key, env.splits[0], extra)
    tr = rollout.transitions
    # A trial that ended early is followed by another; only the first one counts.
    first = jnp.cumsum(tr.over) - tr.over == 0
    episode = jnp.cumsum(tr.last) - tr.last
    in_episode = (episode[None] == jnp.arange(env.episodes)[:, None]) & first[None]  # [N, T]
    returns = jnp.where(in_episode, tr.env_reward[None], 0.0).sum(1)
    return Adaptation(returns, (in_episode & jnp.asarray(tr.met)[None]).any(1), rollout)
