"""Targets for PPO on robots and on a foreign environment, and for SAC's gradient steps."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.bench import physics_speed, purejaxrl
from experiments.bench.target import Target
from experiments.bench.training_speed import (
    Prepared,
    describe,
    in_turns,
    matmul_peak,
    prepare,
    seconds,
)
from jaxmeta.agent import Agent
from jaxmeta.algorithm import hyper, sample_tasks
from jaxmeta.config.run import Run
from jaxmeta.env import TRAIN
from jaxmeta.rl.sac import Batch, continuous_actions, soft_actor_critic
from jaxmeta.rollout import collect
from jaxmeta.training.build import build

KINDS = ("workers", "steps")  # of `ppo.minibatch_of`
GOALS = {"rl2": 3.2, "ldm": 2.6}
SAC_STEPS = 50  # per timing
# Frames/s in the same minutes on one core of a Xeon (`experiments/results/bench/ppo.jsonl`); its
# commit is 31756b1.
RECORDED = {"ours": 22_836.0, "purejaxrl": 12_261.0}
FOLDER = "PUREJAXRL"  # environment variable: a checkout of github.com/luchris429/purejaxrl


def minibatches() -> Iterator[Target]:
    """Minibatches of whole trials against those of steps, on the half-cheetah."""
    for method, goal in GOALS.items():
        base = Run(env="half-cheetah-velocity", method=method)
        runs = [prepare(base.replace({"ppo.minibatch_of": kind})) for kind in KINDS]
        timed, peak = in_turns(*runs)
        by_kind = {
            kind: describe(run, one.seconds, peak)
            for kind, run, one in zip(KINDS, runs, timed, strict=True)
        }
        ratio = by_kind["workers"]["frames_per_s"] / by_kind["steps"]["frames_per_s"]
        baseline: dict[str, Any] = {"by_kind": by_kind}
        if method == "rl2":
            baseline["shares"] = shares(runs[0], timed[0].seconds, timed[0].train_state.state)
        name = f"half-cheetah-velocity, {method}: minibatches of workers over those of steps"
        yield Target(name, ratio, goal, baseline)


def learning() -> Iterator[Target]:
    """What RL2's learning takes of an update on Ant-goal, whose physics is slow."""
    run = prepare(Run(env="ant-goal", method="rl2"))
    (timed,), _ = in_turns(run)
    of = shares(run, timed.seconds, timed.train_state.state)
    yield Target("ant-goal, rl2: learning's share of an update", of["learning"], 0.5, of, True)


def shares(prepared: Prepared, update_s: float, state: Any) -> dict[str, float]:
    """Return what parts of an update of RL2 on a robot take, as shares of its time.

    physics: MuJoCo's own loop in C; callback: what calling it from JAX adds; env: all else of a
    rollout without an agent; agent: what an agent adds; learning: the rest.
    """
    run, env, agent = prepared.run, prepared.env, prepared.algorithm.agent
    state = jax.tree.map(lambda x: x[0], state)
    tasks = sample_tasks(env, jax.random.key(0), TRAIN, run.workers)

    def play(agent: Agent) -> float:
        rollout = lambda params: collect(agent, env, params, tasks, jax.random.key(0), TRAIN)
        return seconds(jax.jit(rollout), state.params)

    by_chance = Agent(
        draw=agent.draw,
        begin=lambda params, noise: (),
        act=lambda params, memory, obs, noise: (noise, memory),
        observe=lambda params, memory, transition, noise: memory,
    )
    robot = "half-cheetah" if run.env.startswith("half-cheetah") else "ant"
    steps = run.workers * env.horizon
    ends = {
        "physics": steps / physics_speed.c_loop_steps_per_s(robot, run.workers),
        "callback": steps / physics_speed.engine_steps_per_s(robot, "c", run.workers),
        "env": play(by_chance),
        "agent": play(agent),
        "learning": update_s,
    }
    parts = itertools.pairwise([0.0, *ends.values()])
    return {name: (b - a) / update_s for name, (a, b) in zip(ends, parts, strict=True)}


def foreign() -> Iterator[Target]:
    """A foreign environment beside the plain recurrent PPO that a researcher would copy."""
    prepared = prepare(purejaxrl.our_run(), purejaxrl.cartpole())
    (timed,), peak = in_turns(prepared)
    ours = describe(prepared, timed.seconds, peak)["frames_per_s"]
    name = "CartPole, rl2 by PPO: frames/s over PureJaxRL's"
    if folder := os.environ.get(FOLDER):
        theirs = purejaxrl.frames_per_s(Path(folder))
        yield Target(name, ours / theirs, 1.5, {"ours": ours, "purejaxrl": theirs})
        return
    ratio = RECORDED["ours"] / RECORDED["purejaxrl"]
    yield Target(f"{name} (recorded)", ratio, 1.5, RECORDED | {"ours_here": ours})


def sac() -> Iterator[Target]:
    """SAC's gradient step, with MoSS's sizes: its share of the matmul peak."""
    run = Run(env="half-cheetah-velocity", method="moss")
    env, _ = build(run)
    policy, hp, key = soft_actor_critic(env, run.sac), hyper(run).sac, jax.random.key(0)
    width = 2 * run.inference.latent
    params = policy.init(key, width)
    count = run.sac.batch
    obs, belief = jnp.ones((count, *env.obs_space.shape)), jnp.ones((count, width))
    action, number = jnp.zeros((count, *continuous_actions(env).shape)), jnp.ones(count)
    batch = Batch(obs, belief, action, number, obs, belief, number, number)

    def steps(params: Any, learned: Any) -> Any:
        step = lambda carry, key: (policy.learn(*carry, batch, key, hp)[:2], None)
        return jax.lax.scan(step, (params, learned), jax.random.split(key, SAC_STEPS))[0]

    step_s = seconds(jax.jit(steps), params, policy.init_state(params, hp)) / SAC_STEPS
    peak = matmul_peak()
    actor, critic = (macs(p) for p in (params["actor"], params["critics"][0]))
    # Critics: 2 targets forward, 2 forward and backward. Actor: forward for the next action,
    # forward and backward, through 2 critics whose weights need no gradient.
    gflop = 2 * count * (4 * actor + 12 * critic) / 1e9
    baseline = {"step_ms": 1e3 * step_s, "gflop": gflop, "peak_gflops": peak}
    yield Target("moss: SAC's share of the matmul peak", gflop / step_s / peak, 0.5, baseline)


def macs(params: Any) -> int:
    """Return the multiply-adds of a stack of linear layers, per sample."""
    return sum(x.size for x in jax.tree.leaves(params) if jnp.ndim(x) == 2)


PPO_TARGETS = (minibatches, learning, foreign, sac)
