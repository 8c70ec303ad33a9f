"""Initialisation, sizes and wiring of the networks, against PyTorch's rules and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmeta
from jaxmeta.algorithm import hyper
from jaxmeta.env import Box, Discrete
from jaxmeta.nn.networks import Encoder, Linear, Policy, apply
from jaxmeta.nn.options import Networks

SIZES = Networks(state_embedding=8, action_embedding=4, reward_embedding=3, hidden=16, head=5)


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def leaves(params, name):
    """Return the arrays whose last key is `name`."""
    flat = jax.tree_util.tree_leaves_with_path(params)
    return [np.asarray(leaf) for path, leaf in flat if path[-1].key == name]


@pytest.fixture(scope="module")
def built():
    """Return {method: (run, env, algorithm, params)} of the gridworld's presets."""
    out = {}
    for method in ("rl2", "varibad", "ldm"):
        run = jaxmeta.Run(env="gridworld", method=method)
        run = run.replace({"vae.capacity": 16} if run.get("vae") else {})
        env, algorithm = jaxmeta.build(run)
        # Not under jit: the three then share their compiled pieces.
        params = algorithm.params(algorithm.init(jax.random.key(0), hyper(run)))
        out[method] = (run, env, algorithm, params)
    return out


@pytest.mark.parametrize("fan_in, features", [(2, 4000), (100, 300)])
def test_linear_layers_start_as_pytorchs_do_biases_included(fan_in, features):
    layer = Linear(features)
    params = layer.init(jax.random.key(0), jnp.zeros(fan_in))["params"]
    bound = 1 / np.sqrt(fan_in)
    for leaf in (params["kernel"], params["bias"]):
        assert np.abs(leaf).max() <= bound and np.abs(leaf).max() > 0.95 * bound
        # Uniform: mean 0 and standard deviation bound / sqrt(3), each within 4 standard errors.
        error = bound / np.sqrt(3 * leaf.size)
        assert abs(float(leaf.mean())) < 4 * error
        assert float(leaf.std()) == pytest.approx(bound / np.sqrt(3), abs=4 * error)
    x = np.linspace(-1, 1, fan_in, dtype=np.float32)
    expected = x.astype(np.float64) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(layer.apply({"params": params}, x), expected, rtol=1e-5, atol=1e-5)


def test_every_linear_layer_of_encoder_and_decoder_is_bounded_by_its_fan_in(built):
    params = built["ldm"][3]
    fan_ins = {"embed_obs": 3, "embed_reward": 1, "mean": 128, "logvar": 128}
    for group in ("encoder", "belief"):
        layers = params[group]["params"]
        assert set(layers) == {"gru", *fan_ins}
        for name, fan_in in fan_ins.items():
            for leaf in layers[name].values():
                assert 0 < np.abs(leaf).max() <= fan_in**-0.5
    decoder = params["decoder"]["params"]
    # The first layer is kept in two parts; its fan-in is that of the whole: 32 + 32.
    for name in ("of_latent", "of_inputs", "bias"):
        assert 0.9 * 64**-0.5 < np.abs(decoder[name]).max() <= 64**-0.5


@pytest.mark.parametrize("method", ["rl2", "varibad"])
def test_policy_layers_have_unit_rows_and_a_small_orthogonal_head(built, method):
    run, _, _, params = built[method]
    policy = params["policy"]["params"]
    depth = len(run.networks.policy_layers)
    hidden = [f"{stack}_{i}" for stack in ("actor", "critic") for i in range(depth)]
    assert set(policy) == {*hidden, "head", "value_head"}
    for name in hidden:
        norms = np.linalg.norm(policy[name]["kernel"], axis=0)  # [inputs, outputs]
        np.testing.assert_allclose(norms, 1, rtol=1e-5)
        assert (policy[name]["bias"] == 0).all()
    head = np.asarray(policy["head"]["kernel"], np.float64)
    np.testing.assert_allclose(head.T @ head, 1e-4 * np.eye(5), atol=1e-9)
    assert (policy["head"]["bias"] == 0).all()
    value = policy["value_head"]
    assert 0 < np.abs(value["kernel"]).max() <= 32**-0.5 and 0 < np.abs(value["bias"]) <= 32**-0.5


def test_real_actions_have_a_mean_with_unit_rows_and_a_free_log_std_of_0():
    policy = Policy(Box((3,)), (7,), sees_obs=True)
    latent = (jnp.ones((2, 5)), jnp.zeros((2, 5)))
    params = policy.init(jax.random.key(0), jnp.ones((2, 4)), latent, method="everything")
    head = params["params"]["head"]
    np.testing.assert_allclose(np.linalg.norm(head["kernel"], axis=0), 1, rtol=1e-5)
    assert head["kernel"].shape == (7, 3) and (head["bias"] == 0).all()
    mean, log_std = apply(policy, params, jnp.ones((2, 4)), latent, method="act")
    assert mean.shape == log_std.shape == (2, 3) and (log_std == 0).all()
    assert params["params"]["log_std"].shape == (3,)


@pytest.mark.parametrize(
    "method, group, size",
    [
        ("rl2", "encoder", 73_680),
        ("rl2", "policy", 4_358),
        ("ldm", "encoder", 73_680),
        ("ldm", "policy", 4_358),
        ("ldm", "belief", 73_680),
        ("ldm", "decoder", 3_297),
        ("varibad", "encoder", 73_680),
        ("varibad", "policy", 6_470),
        ("varibad", "decoder", 3_729),
    ],
)
def test_parameter_counts_are_those_of_the_public_code(built, method, group, size):
    assert count(built[method][3][group]) == size


def test_methods_have_no_other_parameters(built):
    assert set(built["rl2"][3]) == {"encoder", "policy"}
    assert set(built["varibad"][3]) == {"encoder", "policy", "decoder"}
    assert set(built["ldm"][3]) == {"encoder", "policy", "belief", "decoder"}


@pytest.mark.parametrize("method, group", [("ldm", "belief"), ("varibad", "encoder")])
def test_the_prior_is_the_heads_biases(built, method, group):
    _, _, algorithm, params = built[method]
    memory = algorithm.belief.begin(params)
    prior = algorithm.belief.posterior(params, memory)
    heads = params[group]["params"]
    assert (memory == 0).all()
    np.testing.assert_array_equal(prior.mean, heads["mean"]["bias"])
    np.testing.assert_array_equal(prior.logvar, heads["logvar"]["bias"])
    assert np.abs(prior.mean).max() > 0 and np.abs(prior.logvar).max() > 0


def test_the_gridworlds_policy_reads_mean_and_logvar_and_never_the_observation(built):
    run, env, _, params = built["ldm"]
    policy = Policy(env.action_space, run.networks.policy_layers, run.networks.policy_sees_obs)
    rng = np.random.default_rng(0)
    mean, logvar = rng.normal(size=(2, 32)).astype(np.float32)
    obs = jnp.array([3, 4, 0], jnp.int8)

    def outputs(obs, mean, logvar):
        args = (params["policy"], obs, (jnp.asarray(mean), jnp.asarray(logvar)))
        (logits,) = apply(policy, *args, method="act")
        return np.append(logits, apply(policy, *args, method="value"))

    base = outputs(obs, mean, logvar)
    np.testing.assert_array_equal(base, outputs(jnp.array([0, 0, 1], jnp.int8), mean, logvar))
    assert (np.abs(outputs(obs, mean + 1, logvar) - base) > 1e-6).all()
    assert (np.abs(outputs(obs, mean, logvar + 1) - base) > 1e-6).all()

    # The two stacks of tanh layers on [mean, logvar], in NumPy.
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params["policy"]["params"])
    x = np.concatenate([mean, logvar])
    expected = []
    for stack, head in (("actor_0", "head"), ("critic_0", "value_head")):
        hidden = np.tanh(x @ p[stack]["kernel"] + p[stack]["bias"])
        expected.append(hidden @ p[head]["kernel"] + p[head]["bias"])
    np.testing.assert_allclose(base, np.concatenate(expected), rtol=1e-5, atol=1e-6)


def test_a_policy_that_sees_the_observation_reads_it_first():
    policy = Policy(Discrete(4), (6,), sees_obs=True)
    obs, latent = jnp.array([1.0, 2.0]), (jnp.arange(3.0), -jnp.arange(3.0))
    params = policy.init(jax.random.key(0), obs, latent, method="everything")
    p = params["params"]
    x = np.concatenate([obs, *latent])
    (logits,) = apply(policy, params, obs, latent, method="act")
    expected = np.tanh(x @ np.asarray(p["actor_0"]["kernel"])) @ np.asarray(p["head"]["kernel"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


def relu(x):
    return np.maximum(x, 0)


def dense(x, p):
    return x @ np.asarray(p["kernel"], np.float64) + np.asarray(p["bias"], np.float64)


def test_encoder_inputs_are_action_state_reward_each_embedded():
    encoder = Encoder(Discrete(4), 3, SIZES, 5)
    action, obs, reward = jnp.array(2), jnp.array([1, 5, 1], jnp.int8), jnp.array(-0.3)
    params = encoder.init(jax.random.key(0), action, obs, reward, method="everything")
    p = params["params"]
    parts = [
        relu(dense(np.eye(4)[2], p["embed_action"])),
        relu(dense(np.array([1.0, 5.0, 1.0]), p["embed_obs"])),
        relu(dense(np.array([-0.3]), p["embed_reward"])),
    ]
    got = apply(encoder, params, action, obs, reward, method="inputs")
    np.testing.assert_allclose(got, np.concatenate(parts), rtol=1e-5, atol=1e-6)
    h = jnp.linspace(-1, 1, 16)
    mean, logvar = apply(encoder, params, h, method="posterior")
    np.testing.assert_allclose(mean, dense(np.asarray(h), p["mean"]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logvar, dense(np.asarray(h), p["logvar"]), rtol=1e-5, atol=1e-6)


def test_the_gridworlds_encoders_never_see_actions(built):
    run, env, _, params = built["ldm"]
    for group in ("encoder", "belief"):
        encoder = Encoder(env.action_space, 3, run.networks, 32)
        assert "embed_action" not in params[group]["params"]
        h, obs = jnp.full(128, 0.1), jnp.array([2, 5, 0], jnp.int8)

        def after(action, obs=obs, reward=-0.1, h=h, encoder=encoder, group=group):
            args = (h, jnp.array(action), obs, jnp.array(reward))
            return np.asarray(apply(encoder, params[group], *args, method="step"))

        for action in range(1, 5):
            np.testing.assert_array_equal(after(action), after(0))
        assert np.abs(after(0, reward=1.0) - after(0)).max() > 1e-4
        assert np.abs(after(0, obs=jnp.array([2, 5, 1], jnp.int8)) - after(0)).max() > 1e-4
