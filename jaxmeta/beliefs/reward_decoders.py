"""Reward decoders p(r | z, ...): predictions, and the reconstruction loss of a trial."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxmeta.agent import Params
from jaxmeta.beliefs.options import VAE
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Binary, Box, Discrete, Env, Key
from jaxmeta.errors import ConfigError
from jaxmeta.nn.networks import (
    Linear,
    apply,
    as_vector,
    example_action,
    example_obs,
    pytorch_uniform,
)
from jaxmeta.nn.options import Networks
from jaxmeta.replay.elbo_trials import ElboTrial

ALL_PAIRS_CHUNK = 11  # latents decoded at a time with pairs=all: bounds memory


def random_bytes(key: Key, shape: tuple[int, ...]) -> Array:
    """Return random uint8, four from each word: `random.bits` would hash once per byte."""
    count = math.prod(shape)
    words = jax.random.bits(key, (-(-count // 4),))
    return lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:count].reshape(shape)


def dropout(embedded: Array, bits: Array, rate: Array | float) -> Array:
    """Zero each entry with probability `rate`, by 8 random bits each, and rescale the rest.

    The rate is rounded to 1/256; the scale is that of the rounded rate.
    """
    dropped = jnp.round(256 * rate).astype(jnp.int32)
    dropped = jnp.minimum(dropped, 255).astype(jnp.uint8)
    scale = 256 / (256 - dropped.astype(jnp.float32))
    return jnp.where(bits >= dropped, embedded * scale, 0.0)


def prediction_error(env: Env, prediction: Array, reward: Array) -> Array:
    """Return -log p(r): cross-entropy for binary rewards (from logits), else squared error."""
    if isinstance(env.reward, Binary):
        hit = reward == env.reward.high
        return jnp.where(hit, jax.nn.softplus(-prediction), jax.nn.softplus(prediction))
    return (prediction - reward) ** 2


def expected_reward(env: Env, prediction: Array) -> Array:
    """Return the reward that a decoder's output represents: E[r] where r is binary."""
    if isinstance(env.reward, Binary):
        return env.reward.low + (env.reward.high - env.reward.low) * jax.nn.sigmoid(prediction)
    return prediction


def stratified(key: Key, draws: int, count: Array) -> Array:
    """Return `draws` indices in [0, count), one from each of as many equal strata.

    For any f, count / draws * sum f(index) is an unbiased estimate of sum_i f(i).
    """
    u = jax.random.uniform(key, (draws,))
    index = jnp.floor((jnp.arange(draws) + u) * count / draws).astype(jnp.int32)
    return jnp.minimum(index, count - 1)


class RewardDecoder(nn.Module):
    """p(r | z, ...): embeddings of the inputs that `vae.decoder_inputs` names, then an MLP.

    The first layer is split into a latent and an input part, so that one latent can be
    combined with many steps without repeating its product.
    """

    action_space: Discrete | Box
    vae: VAE
    sizes: Networks

    def setup(self) -> None:
        """Make the layers."""
        self.embed_obs = Linear(self.sizes.state_embedding)  # shared by obs and next_obs
        self.embed_action = Linear(self.sizes.action_embedding) if self.uses("action") else None
        first, *rest = self.vae.decoder_layers
        fan_in = self.vae.latent + self.width
        self.of_latent = self.param("of_latent", pytorch_uniform, (self.vae.latent, first), fan_in)
        self.of_inputs = self.param("of_inputs", pytorch_uniform, (self.width, first), fan_in)
        self.bias = self.param("bias", pytorch_uniform, (first,), fan_in)
        self.layers = [Linear(width) for width in rest]
        self.out = Linear(1)

    def uses(self, name: str) -> bool:
        """Whether the decoder reads "obs", "action" or "next_obs"."""
        return name in self.vae.decoder_inputs

    @property
    def width(self) -> int:
        """Return the length of the embedded inputs, on which dropout acts."""
        states = self.uses("obs") + self.uses("next_obs")
        return states * self.sizes.state_embedding + (
            self.sizes.action_embedding if self.uses("action") else 0
        )

    def embed(self, obs: Array, action: Array, next_obs: Array) -> Array:
        """Return the embedded inputs [..., width], in the order s', a, s."""
        parts = []
        if self.uses("next_obs"):
            parts.append(nn.relu(self.embed_obs(next_obs.astype(jnp.float32))))
        if self.embed_action:
            parts.append(nn.relu(self.embed_action(as_vector(action, self.action_space))))
        if self.uses("obs"):
            parts.append(nn.relu(self.embed_obs(obs.astype(jnp.float32))))
        return jnp.concatenate(parts, axis=-1)

    def decode(self, z: Array, embedded: Array) -> Array:
        """Return logits (binary rewards) or rewards [...] for z [..., L], inputs [..., width].

        Leading axes of size 1 broadcast: z [K, 1, L] with inputs [K, D, width].
        """
        bias = self.bias.reshape((1,) * (z.ndim - 1) + (-1,))
        x = nn.relu(z @ self.of_latent + bias + embedded @ self.of_inputs)
        for layer in self.layers:
            x = nn.relu(layer(x))
        return self.out(x)[..., 0]

    def everything(self, z: Array, obs: Array, action: Array, next_obs: Array) -> Array:
        """Call every layer, so that `init` creates all parameters."""
        return self.decode(z, self.embed(obs, action, next_obs))


class CellDecoder(nn.Module):
    """variBAD's multi-head decoder: one logit per state of a finite set, from z alone."""

    layers: tuple[int, ...]
    cells: int

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """Map [..., L] to [..., cells]."""
        for width in self.layers:
            z = nn.relu(Linear(width)(z))
        return Linear(self.cells)(z)


class Decoder(NamedTuple):
    """A decoder's functions, for one worker.

    Attributes:
      init: key -> parameters.
      width: entries of the embedded inputs, which dropout acts on.
      predict: (params, z, obs, action, next_obs, bits, hp) -> logit or reward [].
      reconstruction: (params, z [T + 1, L], ElboTrial [T], key, hp) -> [], the sum over
        prefixes t of the reconstruction R_t of the whole trial.
    """

    init: Callable[[Key], Params]
    width: int
    predict: Callable[..., Array]
    reconstruction: Callable[..., Array]


def single_decoder(env: Env, run: Run) -> Decoder:
    """Return the decoder with one output for (z, and what `vae.decoder_inputs` names)."""
    net = RewardDecoder(env.action_space, run.vae, run.networks)

    def init(key: Key) -> Params:
        obs = example_obs(env)
        z = jnp.zeros(run.vae.latent)
        return net.init(key, z, obs, example_action(env), obs, method="everything")

    def decode(params: Params, z: Array, embedded: Array) -> Array:
        return apply(net, params, z, embedded, method="decode")

    def predict(
        params: Params,
        z: Array,
        obs: Array,
        action: Array,
        next_obs: Array,
        bits: Array | None,
        hp: VAE,
    ) -> Array:
        embedded = apply(net, params, obs, action, next_obs, method="embed")
        if bits is not None:
            embedded = dropout(embedded, bits, hp.dropout)
        return decode(params, z, embedded)

    def errors(
        params: Params, z: Array, embedded: Array, reward: Array, key: Key, hp: VAE
    ) -> Array:
        """Return the errors of all pairs of z [K, L] and steps [D], each with its own mask."""
        shape = (z.shape[0], *embedded.shape)
        bits = random_bytes(key, shape)
        dropped = dropout(jnp.broadcast_to(embedded[None], shape), bits, hp.dropout)
        prediction = decode(params, z[:, None], dropped)
        return prediction_error(env, prediction, jnp.broadcast_to(reward[None], prediction.shape))

    def embed(params: Params, trial: ElboTrial) -> Array:
        """Return every step's embedded inputs, [T, width]: once per trajectory."""
        return apply(net, params, trial.obs, trial.action, trial.next_obs, method="embed")

    def random_pairs(params: Params, z: Array, trial: ElboTrial, key: Key, hp: VAE) -> Array:
        """Estimate sum_t R_t from K latents and D steps, without bias."""
        length = trial.valid.sum()
        key_t, key_i, key_drop = jax.random.split(key, 3)
        t = stratified(key_t, hp.elbo_latents, length + 1)
        i = stratified(key_i, hp.elbo_steps, length)
        error = errors(params, z[t], embed(params, trial)[i], trial.reward[i], key_drop, hp)
        total = error.mean() * (length + 1)
        return total * length if hp.reduction == "sum" else total

    def all_pairs(params: Params, z: Array, trial: ElboTrial, key: Key, hp: VAE) -> Array:
        """Return sum_t R_t over every prefix t and step i, in chunks of prefixes."""
        length = trial.valid.sum()
        prefixes = z.shape[0]
        chunk = next(c for c in range(min(ALL_PAIRS_CHUNK, prefixes), 0, -1) if prefixes % c == 0)
        embedded = embed(params, trial)

        @jax.checkpoint
        def chunk_sum(inputs: tuple[Array, Array, Key]) -> Array:
            z, t, key = inputs
            error = errors(params, z, embedded, trial.reward, key, hp)
            return jnp.where((t <= length)[:, None] & trial.valid[None], error, 0.0).sum()

        chunks = (
            z.reshape(-1, chunk, z.shape[1]),
            jnp.arange(prefixes).reshape(-1, chunk),
            jax.random.split(key, prefixes // chunk),
        )
        total = lax.map(chunk_sum, chunks).sum()
        return total if hp.reduction == "sum" else total / length

    reconstruction = {"random": random_pairs, "all": all_pairs}[run.vae.pairs]
    width = net.width
    return Decoder(init, width, predict, reconstruction)


def multi_decoder(env: Env, run: Run) -> Decoder:
    """Return variBAD's decoder: from z alone, one output per cell of a finite state set.

    Decoding a prefix once serves every step, so all pairs are exact and cheap. The latent is
    its only input, so there is no dropout.

    Raises:
      ConfigError: the environment has no finite set of cells.
    """
    cells = env.cells
    if cells is None:
        raise ConfigError(
            f"vae.decoder = 'multi': must be 'single'; {run.env} has no finite set of cells"
        )
    net = CellDecoder(run.vae.decoder_layers, cells.n)

    def predict(
        params: Params,
        z: Array,
        obs: Array,
        action: Array,
        next_obs: Array,
        bits: Array | None,
        hp: VAE,
    ) -> Array:
        return apply(net, params, z)[cells.index(next_obs)]

    def reconstruction(params: Params, z: Array, trial: ElboTrial, key: Key, hp: VAE) -> Array:
        """Return sum_t R_t; binary rewards enter by their counts per cell."""
        prediction = apply(net, params, z)  # [T + 1, cells]
        cell = jax.vmap(cells.index)(trial.next_obs)
        length = trial.valid.sum()
        before = jnp.arange(z.shape[0]) <= length
        if isinstance(env.reward, Binary):
            kinds = (trial.reward == env.reward.high, trial.reward != env.reward.high)
            targets = (env.reward.high, env.reward.low)
            total = jnp.zeros(())
            for kind, target in zip(kinds, targets, strict=True):
                count = jnp.zeros(cells.n).at[cell].add((kind & trial.valid).astype(jnp.float32))
                error = prediction_error(env, prediction, jnp.full_like(prediction, target))
                total += jnp.where(before, error @ count, 0.0).sum()
        else:
            error = prediction_error(
                env,
                prediction[:, cell],
                jnp.broadcast_to(trial.reward[None], (z.shape[0], len(cell))),
            )
            total = jnp.where(before[:, None] & trial.valid[None], error, 0.0).sum()
        return total if hp.reduction == "sum" else total / length

    def init(key: Key) -> Params:
        return net.init(key, jnp.zeros(run.vae.latent))

    return Decoder(init, 0, predict, reconstruction)
