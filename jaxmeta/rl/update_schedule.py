"""When an update learns: once after a whole trial, or after each of its episodes.

The paper of LDM has the first form, its public code the second on robots: parameters change in
the middle of a trial, and hidden states for the trial so far are recomputed with them.
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
FoldPast = Callable[[Observe, Memory], Memory]  # `UpdateSchedule.fold_past` at the start of a phase


class UpdateSchedule(NamedTuple):
    """How an update divides a trial into phases k = 0, 1, ...

    Attributes:
      length: steps of a phase.
      key: (key, k) -> the phase's own key.
      empty_trial: `(advance, *args)` -> `trial_transitions` before the first phase;
        `advance(*args)` returns workers and the rollout of a phase, and is evaluated for shapes
        only.
      write: (trial_transitions, transitions of phase k, k) -> trial_transitions, up to there.
      recompute_memory: (observe, start, trial_transitions [T, ...] of one worker, k) -> its memory
        at the start of phase k, by `observe`, from `start` at a trial's start.
      fold_past: (observe, start, trial_transitions [T, W], k) -> the same for all workers, whatever
        `observe` accumulates, [W, ...]; `start` itself where a phase is a whole trial.
      recompute_memories: (params, workers [W], trial_transitions [T, W], k) -> the workers, their
        agent's memories recomputed with these parameters (or empty: `ppo.memory`).
      add_to_replay: (replay, rows, mode, k) -> replay, with the rows added after the last phase.
      run_phases: (phase, carry) -> (carry, metrics); `phase` takes (carry, k). Metrics are means.
    """

    length: int
    key: Callable[[Key, Array], Key]
    empty_trial: Callable[..., Any]
    write: Callable[[Any, Transition, Array], Any]
    recompute_memory: Callable[[Observe, Memory, Any, Array], Memory]
    fold_past: Callable[[Observe, Memory, Any, Array], Memory]
    recompute_memories: Callable[[Params, Worker, Any, Array], Worker]
    add_to_replay: Callable[..., ring_buffer.Trajectories]
    run_phases: Callable[..., tuple[Any, Metrics]]


def update_schedule(env: Trial, run: Run, agent: Agent) -> UpdateSchedule:
    """Return the run's schedule (`ppo.update`)."""
    ppo = run.get("ppo")
    if ppo is not None and ppo.update == "episode":
        return per_episode(env, agent, ppo.memory)
    return per_trial(env)


def per_trial(env: Trial) -> UpdateSchedule:
    """Return the schedule with one phase, a whole trial."""
    return UpdateSchedule(
        length=env.horizon,
        key=lambda key, k: key,
        empty_trial=lambda advance, *args: None,
        write=lambda trial_transitions, transitions, k: transitions,
        recompute_memory=lambda observe, start, trial_transitions, k: start,
        fold_past=lambda observe, start, trial_transitions, k: start,
        recompute_memories=lambda params, workers, trial_transitions, k: workers,
        add_to_replay=lambda replay, rows, mode, k: ring_buffer.add(replay, rows, mode),
        run_phases=lambda phase, carry: phase(carry, jnp.zeros((), jnp.int32)),
    )


def per_episode(env: Trial, agent: Agent, memory: str) -> UpdateSchedule:
    """Return the schedule with a phase per episode; `memory` is `ppo.memory`."""
    count, length = env.episodes, env.env.horizon
    dummy_noise = agent.draw(jax.random.key(0))  # unused: recurrent memories are not sampled

    def empty_trial(advance: Callable[..., tuple[Any, Rollout]], *args: Any) -> Any:
        like = jax.eval_shape(advance, *args)[1].transitions
        return jax.tree.map(lambda x: jnp.zeros((count * length, *x.shape[1:]), x.dtype), like)

    def write(trial_transitions: Any, transitions: Transition, k: Array) -> Any:
        put = lambda whole, part: lax.dynamic_update_slice_in_dim(whole, part, k * length, 0)
        return jax.tree.map(put, trial_transitions, transitions)

    def recompute_memory(
        observe: Observe, start: Memory, trial_transitions: Any, k: Array
    ) -> Memory:
        def step(memory: Memory, inputs: tuple[Transition, Array]) -> tuple[Memory, None]:
            tr, is_past = inputs
            after = where(tr.over, start, observe(memory, tr))
            return where(is_past, after, memory), None

        is_past = jnp.arange(count * length) < k * length
        return scan(step, start, (trial_transitions, is_past))[0]

    def fold_past(observe: Observe, start: Memory, trial_transitions: Any, k: Array) -> Memory:
        one = lambda tr: recompute_memory(observe, start, tr, k)
        return jax.vmap(one, in_axes=1)(trial_transitions)

    def recompute_memories(
        params: Params, workers: Worker, trial_transitions: Any, k: Array
    ) -> Worker:
        start = agent.begin(params, dummy_noise)
        if memory == "cleared":
            empty = jax.tree.map(
                lambda x, old: jnp.broadcast_to(x, old.shape), start, workers.memory
            )
            return workers._replace(memory=empty)
        observe = lambda memory, tr: agent.observe(params, memory, tr, dummy_noise)
        recompute = lambda trial_transitions: fold_past(observe, start, trial_transitions, k)
        return workers._replace(memory=recompute(trial_transitions))

    def add_to_replay(
        replay: ring_buffer.Trajectories, rows: Any, mode: str, k: Array
    ) -> ring_buffer.Trajectories:
        return ring_buffer.add(replay, rows, mode, k == count - 1)

    def run_phases(phase: Callable[..., tuple[Any, Metrics]], carry: Any) -> tuple[Any, Metrics]:
        carry, metrics = lax.scan(phase, carry, jnp.arange(count))
        return carry, jax.tree.map(lambda x: x.mean(0), metrics)

    return UpdateSchedule(
        length=length,
        key=jax.random.fold_in,
        empty_trial=empty_trial,
        write=write,
        recompute_memory=recompute_memory,
        fold_past=fold_past,
        recompute_memories=recompute_memories,
        add_to_replay=add_to_replay,
        run_phases=run_phases,
    )
