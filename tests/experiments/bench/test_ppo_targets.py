"""Targets for PPO and SAC: shares are of one update, and what is compared does the same work."""

import jax
import jax.numpy as jnp
import pytest

from experiments.bench import physics_speed, ppo_targets, purejaxrl
from experiments.bench.training_speed import Prepared
from jaxmeta.algorithm import hyper
from jaxmeta.devices.seed_axis import seed_mesh
from jaxmeta.rl.sac import soft_actor_critic
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import compile_init, make_members
from tests.tiny import STEER, tiny_run


def test_shares_add_up_to_the_update(monkeypatch):
    run = tiny_run("rl2", {"seeds": 1}, env=STEER, rl="ppo")
    env, algorithm = build(run)
    state = compile_init(seed_mesh(1), algorithm)(make_members(run)).state
    prepared = Prepared(run, env, algorithm, None, None, 0.0, 1)
    monkeypatch.setattr(physics_speed, "c_loop_steps_per_s", lambda robot, workers: 240.0)
    monkeypatch.setattr(physics_speed, "engine_steps_per_s", lambda *args: 120.0)
    shares = ppo_targets.shares(prepared, 10.0, state)
    assert sum(shares.values()) == pytest.approx(1)
    steps = run.workers * env.horizon
    assert shares["physics"] == pytest.approx(steps / 240 / 10)
    assert shares["callback"] == pytest.approx(steps / 240 / 10)


def test_multiply_adds_are_those_of_the_kernels():
    run = tiny_run("moss")
    env, _ = build(run)
    params = soft_actor_critic(env, run.sac).init(jax.random.key(0), 6)
    # [obs and flag, belief], embedded in 0 and 32; 8 hidden units; mean and log-std of one action
    obs = env.obs_space.shape[0]
    embedded = 6 * 32
    assert ppo_targets.macs(params["actor"]) == embedded + (obs + 32) * 8 + 8 * 2
    assert ppo_targets.macs(params["critics"][0]) == embedded + (obs + 32 + 1) * 8 + 8


def test_ours_learns_from_as_many_frames_as_purejaxrl():
    pytest.importorskip("gymnax", reason="gymnax is not locked for this Python")
    run, env = purejaxrl.our_run(), purejaxrl.cartpole()
    _, algorithm = build(run, env)
    assert run.frames_per_update(env.horizon) == purejaxrl.WORKERS * purejaxrl.STEPS
    assert (run.ppo.epochs, run.ppo.minibatches) == (4, 4)
    params = jax.eval_shape(lambda: algorithm.init(jax.random.key(0), hyper(run))).params
    encoder = params["encoder"]["params"]
    assert encoder["gru"]["wi"]["r"].shape == encoder["gru"]["wh"]["r"].shape == (128, 128)
    actor, critic = (params["policy"]["params"][f"{name}_0"] for name in ("actor", "critic"))
    assert actor["kernel"].shape == critic["kernel"].shape == (128, 128)


def test_todays_gymnax_steps_as_it_did():
    class Today:
        horizon = 3

        def step(self, key, state, action, params):
            return "obs", "state", 1.0, jnp.bool_(False), jnp.bool_(True), {}

    env = purejaxrl.OldStep(Today())
    *_, done, info = env.step(None, None, 0, None)
    assert bool(done) and info == {} and env.horizon == 3
