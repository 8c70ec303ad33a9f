"""Mixreg (Wang et al. 2020) on RL2: the policy is trained on mixtures of trials.

Published, for PPO on single steps: each sample i of a batch is paired with another one j;
λ ~ Beta(α, α) is made at least 1/2, so that i dominates; observation, old log-probability,
old value, return and advantage become λ x_i + (1 - λ) x_j; the action is the dominant one's.

Our reading, since no code for a recurrent agent is public: a sample is a worker's whole
trial with one λ, so that the encoder reads mixed sequences of observations, actions
(one-hot where discrete) and rewards. With A2C there is no old log-probability, and old values
count only through returns and advantages, which are computed before mixing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxmeta.agent import Params
from jaxmeta.algorithm import Algorithm, Hyper, Metrics
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Key
from jaxmeta.rl.a2c import a2c_learner, loss_from_returns
from jaxmeta.rl.actor_critic import NetworkInputs, network_inputs, recurrent
from jaxmeta.rl.gae import advantages_and_returns
from jaxmeta.rl.minibatches import Batch
from jaxmeta.rl.on_policy import on_policy, policy_only
from jaxmeta.rl.ppo import ppo_learner
from jaxmeta.rollout import Rollout
from jaxmeta.trial import Trial


def mixreg(env: Trial, run: Run) -> Algorithm:
    """Return RL2 with A2C or PPO on mixed trials."""
    net = recurrent(env, run, run.networks.head)

    def mixture(key: Key, hp: Hyper) -> Callable[[Array], Array]:
        """Draw partners and coefficients λ; return what mixes an array [T, W, ...] by them."""
        key_pair, key_lam = jax.random.split(key)
        partner = jax.random.permutation(key_pair, run.workers)
        lam = jax.random.beta(key_lam, hp.mixing.alpha, hp.mixing.alpha, (run.workers,))
        lam = jnp.maximum(lam, 1.0 - lam)

        def mix(x: Array) -> Array:
            pair = lambda lam, own, other: lam * own + (1.0 - lam) * other
            return jax.vmap(pair, in_axes=(0, 1, 1), out_axes=1)(lam, x, x[:, partner])

        return mix

    def mixed(inputs: NetworkInputs, mix: Callable[[Array], Array]) -> NetworkInputs:
        return jax.tree.map(mix, inputs)._replace(keep=inputs.keep)  # the dominant trial's end

    def loss(params: Params, rollout: Rollout, key: Key, hp: Hyper) -> tuple[Array, Metrics]:
        tr, mix = rollout.transitions, mixture(key, hp)
        unmixed = lax.stop_gradient(net.evaluate(params, rollout))
        advantage, returns = jax.tree.map(mix, advantages_and_returns(unmixed, tr, hp.a2c))
        evaluated = net.unroll(params, mixed(network_inputs(env, rollout), mix), tr.action)
        return loss_from_returns(evaluated, advantage, returns, hp.a2c)

    def mix_batch(
        inputs: NetworkInputs, batch: Batch, key: Key, hp: Hyper
    ) -> tuple[NetworkInputs, Batch]:
        mix = mixture(key, hp)
        return mixed(inputs, mix), jax.tree.map(mix, batch)

    a2c = run.rl == "a2c"
    policy = a2c_learner(net, loss) if a2c else ppo_learner(env, run, net, mix_batch)
    return on_policy(env, run, net, net.init, policy_only(policy))
