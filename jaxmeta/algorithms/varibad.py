"""variBAD (Zintgraf et al. 2020): a policy that acts on the belief's mean and logvar.

Policy and belief share one encoder. With A2C, as in LDM's gridworld, the RL loss and the ELBO
go through it in one backward pass. With PPO, as in MuJoCo, the policy takes beliefs as they
are, and the ELBO alone trains the encoder.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxmeta import buffers
from jaxmeta.a2c import a2c_loss, by_group, descend, policy_optimiser
from jaxmeta.agent import Params
from jaxmeta.algorithm import (
    Algorithm,
    Hyper,
    Metrics,
    breakdowns,
    sample_tasks,
    true_return,
    update_key,
)
from jaxmeta.belief import Belief, variational_belief
from jaxmeta.belief_learner import belief_learner
from jaxmeta.config import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.policy import ppo_learner
from jaxmeta.recurrent import Recurrent, recurrent
from jaxmeta.rollout import Rollout, collect


class VariBADState(NamedTuple):
    """All that the next step reads."""

    params: Params  # groups "encoder", "policy" and "decoder"
    learned: Any  # what the learner remembers
    replay: buffers.Trajectories
    key: Key
    update: Array  # []
    hp: Hyper


class Learner(NamedTuple):
    """How policy and belief learn.

    Attributes:
      init: (params, hp) -> learned.
      learn: (params, learned, rollout, replay, key, hp) -> (params, learned, metrics).
    """

    init: Callable[[Params, Hyper], Any]
    learn: Callable[..., tuple[Params, Any, Metrics]]


def varibad(env: Env, run: Run) -> Algorithm:
    """Return variBAD, with A2C or PPO."""
    net = recurrent(env, run, run.vae.latent)
    belief = variational_belief(env, run, net.encoder, "encoder")
    learner = jointly(run, net, belief) if run.rl == "a2c" else in_turn(env, run, net, belief)

    def init(key: Key, hp: Hyper) -> VariBADState:
        key_net, key_belief = jax.random.split(jax.random.fold_in(key, 0))
        params = belief.init(key_belief) | net.init(key_net)
        learned = learner.init(params, hp)
        replay = buffers.empty(buffers.replayed_like(env), run.vae.capacity)
        key = jax.random.fold_in(key, 1)
        return VariBADState(params, learned, replay, key, jnp.zeros((), jnp.int32), hp)

    def collect_trials(state: VariBADState) -> Rollout:
        key_tasks, key_rollout = jax.random.split(update_key(state, 0))
        tasks = sample_tasks(env, key_tasks, run.train_split, run.workers)
        return collect(net.agent, env, state.params, tasks, key_rollout, run.train_split)

    def step(state: VariBADState) -> tuple[VariBADState, Metrics]:
        rollout = collect_trials(state)
        replay = buffers.add(state.replay, buffers.replayed(rollout.transitions), run.vae.replay)
        params, learned, metrics = learner.learn(
            state.params, state.learned, rollout, replay, update_key(state, 1), state.hp
        )
        metrics |= {"return_train": true_return(rollout.transitions)}
        metrics |= breakdowns(env, rollout.transitions)
        state = state._replace(
            params=params, learned=learned, replay=replay, update=state.update + 1
        )
        return state, metrics

    return Algorithm(net.agent, init, collect_trials, step, lambda state: state.params, belief)


def jointly(run: Run, net: Recurrent, belief: Belief) -> Learner:
    """Return one step of gradient descent on the sum of the A2C loss and the ELBO.

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
        replay: buffers.Trajectories,
        key: Key,
        hp: Hyper,
    ) -> tuple[Params, optax.OptState, Metrics]:
        key_batch, key_elbo = jax.random.split(key)
        batch = buffers.sample(replay, key_batch, run.vae.batch)

        def loss(params: Params) -> tuple[Array, Metrics]:
            rl_loss, metrics = a2c_loss(net.evaluate(params, rollout), rollout.transitions, hp.a2c)
            elbo_loss, elbo_metrics = belief.elbo(params, batch, key_elbo, hp.vae)
            return rl_loss + elbo_loss, metrics | elbo_metrics

        grads, metrics = jax.grad(loss, has_aux=True)(params)
        params, opt = descend(optimiser(hp), grads, opt, params)
        return params, opt, metrics | {"grad_norm": optax.tree.norm(grads)}

    return Learner(lambda params, hp: optimiser(hp).init(params), learn)


def in_turn(env: Env, run: Run, net: Recurrent, belief: Belief) -> Learner:
    """Return PPO for the policy alone, then steps on the ELBO for encoder and decoder."""
    policy = ppo_learner(env, run, net, groups=("policy",))
    latent = belief_learner(belief, run, ("encoder", "decoder"))

    def init(params: Params, hp: Hyper) -> Any:
        return policy.init(params, hp), latent.init(params, hp.vae)

    def learn(
        params: Params,
        learned: Any,
        rollout: Rollout,
        replay: buffers.Trajectories,
        key: Key,
        hp: Hyper,
    ) -> tuple[Params, Any, Metrics]:
        of_policy, of_belief = learned
        key_policy, key_belief = jax.random.split(key)
        params, of_policy, metrics = policy.learn(params, of_policy, rollout, key_policy, hp)
        params, of_belief, elbo_metrics = latent.learn(
            params, of_belief, replay, key_belief, hp.vae
        )
        return params, (of_policy, of_belief), metrics | elbo_metrics

    return Learner(init, learn)
