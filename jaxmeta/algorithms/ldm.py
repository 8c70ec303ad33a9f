"""Latent Dynamics Mixture (Lee & Chung 2021): RL2, trained on imagined tasks as well.

Workers come in groups. Normal workers live in real training tasks; they feed the belief
(a VAE over task dynamics) and lend their latents. Mixture workers are paid by the decoder
for a random mixture of those latents. One policy learns from both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta import buffers
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
from jaxmeta.belief import variational_belief
from jaxmeta.belief_learner import belief_learner
from jaxmeta.config import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.imagine import MixtureTask, latent_mixture, mixture_weights
from jaxmeta.networks import Encoder
from jaxmeta.policy import Learned, policy_learner
from jaxmeta.recurrent import recurrent
from jaxmeta.rollout import WORKERS_AXIS, Rollout, collect


class LDMState(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder" and "policy" (RL); "belief" and "decoder" (VAE)
    learned: Learned
    vae_opt: optax.OptState
    replay: buffers.Trajectories
    key: Key
    update: Array  # []
    hp: Hyper


def ldm(env: Env, run: Run) -> Algorithm:
    """Return LDM (Algorithm 1 of the paper), with A2C or PPO."""
    net = recurrent(env, run, run.networks.head)
    policy = policy_learner(env, run, net)
    (width,) = env.obs_space.shape
    encoder = Encoder(env.action_space, width, run.networks, run.vae.latent)
    belief = variational_belief(env, run, encoder, "belief")
    latent = belief_learner(belief, run, ("belief", "decoder"))
    groups = run.workers // run.group

    def init(key: Key, hp: Hyper) -> LDMState:
        key_net, key_belief = jax.random.split(jax.random.fold_in(key, 0))
        params = net.init(key_net) | belief.init(key_belief)
        return LDMState(
            params=params,
            learned=policy.init(params, hp),
            vae_opt=latent.init(params, hp.vae),
            replay=buffers.empty(buffers.replayed_like(env), run.vae.capacity),
            key=jax.random.fold_in(key, 1),
            update=jnp.zeros((), jnp.int32),
            hp=hp,
        )

    def collect_group(params: Params, hp: Hyper, key: Key) -> tuple[Rollout, Array]:
        """Return one group's rollout [T, W] and which of its workers imagined [W]."""
        key_tasks, key_mixture, key_rollout = jax.random.split(key, 3)
        weights, imagined = mixture_weights(key_mixture, hp.imagination, run.vae.latent)
        tasks = sample_tasks(env, key_tasks, run.train_split, run.group)
        world = latent_mixture(env, belief, params, hp.vae, hp.imagination)
        mixtures = MixtureTask(tasks, weights, imagined)
        rollout = collect(net.agent, world, params, mixtures, key_rollout, run.train_split)
        return rollout, imagined

    def collect_groups(state: LDMState) -> tuple[Rollout, Array]:
        """Return all groups' rollouts, [T, G, W], and who imagined, [G, W]."""
        keys = jax.random.split(update_key(state, 0), groups)
        by_group = jax.vmap(collect_group, in_axes=(None, None, 0), out_axes=(WORKERS_AXIS, 0))
        return by_group(state.params, state.hp, keys)

    def step(state: LDMState) -> tuple[LDMState, Metrics]:
        hp = state.hp
        grouped, imagined = collect_groups(state)
        rollout = Rollout(
            jax.tree.map(merge_groups, grouped.transitions),
            jax.tree.map(merge_groups, grouped.records),
            jax.tree.map(lambda x: x.reshape(run.workers, *x.shape[2:]), grouped.memory),
        )
        # Normal workers first, wherever in their groups they are.
        order = jnp.argsort(imagined.reshape(-1), stable=True)
        normals = groups * run.imagination.normal
        normal, mixture = (
            jax.tree.map(lambda x, w=w: x[:, w], rollout.transitions)
            for w in (order[:normals], order[normals:])
        )

        params, learned, metrics = policy.learn(
            state.params, state.learned, rollout, update_key(state, 2), hp
        )

        # Only real rewards teach the belief.
        replay = buffers.add(state.replay, buffers.replayed(normal), run.vae.replay)
        params, vae_opt, elbo_metrics = latent.learn(
            params, state.vae_opt, replay, update_key(state, 1), hp.vae
        )
        metrics |= (
            breakdowns(env, rollout.transitions)
            | elbo_metrics
            | {
                "return_train": true_return(normal),
                "return_imagined": mixture.reward.sum() / jnp.maximum(mixture.last.sum(), 1),
            }
        )
        return LDMState(params, learned, vae_opt, replay, state.key, state.update + 1, hp), metrics

    return Algorithm(net.agent, init, collect_groups, step, lambda state: state.params, belief)


def merge_groups(x: Array) -> Array:
    """Return [T, G, W, ...] as [T, G * W, ...]."""
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:])
