"""The LDM paper's gridworld ablations: one of its settings varied, 4 seeds as in the paper."""

from collections.abc import Callable
from typing import Any

from jaxmeta.config.run import Run

DROPOUTS = (0.0, 0.3, 0.5, 0.7, 0.9)
BETAS = (1.0, 1.5, 2.0, 2.5)
MIXTURES = (1, 2, 4, 8)  # of 16 workers


def ldm(env: str = "gridworld", **given: Any) -> Run:
    """Return LDM with the paper's settings, 4 seeds of 1e8 frames unless `given`."""
    chosen: dict[str, Any] = {"env": env, "method": "ldm", "seeds": 4, "frames": 100_000_000}
    return Run(**(chosen | given))


def varied(base: Run, name: str, values: tuple[float, ...]) -> dict[str, Run]:
    """Return a run per value of one field, named by it."""
    leaf = name.rpartition(".")[2]
    return {f"{leaf}-{value:g}": base.replace({name: value}) for value in values}


def reward_maps(**given: Any) -> dict[str, Run]:
    """Figure 4: LDM's imagined rewards, by the decoder's dropout."""
    return varied(ldm(**given), "vae.dropout", (0.0, 0.5, 0.7, 0.9))


def dropout(**given: Any) -> dict[str, Run]:
    """Return the dropout ablation."""
    return varied(ldm(**given), "vae.dropout", DROPOUTS)


def extrapolation(**given: Any) -> dict[str, Run]:
    """Figures 5 and 6: β by β on goals between and outside the training goals; RL2 beside it."""
    env = "gridworld-extrapolation"
    base = ldm(env, **given)
    rl2 = Run(env=env, method="rl2", seeds=base.seeds, frames=base.frames)
    return varied(base, "imagination.beta", BETAS) | {"rl2": rl2}


def worker_ratio(**given: Any) -> dict[str, Run]:
    """Return the worker-ratio ablation: 16 workers, of which 1, 2, 4 or 8 are mixture workers."""
    base = ldm(**given)
    return {
        f"workers-{16 - n}+{n}": base.replace(
            {"imagination.normal": 16 - n, "imagination.mixture": n}
        )
        for n in MIXTURES
    }


STUDIES: dict[str, Callable[..., dict[str, Run]]] = {
    "reward-maps": reward_maps,
    "gridworld-extrapolation": extrapolation,
    "dropout-ablation": dropout,
    "worker-ratio-ablation": worker_ratio,
}
