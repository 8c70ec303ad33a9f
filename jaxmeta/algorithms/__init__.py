"""One short file per method. This module only lists them and imports no jax."""

from jaxmeta.config.registry import MethodSpec

# Dorfman et al. 2021 (public code): five trials of each of five tasks between updates, all
# tasks' trials read by encoder and critics alike; our trials come from 25 different tasks.
OFF_POLICY_VARIBAD = {
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
}

METHODS = {
    spec.name: spec
    for spec in (
        MethodSpec(
            "rl2",
            "jaxmeta.algorithms.rl2:rl2",
            "a recurrent policy trained by RL alone (Duan et al. 2016)",
        ),
        MethodSpec(
            "mixreg",
            "jaxmeta.algorithms.mixreg:mixreg",
            "RL2 trained on mixtures of its workers' trials (Wang et al. 2020)",
            ("networks", "mixing"),
        ),
        MethodSpec(
            "varibad",
            "jaxmeta.algorithms.varibad:varibad",
            "a policy that acts on a learned belief over tasks (Zintgraf et al. 2020)",
            ("networks", "vae"),
            {"vae.dropout": 0.0},
        ),
        MethodSpec(
            "ldm",
            "jaxmeta.algorithms.ldm:ldm",
            "RL2 trained on real and on imagined tasks too (Lee & Chung 2021)",
            ("networks", "vae", "imagination"),
        ),
        MethodSpec(
            "moss",
            "jaxmeta.algorithms.moss:moss",
            "SAC on a belief that is a mixture of Gaussians, inferred step by step (Wang et al."
            " 2023)",
            ("replay", "inference"),
            {"workers": 30, "trial.episodes": 1, "evaluation.every": 60_000},
            rl=("sac",),
        ),
        MethodSpec(
            "varibad-off-policy",
            "jaxmeta.algorithms.varibad_off_policy:varibad_off_policy",
            "SAC on variBAD's belief (Dorfman et al. 2021, BOReL's online form)",
            ("networks", "vae", "replay"),
            OFF_POLICY_VARIBAD,
            rl=("sac",),
        ),
    )
}
