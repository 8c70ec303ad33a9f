"""Settings for a larger batch of workers: RL2 and LDM on the gridworld, by their number.

The paper has 16 workers. Groups of 16 mix their latents among themselves, so more workers
are more groups, and one update learns from all of them.
"""

from typing import Any

from jaxmeta.config.registry import env_spec
from jaxmeta.config.run import Run

PAPER = 7e-4  # both learning rates of A2C
# By workers: the learning rate as a multiple of the paper's, the ELBO's batch, updates to train.
SETTINGS = {
    16: (1, 25, 26_042),
    256: (4, 50, 2_000),
    1024: (4, 75, 1_500),
    4096: (8, 300, 1_000),
}


def setting(method: str, workers: int, **given: Any) -> Run:
    """Return RL2 or LDM with our settings for a number of workers (see docs/performance.md)."""
    rate, batch, updates = SETTINGS[workers]
    run = Run(env="gridworld", method=method, **given)
    changed: dict[str, Any] = {
        "workers": workers,
        "a2c.learning_rate": rate * PAPER,
        "a2c.encoder_learning_rate": rate * PAPER,
    }
    if method == "ldm":
        changed["vae.batch"] = batch
    per_update = run.replace(changed).frames_per_update(env_spec("gridworld").horizon)
    if "frames" not in given:
        changed["frames"] = updates * per_update
    changed["evaluation.every"] = max(1_000_000, 50 * per_update)
    return run.replace(changed)


def runs(**given: Any) -> dict[str, Run]:
    """Return both methods at every number of workers, 2 seeds unless `given`."""
    chosen: dict[str, Any] = {"seeds": 2} | given
    return {
        f"{method}-{workers}": setting(method, workers, **chosen)
        for method in ("rl2", "ldm")
        for workers in SETTINGS
    }
