"""A replay of trajectories, as a pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.env import Array, Key


class Trajectories(NamedTuple):
    """A fixed number of slots, trajectory-major, each array in its own dtype."""

    data: Any  # [capacity, ...]
    seen: Array  # [] trajectories offered so far


def empty(example: Any, capacity: int) -> Trajectories:
    """Return a replay with room for `capacity` items like `example` (arrays or shapes)."""
    data = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
    return Trajectories(data, jnp.zeros((), jnp.int32))


def add(replay: Trajectories, rows: Any, mode: str) -> Trajectories:
    """Store rows [n, ...]: over the oldest ("ring"), or only while there is room ("frozen")."""
    leaves = jax.tree.leaves(rows)
    n, capacity = leaves[0].shape[0], jax.tree.leaves(replay.data)[0].shape[0]
    slot = replay.seen + jnp.arange(n)
    if mode == "ring":
        slot = slot % capacity
    store = lambda data, row: data.at[slot].set(row, mode="drop")  # noqa: E731
    seen = replay.seen + n
    # A ring's counter wraps, keeping its slot and the fact that it is full.
    seen = jnp.where(seen >= 2 * capacity, seen - capacity, seen) if mode == "ring" else seen
    return Trajectories(jax.tree.map(store, replay.data, rows), jnp.minimum(seen, 2**30))


def sample(replay: Trajectories, key: Key, n: int) -> Any:
    """Return n stored rows, uniformly and with replacement (without it costs 700 times more)."""
    capacity = jax.tree.leaves(replay.data)[0].shape[0]
    rows = jax.random.randint(key, (n,), 0, jnp.minimum(replay.seen, capacity))
    return jax.tree.map(lambda data: data[rows], replay.data)
