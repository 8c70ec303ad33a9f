"""The recurrent unit against PyTorch's formula and its backward pass against autodiff."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.special import expit

from jaxmeta.nn.gru import gru_step, gru_unroll, gru_with_known_states, init_gru

T, B, D, H = 7, 3, 5, 6


@pytest.fixture(scope="module")
def params():
    """Return weights as initialised, with random biases: zeros would hide mistakes."""
    params = init_gru(jax.random.key(0), D, H)
    biases = np.random.default_rng(0).normal(size=(2, 3, H)).astype(np.float32)
    for kind, rows in zip(("bi", "bh"), biases, strict=True):
        params[kind] = {g: jnp.asarray(row) for g, row in zip("rzn", rows, strict=True)}
    return params


@pytest.fixture(scope="module")
def batch():
    """Return x, start, keep (trials end inside and with the last step) and cotangents."""
    rng = np.random.default_rng(1)
    keep = np.ones((T, B), np.float32)
    keep[2, 0] = keep[2, 1] = keep[4, 0] = keep[-1, 2] = 0
    x, start = rng.normal(size=(T, B, D)), rng.normal(size=(B, H))
    g = rng.normal(size=(T + 1, B, H))
    return tuple(jnp.asarray(a, jnp.float32) for a in (x, start, keep, g))


def pytorch_cell(params, h, x):
    """Compute torch.nn.GRUCell as its documentation states it, in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    of_x = {g: x @ p["wi"][g] + p["bi"][g] for g in "rzn"}
    of_h = {g: h @ p["wh"][g] + p["bh"][g] for g in "rzn"}
    r, z = expit(of_x["r"] + of_h["r"]), expit(of_x["z"] + of_h["z"])
    n = np.tanh(of_x["n"] + r * of_h["n"])
    return (1 - z) * n + z * h


def scanned(params, x, start, keep):
    """Unroll `gru_step` under plain autodiff."""

    def step(h, inputs):
        x, keep = inputs
        h = gru_step(params, h, x) * keep[:, None]
        return h, h

    return jnp.concatenate([start[None], lax.scan(step, start, (x, keep))[1]])


@pytest.fixture(scope="module")
def by_autodiff(params, batch):
    """Return the plain scan's hidden states and gradients by params, x and start."""
    x, start, keep, g = batch

    @jax.jit
    def run(params, x, start):
        hs, pull = jax.vjp(lambda p, x, s: scanned(p, x, s, keep), params, x, start)
        return hs, pull(g)

    return run(params, x, start)


def test_a_step_is_pytorchs_formula(params, batch):
    x, start, _, _ = batch
    expected = pytorch_cell(params, np.asarray(start, np.float64), np.asarray(x[0], np.float64))
    np.testing.assert_allclose(gru_step(params, start, x[0]), expected, rtol=1e-5, atol=1e-6)
    one = gru_step(params, start[0], x[0, 0])  # a lone worker, without a batch axis
    np.testing.assert_allclose(one, expected[0], rtol=1e-5, atol=1e-6)


def test_the_unroll_is_the_cell_step_by_step_across_trials(params, batch):
    x, start, keep, _ = batch
    hs = jax.jit(gru_unroll)(params, x, start, keep)
    h = np.asarray(start, np.float64)
    np.testing.assert_array_equal(hs[0], start)
    for t in range(T):
        h = pytorch_cell(params, h, np.asarray(x[t], np.float64))
        h[np.asarray(keep[t]) == 0] = 0  # the trial is over: the next one starts empty
        np.testing.assert_allclose(hs[t + 1], h, rtol=1e-5, atol=2e-6)


def test_gradients_of_the_unroll_equal_autodiff(params, batch, by_autodiff):
    x, start, keep, g = batch
    run = jax.jit(lambda *args: jax.vjp(lambda p, x, s: gru_unroll(p, x, s, keep), *args)[1](g))
    got = run(params, x, start)
    chex.assert_trees_all_close(got, by_autodiff[1], rtol=1e-5, atol=1e-5)
    # The control: all of them matter.
    assert all(np.abs(leaf).max() > 0.01 for leaf in jax.tree.leaves(got))


def test_known_states_are_returned_with_the_unrolls_gradients(params, batch, by_autodiff):
    x, _, keep, g = batch
    hs, (d_params, d_x, _) = by_autodiff
    values, pull = jax.vjp(lambda p, x: gru_with_known_states(p, x, hs, keep), params, x)
    np.testing.assert_array_equal(values, hs)
    chex.assert_trees_all_close(pull(g), (d_params, d_x), rtol=1e-5, atol=1e-5)
    other = hs + 1
    np.testing.assert_array_equal(jax.jit(gru_with_known_states)(params, x, other, keep), other)


def test_a_last_kept_state_still_carries_gradient(params, batch):
    # Of all hidden states only the very last: its cotangent must reach the first input.
    x, start, _, _ = batch
    keep = jnp.ones((T, B))
    d_x = jax.jit(jax.grad(lambda x: gru_unroll(params, x, start, keep)[-1].sum()))(x)
    assert (np.abs(d_x[0]).max(-1) > 0).all()


def test_no_gradient_crosses_a_trials_end(params, batch):
    x, start, keep, _ = batch
    d_x = jax.jit(jax.grad(lambda x: gru_unroll(params, x, start, keep)[4].sum()))(x)
    # Steps 0 to 2 belong to an earlier trial of workers 0 and 1 (keep[2] = 0).
    assert (d_x[:3, :2] == 0).all() and (np.abs(d_x[:3, 2]).max(-1) > 0).all()
    assert (np.abs(d_x[3]).max(-1) > 0).all()


def test_initial_weights_are_orthogonal_over_the_stacked_gates_not_per_gate():
    weights = init_gru(jax.random.key(3), 40, 128)
    for kind, inputs in (("wi", 40), ("wh", 128)):
        gates = [np.asarray(weights[kind][g], np.float64).T for g in "rzn"]  # [H, D] as PyTorch
        stacked = np.concatenate(gates)
        assert stacked.shape == (3 * 128, inputs)
        np.testing.assert_allclose(stacked.T @ stacked, np.eye(inputs), atol=1e-5)
        # Orthogonal gates would have orthonormal columns (or rows) of their own.
        for gate in gates:
            assert np.abs(gate.T @ gate - np.eye(inputs)).max() > 0.3
    for kind in ("bi", "bh"):
        assert all((weights[kind][g] == 0).all() for g in "rzn")


@pytest.fixture
def optimised():
    """Compile as a training run does, regardless of other tests' settings."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def compiled_gradient(loss, *args):
    return jax.jit(jax.grad(loss)).lower(*args).compile().as_text()


def test_no_weight_gradient_is_made_per_worker(optimised):
    weights = init_gru(jax.random.key(0), 40, 128)
    x, keep = jnp.ones((4, 64, 40)), jnp.ones((4, 64))
    start = jnp.zeros((64, 128))
    per_worker = re.compile(r"f32\[64,128,128\]")
    text = compiled_gradient(lambda w: gru_unroll(w, x, start, keep).sum(), weights)
    assert "f32[4,64,128]" in text and not per_worker.search(text)

    # The control, and the reason why the unroll is written for a batch.
    def one(weights, x, start, keep):
        return gru_unroll(weights, x[:, None], start[None], keep[:, None])

    mapped = jax.vmap(one, in_axes=(None, 1, 0, 1))
    assert per_worker.search(compiled_gradient(lambda w: mapped(w, x, start, keep).sum(), weights))
