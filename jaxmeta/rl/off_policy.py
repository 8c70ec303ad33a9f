"""Live trials, remember them all, learn from what is remembered: off-policy meta-RL.

The belief is trained on its own, and then stays while SAC takes its many steps: what SAC reads
of it is computed once per update. No gradient of RL reaches it.
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
    breakdowns,
    sample_tasks,
    true_return,
    update_key,
)
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, EnvState, Key, Step, Task, Wrapper
from jaxmeta.errors import ConfigError
from jaxmeta.nn.action_distributions import draw as draw_action
from jaxmeta.nn.cache_blocks import WINDOWS_AT_ONCE
from jaxmeta.nn.optimisers import repeat
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import recorded, recorded_like, rows_that_fit, windows
from jaxmeta.rl import sac
from jaxmeta.rollout import Rollout, collect
from jaxmeta.trial import Trial

OTHERWISE = 512  # windows whose beliefs are computed together: bounds memory


class TaskBelief(NamedTuple):
    """What an off-policy method needs of its belief; written for one worker.

    Attributes:
      width: entries of what the policy sees of it (F).
      steps: the last transitions that it reads, 0: all of the trial.
      init: key -> params.
      draw: key -> the noise of one `features`.
      begin: params -> memory.
      observe: (params, memory, transition) -> memory.
      hidden: (params, memory) -> the state [H] that features are made of.
      features: (params, hidden, noise) -> [F].
      latent: (params, memory) -> [L], the mean of its posterior.
      encode: (params, Window [S, n]) -> the states [S + 1, n, H] that `observe` would reach.
      start: (params, hp) -> what learning remembers.
      learn: (params, learned, replay, key, hp, wanted) -> (params, learned, metrics); without
        taking a step where it is not `wanted`.
      look: (params, transitions [T, W]) -> params, normalisers having seen them.
    """

    width: int
    steps: int
    init: Callable[[Key], Params]
    draw: Callable[[Key], Array]
    begin: Callable[[Params], Memory]
    observe: Callable[[Params, Memory, Transition], Memory]
    hidden: Callable[[Params, Memory], Array]
    features: Callable[[Params, Array, Array], Array]
    latent: Callable[[Params, Memory], Array]
    encode: Callable[..., Array]
    start: Callable[[Params, Hyper], Any]
    learn: Callable[..., tuple[Params, Any, Metrics]]
    look: Callable[[Params, Transition], Params]


class OffPolicyState(NamedTuple):
    """All that the next step reads."""

    params: Params
    learned: sac.Learned
    of_belief: Any  # what the belief's learning remembers
    replay: ring_buffer.Trajectories  # of `Recorded`
    tasks: Task  # [replay.tasks] those that are trained on
    key: Key
    update: Array  # []
    hp: Hyper


class OneTask(Wrapper):
    """Where a trial ends early, the next one is in the same task."""

    def next_task(self, key: Key, split: str, task: Task) -> Task:
        """Return the task itself."""
        return task

    def reset(self, key: Key, task: Task) -> tuple[EnvState, Array]:
        """Start as the inner environment does."""
        return self.env.reset(key, task)

    def step(self, noise: Any, state: EnvState, action: Array, task: Task) -> tuple[EnvState, Step]:
        """Step as the inner environment does."""
        return self.env.step(noise, state, action, task)

    def draw(self, key: Key) -> Any:
        """Return the inner environment's noise."""
        return self.env.draw(key)


def training_tasks(env: Env, key: Key, split: str, count: int) -> Task:
    """Return tasks to train on, [count]: draws, or evenly many of each where they are finite."""
    if not env.finite:
        return sample_tasks(env, key, split, count)
    every = env.eval_tasks(split)
    order = jax.random.permutation(key, jax.tree.leaves(every)[0].shape[0])
    return jax.tree.map(lambda x: x[order[jnp.arange(count) % len(order)]], every)


def numbers(tasks: Task) -> Array:
    """Return each task's number [n], the same for tasks [n] that are equal: the first's index."""
    count = jax.tree.leaves(tasks)[0].shape[0]
    equal = jnp.ones((count, count), bool)
    for x in jax.tree.leaves(tasks):
        flat = x.reshape(count, -1)
        equal &= (flat[:, None] == flat[None]).all(-1)
    return jnp.argmax(equal, axis=1).astype(jnp.int32)


def remembered(
    belief: TaskBelief,
    horizon: int,
    count: int,
    params: Params,
    replay: ring_buffer.Trajectories,
    key: Key,
) -> sac.Batch:
    """Return random transitions of the replay with beliefs as `params` have them.

    Of a window, whose belief is costly, its last transition is used, of a whole trial every
    one. The belief behind a transition has read one transition more than the one before it.

    Args:
      belief: whose features they are.
      horizon: steps of a row.
      count: transitions, rounded up.
      params, replay, key: what to draw from.
    """
    steps, each = (belief.steps + 1, 1) if belief.steps else (horizon, horizon)
    drawn = -(-count // each)  # windows
    at_once = min(WINDOWS_AT_ONCE.get(jax.default_backend(), OTHERWISE), drawn)

    def some(key: Key) -> sac.Batch:
        key_row, key_end, key_before, key_after = jax.random.split(key, 4)
        rows = ring_buffer.sample(replay, key_row, at_once)
        ends = jax.random.randint(key_end, (at_once,), 1, horizon + 1)
        ends = ends if belief.steps else jnp.full_like(ends, horizon)
        hidden = belief.encode(params, windows(rows, ends, steps))
        before, after = hidden[:-1][-each:], hidden[-each:]
        at = ends[:, None] - each + jnp.arange(each)[None]  # [n, each]
        pick = lambda x, at: jax.vmap(lambda x, at: x[at])(x, at)

        def features(hidden: Array, key: Key) -> Array:
            """Return [n, each, F] for hidden [each, n, H]."""
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

    batches = lax.map(some, jax.random.split(key, -(-drawn // at_once)))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), batches)


def off_policy(env: Trial, run: Run, belief: TaskBelief) -> Algorithm:
    """Return the method that trains SAC on beliefs, and the beliefs beside it.

    Raises:
      ConfigError: actions are discrete; the replay has no room for an update's trials.
    """
    rl = sac.soft_actor_critic(env, run.sac)
    world = OneTask(env)
    example = recorded_like(env)
    rows = rows_that_fit(example, run.replay.mebibytes, run.updates(env.env.horizon) * run.workers)
    if rows < run.workers:
        raise ConfigError(
            f"replay.mebibytes = {run.replay.mebibytes}: has room for {rows} trials of"
            f" {env.horizon} steps; must have for those of {run.workers} workers"
        )

    def act(params: Params, memory: Memory, obs: Array, noise: Any) -> tuple[Array, tuple]:
        of_action, of_belief = noise
        features = belief.features(params, belief.hidden(params, memory), of_belief)
        return rl.act(params, obs, features, of_action), ()

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
        params = belief.init(key_belief) | rl.init(key_rl, belief.width)
        return OffPolicyState(
            params=params,
            learned=rl.start(params, hp.sac),
            of_belief=belief.start(params, hp),
            replay=ring_buffer.empty(example, rows),
            tasks=training_tasks(env, key_tasks, run.train_split, run.replay.tasks),
            key=key,
            update=jnp.zeros((), jnp.int32),
            hp=hp,
        )

    def live(state: OffPolicyState) -> tuple[Rollout, Array]:
        """Return trials [T, W] of different tasks, as far as there are, and their numbers."""
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        order = jax.random.permutation(key_tasks, run.replay.tasks)
        which = order[jnp.arange(run.workers) % run.replay.tasks]
        tasks = jax.tree.map(lambda x: x[which], state.tasks)
        played = collect(agent, world, state.params, tasks, key_rollout, run.train_split)
        return played, numbers(state.tasks)[which]

    def step(state: OffPolicyState) -> tuple[OffPolicyState, Metrics]:
        rollout, number = live(state)
        tr, hp = rollout.transitions, state.hp
        replay = ring_buffer.add(state.replay, recorded(tr, number), "ring")
        params = belief.look(state.params, tr)
        key_belief, key_encode, key_rl = jax.random.split(update_key(state, 1), 3)
        wanted = (state.update + 1) * tr.reward.size >= run.replay.initial
        params, of_belief, metrics = belief.learn(
            params, state.of_belief, replay, key_belief, hp, wanted
        )
        pool = remembered(belief, env.horizon, run.replay.encoded, params, replay, key_encode)

        def improve(carry: tuple[Params, sac.Learned], key: Key) -> tuple[Any, Metrics]:
            key_batch, key_learn = jax.random.split(key)
            which = jax.random.randint(key_batch, (run.sac.batch,), 0, pool.reward.shape[0])
            batch = jax.tree.map(lambda x: x[which], pool)
            params, learned, metrics = rl.learn(*carry, batch, key_learn, hp.sac)
            return (params, learned), metrics

        times = jnp.where(wanted, run.sac.updates, 0)
        (params, learned), of_rl = repeat(times, improve, (params, state.learned), key_rl)
        metrics |= of_rl | {"return_train": true_return(tr)} | breakdowns(env, tr)
        state = state._replace(
            params=params,
            learned=learned,
            of_belief=of_belief,
            replay=replay,
            update=state.update + 1,
        )
        return state, metrics

    return Algorithm(agent, init, live, step, lambda state: state.params, latent=belief.latent)
