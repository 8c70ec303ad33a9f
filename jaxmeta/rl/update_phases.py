"""When an update learns: once, behind a whole trial, or behind each of its episodes.

The paper of LDM has the first form, its public code the second on robots: parameters change in
the middle of a trial, and memories of what was lived so far are computed anew with them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.agent import Agent, Memory, Params, Transition
from jaxmeta.algorithm import Metrics
from jaxmeta.axes import scan
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key, where
from jaxmeta.replay import ring_buffer
from jaxmeta.rollout import Rollout, Worker
from jaxmeta.trial import Trial

Observe = Callable[[Memory, Transition], Memory]


class Phases(NamedTuple):
    """How a trial is divided, k = 0, 1, ... being the phase.

    Attributes:
      length: steps of a phase.
      key: (key, k) -> the phase's own key.
      nothing: `(live, *args)` -> what `so_far` begins with; `live(*args)` returns workers and the
        rollout of a phase. It is only looked at.
      put: (so_far, transitions of phase k, k) -> so_far, the trial up to there.
      recall: (observe, start, so_far [T, ...] of one worker, k) -> its memory at the start of
        phase k, by `observe`, from `start` at a trial's start.
      remember: (params, workers [W], so_far [T, W], k) -> the workers, their agent's memories
        as these parameters have them (or empty: `ppo.memory`).
      store: (replay, rows, mode, k) -> replay, with the rows behind the last phase.
      repeat: (phase, carry) -> (carry, metrics); `phase` takes (carry, k). Metrics are means.
    """

    length: int
    key: Callable[[Key, Array], Key]
    nothing: Callable[..., Any]
    put: Callable[[Any, Transition, Array], Any]
    recall: Callable[[Observe, Memory, Any, Array], Memory]
    remember: Callable[[Params, Worker, Any, Array], Worker]
    store: Callable[..., ring_buffer.Trajectories]
    repeat: Callable[..., tuple[Any, Metrics]]


def phases(env: Trial, run: Run, agent: Agent) -> Phases:
    """Return what the run asks for (`ppo.update`)."""
    ppo = run.get("ppo")
    if ppo is not None and ppo.update == "episode":
        return of_episodes(env, agent, ppo.memory)
    return of_trials(env)


def of_trials(env: Trial) -> Phases:
    """Return the one phase that is a whole trial."""
    return Phases(
        length=env.horizon,
        key=lambda key, k: key,
        nothing=lambda live, *args: None,
        put=lambda so_far, transitions, k: transitions,
        recall=lambda observe, start, so_far, k: start,
        remember=lambda params, workers, so_far, k: workers,
        store=lambda replay, rows, mode, k: ring_buffer.add(replay, rows, mode),
        repeat=lambda phase, carry: phase(carry, jnp.zeros((), jnp.int32)),
    )


def of_episodes(env: Trial, agent: Agent, memory: str) -> Phases:
    """Return a phase per episode; `memory` is `ppo.memory`."""
    count, length = env.episodes, env.env.horizon
    still = agent.draw(jax.random.key(0))  # of no account: recurrent memories are not sampled

    def nothing(live: Callable[..., tuple[Any, Rollout]], *args: Any) -> Any:
        like = jax.eval_shape(live, *args)[1].transitions
        return jax.tree.map(lambda x: jnp.zeros((count * length, *x.shape[1:]), x.dtype), like)

    def put(so_far: Any, transitions: Transition, k: Array) -> Any:
        write = lambda whole, part: lax.dynamic_update_slice_in_dim(whole, part, k * length, 0)
        return jax.tree.map(write, so_far, transitions)

    def recall(observe: Observe, start: Memory, so_far: Any, k: Array) -> Memory:
        def remember(memory: Memory, inputs: tuple[Transition, Array]) -> tuple[Memory, None]:
            tr, lived = inputs
            after = where(tr.over, start, observe(memory, tr))
            return where(lived, after, memory), None

        lived = jnp.arange(count * length) < k * length
        return scan(remember, start, (so_far, lived))[0]

    def remember(params: Params, workers: Worker, so_far: Any, k: Array) -> Worker:
        start = agent.begin(params, still)
        if memory == "cleared":
            empty = jax.tree.map(
                lambda x, old: jnp.broadcast_to(x, old.shape), start, workers.memory
            )
            return workers._replace(memory=empty)
        observe = lambda memory, tr: agent.observe(params, memory, tr, still)
        again = jax.vmap(lambda tr: recall(observe, start, tr, k), in_axes=1)
        return workers._replace(memory=again(so_far))

    def store(
        replay: ring_buffer.Trajectories, rows: Any, mode: str, k: Array
    ) -> ring_buffer.Trajectories:
        return ring_buffer.add(replay, rows, mode, k == count - 1)

    def repeat(phase: Callable[..., tuple[Any, Metrics]], carry: Any) -> tuple[Any, Metrics]:
        carry, metrics = lax.scan(phase, carry, jnp.arange(count))
        return carry, jax.tree.map(lambda x: x.mean(0), metrics)

    return Phases(length, jax.random.fold_in, nothing, put, recall, remember, store, repeat)
