"""Why variBAD stalls on the gridworld: what the ELBO weighs beside the RL loss in one encoder."""

from typing import Any

from jaxmeta.config.run import Run

STEPS = 120  # of a trial, over which the ELBO sums


def runs(**given: Any) -> dict[str, Run]:
    """Return variBAD with the published sum, and with its mean over a trial's steps; 4 seeds."""
    chosen: dict[str, Any] = {"env": "gridworld", "seeds": 4, "frames": 20_000_000} | given
    base = Run(method="varibad", **chosen)
    return {"varibad": base, "weighted": base.replace({"vae.weight": 1 / STEPS})}
