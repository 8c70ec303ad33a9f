"""PPO's loss against float64 arithmetic and rlax, and what it reads of a rollout."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from jaxmeta.algorithm import as_pytree, hyper
from jaxmeta.rl import ppo
from jaxmeta.rl.minibatches import Batch, Samples
from jaxmeta.rl.options import PPO
from jaxmeta.rl.policy_learner import GROUPS
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import initial_states, make_members
from tests.tiny import tiny_run

N = 40
HP = as_pytree(PPO(clip=0.2, value_coef=0.6, entropy_coef=0.05))


@pytest.fixture(scope="module")
def samples():
    """Return log-probabilities, values, entropies now, and a batch from before, far apart."""
    rng = np.random.default_rng(1)
    log_prob, value, old, old_value, advantage, returns = rng.normal(size=(6, N))
    batch = Batch(old, old_value, advantage, 2 * returns)
    return jax.tree.map(jnp.asarray, Samples(log_prob, value, rng.random(N), batch))


def huber(x):
    return np.where(np.abs(x) < 1, 0.5 * x**2, np.abs(x) - 0.5)


def test_the_loss_is_policy_value_and_entropy(samples):
    loss, parts = jax.jit(ppo.ppo_loss)(samples, HP)
    log_prob, value, entropy, old = jax.tree.map(lambda x: np.asarray(x, float), samples)
    ratio = np.exp(log_prob - old.log_prob)
    surrogate = [r * old.advantage for r in (ratio, np.clip(ratio, 0.8, 1.2))]
    policy = -np.minimum(*surrogate).mean()
    near = old.value + np.clip(value - old.value, -0.2, 0.2)
    both = [huber(v - old.returns) for v in (value, near)]
    value_loss = 0.5 * np.maximum(*both).mean()
    expected = {"policy_loss": policy, "value_loss": value_loss, "entropy": entropy.mean()}
    for name, number in expected.items():
        assert float(parts[name]) == pytest.approx(number, rel=1e-4), name
    total = policy + 0.6 * value_loss - 0.05 * entropy.mean()
    assert float(loss) == pytest.approx(total, rel=1e-4)
    assert float(parts["clipped"]) == pytest.approx((np.abs(ratio - 1) > 0.2).mean())
    assert 0.2 < float(parts["clipped"]) < 1  # the clip matters here
    assert (both[0] != both[1]).any()


def test_the_policys_gradient_is_rlaxs(samples):
    log_prob, value, entropy, old = samples
    hp = as_pytree(PPO(clip=0.2, value_coef=0.0, entropy_coef=0.0))
    ours = jax.grad(lambda x: ppo.ppo_loss(Samples(x, value, entropy, old), hp)[0])(log_prob)

    def theirs(x):
        ratio = jnp.exp(x - old.log_prob)
        return rlax.clipped_surrogate_pg_loss(ratio, old.advantage, 0.2)

    np.testing.assert_allclose(ours, jax.grad(theirs)(log_prob), rtol=1e-5, atol=1e-7)


def test_advantages_are_normalised_with_the_sample_deviation():
    a = np.random.default_rng(2).normal(5, 3, size=(6, 4))
    expected = (a - a.mean()) / (a.std(ddof=1) + 1e-5)
    np.testing.assert_allclose(ppo.normalised(jnp.asarray(a)), expected, rtol=1e-4)


# --- Inside a method


CHANGED = {"ppo.epochs": 1, "ppo.minibatches": 1, "networks.policy_sees_obs": True, "seeds": 1}


class Update(NamedTuple):
    run: Any
    algorithm: Any
    before: Any
    after: Any
    metrics: Any


def first_update(method, **changed):
    """Return a run's first state and what one update makes of it."""
    run = tiny_run(method, CHANGED | changed, rl="ppo")
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    after, metrics = jax.jit(algorithm.step)(state)
    return Update(run, algorithm, state, after, metrics)


@pytest.fixture(scope="module")
def updated():
    return first_update("rl2")


def test_the_first_gradient_step_is_taken_where_the_rollout_was(updated):
    """There the ratio is 1: nothing is clipped, and normalised advantages average to 0."""
    metrics = updated.metrics
    assert float(metrics["clipped"]) == 0
    assert float(metrics["policy_loss"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["entropy"]) == pytest.approx(np.log(5), rel=1e-3)


def test_policy_and_encoder_move_by_at_most_a_learning_rate(updated):
    """Adam's first step is as long as its learning rate in every parameter with a gradient."""
    state, after = updated.before, updated.after
    for group in GROUPS:
        moved = jax.tree.map(
            lambda a, b: jnp.abs(a - b).max(), state.params[group], after.params[group]
        )
        assert max(map(float, jax.tree.leaves(moved))) == pytest.approx(7e-4, rel=1e-2), group


def test_statistics_are_updated_with_the_rollout_afterwards(updated):
    run, algorithm, state, after, _ = updated
    tr = jax.device_get(jax.jit(algorithm.collect)(state).transitions)
    assert (np.asarray(state.params["obs_statistics"].mean) == 0).all()
    obs = tr.obs.reshape(-1, tr.obs.shape[-1]).astype(float)
    np.testing.assert_allclose(after.params["obs_statistics"].mean, obs.mean(0), rtol=1e-3)
    np.testing.assert_allclose(after.params["obs_statistics"].var, obs.var(0), rtol=1e-2, atol=1e-5)
    g, every = np.zeros(run.workers), []
    for reward in tr.env_reward:
        g = 0.97 * g + reward
        every.append(g)
    assert float(after.learned.returns.var) == pytest.approx(np.var(every), rel=1e-3)


def test_the_policy_sees_standardised_observations_and_the_encoder_does_not(updated):
    agent, params = updated.algorithm.agent, updated.before.params
    shifted = params["obs_statistics"]._replace(mean=jnp.array([3.0, 1.0, 0.0]))
    other = params | {"obs_statistics": shifted}
    memory, noise = jnp.zeros(16), jnp.zeros(5)
    head = params["policy"]["params"]["head"]
    lively = {
        "params": params["policy"]["params"] | {"head": head | {"kernel": 100 * head["kernel"]}}
    }
    acts = [
        agent.act(p | {"policy": lively}, memory, jnp.array(obs, jnp.int8), noise)[0]
        for p, obs in ((params, [x, y, 0]) for x in range(7) for y in range(7))
    ]
    moved = [
        agent.act(other | {"policy": lively}, memory, jnp.array([x, y, 0], jnp.int8), noise)[0]
        for x in range(7)
        for y in range(7)
    ]
    assert len(set(map(int, acts))) > 1
    # What the shifted policy does in (x, y) is what the other does in (x - 3, y - 1).
    grid, other_grid = (np.array(a).reshape(7, 7) for a in (acts, moved))
    np.testing.assert_array_equal(other_grid[3:, 1:], grid[:-3, :-1])


def same(before, after, group):
    """Whether a parameter group is still what it was, to the bit."""
    parts = before.params[group], after.params[group]
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: (a == b).all(), *parts)))


def test_varibads_policy_learns_from_beliefs_that_rl_does_not_train():
    """Without a step on the ELBO its encoder stays as it is."""
    still = first_update("varibad", **{"vae.learning_rate": 0.0})
    assert not same(still.before, still.after, "policy")
    assert same(still.before, still.after, "encoder") and same(still.before, still.after, "decoder")
    assert all(np.isfinite(float(x)) for x in still.metrics.values())
    learns = first_update("varibad")
    assert not same(learns.before, learns.after, "encoder")


@pytest.mark.parametrize("method", ["mixreg", "ldm"])
def test_other_methods_learn_by_ppo_too(method):
    run, _, state, after, metrics = first_update(method)
    assert all(np.isfinite(float(x)) for x in metrics.values())
    assert (run.rl, run.get("a2c")) == ("ppo", None)
    assert not any(same(state, after, group) for group in after.params)
    with pytest.raises(AttributeError, match="a2c: the run has no such section"):
        _ = hyper(run).a2c
