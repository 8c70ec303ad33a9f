"""Latent Dynamics Mixture (Lee & Chung 2021): RL2, trained on imagined tasks as well.

Workers come in groups. Normal workers live in real training tasks; they feed the belief
(a VAE over task dynamics) and lend their latents. Mixture workers are paid by the decoder
for a random mixture of those latents. One policy learns from both.
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
    breakdowns,
    sample_tasks,
    true_return,
    update_key,
)
from jaxmeta.axes import spread
from jaxmeta.beliefs.elbo_learner import belief_learner
from jaxmeta.beliefs.gaussian_belief import variational_belief
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.imagination.latent_mixture import MixtureTask, latent_mixture, mixture_weights
from jaxmeta.nn.networks import Encoder
from jaxmeta.replay import elbo_trials, ring_buffer
from jaxmeta.rl.actor_critic import recurrent
from jaxmeta.rl.on_policy import policy_learner
from jaxmeta.rl.policy_learner import Learned, Relabel, unchanged
from jaxmeta.rl.update_phases import phases
from jaxmeta.rollout import WORKERS_AXIS, Rollout, Worker, begin_all, live_all
from jaxmeta.trial import Trial


class LDMState(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder" and "policy" (RL); "belief" and "decoder" (VAE)
    learned: Learned
    vae_opt: optax.OptState
    replay: ring_buffer.Trajectories
    key: Key
    update: Array  # []
    hp: Hyper


class Carry(NamedTuple):
    """What goes from phase to phase of a step."""

    params: Params
    learned: Learned
    vae_opt: optax.OptState
    replay: ring_buffer.Trajectories
    workers: Worker  # [G, W]
    so_far: Any  # the trial's transitions, [T, G, W]


def ldm(env: Trial, run: Run) -> Algorithm:
    """Return LDM (Algorithm 1 of the paper), with A2C or PPO."""
    net = recurrent(env, run, run.networks.head)
    policy = policy_learner(env, run, net, relabel(run))
    (width,) = env.obs_space.shape
    encoder = Encoder(env.action_space, width, run.networks, run.vae.latent)
    belief = variational_belief(env, run, encoder, "belief")
    latent = belief_learner(belief, run, ("belief", "decoder"))
    groups = run.workers // run.group
    phased = phases(env, run, net.agent)

    def init(key: Key, hp: Hyper) -> LDMState:
        key_net, key_belief = jax.random.split(jax.random.fold_in(key, 0))
        params = net.init(key_net) | belief.init(key_belief)
        return LDMState(
            params=params,
            learned=policy.init(params, hp),
            vae_opt=latent.init(params, hp.vae),
            replay=ring_buffer.empty(elbo_trials.replayed_like(env), run.vae.capacity),
            key=jax.random.fold_in(key, 1),
            update=jnp.zeros((), jnp.int32),
            hp=hp,
        )

    def world(params: Params, hp: Hyper) -> Env:
        return latent_mixture(env, belief, params, hp.vae, hp.imagination)

    def begin_group(params: Params, hp: Hyper, key: Key) -> tuple[Worker, Key, Array]:
        """Return workers [W] without mixtures yet, the key of those, and the workers' keys [W]."""
        key_tasks, key_mixture, key_rollout = jax.random.split(key, 3)
        tasks = sample_tasks(env, key_tasks, run.train_split, run.group)
        keys = jax.random.split(key_rollout, run.group)
        shape = (run.group, run.group, run.vae.latent)
        unmixed = MixtureTask(tasks, jnp.zeros(shape), jnp.zeros(run.group, bool))
        return begin_all(net.agent, world(params, hp), params, unmixed, keys), key_mixture, keys

    def live_group(
        params: Params, hp: Hyper, workers: Worker, key_mixture: Key, keys: Array, length: int
    ) -> tuple[Worker, Rollout]:
        """Draw who imagines which mixture, and let the group go on."""
        weights, imagined = mixture_weights(key_mixture, hp.imagination, run.vae.latent)
        task = workers.task._replace(weights=weights, imagined=imagined)
        workers = workers._replace(task=task)
        split = run.train_split
        return live_all(net.agent, world(params, hp), params, workers, keys, split, length)

    def begin(state: LDMState) -> tuple[Worker, Key, Array]:
        """Return what `begin_group` does for every group, [G, ...]."""
        keys = spread(jax.random.split(update_key(state, 0), groups))
        return jax.vmap(begin_group, in_axes=(None, None, 0))(state.params, state.hp, keys)

    def live_groups(
        params: Params, hp: Hyper, workers: Worker, key_mixture: Key, keys: Array, length: int
    ) -> tuple[Worker, Rollout]:
        """Let all groups' workers go on: rollouts [T, G, W]; their tasks say who imagines."""
        by_group = jax.vmap(
            lambda workers, mix, keys: live_group(params, hp, workers, mix, keys, length),
            out_axes=(0, WORKERS_AXIS),
        )
        return by_group(workers, key_mixture, keys)

    def remember(params: Params, workers: Worker, so_far: Any, k: Array) -> Worker:
        """Have agents and beliefs recall the trial so far, [T, G, W]."""
        workers = jax.vmap(phased.remember, in_axes=(None, 0, 1, None))(params, workers, so_far, k)

        def believe(worker: Worker, so_far: Any) -> Worker:
            again = lambda h, tr: belief.update(params, h, tr.action, tr.seen, tr.reward)
            known = phased.recall(again, belief.begin(params), so_far, k)
            return worker._replace(state=worker.state._replace(belief=known))

        return jax.vmap(jax.vmap(believe, in_axes=(0, 1)), in_axes=(0, 1))(workers, so_far)

    def collect_groups(state: LDMState) -> tuple[Rollout, Array]:
        """Return all groups' rollouts of whole trials, [T, G, W], and who imagined, [G, W]."""
        workers, rollout = live_groups(state.params, state.hp, *begin(state), env.horizon)
        return rollout, workers.task.imagined

    def step(state: LDMState) -> tuple[LDMState, Metrics]:
        hp = state.hp
        workers, key_mixture, keys = begin(state)

        def live(params: Params, workers: Worker, k: Array) -> tuple[Worker, Rollout]:
            own = jax.vmap(jax.vmap(phased.key, in_axes=(0, None)), in_axes=(0, None))(keys, k)
            redrawn = run.imagination.roles == "redrawn"
            mix = (
                jax.vmap(phased.key, in_axes=(0, None))(key_mixture, k) if redrawn else key_mixture
            )
            return live_groups(params, hp, workers, mix, own, phased.length)

        def phase(carry: Carry, k: Array) -> tuple[Carry, Metrics]:
            workers = remember(carry.params, carry.workers, carry.so_far, k)
            workers, grouped = live(carry.params, workers, k)
            so_far = phased.put(carry.so_far, grouped.transitions, k)
            rollout = Rollout(
                jax.tree.map(merge_groups, grouped.transitions),
                jax.tree.map(merge_groups, grouped.records),
                jax.tree.map(lambda x: x.reshape(run.workers, *x.shape[2:]), grouped.memory),
            )
            # Normal workers first, wherever in their groups they are.
            order = jnp.argsort(workers.task.imagined.reshape(-1), stable=True)
            normals, mixtures = jnp.split(order, [groups * run.imagination.normal])
            of = lambda tr, which: jax.tree.map(lambda x: x[:, which], tr)

            params, learned, metrics = policy.learn(
                carry.params, carry.learned, rollout, phased.key(update_key(state, 2), k), hp
            )

            # Only normal workers' trials teach the belief.
            trials = of(jax.tree.map(merge_groups, so_far), normals)
            replay = phased.store(carry.replay, elbo_trials.replayed(trials), run.vae.replay, k)
            params, vae_opt, elbo_metrics = latent.learn(
                params, carry.vae_opt, replay, phased.key(update_key(state, 1), k), hp.vae
            )
            mixture = of(rollout.transitions, mixtures)
            metrics |= elbo_metrics | {
                "return_train": true_return(of(rollout.transitions, normals)),
                "return_imagined": mixture.reward.sum() / jnp.maximum(mixture.last.sum(), 1),
            }
            return Carry(params, learned, vae_opt, replay, workers, so_far), metrics

        nothing = phased.nothing(live, state.params, workers, jnp.zeros((), jnp.int32))
        start = Carry(state.params, state.learned, state.vae_opt, state.replay, workers, nothing)
        end, metrics = phased.repeat(phase, start)
        metrics |= breakdowns(env, end.so_far)
        kept = {name: getattr(end, name) for name in ("params", "learned", "vae_opt", "replay")}
        return state._replace(**kept, update=state.update + 1), metrics

    return Algorithm(net.agent, init, collect_groups, step, lambda state: state.params, belief)


def merge_groups(x: Array) -> Array:
    """Return [T, G, W, ...] as [T, G * W, ...]."""
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])


def relabel(run: Run) -> Relabel:
    """Return what gives transitions the rewards that returns are made of."""
    if run.imagination.returns == "imagined":
        return unchanged
    return lambda tr: tr._replace(reward=tr.env_reward, shaped=None)
