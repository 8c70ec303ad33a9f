"""Methods' returns in a trial's first episode, and the frames that they need for them.

The paper of MoSS scores it so (Wang et al. 2023). RL2 and variBAD are trained for later
episodes' returns too, so theirs is no upper bound.
"""

import numpy as np

from experiments.analysis.run_record import Results
from jaxmeta.statistics import evaluations, first_at

# Returns to be reached: half of the way from standing still (targets are 1.5 m/s on average,
# 200 steps) to 0.
RETURN_THRESHOLDS = {"half-cheetah-velocity-uniform": -150.0}


def common_episodes(results: list[Results]) -> tuple[list[Results], list[str]]:
    """Return runs restricted to the episodes that all have, and a remark if some have more."""
    counts = {result.run.trial.episodes for result in results}
    if len(counts) < 2:
        return results, []
    fewest = min(counts)
    which = "the first episode" if fewest == 1 else f"episodes 1 to {fewest}"
    remark = f"trials have {' or '.join(map(str, sorted(counts)))} episodes: compared is {which}"
    return [result._replace(compared=fewest) for result in results], [remark]


def lines(results: list[Results]) -> list[str]:
    """Return in words the first episode's test returns, and when they reached the threshold."""
    threshold = RETURN_THRESHOLDS.get(results[0].run.env)
    if threshold is None:
        return []
    found = []
    for result in results:
        for split in result.splits[1:]:
            greedy = evaluations(result.table("greedy", split, 1), "return")
            at = [first_at(greedy.frames, values, threshold) for values in greedy.values]
            reached = ", ".join("not reached" if x is None else f"{x:,.0f}" for x in at)
            last = ", ".join(f"{x:.0f}" for x in greedy.values[:, -1])
            slope = ", ".join(
                "unknown" if np.isnan(x) else f"{round(x):+d}"
                for x in per_100k(greedy.frames, greedy.values)
            )
            found.append(
                f"{result.label}, {split} tasks, first episode, greedy, by seed: frames until"
                f" {threshold:g}: {reached}; after {greedy.frames[-1]:,.0f} frames {last}; change"
                f" per 100,000 frames over the last half: {slope}"
            )
    return found


def per_100k(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the slopes [S] of straight lines through the later half of curves [S, E]."""
    late = slice(len(frames) // 2, None)
    if len(frames[late]) < 2:
        return np.full(len(values), np.nan)
    return np.polyfit(frames[late] / 1e5, values[:, late].T, 1)[0]
