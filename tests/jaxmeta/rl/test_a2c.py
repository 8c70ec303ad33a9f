"""The actor-critic's loss and optimisers against float64 arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.agent import Transition
from jaxmeta.algorithm import (
    as_pytree,
    hyper,  # noqa: F401 - makes the sections pytrees
)
from jaxmeta.nn.optimisers import by_group, descend
from jaxmeta.rl.a2c import a2c_loss, encoder_optimiser, policy_optimiser
from jaxmeta.rl.actor_critic import Evaluated
from jaxmeta.rl.options import A2C

T, W = 6, 3
HP = as_pytree(A2C(gamma=0.9, gae_lambda=0.8, value_coef=0.6, entropy_coef=0.05))
loss_and_gradient = jax.jit(jax.value_and_grad(a2c_loss, has_aux=True))


@pytest.fixture
def batch():
    """Return an evaluated rollout and its transitions; worker 2's trial continues."""
    rng = np.random.default_rng(0)
    log_prob, value, reward = rng.normal(size=(3, T, W))
    discount = np.ones((T, W))
    discount[2, 1] = discount[-1, 0] = discount[-1, 1] = 0
    evaluated = Evaluated(log_prob, rng.random((T, W)), value, rng.normal(size=W))
    blank = np.zeros((T, W))
    tr = Transition(blank, blank, reward, blank, blank, blank, blank, discount, blank - 99)
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (evaluated, tr))


def advantages(evaluated, tr):
    ev, reward, discount = jax.device_get((evaluated, tr.reward, tr.discount))
    out = np.zeros((T, W))
    for w in range(W):
        following, carried = float(ev.bootstrap[w]), 0.0
        for t in reversed(range(T)):
            delta = reward[t, w] + HP.gamma * discount[t, w] * following - ev.value[t, w]
            carried = delta + HP.gamma * HP.gae_lambda * discount[t, w] * carried
            out[t, w], following = carried, float(ev.value[t, w])
    return out


def test_the_loss_is_policy_value_and_entropy(batch):
    (loss, parts), _ = loss_and_gradient(*batch, HP)
    evaluated, tr = batch
    a = advantages(evaluated, tr)
    policy = -(a * np.asarray(evaluated.log_prob)).mean()
    value = (a**2).mean()  # R - V where R = A + V
    entropy = np.asarray(evaluated.entropy).mean()
    for name, expected in (("policy_loss", policy), ("value_loss", value), ("entropy", entropy)):
        assert float(parts[name]) == pytest.approx(expected, rel=1e-4)
    assert float(loss) == pytest.approx(policy + 0.6 * value - 0.05 * entropy, rel=1e-4)


def test_targets_and_advantages_are_constants_of_the_gradient(batch):
    _, gradient = loss_and_gradient(*batch, HP)
    a = advantages(*batch)
    n = T * W
    np.testing.assert_allclose(gradient.log_prob, -a / n, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradient.value, -2 * 0.6 * a / n, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradient.entropy, -0.05 / n, rtol=1e-5)
    assert (gradient.bootstrap == 0).all()


def test_advantages_are_not_normalised(batch):
    evaluated, tr = batch
    larger = evaluated._replace(value=3 * evaluated.value, bootstrap=3 * evaluated.bootstrap)
    (_, parts), _ = loss_and_gradient(evaluated, tr, HP)
    (_, scaled), _ = loss_and_gradient(larger, tr._replace(reward=3 * tr.reward), HP)
    assert float(scaled["policy_loss"]) == pytest.approx(3 * float(parts["policy_loss"]), rel=1e-5)
    assert float(scaled["value_loss"]) == pytest.approx(9 * float(parts["value_loss"]), rel=1e-5)


def test_the_last_value_is_bootstrapped_where_the_trial_continues(batch):
    evaluated, tr = batch
    (before, _), _ = loss_and_gradient(evaluated, tr, HP)
    for worker, matters in ((0, False), (1, False), (2, True)):
        bootstrap = evaluated.bootstrap.at[worker].add(1.0)
        (after, _), _ = loss_and_gradient(evaluated._replace(bootstrap=bootstrap), tr, HP)
        assert (abs(float(after - before)) > 1e-3) == matters


def test_the_received_reward_counts_and_not_the_true_one(batch):
    evaluated, tr = batch
    (before, _), _ = loss_and_gradient(evaluated, tr, HP)
    (after, _), _ = loss_and_gradient(evaluated, tr._replace(env_reward=tr.env_reward + 1), HP)
    assert float(after) == float(before)


def steps(gradients):
    """Yield the parameters after each step of the optimiser of RL2 and LDM."""
    optimiser = by_group({"encoder": encoder_optimiser(A2C()), "policy": policy_optimiser(A2C())})
    params = {"encoder": {"w": jnp.ones(3)}, "policy": {"w": jnp.ones(3), "b": jnp.zeros(2)}}
    state = optimiser.init(params)
    one = jax.jit(lambda grads, state, params: descend(optimiser, grads, state, params))
    for grads in gradients:
        params, state = one(grads, state, params)
        yield params


@pytest.fixture(scope="module")
def gradients():
    """Return three gradients: the encoder's are huge, of the policy's the second is clipped.

    Some entries are so small that epsilon decides what becomes of them.
    """
    rng = np.random.default_rng(0)
    scales = np.array([1e-5, 1e-3, 0.1, 0.1, 1e-6])
    out = []
    for size in (1.0, 50.0, 2.0):
        g = rng.normal(size=5) * scales * size
        out.append({"encoder": {"w": 100 * rng.normal(size=3)}, "policy": {"w": g[:3], "b": g[3:]}})
    norms = [np.linalg.norm(np.concatenate([*g["policy"].values()])) for g in out]
    assert norms[0] < 0.5 and norms[1] > 0.5 and norms[2] < 0.5
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), out)


def test_rmsprop_is_the_references_with_epsilon_outside_the_root(gradients):
    p, v = np.array([1.0, 1, 1, 0, 0]), np.zeros(5)
    for grads, params in zip(gradients, steps(gradients), strict=True):
        g = np.concatenate([grads["policy"]["w"], grads["policy"]["b"]]).astype(float)
        g *= min(1.0, 0.5 / np.linalg.norm(g))  # by the policy's own norm, not the encoder's
        v = 0.99 * v + 0.01 * g**2
        p = p - 7e-4 * g / (np.sqrt(v) + 1e-5)
        got = np.concatenate([params["policy"]["w"], params["policy"]["b"]])
        np.testing.assert_allclose(got, p, rtol=1e-5, atol=1e-7)


def test_the_encoders_adam_clips_by_the_encoders_norm(gradients):
    p, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    for t, (grads, params) in enumerate(zip(gradients, steps(gradients), strict=True), start=1):
        g = np.asarray(grads["encoder"]["w"], float)
        g *= min(1.0, 0.5 / np.linalg.norm(g))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 7e-4 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(params["encoder"]["w"], p, rtol=1e-5, atol=1e-7)


def test_a_zero_gradient_moves_nothing():
    zero = {"encoder": {"w": jnp.zeros(3)}, "policy": {"w": jnp.zeros(3), "b": jnp.zeros(2)}}
    (params,) = steps([zero])
    np.testing.assert_array_equal(params["policy"]["w"], np.ones(3))
    np.testing.assert_array_equal(params["encoder"]["w"], np.ones(3))
