"""Evaluating a finished run again, from its checkpoint."""

from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.terminal.wide_tables import print_whole
from jaxmeta.config.run import Run
from jaxmeta.env import Binary
from jaxmeta.rundir import claim
from jaxmeta.rundir.claim import POLICIES
from jaxmeta.training.build import build, read_result
from jaxmeta.training.evaluation import evaluate, evaluation_tasks


def print_meta_test(
    run: Run, path: Path, splits: list[str], rollouts: int, which: str = "last"
) -> None:
    """Print the N-th episode's return and the tasks reached, per seed, split and policy.

    Raises:
      ConfigError: the run needs code from a file, which its folder may not name.
    """
    claim.refuse_named_code(run)
    env, algorithm = build(run)
    found = read_result(path)
    params = found.params if which == "last" else found.best.params
    tasks, described = evaluation_tasks(env)
    test = jax.jit(jax.vmap(lambda p: evaluate(algorithm.agent, env, p, tasks, rollouts)))
    result = jax.device_get(test(params))
    table = Table(title=f"{path}: episode {run.trial.episodes} of {run.trial.episodes}")
    goals = isinstance(env.reward, Binary)  # else nothing is reached
    for name in ("seed", "split", "policy", "return", *(["tasks reached"] if goals else [])):
        table.add_column(name)
    of = np.array([task["split"] for task in described])
    living = [s for s in range(run.seeds) if which == "best" or s not in found.dead]
    for seed in living:
        for split in splits:
            for policy in POLICIES:
                returns, reached = (x[seed, of == split, -1] for x in result[policy])
                count = [f"{reached.sum():.1f} of {len(reached)}"] if goals else []
                table.add_row(str(seed), split, policy, f"{returns.mean():.2f}", *count)
    print_whole(Console(), table)
