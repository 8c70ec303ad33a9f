"""Which settings affect how many test goals LDM reaches: one factor at a time.

Factors are the points where the paper and its public code disagree (docs/fidelity.md), what neither
specifies, and two controls that separate imagination from added exploration pressure: mixture
workers that are never rewarded, and mixture workers rewarded from one random normal worker's
latent. A screen of all, short and with few seeds, only ranks them; the two with the largest effect
are then trained longer, with more seeds. For the others it is inconclusive.
"""

from typing import Any

import numpy as np

from experiments.analysis.run_record import Results
from experiments.analysis.summary import by_seed
from experiments.studies.ldm_ablations import ldm
from jaxmeta.config.run import Run
from jaxmeta.rundir.evaluation_csv import POLICIES

BASE = "paper"
FACTORS: dict[str, dict[str, Any]] = {
    "never-rewarded": {"imagination.pay": "nothing"},
    "one-worker": {"imagination.pay": "worker"},
    "weights-per-dimension": {"imagination.weights": "per_dimension"},
    "reduction-mean": {"vae.reduction": "mean"},
    "replay-frozen": {"vae.replay": "frozen"},
    "roles-redrawn": {"imagination.roles": "redrawn"},
    "dropout-off": {"imagination.dropout": "off"},
    "latents-means": {"imagination.latents": "means"},
    "pairs-all": {"vae.pairs": "all"},
}
FINALISTS = 2


def screen(**given: Any) -> dict[str, Run]:
    """Return LDM as in the paper, and with each factor alone: 2 seeds of 2e7 frames."""
    base = ldm(**({"seeds": 2, "frames": 20_000_000} | given))
    return {BASE: base} | {name: base.replace(change) for name, change in FACTORS.items()}


def effects(results: list[Results]) -> dict[str, float]:
    """Return how many test goals each factor adds, greedy and sampled averaged, the largest first.

    Factors that were not run, or whose seeds all became non-finite, are left out.
    """
    reached = {
        result.path.resolve().name: np.mean(
            [by_seed(result, "test", policy, "goals").mean() for policy in POLICIES]
        )
        for result in results
        if len(result.evaluation["frames"])
    }
    if BASE not in reached:
        return {}
    found = {name: float(reached[name] - reached[BASE]) for name in FACTORS if name in reached}
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))


def finals(results: list[Results], **given: Any) -> dict[str, Run]:
    """Return the two factors with the largest effect in the screen, and the base.

    They have twice the screen's seeds and 2.5 times its frames: 4 seeds of 5e7.
    """
    runs = screen(**given)
    longer = {
        "seeds": 2 * runs[BASE].seeds,
        "frames": 5 * runs[BASE].frames // 2,
    }
    chosen = list(effects(results))[:FINALISTS]
    return {name: runs[name].replace(longer) for name in (BASE, *chosen)} if chosen else {}
