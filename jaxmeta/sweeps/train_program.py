"""Training one program of a sweep: all seeds of all its runs, side by side."""

from collections.abc import Collection, Mapping
from pathlib import Path

import jax

from jaxmeta.config.run import Run
from jaxmeta.config.save_interval import parse_interval
from jaxmeta.devices import hosts
from jaxmeta.devices.compilation_cache import enable_compilation_cache
from jaxmeta.devices.seed_axis import seed_mesh
from jaxmeta.rundir import checkpoint, layout, lock, reading
from jaxmeta.sweeps import sweep_folder
from jaxmeta.sweeps.sweep_writer import SweepWriter
from jaxmeta.training.build import build_together
from jaxmeta.training.loop import Watch
from jaxmeta.training.saved_items import AGENT, Trained
from jaxmeta.training.stop_signals import stop_requests
from jaxmeta.training.train_run import TrainOptions, train_built


def train_together(
    path: Path,
    folders: Mapping[Path, Run],
    checkpoint_every: str,
    watch: Watch,
    accept_changed_code: bool = False,
) -> None:
    """Train a sweep's program in its directory; each run gets its own rows and parameters.

    Raises: what `train` does.
    """
    enable_compilation_cache()
    hosts.require_single_process("a sweep, which has processes of its own")
    (seeds,) = {run.seeds for run in folders.values()}
    mesh = seed_mesh(seeds * len(folders))  # before anything else uses JAX
    runs = {folder: run.with_code() for folder, run in folders.items()}
    built = build_together(list(runs.values()))

    def save_agents(update: int, trained: Trained) -> None:
        for i, folder in enumerate(runs):
            own = jax.tree.map(lambda x, i=i: x[i * seeds : (i + 1) * seeds], trained)
            with checkpoint.CheckpointWriter(folder / layout.CHECKPOINTS, []) as checkpoints:
                if checkpoints.newest() != update:  # else it was stopped right here
                    checkpoints.save(update, {AGENT: own}, {})
                checkpoints.wait_until_saved()

    options = TrainOptions(watch, parse_interval(checkpoint_every), None, accept_changed_code)
    with lock.locked(path), stop_requests() as stop_asked:
        if reading.read_manifest(path).get("status") == "finished":  # by another process
            return
        open_writer = lambda *args: SweepWriter(path, runs, *args)
        train_built(built, list(runs), path, mesh, open_writer, options, stop_asked, save_agents)


def run_program(
    path: Path,
    checkpoint_every: str = "120s",
    watch: Watch = lambda status: None,
    files: Collection[str] = (),
    accept_changed_code: bool = False,
) -> None:
    """Train a program's runs, from wherever they are.

    `files` are names of the form FILE.py:FUNCTION that may be executed, changed ones if
    `accept_changed_code`.

    Raises:
      ConfigError: it is none, in use, or its runs are of code from a file.
      Exception: what `train` raises.
    """
    runs = sweep_folder.read_program(path)
    if reading.read_manifest(path).get("status") == "finished":
        return
    for folder, run in runs.items():
        own = {name for name in (run.env, run.method) if name in files}
        reading.refuse_named_code(run, run.env in own or None, run.method in own or None)
        lock.look(run, folder, path.name)
    lock.require_free(path)
    train_together(path, runs, checkpoint_every, watch, accept_changed_code)
