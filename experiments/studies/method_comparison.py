"""The LDM paper's comparison of methods (Figures 3 and 7), as far as they are in the library."""

from typing import Any

from jaxmeta.config.run import Run

# The robots' environments, with the figure that shows their motion.
ROBOTS = {"ant-direction": "8b", "ant-goal": "8c", "half-cheetah-velocity": "8d"}


def methods(env: str, **given: Any) -> dict[str, Run]:
    """Return LDM, RL2, Mixreg, variBAD and the two oracles: 8 seeds, the paper's frames.

    Oracles are the same methods, trained on the training and the test tasks.
    """
    shared: dict[str, Any] = {"env": env, "seeds": 8} | given
    return {
        "ldm": Run(method="ldm", **shared),
        "rl2": Run(method="rl2", **shared),
        "mixreg": Run(method="mixreg", **shared),
        "varibad": Run(method="varibad", **shared),
        "rl2-oracle": Run(method="rl2", train_split="oracle", **shared),
        "varibad-oracle": Run(method="varibad", train_split="oracle", **shared),
    }
