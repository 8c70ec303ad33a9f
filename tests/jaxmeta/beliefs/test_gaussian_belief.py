"""The belief's training objective against explicit float64 loops over prefixes and steps."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit
from scipy.stats import norm

from jaxmeta.agent import Gaussian
from jaxmeta.algorithm import hyper
from jaxmeta.beliefs.gaussian_belief import chained_kl, variational_belief
from jaxmeta.beliefs.gaussians import kl
from jaxmeta.beliefs.options import VAE
from jaxmeta.config.run import Run
from jaxmeta.env import Binary, Box, Cells, Discrete, Env, Real
from jaxmeta.nn.networks import Encoder
from jaxmeta.nn.options import Networks
from jaxmeta.replay.elbo_trials import ElboTrial
from jaxmeta.trial import trial
from tests.tiny import with_sections

SIZES = Networks(state_embedding=6, action_embedding=3, reward_embedding=2, hidden=7, head=4)
B, T, CELLS = 3, 8, 6
LENGTHS = np.array([8, 5, 3])  # the last two trials ended early
INPUTS = ("obs", "action", "next_obs")


class Spaces(Env):
    """Only its spaces matter here."""

    obs_space = Box((2,))
    action_space = Discrete(3)
    reward = Binary(low=-0.1, high=1.0)
    horizon = T // 2
    cells = Cells(CELLS, lambda obs: obs[0].astype(jnp.int32))
    sample_task = eval_tasks = reset = step = None


class RealSpaces(Spaces):
    reward = Real()


def make(env=Spaces, **vae):
    """Return a run, its belief and its parameters."""
    options = {"latent": 4, "decoder_inputs": INPUTS, "decoder_layers": (8, 5), "dropout": 0.0}
    run = with_sections(Run(env="gridworld"), networks=SIZES, vae=VAE(**(options | vae)))
    trial_env = trial(env(), 2)
    encoder = Encoder(trial_env.action_space, 3, run.networks, run.vae.latent)
    belief = variational_belief(trial_env, run, encoder, "belief")
    params = jax.tree.map(lambda x: 2 * x, belief.init(jax.random.key(0)))
    return run, belief, params


def certain(params):
    """Return parameters whose posterior is a point, so that a latent is its mean."""
    logvar = params["belief"]["params"]["logvar"]
    point = {"kernel": 0 * logvar["kernel"], "bias": 0 * logvar["bias"] - 60}
    encoder = params["belief"]["params"] | {"logvar": point}
    return params | {"belief": {"params": encoder}}


def trials(rewards=(-0.1, 1.0), lengths=LENGTHS, seed=0):
    """Return random trials; what comes after their ends is noise that must not count."""
    rng = np.random.default_rng(seed)
    cell = lambda: np.concatenate(
        [rng.integers(0, CELLS, (B, T, 1)), rng.random((B, T, 2))], axis=-1
    )
    return ElboTrial(
        obs=jnp.asarray(cell(), jnp.float32),
        action=jnp.asarray(rng.integers(0, 3, (B, T))),
        reward=jnp.asarray(rng.choice(rewards, (B, T)), jnp.float32),
        next_obs=jnp.asarray(cell(), jnp.float32),
        seen=jnp.asarray(cell(), jnp.float32),
        valid=jnp.asarray(np.arange(T) < lengths[:, None]),
    )


def in_numpy(data):
    arrays = jax.tree.map(lambda x: np.asarray(x, np.float64), data)
    return arrays._replace(action=np.eye(3)[np.asarray(data.action)])


def posteriors(plain, params, data):
    """Return mean and logvar [B, T + 1, L] of every prefix, step by step."""
    p, data = plain.float64(params["belief"]), in_numpy(data)
    hs = [np.zeros((B, SIZES.hidden))]
    for t in range(T):
        step = (data.action[:, t], data.seen[:, t], data.reward[:, t])
        hs.append(plain.encode(p, hs[-1], *step))
    hs = np.stack(hs, axis=1)
    return plain.dense(p["mean"], hs), plain.dense(p["logvar"], hs)


def cross_entropy(logit, reward):
    return -log_expit(logit) if reward == np.float32(1.0) else -log_expit(-logit)


def squared(prediction, reward):
    return (prediction - reward) ** 2


def single(plain, params, data, error):
    """Return e(b, z, i): the error of step i of trial b, decoded from latents z [..., L]."""
    p, data = plain.float64(params["decoder"]), in_numpy(data)
    embedded = plain.embed(p, INPUTS, data.obs, data.action, data.next_obs)

    def e(b, z, i):
        inputs = np.broadcast_to(embedded[b, i], (*z.shape[:-1], embedded.shape[-1]))
        return error(plain.decode(p, z, inputs), data.reward[b, i])

    return e


def multi(plain, params, data, error):
    """Return e(b, z, i) of the decoder with one output per cell."""
    p, data = plain.float64(params["decoder"]), in_numpy(data)

    def e(b, z, i):
        x = np.maximum(plain.dense(p["Linear_0"], z), 0)
        x = np.maximum(plain.dense(p["Linear_1"], x), 0)
        cell = int(data.next_obs[b, i, 0])
        return error(plain.dense(p["Linear_2"], x)[..., cell], data.reward[b, i])

    return e


def double_loop(e, z, reduction, lengths=LENGTHS):
    """Return sum_t R_t, averaged over trials: from every prefix every step is decoded."""
    totals = []
    for b, length in enumerate(lengths):
        total = 0.0
        for t in range(length + 1):
            errors = [float(e(b, z[b, t], i)) for i in range(length)]
            total += sum(errors) if reduction == "sum" else sum(errors) / length
        totals.append(total)
    return np.mean(totals)


def many(belief, params, data, hp, keys=500):
    """Return the reconstructions under many keys."""
    one = lambda key: belief.elbo(params, data, key, hp)[1]["reconstruction"]
    keys = jax.random.split(jax.random.key(1), keys)
    return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def assert_mean(draws, expected, errors=4.0):
    """Assert that the draws' mean lies within some standard errors of what is expected."""
    error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    assert error < 0.05 * abs(expected)  # else the test would prove nothing
    assert abs(np.mean(draws) - expected) < errors * error


# --- Kullback-Leibler divergences


@pytest.fixture(scope="module")
def gaussians():
    """Return a chain of posteriors, mean and logvar [T + 1, L]."""
    rng = np.random.default_rng(0)
    mean, logvar = rng.normal(size=(2, T + 1, 4)).astype(np.float32)
    return Gaussian(jnp.asarray(mean), jnp.asarray(logvar))


def test_kl_equals_distrax(gaussians):
    q, p = (jax.tree.map(lambda x, i=i: x[i : i + 3], gaussians) for i in (0, 3))
    of = lambda g: distrax.MultivariateNormalDiag(g.mean, jnp.exp(0.5 * g.logvar))
    np.testing.assert_allclose(kl(q, p), of(q).kl_divergence(of(p)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kl(q, q), 0, atol=1e-6)


def test_kl_equals_monte_carlo(gaussians):
    (mq, lq), (mp, lp) = (np.asarray([g[i] for g in gaussians], np.float64) for i in (0, 1))
    z = mq + np.exp(lq / 2) * np.random.default_rng(1).normal(size=(100_000, 4))
    log_ratio = norm.logpdf(z, mq, np.exp(lq / 2)) - norm.logpdf(z, mp, np.exp(lp / 2))
    q, p = (jax.tree.map(lambda x, i=i: x[i], gaussians) for i in (0, 1))
    assert_mean(log_ratio.sum(1), float(kl(q, p)))


def kl_loop(mean, logvar, length):
    """Return KL(q_0 || N(0, I)) + sum_t KL(q_t || q_{t-1}), entry by entry (ldm.md 3.1)."""
    total = 0.0
    for t in range(length + 1):
        for d in range(mean.shape[1]):
            m, v = mean[t, d], logvar[t, d]
            pm, pv = (mean[t - 1, d], logvar[t - 1, d]) if t else (0.0, 0.0)
            total += 0.5 * (pv - v - 1 + np.exp(v - pv) + (m - pm) ** 2 * np.exp(-pv))
    return total


@pytest.mark.parametrize("length", [T, 5, 1])
def test_chained_kl_is_the_sum_along_the_trial(gaussians, length):
    mean, logvar = (np.asarray(x, np.float64) for x in gaussians)
    got = chained_kl(gaussians, jnp.arange(T) < length)
    np.testing.assert_allclose(got, kl_loop(mean, logvar, length), rtol=1e-5)


def test_chained_kls_gradients_flow_into_the_posterior_and_the_one_before(gaussians):
    got = jax.grad(lambda q: chained_kl(q, jnp.ones(T, bool)))(gaussians)
    mean, logvar = (np.asarray(x, np.float64) for x in gaussians)
    m0, v0 = (np.concatenate([np.zeros((1, 4)), x[:-1]]) for x in (mean, logvar))  # the priors
    shift, ratio = (mean - m0) * np.exp(-v0), np.exp(logvar - v0)
    d_mean, d_logvar = shift.copy(), 0.5 * (ratio - 1)  # as the posterior
    d_mean[:-1] -= shift[1:]  # as the next one's prior
    d_logvar[:-1] += 0.5 * (1 - ratio - (mean - m0) * shift)[1:]
    np.testing.assert_allclose(got.mean, d_mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.logvar, d_logvar, rtol=1e-4, atol=1e-5)


# --- The objective


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("env", [Spaces, RealSpaces])
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_the_reconstruction_is_the_double_loop(plain, env, kind, reduction):
    rewards, error = ((-0.1, 1.0), cross_entropy) if env is Spaces else ((0.3, -2.0, 1.0), squared)
    run, belief, params = make(env, decoder=kind, pairs="all", reduction=reduction)
    params, data = certain(params), trials(rewards)
    mean, _ = posteriors(plain, params, data)
    e = {"single": single, "multi": multi}[kind](plain, params, data, error)
    _, metrics = jax.jit(belief.elbo)(params, data, jax.random.key(0), hyper(run).vae)
    expected = double_loop(e, mean, reduction)
    assert float(metrics["reconstruction"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_the_loss_is_reconstruction_plus_weighted_kl(plain, kind):
    run, belief, params = make(decoder=kind, pairs="all", kl_weight=0.7)
    data = trials()
    loss, metrics = jax.jit(belief.elbo)(params, data, jax.random.key(0), hyper(run).vae)
    moments = zip(*posteriors(plain, params, data), LENGTHS, strict=True)
    divergence = np.mean([kl_loop(*moment) for moment in moments])
    assert float(metrics["kl"]) == pytest.approx(divergence, rel=1e-4)
    assert divergence > 0.1
    expected = float(metrics["reconstruction"]) + 0.7 * divergence
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(metrics["elbo"]) == -float(loss)


def test_latents_are_samples_of_the_posterior(plain):
    run, belief, params = make(RealSpaces, pairs="all")
    logvar = params["belief"]["params"]["logvar"]
    logvar["bias"] = logvar["bias"] + 2  # wide: a sample is not the mean
    data = trials()
    mean, logvar = posteriors(plain, params, data)
    std = np.exp(logvar / 2)
    noise = np.random.default_rng(0).normal(size=(3000, 1, 4))
    e = single(plain, params, data, squared)

    def expected(noise):
        """Return the mean over noise of sum_t R_t, averaged over trials."""
        totals = [
            sum(e(b, mean[b, : n + 1] + std[b, : n + 1] * noise, i).sum(-1) for i in range(n))
            for b, n in enumerate(LENGTHS)
        ]
        return np.mean(totals)

    draws = many(belief, params, data, hyper(run).vae, keys=1000)
    assert_mean(draws, expected(noise), errors=5)  # the expectation has an error of its own
    assert abs(expected(noise) - expected(0 * noise[:1])) > 10 * np.std(draws) / np.sqrt(1000)


def test_random_pairs_are_all_pairs_where_every_index_is_drawn(plain):
    # As many strata as indices: each is drawn exactly once, so nothing is random.
    full = np.full(B, T)
    data = trials(lengths=full)
    run, belief, params = make(elbo_latents=T + 1, elbo_steps=T)
    params = certain(params)
    mean, _ = posteriors(plain, params, data)
    e = single(plain, params, data, cross_entropy)
    draws = many(belief, params, data, hyper(run).vae, keys=5)
    np.testing.assert_allclose(draws, double_loop(e, mean, "sum", full), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_random_pairs_estimate_all_pairs_without_bias(plain, reduction):
    run, belief, params = make(elbo_latents=3, elbo_steps=2, reduction=reduction)
    params, data = certain(params), trials()
    mean, _ = posteriors(plain, params, data)
    e = single(plain, params, data, cross_entropy)
    draws = many(belief, params, data, hyper(run).vae, keys=4000)
    assert np.std(draws) > 0
    assert_mean(draws, double_loop(e, mean, reduction))


@pytest.mark.parametrize("pairs", ["random", "all"])
def test_every_pair_of_latent_and_step_has_its_own_dropout_mask(plain, pairs):
    # All latents are the same point and all trials the same trial, so errors differ by
    # masks alone. With masks of their own the variances of B (T + 1) T errors add up; a
    # mask shared by the latents of a step would multiply the total's variance by T + 1.
    full, rate, kept = np.full(B, T), 0.5, 0.5
    run, belief, params = make(pairs=pairs, elbo_latents=T + 1, elbo_steps=T, dropout=rate)
    params = certain(params)
    encoder = params["belief"]["params"]
    encoder["mean"] = {"kernel": 0 * encoder["mean"]["kernel"], "bias": encoder["mean"]["bias"]}
    data = jax.tree.map(lambda x: jnp.stack([x[0]] * B), trials(lengths=full))

    p, one = plain.float64(params["decoder"]), in_numpy(data)
    z = np.broadcast_to(np.asarray(encoder["mean"]["bias"], np.float64), (20_000, 4))
    embedded = plain.embed(p, INPUTS, one.obs, one.action, one.next_obs)[0]
    rng = np.random.default_rng(0)
    mean = variance = 0.0
    for i in range(T):
        mask = rng.random((len(z), embedded.shape[-1])) < kept
        errors = cross_entropy(plain.decode(p, z, mask * embedded[i] / kept), one.reward[0, i])
        mean, variance = mean + (T + 1) * errors.mean(), variance + (T + 1) * errors.var() / B
    draws = many(belief, params, data, hyper(run).vae, keys=1500)
    assert np.var(draws) == pytest.approx(variance, rel=0.2)
    assert_mean(draws, mean, errors=5)


@pytest.mark.parametrize(
    "env, kind", [(Spaces, "single"), (Spaces, "multi"), (RealSpaces, "single")]
)
def test_an_imagined_reward_is_the_expected_one(plain, env, kind):
    run, belief, params = make(env, decoder=kind)
    data = trials()
    z = np.array([0.3, -1.0, 2.0, 0.7], np.float32)
    identity = lambda prediction, reward: prediction
    e = {"single": single, "multi": multi}[kind](plain, params, data, identity)
    prediction = float(e(1, z.astype(np.float64), 2))
    p = 1 / (1 + np.exp(-prediction))
    expected = -0.1 + 1.1 * p if env is Spaces else prediction
    step = (data.obs[1, 2], data.action[1, 2], data.next_obs[1, 2])
    got = belief.imagine(params, jnp.asarray(z), *step, None, run.vae)
    assert got.shape == () and float(got) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_imagining_with_dropout_drops_the_decoders_inputs_and_never_the_latent(plain):
    run, belief, params = make(dropout=0.5)
    data = trials()
    z = np.array([0.3, -1.0, 2.0, 0.7], np.float32)
    _, bits = belief.draw(jax.random.key(0))
    assert bits.shape == (6 + 3 + 6,)
    step = (data.obs[0, 0], data.action[0, 0], data.next_obs[0, 0])
    imagine = lambda bits: belief.imagine(params, jnp.asarray(z), *step, bits, run.vae)
    p = plain.float64(params["decoder"])
    one = in_numpy(data)
    embedded = plain.embed(p, INPUTS, one.obs[0, 0], one.action[0, 0], one.next_obs[0, 0])
    for byte in (jnp.zeros_like(bits), jnp.full_like(bits, 255), bits):
        kept = np.asarray(byte) >= 128
        logit = plain.decode(p, z.astype(np.float64), embedded * kept * 2)
        expected = -0.1 + 1.1 / (1 + np.exp(-logit))
        assert float(imagine(byte)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_whole_trials_are_demanded():
    run, belief, params = make()
    short = jax.tree.map(lambda x: x[:, :-1], trials())
    with pytest.raises(AssertionError):
        belief.elbo(params, short, jax.random.key(0), run.vae)
