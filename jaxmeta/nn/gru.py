"""The gated recurrent unit, written for a batch, with its own backward pass.

Differentiating a scan adds up the weights' gradients step by step. Here the backward pass
walks back through time for the gates' gradients alone, and then forms each weight's gradient
in one product over time and batch.

It is the one function of the library that is not written for a single worker: `vmap` over
shared weights would materialise one weight gradient per worker.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.axes import scan
from jaxmeta.env import Array, Key

GATES = ("r", "z", "n")
Params = dict[str, Any]


def init_gru(key: Key, inputs: int, hidden: int) -> Params:
    """Return GRU weights, orthogonal over the three stacked gates; biases are zero.

    The matrices are kept apart by gate: slicing a stacked product inside the step costs
    XLA on CPU its vectorised loop (27 instead of 8 us a step).
    """
    key_input, key_hidden = jax.random.split(key)
    orthogonal = jax.nn.initializers.orthogonal()
    stacked = {
        "wi": orthogonal(key_input, (3 * hidden, inputs)),
        "wh": orthogonal(key_hidden, (3 * hidden, hidden)),
    }
    weights = {
        k: dict(zip(GATES, jnp.split(w.T, 3, axis=1), strict=True)) for k, w in stacked.items()
    }
    biases = {k: {g: jnp.zeros(hidden) for g in GATES} for k in ("bi", "bh")}
    return weights | biases


def affine(x: Array, kernel: Array, bias: Array) -> Array:
    """Return x W + b: x [..., D] -> [..., F]."""
    return x @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def gru_step(params: Params, h: Array, x: Array) -> Array:
    """Return the next hidden state: h [..., H], x [..., D] -> [..., H].

    n = tanh(W_n x + b + r * (U_n h + c)); h' = (1 - z) n + z h. Both biases exist, as in
    PyTorch: they change the clipped gradient's norm and the optimiser's step.
    """
    return _blend(h, _gates(_inputs(params, x), _hidden(params, h)))


def _inputs(params: Params, x: Array) -> dict[str, Array]:
    return {g: affine(x, params["wi"][g], params["bi"][g]) for g in GATES}


def _hidden(params: Params, h: Array) -> dict[str, Array]:
    return {g: affine(h, params["wh"][g], params["bh"][g]) for g in GATES}


class Gates(NamedTuple):
    """The gates of a step, and the recurrent part of n before r is applied, [..., H] each."""

    r: Array
    z: Array
    n: Array
    u: Array


def _gates(xs: dict[str, Array], us: dict[str, Array]) -> Gates:
    r, z = jax.nn.sigmoid(xs["r"] + us["r"]), jax.nn.sigmoid(xs["z"] + us["z"])
    return Gates(r, z, jnp.tanh(xs["n"] + r * us["n"]), us["n"])


def _blend(h: Array, gates: Gates) -> Array:
    return gates.n + gates.z * (h - gates.n)


def _scan(params: Params, x: Array, start: Array, keep: Array) -> tuple[Array, Gates]:
    """Return all hidden states [T + 1, B, H] and the gates [T, B, H] between them."""

    def step(h: Array, inputs: tuple[dict[str, Array], Array]) -> tuple[Array, tuple]:
        xs, kept = inputs
        gates = _gates(xs, _hidden(params, h))
        h = _blend(h, gates) * kept[:, None]
        return h, (h, gates)

    _, (hs, gates) = scan(step, start, (_inputs(params, x), keep))
    return jnp.concatenate([start[None], hs]), gates


@jax.custom_vjp
def gru_unroll(params: Params, x: Array, start: Array, keep: Array) -> Array:
    """Return all hidden states, [T + 1, B, H], from the start on.

    Args:
      x: inputs, [T, B, D].
      start: the first hidden state, [B, H].
      keep: [T, B], 0 where a trial ends with input t: the state after it is zero again.
    """
    return _scan(params, x, start, keep)[0]


@jax.custom_vjp
def gru_with_known_states(params: Params, x: Array, hs: Array, keep: Array) -> Array:
    """Return `hs`, differentiably: `gru_unroll` where its result is known.

    The rollout of an on-policy method has computed the hidden states with the same
    parameters, so the update need not repeat the forward scan.

    Args:
      x: inputs, [T, B, D].
      hs: hidden states, [T + 1, B, H], as `gru_unroll` gives them.
      keep: as in `gru_unroll`.
    """
    del params, x, keep
    return hs


def _backward(
    params: Params, x: Array, hs: Array, keep: Array, gates: Gates, g: Array
) -> tuple[Any, Array, Array]:
    """Return the gradients by params, x and start for cotangents g [T + 1, B, H]."""
    before = hs[:-1]
    r, z, n, u = gates
    # What the gradient of h' is multiplied by on its way to each gate's recurrent product.
    to_n = (1 - z) * (1 - n * n)
    to_hidden = {"r": to_n * u * r * (1 - r), "z": (before - n) * z * (1 - z), "n": to_n * r}
    stacked = jnp.concatenate([to_hidden[gate] for gate in GATES], axis=-1)
    transposed = jnp.concatenate([params["wh"][gate].T for gate in GATES])

    def step(dh: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        g_after, kept, z, to_gates = inputs
        dh = (dh + g_after) * kept[:, None]
        return dh * z + (jnp.tile(dh, (1, len(GATES))) * to_gates) @ transposed, dh

    dstart, dh = scan(step, jnp.zeros_like(hs[0]), (g[1:], keep, z, stacked), reverse=True)
    d_hidden = {gate: dh * to_hidden[gate] for gate in GATES}
    d_input = d_hidden | {"n": dh * to_n}

    def product(a: Array, b: Array) -> Array:
        return jnp.einsum("tbi,tbj->ij", a, b)

    d_params = {
        "wi": {gate: product(x, d_input[gate]) for gate in GATES},
        "wh": {gate: product(before, d_hidden[gate]) for gate in GATES},
        "bi": {gate: d_input[gate].sum((0, 1)) for gate in GATES},
        "bh": {gate: d_hidden[gate].sum((0, 1)) for gate in GATES},
    }
    dx = sum(d_input[gate] @ params["wi"][gate].T for gate in GATES)
    return d_params, dx, dstart + g[0]


def _unroll_forward(params: Params, x: Array, start: Array, keep: Array) -> tuple[Array, Any]:
    hs, gates = _scan(params, x, start, keep)
    return hs, (params, x, hs, keep, gates)


def _unroll_backward(saved: Any, g: Array) -> tuple:
    params, x, hs, keep, gates = saved
    d_params, dx, dstart = _backward(params, x, hs, keep, gates, g)
    return d_params, dx, dstart, None


def _known_states_forward(params: Params, x: Array, hs: Array, keep: Array) -> tuple[Array, Any]:
    return hs, (params, x, hs, keep)


def _known_states_backward(saved: Any, g: Array) -> tuple:
    params, x, hs, keep = saved
    gates = _gates(_inputs(params, x), _hidden(params, hs[:-1]))  # all steps in one product
    d_params, dx, _ = _backward(params, x, hs, keep, gates, g)
    return d_params, dx, None, None


gru_unroll.defvjp(_unroll_forward, _unroll_backward)
gru_with_known_states.defvjp(_known_states_forward, _known_states_backward)
