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
from jaxmeta.rl.a2c import a2c_learner, loss_towards
from jaxmeta.rl.actor_critic import Sequences, recurrent, sequences
from jaxmeta.rl.gae import targets
from jaxmeta.rl.on_policy import by_policy, learner
from jaxmeta.rl.ppo import Batch, ppo_learner
from jaxmeta.rollout import Rollout
from jaxmeta.trial import Trial


def mixreg(env: Trial, run: Run) -> Algorithm:
    """Return RL2 with A2C or PPO on mixed trials."""
    net = recurrent(env, run, run.networks.head)

    def mixture(key: Key, hp: Hyper) -> Callable[[Array], Array]:
        """Draw pairs and shares; return what mixes an array [T, W, ...] by them."""
        key_pair, key_share = jax.random.split(key)
        partner = jax.random.permutation(key_pair, run.workers)
        share = jax.random.beta(key_share, hp.mixing.alpha, hp.mixing.alpha, (run.workers,))
        share = jnp.maximum(share, 1.0 - share)

        def mix(x: Array) -> Array:
            pair = lambda share, own, other: share * own + (1.0 - share) * other
            return jax.vmap(pair, in_axes=(0, 1, 1), out_axes=1)(share, x, x[:, partner])

        return mix

    def mixed(read: Sequences, mix: Callable[[Array], Array]) -> Sequences:
        return jax.tree.map(mix, read)._replace(keep=read.keep)  # the dominant trial's end

    def loss(params: Params, rollout: Rollout, key: Key, hp: Hyper) -> tuple[Array, Metrics]:
        tr, mix = rollout.transitions, mixture(key, hp)
        unmixed = lax.stop_gradient(net.evaluate(params, rollout))
        advantage, returns = jax.tree.map(mix, targets(unmixed, tr, hp.a2c))
        evaluated = net.unroll(params, mixed(sequences(env, rollout), mix), tr.action)
        return loss_towards(evaluated, advantage, returns, hp.a2c)

    def mix_all(read: Sequences, batch: Batch, key: Key, hp: Hyper) -> tuple[Sequences, Batch]:
        mix = mixture(key, hp)
        return mixed(read, mix), jax.tree.map(mix, batch)

    a2c = run.rl == "a2c"
    policy = a2c_learner(net, loss) if a2c else ppo_learner(env, run, net, mix_all)
    return learner(env, run, net, net.init, by_policy(policy))
