"""The belief over tasks: a recurrent posterior q(z | history) and a reward decoder p(r | z, .).

Its training objective is variBAD's (Zintgraf et al. 2020): from every prefix the whole trial,
past and future, is decoded, and each posterior is the next one's prior.
"""

import chex
import jax
import jax.numpy as jnp

from jaxmeta.agent import Belief, Gaussian, Params
from jaxmeta.beliefs.gaussians import kl, sample
from jaxmeta.beliefs.options import VAE
from jaxmeta.beliefs.reward_decoders import (
    expected_reward,
    multi_decoder,
    random_bytes,
    single_decoder,
)
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.nn.cache_blocks import map_trials
from jaxmeta.nn.networks import Encoder, apply, example_action, example_obs
from jaxmeta.replay.elbo_trials import ElboTrial


def chained_kl(q: Gaussian, valid: Array) -> Array:
    """Return KL(q_0 || N(0, I)) + sum over t >= 1 of KL(q_t || q_{t-1}), for one trial.

    Gradients flow into both arguments. q is [T + 1, L], valid [T].
    """
    first = jax.tree.map(lambda x: x[0], q)
    before, after = (jax.tree.map(lambda x, s=s: x[s], q) for s in (slice(-1), slice(1, None)))
    standard = Gaussian(jnp.zeros_like(first.mean), jnp.zeros_like(first.mean))
    return kl(first, standard) + jnp.where(valid, kl(after, before), 0.0).sum()


def variational_belief(env: Env, run: Run, encoder: Encoder, group: str) -> Belief:
    """Return the belief whose encoder's parameters are `params[group]`.

    LDM gives it an encoder of its own; gridworld variBAD shares the policy's.
    """
    decoders = {"single": single_decoder, "multi": multi_decoder}
    decoder = decoders[run.vae.decoder](env, run)

    def init(key: Key) -> Params:
        key_encoder, key_decoder = jax.random.split(key)
        example = (example_action(env), example_obs(env), jnp.zeros(()))
        return {
            group: encoder.init(key_encoder, *example, method="everything"),
            "decoder": decoder.init(key_decoder),
        }

    def update(params: Params, memory: Array, action: Array, seen: Array, reward: Array) -> Array:
        return apply(encoder, params[group], memory, action, seen, reward, method="step")

    def posterior(params: Params, memory: Array) -> Gaussian:
        return Gaussian(*apply(encoder, params[group], memory, method="posterior"))

    def draw(key: Key) -> tuple[Array, Array]:
        key_z, key_drop = jax.random.split(key)
        return (
            jax.random.normal(key_z, (run.vae.latent,)),
            random_bytes(key_drop, (decoder.width,)),
        )

    def imagine(
        params: Params,
        z: Array,
        obs: Array,
        action: Array,
        next_obs: Array,
        bits: Array | None,
        hp: VAE,
    ) -> Array:
        prediction = decoder.predict(params["decoder"], z, obs, action, next_obs, bits, hp)
        return expected_reward(env, prediction)

    def elbo(
        params: Params, trials: ElboTrial, key: Key, hp: VAE
    ) -> tuple[Array, dict[str, Array]]:
        """Return the negative ELBO, averaged over trajectories [B, T]; see docs/ldm.md."""
        batch, steps = trials.reward.shape
        chex.assert_equal(steps, env.horizon)  # trajectory-major, whole trials
        encoder_inputs = (trials.action, trials.seen, trials.reward)
        action, seen, reward = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), encoder_inputs)
        start = jnp.zeros((batch, run.networks.hidden))
        inputs = (action, seen, reward, jnp.ones((steps, batch)), start)
        hs = apply(encoder, params[group], *inputs, method="unroll")
        q = posterior(params, hs)  # [T + 1, B, L]
        key_z, key_decode = jax.random.split(key)
        z = sample(q, jax.random.normal(key_z, q.mean.shape))
        keys = jax.random.split(key_decode, batch)
        reconstruct = lambda z, trial, key: decoder.reconstruction(
            params["decoder"], z, trial, key, hp
        )
        reconstruction = map_trials(reconstruct, jnp.swapaxes(z, 0, 1), trials, keys).mean()
        divergence = jax.vmap(chained_kl, in_axes=(1, 0))(q, trials.valid).mean()
        loss = reconstruction + hp.kl_weight * divergence
        return loss, {"elbo": -loss, "reconstruction": reconstruction, "kl": divergence}

    return Belief(
        init=init,
        begin=lambda params: encoder.begin(),
        update=update,
        posterior=posterior,
        draw=draw,
        imagine=imagine,
        elbo=elbo,
    )
