"""Functions of workers, trials and windows in blocks: the same as of all at once."""

import jax
import numpy as np
import pytest

from jaxmeta.agent import Transition
from jaxmeta.algorithm import hyper
from jaxmeta.nn import cache_blocks
from jaxmeta.rollout import Rollout
from jaxmeta.training.build import build
from tests.tiny import tiny_run


def rollout_of(workers):
    """Return a rollout whose leaves identify the worker, with time before its axis or not."""
    by_step = np.arange(3 * workers, dtype=np.float32).reshape(3, workers)
    transitions = Transition(*[by_step + i for i in range(len(Transition._fields))])
    return Rollout(transitions, by_step[..., None] * [1.0, 2.0], np.arange(workers)[:, None] * 1.0)


@pytest.mark.parametrize(
    ("workers", "per_block", "count"), [(6, 6, 1), (6, 4, 2), (7, 4, 7), (8, 2, 4), (2, 16, 1)]
)
def test_every_worker_counts_once(monkeypatch, workers, per_block, count):
    monkeypatch.setattr(cache_blocks, "WORKERS_PER_BLOCK", {"cpu": per_block})
    rollout, seen = rollout_of(workers), []

    def function(block):
        seen.append(block.transitions.reward.shape[1])
        return {
            "reward": block.transitions.reward.mean(1),
            "squares": (block.records**2).mean((0, 1)),
            "memory": block.memory.mean(),
        }

    found = jax.jit(lambda r: cache_blocks.blockwise_mean(function, r))(rollout)
    assert set(seen) == {workers // count}
    np.testing.assert_allclose(found["reward"], rollout.transitions.reward.mean(1), rtol=1e-6)
    np.testing.assert_allclose(found["squares"], (rollout.records**2).mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(found["memory"], (workers - 1) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "method", ["rl2", *(pytest.param(m, marks=pytest.mark.slow) for m in ("varibad", "ldm"))]
)
def test_an_update_does_not_depend_on_the_blocks(monkeypatch, method):
    run = tiny_run(method)

    def update(per_block):
        monkeypatch.setattr(cache_blocks, "WORKERS_PER_BLOCK", {"cpu": per_block})
        _, algorithm = build(run)
        state = algorithm.init(jax.random.key(0), hyper(run))
        step = jax.jit(algorithm.step).lower(state).compile()
        return step(state), step.as_text().count("while(")

    (whole, metrics), loops = update(4)
    (parts, by_parts), more = update(2)
    assert more > loops  # over blocks
    for a, b in zip(*map(jax.tree.leaves, (metrics, by_parts)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, parts.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("windows", "per_block", "count"), [(6, 6, 1), (6, 4, 2), (7, 4, 7)])
def test_every_window_counts_once(monkeypatch, windows, per_block, count):
    monkeypatch.setattr(cache_blocks, "WINDOWS_PER_BLOCK", {"cpu": per_block})
    x, seen = np.arange(3.0 * windows).reshape(windows, 3), []

    def function(x, y):
        seen.append(len(x))
        return {"sum": (x + y[:, None]).T, "alone": y[None]}

    found = jax.jit(lambda x: cache_blocks.map_windows(function, x, x[:, 0]))(x)
    assert set(seen) == {windows // count}
    np.testing.assert_allclose(found["sum"], (x + x[:, :1]).T)
    np.testing.assert_allclose(found["alone"], x[None, :, 0])


@pytest.mark.parametrize(("trials", "per_block", "count"), [(6, 6, 1), (6, 4, 2), (7, 4, 7)])
def test_every_trial_counts_once_with_its_gradient(monkeypatch, trials, per_block, count):
    monkeypatch.setattr(cache_blocks, "TRIALS_PER_BLOCK", {"cpu": per_block})
    x, scale = np.arange(3.0 * trials).reshape(trials, 3), np.float32(0.1)

    def mapped(scale, x, y):
        return cache_blocks.map_trials(lambda x, y: {"sin": jax.numpy.sin(scale * x) * y}, x, y)[
            "sin"
        ]

    np.testing.assert_allclose(
        mapped(scale, x, x[:, 0]), np.sin(0.1 * x) * x[:, :1], rtol=1e-5, atol=1e-5
    )
    total = lambda scale: mapped(scale, x, x[:, 0]).sum()
    slope = (np.cos(0.1 * x) * x * x[:, :1]).sum()
    np.testing.assert_allclose(jax.jit(jax.grad(total))(scale), slope, rtol=1e-4)
    compiled = jax.jit(lambda x: mapped(scale, x, x[:, 0])).lower(x).as_text()
    assert ("while" in compiled) == (count > 1)
