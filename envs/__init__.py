"""Concrete environments. This module only lists them and imports no jax."""

from jaxmeta.registry import EnvSpec

# Lee & Chung 2021 and its public code: LDM's gridworld encoders see no action, its policy
# sees no observation, its decoder reads the latent and the next state.
GRIDWORLD = {
    "*": {
        "networks.action_embedding": 0,
        "networks.reward_embedding": 8,
        "networks.head": 32,
        "networks.policy_layers": (32,),
        "networks.policy_sees_obs": False,
        "vae.latent": 32,
        "vae.decoder_inputs": ("next_obs",),
        "vae.decoder_layers": (32, 32),
        "vae.dropout": 0.7,
    },
    "varibad": {
        "networks.policy_layers": (32, 32),
        "vae.decoder": "multi",
        "vae.dropout": 0.0,
    },
}

ENVIRONMENTS = {
    "gridworld": EnvSpec(
        "envs.gridworld:gridworld",
        "7 x 7 cells, hidden goal: 18 training goals, 27 test goals",
        horizon=30,
        frames=100_000_000,
        defaults=GRIDWORLD,
    ),
    "gridworld-extrapolation": EnvSpec(
        "envs.gridworld:gridworld_extrapolation",
        "the same with test goals between (test1) and outside (test2) the training goals",
        horizon=30,
        frames=100_000_000,
        defaults=GRIDWORLD | {"ldm": {"vae.dropout": 0.5}},
    ),
}
