"""A study: several runs on one environment, one after the other, and one report."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiments.studies import (
    ldm_ablations,
    ldm_fidelity,
    many_workers,
    moss_experiments,
    ppo_minibatches,
    quickstart,
    varibad_weight,
)
from experiments.studies.method_comparison import ROBOTS, methods
from jaxmeta.config.run import Run
from jaxmeta.config.untrusted_text import safe_repr
from jaxmeta.errors import ConfigError, NonFiniteError, Preempted
from jaxmeta.rundir import lock, reading
from jaxmeta.training.stop_signals import stop_requests

Runs = dict[str, Run]  # by the name of their folder


class Study(NamedTuple):
    """Runs to train, and their report.

    Attributes:
      runs: takes {"seeds": ..., "frames": ...}, as far as the user gave them.
      base: the run that the report compares the others with.
      note: an opening paragraph of the report.
      then: a second stage, chosen by the first one's results, in the folder "final".
    """

    runs: Callable[..., Runs]
    base: str = ""
    note: str = ""
    then: Callable[..., Runs] | None = None


MOSS_NOTE = (
    "After Wang et al. (2023), whose curves and ranges of tasks are not available to us; which of"
    " the settings are printed there, and which are ours, is in docs/moss.md."
)

STUDIES: dict[str, Study] = {
    "quickstart": Study(quickstart.runs),
    "gridworld": Study(
        partial(methods, "gridworld"),
        note="Figure 3 of Lee & Chung (2021). ProMP and E-MAML, which are in it, are not in the"
        " library yet.",
    ),
    "reward-maps": Study(
        ldm_ablations.reward_maps, "dropout-0.7", "Figure 4 of Lee & Chung (2021)."
    ),
    "gridworld-extrapolation": Study(
        ldm_ablations.extrapolation, "beta-1", "Figures 5 and 6 of Lee & Chung (2021)."
    ),
    "dropout-ablation": Study(
        ldm_ablations.dropout,
        "dropout-0.7",
        "Appendices B and E of Lee & Chung (2021); how B measures a reward map's error is not in"
        " its text, so the measure is ours.",
    ),
    "worker-ratio-ablation": Study(
        ldm_ablations.worker_ratio, "workers-14+2", "Appendix D of Lee & Chung (2021)."
    ),
    "fidelity": Study(
        ldm_fidelity.screen,
        ldm_fidelity.BASE,
        "A screen: it ranks the factors, and is inconclusive about each with so few seeds. The two"
        " with the largest effect are trained longer in final/.",
        ldm_fidelity.finals,
    ),
    "workers": Study(
        many_workers.runs,
        "ldm-16",
        "The effect of a larger batch of workers, with the settings that we recommend for it. Up to"
        " 4,096 of them: for an accelerator.",
    ),
    "moss-parametric": Study(moss_experiments.parametric, "moss", MOSS_NOTE),
    "moss-ood": Study(moss_experiments.out_of_distribution, "moss", MOSS_NOTE),
    "moss-nonstationary": Study(moss_experiments.non_stationary, "moss", MOSS_NOTE),
    "moss-multitask": Study(moss_experiments.multi_task, "moss", MOSS_NOTE),
    "moss-ablation": Study(moss_experiments.ablation, "moss", MOSS_NOTE),
    "varibad-weight": Study(
        varibad_weight.runs,
        "varibad",
        "The encoder that variBAD shares with its policy gets the sum of two gradients, clipped;"
        " with the published sums over a trial's steps, nearly all of it is the ELBO's.",
    ),
    "ppo-minibatches": Study(
        ppo_minibatches.runs,
        "rl2-workers",
        "Minibatches of whole trials (ppo.minibatch_of = workers, our default) beside those of"
        " steps, as in the public code, at an eighth of the frames of Lee & Chung (2021).",
    ),
    **{
        env: Study(
            partial(methods, env),
            note=f"Figures 7 and {figure} of Lee & Chung (2021). ProMP, E-MAML, PEARL, MQL and"
            " MIER, which are in Figure 7, are not in the library yet.",
        )
        for env, figure in ROBOTS.items()
    },
}


def run_study(name: str, out: Path, given: dict[str, Any], only: list[str] | None = None) -> int:
    """Train what is not finished yet of a study, then draw the report of all.

    Returns the exit code: 1 if any seed's training became non-finite.

    `given` holds the fields of Run that replace the study's own, such as "seeds"; `only` names
    the runs to train and report, by default all, with the second stage if there is one.

    Raises:
      ConfigError: no such study or run, a bad field, or a run's folder cannot be used;
        nothing was started.
    """
    if name not in STUDIES:
        raise ConfigError(f"study = {safe_repr(name)}: must be one of {', '.join(STUDIES)}")
    study = STUDIES[name]
    runs = study.runs(**given)
    for run in only or []:
        if run not in runs:
            raise ConfigError(f"only = {safe_repr(run)}: must be some of {', '.join(runs)}")
    chosen = {folder: run for folder, run in runs.items() if not only or folder in only}
    for one in chosen.values():
        one.require_update()
    # A quickstart takes minutes: measuring would be a good part of it.
    code = run_stage(study, chosen, out, measured=name != "quickstart")
    if study.then and not only:
        from experiments.analysis.run_record import read

        later = study.then(read([out / folder for folder in chosen]), **given)
        if later:
            print(f"second stage: {', '.join(later)}")
            code = max(code, run_stage(study._replace(note=""), later, out / "final", True))
    return code


def run_stage(study: Study, runs: Runs, out: Path, measured: bool) -> int:
    """Train one stage's runs and report them; return the exit code."""
    finished = {}
    for folder, run in runs.items():
        complete = lock.look(run, out / folder) == "finished"
        finished[folder] = complete and reading.has_last_checkpoint(out / folder)

    open_runs = {folder: run for folder, run in runs.items() if not finished[folder]}
    if measured and open_runs:
        announce(open_runs)

    from experiments.report.compose import report
    from experiments.terminal.training_display import train_with_progress

    with stop_requests() as stop_asked:
        for folder, run in runs.items():
            if finished[folder]:
                print(f"{out / folder}: finished already")
                continue
            try:
                train_with_progress(run, out / folder)
            except NonFiniteError as error:  # reported below; continue with the others
                print(f"{out / folder}: all seeds became non-finite: {error}")
            if signal := stop_asked():
                raise Preempted(f"{signal}: stopped after {out / folder}")
    report([out / folder for folder in runs], out, base=study.base, note=study.note)
    return 1 if any(reading.dead_seeds(out / folder) for folder in runs) else 0


def announce(runs: Runs) -> None:
    """Print an estimate of how long runs will take here, by a short measurement."""
    from experiments.terminal.speed_forecast import frames_per_s

    print("measuring this machine, to say how long the study will take ...", flush=True)
    total = 0.0
    for name, run in runs.items():
        hours = run.frames * run.seeds / frames_per_s(run) / 3600
        total += hours
        print(f"  {name}: {run.seeds} seeds x {run.frames:,} frames, {hours:.1f} hours", flush=True)
    ready = time.strftime("%A %H:%M", time.localtime(time.time() + 3600 * total))
    print(f"  together {total:.1f} hours, until {ready}; what is finished is skipped next time")
