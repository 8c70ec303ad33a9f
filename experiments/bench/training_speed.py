"""Speed: frames/s of the whole training step, as a share of the measured matmul peak.

The command line keeps the process on one core, so that the share is of one core's peak.
Matmul FLOPs are counted by hand from the networks' sizes: a forward pass once, a backward
pass twice; what an implementation recomputes does not count.
"""

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from rich.table import Table

from experiments.terminal.consoles import new_console
from experiments.terminal.wide_tables import print_whole
from jaxmeta.algorithm import Algorithm, hyper
from jaxmeta.axes import SEEDS
from jaxmeta.config.run import Run
from jaxmeta.devices.cpu import processor
from jaxmeta.devices.seed_axis import map_over_seeds
from jaxmeta.env import Env
from jaxmeta.errors import ConfigError
from jaxmeta.replay import ring_buffer
from jaxmeta.rundir.manifest import now
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import (
    TrainState,
    compile_init,
    make_members,
    run_updates,
    train_state_shapes,
)
from jaxmeta.trial import Trial

PARTS = ("rollout", "policy", "vae")
COLUMNS = (
    "method", "workers", "seeds", "VAE batch", "frames/s", *PARTS, "of peak", "compiling", "traces",
    "memory",
)  # fmt: skip
REPEATS = 5  # timings per measurement; the fastest counts
SECONDS = {"cpu": 2.0}  # of training per timing, about, by backend
DEFAULT_SECONDS = 0.5  # accelerators are not shared


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

    A single call would allocate its memory each time.
    """

    def body(_: Any, params: Any) -> Any:
        out = jax.tree.leaves(function(params))
        zero = 0.0 * sum(x.sum() for x in out if jnp.issubdtype(x.dtype, jnp.floating))
        return jax.tree.map(lambda x: x + zero, params)

    return seconds(jax.jit(lambda p: jax.lax.fori_loop(0, times, body, p)), params) / times


def matmul_peak() -> float:
    """Return the best rate of `jnp.dot` on float32 squares, in GFLOP/s."""
    size = 1024 if jax.default_backend() == "cpu" else 8192
    a = jax.random.normal(jax.random.key(0), (size, size))
    return 2 * size**3 / seconds(jax.jit(jnp.dot), a, a) / 1e9


def mlp_macs(*widths: int) -> int:
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
    policy = 2 * mlp_macs(2 * head, *sizes.policy_layers) + 6 * sizes.policy_layers[-1]
    agent = recurrent + sizes.hidden * 2 * head + policy
    total = 3 * agent * run.workers * steps
    if vae := run.get("vae"):
        belief = recurrent + sizes.hidden * 2 * vae.latent
        if vae.decoder == "multi":
            assert env.cells is not None
            decoder = mlp_macs(vae.latent, *vae.decoder_layers, env.cells.n) * (steps + 1)
        else:
            latents, decoded = (
                (vae.elbo_latents, vae.elbo_steps) if vae.pairs == "random" else (steps + 1, steps)
            )
            first, *rest = vae.decoder_layers
            by_pair = mlp_macs(sizes.state_embedding, first) + mlp_macs(first, *rest, 1)
            decoder = latents * (vae.latent * first + decoded * by_pair)
        steps_taken = vae.updates if run.get("imagination") else 1
        total += 3 * steps_taken * vae.batch * (belief * steps + decoder)
        if run.get("imagination"):
            inputs = vae.latent + sizes.state_embedding
            mixtures = run.workers // run.group * run.imagination.mixture
            decoding = mixtures * mlp_macs(inputs, *vae.decoder_layers, 1)
            total += steps * (run.workers * belief + decoding)
    return 2 * total / 1e9


class Prepared(NamedTuple):
    """A run's training step, compiled."""

    run: Run
    env: Trial
    algorithm: Algorithm
    train_state: TrainState
    updates: Any  # (train_state, first, count) -> train_state; the argument is donated
    compile_s: float
    traces: int  # of the step


def prepare(run: Run, env: Env | None = None) -> Prepared:
    """Compile a run's training step for all its seeds, on one device; `env` may replace its own."""
    trial_env, algorithm = build(run, env)
    traced: list[None] = []

    def step(state: Any) -> Any:
        traced.append(None)
        return algorithm.step(state)

    counted = algorithm._replace(step=step)
    mesh = jax.make_mesh((1,), (SEEDS,), (AxisType.Auto,), devices=jax.devices()[:1])
    members = make_members(run)
    updates = jax.jit(map_over_seeds(mesh, run_updates(counted)), donate_argnums=0)
    start = time.perf_counter()
    shapes = train_state_shapes(members, algorithm)
    compiled = updates.lower(shapes, jnp.int32(0), jnp.int32(1)).compile()
    compile_s = time.perf_counter() - start
    train_state = compile_init(mesh, algorithm)(members)
    return Prepared(run, trial_env, algorithm, train_state, compiled, compile_s, len(traced))


def peak_bytes(compiled: Any) -> int:
    """Return the most memory that a program holds at a time, its arguments included."""
    memory = compiled.memory_analysis()
    given = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return given - memory.alias_size_in_bytes + memory.temp_size_in_bytes


class Timed(NamedTuple):
    """The timing of a run's updates."""

    seconds: float  # of the fastest update
    train_state: TrainState  # after these updates


def in_turns(*runs: Prepared) -> tuple[list[Timed], float]:
    """Time updates of each run in turns, so that a machine's load affects all alike.

    Returns:
      timed: the timing of each run.
      peak: the best matmul rate measured between them, GFLOP/s.
    """

    def timed(prepared: Prepared, train_state: TrainState, count: int) -> Timed:
        start = time.perf_counter()
        train_state = jax.block_until_ready(
            prepared.updates(train_state, jnp.int32(0), jnp.int32(count))
        )
        return Timed((time.perf_counter() - start) / count, train_state)

    budget = SECONDS.get(jax.default_backend(), DEFAULT_SECONDS)
    now, counts, peak = [], [], 0.0
    for prepared in runs:
        first = timed(prepared, prepared.train_state, 1)
        about = timed(prepared, first.train_state, 3)
        now.append(about._replace(seconds=float("inf")))
        counts.append(max(2, int(budget / about.seconds)))
    for _ in range(REPEATS):
        peak = max(peak, matmul_peak())
        for i, prepared in enumerate(runs):
            best, train_state = now[i]
            latest = timed(prepared, train_state, counts[i])
            now[i] = latest._replace(seconds=min(best, latest.seconds))
    return now, peak


def measure(prepared: Prepared, parts: bool = True) -> dict[str, Any]:
    """Return frames/s of a run's training step, its memory, and optionally its parts' shares."""
    ((best, train_state),), peak = in_turns(prepared)
    result = describe(prepared, best, peak)
    if not parts:
        return result
    run, algorithm = prepared.run, prepared.algorithm
    state = jax.tree.map(lambda x: x[0], train_state.state)
    rollout = seconds_in_a_loop(
        lambda params: algorithm.collect(state._replace(params=params)), state.params
    )
    vae = vae_seconds(run, algorithm, state) if run.get("vae") else 0.0
    shares = {"rollout": rollout / best, "vae": vae / best, "policy": 1 - (rollout + vae) / best}
    return result | shares


def describe(prepared: Prepared, update_s: float, peak: float) -> dict[str, Any]:
    """Return the reported numbers of a run whose updates were timed."""
    run, env = prepared.run, prepared.env
    gflop = run.seeds * update_gflop(run, env)
    return {
        "method": run.method,
        "workers": run.workers,
        "seeds": run.seeds,
        "vae_batch": run.vae.batch if run.get("vae") else None,
        "frames_per_s": run.seeds * run.frames_per_update(env.env.horizon) / update_s,
        "update_ms": 1e3 * update_s,
        "gflop": gflop,
        "peak_gflops": peak,
        "of_peak": gflop / update_s / peak,
        "compile_s": prepared.compile_s,
        "traces": prepared.traces,
        "peak_mib": peak_bytes(prepared.updates) / 2**20,
    }


def vae_seconds(run: Run, algorithm: Algorithm, state: Any) -> float:
    """Return the time of an update's gradient steps on the ELBO."""
    belief = algorithm.belief
    assert belief is not None
    hp = hyper(run).vae

    def gradient(params: Any) -> Any:
        batch = ring_buffer.sample(state.replay, jax.random.key(0), run.vae.batch)
        return jax.grad(belief.elbo, has_aux=True)(params, batch, jax.random.key(1), hp)

    steps = run.vae.updates if run.get("imagination") else 1
    return steps * seconds_in_a_loop(gradient, algorithm.params(state))


def machine() -> dict[str, Any]:
    """Return what a measurement depends on besides the code."""
    device = jax.devices()[0]
    return {
        "time": now(),
        "processor": processor(),
        "device": f"{device.platform} {device.device_kind}",
        "jax": jax.__version__,
        "matmul_precision": str(jax.config.values["jax_default_matmul_precision"]),
    }


def write(out: Path, *rows: dict[str, Any]) -> None:
    """Append rows to a file of JSON lines."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def prepare_all(runs: list[Run]) -> list[Prepared]:
    """Compile runs in parallel; not on a processor whose speed is measured."""
    with ThreadPoolExecutor(len(runs)) as pool:
        return list(pool.map(prepare, runs))


def bench(
    out: Path, methods: list[str], workers: list[int], seeds: list[int], accelerated: bool = False
) -> None:
    """Print a table of speeds and append them to `out`.

    An accelerator's programs are compiled in parallel, and not timed by parts, which would
    double the time that compiling takes.

    Raises:
      ConfigError: JAX's default device is not of the requested kind.
    """
    on_cpu = jax.default_backend() == "cpu"
    if accelerated == on_cpu:
        what = "gpu" if on_cpu else "training"
        raise ConfigError(f"bench {what}: JAX's default device is {jax.devices()[0].device_kind}")
    console, facts = new_console(), machine()
    where = f"one core of {facts['processor']}" if on_cpu else facts["device"]
    table = Table(title=f"gridworld, {where}")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    runs = [
        Run(env="gridworld", method=method, workers=count, seeds=seed_count)
        for method in methods
        for count in workers
        for seed_count in seeds
    ]
    for prepared in map(prepare, runs) if on_cpu else prepare_all(runs):
        result = measure(prepared, parts=on_cpu)
        write(out, facts | result)
        fps = f"{result['frames_per_s']:,.0f}"
        run = prepared.run
        table.add_row(
            run.method, str(run.workers), str(run.seeds), str(result["vae_batch"] or ""), fps,
            *(f"{result[part]:.0%}" if part in result else "" for part in PARTS),
            f"{result['of_peak']:.0%}", f"{result['compile_s']:.1f} s", str(result["traces"]),
            f"{result['peak_mib']:,.0f} MiB",
        )  # fmt: skip
        console.print(f"{run.method} {run.workers} x {run.seeds}: {fps} frames/s")
    print_whole(console, table)
