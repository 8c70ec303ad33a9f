"""Offline meta-RL (BOReL; Dorfman et al. 2021): its online form, variBAD with SAC.

Numbers are those of the public code: five trials of each of five tasks between updates, all
tasks' trials are read by encoder and critics alike. Our trials come from 25 different tasks.
"""

from jaxmeta.paper_settings.lee_2021_ldm import ROBOTS, SWITCHING
from jaxmeta.paper_settings.settings_row import ANY, Row

# Method defaults, of lower precedence than the environment's.
DEFAULTS = Row(
    "paper",
    (ANY,),
    ("varibad-off-policy",),
    {
        "workers": 25,
        "evaluation.every": 100_000,
        "vae.dropout": 0.0,
        "vae.learning_rate": 3e-4,
        "vae.updates": 20,
        "sac.layers": (128, 128, 128),
        "sac.updates": 2000,
        "sac.obs_embedding": 0,
        "sac.belief_embedding": 0,
        "replay.initial": 0,
    },
    "public code of BOReL, online: 20 steps on the VAE (learning rate 3e-4), 2,000 of SAC with"
    " three layers of 128 units; how often to evaluate is ours",
)

ROWS = (
    Row(
        "paper",
        (*ROBOTS, *SWITCHING),
        ("varibad-off-policy",),
        {
            "frames": 3_000_000,
            "networks.policy_layers": (128, 128),
            "networks.policy_sees_obs": True,
            "evaluation.every": 100_000,
            "vae.dropout": 0.0,
            "vae.updates": 20,
        },
        "public code of BOReL, and what it leaves open, that of variBAD on robots (see"
        " `lee_2021_ldm`); the budget is that of MoSS",
    ),
)
