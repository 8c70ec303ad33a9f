"""The quickstart: RL2, variBAD and LDM on the gridworld in about 10 minutes on 2 cores."""

from typing import Any

from jaxmeta.config import Run

EVALUATE_EVERY = 250_000  # frames: the first solved evaluation is known to this grain
FRAMES = {"rl2": 12_000_000, "varibad": 12_000_000, "ldm": 10_000_000}


def runs(**given: Any) -> dict[str, Run]:
    """Return one run per method, 2 seeds each, with the paper's settings."""
    base: dict[str, Any] = {"env": "gridworld", "seeds": 2}
    return {
        method: Run(**(base | {"method": method, "frames": frames} | given)).replace(
            {"evaluation.every": EVALUATE_EVERY}
        )
        for method, frames in FRAMES.items()
    }
