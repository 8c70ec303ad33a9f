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
from jaxmeta.nn.networks import Encoder, apply
from jaxmeta.nn.optimisers import gradient_steps, select_groups
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import Window, rows_to_trials
from jaxmeta.rl.off_policy import TaskBelief, off_policy
from jaxmeta.trial import Trial

GROUPS = ("encoder", "decoder")  # trained by the ELBO


def varibad_off_policy(env: Trial, run: Run) -> Algorithm:
    """Return variBAD whose policy learns by SAC; its belief reads a trial from its start.

    Raises:
      ConfigError: actions are discrete; the replay is smaller than one update's trials;
        `trial.boundary` is start, where the replay does not store the terminal observation.
    """
    if run.trial.boundary == "start":
        raise ConfigError(f"trial.boundary = 'start': must be terminal with {run.method}")
    return off_policy(env, run, whole_trial_belief(env, run))


def whole_trial_belief(env: Trial, run: Run) -> TaskBelief:
    """Return variBAD's belief for off-policy methods; features are its mean and logvar."""
    (width,) = env.obs_space.shape
    encoder = Encoder(env.action_space, width, run.networks, run.vae.latent)
    belief = variational_belief(env, run, encoder, "encoder")

    def observe(params: Params, memory: Array, tr: Transition) -> Array:
        return belief.update(params, memory, tr.action, tr.seen, tr.reward)

    def features(params: Params, hidden: Array, noise: Array) -> Array:
        return jnp.concatenate(belief.posterior(params, hidden), axis=-1)

    def encode(params: Params, steps: Window) -> Array:
        start = jnp.zeros((steps.reward.shape[1], run.networks.hidden))
        inputs = (steps.action, steps.obs[1:], steps.reward, steps.keep, start)
        return apply(encoder, params["encoder"], *inputs, method="unroll")

    def adam(hp: Hyper) -> optax.GradientTransformation:
        return optax.adam(hp.vae.learning_rate)

    def learn(
        params: Params,
        opt: optax.OptState,
        replay: ring_buffer.Trajectories,
        key: Key,
        hp: Hyper,
        enabled: Array,
    ) -> tuple[Params, optax.OptState, Metrics]:
        def loss(trainable: Params, key: Key) -> tuple[Array, Metrics]:
            key_batch, key_elbo = jax.random.split(key)
            trials = rows_to_trials(ring_buffer.sample(replay, key_batch, run.vae.batch))
            return belief.elbo(trainable, trials, key_elbo, hp.vae)

        count = jnp.where(enabled, run.vae.updates, 0)
        (trainable, opt), metrics = gradient_steps(
            count, loss, adam(hp), select_groups(params, GROUPS), opt, key
        )
        return params | trainable, opt, metrics

    return TaskBelief(
        feature_size=2 * run.vae.latent,
        window=0,
        init=belief.init,
        draw=lambda key: jnp.zeros(()),
        begin=belief.begin,
        observe=observe,
        hidden=lambda params, memory: memory,
        features=features,
        latent=lambda params, memory: belief.posterior(params, memory).mean,
        encode=encode,
        init_opt=lambda params, hp: adam(hp).init(select_groups(params, GROUPS)),
        learn=learn,
        update_normalisers=lambda params, tr: params,
    )
