"""Environments whose rewards are imagined: Env -> Env, closed over a decoder."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.agent import Belief, Params
from jaxmeta.axes import WORKERS
from jaxmeta.beliefs.gaussians import sample
from jaxmeta.beliefs.options import VAE
from jaxmeta.env import Array, Binary, Env, EnvState, Key, Step, Task, Wrapper
from jaxmeta.imagination.options import Imagination


class MixtureTask(NamedTuple):
    """A real task, and the mixture whose reward replaces its own on mixture workers."""

    task: Task
    weights: Array  # [W, L] of every worker of the group; zero on mixture workers' rows
    imagined: Array  # [] bool: whether this worker is a mixture worker


class MixtureState(NamedTuple):
    """The inner state, and the belief over the task that generates this worker's reward."""

    inner: EnvState
    obs: Array  # [O] what the agent sees
    belief: Array


class LatentMixture(Wrapper):
    """See `latent_mixture`."""

    def __init__(
        self, env: Env, belief: Belief, params: Params, vae: VAE, imagination: Imagination
    ):
        super().__init__(env)
        self.belief, self.params = belief, params
        self.vae, self.imagination = vae, imagination

    def draw(self, key: Key) -> Any:
        """Return the inner step's noise and the belief's."""
        key_env, key_belief = jax.random.split(key)
        return self.env.draw(key_env), self.belief.draw(key_belief)

    def sample_task(self, key: Key, split: str) -> Task:
        """Refuse: mixtures are drawn per group, by the algorithm."""
        raise TypeError("a mixture task is drawn for a whole group: see `mixture_weights`")

    def next_task(self, key: Key, split: str, task: MixtureTask) -> MixtureTask:
        """Return a new real task; the worker keeps its role and its mixture."""
        return task._replace(task=self.env.next_task(key, split, task.task))

    def eval_tasks(self, split: str) -> Task:
        """Refuse: agents are evaluated on the bare environment."""
        raise TypeError("evaluate on the environment itself, not on imagined rewards")

    def reset(self, key: Key, task: MixtureTask) -> tuple[MixtureState, Array]:
        """Start a trial with the prior belief."""
        return self.reset_with(self.draw_reset(key), task)

    def draw_reset(self, key: Key) -> Any:
        """Return the inner reset's noise."""
        return self.env.draw_reset(key)

    def reset_with(self, noise: Any, task: MixtureTask) -> tuple[MixtureState, Array]:
        """Start a trial with the prior belief and drawn noise."""
        inner, obs = self.env.reset_with(noise, task.task)
        return MixtureState(inner, obs, self.belief.begin(self.params)), obs

    def step(
        self, noise: Any, state: MixtureState, action: Array, task: MixtureTask
    ) -> tuple[MixtureState, Step]:
        """Step the real task; the reward is its own, or the one decoded from the mixed latent."""
        noise_env, (noise_z, bits) = noise
        inner, step = self.env.step(noise_env, state.inner, action, task.task)
        # The worker's belief before this step.
        q = self.belief.posterior(self.params, state.belief)
        z = sample(q, noise_z) if self.imagination.latents == "samples" else q.mean
        if self.imagination.pay == "nothing":
            kind = self.env.reward
            imagined = jnp.float32(kind.low if isinstance(kind, Binary) else 0.0)
        else:
            imagined = self.imagine(task, z, state.obs, action, step.next_obs, bits)
        reward = jnp.where(task.imagined, imagined, step.reward)
        memory = self.belief.update(self.params, state.belief, action, step.obs, reward)
        shaped = step.shaped
        if shaped is not None and self.imagination.returns == "imagined":
            shaped = jnp.where(task.imagined, reward, shaped)
        return MixtureState(inner, step.obs, memory), step._replace(reward=reward, shaped=shaped)

    def imagine(
        self, task: MixtureTask, z: Array, obs: Array, action: Array, next_obs: Array, bits: Array
    ) -> Array:
        """Return the decoded reward of a mixture worker's step; 0 for normal workers.

        The gathered arrays are the same for every worker, so that `vmap` computes what follows
        once per group: only its `imagination.mixture` mixture workers' steps are decoded.
        """
        dropout_bits = bits if self.imagination.dropout == "on" else None
        inputs = (task.weights, obs, action, next_obs, dropout_bits)
        imagined, z, gathered = lax.all_gather((task.imagined, z, inputs), WORKERS)
        _, mixture_workers = lax.top_k(
            imagined.astype(jnp.float32), self.imagination.mixture
        )  # [M]
        weights, *steps = jax.tree.map(lambda x: x[mixture_workers], gathered)
        mixed = jnp.einsum("mkl,kl->ml", weights, z)  # (Eq. 1)
        decode = lambda z, *step: self.belief.imagine(self.params, z, *step, self.vae)
        rewards = jax.vmap(decode)(mixed, *steps)
        return jnp.where(mixture_workers == lax.axis_index(WORKERS), rewards, 0.0).sum()


def latent_mixture(
    env: Env, belief: Belief, params: Params, vae: VAE, imagination: Imagination
) -> Env:
    """Return `env` with mixture workers rewarded by a mixture of the others' latents (LDM, 3.2).

    In each step: every worker draws z ~ q_t; the group's latents are gathered over the axis
    "workers" and mixed by the worker's weights; a mixture worker receives the reward that is
    decoded from the mixed latent, all others their real one; then the belief is updated with
    that reward. `Step.env_reward` is the true reward.

    Its tasks are `MixtureTask`s, and it only works under that axis (see `collect`): outside,
    JAX raises a NameError that names the axis.
    """
    return LatentMixture(env, belief, params, vae, imagination)


def mixture_weights(key: Key, imagination: Imagination, latent: int) -> tuple[Array, Array]:
    """Draw one group's mixtures (LDM, Eq. 1).

    With `imagination.pay` = "worker" all weight is on one normal worker, for any beta.

    Returns:
      weights: [W, W, L]; weights[i, k, l] multiplies worker k's latent in worker i's
        mixture. Rows sum to 1; d ~ Dirichlet(1), alpha = beta d - (beta - 1) / n. Zero
        for mixture workers k, and for every k where worker i is normal.
      imagined: [W] bool, the mixture workers.
    """
    n, workers = imagination.normal, imagination.normal + imagination.mixture
    key_weights, key_roles = jax.random.split(key)
    rank = jnp.arange(workers)
    if imagination.roles == "redrawn":
        rank = jax.random.permutation(key_roles, rank)
    imagined = rank >= n
    # Dirichlet(1) is normalised exponentials.
    single_source = imagination.pay == "worker"
    dims = latent if imagination.weights == "per_dimension" and not single_source else 1
    raw = jax.random.exponential(key_weights, (workers, workers, dims))
    raw = jnp.where(imagined[None, :, None], 0.0, raw)
    if single_source:  # the largest of independent exponentials: each worker's as likely
        alpha = (raw == raw.max(1, keepdims=True)).astype(raw.dtype)
    else:
        alpha = imagination.beta * raw / raw.sum(1, keepdims=True) - (imagination.beta - 1) / n
    mixing = imagined[:, None, None] & ~imagined[None, :, None]
    return jnp.broadcast_to(jnp.where(mixing, alpha, 0.0), (workers, workers, latent)), imagined
