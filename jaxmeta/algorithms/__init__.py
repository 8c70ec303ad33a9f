"""One short file per method. This module lists them with their own options, and imports no jax."""

from jaxmeta.config.option_fields import section, setting
from jaxmeta.config.registry import MethodSpec
from jaxmeta.paper_settings import dorfman_2021_varibad, wang_2023_moss

NETWORKS = "jaxmeta.nn.options:Networks"
VAE = "jaxmeta.beliefs.options:VAE"
INFERENCE = "jaxmeta.beliefs.options:Inference"
IMAGINATION = "jaxmeta.imagination.options:Imagination"
REPLAY = "jaxmeta.replay.options:Replay"


@section("mixing")
class Mixing:
    """Mixreg's mixtures of trials."""

    alpha: float = setting(0.2, "of Beta(alpha, alpha), the dominant trial's share", low=0.01)


METHODS = {
    spec.name: spec
    for spec in (
        MethodSpec(
            "rl2",
            "jaxmeta.algorithms.rl2:rl2",
            "a recurrent policy trained by RL alone (Duan et al. 2016)",
            (NETWORKS,),
        ),
        MethodSpec(
            "mixreg",
            "jaxmeta.algorithms.mixreg:mixreg",
            "RL2 trained on mixtures of its workers' trials (Wang et al. 2020)",
            (NETWORKS, "jaxmeta.algorithms:Mixing"),
        ),
        MethodSpec(
            "varibad",
            "jaxmeta.algorithms.varibad:varibad",
            "a policy that acts on a learned belief over tasks (Zintgraf et al. 2020)",
            (NETWORKS, VAE),
            {"vae.dropout": 0.0},
        ),
        MethodSpec(
            "ldm",
            "jaxmeta.algorithms.ldm:ldm",
            "RL2 trained on real and on imagined tasks too (Lee & Chung 2021)",
            (NETWORKS, VAE, IMAGINATION),
        ),
        MethodSpec(
            "moss",
            "jaxmeta.algorithms.moss:moss",
            "SAC on a belief that is a mixture of Gaussians, inferred step by step (Wang et al."
            " 2023)",
            (REPLAY, INFERENCE),
            wang_2023_moss.DEFAULTS.fields,
            rl=("sac",),
        ),
        MethodSpec(
            "varibad-off-policy",
            "jaxmeta.algorithms.varibad_off_policy:varibad_off_policy",
            "SAC on variBAD's belief (Dorfman et al. 2021, BOReL's online form)",
            (NETWORKS, VAE, REPLAY),
            dorfman_2021_varibad.DEFAULTS.fields,
            rl=("sac",),
        ),
    )
}
