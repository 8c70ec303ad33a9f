"""The quickstart: RL2, variBAD and LDM on the gridworld in about 12 minutes on 2 cores."""

from typing import Any

from jaxmeta.config.run import Run

# Frames, and what differs from the paper's settings. RL2 and LDM solve the training goals
# within their budgets; variBAD needs several times its own. LDM's replay batch is 16
# trajectories instead of 25, which makes it a third faster.
BUDGETS: dict[str, tuple[int, dict[str, Any]]] = {
    "rl2": (9_000_000, {}),
    "varibad": (4_000_000, {}),
    "ldm": (12_000_000, {"vae.batch": 16}),
}
EVALUATE_EVERY = 250_000  # frames


def runs(**given: Any) -> dict[str, Run]:
    """Return one run per method, 2 seeds each."""
    base: dict[str, Any] = {"env": "gridworld", "seeds": 2}
    return {
        method: Run(**(base | {"method": method, "frames": frames} | given)).replace(
            {"evaluation.every": EVALUATE_EVERY} | differing
        )
        for method, (frames, differing) in BUDGETS.items()
    }
