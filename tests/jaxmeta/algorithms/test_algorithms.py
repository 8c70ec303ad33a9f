"""What each method's update does, and what its fields change."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.agent import Transition, learning_reward
from jaxmeta.algorithms.ldm import relabel
from jaxmeta.replay.elbo_trials import elbo_trials
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import (
    init_train_state,
    initial_states,
    make_members,
    run_updates,
)
from tests.tiny import advance, program, tiny_run

# Each field on which paper and public code disagree, with its other value.
FIDELITY = {
    "imagination.weights": "per_dimension",
    "imagination.latents": "means",
    "imagination.dropout": "off",
    "imagination.roles": "redrawn",
    "vae.reduction": "mean",
    "vae.pairs": "all",
}


def first_update(overrides):
    """Return what the first update learns from: its rollout, and the ELBO's gradient."""
    run = tiny_run("ldm", overrides | {"seeds": 1})
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    rollout, _ = jax.jit(algorithm.collect)(state)
    merged = jax.tree.map(lambda x: x[:, 0], rollout.transitions)
    elbo = jax.jit(
        lambda params, batch, key: algorithm.belief.elbo(params, batch, key, state.hp.vae)[0]
    )
    return merged.reward, elbo(state.params, elbo_trials(merged), jax.random.key(0))


@pytest.fixture(scope="module")
def paper_update():
    return first_update({})


@pytest.mark.parametrize("field", FIDELITY)
def test_each_fidelity_field_changes_the_first_update(field, paper_update):
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(first_update({field: FIDELITY[field]}), paper_update)


@pytest.mark.slow
def test_a_frozen_replay_changes_the_first_update_after_it_is_full():
    """It can't matter before: 3 normal workers fill 4 slots in the second update."""
    after = {}
    for replay in ("ring", "frozen"):
        run = tiny_run("ldm", {"vae.capacity": 4, "vae.replay": replay, "seeds": 1})
        _, algorithm = build(run)
        updates = jax.jit(run_updates(algorithm))
        train_state = init_train_state(jax.tree.map(lambda x: x[0], make_members(run)), algorithm)
        after[replay] = [updates(train_state, 0, n).state.params["decoder"] for n in (1, 2)]
    chex.assert_trees_all_equal(after["ring"][0], after["frozen"][0])
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(after["ring"][1], after["frozen"][1])


def updated(method, rl, overrides):
    """Return parameters and metrics after the first update."""
    run = tiny_run(method, {"seeds": 1} | overrides, rl=rl)
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    state, metrics = jax.jit(algorithm.step)(state)
    return state.params, metrics


@functools.cache
def updated_by_default(method, rl):
    return updated(method, rl, {})


@pytest.mark.parametrize(
    ("method", "rl", "change"),
    [
        ("ldm", "ppo", {"imagination.returns": "real"}),
        ("rl2", "ppo", {"ppo.credit": "episode"}),
        ("rl2", "ppo", {"ppo.last_return": "zeroed"}),
        ("rl2", "a2c", {"a2c.credit": "episode"}),
    ],
)
def test_which_rewards_returns_use_matters_to_the_policy_alone(method, rl, change):
    params, metrics = updated_by_default(method, rl)
    others, other_metrics = updated(method, rl, change)
    for name in metrics.keys() & {"return_train", "return_imagined", "elbo"}:
        assert metrics[name] == other_metrics[name]  # the rollout is the same
    for group in params.keys() & {"belief", "decoder"}:
        chex.assert_trees_all_equal(params[group], others[group])
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(params["policy"], others["policy"])


def test_real_returns_replace_what_was_imagined():
    run = tiny_run("ldm", {"imagination.returns": "real"})
    tr = Transition(*[jnp.arange(3.0)] * 8, env_reward=jnp.full(3, 7.0))
    np.testing.assert_array_equal(relabel(run)(tr).reward, [7, 7, 7])
    np.testing.assert_array_equal(relabel(tiny_run("ldm"))(tr).reward, [0, 1, 2])
    shaped = tr._replace(shaped=jnp.full(3, 9.0))  # policies learn from it nevertheless
    np.testing.assert_array_equal(learning_reward(relabel(run)(shaped)), [9, 9, 9])


def test_varibads_encoder_receives_the_rl_gradient():
    """The entropy bonus can reach the shared encoder through the RL loss only."""
    run = tiny_run("varibad", {"seeds": 1, "a2c.max_grad_norm": 1e9})
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    moved = {}
    for coefficient in (0.1, 5.0):
        a2c = dataclasses.replace(state.hp.a2c, entropy_coef=jnp.float32(coefficient))
        hp = state.hp.replace(a2c=a2c)
        moved[coefficient] = jax.jit(algorithm.step)(state._replace(hp=hp))[0].params["encoder"]
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(moved[0.1], moved[5.0])


def test_a_weighted_elbo_is_one_of_mean_errors_and_less_kl():
    """So it was before there was a weight: both parts of the ELBO over a trial's 60 steps."""
    steps = 60

    def learned(fields):
        run = tiny_run("varibad", {"seeds": 1} | fields)
        _, algorithm = build(run)
        state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
        for _ in range(2):
            state, _ = jax.jit(algorithm.step)(state)
        return state.params

    weighted = learned({"vae.weight": 1 / steps})
    by_parts = learned({"vae.reduction": "mean", "vae.kl_weight": 1 / steps})
    chex.assert_trees_all_close(weighted, by_parts, atol=1e-5)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(weighted, learned({}), atol=1e-5)


def test_mixture_trajectories_never_reach_the_replay():
    """Real rewards of the gridworld are -0.1 or 1; imagined ones lie in between."""
    made = program("ldm")
    states = advance(made, made.start, 0, 5).state
    stored = np.asarray(states.replay.data.reward)[0, :15]
    assert (np.asarray(states.replay.seen) == 15).all()
    assert np.isin(stored, np.float32([-0.1, 1.0])).all()
    rollout, imagined = jax.jit(made.algorithm.collect)(jax.tree.map(lambda x: x[0], states))
    reward = np.asarray(rollout.transitions.reward)[:, 0]  # the first group, [T, W]
    real = np.isin(reward, np.float32([-0.1, 1.0])).all(0)
    np.testing.assert_array_equal(real, ~np.asarray(imagined)[0])


def test_every_group_has_mixture_workers_of_its_own():
    run = tiny_run("ldm", {"workers": 8, "seeds": 1})
    _, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    rollout, imagined = jax.jit(algorithm.collect)(state)
    chex.assert_shape(rollout.transitions.reward, (60, 2, 4))
    np.testing.assert_array_equal(imagined, [[False] * 3 + [True]] * 2)
    real = np.isin(rollout.transitions.reward, np.float32([-0.1, 1.0])).all(0)
    np.testing.assert_array_equal(real, ~np.asarray(imagined))
