"""Soft actor-critic against NumPy, closed forms, and the Riccati equation."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.linalg import solve_discrete_are

from jaxmeta import Box
from jaxmeta.algorithm import (
    as_pytree,
    hyper,  # noqa: F401 - makes the sections pytrees
)
from jaxmeta.errors import ConfigError
from jaxmeta.rl import sac
from jaxmeta.rl.options import SAC
from tests.probes import Sign, Steer

HP = as_pytree(SAC(layers=(8, 8), obs_embedding=4, belief_embedding=3, max_grad_norm=1e9))
BELIEF, N = 2, 6
KEY = jax.random.key(0)


class Plant(Steer):
    """Two numbers are seen, one action in [-1, 1]: trials stretch it to the plant's [-2, 3]."""

    obs_space = Box((2,))


def in_plant_units(action):
    return 0.5 + 2.5 * action


def made(hp=HP, env=None):
    rl = sac.soft_actor_critic(env or Plant(), hp)
    params = rl.init(KEY, BELIEF)
    return rl, params, rl.init_state(params, hp)


def some_batch(seed=0, **given):
    rng = np.random.default_rng(seed)
    shapes = {
        "obs": (N, 2),
        "belief": (N, BELIEF),
        "action": (N, 1),
        "reward": (N,),
        "next_obs": (N, 2),
        "next_belief": (N, BELIEF),
    }
    drawn = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    drawn |= {"discount": np.ones(N), "weight": np.ones(N)} | given
    return sac.Batch(**{name: jnp.asarray(x, jnp.float32) for name, x in drawn.items()})


def stack(plain, p, obs, belief, *more):
    """Return a network's outputs, in NumPy."""
    embed = lambda name, x: np.maximum(plain.dense(p[name], x), 0)
    x = [embed("Linear_0", obs), embed("Linear_1", belief), *more]
    x = np.concatenate(x, axis=-1)
    for name in ("Linear_2", "Linear_3"):
        x = np.maximum(plain.dense(p[name], x), 0)
    return plain.dense(p["Linear_4"], x)


def test_a_squashed_density_integrates_to_one_and_is_that_of_its_samples():
    outputs = jnp.array([0.3, -0.4])
    noise = jnp.linspace(-7, 7, 20_001)[:, None]
    found = jax.vmap(lambda noise: sac.squash(outputs, noise))(noise)
    action, density = np.asarray(found.action[:, 0]), np.exp(np.asarray(found.log_prob))
    assert trapezoid(density, action) == pytest.approx(1.0, abs=1e-3)
    samples = np.tanh(0.3 + np.exp(-0.4) * np.random.default_rng(0).normal(size=200_000))
    below = trapezoid(np.where(action < 0.5, density, 0), action)
    assert (samples < 0.5).mean() == pytest.approx(below, abs=5e-3)


def test_a_squashed_density_stays_finite_far_outside():
    outputs = jnp.array([30.0, -50.0, 5.0, 9.0])
    log_prob = sac.squash(outputs, jnp.ones(2)).log_prob
    assert np.isfinite(log_prob)


def test_actions_fill_their_bounds_and_the_mode_needs_no_noise():
    rl, params, _ = made()
    obs, belief = jnp.ones(2), jnp.ones(BELIEF)
    actions = [rl.act(params, obs, belief, jnp.full(1, x)) for x in (-1e6, 0.0, 1e6)]
    assert actions[0] == -1.0
    assert actions[2] == 1.0
    mean = sac.squash(sac.Stack(HP, 2).apply(params["actor"], obs, belief), jnp.zeros(1)).action
    np.testing.assert_allclose(actions[1], mean, rtol=1e-6)


def test_losses_are_those_of_a_float64_calculation(plain):
    rl, params, learned = made()
    other = rl.init(jax.random.key(1), BELIEF)["critics"]
    learned = learned._replace(targets=other, log_temperature=jnp.log(0.3))
    batch = some_batch(discount=np.array([1, 0, 1, 1, 0, 1]), weight=np.arange(N))
    key = jax.random.key(7)
    _, _, metrics = jax.jit(rl.learn)(params, learned, batch, key, HP)

    b = jax.tree.map(lambda x: np.asarray(x, np.float64), batch)
    noise, next_noise = np.asarray(jax.random.normal(key, (2, N, 1)), np.float64)
    actor = plain.float64(params["actor"])
    critics, targets = ([plain.float64(p) for p in ps] for ps in (params["critics"], other))

    def policy(obs, belief, noise):
        mean, log_std = np.split(stack(plain, actor, obs, belief), 2, axis=-1)
        u = mean + np.exp(log_std) * noise
        normal = -0.5 * noise**2 - 0.5 * np.log(2 * np.pi) - log_std
        return np.tanh(u), (normal - np.log(1 - np.tanh(u) ** 2)).sum(-1)

    def min_q(ps, obs, belief, action):
        return np.min([stack(plain, p, obs, belief, action)[:, 0] for p in ps], axis=0)

    after, log_prob = policy(b.next_obs, b.next_belief, next_noise)
    next_v = min_q(targets, b.next_obs, b.next_belief, after) - 0.3 * log_prob
    target_q = b.reward + HP.gamma * b.discount * next_v
    errors = [stack(plain, p, b.obs, b.belief, b.action)[:, 0] - target_q for p in critics]
    value_loss = sum((b.weight * e**2).mean() for e in errors)
    now, log_prob = policy(b.obs, b.belief, noise)
    policy_loss = (b.weight * (0.3 * log_prob - min_q(critics, b.obs, b.belief, now))).mean()
    assert metrics["value_loss"] == pytest.approx(value_loss, rel=1e-5)
    assert metrics["policy_loss"] == pytest.approx(policy_loss, rel=1e-4)
    assert metrics["entropy"] == pytest.approx(-log_prob.mean(), rel=1e-4)


def test_transitions_without_weight_do_not_matter():
    rl, params, learned = made()
    weight = np.array([2, 0, 2, 0, 2, 0])
    batch, other = some_batch(0, weight=weight), some_batch(1, weight=weight)
    keep = lambda a, b: jnp.where(weight.reshape(-1, *[1] * (a.ndim - 1)) > 0, a, b)
    mixed = jax.tree.map(keep, batch, other)
    step = jax.jit(rl.learn)
    key = jax.random.key(3)
    chex.assert_trees_all_close(
        step(params, learned, batch, key, HP)[0], step(params, learned, mixed, key, HP)[0]
    )
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(
            step(params, learned, batch, key, HP)[0],
            step(params, learned, mixed._replace(weight=jnp.ones(N)), key, HP)[0],
        )


def test_the_actors_loss_does_not_move_the_critics():
    rl, params, _ = made()
    batch = some_batch()
    # Where critics are exact, only the actor's loss is left, and they must stay.
    values = [
        sac.Stack(HP, 1).apply(p, batch.obs, batch.belief, batch.action) for p in params["critics"]
    ]
    same = [params["critics"][0], params["critics"][0]]
    params = params | {"critics": same}
    exact = batch._replace(reward=values[0][:, 0], discount=jnp.zeros(N))
    after, _, metrics = jax.jit(rl.learn)(params, rl.init_state(params, HP), exact, KEY, HP)
    assert metrics["value_loss"] < 1e-10
    chex.assert_trees_all_close(after["critics"], same, atol=1e-3)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(after["actor"], params["actor"], atol=1e-5)


def test_targets_follow_slowly():
    rl, params, learned = made()
    hp = as_pytree(
        SAC(layers=(8, 8), obs_embedding=4, belief_embedding=3, polyak=0.25, learning_rate=0.1)
    )
    after, then, _ = jax.jit(rl.learn)(params, learned, some_batch(), KEY, hp)
    mixed = jax.tree.map(
        lambda new, old: 0.25 * new + 0.75 * old, after["critics"], learned.targets
    )
    chex.assert_trees_all_close(then.targets, mixed, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("target_is", "log_std"), [("below", -1.0), ("above", -4.0)])
def test_a_learned_temperature_moves_the_entropy_to_its_target(target_is, log_std):
    """The target is -1 per action: a wide actor has more, a narrow one less."""
    hp = as_pytree(SAC(layers=(8,), entropy="learned", learning_rate=0.01))
    rl, params, learned = made(hp)
    bias = params["actor"]["params"]["Linear_3"]["bias"]
    params["actor"]["params"]["Linear_3"]["bias"] = bias.at[1].set(log_std)
    _, then, metrics = jax.jit(rl.learn)(params, learned, some_batch(), KEY, hp)
    assert (metrics["entropy"] > -1.0) == (target_is == "below")
    assert (then.log_temperature < learned.log_temperature) == (target_is == "below")


def test_discrete_actions_are_refused():
    with pytest.raises(ConfigError, match="continuous actions"):
        sac.soft_actor_critic(Sign(), HP)


A = np.array([[1.0, 0.2], [0.0, 1.0]])
B = np.array([[0.0], [0.5]])
Q, R = np.diag([1.0, 0.1]), np.array([[0.5]])
GAMMA = 0.9


def closed_loop(act, starts, steps=80):
    """Return the discounted cost of a policy from each start, in float64."""
    x, cost = starts.copy(), np.zeros(len(starts))
    for t in range(steps):
        u = act(x)
        cost += GAMMA**t * (((x @ Q) * x).sum(1) + ((u @ R) * u).sum(1))
        x = x @ A.T + u @ B.T
    return cost


def test_the_linear_quadratic_regulator_is_found():
    """A double integrator: the optimum is that of SciPy's Riccati solver, but for a seventh."""
    root = np.sqrt(GAMMA)
    p = solve_discrete_are(root * A, root * B, Q, R)
    gain = np.linalg.solve(R + GAMMA * B.T @ p @ B, GAMMA * B.T @ p @ A)
    hp = as_pytree(
        SAC(
            layers=(48, 48),
            obs_embedding=0,
            belief_embedding=0,
            temperature=0.003,
            gamma=GAMMA,
            polyak=0.03,
            max_grad_norm=10.0,
        )
    )
    rl, params, learned = made(hp)
    a, b, q, r = (jnp.asarray(x, jnp.float32) for x in (A, B, Q, R))

    def train_step(carry, inputs):
        key, rate = inputs
        key_x, key_u, key_learn = jax.random.split(key, 3)
        x = 0.8 * jax.random.normal(key_x, (128, 2))
        action = jax.random.uniform(key_u, (128, 1), minval=-1.0, maxval=0.6)
        u = in_plant_units(action)
        reward = -((x @ q) * x).sum(1) - ((u @ r) * u).sum(1)
        zero, one = jnp.zeros((128, BELIEF)), jnp.ones(128)
        batch = sac.Batch(x, zero, action, reward, x @ a.T + u @ b.T, zero, one, one)
        now = dataclasses.replace(hp, learning_rate=rate)
        return rl.learn(*carry, batch, key_learn, now)[:2], None

    train = jax.jit(lambda carry, inputs: jax.lax.scan(train_step, carry, inputs)[0])
    rates = jnp.where(jnp.arange(3000) < 1800, 3e-3, 3e-4)
    trained, _ = train((params, learned), (jax.random.split(KEY, 3000), rates))

    def policy(params):
        def act(x):
            zero, mode = jnp.zeros((len(x), BELIEF)), jnp.zeros((len(x), 1))
            action = rl.act(params, jnp.asarray(x, jnp.float32), zero, mode)
            return in_plant_units(np.asarray(action, np.float64))

        return act

    axis = np.linspace(-0.8, 0.8, 5)
    starts = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    best = closed_loop(lambda x: -x @ gain.T, starts).sum()
    assert best == pytest.approx(((starts @ p) * starts).sum(), rel=1e-2)  # the oracle is one
    assert closed_loop(policy(trained), starts).sum() < 1.15 * best
    assert closed_loop(policy(params), starts).sum() > 1.5 * best
