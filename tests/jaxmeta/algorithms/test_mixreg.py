"""Mixreg's loss against float64 arithmetic, and what is left of it without mixing."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxmeta.algorithm import update_key
from jaxmeta.training.build import build
from jaxmeta.training.compiled_functions import initial_states, make_members
from tests.tiny import tiny_run

SIZES = {"seeds": 1, "networks.action_embedding": 3, "networks.policy_sees_obs": True}
SIZES |= {"mixing.alpha": 1.0}


def lively(method, **changed):
    """Return a method, its run, and a first state whose policy prefers some actions."""
    sizes = {k: v for k, v in SIZES.items() if method == "mixreg" or "mixing" not in k}
    run = tiny_run(method, sizes | changed)
    env, algorithm = build(run)
    state = jax.tree.map(lambda x: x[0], initial_states(make_members(run), algorithm))
    head = state.params["policy"]["params"]["head"]
    head["kernel"] = 100 * head["kernel"]
    return run, env, algorithm, state


def policy(p, obs, latent):
    """Return log-probabilities [..., A] and values [...]."""
    x = y = np.concatenate([obs, *latent], axis=-1)
    x = np.tanh(x @ p["actor_0"]["kernel"] + p["actor_0"]["bias"])
    y = np.tanh(y @ p["critic_0"]["kernel"] + p["critic_0"]["bias"])
    logits = x @ p["head"]["kernel"] + p["head"]["bias"]
    value = y @ p["value_head"]["kernel"] + p["value_head"]["bias"]
    return log_softmax(logits, axis=-1), value[..., 0]


def evaluated(plain, params, obs, action, reward, seen):
    """Return log-probabilities and values [T + 1, W] of one trial, from its inputs."""
    encoder, heads = plain.float64(params["encoder"]), plain.float64(params["policy"])
    h = np.zeros((reward.shape[1], len(encoder["gru"]["bh"]["r"])))
    found = []
    for t in range(len(reward) + 1):
        latent = [plain.dense(encoder[name], h) for name in ("mean", "logvar")]
        found.append(policy(heads, obs[t], latent))
        if t < len(reward):
            h = plain.encode(encoder, h, action[t], seen[t], reward[t])
    return (np.stack(x) for x in zip(*found, strict=True))


def test_the_loss_is_that_of_mixed_trials(plain):
    run, env, algorithm, state = lively("mixreg")
    tr = jax.device_get(jax.jit(algorithm.collect)(state).transitions)
    metrics = jax.jit(algorithm.step)(state)[1]

    key_pair, key_share = jax.random.split(update_key(state, 1))
    partner = np.asarray(jax.random.permutation(key_pair, run.workers))
    assert (partner != np.arange(run.workers)).any()
    share = np.float64(jax.random.beta(key_share, 1.0, 1.0, (run.workers,)))
    share = np.maximum(share, 1 - share)

    def mix(x):
        own = share.reshape(-1, *[1] * (x.ndim - 2))
        return own * x + (1 - own) * x[:, partner]

    obs = np.concatenate([tr.obs, tr.seen[-1:]]).astype(float)
    inputs = (obs, np.eye(env.action_space.n)[tr.action], tr.reward, tr.seen.astype(float))
    _, value = evaluated(plain, state.params, *inputs)
    a2c, advantage, carried = run.a2c, np.zeros_like(tr.reward, float), 0.0
    for t in reversed(range(len(advantage))):
        keep = a2c.gamma * tr.discount[t]
        delta = tr.reward[t] + keep * value[t + 1] - value[t]
        advantage[t] = carried = delta + keep * a2c.gae_lambda * carried
    log_p, mixed_value = evaluated(plain, state.params, *(mix(x) for x in inputs))
    taken = np.take_along_axis(log_p[:-1], tr.action[..., None], axis=-1)[..., 0]
    returns = mix(advantage + value[:-1])

    assert float(metrics["policy_loss"]) == pytest.approx(-(mix(advantage) * taken).mean(), 1e-3)
    expected = ((returns - mixed_value[:-1]) ** 2).mean()
    assert float(metrics["value_loss"]) == pytest.approx(expected, 1e-3)
    expected = -(np.exp(log_p[:-1]) * log_p[:-1]).sum(-1).mean()
    assert float(metrics["entropy"]) == pytest.approx(expected, 1e-3)


def test_without_a_partners_share_it_is_rl2():
    """Beta(0.01, 0.01) draws 0 or 1, but for rounding: the dominant share is 1."""
    *_, mixreg, state = lively("mixreg", **{"mixing.alpha": 0.01})
    *_, rl2, plain_state = lively("rl2")
    chex.assert_trees_all_equal(state.params, plain_state.params)
    share = jax.random.beta(jax.random.split(update_key(state, 1))[1], 0.01, 0.01, (4,))
    assert np.maximum(share, 1 - share).min() > 1 - 1e-6
    ours, theirs = (jax.jit(a.step)(s) for a, s in ((mixreg, state), (rl2, plain_state)))
    for name in ("policy_loss", "value_loss", "entropy", "grad_norm", "return_train"):
        np.testing.assert_allclose(ours[1][name], theirs[1][name], rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(ours[0].params, theirs[0].params, atol=1e-4)


def test_the_dominant_share_is_at_least_a_half_and_traced():
    """Another alpha changes the update, not the program."""
    *_, algorithm, state = lively("mixreg")
    step = jax.jit(chex.assert_max_traces(algorithm.step, n=1))
    changed = state.hp.replace(mixing=type(state.hp.mixing)(alpha=jnp.float32(0.2)))
    losses = [float(step(state._replace(hp=hp))[1]["value_loss"]) for hp in (state.hp, changed)]
    assert losses[0] != losses[1]
