"""Latent Dynamics Mixture (Lee & Chung 2021): RL2, trained on imagined tasks as well.

Workers come in groups. Normal workers run in real training tasks; the belief (a VAE over task
dynamics) is trained on their trials, and their latents are mixed. Mixture workers are rewarded
by the decoder, for a random mixture of those latents. One policy learns from both.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta.agent import Params
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
from jaxmeta.beliefs.elbo_learner import belief_learner
from jaxmeta.beliefs.gaussian_belief import variational_belief
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.imagination.latent_mixture import MixtureTask, latent_mixture, mixture_weights
from jaxmeta.nn.networks import Encoder
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.elbo_trials import elbo_trial_like, elbo_trials
from jaxmeta.rl.actor_critic import recurrent
from jaxmeta.rl.on_policy import policy_learner
from jaxmeta.rl.policy_learner import PolicyLearnerState, Relabel, unchanged
from jaxmeta.rl.update_schedule import update_schedule
from jaxmeta.rollout import WORKERS_AXIS, Rollout, Worker, advance_workers, start_workers
from jaxmeta.trial import Trial


class LDMState(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder" and "policy" (RL); "belief" and "decoder" (VAE)
    learned: PolicyLearnerState
    vae_opt: optax.OptState
    replay: ring_buffer.Trajectories
    key: Key
    update: Array  # []
    hp: Hyper


class Carry(NamedTuple):
    """What the phases of a step hand on."""

    params: Params
    learned: PolicyLearnerState
    vae_opt: optax.OptState
    replay: ring_buffer.Trajectories
    workers: Worker  # [G, W]
    trial_transitions: Any  # of the trial so far, [T, G, W]


def ldm(env: Trial, run: Run) -> Algorithm:
    """Return LDM (Algorithm 1 of the paper), with A2C or PPO."""
    net = recurrent(env, run, run.networks.head)
    policy = policy_learner(env, run, net, relabel(run))
    (width,) = env.obs_space.shape
    encoder = Encoder(env.action_space, width, run.networks, run.vae.latent)
    belief = variational_belief(env, run, encoder, "belief")
    vae = belief_learner(belief, run, ("belief", "decoder"))
    groups = run.workers // run.group
    schedule = update_schedule(env, run, net.agent)

    def init(key: Key, hp: Hyper) -> LDMState:
        key_net, key_belief = jax.random.split(jax.random.fold_in(key, 0))
        params = net.init(key_net) | belief.init(key_belief)
        return LDMState(
            params=params,
            learned=policy.init(params, hp),
            vae_opt=vae.init(params, hp.vae),
            replay=ring_buffer.empty(elbo_trial_like(env), run.vae.capacity),
            key=jax.random.fold_in(key, 1),
            update=jnp.zeros((), jnp.int32),
            hp=hp,
        )

    def mixture_env(params: Params, hp: Hyper) -> Env:
        return latent_mixture(env, belief, params, hp.vae, hp.imagination)

    def start_group(params: Params, hp: Hyper, key: Key) -> tuple[Worker, Key, Array]:
        """Return workers [W] without mixtures, the mixtures' key, and the workers' keys [W]."""
        key_tasks, key_mixture, key_rollout = jax.random.split(key, 3)
        tasks = sample_tasks(env, key_tasks, run.train_split, run.group)
        keys = jax.random.split(key_rollout, run.group)
        shape = (run.group, run.group, run.vae.latent)
        unmixed = MixtureTask(tasks, jnp.zeros(shape), jnp.zeros(run.group, bool))
        return (
            start_workers(net.agent, mixture_env(params, hp), params, unmixed, keys),
            key_mixture,
            keys,
        )

    def advance_group(
        params: Params, hp: Hyper, workers: Worker, key_mixture: Key, keys: Array, length: int
    ) -> tuple[Worker, Rollout]:
        """Draw roles and mixture weights, then advance the group."""
        weights, imagined = mixture_weights(key_mixture, hp.imagination, run.vae.latent)
        task = workers.task._replace(weights=weights, imagined=imagined)
        workers = workers._replace(task=task)
        split = run.train_split
        return advance_workers(
            net.agent, mixture_env(params, hp), params, workers, keys, split, length
        )

    def start_groups(state: LDMState) -> tuple[Worker, Key, Array]:
        """Return what `start_group` does for every group, [G, ...]."""
        keys = shard_workers(jax.random.split(update_key(state, 0), groups))
        return jax.vmap(start_group, in_axes=(None, None, 0))(state.params, state.hp, keys)

    def advance_groups(
        params: Params, hp: Hyper, workers: Worker, key_mixture: Key, keys: Array, length: int
    ) -> tuple[Worker, Rollout]:
        """Advance all groups: rollouts [T, G, W]; `task.imagined` marks mixture workers."""
        by_group = jax.vmap(
            lambda workers, key, keys: advance_group(params, hp, workers, key, keys, length),
            out_axes=(0, WORKERS_AXIS),
        )
        return by_group(workers, key_mixture, keys)

    def recompute_memories(
        params: Params, workers: Worker, trial_transitions: Any, k: Array
    ) -> Worker:
        """Recompute the agents' and the beliefs' memories from the trial so far, [T, G, W]."""
        workers = jax.vmap(schedule.recompute_memories, in_axes=(None, 0, 1, None))(
            params, workers, trial_transitions, k
        )

        def recompute_belief(worker: Worker, trial_transitions: Any) -> Worker:
            update = lambda h, tr: belief.update(params, h, tr.action, tr.seen, tr.reward)
            start = belief.begin(params)
            memory = schedule.recompute_memory(update, start, trial_transitions, k)
            return worker._replace(state=worker.state._replace(belief=memory))

        return jax.vmap(jax.vmap(recompute_belief, in_axes=(0, 1)), in_axes=(0, 1))(
            workers, trial_transitions
        )

    def collect_groups(state: LDMState) -> tuple[Rollout, Array]:
        """Return all groups' rollouts of whole trials [T, G, W], and who imagined [G, W]."""
        workers, rollout = advance_groups(state.params, state.hp, *start_groups(state), env.horizon)
        return rollout, workers.task.imagined

    def step(state: LDMState) -> tuple[LDMState, Metrics]:
        hp = state.hp
        workers, key_mixture, keys = start_groups(state)

        def advance_phase(params: Params, workers: Worker, k: Array) -> tuple[Worker, Rollout]:
            of_phase = jax.vmap(schedule.key, in_axes=(0, None))
            phase_keys = jax.vmap(of_phase, in_axes=(0, None))(keys, k)
            redrawn = run.imagination.roles == "redrawn"
            mixture_keys = of_phase(key_mixture, k) if redrawn else key_mixture
            return advance_groups(params, hp, workers, mixture_keys, phase_keys, schedule.length)

        def phase(carry: Carry, k: Array) -> tuple[Carry, Metrics]:
            workers = recompute_memories(carry.params, carry.workers, carry.trial_transitions, k)
            past = jax.tree.map(merge_groups, carry.trial_transitions)
            fold_past = lambda observe, start: schedule.fold_past(observe, start, past, k)
            workers, grouped = advance_phase(carry.params, workers, k)
            trial_transitions = schedule.write(carry.trial_transitions, grouped.transitions, k)
            rollout = Rollout(
                jax.tree.map(merge_groups, grouped.transitions),
                jax.tree.map(merge_groups, grouped.records),
                jax.tree.map(lambda x: x.reshape(run.workers, *x.shape[2:]), grouped.memory),
            )
            # Normal workers first, also where roles are redrawn.
            order = jnp.argsort(workers.task.imagined.reshape(-1), stable=True)
            normals, mixtures = jnp.split(order, [groups * run.imagination.normal])
            select = lambda tr, which: jax.tree.map(lambda x: x[:, which], tr)

            params, learned, metrics = policy.learn(
                carry.params,
                carry.learned,
                rollout,
                fold_past,
                schedule.key(update_key(state, 2), k),
                hp,
            )

            # Only normal workers' trials train the belief.
            trials = select(jax.tree.map(merge_groups, trial_transitions), normals)
            replay = schedule.add_to_replay(carry.replay, elbo_trials(trials), run.vae.replay, k)
            params, vae_opt, elbo_metrics = vae.learn(
                params, carry.vae_opt, replay, schedule.key(update_key(state, 1), k), hp.vae
            )
            mixture = select(rollout.transitions, mixtures)
            metrics |= elbo_metrics | {
                "return_train": true_return(select(rollout.transitions, normals)),
                "return_imagined": mixture.reward.sum() / jnp.maximum(mixture.last.sum(), 1),
            }
            return Carry(params, learned, vae_opt, replay, workers, trial_transitions), metrics

        k = jnp.zeros((), jnp.int32)
        empty = schedule.empty_trial(advance_phase, state.params, workers, k)
        carry = Carry(state.params, state.learned, state.vae_opt, state.replay, workers, empty)
        carry, metrics = schedule.run_phases(phase, carry)
        metrics |= count_breakdowns(env, carry.trial_transitions)
        kept = {name: getattr(carry, name) for name in ("params", "learned", "vae_opt", "replay")}
        return state._replace(**kept, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_groups, step, lambda state: state.params, belief)


def merge_groups(x: Array) -> Array:
    """Return [T, G, W, ...] as [T, G * W, ...]."""
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])


def relabel(run: Run) -> Relabel:
    """Return what replaces rewards by those that returns are computed from."""
    if run.imagination.returns == "imagined":
        return unchanged
    return lambda tr: tr._replace(reward=tr.env_reward)
