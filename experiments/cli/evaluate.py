"""`jaxmeta evaluate`: a run's agents again, from its checkpoint."""

import argparse
from pathlib import Path

import numpy as np
from rich.table import Table

from experiments.terminal.consoles import new_console
from experiments.terminal.wide_tables import print_whole
from jaxmeta.config.run import Run
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import reading
from jaxmeta.rundir.evaluation_csv import POLICIES
from jaxmeta.rundir.layout import user_path


def options(command: argparse.ArgumentParser, argv: list[str]) -> None:
    """Add the command's options."""
    command.add_argument("dir", metavar="DIR", type=user_path)
    command.add_argument(
        "--which", choices=("last", "best"), default="last",
        help="the last parameters, or each seed's best on training tasks (default: last)",
    )  # fmt: skip
    command.add_argument("--split", help="one split only (default: all)")
    command.add_argument("--rollouts", type=int, default=4, help="trials of the sampling policy")


def run(args: argparse.Namespace) -> None:
    """Evaluate a run's agents and print the N-th episode's results."""
    found = reading.read_run(args.dir)
    splits = {task["split"] for task in reading.read_tasks(args.dir)}
    if args.split is not None and args.split not in splits:
        raise ConfigError(f"split = {args.split!r}: must be one of {', '.join(sorted(splits))}")
    if args.rollouts < 1:
        raise ConfigError(f"rollouts = {args.rollouts}: must be a whole number >= 1")
    chosen = [args.split] if args.split else sorted(splits)
    print_meta_test(found, args.dir, chosen, args.rollouts, args.which)


def print_meta_test(
    run: Run, path: Path, splits: list[str], rollouts: int, which: str = "last"
) -> None:
    """Print the N-th episode's return and the tasks reached, per seed, split and policy.

    Raises:
      ConfigError: the run needs code from a file, which its folder may not name.
    """
    import jax

    from jaxmeta.training.build import build_together
    from jaxmeta.training.evaluation import evaluate, evaluation_tasks
    from jaxmeta.training.result import stored_result

    reading.refuse_named_code(run)
    built = build_together([run.with_code()])
    env, algorithm = built.env, built.algorithm
    found = stored_result(path, built)
    params = found.params if which == "last" else found.best.params
    tasks, described = evaluation_tasks(env)
    test = jax.jit(jax.vmap(lambda p: evaluate(algorithm.agent, env, p, tasks, rollouts)))
    result = jax.device_get(test(params))
    table = Table(title=f"{path}: episode {run.trial.episodes} of {run.trial.episodes}")
    for name in ("seed", "split", "policy", "return", *(["tasks reached"] if env.goals else [])):
        table.add_column(name)
    of = np.array([task["split"] for task in described])
    evaluated = [s for s in range(run.seeds) if which == "best" or s not in found.dead]
    for seed in evaluated:
        for split in splits:
            for policy in POLICIES:
                returns, reached = (x[seed, of == split, -1] for x in result[policy])
                count = [f"{reached.sum():.1f} of {len(reached)}"] if env.goals else []
                table.add_row(str(seed), split, policy, f"{returns.mean():.2f}", *count)
    print_whole(new_console(), table)
