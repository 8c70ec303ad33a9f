"""Latent Dynamics Mixture (Lee & Chung 2021), and the authors' public code (October 2022).

The code has configurations of RL2, variBAD and LDM for the gridworld and three robot tasks. The
settings that all methods share there are the environment's defaults; here are the differences, and,
as the preset `reference`, where the code deviates from the paper.
"""

from jaxmeta.paper_settings.settings_row import ANY, Row

ROBOTS = ("half-cheetah-velocity", "ant-direction", "ant-goal")
# Tasks that change within an episode are MoSS's; other methods keep their settings there.
SWITCHING = (
    "half-cheetah-velocity-switching",
    "half-cheetah-direction-switching",
    "ant-direction-2-switching",
)

# The mean over decoded steps, and of an episode's 401 KL terms the 50 that the code takes.
REFERENCE_VAE = {"vae.reduction": "mean", "vae.pairs": "all", "vae.kl_weight": 50 / 401}

ROWS = (
    Row(
        "paper",
        ("gridworld",),
        ("varibad",),
        {"networks.policy_layers": (32, 32), "vae.decoder": "multi", "vae.dropout": 0.0},
        "public code, configuration of variBAD for the gridworld",
    ),
    Row(
        "paper",
        ("gridworld-extrapolation",),
        ("ldm",),
        {"vae.dropout": 0.5},
        "paper, section 5.1.2",
    ),
    Row(
        "paper",
        (*ROBOTS, *SWITCHING),
        ("varibad",),
        {
            "networks.policy_layers": (128, 128),
            "networks.policy_sees_obs": True,
            "vae.dropout": 0.0,
            "vae.updates": 1,
            "ppo.minibatches": 4,
        },
        "public code, configurations of variBAD for the robots",
    ),
    Row(
        "paper",
        (
            "half-cheetah-velocity",
            "half-cheetah-velocity-switching",
            "half-cheetah-direction-switching",
        ),
        ("ldm",),
        {"imagination.normal": 12, "imagination.mixture": 4, "vae.updates": 1},
        "paper, section 5.2 (12 normal and 4 mixture workers); public code, configuration of LDM",
    ),
    Row(
        "paper",
        ("ant-goal",),
        ("ldm",),
        {"imagination.beta": 2.0},
        "paper, section 5.2",
    ),
    Row(
        "reference",
        (ANY,),
        ("varibad",),
        {"vae.replay": "frozen"},
        "public code: its buffer never overwrites",
    ),
    Row(
        "reference",
        (ANY,),
        ("ldm",),
        {
            "imagination.weights": "per_dimension",
            "imagination.roles": "redrawn",
            "vae.reduction": "mean",
            "vae.replay": "frozen",
            "vae.pairs": "all",
        },
        "public code: weights are drawn per latent dimension, roles in every update; the"
        " reconstruction is a mean over the decoded steps of all prefixes; its buffer never"
        " overwrites",
    ),
    Row(
        "reference",
        (ANY,),
        (ANY,),
        {"ppo.minibatch_of": "steps"},
        "public code: PPO's minibatches are of steps, whatever their worker",
    ),
    Row(
        "reference",
        ROBOTS,
        (ANY,),
        {"ppo.update": "episode", "ppo.credit": "episode", "ppo.last_return": "zeroed"},
        "public code: on robots an update is an episode of 200 steps, without bootstrapping"
        " across its end; a trial's return is set to 0 before statistics are taken",
    ),
    Row(
        "reference",
        ROBOTS,
        ("rl2",),
        {"ppo.memory": "cleared"},
        "public code: RL2 starts each update with an empty memory",
    ),
    Row(
        "reference",
        ROBOTS,
        ("varibad", "ldm"),
        REFERENCE_VAE,
        "public code: a mean over decoded steps, and 50 of 401 KL terms",
    ),
)
