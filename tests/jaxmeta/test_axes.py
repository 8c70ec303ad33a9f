"""Loops over time: several steps per iteration are the same loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta import axes
from jaxmeta.nn.gru import gru_unroll, init_gru


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 3, 4, 7, 10])
def test_scan_is_a_loop(monkeypatch, length, reverse):
    monkeypatch.setattr(axes, "SCAN_UNROLL", {})
    xs = np.random.default_rng(0).normal(size=(length, 2)).astype(np.float32)
    end, outs = axes.scan(lambda c, x: (0.5 * c + x, c - x), jnp.ones(2), xs, reverse)
    carry, expected = np.ones(2, np.float64), np.zeros((length, 2))
    for t in reversed(range(length)) if reverse else range(length):
        expected[t] = carry - xs[t]
        carry = 0.5 * carry + xs[t]
    np.testing.assert_allclose(end, carry, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outs, expected, rtol=1e-5, atol=1e-6)


def test_a_gradient_through_time_does_not_depend_on_the_steps_per_iteration(monkeypatch):
    params, key = init_gru(jax.random.key(0), 3, 4), jax.random.key(1)
    x, keep = jax.random.normal(key, (8, 2, 3)), jnp.ones((8, 2)).at[5, 0].set(0.0)

    def gradient():
        loss = lambda p: (gru_unroll(p, x, jnp.zeros((2, 4)), keep) ** 2).sum()
        grad = jax.grad(loss)
        return jax.jit(grad)(params), str(jax.make_jaxpr(grad)(params))

    one, program = gradient()
    assert "unroll=1" in program and "unroll=4" not in program
    monkeypatch.setattr(axes, "SCAN_UNROLL", {})
    four, program = gradient()
    assert "unroll=4" in program and "unroll=1" not in program
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
