"""Speed of the robots' physics: environment steps/s per engine, beside MuJoCo's own loop in C."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import mujoco.rollout
import numpy as np
from jax import lax
from rich.table import Table

from envs.locomotion.physics import State, physics
from envs.locomotion.robot import FRAME_SKIP
from envs.locomotion.robot_models import ANT, HALF_CHEETAH, xml
from experiments.terminal.consoles import new_console
from experiments.terminal.wide_tables import print_whole
from jaxmeta.devices.cpu import cores, processor
from jaxmeta.devices.seed_axis import request_cpu_devices
from jaxmeta.rundir.manifest import now

ROBOTS = {"ant": ANT, "half-cheetah": HALF_CHEETAH}
STEPS = 20  # environment steps per timed call
SECONDS = 4.0  # of timings per measurement, at least


def fastest(call: Callable[[], Any]) -> float:
    """Return the seconds of the fastest of several calls, the first (it compiles) left out."""
    call()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def random_inputs(model: mujoco.MjModel, workers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions [W, nq], velocities [W, nv] of a reset, and controls [STEPS, W, nu]."""
    rng = np.random.default_rng(0)
    qpos = model.qpos0 + rng.uniform(-0.1, 0.1, (workers, model.nq))
    qvel = 0.1 * rng.normal(size=(workers, model.nv))
    return qpos, qvel, rng.uniform(-1, 1, (STEPS, workers, model.nu))


def engine_steps_per_s(robot: str, engine: str, workers: int) -> float:
    """Return one engine's environment steps/s, called as in training."""
    body = physics(xml(ROBOTS[robot]), FRAME_SKIP, engine)
    qpos, qvel, ctrl = (jnp.asarray(x, jnp.float32) for x in random_inputs(body.model, workers))

    def scan_steps(qpos: Any, qvel: Any, ctrl: Any) -> State:
        start = jax.vmap(body.begin)(qpos, qvel)
        step = lambda state, ctrl: (jax.vmap(body.step)(state, ctrl), None)
        return lax.scan(step, start, ctrl)[0]

    jitted = jax.jit(scan_steps)
    return STEPS * workers / fastest(lambda: jax.block_until_ready(jitted(qpos, qvel, ctrl)))


def c_loop_steps_per_s(robot: str, workers: int) -> float:
    """Return the environment steps/s of `mujoco.rollout`: the same rollouts without JAX."""
    model = mujoco.MjModel.from_xml_string(xml(ROBOTS[robot]))
    qpos, qvel, ctrl = random_inputs(model, workers)
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
    start = np.zeros((workers, size))
    start[:, 1 : 1 + model.nq], start[:, 1 + model.nq : 1 + model.nq + model.nv] = qpos, qvel
    ctrl = np.repeat(ctrl.swapaxes(0, 1), FRAME_SKIP, axis=1)
    threads = min(workers, cores())
    data = [mujoco.MjData(model) for _ in range(threads)]
    with mujoco.rollout.Rollout(nthread=threads) as loop:
        seconds = fastest(lambda: loop.rollout(model, data, start, ctrl))
    return STEPS * workers / seconds


def bench_physics(out: Path, workers: list[int], engines: list[str]) -> None:
    """Print a table of environment steps/s and append its rows to `out`."""
    request_cpu_devices(1)
    console = new_console()
    device = jax.devices()[0]
    machine = {
        "time": now(),
        "processor": processor(),
        "cores": cores(),
        "device": f"{device.platform} {device.device_kind}",
        "jax": jax.__version__,
        "mujoco": mujoco.__version__,
    }
    table = Table(title=f"environment steps/s, {machine['device']}, {cores()} cores")
    for name in ("robot", "workers", "bare C loop", *engines):
        table.add_column(name, justify="right")
    out.parent.mkdir(parents=True, exist_ok=True)
    for robot in ROBOTS:
        for count in workers:
            c_loop = c_loop_steps_per_s(robot, count)
            cells = [f"{c_loop:,.0f}"]
            for engine in engines:
                speed = engine_steps_per_s(robot, engine, count)
                row = {"robot": robot, "engine": engine, "workers": count, "steps_per_s": speed}
                row |= {"bare_steps_per_s": c_loop, "of_bare": speed / c_loop}
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(machine | row) + "\n")
                cells.append(f"{speed:,.0f} ({speed / c_loop:.0%})")
            table.add_row(robot, str(count), *cells)
            console.print(robot, count, *cells, highlight=False)
    print_whole(console, table)
