"""The LDM paper's gridworld study (Figure 3), as far as its methods are in the library."""

from typing import Any

from jaxmeta.config import Run


def runs(**given: Any) -> dict[str, Run]:
    """Return LDM, RL2, Mixreg, variBAD and the two oracles: 8 seeds of 1e8 frames.

    Oracles are the same methods, trained on the training and the test goals.
    """
    shared: dict[str, Any] = {"env": "gridworld", "seeds": 8, "frames": 100_000_000} | given
    return {
        "ldm": Run(method="ldm", **shared),
        "rl2": Run(method="rl2", **shared),
        "mixreg": Run(method="mixreg", **shared),
        "varibad": Run(method="varibad", **shared),
        "rl2-oracle": Run(method="rl2", train_split="oracle", **shared),
        "varibad-oracle": Run(method="varibad", train_split="oracle", **shared),
    }
