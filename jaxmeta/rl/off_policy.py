"""Collect trials, store them in a replay buffer, learn from it: off-policy meta-RL.

The belief is trained first, and then fixed while SAC takes its many steps: the beliefs that SAC
reads are computed once per update. No gradient of RL reaches the belief.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.agent import Agent, Memory, Params, Transition
from jaxmeta.algorithm import (
    Algorithm,
    Hyper,
    Metrics,
    count_breakdowns,
    sample_tasks,
    true_return,
    update_key,
)
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, EnvState, Key, Step, Task, Wrapper, is_key
from jaxmeta.errors import ConfigError
from jaxmeta.nn.action_distributions import draw as draw_action
from jaxmeta.nn.cache_blocks import WINDOWS_PER_BLOCK
from jaxmeta.nn.optimisers import repeat_steps
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import row_like, rows_that_fit, to_rows, windows
from jaxmeta.rl import sac
from jaxmeta.rollout import Rollout, collect
from jaxmeta.trial import Trial

DEFAULT_WINDOWS_PER_BLOCK = 512  # windows whose beliefs are computed together: bounds memory


class TaskBelief(NamedTuple):
    """The belief of an off-policy method; written for one worker.

    Attributes:
      feature_size: length of the features that the policy sees (F).
      window: number of last transitions that it reads, 0: all of the trial.
      init: key -> params.
      draw: key -> the noise of one `features`.
      begin: params -> memory.
      observe: (params, memory, transition) -> memory.
      hidden: (params, memory) -> the state [H] that features are computed from.
      features: (params, hidden, noise) -> [F].
      latent: (params, memory) -> [L], the mean of its posterior.
      encode: (params, Window [S, n]) -> the states [S + 1, n, H] that `observe` would give.
      init_opt: (params, hp) -> optimiser state.
      learn: (params, opt, replay, key, hp, enabled) -> (params, opt, metrics); no step is taken
        unless `enabled`.
      update_normalisers: (params, transitions [T, W]) -> params with updated statistics.
    """

    feature_size: int
    window: int
    init: Callable[[Key], Params]
    draw: Callable[[Key], Array]
    begin: Callable[[Params], Memory]
    observe: Callable[[Params, Memory, Transition], Memory]
    hidden: Callable[[Params, Memory], Array]
    features: Callable[[Params, Array, Array], Array]
    latent: Callable[[Params, Memory], Array]
    encode: Callable[..., Array]
    init_opt: Callable[[Params, Hyper], Any]
    learn: Callable[..., tuple[Params, Any, Metrics]]
    update_normalisers: Callable[[Params, Transition], Params]


class OffPolicyState(NamedTuple):
    """All that the next step reads."""

    params: Params
    learned: sac.SACState
    of_belief: Any  # the belief's optimiser state
    replay: ring_buffer.Trajectories  # of `OffPolicyRow`
    tasks: Task  # [replay.tasks] the training tasks
    key: Key
    update: Array  # []
    hp: Hyper


class SameTask(Wrapper):
    """Where a trial ends early, the next one is in the same task."""

    def next_task(self, key: Key, split: str, task: Task) -> Task:
        """Return the task itself."""
        return task

    def reset(self, key: Key, task: Task) -> tuple[EnvState, Array]:
        """Start as the inner environment does."""
        return self.env.reset(key, task)

    def draw_reset(self, key: Key) -> Any:
        """Return the inner reset's noise."""
        return self.env.draw_reset(key)

    def reset_with(self, noise: Any, task: Task) -> tuple[EnvState, Array]:
        """Start as the inner environment does, with drawn noise."""
        return self.env.reset_with(noise, task)

    def step(self, noise: Any, state: EnvState, action: Array, task: Task) -> tuple[EnvState, Step]:
        """Step as the inner environment does."""
        return self.env.step(noise, state, action, task)

    def draw(self, key: Key) -> Any:
        """Return the inner environment's noise."""
        return self.env.draw(key)


def training_tasks(env: Env, key: Key, split: str, count: int) -> Task:
    """Return tasks to train on, [count]: draws, or all in equal numbers where they are finite."""
    if not env.finite:
        return sample_tasks(env, key, split, count)
    every = env.eval_tasks(split)
    order = jax.random.permutation(key, jax.tree.leaves(every)[0].shape[0])
    return jax.tree.map(lambda x: x[order[jnp.arange(count) % len(order)]], every)


def task_ids(tasks: Task) -> Array:
    """Return the ids of tasks [n]: the index of the first task that is equal, [n]."""
    count = jax.tree.leaves(tasks)[0].shape[0]
    equal = jnp.ones((count, count), bool)
    for x in jax.tree.leaves(tasks):
        flat = (jax.random.key_data(x) if is_key(x) else x).reshape(count, -1)
        equal &= (flat[:, None] == flat[None]).all(-1)
    return jnp.argmax(equal, axis=1).astype(jnp.int32)


def sample_transitions(
    belief: TaskBelief,
    horizon: int,
    count: int,
    params: Params,
    replay: ring_buffer.Trajectories,
    key: Key,
) -> sac.Batch:
    """Return random transitions of the replay with beliefs as `params` have them.

    Of a window, whose belief is costly, its last transition is used, of a whole trial every
    one. The belief after a transition has read one transition more than the one before it.

    Args:
      belief: whose features they are.
      horizon: steps of a row.
      count: transitions, rounded up.
      params, replay, key: what to draw from.
    """
    window, per_window = (belief.window + 1, 1) if belief.window else (horizon, horizon)
    num_windows = -(-count // per_window)
    block = min(
        WINDOWS_PER_BLOCK.get(jax.default_backend(), DEFAULT_WINDOWS_PER_BLOCK), num_windows
    )

    def sample_block(key: Key) -> sac.Batch:
        key_row, key_end, key_before, key_after = jax.random.split(key, 4)
        rows = ring_buffer.sample(replay, key_row, block)
        ends = jax.random.randint(key_end, (block,), 1, horizon + 1)
        ends = ends if belief.window else jnp.full_like(ends, horizon)
        hidden = belief.encode(params, windows(rows, ends, window))
        before, after = hidden[:-1][-per_window:], hidden[-per_window:]
        at = ends[:, None] - per_window + jnp.arange(per_window)[None]  # [n, per_window]
        pick = lambda x, at: jax.vmap(lambda x, at: x[at])(x, at)

        def features(hidden: Array, key: Key) -> Array:
            """Return [n, per_window, F] for hidden [per_window, n, H]."""
            noise = jax.vmap(jax.vmap(belief.draw))(jax.random.split(key, hidden.shape[:2]))
            over_all = jax.vmap(jax.vmap(belief.features, (None, 0, 0)), (None, 0, 0))
            return jnp.swapaxes(over_all(params, hidden, noise), 0, 1)

        return sac.Batch(
            obs=pick(rows.obs, at),
            belief=features(before, key_before),
            action=pick(rows.action, at),
            reward=pick(rows.reward if rows.shaped is None else rows.shaped, at),
            next_obs=pick(rows.obs, at + 1),
            next_belief=features(after, key_after),
            discount=pick(rows.discount, at),
            weight=jnp.ones(at.shape),
        )

    batches = lax.map(sample_block, jax.random.split(key, -(-num_windows // block)))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), batches)


def off_policy(env: Trial, run: Run, belief: TaskBelief) -> Algorithm:
    """Return the method that trains a belief, and SAC on it.

    Raises:
      ConfigError: actions are discrete; the replay is smaller than one update's trials.
    """
    rl = sac.soft_actor_critic(env, run.sac)
    same_task_env = SameTask(env)
    example = row_like(env)
    rows = rows_that_fit(example, run.replay.mebibytes, run.updates(env.env.horizon) * run.workers)
    if rows < run.workers:
        raise ConfigError(
            f"replay.mebibytes = {run.replay.mebibytes}: must hold one trial of {env.horizon} steps"
            f" for each of {run.workers} workers, holds {rows}"
        )

    def act(params: Params, memory: Memory, obs: Array, noise: Any) -> tuple[Array, tuple]:
        noise_action, noise_belief = noise
        features = belief.features(params, belief.hidden(params, memory), noise_belief)
        return rl.act(params, obs, features, noise_action), ()

    def draw(key: Key) -> tuple[Array, Array]:
        key_action, key_belief = jax.random.split(key)
        return draw_action(key_action, env.action_space), belief.draw(key_belief)

    agent = Agent(
        draw=draw,
        begin=lambda params, noise: belief.begin(params),
        act=act,
        observe=lambda params, memory, tr, noise: belief.observe(params, memory, tr),
    )

    def init(key: Key, hp: Hyper) -> OffPolicyState:
        key_belief, key_rl, key_tasks, key = (jax.random.fold_in(key, i) for i in range(4))
        params = belief.init(key_belief) | rl.init(key_rl, belief.feature_size)
        return OffPolicyState(
            params=params,
            learned=rl.init_state(params, hp.sac),
            of_belief=belief.init_opt(params, hp),
            replay=ring_buffer.empty(example, rows),
            tasks=training_tasks(env, key_tasks, run.train_split, run.replay.tasks),
            key=key,
            update=jnp.zeros((), jnp.int32),
            hp=hp,
        )

    def collect_trials(state: OffPolicyState) -> tuple[Rollout, Array]:
        """Return trials [T, W] of different tasks, as far as there are, and the tasks' ids."""
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        order = jax.random.permutation(key_tasks, run.replay.tasks)
        which = order[jnp.arange(run.workers) % run.replay.tasks]
        tasks = jax.tree.map(lambda x: x[which], state.tasks)
        rollout = collect(agent, same_task_env, state.params, tasks, key_rollout, run.train_split)
        return rollout, task_ids(state.tasks)[which]

    def step(state: OffPolicyState) -> tuple[OffPolicyState, Metrics]:
        rollout, ids = collect_trials(state)
        tr, hp = rollout.transitions, state.hp
        replay = ring_buffer.add(state.replay, to_rows(tr, ids), "ring")
        params = belief.update_normalisers(state.params, tr)
        key_belief, key_encode, key_rl = jax.random.split(update_key(state, 1), 3)
        enabled = (state.update + 1) * tr.reward.size >= run.replay.initial
        params, belief_opt, metrics = belief.learn(
            params, state.of_belief, replay, key_belief, hp, enabled
        )
        transitions = sample_transitions(
            belief, env.horizon, run.replay.encoded, params, replay, key_encode
        )

        def train_step(carry: tuple[Params, sac.SACState], key: Key) -> tuple[Any, Metrics]:
            key_batch, key_learn = jax.random.split(key)
            which = jax.random.randint(key_batch, (run.sac.batch,), 0, transitions.reward.shape[0])
            batch = jax.tree.map(lambda x: x[which], transitions)
            params, learned, metrics = rl.learn(*carry, batch, key_learn, hp.sac)
            return (params, learned), metrics

        count = jnp.where(enabled, run.sac.updates, 0)
        (params, learned), rl_metrics = repeat_steps(
            count, train_step, (params, state.learned), key_rl
        )
        metrics |= rl_metrics | {"return_train": true_return(tr)} | count_breakdowns(env, tr)
        state = state._replace(
            params=params,
            learned=learned,
            of_belief=belief_opt,
            replay=replay,
            update=state.update + 1,
        )
        return state, metrics

    return Algorithm(
        agent, init, collect_trials, step, lambda state: state.params, latent=belief.latent
    )
