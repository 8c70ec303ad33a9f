"""Small runs of every method, and their compiled programs, shared by the tests."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.algorithm import Algorithm
from jaxmeta.config.run import Run
from jaxmeta.devices.seed_axis import map_over_seeds, seed_mesh
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import TrainState, compile_init, make_members, run_updates
from jaxmeta.trial import Trial
from tests import probes

METHODS = ("rl2", "mixreg", "varibad", "ldm")
OFF_POLICY = ("moss", "varibad-off-policy")  # they need continuous actions
STEER = f"{probes.__file__}:Steer"
SIZES = {
    "networks.hidden": 16,
    "networks.state_embedding": 8,
    "networks.head": 4,
}
VAE_SIZES = {"vae.latent": 4, "vae.batch": 3, "vae.capacity": 20, "vae.decoder_layers": (8, 8)}
PAIRS = {"vae.elbo_latents": 5, "vae.elbo_steps": 6}
SAC_SIZES = {
    "sac.layers": (8,),
    "sac.obs_embedding": 0,
    "sac.updates": 3,
    "sac.batch": 8,
    "replay.tasks": 6,
    "replay.initial": 0,
    "replay.encoded": 24,
}
INFERENCE_SIZES = {
    "inference.latent": 3,
    "inference.components": 2,
    "inference.hidden": 8,
    "inference.decoder_layers": (8,),
    "inference.window": 3,
    "inference.updates": 2,
    "inference.batch": 5,
}
GROUP = {"imagination.normal": 3, "imagination.mixture": 1}


def tiny_run(method: str, overrides: dict[str, Any] | None = None, **chosen: Any) -> Run:
    """Return a run of 4 workers and 2 episodes with small networks."""
    chosen = ({"env": STEER} if method in OFF_POLICY else {}) | chosen
    run = Run(method=method, frames=100_000, **chosen)
    by_section = {
        "networks": SIZES,
        "vae": VAE_SIZES | PAIRS,
        "imagination": GROUP,
        "sac": SAC_SIZES,
        "inference": INFERENCE_SIZES,
    }
    sizes = {"trial.episodes": 2}
    for section, fields in by_section.items():
        sizes |= fields if run.get(section) else {}
    return run.replace({"workers": 4, "seeds": 2} | sizes | (overrides or {}))


def with_sections(run: Run, **sections: Any) -> Run:
    """Return the run with whole sections in place of its own."""
    kept = tuple((name, sections.get(name, section)) for name, section in run.sections)
    return dataclasses.replace(run, sections=kept)


class Program(NamedTuple):
    """A method, compiled once for two seeds on two devices."""

    env: Trial
    algorithm: Algorithm
    start: TrainState  # [2, ...]
    updates: Any  # (state, first, count) -> state; traced at most once, once more for shapes


@functools.cache
def program(method: str) -> Program:
    """Return a method's program; a second trace fails."""
    run = tiny_run(method)
    env, algorithm = build(run)
    counted = algorithm._replace(step=traced_at_most(2, algorithm.step))
    mesh = seed_mesh(2)
    start = compile_init(mesh, counted)(make_members(run))
    updates = jax.jit(map_over_seeds(mesh, run_updates(counted)))
    return Program(env, algorithm, start, updates)


def traced_at_most(n: int, function: Any) -> Any:
    """Return the function, which fails when it is called more than n times.

    `chex.assert_max_traces` would count methods together that share their step's source.
    """
    calls = []

    def counted(*args: Any) -> Any:
        calls.append(args)
        assert len(calls) <= n, f"traced {len(calls)} times"
        return function(*args)

    return counted


def advance(made: Program, train_state: TrainState, first: int, count: int) -> TrainState:
    """Return the train_state after `count` updates."""
    return made.updates(train_state, jnp.int32(first), jnp.int32(count))
