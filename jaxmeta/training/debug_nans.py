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
from jaxmeta.devices.seed_axis import over_seeds, seed_mesh
from jaxmeta.env import Env
from jaxmeta.rundir import checkpoint, layout, lock, reading
from jaxmeta.training.build import Method, build
from jaxmeta.training.compiled_programs import course_like, members, run_updates, starter
from jaxmeta.training.loop import COURSE

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
    checkpoint before any seed died, or from the beginning. Writes nothing. The checked
    program is another one than the run's, so that the NaN may come at another update.

    Args:
      run: what is trained.
      out: its directory, which may be empty.
      env: replaces the environment that the run names.
      method: replaces the method that the run names.
      watch: is told every update, and how many there are.

    Raises:
      ConfigError: the directory holds something else.
      CheckpointError: all checkpoints from before are damaged.
    """
    path = Path(out)
    hosts.require_alone("the search for a NaN")
    lock.check(run, path)
    mesh = seed_mesh(run.seeds)  # before anything else uses JAX
    run = run.with_code(env, method)
    world, algorithm = build(run, env, method)
    who = members(run)
    like = {COURSE: course_like(who, algorithm)}
    deaths = [death.update for death in reading.dead_seeds(path).values()]
    folder, before = path / layout.CHECKPOINTS, min(deaths, default=None)
    found = checkpoint.newest_whole(folder, like, before=before)
    course = found.items[COURSE] if found else starter(mesh, algorithm)(who)
    checked = checkify.checkify(run_updates(algorithm), errors=checkify.float_checks)
    one = jax.jit(over_seeds(mesh, checked))
    updates = run.updates(world.env.horizon)
    for update in range(found.update if found else 0, updates):
        errors, course = one(course, jnp.int32(update), jnp.int32(1))
        for seed in range(run.seeds):
            error = jax.tree.map(lambda x, s=seed: np.asarray(x)[s], errors).get_exception()
            if error is not None:
                return f"update {update}, seed {seed}: {error} At {where(error)}"
        watch(update + 1, updates)
    return None


def where(error: Any) -> str:
    """Return the innermost lines of source behind an error of checkify's, without jax's own."""
    lines = [line.strip() for line in str(error.traceback_info).splitlines()]
    return ", in ".join([line for line in lines if not line.startswith(JAX_FILES)][:SHOWN])
