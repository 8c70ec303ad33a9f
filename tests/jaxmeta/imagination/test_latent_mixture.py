"""Mixtures of latents: their weights, and the rewards that they give in a rollout."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import kstest

from envs.gridworld import gridworld
from jaxmeta.agent import Agent
from jaxmeta.beliefs.gaussian_belief import variational_belief
from jaxmeta.beliefs.options import VAE
from jaxmeta.config.run import Run
from jaxmeta.imagination.latent_mixture import MixtureTask, latent_mixture, mixture_weights
from jaxmeta.imagination.options import Imagination
from jaxmeta.nn.networks import Encoder
from jaxmeta.nn.options import Networks
from jaxmeta.rollout import collect
from jaxmeta.trial import Trial, trial
from tests.tiny import with_sections

SIZES = Networks(state_embedding=6, action_embedding=3, reward_embedding=2, hidden=7, head=4)
INPUTS = ("obs", "action", "next_obs")
WORKERS, LATENT, EPISODES = 6, 4, 2
IMAGINED = np.array([False, True, False, False, True, True])
MOVES = np.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]])


# --- Weights


@functools.cache
def drawer(**chosen):
    """Return a compiled (keys, beta) -> weights and roles of many groups."""
    one = lambda key, beta: mixture_weights(key, Imagination(beta=beta, **chosen), 3)
    return jax.jit(jax.vmap(one, in_axes=(0, None)))


def draw(keys=4000, beta=1.0, normal=14, mixture=2, **chosen):
    """Return weights [key, W, W, 3] and roles [key, W] of many groups."""
    keys = jax.random.split(jax.random.key(0), keys)
    alpha, imagined = drawer(normal=normal, mixture=mixture, **chosen)(keys, beta)
    workers = normal + mixture
    assert alpha.shape == (len(keys), workers, workers, 3)
    assert imagined.shape == (len(keys), workers)
    return np.asarray(alpha, np.float64), np.asarray(imagined)


@pytest.mark.parametrize("roles", ["last", "redrawn"])
@pytest.mark.parametrize("weights", ["per_worker", "per_dimension"])
def test_only_mixture_workers_mix_and_only_normal_ones_are_mixed(weights, roles):
    alpha, imagined = draw(weights=weights, roles=roles, beta=1.5)
    assert (imagined.sum(1) == 2).all()
    mixing = imagined[:, :, None] & ~imagined[:, None, :]
    assert (alpha[~mixing] == 0).all() and (alpha[mixing] != 0).mean() > 0.999
    sums = alpha.sum(2)[imagined]
    np.testing.assert_allclose(sums, 1, atol=1e-5)


def test_mixture_workers_are_the_last_of_the_group():
    _, imagined = draw(keys=100, roles="last", normal=5, mixture=3)
    assert (imagined == np.array([0] * 5 + [1] * 3, bool)).all()


def test_redrawn_roles_fall_on_every_place_equally_often():
    _, imagined = draw(roles="redrawn")
    p = 2 / 16
    error = np.sqrt(p * (1 - p) / len(imagined))
    assert (np.abs(imagined.mean(0) - p) < 4.5 * error).all()


def test_weights_stay_in_the_range_that_beta_sets():
    alpha, _ = draw(beta=1.5)
    alpha = alpha[:, 14:, :14]
    assert alpha.min() >= -1 / 28 - 1e-6 and alpha.max() <= 1.5 - 1 / 28 + 1e-6
    # Exponentials come close to 0, so the lower end is reached and the mean is 1 / n.
    assert alpha.min() < -1 / 28 + 1e-3 and alpha.max() > 0.6
    assert alpha.mean() == pytest.approx(1 / 14, rel=1e-5)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_weights_are_dirichlet(beta):
    alpha, _ = draw(weights="per_dimension", beta=beta)
    dirichlet = (alpha[:, 14, :14, 0] + (beta - 1) / 14) / beta
    # The marginals of Dirichlet(1, ..., 1) over n; one entry per draw: they depend on each other.
    assert kstest(dirichlet[:, 0], "beta", args=(1, 13)).pvalue > 1e-3
    assert kstest(dirichlet[:, 13], "beta", args=(1, 13)).pvalue > 1e-3


@pytest.mark.parametrize("weights", ["per_worker", "per_dimension"])
def test_convex_weights_keep_2_of_n_plus_1_of_the_spread(weights):
    alpha, _ = draw(weights=weights, beta=1.0)
    squares = (alpha[:, 14, :14] ** 2).sum(1).mean(1)  # [key]
    assert abs(squares.mean() - 2 / 15) < 4 * squares.std() / np.sqrt(len(squares))


def test_weights_per_worker_are_one_number_for_all_latent_dimensions():
    alpha, _ = draw(weights="per_worker")
    assert (alpha == alpha[..., :1]).all()


def test_weights_per_dimension_are_drawn_apart():
    alpha, _ = draw(weights="per_dimension")
    correlation = np.corrcoef(alpha[:, 14, 0].T)
    assert np.abs(correlation - np.eye(3)).max() < 4.5 / np.sqrt(len(alpha))


def test_mixture_workers_have_mixtures_of_their_own():
    alpha, _ = draw(weights="per_worker")
    correlation = np.corrcoef(alpha[:, 14, 0, 0], alpha[:, 15, 0, 0])[0, 1]
    assert abs(correlation) < 4.5 / np.sqrt(len(alpha))


@pytest.mark.parametrize("weights", ["per_worker", "per_dimension"])
def test_with_pay_worker_all_weight_is_on_one_normal_worker_for_any_beta(weights):
    alpha, imagined = draw(pay="worker", weights=weights, roles="redrawn", beta=2.0)
    mixing = alpha[imagined]  # [mixture workers, W, 3]
    assert (np.sort(mixing, axis=1) == np.eye(16)[-1][:, None]).all()
    assert (mixing == mixing[..., :1]).all()  # one worker's whole latent
    assert (alpha[~imagined] == 0).all()
    chosen, role = np.argmax(alpha[..., 0], -1), np.nonzero(imagined)
    assert not imagined[role[0], chosen[role]].any()
    first = draw(pay="worker")[0][:, 14, :14, 0].mean(0)
    assert np.abs(first - 1 / 14).max() < 4.5 * np.sqrt(13 / 14**2 / 4000)


# --- Rewards


def make(boundary="terminal", **imagination):
    """Return the run, its parts and its parameters on a small gridworld trial."""
    vae = VAE(latent=LATENT, decoder_inputs=INPUTS, decoder_layers=(8, 5), dropout=0.5)
    imagination = Imagination(normal=3, mixture=3, **imagination)
    run = Run(env="gridworld").replace(
        {"imagination.normal": 3, "imagination.mixture": 3, "workers": WORKERS}
    )
    run = with_sections(run, networks=SIZES, vae=vae, imagination=imagination)
    env = trial(gridworld(), EPISODES, boundary)
    encoder = Encoder(env.action_space, 3, run.networks, LATENT)
    belief = variational_belief(env, run, encoder, "belief")
    params = jax.tree.map(lambda x: 1.5 * x, belief.init(jax.random.key(0)))
    return run, env, belief, params


def actor(draw):
    """Return an agent without memory whose noise is its action."""
    return Agent(
        draw=draw,
        begin=lambda params, noise: jnp.zeros(()),
        act=lambda params, memory, obs, noise: (noise, memory),
        observe=lambda params, memory, transition, noise: memory,
    )


wanderer = actor(lambda key: jax.random.randint(key, (), 0, 5))
idler = actor(lambda key: jnp.zeros((), jnp.int32))


def rollout(agent, run, env, belief, params, weights, imagined=IMAGINED):
    """Return transitions [T, W] in NumPy."""
    keys = jax.random.split(jax.random.key(3), WORKERS)
    tasks = jax.vmap(lambda key: env.sample_task(key, "train"))(keys)
    mixture_env = latent_mixture(env, belief, params, run.vae, run.imagination)
    mixtures = MixtureTask(tasks, jnp.asarray(weights, jnp.float32), jnp.asarray(imagined))
    play = jax.jit(lambda tasks, key: collect(agent, mixture_env, params, tasks, key, "train"))
    tr = jax.device_get(play(mixtures, jax.random.key(5)).transitions)
    return np.asarray(tasks), tr


@pytest.fixture(scope="module")
def mixed():
    """Return a rollout in which every worker's latent counts, mixture workers' too.

    With the boundary "start" the next obs (decoded) differs from what is seen (encoded).
    """
    run, env, belief, params = make("start", latents="means", dropout="off")
    weights = np.random.default_rng(0).normal(size=(WORKERS, WORKERS, LATENT))
    return params, weights, *rollout(wanderer, run, env, belief, params, weights)


def test_mixture_workers_are_rewarded_by_the_mixed_posteriors_before_the_transition(plain, mixed):
    params, weights, _, tr = mixed
    p = {name: plain.float64(params[name]) for name in ("belief", "decoder")}
    h = np.zeros((WORKERS, SIZES.hidden))
    reward = np.zeros(tr.reward.shape)
    for t in range(len(tr.reward)):
        m = plain.dense(p["belief"]["mean"], h)  # [W, L]: all workers' beliefs before step t
        action = np.eye(5)[tr.action[t]]
        for i in range(WORKERS):
            z = sum(weights[i, k] * m[k] for k in range(WORKERS))
            inputs = plain.embed(
                p["decoder"], INPUTS, tr.obs[t, i], action[i], tr.next_obs[t, i]
            )  # fmt: skip
            imagined = -0.1 + 1.1 * expit(plain.decode(p["decoder"], z, inputs))
            reward[t, i] = imagined if IMAGINED[i] else tr.env_reward[t, i]
        h = plain.encode(p["belief"], h, action, tr.seen[t].astype(float), reward[t])
    np.testing.assert_allclose(tr.reward, reward, atol=1e-4)
    # The control: the mixed rewards vary over time and differ between mixtures.
    assert (reward[:, IMAGINED].std(0) > 0.02).all()
    assert np.abs(np.diff(reward[:, IMAGINED], axis=1)).mean() > 0.02


def test_env_reward_is_the_true_reward_and_that_of_normal_workers(mixed):
    _, _, goals, tr = mixed
    cell = np.zeros((WORKERS, 2), int)
    for t, action in enumerate(tr.action):
        cell = np.clip(cell + MOVES[action], 0, 6)
        truth = np.where((cell == goals).all(1), 1.0, -0.1)
        np.testing.assert_array_equal(tr.env_reward[t], np.float32(truth))
        cell[tr.last[t]] = 0
    np.testing.assert_array_equal(tr.reward[:, ~IMAGINED], tr.env_reward[:, ~IMAGINED])
    assert not np.isclose(tr.reward[:, IMAGINED], tr.env_reward[:, IMAGINED]).all(0).any()
    assert tr.last.sum() == EPISODES * WORKERS and tr.over.sum() == WORKERS


def indifferent(params):
    """Return parameters whose posterior is N(0, I) for any history."""
    encoder = params["belief"]["params"]
    heads = jax.tree.map(jnp.zeros_like, {name: encoder[name] for name in ("mean", "logvar")})
    return params | {"belief": {"params": encoder | heads}}


ONE_EACH = np.zeros((WORKERS, WORKERS, LATENT))
ONE_EACH[1, 0] = ONE_EACH[4, 0] = ONE_EACH[5, 2] = 1  # workers 1 and 4 mix the same latent


def test_every_worker_draws_one_fresh_latent_per_step_for_all_mixtures():
    # Nobody moves, so the decoder reads the same inputs: rewards differ by latents alone.
    run, env, belief, params = make(latents="samples", dropout="off")
    _, tr = rollout(idler, run, env, belief, indifferent(params), ONE_EACH)
    first, same, other = tr.reward[1:29, IMAGINED].T
    np.testing.assert_allclose(first, same, rtol=1e-6)
    assert (np.abs(first - other) > 1e-5).all()
    assert len(np.unique(first)) == len(first)
    assert np.abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.7  # not a walk


def test_with_pay_nothing_mixture_workers_never_reach_a_goal():
    run, env, belief, params = make(pay="nothing")
    _, tr = rollout(wanderer, run, env, belief, params, ONE_EACH)
    assert (tr.reward[:, IMAGINED] == np.float32(-0.1)).all()
    np.testing.assert_array_equal(tr.reward[:, ~IMAGINED], tr.env_reward[:, ~IMAGINED])


def test_without_mixture_workers_all_rewards_are_true():
    run, env, belief, params = make()
    run = run.replace({"imagination.normal": WORKERS, "imagination.mixture": 0})
    nobody = np.zeros(WORKERS, bool)
    _, tr = rollout(wanderer, run, env, belief, params, np.zeros_like(ONE_EACH), nobody)
    np.testing.assert_array_equal(tr.reward, tr.env_reward)


@pytest.mark.parametrize("returns", ["imagined", "real"])
def test_a_shaped_reward_is_imagined_where_returns_are(returns):
    class Shaped(Trial):
        def step(self, noise, state, action, task):
            state, step = super().step(noise, state, action, task)
            return state, step._replace(shaped=jnp.float32(5.0))

    run, _, belief, params = make(returns=returns)
    env = Shaped(gridworld(), EPISODES, "terminal")
    _, tr = rollout(wanderer, run, env, belief, params, ONE_EACH)
    assert (tr.shaped[:, ~IMAGINED] == 5).all()
    expected = tr.reward[:, IMAGINED] if returns == "imagined" else 5.0
    np.testing.assert_array_equal(
        tr.shaped[:, IMAGINED], np.broadcast_to(expected, (len(tr.over), 3))
    )


def test_means_give_the_same_reward_for_the_same_step():
    run, env, belief, params = make(latents="means", dropout="off")
    _, tr = rollout(idler, run, env, belief, indifferent(params), ONE_EACH)
    # Steps 1 to 29 of an episode start and end in the corner with the flag down.
    np.testing.assert_allclose(tr.reward[1:29, IMAGINED], tr.reward[1, 1], rtol=1e-6)


def test_dropout_while_imagining_is_fresh_in_each_step_and_worker():
    run, env, belief, params = make(latents="means", dropout="on")
    _, tr = rollout(idler, run, env, belief, indifferent(params), ONE_EACH)
    rewards = tr.reward[1:29, IMAGINED]
    assert len(np.unique(rewards)) > 0.7 * rewards.size
    np.testing.assert_array_equal(tr.reward[:, ~IMAGINED], np.float32(-0.1))


def test_outside_the_workers_axis_the_wrapper_fails():
    run, env, belief, params = make()
    mixture_env = latent_mixture(env, belief, params, run.vae, run.imagination)
    task = env.eval_tasks("train")[0]
    mixture = MixtureTask(task, jnp.ones((WORKERS, LATENT)), jnp.array(True))
    key = jax.random.key(0)
    state, _ = mixture_env.reset(key, mixture)
    with pytest.raises(NameError, match="workers"):
        mixture_env.step(mixture_env.draw(key), state, jnp.array(1), mixture)


def test_the_wrapper_gives_no_tasks():
    run, env, belief, params = make()
    mixture_env = latent_mixture(env, belief, params, run.vae, run.imagination)
    for refused in (
        lambda: mixture_env.eval_tasks("test"),
        lambda: mixture_env.sample_task(jax.random.key(0), "train"),
    ):
        with pytest.raises(TypeError):
            refused()
    assert (mixture_env.obs_space, mixture_env.action_space) == (env.obs_space, env.action_space)


def test_a_new_trial_changes_the_task_and_keeps_role_and_mixture():
    run, env, belief, params = make()
    mixture_env = latent_mixture(env, belief, params, run.vae, run.imagination)
    task = jnp.array([3, 3], jnp.int8)  # a test goal: no draw from "train" is equal to it
    old = MixtureTask(task, jnp.asarray(ONE_EACH[1]), jnp.array(True))
    new = mixture_env.next_task(jax.random.key(0), "train", old)
    assert max(new.task.tolist()) in (2, 6)
    np.testing.assert_array_equal(new.weights, old.weights)
    assert bool(new.imagined)
