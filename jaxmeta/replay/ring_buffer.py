"""A replay buffer of trials, as a pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxmeta.env import Array, Key


class Trajectories(NamedTuple):
    """A fixed number of slots, trajectory-major, each array in its own dtype."""

    data: Any  # [capacity, ...]
    seen: Array  # [] trajectories offered so far


class ReplaySpec(NamedTuple):
    """The replay's capacity, and what happens when it is full."""

    capacity: int  # trials
    mode: str  # "ring" or "frozen", see `add`


def empty(example: Any, capacity: int) -> Trajectories:
    """Return an empty replay of `capacity` items like `example` (arrays or shapes)."""
    data = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example)
    return Trajectories(data, jnp.zeros((), jnp.int32))


def add(replay: Trajectories, rows: Any, mode: str, enabled: Array | bool = True) -> Trajectories:
    """Store rows [n, ...]: over the oldest ("ring"), or only until it is full ("frozen").

    No-op unless `enabled`, [].
    """
    leaves = jax.tree.leaves(rows)
    capacity = jax.tree.leaves(replay.data)[0].shape[0]
    n = jnp.where(enabled, leaves[0].shape[0], 0)
    slot = replay.seen + jnp.arange(leaves[0].shape[0])
    if mode == "ring":
        slot = slot % capacity
    slot = jnp.where(enabled, slot, capacity)  # beyond the end: dropped
    store = lambda data, row: data.at[slot].set(row, mode="drop")
    seen = replay.seen + n
    # A ring's counter wraps, keeping its slot and the fact that it is full.
    seen = jnp.where(seen >= 2 * capacity, seen - capacity, seen) if mode == "ring" else seen
    return Trajectories(jax.tree.map(store, replay.data, rows), jnp.minimum(seen, 2**30))


def sample(replay: Trajectories, key: Key, n: int) -> Any:
    """Return n stored rows, uniformly and with replacement (without it costs 700 times more)."""
    capacity = jax.tree.leaves(replay.data)[0].shape[0]
    rows = jax.random.randint(key, (n,), 0, jnp.minimum(replay.seen, capacity))
    return jax.tree.map(lambda data: data[rows], replay.data)
