"""The recurrent actor-critic that RL2, LDM and gridworld variBAD have in common."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxmeta.agent import Agent, Params, Transition
from jaxmeta.config.run import Run
from jaxmeta.env import Array, Env, Key
from jaxmeta.nn import action_distributions
from jaxmeta.nn.networks import Encoder, Policy, as_vector, call, example_action, example_obs
from jaxmeta.nn.running_statistics import no_samples, standardise
from jaxmeta.rollout import Rollout


class Evaluated(NamedTuple):
    """What a policy-gradient loss needs of a batch of rollouts."""

    log_prob: Array  # [T, W] of the actions taken
    entropy: Array  # [T, W]
    value: Array  # [T, W]
    bootstrap: Array  # [W] the value after the last step


class Sequences(NamedTuple):
    """What the encoder and the policy read, [T, W]; floats, so that it can be mixed."""

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
      unroll: (params, sequences [T, W], actions [T, W]) -> Evaluated for inputs that no
        agent met; it computes the hidden states.
    """

    encoder: Encoder
    init: Callable[[Key], Params]
    agent: Agent
    evaluate: Callable[[Params, Rollout], Evaluated]
    unroll: Callable[[Params, Sequences, Array], Evaluated]


def sequences(env: Env, rollout: Rollout) -> Sequences:
    """Return what the networks read of a rollout [T, W], as floats."""
    tr = rollout.transitions
    obs = jnp.concatenate([tr.obs, tr.seen[-1:]]).astype(jnp.float32)
    action = as_vector(tr.action, env.action_space)
    seen = tr.seen.astype(jnp.float32)
    return Sequences(obs, action, tr.reward, seen, 1.0 - tr.over, rollout.records[:1])


def recurrent(env: Env, run: Run, head: int) -> Recurrent:
    """Return the actor-critic; `head` is the length of the encoder's mean.

    Where PPO normalises observations, and the policy sees them at all, `params` also has
    "obs_statistics"; the encoder always reads them as they are.
    """
    (width,) = env.obs_space.shape
    encoder = Encoder(env.action_space, width, run.networks, head)
    policy = Policy(env.action_space, run.networks.policy_layers, run.networks.policy_sees_obs)

    ppo = run.get("ppo")
    normalises = ppo is not None and ppo.normalise_obs and run.networks.policy_sees_obs

    def look(params: Params, obs: Array) -> Array:
        """Return observations as the policy sees them."""
        return standardise(params["obs_statistics"], obs) if normalises else obs

    def init(key: Key) -> Params:
        statistics = {"obs_statistics": no_samples((width,))} if normalises else {}
        action, obs, zero = example_action(env), example_obs(env), jnp.zeros(())
        latent = (jnp.zeros(head), jnp.zeros(head))
        return statistics | {
            "encoder": encoder.init(key, action, obs, zero, method="everything"),
            "policy": policy.init(key, obs, latent, method="everything"),
        }

    def act(params: Params, memory: Array, obs: Array, noise: Array) -> tuple[Array, Array]:
        latent = call(encoder, params["encoder"], memory, method="posterior")
        outputs = call(policy, params["policy"], look(params, obs), latent, method="act")
        return action_distributions.sample(outputs, noise, env.action_space), memory

    def observe(params: Params, memory: Array, tr: Transition, noise: Array) -> Array:
        inputs = (memory, tr.action, tr.seen, tr.reward)
        return call(encoder, params["encoder"], *inputs, method="step")

    def evaluate(params: Params, rollout: Rollout) -> Evaluated:
        tr = rollout.transitions
        known = jnp.concatenate([rollout.records, rollout.memory[None]])
        keep = 1.0 - tr.over
        inputs = (tr.action, tr.seen, tr.reward, keep, known)
        hs = call(encoder, params["encoder"], *inputs, method="replay")
        return judge(params, hs, jnp.concatenate([tr.obs, tr.seen[-1:]]), tr.action)

    def unroll(params: Params, read: Sequences, actions: Array) -> Evaluated:
        inputs = (read.action, read.seen, read.reward, read.keep, read.start[0])
        hs = call(encoder, params["encoder"], *inputs, method="unroll")
        return judge(params, hs, read.obs, actions)

    def judge(params: Params, hs: Array, obs: Array, actions: Array) -> Evaluated:
        """Return what the policy says of actions [T, W], from memories and obs [T + 1, W]."""
        latent = call(encoder, params["encoder"], hs, method="posterior")
        obs = look(params, obs)
        value = call(policy, params["policy"], obs, latent, method="value")
        before = tuple(x[:-1] for x in latent)
        outputs = call(policy, params["policy"], obs[:-1], before, method="act")
        pi = action_distributions.distribution(outputs, env.action_space)
        return Evaluated(pi.log_prob(actions), pi.entropy(), value[:-1], value[-1])

    agent = Agent(
        draw=lambda key: action_distributions.draw(key, env.action_space),
        begin=lambda params, noise: encoder.begin(),
        act=act,
        observe=observe,
    )
    return Recurrent(encoder, init, agent, evaluate, unroll)
