"""MoSS's task inference: beliefs from the replay against the agent's, and its options."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.agent import Transition
from jaxmeta.algorithm import hyper
from jaxmeta.beliefs.mixture_belief import mixture_belief
from jaxmeta.replay import ring_buffer
from jaxmeta.replay.off_policy_rows import OffPolicyRow, row_like, windows
from jaxmeta.training.build import make_env
from tests.tiny import tiny_run

KEY = jax.random.key(0)


def made(overrides=()):
    run = tiny_run("moss", dict(overrides))
    env = make_env(run)
    belief = mixture_belief(env, run)
    return run, env, belief, belief.init(KEY)


def some_rows(env, n=2, cuts=(), lasts=(3, 7), seed=0):
    """Return random rows, with normalisers that were not updated with them."""
    rng = np.random.default_rng(seed)
    fill = lambda x: jnp.asarray(rng.normal(size=(n, *x.shape)), x.dtype)
    rows = jax.tree.map(fill, row_like(env))
    marks = {"cut": cuts, "last": lasts}
    steps = jnp.arange(env.horizon)
    flags = {
        name: jnp.broadcast_to(jnp.isin(steps, jnp.array(at, int))[None], (n, env.horizon))
        for name, at in marks.items()
    }
    return rows._replace(task=jnp.arange(n), discount=jnp.ones_like(rows.discount), **flags)


def transition_of(row: OffPolicyRow, t) -> Transition:
    over = row.cut[t]
    obs, after = row.obs[t], row.obs[t + 1]
    return Transition(
        obs, row.action[t], row.reward[t], after, after, row.last[t], over, 1.0, row.reward[t]
    )


@pytest.mark.parametrize("window", [0, 3, 20])
@pytest.mark.parametrize("level", ["step", "episode"])
def test_beliefs_from_the_replay_are_the_agents(window, level):
    _, env, belief, params = made({"inference.window": window, "inference.level": level})
    rows = some_rows(env)
    seen = {"obs": rows.obs[:, :-1], "action": rows.action, "reward": rows.reward}
    tr = transition_of(jax.tree.map(lambda x: x[0], rows), 0)._replace(**seen)
    params = belief.update_normalisers(params, tr)
    observe = jax.jit(belief.observe)
    for i, end in ((0, env.horizon), (1, 5)):
        row = jax.tree.map(lambda x, i=i: x[i], rows)
        memory = belief.begin(params)
        for t in range(end):
            memory = observe(params, memory, transition_of(row, t))
        length = window or env.horizon
        if level == "episode" and 0 < window < end:
            continue  # a short window has forgotten where the episode before it ended
        one = jax.tree.map(lambda x: x[None], row)
        read = windows(one, jnp.array([end if window else env.horizon]), length)
        states = belief.encode(params, read)[:, 0]
        at = length if window else end
        chex.assert_trees_all_close(belief.hidden(params, memory), states[at], atol=1e-5)


def test_a_belief_does_not_depend_on_what_comes_later():
    _, env, belief, params = made({"inference.window": 0})
    rows, other = some_rows(env), some_rows(env, seed=1)
    then = 4

    def mixed(a, b):
        late = jnp.arange(a.shape[1]) >= then + (a.shape[1] > env.horizon)
        return jnp.where(late.reshape(1, -1, *[1] * (a.ndim - 2)), b, a)

    changed = jax.tree.map(mixed, rows._replace(task=()), other._replace(task=()))
    ends = jnp.full(2, env.horizon)
    encode = jax.jit(lambda rows: belief.encode(params, windows(rows, ends, env.horizon)))
    before, after = encode(rows), encode(changed._replace(task=rows.task))
    chex.assert_trees_all_equal(before[: then + 1], after[: then + 1])
    assert (before[then + 1] != after[then + 1]).any()


def test_memory_is_empty_after_a_trials_end():
    _, env, belief, params = made({"inference.window": 0})
    rows = some_rows(env, cuts=(2,), lasts=(2,))
    states = belief.encode(params, windows(rows, jnp.full(2, env.horizon), env.horizon))
    assert (states[3] == 0).all()
    assert (states[4] != 0).any()


def learned(overrides=(), rows=None, enabled=True):
    run, env, belief, params = made(overrides)
    rows = some_rows(env, n=6) if rows is None else rows
    replay = ring_buffer.add(ring_buffer.empty(row_like(env), 10), rows, "ring")
    hp = hyper(run)
    learn = jax.jit(belief.learn)
    return params, learn(params, belief.init_opt(params, hp), replay, KEY, hp, jnp.array(enabled))


ABLATIONS = {
    "inference.components": 1,
    "inference.window": 0,
    "inference.prior": "standard",
    "inference.decodes": "next",
    "inference.contrast_weight": 0.0,
    "inference.contrast_scale": 3.0,
    "inference.kl_weight": 0.5,
    "inference.class_weight": 5.0,
}


@pytest.fixture(scope="module")
def usual():
    return learned()[1][0]["encoder"]


@pytest.mark.parametrize("field", ABLATIONS)
def test_each_field_changes_what_is_learned(field, usual):
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(learned({field: ABLATIONS[field]})[1][0]["encoder"], usual)


def test_nothing_is_learned_before_it_is_wanted():
    params, (after, _, metrics) = learned(enabled=False)
    chex.assert_trees_all_equal(after, params)
    assert metrics["elbo"] == 0


def test_policies_see_parameters_or_a_sample_of_the_most_likely_gaussian():
    _, _, belief, params = made()
    h, noise = jax.random.normal(KEY, (8,)), jnp.array([0.5, -1.0, 2.0])
    seen = belief.features(params, h, noise)
    mean, var = jnp.split(seen, 2)
    _, _, other, _ = made({"inference.belief": "sample"})
    np.testing.assert_allclose(
        other.features(params, h, noise), mean + jnp.sqrt(var) * noise, rtol=1e-5
    )
    assert (belief.feature_size, other.feature_size) == (6, 3)


def test_with_one_component_too_it_matters_which_transition_is_decoded():
    """All responsibilities are 1, so only the latents differ."""
    one = {"inference.components": 1}
    current, following = (
        learned(one | {"inference.decodes": which})[1][2]["reconstruction"]
        for which in ("current", "next")
    )
    assert abs(current - following) > 1e-4
