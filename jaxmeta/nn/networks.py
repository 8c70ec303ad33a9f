"""Encoders, policies and decoders, derived from an environment's spaces.

flax.linen modules, used through `init` and `apply` only: parameters are plain dicts.
Written for any leading axes; a worker has none.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import unfreeze

from jaxmeta.env import Array, Box, Discrete, Env, Key
from jaxmeta.nn.gru import affine, gru_step, gru_unroll, gru_with_known_states, init_gru
from jaxmeta.nn.options import Networks


def pytorch_uniform(key: Key, shape: tuple[int, ...], fan_in: int) -> Array:
    """Draw from U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default, biases included."""
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def unit_norm_init(key: Key, shape: tuple[int, int]) -> Array:
    """Draw a kernel [inputs, outputs] whose incoming weights have unit norm per output."""
    kernel = jax.random.normal(key, shape)
    return kernel / jnp.linalg.norm(kernel, axis=0, keepdims=True)


class Linear(nn.Module):
    """A linear layer with PyTorch's default initialisation of weights and biases."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., D] to [..., F]."""
        inputs = x.shape[-1]
        kernel = self.param("kernel", pytorch_uniform, (inputs, self.features), inputs)
        bias = self.param("bias", pytorch_uniform, (self.features,), inputs)
        return affine(x, kernel, bias)


class Encoder(nn.Module):
    """The recurrent encoder of variBAD and LDM: (a_t, s_{t+1}, r_{t+1}) to a Gaussian.

    Inputs are raw; the state carries the episode's end flag. The prior, before any step,
    is the heads applied to a zero hidden state: learnable and the same for every task.
    """

    action_space: Discrete | Box
    obs_width: int
    sizes: Networks
    head: int  # entries of mean and of logvar

    def setup(self) -> None:
        """Make the layers; an embedding of size 0 leaves its input out."""
        sizes = self.sizes
        self.embed_action = Linear(sizes.action_embedding) if sizes.action_embedding else None
        self.embed_obs = Linear(sizes.state_embedding)
        self.embed_reward = Linear(sizes.reward_embedding)
        width = sizes.action_embedding + sizes.state_embedding + sizes.reward_embedding
        self.gru = self.param("gru", init_gru, width, sizes.hidden)
        self.mean, self.logvar = Linear(self.head), Linear(self.head)

    def inputs(self, action: Array, obs: Array, reward: Array) -> Array:
        """Return the GRU's inputs [..., D] from actions, the obs that followed, rewards [...]."""
        embedded = [
            nn.relu(self.embed_obs(obs.astype(jnp.float32))),
            nn.relu(self.embed_reward(reward[..., None])),
        ]
        if self.embed_action:
            embedded.insert(0, nn.relu(self.embed_action(as_vector(action, self.action_space))))
        return jnp.concatenate(embedded, axis=-1)

    def begin(self) -> Array:
        """Return the hidden state before any step, [H]."""
        return jnp.zeros(self.sizes.hidden)

    def step(self, h: Array, action: Array, obs: Array, reward: Array) -> Array:
        """Return the next hidden state, [..., H]."""
        return gru_step(unfreeze(self.gru), h, self.inputs(action, obs, reward))

    def unroll(self, action: Array, obs: Array, reward: Array, keep: Array, start: Array) -> Array:
        """Return the hidden states [T + 1, B, H] of a batch [T, B] from `start` [B, H] on."""
        return gru_unroll(unfreeze(self.gru), self.inputs(action, obs, reward), start, keep)

    def replay(self, action: Array, obs: Array, reward: Array, keep: Array, hs: Array) -> Array:
        """Return `hs` [T + 1, B, H], the rollout's own hidden states, differentiably."""
        return gru_with_known_states(unfreeze(self.gru), self.inputs(action, obs, reward), hs, keep)

    def posterior(self, h: Array) -> tuple[Array, Array]:
        """Return mean and logvar, [..., head] each."""
        return self.mean(h), self.logvar(h)

    def everything(self, action: Array, obs: Array, reward: Array) -> tuple[Array, Array]:
        """Call every layer, so that `init` creates all parameters."""
        return self.posterior(self.step(self.begin(), action, obs, reward))


class Policy(nn.Module):
    """Actor and critic: two stacks of tanh layers on [obs,] mean and logvar."""

    action_space: Discrete | Box
    layers: tuple[int, ...]
    sees_obs: bool

    def setup(self) -> None:
        """Make the layers; the heads follow the action space."""
        self.actor = [UnitRows(width) for width in self.layers]
        self.critic = [UnitRows(width) for width in self.layers]
        if isinstance(self.action_space, Discrete):
            self.head: nn.Module = nn.Dense(
                self.action_space.n, kernel_init=nn.initializers.orthogonal(scale=0.01)
            )
        else:
            (width,) = self.action_space.shape
            self.head = UnitRows(width)
            self.log_std = self.param("log_std", nn.initializers.zeros, (width,))
        self.value_head = Linear(1)

    def inputs(self, obs: Array, latent: tuple[Array, Array]) -> Array:
        """Return the inputs of both stacks, [..., D]."""
        parts = [obs.astype(jnp.float32), *latent] if self.sees_obs else latent
        return jnp.concatenate(parts, axis=-1)

    def act(self, obs: Array, latent: tuple[Array, Array]) -> tuple[Array, ...]:
        """Return the action distribution's parameters: logits [..., A], or mean and log-std."""
        x = self.inputs(obs, latent)
        for layer in self.actor:
            x = jnp.tanh(layer(x))
        if isinstance(self.action_space, Discrete):
            return (self.head(x),)
        mean = self.head(x)
        return mean, jnp.broadcast_to(self.log_std, mean.shape)

    def value(self, obs: Array, latent: tuple[Array, Array]) -> Array:
        """Return state values [...]."""
        x = self.inputs(obs, latent)
        for layer in self.critic:
            x = jnp.tanh(layer(x))
        return self.value_head(x)[..., 0]

    def everything(self, obs: Array, latent: tuple[Array, Array]) -> tuple:
        """Call every layer, so that `init` creates all parameters."""
        return self.act(obs, latent), self.value(obs, latent)


class UnitRows(nn.Module):
    """A linear layer whose output units start with unit-norm weights and zero bias."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., D] to [..., F]."""
        kernel = self.param("kernel", unit_norm_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return affine(x, kernel, bias)


def apply(module: nn.Module, params: Any, *args: Any, method: str = "__call__") -> Any:
    """Apply a module's method: the only place where flax is called with parameters."""
    return module.apply(params, *args, method=method)


def as_vector(action: Array, space: Discrete | Box) -> Array:
    """Return an action as float32: one-hot where it is discrete, unless it is already."""
    if isinstance(space, Discrete) and jnp.issubdtype(action.dtype, jnp.integer):
        return jax.nn.one_hot(action, space.n)
    return action.astype(jnp.float32)


def example_action(env: Env) -> Array:
    """Return an action of the environment, to initialise networks with."""
    if isinstance(env.action_space, Discrete):
        return jnp.zeros((), jnp.int32)
    return jnp.zeros(env.action_space.shape)


def example_obs(env: Env) -> Array:
    """Return an array of an observation's shape and dtype."""
    return jnp.zeros(env.obs_space.shape, env.obs_space.dtype)
