"""Finding the operation that made the first infinity or NaN."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from jaxmeta.config.run import Run
from jaxmeta.devices import hosts
from jaxmeta.devices.seed_axis import map_over_seeds, seed_mesh
from jaxmeta.env import Env
from jaxmeta.rundir import checkpoint, layout, lock, reading
from jaxmeta.training.build import Method, build_together
from jaxmeta.training.compiled_functions import compile_init, run_updates, train_state_shapes
from jaxmeta.training.saved_items import COURSE, start_of

JAX_FILES = str(Path(jax.__file__).parent) + os.sep
SHOWN = 3  # innermost lines of source that are not jax's


def find_nan(
    run: Run,
    out: str | os.PathLike,
    *,
    env: Env | None = None,
    method: Method | None = None,
    watch: Callable[[int, int], None] = lambda update, updates: None,
) -> str | None:
    """Return update, seed, primitive and source lines of the first NaN; None without one.

    Repeats the run update by update, with every operation checked, from its newest
    checkpoint before any seed became non-finite, or from the beginning. Writes nothing. The checked
    program is another one than the run's, so that the NaN may come at another update.

    Args:
      run: what is trained.
      out: its directory, which may be empty.
      env: replaces the environment that the run names.
      method: replaces the method that the run names.
      watch: called with every update, and how many there are.

    Raises:
      ConfigError: the directory holds something else.
      CheckpointError: all checkpoints from before are damaged.
    """
    path = Path(out)
    hosts.require_single_process("the search for a NaN")
    lock.status_of(run, path)
    mesh = seed_mesh(run.seeds)  # before anything else uses JAX
    built = build_together([run.with_code(env, method)], env, method)
    algorithm, members = built.algorithm, built.members
    like = {COURSE: train_state_shapes(members, algorithm)}
    nonfinite = [death.update for death in reading.dead_seeds(path).values()]
    folder, before = path / layout.CHECKPOINTS, min(nonfinite, default=None)
    restored = checkpoint.newest_valid(
        folder, like, start=start_of(algorithm, members), before=before
    )
    train_state = restored.items[COURSE] if restored else compile_init(mesh, algorithm)(members)
    checked = checkify.checkify(run_updates(algorithm), errors=checkify.float_checks)
    one = jax.jit(map_over_seeds(mesh, checked))
    updates = run.updates(built.env.env.horizon)
    for update in range(restored.update if restored else 0, updates):
        errors, train_state = one(train_state, jnp.int32(update), jnp.int32(1))
        for seed in range(run.seeds):
            error = jax.tree.map(lambda x, s=seed: np.asarray(x)[s], errors).get_exception()
            if error is not None:
                return f"update {update}, seed {seed}: {error} At {source_lines(error)}"
        watch(update + 1, updates)
    return None


def source_lines(error: Any) -> str:
    """Return the innermost lines of source of an error of checkify's, without jax's own."""
    lines = [line.strip() for line in str(error.traceback_info).splitlines()]
    return ", in ".join([line for line in lines if not line.startswith(JAX_FILES)][:SHOWN])
