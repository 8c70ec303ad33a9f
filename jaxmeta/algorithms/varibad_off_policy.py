"""variBAD with SAC (Dorfman et al. 2021): its belief, its ELBO, an off-policy policy."""

import jax
import jax.numpy as jnp
import optax

from jaxmeta.agent import Params, Transition
from jaxmeta.algorithm import Algorithm, Hyper, Metrics
from jaxmeta.beliefs.gaussian_belief import variational_belief
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key
from jaxmeta.errors import ConfigError
from jaxmeta.nn.networks import Encoder, call
from jaxmeta.nn.optimisers import descend_often, part
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import Window, replayed
from jaxmeta.rl.off_policy import TaskBelief, off_policy
from jaxmeta.trial import Trial

GROUPS = ("encoder", "decoder")  # what the ELBO trains


def varibad_off_policy(env: Trial, run: Run) -> Algorithm:
    """Return variBAD whose policy learns by SAC; its belief reads a trial from its start.

    Raises:
      ConfigError: actions are discrete; the replay has no room for an update's trials; starts
        of episodes are shown, behind which the replay does not keep where a step led.
    """
    if run.trial.boundary == "start":
        raise ConfigError(f"trial.boundary = 'start': must be terminal with {run.method}")
    return off_policy(env, run, whole_trial_belief(env, run))


def whole_trial_belief(env: Trial, run: Run) -> TaskBelief:
    """Return variBAD's belief as an off-policy method sees it: mean and logvar."""
    (width,) = env.obs_space.shape
    encoder = Encoder(env.action_space, width, run.networks, run.vae.latent)
    belief = variational_belief(env, run, encoder, "encoder")

    def observe(params: Params, memory: Array, tr: Transition) -> Array:
        return belief.update(params, memory, tr.action, tr.seen, tr.reward)

    def features(params: Params, hidden: Array, noise: Array) -> Array:
        return jnp.concatenate(belief.posterior(params, hidden), axis=-1)

    def encode(params: Params, seen: Window) -> Array:
        start = jnp.zeros((seen.reward.shape[1], run.networks.hidden))
        inputs = (seen.action, seen.obs[1:], seen.reward, seen.keep, start)
        return call(encoder, params["encoder"], *inputs, method="unroll")

    def adam(hp: Hyper) -> optax.GradientTransformation:
        return optax.adam(hp.vae.learning_rate)

    def learn(
        params: Params,
        opt: optax.OptState,
        replay: ring_buffer.Trajectories,
        key: Key,
        hp: Hyper,
        wanted: Array,
    ) -> tuple[Params, optax.OptState, Metrics]:
        def loss(own: Params, key: Key) -> tuple[Array, Metrics]:
            key_batch, key_elbo = jax.random.split(key)
            trials = replayed(ring_buffer.sample(replay, key_batch, run.vae.batch))
            return belief.elbo(own, trials, key_elbo, hp.vae)

        times = jnp.where(wanted, run.vae.updates, 0)
        (own, opt), metrics = descend_often(times, loss, adam(hp), part(params, GROUPS), opt, key)
        return params | own, opt, metrics

    return TaskBelief(
        width=2 * run.vae.latent,
        steps=0,
        init=belief.init,
        draw=lambda key: jnp.zeros(()),
        begin=belief.begin,
        observe=observe,
        hidden=lambda params, memory: memory,
        features=features,
        latent=lambda params, memory: belief.posterior(params, memory).mean,
        encode=encode,
        start=lambda params, hp: adam(hp).init(part(params, GROUPS)),
        learn=learn,
        look=lambda params, tr: params,
    )
