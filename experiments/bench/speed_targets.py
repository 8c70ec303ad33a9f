"""Our own targets for speed, each a ratio of two measurements of one run on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from rich.table import Table

from envs.locomotion.physics import require_sync_dispatch
from experiments.bench.ppo_targets import PPO_TARGETS
from experiments.bench.target import Target
from experiments.bench.training_speed import describe, in_turns, machine, prepare
from experiments.studies import many_workers
from experiments.terminal.consoles import new_console
from experiments.terminal.wide_tables import print_whole
from jaxmeta.agent import Belief
from jaxmeta.algorithm import hyper
from jaxmeta.config.run import Run
from jaxmeta.replay import ring_buffer
from jaxmeta.rundir.layout import write_atomically
from jaxmeta.training.build import build

MANY = 1024  # workers
DRAWS = 16  # gradients that a noise is estimated from


def of_peak() -> Iterator[Target]:
    """RL2: share of the matmul peak, and how it scales to many workers."""
    runs = [prepare(Run(method="rl2", workers=count)) for count in (16, MANY)]
    timed, peak = in_turns(*runs)
    few, many = (describe(run, one.seconds, peak) for run, one in zip(runs, timed, strict=True))
    yield Target("rl2, 16 workers: share of the matmul peak", few["of_peak"], 0.5, few)
    ratio = many["frames_per_s"] / few["frames_per_s"]
    baseline = {"few": few, "many": many}
    yield Target(f"rl2: frames/s of {MANY} workers over those of 16", ratio, 0.8, baseline)


def pairs() -> Iterator[Target]:
    """LDM: random (latent, step) pairs against all of them, with the gradient's noise."""
    kinds = ("all", "random")
    runs = [prepare(Run(method="ldm").replace({"vae.pairs": kind})) for kind in kinds]
    timed, peak = in_turns(*runs)
    by_pairs = {
        kind: describe(run, one.seconds, peak)
        for kind, run, one in zip(kinds, runs, timed, strict=True)
    }
    state = jax.tree.map(lambda x: x[0], timed[1].train_state.state)  # its replay filled
    baseline = {"by_pairs": by_pairs, "gradient_noise": gradient_noise(state, kinds)}
    of = lambda kind: by_pairs[kind]["frames_per_s"]
    ratio = of("random") / of("all")
    yield Target("ldm: frames/s of random pairs over those of all", ratio, 6.0, baseline)
    yield Target("ldm: frames/s with all pairs", of("all"), 8_000.0, baseline)


def gradient_noise(state: Any, kinds: tuple[str, ...]) -> dict[str, float]:
    """Return the standard deviation of the ELBO's gradient on one batch, by kind of pairs.

    It is relative to the norm of the mean with all pairs, which every kind has in expectation.
    An update's random numbers vary: latents, dropout, and with random pairs the pairs.
    """
    drawn = {kind: gradients(state, kind) for kind in kinds}
    norm = jnp.linalg.norm(drawn["all"].mean(0))
    return {kind: float(jnp.sqrt(x.var(0, ddof=1).sum()) / norm) for kind, x in drawn.items()}


def gradients(state: Any, kind: str) -> jax.Array:
    """Return gradients of the ELBO on one batch, [DRAWS, parameters]."""
    run = Run(method="ldm").replace({"vae.pairs": kind})
    belief = build(run)[1].belief
    assert isinstance(belief, Belief)
    batch = ring_buffer.sample(state.replay, jax.random.key(0), run.vae.batch)

    def gradient(key: jax.Array) -> jax.Array:
        of = lambda params: belief.elbo(params, batch, key, hyper(run).vae)[0]
        return ravel_pytree(jax.grad(of)(state.params))[0]

    return jax.lax.map(gradient, jax.random.split(jax.random.key(1), DRAWS))


def cores() -> Iterator[Target]:
    """Four seeds of LDM on two cores against one."""
    on = {n: speed_on(sorted(ALLOWED)[:n]) for n in (1, 2)}
    baseline = {"frames_per_s": on, "cores": len(ALLOWED)}
    yield Target("ldm, 4 seeds: two cores over one", on[2] / on[1], 1.8, baseline)


def speed_on(chosen: list[int]) -> float:
    """Return the frames per second of four seeds in a process of its own, on chosen cores."""
    code = (
        f"import os; os.sched_setaffinity(0, {chosen})\n"
        "from experiments.terminal.speed_forecast import frames_per_s\n"
        "from jaxmeta.config.run import Run\n"
        "print(max(frames_per_s(Run(method='ldm', seeds=4)) for _ in range(3)))"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=True)
    return float(done.stdout)


def methods() -> Iterator[Target]:
    """LDM's step against RL2's, many workers, with the settings that we recommend there."""
    settings = [many_workers.setting(method, MANY) for method in ("rl2", "ldm")]
    (rl2, ldm), _ = in_turns(*map(prepare, settings))
    times = {"rl2": rl2.seconds, "ldm": ldm.seconds}
    baseline = {"update_s": times, "vae.batch": settings[1].vae.batch}
    ratio = ldm.seconds / rl2.seconds
    yield Target(f"{MANY} workers: time of ldm's step over rl2's", ratio, 1.5, baseline, True)


ALLOWED = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
ALL: tuple[Callable[[], Iterable[Target]], ...] = (of_peak, pairs, cores, methods, *PPO_TARGETS)


def bench_targets(out: Path) -> None:
    """Measure all targets on one core, print them and overwrite `out`, a line each."""
    if ALLOWED:  # before jax makes its threads
        os.sched_setaffinity(0, {max(ALLOWED)})
    require_sync_dispatch("c")  # before jax is used: some targets have robots
    facts = machine()
    console, table = new_console(), Table(title=f"one core of {facts['processor']}")
    for name in ("target", "value", "goal", "met"):
        table.add_column(name, justify="left" if name == "target" else "right")
    rows = []
    for measured in ALL:
        for target in measured():
            rows.append(target.row() | {"machine": facts})
            goal = f"{'<=' if target.at_most else '>='} {target.goal:,g}"
            number = f"{target.value:,.3g}" if target.value < 100 else f"{target.value:,.0f}"
            table.add_row(target.name, number, goal, "yes" if target.met else "NO")
            console.print(target.name, number, goal, highlight=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, "".join(json.dumps(row) + "\n" for row in rows))
    print_whole(console, table)
