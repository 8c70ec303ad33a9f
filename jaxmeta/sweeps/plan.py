"""Sweeps: many configurations, in as few compiled programs as their structure allows.

    OUT/runs/HASH/      one directory per configuration, as `train` writes it
    OUT/programs/HASH/  what trains together: a list of its runs, its checkpoints, its lock

A program is one compiled function; its members are the (configuration, seed) pairs of its
runs, trained side by side. It owns checkpoint and resume. A
run's directory gets its own rows as they come and its own parameters at the end.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.config import registry, user_code
from jaxmeta.config.run import Run
from jaxmeta.config.save_interval import parse_interval
from jaxmeta.errors import ConfigError
from jaxmeta.rundir import evaluation_csv, handed_over, layout, lock, reading
from jaxmeta.statistics import (
    evaluations,
    final_mean,
    select_rows,
    select_seeds,
    whole_evaluations,
)
from jaxmeta.sweeps import executors
from jaxmeta.sweeps import sweep_grid as grids
from jaxmeta.sweeps.sweep_folder import (
    PROGRAM,
    PROGRAMS,
    RUNS,
    is_done,
    read_program,
    run_folder,
    write_program,
)


class Plan(NamedTuple):
    """What a sweep consists of."""

    runs: dict[Path, Run]  # all that are wanted, by directory
    programs: dict[Path, dict[Path, Run]]  # the runs of each program that has something to do

    def unfinished(self) -> list[Path]:
        """Return the wanted runs that are not done."""
        return [path for path, run in self.runs.items() if not is_done(path, run)]


def sweep(
    base: Run | Sequence[Run],
    grid: Mapping[str, Iterable[Any]] | None = None,
    *,
    points: Sequence[Mapping[str, Any]] | None = None,
    seeds: Iterable[int] | int | None = None,
    out: str | os.PathLike,
    executor: str = "here",
    workers: int = 1,
    slurm: Mapping[str, Any] | None = None,
    max_members: int | None = None,
    checkpoint_every: str = "120s",
    watch: Callable[..., None] = lambda status: None,
    accept_changed_code: bool = False,
) -> evaluation_csv.Table:
    """Train every configuration of a grid that is not finished yet; return all results.

    Configurations that differ in floats only share a compiled program, with all their seeds;
    other fields make programs of their own. Calling again resumes what is unfinished and
    trains what was added; what is finished is left alone.

    Args:
      base: a run, or several (of other methods, say), each taken at every point.
      grid: dotted names with the values that each takes; every combination is a point.
      points: the points themselves instead: [{"imagination.beta": 1.5, ...}, ...].
      seeds: a number n or range(n); by default the base's own.
      out: the sweep's folder.
      executor: "here" (this process), "processes" (`workers` of them, sharing the cores),
        "slurm" (one job per program), or "print" (the commands, for other schedulers).
      workers: processes at a time.
      slurm: submitit's parameters, such as {"partition": ..., "timeout_min": ...}.
      max_members: the most (configuration, seed) pairs of a program, to bound its memory.
      checkpoint_every: as for `train`.
      watch: as for `train`, with the executor "here".
      accept_changed_code: as for `train`, of files.

    Returns:
      Columns: "run" (its directory), "status", "seed", the fields that differ between runs,
      and per split and policy the N-th episode's mean return and, where defined, share of
      tasks reached, over the last fifth of the evaluations (nan before the first).

    Raises:
      ConfigError: bad input, or other code than what is there; nothing was started.
      Preempted: a signal came; the same call resumes.
    """
    executors.check(executor, workers)
    parse_interval(checkpoint_every)
    todo = plan(base, grid, points=points, seeds=seeds, out=out, max_members=max_members)
    if executor != "here":
        require_known_elsewhere(todo)
    require_same_code(todo, accept_changed_code)
    for path, runs in todo.programs.items():
        write_program(path, runs.values())
    names = {name for run in todo.runs.values() for name in (run.env, run.method)}
    files = tuple(sorted(filter(user_code.is_file, names)))
    options = executors.Options(
        workers, dict(slurm or {}), checkpoint_every, watch, files, accept_changed_code
    )
    executors.EXECUTORS[executor](list(todo.programs), options)
    return results(todo.runs)


def plan(
    base: Run | Sequence[Run],
    grid: Mapping[str, Iterable[Any]] | None = None,
    *,
    points: Sequence[Mapping[str, Any]] | None = None,
    seeds: Iterable[int] | int | None = None,
    out: str | os.PathLike,
    max_members: int | None = None,
) -> Plan:
    """Return what `sweep` would do; nothing is written.

    Raises:
      ConfigError: as `sweep`.
    """
    if grid is not None and points is not None:
        raise ConfigError("grid, points: give one of them, not both")
    bases = [base] if isinstance(base, Run) else list(base)
    chosen = [dict(point) for point in points] if points is not None else grids.product(grid or {})
    if max_members is not None and max_members < 1:
        raise ConfigError(f"max_members = {max_members}: must be a whole number >= 1")
    folder = layout.user_path(out)
    require_sweep(folder)
    wanted = grids.runs(bases, chosen, grids.seed_count(seeds))
    runs = {run_folder(folder, run): run for run in wanted}
    known = {
        path.parent: read_program(path.parent)
        for path in sorted(folder.glob(f"{PROGRAMS}/*/{PROGRAM}"))
    }
    owner = {run: program for program, members in known.items() for run in members}
    open_runs = {path: run for path, run in runs.items() if not is_done(path, run)}
    programs = {owner[path]: known[owner[path]] for path in open_runs if path in owner}
    for group in grids.programs([r for p, r in open_runs.items() if p not in owner], max_members):
        by_folder = {run_folder(folder, run): run for run in group}
        programs[folder / PROGRAMS / grids.short_hash([p.name for p in by_folder])] = by_folder
    return Plan(runs, programs)


def require_known_elsewhere(todo: Plan) -> None:
    """Refuse runs whose names other processes cannot find.

    Raises:
      ConfigError: names the first.
    """
    for run in todo.runs.values():
        registry.require_known_elsewhere("environments", "env", run.env)
        registry.require_known_elsewhere("methods", "method", run.method)


def require_same_code(todo: Plan, accept: bool) -> None:
    """Refuse what is there of a sweep by other code than its names find now.

    Raises:
      ConfigError: says what differs; a warning if `accept` is given.
    """
    programs = {path: next(iter(runs.values())) for path, runs in todo.programs.items()}
    for path, run in (todo.runs | programs).items():
        handed_over.require_same_code(run, path, handed_over.code_by_name(run), accept)


def require_sweep(folder: Path) -> None:
    """Refuse a folder that is not a sweep's, and cannot become one.

    Raises:
      ConfigError: it holds other things, or cannot be written.
    """
    reading.refuse_links(folder)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out = {folder}: must be a folder, not a file")
    there = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    if set(there) - {RUNS, PROGRAMS, "slurm", "figures"}:
        raise ConfigError(f"out = {folder}: must be new, empty or a sweep's folder; it holds files")
    lock.require_writable(folder)


def results(runs: Mapping[Path, Run]) -> evaluation_csv.Table:
    """Return the table of `sweep`, one row per run and seed, in their order."""
    fields = [run.fields() for run in runs.values()]
    names = list(dict.fromkeys(name for known in fields for name in known))
    differing = [n for n in names if len({str(known.get(n)) for known in fields}) > 1]
    lines: list[dict[str, Any]] = []
    for (path, run), known in zip(runs.items(), fields, strict=True):
        status = reading.status(path) or "not begun"
        found = final_results(path, run) if (path / layout.EVALUATION).is_file() else {}
        for seed in range(run.seeds):
            row = {"run": str(path), "status": status, "seed": seed}
            row |= {name: known.get(name) for name in differing}
            lines.append(row | {name: values[seed] for name, values in found.items()})
    columns = dict.fromkeys(name for line in lines for name in line)
    return {name: np.array([line.get(name, np.nan) for line in lines]) for name in columns}


def final_results(path: Path, run: Run) -> dict[str, np.ndarray]:
    """Return means over the last fifth of a run's evaluations, [seeds]; nan for dead ones."""
    tasks, dead = reading.read_tasks(path), reading.dead_seeds(path)
    alive = [seed for seed in range(run.seeds) if seed not in dead]
    size = len(alive) * len(evaluation_csv.POLICIES) * len(tasks) * run.trial.episodes
    table = whole_evaluations(select_seeds(evaluation_csv.read_evaluation(path), alive), size)
    if not len(table["frames"]):
        return {}
    found: dict[str, np.ndarray] = {}
    for split in dict.fromkeys(task["split"] for task in tasks):
        for policy in evaluation_csv.POLICIES:
            last = select_rows(table, policy=policy, split=split, episode=run.trial.episodes)
            for column in ("return", "reached"):
                values = np.full(run.seeds, np.nan)
                values[alive] = final_mean(evaluations(last, column).values)
                found[f"{split}_{column}_{policy}"] = values
    return found
