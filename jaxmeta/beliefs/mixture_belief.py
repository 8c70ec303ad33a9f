"""MoSS's task inference (Wang et al. 2023): a mixture of Gaussians for each step of a trial.

A GRU reads transitions; heads give a categorical over K components and their Gaussians. Each
step's latent must explain one transition only, and its prior is the posterior of the step
before: a belief may follow a task that changes. Task numbers are read to tell trajectories of
different tasks apart, and for nothing else.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.core import unfreeze

from jaxmeta.agent import Gaussian, Params, Transition
from jaxmeta.algorithm import Hyper, Metrics
from jaxmeta.beliefs.gaussians import sample
from jaxmeta.beliefs.mixture_elbo import (
    Mixture,
    chosen,
    contrast,
    mixture_elbo,
    priors,
    two_moments,
)
from jaxmeta.beliefs.options import Inference
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key
from jaxmeta.nn.cache_blocks import by_window
from jaxmeta.nn.gru import gru_step, gru_unroll, init_gru
from jaxmeta.nn.networks import Linear, call, pytorch_uniform
from jaxmeta.nn.optimisers import descend_often, part
from jaxmeta.nn.running_statistics import merge, no_samples, standardise
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import Recorded, Window, windows
from jaxmeta.rl.off_policy import TaskBelief
from jaxmeta.rl.sac import real_actions
from jaxmeta.trial import Trial

GROUPS = ("encoder", "decoder")  # what the evidence lower bound trains


class MixtureEncoder(nn.Module):
    """A GRU over transitions; behind it a layer and the heads of a Mixture."""

    sizes: Inference
    width: int  # entries of a transition

    def setup(self) -> None:
        """Make the layers."""
        self.gru = self.param("gru", init_gru, self.width, self.sizes.hidden)
        self.layer = Linear(self.sizes.hidden)
        self.heads = Linear(self.sizes.components * (1 + 2 * self.sizes.latent))

    def step(self, h: Array, x: Array) -> Array:
        """Return the next state [..., H] for a transition [..., D]."""
        return gru_step(unfreeze(self.gru), h, x)

    def unroll(self, x: Array, keep: Array) -> Array:
        """Return the states [S + 1, B, H] of transitions [S, B, D], from zero on."""
        start = jnp.zeros((x.shape[1], self.sizes.hidden))
        return gru_unroll(unfreeze(self.gru), x, start, keep)

    def posterior(self, h: Array) -> Mixture:
        """Return the mixture that a state [..., H] stands for."""
        heads = self.heads(nn.relu(self.layer(nn.relu(h))))
        heads = heads.reshape(*h.shape[:-1], self.sizes.components, 1 + 2 * self.sizes.latent)
        mean, logvar = jnp.split(heads[..., 1:], 2, axis=-1)
        return Mixture(heads[..., 0], Gaussian(mean, logvar))

    def everything(self, h: Array, x: Array) -> Mixture:
        """Touch every parameter, for `init`."""
        return self.posterior(self.step(h, x))


class NextStep(nn.Module):
    """One regression of p(s', r | s, a, z): ReLU layers whose first is split in two.

    A step's part of it is computed once for all K latents.
    """

    layers: tuple[int, ...]
    outputs: int

    @nn.compact
    def __call__(self, z: Array, inputs: Array) -> Array:
        """Return [..., K, outputs] for latents [..., K, L] and steps [..., D]."""
        first, *rest = self.layers
        latent, width = z.shape[-1], inputs.shape[-1]
        fan_in = latent + width
        of_latent = self.param("of_latent", pytorch_uniform, (latent, first), fan_in)
        of_inputs = self.param("of_inputs", pytorch_uniform, (width, first), fan_in)
        bias = self.param("bias", pytorch_uniform, (first,), fan_in)
        of_step = inputs @ of_inputs + bias.reshape((1,) * (inputs.ndim - 1) + (-1,))
        x = nn.relu(z @ of_latent + of_step[..., None, :])
        for size in rest:
            x = nn.relu(Linear(size)(x))
        return Linear(self.outputs)(x)


class Memory(NamedTuple):
    """What an agent remembers of a trial."""

    read: Any  # the last transitions [S, D] and where to keep [S]; nothing if all are read
    all: Array  # [H] the GRU's state behind the last transition
    shown: Array  # [H] the one that the policy acts on


class Explained(NamedTuple):
    """What windows say, [S, B] steps each."""

    q: Mixture  # [S + 1, B]
    errors: Array  # [S, B, K]
    follows: Array  # [S, B] whether what was seen next is where the step led
    keep: Array  # [S, B]
    real: Array  # [S, B]


def shown_states(hs: Array, last: Array) -> Array:
    """Return the states [S + 1, B, H] behind the last episode that has ended by each step."""
    t = jnp.arange(len(hs))[:, None]
    ended = jnp.concatenate([jnp.zeros_like(last[:1]), last])
    at = jax.lax.cummax(jnp.where(ended, t, 0))
    return jnp.take_along_axis(hs, at[..., None], axis=0)


def mixture_belief(env: Trial, run: Run) -> TaskBelief:
    """Return MoSS's belief; `params` has "encoder", "decoder" and "statistics".

    Raises:
      ConfigError: actions are discrete.
    """
    sizes = run.inference
    (width,) = env.obs_space.shape
    own = width - 1  # without the trial's flag, which no decoder should explain
    (actions,) = real_actions(env).shape
    inputs = 2 * width + actions + 1
    encoder = MixtureEncoder(sizes, inputs)
    of_state, of_reward = NextStep(sizes.decoder_layers, own), NextStep(sizes.decoder_layers, 1)
    steps = sizes.window or env.horizon

    def init(key: Key) -> Params:
        key_encoder, key_state, key_reward = jax.random.split(key, 3)
        z, seen = jnp.zeros((1, sizes.latent)), jnp.zeros(width + actions)
        h, x = jnp.zeros(sizes.hidden), jnp.zeros(inputs)
        return {
            "encoder": encoder.init(key_encoder, h, x, method="everything"),
            "decoder": {
                "state": of_state.init(key_state, z, seen),
                "reward": of_reward.init(key_reward, z, seen),
            },
            "statistics": {
                "obs": no_samples((width,)),
                "action": no_samples((actions,)),
                "reward": no_samples(()),
            },
        }

    def look(params: Params, tr: Transition) -> Params:
        known = params["statistics"]
        seen = {"obs": tr.obs, "action": tr.action, "reward": tr.reward}
        return params | {"statistics": {name: merge(known[name], seen[name]) for name in seen}}

    def normal(params: Params, name: str, x: Array) -> Array:
        return standardise(params["statistics"][name], x)

    def transition(params: Params, obs: Array, action: Array, reward: Array, after: Array) -> Array:
        """Return what the GRU reads of a step, [..., D]."""
        return jnp.concatenate(
            [
                normal(params, "obs", obs),
                normal(params, "action", action),
                normal(params, "reward", reward)[..., None],
                normal(params, "obs", after),
            ],
            axis=-1,
        )

    def begin(params: Params) -> Memory:
        nothing = jnp.zeros(sizes.hidden)
        empty = (jnp.zeros((steps, inputs)), jnp.zeros(steps))
        return Memory(empty if sizes.window else (), nothing, nothing)

    def observe(params: Params, memory: Memory, tr: Transition) -> Memory:
        x = transition(params, tr.obs, tr.action, tr.reward, tr.seen)
        read: Any = ()
        if sizes.window:
            xs, keep = memory.read
            xs = jnp.concatenate([xs[1:], x[None]])
            keep = jnp.concatenate([keep[1:], jnp.ones(1)])
            unrolled = call(encoder, params["encoder"], xs[:, None], keep[:, None], method="unroll")
            read, h = (xs, keep), unrolled[-1, 0]
        else:
            h = call(encoder, params["encoder"], memory.all, x, method="step")
        shown = h if sizes.level == "step" else jnp.where(tr.last, h, memory.shown)
        return Memory(read, h, shown)

    def unroll(params: Params, seen: Window) -> Array:
        x = transition(params, seen.obs[:-1], seen.action, seen.reward, seen.obs[1:])
        return call(encoder, params["encoder"], x, seen.keep, method="unroll")

    def encode(params: Params, seen: Window) -> Array:
        hs = unroll(params, seen)
        return hs if sizes.level == "step" else shown_states(hs, seen.last)

    def posterior(params: Params, h: Array) -> Mixture:
        return call(encoder, params["encoder"], h, method="posterior")

    def features(params: Params, h: Array, noise: Array) -> Array:
        q = chosen(posterior(params, h))
        if sizes.belief == "sample":
            return sample(q, noise)
        return jnp.concatenate([q.mean, jnp.exp(q.logvar)], axis=-1)

    def errors(params: Params, z: Array, seen: Window) -> Array:
        """Return the squared errors of next states (a mean over entries) and rewards [S, B, K]."""
        obs = normal(params, "obs", seen.obs)
        read = jnp.concatenate([obs[:-1], normal(params, "action", seen.action)], axis=-1)
        state = call(of_state, params["decoder"]["state"], z, read)
        reward = call(of_reward, params["decoder"]["reward"], z, read)[..., 0]
        paid = normal(params, "reward", seen.reward)
        return ((state - obs[1:, :, None, :own]) ** 2).mean(-1) + (reward - paid[..., None]) ** 2

    def explain(params: Params, rows: Recorded, ends: Array, noise: Array) -> Explained:
        """Return what windows of the rows before steps `ends` say; noise [B, S + 1, K, L]."""
        seen = windows(rows, ends, steps)
        q = posterior(params, unroll(params, seen))
        z = sample(q.of, jnp.swapaxes(noise, 0, 1))
        explains = z[1:] if sizes.decodes == "current" else z[:-1]
        # What is seen behind a cut, or where a start is shown instead, is not where a step led.
        follows = seen.keep * (1.0 - seen.last if run.trial.boundary == "start" else 1.0)
        return Explained(q, errors(params, explains, seen), follows, seen.keep, seen.real)

    def loss(
        params: Params, rows: Recorded, ends: Array, key: Key, hp: Inference
    ) -> tuple[Array, Metrics]:
        key_z, key_pairs = jax.random.split(key)
        batch = ends.shape[0]
        noise = jax.random.normal(key_z, (batch, steps + 1, sizes.components, sizes.latent))
        of = by_window(lambda *block: explain(params, *block), rows, ends, noise)
        share = jax.nn.softmax(of.q.logits)
        share = share[1:] if sizes.decodes == "current" else share[:-1]
        chained = jnp.concatenate([jnp.ones_like(of.keep[:1]), of.keep])
        p = priors(of.q, sizes.prior)
        bound, metrics = mixture_elbo(of.q, p, share, of.errors, of.follows, chained, hp)
        moments = jax.vmap(two_moments, in_axes=(0, 1))(jax.random.split(key_pairs, batch), of.real)
        embedded = chosen(of.q).mean  # [S + 1, B, L]
        queries, keys = (embedded[i, jnp.arange(batch)] for i in moments)
        several = (of.real.sum(0) > 1).astype(jnp.float32)
        apart = contrast(queries, keys, rows.task, several, hp.contrast_scale)
        return bound + hp.contrast_weight * apart, metrics | {"contrast": apart}

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(hp.inference.max_grad_norm)
        return optax.chain(clip, optax.adam(hp.inference.learning_rate))

    def start(params: Params, hp: Hyper) -> optax.OptState:
        return optimiser(hp).init(part(params, GROUPS))

    def learn(
        params: Params,
        opt: optax.OptState,
        replay: ring_buffer.Trajectories,
        key: Key,
        hp: Hyper,
        wanted: Array,
    ) -> tuple[Params, optax.OptState, Metrics]:
        def on_a_batch(trained: Params, key: Key) -> tuple[Array, Metrics]:
            key_row, key_end, key_loss = jax.random.split(key, 3)
            rows = ring_buffer.sample(replay, key_row, sizes.batch)
            ends = jax.random.randint(key_end, (sizes.batch,), 1, env.horizon + 1)
            ends = ends if sizes.window else jnp.full_like(ends, env.horizon)
            return loss(params | trained, rows, ends, key_loss, hp.inference)

        times = jnp.where(wanted, sizes.updates, 0)
        (trained, opt), metrics = descend_often(
            times, on_a_batch, optimiser(hp), part(params, GROUPS), opt, key
        )
        return params | trained, opt, metrics

    return TaskBelief(
        width=sizes.latent * (1 if sizes.belief == "sample" else 2),
        steps=sizes.window,
        init=init,
        draw=lambda key: jax.random.normal(key, (sizes.latent,)),
        begin=begin,
        observe=observe,
        hidden=lambda params, memory: memory.shown,
        features=features,
        latent=lambda params, memory: chosen(posterior(params, memory.all)).mean,
        encode=encode,
        start=start,
        learn=learn,
        look=look,
    )
