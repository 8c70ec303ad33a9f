"""Whether PPO's minibatches of whole trials learn as well as the public code's, of steps."""

from typing import Any

from jaxmeta.config.run import Run

ENV, FRAMES = "half-cheetah-velocity", 6_000_000


def runs(**given: Any) -> dict[str, Run]:
    """Return RL2 and LDM, each with both kinds of minibatches, 4 seeds of 6M frames."""
    shared: dict[str, Any] = {"env": ENV, "seeds": 4, "frames": FRAMES} | given
    return {
        f"{method}-{kind}": Run(method=method, **shared).replace(
            {"ppo.minibatch_of": kind, "evaluation.every": 500_000}
        )
        for method in ("rl2", "ldm")
        for kind in ("workers", "steps")
    }
