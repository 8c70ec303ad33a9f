"""Tuning with Optuna's ask and tell: an example, `python -m experiments.studies.tune`.

Each round asks for a batch of points, trains them together as one sweep, and tells their
objectives. A call that was stopped can be repeated: the same rounds ask for the same points,
whose runs are finished or resumed.

The objective is the return on test goals. The result is therefore *tuned on test*, and must
be called so; a fair comparison gives other methods as many tuning runs.
"""

from collections.abc import Mapping
from pathlib import Path

import optuna

import jaxmeta
from jaxmeta.config.run import Run

SPACE = {"imagination.beta": (1.0, 2.5), "vae.dropout": (0.0, 0.9)}
LABEL = "tuned on test"


def tune(
    base: Run,
    space: Mapping[str, tuple[float, float]],
    out: Path,
    rounds: int = 5,
    batch: int = 4,
    objective: str = "test_return_sampled",
) -> optuna.Study:
    """Return the study of `rounds` x `batch` points in a box of dotted fields.

    Args:
      base: the run whose fields a point replaces.
      space: lowest and highest value by field.
      out: the sweep's folder.
      rounds: batches, one after the other; the first is random.
      batch: points that train together.
      objective: a column of `jaxmeta.sweep`'s table, averaged over seeds; more is better.
    """
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=batch)
    )
    for _ in range(rounds):
        trials = [study.ask() for _ in range(batch)]
        points = [
            {name: trial.suggest_float(name, low, high) for name, (low, high) in space.items()}
            for trial in trials
        ]
        table = jaxmeta.sweep(base, points=points, out=out)
        # nan where a seed became non-finite
        scores = table[objective].reshape(batch, base.seeds).mean(1)
        for trial, score in zip(trials, scores, strict=True):
            failed = score != score
            state = optuna.trial.TrialState.FAIL if failed else None
            study.tell(trial, None if failed else float(score), state=state)
    return study


if __name__ == "__main__":
    base = Run(method="ldm", frames=20_000_000, seeds=2)
    best = tune(base, SPACE, Path("runs/tune")).best_trial
    print(f"{best.params}: test return {best.value:.2f} ({LABEL})")
