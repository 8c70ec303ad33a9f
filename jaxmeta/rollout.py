"""Workers: one that lives through a trial, many at once, and adaptation at meta-test."""

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
    """What one worker brings back; `collect` adds an axis after time."""

    transitions: Transition  # [T]
    records: Any  # [T]
    memory: Memory  # after the last step
    noted: Any = ()  # [T] what `unroll` was asked to note of the worker before each step


WORKERS_AXIS = Rollout._make((1, 1, 0, 1))  # where `collect` puts the workers: behind time
Note = Callable[[Worker], Any]
NOTHING: Note = lambda worker: ()
# The role of the key of what `Agent.begin` draws. `fold_in(key, i)` is `split(key, n)[i]`: what
# environments split off the same key at a reset must not be as many.
MEMORY = 2**31 - 1


def begin(agent: Agent, env: Env, params: Params, task: Task, key: Key) -> Worker:
    """Return a worker at the start of a trial."""
    state, obs = env.reset(key, task)
    noise = agent.draw(jax.random.fold_in(key, MEMORY))
    return Worker(task, state, obs, agent.begin(params, noise))


def interact(
    agent: Agent, env: Env, params: Params, worker: Worker, noise: tuple[Any, Any]
) -> tuple[Worker, Transition, Any]:
    """Take one step: act, let the world answer, remember."""
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


def live(
    agent: Agent,
    env: Env,
    params: Params,
    worker: Worker,
    keys: Sequence[Key],
    split: str,
    length: int,
    note: Note = NOTHING,
) -> tuple[Worker, Rollout]:
    """Let one worker go on for so many steps.

    Where trials can end early, it goes on with a new task from `split` and an empty memory;
    where they cannot, nothing of that kind is computed. `keys` [3] are for actions, the
    world, and what begins anew. `note` says what to keep of the worker before each step, such
    as the environment's state.
    """
    key_act, key_env, key_renew = keys
    noise_act = jax.vmap(agent.draw)(jax.random.split(key_act, length))
    noise_env = jax.vmap(env.draw)(jax.random.split(key_env, length))

    def renew(worker: Worker, over: Array, key: Key) -> Worker:
        key_task, key_reset = jax.random.split(key)
        task = env.next_task(key_task, split, worker.task)
        return where(over, begin(agent, env, params, task, key_reset), worker)

    def fixed(worker: Worker, noise: Any) -> tuple[Worker, tuple[Transition, Any, Any]]:
        noted = note(worker)
        worker, transition, record = interact(agent, env, params, worker, noise)
        return worker, (transition, record, noted)

    def renewed(worker: Worker, xs: Any) -> tuple[Worker, tuple[Transition, Any, Any]]:
        noise, key = xs
        worker, outputs = fixed(worker, noise)
        return renew(worker, outputs[0].over, key), outputs

    noise = (noise_act, noise_env)
    if env.fixed_length:
        worker, (transitions, records, noted) = scan(fixed, worker, noise)
    else:
        renewing = jax.random.split(key_renew, length)
        worker, (transitions, records, noted) = scan(renewed, worker, (noise, renewing))
    return worker, Rollout(transitions, records, worker.memory, noted)


def unroll(
    agent: Agent,
    env: Env,
    params: Params,
    task: Task,
    key: Key,
    split: str,
    note: Note = NOTHING,
) -> Rollout:
    """Let one worker live through `env.horizon` steps, from the start of a trial on.

    `split` and `note` are as for `live`.
    """
    key_reset, *keys = jax.random.split(key, 4)
    worker = begin(agent, env, params, task, key_reset)
    return live(agent, env, params, worker, keys, split, env.horizon, note)[1]


def begin_all(agent: Agent, env: Env, params: Params, tasks: Task, keys: Array) -> Worker:
    """Return workers [W] at the start of their trials; `collect` begins so, too."""
    start = lambda task, key: begin(agent, env, params, task, jax.random.split(key, 4)[0])
    return jax.vmap(start, axis_name=WORKERS)(tasks, keys)


def live_all(
    agent: Agent, env: Env, params: Params, workers: Worker, keys: Array, split: str, length: int
) -> tuple[Worker, Rollout]:
    """Let workers [W] go on: transitions and records [length, W], memories [W]."""

    def one(worker: Worker, key: Key) -> tuple[Worker, Rollout]:
        _, *keys = jax.random.split(key, 4)
        return live(agent, env, params, worker, keys, split, length)

    return jax.vmap(one, out_axes=(0, WORKERS_AXIS), axis_name=WORKERS)(workers, keys)


def collect(agent: Agent, env: Env, params: Params, tasks: Task, key: Key, split: str) -> Rollout:
    """Unroll one worker per task [W]: transitions and records [T, W], memories [W]."""
    keys = jax.random.split(key, jax.tree.leaves(tasks)[0].shape[0])
    workers = begin_all(agent, env, params, tasks, keys)
    return live_all(agent, env, params, workers, keys, split, env.horizon)[1]


class Adaptation(NamedTuple):
    """What an agent made of one task, episode by episode."""

    returns: Array  # [N]
    reached: Array  # [N] bool: the goal was met in some step (all False without `Env.goals`)
    rollout: Rollout


def adaptation(
    agent: Agent,
    env: Trial,
    params: Params,
    task: Task,
    key: Key,
    note: Note = NOTHING,
) -> Adaptation:
    """Play one trial of a task without any update of parameters (meta-test).

    `note` is as for `unroll`.
    """
    rollout = unroll(agent, env, params, task, key, env.splits[0], note)
    tr = rollout.transitions
    # A trial that ended early is followed by another; only the first one counts.
    first = jnp.cumsum(tr.over) - tr.over == 0
    episode = jnp.cumsum(tr.last) - tr.last
    member = (episode[None] == jnp.arange(env.episodes)[:, None]) & first[None]  # [N, T]
    returns = jnp.where(member, tr.env_reward[None], 0.0).sum(1)
    return Adaptation(returns, (member & jnp.asarray(tr.met)[None]).any(1), rollout)
