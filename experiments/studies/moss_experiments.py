"""The MoSS paper's experiments on half-cheetahs (Wang et al. 2023), with its printed budgets.

How many seeds it used is not known; ours are 4. Every method has the frames of MoSS.
"""

from typing import Any

from jaxmeta.config.run import Run

FRAMES = 3_000_000
PARAMETRIC, OOD = "half-cheetah-velocity-uniform", "half-cheetah-velocity"
NON_STATIONARY, MULTI_TASK = "half-cheetah-velocity-switching", "half-cheetah-multi-task"


def compare(
    env: str, others: tuple[str, ...], frames: int, given: dict[str, Any]
) -> dict[str, Run]:
    """Return MoSS and other methods on one environment."""
    shared: dict[str, Any] = {"env": env, "seeds": 4, "frames": frames} | given
    return {method: Run(method=method, **shared) for method in ("moss", *others)}


def parametric(**given: Any) -> dict[str, Run]:
    """Return the velocities, with variBAD both ways, and RL2."""
    return compare(PARAMETRIC, ("varibad-off-policy", "varibad", "rl2"), FRAMES, given)


def out_of_distribution(**given: Any) -> dict[str, Run]:
    """Return LDM's splits of the velocities (the paper's own are not known), with LDM."""
    return compare(OOD, ("varibad-off-policy", "ldm", "rl2"), FRAMES, given)


def non_stationary(**given: Any) -> dict[str, Run]:
    """Return velocities that change within an episode."""
    return compare(NON_STATIONARY, ("varibad-off-policy", "rl2"), 3 * FRAMES, given)


def multi_task(**given: Any) -> dict[str, Run]:
    """Return seven sub-families, with one component as wide as the four together."""
    runs = compare(MULTI_TASK, ("rl2",), 42_000_000, given)
    one = {"inference.components": 1, "inference.latent": 32}
    return {"moss": runs["moss"], "one-component": runs["moss"].replace(one), "rl2": runs["rl2"]}


def ablation(**given: Any) -> dict[str, Run]:
    """Return MoSS on LDM's splits without one of its parts; three episodes, as one part needs."""
    base = compare(OOD, (), FRAMES, given)["moss"].replace({"trial.episodes": 3})
    without: dict[str, dict[str, Any]] = {
        "no-contrast": {"inference.contrast_weight": 0.0},
        "by-episode": {"inference.level": "episode"},
        "sampled-belief": {"inference.belief": "sample"},
        "standard-prior": {"inference.prior": "standard"},
    }
    return {"moss": base} | {name: base.replace(fields) for name, fields in without.items()}
