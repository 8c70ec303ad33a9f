"""Speed: frames/s of the whole training step, as a share of the measured matmul peak.

The command line keeps the process on one core, so that the share is of one core's peak.
Matmul FLOPs are counted by hand from the networks' sizes: a forward pass once, a backward
pass twice; what an implementation recomputes does not count.
"""

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from jaxmeta import buffers
from jaxmeta.algorithm import Algorithm, hyper
from jaxmeta.config import Run
from jaxmeta.loading import build
from jaxmeta.manifest import now, processor
from jaxmeta.programs import Course, no_progress, progress_like, run_updates
from jaxmeta.trial import Trial

REPEATS = 5  # timings of each thing; the fastest counts
SECONDS = 2.0  # of training per timing, about


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Return the fastest of several timings of a compiled function, the first left out."""
    jax.block_until_ready(function(*args))
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        best = min(best, time.perf_counter() - start)
    return best


def seconds_in_a_loop(function: Callable[[Any], Any], params: Any, times: int = 10) -> float:
    """Return the time of `function(params)` as part of a longer program, as in training.

    Alone, a call would pay for its memory each time.
    """

    def again(_: Any, params: Any) -> Any:
        out = jax.tree.leaves(function(params))
        zero = 0.0 * sum(x.sum() for x in out if jnp.issubdtype(x.dtype, jnp.floating))
        return jax.tree.map(lambda x: x + zero, params)

    return seconds(jax.jit(lambda p: jax.lax.fori_loop(0, times, again, p)), params) / times


def matmul_peak(size: int = 1024) -> float:
    """Return the best rate of `jnp.dot` on float32 squares, in GFLOP/s."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    return 2 * size**3 / seconds(jax.jit(jnp.dot), a, a) / 1e9


def chain(*widths: int) -> int:
    """Return the multiply-adds of a stack of linear layers."""
    return sum(a * b for a, b in itertools.pairwise(widths))


def update_gflop(run: Run, env: Trial) -> float:
    """Return the matmul GFLOPs that one update needs."""
    sizes, steps = run.networks, env.horizon
    (obs,) = env.obs_space.shape
    width = sizes.state_embedding + sizes.reward_embedding + sizes.action_embedding
    embeddings = obs * sizes.state_embedding + sizes.reward_embedding
    recurrent = embeddings + (width + sizes.hidden) * 3 * sizes.hidden
    head = sizes.head if run.method != "varibad" else run.vae.latent
    policy = 2 * chain(2 * head, *sizes.policy_layers) + 6 * sizes.policy_layers[-1]
    agent = recurrent + sizes.hidden * 2 * head + policy
    total = 3 * agent * run.workers * steps
    if run.vae:
        vae = run.vae
        belief = recurrent + sizes.hidden * 2 * vae.latent
        if vae.decoder == "multi":
            assert env.cells is not None
            decoder = chain(vae.latent, *vae.decoder_layers, env.cells.n) * (steps + 1)
        else:
            latents, decoded = (
                (vae.elbo_latents, vae.elbo_steps) if vae.pairs == "random" else (steps + 1, steps)
            )
            first, *rest = vae.decoder_layers
            by_pair = chain(sizes.state_embedding, first) + chain(first, *rest, 1)
            decoder = latents * (vae.latent * first + decoded * by_pair)
        steps_taken = vae.updates if run.imagination else 1
        total += 3 * steps_taken * vae.batch * (belief * steps + decoder)
        if run.imagination:
            inputs = vae.latent + sizes.state_embedding
            total += run.workers * steps * (belief + chain(inputs, *vae.decoder_layers, 1))
    return 2 * total / 1e9


def measure(run: Run) -> dict[str, Any]:
    """Return frames/s of a run's training step, and its parts' shares."""
    env, algorithm = build(run)
    hp = hyper(run)
    state = jax.jit(algorithm.init)(jax.random.key(0), hp)
    course = Course(state, no_progress(progress_like(algorithm, state)))
    updates = jax.jit(run_updates(algorithm), donate_argnums=0)
    course = jax.block_until_ready(updates(course, jnp.int32(0), jnp.int32(1)))
    start = time.perf_counter()
    course = jax.block_until_ready(updates(course, jnp.int32(0), jnp.int32(3)))
    count = max(2, int(3 * SECONDS / (time.perf_counter() - start)))
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        course = jax.block_until_ready(updates(course, jnp.int32(0), jnp.int32(count)))
        best = min(best, (time.perf_counter() - start) / count)
    state = course.state
    rollout = seconds_in_a_loop(
        lambda params: algorithm.collect(state._replace(params=params)), state.params
    )
    vae = vae_seconds(run, algorithm, state) if run.vae else 0.0
    return {
        "method": run.method,
        "workers": run.workers,
        "vae_batch": run.vae.batch if run.vae else None,
        "frames_per_s": run.frames_per_update(env.env.horizon) / best,
        "update_ms": 1e3 * best,
        "rollout": rollout / best,
        "vae": vae / best,
        "policy": 1 - (rollout + vae) / best,
        "gflop": update_gflop(run, env),
    }


def vae_seconds(run: Run, algorithm: Algorithm, state: Any) -> float:
    """Return the time of an update's gradient steps on the ELBO."""
    belief = algorithm.belief
    assert belief is not None
    hp = hyper(run).vae

    def gradient(params: Any) -> Any:
        batch = buffers.sample(state.replay, jax.random.key(0), run.vae.batch)
        return jax.grad(belief.elbo, has_aux=True)(params, batch, jax.random.key(1), hp)

    steps = run.vae.updates if run.imagination else 1
    return steps * seconds_in_a_loop(gradient, algorithm.params(state))


def bench(out: Path, methods: list[str], workers: list[int]) -> None:
    """Print a table of speeds and append them to `out`."""
    console = Console()
    peak = matmul_peak()
    machine = {"time": now(), "processor": processor(), "peak_gflops": peak, "jax": jax.__version__}
    table = Table(title=f"gridworld, one core of {processor()}: matmul peak {peak:.0f} GFLOP/s")
    for name in (
        "method",
        "workers",
        "VAE batch",
        "frames/s",
        "rollout",
        "policy",
        "VAE",
        "of peak",
    ):
        table.add_column(name, justify="right")
    out.parent.mkdir(parents=True, exist_ok=True)
    for method in methods:
        for count in workers:
            result = measure(Run(env="gridworld", method=method, workers=count))
            share = result["gflop"] / (result["update_ms"] / 1e3) / peak
            with out.open("a") as file:
                file.write(json.dumps(machine | result | {"of_peak": share}) + "\n")
            shares = [f"{result[part]:.0%}" for part in ("rollout", "policy", "vae")]
            fps = f"{result['frames_per_s']:,.0f}"
            row = (method, str(count), str(result["vae_batch"] or ""), fps, *shares, f"{share:.0%}")
            table.add_row(*row)
            console.print(f"{method} {count}: {fps} frames/s, {share:.0%} of the peak")
    console.print(table)
