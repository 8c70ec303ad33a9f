"""How fast a run will train on this machine: a few seconds of it, measured."""

import time

import jax
import jax.numpy as jnp

from jaxmeta.config.run import Run
from jaxmeta.devices.seed_axis import map_over_seeds, seed_mesh
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import compile_init, make_members, run_updates

SECONDS = 3.0  # of training, about


def frames_per_s(run: Run) -> float:
    """Return the frames per second of all seeds together, compilation left out."""
    mesh = seed_mesh(run.seeds)
    env, algorithm = build(run)
    train_state = compile_init(mesh, algorithm)(make_members(run))
    chunk = jax.jit(map_over_seeds(mesh, run_updates(algorithm)), donate_argnums=0)
    count = 1
    while True:
        start = time.perf_counter()
        train_state = jax.block_until_ready(chunk(train_state, jnp.int32(0), jnp.int32(count)))
        seconds = time.perf_counter() - start
        if count > 1 and seconds > SECONDS / 2:
            per_update = run.seeds * run.frames_per_update(env.env.horizon)
            return count * per_update / seconds
        count = 2 if count == 1 else max(count + 1, int(1.2 * count * SECONDS / seconds))
