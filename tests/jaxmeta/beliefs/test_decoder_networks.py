"""The decoders' networks against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.beliefs.options import VAE
from jaxmeta.beliefs.reward_decoders import RewardDecoder
from jaxmeta.env import Discrete
from jaxmeta.nn.networks import apply
from jaxmeta.nn.options import Networks

SIZES = Networks(state_embedding=8, action_embedding=4, reward_embedding=3, hidden=16, head=5)


def relu(x):
    return np.maximum(x, 0)


def dense(x, p):
    return x @ np.asarray(p["kernel"], np.float64) + np.asarray(p["bias"], np.float64)


@pytest.mark.parametrize("names", [("obs", "action", "next_obs"), ("next_obs",)])
def test_the_decoders_split_first_layer_is_a_concatenation(names):
    vae = VAE(latent=6, decoder_inputs=names, decoder_layers=(9, 7))
    decoder = RewardDecoder(Discrete(4), vae, SIZES)
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(2, 6)), jnp.float32)
    obs, next_obs = rng.normal(size=(2, 5, 3)).astype(np.float32)
    action = jnp.array([0, 3, 1, 2, 0])
    one = (z[0], obs[0], action[0], next_obs[0])
    params = decoder.init(jax.random.key(1), *one, method="everything")
    p = params["params"]
    embeddings = {
        "next_obs": relu(dense(next_obs, p["embed_obs"])),
        "obs": relu(dense(obs, p["embed_obs"])),
    }
    if "action" in names:
        embeddings["action"] = relu(dense(np.eye(4)[action], p["embed_action"]))
    order = [name for name in ("next_obs", "action", "obs") if name in names]
    embedded = np.concatenate([embeddings[name] for name in order], axis=-1)
    got = apply(decoder, params, obs, action, next_obs, method="embed")
    np.testing.assert_allclose(got, embedded, rtol=1e-5, atol=1e-6)

    kernel = np.concatenate([p["of_latent"], p["of_inputs"]])
    pairs = apply(decoder, params, z[:, None], got[None], method="decode")
    assert pairs.shape == (2, 5)
    for k in range(2):
        for i in range(5):
            x = np.concatenate([z[k], embedded[i]])
            x = relu(x @ kernel + np.asarray(p["bias"]))
            expected = dense(relu(dense(x, p["layers_0"])), p["out"])[0]
            assert float(pairs[k, i]) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    alone = apply(decoder, params, z[1], got[3], method="decode")
    assert alone.shape == () and float(alone) == pytest.approx(float(pairs[1, 3]), rel=1e-5)
