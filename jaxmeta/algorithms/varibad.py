"""variBAD (Zintgraf et al. 2020): a policy that acts on the belief's mean and logvar.

Policy and belief share one encoder. With A2C, as in LDM's gridworld, the RL loss and the ELBO
train it together, by the sum of their gradients. With PPO, as in MuJoCo, no gradient of
RL reaches the beliefs: the ELBO alone trains the encoder.
"""

from typing import Any

import jax
import optax

from jaxmeta.agent import Belief, Params
from jaxmeta.algorithm import Algorithm, Hyper, Metrics
from jaxmeta.beliefs.elbo_learner import belief_learner
from jaxmeta.beliefs.gaussian_belief import variational_belief
from jaxmeta.config.run import Run
from jaxmeta.env import Key
from jaxmeta.nn.cache_blocks import blockwise_mean
from jaxmeta.nn.optimisers import by_group, descend
from jaxmeta.replay import ring_buffer
from jaxmeta.rl.a2c import a2c_loss, policy_optimiser
from jaxmeta.rl.actor_critic import Recurrent, recurrent
from jaxmeta.rl.on_policy import Learner, on_policy
from jaxmeta.rl.ppo import ppo_learner
from jaxmeta.rl.update_schedule import FoldPast
from jaxmeta.rollout import Rollout
from jaxmeta.trial import Trial


def varibad(env: Trial, run: Run) -> Algorithm:
    """Return variBAD, with A2C or PPO."""
    net = recurrent(env, run, run.vae.latent)
    belief = variational_belief(env, run, net.encoder, "encoder")

    def init(key: Key) -> Params:
        key_net, key_belief = jax.random.split(key)
        return belief.init(key_belief) | net.init(key_net)

    learner = (
        joint_learner(run, net, belief)
        if run.rl == "a2c"
        else alternating_learner(env, run, net, belief)
    )
    replay_spec = ring_buffer.ReplaySpec(run.vae.capacity, run.vae.replay)
    return on_policy(env, run, net, init, learner, belief, replay_spec)


def joint_learner(run: Run, net: Recurrent, belief: Belief) -> Learner:
    """Return one step of gradient descent on the A2C loss and the negative, weighted ELBO.

    RMSprop for the policy, Adam for encoder and decoder. The encoder's gradient, of both
    losses together, is clipped; the decoder's is not.
    """

    def optimiser(hp: Hyper) -> optax.GradientTransformation:
        adam = optax.adam(hp.vae.learning_rate)
        return by_group(
            {
                "encoder": optax.chain(optax.clip_by_global_norm(hp.a2c.max_grad_norm), adam),
                "policy": policy_optimiser(hp.a2c),
                "decoder": adam,
            }
        )

    def learn(
        params: Params,
        opt: optax.OptState,
        rollout: Rollout,
        fold_past: FoldPast,
        replay: ring_buffer.Trajectories,
        key: Key,
        hp: Hyper,
    ) -> tuple[Params, optax.OptState, Metrics]:
        key_batch, key_elbo = jax.random.split(key)
        batch = ring_buffer.sample(replay, key_batch, run.vae.batch)

        def rl_gradient(rollout: Rollout) -> tuple[Params, Metrics]:
            loss = lambda params: a2c_loss(
                net.evaluate(params, rollout), rollout.transitions, hp.a2c
            )
            return jax.grad(loss, has_aux=True)(params)

        rl_grads, metrics = blockwise_mean(rl_gradient, rollout)
        elbo = jax.grad(belief.elbo, has_aux=True)
        elbo_grads, elbo_metrics = elbo(params, batch, key_elbo, hp.vae)
        grads = jax.tree.map(lambda rl, elbo: rl + hp.vae.weight * elbo, rl_grads, elbo_grads)
        metrics |= elbo_metrics
        params, opt = descend(optimiser(hp), grads, opt, params)
        return params, opt, metrics | {"grad_norm": optax.tree.norm(grads)}

    return Learner(lambda params, hp: optimiser(hp).init(params), learn)


def alternating_learner(env: Trial, run: Run, net: Recurrent, belief: Belief) -> Learner:
    """Return PPO for the policy alone, then steps on the ELBO for encoder and decoder."""
    policy = ppo_learner(env, run, net, groups=("policy",))
    latent = belief_learner(belief, run, ("encoder", "decoder"))

    def init(params: Params, hp: Hyper) -> Any:
        return policy.init(params, hp), latent.init(params, hp.vae)

    def learn(
        params: Params,
        learned: Any,
        rollout: Rollout,
        fold_past: FoldPast,
        replay: ring_buffer.Trajectories,
        key: Key,
        hp: Hyper,
    ) -> tuple[Params, Any, Metrics]:
        policy_state, belief_opt = learned
        key_policy, key_belief = jax.random.split(key)
        params, policy_state, metrics = policy.learn(
            params, policy_state, rollout, fold_past, key_policy, hp
        )
        params, belief_opt, elbo_metrics = latent.learn(
            params, belief_opt, replay, key_belief, hp.vae
        )
        return params, (policy_state, belief_opt), metrics | elbo_metrics

    return Learner(init, learn)
