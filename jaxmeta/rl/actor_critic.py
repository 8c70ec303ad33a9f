"""The recurrent actor-critic of RL2, Mixreg, LDM and variBAD."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxmeta.agent import Agent, Params, Transition
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.nn import action_distributions
from jaxmeta.nn.networks import Encoder, Policy, apply, as_vector, example_action, example_obs
from jaxmeta.nn.running_statistics import init_statistics, standardise
from jaxmeta.rollout import Rollout


class Evaluated(NamedTuple):
    """A batch of rollouts as evaluated by the actor-critic, for a policy-gradient loss."""

    log_prob: Array  # [T, W] of the actions taken
    entropy: Array  # [T, W]
    value: Array  # [T, W]
    bootstrap: Array  # [W] the value after the last step


class NetworkInputs(NamedTuple):
    """Inputs of the encoder and the policy, [T, W]; floats, so that they can be mixed."""

    obs: Array  # [T + 1, W, O] at each step, and after the last
    action: Array  # [T, W, A] one-hot where actions are discrete
    reward: Array  # [T, W]
    seen: Array  # [T, W, O]
    keep: Array  # [T, W] 0 at a trial's end
    start: Array  # [1, W, H] the memory before the first step


class Recurrent(NamedTuple):
    """The actor-critic's functions; `params` has the groups "encoder" and "policy".

    Attributes:
      encoder: the encoder's module, which a belief may share.
      init: key -> params.
      agent: acts on the encoder's mean and logvar; its memory is the hidden state [H],
        recorded before each action.
      evaluate: (params, rollout [T, W]) -> Evaluated; gradients flow through time. It
        takes the rollout's hidden states as given, so `params` must be those that
        collected it.
      unroll: (params, NetworkInputs [T, W], actions [T, W]) -> Evaluated for inputs that did not
        come from a rollout; it computes the hidden states.
    """

    encoder: Encoder
    init: Callable[[Key], Params]
    agent: Agent
    evaluate: Callable[[Params, Rollout], Evaluated]
    unroll: Callable[[Params, NetworkInputs, Array], Evaluated]


def network_inputs(env: Env, rollout: Rollout) -> NetworkInputs:
    """Return the networks' inputs for a rollout [T, W], as floats."""
    tr = rollout.transitions
    obs = jnp.concatenate([tr.obs, tr.seen[-1:]]).astype(jnp.float32)
    action = as_vector(tr.action, env.action_space)
    seen = tr.seen.astype(jnp.float32)
    return NetworkInputs(obs, action, tr.reward, seen, 1.0 - tr.over, rollout.records[:1])


def recurrent(env: Env, run: Run, head: int) -> Recurrent:
    """Return the actor-critic; `head` is the length of the encoder's mean.

    Where PPO normalises observations, and the policy sees them at all, `params` also has
    "obs_statistics"; the encoder always reads them unnormalised.
    """
    (width,) = env.obs_space.shape
    encoder = Encoder(env.action_space, width, run.networks, head)
    policy = Policy(env.action_space, run.networks.policy_layers, run.networks.policy_sees_obs)

    ppo = run.get("ppo")
    normalises = ppo is not None and ppo.normalise_obs and run.networks.policy_sees_obs

    def policy_obs(params: Params, obs: Array) -> Array:
        """Return observations as the policy sees them."""
        return standardise(params["obs_statistics"], obs) if normalises else obs

    def init(key: Key) -> Params:
        statistics = {"obs_statistics": init_statistics((width,))} if normalises else {}
        action, obs, zero = example_action(env), example_obs(env), jnp.zeros(())
        latent = (jnp.zeros(head), jnp.zeros(head))
        return statistics | {
            "encoder": encoder.init(key, action, obs, zero, method="everything"),
            "policy": policy.init(key, obs, latent, method="everything"),
        }

    def act(params: Params, memory: Array, obs: Array, noise: Array) -> tuple[Array, Array]:
        latent = apply(encoder, params["encoder"], memory, method="posterior")
        outputs = apply(policy, params["policy"], policy_obs(params, obs), latent, method="act")
        return action_distributions.sample(outputs, noise, env.action_space), memory

    def observe(params: Params, memory: Array, tr: Transition, noise: Array) -> Array:
        inputs = (memory, tr.action, tr.seen, tr.reward)
        return apply(encoder, params["encoder"], *inputs, method="step")

    def evaluate(params: Params, rollout: Rollout) -> Evaluated:
        tr = rollout.transitions
        hidden_states = jnp.concatenate([rollout.records, rollout.memory[None]])
        keep = 1.0 - tr.over
        inputs = (tr.action, tr.seen, tr.reward, keep, hidden_states)
        hs = apply(encoder, params["encoder"], *inputs, method="replay")
        return evaluate_actions(params, hs, jnp.concatenate([tr.obs, tr.seen[-1:]]), tr.action)

    def unroll(params: Params, inputs: NetworkInputs, actions: Array) -> Evaluated:
        steps = (inputs.action, inputs.seen, inputs.reward, inputs.keep, inputs.start[0])
        hs = apply(encoder, params["encoder"], *steps, method="unroll")
        return evaluate_actions(params, hs, inputs.obs, actions)

    def evaluate_actions(params: Params, hs: Array, obs: Array, actions: Array) -> Evaluated:
        """Evaluate actions [T, W], from hidden states and observations [T + 1, W]."""
        latent = apply(encoder, params["encoder"], hs, method="posterior")
        obs = policy_obs(params, obs)
        value = apply(policy, params["policy"], obs, latent, method="value")
        pre_action = tuple(x[:-1] for x in latent)
        outputs = apply(policy, params["policy"], obs[:-1], pre_action, method="act")
        pi = action_distributions.distribution(outputs, env.action_space)
        return Evaluated(pi.log_prob(actions), pi.entropy(), value[:-1], value[-1])

    agent = Agent(
        draw=lambda key: action_distributions.draw(key, env.action_space),
        begin=lambda params, noise: encoder.begin(),
        act=act,
        observe=observe,
    )
    return Recurrent(encoder, init, agent, evaluate, unroll)
