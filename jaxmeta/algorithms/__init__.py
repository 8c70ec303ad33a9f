"""One short file per method. This module only lists them and imports no jax."""

from jaxmeta.registry import MethodSpec

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
            ("mixing",),
        ),
        MethodSpec(
            "varibad",
            "jaxmeta.algorithms.varibad:varibad",
            "a policy that acts on a learned belief over tasks (Zintgraf et al. 2020)",
            ("vae",),
            {"vae.dropout": 0.0},
        ),
        MethodSpec(
            "ldm",
            "jaxmeta.algorithms.ldm:ldm",
            "RL2 trained on real and on imagined tasks too (Lee & Chung 2021)",
            ("vae", "imagination"),
        ),
    )
}
