"""MoSS's task inference (Wang et al. 2023): a mixture of Gaussians for each step of a trial.

A GRU reads transitions; heads give a categorical over K components and their Gaussians. Each
step's latent decodes one transition only, and its prior is the posterior of the step before: a
belief may follow a task that changes. Task ids are read by the contrastive loss only.
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
    info_nce,
    mixture_elbo,
    most_likely,
    priors,
    two_random_steps,
)
from jaxmeta.beliefs.options import Inference
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key
from jaxmeta.nn.cache_blocks import map_windows
from jaxmeta.nn.gru import gru_step, gru_unroll, init_gru
from jaxmeta.nn.networks import Linear, apply, pytorch_uniform
from jaxmeta.nn.optimisers import gradient_steps, select_groups
from jaxmeta.nn.running_statistics import init_statistics, standardise, update_statistics
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import OffPolicyRow, Window, windows
from jaxmeta.rl.off_policy import TaskBelief
from jaxmeta.rl.sac import continuous_actions
from jaxmeta.trial import Trial

GROUPS = ("encoder", "decoder")  # trained by the evidence lower bound


class MixtureEncoder(nn.Module):
    """A GRU over transitions, followed by a layer and the heads of a Mixture."""

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
        """Return the states [S + 1, B, H] of transitions [S, B, D], from zero."""
        start = jnp.zeros((x.shape[1], self.sizes.hidden))
        return gru_unroll(unfreeze(self.gru), x, start, keep)

    def posterior(self, h: Array) -> Mixture:
        """Return the mixture for a state [..., H]."""
        heads = self.heads(nn.relu(self.layer(nn.relu(h))))
        heads = heads.reshape(*h.shape[:-1], self.sizes.components, 1 + 2 * self.sizes.latent)
        mean, logvar = jnp.split(heads[..., 1:], 2, axis=-1)
        return Mixture(heads[..., 0], Gaussian(mean, logvar))

    def everything(self, h: Array, x: Array) -> Mixture:
        """Call every layer, so that `init` creates all parameters."""
        return self.posterior(self.step(h, x))


class NextStep(nn.Module):
    """One regression of p(s', r | s, a, z): ReLU layers whose first is split in two.

    A step's select_groups of it is computed once for all K latents.
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


class BeliefMemory(NamedTuple):
    """An agent's memory: the GRU's state, and what it is computed from."""

    window: Any  # the last transitions [S, D] and where to keep [S]; () without a window
    hidden: Array  # [H] the GRU's state after the last transition
    policy_hidden: Array  # [H] the one that the policy acts on


class WindowPosterior(NamedTuple):
    """Posteriors and decoding errors of windows, [S, B] steps each."""

    q: Mixture  # [S + 1, B]
    errors: Array  # [S, B, K]
    has_successor: Array  # [S, B] whether the next observation is the step's successor
    keep: Array  # [S, B]
    valid: Array  # [S, B]


def episode_end_states(hs: Array, last: Array) -> Array:
    """Return the states [S + 1, B, H] after the last episode that has ended by each step."""
    t = jnp.arange(len(hs))[:, None]
    ended = jnp.concatenate([jnp.zeros_like(last[:1]), last])
    at = jax.lax.cummax(jnp.where(ended, t, 0))
    return jnp.take_along_axis(hs, at[..., None], axis=0)


def mixture_belief(env: Trial, run: Run) -> TaskBelief:
    """Return MoSS's belief; `params` has "encoder", "decoder" and "statistics".

    Raises:
      ConfigError: actions are discrete.
    """
    options = run.inference
    (width,) = env.obs_space.shape
    decoded = width - 1  # without the trial's flag
    (actions,) = continuous_actions(env).shape
    inputs = 2 * width + actions + 1
    encoder = MixtureEncoder(options, inputs)
    state_decoder = NextStep(options.decoder_layers, decoded)
    reward_decoder = NextStep(options.decoder_layers, 1)
    length = options.window or env.horizon

    def init(key: Key) -> Params:
        key_encoder, key_state, key_reward = jax.random.split(key, 3)
        z, step = jnp.zeros((1, options.latent)), jnp.zeros(width + actions)
        h, x = jnp.zeros(options.hidden), jnp.zeros(inputs)
        return {
            "encoder": encoder.init(key_encoder, h, x, method="everything"),
            "decoder": {
                "state": state_decoder.init(key_state, z, step),
                "reward": reward_decoder.init(key_reward, z, step),
            },
            "statistics": {
                "obs": init_statistics((width,)),
                "action": init_statistics((actions,)),
                "reward": init_statistics(()),
            },
        }

    def update_normalisers(params: Params, tr: Transition) -> Params:
        statistics = params["statistics"]
        samples = {"obs": tr.obs, "action": tr.action, "reward": tr.reward}
        updated = {name: update_statistics(statistics[name], x) for name, x in samples.items()}
        return params | {"statistics": updated}

    def normalise(params: Params, name: str, x: Array) -> Array:
        return standardise(params["statistics"][name], x)

    def transition(params: Params, obs: Array, action: Array, reward: Array, after: Array) -> Array:
        """Return the GRU's inputs for a step, [..., D]."""
        return jnp.concatenate(
            [
                normalise(params, "obs", obs),
                normalise(params, "action", action),
                normalise(params, "reward", reward)[..., None],
                normalise(params, "obs", after),
            ],
            axis=-1,
        )

    def begin(params: Params) -> BeliefMemory:
        zero = jnp.zeros(options.hidden)
        empty = (jnp.zeros((length, inputs)), jnp.zeros(length))
        return BeliefMemory(empty if options.window else (), zero, zero)

    def observe(params: Params, memory: BeliefMemory, tr: Transition) -> BeliefMemory:
        x = transition(params, tr.obs, tr.action, tr.reward, tr.seen)
        window: Any = ()
        if options.window:
            xs, keep = memory.window
            xs = jnp.concatenate([xs[1:], x[None]])
            keep = jnp.concatenate([keep[1:], jnp.ones(1)])
            unrolled = apply(
                encoder, params["encoder"], xs[:, None], keep[:, None], method="unroll"
            )
            window, h = (xs, keep), unrolled[-1, 0]
        else:
            h = apply(encoder, params["encoder"], memory.hidden, x, method="step")
        policy_h = h if options.level == "step" else jnp.where(tr.last, h, memory.policy_hidden)
        return BeliefMemory(window, h, policy_h)

    def unroll(params: Params, steps: Window) -> Array:
        x = transition(params, steps.obs[:-1], steps.action, steps.reward, steps.obs[1:])
        return apply(encoder, params["encoder"], x, steps.keep, method="unroll")

    def encode(params: Params, steps: Window) -> Array:
        hs = unroll(params, steps)
        return hs if options.level == "step" else episode_end_states(hs, steps.last)

    def posterior(params: Params, h: Array) -> Mixture:
        return apply(encoder, params["encoder"], h, method="posterior")

    def features(params: Params, h: Array, noise: Array) -> Array:
        q = most_likely(posterior(params, h))
        if options.belief == "sample":
            return sample(q, noise)
        return jnp.concatenate([q.mean, jnp.exp(q.logvar)], axis=-1)

    def errors(params: Params, z: Array, steps: Window) -> Array:
        """Return the squared errors of next states (a mean over entries) and rewards [S, B, K]."""
        obs = normalise(params, "obs", steps.obs)
        inputs = jnp.concatenate([obs[:-1], normalise(params, "action", steps.action)], axis=-1)
        state = apply(state_decoder, params["decoder"]["state"], z, inputs)
        reward = apply(reward_decoder, params["decoder"]["reward"], z, inputs)[..., 0]
        target = normalise(params, "reward", steps.reward)
        state_error = ((state - obs[1:, :, None, :decoded]) ** 2).mean(-1)
        return state_error + (reward - target[..., None]) ** 2

    def evaluate_windows(
        params: Params, rows: OffPolicyRow, ends: Array, noise: Array
    ) -> WindowPosterior:
        """Evaluate windows of the rows before steps `ends`; noise [B, S + 1, K, L]."""
        steps = windows(rows, ends, length)
        q = posterior(params, unroll(params, steps))
        z = sample(q.of, jnp.swapaxes(noise, 0, 1))
        latents = z[1:] if options.decodes == "current" else z[:-1]
        # After a cut, or where the next episode's start is shown, the next observation is not the
        # step's successor.
        has_successor = steps.keep * (1.0 - steps.last if run.trial.boundary == "start" else 1.0)
        step_errors = errors(params, latents, steps)
        return WindowPosterior(q, step_errors, has_successor, steps.keep, steps.valid)

    def loss(
        params: Params, rows: OffPolicyRow, ends: Array, key: Key, hp: Inference
    ) -> tuple[Array, Metrics]:
        key_z, key_pairs = jax.random.split(key)
        batch = ends.shape[0]
        noise = jax.random.normal(key_z, (batch, length + 1, options.components, options.latent))
        found = map_windows(lambda *block: evaluate_windows(params, *block), rows, ends, noise)
        responsibilities = jax.nn.softmax(found.q.logits)
        responsibilities = (
            responsibilities[1:] if options.decodes == "current" else responsibilities[:-1]
        )
        kl_mask = jnp.concatenate([jnp.ones_like(found.keep[:1]), found.keep])
        p = priors(found.q, options.prior)
        bound, metrics = mixture_elbo(
            found.q, p, responsibilities, found.errors, found.has_successor, kl_mask, hp
        )
        pair_keys = jax.random.split(key_pairs, batch)
        step_pairs = jax.vmap(two_random_steps, in_axes=(0, 1))(pair_keys, found.valid)
        embedded = most_likely(found.q).mean  # [S + 1, B, L]
        queries, keys = (embedded[i, jnp.arange(batch)] for i in step_pairs)
        has_positive = (found.valid.sum(0) > 1).astype(jnp.float32)
        contrast = info_nce(queries, keys, rows.task, has_positive, hp.contrast_scale)
        return bound + hp.contrast_weight * contrast, metrics | {"contrast": contrast}

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        clip = optax.clip_by_global_norm(hp.inference.max_grad_norm)
        return optax.chain(clip, optax.adam(hp.inference.learning_rate))

    def init_opt(params: Params, hp: Hyper) -> optax.OptState:
        return optimiser(hp).init(select_groups(params, GROUPS))

    def learn(
        params: Params,
        opt: optax.OptState,
        replay: ring_buffer.Trajectories,
        key: Key,
        hp: Hyper,
        enabled: Array,
    ) -> tuple[Params, optax.OptState, Metrics]:
        def batch_loss(trainable: Params, key: Key) -> tuple[Array, Metrics]:
            key_row, key_end, key_loss = jax.random.split(key, 3)
            rows = ring_buffer.sample(replay, key_row, options.batch)
            ends = jax.random.randint(key_end, (options.batch,), 1, env.horizon + 1)
            ends = ends if options.window else jnp.full_like(ends, env.horizon)
            return loss(params | trainable, rows, ends, key_loss, hp.inference)

        count = jnp.where(enabled, options.updates, 0)
        (trainable, opt), metrics = gradient_steps(
            count, batch_loss, optimiser(hp), select_groups(params, GROUPS), opt, key
        )
        return params | trainable, opt, metrics

    return TaskBelief(
        feature_size=options.latent * (1 if options.belief == "sample" else 2),
        window=options.window,
        init=init,
        draw=lambda key: jax.random.normal(key, (options.latent,)),
        begin=begin,
        observe=observe,
        hidden=lambda params, memory: memory.policy_hidden,
        features=features,
        latent=lambda params, memory: most_likely(posterior(params, memory.hidden)).mean,
        encode=encode,
        init_opt=init_opt,
        learn=learn,
        update_normalisers=update_normalisers,
    )
