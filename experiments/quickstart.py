"""The quickstart: RL2, variBAD and LDM on the gridworld in about 10 minutes on 2 cores."""

from typing import Any

from jaxmeta.config import Run

FRAMES = {"rl2": 12_000_000, "varibad": 12_000_000, "ldm": 10_000_000}


def runs(**given: Any) -> dict[str, Run]:
    """Return one run per method, 2 seeds each, with the paper's settings."""
    shared = {"env": "gridworld", "seeds": 2, **given}
    return {
        method: Run(**({"method": method, "frames": frames} | shared)).replace(
            {"evaluation.every": 250_000}
        )
        for method, frames in FRAMES.items()
    }
