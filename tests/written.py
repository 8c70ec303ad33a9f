"""Run directories written by hand, in any state, with known contents."""

import csv
import json

from jaxmeta.config.run import Run
from jaxmeta.rundir import evaluation_csv, layout, manifest
from jaxmeta.rundir.run_writer import RunWriter

TRAIN, TEST = [[0, 2], [6, 6]], [[3, 0], [3, 1], [3, 2]]
RETURN_TASKS = [
    {"split": "train", "task": [0, 2], "best_return": 28.9},
    {"split": "train", "task": [6, 6], "best_return": 17.9},
    {"split": "test", "task": [3, 1], "best_return": 26.7},
]
# 1,000 frames at 100 frames/s, then 3,000 at 50: 4,000 frames in 70 s.
LOGGED = (
    {"seed": 0, "frames": 1000, "wall_s": 10.0, "frames_per_s": 100.0},
    {"seed": 0, "frames": 4000, "wall_s": 70.0, "frames_per_s": 50.0},
)


def two_episodes(**fields):
    return Run(method="rl2", **fields).replace({"trial.episodes": 2})


def run_on_record(run, **names):
    """Return a run as read from a folder, with other names of its environment or its method.

    A file among these need not exist: reading a folder executes no code.
    """
    return Run.from_json(json.dumps(run.fields() | names))


def write_run(
    path, run, train, test, *, tests=("test",), reached="1.0", best=25.0, logged=LOGGED, **manifest
):
    """Write an unfinished run: train[s][e] and test[s][e] are the last episode's returns.

    Earlier episodes return 1 less. The last test task of every split is never reached.
    """
    path.mkdir(parents=True)
    tasks = [("train", task) for task in TRAIN] + [(s, task) for s in tests for task in TEST]
    described = [{"split": s, "task": task, "best_return": best} for s, task in tasks]
    (path / layout.CONFIG).write_text(run.to_json())
    (path / layout.TASKS).write_text(json.dumps(described))
    write_manifest(path, **manifest)
    write_metrics(path, logged)
    with (path / layout.EVALUATION).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(evaluation_csv.COLUMNS)
        for seed, values in enumerate(zip(train, test, strict=True)):
            for e, (train_return, test_return) in enumerate(zip(*values, strict=True)):
                for policy, bonus in (("greedy", 0.0), ("sampled", 0.25)):
                    for i, (split, task) in enumerate(tasks):
                        value = (train_return if split == "train" else test_return) + bonus
                        hit = reached if task != TEST[-1] or not reached else "0.0"
                        for episode in range(1, run.trial.episodes + 1):
                            total = value - (episode < run.trial.episodes)
                            row = (1000 * e, seed, policy, split, i, episode, 1, total, hit)
                            writer.writerow(row)
    return path


WRITTEN = Run(method="rl2", frames=1920)


def write_with_writer(path, status):
    """Write a directory of WRITTEN as training does, with a line and a row."""
    path.mkdir()
    tasks, facts = [{"split": "train", "task": [0, 2]}], manifest.describe(["cpu"], {})
    writer = RunWriter(WRITTEN, path, tasks, facts)
    writer.metrics({"seed": 0, "loss": float("nan"), "frames": 1920})
    writer.evaluation([(0, 0, "greedy", "train", 0, 1, 1, 1.5, "")])
    writer.close(status)


def write_manifest(path, **manifest):
    (path / layout.MANIFEST).write_text(json.dumps({"status": "running"} | manifest))


def write_metrics(path, logged):
    (path / layout.METRICS).write_text("".join(json.dumps(line) + "\n" for line in logged))


def cut_short(path):
    """Cut off the end of the last row, as a crash does; rows have at least 10 characters."""
    text = path.read_text()
    path.write_text(text[:-5])


def write_returns(path, run, returns, tasks=RETURN_TASKS):
    """Write a run directory; returns[e][s]: of seed s in evaluation e, on every task."""
    path.mkdir(parents=True)
    (path / layout.CONFIG).write_text(run.to_json())
    (path / layout.TASKS).write_text(json.dumps(tasks))
    (path / layout.MANIFEST).write_text('{"status": "finished"}')
    (path / layout.METRICS).write_text("")
    with (path / layout.EVALUATION).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(evaluation_csv.COLUMNS)
        for e, by_seed in enumerate(returns):
            for seed, value in enumerate(by_seed):
                for policy in evaluation_csv.POLICIES:
                    for i, task in enumerate(tasks):
                        for episode in range(1, run.trial.episodes + 1):
                            # Earlier episodes and other tasks differ, so that mix-ups show.
                            total = value + i if episode == run.trial.episodes else -99
                            row = (1_000_000 * e, seed, policy, task["split"], i, episode, 1, total)
                            writer.writerow((*row, float(value > 0)))
    return path
